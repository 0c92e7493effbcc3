-- The log, its index of terms, and idempotency keys.

CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    store_id TEXT NOT NULL,
    history_id TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- One row a fact. The record is the wire-format EventRecord; its last payload_bytes bytes are the payload.
-- Event type, metadata (a JSON object, NULL when empty) and time (microseconds since 1970) stand beside it for people
-- and for checks that need no parsing.
CREATE TABLE records (
    sequence_number INTEGER PRIMARY KEY,
    occurred_at INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    metadata TEXT,
    payload_bytes INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;

-- Committed batches of more than one fact; a missing row means a batch of one.
CREATE TABLE batches (
    first_sequence_number INTEGER PRIMARY KEY,
    last_sequence_number INTEGER NOT NULL
) STRICT;

-- A batch that was appended under a key. Older keys have lower sequence numbers.
CREATE TABLE idempotency_keys (
    first_sequence_number INTEGER PRIMARY KEY,
    last_sequence_number INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL
) STRICT;

-- Which facts hold a term (rowid = sequence_number). It proposes; the exact matcher decides.
CREATE VIRTUAL TABLE terms USING fts5 (
    tokens, content = '', detail = none, columnsize = 0, tokenize = 'ascii'
);

-- A whole group in one statement, so that the writer thread hands the interpreter's lock back and forth once a group
-- and not once a row. A statement of its own is a transaction of its own: all of the group or nothing.
-- events: [[event_type, metadata, payload_bytes, offset in records, length], ...]; tokens: [terms of each fact];
-- batches: [[first, last], ...]; idempotency_keys: [[first, last, key, fingerprint in hexadecimal], ...].
CREATE VIEW commit_group (head, occurred_at, events, records, tokens, batches, idempotency_keys, keys_expire_before) AS
SELECT 0, 0, '[]', x'', '[]', '[]', '[]', 0 WHERE FALSE;

CREATE TRIGGER commit_group_insert INSTEAD OF INSERT ON commit_group BEGIN
    INSERT INTO records (sequence_number, occurred_at, event_type, metadata, payload_bytes, record)
    SELECT
        NEW.head + key + 1, NEW.occurred_at, value ->> 0, value ->> 1, value ->> 2,
        substr(NEW.records, value ->> 3, value ->> 4)
    FROM json_each(NEW.events);

    INSERT INTO terms (rowid, tokens)
    SELECT NEW.head + key + 1, value FROM json_each(NEW.tokens);

    INSERT INTO batches (first_sequence_number, last_sequence_number)
    SELECT value ->> 0, value ->> 1 FROM json_each(NEW.batches);

    -- Expired keys go a few at a time, and at the latest when they are used again.
    DELETE FROM idempotency_keys
    WHERE first_sequence_number IN (
        SELECT first_sequence_number FROM idempotency_keys ORDER BY first_sequence_number LIMIT 1000
    ) AND occurred_at < NEW.keys_expire_before;

    INSERT OR REPLACE INTO idempotency_keys
        (first_sequence_number, last_sequence_number, occurred_at, idempotency_key, fingerprint)
    SELECT value ->> 0, value ->> 1, NEW.occurred_at, value ->> 2, unhex(value ->> 3)
    FROM json_each(NEW.idempotency_keys);
END;

-- For people: the facts as text.
CREATE VIEW facts (sequence_number, occurred_at, event_type, payload, metadata) AS
SELECT
    sequence_number,
    strftime('%Y-%m-%dT%H:%M:%S', occurred_at / 1000000, 'unixepoch') || printf('.%06dZ', occurred_at % 1000000),
    event_type,
    CAST(substr(record, -payload_bytes) AS TEXT),
    coalesce(metadata, '{}')
FROM records;

-- Streams: replay without a step of Python per fact, and durable streams.

-- A record is preceded by what stands before it when its batch is delivered whole (contract/batch_frame.py): joined, the
-- columns of consecutive batches are what a stream sends. Records of an earlier format have none: their frames are made
-- when they are read.
ALTER TABLE records ADD COLUMN opening_bytes INTEGER NOT NULL DEFAULT 0;

-- Durable streams: a name, the query bound to it, and how far its consumer has acknowledged.

-- Epochs never repeat, whatever becomes of the streams. The key makes acknowledgement tokens.
ALTER TABLE store ADD COLUMN last_lease_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN acknowledgement_key BLOB NOT NULL DEFAULT x'';
UPDATE store SET acknowledgement_key = randomblob(32);

-- Who holds a lease is not kept here: a lease lives in the one server that has the file, and ends with it. The query is
-- JSON, [[event types or null, payload predicates or null], ...], as it was given and in canonical form.
CREATE TABLE durable_streams (
    durable_stream TEXT NOT NULL PRIMARY KEY,
    query TEXT NOT NULL,
    canonical_query TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    lease_epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    acknowledged_at INTEGER
) STRICT, WITHOUT ROWID;

-- The group's statement, as before, with openings and moved cursors.
-- events: [[event_type, metadata, payload_bytes, opening_bytes, offset in records, length], ...];
-- cursors: [[durable stream, cursor, acknowledged], ...].
DROP VIEW commit_group;

CREATE VIEW commit_group (
    head, occurred_at, events, records, tokens, batches, idempotency_keys, keys_expire_before, cursors
) AS
SELECT 0, 0, '[]', x'', '[]', '[]', '[]', 0, '[]' WHERE FALSE;

CREATE TRIGGER commit_group_insert INSTEAD OF INSERT ON commit_group BEGIN
    INSERT INTO records (
        sequence_number, occurred_at, event_type, metadata, payload_bytes, opening_bytes, record
    )
    SELECT
        NEW.head + key + 1, NEW.occurred_at, value ->> 0, value ->> 1, value ->> 2, value ->> 3,
        substr(NEW.records, value ->> 4, value ->> 5)
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

    UPDATE durable_streams
    SET cursor = moved.value ->> 1,
        acknowledged_at = iif(moved.value ->> 2, NEW.occurred_at, acknowledged_at)
    FROM json_each(NEW.cursors) AS moved
    WHERE durable_stream = moved.value ->> 0;
END;

-- What stands before and after a record when its batch is delivered whole (contract/batch_frame.py), so that a replay
-- joins columns inside SQLite. Facts committed before these columns were there, up to framed_after, have none: their
-- frames are made when they are read.
ALTER TABLE records ADD COLUMN opening BLOB;
ALTER TABLE records ADD COLUMN closing BLOB;
ALTER TABLE store ADD COLUMN framed_after INTEGER NOT NULL DEFAULT 0;
UPDATE store SET framed_after = (SELECT coalesce(max(sequence_number), 0) FROM records);

-- The group's statement, as before, with the framing around each record.
-- events: [[event_type, metadata, payload_bytes, offset in records, length, opening, closing], ...]; the last
-- two in hexadecimal.
DROP VIEW commit_group;

CREATE VIEW commit_group (
    head, occurred_at, events, records, tokens, batches, idempotency_keys, keys_expire_before, cursors
) AS
SELECT 0, 0, '[]', x'', '[]', '[]', '[]', 0, '[]' WHERE FALSE;

CREATE TRIGGER commit_group_insert INSTEAD OF INSERT ON commit_group BEGIN
    INSERT INTO records (
        sequence_number, occurred_at, event_type, metadata, payload_bytes, opening, record, closing
    )
    SELECT
        NEW.head + key + 1, NEW.occurred_at, value ->> 0, value ->> 1, value ->> 2,
        unhex(value ->> 5), substr(NEW.records, value ->> 3, value ->> 4), unhex(value ->> 6)
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

-- The log, its index of terms, idempotency keys, durable streams, and the servers that share them.

CREATE TABLE {schema}.store (
    id integer PRIMARY KEY CHECK (id = 1),
    store_id uuid NOT NULL,
    history_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    -- Epochs never repeat, whatever becomes of the streams. The key makes acknowledgement tokens.
    last_lease_epoch bigint NOT NULL,
    acknowledgement_key bytea NOT NULL
);

INSERT INTO {schema}.store
SELECT
    1, gen_random_uuid(), gen_random_uuid(), clock_timestamp(), 0,
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());

-- Where the log ends. Whoever commits locks this row first: numbers have no gaps, and commit order is their order.
CREATE TABLE {schema}.head (
    id integer PRIMARY KEY CHECK (id = 1),
    sequence_number bigint NOT NULL,
    occurred_at timestamptz NOT NULL
) WITH (fillfactor = 10);

INSERT INTO {schema}.head VALUES (1, 0, to_timestamp(0));

-- One row a fact. Its wire-format EventRecord is framing without its first opening_bytes, followed by the payload, whose
-- text is kept byte for byte. The opening is what stands before the record when its batch is delivered whole: joined, the
-- rows of consecutive batches are what a stream sends.
CREATE TABLE {schema}.records (
    sequence_number bigint PRIMARY KEY,
    occurred_at timestamptz NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    metadata json,
    payload json NOT NULL,
    framing bytea NOT NULL,
    opening_bytes integer NOT NULL,
    payload_bytes integer NOT NULL,
    terms tsvector NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- Which facts hold a term. It proposes; the exact matcher decides. New facts stand in a pending list first, which doubles
-- the rate of insertion; every lookup walks it, so that it is kept at about two hundred facts.
CREATE INDEX records_terms ON {schema}.records USING gin (terms)
WITH (fastupdate = on, gin_pending_list_limit = 64);

-- Committed batches of more than one fact; a missing row means a batch of one.
CREATE TABLE {schema}.batches (
    first_sequence_number bigint PRIMARY KEY,
    last_sequence_number bigint NOT NULL
);

-- A batch that was appended under a key.
CREATE TABLE {schema}.idempotency_keys (
    idempotency_key text COLLATE "C" PRIMARY KEY,
    fingerprint bytea NOT NULL,
    first_sequence_number bigint NOT NULL UNIQUE,
    last_sequence_number bigint NOT NULL,
    occurred_at timestamptz NOT NULL
);

-- The servers on this store. One that has not been heard of for 15 seconds holds no lease any more.
CREATE TABLE {schema}.servers (
    server_id uuid PRIMARY KEY,
    started_at timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Durable streams: a name, the query bound to it, how far its consumer has acknowledged, and who consumes it. The query is
-- JSON, [[event types or null, payload predicates or null], ...], as it was given and in canonical form.
CREATE TABLE {schema}.durable_streams (
    durable_stream text COLLATE "C" PRIMARY KEY,
    query text NOT NULL,
    canonical_query text NOT NULL,
    cursor bigint NOT NULL,
    lease_epoch bigint NOT NULL,
    created_at timestamptz NOT NULL,
    acknowledged_at timestamptz,
    holder text,
    holder_server uuid
) WITH (fillfactor = 50);

-- For people: the facts as text.
CREATE VIEW {schema}.facts AS
SELECT sequence_number, occurred_at, event_type, payload, coalesce(metadata, '{}'::json) AS metadata
FROM {schema}.records;

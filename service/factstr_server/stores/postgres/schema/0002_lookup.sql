-- How records are looked up. Plans are forced: what the planner knows of a log is always old, and one wrong guess walks it.

-- The numbers of the facts strictly between two positions whose terms satisfy an expression, in order, at most so many.
-- The expression is a tsquery in which every term is preceded by `~`, where the prefix of an era belongs: facts stand in
-- the index under terms of their era (65,536 facts), and under the term of their block in it (4,096 facts).
--
-- GIN finds all facts of an era that match, in no order. Where they are few, eras are gone through until one has any.
-- Where an era has plenty, its blocks are gone through, so that what is common costs no more than a block at a time.
CREATE FUNCTION {schema}.proposed(wanted text, after bigint, before bigint, descending boolean, most integer)
RETURNS SETOF bigint
LANGUAGE plpgsql STABLE STRICT ROWS 100
SET enable_seqscan = off SET enable_indexscan = off SET enable_indexonlyscan = off SET enable_bitmapscan = on
SET plan_cache_mode = force_generic_plan SET jit = off SET max_parallel_workers_per_gather = 0
-- A limit set elsewhere would leave matches out.
SET gin_fuzzy_search_limit = 0
AS $$
DECLARE
    step constant integer := CASE WHEN descending THEN -1 ELSE 1 END;
    low bigint := greatest(after, 0) + 1;
    high bigint;
    by_block boolean := true;
    remaining integer := most;
    plenty bigint;
    block bigint;
    era bigint;
    dense_era bigint := -1;
    hits bigint[];
    matched integer;
BEGIN
    SELECT least(before - 1, h.sequence_number) INTO high FROM {schema}.head AS h;
    WHILE low <= high AND remaining > 0 LOOP
        block := ((CASE WHEN descending THEN high ELSE low END) - 1) >> 12;
        era := block >> 4;
        plenty := 2 * greatest(remaining, 64)::bigint;
        IF by_block OR era = dense_era THEN
            -- Without the sum an index of numbers could be taken for the order.
            SELECT array_agg(c.n ORDER BY c.n * step) INTO hits
            FROM (
                SELECT r.sequence_number + 0 AS n FROM {schema}.records AS r
                WHERE r.terms @@ replace(
                        '(' || wanted || ')&~b' || lpad(to_hex(block & 15), 2, '0'), '~', lpad(to_hex(era), 6, '0')
                    )::tsquery
                    AND r.sequence_number + 0 BETWEEN low AND high
            ) AS c;
            matched := coalesce(cardinality(hits), 0);
            by_block := matched * 16 > plenty;
            IF descending THEN high := block << 12; ELSE low := ((block + 1) << 12) + 1; END IF;
        ELSE
            SELECT e.era, m.hits INTO era, hits
            FROM generate_series(era, ((CASE WHEN descending THEN low ELSE high END) - 1) >> 16, step) AS e (era)
            CROSS JOIN LATERAL (
                SELECT array_agg(c.n ORDER BY c.n * step) AS hits
                FROM (
                    SELECT r.sequence_number + 0 AS n FROM {schema}.records AS r
                    WHERE r.terms @@ replace(wanted, '~', lpad(to_hex(e.era), 6, '0'))::tsquery
                        AND r.sequence_number + 0 BETWEEN low AND high
                    LIMIT plenty + 1
                ) AS c
            ) AS m
            WHERE m.hits IS NOT NULL
            LIMIT 1;
            EXIT WHEN NOT FOUND;
            IF cardinality(hits) > plenty THEN
                dense_era := era;
                IF descending THEN
                    high := least(high, (era + 1) << 16);
                ELSE
                    low := greatest(low, (era << 16) + 1);
                END IF;
                CONTINUE;
            END IF;
            matched := cardinality(hits);
            IF descending THEN high := era << 16; ELSE low := ((era + 1) << 16) + 1; END IF;
        END IF;
        IF matched > 0 THEN
            RETURN QUERY SELECT unnest(hits[1:remaining]);
            remaining := remaining - matched;
        END IF;
    END LOOP;
END
$$;

-- Candidates between two positions, in order: those that any of the expressions proposes, at most so many, and no more
-- once they are so many bytes. NULL asks for all.
CREATE FUNCTION {schema}.candidates(
    wanted text[], after bigint, before bigint, descending boolean, most integer, most_bytes bigint
)
RETURNS TABLE (
    sequence_number bigint, event_type text, payload_bytes integer, record bytea, batch_first bigint, batch_last bigint
)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    numbers bigint[];
BEGIN
    IF cardinality(wanted) = 1 THEN
        numbers := ARRAY(SELECT n FROM {schema}.proposed(wanted[1], after, before, descending, most) AS n);
    ELSIF wanted IS NOT NULL THEN
        numbers := ARRAY(
            SELECT DISTINCT n * CASE WHEN descending THEN -1 ELSE 1 END AS place
            FROM unnest(wanted) AS w (expression)
            CROSS JOIN LATERAL {schema}.proposed(w.expression, after, before, descending, most) AS n
            ORDER BY place LIMIT most
        );
        IF descending THEN
            numbers := ARRAY(SELECT -n FROM unnest(numbers) WITH ORDINALITY AS u (n, place) ORDER BY place);
        END IF;
    ELSIF descending THEN
        numbers := ARRAY(
            SELECT r.sequence_number FROM {schema}.records AS r
            WHERE r.sequence_number > after AND r.sequence_number < before
            ORDER BY r.sequence_number DESC LIMIT most
        );
    ELSE
        numbers := ARRAY(
            SELECT r.sequence_number FROM {schema}.records AS r
            WHERE r.sequence_number > after AND r.sequence_number < before
            ORDER BY r.sequence_number LIMIT most
        );
    END IF;
    RETURN QUERY
        WITH sized AS (
            SELECT
                r.sequence_number, n.place,
                sum(b.bytes) OVER (ORDER BY n.place) - b.bytes AS bytes_before
            FROM unnest(numbers) WITH ORDINALITY AS n (number, place)
            JOIN {schema}.records AS r ON r.sequence_number = n.number
            CROSS JOIN LATERAL (SELECT octet_length(r.framing) - r.opening_bytes + r.payload_bytes) AS b (bytes)
        )
        SELECT
            r.sequence_number, r.event_type, r.payload_bytes,
            substr(r.framing, r.opening_bytes + 1) || json_send(r.payload),
            b.first_sequence_number, b.last_sequence_number
        FROM sized AS s
        JOIN {schema}.records AS r ON r.sequence_number = s.sequence_number
        LEFT JOIN LATERAL (
            SELECT c.first_sequence_number, c.last_sequence_number FROM {schema}.batches AS c
            WHERE c.first_sequence_number <= r.sequence_number
            ORDER BY c.first_sequence_number DESC LIMIT 1
        ) AS b ON b.last_sequence_number >= r.sequence_number
        WHERE s.bytes_before < most_bytes
        ORDER BY s.place;
END
$$;

-- The whole batches after a position, up to another one, joined: as many as have room, or the first one. NULL where the
-- position lies inside a batch, whose frame is not stored then.
CREATE FUNCTION {schema}.joined_batches(after bigint, up_to bigint, most_bytes bigint, most integer)
RETURNS TABLE (looked_up_to bigint, frames bytea)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    bound bigint := least(up_to, after + most);
    last_of_first bigint;
BEGIN
    SELECT coalesce(max(b.last_sequence_number), after + 1) INTO last_of_first FROM {schema}.batches AS b
    WHERE b.first_sequence_number = after + 1;
    IF EXISTS (
        SELECT FROM (
            SELECT b.last_sequence_number FROM {schema}.batches AS b
            WHERE b.first_sequence_number <= after ORDER BY b.first_sequence_number DESC LIMIT 1
        ) AS around WHERE around.last_sequence_number > after
    ) THEN
        RETURN;
    END IF;
    -- A batch ends where the next one begins, or at the end of the log: its opening begins with the tag of a batch.
    SELECT coalesce(max(sized.sequence_number), last_of_first) INTO looked_up_to
    FROM (
        SELECT
            r.sequence_number,
            sum(octet_length(r.framing) + r.payload_bytes) OVER (ORDER BY r.sequence_number) AS bytes,
            lead(get_byte(r.framing, 0)) OVER (ORDER BY r.sequence_number) AS next_tag
        FROM {schema}.records AS r
        WHERE r.sequence_number > after AND r.sequence_number <= bound + 1
    ) AS sized
    WHERE sized.sequence_number >= last_of_first AND sized.sequence_number <= bound AND sized.bytes <= most_bytes
        AND (sized.next_tag = 10 OR sized.sequence_number = up_to);
    SELECT string_agg(ordered.frame, ''::bytea) INTO frames
    FROM (
        SELECT r.framing || json_send(r.payload) AS frame FROM {schema}.records AS r
        WHERE r.sequence_number > after AND r.sequence_number <= looked_up_to
        ORDER BY r.sequence_number
    ) AS ordered;
    RETURN NEXT;
END
$$;

-- The last sequence number committed at or before a time; 0 = none. Times never decrease and numbers have no gaps.
CREATE FUNCTION {schema}.sequence_number_at(moment timestamptz)
RETURNS bigint
LANGUAGE plpgsql STABLE
SET enable_seqscan = off
AS $$
DECLARE
    low bigint := 0;
    high bigint;
    middle bigint;
BEGIN
    SELECT h.sequence_number INTO high FROM {schema}.head AS h;
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT r.occurred_at FROM {schema}.records AS r WHERE r.sequence_number = middle) <= moment THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

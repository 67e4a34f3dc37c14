-- The schema of scaleout, version 1.
--
-- A node installs it by itself where it may. Where it may not, install it by hand, in one
-- transaction, and let the nodes' role in:
--
--   psql --single-transaction --set ON_ERROR_STOP=1 --file v1.sql DATABASE
--   GRANT USAGE ON SCHEMA scaleout TO role;
--
-- All access is through the functions, which run with the rights of the schema's owner.

CREATE SCHEMA scaleout;
COMMENT ON SCHEMA scaleout IS 'scaleout: logs of frames, version 1';

-- One row per log. The row lock is what orders a log's appends: it is held from the moment the
-- number is taken until the frame is visible, so numbers become visible in their order.
CREATE TABLE scaleout.log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    -- UTF-8. Not text, which cannot hold every UTF-8 name, and depends on the database's encoding.
    name bytea NOT NULL UNIQUE,
    channel text COLLATE "C" NOT NULL,
    -- One life of the log: deleted and used again, it has another.
    epoch bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()),
    head bigint NOT NULL DEFAULT 0,
    -- How many frames there ever were.
    frames bigint NOT NULL DEFAULT 0,
    -- The last frame from a node: who sent it, its counter, and where it stands.
    publisher bytea NOT NULL DEFAULT '',
    counter bigint NOT NULL DEFAULT 0,
    first bigint NOT NULL DEFAULT 0,
    -- How many frames came from scaleout.publish.
    published bigint NOT NULL DEFAULT 0,
    appended_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05);
-- No index holds a column that an append changes: every append is a HOT update.
CREATE INDEX log_namespace ON scaleout.log (namespace, id);

-- The last frame of each publisher that is not the log's last one.
CREATE TABLE scaleout.publisher (
    log bigint NOT NULL,
    id bytea NOT NULL,
    counter bigint NOT NULL,
    first bigint NOT NULL,
    PRIMARY KEY (log, id)
) WITH (fillfactor = 70);

CREATE TABLE scaleout.frame (
    log bigint NOT NULL,
    first bigint NOT NULL,
    len integer NOT NULL,
    -- The how manieth frame of its log it is.
    number bigint NOT NULL,
    stored_at timestamptz NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (log, first)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.5);
-- Payloads are often compressed already, and are read back at once.
ALTER TABLE scaleout.frame ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Below which sequence a log was trimmed. Apart from the log, so that trimming never waits for an
-- append nor an append for trimming; and known, so that a read need not step over what is dead.
CREATE TABLE scaleout.trimmed (
    log bigint PRIMARY KEY,
    below bigint NOT NULL
) WITH (fillfactor = 70);

-- Which cluster, which of its timelines, and which run of its server the logs belong to.
CREATE TABLE scaleout.lineage (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system bigint NOT NULL,
    timeline text NOT NULL,
    started_at timestamptz NOT NULL
);

CREATE FUNCTION scaleout.version() RETURNS integer
LANGUAGE sql IMMUTABLE AS 'SELECT 1';

-- Whoever deletes a log deletes what belongs to it.
CREATE FUNCTION scaleout.forget() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM scaleout.frame WHERE log = OLD.id;
    DELETE FROM scaleout.publisher WHERE log = OLD.id;
    DELETE FROM scaleout.trimmed WHERE log = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER forget AFTER DELETE ON scaleout.log
FOR EACH ROW EXECUTE FUNCTION scaleout.forget();

-- A log's channel: identifiers are cut at 63 bytes, so it is a hash of the name.
CREATE FUNCTION scaleout.channel(name bytea) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT 'scaleout_' || encode(substr(sha256(name), 1, 16), 'hex')
$$;

-- Makes a log that stays, unless there is one.
CREATE FUNCTION scaleout.create_log(p_namespace text, p_name bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO scaleout.log (namespace, name, channel)
    VALUES (p_namespace, p_name, scaleout.channel(p_name))
    ON CONFLICT (name) DO NOTHING
$$;

-- The log's row, made if there is none, and locked to the end of the transaction.
CREATE FUNCTION scaleout.lock_log(p_namespace text, p_name bytea) RETURNS scaleout.log
LANGUAGE plpgsql AS $$
DECLARE
    l scaleout.log;
BEGIN
    LOOP
        SELECT * INTO l FROM scaleout.log WHERE name = p_name FOR NO KEY UPDATE;
        EXIT WHEN FOUND;
        PERFORM scaleout.create_log(p_namespace, p_name);
    END LOOP;
    RETURN l;
END $$;

-- What is notified of a frame: its place, and the frame if it fits. Base64 has a line break after 76
-- characters here, so 5,800 bytes fit into the 7,999 of a notification. No two notifications of a
-- log are alike, so none folds into another.
CREATE FUNCTION scaleout.notice(p_epoch bytea, p_first bigint, p_len integer, p_bytes bytea)
RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT encode(
        p_epoch || int8send(p_first) || int4send(p_len)
            || CASE WHEN octet_length(p_bytes) <= 5800 THEN p_bytes ELSE '' END,
        'base64')
$$;

-- Appends frames, each to its log, in one transaction. Answers for each frame, in order: the epoch,
-- where the frame begins, and the how manieth of its log it is. A repetition is answered with the
-- place of the first time and without a number; without a place if it is older than its
-- publisher's last frame.
--
-- Callers bring the frames sorted by name, so that two calls never wait for each other.
CREATE FUNCTION scaleout.append(
    p_namespaces text[], p_names bytea[], p_publishers bytea[], p_counters bigint[],
    p_lens integer[], p_frames bytea[]
) RETURNS TABLE (epoch bytea, first bigint, number bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    l scaleout.log;
    known record;
    log_id bigint;
    log_channel text;
    stored timestamptz;
BEGIN
    FOR i IN 1 .. cardinality(p_names) LOOP
        -- Mostly the publisher is the one that published last.
        UPDATE scaleout.log AS o SET
            head = o.head + p_lens[i], frames = o.frames + 1,
            counter = p_counters[i], first = o.head + 1, appended_at = clock_timestamp()
        WHERE o.name = p_names[i] AND o.publisher = p_publishers[i] AND o.counter < p_counters[i]
        RETURNING o.id, o.channel, o.epoch, o.first, o.frames, o.appended_at
        INTO log_id, log_channel, epoch, first, number, stored;
        IF NOT FOUND THEN
            l := scaleout.lock_log(p_namespaces[i], p_names[i]);
            IF l.publisher = p_publishers[i] THEN
                SELECT l.counter AS counter, l.first AS first INTO known;
            ELSE
                SELECT p.counter, p.first INTO known FROM scaleout.publisher AS p
                WHERE p.log = l.id AND p.id = p_publishers[i];
            END IF;
            IF known.counter >= p_counters[i] THEN
                epoch := l.epoch;
                first := CASE WHEN known.counter = p_counters[i] THEN known.first END;
                number := NULL;
                RETURN NEXT;
                CONTINUE;
            END IF;
            IF l.publisher <> '' AND l.publisher <> p_publishers[i] THEN
                INSERT INTO scaleout.publisher AS p (log, id, counter, first)
                VALUES (l.id, l.publisher, l.counter, l.first)
                ON CONFLICT ON CONSTRAINT publisher_pkey DO UPDATE
                SET counter = EXCLUDED.counter, first = EXCLUDED.first;
            END IF;
            UPDATE scaleout.log AS o SET
                head = o.head + p_lens[i], frames = o.frames + 1, publisher = p_publishers[i],
                counter = p_counters[i], first = o.head + 1, appended_at = clock_timestamp()
            WHERE o.id = l.id
            RETURNING o.id, o.channel, o.epoch, o.first, o.frames, o.appended_at
            INTO log_id, log_channel, epoch, first, number, stored;
        END IF;
        INSERT INTO scaleout.frame (log, first, len, number, stored_at, bytes)
        VALUES (log_id, first, p_lens[i], number, stored, p_frames[i]);
        PERFORM pg_notify(log_channel, scaleout.notice(epoch, first, p_lens[i], p_frames[i]));
        RETURN NEXT;
    END LOOP;
END $$;

-- Where a log stands, and its frames after a place, in one snapshot: a row for each frame, or one
-- row without a frame. No row if there is no such log. A page ends with the frame that reaches
-- either limit.
CREATE FUNCTION scaleout.read(
    p_name bytea, p_epoch bytea, p_after bigint, p_messages bigint, p_bytes bigint
) RETURNS TABLE (epoch bytea, floor bigint, head bigint, first bigint, len integer, bytes bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    l record;
    lowest bigint;
    start bigint;
    from_frame bigint;
BEGIN
    SELECT o.id, o.epoch, o.head, COALESCE(t.below, 1) AS below INTO l
    FROM scaleout.log AS o LEFT JOIN scaleout.trimmed AS t ON t.log = o.id
    WHERE o.name = p_name;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT f.first INTO lowest FROM scaleout.frame AS f
    WHERE f.log = l.id AND f.first >= l.below ORDER BY f.first LIMIT 1;
    lowest := COALESCE(lowest, l.head + 1);
    start := lowest;
    IF l.epoch = p_epoch THEN
        start := GREATEST(p_after + 1, lowest);
    END IF;
    IF p_messages > 0 AND start <= l.head THEN
        -- The frame that holds the message, or else the next one there is.
        SELECT f.first INTO from_frame FROM (
            SELECT f.first, f.len FROM scaleout.frame AS f
            WHERE f.log = l.id AND f.first >= lowest AND f.first <= start
            ORDER BY f.first DESC LIMIT 1
        ) AS f WHERE f.first + f.len > start;
        IF NOT FOUND THEN
            SELECT f.first INTO from_frame FROM scaleout.frame AS f
            WHERE f.log = l.id AND f.first > start ORDER BY f.first LIMIT 1;
        END IF;
        RETURN QUERY SELECT l.epoch, lowest, l.head, f.first, f.len, f.bytes FROM (
            SELECT f.*, sum(octet_length(f.bytes)) OVER (ORDER BY f.first)
                - octet_length(f.bytes) AS before
            FROM scaleout.frame AS f
            WHERE f.log = l.id AND f.first >= from_frame
                AND f.first < GREATEST(from_frame, start) + p_messages
        ) AS f WHERE f.before < p_bytes ORDER BY f.first;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    RETURN QUERY SELECT l.epoch, lowest, l.head, NULL::bigint, NULL::integer, NULL::bytea;
END $$;

-- Where logs stand, those that there are.
CREATE FUNCTION scaleout.heads(p_names bytea[])
RETURNS TABLE (name bytea, epoch bytea, head bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.name, o.epoch, o.head FROM scaleout.log AS o WHERE o.name = ANY (p_names)
$$;

-- Drops frames of one log that are beyond its retention, oldest first, up to 256 of them and some
-- 4 MiB. Tells whether there may be more. Whoever finds another at it leaves it to him.
CREATE FUNCTION scaleout.trim(p_name bytea, p_keep bigint, p_age interval) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    l record;
    step record;
BEGIN
    SELECT o.id, o.frames, COALESCE(t.below, 1) AS below INTO l
    FROM scaleout.log AS o LEFT JOIN scaleout.trimmed AS t ON t.log = o.id
    WHERE o.name = p_name;
    IF NOT FOUND OR NOT pg_try_advisory_xact_lock(1935897700, hashint8(l.id)) THEN
        RETURN false;
    END IF;
    SELECT max(f.first + f.len) AS below, count(*) AS frames, sum(f.size) AS bytes INTO step FROM (
        SELECT f.*, sum(f.size) OVER (ORDER BY f.first) - f.size AS before FROM (
            SELECT f.first, f.len, f.number, f.stored_at, octet_length(f.bytes) AS size
            FROM scaleout.frame AS f
            WHERE f.log = l.id AND f.first >= l.below ORDER BY f.first LIMIT 256
        ) AS f
    ) AS f
    WHERE (f.number <= l.frames - p_keep OR f.stored_at < clock_timestamp() - p_age)
        AND f.before < 4194304;
    IF step.below IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO scaleout.trimmed (log, below) VALUES (l.id, step.below)
    ON CONFLICT (log) DO UPDATE SET below = EXCLUDED.below;
    DELETE FROM scaleout.frame WHERE log = l.id AND first >= l.below AND first < step.below;
    RETURN step.frames = 256 OR step.bytes >= 4194304;
END $$;

-- Looks after a hundred logs of a namespace, those with ids beyond one: retention, the publishers
-- that a log remembers (1,024), and logs that nobody has used for long. Returns the last id that
-- was looked at and the names of logs that need more trimming; no row when the end is reached or
-- another node is at it.
CREATE FUNCTION scaleout.sweep(
    p_namespace text, p_beyond bigint, p_keep bigint, p_age interval, p_idle interval
) RETURNS TABLE (beyond bigint, more bytea[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    l record;
    last_id bigint;
    unfinished bytea[] := '{}';
BEGIN
    IF NOT pg_try_advisory_xact_lock(1935897701, hashtext(p_namespace)) THEN
        RETURN;
    END IF;
    FOR l IN
        SELECT o.id, o.name, o.appended_at FROM scaleout.log AS o
        WHERE o.namespace = p_namespace AND o.id > p_beyond ORDER BY o.id LIMIT 100
    LOOP
        last_id := l.id;
        IF scaleout.trim(l.name, p_keep, p_age) THEN
            unfinished := unfinished || l.name;
        END IF;
        DELETE FROM scaleout.publisher AS p WHERE p.log = l.id AND p.first < (
            SELECT q.first FROM scaleout.publisher AS q
            WHERE q.log = l.id ORDER BY q.first DESC OFFSET 1023 LIMIT 1
        );
        IF l.appended_at < clock_timestamp() - p_idle THEN
            DELETE FROM scaleout.log AS o WHERE o.id = l.id
                AND o.appended_at < clock_timestamp() - p_idle
                AND NOT EXISTS (SELECT FROM scaleout.frame AS f WHERE f.log = o.id);
        END IF;
    END LOOP;
    IF last_id IS NOT NULL THEN
        RETURN QUERY SELECT last_id, unfinished;
    END IF;
END $$;

-- Notes where the logs live. A standby that was promoted, or a backup that was restored up to a
-- point in time, has another timeline; a dump that was loaded elsewhere has another system. Both may
-- lack what was acknowledged, and would give its numbers to other messages. So every log begins
-- anew, unless it is to continue after that (a failover). One that is to continue after nothing
-- begins anew with every start of the server. Returns whether they began anew.
CREATE FUNCTION scaleout.settle(p_continue_after text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    here scaleout.lineage;
    known scaleout.lineage;
BEGIN
    SELECT true, system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
        pg_postmaster_start_time()
    INTO here FROM pg_control_system();
    SELECT * INTO known FROM scaleout.lineage;
    IF known = here THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(1935897699, 2);
    SELECT * INTO known FROM scaleout.lineage;
    IF known = here THEN
        RETURN false;
    END IF;
    DELETE FROM scaleout.lineage;
    INSERT INTO scaleout.lineage VALUES (here.*);
    IF known.system IS NULL OR p_continue_after = 'failover' OR p_continue_after = 'restart'
        AND (known.system, known.timeline) = (here.system, here.timeline)
    THEN
        RETURN false;
    END IF;
    TRUNCATE scaleout.log, scaleout.frame, scaleout.publisher, scaleout.trimmed;
    RETURN true;
END $$;

-- A number as LEB128.
CREATE FUNCTION scaleout.varint(n bigint) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    encoded bytea := '';
BEGIN
    WHILE n > 127 LOOP
        encoded := encoded || set_byte('\x00', 0, (n & 127 | 128)::integer);
        n := n >> 7;
    END LOOP;
    RETURN encoded || set_byte('\x00', 0, n::integer);
END $$;

-- A number in eight bytes, the lowest first.
CREATE FUNCTION scaleout.little_endian(n bigint) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    encoded bytea := '\x0000000000000000';
BEGIN
    FOR i IN 0 .. 7 LOOP
        encoded := set_byte(encoded, i, (n >> (8 * i) & 255)::integer);
    END LOOP;
    RETURN encoded;
END $$;

-- A frame of one message, version 1: see `frame.rs` of scaleout-core.
CREATE FUNCTION scaleout.frame_of(
    p_publisher bytea, p_counter bigint, p_at bigint, p_payload bytea, p_headers jsonb
) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    headers bytea := '';
    count integer := 0;
    header record;
BEGIN
    FOR header IN
        SELECT convert_to(key, 'UTF8') AS name, convert_to(value, 'UTF8') AS value
        FROM jsonb_each_text(p_headers)
    LOOP
        headers := headers || scaleout.varint(octet_length(header.name)) || header.name
            || scaleout.varint(octet_length(header.value)) || header.value;
        count := count + 1;
    END LOOP;
    RETURN '\x0100'::bytea || p_publisher || scaleout.little_endian(p_counter)
        || scaleout.little_endian(p_at) || scaleout.varint(1) || scaleout.varint(count) || headers
        || scaleout.varint(octet_length(p_payload)) || p_payload;
END $$;

-- Publishes a message as part of the calling transaction: everybody gets it if and when that
-- commits, and nobody if it does not. Returns the sequence. Other publishes to the topic wait
-- until the transaction ends, so publish last, and to several topics always in the same order.
CREATE FUNCTION scaleout.publish(
    topic text, payload bytea, namespace text DEFAULT 'scaleout', headers jsonb DEFAULT '{}'
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    topic_name bytea := convert_to(topic, 'UTF8');
    l scaleout.log;
    frame bytea;
BEGIN
    IF topic_name IS NULL OR octet_length(topic_name) NOT BETWEEN 1 AND 255 THEN
        RAISE EXCEPTION 'a topic has 1 to 255 bytes' USING ERRCODE = 'invalid_parameter_value';
    ELSIF namespace IS NULL OR namespace !~ '^[A-Za-z0-9_.-]{1,64}$' THEN
        RAISE EXCEPTION 'a namespace has 1 to 64 characters of A-Z a-z 0-9 _ . -'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF payload IS NULL OR octet_length(payload) > 8000000 THEN
        RAISE EXCEPTION 'a payload has up to 8000000 bytes' USING ERRCODE = 'invalid_parameter_value';
    ELSIF headers IS NULL OR jsonb_typeof(headers) <> 'object' THEN
        RAISE EXCEPTION 'headers are an object of texts' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    l := scaleout.lock_log(namespace, convert_to(namespace || '/t/', 'UTF8') || topic_name);
    UPDATE scaleout.log AS o SET
        head = o.head + 1, frames = o.frames + 1, published = o.published + 1,
        appended_at = clock_timestamp()
    WHERE o.id = l.id RETURNING o.* INTO l;
    -- One publisher per life of a log. Its counter is under the row lock, so it has no holes.
    frame := scaleout.frame_of(
        substr(sha256(l.epoch || 'scaleout.publish'::bytea), 1, 16), l.published,
        (extract(epoch FROM l.appended_at) * 1000)::bigint, payload, headers);
    INSERT INTO scaleout.frame (log, first, len, number, stored_at, bytes)
    VALUES (l.id, l.head, 1, l.frames, l.appended_at, frame);
    PERFORM pg_notify(l.channel, scaleout.notice(l.epoch, l.head, 1, frame));
    RETURN l.head;
END $$;

CREATE FUNCTION scaleout.publish(
    topic text, payload text, namespace text DEFAULT 'scaleout', headers jsonb DEFAULT '{}'
) RETURNS bigint
LANGUAGE sql AS $$
    SELECT scaleout.publish(topic, convert_to(payload, 'UTF8'), namespace, headers)
$$;

-- For people: what is there.
CREATE VIEW scaleout.logs AS
SELECT o.id, encode(o.name, 'escape') AS name, encode(o.epoch, 'hex') AS epoch, o.head,
    COALESCE(t.below, 1) AS floor, o.frames, o.appended_at
FROM scaleout.log AS o LEFT JOIN scaleout.trimmed AS t ON t.log = o.id;

-- What stands behind the functions is not for others to call.
REVOKE EXECUTE ON FUNCTION
    scaleout.lock_log, scaleout.forget
FROM PUBLIC;

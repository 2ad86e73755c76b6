-- The journal: one row per record, one chain over all of them.
-- body is TEXT, not JSONB: the hash covers the bytes.
CREATE TABLE journal (
    position  BIGINT PRIMARY KEY CHECK (position >= 1),
    stream    TEXT COLLATE "C" NOT NULL,
    seq       BIGINT NOT NULL CHECK (seq >= 1),
    at_ms     BIGINT NOT NULL,
    kind      TEXT NOT NULL,
    body      TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL,
    UNIQUE (stream, seq)
);

-- One row: who may append, and which tokens are out of date.
CREATE TABLE lease (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    token         BIGINT NOT NULL,
    host          TEXT,
    pid           BIGINT,
    process_start TEXT,
    until_ms      BIGINT NOT NULL
);
INSERT INTO lease (id, token, until_ms) VALUES (1, 0, 0);

CREATE FUNCTION journal_appends_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.position <> (SELECT coalesce(max(position), 0) + 1 FROM journal) THEN
        RAISE EXCEPTION 'the journal is append-only: a record follows the last one';
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION journal_refuses_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only: a record is never changed or removed';
END
$$;
CREATE TRIGGER journal_appends_only BEFORE INSERT ON journal
    FOR EACH ROW EXECUTE FUNCTION journal_appends_only();
CREATE TRIGGER journal_refuses_change BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION journal_refuses_change();
CREATE TRIGGER journal_refuses_truncate BEFORE TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION journal_refuses_change();

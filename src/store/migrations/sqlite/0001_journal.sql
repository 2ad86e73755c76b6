-- The journal: one row per record, one chain over all of them. STRICT keeps the types honest.
CREATE TABLE journal (
    position  INTEGER PRIMARY KEY CHECK (position >= 1),
    stream    TEXT NOT NULL,
    seq       INTEGER NOT NULL CHECK (seq >= 1),
    at_ms     INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    body      TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL,
    UNIQUE (stream, seq)
) STRICT;

-- One row: who may append, and which tokens are out of date.
CREATE TABLE lease (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    token         INTEGER NOT NULL,
    host          TEXT,
    pid           INTEGER,
    process_start TEXT,
    until_ms      INTEGER NOT NULL
) STRICT;
INSERT INTO lease (id, token, until_ms) VALUES (1, 0, 0);

-- INSERT OR REPLACE would remove a row without firing the trigger on DELETE, so a record may only follow the last one.
CREATE TRIGGER journal_appends_only BEFORE INSERT ON journal
WHEN NEW.position <> (SELECT coalesce(max(position), 0) + 1 FROM journal)
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only: a record follows the last one');
END;
CREATE TRIGGER journal_refuses_update BEFORE UPDATE ON journal
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only: a record is never changed');
END;
CREATE TRIGGER journal_refuses_delete BEFORE DELETE ON journal
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only: a record is never removed');
END;

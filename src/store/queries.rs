//! Every SQL text of the store. `$1` works in both databases, so all but the locking is written once;
//! the contract suite prepares each on both.

pub(super) const READ: &str = "SELECT position, stream, seq, at_ms, kind, body, prev_hash, hash \
     FROM journal WHERE position > $1 ORDER BY position LIMIT $2";
pub(super) const LOAD: &str = "SELECT position, stream, seq, at_ms, kind, body, prev_hash, hash \
     FROM journal WHERE stream = $1 ORDER BY seq";
pub(super) const STREAM_LENGTH: &str = "SELECT coalesce(max(seq), 0) FROM journal WHERE stream = $1";
pub(super) const HEAD: &str = "SELECT position, hash FROM journal ORDER BY position DESC LIMIT 1";
pub(super) const INSERT: &str = "INSERT INTO journal \
     (position, stream, seq, at_ms, kind, body, prev_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

pub(super) const TAKE_LEASE: &str =
    "UPDATE lease SET token = $1, host = $2, pid = $3, process_start = $4, until_ms = $5 WHERE id = 1";
pub(super) const RENEW_LEASE: &str = "UPDATE lease SET until_ms = $1 WHERE id = 1";
pub(super) const RELEASE_LEASE: &str =
    "UPDATE lease SET host = NULL, pid = NULL, process_start = NULL, until_ms = 0 WHERE id = 1";

/// What only SQLite understands.
pub(super) mod sqlite {
    /// Takes the write lock at once: a transaction that reads first and writes later can fail with
    /// "database is locked" whatever the busy time-out.
    pub(in crate::store) const BEGIN: &str = "BEGIN IMMEDIATE";
    pub(in crate::store) const LOCK_LEASE: &str = "SELECT token, host, pid, process_start, until_ms FROM lease WHERE id = 1";
}

/// What only PostgreSQL understands.
pub(super) mod postgres {
    /// The level matters: after waiting for the lease's row, the next statement must see what the former holder
    /// of that lock committed.
    pub(in crate::store) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    /// The one lock of every write: appends and lease changes queue here, so they cannot deadlock.
    pub(in crate::store) const LOCK_LEASE: &str =
        "SELECT token, host, pid, process_start, until_ms FROM lease WHERE id = 1 FOR UPDATE";
    /// Not `now()`, which stands still while the transaction waits for its lock.
    pub(in crate::store) const NOW_MS: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    pub(in crate::store) const ENCODING: &str = "SELECT current_setting('server_encoding')";
    /// Bounds every wait, and keeps a commit from being answered before it is on disk.
    pub(in crate::store) const SESSION: &str = "SET lock_timeout = '10s'; SET statement_timeout = '60s'; \
         SET idle_in_transaction_session_timeout = '60s'; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
}

/// What both databases must be able to prepare.
pub const SHARED: [&str; 8] = [READ, LOAD, STREAM_LENGTH, HEAD, INSERT, TAKE_LEASE, RENEW_LEASE, RELEASE_LEASE];
/// What SQLite alone must be able to prepare.
pub const ONLY_SQLITE: [&str; 2] = [sqlite::BEGIN, sqlite::LOCK_LEASE];
/// What PostgreSQL alone must be able to prepare. Not here: `BEGIN` and the session's settings, which are sent
/// unprepared and run with every connection.
pub const ONLY_POSTGRES: [&str; 3] = [postgres::LOCK_LEASE, postgres::NOW_MS, postgres::ENCODING];

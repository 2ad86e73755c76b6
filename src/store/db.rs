//! The two databases behind one face: connecting, transactions, and what their errors mean.
//!
//! One `enum` and a macro rather than a generic layer: the SQL is written once, and the few lines that differ
//! stand side by side. Transactions begin only in [`Db::begin`], inside a task of their own (see [`detached`]).

use std::future::Future;
use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{PgPool, Postgres, Row, Sqlite, SqlitePool, Transaction};

use crate::clock;
use crate::domain::Hash;

use super::error::StoreError;
use super::holder::Holder;
use super::journal::RawRecord;
use super::queries;

/// Runs the same expression over whichever of the two it is.
macro_rules! on {
    ($either:expr, $enum:ident, $inner:ident => $body:expr) => {
        match $either {
            $enum::Sqlite($inner) => $body,
            $enum::Postgres($inner) => $body,
        }
    };
}
pub(super) use on;

/// The pool of connections.
#[derive(Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// An open database. Clones share the pool.
#[derive(Clone)]
pub(super) struct Db {
    pub(super) pool: Pool,
    /// The address without its password.
    pub(super) place: Arc<str>,
}

/// A transaction that holds the lock of every write. Dropped without [`Tx::commit`], it changes nothing.
pub(super) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// The lease's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaseRow {
    pub(super) token: i64,
    /// `None`: released, or never taken.
    pub(super) holder: Option<Holder>,
    pub(super) until_ms: i64,
}

/// Runs a write to its end whatever happens to the caller.
///
/// A future dropped in the middle of `BEGIN` would leave a PostgreSQL connection inside a transaction and hand it
/// out again (sqlx 0.9.0, issue 4393); one dropped in the middle of a commit would leave the caller in doubt.
pub(super) async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime is going down, and so is whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Db {
    /// Begins a write. Call it within [`detached`] only.
    pub(super) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        Ok(match &self.pool {
            Pool::Sqlite(pool) => Tx::Sqlite(pool.begin_with(queries::sqlite::BEGIN).await?),
            Pool::Postgres(pool) => Tx::Postgres(pool.begin_with(queries::postgres::BEGIN).await?),
        })
    }

    /// Says what `error` means while `doing` something.
    pub(super) fn error(&self, doing: &'static str, error: sqlx::Error) -> StoreError {
        classify(&self.place, doing, error)
    }
}

impl Tx {
    /// Reads the lease, and locks out every other write until the end of the transaction.
    pub(super) async fn lock_lease(&mut self) -> Result<LeaseRow, sqlx::Error> {
        match self {
            Self::Sqlite(tx) => lease_row(&sqlx::query(queries::sqlite::LOCK_LEASE).fetch_one(&mut **tx).await?),
            Self::Postgres(tx) => lease_row(&sqlx::query(queries::postgres::LOCK_LEASE).fetch_one(&mut **tx).await?),
        }
    }

    /// The store's clock, in milliseconds since 1970: the machine's for a file, the server's for a server,
    /// so that all who share a store share its time.
    pub(super) async fn now_ms(&mut self) -> Result<i64, sqlx::Error> {
        match self {
            Self::Sqlite(_) => Ok(clock::wall_now().timestamp_millis()),
            Self::Postgres(tx) => sqlx::query_scalar(queries::postgres::NOW_MS).fetch_one(&mut **tx).await,
        }
    }

    pub(super) async fn take_lease(&mut self, token: i64, holder: &Holder, until_ms: i64) -> Result<(), sqlx::Error> {
        on!(self, Self, tx => sqlx::query(queries::TAKE_LEASE)
            .bind(token)
            .bind(&holder.host)
            .bind(i64::from(holder.pid))
            .bind(&holder.process_start)
            .bind(until_ms)
            .execute(&mut **tx)
            .await
            .map(drop))
    }

    pub(super) async fn renew_lease(&mut self, until_ms: i64) -> Result<(), sqlx::Error> {
        on!(self, Self, tx => sqlx::query(queries::RENEW_LEASE).bind(until_ms).execute(&mut **tx).await.map(drop))
    }

    pub(super) async fn release_lease(&mut self) -> Result<(), sqlx::Error> {
        on!(self, Self, tx => sqlx::query(queries::RELEASE_LEASE).execute(&mut **tx).await.map(drop))
    }

    /// How many records `stream` has.
    pub(super) async fn stream_length(&mut self, stream: &str) -> Result<i64, sqlx::Error> {
        on!(self, Self, tx => sqlx::query_scalar(queries::STREAM_LENGTH).bind(stream).fetch_one(&mut **tx).await)
    }

    /// The last record's position and hash, if there is a record.
    pub(super) async fn head(&mut self) -> Result<Option<(i64, String)>, sqlx::Error> {
        on!(self, Self, tx => sqlx::query_as(queries::HEAD).fetch_optional(&mut **tx).await)
    }

    pub(super) async fn insert(&mut self, row: &NewRow<'_>) -> Result<(), sqlx::Error> {
        on!(self, Self, tx => sqlx::query(queries::INSERT)
            .bind(row.position)
            .bind(row.stream)
            .bind(row.seq)
            .bind(row.at_ms)
            .bind(row.kind)
            .bind(row.body)
            .bind(row.prev_hash.to_string())
            .bind(row.hash.to_string())
            .execute(&mut **tx)
            .await
            .map(drop))
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        on!(self, Self, tx => tx.commit().await)
    }

    /// Gives the lock back at once. An error here changes nothing: what was not committed is undone anyway.
    pub(super) async fn rollback(self) {
        let _ = on!(self, Self, tx => tx.rollback().await);
    }
}

/// A row that is to be inserted.
pub(super) struct NewRow<'a> {
    pub(super) position: i64,
    pub(super) stream: &'a str,
    pub(super) seq: i64,
    pub(super) at_ms: i64,
    pub(super) kind: &'a str,
    pub(super) body: &'a str,
    pub(super) prev_hash: &'a Hash,
    pub(super) hash: &'a Hash,
}

fn lease_row<'r, R>(row: &'r R) -> Result<LeaseRow, sqlx::Error>
where
    R: Row,
    usize: sqlx::ColumnIndex<R>,
    i64: sqlx::Decode<'r, R::Database>,
    Option<i64>: sqlx::Decode<'r, R::Database>,
    Option<String>: sqlx::Decode<'r, R::Database>,
{
    let host: Option<String> = row.try_get_unchecked(1)?;
    let pid: Option<i64> = row.try_get_unchecked(2)?;
    let process_start: Option<String> = row.try_get_unchecked(3)?;
    let holder = host.map(|host| Holder {
        host,
        pid: pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
        process_start: process_start.unwrap_or_default(),
    });
    Ok(LeaseRow { token: row.try_get_unchecked(0)?, holder, until_ms: row.try_get_unchecked(4)? })
}

/// Reads a row as bytes, without asking whether they are text: the audit must see what is there.
pub(super) trait AsRaw {
    fn as_raw(&self) -> Result<RawRecord, sqlx::Error>;
}

impl AsRaw for SqliteRow {
    fn as_raw(&self) -> Result<RawRecord, sqlx::Error> {
        raw_record(self)
    }
}

impl AsRaw for PgRow {
    fn as_raw(&self) -> Result<RawRecord, sqlx::Error> {
        raw_record(self)
    }
}

fn raw_record<'r, R>(row: &'r R) -> Result<RawRecord, sqlx::Error>
where
    R: Row,
    usize: sqlx::ColumnIndex<R>,
    i64: sqlx::Decode<'r, R::Database>,
    Vec<u8>: sqlx::Decode<'r, R::Database>,
{
    Ok(RawRecord {
        position: row.try_get_unchecked(0)?,
        stream: row.try_get_unchecked(1)?,
        seq: row.try_get_unchecked(2)?,
        at_ms: row.try_get_unchecked(3)?,
        kind: row.try_get_unchecked(4)?,
        body: row.try_get_unchecked(5)?,
        prev_hash: row.try_get_unchecked(6)?,
        hash: row.try_get_unchecked(7)?,
    })
}

/// Whether an error that answered a `COMMIT` says for certain that nothing was committed.
pub(super) fn is_certain_failure(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else {
        return false;
    };
    match Meaning::of(error) {
        Meaning::Busy | Meaning::Full => true,
        // PostgreSQL tells a session that it ends without telling how its commit ended.
        Meaning::Unreachable | Meaning::Closed(_) | Meaning::Other => false,
    }
}

/// Sorts a driver's error into ours.
pub(super) fn classify(place: &str, doing: &'static str, error: sqlx::Error) -> StoreError {
    let place = place.to_owned();
    let meaning = match &error {
        sqlx::Error::Database(error) => Meaning::of(error.as_ref()),
        sqlx::Error::PoolTimedOut => {
            let reason = "no connection could be made in time: is the server up and reachable?".to_owned();
            return StoreError::Unavailable { doing, place, reason };
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Meaning::Unreachable,
        // Foreign and open-ended: what is not known to pass is taken as lasting.
        _ => Meaning::Other,
    };
    let reason = match &error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    };
    match meaning {
        Meaning::Full => StoreError::Full { doing, place },
        Meaning::Busy | Meaning::Unreachable => StoreError::Unavailable { doing, place, reason },
        Meaning::Closed(advice) => StoreError::CannotOpen { place, reason: format!("{reason}; {advice}") },
        Meaning::Other => StoreError::Refused { doing, place, reason },
    }
}

/// What a database's own error amounts to for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Someone else is at it; the transaction is undone.
    Busy,
    /// No room; the transaction is undone.
    Full,
    /// The connection or the server is going.
    Unreachable,
    /// A person must change something; the advice says what.
    Closed(&'static str),
    Other,
}

impl Meaning {
    fn of(error: &dyn sqlx::error::DatabaseError) -> Self {
        let code = error.code().unwrap_or_default();
        if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            // The low byte is the primary result code: <https://www.sqlite.org/rescode.html>.
            code.parse::<u32>().map_or(Self::Other, |code| Self::of_sqlite(code & 0xff))
        } else {
            Self::of_sql_state(&code)
        }
    }

    fn of_sqlite(primary: u32) -> Self {
        match primary {
            5 | 6 => Self::Busy,
            10 => Self::Unreachable,
            13 => Self::Full,
            8 => Self::Closed("make the file and its folder writable for the user that runs pointsman"),
            11 => Self::Closed("the file is damaged: restore it from a backup, and keep this one for inspection"),
            14 => Self::Closed("check that the folder exists and is writable for the user that runs pointsman"),
            26 => Self::Closed("the file is no SQLite database: name another file, this one was left as it is"),
            _ => Self::Other,
        }
    }

    /// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn of_sql_state(code: &str) -> Self {
        match code {
            "53100" => Self::Full,
            // Serialization failure, deadlock, lock time-out, statement time-out.
            "40001" | "40P01" | "55P03" | "57014" => Self::Busy,
            // Shutdown, crash, start-up, too many connections, a standby's read-only transaction, idle time-out.
            "57P01" | "57P02" | "57P03" | "53300" | "25006" | "25P03" => Self::Unreachable,
            "28P01" | "28000" => Self::Closed("check the user and the password in the journal's address"),
            "3D000" => Self::Closed("create the database (`createdb`) or name another in the journal's address"),
            "42501" => Self::Closed("grant the user CREATE and USAGE on the schema, or let it own the database"),
            _ if code.starts_with("08") => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_lasts() {
        assert_eq!(Meaning::of_sqlite(517 & 0xff), Meaning::Busy, "SQLITE_BUSY_SNAPSHOT");
        assert_eq!(Meaning::of_sqlite(13), Meaning::Full);
        assert_eq!(Meaning::of_sql_state("08006"), Meaning::Unreachable);
        assert_eq!(Meaning::of_sql_state("53100"), Meaning::Full);
        assert!(matches!(Meaning::of_sql_state("28P01"), Meaning::Closed(_)));
        assert_eq!(Meaning::of_sql_state("22P02"), Meaning::Other);
    }

    #[test]
    fn a_full_disk_says_what_to_do_and_is_worth_another_try() {
        let error = StoreError::Full { doing: "appending", place: "/var/lib/p/journal.db".to_owned() };
        assert!(error.is_retryable());
        assert_eq!(
            error.to_string(),
            "appending: no space left for the journal /var/lib/p/journal.db; nothing was written, \
             free some and it goes on by itself"
        );
    }
}

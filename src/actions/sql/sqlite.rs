//! Statements on SQLite files, on a thread of their own that can be interrupted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{Value as SqliteValue, ValueRef};
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags};
use serde_json::{Number, Value};

use super::{Bind, Row, Rows, Statement};
use crate::actions::action::Trouble;
use crate::actions::context::Context;

/// How long to wait for another writer before giving up: applications hold the lock for milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a blob a result shows, in bytes.
const BLOB_BYTES_MAX: usize = 1_024;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::actions) enum OpenMode {
    Read,
    Write,
}

pub(super) async fn read(context: &Context, path: PathBuf, statement: &Statement<'_>) -> Result<Rows, Trouble> {
    let (sql, params, rows_max) = (statement.sql.to_owned(), values(statement.params), statement.rows_max);
    let work = move |connection: &Connection, path: &Path| {
        let failed = |error| explain(path, "reading from", &error);
        let mut prepared = prepare_one(connection, path, &sql)?;
        if !prepared.readonly() {
            return Err(Trouble::lasting(
                "the statement would change something; say `write: true` if it is meant to; nothing was done",
            ));
        }
        let names: Vec<String> = prepared.column_names().iter().map(|name| (*name).to_owned()).collect();
        let mut found = prepared.query(rusqlite::params_from_iter(params)).map_err(failed)?;
        let mut rows = Vec::new();
        while rows.len() <= rows_max as usize
            && let Some(row) = found.next().map_err(failed)?
        {
            let value = |(index, name): (usize, &String)| Ok((name.clone(), to_json(row.get_ref(index).map_err(failed)?)));
            rows.push(names.iter().enumerate().map(value).collect::<Result<Row, Trouble>>()?);
        }
        Ok(Rows::limited(rows, rows_max))
    };
    in_thread(context, path, OpenMode::Read, Some(statement.timeout.std()), work).await
}

pub(super) async fn write(context: &Context, path: PathBuf, statement: &Statement<'_>) -> Result<u64, Trouble> {
    let (sql, params) = (statement.sql.to_owned(), values(statement.params));
    let work = move |connection: &Connection, path: &Path| {
        let failed = |error| explain(path, "writing to", &error);
        connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let mut prepared = prepare_one(connection, path, &sql)?;
        let mut rows = prepared.query(rusqlite::params_from_iter(params)).map_err(failed)?;
        // Rows of a RETURNING clause are read to the end: only then is the statement done.
        while rows.next().map_err(failed)?.is_some() {}
        drop(rows);
        drop(prepared);
        let changed = connection.changes();
        connection.execute_batch("COMMIT").map_err(failed)?;
        Ok(changed)
    };
    in_thread(context, path, OpenMode::Write, Some(statement.timeout.std()), work).await
}

pub(super) async fn prepare(context: &Context, path: PathBuf, statement: &Statement<'_>) -> Result<(), Trouble> {
    let sql = statement.sql.to_owned();
    let work = move |connection: &Connection, path: &Path| prepare_one(connection, path, &sql).map(|_| ());
    in_thread(context, path, OpenMode::Read, Some(statement.timeout.std()), work).await
}

fn prepare_one<'a>(connection: &'a Connection, path: &Path, sql: &str) -> Result<rusqlite::Statement<'a>, Trouble> {
    let mut batch = rusqlite::Batch::new(connection, sql);
    let failed = |error| explain(path, "preparing a statement on", &error);
    let first = batch.next().map_err(failed)?.ok_or_else(|| Trouble::lasting("`sql` holds no statement"))?;
    match batch.next() {
        Ok(None) => Ok(first),
        Ok(Some(_)) | Err(_) => {
            Err(Trouble::lasting("`sql` holds more than one statement; make a step of each; nothing was done"))
        }
    }
}

/// Works on the file on a thread of its own. Cancelling and the time-out interrupt the statement under way.
pub(in crate::actions) async fn in_thread<T: Send + 'static>(
    context: &Context,
    path: PathBuf,
    mode: OpenMode,
    timeout: Option<Duration>,
    work: impl FnOnce(&Connection, &Path) -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    let (hand_over, handle) = tokio::sync::oneshot::channel::<InterruptHandle>();
    let shown = path.display().to_string();
    let mut thread = tokio::task::spawn_blocking(move || {
        let connection = open(&path, mode)?;
        let _ = hand_over.send(connection.get_interrupt_handle());
        work(&connection, &path)
    });
    let limit = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let stopped = tokio::select! {
        biased;
        done = &mut thread => return joined(done),
        () = context.cancel.cancelled() => Trouble::Cancelled,
        () = limit => Trouble::passing(format!(
            "the SQLite file {shown}: the statement took longer than {} s and was interrupted", timeout.unwrap_or_default().as_secs()
        )),
    };
    if let Ok(handle) = handle.await {
        handle.interrupt();
    }
    match joined(thread.await) {
        // It was done before the interruption reached it.
        Ok(value) => Ok(value),
        Err(_) => Err(stopped),
    }
}

fn joined<T>(done: Result<Result<T, Trouble>, tokio::task::JoinError>) -> Result<T, Trouble> {
    done.unwrap_or_else(|error| Err(Trouble::Unknown { why: format!("the thread that worked on the SQLite file died: {error}") }))
}

/// Opens a file that exists.
pub(in crate::actions) fn open(path: &Path, mode: OpenMode) -> Result<Connection, Trouble> {
    let flags = match mode {
        OpenMode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        OpenMode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let failed = |error| explain(path, "opening", &error);
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // Opening reads nothing: this is where a file that is no database shows.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
    Ok(connection)
}

/// An error of SQLite for people.
pub(in crate::actions) fn explain(path: &Path, doing: &str, error: &rusqlite::Error) -> Trouble {
    let file = path.display();
    let message = format!("{doing} the SQLite file {file}: {error}");
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Trouble::passing(format!("{message}; another program writes to it, try again later"))
        }
        Some(ErrorCode::DiskFull) => Trouble::passing(format!("{message}; free some space and try again")),
        Some(ErrorCode::CannotOpen) => match std::fs::File::open(path) {
            Err(reason) => Trouble::lasting(format!("{message} ({reason})")),
            Ok(_) => Trouble::lasting(message),
        },
        Some(ErrorCode::NotADatabase) => Trouble::lasting(format!("{message}; is it encrypted, or another kind of file?")),
        Some(ErrorCode::DatabaseCorrupt) => Trouble::lasting(format!("{message}; it is damaged, restore it from a backup first")),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OperationInterrupted | ErrorCode::OutOfMemory) => Trouble::passing(message),
        _ => Trouble::lasting(message),
    }
}

fn values(params: &[Bind]) -> Vec<SqliteValue> {
    let value = |param: &Bind| match param {
        Bind::Null(()) => SqliteValue::Null,
        Bind::Boolean(boolean) => SqliteValue::Integer(i64::from(*boolean)),
        Bind::Integer(integer) => SqliteValue::Integer(*integer),
        Bind::Real(real) => SqliteValue::Real(*real),
        Bind::Text(text) => SqliteValue::Text(text.clone()),
    };
    params.iter().map(value).collect()
}

/// Blobs come as PostgreSQL writes them, `\x` and hex digits; numbers that JSON cannot hold as text.
fn to_json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::from(integer),
        ValueRef::Real(real) => Number::from_f64(real).map_or_else(|| Value::from(real.to_string()), Value::Number),
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(blob) => {
            let more = if blob.len() > BLOB_BYTES_MAX { "…" } else { "" };
            Value::from(format!("\\x{}{more}", hex::encode(&blob[..blob.len().min(BLOB_BYTES_MAX)])))
        }
    }
}

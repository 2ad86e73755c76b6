//! What a copy leaves in the target about itself, so that it can be resumed, undone or explained.
//!
//! All of it stands in the schema `pointsman_transfer` of the target. A checkpoint is written in the same
//! transaction as the rows that it covers. Each resumption raises the copy's epoch; a batch of an older epoch
//! finds no row to update and rolls back, so a writer that was thought dead cannot add a row twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::create::{Deferred, Offenders};
use super::digest::Running;
use super::error::{Error, Fault, FaultCode};
use super::source::LeftOut;
use super::target::execute;

/// Tables of the checkpoint schema. New columns come with `ADD COLUMN IF NOT EXISTS`: a copy may have been begun by an
/// older version.
const TABLES: &str = "
CREATE SCHEMA IF NOT EXISTS pointsman_transfer;
CREATE TABLE IF NOT EXISTS pointsman_transfer.copy (
  copy_id text PRIMARY KEY, digest text NOT NULL, creates boolean NOT NULL, tables text[] NOT NULL, epoch bigint NOT NULL,
  report text, begun_at timestamptz NOT NULL DEFAULT now(), ended_at timestamptz);
CREATE TABLE IF NOT EXISTS pointsman_transfer.part (
  copy_id text NOT NULL REFERENCES pointsman_transfer.copy ON DELETE CASCADE, table_name text NOT NULL, part integer NOT NULL,
  low bigint, high bigint, last_key text, loaded bigint NOT NULL DEFAULT 0, quarantined bigint NOT NULL DEFAULT 0,
  running text NOT NULL DEFAULT '0', done boolean NOT NULL DEFAULT false, epoch bigint NOT NULL, PRIMARY KEY (copy_id, table_name, part));
CREATE TABLE IF NOT EXISTS pointsman_transfer.deferred (
  copy_id text NOT NULL REFERENCES pointsman_transfer.copy ON DELETE CASCADE, position integer NOT NULL, wave integer NOT NULL,
  table_name text NOT NULL, what text NOT NULL, statement text NOT NULL, optional boolean NOT NULL, done boolean NOT NULL DEFAULT false,
  reverse text, offence text, offenders text, PRIMARY KEY (copy_id, position));
CREATE TABLE IF NOT EXISTS pointsman_transfer.change (
  copy_id text NOT NULL REFERENCES pointsman_transfer.copy ON DELETE CASCADE, table_name text NOT NULL, column_name text NOT NULL, rule text NOT NULL,
  values_changed bigint NOT NULL, PRIMARY KEY (copy_id, table_name, column_name, rule));
CREATE TABLE IF NOT EXISTS pointsman_transfer.swept (
  copy_id text NOT NULL REFERENCES pointsman_transfer.copy ON DELETE CASCADE, table_name text NOT NULL, swept bigint NOT NULL,
  PRIMARY KEY (copy_id, table_name));
CREATE TABLE IF NOT EXISTS pointsman_transfer.left_out (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, copy_id text NOT NULL REFERENCES pointsman_transfer.copy ON DELETE CASCADE,
  kind text NOT NULL, name text NOT NULL, reason text NOT NULL);
CREATE TABLE IF NOT EXISTS pointsman_transfer.quarantine (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, copy_id text NOT NULL, table_name text NOT NULL, row_key text NOT NULL,
  column_name text NOT NULL, value text NOT NULL, code text NOT NULL, reason text NOT NULL, row_hash text);
CREATE INDEX IF NOT EXISTS quarantine_copy ON pointsman_transfer.quarantine (copy_id, table_name);";

/// The name of a row, as it is stored and compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Key {
    Rowid(i64),
    Primary(Vec<KeyValue>),
}

/// One value of a primary key, exactly as SQLite has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyValue {
    Null,
    Integer(i64),
    /// The bits, because JSON has no infinities and the order must be exact.
    Real(u64),
    Text(#[serde(with = "hex")] Vec<u8>),
    Blob(#[serde(with = "hex")] Vec<u8>),
}

/// A range of one table's rows with how far it has come.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The table, by its name in the source.
    pub(super) table: String,
    pub(super) number: i32,
    /// Rowids from here, inclusive; `None` is open.
    pub(super) low: Option<i64>,
    /// Rowids up to here, inclusive; `None` is open.
    pub(super) high: Option<i64>,
    /// The last row that is committed.
    pub(super) last_key: Option<Key>,
    pub(super) loaded: u64,
    pub(super) quarantined: u64,
    /// Digest over all rows up to `last_key`.
    pub(super) running: Running,
    pub(super) done: bool,
}

impl Part {
    /// A part that nothing was read of yet.
    pub(super) fn fresh(table: &str, number: usize, low: Option<i64>, high: Option<i64>) -> Self {
        Self {
            table: table.to_owned(),
            number: i32::try_from(number).unwrap_or(i32::MAX),
            low,
            high,
            last_key: None,
            loaded: 0,
            quarantined: 0,
            running: Running::default(),
            done: false,
        }
    }

    /// Rows of the source that this part has dealt with.
    pub(super) fn seen(&self) -> u64 {
        self.loaded + self.quarantined
    }
}

/// A copy as the target remembers it.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) digest: String,
    pub(super) creates: bool,
    /// The target's tables, quoted and with their schema.
    pub(super) tables: Vec<String>,
    /// The final report, once the copy is done.
    pub(super) report: Option<String>,
}

/// Numbers are never negative where they are written.
fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How often the lock is asked for, and the pause between: the server needs a moment to notice that the holder died.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(250);

/// Takes the session lock that makes this process the only one that works on the copy.
///
/// # Errors
/// [`Error::Busy`] when another session keeps holding it.
pub(super) async fn lock(connection: &mut PgConnection, copy_id: &str) -> Result<(), Error> {
    for _ in 0..LOCK_TRIES {
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('pointsman copy ' || $1, 0))")
            .bind(copy_id)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| Error::server("locking the copy", &error))?;
        if taken {
            return Ok(());
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(Error::Busy { copy_id: copy_id.to_owned() })
}

/// What the target remembers of this copy; `None` when it was never begun there.
pub(super) async fn find(connection: &mut PgConnection, copy_id: &str) -> Result<Option<Begun>, Error> {
    let failed = |error| Error::server("looking for checkpoints", &error);
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('pointsman_transfer.copy') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if !exists {
        return Ok(None);
    }
    let row = sqlx::query("SELECT digest, creates, tables, report FROM pointsman_transfer.copy WHERE copy_id = $1")
        .bind(copy_id)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let read =
        || Ok(Begun { digest: row.try_get(0)?, creates: row.try_get(1)?, tables: row.try_get(2)?, report: row.try_get(3)? });
    read().map(Some).map_err(failed)
}

/// What is written when a copy begins, together with the first changes of the schema.
pub(super) struct Beginning<'a> {
    pub(super) copy_id: &'a str,
    pub(super) digest: &'a str,
    pub(super) creates: bool,
    pub(super) tables: &'a [String],
    pub(super) parts: &'a [Part],
    /// Statements that run now, in order, with what they do.
    pub(super) before: &'a [(String, String)],
    pub(super) deferred: &'a [Deferred],
    /// What these statements do not carry over.
    pub(super) left_out: &'a [LeftOut],
}

/// Begins a copy: checkpoint tables, schema statements and parts, all or none. The epoch is 1.
pub(super) async fn begin(connection: &mut PgConnection, beginning: &Beginning<'_>) -> Result<(), Error> {
    execute(connection, "beginning the copy", "BEGIN; SELECT pg_advisory_xact_lock(7012026)").await?;
    execute(connection, "creating the checkpoint tables in schema `pointsman_transfer`", TABLES).await?;
    let failed = |error| Error::server("writing the first checkpoint", &error);
    sqlx::query("INSERT INTO pointsman_transfer.copy (copy_id, digest, creates, tables, epoch) VALUES ($1, $2, $3, $4, 1)")
        .bind(beginning.copy_id)
        .bind(beginning.digest)
        .bind(beginning.creates)
        .bind(beginning.tables)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    for part in beginning.parts {
        sqlx::query(
            "INSERT INTO pointsman_transfer.part (copy_id, table_name, part, low, high, epoch) VALUES ($1, $2, $3, $4, $5, 1)",
        )
        .bind(beginning.copy_id)
        .bind(&part.table)
        .bind(part.number)
        .bind(part.low)
        .bind(part.high)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    for (what, statement) in beginning.before {
        execute(connection, what, statement.as_str()).await?;
    }
    for (position, deferred) in (0_i32..).zip(beginning.deferred) {
        sqlx::query("INSERT INTO pointsman_transfer.deferred (copy_id, position, wave, table_name, what, statement, optional, reverse, offence, offenders) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
            .bind(beginning.copy_id)
            .bind(position)
            .bind(deferred.wave)
            .bind(&deferred.table)
            .bind(&deferred.what)
            .bind(&deferred.sql)
            .bind(deferred.optional)
            .bind(&deferred.reverse)
            .bind(deferred.offenders.as_ref().map(|offenders| offenders.code.as_str()))
            .bind(deferred.offenders.as_ref().map(|offenders| &offenders.sql))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    for item in beginning.left_out {
        leave_out(connection, beginning.copy_id, item).await?;
    }
    execute(connection, "beginning the copy", "COMMIT").await
}

/// Takes the copy over: raises the epoch (waiting for a commit that is under way) and returns it.
pub(super) async fn take_over(connection: &mut PgConnection, copy_id: &str) -> Result<i64, Error> {
    let failed = |error| Error::server("taking the copy over", &error);
    execute(connection, "taking the copy over", "BEGIN; SELECT pg_advisory_xact_lock(7012026)").await?;
    execute(connection, "creating the checkpoint tables in schema `pointsman_transfer`", TABLES).await?;
    let epoch: i64 =
        sqlx::query_scalar("UPDATE pointsman_transfer.copy SET epoch = epoch + 1 WHERE copy_id = $1 RETURNING epoch")
            .bind(copy_id)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
    sqlx::query("UPDATE pointsman_transfer.part SET epoch = $2 WHERE copy_id = $1")
        .bind(copy_id)
        .bind(epoch)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    execute(connection, "taking the copy over", "COMMIT").await?;
    Ok(epoch)
}

/// The parts of a copy with how far they have come, in the order in which they were planned.
pub(super) async fn parts(connection: &mut PgConnection, copy_id: &str) -> Result<Vec<Part>, Error> {
    let failed = |error| Error::server("reading the checkpoints", &error);
    let rows = sqlx::query(
        "SELECT table_name, part, low, high, last_key, loaded, quarantined, running, done FROM pointsman_transfer.part WHERE copy_id = $1 ORDER BY table_name, part",
    );
    let rows = rows.bind(copy_id).fetch_all(connection).await.map_err(failed)?;
    rows.iter().map(|row| read_part(row).map_err(failed)).collect()
}

fn read_part(row: &sqlx::postgres::PgRow) -> Result<Part, sqlx::Error> {
    let key: Option<String> = row.try_get(4)?;
    let last_key =
        key.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let running: String = row.try_get(7)?;
    Ok(Part {
        table: row.try_get(0)?,
        number: row.try_get(1)?,
        low: row.try_get(2)?,
        high: row.try_get(3)?,
        last_key,
        loaded: to_u64(row.try_get(5)?),
        quarantined: to_u64(row.try_get(6)?),
        running: Running(u64::from_str_radix(&running, 16).map_err(|error| sqlx::Error::Decode(Box::new(error)))?),
        done: row.try_get(8)?,
    })
}

/// Moves a part's checkpoint, inside the transaction of the rows that it covers.
///
/// # Errors
/// [`Error::Busy`] when another process has taken the copy over: the transaction must be rolled back.
pub(super) async fn advance(connection: &mut PgConnection, copy_id: &str, epoch: i64, part: &Part) -> Result<(), Error> {
    let key = part
        .last_key
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| Error::Defect(format!("a key cannot be stored: {error}")))?;
    let updated = sqlx::query(
        "UPDATE pointsman_transfer.part SET last_key = $5, loaded = $6, quarantined = $7, running = $8, done = $9
          WHERE copy_id = $1 AND table_name = $2 AND part = $3 AND epoch = $4",
    )
    .bind(copy_id)
    .bind(&part.table)
    .bind(part.number)
    .bind(epoch)
    .bind(key)
    .bind(to_i64(part.loaded))
    .bind(to_i64(part.quarantined))
    .bind(format!("{:x}", part.running.0))
    .bind(part.done)
    .execute(connection)
    .await
    .map_err(|error| Error::server(format!("writing the checkpoint of table `{}`", part.table), &error))?;
    if updated.rows_affected() == 1 { Ok(()) } else { Err(Error::Busy { copy_id: copy_id.to_owned() }) }
}

/// Puts rows aside, inside the transaction of the batch that they belong to. Rows that were in the target already come with
/// the hash of their content, by which a verification knows them.
pub(super) async fn quarantine(
    connection: &mut PgConnection,
    copy_id: &str,
    faults: &[Fault],
    hashes: Option<&[String]>,
) -> Result<(), Error> {
    if faults.is_empty() {
        return Ok(());
    }
    let column = |text: fn(&Fault) -> String| faults.iter().map(text).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO pointsman_transfer.quarantine (copy_id, table_name, row_key, column_name, value, code, reason, row_hash)
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])",
    )
    .bind(copy_id)
    .bind(column(|fault| fault.table.clone()))
    .bind(column(|fault| fault.key.clone()))
    .bind(column(|fault| fault.column.clone()))
    .bind(column(|fault| fault.value.clone()))
    .bind(column(|fault| fault.code.to_string()))
    .bind(column(|fault| fault.reason.clone()))
    .bind(hashes.unwrap_or_default())
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| Error::server("writing the quarantine", &error))
}

/// Counts values that rules changed, inside the transaction of their batch.
pub(super) async fn count_changes(
    connection: &mut PgConnection,
    copy_id: &str,
    table: &str,
    column: &str,
    rule: &str,
    count: u64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO pointsman_transfer.change AS c (copy_id, table_name, column_name, rule, values_changed) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (copy_id, table_name, column_name, rule) DO UPDATE SET values_changed = c.values_changed + excluded.values_changed",
    )
    .bind(copy_id)
    .bind(table)
    .bind(column)
    .bind(rule)
    .bind(to_i64(count))
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| Error::server("counting changed values", &error))
}

/// Counts rows that were taken out of the target again, inside the transaction that does it.
pub(super) async fn count_swept(connection: &mut PgConnection, copy_id: &str, table: &str, count: u64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO pointsman_transfer.swept AS s (copy_id, table_name, swept) VALUES ($1, $2, $3)
         ON CONFLICT (copy_id, table_name) DO UPDATE SET swept = s.swept + excluded.swept",
    )
    .bind(copy_id)
    .bind(table)
    .bind(to_i64(count))
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| Error::server("counting rows that were put aside", &error))
}

/// Rows taken out again, by table.
pub(super) async fn swept(connection: &mut PgConnection, copy_id: &str) -> Result<Vec<(String, i64)>, Error> {
    let rows = sqlx::query_as("SELECT table_name, swept FROM pointsman_transfer.swept WHERE copy_id = $1").bind(copy_id);
    rows.fetch_all(connection).await.map_err(|error| Error::server("reading what was put aside", &error))
}

/// Writes down what the copy does not carry over, once however often it is found; what was seen before a crash is in the report too.
pub(super) async fn leave_out(connection: &mut PgConnection, copy_id: &str, item: &LeftOut) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO pointsman_transfer.left_out (copy_id, kind, name, reason) SELECT $1, $2, $3, $4
          WHERE NOT EXISTS (SELECT FROM pointsman_transfer.left_out WHERE copy_id = $1 AND kind = $2 AND name = $3 AND reason = $4)",
    )
    .bind(copy_id)
    .bind(&item.kind)
    .bind(&item.name)
    .bind(&item.reason)
    .execute(connection)
    .await
    .map(drop)
    .map_err(|error| Error::server("writing down what is left out", &error))
}

/// What was written down as left out, in the order in which it was found.
pub(super) async fn left_out(connection: &mut PgConnection, copy_id: &str) -> Result<Vec<LeftOut>, Error> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT kind, name, reason FROM pointsman_transfer.left_out WHERE copy_id = $1 ORDER BY number")
            .bind(copy_id)
            .fetch_all(connection)
            .await
            .map_err(|error| Error::server("reading what is left out", &error))?;
    Ok(rows.into_iter().map(|(kind, name, reason)| LeftOut { kind, name, reason }).collect())
}

/// Values that rules changed: table, column, rule, count.
pub(super) async fn changes(connection: &mut PgConnection, copy_id: &str) -> Result<Vec<(String, String, String, i64)>, Error> {
    let rows = sqlx::query_as(
        "SELECT table_name, column_name, rule, values_changed FROM pointsman_transfer.change WHERE copy_id = $1 ORDER BY 1, 2, 3",
    );
    rows.bind(copy_id).fetch_all(connection).await.map_err(|error| Error::server("reading what was changed", &error))
}

/// Rows put aside, by table, column and kind of fault, with an example: table, column, code, count, key and value and reason of the first.
pub(super) async fn quarantine_summary(
    connection: &mut PgConnection,
    copy_id: &str,
) -> Result<Vec<(String, String, String, i64, String, String, String)>, Error> {
    let rows = sqlx::query_as(
        "SELECT table_name, column_name, code, count(*), (array_agg(row_key ORDER BY number))[1], (array_agg(value ORDER BY number))[1],
                (array_agg(reason ORDER BY number))[1]
           FROM pointsman_transfer.quarantine WHERE copy_id = $1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    );
    rows.bind(copy_id).fetch_all(connection).await.map_err(|error| Error::server("reading the quarantine", &error))
}

/// A deferred statement with its position and whether it has run.
pub(super) struct Noted {
    pub(super) position: i32,
    pub(super) done: bool,
    pub(super) deferred: Deferred,
}

/// All deferred statements, by wave and position.
pub(super) async fn deferred(connection: &mut PgConnection, copy_id: &str) -> Result<Vec<Noted>, Error> {
    let failed = |error| Error::server("reading what is left to do", &error);
    let rows = sqlx::query(
        "SELECT position, done, wave, table_name, what, statement, optional, reverse, offence, offenders
           FROM pointsman_transfer.deferred WHERE copy_id = $1 ORDER BY wave, position",
    );
    let rows = rows.bind(copy_id).fetch_all(connection).await.map_err(failed)?;
    let read = |row: &sqlx::postgres::PgRow| {
        let (offence, sql): (Option<String>, Option<String>) = (row.try_get(8)?, row.try_get(9)?);
        let code = offence.and_then(|word| FaultCode::ALL.into_iter().find(|code| code.as_str() == word));
        Ok(Noted {
            position: row.try_get(0)?,
            done: row.try_get(1)?,
            deferred: Deferred {
                wave: row.try_get(2)?,
                table: row.try_get(3)?,
                what: row.try_get(4)?,
                sql: row.try_get(5)?,
                optional: row.try_get(6)?,
                reverse: row.try_get(7)?,
                offenders: code.zip(sql).map(|(code, sql)| Offenders { code, sql }),
            },
        })
    };
    rows.iter().map(|row| read(row).map_err(failed)).collect()
}

/// Marks a deferred statement as done or as still to be done, inside its transaction.
pub(super) async fn mark(connection: &mut PgConnection, copy_id: &str, position: i32, done: bool) -> Result<(), Error> {
    sqlx::query("UPDATE pointsman_transfer.deferred SET done = $3 WHERE copy_id = $1 AND position = $2")
        .bind(copy_id)
        .bind(position)
        .bind(done)
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| Error::server("writing down what is done", &error))
}

/// Ends the copy: keeps the report and the quarantine, drops the checkpoints. Waits until the disk has it.
pub(super) async fn end(connection: &mut PgConnection, copy_id: &str, report: &str) -> Result<(), Error> {
    let failed = |error| Error::server("ending the copy", &error);
    execute(connection, "ending the copy", "BEGIN; SET LOCAL synchronous_commit = on").await?;
    sqlx::query("UPDATE pointsman_transfer.copy SET report = $2, ended_at = now() WHERE copy_id = $1")
        .bind(copy_id)
        .bind(report)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    for statement in [
        "DELETE FROM pointsman_transfer.part WHERE copy_id = $1",
        "DELETE FROM pointsman_transfer.deferred WHERE copy_id = $1",
        "DELETE FROM pointsman_transfer.left_out WHERE copy_id = $1",
    ] {
        sqlx::query(statement).bind(copy_id).execute(&mut *connection).await.map_err(failed)?;
    }
    execute(connection, "ending the copy", "COMMIT").await
}

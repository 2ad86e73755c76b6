//! After the rows: indexes side by side, keys, foreign keys, sequences, statistics.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use secrecy::SecretString;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::options::Options;
use super::progress::Tracker;
use super::report::SequenceReport;
use crate::transfer::checkpoint;
use crate::transfer::create::{Deferred, WAVE_INDEXES, WAVE_VALIDATION};
use crate::transfer::error::Error;
use crate::transfer::plan::{ColumnPlan, Plan, TablePlan};
use crate::transfer::source::{LeftOut, quoted};
use crate::transfer::target::{self, execute};

/// Memory of the server for building one index. Source: the advice for loading in
/// <https://www.postgresql.org/docs/current/populate.html>
const INDEX_MEMORY: &str = "SET maintenance_work_mem = '128MB'";

/// What the end of a copy found and did.
pub(super) struct Finished {
    pub(super) sequences: Vec<SequenceReport>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Does what waits until the rows are in. Every step is its own transaction, so that a crash repeats one index at most.
pub(super) async fn finish(
    target: &SecretString,
    control: &mut PgConnection,
    plan: &Plan,
    options: &Options,
    tracker: &Tracker<'_>,
) -> Result<Finished, Error> {
    let waiting = checkpoint::waiting(control, &options.copy_id).await?;
    let left_out = build(target, waiting, options, tracker).await?;
    let existing = target::read_tables(control, &options.target_schema).await?;
    let mut sequences = Vec::new();
    for table in &plan.tables {
        let found = existing.iter().find(|found| found.name == table.target.name);
        for column in &table.columns {
            let now = found.and_then(|found| found.columns.iter().find(|known| known.name == column.target));
            if let Some(sequence) = now.and_then(|now| now.sequence.as_deref()) {
                sequences.push(set_sequence(control, table, column, sequence).await?);
            }
        }
        if options.analyze {
            execute(
                control,
                &format!("gathering statistics of table `{}`", table.name()),
                format!("ANALYZE {}", table.target.qualified()),
            )
            .await?;
        }
    }
    Ok(Finished { sequences, left_out })
}

/// Runs the waiting statements, wave by wave, with as many connections as there were streams.
async fn build(
    target: &SecretString,
    waiting: Vec<(i32, Deferred)>,
    options: &Options,
    tracker: &Tracker<'_>,
) -> Result<Vec<LeftOut>, Error> {
    let total = waiting.len() as u64;
    if total == 0 {
        return Ok(Vec::new());
    }
    let done = AtomicU64::new(0);
    tracker.constraints(0, total);
    let mut connections = Vec::new();
    for _ in 0..options.streams.min(waiting.len()) {
        let mut connection = target::connect(target).await?;
        execute(&mut connection, "preparing the session", INDEX_MEMORY).await?;
        connections.push(connection);
    }
    let left_out = Mutex::new(Vec::new());
    let mut waves: Vec<VecDeque<(i32, Deferred)>> = Vec::new();
    for item in waiting {
        match waves.last_mut().filter(|wave| wave.front().is_some_and(|(_, first)| first.wave == item.1.wave)) {
            Some(wave) => wave.push_back(item),
            None => waves.push(VecDeque::from([item])),
        }
    }
    for wave in waves {
        // Waves that take heavy locks run one statement at a time: side by side they could deadlock.
        let side_by_side = wave.front().is_some_and(|(_, first)| matches!(first.wave, WAVE_INDEXES | WAVE_VALIDATION));
        let width = if side_by_side { connections.len() } else { 1 };
        let queue = Mutex::new(wave);
        let workers = connections.iter_mut().take(width).map(|connection| async {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some((position, deferred)) = next else {
                    return Ok::<(), Error>(());
                };
                if let Some(found) = perform(connection, &options.copy_id, position, &deferred).await? {
                    left_out.lock().unwrap_or_else(PoisonError::into_inner).push(found);
                }
                tracker.constraints(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            }
        });
        futures_util::future::try_join_all(workers).await?;
    }
    Ok(left_out.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Runs one statement and writes down that it is done, both or neither.
async fn perform(
    connection: &mut PgConnection,
    copy_id: &str,
    position: i32,
    deferred: &Deferred,
) -> Result<Option<LeftOut>, Error> {
    let doing = format!("making {} of {}", deferred.what, deferred.table);
    execute(connection, &doing, "BEGIN").await?;
    let made = execute(connection, &doing, deferred.sql.as_str()).await;
    let mut left_out = None;
    if let Err(error) = made {
        let Error::Server { reason, sqlstate, .. } = &error else {
            return Err(error);
        };
        // Class 42: the statement as such is not possible in PostgreSQL, whatever the rows.
        if !deferred.optional || !sqlstate.starts_with("42") {
            return Err(error);
        }
        left_out = Some(LeftOut {
            kind: "constraint".to_owned(),
            name: deferred.what.clone(),
            reason: format!("PostgreSQL refuses it: {reason}"),
        });
        execute(connection, &doing, "ROLLBACK; BEGIN").await?;
    }
    checkpoint::mark_done(connection, copy_id, position).await?;
    execute(connection, &doing, "COMMIT").await?;
    Ok(left_out)
}

/// Sets a sequence beyond every value of its column and beyond what SQLite's AUTOINCREMENT has handed out; never back.
async fn set_sequence(
    control: &mut PgConnection,
    table: &TablePlan,
    column: &ColumnPlan,
    sequence: &str,
) -> Result<SequenceReport, Error> {
    let doing = format!("setting sequence {sequence} of `{}.{}`", table.name(), column.name);
    let failed = |error| Error::server(&doing, &error);
    let max: Option<i64> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT max({})::int8 FROM {}",
        quoted(&column.target),
        table.target.qualified()
    )))
    .fetch_one(&mut *control)
    .await
    .map_err(failed)?;
    let is_key = table.source.primary_key == [column.source];
    let highest = max.max(table.source.autoincrement.filter(|_| is_key));
    let read = format!(
        "SELECT CASE WHEN is_called THEN last_value + (SELECT seqincrement FROM pg_sequence WHERE seqrelid = '{}'::regclass) ELSE last_value END FROM {sequence}",
        sequence.replace('\'', "''")
    );
    let next: i64 = sqlx::query_scalar(AssertSqlSafe(read)).fetch_one(&mut *control).await.map_err(failed)?;
    let next = match highest.filter(|highest| *highest >= next) {
        None => next,
        Some(highest) => {
            let set = "SELECT setval($1::regclass, $2) + (SELECT seqincrement FROM pg_sequence WHERE seqrelid = $1::regclass)";
            sqlx::query_scalar(set).bind(sequence).bind(highest).fetch_one(&mut *control).await.map_err(failed)?
        }
    };
    Ok(SequenceReport { sequence: sequence.to_owned(), column: format!("{}.{}", table.name(), column.name), next })
}

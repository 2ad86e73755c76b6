//! After the rows: indexes side by side, keys, foreign keys, sequences, statistics.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sqlx::postgres::PgConnection;

use super::options::Options;
use super::progress::Tracker;
use super::report::SequenceReport;
use super::sequence;
use super::sweep;
use crate::transfer::checkpoint::{self, Noted};
use crate::transfer::create::{Deferred, WAVE_INDEXES, WAVE_VALIDATION};
use crate::transfer::error::{Error, FaultCode};
use crate::transfer::plan::Plan;
use crate::transfer::source::LeftOut;
use crate::transfer::target::{self, execute};

/// From loading rows to building indexes, with memory of the server for one index. Source: the advice in
/// <https://www.postgresql.org/docs/current/populate.html>
const SESSION: &str = "RESET synchronous_commit; SET maintenance_work_mem = '128MB'";

/// The SQLSTATE of what exceeds a limit of PostgreSQL's own: here, a key beyond a third of a page.
/// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const LIMIT_EXCEEDED: &str = "54000";

/// Does what waits until the rows are in, over these connections beside `control`. Every step is its own transaction, so that a
/// crash repeats one index at most. Returns the sequences as they are set.
pub(super) async fn finish(
    connections: Vec<PgConnection>,
    control: &mut PgConnection,
    plan: &Plan,
    options: &Options,
    tracker: &Tracker<'_>,
) -> Result<Vec<SequenceReport>, Error> {
    make_deferred(connections, control, plan, options, tracker).await?;
    let existing = target::read_tables(control, &options.target_schema).await?;
    let mut sequences = Vec::new();
    for table in &plan.tables {
        let found = existing.iter().find(|found| found.name == table.target.name);
        for column in &table.columns {
            let now = found.and_then(|found| found.columns.iter().find(|known| known.name == column.target));
            if let Some((found, sequence)) = found.zip(now.and_then(|now| now.sequence.as_deref())) {
                sequences.push(sequence::set(control, table, column, found, sequence).await?);
            }
        }
        if options.analyze {
            let doing = format!("gathering statistics of table `{}`", table.name());
            execute(control, &doing, format!("ANALYZE {}", table.target.qualified())).await?;
        }
    }
    Ok(sequences)
}

/// Makes everything that waits. Orphans that come up on the way are put aside, whereupon the foreign keys are made again.
async fn make_deferred(
    mut connections: Vec<PgConnection>,
    control: &mut PgConnection,
    plan: &Plan,
    options: &Options,
    tracker: &Tracker<'_>,
) -> Result<(), Error> {
    for connection in &mut connections {
        execute(connection, "preparing the session", SESSION).await?;
    }
    loop {
        let waiting: Vec<Noted> =
            checkpoint::deferred(control, &options.copy_id).await?.into_iter().filter(|noted| !noted.done).collect();
        let maker = Maker { plan, options, tracker, total: waiting.len() as u64, done: AtomicU64::new(0) };
        match maker.make(waiting, &mut connections).await? {
            None => {
                for connection in connections {
                    target::close(connection).await;
                }
                return Ok(());
            }
            Some(Obstacle::Orphans(reason)) => sweep::sweep_orphans(control, &options.copy_id, plan, &reason).await?,
            Some(Obstacle::RowsGone) => {}
        }
    }
}

/// Why what waits has to be begun anew.
enum Obstacle {
    /// Children without a parent, in PostgreSQL's words.
    Orphans(String),
    /// Rows were put aside, and an index can be built only when no transaction sees them any more.
    RowsGone,
}

/// No row is too large for an index, and yet one that was deleted is: it goes when no transaction can see it any more.
fn still_seen(doing: String, sqlstate: &str, reason: &str) -> Error {
    Error::Server {
        doing,
        reason: format!(
            "{reason}; the row was put aside, but a transaction that is older still sees it: go on when that has ended"
        ),
        sqlstate: sqlstate.to_owned(),
        retryable: true,
    }
}

/// What all connections share that make indexes and constraints.
struct Maker<'a> {
    plan: &'a Plan,
    options: &'a Options,
    tracker: &'a Tracker<'a>,
    total: u64,
    done: AtomicU64,
}

impl Maker<'_> {
    /// Runs the waiting statements wave by wave. Returns what is in the way, if something is.
    async fn make(&self, waiting: Vec<Noted>, connections: &mut [PgConnection]) -> Result<Option<Obstacle>, Error> {
        if self.total > 0 {
            self.tracker.constraints(0, self.total);
        }
        let mut waves: Vec<VecDeque<Noted>> = Vec::new();
        for noted in waiting {
            match waves.last_mut().filter(|wave| wave.front().is_some_and(|first| first.deferred.wave == noted.deferred.wave)) {
                Some(wave) => wave.push_back(noted),
                None => waves.push(VecDeque::from([noted])),
            }
        }
        for wave in waves {
            // Waves that take heavy locks run one statement at a time: side by side they could deadlock.
            let side_by_side = wave.front().is_some_and(|first| matches!(first.deferred.wave, WAVE_INDEXES | WAVE_VALIDATION));
            let width = if side_by_side { connections.len() } else { 1 };
            let queue = Mutex::new(wave);
            let workers = connections.iter_mut().take(width).map(|connection| self.work(&queue, connection));
            let obstacles = futures_util::future::try_join_all(workers).await?;
            if let Some(obstacle) = obstacles.into_iter().flatten().next() {
                return Ok(Some(obstacle));
            }
        }
        Ok(None)
    }

    async fn work(&self, queue: &Mutex<VecDeque<Noted>>, connection: &mut PgConnection) -> Result<Option<Obstacle>, Error> {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(noted) = next else { return Ok(None) };
            if let Some(obstacle) = self.perform(connection, &noted).await? {
                return Ok(Some(obstacle));
            }
            self.tracker.constraints(self.done.fetch_add(1, Ordering::Relaxed) + 1, self.total);
        }
    }

    /// Runs one statement and writes down that it is done, both or neither. Rows that are in the way are put aside first.
    async fn perform(&self, connection: &mut PgConnection, noted: &Noted) -> Result<Option<Obstacle>, Error> {
        let (deferred, copy_id) = (&noted.deferred, &self.options.copy_id);
        let doing = format!("making {} of {}", deferred.what, deferred.table);
        execute(connection, &doing, "BEGIN; SAVEPOINT making").await?;
        while let Err(error) = execute(connection, &doing, deferred.sql.as_str()).await {
            let Error::Server { reason, sqlstate, .. } = &error else { return Err(error) };
            execute(connection, &doing, "ROLLBACK TO SAVEPOINT making").await?;
            let swept = match (sqlstate.as_str(), deferred.offenders.as_ref().map(|offenders| offenders.code)) {
                ("23503", Some(FaultCode::Orphan)) => {
                    execute(connection, &doing, "ROLLBACK").await?;
                    return Ok(Some(Obstacle::Orphans(reason.clone())));
                }
                ("23505" | "23514", Some(_)) => sweep::sweep(connection, copy_id, self.plan, deferred, reason).await?,
                (LIMIT_EXCEEDED, Some(FaultCode::DuplicateKey)) => {
                    let oversized = sweep::oversized(connection, deferred).await?;
                    if sweep::sweep(connection, copy_id, self.plan, &oversized, reason).await? == 0 {
                        return Err(still_seen(doing, sqlstate, reason));
                    }
                    // An index takes in rows that its own transaction deleted, and those that an older one still sees.
                    execute(connection, &doing, "COMMIT").await?;
                    return Ok(Some(Obstacle::RowsGone));
                }
                // Without this index no row is worse off, and without the rows nobody needs the index.
                (LIMIT_EXCEEDED, None) if deferred.optional => {
                    let oversized = sweep::oversized(connection, deferred).await?;
                    let rows = sweep::named(connection, self.plan, &oversized).await?;
                    let reason = format!(
                        "{reason}; all rows are loaded, too large for it are: {rows}; shorten them and create it by hand, or index a hash of the column"
                    );
                    self.leave_out(connection, "index", deferred, reason).await?;
                    break;
                }
                // Class 42: the statement as such is not possible in PostgreSQL, whatever the rows.
                (state, _) if deferred.optional && state.starts_with("42") => {
                    // A foreign key that was not made cannot be validated, and is listed already.
                    if deferred.wave != WAVE_VALIDATION {
                        self.leave_out(connection, "constraint", deferred, format!("PostgreSQL refuses it: {reason}")).await?;
                    }
                    break;
                }
                _ => return Err(error),
            };
            if swept == 0 {
                return Err(error);
            }
            execute(connection, &doing, "RELEASE SAVEPOINT making; SAVEPOINT making").await?;
        }
        checkpoint::mark(connection, copy_id, noted.position, true).await?;
        execute(connection, &doing, "COMMIT").await?;
        Ok(None)
    }

    async fn leave_out(
        &self,
        connection: &mut PgConnection,
        kind: &str,
        deferred: &Deferred,
        reason: String,
    ) -> Result<(), Error> {
        let found = LeftOut { kind: kind.to_owned(), name: deferred.what.clone(), reason };
        checkpoint::leave_out(connection, &self.options.copy_id, &found).await
    }
}

//! The copy itself: plan, load in batches, build indexes and constraints, set sequences.
//!
//! [`run`] may be dropped or cancelled at any await, and the process may be killed on any line: what is committed is
//! covered by a checkpoint, what is not leaves no trace, and the same call goes on from there.

mod begin;
mod finish;
mod limit;
mod load;
mod options;
mod plan;
mod progress;
mod quarantine;
mod report;
mod sequence;
mod sweep;
mod undo;

use std::path::Path;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub use options::{FaultLimit, OnFault, Options, SchemaMode};
pub use plan::{Plan, PlannedColumn, PlannedFault, PlannedTable, plan};
pub use progress::{Phase, Progress, TableProgress};
pub use quarantine::write_quarantine;
pub use report::{ChangeReport, FaultReport, Report, SequenceProof, SequenceReport, TableReport};
pub use undo::undo;

pub(super) use begin::blocking;

use super::error::Error;
use super::{checkpoint, target};
use begin::Prepared;
use progress::Tracker;

/// Receives progress, from whatever thread makes it; must return quickly.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Copies the SQLite database at `source` to the PostgreSQL database at `target`, or goes on with the copy that
/// was begun under the same `copy_id`. A copy that is already complete returns its report again.
///
/// # Errors
/// See [`Error`]. Committed batches stay in the target with their checkpoint; call again with the same id, or [`undo()`].
pub async fn run(
    source: &Path,
    target: &SecretString,
    options: &Options,
    progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<Report, Error> {
    let tracker = Tracker::new(progress);
    // Dropping the work closes its connections, upon which the server rolls back whatever was open.
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Cancelled { rows: tracker.done() }),
        result = copy(source, target, options, &tracker) => result,
    }
}

/// Does what [`run`] would do, reads and converts every row, and writes nothing. The report has the same type and is
/// marked as a rehearsal. Constraints that only the target's indexes could find broken are not tested.
///
/// # Errors
/// As [`run`]; nothing was written in any case.
pub async fn rehearse(
    source: &Path,
    target: &SecretString,
    options: &Options,
    progress: OnProgress<'_>,
    cancel: &CancellationToken,
) -> Result<Report, Error> {
    let tracker = Tracker::new(progress);
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Cancelled { rows: 0 }),
        result = rehearsal(source, target, options, &tracker) => result,
    }
}

async fn copy(source: &Path, target: &SecretString, options: &Options, tracker: &Tracker<'_>) -> Result<Report, Error> {
    options.check()?;
    let mut control = target::connect(target).await?;
    checkpoint::lock(&mut control, &options.copy_id).await?;
    let begun = checkpoint::find(&mut control, &options.copy_id).await?;
    if let Some(report) = begun.as_ref().and_then(|begun| begun.report.as_deref()) {
        return report::load_finished(report);
    }
    let mut prepared = Prepared::read(source, &mut control, options, begun.as_ref()).await?;
    let resumed = begun.is_some();
    let (parts, epoch) = match &begun {
        Some(begun) => prepared.resume(&mut control, options, begun).await?,
        None => (prepared.begin(&mut control, options).await?, 1),
    };
    tracker.start(&prepared.plan, &parts);
    let sink = load::Sink::Target { target, epoch };
    let sources = prepared.snapshot.take_connections();
    let loaded = load::load_parts(source, &prepared.plan, sources, parts, options, &sink, tracker).await?;
    prepared.check_unchanged(options).await?;
    let sequences = finish::finish(loaded.connections, &mut control, &prepared.plan, options, tracker).await?;
    let parts = checkpoint::parts(&mut control, &options.copy_id).await?;
    let mut report = report::Report::new(options, &prepared.plan, &parts, tracker);
    report.add_stored(&mut control).await?;
    report.check_limits(options)?;
    report.resumed = resumed;
    report.sequences = sequences;
    checkpoint::end(&mut control, &options.copy_id, &report.to_json()?).await?;
    target::close(control).await;
    Ok(report)
}

async fn rehearsal(source: &Path, target: &SecretString, options: &Options, tracker: &Tracker<'_>) -> Result<Report, Error> {
    options.check()?;
    let mut control = target::connect(target).await?;
    target::execute(&mut control, "making the session read-only", "SET default_transaction_read_only = on").await?;
    let begun = checkpoint::find(&mut control, &options.copy_id).await?;
    let mut prepared = Prepared::read(source, &mut control, options, begun.as_ref()).await?;
    if begun.is_none() {
        prepared.refuse_rows(&mut control, options).await?;
    }
    let parts = prepared.fresh_parts(options).await?;
    tracker.start(&prepared.plan, &parts);
    let connections = prepared.snapshot.take_connections();
    let loaded = load::load_parts(source, &prepared.plan, connections, parts, options, &load::Sink::Nowhere, tracker).await?;
    prepared.check_unchanged(options).await?;
    let mut report = report::Report::new(options, &prepared.plan, &loaded.parts, tracker);
    report.add_rehearsed(tracker);
    report.rehearsal = true;
    Ok(report)
}

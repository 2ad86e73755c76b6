//! What a copy has done, for people and for criteria.

use serde::{Deserialize, Serialize};

use super::options::Options;
use super::progress::Tracker;
use crate::transfer::checkpoint::Part;
use crate::transfer::error::Error;
use crate::transfer::plan::Plan;
use crate::transfer::source::LeftOut;

/// The result of a copy or a rehearsal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The copy's id.
    pub copy_id: String,
    /// Whether nothing was written.
    pub rehearsal: bool,
    /// Whether the copy created its tables.
    pub created: bool,
    /// Whether an earlier attempt had begun it.
    pub resumed: bool,
    /// Whether it was complete before this call.
    pub already_done: bool,
    /// Every table, in the order of loading.
    pub tables: Vec<TableReport>,
    /// Rows of the source, over all tables: `rows + quarantined` of the target.
    pub source_rows: u64,
    /// Rows in the target.
    pub rows: u64,
    /// Rows put aside.
    pub quarantined: u64,
    /// Sequences and identities that were set.
    pub sequences: Vec<SequenceReport>,
    /// What the copy did not carry over: views, triggers, defaults that cannot be said in PostgreSQL, ...
    pub left_out: Vec<LeftOut>,
    /// Bytes sent by this attempt.
    pub bytes: u64,
    /// Wall time of this attempt.
    pub seconds: f64,
    /// Rows of this attempt per second of its wall time.
    pub rows_per_second: f64,
}

/// One table of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// The name in the source.
    pub table: String,
    /// The name in the target, quoted and with its schema.
    pub target: String,
    /// Rows of the source; always `rows + quarantined`.
    pub source_rows: u64,
    /// Rows loaded.
    pub rows: u64,
    /// Rows put aside.
    pub quarantined: u64,
}

/// One sequence of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceReport {
    /// The sequence, quoted and with its schema.
    pub sequence: String,
    /// The column that draws from it, `table.column`.
    pub column: String,
    /// The next value that it hands out.
    pub next: i64,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "a rate for display")]
    pub(super) fn new(options: &Options, plan: &Plan, parts: &[Part], tracker: &Tracker<'_>) -> Self {
        let tables: Vec<TableReport> = plan
            .tables
            .iter()
            .map(|table| {
                let own = || parts.iter().filter(|part| part.table == table.name());
                TableReport {
                    table: table.name().to_owned(),
                    target: table.target.qualified(),
                    source_rows: table.source.rows,
                    rows: own().map(|part| part.loaded).sum(),
                    quarantined: own().map(|part| part.quarantined).sum(),
                }
            })
            .collect();
        let rows = tables.iter().map(|table| table.rows).sum();
        let seconds = tracker.elapsed().as_secs_f64();
        Self {
            copy_id: options.copy_id.clone(),
            rehearsal: false,
            created: plan.creates,
            resumed: false,
            already_done: false,
            source_rows: tables.iter().map(|table| table.source_rows).sum(),
            rows,
            quarantined: tables.iter().map(|table| table.quarantined).sum(),
            tables,
            sequences: Vec::new(),
            left_out: plan.left_out.clone(),
            bytes: tracker.bytes(),
            seconds,
            rows_per_second: rows as f64 / seconds.max(0.001),
        }
    }

    pub(super) fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::Defect(format!("the report cannot be stored: {error}")))
    }
}

/// The report of a copy that was complete before, marked as such.
pub(super) fn load_finished(json: &str) -> Result<Report, Error> {
    let report: Report =
        serde_json::from_str(json).map_err(|error| Error::Defect(format!("the stored report cannot be read: {error}")))?;
    Ok(Report { already_done: true, ..report })
}

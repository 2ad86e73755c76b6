//! What a copy has done, for people and for criteria.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use sqlx::postgres::PgConnection;

use super::limit;
use super::options::Options;
use super::progress::Tracker;
use crate::transfer::checkpoint::{self, Part};
use crate::transfer::error::{Error, Fault, FaultCode};
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
    /// What was put aside, by table, column and kind.
    pub faults: Vec<FaultReport>,
    /// What policies changed, by table, column and rule.
    pub changes: Vec<ChangeReport>,
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

/// Rows of one kind that were put aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// How many.
    pub rows: u64,
    /// The first of them.
    pub example: Fault,
}

/// Values of one column that a policy changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// The rule that was applied.
    pub rule: String,
    /// How many values it changed.
    pub values: u64,
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
    /// How it was seen that no row holds that value.
    pub proof: SequenceProof,
}

/// What was tried in a transaction that was rolled back, without using a number up and with the application's triggers at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceProof {
    /// A copy of an existing row, with the next value as its key, was inserted.
    CopiedRow,
    /// A row of defaults was inserted.
    DefaultRow,
    /// The next value was drawn and looked up: the table takes neither of the two rows, because other keys or conditions forbid it.
    FreeNumber,
    /// There is no next value: a row holds the last one of 64 bits.
    Exhausted,
}

impl SequenceProof {
    fn as_text(self) -> &'static str {
        match self {
            Self::CopiedRow => "a copy of a row was inserted with it and rolled back",
            Self::DefaultRow => "a row of defaults was inserted with it and rolled back",
            Self::FreeNumber => "it was drawn, no row holds it, and the draw was rolled back",
            Self::Exhausted => "a row holds it already, and no value comes after it: give the column another default",
        }
    }
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
            faults: Vec::new(),
            changes: Vec::new(),
            sequences: Vec::new(),
            left_out: plan.left_out.clone(),
            bytes: tracker.bytes(),
            seconds,
            rows_per_second: rows as f64 / seconds.max(0.001),
        }
    }

    /// The report for people, in Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        let what = if self.rehearsal { "Rehearsal (nothing was written)" } else { "Copy" };
        let _ = writeln!(
            out,
            "# {what}: {} rows, {} put aside, {:.1} s, {:.0} rows/s\n",
            self.rows, self.quarantined, self.seconds, self.rows_per_second
        );
        out.push_str("| Table | Rows in source | Loaded | Put aside |\n|---|---:|---:|---:|\n");
        for table in &self.tables {
            let _ = writeln!(out, "| `{}` | {} | {} | {} |", table.table, table.source_rows, table.rows, table.quarantined);
        }
        let section = |out: &mut String, title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                let _ = writeln!(out, "\n## {title}\n\n{}", lines.join("\n"));
            }
        };
        let faults =
            self.faults.iter().map(|fault| format!("- {} rows, {}, e.g. {}", fault.rows, fault.example.code, fault.example));
        section(&mut out, "Put aside", faults.collect());
        let changes = self
            .changes
            .iter()
            .map(|change| format!("- {} values of `{}.{}` by `{}`", change.values, change.table, change.column, change.rule));
        section(&mut out, "Changed by policy", changes.collect());
        let sequences = self
            .sequences
            .iter()
            .map(|sequence| format!("- `{}` gets {} next: {}", sequence.column, sequence.next, sequence.proof.as_text()));
        section(&mut out, "Sequences", sequences.collect());
        let left_out = self.left_out.iter().map(|item| format!("- {} `{}`: {}", item.kind, item.name, item.reason));
        section(&mut out, "Not carried over", left_out.collect());
        out
    }

    /// Adds what all attempts together put aside and changed, as the target has it.
    pub(super) async fn add_stored(&mut self, control: &mut PgConnection) -> Result<(), Error> {
        for (name, swept) in checkpoint::swept(control, &self.copy_id).await? {
            let swept = u64::try_from(swept).unwrap_or_default();
            for table in self.tables.iter_mut().filter(|table| table.table == name) {
                table.rows -= swept;
                table.quarantined += swept;
            }
            self.rows -= swept;
            self.quarantined += swept;
        }
        for (table, column, code, rows, key, value, reason) in checkpoint::quarantine_summary(control, &self.copy_id).await? {
            let code = FaultCode::ALL.into_iter().find(|known| known.as_str() == code).unwrap_or(FaultCode::Refused);
            self.faults.push(FaultReport {
                rows: u64::try_from(rows).unwrap_or_default(),
                example: Fault { table, key, column, value, code, reason },
            });
        }
        self.left_out.extend(checkpoint::left_out(control, &self.copy_id).await?);
        for (table, column, rule, values) in checkpoint::changes(control, &self.copy_id).await? {
            self.changes.push(ChangeReport { table, column, rule, values: u64::try_from(values).unwrap_or_default() });
        }
        Ok(())
    }

    /// Adds what a rehearsal would put aside and change.
    pub(super) fn add_rehearsed(&mut self, tracker: &Tracker<'_>) {
        self.faults = tracker.faults().into_iter().map(|(rows, example)| FaultReport { rows, example }).collect();
        let changes = tracker.changes().into_iter();
        self.changes = changes
            .map(|(table, column, rule, values)| ChangeReport { table, column, rule: rule.as_str().to_owned(), values })
            .collect();
    }

    /// Fails when the finished copy put more aside than the options allow, and proves that every row is accounted for.
    pub(super) fn check_limits(&self, options: &Options) -> Result<(), Error> {
        if let Some(table) = self.tables.iter().find(|table| table.source_rows != table.rows + table.quarantined) {
            return Err(Error::Defect(format!(
                "table `{}` has {} rows in the source, but {} were loaded and {} put aside",
                table.table, table.source_rows, table.rows, table.quarantined
            )));
        }
        let counts = self.tables.iter().map(|table| (table.table.clone(), table.quarantined, table.source_rows));
        let faults: Vec<_> = self.faults.iter().map(|fault| (fault.rows, fault.example.clone())).collect();
        limit::check(&options.fault_limit, counts, &faults)
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

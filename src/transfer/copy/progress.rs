//! How far a copy has come, for whoever watches.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::OnProgress;
use crate::transfer::checkpoint::Part;
use crate::transfer::error::{Fault, FaultCode};
use crate::transfer::plan::Plan;
use crate::transfer::policy::Policy;

/// What a copy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Rows are going over.
    Rows,
    /// Indexes, constraints and sequences are being made.
    Constraints,
}

/// A snapshot of the progress.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Every table, in the order in which they are loaded.
    pub tables: Vec<TableProgress>,
    /// Rows dealt with (loaded or put aside), over all tables, earlier attempts included.
    pub done: u64,
    /// Rows of the source.
    pub total: u64,
    /// Indexes and constraints that stand.
    pub constraints_done: u64,
    /// Indexes and constraints that are to be made; 0 until known.
    pub constraints_total: u64,
    /// Rows per second of this attempt; 0 until the first batch.
    pub rows_per_second: f64,
    /// How long the rows will still take at this rate; `None` until there is a rate. Constraints come on top.
    #[serde(rename = "remaining_seconds", serialize_with = "seconds")]
    pub remaining: Option<Duration>,
}

fn seconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

/// Tables that get a bar of their own; the rest is summed up, so that a message stays readable on a phone.
const BARS_MAX: usize = 12;
/// Cells of a bar.
const BAR_CELLS: u64 = 20;

impl Progress {
    /// A bar per table, and a line with the sum, the rate and the time that is left: for a terminal and for a chat message alike.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines = Vec::new();
        let width = self.tables.iter().take(BARS_MAX).map(|table| table.table.chars().count()).max().unwrap_or(0).min(30);
        for table in self.tables.iter().take(BARS_MAX) {
            let name: String = table.table.chars().take(30).collect();
            let aside = if table.quarantined > 0 { format!(", {} put aside", table.quarantined) } else { String::new() };
            lines.push(format!("{name:width$} {} {} of {}{aside}", bar(table.done, table.total), table.done, table.total));
        }
        if let Some(more) = self.tables.len().checked_sub(BARS_MAX).filter(|more| *more > 0) {
            lines.push(format!("and {more} more tables"));
        }
        let sum = match (self.phase, self.remaining) {
            (Phase::Constraints, _) => {
                format!("indexes and constraints: {} of {}", self.constraints_done, self.constraints_total)
            }
            (Phase::Rows, Some(left)) => {
                format!(
                    "{} of {} rows, {:.0} rows/s, {} left",
                    self.done,
                    self.total,
                    self.rows_per_second,
                    humantime::format_duration(Duration::from_secs(left.as_secs()))
                )
            }
            (Phase::Rows, None) => format!("{} of {} rows", self.done, self.total),
        };
        lines.push(sum);
        lines.join("\n")
    }
}

fn bar(done: u64, total: u64) -> String {
    let full = if total == 0 {
        BAR_CELLS
    } else {
        (u128::from(done.min(total)) * u128::from(BAR_CELLS) / u128::from(total)).try_into().unwrap_or(BAR_CELLS)
    };
    (0..BAR_CELLS).map(|cell| if cell < full { '█' } else { '░' }).collect()
}

/// One table's progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableProgress {
    /// The table, by its name in the source.
    pub table: String,
    /// Rows dealt with.
    pub done: u64,
    /// Rows of the source.
    pub total: u64,
    /// Of `done`, those that were put aside.
    pub quarantined: u64,
}

/// Gathers the streams' progress and passes it on.
pub(super) struct Tracker<'a> {
    report: OnProgress<'a>,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tables: Vec<TableProgress>,
    bytes: u64,
    /// Rows that earlier attempts had dealt with.
    before: u64,
    loading_since: Option<Instant>,
    loading: Duration,
    constraints: Option<(u64, u64)>,
    /// Rows put aside by this attempt: how many and the first, by table, column and kind.
    faults: BTreeMap<(String, String, FaultCode), (u64, Fault)>,
    /// Values changed by this attempt, by table, column and rule.
    changes: BTreeMap<(String, String, Policy), u64>,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(report: OnProgress<'a>) -> Self {
        Self { report, started: Instant::now(), state: Mutex::new(State::default()) }
    }

    pub(super) fn start(&self, plan: &Plan, parts: &[Part]) {
        let mut state = self.lock();
        state.tables = plan
            .tables
            .iter()
            .map(|table| {
                let own = || parts.iter().filter(|part| part.table == table.name());
                TableProgress {
                    table: table.name().to_owned(),
                    done: own().map(Part::seen).sum(),
                    total: table.source.rows,
                    quarantined: own().map(|part| part.quarantined).sum(),
                }
            })
            .collect();
        state.before = parts.iter().map(Part::seen).sum();
        state.loading_since = Some(Instant::now());
        self.show(state);
    }

    /// A batch of `table` is committed.
    pub(super) fn advance(&self, table: &str, rows: u64, quarantined: u64, bytes: u64) {
        let mut state = self.lock();
        if let Some(found) = state.tables.iter_mut().find(|found| found.table == table) {
            found.done += rows + quarantined;
            found.quarantined += quarantined;
        }
        state.bytes += bytes;
        state.loading = state.loading_since.map(|since| since.elapsed()).unwrap_or_default();
        self.show(state);
    }

    /// `done` of `total` indexes and constraints stand.
    pub(super) fn constraints(&self, done: u64, total: u64) {
        let mut state = self.lock();
        state.constraints = Some((done, total));
        self.show(state);
    }

    /// Counts rows that were put aside and values that were changed.
    pub(super) fn note(&self, faults: &[Fault], changes: impl Iterator<Item = (String, String, Policy, u64)>) {
        let mut state = self.lock();
        for fault in faults {
            let key = (fault.table.clone(), fault.column.clone(), fault.code);
            state.faults.entry(key).or_insert_with(|| (0, fault.clone())).0 += 1;
        }
        for (table, column, rule, count) in changes {
            *state.changes.entry((table, column, rule)).or_default() += count;
        }
    }

    /// What this attempt put aside: how many rows of each kind, and the first of them.
    pub(super) fn faults(&self) -> Vec<(u64, Fault)> {
        self.lock().faults.values().cloned().collect()
    }

    /// What this attempt changed.
    pub(super) fn changes(&self) -> Vec<(String, String, Policy, u64)> {
        self.lock().changes.iter().map(|((table, column, rule), count)| (table.clone(), column.clone(), *rule, *count)).collect()
    }

    /// Every table as it stands.
    pub(super) fn tables(&self) -> Vec<TableProgress> {
        self.lock().tables.clone()
    }

    /// Rows dealt with so far.
    pub(super) fn done(&self) -> u64 {
        self.lock().tables.iter().map(|table| table.done).sum()
    }

    /// Bytes sent to the target by this attempt.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Since the call began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for display")]
    fn show(&self, state: std::sync::MutexGuard<'_, State>) {
        let done: u64 = state.tables.iter().map(|table| table.done).sum();
        let total: u64 = state.tables.iter().map(|table| table.total).sum();
        let seconds = state.loading.as_secs_f64();
        let rate = if seconds > 0.0 { done.saturating_sub(state.before) as f64 / seconds } else { 0.0 };
        let remaining =
            (rate > 0.0).then(|| Duration::try_from_secs_f64(total.saturating_sub(done) as f64 / rate).unwrap_or(Duration::MAX));
        let (constraints_done, constraints_total) = state.constraints.unwrap_or_default();
        let progress = Progress {
            phase: if state.constraints.is_some() { Phase::Constraints } else { Phase::Rows },
            tables: state.tables.clone(),
            done,
            total,
            constraints_done,
            constraints_total,
            rows_per_second: rate,
            remaining,
        };
        // The callback must not be able to block the streams on the lock.
        drop(state);
        (self.report)(progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_every_table_and_what_is_left() {
        let table = |name: &str, done, total, quarantined| TableProgress { table: name.to_owned(), done, total, quarantined };
        let progress = Progress {
            phase: Phase::Rows,
            tables: vec![table("users", 50, 100, 2), table("a", 0, 0, 0)],
            done: 50,
            total: 100,
            constraints_done: 0,
            constraints_total: 0,
            rows_per_second: 10.0,
            remaining: Some(Duration::from_millis(5_400)),
        };
        let expected = "users ██████████░░░░░░░░░░ 50 of 100, 2 put aside\na     ████████████████████ 0 of 0\n50 of 100 rows, 10 rows/s, 5s left";
        assert_eq!(progress.to_text(), expected);
        let many = Progress { tables: (0..20).map(|number| table(&number.to_string(), 1, 2, 0)).collect(), ..progress };
        assert!(many.to_text().contains("and 8 more tables"));
    }
}

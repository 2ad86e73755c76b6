//! The result of a comparison: numbers for criteria, Markdown for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::side::{Compared, Fields, Kept};
use crate::transfer::error::printable_text;
use crate::transfer::kind::Kind;
use crate::transfer::plan::TablePlan;
use crate::transfer::temporal;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Every table, parents before children.
    pub tables: Vec<TableReport>,
    /// Tables and columns that were left alone because the options say that they differ.
    pub excluded: Vec<String>,
    /// Every sequence behind a compared column.
    pub sequences: Vec<SequenceCheck>,
    /// Every single check, in the order in which it was made.
    pub checks: Vec<Check>,
    /// How many checks passed.
    pub passed: u64,
    /// How many did not.
    pub failed: u64,
    /// `passed` over all, 0 to 1; 1 only if every check passed.
    pub pass_rate: f64,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// Why it does not; empty if it does.
    pub detail: String,
}

/// One table's comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// The name in the source.
    pub table: String,
    /// The name in the target, quoted and with its schema.
    pub target: String,
    /// Rows of the source, those put aside included.
    pub source_rows: u64,
    /// Rows of the target.
    pub target_rows: u64,
    /// Rows that the copy put aside.
    pub quarantined: u64,
    /// Whether `source_rows = target_rows + quarantined`.
    pub rows_equal: bool,
    /// The order-free checksum of the source's rows, 32 hex digits.
    pub source_checksum: String,
    /// The same of the target's rows.
    pub target_checksum: String,
    /// Whether the two are the same.
    pub checksum_equal: bool,
    /// The checksum of the source's rows in the order of their primary key, 32 hex digits; `None` without a common order.
    pub source_ordered: Option<String>,
    /// The same of the target's rows.
    pub target_ordered: Option<String>,
    /// Whether the two are the same; `None` without a common order.
    pub ordered_equal: Option<bool>,
    /// Why there is no common order; empty if there is one.
    pub unordered: String,
    /// Rows that were compared value by value.
    pub samples_compared: u64,
    /// Of these, those without a difference.
    pub samples_equal: u64,
    /// Differences by row and column, as many as were asked for.
    pub differences: Vec<Difference>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The row's key, or all its values if the table has none.
    pub row: String,
    /// What is the matter.
    pub kind: DifferenceKind,
    /// The column; empty when the row as a whole is missing or extra.
    pub column: String,
    /// The source's value in the target's spelling, printable and bounded.
    pub source: String,
    /// The target's value.
    pub target: String,
}

/// What a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The target lacks the row.
    Missing,
    /// The source lacks the row.
    Extra,
    /// A value differs.
    Changed,
    /// The source's row cannot be converted, and it was not put aside.
    Unconvertible,
}

/// One sequence's comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceCheck {
    /// The sequence, quoted and with its schema.
    pub sequence: String,
    /// The column that draws from it, `table.column`.
    pub column: String,
    /// The next value that it hands out.
    pub next: i64,
    /// The highest value in the column, the lowest where the sequence counts down; `None` for an empty table.
    pub highest: Option<i64>,
    /// Whether `next` is beyond it.
    pub ahead: bool,
}

impl TableReport {
    pub(super) fn new(table: &TablePlan, ours: &Compared, theirs: &Compared) -> Self {
        let source_rows = ours.total.rows + ours.quarantined + ours.unconvertible;
        let faults = ours.faults.iter().map(|fault| Difference {
            row: fault.key.clone(),
            kind: DifferenceKind::Unconvertible,
            column: fault.column.clone(),
            source: fault.value.clone(),
            target: fault.reason.clone(),
        });
        Self {
            table: table.name().to_owned(),
            target: table.target.qualified(),
            source_rows,
            target_rows: theirs.total.rows,
            quarantined: ours.quarantined,
            rows_equal: source_rows == theirs.total.rows + ours.quarantined,
            source_checksum: ours.total.to_hex(),
            target_checksum: theirs.total.to_hex(),
            checksum_equal: ours.total == theirs.total,
            source_ordered: None,
            target_ordered: None,
            ordered_equal: None,
            unordered: String::new(),
            samples_compared: 0,
            samples_equal: 0,
            differences: faults.collect(),
        }
    }

    /// Compares the checksums in the order of the key. `reason` says why there are none.
    pub(super) fn compare_order(&mut self, ours: &Compared, theirs: &Compared, reason: Option<String>) {
        let (source, target) = (ours.ordered.clone(), theirs.ordered.clone());
        self.ordered_equal = source.as_ref().zip(target.as_ref()).map(|(source, target)| source == target);
        self.unordered = match (reason, &source, &target) {
            (Some(reason), ..) => reason,
            (None, None, _) => {
                "SQLite sorts its key in another order, as it does for values of several types or with a collation".to_owned()
            }
            (None, _, None) => "the target's rows do not come in the order of their key; it may hold a key twice".to_owned(),
            (None, Some(_), Some(_)) => String::new(),
        };
        (self.source_ordered, self.target_ordered) = (source, target);
    }

    pub(super) fn compare_samples(&mut self, table: &TablePlan, ours: &Compared, theirs: &Compared) {
        if table.key_positions().is_none() {
            return;
        }
        self.samples_compared = ours.kept.len() as u64;
        self.samples_equal = ours.kept.iter().filter(|(key, kept)| theirs.kept.get(key) == Some(kept)).count() as u64;
    }

    pub(super) fn name_differences(&mut self, table: &TablePlan, ours: &Compared, theirs: &Compared, limit: usize) {
        let (source, target) = (ours.kept_in_order(), theirs.kept_in_order());
        for (key, (row, count)) in &source {
            match target.get(key) {
                Some((other, others)) if other == row && others == count => {}
                Some((other, _)) if other != row => self.differences.extend(changed(table, row, other)),
                // Without a key the same row may occur several times, on one side more often than on the other.
                Some((_, others)) if others > count => self.differences.push(whole(table, row, DifferenceKind::Extra)),
                _ => self.differences.push(whole(table, row, DifferenceKind::Missing)),
            }
        }
        let extra = target.iter().filter(|(key, _)| !source.contains_key(key));
        self.differences.extend(extra.map(|(_, (row, _))| whole(table, row, DifferenceKind::Extra)));
        self.differences.truncate(limit);
    }
}

fn changed(table: &TablePlan, ours: &Kept, theirs: &Kept) -> Vec<Difference> {
    let row = kept_name(table, ours);
    let (Kept::Row(ours), Kept::Row(theirs)) = (ours, theirs) else {
        let (source, target) = ("(too large to show)".to_owned(), "(too large to show)".to_owned());
        return vec![Difference { row, kind: DifferenceKind::Changed, column: String::new(), source, target }];
    };
    let pairs = Fields(ours).zip(Fields(theirs)).zip(&table.columns);
    pairs
        .filter(|((ours, theirs), _)| ours != theirs)
        .map(|((ours, theirs), column)| Difference {
            row: row.clone(),
            kind: DifferenceKind::Changed,
            column: column.name.clone(),
            source: display(&column.kind, ours),
            target: display(&column.kind, theirs),
        })
        .collect()
}

fn whole(table: &TablePlan, row: &Kept, kind: DifferenceKind) -> Difference {
    Difference { row: kept_name(table, row), kind, column: String::new(), source: String::new(), target: String::new() }
}

fn kept_name(table: &TablePlan, row: &Kept) -> String {
    match row {
        Kept::Row(row) => row_name(table, row),
        Kept::Hash(_) => "(too large to show)".to_owned(),
    }
}

/// The key with its values, or all values of a table without a key.
pub(in crate::transfer) fn row_name(table: &TablePlan, row: &[u8]) -> String {
    let fields: Vec<_> = Fields(row).collect();
    let positions = table.key_positions().unwrap_or_else(|| (0..table.columns.len()).collect());
    let named = positions.iter().map(|position| {
        let column = &table.columns[*position];
        format!("{}={}", column.name, display(&column.kind, fields.get(*position).copied().flatten()))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// A field in its binary form, printable.
fn display(kind: &Kind, field: Option<&[u8]>) -> String {
    let Some(bytes) = field else {
        return "NULL".to_owned();
    };
    let integer = || {
        bytes
            .iter()
            .skip(1)
            .fold(bytes.first().map_or(0, |first| i64::from(first.cast_signed())), |number, byte| number << 8 | i64::from(*byte))
    };
    let written = |write: fn(&mut Vec<u8>, i64)| {
        let mut out = Vec::new();
        write(&mut out, integer());
        String::from_utf8_lossy(&out).into_owned()
    };
    match kind {
        Kind::Bool => (integer() != 0).to_string(),
        Kind::Int2 | Kind::Int4 | Kind::Int8 => integer().to_string(),
        Kind::Float4 => bytes.try_into().map_or_else(|_| String::new(), |bytes| format!("{:?}", f32::from_be_bytes(bytes))),
        Kind::Float8 => bytes.try_into().map_or_else(|_| String::new(), |bytes| format!("{:?}", f64::from_be_bytes(bytes))),
        Kind::Timestamp(_) | Kind::TimestampTz(_) => written(temporal::write_timestamp),
        Kind::Date => written(temporal::write_date),
        Kind::Time(_) => written(temporal::write_time),
        Kind::Bytea => format!("x'{}'", hex::encode(&bytes[..bytes.len().min(100)])),
        Kind::Uuid => hex::encode(bytes),
        Kind::Numeric(_) => String::from_utf8_lossy(bytes).into_owned(),
        Kind::Text(_) | Kind::Char(_) | Kind::Json | Kind::Jsonb | Kind::Enum(_) | Kind::Other => printable_text(bytes),
    }
}

impl Report {
    pub(super) fn add_table(&mut self, table: TableReport) {
        let name = &table.table;
        let counts = format!("source {}, target {}, put aside {}", table.source_rows, table.target_rows, table.quarantined);
        let checks = [
            (format!("rows of `{name}`"), table.rows_equal, counts),
            (
                format!("content of `{name}`"),
                table.checksum_equal,
                format!("source {}, target {}", table.source_checksum, table.target_checksum),
            ),
            (
                format!("samples of `{name}`"),
                table.samples_equal == table.samples_compared,
                format!("{} of {} rows differ", table.samples_compared - table.samples_equal, table.samples_compared),
            ),
        ];
        for (name, passed, detail) in checks {
            self.add_check(&name, passed, detail);
        }
        if let (Some(equal), Some(source), Some(target)) = (table.ordered_equal, &table.source_ordered, &table.target_ordered) {
            self.add_check(&format!("order of `{name}`"), equal, format!("source {source}, target {target}"));
        }
        self.tables.push(table);
    }

    pub(super) fn add_sequence(&mut self, sequence: SequenceCheck) {
        let highest = sequence.highest.unwrap_or_default();
        let detail = format!("it hands out {} next, but `{}` holds {highest} already", sequence.next, sequence.column);
        self.add_check(&format!("sequence {}", sequence.sequence), sequence.ahead, detail);
        self.sequences.push(sequence);
    }

    pub(super) fn add_check(&mut self, name: &str, passed: bool, detail: String) {
        self.checks.push(Check { name: name.to_owned(), passed, detail: if passed { String::new() } else { detail } });
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate of a few hundred checks")]
    pub(super) fn finish(&mut self) {
        self.passed = self.checks.iter().filter(|check| check.passed).count() as u64;
        self.failed = self.checks.len() as u64 - self.passed;
        self.pass_rate = if self.checks.is_empty() { 0.0 } else { self.passed as f64 / self.checks.len() as f64 };
    }

    /// The report for people, in Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        let verdict = if self.failed == 0 { "everything agrees" } else { "**the databases differ**" };
        let _ = writeln!(out, "# Verification: {verdict}\n\n{} of {} checks passed.\n", self.passed, self.passed + self.failed);
        let _ = writeln!(
            out,
            "| Table | Rows in source | Rows in target | Put aside | Content | In order | Values compared |\n|---|---:|---:|---:|---|---|---:|"
        );
        for table in &self.tables {
            let word = |equal: bool| if equal { "same" } else { "**differs**" };
            let content = word(table.checksum_equal);
            let ordered = match (table.ordered_equal, &table.target_ordered) {
                (Some(equal), Some(checksum)) => format!("{} `{}`", word(equal), &checksum[..8]),
                _ => "no order".to_owned(),
            };
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {content} `{}` | {ordered} | {} of {} rows |",
                table.table,
                table.source_rows,
                table.target_rows,
                table.quarantined,
                &table.target_checksum[..8],
                table.samples_equal,
                table.samples_compared
            );
        }
        self.write_failures(&mut out);
        self.write_differences(&mut out);
        for table in self.tables.iter().filter(|table| !table.unordered.is_empty()) {
            let _ = writeln!(out, "\nNo checksum in order for `{}`: {}.", table.table, table.unordered);
        }
        if !self.excluded.is_empty() {
            let names = self.excluded.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "\nNot compared, because the options leave them out: {names}.");
        }
        out
    }

    fn write_failures(&self, out: &mut String) {
        if self.failed > 0 {
            out.push_str("\n## What failed\n\n");
        }
        for check in self.checks.iter().filter(|check| !check.passed) {
            let _ = writeln!(out, "- {}: {}", check.name, check.detail);
        }
    }

    fn write_differences(&self, out: &mut String) {
        for table in self.tables.iter().filter(|table| !table.differences.is_empty()) {
            let _ = writeln!(
                out,
                "\n## Differences in `{}` (the first {})\n\n| Row | What | Column | Source | Target |\n|---|---|---|---|---|",
                table.table,
                table.differences.len()
            );
            for difference in &table.differences {
                let cells = [
                    &difference.row,
                    &format!("{:?}", difference.kind).to_lowercase(),
                    &difference.column,
                    &difference.source,
                    &difference.target,
                ];
                let _ = writeln!(out, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
            }
        }
    }
}

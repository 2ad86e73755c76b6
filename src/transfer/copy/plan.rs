//! What a copy would do, shown before anything is touched: every column with what its values really are, the type and the
//! cast that it gets, and what would be put aside and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::begin::{Prepared, blocking};
use super::options::Options;
use crate::transfer::cast::{Cast, convert};
use crate::transfer::checkpoint;
use crate::transfer::create;
use crate::transfer::error::{Error, FaultCode, printable};
use crate::transfer::plan::{ColumnPlan, TablePlan};
use crate::transfer::policy::{Policy, carry};
use crate::transfer::source::{LeftOut, RowKey, failure, quoted};
use crate::transfer::target;

/// How many stretches of a table a sample is taken from, evenly spread over its rowids.
const STRETCHES: u64 = 50;

/// What a copy would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Whether the tables would be created.
    pub creates: bool,
    /// Every table, in the order of loading.
    pub tables: Vec<PlannedTable>,
    /// The statements before the rows, if the tables would be created.
    pub statements: Vec<String>,
    /// Those after them: indexes, keys, checks, foreign keys.
    pub statements_after: Vec<String>,
    /// What would not be carried over.
    pub left_out: Vec<LeftOut>,
}

/// One table of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedTable {
    /// The name in the source.
    pub table: String,
    /// The name in the target, quoted and with its schema.
    pub target: String,
    /// Rows of the source.
    pub rows: u64,
    /// Rows that were looked at: all of them, or the sample.
    pub scanned: u64,
    /// Every column that is carried over.
    pub columns: Vec<PlannedColumn>,
}

/// One column of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedColumn {
    /// The name in the source.
    pub column: String,
    /// The type that the source declares, as written.
    pub declared: String,
    /// What the values are: `null`, `integer`, `real`, `text`, `blob`, with their numbers; absent classes are left out.
    pub found: BTreeMap<String, u64>,
    /// The type in the target.
    pub target_type: String,
    /// The declared cast.
    pub cast: Option<Cast>,
    /// Values that do not fit, by kind.
    pub faults: Vec<PlannedFault>,
}

/// Values of one kind that do not fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// The kind.
    pub code: FaultCode,
    /// How many values, of those that were looked at.
    pub values: u64,
    /// The first of them, printable and bounded.
    pub example: String,
    /// Why it does not fit.
    pub reason: String,
    /// What the policies do about it.
    pub policy: Policy,
}

/// Makes the plan of a copy. Looks at every row, or with `sample` at about so many of each table. Writes nothing anywhere.
///
/// # Errors
/// As [`super::rehearse`], except that faulty rows are no error here.
pub async fn plan(
    source: &Path,
    target: &SecretString,
    options: &Options,
    sample: Option<u64>,
    cancel: &CancellationToken,
) -> Result<Plan, Error> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Cancelled { rows: 0 }),
        result = make(source, target, options, sample) => result,
    }
}

async fn make(source: &Path, target: &SecretString, options: &Options, sample: Option<u64>) -> Result<Plan, Error> {
    options.check()?;
    let mut control = target::connect(target).await?;
    target::execute(&mut control, "making the session read-only", "SET default_transaction_read_only = on").await?;
    let begun = checkpoint::find(&mut control, &options.copy_id).await?;
    let prepared = Prepared::read(source, &mut control, options, begun.as_ref()).await?;
    let (plan, path) = (prepared.plan.clone(), source.to_owned());
    let connections = prepared.snapshot.take_connections();
    let tables = blocking(move || {
        let connection = &connections[0];
        plan.tables.iter().map(|table| look_at(&path, connection, table, sample)).collect::<Result<Vec<_>, _>>()
    })
    .await?;
    let mut left_out = prepared.plan.left_out.clone();
    let (mut statements, mut statements_after) = (Vec::new(), Vec::new());
    if prepared.plan.creates {
        let (before, after) = create::statements(&prepared.plan, &prepared.taken, &mut left_out);
        statements = before;
        statements_after = after.into_iter().map(|deferred| deferred.sql).collect();
    }
    Ok(Plan { creates: prepared.plan.creates, tables, statements, statements_after, left_out })
}

fn look_at(path: &Path, connection: &Connection, table: &TablePlan, sample: Option<u64>) -> Result<PlannedTable, Error> {
    let mut columns: Vec<PlannedColumn> = table.columns.iter().map(|column| planned(table, column)).collect();
    let scanned = scan(connection, table, sample, &mut columns)
        .map_err(|error| failure(path, &format!("looking at table `{}`", table.name()), &error))?;
    Ok(PlannedTable {
        table: table.name().to_owned(),
        target: table.target.qualified(),
        rows: table.source.rows,
        scanned,
        columns,
    })
}

fn planned(table: &TablePlan, column: &ColumnPlan) -> PlannedColumn {
    PlannedColumn {
        column: column.name.clone(),
        declared: table.source.columns[column.source].declared.clone(),
        found: BTreeMap::new(),
        target_type: column.type_name.clone(),
        cast: column.cast,
        faults: Vec::new(),
    }
}

/// Reads the rows and returns how many.
fn scan(connection: &Connection, table: &TablePlan, sample: Option<u64>, columns: &mut [PlannedColumn]) -> rusqlite::Result<u64> {
    let list = table.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
    let name = quoted(table.name());
    let mut scanned = 0;
    let mut read = |sql: &str, bounds: &[i64]| -> rusqlite::Result<()> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(bounds))?;
        while let Some(row) = rows.next()? {
            scanned += 1;
            for (index, column) in table.columns.iter().enumerate() {
                note(row.get_ref(index)?, column, &mut columns[index]);
            }
        }
        Ok(())
    };
    let sample = sample.filter(|sample| *sample < table.source.rows);
    match (&table.source.key, sample) {
        (_, None) => read(&format!("SELECT {list} FROM {name}"), &[])?,
        (RowKey::Primary, Some(sample)) => read(&format!("SELECT {list} FROM {name} LIMIT {sample}"), &[])?,
        (RowKey::Rowid(alias), Some(sample)) => {
            let key = quoted(alias);
            let (min, max): (i64, i64) =
                connection
                    .query_row(&format!("SELECT min({key}), max({key}) FROM {name}"), [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let width = (i128::from(max) - i128::from(min)) / i128::from(STRETCHES) + 1;
            let each = sample.div_ceil(STRETCHES);
            let sql = format!("SELECT {list} FROM {name} WHERE {key} >= ? AND {key} < ? ORDER BY {key} LIMIT {each}");
            for stretch in 0..STRETCHES {
                let border = |number: u64| i64::try_from(i128::from(min) + width * i128::from(number)).unwrap_or(i64::MAX);
                read(&sql, &[border(stretch), border(stretch + 1)])?;
            }
        }
    }
    Ok(scanned)
}

fn note(value: ValueRef<'_>, column: &ColumnPlan, planned: &mut PlannedColumn) {
    let class = match value {
        ValueRef::Null => "null",
        ValueRef::Integer(_) => "integer",
        ValueRef::Real(_) => "real",
        ValueRef::Text(_) => "text",
        ValueRef::Blob(_) => "blob",
    };
    match planned.found.get_mut(class) {
        Some(count) => *count += 1,
        None => drop(planned.found.insert(class.to_owned(), 1)),
    }
    // A value that a rule changes is shown under the fault that the rule is for.
    if let Err((code, reason)) = fits(value, column) {
        match planned.faults.iter_mut().find(|fault| fault.code == code) {
            Some(fault) => fault.values += 1,
            None => planned.faults.push(PlannedFault {
                code,
                values: 1,
                example: printable(value),
                reason: reason.to_owned(),
                policy: column.policies.get(&code).copied().unwrap_or(Policy::Fail),
            }),
        }
    }
}

/// NULL where it may be, and every other value as it is, without any policy.
fn fits(value: ValueRef<'_>, column: &ColumnPlan) -> Result<(), (FaultCode, &'static str)> {
    match value {
        ValueRef::Null => carry(value, column, |_| {}).map(drop).map_err(|misfit| (misfit.code, misfit.reason)),
        _ => convert(value, &column.kind, column.cast, false).map(drop),
    }
}

impl Plan {
    /// How many values do not fit, of those that were looked at.
    #[must_use]
    pub fn misfits(&self) -> u64 {
        self.tables.iter().flat_map(|table| &table.columns).flat_map(|column| &column.faults).map(|fault| fault.values).sum()
    }

    /// The plan for people, in Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# Plan: {} tables\n", if self.creates { "create and load" } else { "fill existing" });
        for table in &self.tables {
            let looked =
                if table.scanned == table.rows { "all looked at".to_owned() } else { format!("{} looked at", table.scanned) };
            let _ = writeln!(out, "## `{}` to `{}`: {} rows, {looked}\n", table.table, table.target, table.rows);
            out.push_str("| Column | Declared | Values | Becomes | Does not fit |\n|---|---|---|---|---|\n");
            for column in &table.columns {
                column.write_row(&mut out);
            }
            out.push('\n');
        }
        if !self.left_out.is_empty() {
            out.push_str("## Not carried over\n\n");
        }
        for item in &self.left_out {
            let _ = writeln!(out, "- {} `{}`: {}", item.kind, item.name, item.reason);
        }
        if self.creates {
            out.push_str("\n## Statements\n\n```sql\n");
            for statement in self.statements.iter().chain(&self.statements_after) {
                let _ = writeln!(out, "{statement};");
            }
            out.push_str("```\n");
        }
        out
    }
}

impl PlannedColumn {
    fn write_row(&self, out: &mut String) {
        let found = self.found.iter().map(|(class, count)| format!("{count} {class}")).collect::<Vec<_>>().join(", ");
        let cast =
            self.cast.and_then(|cast| serde_json::to_value(cast).ok()).and_then(|word| Some(format!(" ({})", word.as_str()?)));
        let faults = self.faults.iter().map(|fault| {
            format!(
                "{} {}: e.g. {} {}; policy `{}`",
                fault.values,
                fault.code,
                fault.example,
                fault.reason,
                fault.policy.as_str()
            )
        });
        let faults = faults.collect::<Vec<_>>().join("<br>").replace('|', "\\|");
        let declared = if self.declared.is_empty() { "(none)" } else { &self.declared };
        let _ = writeln!(
            out,
            "| `{}` | {declared} | {found} | {}{} | {faults} |",
            self.column,
            self.target_type,
            cast.unwrap_or_default()
        );
    }
}

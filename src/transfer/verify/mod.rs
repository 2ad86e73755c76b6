//! Whether source and target hold the same: read anew from both databases, nothing taken from the copy's memory but the
//! list of rows that it put aside.
//!
//! Each side is read once, row by row. The rows are brought to one spelling per type, hashed, and summed, so that
//! the order does not matter. When the sums differ, a second reading of the differing part names rows and columns.
//!
//! Tolerances: none. Floating point numbers are compared bit by bit, instants to the microsecond, `numeric` with its digits,
//! `jsonb` by content (order of keys and blanks do not count), `char(n)` without trailing blanks.

mod constraints;
mod report;
mod side;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

pub use report::{Check, Difference, DifferenceKind, Report, SequenceCheck, TableReport};

use super::cast::Cast;
use super::copy::{Options as CopyOptions, SchemaMode};
use super::error::{Error, FaultCode};
use super::kind::Kind;
use super::plan::{self, Plan, Purpose, TablePlan};
use super::policy::Policy;
use super::source::Snapshot;
use super::{checkpoint, target};
pub(super) use report::row_name;
use side::{Aside, Compared, Selection};
pub(super) use side::{RowsAt, read_rows_at};

/// What to compare, and how deep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The copy whose quarantined rows are missing on purpose; without it every row is expected.
    #[serde(default)]
    pub copy_id: Option<String>,
    /// The tables to compare, by their names in the source; all of them if not given.
    #[serde(default)]
    pub tables: Option<Vec<String>>,
    /// Tables and `table.column`s that are meant to differ.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The casts of the copy: they say what a source value means.
    #[serde(default)]
    pub casts: BTreeMap<String, Cast>,
    /// The policies of the copy: they say which values were changed, and how.
    #[serde(default)]
    pub policies: BTreeMap<String, BTreeMap<FaultCode, Policy>>,
    /// The schema of the target that holds the tables.
    #[serde(default = "default_target_schema")]
    pub target_schema: String,
    /// About how many rows of each table are compared value by value beside the checksums (0 to 100,000).
    #[serde(default = "default_samples")]
    pub samples: u64,
    /// How many differences of each table are named (0 to 1,000).
    #[serde(default = "default_differences")]
    pub differences: usize,
}

fn default_target_schema() -> String {
    "public".to_owned()
}

fn default_samples() -> u64 {
    1_000
}

fn default_differences() -> usize {
    20
}

impl Options {
    /// Compares what this copy was to carry over.
    #[must_use]
    pub fn of_copy(copy: &CopyOptions) -> Self {
        Self {
            copy_id: Some(copy.copy_id.clone()),
            tables: copy.tables.clone(),
            exclude: copy.exclude.clone(),
            casts: copy.casts.clone(),
            policies: copy.policies.clone(),
            target_schema: copy.target_schema.clone(),
            samples: default_samples(),
            differences: default_differences(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |option: &str, says: &str| Err(Error::Options { option: option.to_owned(), says: says.to_owned() });
        if self.samples > 100_000 {
            return refuse("samples", "must be at most 100000");
        }
        if self.differences > 1_000 {
            return refuse("differences", "must be at most 1000");
        }
        Ok(())
    }

    fn as_copy(&self) -> CopyOptions {
        CopyOptions {
            tables: self.tables.clone(),
            exclude: self.exclude.clone(),
            casts: self.casts.clone(),
            policies: self.policies.clone(),
            target_schema: self.target_schema.clone(),
            schema: SchemaMode::Fill,
            ..CopyOptions::new("verify")
        }
    }
}

/// Compares the SQLite database at `source` with the PostgreSQL database at `target`. A difference is no error: it is
/// in the report. `progress` hears of every finished table (how many of how many).
///
/// # Errors
/// When one of the two cannot be read, or when tables or columns are missing ([`Error::Schema`]). Nothing is ever written.
pub async fn run(
    source: &Path,
    target: &SecretString,
    options: &Options,
    progress: &(dyn Fn(usize, usize) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<Report, Error> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Cancelled { rows: 0 }),
        result = verify(source, target, options, progress) => result,
    }
}

async fn verify(
    source: &Path,
    target: &SecretString,
    options: &Options,
    progress: &(dyn Fn(usize, usize) + Send + Sync),
) -> Result<Report, Error> {
    options.check()?;
    let mut control = target::connect(target).await?;
    target::execute(&mut control, "making the session read-only", "SET default_transaction_read_only = on").await?;
    let path = source.to_owned();
    let (snapshot, schema) = super::copy::blocking(move || {
        let snapshot = Snapshot::open(&path, 1)?;
        let schema = snapshot.schema()?;
        Ok((snapshot, schema))
    })
    .await?;
    let existing = target::read_tables(&mut control, &options.target_schema).await?;
    let plan = plan::decide(schema, &existing, &options.as_copy(), Purpose::Compare)?;
    let mut report = Report::default();
    for (number, table) in plan.tables.iter().enumerate() {
        let compared = compare_table(source, &snapshot, &mut control, table, options).await?;
        report.add_table(compared);
        progress(number + 1, plan.tables.len());
    }
    constraints::check(&mut control, &plan, options, &mut report).await?;
    if snapshot.has_changed()? {
        report.add_check("source is at rest", false, "the SQLite database was written to during the comparison".to_owned());
    }
    report.finish();
    Ok(report)
}

async fn compare_table(
    source: &Path,
    snapshot: &Snapshot,
    control: &mut PgConnection,
    table: &TablePlan,
    options: &Options,
) -> Result<TableReport, Error> {
    let (comparable, not_compared) = comparable(table);
    let comparable = Arc::new(comparable);
    let aside = quarantined(control, options, table).await?;
    let stride = table.source.rows.checked_div(options.samples).map_or(0, |stride| stride.max(1));
    let first = Selection::Sample { stride };
    let (ours, theirs) = both(source, snapshot, control, &comparable, &aside, first).await?;
    let mut report = TableReport::new(table, &ours, &theirs, not_compared);
    report.compare_samples(&comparable, &ours, &theirs);
    let buckets = ours.differing_buckets(&theirs);
    if !buckets.is_empty() && options.differences > 0 {
        let chosen = Selection::Buckets(Arc::new(buckets.into_iter().take(BUCKETS_READ_AGAIN).collect()));
        let (ours, theirs) = both(source, snapshot, control, &comparable, &aside, chosen).await?;
        report.name_differences(&comparable, &ours, &theirs, options.differences);
    }
    Ok(report)
}

/// How many of the differing buckets are read again to name rows: each holds a 4096th of the table.
const BUCKETS_READ_AGAIN: usize = 8;

/// Reads both sides at the same time.
async fn both(
    source: &Path,
    snapshot: &Snapshot,
    control: &mut PgConnection,
    table: &Arc<TablePlan>,
    aside: &Aside,
    selection: Selection,
) -> Result<(Compared, Compared), Error> {
    let connection = snapshot.take_connections().pop().ok_or_else(|| Error::Defect("the snapshot is in use".to_owned()))?;
    let (path, plan, aside, chosen) = (source.to_owned(), Arc::clone(table), aside.clone(), selection.clone());
    let ours = super::copy::blocking(move || {
        let ours = side::read_source(&connection, &path, &plan, aside, chosen)?;
        Ok((connection, ours))
    });
    let theirs = side::read_target(control, table, selection);
    let ((connection, ours), theirs) = futures_util::future::try_join(ours, theirs).await?;
    snapshot.give_back(vec![connection]);
    Ok((ours, theirs))
}

/// The plan without the columns whose spelling only PostgreSQL knows, and the names of those.
pub(super) fn comparable(table: &TablePlan) -> (TablePlan, Vec<String>) {
    let mut comparable = table.clone();
    comparable.columns.retain(|column| column.kind != Kind::Other);
    let left = table.columns.iter().filter(|column| column.kind == Kind::Other).map(|column| column.name.clone()).collect();
    (comparable, left)
}

/// The rows that the copy put aside.
async fn quarantined(control: &mut PgConnection, options: &Options, table: &TablePlan) -> Result<Aside, Error> {
    let mut aside = Aside::default();
    let Some(copy_id) = &options.copy_id else { return Ok(aside) };
    if checkpoint::find(control, copy_id).await?.is_none() {
        return Ok(aside);
    }
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT row_key, row_hash FROM pointsman_transfer.quarantine WHERE copy_id = $1 AND table_name = $2")
            .bind(copy_id)
            .bind(table.name())
            .fetch_all(control)
            .await
            .map_err(|error| Error::server("reading the quarantine", &error))?;
    for (key, hash) in rows {
        match hash.and_then(|hash| u128::from_str_radix(&hash, 16).ok()) {
            Some(hash) => *aside.hashes.entry(hash).or_default() += 1,
            None => drop(aside.keys.insert(key)),
        }
    }
    Ok(aside)
}

/// Every column of the plan that draws from a sequence.
fn sequence_columns(plan: &Plan) -> impl Iterator<Item = (&TablePlan, &plan::ColumnPlan, &str)> {
    plan.tables.iter().flat_map(|table| {
        table.columns.iter().filter_map(move |column| column.sequence.as_deref().map(|sequence| (table, column, sequence)))
    })
}

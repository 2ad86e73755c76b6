//! Whether source and target hold the same: read anew from both databases, nothing taken from the copy's memory but the
//! list of rows that it put aside.
//!
//! Each side is read once, row by row. The rows are brought to one spelling per type and hashed. The hashes are summed, so that the
//! order does not matter, and beside that chained in the order of the primary key. When the sums differ, a second reading of
//! the differing part names rows and columns.
//!
//! Types whose spelling only PostgreSQL knows are spelled by PostgreSQL on both sides, which takes a second connection.
//!
//! Tolerances: none. Floating point numbers are compared bit by bit, instants to the microsecond, `numeric` with its digits,
//! `jsonb` by content (order of keys and blanks do not count), `char(n)` without trailing blanks.

mod constraints;
mod order;
mod report;
mod side;
mod spell;

use std::collections::{BTreeMap, HashSet};
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
use super::plan::{self, Plan, Purpose, TablePlan};
use super::policy::Policy;
use super::source::Snapshot;
use super::{checkpoint, target};
use order::Order;
pub(super) use report::row_name;
use side::{Aside, Compared, Selection, Task};
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
    target::execute(&mut control, "preparing the session", SESSION).await?;
    let path = source.to_owned();
    let (snapshot, schema) = super::copy::blocking(move || {
        let snapshot = Snapshot::open(&path, 1)?;
        let schema = snapshot.schema()?;
        Ok((snapshot, schema))
    })
    .await?;
    let existing = target::read_tables(&mut control, &options.target_schema).await?;
    let plan = plan::decide(schema, &existing, &options.as_copy(), Purpose::Compare)?;
    let mut speller = None;
    if plan.tables.iter().any(spell::is_needed) {
        let mut connection = target::connect(target).await?;
        target::execute(&mut connection, "preparing the session", SESSION).await?;
        speller = Some(connection);
    }
    let mut report = Report { excluded: options.exclude.clone(), ..Report::default() };
    let mut sides = Sides { source: source.into(), snapshot: &snapshot, control: &mut control, speller };
    for (number, table) in plan.tables.iter().enumerate() {
        let compared = sides.compare_table(table, options).await?;
        report.add_table(compared);
        progress(number + 1, plan.tables.len());
    }
    if let Some(speller) = sides.speller.take() {
        target::close(speller).await;
    }
    constraints::check(&mut control, &plan, options, &mut report).await?;
    if snapshot.has_changed()? {
        report.add_check("source is at rest", false, "the SQLite database was written to during the comparison".to_owned());
    }
    report.finish();
    target::close(control).await;
    Ok(report)
}

/// Nothing is written. Rows are wanted in the order of an index where there is one: they lie in that order after a load, and a server that
/// has no statistics yet would sort whole tables on its disk instead.
const SESSION: &str = "SET default_transaction_read_only = on; SET enable_sort = off; SET work_mem = '32MB'";

/// Both databases, open.
struct Sides<'a> {
    source: Arc<Path>,
    snapshot: &'a Snapshot,
    control: &'a mut PgConnection,
    /// For columns that only PostgreSQL can spell.
    speller: Option<PgConnection>,
}

impl Sides<'_> {
    async fn compare_table(&mut self, table: &TablePlan, options: &Options) -> Result<TableReport, Error> {
        let aside = quarantined(self.control, options, table).await?;
        let stride = table.source.rows.checked_div(options.samples).map_or(0, |stride| stride.max(1));
        let order = Order::of(table);
        let task = Task {
            path: Arc::clone(&self.source),
            table: Arc::new(table.clone()),
            aside,
            selection: Selection::Sample { stride },
            order: order.as_ref().ok().cloned(),
        };
        let (ours, theirs) = self.read(&task).await?;
        let mut report = TableReport::new(table, &ours, &theirs);
        report.compare_order(&ours, &theirs, order.err());
        report.compare_samples(table, &ours, &theirs);
        let buckets = ours.differing_buckets(&theirs);
        if !buckets.is_empty() && options.differences > 0 {
            let chosen = Selection::Buckets(Arc::new(buckets.into_iter().take(BUCKETS_READ_AGAIN).collect()));
            let (ours, theirs) = self.read(&Task { selection: chosen, order: None, ..task }).await?;
            report.name_differences(table, &ours, &theirs, options.differences);
        }
        Ok(report)
    }

    /// Reads both sides at the same time.
    async fn read(&mut self, task: &Task) -> Result<(Compared, Compared), Error> {
        let connection =
            self.snapshot.take_connections().pop().ok_or_else(|| Error::Defect("the snapshot is in use".to_owned()))?;
        let own = task.clone();
        let speller = self.speller.as_mut().filter(|_| spell::is_needed(&task.table));
        let ours = async {
            match speller {
                Some(speller) => side::read_source_spelled(connection, own, speller).await,
                None => {
                    super::copy::blocking(move || {
                        let ours = side::read_source(&connection, &own)?;
                        Ok((connection, ours))
                    })
                    .await
                }
            }
        };
        let theirs = side::read_target(self.control, task);
        let ((connection, ours), theirs) = futures_util::future::try_join(ours, theirs).await?;
        self.snapshot.give_back(vec![connection]);
        Ok((ours, theirs))
    }
}

/// How many of the differing buckets are read again to name rows: each holds a 4096th of the table.
const BUCKETS_READ_AGAIN: usize = 8;

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
    let mut keys = HashSet::new();
    for (key, hash) in rows {
        match hash.and_then(|hash| u128::from_str_radix(&hash, 16).ok()) {
            Some(hash) => *aside.hashes.entry(hash).or_default() += 1,
            None => drop(keys.insert(key)),
        }
    }
    aside.keys = Arc::new(keys);
    Ok(aside)
}

/// Every column of the plan that draws from a sequence.
fn sequence_columns(plan: &Plan) -> impl Iterator<Item = (&TablePlan, &plan::ColumnPlan, &str)> {
    plan.tables.iter().flat_map(|table| {
        table.columns.iter().filter_map(move |column| column.sequence.as_deref().map(|sequence| (table, column, sequence)))
    })
}

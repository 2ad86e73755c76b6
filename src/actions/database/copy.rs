//! `database.copy`: moves tables from SQLite to PostgreSQL.
//!
//! Dry run: reads and converts every row, compares the schemas, writes nothing. If the tables are still to be made by a
//! step before (`schema: fill`), the rows are converted to the types that the copy would choose by itself.
//! Interruption: resumed from the checkpoint in the target, without one lost or doubled row.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;

use super::{copy_id, report_as_json, trouble};
use crate::actions::action::{Action, Done, Trouble, describe};
use crate::actions::context::{Context, TargetKey};
use crate::domain::run::Portion;
use crate::domain::{ActionSpec, Effect, Interruption};
use crate::transfer::copy::{self, FaultLimit, OnFault, Options, Phase, Progress, Report, SchemaMode, TableProgress};
use crate::transfer::{Cast, Error, FaultCode, Policy};

/// The action `database.copy`.
pub(in crate::actions) struct Copy;

/// What to copy, and how.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// Where the rows are: a target of the kind `sqlite`.
    source: TargetKey,
    /// Where they go: a target of the kind `postgres`.
    target: TargetKey,
    /// The tables to copy, by their names in the source; all of them if not given.
    #[serde(default)]
    tables: Option<Vec<String>>,
    /// Tables (`table`) and columns (`table.column`) that are left out of the source, or left alone in the target.
    #[serde(default)]
    exclude: Vec<String>,
    /// How to read the values of a column, by `table.column` of the source.
    #[serde(default)]
    casts: BTreeMap<String, Cast>,
    /// `fill` tables that exist, `create` them, or `auto`: fill if the target has any of them.
    #[serde(default)]
    schema: SchemaMode,
    /// The schema of the target that holds the tables; `public` if not given.
    #[serde(default)]
    target_schema: Option<String>,
    /// What happens to a row that cannot be carried over: `fail` the step, or put it in `quarantine`.
    #[serde(default)]
    on_fault: OnFault,
    /// Exceptions from `on_fault`: by `table.column`, or `*` for every column, and kind of fault.
    #[serde(default)]
    policies: BTreeMap<String, BTreeMap<FaultCode, Policy>>,
    /// With `quarantine`: when too many rows are put aside.
    #[serde(default)]
    fault_limit: FaultLimit,
    /// Accepts that other programs write to the source meanwhile: the copy then holds the state of its beginning.
    #[serde(default)]
    source_may_change: bool,
    /// Rows per batch at most (1 to 1,000,000).
    #[serde(default)]
    batch_rows: Option<usize>,
    /// Bytes per batch at most, except for a single larger row (4 KiB to 64 MiB).
    #[serde(default)]
    batch_bytes: Option<usize>,
    /// Streams that load side by side, each with a connection of its own to the target (1 to 16).
    #[serde(default)]
    streams: Option<usize>,
    /// Whether the planner's statistics are gathered at the end; they are unless `false`.
    #[serde(default)]
    analyze: Option<bool>,
}

impl Parameters {
    fn options(&self, copy_id: String) -> Options {
        let defaults = Options::new(copy_id);
        Options {
            tables: self.tables.clone(),
            exclude: self.exclude.clone(),
            casts: self.casts.clone(),
            schema: self.schema,
            target_schema: self.target_schema.clone().unwrap_or(defaults.target_schema),
            on_fault: self.on_fault,
            policies: self.policies.clone(),
            fault_limit: self.fault_limit,
            source_may_change: self.source_may_change,
            batch_rows: self.batch_rows.unwrap_or(defaults.batch_rows),
            batch_bytes: self.batch_bytes.unwrap_or(defaults.batch_bytes),
            streams: self.streams.unwrap_or(defaults.streams),
            analyze: self.analyze.unwrap_or(defaults.analyze),
            copy_id: defaults.copy_id,
        }
    }
}

#[async_trait]
impl Action for Copy {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            effect: Effect::Always,
            interruption: Interruption::Resume,
            target_keys: vec![("source".to_owned(), vec!["sqlite"]), ("target".to_owned(), vec!["postgres"])],
            ..describe::<Parameters>(
                "database.copy",
                "Copies tables from SQLite to PostgreSQL from one snapshot, with checkpoints; goes on where it was cut off.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let (source, target) = (context.sqlite(&parameters.source)?, context.postgres(&parameters.target)?);
        let options = parameters.options(copy_id(context, &context.step));
        let watcher = Watcher::new(context);
        let report = copy::run(&source, &target.url, &options, &|progress| watcher.tell(&progress), &context.cancel).await;
        done(context, &report.map_err(|error| trouble(&error))?).map(Done::real)
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let (source, target) = (context.sqlite(&parameters.source)?, context.postgres(&parameters.target)?);
        let options = parameters.options(copy_id(context, &context.step));
        let report = rehearse(context, &source, &target.url, options).await.map_err(|error| trouble(&error))?;
        done(context, &report).map(Done::simulated)
    }
}

async fn rehearse(context: &Context, source: &Path, target: &SecretString, options: Options) -> Result<Report, Error> {
    let watcher = Watcher::new(context);
    let tell = |progress: Progress| watcher.tell(&progress);
    let first = copy::rehearse(source, target, &options, &tell, &context.cancel).await;
    let (Err(Error::Schema(mismatches)), SchemaMode::Fill) = (&first, options.schema) else { return first };
    // In a dry run the step that makes the tables was rehearsed too. If some exist, `auto` finds the same mismatches.
    let missing: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
    let auto = Options { schema: SchemaMode::Auto, ..options };
    let second = copy::rehearse(source, target, &auto, &tell, &context.cancel).await?;
    if !second.created {
        return first;
    }
    context.note(&format!("dry run: {}; the rows were converted to types chosen by the copy", missing.join("; ")));
    Ok(second)
}

fn done(context: &Context, report: &Report) -> Result<serde_json::Value, Trouble> {
    for table in &report.tables {
        let aside = if table.quarantined > 0 { format!(", {} put aside", table.quarantined) } else { String::new() };
        let verb = if report.rehearsal { "would be loaded" } else { "loaded" };
        context.note(&format!("{}: {} of {} rows {verb}{aside}", table.table, table.rows, table.source_rows));
    }
    for left in &report.left_out {
        context.note(&format!("left out: {} {}: {}", left.kind, left.name, left.reason));
    }
    report_as_json(report)
}

fn portion(table: &TableProgress) -> Portion {
    Portion { name: table.table.clone(), done: table.done, total: table.total, aside: table.quarantined }
}

/// Passes progress on; says in the log when another table begins.
struct Watcher<'a> {
    context: &'a Context,
    table: Mutex<String>,
}

impl<'a> Watcher<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, table: Mutex::default() }
    }

    fn tell(&self, progress: &Progress) {
        match progress.phase {
            Phase::Rows => {
                let current = progress.tables.iter().find(|table| table.done < table.total);
                let current = current.map_or("", |table| table.table.as_str());
                self.note(current);
                self.context.progress_by_portion("rows", progress.tables.iter().map(portion).collect());
            }
            Phase::Constraints => {
                let total = Some(progress.constraints_total);
                self.context.progress(progress.constraints_done, total, "indexes and constraints", "");
            }
        }
    }

    fn note(&self, current: &str) {
        let mut table = self.table.lock().expect("no code panics while it holds the name");
        if *table != current && !current.is_empty() {
            self.context.note(&format!("loading {current}"));
        }
        current.clone_into(&mut table);
    }
}

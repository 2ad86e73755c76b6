//! `database.verify`: reads both databases anew and compares them.
//!
//! A difference is no failure of the step: it is in the result, for checks and criteria. The report for people is
//! the attempt's output. Dry run: compares for real if something was copied; while every table of the target is
//! empty or missing there is nothing to measure, and the result is simulated. Interruption: repeated, it only reads.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{copy_id, report_as_json, trouble};
use crate::actions::action::{Action, Done, Trouble, describe};
use crate::actions::context::{Context, TargetKey};
use crate::domain::{ActionSpec, StepName};
use crate::transfer::copy::Options as CopyOptions;
use crate::transfer::verify::{self, Options, Report};
use crate::transfer::{Cast, Error, FaultCode, Policy};

/// The action `database.verify`.
pub(in crate::actions) struct Verify;

/// What to compare, and how deep.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// Where the rows were: a target of the kind `sqlite`.
    source: TargetKey,
    /// Where they are now: a target of the kind `postgres`.
    target: TargetKey,
    /// The step of this run that copied with `on_fault: quarantine`: the rows that it put aside are not missed.
    #[serde(default)]
    copy: Option<StepName>,
    /// The tables to compare, by their names in the source; all of them if not given.
    #[serde(default)]
    tables: Option<Vec<String>>,
    /// Tables and `table.column`s that are meant to differ.
    #[serde(default)]
    exclude: Vec<String>,
    /// The casts of the copy: they say what a source value means.
    #[serde(default)]
    casts: BTreeMap<String, Cast>,
    /// The policies of the copy: they say which values were changed on the way, and how.
    #[serde(default)]
    policies: BTreeMap<String, BTreeMap<FaultCode, Policy>>,
    /// The schema of the target that holds the tables; `public` if not given.
    #[serde(default)]
    target_schema: Option<String>,
    /// About how many rows of each table are compared value by value beside the checksums (0 to 100,000).
    #[serde(default)]
    samples: Option<u64>,
    /// How many differences of each table are named (0 to 1,000).
    #[serde(default)]
    differences: Option<usize>,
}

impl Parameters {
    fn options(&self, context: &Context) -> Options {
        let defaults = Options::of_copy(&CopyOptions::new(""));
        Options {
            copy_id: self.copy.as_ref().map(|step| copy_id(context, step)),
            tables: self.tables.clone(),
            exclude: self.exclude.clone(),
            casts: self.casts.clone(),
            policies: self.policies.clone(),
            target_schema: self.target_schema.clone().unwrap_or(defaults.target_schema),
            samples: self.samples.unwrap_or(defaults.samples),
            differences: self.differences.unwrap_or(defaults.differences),
        }
    }
}

#[async_trait]
impl Action for Verify {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            target_keys: vec![("source".to_owned(), vec!["sqlite"]), ("target".to_owned(), vec!["postgres"])],
            ..describe::<Parameters>(
                "database.verify",
                "Compares a SQLite file with a PostgreSQL database: counts, contents, samples, sequences, constraints.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let report = compare(context, parameters).await?.map_err(|error| trouble(&error))?;
        show(context, &report);
        report_as_json(&report).map(Done::real)
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        match compare(context, parameters).await? {
            Ok(report) if holds_nothing(&report) => {
                context.note("dry run: nothing was copied yet, so there is nothing to compare");
                report_as_json(&report).map(Done::simulated)
            }
            Ok(report) => {
                show(context, &report);
                report_as_json(&report).map(Done::real)
            }
            Err(error @ Error::Schema(_)) => {
                context.note(&format!("dry run: nothing to compare yet: {error}"));
                report_as_json(&Report::default()).map(Done::simulated)
            }
            Err(error) => Err(trouble(&error)),
        }
    }
}

async fn compare(context: &Context, parameters: &Parameters) -> Result<Result<Report, Error>, Trouble> {
    let (source, target) = (context.sqlite(&parameters.source)?, context.postgres(&parameters.target)?);
    let tell = |done: usize, tables: usize| context.progress(done as u64, Some(tables as u64), "tables", "");
    Ok(verify::run(&source, &target.url, &parameters.options(context), &tell, &context.cancel).await)
}

/// Whether no table of the target has a row although the source has some.
fn holds_nothing(report: &Report) -> bool {
    let source: u64 = report.tables.iter().map(|table| table.source_rows).sum();
    source > 0 && report.tables.iter().all(|table| table.target_rows == 0)
}

fn show(context: &Context, report: &Report) {
    report.to_markdown().lines().for_each(|line| context.note(line));
}

//! `postgres.restore`.
//!
//! One transaction: the target holds all of the dump or nothing of it.
//!
//! Dry run: the dump is checked against its manifest and its table of contents is read; the target is only looked at.
//! Interruption: the target is counted and compared with the manifest.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::census::{self, Census};
use super::{Manifest, hash, manifest_path, on_files, plain_path, program};
use crate::actions::action::{Action, Done, Trouble, describe};
use crate::actions::context::{Context, Record, Show, TargetKey};
use crate::actions::sql::Session;
use crate::actions::target::PostgresAddress;
use crate::domain::run::Finding;
use crate::domain::{ActionSpec, Effect, Interruption};

/// The action `postgres.restore`.
pub(in crate::actions) struct Restore;

/// What to restore, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// The database: a target of the kind `postgres`.
    target: TargetKey,
    /// A dump that `postgres.dump` made, with its manifest beside it; an absolute path.
    from: String,
    /// Drops what the dump holds from the target first. Without it, the target must hold no table.
    #[serde(default)]
    replace: bool,
    /// Restores owners and privileges too; their roles must exist.
    #[serde(default)]
    keep_owners: bool,
}

#[async_trait]
impl Action for Restore {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            effect: Effect::Always,
            interruption: Interruption::Probe,
            target_keys: vec![("target".to_owned(), vec!["postgres"])],
            ..describe::<Parameters>(
                "postgres.restore",
                "Restores a dump of `postgres.dump` in one transaction and compares. A dry run checks dump and target only.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let ready = Ready::new(context, parameters).await?;
        let database = format!("--dbname={}", ready.address.database);
        let mut command = program("pg_restore", &ready.address).args(["--exit-on-error", "--single-transaction", &database]);
        if parameters.replace {
            command = command.args(["--clean", "--if-exists"]);
        }
        if !parameters.keep_owners {
            command = command.args(["--no-owner", "--no-privileges"]);
        }
        context.run_well(command.arg(&ready.from), Record::Yes, Show::All, "pg_restore").await?;
        let found = ready.count(context).await?;
        let differences = ready.manifest.census.differences(&found);
        if !differences.is_empty() {
            let message = format!("it was restored, and the target is not what the dump holds: {}", differences.join("; "));
            return Err(Trouble::lasting(message));
        }
        Ok(Done::real(result(&ready.manifest)))
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let ready = Ready::new(context, parameters).await?;
        let command = program("pg_restore", &ready.address).arg("--list").arg(&ready.from);
        context.run_well(command, Record::No, Show::Errors, "pg_restore").await?;
        Ok(Done::simulated(result(&ready.manifest)))
    }

    async fn probe(&self, context: &Context, parameters: &Parameters) -> Finding {
        look(context, parameters).await.unwrap_or_else(|trouble| Finding::Unclear { why: trouble.to_string() })
    }
}

async fn look(context: &Context, parameters: &Parameters) -> Result<Finding, Trouble> {
    let (from, manifest) = read_manifest(parameters).await?;
    let ready = Ready { address: context.postgres(&parameters.target)?, from, manifest };
    let found = ready.count(context).await?;
    if ready.manifest.census.differences(&found).is_empty() {
        return Ok(Finding::Happened { result: result(&ready.manifest) });
    }
    if found.tables.is_empty() {
        return Ok(Finding::DidNotHappen);
    }
    Ok(Finding::Unclear { why: "the target holds tables, and they are not those of the dump".to_owned() })
}

fn result(manifest: &Manifest) -> Value {
    json!({
        "from": manifest.path,
        "sha256": manifest.sha256,
        "table_count": manifest.census.tables.len(),
        "rows": manifest.census.rows(),
        "tables": manifest.census.by_table(),
    })
}

/// A dump that is whole, and a target that may take it.
struct Ready {
    address: PostgresAddress,
    from: PathBuf,
    manifest: Manifest,
}

impl Ready {
    async fn new(context: &Context, parameters: &Parameters) -> Result<Self, Trouble> {
        let (from, manifest) = read_manifest(parameters).await?;
        let (sha256, _) = on_files(&from, hash).await?;
        if sha256 != manifest.sha256 {
            return Err(Trouble::lasting(format!(
                "the dump {} was changed since it was made: its SHA-256 is not the manifest's; nothing was done",
                from.display()
            )));
        }
        let address = context.postgres(&parameters.target)?;
        let mut session = Session::open(context, &address).await?;
        let tables = census::tables(&mut session.connection).await.map_err(|error| address.explain("looking at", &error))?;
        if !tables.is_empty() && !parameters.replace {
            return Err(Trouble::lasting(format!(
                "{} holds {} tables already ({}, ...); empty it, or say `replace: true`; nothing was done",
                address.display(),
                tables.len(),
                tables[0]
            )));
        }
        Ok(Self { address, from, manifest })
    }

    async fn count(&self, context: &Context) -> Result<Census, Trouble> {
        let mut session = Session::open(context, &self.address).await?;
        census::take(context, &self.address, &mut session, "counting what was restored").await
    }
}

async fn read_manifest(parameters: &Parameters) -> Result<(PathBuf, Manifest), Trouble> {
    let from = plain_path("from", &parameters.from)?;
    let read = |path: &Path| Ok(serde_json::from_slice(&std::fs::read(path)?)?);
    let manifest = on_files(&manifest_path(&from), read).await.map_err(|trouble| {
        Trouble::lasting(format!("{trouble}; only a dump of `postgres.dump`, with its manifest, can be proven; nothing was done"))
    })?;
    Ok((from, manifest))
}

//! `postgres.dump`.
//!
//! Dump and census see one snapshot of the database, exported by the server, so that they can be compared although
//! the application goes on writing.
//!
//! Dry run: pg_dump reads the whole schema and writes to nowhere; whether a scratch database may be made is checked.
//! Interruption: repeated; a half-written dump never has the final name, a left-over scratch database is replaced.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::census::{self, Census};
use super::{Format, Manifest, hash, manifest_path, on_files, plain_path, program, remove, scratch, sync};
use crate::actions::action::{Action, Done, Trouble, describe};
use crate::actions::context::{Context, Record, Show, TargetKey};
use crate::actions::run_dir::{sync_directory, write_durably};
use crate::actions::sql::Session;
use crate::actions::target::PostgresAddress;
use crate::domain::{ActionSpec, Effect};

/// The most processes that one dump or restore starts.
const JOBS_MAX: u8 = 16;

/// The action `postgres.dump`.
pub(in crate::actions) struct Dump;

/// What to dump, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// The database: a target of the kind `postgres`. Its user must be allowed to create databases.
    target: TargetKey,
    /// The dump, an absolute path that does not exist yet; `{{ run.dir }}/NAME.dump` keeps it with the run.
    to: String,
    /// How it is stored; `custom` unless set.
    #[serde(default)]
    format: Format,
    /// How many processes work at once; more than 1 needs the format `directory` to dump.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    jobs: u8,
}

fn one() -> u8 {
    1
}

impl Parameters {
    fn jobs(&self) -> u8 {
        self.jobs.clamp(1, JOBS_MAX)
    }
}

#[async_trait]
impl Action for Dump {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            effect: Effect::Always,
            target_keys: vec![("target".to_owned(), vec!["postgres"])],
            ..describe::<Parameters>(
                "postgres.dump",
                "Dumps a database, restores it into a scratch database and compares. A dry run dumps the schema to nowhere.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let address = context.postgres(&parameters.target)?;
        let to = plain_path("to", &parameters.to)?;
        if let Some(manifest) = finished_before(&to, context).await {
            context.note("the dump of an earlier attempt is there and unchanged");
            return Ok(Done::real(result(&manifest)));
        }
        refuse_to_overwrite(&to, context)?;
        let partial = partial_of(&to, context);
        let proven = dump_and_prove(context, &address, parameters, &partial).await;
        let census = match proven {
            Ok(census) => census,
            Err(trouble) => {
                on_files(&partial, remove).await?;
                return Err(trouble);
            }
        };
        let (format, database) = (parameters.format, address.database.clone());
        let path = to.to_string_lossy().into_owned();
        let draft = Manifest { made_by: maker(context), path, format, sha256: String::new(), bytes: 0, database, census };
        let manifest = name_it(&to, &partial, draft).await?;
        Ok(Done::real(result(&manifest)))
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let address = context.postgres(&parameters.target)?;
        let to = plain_path("to", &parameters.to)?;
        refuse_to_overwrite(&to, context)?;
        let mut session = Session::open(context, &address).await?;
        let explain = |error| address.explain("asking", &error);
        let may = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user";
        let may: bool = sqlx::query_scalar(may).fetch_one(&mut session.connection).await.map_err(explain)?;
        if !may {
            return Err(Trouble::lasting(format!(
                "the user {} may not create the scratch database that proves the dump: grant it CREATEDB",
                address.user
            )));
        }
        let tables = census::tables(&mut session.connection).await.map_err(explain)?;
        let command = program("pg_dump", &address).args(["--schema-only", "--file=/dev/null"]);
        context.run_well(command, Record::No, Show::All, "pg_dump").await?;
        Ok(Done::simulated(json!({ "path": to, "bytes": null, "sha256": null, "table_count": tables.len(), "rows": null })))
    }
}

fn result(manifest: &Manifest) -> Value {
    json!({
        "path": manifest.path,
        "bytes": manifest.bytes,
        "sha256": manifest.sha256,
        "table_count": manifest.census.tables.len(),
        "rows": manifest.census.rows(),
        "tables": manifest.census.by_table(),
        "restored_and_equal": true,
    })
}

fn partial_of(to: &Path, context: &Context) -> PathBuf {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    to.with_file_name(format!(".{name}.{}.partial", context.run))
}

fn maker(context: &Context) -> String {
    format!("{}/{}", context.run, context.step)
}

/// The manifest beside `to`, if this very step has written it.
fn own_manifest(to: &Path, context: &Context) -> Option<Manifest> {
    let bytes = std::fs::read(manifest_path(to)).ok()?;
    serde_json::from_slice::<Manifest>(&bytes).ok().filter(|manifest| manifest.made_by == maker(context))
}

/// The manifest of a dump that this step has finished before it was cut off.
async fn finished_before(to: &Path, context: &Context) -> Option<Manifest> {
    let manifest = own_manifest(to, context)?;
    let unchanged = on_files(to, hash).await.is_ok_and(|(sha256, _)| sha256 == manifest.sha256);
    unchanged.then_some(manifest)
}

fn refuse_to_overwrite(to: &Path, context: &Context) -> Result<(), Trouble> {
    let own = own_manifest(to, context).is_some();
    for (path, may_be_there) in [(to.to_owned(), false), (manifest_path(to), own)] {
        if path.symlink_metadata().is_ok() && !may_be_there {
            let message = format!("{} exists and is not this step's own dump; move it away and try again", path.display());
            return Err(Trouble::lasting(message));
        }
    }
    match to.parent().is_some_and(Path::is_dir) {
        true => Ok(()),
        false => Err(Trouble::lasting(format!("the directory of {} does not exist; make it and try again", to.display()))),
    }
}

/// Dumps to `partial`, restores it beside the target, and compares. The scratch database is gone afterwards.
async fn dump_and_prove(
    context: &Context,
    address: &PostgresAddress,
    parameters: &Parameters,
    partial: &Path,
) -> Result<Census, Trouble> {
    on_files(partial, remove).await?;
    let dumped = dump(context, address, parameters, partial).await?;
    let scratch = scratch::create(context, address).await?;
    let restored = restore_and_count(context, &scratch.address, parameters, partial).await;
    let dropped = scratch.drop_it().await;
    let restored = restored?;
    dropped?;
    let differences = dumped.differences(&restored);
    if differences.is_empty() {
        return Ok(dumped);
    }
    let message = format!("the dump was restored and is not what the database held: {}; it was not kept", differences.join("; "));
    Err(Trouble::passing(message))
}

async fn dump(context: &Context, address: &PostgresAddress, parameters: &Parameters, partial: &Path) -> Result<Census, Trouble> {
    let mut session = Session::open(context, address).await?;
    let explain = |error| address.explain("taking a snapshot of", &error);
    let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
    sqlx::query(begin).execute(&mut session.connection).await.map_err(explain)?;
    let snapshot = "SELECT pg_export_snapshot()";
    let snapshot: String = sqlx::query_scalar(snapshot).fetch_one(&mut session.connection).await.map_err(explain)?;
    let format = match parameters.format {
        Format::Custom => "--format=custom",
        Format::Directory => "--format=directory",
    };
    let mut command = program("pg_dump", address).args([format, "--lock-wait-timeout=60s"]).arg(format!("--snapshot={snapshot}"));
    if parameters.jobs() > 1 {
        command = command.arg(format!("--jobs={}", parameters.jobs()));
    }
    context.run_well(command.arg("--file").arg(partial), Record::Yes, Show::All, "pg_dump").await?;
    census::take(context, address, &mut session, "counting what was dumped").await
}

async fn restore_and_count(
    context: &Context,
    scratch: &PostgresAddress,
    parameters: &Parameters,
    partial: &Path,
) -> Result<Census, Trouble> {
    // Owners and privileges do not matter for a proof, and need rights that the user may not have.
    let command = program("pg_restore", scratch)
        .args(["--exit-on-error", "--no-owner", "--no-privileges"])
        .arg(format!("--jobs={}", parameters.jobs()))
        .arg(format!("--dbname={}", scratch.database));
    context.run_well(command.arg(partial), Record::Yes, Show::All, "pg_restore into the scratch database").await?;
    let mut session = Session::open(context, scratch).await?;
    census::take(context, scratch, &mut session, "counting what was restored").await
}

/// Writes the manifest of a proven dump, and then gives the dump its name.
async fn name_it(to: &Path, partial: &Path, draft: Manifest) -> Result<Manifest, Trouble> {
    let target = to.to_owned();
    on_files(partial, move |partial| {
        sync(partial)?;
        let (sha256, bytes) = hash(partial)?;
        let manifest = Manifest { sha256, bytes, ..draft };
        let directory = target.parent().unwrap_or(Path::new("/"));
        let name = manifest_path(&target).file_name().unwrap_or_default().to_string_lossy().into_owned();
        write_durably(directory, &name, &serde_json::to_vec_pretty(&manifest)?, 0o600)?;
        std::fs::rename(partial, &target)?;
        sync_directory(directory)?;
        Ok(manifest)
    })
    .await
}

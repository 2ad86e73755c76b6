//! `sqlite.backup`: a consistent copy of a SQLite file that is proven to open.
//!
//! Dry run: into the run's directory, the backup is really made; anywhere else, it is made in the run's directory,
//! checked, and removed. Interruption: repeated; a half-written copy never has the final name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use rusqlite::backup::{Backup as OnlineBackup, StepResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::actions::action::{Action, Done, Trouble, describe};
use crate::actions::context::{Context, TargetKey};
use crate::actions::run_dir::sync_directory;
use crate::actions::sql::{OpenMode, explain_sqlite, open_sqlite};
use crate::domain::{ActionSpec, Effect};

/// How many pages are copied between two looks at cancellation: 8 MiB with SQLite's default of 4 KiB.
const PAGES_PER_STEP: i32 = 2_048;
/// How long to wait when another connection holds the file's lock.
const BUSY_WAIT: Duration = Duration::from_millis(50);
/// How the path begins when the backup stays in the run's own directory.
const IN_RUN_DIRECTORY: &str = "{{ run.dir }}/";

/// The action `sqlite.backup`.
pub(in crate::actions) struct Backup;

/// What to back up, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// The database: a target of the kind `sqlite`.
    target: TargetKey,
    /// The copy, an absolute path that does not exist yet; `{{ run.dir }}/NAME.sqlite` keeps it with the run.
    to: String,
}

/// What is known of a finished copy, also across a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Copied {
    path: String,
    bytes: u64,
    sha256: String,
    integrity: String,
    tables: std::collections::BTreeMap<String, u64>,
}

#[async_trait]
impl Action for Backup {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            effect: Effect::Always,
            target_keys: vec![("target".to_owned(), vec!["sqlite"])],
            ..describe::<Parameters>(
                "sqlite.backup",
                "Copies a SQLite file while it is in use, checks the copy and hashes it. A dry run keeps the copy only in the run's directory.",
            )
        }
    }

    fn has_effect(&self, with: &Map<String, Value>) -> bool {
        let to = with.get("to").and_then(Value::as_str).unwrap_or_default();
        !to.starts_with(IN_RUN_DIRECTORY) || to.contains("..")
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let job = Job::new(context, parameters)?;
        let memory = format!("{}.backup", context.step);
        let remembered: Option<Copied> = context.directory.recall(&memory).map_err(|error| storing(&job.to, &error))?;
        if let Some(known) = remembered.filter(|known| known.path == job.to.to_string_lossy() && job.is_there(&known.sha256)) {
            context.note("the copy of an earlier attempt is there and unchanged");
            return Ok(Done::real(json!(known)));
        }
        job.refuse_to_overwrite()?;
        let (partial, to) = (job.partial(), job.to.clone());
        let copied = job.copy(context, partial.clone()).await?;
        let directory = context.directory.clone();
        blocking(move || {
            // Remembered before it gets its name: an attempt after a crash then knows its own copy.
            directory.forget(&memory)?;
            directory.remember_first(&memory, copied.clone())?;
            // A link, unlike a rename, never replaces a file that has come there meanwhile.
            fs::hard_link(&partial, &to)?;
            fs::remove_file(&partial)?;
            to.parent().map_or(Ok(()), sync_directory)?;
            Ok(copied)
        })
        .await
        .map_err(|error| storing(&job.to, &error))
        .map(|copied| Done::real(json!(copied)))
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let job = Job::new(context, parameters)?;
        if job.to.starts_with(context.directory.path()) {
            return self.perform(context, parameters).await;
        }
        job.refuse_to_overwrite()?;
        let scratch = context.directory.subdirectory("scratch").map_err(|error| storing(&job.to, &error))?;
        let scratch = scratch.join(format!("{}.sqlite", context.step));
        let copied = job.copy(context, scratch.clone()).await?;
        let _ = fs::remove_file(scratch);
        Ok(Done::simulated(json!(copied)))
    }
}

struct Job {
    from: PathBuf,
    to: PathBuf,
    run: String,
}

impl Job {
    fn new(context: &Context, parameters: &Parameters) -> Result<Self, Trouble> {
        let to = PathBuf::from(&parameters.to);
        let plain = to.is_absolute() && to.components().all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
        if !plain || to.file_name().is_none() {
            let message = format!("`to` must be an absolute path without `..`, and `{}` is not; nothing was done", parameters.to);
            return Err(Trouble::lasting(message));
        }
        Ok(Self { from: context.sqlite(&parameters.target)?, to, run: context.run.to_string() })
    }

    fn partial(&self) -> PathBuf {
        let name = self.to.file_name().unwrap_or_default().to_string_lossy();
        self.to.with_file_name(format!(".{name}.{}.partial", self.run))
    }

    fn is_there(&self, sha256: &str) -> bool {
        hash(&self.to).is_ok_and(|(found, _)| found == sha256)
    }

    fn refuse_to_overwrite(&self) -> Result<(), Trouble> {
        let to = self.to.display();
        match self.to.symlink_metadata() {
            Ok(_) => Err(Trouble::lasting(format!("{to} exists and is not this step's own copy; move it away and try again"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.to.parent().map(Path::is_dir) {
                Some(true) => Ok(()),
                Some(false) | None => {
                    Err(Trouble::lasting(format!("the directory of {to} does not exist; make it and try again")))
                }
            },
            Err(error) => Err(storing(&self.to, &error)),
        }
    }

    /// Copies to `partial`, whose content is durable and checked when this returns. Leaves nothing on failure.
    async fn copy(&self, context: &Context, partial: PathBuf) -> Result<Copied, Trouble> {
        let (from, to) = (self.from.clone(), self.to.clone());
        let cancel = context.cancel.clone();
        let sink = std::sync::Arc::clone(&context.sink);
        let table = self.from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let progress = move |done, total| sink.progress(done, Some(total), "bytes", &table);
        let copied = tokio::task::spawn_blocking(move || {
            let copied = copy_and_check(&from, &partial, &to, &cancel, progress);
            if copied.is_err() {
                remove_with_companions(&partial);
            }
            copied
        });
        copied.await.unwrap_or_else(|error| Err(Trouble::passing(format!("the backup's thread died: {error}"))))
    }
}

fn copy_and_check(
    from: &Path,
    partial: &Path,
    to: &Path,
    cancel: &CancellationToken,
    progress: impl Fn(u64, u64),
) -> Result<Copied, Trouble> {
    let source = open_sqlite(from, OpenMode::Read)?;
    // Of an earlier attempt that was cut off.
    remove_with_companions(partial);
    copy_pages(&source, from, partial, to, cancel, progress)?;
    let copy = Connection::open(partial).map_err(|error| explain_sqlite(to, "opening", &error))?;
    // One file, whatever mode the source is in; a copy in WAL mode would grow two more when it is looked at.
    copy.execute_batch("PRAGMA journal_mode = DELETE").map_err(|error| explain_sqlite(to, "writing", &error))?;
    let integrity = super::integrity(&copy, to)?;
    if integrity != super::INTACT {
        return Err(Trouble::lasting(format!(
            "the copy of {} does not pass integrity_check: {integrity}; nothing was kept, mend the source first",
            from.display()
        )));
    }
    let tables = super::count_rows(&copy, to)?;
    drop(copy);
    let (sha256, bytes) = hash(partial).map_err(|error| storing(to, &error))?;
    File::open(partial).and_then(|file| file.sync_all()).map_err(|error| storing(to, &error))?;
    Ok(Copied { path: to.to_string_lossy().into_owned(), bytes, sha256, integrity, tables })
}

/// Removes a database and the files that SQLite keeps beside it, as far as they are there: a full disk leaves the journal.
fn remove_with_companions(database: &Path) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut file = database.as_os_str().to_owned();
        file.push(suffix);
        let _ = fs::remove_file(PathBuf::from(file));
    }
}

fn copy_pages(
    source: &Connection,
    from: &Path,
    partial: &Path,
    to: &Path,
    cancel: &CancellationToken,
    progress: impl Fn(u64, u64),
) -> Result<(), Trouble> {
    let reading = |error| explain_sqlite(from, "backing up", &error);
    let writing = |error| explain_sqlite(to, "writing", &error);
    // One snapshot from here to the end: otherwise every write of the application starts the copy anew.
    source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema").map_err(reading)?;
    let page: u64 = source.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0)).map_err(reading)?.unsigned_abs();
    let mut copy = Connection::open(partial).map_err(writing)?;
    let backup = OnlineBackup::new(source, &mut copy).map_err(writing)?;
    loop {
        if cancel.is_cancelled() {
            return Err(Trouble::Cancelled);
        }
        let step = backup.step(PAGES_PER_STEP).map_err(writing)?;
        let seen = backup.progress();
        let (total, left) = (seen.pagecount.unsigned_abs(), seen.remaining.unsigned_abs());
        progress(u64::from(total.saturating_sub(left)) * page, u64::from(total) * page);
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            // This thread has nothing else to do, and nobody awaits it but this attempt.
            _ => std::thread::sleep(BUSY_WAIT),
        }
    }
}

fn hash(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((hex::encode(hasher.finalize()), bytes)),
            length => {
                hasher.update(&chunk[..length]);
                bytes += length as u64;
            }
        }
    }
}

fn storing(to: &Path, error: &io::Error) -> Trouble {
    Trouble::passing(format!("storing the backup {}: {error}", to.display()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

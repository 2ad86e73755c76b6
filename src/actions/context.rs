//! What an action is given: where it works, whom it may ask for what, and how it is told to stop.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::action::Trouble;
use super::output::Output;
use super::process::{Captured, Command, Exit, Finished, ProcessError, ProcessGroup, Spawner, run};
use super::redact::Redactor;
use super::run_dir::{RunDirectory, write_durably};
use super::secrets::{SecretError, Secrets};
use super::target::{self, Address, KubernetesAddress, PostgresAddress};
use crate::clock::SharedClock;
use crate::domain::run::Portion;
use crate::domain::{Plan, RunId, StepName, TargetName};
use crate::engine::JobSink;
use crate::expression::Scope;

/// One attempt as its action sees it.
pub struct Context {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepName,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Whether to go on from the checkpoint of an attempt that was cut off.
    pub resumes: bool,
    /// Whether this is a dry run.
    pub rehearsal: bool,
    /// In a dry run: the step before this one that was only rehearsed and may have changed what this one looks at.
    /// What is then not as expected says nothing about a live run.
    pub rehearsed_before: Option<StepName>,
    /// The run's own directory.
    pub directory: RunDirectory,
    /// What expressions see: `params`, `steps`, `run`, `targets`, and `measured` at a gate.
    pub scope: Scope,
    /// The time.
    pub clock: SharedClock,
    /// Fires when the action must stop.
    pub cancel: CancellationToken,
    pub(super) sink: Arc<dyn JobSink>,
    pub(super) plan: Arc<Plan>,
    pub(super) spawner: Spawner,
    pub(super) secrets: Secrets,
    pub(super) redactor: Mutex<Redactor>,
    pub(super) output: Output,
}

/// The name of a target, as a step's `with` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct TargetKey(pub TargetName);

/// Whether a child's group goes into the journal before the child runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// Yes: it changes something, and a later attempt must know that it is gone.
    Yes,
    /// No: it only looks; its supervisor ends it with the bot, and a survivor could do no harm.
    No,
}

/// What of a child's output goes into the attempt's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// Everything.
    All,
    /// Standard error only: the other one is data, or holds secrets.
    Errors,
}

impl Context {
    /// A secret by its name. From here on it is masked in everything that this attempt says.
    ///
    /// # Errors
    /// If the settings do not have it.
    pub fn secret(&self, name: &str) -> Result<SecretString, SecretError> {
        let secret = self.secrets.resolve(name)?;
        self.mask(secret.clone());
        Ok(secret)
    }

    /// Masks a value in everything that this attempt says from here on.
    pub fn mask(&self, secret: SecretString) {
        let mut redactor = self.redactor.lock().expect("no code panics while it holds the redactor");
        *redactor = redactor.with([secret]);
    }

    /// The text without any secret that this attempt has resolved.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.redactor().redact(text)
    }

    pub(super) fn redactor(&self) -> Redactor {
        self.redactor.lock().expect("no code panics while it holds the redactor").clone()
    }

    /// Adds a line to the attempt's log.
    pub fn note(&self, text: &str) {
        self.output.line(&self.redact(text));
    }

    /// Tells how far it is.
    pub fn progress(&self, done: u64, total: Option<u64>, unit: &str, what: &str) {
        self.sink.progress(done, total, unit, what);
    }

    /// Tells how far each portion of the work is, e.g. each table.
    pub fn progress_by_portion(&self, unit: &str, portions: Vec<Portion>) {
        self.sink.progress_by_portion(unit, portions);
    }

    /// How a target is reached.
    ///
    /// # Errors
    /// An unknown target, or an address that cannot be resolved.
    pub fn address(&self, key: &TargetKey) -> Result<Address, Trouble> {
        let target = self.plan.runbook.targets.get(&key.0);
        let target = target.ok_or_else(|| Trouble::lasting(format!("the runbook has no target `{}`", key.0)))?;
        target::resolve(target, |name| self.secret(name))
    }

    /// As [`Self::address`], of a PostgreSQL target.
    ///
    /// # Errors
    /// As there, and a target of another kind.
    pub fn postgres(&self, key: &TargetKey) -> Result<PostgresAddress, Trouble> {
        match self.address(key)? {
            Address::Postgres(address) => Ok(address),
            Address::Sqlite(_) | Address::Kubernetes(_) | Address::Http(_) => Err(wrong_kind(key, "PostgreSQL database")),
        }
    }

    /// As [`Self::address`], of a SQLite target.
    ///
    /// # Errors
    /// As there, and a target of another kind.
    pub fn sqlite(&self, key: &TargetKey) -> Result<PathBuf, Trouble> {
        match self.address(key)? {
            Address::Sqlite(path) => Ok(path),
            Address::Postgres(_) | Address::Kubernetes(_) | Address::Http(_) => Err(wrong_kind(key, "SQLite file")),
        }
    }

    /// As [`Self::address`], of a Kubernetes target.
    ///
    /// # Errors
    /// As there, and a target of another kind.
    pub fn kubernetes(&self, key: &TargetKey) -> Result<KubernetesAddress, Trouble> {
        match self.address(key)? {
            Address::Kubernetes(address) => Ok(address),
            Address::Sqlite(_) | Address::Postgres(_) | Address::Http(_) => Err(wrong_kind(key, "Kubernetes namespace")),
        }
    }

    /// Copies pinned files, found by the path that the runbook names, into `{{ run.dir }}/files` under these paths,
    /// and checks that each is what was planned. Returns that directory.
    ///
    /// # Errors
    /// If a pinned copy is missing or changed: then nothing of it may run.
    pub fn lay_out(&self, files: &[&str]) -> Result<PathBuf, Trouble> {
        let storing = |error: std::io::Error| Trouble::passing(format!("laying out the pinned files: {error}; nothing was run"));
        let root = self.directory.subdirectory("files").map_err(storing)?;
        for file in files {
            let bytes = self.pinned(file)?;
            let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
            let folder = self.directory.subdirectory(&format!("files/{folder}")).map_err(storing)?;
            // Written anew each time: what an earlier step has made of its copy does not matter.
            write_durably(&folder, name, &bytes, 0o500).map_err(storing)?;
        }
        Ok(root)
    }

    /// The bytes of a pinned file, checked.
    ///
    /// # Errors
    /// As [`Self::lay_out`].
    pub fn pinned(&self, file: &str) -> Result<Vec<u8>, Trouble> {
        let planned = self.plan.files.get(file);
        let planned = planned.ok_or_else(|| Trouble::lasting(format!("the file `{file}` is not pinned by this run's plan")))?;
        let path = self.directory.pinned(&planned.sha256);
        let bytes = std::fs::read(&path).map_err(|error| {
            Trouble::lasting(format!("the pinned copy of `{file}` is missing ({}: {error}); nothing was run", path.display()))
        })?;
        let found = crate::domain::Digest::of_bytes(&bytes);
        if found != planned.sha256 {
            let (found, planned) = (found.short(), planned.sha256.short());
            return Err(Trouble::lasting(format!(
                "the pinned copy of `{file}` was changed: its digest is {found}, the plan's is {planned}; nothing was run"
            )));
        }
        Ok(bytes)
    }

    /// Waits for something that holds nothing open, unless told to stop.
    ///
    /// # Errors
    /// [`Trouble::Cancelled`].
    pub async fn or_cancelled<T>(&self, future: impl Future<Output = T>) -> Result<T, Trouble> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Trouble::Cancelled),
            value = future => Ok(value),
        }
    }

    /// Runs a child to its end. An exit status is not judged here.
    pub(super) async fn run_child(&self, command: Command, record: Record, show: Show) -> Result<Finished, Trouble> {
        let sink = Arc::clone(&self.sink);
        let on_started = async move |group: ProcessGroup| match record {
            Record::Yes => sink.child_started(group).await,
            Record::No => Ok(()),
        };
        let mut on_line = |line: super::process::Line<'_>| {
            if show == Show::All || line.stream == super::process::Stream::Stderr {
                self.output.line(line.text);
            }
        };
        let command = command.redactor(self.redactor());
        run(&self.spawner, command, on_started, &mut on_line, &self.cancel).await.map_err(process_trouble)
    }

    /// Runs a child that must end with status 0; `what` says what for.
    pub(super) async fn run_well(&self, command: Command, record: Record, show: Show, what: &str) -> Result<Finished, Trouble> {
        let finished = self.run_child(command, record, show).await?;
        match finished.exit {
            exit if exit.is_success() => Ok(finished),
            exit => Err(Trouble::passing(exited(what, exit, &finished.stderr))),
        }
    }
}

/// `what` ended badly, with the last thing that it said.
pub(super) fn exited(what: &str, exit: Exit, stderr: &Captured) -> String {
    let text = stderr.text();
    let said: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = said[said.len().saturating_sub(3)..].join(" / ");
    if last.is_empty() { format!("{what} ended with {exit}") } else { format!("{what} ended with {exit}: {last}") }
}

fn wrong_kind(key: &TargetKey, wanted: &str) -> Trouble {
    Trouble::lasting(format!("the target `{}` is not a {wanted}", key.0))
}

fn process_trouble(error: ProcessError) -> Trouble {
    let message = error.to_string();
    match error {
        ProcessError::Spawn { .. } | ProcessError::NotRecorded(_) => Trouble::passing(format!("{message}; nothing was run")),
        ProcessError::NotStarted { .. } => Trouble::lasting(format!("{message}; nothing was run")),
        ProcessError::Cancelled(_) => Trouble::Cancelled,
        ProcessError::SupervisorLost { .. } | ProcessError::LeftBehind(_) => Trouble::Unknown { why: message },
    }
}

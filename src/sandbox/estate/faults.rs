//! What can be made to go wrong in the practice estate.
//!
//! The switches live in one file that the application reads anew for every request and the Kubernetes
//! model for every decision: they work at once, and on pods that start later. [`Faults`] are those of the ACE
//! application; the SX application keeps its own in the same way.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The faults that are on. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// `/items` answers 500 while the application uses this database: the smoke check fails.
    pub items_fail_on: Option<Backend>,
    /// `/health` answers 503 while the application uses this database: its pod never becomes ready.
    pub unhealthy_on: Option<Backend>,
    /// Every answer of the application waits this long, in milliseconds.
    pub slow_millis: u64,
    /// `/version` tells this instead of the truth.
    pub wrong_version: Option<String>,
    /// No new pod becomes ready, whatever its health.
    pub rollout_stuck: bool,
    /// The Kubernetes API answers 503.
    pub api_refuses: bool,
}

/// Which kind of database the application uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The file that the migration starts from.
    Sqlite,
    /// The server that it leads to.
    Postgres,
}

impl Backend {
    /// The name in the application's answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// The file of the switches: `F` as JSON.
#[derive(Debug)]
pub struct Switches<F = Faults> {
    file: PathBuf,
    holds: PhantomData<fn() -> F>,
}

// Derived, it would ask `F` to be Clone, and only the path is copied.
impl<F> Clone for Switches<F> {
    fn clone(&self) -> Self {
        Self { file: self.file.clone(), holds: PhantomData }
    }
}

impl<F: Default + Serialize + DeserializeOwned> Switches<F> {
    /// The switches in `file`; while there is none, every fault is off.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), holds: PhantomData }
    }

    /// What is on now. An unreadable file counts as none: practice must not fail for its own sake.
    #[must_use]
    pub fn read(&self) -> F {
        std::fs::read(&self.file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Sets all switches at once.
    ///
    /// # Errors
    /// The file cannot be written; the former switches stay.
    pub fn set(&self, faults: &F) -> io::Result<()> {
        let new = self.file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(faults)?)?;
        std::fs::rename(new, &self.file)
    }

    /// Where the switches are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }
}

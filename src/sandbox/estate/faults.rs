//! What can be made to go wrong in the practice estate.
//!
//! The switches live in one file that the application reads anew for every request and the Kubernetes
//! model for every decision: they work at once, and on pods that start later.

use std::io;
use std::path::{Path, PathBuf};

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

/// The file of the switches.
#[derive(Debug, Clone)]
pub struct Switches(PathBuf);

impl Switches {
    /// The switches in `file`; while there is none, every fault is off.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self(file.into())
    }

    /// What is on now. An unreadable file counts as none: practice must not fail for its own sake.
    #[must_use]
    pub fn read(&self) -> Faults {
        std::fs::read(&self.0).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Sets all switches at once.
    ///
    /// # Errors
    /// The file cannot be written; the former switches stay.
    pub fn set(&self, faults: &Faults) -> io::Result<()> {
        let new = self.0.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(faults)?)?;
        std::fs::rename(new, &self.0)
    }

    /// Where the switches are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

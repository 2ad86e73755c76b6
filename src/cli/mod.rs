//! The subcommands that work offline on the definitions: arguments and what they print, no start-up of a bot.
//!
//! Each is a `clap::Args` struct with a function that writes to a given output and tells the exit status;
//! `main` wires them up. What the actions accept comes in as a [`CheckContext`](crate::catalog::CheckContext).

mod audit;
mod check;
mod copy;
mod render;
mod schema;

use std::path::PathBuf;

use crate::catalog::DefinitionsDir;
use crate::config::Settings;

pub use audit::{AuditCommand, audit};
pub use check::{CheckArgs, Format, check};
pub use copy::{CopyArgs, copy};
pub use render::{RenderArgs, render};
pub use schema::{SchemaArgs, schema};

/// Where the definitions lie, for every subcommand that reads them.
#[derive(Debug, Clone, clap::Args)]
pub struct DefinitionsArgs {
    /// A folder with `commands/` and `runbooks/` in it; may be given several times. Unless given: those of the settings
    /// that `--config` names, else this folder.
    #[arg(long, value_name = "DIR")]
    pub definitions: Vec<PathBuf>,
}

impl DefinitionsArgs {
    /// The folders as the catalog takes them.
    #[must_use]
    pub fn dirs(&self) -> Vec<DefinitionsDir> {
        let here = [PathBuf::from(".")];
        let roots = if self.definitions.is_empty() { here.as_slice() } else { &self.definitions };
        roots.iter().map(|root| DefinitionsDir::under(root)).collect()
    }

    /// These, or those of the settings where none were given.
    #[must_use]
    pub fn or_of(self, settings: &Settings) -> Self {
        if self.definitions.is_empty() { Self { definitions: settings.definitions.clone() } } else { self }
    }
}

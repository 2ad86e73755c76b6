//! Reads and validates `commands/` and `runbooks/`, and holds what was loaded.
//!
//! Invariants:
//! - Loading is all or nothing: a [`Catalog`] holds only definitions without an error, and a bad set of files
//!   never replaces a good one ([`SharedCatalog::reload`]).
//! - Every mistake of every file is told in one go, with its place. So the checks walk a tree that survives
//!   mistakes (`tree`, `shape`) and not the types that it becomes in the end.
//! - Nothing here reaches out: no network, no secrets, no execution. Whether a database answers is the
//!   planner's and the steps' question.
//!
//! What an action accepts comes in as data ([`CheckContext`]), so that this room does not know the actions.

mod command;
mod diagnostics;
mod load;
mod references;
mod runbook;
mod schema;
mod shape;
mod step;
mod tree;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::command::Command;
use crate::domain::runbook::Runbook;
use crate::domain::{ActionSpec, Digest, RoleName, RunbookName};

pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use schema::{Schemas, schemas};

/// What the checks must know besides the files.
#[derive(Debug, Clone, Default)]
pub struct CheckContext {
    /// Every action that a step can name.
    pub actions: Vec<ActionSpec>,
    /// The roles that the settings map to Discord roles; `None` where there are no settings, and role names are
    /// then not checked.
    pub roles: Option<BTreeSet<RoleName>>,
}

impl CheckContext {
    /// What is known of an action.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<&ActionSpec> {
        self.actions.iter().find(|spec| spec.name.as_str() == name)
    }
}

/// Where definitions lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionsDir {
    /// The folder of the command files. It may be missing, and then holds none.
    pub commands: PathBuf,
    /// The folder of the runbook files. It may be missing, and then holds none.
    pub runbooks: PathBuf,
}

impl DefinitionsDir {
    /// The folders `commands` and `runbooks` under `root`.
    #[must_use]
    pub fn under(root: &std::path::Path) -> Self {
        Self { commands: root.join("commands"), runbooks: root.join("runbooks") }
    }
}

/// The file that a definition came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path, as the folder was named plus the file's name.
    pub path: PathBuf,
    /// Its whole text.
    pub text: Arc<str>,
    /// SHA-256 of the text.
    pub digest: Digest,
}

/// A definition with its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded<T> {
    /// The definition.
    pub definition: T,
    /// Where it came from.
    pub source: Source,
}

/// An immutable set of valid definitions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    /// Sorted by name.
    runbooks: Vec<Loaded<Runbook>>,
    /// Sorted by name.
    commands: Vec<Loaded<Command>>,
    warnings: Diagnostics,
}

impl Catalog {
    /// Reads every `.yaml` file of the two folders.
    ///
    /// # Errors
    /// All mistakes of all files (warnings included) if at least one is an error.
    pub fn load(
        commands_dir: impl Into<PathBuf>,
        runbooks_dir: impl Into<PathBuf>,
        context: &CheckContext,
    ) -> Result<Self, Diagnostics> {
        Self::load_all(&[DefinitionsDir { commands: commands_dir.into(), runbooks: runbooks_dir.into() }], context)
    }

    /// Reads the files of several places as one set: names are unique across all of them.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_all(dirs: &[DefinitionsDir], context: &CheckContext) -> Result<Self, Diagnostics> {
        load::load(dirs, context)
    }

    /// Reads one runbook and nothing else, so that a mistake in another file does not stand in the way of a
    /// person who needs this one now. `None` if no file gives that name.
    ///
    /// # Errors
    /// The mistakes of that runbook's file.
    pub fn load_runbook(
        dirs: &[DefinitionsDir],
        name: &RunbookName,
        context: &CheckContext,
    ) -> Result<Option<Loaded<Runbook>>, Diagnostics> {
        load::load_runbook(dirs, name, context)
    }

    /// The runbook with this name.
    #[must_use]
    pub fn runbook(&self, name: &RunbookName) -> Option<&Loaded<Runbook>> {
        self.runbooks.iter().find(|loaded| loaded.definition.runbook == *name)
    }

    /// Every runbook, sorted by name.
    #[must_use]
    pub fn runbooks(&self) -> &[Loaded<Runbook>] {
        &self.runbooks
    }

    /// Every command, sorted by name.
    #[must_use]
    pub fn commands(&self) -> &[Loaded<Command>] {
        &self.commands
    }

    /// What is worth a thought although it was loaded.
    #[must_use]
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }
}

/// The catalog in use, replaced as a whole while others read it.
#[derive(Debug)]
pub struct SharedCatalog {
    dirs: Vec<DefinitionsDir>,
    context: CheckContext,
    current: RwLock<Arc<Catalog>>,
}

impl SharedCatalog {
    /// Loads the definitions for the first time.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub fn load(dirs: Vec<DefinitionsDir>, context: CheckContext) -> Result<Self, Diagnostics> {
        let current = RwLock::new(Arc::new(Catalog::load_all(&dirs, &context)?));
        Ok(Self { dirs, context, current })
    }

    /// The catalog as it is now. Whoever holds it keeps seeing the same one.
    #[must_use]
    pub fn current(&self) -> Arc<Catalog> {
        // A poisoned lock still guards a whole catalog: it is replaced by one assignment.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again and replaces the catalog if all of them are valid; returns the new one.
    ///
    /// # Errors
    /// As [`Catalog::load`]; the catalog in use stays.
    pub fn reload(&self) -> Result<Arc<Catalog>, Diagnostics> {
        let fresh = Arc::new(Catalog::load_all(&self.dirs, &self.context)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Ok(fresh)
    }
}

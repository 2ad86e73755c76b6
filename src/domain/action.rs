//! What is known of an action without performing it: enough to check a definition, to plan a run,
//! and to explain a step to people.

use serde_json::Value;

use super::{ActionName, Interruption, StepKind};

/// An action as definitions and the planner see it. The registry makes one for each action.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionSpec {
    /// The name that steps use, e.g. `sql.query`.
    pub name: ActionName,
    /// One line for people: what it does.
    pub summary: String,
    /// The JSON Schema of the step's `with`, an object with `additionalProperties: false`. Where it wants a
    /// number, a boolean, a list or a map, a definition may give a template instead.
    pub parameters: Value,
    /// Whether performing it changes anything outside the run's own directory.
    pub effect: Effect,
    /// What to do when an attempt was cut off, unless the step says otherwise.
    pub interruption: Interruption,
    /// Who performs it.
    pub kind: StepKind,
    /// The keys of `with` that name a target of the runbook, each with the accepted kinds as definitions write
    /// them (`sqlite`, `postgres`, `kubernetes`, `http`). Written out, never a template: the plan pins it.
    pub target_keys: Vec<(String, Vec<&'static str>)>,
    /// The keys of `with` that name a file to pin by its hash, such as a script. Templates over `params` only.
    pub file_keys: Vec<String>,
    /// The keys of `with` that hold code, such as the text of a query. Templates are refused in them.
    pub literal_keys: Vec<String>,
    /// The keys of `with` that hold an argument vector. It is written out, its program is no template, and no
    /// template stands where a shell or another interpreter expects code.
    pub argv_keys: Vec<String>,
    /// The keys of `with` that name secrets (a text, a list of texts, or a map to texts). Written out: which
    /// secret is used must not depend on data.
    pub secret_keys: Vec<String>,
}

/// When an action changes the world outside the run's own directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It only looks.
    Never,
    /// It changes something.
    Always,
    /// It changes something unless the step's `with` has `key: true`, e.g. `read_only`.
    Unless {
        /// The key.
        key: String,
    },
    /// It changes something only if the step's `with` has `key: true`, e.g. `write`.
    When {
        /// The key.
        key: String,
    },
}

impl Effect {
    /// Whether a step with this `with` changes anything.
    /// `flag` looks up a key of `with` that is written out as `true` or `false`.
    pub fn applies(&self, flag: impl FnOnce(&str) -> Option<bool>) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Unless { key } => flag(key) != Some(true),
            Self::When { key } => flag(key) == Some(true),
        }
    }
}

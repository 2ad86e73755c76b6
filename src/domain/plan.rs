//! The plan: a runbook with its parameters resolved, and the digest of exactly what will run.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::runbook::Runbook;
use super::{Digest, ParameterName, RoleId, RoleName, StepName, TargetName};

/// What a run carries with it and executes. Editing a file never bends a running run.
///
/// Left out, so that a dry run and the live run can share a digest: run id, run directory, mode, start instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The runbook with every template resolved that needs parameters only.
    pub runbook: Runbook,
    /// The parameters, each checked against its type.
    pub parameters: IndexMap<ParameterName, Value>,
    /// What the run holds for itself alone, resolved.
    pub lock: String,
    /// For every step: what the engine must know of its action.
    pub steps: BTreeMap<StepName, StepTraits>,
    /// Which Discord roles each of the runbook's roles means. Never empty for a role that signs.
    pub roles: BTreeMap<RoleName, Vec<RoleId>>,
    /// The scripts and files that the steps execute, by the path that the runbook names.
    pub files: BTreeMap<String, PinnedFile>,
    /// Which systems exactly the targets are.
    pub targets: BTreeMap<TargetName, TargetIdentity>,
}

impl Plan {
    /// SHA-256 of the plan's canonical JSON: what a signature is bound to.
    ///
    /// # Panics
    /// Never: a plan is made of maps with text keys, which JSON can always hold.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_json(&serde_json::to_value(self).expect("a plan has text keys only"))
    }

    /// What the engine must know of a step's action.
    ///
    /// # Panics
    /// If the step is not of this plan, which the planner rules out.
    #[must_use]
    pub fn traits(&self, step: &StepName) -> &StepTraits {
        self.steps.get(step).expect("the planner describes every step")
    }
}

/// What the engine must know of a step's action; pinned, so that a new version of the bot
/// treats a running run as it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTraits {
    /// Who performs it.
    pub kind: StepKind,
    /// Whether it changes anything outside the run's own directory.
    pub effect: bool,
    /// What to do when an attempt was cut off.
    pub interruption: Interruption,
    /// The values of `with` that are bound only when the step starts, as written; listed on the card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<String>,
}

/// Who performs a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// The action behind its name.
    Action,
    /// Nobody: time passes.
    Wait,
    /// A person answers a question.
    Confirm,
    /// People tick a list.
    Checklist,
}

/// What to do when an attempt was cut off and its outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interruption {
    /// Do it again: twice is as good as once.
    Repeat,
    /// Go on from the action's own checkpoint.
    Resume,
    /// Look whether it happened; ask if that cannot be told.
    Probe,
    /// Ask a person.
    Ask,
}

/// A file that a step executes, by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedFile {
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Which system exactly a target is, without any password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetIdentity {
    /// A SQLite file.
    Sqlite {
        /// Its absolute path.
        path: String,
    },
    /// A PostgreSQL database.
    Postgres {
        /// The host as the URL names it.
        host: String,
        /// The port.
        port: u16,
        /// The database.
        database: String,
        /// The user.
        user: String,
        /// PostgreSQL's own identifier of the cluster (`pg_control_system()`), which no copy of it on another host shares by chance.
        system_identifier: String,
    },
    /// A namespace of a Kubernetes cluster.
    Kubernetes {
        /// The address of the API server.
        server: String,
        /// The namespace.
        namespace: String,
    },
    /// An HTTP service.
    Http {
        /// Its base address.
        url: String,
    },
}

impl std::fmt::Display for TargetIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "SQLite {path}"),
            Self::Postgres { host, port, database, user, system_identifier } => {
                write!(f, "PostgreSQL {user}@{host}:{port}/{database} (system {system_identifier})")
            }
            Self::Kubernetes { server, namespace } => write!(f, "Kubernetes {server}, namespace {namespace}"),
            Self::Http { url } => write!(f, "HTTP {url}"),
        }
    }
}

//! What a caller can ask of a copy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::transfer::cast::Cast;
use crate::transfer::error::{Error, FaultCode};
use crate::transfer::policy::Policy;

/// The options of a copy; everything but the id has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Names the copy in the target: the same id resumes, another one is refused where rows are. 1 to 200 characters.
    pub copy_id: String,
    /// The tables to copy, by their names in the source; all of them if not given.
    #[serde(default)]
    pub tables: Option<Vec<String>>,
    /// Tables (`table`) and columns (`table.column`) that are meant to differ: left out of the source, or left alone in the target.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How to read the values of a column, by `table.column` of the source.
    #[serde(default)]
    pub casts: BTreeMap<String, Cast>,
    /// Whether the tables exist already.
    #[serde(default)]
    pub schema: SchemaMode,
    /// The schema of the target that holds the tables.
    #[serde(default = "default_target_schema")]
    pub target_schema: String,
    /// What happens to a row that cannot be carried over.
    #[serde(default)]
    pub on_fault: OnFault,
    /// Exceptions from `on_fault`, by `table.column` (or `*` for every column) and kind of fault.
    #[serde(default)]
    pub policies: BTreeMap<String, BTreeMap<FaultCode, Policy>>,
    /// When too many rows are put aside.
    #[serde(default)]
    pub fault_limit: FaultLimit,
    /// Accepts that other programs write to the source meanwhile: the copy then holds the state of its beginning.
    #[serde(default)]
    pub source_may_change: bool,
    /// Rows per batch at most (1 to 1,000,000).
    #[serde(default = "default_batch_rows")]
    pub batch_rows: usize,
    /// Bytes per batch at most, except for a single larger row (4 KiB to 64 MiB).
    #[serde(default = "default_batch_bytes")]
    pub batch_bytes: usize,
    /// Streams that load side by side, each with a connection of its own to the target; one more watches (1 to 16).
    #[serde(default = "default_streams")]
    pub streams: usize,
    /// Whether the planner's statistics are gathered at the end.
    #[serde(default = "default_true")]
    pub analyze: bool,
}

/// Whether the copy fills tables or creates them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaMode {
    /// Fill if the target has any of the tables, else create.
    #[default]
    Auto,
    /// The tables exist, as after the application's own migrations.
    Fill,
    /// The copy creates them.
    Create,
}

/// What happens to a row that cannot be carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFault {
    /// The copy stops at the first one.
    #[default]
    Fail,
    /// The row is put aside, in `pointsman_transfer.quarantine` of the target, and every good row is loaded.
    Quarantine,
}

impl OnFault {
    pub(in crate::transfer) fn as_policy(self) -> Policy {
        match self {
            Self::Fail => Policy::Fail,
            Self::Quarantine => Policy::Quarantine,
        }
    }
}

/// How many rows may be put aside before the copy fails; both limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultLimit {
    /// Rows over all tables.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Share of a table's rows, 0 to 1.
    #[serde(default)]
    pub share: Option<f64>,
}

fn default_target_schema() -> String {
    "public".to_owned()
}

/// Large enough that commits do not count, small enough that a crash repeats little.
fn default_batch_rows() -> usize {
    50_000
}

/// Three batches per stream are in memory at the same time: one being read, one waiting, one being sent.
fn default_batch_bytes() -> usize {
    2 * 1024 * 1024
}

fn default_streams() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 4)
}

fn default_true() -> bool {
    true
}

impl Options {
    /// The defaults under this id.
    #[must_use]
    pub fn new(copy_id: impl Into<String>) -> Self {
        Self {
            copy_id: copy_id.into(),
            tables: None,
            exclude: Vec::new(),
            casts: BTreeMap::new(),
            schema: SchemaMode::Auto,
            target_schema: default_target_schema(),
            on_fault: OnFault::Fail,
            policies: BTreeMap::new(),
            fault_limit: FaultLimit::default(),
            source_may_change: false,
            batch_rows: default_batch_rows(),
            batch_bytes: default_batch_bytes(),
            streams: default_streams(),
            analyze: true,
        }
    }

    /// Refuses values outside their ranges.
    pub(in crate::transfer) fn check(&self) -> Result<(), Error> {
        let refuse = |option: &str, says: &str| Err(Error::Options { option: option.to_owned(), says: says.to_owned() });
        if self.copy_id.is_empty() || self.copy_id.chars().count() > 200 {
            return refuse("copy_id", "must have 1 to 200 characters");
        }
        if !(1..=1_000_000).contains(&self.batch_rows) {
            return refuse("batch_rows", "must be 1 to 1000000");
        }
        if !(4_096..=64 * 1024 * 1024).contains(&self.batch_bytes) {
            return refuse("batch_bytes", "must be 4096 to 67108864");
        }
        if !(1..=16).contains(&self.streams) {
            return refuse("streams", "must be 1 to 16");
        }
        if self.fault_limit.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return refuse("fault_limit.share", "must be between 0 and 1");
        }
        Ok(())
    }
}

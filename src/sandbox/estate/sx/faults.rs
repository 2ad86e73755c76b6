//! What can be made to go wrong in the SX application.

use serde::{Deserialize, Serialize};

/// The faults that are on. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// In PostgreSQL mode, a list of one source's items also holds one of another source.
    pub leak_on: Option<Place>,
    /// In PostgreSQL mode, a source that nobody knows, or two that contradict each other, are answered all the same.
    pub mismatch_tolerated_on: Option<Place>,
    /// In PostgreSQL mode, the first [`super::BURST`] searches of a process answer 500. Whoever asks again succeeds, so
    /// that only the log shows it.
    pub burst_on: Option<Place>,
    /// In PostgreSQL mode, notes and metadata cannot be written: 500.
    pub writes_fail_on: Option<Place>,
    /// In PostgreSQL mode, `/health` answers 503.
    pub unhealthy_on: Option<Place>,
    /// A process that is started works in SQLite mode, whatever its environment says.
    pub mode_ignored: bool,
    /// A process that is started waits this long before it listens, in milliseconds.
    pub slow_start_millis: u64,
    /// The bootstrap of a schema fails in its middle and leaves nothing behind.
    pub bootstrap_fails: bool,
    /// An import leaves the last item out, and does not say so.
    pub import_loses_rows: bool,
}

/// Which of a profile's processes a fault is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The one with the profile's traffic.
    Live,
    /// The one that is tried before the switch.
    Candidate,
    /// Both.
    Everywhere,
}

impl Place {
    /// Whether it holds a process that is the candidate, or is not.
    #[must_use]
    pub fn holds(self, candidate: bool) -> bool {
        match self {
            Self::Live => !candidate,
            Self::Candidate => candidate,
            Self::Everywhere => true,
        }
    }
}

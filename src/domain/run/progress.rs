//! How far a step is: told by whoever performs it, shown to people, never journalled.

use crate::domain::{StepName, Timestamp};

/// How far a step is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Which step.
    pub step: StepName,
    /// Which attempt.
    pub attempt: u32,
    /// How much is done, in `unit`s.
    pub done: u64,
    /// How much there is, if that is known.
    pub total: Option<u64>,
    /// What is counted, e.g. `rows`, `bytes`.
    pub unit: String,
    /// What is being worked on, e.g. a table; may be empty.
    pub what: String,
    /// What the work consists of, e.g. tables, in the order in which it is done; may be empty.
    pub portions: Vec<Portion>,
    /// How much was done when counting began: rate and ETA count from there, also after a resumption.
    pub done_at_start: u64,
    /// When counting began.
    pub since: Timestamp,
    /// When this was reported.
    pub at: Timestamp,
}

/// A part of a step's work with a bar of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// Its name, e.g. a table's.
    pub name: String,
    /// How much of it is done, in the unit of the whole.
    pub done: u64,
    /// How much there is.
    pub total: u64,
    /// Of what is done, how much was put aside.
    pub aside: u64,
}

//! The aggregate *run*: one execution of a runbook.
//!
//! A [`State`] and four pure functions. [`start()`] and [`decide()`] may refuse and never act; [`evolve()`] folds
//! facts, live and on resume alike; [`pending`] is what still has to be done in the world;
//! [`next_deadline`] is when to wake up if nothing happens. Because effects come from the state and not from
//! the input that led to it, resuming after a crash is the path that is taken every day.
//!
//! Invariants kept here: no step of a gated phase starts unless the same batch of events, or an earlier one,
//! clears the gate for this plan's digest; a step's start is journalled before it is performed; an attempt of
//! unknown outcome is never silently repeated; what is armed stays armed until the run has ended.
//!
//! Absent on purpose: reading votes, measuring, performing. Those are effects.

mod advance;
mod change;
mod decide;
mod effect;
mod event;
mod evolve;
mod gate;
mod input;
mod message;
mod progress;
mod rejection;
mod rollback;
mod schedule;
mod start;
mod state;
mod step;

#[cfg(test)]
mod tests;

pub use change::{Change, ChangeKind};
pub use decide::decide;
pub use effect::{Effect, EffectId, pending};
pub use event::{
    Actor, Answer, Clearance, End, Event, Failure, FailureKind, Finding, GateRef, GateRefusal, ListRef, Mode, OutputFile,
    ProcessGroup, Question, QuestionKind, Reading, Started, Verdict, Vote, VoteRefusal, Withdrawal,
};
pub use evolve::{begin, evolve};
pub use input::{Input, Outcome, ReactionVote};
pub use message::{MessageKind, Owed, Place};
pub use progress::{Portion, Progress};
pub use rejection::Rejection;
pub use schedule::{Forecast, LastSafe, PhaseForecast, SafeUntil, forecast, last_safe, next_deadline, planned};
pub use start::{Holder, Rehearsal, StartRequest, start};
pub use state::{
    Armed, Attempt, Closing, Ending, Gate, Pause, Review, RollbackStage, RollbackState, Standing, State, Status, StepState,
    StepStatus, checklist, confirmation,
};

pub use crate::domain::MessageKey;

/// The names of the events as the journal shows them, one per variant, for people and exports.
pub use event::kind_of;

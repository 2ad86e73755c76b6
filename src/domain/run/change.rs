//! What happened to a run, in few words: for people who were told at one moment, and are told again at a later one.

use super::event::{Clearance, End, Event, GateRef};
use crate::domain::{Person, RollbackName, StepName, Timestamp};

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: ChangeKind,
}

/// What happened to a run. Attempts that are made again, votes that do not count and measurements are none of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// A step is done.
    StepDone(StepName),
    /// A step is not run.
    StepSkipped(StepName),
    /// A step failed, and is not tried again by itself.
    StepFailed(StepName),
    /// A step was cut off.
    StepCutOff(StepName),
    /// A gate's card may be signed.
    GateOpened(GateRef),
    /// Somebody signed.
    Signed(GateRef, Person),
    /// Somebody's signature counts no more.
    Withdrawn(GateRef, Person),
    /// Somebody opened a gate without its sign-off.
    GlassBroken(GateRef, Person),
    /// What a gate stands before may run.
    GateCleared(GateRef),
    /// A gate's card is closed: nothing went forward.
    GateRefused(GateRef),
    /// A rollback may be started by one authorised person.
    RollbackArmed(RollbackName),
    /// A rollback is wanted, and waits for its sign-off.
    RollbackRequested(RollbackName),
    /// A rollback has begun.
    RollbackStarted(RollbackName),
    /// A rollback is done.
    RollbackFinished(RollbackName),
    /// The run asks a person.
    Asked(u32),
    /// A person answered.
    Answered(u32, Person),
    /// Nothing new starts; the engine did it if nobody is named.
    Paused(Option<Person>),
    /// The run goes on.
    Unpaused(Person),
    /// Somebody ended the run early.
    Aborted(Person),
    /// The last step is done, or the run failed or was aborted.
    Closing(End),
    /// The run is over.
    Ended(End),
}

impl ChangeKind {
    /// What an event means to people; `None` if they need not hear of it.
    pub(super) fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::StepSucceeded { step, .. } => Self::StepDone(step.clone()),
            Event::StepSkipped { step } => Self::StepSkipped(step.clone()),
            Event::StepFailed { step, retry_at: None, .. } => Self::StepFailed(step.clone()),
            Event::StepInterrupted { step, .. } => Self::StepCutOff(step.clone()),
            Event::GateOpened { gate, .. } => Self::GateOpened(gate.clone()),
            Event::SignOffGranted { gate, voter, .. } => Self::Signed(gate.clone(), voter.clone()),
            Event::SignOffWithdrawn { gate, voter, .. } => Self::Withdrawn(gate.clone(), voter.clone()),
            Event::GlassBroken { gate, by, .. } => Self::GlassBroken(gate.clone(), by.clone()),
            // The breaking was told already, and a rehearsal's gates are open from the first.
            Event::GateCleared { gate, clearance: Clearance::SignOff { .. }, .. } => Self::GateCleared(gate.clone()),
            Event::GateRefused { gate, .. } => Self::GateRefused(gate.clone()),
            Event::RollbackArmed { rollback, .. } => Self::RollbackArmed(rollback.clone()),
            Event::RollbackRequested { rollback, .. } => Self::RollbackRequested(rollback.clone()),
            Event::RollbackStarted { rollback, .. } => Self::RollbackStarted(rollback.clone()),
            Event::RollbackFinished { rollback, .. } => Self::RollbackFinished(rollback.clone()),
            Event::Asked(question) => Self::Asked(question.id),
            Event::Answered { question, by, .. } => Self::Answered(*question, by.clone()),
            Event::Paused { by, .. } => Self::Paused(by.clone()),
            Event::Unpaused { by } => Self::Unpaused(by.clone()),
            Event::AbortRequested { by, .. } => Self::Aborted(by.clone()),
            Event::ClosingBegan { end, .. } => Self::Closing(*end),
            Event::Ended { end, .. } => Self::Ended(*end),
            Event::Started(_)
            | Event::ThreadOpened { .. }
            | Event::ThreadLost { .. }
            | Event::MessagePosted { .. }
            | Event::MessageLost { .. }
            | Event::Rebooted
            | Event::CriteriaMeasured { .. }
            | Event::VoteRefused { .. }
            | Event::RefusedVoteRemoved { .. }
            | Event::GateWarned { .. }
            | Event::GateCardLost { .. }
            | Event::QuorumReached { .. }
            | Event::ClearanceFailed { .. }
            | Event::GateCleared { .. }
            | Event::WhenEvaluated { .. }
            | Event::StepStarted { .. }
            | Event::ChildStarted { .. }
            | Event::StepFailed { .. }
            | Event::StepProbed { .. }
            | Event::ItemTicked { .. }
            | Event::StatusDue { .. }
            | Event::IncidentOpened { .. }
            | Event::ReviewPublished { .. }
            | Event::ReviewDelayed { .. } => return None,
        })
    }
}

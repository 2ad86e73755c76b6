//! What a run owes to chat. The list is part of the state: what is not yet visible is an effect to perform,
//! and a restart neither forgets a message nor posts it twice.

use super::event::{Event, GateRef};
use crate::domain::{MessageKey, MessageRef, StepName, Timestamp};

/// A message that must be visible once.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// Its fixed id.
    pub key: MessageKey,
    /// What it shows.
    pub kind: MessageKind,
    /// Where it belongs.
    pub place: Place,
    /// How often it was lost and is owed anew; part of the nonce.
    pub generation: u32,
    /// Since when it is owed: since it was lost, if it was posted before.
    pub since: Timestamp,
    /// Where it stands, once it is visible.
    pub posted: Option<MessageRef>,
    /// The copy that this one replaces although it still stands: to be taken away once this one is visible.
    pub former: Option<MessageRef>,
}

/// Where a message belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The channel in which the run was asked for.
    Channel,
    /// The run's own thread.
    Thread,
}

/// What a message shows.
#[derive(Debug, Clone, PartialEq)]
pub enum MessageKind {
    /// The plan, and where the run stands. Kept current.
    PlanCard,
    /// The steps with bar, rate and ETA. Kept current.
    Progress,
    /// What is to be signed, by whom, until when. Kept current.
    GateCard {
        /// Which gate.
        gate: GateRef,
        /// Which card of it.
        card: u32,
    },
    /// A question with its buttons. Kept current.
    Question {
        /// Which.
        id: u32,
    },
    /// A `human.confirm` step with its buttons. Kept current.
    Confirm {
        /// Which step.
        step: StepName,
    },
    /// A `human.checklist` step with its items. Kept current.
    Checklist {
        /// Which step.
        step: StepName,
    },
    /// The runbook's `afterwards`. Kept current.
    Afterwards,
    /// A status update, said once.
    Beat {
        /// When it was due.
        due: Timestamp,
        /// How many later ones it stands for as well.
        missed: u32,
    },
    /// What happened, said once.
    Note(Box<Event>),
    /// The end: estimate against actual, signatures, the journal's head. Said once.
    Summary,
}

impl MessageKind {
    /// How many status updates it stands for; 1 for everything else.
    #[must_use]
    pub fn stands_for(&self) -> u32 {
        if let Self::Beat { missed, .. } = self { missed.saturating_add(1) } else { 1 }
    }

    /// Whether the message is edited as the state changes.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self {
            Self::PlanCard
            | Self::Progress
            | Self::GateCard { .. }
            | Self::Question { .. }
            | Self::Confirm { .. }
            | Self::Checklist { .. }
            | Self::Afterwards => true,
            Self::Note(_) | Self::Beat { .. } | Self::Summary => false,
        }
    }
}

/// Whether an event is worth a message of its own, said once in the thread.
#[must_use]
pub(super) fn is_noteworthy(event: &Event) -> bool {
    match event {
        Event::Rebooted
        | Event::ThreadLost { .. }
        | Event::SignOffGranted { .. }
        | Event::SignOffWithdrawn { .. }
        | Event::VoteRefused { .. }
        | Event::GateWarned { .. }
        | Event::GateCardLost { .. }
        | Event::ClearanceFailed { .. }
        | Event::GateRefused { .. }
        | Event::GlassBroken { .. }
        | Event::GateCleared { .. }
        | Event::StepSucceeded { .. }
        | Event::StepFailed { .. }
        | Event::StepInterrupted { .. }
        | Event::StepSkipped { .. }
        | Event::Answered { .. }
        | Event::Paused { .. }
        | Event::Unpaused { .. }
        | Event::AbortRequested { .. }
        | Event::RollbackRequested { .. }
        | Event::RollbackStarted { .. }
        | Event::RollbackFinished { .. }
        | Event::IncidentOpened { .. }
        | Event::ReviewPublished { .. }
        | Event::ReviewDelayed { .. }
        | Event::ClosingBegan { .. } => true,
        Event::StepProbed { .. }
        | Event::Started(_)
        | Event::ThreadOpened { .. }
        | Event::MessagePosted { .. }
        | Event::MessageLost { .. }
        | Event::GateOpened { .. }
        | Event::CriteriaMeasured { .. }
        | Event::RefusedVoteRemoved { .. }
        | Event::QuorumReached { .. }
        | Event::RollbackArmed { .. }
        | Event::WhenEvaluated { .. }
        | Event::StepStarted { .. }
        | Event::ChildStarted { .. }
        | Event::ItemTicked { .. }
        | Event::Asked(_)
        | Event::StatusDue { .. }
        | Event::Ended { .. } => false,
    }
}

//! What is asked of a run, and what was observed for it.

use serde_json::Value;

use super::event::{Actor, Answer, Failure, Finding, GateRef, ListRef, OutputFile, ProcessGroup, Reading, Vote};
use crate::domain::incident::IncidentId;
use crate::domain::{ChannelId, IssueRef, MessageKey, MessageRef, Person, RollbackName, StepName, UserId};

/// Something that a run must react to. The instant comes beside it.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time has passed; or something changed and the run should look what is next.
    Tick,
    /// The bot has just started and found this run under way: no attempt is being performed.
    Rebooted,

    /// The run's thread exists.
    ThreadOpened(ChannelId),
    /// A thread is gone. Names the very thread, so that old news about one cannot take away the next.
    ThreadLost(ChannelId),
    /// An owed message is visible. The number is how many status updates it tells of; 1 for everything else.
    MessagePosted(MessageKey, MessageRef, u32),
    /// A posted message is gone or can no longer be edited. Names the very message, so that old news about one copy
    /// cannot take away the next.
    MessageLost(MessageKey, MessageRef),

    /// The reactions of a gate card, read whole over REST, with the people's present roles.
    VotesRead {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Every ✅ and ❌ on it; bots left out.
        votes: Vec<ReactionVote>,
    },
    /// The gateway told that a reaction was removed: it counts no more, even if it is set again before the next reading.
    VoteRemoved {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Whose.
        user: UserId,
        /// Which.
        vote: Vote,
    },
    /// The criteria of an open gate were measured.
    GateMeasured {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// One for each criterion, in order.
        readings: Vec<Reading>,
    },
    /// Votes, roles, criteria and targets were read once more, just before the start.
    GateRechecked {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Every ✅ and ❌ on the card.
        votes: Vec<ReactionVote>,
        /// One for each criterion, in order.
        readings: Vec<Reading>,
        /// What is different about the targets, for people; empty if nothing is.
        targets_changed: Vec<String>,
    },
    /// Somebody opens the gate without its sign-off.
    BreakGlass {
        /// Who.
        by: Person,
        /// Why.
        reason: String,
        /// Whether anybody else could have done it.
        other_holders: bool,
    },

    /// A step's `when` was evaluated.
    WhenEvaluated(StepName, Result<bool, String>),
    /// An attempt's child process exists and waits.
    ChildStarted(StepName, u32, ProcessGroup),
    /// An attempt is over.
    StepFinished(StepName, u32, Outcome),
    /// An interrupted attempt was looked into.
    StepProbed(StepName, u32, Finding),
    /// The checks of a step that a person says has happened, or that a probe found, were run.
    StepChecked {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// The result as far as it can be told.
        result: Value,
        /// One for each check, in order.
        checks: Vec<Reading>,
    },

    /// Somebody ticks or unticks an item.
    TickItem {
        /// Which list.
        list: ListRef,
        /// Which item, from 0.
        item: usize,
        /// Whether it is to be ticked.
        ticked: bool,
        /// Who.
        by: Person,
    },
    /// Somebody answers a `human.confirm` step.
    Confirm {
        /// Which step.
        step: StepName,
        /// Yes or no.
        yes: bool,
        /// Who.
        by: Person,
    },
    /// Somebody answers a question.
    Answer {
        /// Which.
        question: u32,
        /// What.
        answer: Answer,
        /// Why.
        reason: String,
        /// Who.
        by: Person,
    },
    /// Somebody wants nothing new to start.
    Pause {
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// Somebody lets the run go on, or wants a new card for a closed gate.
    Resume {
        /// Who.
        by: Person,
    },
    /// Somebody ends the run early.
    Abort {
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// Somebody closes a closing run before its window ends.
    Close {
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// The incident exists that the run's going badly called for.
    IncidentOpened(IncidentId),
    /// The issue stands that a break-glass owes.
    ReviewPublished {
        /// Of which gate.
        gate: GateRef,
        /// Of which card.
        card: u32,
        /// Where it stands.
        at: IssueRef,
    },
    /// That issue could not be published yet.
    ReviewDelayed {
        /// Of which gate.
        gate: GateRef,
        /// Of which card.
        card: u32,
        /// Why, for people.
        why: String,
    },
    /// Somebody wants the way back.
    Rollback {
        /// Which; `None` for the armed or only one.
        rollback: Option<RollbackName>,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
}

/// A reaction on a gate card, with its author as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReactionVote {
    /// Who.
    pub person: Person,
    /// What.
    pub vote: Vote,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It did what it should, and no check is red.
    Succeeded {
        /// What came out.
        result: Value,
        /// Whether it was a rehearsal.
        simulated: bool,
        /// One for each check, in order.
        checks: Vec<Reading>,
        /// What it printed.
        output: Option<OutputFile>,
    },
    /// It failed.
    Failed {
        /// What went wrong.
        failure: Failure,
        /// One for each check, if it got that far.
        checks: Vec<Reading>,
        /// What it printed.
        output: Option<OutputFile>,
    },
    /// Nobody knows.
    Unknown {
        /// Why, for people.
        why: String,
    },
}

//! The facts of a run, in the past tense. What is journalled here is read for ever: variants and
//! fields are added, never renamed, and every old fixture must still load.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::domain::incident::{IncidentId, Severity};
use crate::domain::sign_off::Assignment;
use crate::domain::{
    ChannelId, Digest, Duration, Interruption, IssueRef, MessageKey, MessageRef, Person, PhaseName, Plan, RoleName, RollbackName,
    RunId, StepName, Timestamp, UserId,
};

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run exists. Always the first event.
    Started(Box<Started>),
    /// The run's thread exists.
    ThreadOpened {
        /// The thread.
        thread: ChannelId,
    },
    /// The run's thread was deleted: what people must see or act on is owed anew, in another thread on a new plan card.
    ThreadLost {
        /// Which.
        thread: ChannelId,
    },
    /// An owed message is visible.
    MessagePosted {
        /// Which.
        key: MessageKey,
        /// Where it stands.
        message: MessageRef,
        /// Of a status update that stands for several: how many of the last ones it does not tell of, because they fell due
        /// while it was on its way. They are owed in another one.
        #[serde(default, skip_serializing_if = "is_zero")]
        untold: u32,
    },
    /// A posted message is gone, or can no longer be edited: it is owed anew.
    MessageLost {
        /// Which.
        key: MessageKey,
    },
    /// The bot was restarted while the run was under way.
    Rebooted,

    /// A gate's card may be signed.
    GateOpened {
        /// Which gate.
        gate: GateRef,
        /// Which card of it, from 1.
        card: u32,
        /// Whose signature does not count, because they asked.
        requester: Option<UserId>,
        /// When it refuses.
        expires_at: Timestamp,
    },
    /// The criteria were measured and something changed since the last measurement.
    CriteriaMeasured {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// One for each criterion, in order.
        readings: Vec<Reading>,
    },
    /// Somebody's ✅ counts.
    SignOffGranted {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Who, with the roles they hold now.
        voter: Person,
        /// What they signed.
        digest: Digest,
    },
    /// Somebody's ✅ counts no more.
    SignOffWithdrawn {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Who.
        voter: Person,
        /// Why.
        why: Withdrawal,
    },
    /// A vote does not count; the person is told why.
    VoteRefused {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Who.
        voter: Person,
        /// What they voted.
        vote: Vote,
        /// Why it does not count.
        why: VoteRefusal,
    },
    /// A vote that did not count was taken back, so that it may be cast again.
    RefusedVoteRemoved {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Who.
        user: UserId,
    },
    /// Part of a gate's time has passed without a quorum.
    GateWarned {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// How much of the time: 50 or 80.
        percent: u8,
    },
    /// The card's message was deleted: its votes are void.
    GateCardLost {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
    },
    /// Enough people have signed and every criterion is green: the last check before the start begins.
    QuorumReached {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
    },
    /// The last check did not confirm it; the card stands on.
    ClearanceFailed {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Why, for people.
        reasons: Vec<String>,
    },
    /// The gate is closed for this card; only a new card with new votes opens it again.
    GateRefused {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Why.
        why: GateRefusal,
    },
    /// Somebody opened the gate without its sign-off. A review issue is owed.
    GlassBroken {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// Who.
        by: Person,
        /// Why.
        reason: String,
        /// For what exactly.
        digest: Digest,
        /// The roles that were not asked.
        skipped: Vec<RoleName>,
    },
    /// The gate is open for this digest.
    GateCleared {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
        /// For what exactly.
        digest: Digest,
        /// By what right.
        clearance: Clearance,
    },
    /// A rollback may be started by one authorised person, or by `on_failure`, until the run has ended.
    RollbackArmed {
        /// Which rollback.
        rollback: RollbackName,
        /// As part of what.
        digest: Digest,
        /// Who signed for it.
        signers: Vec<Assignment>,
    },

    /// A step's `when` was evaluated.
    WhenEvaluated {
        /// Which step.
        step: StepName,
        /// Whether the step runs; if not, it is skipped.
        holds: bool,
    },
    /// An attempt is about to begin: the intent.
    StepStarted {
        /// Which step.
        step: StepName,
        /// Which attempt, from 1.
        attempt: u32,
        /// When it is cancelled.
        deadline: Timestamp,
        /// Whether it goes on from the checkpoint of an attempt that was cut off.
        resumes: bool,
    },
    /// The attempt's child process exists and waits for this record before it runs anything.
    ChildStarted {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// How to find what is left of it.
        group: ProcessGroup,
    },
    /// The attempt did what it should, and its checks are green.
    StepSucceeded {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// What came out, for later steps and criteria.
        result: Value,
        /// Whether it was a rehearsal.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        simulated: bool,
        /// The step's checks.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checks: Vec<Reading>,
        /// What it printed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<OutputFile>,
        /// Set when nobody saw it happen but this person says that it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asserted_by: Option<Person>,
    },
    /// The attempt failed.
    StepFailed {
        /// Which step.
        step: StepName,
        /// Which attempt; 0 if it could not even begin.
        attempt: u32,
        /// What went wrong.
        failure: Failure,
        /// The step's checks, if it got that far.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checks: Vec<Reading>,
        /// What it printed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<OutputFile>,
        /// When the next attempt is made; `None` if this was the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// The attempt was cut off and its outcome is unknown.
    StepInterrupted {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// How it was cut off, for people.
        reason: String,
        /// What happens now.
        next: Interruption,
    },
    /// The action looked whether an interrupted attempt had taken effect.
    StepProbed {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// What it found.
        finding: Finding,
    },
    /// The step is not run, because its `when` is not true.
    StepSkipped {
        /// Which step.
        step: StepName,
    },
    /// Somebody ticked or unticked an item of a list.
    ItemTicked {
        /// Which list.
        list: ListRef,
        /// Which item, from 0.
        item: usize,
        /// Whether it is ticked now.
        ticked: bool,
        /// Who.
        by: Person,
    },
    /// The run asks a person.
    Asked(Question),
    /// A person answered.
    Answered {
        /// Which question.
        question: u32,
        /// What they answered.
        answer: Answer,
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// Nothing new starts until somebody lets the run go on.
    Paused {
        /// Who; `None` if the engine did.
        by: Option<Person>,
        /// Why.
        reason: String,
    },
    /// The run goes on.
    Unpaused {
        /// Who.
        by: Person,
    },
    /// The run ends early, after its current step is cancelled.
    AbortRequested {
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// A rollback is wanted and not armed: its own gate opens.
    RollbackRequested {
        /// Which.
        rollback: RollbackName,
        /// Who or what asked.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A rollback begins. Nothing stops it but its end.
    RollbackStarted {
        /// Which.
        rollback: RollbackName,
        /// Who or what started it.
        by: Actor,
        /// Why.
        reason: String,
        /// When it should be done.
        target_at: Timestamp,
    },
    /// The rollback's last step is done.
    RollbackFinished {
        /// Which.
        rollback: RollbackName,
        /// From the decision to now.
        took: Duration,
    },
    /// The last step is done, or the run failed or was aborted: lock and way back are kept until it is closed.
    ClosingBegan {
        /// How the run will have ended.
        end: End,
        /// When the window ends.
        until: Timestamp,
    },
    /// A status update has fallen due, and is owed from now on.
    StatusDue {
        /// When it was due.
        due: Timestamp,
        /// How many later ones fell due as well before anybody looked.
        missed: u32,
        /// When the next one is due.
        next: Timestamp,
    },
    /// The run went badly, and people work on it in this incident.
    IncidentOpened {
        /// Which.
        incident: IncidentId,
    },
    /// The issue stands that a break-glass owes.
    ReviewPublished {
        /// Of which gate.
        gate: GateRef,
        /// Of which card.
        card: u32,
        /// Where it stands.
        at: IssueRef,
    },
    /// The issue that a break-glass owes could not be published yet; it is tried again.
    ReviewDelayed {
        /// Of which gate.
        gate: GateRef,
        /// Of which card.
        card: u32,
        /// Why, for people.
        why: String,
    },
    /// The run is over: the lock is free.
    Ended {
        /// How.
        end: End,
        /// Who closed it; `None` if it closed by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Person>,
        /// Why, where a person closed it or something went wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// The name of an event as the journal shows it: the tag of its JSON form.
#[must_use]
pub fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::Started(_) => "started",
        Event::ThreadOpened { .. } => "thread_opened",
        Event::ThreadLost { .. } => "thread_lost",
        Event::MessagePosted { .. } => "message_posted",
        Event::MessageLost { .. } => "message_lost",
        Event::Rebooted => "rebooted",
        Event::GateOpened { .. } => "gate_opened",
        Event::CriteriaMeasured { .. } => "criteria_measured",
        Event::SignOffGranted { .. } => "sign_off_granted",
        Event::SignOffWithdrawn { .. } => "sign_off_withdrawn",
        Event::VoteRefused { .. } => "vote_refused",
        Event::RefusedVoteRemoved { .. } => "refused_vote_removed",
        Event::GateWarned { .. } => "gate_warned",
        Event::GateCardLost { .. } => "gate_card_lost",
        Event::QuorumReached { .. } => "quorum_reached",
        Event::ClearanceFailed { .. } => "clearance_failed",
        Event::GateRefused { .. } => "gate_refused",
        Event::GlassBroken { .. } => "glass_broken",
        Event::GateCleared { .. } => "gate_cleared",
        Event::RollbackArmed { .. } => "rollback_armed",
        Event::WhenEvaluated { .. } => "when_evaluated",
        Event::StepStarted { .. } => "step_started",
        Event::ChildStarted { .. } => "child_started",
        Event::StepSucceeded { .. } => "step_succeeded",
        Event::StepFailed { .. } => "step_failed",
        Event::StepInterrupted { .. } => "step_interrupted",
        Event::StepProbed { .. } => "step_probed",
        Event::StepSkipped { .. } => "step_skipped",
        Event::ItemTicked { .. } => "item_ticked",
        Event::Asked(_) => "asked",
        Event::Answered { .. } => "answered",
        Event::Paused { .. } => "paused",
        Event::Unpaused { .. } => "unpaused",
        Event::AbortRequested { .. } => "abort_requested",
        Event::RollbackRequested { .. } => "rollback_requested",
        Event::RollbackStarted { .. } => "rollback_started",
        Event::RollbackFinished { .. } => "rollback_finished",
        Event::ClosingBegan { .. } => "closing_began",
        Event::StatusDue { .. } => "status_due",
        Event::IncidentOpened { .. } => "incident_opened",
        Event::ReviewPublished { .. } => "review_published",
        Event::ReviewDelayed { .. } => "review_delayed",
        Event::Ended { .. } => "ended",
    }
}

/// What a run is: everything that it will ever need to know of its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Its id.
    pub run: RunId,
    /// Live or rehearsal.
    pub mode: Mode,
    /// Who asked for it. Their signature does not count.
    pub requester: Person,
    /// Where they asked: the plan card is posted there and carries the run's thread.
    pub channel: ChannelId,
    /// What it executes.
    pub plan: Plan,
    /// The plan's digest.
    pub digest: Digest,
    /// The cutover instant.
    pub t_zero: Timestamp,
    /// When the first phase is due.
    pub starts_at: Timestamp,
    /// When the maintenance window ends.
    pub window_ends_at: Timestamp,
    /// How often a status update is due from the first effect to the closing; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat: Option<Duration>,
    /// How severe the incident is that is opened by itself if the run goes badly after its first effect; `None`: none is.
    #[serde(default, deserialize_with = "severity_or_flag", skip_serializing_if = "Option::is_none")]
    pub opens_incident: Option<Severity>,
    /// The incident from inside which it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// Reads [`Started::opens_incident`]. Early records say only *whether* an incident is opened: theirs has [`SEVERITY_UNSAID`].
fn severity_or_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Severity>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Flag(bool),
        Severity(Severity),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Flag(opens) => opens.then_some(SEVERITY_UNSAID),
        Written::Severity(severity) => Some(severity),
    })
}

/// How severe the incident of a run is whose start does not say it: what the setting had unless a team had changed it.
const SEVERITY_UNSAID: Severity = Severity::Sev2;

/// Whether a run changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// For real.
    Live,
    /// Reads, transforms and validates for real and writes nothing to any target.
    DryRun,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Live => "live",
            Self::DryRun => "dry run",
        })
    }
}

/// What a gate stands before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateRef {
    /// A phase.
    Phase(PhaseName),
    /// A rollback that is not armed.
    Rollback(RollbackName),
}

impl std::fmt::Display for GateRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Phase(phase) => write!(f, "{phase}"),
            Self::Rollback(rollback) => write!(f, "rollback {rollback}"),
        }
    }
}

/// A list that people tick.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListRef {
    /// The items of a `human.checklist` step.
    Step(StepName),
    /// The runbook's `afterwards`.
    Afterwards,
}

/// One criterion or check as measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What a green one means, for people.
    pub says: String,
    /// What was measured, e.g. `pass_rate = 1.0`; empty if there is nothing to show.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub measured: String,
    /// How it came out.
    pub verdict: Verdict,
}

/// How a criterion came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Green,
    /// It does not hold, or it could not be measured in a live run.
    Red {
        /// Why, for people.
        why: String,
    },
    /// A rehearsal cannot measure it. Never green.
    NotMeasured {
        /// Why, for people.
        why: String,
    },
}

impl Reading {
    /// Whether it holds.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.verdict == Verdict::Green
    }

    /// Whether it is known not to hold.
    #[must_use]
    pub fn is_red(&self) -> bool {
        matches!(self.verdict, Verdict::Red { .. })
    }
}

/// A reaction that means something on a gate card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// ✅
    Sign,
    /// ❌
    Veto,
}

/// Why a vote does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteRefusal {
    /// Whoever asked does not sign.
    Requester,
    /// They have acted on this run, and the gate leaves such people out.
    Acted,
    /// They hold none of the gate's roles.
    WrongRole,
    /// A criterion was red when the vote was read.
    RedCriterion,
    /// The gate's phase has started.
    TooLate,
    /// The card was replaced or its gate is closed.
    ClosedCard,
}

/// Why a signature counts no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withdrawal {
    /// The reaction was removed.
    Removed,
    /// The person holds none of the gate's roles any more.
    RoleLost,
    /// The person has acted on the run since, and the gate leaves such people out.
    Acted,
}

/// Why a gate is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateRefusal {
    /// Somebody of a required role voted ❌.
    Vetoed {
        /// Who.
        by: Person,
    },
    /// Nobody opened it in time.
    Expired,
    /// The work would no longer fit the maintenance window.
    WindowMissed {
        /// The sum, for people.
        arithmetic: String,
    },
    /// A target is not the one that was signed for.
    TargetChanged {
        /// What changed, for people.
        what: String,
    },
}

/// By what right a gate is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clearance {
    /// These people signed.
    SignOff {
        /// Who counts for which role.
        signers: Vec<Assignment>,
    },
    /// The glass was broken; see the event before.
    BreakGlass {
        /// Who broke it.
        by: Person,
    },
    /// A dry run needs no votes.
    Rehearsal,
}

/// How to find what is left of a child process and its descendants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessGroup {
    /// The group's id, which is its leader's process id.
    pub pgid: i32,
    /// The leader's start time in clock ticks since boot (`/proc/PID/stat`, field 22): a reused id has another.
    pub start_time: u64,
    /// The machine's boot (`/proc/sys/kernel/random/boot_id`): start times of another boot mean nothing.
    pub boot_id: String,
}

/// What an attempt printed, kept in the run's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// The file, relative to the run's directory.
    pub file: String,
    /// Its size in bytes, after redaction and cutting.
    pub bytes: u64,
    /// The last lines, redacted, at most 700 characters.
    pub tail: String,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What happened, what was not done and what to do next, redacted.
    pub message: String,
    /// Whether another attempt may help; the step's `retry` says how many are made.
    pub retryable: bool,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The world did not cooperate.
    Failed,
    /// It took longer than its time-out and was cancelled.
    TimedOut,
    /// It was cancelled because the run was aborted or rolled back.
    Cancelled,
    /// It ran, and a check is red.
    CheckFailed,
    /// A person said no.
    Declined,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The effect is there.
    Happened {
        /// The result as far as it can be told.
        result: Value,
    },
    /// The effect is not there.
    DidNotHappen,
    /// It cannot be told.
    Unclear {
        /// Why, for people.
        why: String,
    },
}

/// Something that only a person can settle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number in this run, from 1.
    pub id: u32,
    /// What it is about.
    pub kind: QuestionKind,
    /// Who may answer.
    pub answerers: BTreeSet<RoleName>,
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionKind {
    /// An attempt was cut off, and nobody knows whether it took effect.
    UnknownOutcome {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// Why it is unknown, for people.
        why: String,
    },
    /// A phase would start later than the runbook's grace.
    Late {
        /// Which phase.
        phase: PhaseName,
        /// When it should have started.
        due: Timestamp,
    },
    /// A step failed and the phase says `ask`, or a rollback's step failed.
    StepFailed {
        /// Which step.
        step: StepName,
        /// What went wrong.
        message: String,
    },
}

/// What a person may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To an unknown outcome: it took effect. The step's checks run again.
    Happened,
    /// To an unknown outcome: it did not take effect. It is attempted again.
    DidNotHappen,
    /// To lateness: start it now all the same.
    Proceed,
    /// To a failed step: attempt it again.
    Retry,
    /// Stop here.
    Stop,
}

/// Who or what started something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Somebody in chat.
    Person(Person),
    /// Somebody with a shell on the host.
    Host {
        /// The system user.
        user: String,
    },
    /// The phase's `on_failure`.
    OnFailure {
        /// The step that failed.
        step: StepName,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Everything was done.
    Succeeded,
    /// It was undone.
    RolledBack,
    /// A step failed.
    Failed,
    /// Somebody ended it early.
    Aborted,
    /// A gate refused before anything was done.
    Refused,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled back",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

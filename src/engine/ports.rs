//! What the engine asks of chat and of actions, and what chat asks of the engine.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::domain::run::{
    Finding, GateRef, Input, MessageKey, Mode, Outcome, Portion, ProcessGroup, Progress, ReactionVote, Reading, Rejection, State,
    Status, Vote,
};
use crate::domain::{
    ChannelId, MessageId, MessageRef, ParameterName, Person, Plan, RunId, RunbookName, StepName, Timestamp, UserId,
};

/// A run, or another aggregate, as it stood at one moment: what views are made from.
#[derive(Debug, Clone)]
pub struct Snapshot<S = State, P = Vec<Progress>> {
    /// The fold of its journal.
    pub state: Arc<S>,
    /// The hash of the journal's last record when the state was read, in hex: what a summary shows for the audit.
    pub head: String,
    /// How far the work under way is, of a run's steps newest first; not journalled.
    pub progress: P,
    /// When it was taken.
    pub now: Timestamp,
}

/// Why a port could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// It may work later.
    #[error("{why}")]
    Later {
        /// Why, for logs and people.
        why: String,
        /// How long to wait at least, if the other side said so.
        after: Option<Duration>,
    },
    /// The message or channel it is about is gone.
    #[error("{why}")]
    Gone {
        /// What is gone.
        why: String,
    },
    /// It will not work until a person mends something, e.g. a missing permission. Tried again all the same, seldom.
    #[error("{why}")]
    Refused {
        /// What and how to mend it.
        why: String,
    },
}

/// What a look at a live message found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It shows the present state, edited if need be.
    Current,
    /// It is gone, or too old to be edited: it must be posted anew.
    Lost,
}

/// A message that is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posted {
    /// Where it stands.
    pub at: MessageRef,
    /// How many status updates it tells of, as it stands there: one that an earlier attempt made tells of those that had
    /// fallen due by then. 1 for everything else.
    pub told: u32,
}

/// What the engine asks of chat.
#[async_trait]
pub trait Chat: Send + Sync + 'static {
    /// Opens the run's thread on its plan card. Opening it twice gives the same thread.
    async fn open_thread(&self, run: &Snapshot) -> Result<ChannelId, PortError>;

    /// Makes an owed message visible, once: a nonce made of run, key and generation guards against a repeated
    /// request; with `search`, the channel is first searched for the message's marker, because an earlier
    /// attempt of unknown outcome may have succeeded.
    async fn post(&self, run: &Snapshot, key: &MessageKey, search: bool) -> Result<Posted, PortError>;

    /// Brings a posted live message up to date. Does nothing if it already shows the state.
    async fn refresh(&self, run: &Snapshot, key: &MessageKey) -> Result<Freshness, PortError>;

    /// Reads every ✅ and ❌ of one card of a gate over REST, with the voters' present roles; bots left out.
    async fn read_votes(&self, run: &Snapshot, gate: &GateRef, card: u32) -> Result<Vec<ReactionVote>, PortError>;
}

/// An attempt to be performed.
#[derive(Debug, Clone)]
pub struct Job {
    /// The run.
    pub run: Snapshot,
    /// The step.
    pub step: StepName,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Whether to go on from the checkpoint of an attempt that was cut off.
    pub resumes: bool,
    /// The processes of an earlier attempt: to be proven gone before anything is done.
    pub former: Option<ProcessGroup>,
}

/// Where an attempt reports to while it is under way.
#[async_trait]
pub trait JobSink: Send + Sync + 'static {
    /// Journals the attempt's process group. The process runs nothing before this returns.
    ///
    /// # Errors
    /// If it could not be journalled: then nothing may run.
    async fn child_started(&self, group: ProcessGroup) -> Result<(), String>;

    /// Tells how far it is. Cheap; may be called often.
    fn progress(&self, done: u64, total: Option<u64>, unit: &str, what: &str);

    /// As [`Self::progress`], of work whose portions are known: it is their sum.
    fn progress_by_portion(&self, unit: &str, portions: Vec<Portion>);
}

/// What the engine asks of actions.
#[async_trait]
pub trait Performer: Send + Sync + 'static {
    /// Performs an attempt (for a dry run: rehearses it), its checks included. Returns soon after `cancel`, with
    /// nothing left running.
    async fn perform(&self, job: Job, sink: Arc<dyn JobSink>, cancel: CancellationToken) -> Outcome;

    /// Looks whether an interrupted attempt took effect.
    async fn probe(&self, job: Job) -> Finding;

    /// Runs the checks of a step that is said to have happened; returns the result as far as it can be told.
    async fn check(&self, job: Job) -> (Value, Vec<Reading>);

    /// Ends what is left of an attempt of an earlier process of the bot.
    ///
    /// # Errors
    /// What is left and cannot be ended.
    async fn end_left_over(&self, group: &ProcessGroup) -> Result<(), String>;

    /// Evaluates a step's `when`.
    ///
    /// # Errors
    /// Why it cannot be evaluated, for people.
    fn evaluate_when(&self, run: &Snapshot, step: &StepName) -> Result<bool, String>;

    /// Performs a gate's `measure` steps and evaluates its criteria, one reading for each, in order. Never fails:
    /// what cannot be measured is red (in a dry run: not measured).
    async fn measure(&self, run: &Snapshot, gate: &GateRef) -> Vec<Reading>;

    /// Reads the identity of the plan's targets again and returns what is different, for people; empty if nothing is.
    ///
    /// # Errors
    /// If a target cannot be read.
    async fn targets_changed(&self, run: &Snapshot) -> Result<Vec<String>, String>;
}

/// What chat asks of the engine. Reading is from memory and never waits; `start` and `send` return once
/// the decision is durable.
#[async_trait]
pub trait Runs: Send + Sync + 'static {
    /// Starts a run: plans it, decides, journals. The plan card follows as an owed message.
    ///
    /// # Errors
    /// [`StartError`]; no run exists then.
    async fn start(&self, order: StartOrder) -> Result<RunId, StartError>;

    /// Hands an input to a run and waits for the decision.
    ///
    /// # Errors
    /// [`SendError`]; nothing was changed, save for [`SendError::Unavailable`], after which the journal knows.
    async fn send(&self, run: &RunId, input: Input) -> Result<(), SendError>;

    /// Every run that the bot remembers, newest first: all that have not ended, and those that ended lately.
    fn runs(&self) -> Vec<RunSummary>;

    /// One run as it stands; `None` if it is not remembered.
    fn snapshot(&self, run: &RunId) -> Option<Snapshot>;

    /// The runs that were set aside, those included of which nothing can be shown because not even their first
    /// record can be read.
    fn stuck(&self) -> Vec<Stuck>;

    /// The run whose thread this is.
    fn run_in_thread(&self, thread: ChannelId) -> Option<RunId>;

    /// Something was seen in chat. Never waits; the engine looks for itself before it believes anything
    /// that would let a run go forward.
    fn hint(&self, hint: Hint);
}

/// A wish to start a run, as chat heard it.
#[derive(Debug, Clone, PartialEq)]
pub struct StartOrder {
    /// Which runbook.
    pub runbook: RunbookName,
    /// Its parameters as they were typed; those left out take their defaults.
    pub parameters: IndexMap<ParameterName, String>,
    /// Live or rehearsal.
    pub mode: Mode,
    /// The cutover instant; `None` to start the first phase now.
    pub at: Option<Timestamp>,
    /// Who asks.
    pub requester: Person,
    /// Where they ask.
    pub channel: ChannelId,
}

/// Why no run was started.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StartError {
    /// It is not allowed now.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No plan could be made.
    #[error(transparent)]
    NoPlan(#[from] PlanProblem),
    /// The engine cannot journal anything at present.
    #[error("the engine is not available: {0}")]
    Unavailable(String),
}

/// Why an input was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It is not allowed now.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// There is no such run.
    #[error("there is no run of that id")]
    UnknownRun,
    /// The engine cannot journal anything at present, or is stopping.
    #[error("the engine is not available: {0}")]
    Unavailable(String),
}

/// A run in a list.
#[derive(Debug, Clone)]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// Its runbook.
    pub runbook: RunbookName,
    /// The runbook's line for people.
    pub title: String,
    /// Live or rehearsal.
    pub mode: Mode,
    /// Where it stands.
    pub status: Status,
    /// Who asked for it.
    pub requester: Person,
    /// Its thread, once that exists.
    pub thread: Option<ChannelId>,
    /// When it was started.
    pub started_at: Timestamp,
    /// Whether it is over.
    pub ended: bool,
    /// Why it is set aside, if it is: it stands where it stood then, and takes no input.
    pub stuck: Option<String>,
    /// The run itself.
    pub snapshot: Arc<Snapshot>,
}

/// A run that was set aside because its records do not make sense, or because of a defect. Nothing more is done for
/// it in this process; a lock that it had is still held. While it cannot be told which lock that is, no live run starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub run: RunId,
    /// What is wrong.
    pub why: String,
}

/// Something seen in chat. A hint may come twice, late or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// The reactions of a message have changed: read them.
    Reactions {
        /// Where.
        channel: ChannelId,
        /// On which message.
        message: MessageId,
    },
    /// A vote was taken back. Believed at once if it was one of a gate card, because it can only take something away.
    ReactionRemoved {
        /// Where.
        channel: ChannelId,
        /// On which message.
        message: MessageId,
        /// Whose.
        user: UserId,
        /// Which.
        vote: Vote,
    },
    /// A message was deleted.
    MessageDeleted {
        /// Where.
        channel: ChannelId,
        /// Which.
        message: MessageId,
    },
    /// Somebody put a 📌 on a message.
    Marked {
        /// Where.
        channel: ChannelId,
    },
    /// A channel or thread was deleted.
    ChannelDeleted {
        /// Which.
        channel: ChannelId,
    },
    /// A new gateway session began, so that events were lost: look at every open gate and message.
    Reconnected,
}

/// Makes plans without starting anything.
#[async_trait]
pub trait Planning: Send + Sync + 'static {
    /// The plan that a run would pin now.
    ///
    /// # Errors
    /// [`PlanProblem`].
    async fn plan(&self, runbook: &RunbookName, parameters: &IndexMap<ParameterName, String>) -> Result<Plan, PlanProblem>;

    /// Copies the plan's files into the run's own directory, durably, before the run exists. The copies are executed
    /// and nothing else.
    ///
    /// # Errors
    /// [`PlanProblem::Unreachable`] if a file is gone, has changed since the plan was made, or cannot be copied.
    async fn pin(&self, run: &RunId, plan: &Plan) -> Result<(), PlanProblem>;
}

/// Why no plan could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanProblem {
    /// The catalog has no such runbook.
    #[error("there is no runbook `{0}`")]
    UnknownRunbook(RunbookName),
    /// Required parameters were not given; in the runbook's order.
    #[error("required parameters are missing: {}", .0.iter().map(ParameterName::as_str).collect::<Vec<_>>().join(", "))]
    Missing(Vec<ParameterName>),
    /// What was given cannot be used; a sentence for each mistake.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// A target or file that the plan must name could not be read.
    #[error("{0}")]
    Unreachable(String),
}

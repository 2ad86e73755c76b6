//! What the engine asks of chat and of actions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::domain::run::{Finding, GateRef, MessageKey, Outcome, ProcessGroup, ReactionVote, Reading, State};
use crate::domain::{ChannelId, MessageRef, StepName, Timestamp};

/// A run as it stood at one moment: what views are made from.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The fold of its journal.
    pub state: Arc<State>,
    /// The hash of the journal's last record when the state was read, in hex: what a summary shows for the audit.
    pub head: String,
    /// How far the steps under way are, newest first; not journalled.
    pub progress: Vec<Progress>,
    /// When it was taken.
    pub now: Timestamp,
}

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
    /// How much was done when counting began: rate and ETA count from there, also after a resumption.
    pub done_at_start: u64,
    /// When counting began.
    pub since: Timestamp,
    /// When this was reported.
    pub at: Timestamp,
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

/// What the engine asks of chat.
#[async_trait]
pub trait Chat: Send + Sync + 'static {
    /// Opens the run's thread on its plan card. Opening it twice gives the same thread.
    async fn open_thread(&self, run: &Snapshot) -> Result<ChannelId, PortError>;

    /// Makes an owed message visible, once: a nonce made of run, key and generation guards against a repeated
    /// request; with `search`, the channel is first searched for the message's marker, because an earlier
    /// attempt of unknown outcome may have succeeded.
    async fn post(&self, run: &Snapshot, key: &MessageKey, search: bool) -> Result<MessageRef, PortError>;

    /// Brings a posted live message up to date. Does nothing if it already shows the state.
    async fn refresh(&self, run: &Snapshot, key: &MessageKey) -> Result<Freshness, PortError>;

    /// Reads every ✅ and ❌ of a gate card over REST, with the voters' present roles; bots left out.
    async fn read_votes(&self, run: &Snapshot, gate: &GateRef) -> Result<Vec<ReactionVote>, PortError>;
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

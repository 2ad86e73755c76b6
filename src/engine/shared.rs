//! What all tasks of the engine share: the ports, the index of runs, and the right to act.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::activity::{Active, Activity};
use super::ports::{Chat, Performer, Snapshot};
use crate::clock::{Ids, SharedClock};
use crate::domain::run::{EffectId, Input, Progress, Rejection, State};
use crate::domain::{Hash, RunId, Timestamp};
use crate::store::{Fence, SharedJournal};

/// What the engine needs from outside.
#[derive(Clone)]
pub struct Ports {
    /// Where facts are kept.
    pub journal: SharedJournal,
    /// The time.
    pub clock: SharedClock,
    /// Where run ids come from.
    pub ids: Arc<dyn Ids>,
    /// The chat.
    pub chat: Arc<dyn Chat>,
    /// The actions.
    pub performer: Arc<dyn Performer>,
}

/// How the engine paces itself.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How often votes and criteria of an open gate are read again without any hint.
    pub gate_every: Duration,
    /// The least time between two rounds of bringing a run's live messages up to date; wall time.
    pub refresh_every: Duration,
    /// The wait before an effect that failed is tried again; it doubles up to [`Pace::retry_max`].
    pub retry_first: Duration,
    /// The longest such wait.
    pub retry_max: Duration,
    /// How long the lease lives without being prolonged; wall time. [`super::LEASE_TTL`] outside tests.
    pub lease_ttl: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            gate_every: Duration::from_secs(60),
            refresh_every: Duration::from_secs(2),
            retry_first: Duration::from_secs(2),
            retry_max: Duration::from_secs(120),
            lease_ttl: super::lease::LEASE_TTL,
        }
    }
}

pub(super) struct Shared {
    pub(super) ports: Ports,
    pub(super) pace: Pace,
    pub(super) fence: Fence,
    pub(super) runs: RwLock<BTreeMap<RunId, Entry>>,
    pub(super) activity: Activity,
    /// Cancelled when the engine must stop acting: shut down, or the lease was lost.
    pub(super) stop: CancellationToken,
    /// Serialises starts: two runs must not both find the lock free.
    pub(super) starting: Arc<tokio::sync::Mutex<()>>,
}

/// A run as the index knows it.
pub(super) struct Entry {
    pub(super) state: Arc<State>,
    pub(super) head: Hash,
    pub(super) progress: Vec<Progress>,
    /// `None` once the run owes nothing any more, or is stuck.
    pub(super) mailbox: Option<mpsc::UnboundedSender<Letter>>,
    /// Why the run is set aside, if it is.
    pub(super) stuck: Option<String>,
}

/// What comes to a run's task, in one queue: what an effect found out arrives before the news that it is over,
/// so that the state never owes an effect again whose outcome is already on its way.
pub(super) enum Letter {
    /// An input.
    Input(Envelope),
    /// An effect is not being performed any more. Everything that it reported came before.
    FlightOver(EffectId, Option<Active>),
}

/// An input on its way to its run.
pub(super) struct Envelope {
    pub(super) input: Input,
    /// Where the answer goes, if somebody waits for it.
    pub(super) reply: Option<oneshot::Sender<Result<(), Refusal>>>,
    /// Keeps the engine from looking idle while the input waits for its turn.
    pub(super) active: Option<Active>,
}

/// Why an input was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Rejected(Rejection),
    Unavailable(String),
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// Puts an input into a run's mailbox. `false` if the run takes none any more.
    pub(super) fn post(&self, run: &RunId, input: Input, reply: Option<oneshot::Sender<Result<(), Refusal>>>) -> bool {
        let runs = self.runs.read().expect("no code panics while it holds the index");
        let Some(mailbox) = runs.get(run).and_then(|entry| entry.mailbox.as_ref()) else { return false };
        mailbox.send(Letter::Input(Envelope { input, reply, active: Some(self.activity.begin()) })).is_ok()
    }

    /// The run as it stands now.
    pub(super) fn snapshot(&self, run: &RunId) -> Option<Snapshot> {
        let runs = self.runs.read().expect("no code panics while it holds the index");
        runs.get(run).map(|entry| self.snapshot_of(entry))
    }

    pub(super) fn snapshot_of(&self, entry: &Entry) -> Snapshot {
        Snapshot {
            state: Arc::clone(&entry.state),
            head: entry.head.to_string(),
            progress: entry.progress.clone(),
            now: self.now(),
        }
    }

    pub(super) fn update(&self, run: &RunId, change: impl FnOnce(&mut Entry)) {
        let mut runs = self.runs.write().expect("no code panics while it holds the index");
        if let Some(entry) = runs.get_mut(run) {
            change(entry);
        }
    }
}

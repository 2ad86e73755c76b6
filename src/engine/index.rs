//! The aggregates of one kind in memory: a fold of the journal and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use tokio::sync::{mpsc, oneshot};

use super::activity::{Active, Activity};
use super::aggregate::{Aggregate, SnapshotOf};
use super::ports::Snapshot;
use crate::clock::SharedClock;
use crate::domain::run::EffectId;
use crate::domain::{ChannelId, Hash, MessageId, MessageKey};

pub(super) struct Index<A: Aggregate> {
    entries: RwLock<Entries<A>>,
    /// Those of which not even the first record can be read.
    unreadable: RwLock<BTreeMap<A::Id, Unreadable>>,
    activity: Activity,
    clock: SharedClock,
}

pub(super) type Entries<A> = BTreeMap<<A as Aggregate>::Id, Entry<A>>;

/// An aggregate as the index knows it.
pub(super) struct Entry<A: Aggregate> {
    pub(super) state: Arc<A::State>,
    pub(super) head: Hash,
    pub(super) progress: A::Progress,
    /// `None` once it owes nothing any more, or is stuck.
    pub(super) mailbox: Option<mpsc::UnboundedSender<Letter<A>>>,
    /// Why it is set aside, if it is.
    pub(super) stuck: Option<String>,
}

/// One of which not even the first record can be read, so that it cannot be shown.
pub(super) struct Unreadable {
    /// Why it cannot.
    pub(super) why: String,
    /// Whether its end is among its records all the same.
    pub(super) ended: bool,
}

/// What comes to an aggregate's task, in one queue: what an effect found out arrives before the news that it is over,
/// so that the state never owes an effect again whose outcome is already on its way.
pub(super) enum Letter<A: Aggregate> {
    /// An input.
    Input(Envelope<A>),
    /// An effect is not being performed any more. Everything that it reported came before.
    FlightOver {
        /// Which.
        id: EffectId,
        /// Whether chat refuses the message until a person has mended something.
        refused: bool,
        /// Keeps the engine from looking idle while the letter waits for its turn.
        active: Option<Active>,
    },
}

/// An input on its way.
pub(super) struct Envelope<A: Aggregate> {
    pub(super) input: A::Input,
    /// Where the answer goes, if somebody waits for it.
    pub(super) reply: Option<oneshot::Sender<Result<(), Refusal<A::Rejection>>>>,
    /// Keeps the engine from looking idle while the input waits for its turn.
    pub(super) active: Option<Active>,
}

/// Why an input was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal<R> {
    Unknown,
    Rejected(R),
    Unavailable(String),
}

impl<R: fmt::Display> fmt::Display for Refusal<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is nothing of that id"),
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl<A: Aggregate> Index<A> {
    pub(super) fn new(activity: Activity, clock: SharedClock) -> Self {
        Self { entries: RwLock::default(), unreadable: RwLock::default(), activity, clock }
    }

    /// All of them, in the order of their ids. To be held for a moment only.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Entries<A>> {
        self.entries.read().expect("no code panics while it holds the index")
    }

    /// The ids of all of them that were ever begun, in their order, those that cannot be read included.
    pub(super) fn ids(&self) -> Vec<A::Id> {
        let mut ids: Vec<A::Id> = self.read().keys().cloned().collect();
        ids.extend(self.unreadable.read().expect("no code panics while it holds the list").keys().cloned());
        ids.sort();
        ids
    }

    pub(super) fn insert(&self, id: A::Id, entry: Entry<A>) {
        self.entries.write().expect("no code panics while it holds the index").insert(id, entry);
    }

    pub(super) fn update(&self, id: &A::Id, change: impl FnOnce(&mut Entry<A>)) {
        let mut entries = self.entries.write().expect("no code panics while it holds the index");
        if let Some(entry) = entries.get_mut(id) {
            change(entry);
        }
    }

    /// Remembers one that cannot be shown.
    pub(super) fn insert_unreadable(&self, id: A::Id, unreadable: Unreadable) {
        self.unreadable.write().expect("no code panics while it holds the list").insert(id, unreadable);
    }

    /// The first that cannot be read and has not ended: what it holds is not known.
    pub(super) fn unreadable_and_open(&self) -> Option<A::Id> {
        let unreadable = self.unreadable.read().expect("no code panics while it holds the list");
        unreadable.iter().find(|(_, unreadable)| !unreadable.ended).map(|(id, _)| id.clone())
    }

    /// Those that were set aside, with why.
    pub(super) fn stuck(&self) -> Vec<(A::Id, String)> {
        let shown = self.read().iter().filter_map(|(id, entry)| Some((id.clone(), entry.stuck.clone()?))).collect::<Vec<_>>();
        let unreadable = self.unreadable.read().expect("no code panics while it holds the list");
        shown.into_iter().chain(unreadable.iter().map(|(id, unreadable)| (id.clone(), unreadable.why.clone()))).collect()
    }

    /// Puts an input into a mailbox without waiting. `false` if none is taken any more.
    pub(super) fn post(&self, id: &A::Id, input: A::Input) -> bool {
        self.deliver(id, input, None)
    }

    /// Hands an input over and waits until what follows from it is durable.
    pub(super) async fn send(&self, id: &A::Id, input: A::Input) -> Result<(), Refusal<A::Rejection>> {
        let (sender, receiver) = oneshot::channel();
        if !self.deliver(id, input, Some(sender)) {
            return Err(self.not_taken(id));
        }
        // If nobody answers, it ended, was set aside, or the engine stopped before the input's turn came.
        receiver.await.unwrap_or_else(|_| Err(self.not_taken(id)))
    }

    fn deliver(&self, id: &A::Id, input: A::Input, reply: Option<oneshot::Sender<Result<(), Refusal<A::Rejection>>>>) -> bool {
        let entries = self.read();
        let Some(mailbox) = entries.get(id).and_then(|entry| entry.mailbox.as_ref()) else { return false };
        mailbox.send(Letter::Input(Envelope { input, reply, active: Some(self.activity.begin()) })).is_ok()
    }

    /// Why no input is taken.
    fn not_taken(&self, id: &A::Id) -> Refusal<A::Rejection> {
        let entries = self.read();
        let Some(entry) = entries.get(id) else { return Refusal::Unknown };
        match (&entry.stuck, A::ended(&entry.state)) {
            (Some(why), _) => Refusal::Unavailable(format!("the {} is set aside: {why}", A::KIND)),
            (None, Some(rejection)) => Refusal::Rejected(rejection),
            (None, None) => Refusal::Unavailable("the engine is stopping".to_owned()),
        }
    }

    /// One as it stands now.
    pub(super) fn snapshot(&self, id: &A::Id) -> Option<SnapshotOf<A>> {
        self.read().get(id).map(|entry| self.snapshot_of(entry))
    }

    pub(super) fn snapshot_of(&self, entry: &Entry<A>) -> SnapshotOf<A> {
        Snapshot {
            state: Arc::clone(&entry.state),
            head: entry.head.to_string(),
            progress: entry.progress.clone(),
            now: self.clock.now(),
        }
    }

    /// Whose message stands there, among those that have a task.
    pub(super) fn find_message(&self, channel: ChannelId, message: MessageId) -> Option<(A::Id, MessageKey)> {
        self.read().iter().filter(|(_, entry)| entry.mailbox.is_some()).find_map(|(id, entry)| {
            let mut visible = A::visible(&entry.state).into_iter();
            let here = visible.find(|visible| visible.at.channel == channel && visible.at.message == message)?;
            Some((id.clone(), here.key))
        })
    }
}

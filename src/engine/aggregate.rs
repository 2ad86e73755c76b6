//! What the engine must know of a kind of aggregate to drive it. The loop, retries, leases and messages are the same
//! for all; what is particular to a kind stands in its implementation of [`Aggregate`] and nowhere else.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::activity::Active;
use super::flight::Flight;
use super::index::Index;
use super::ports::{Freshness, PortError, Posted, Snapshot};
use super::shared::Shared;
use crate::domain::run::EffectId;
use crate::domain::{CorruptJournal, MessageKey, MessageRef, Timestamp};

/// A kind of aggregate, with the pure functions of its domain and what the engine does for it.
pub(super) trait Aggregate: Send + Sync + Sized + 'static {
    type Id: Clone + Ord + Display + FromStr + Send + Sync;
    type State: Clone + Send + Sync;
    type Event: Serialize + DeserializeOwned + Send + Sync;
    type Input: Clone + Send + Sync;
    type Effect: Clone + Send + Sync;
    type Rejection: Debug + Display + Send + Sync;
    /// How far the work under way is: shown, never journalled.
    type Progress: Clone + Default + Send + Sync;

    /// What its streams are called: the `run` of `run/run-k3f9w2mx`. Also its word in messages.
    const KIND: &'static str;
    /// The name of the event with which one ends: known also of one that cannot be read.
    const END: &'static str;
    /// The input for "time has passed".
    const TICK: Self::Input;
    /// The first input of one that an earlier process of the bot has left.
    const REBOOTED: Self::Input;

    /// Where those in memory are.
    fn index(shared: &Shared) -> &Index<Self>;

    fn begin(at: Timestamp, event: &Self::Event) -> Result<Self::State, CorruptJournal>;
    fn evolve(state: Self::State, at: Timestamp, event: &Self::Event) -> Result<Self::State, CorruptJournal>;
    fn decide(state: &Self::State, now: Timestamp, input: Self::Input) -> Result<Vec<Self::Event>, Self::Rejection>;
    fn pending(state: &Self::State) -> Vec<Self::Effect>;
    fn next_deadline(state: &Self::State, now: Timestamp) -> Option<Timestamp>;

    fn id(state: &Self::State) -> &Self::Id;
    /// How many events are in its stream.
    fn seq(state: &Self::State) -> u64;
    /// When the last of them was journalled.
    fn changed_at(state: &Self::State) -> Timestamp;
    /// What any input is refused with, once it has ended. One that has ended and owes nothing needs no task any more.
    fn ended(state: &Self::State) -> Option<Self::Rejection>;
    /// The event's name in the journal.
    fn kind_of(event: &Self::Event) -> &'static str;

    /// The effect's fixed id: the same after a restart.
    fn effect_id(effect: &Self::Effect) -> EffectId;
    /// How the task treats the effect.
    fn manner(effect: &Self::Effect) -> Manner;
    /// Performs the flight's effect and reports what came of it. `active` is empty while it waits to try again.
    fn perform(flight: &Flight<Self>, active: &mut Option<Active>) -> impl Future<Output = ()> + Send;
    /// What an effect comes to whose code has panicked. `None` to try it again, seldom.
    fn cut_off(effect: &Self::Effect) -> Option<Self::Input>;

    /// Every message that is visible.
    fn visible(state: &Self::State) -> Vec<Visible>;
    /// Makes an owed message visible, once. See [`super::Chat::post`].
    fn post(
        shared: &Shared,
        snapshot: &SnapshotOf<Self>,
        key: &MessageKey,
        search: bool,
    ) -> impl Future<Output = Result<Posted, PortError>> + Send;
    /// Brings a live message up to date. See [`super::Chat::refresh`].
    fn refresh(
        shared: &Shared,
        snapshot: &SnapshotOf<Self>,
        key: &MessageKey,
    ) -> impl Future<Output = Result<Freshness, PortError>> + Send;
    /// The input for "the message stands there".
    fn posted(key: MessageKey, posted: Posted) -> Self::Input;
    /// The input for "the message that stood there is gone".
    fn lost(key: MessageKey, at: MessageRef) -> Self::Input;

    /// The input for "chat does not take this message until a person has mended something", for a kind that shows it.
    fn refused(key: &MessageKey, why: &str) -> Option<Self::Input>;

    /// The input for "the place where this message belongs is gone", if it can be given another.
    fn displaced(state: &Self::State, key: &MessageKey) -> Option<Self::Input>;

    /// Drops the progress of what is no longer under way.
    fn drop_settled(state: &Self::State, progress: &mut Self::Progress);
    /// Called when events of this process are durable and folded.
    fn folded(shared: &Arc<Shared>, id: &Self::Id, events: &[Self::Event]);
}

/// An aggregate of a kind as it stood at one moment.
pub(super) type SnapshotOf<A> = Snapshot<<A as Aggregate>::State, <A as Aggregate>::Progress>;

/// How the task treats an effect.
pub(super) enum Manner {
    /// Tried until it is done or the state owes it no longer.
    Errand,
    /// Makes this message visible: one at a time, so that a channel reads in the order of events, and searched for
    /// first if an earlier process of the bot may have posted it. One that chat refuses lets the next one pass.
    Message(MessageKey),
    /// An attempt under way: cancelled by an effect of its own, and not by the state having moved on.
    Attempt,
    /// Cancels that attempt. Performed itself only if the attempt is not under way in this process.
    Cancel(EffectId),
}

/// A message that stands in chat.
pub(super) struct Visible {
    pub(super) key: MessageKey,
    pub(super) at: MessageRef,
    /// Whether it is edited as the state changes.
    pub(super) live: bool,
}

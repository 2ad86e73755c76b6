//! What is particular to driving a run: its effects and its card votes. See [`super::aggregate`].

mod effects;

use std::sync::Arc;

use super::activity::Active;
use super::aggregate::{Aggregate, Manner, SnapshotOf, Visible};
use super::flight::Flight;
use super::index::Index;
use super::observe;
use super::ports::{Freshness, PortError, Posted};
use super::shared::Shared;
use crate::domain::run::{self, Effect, EffectId, Event, Input, Outcome, Progress, Rejection, State};
use crate::domain::{CorruptJournal, MessageKey, MessageRef, RunId, Timestamp};

/// The aggregate *run*.
pub(super) struct Run;

impl Aggregate for Run {
    type Id = RunId;
    type State = State;
    type Event = Event;
    type Input = Input;
    type Effect = Effect;
    type Rejection = Rejection;
    /// Of the steps under way, newest first.
    type Progress = Vec<Progress>;

    const KIND: &'static str = "run";
    const END: &'static str = "ended";
    const TICK: Input = Input::Tick;
    const REBOOTED: Input = Input::Rebooted;

    fn index(shared: &Shared) -> &Index<Self> {
        &shared.runs
    }

    fn begin(at: Timestamp, event: &Event) -> Result<State, CorruptJournal> {
        run::begin(at, event)
    }

    fn evolve(state: State, at: Timestamp, event: &Event) -> Result<State, CorruptJournal> {
        run::evolve(state, at, event)
    }

    fn decide(state: &State, now: Timestamp, input: Input) -> Result<Vec<Event>, Rejection> {
        run::decide(state, now, input)
    }

    fn pending(state: &State) -> Vec<Effect> {
        run::pending(state)
    }

    fn next_deadline(state: &State, now: Timestamp) -> Option<Timestamp> {
        run::next_deadline(state, now)
    }

    fn id(state: &State) -> &RunId {
        state.id()
    }

    fn seq(state: &State) -> u64 {
        state.seq
    }

    fn changed_at(state: &State) -> Timestamp {
        state.changed_at
    }

    fn ended(state: &State) -> Option<Rejection> {
        state.end.as_ref().map(|ending| Rejection::AlreadyEnded { end: ending.end })
    }

    fn kind_of(event: &Event) -> &'static str {
        run::kind_of(event)
    }

    fn effect_id(effect: &Effect) -> EffectId {
        effect.id()
    }

    fn manner(effect: &Effect) -> Manner {
        match effect {
            Effect::PostMessage { key, .. } => Manner::Message(key.clone()),
            Effect::PerformStep { .. } => Manner::Attempt,
            Effect::CancelStep { step, attempt, .. } => Manner::Cancel(format!("perform/{step}/{attempt}")),
            Effect::OpenThread
            | Effect::MeasureGate { .. }
            | Effect::RecheckGate { .. }
            | Effect::EvaluateWhen { .. }
            | Effect::ProbeStep { .. }
            | Effect::OpenIncident { .. }
            | Effect::PublishReview { .. }
            | Effect::CheckStep { .. } => Manner::Errand,
        }
    }

    async fn perform(flight: &Flight<Self>, active: &mut Option<Active>) {
        flight.perform(active).await;
    }

    /// An attempt is of unknown outcome then.
    fn cut_off(effect: &Effect) -> Option<Input> {
        let Effect::PerformStep { step, attempt, .. } = effect else { return None };
        let why = "a defect in the program cut the attempt off".to_owned();
        Some(Input::StepFinished(step.clone(), *attempt, Outcome::Unknown { why }))
    }

    fn visible(state: &State) -> Vec<Visible> {
        let visible = |owed: &run::Owed| Some(Visible { key: owed.key.clone(), at: owed.posted?, live: owed.kind.is_live() });
        state.owed.iter().filter_map(visible).collect()
    }

    async fn post(shared: &Shared, snapshot: &SnapshotOf<Self>, key: &MessageKey, search: bool) -> Result<Posted, PortError> {
        shared.ports.chat.post(snapshot, key, search).await
    }

    async fn refresh(shared: &Shared, snapshot: &SnapshotOf<Self>, key: &MessageKey) -> Result<Freshness, PortError> {
        shared.ports.chat.refresh(snapshot, key).await
    }

    fn posted(key: MessageKey, posted: Posted) -> Input {
        Input::MessagePosted(key, posted.at, posted.told)
    }

    fn lost(key: MessageKey, at: MessageRef) -> Input {
        Input::MessageLost(key, at)
    }

    /// A run acts without chat too; what it owes is counted by the metrics and told in the log.
    fn refused(_: &MessageKey, _: &str) -> Option<Input> {
        None
    }

    /// A thread can be opened anew, on a new plan card; the channel in which the run was asked for cannot.
    fn displaced(state: &State, key: &MessageKey) -> Option<Input> {
        let in_thread = state.owed.iter().any(|owed| owed.key == *key && owed.place == run::Place::Thread);
        state.thread.filter(|_| in_thread).map(Input::ThreadLost)
    }

    fn drop_settled(state: &State, progress: &mut Vec<Progress>) {
        progress.retain(|progress| state.steps.get(&progress.step).is_some_and(|step| !step.is_settled()));
    }

    /// Whoever voted on a card before its place was journalled gave a hint that nobody could follow.
    fn folded(shared: &Arc<Shared>, id: &RunId, events: &[Event]) {
        for event in events {
            if let Event::MessagePosted { key, .. } = event {
                observe::read_card(shared, id, key);
            }
        }
    }
}

//! What is particular to driving an incident: its effects. See [`super::aggregate`].

mod effects;
mod marks;

use std::sync::Arc;

pub(super) use marks::look_for_marks;

use super::activity::Active;
use super::aggregate::{Aggregate, Manner, SnapshotOf, Visible};
use super::flight::Flight;
use super::incident_ports::IncidentSnapshot;
use super::index::Index;
use super::ports::{Freshness, PortError, Posted, Snapshot};
use super::shared::Shared;
use crate::domain::incident::{self, Effect, Event, IncidentId, Input, Rejection, State};
use crate::domain::run::EffectId;
use crate::domain::{CorruptJournal, MessageKey, MessageRef, Timestamp};

/// The aggregate *incident*.
pub(super) struct Incident;

impl Aggregate for Incident {
    type Id = IncidentId;
    type State = State;
    type Event = Event;
    type Input = Input;
    type Effect = Effect;
    type Rejection = Rejection;
    /// Nothing of an incident is under way for long.
    type Progress = ();

    const KIND: &'static str = "incident";
    const END: &'static str = "channel_deleted";
    const TICK: Input = Input::Tick;
    /// Whatever was cut off is owed still; nothing else is to be remembered of a restart.
    const REBOOTED: Input = Input::Tick;

    fn index(shared: &Shared) -> &Index<Self> {
        &shared.incidents
    }

    fn begin(at: Timestamp, event: &Event) -> Result<State, CorruptJournal> {
        incident::begin(at, event)
    }

    fn evolve(state: State, at: Timestamp, event: &Event) -> Result<State, CorruptJournal> {
        incident::evolve(state, at, event)
    }

    fn decide(state: &State, now: Timestamp, input: Input) -> Result<Vec<Event>, Rejection> {
        incident::decide(state, now, input)
    }

    fn pending(state: &State) -> Vec<Effect> {
        incident::pending(state)
    }

    fn next_deadline(state: &State, now: Timestamp) -> Option<Timestamp> {
        incident::next_deadline(state, now)
    }

    fn id(state: &State) -> &IncidentId {
        state.id()
    }

    fn seq(state: &State) -> u64 {
        state.seq
    }

    fn changed_at(state: &State) -> Timestamp {
        state.changed_at
    }

    fn ended(state: &State) -> Option<Rejection> {
        state.closed_at.map(|_| Rejection::Closed)
    }

    fn kind_of(event: &Event) -> &'static str {
        incident::kind_of(event)
    }

    fn effect_id(effect: &Effect) -> EffectId {
        effect.id()
    }

    fn manner(effect: &Effect) -> Manner {
        match effect {
            Effect::PostMessage { key, .. } => Manner::Message(key.clone()),
            Effect::OpenChannel { .. }
            | Effect::PinSummary { .. }
            | Effect::Page { .. }
            | Effect::TellStatusPage { .. }
            | Effect::PublishIssue { .. }
            | Effect::ScheduleReview { .. }
            | Effect::ArchiveChannel
            | Effect::DeleteChannel => Manner::Errand,
        }
    }

    async fn perform(flight: &Flight<Self>, active: &mut Option<Active>) {
        flight.perform(active).await;
    }

    fn cut_off(_: &Effect) -> Option<Input> {
        None
    }

    fn visible(state: &State) -> Vec<Visible> {
        let visible =
            |owed: &incident::Owed| Some(Visible { key: owed.key.clone(), at: owed.posted?, live: owed.kind.is_live() });
        state.owed.iter().filter_map(visible).collect()
    }

    async fn post(shared: &Shared, snapshot: &SnapshotOf<Self>, key: &MessageKey, search: bool) -> Result<Posted, PortError> {
        let incident = with_runs(shared, snapshot);
        shared.ports.incident_chat.post_to_incident(&incident, key, search).await
    }

    async fn refresh(shared: &Shared, snapshot: &SnapshotOf<Self>, key: &MessageKey) -> Result<Freshness, PortError> {
        let incident = with_runs(shared, snapshot);
        shared.ports.incident_chat.refresh_in_incident(&incident, key).await
    }

    fn posted(key: MessageKey, posted: Posted) -> Input {
        Input::MessagePosted(key, posted.at, posted.told)
    }

    fn lost(key: MessageKey, at: MessageRef) -> Input {
        Input::MessageLost(key, at)
    }

    fn refused(key: &MessageKey, why: &str) -> Option<Input> {
        Some(Input::MessageRefused(key.clone(), why.to_owned()))
    }

    /// From the fallback channel too: there may be room for one of its own by now.
    fn displaced(state: &State, _: &MessageKey) -> Option<Input> {
        state.channel.map(|channel| Input::ChannelLost { channel })
    }

    fn drop_settled(_: &State, _: &mut ()) {}

    fn folded(_: &Arc<Shared>, _: &IncidentId, _: &[Event]) {}
}

/// The incident with the runs that belong to it: what it was opened about, and what was started from inside it. The
/// runs themselves know, so that there is one truth about it.
pub(super) fn with_runs(shared: &Shared, incident: &SnapshotOf<Incident>) -> IncidentSnapshot {
    let id = incident.state.id();
    let runs = shared.runs.read();
    let belongs = |run: &crate::domain::run::State| run.incident == Some(*id) || incident.state.run() == Some(run.id());
    let mut runs: Vec<Snapshot> =
        runs.values().filter(|entry| belongs(&entry.state)).map(|entry| shared.runs.snapshot_of(entry)).collect();
    runs.sort_by_key(|run| run.state.started_at);
    IncidentSnapshot { state: Arc::clone(&incident.state), head: incident.head.clone(), runs, now: incident.now }
}

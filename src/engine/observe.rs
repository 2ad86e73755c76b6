//! Observe, do not trust: what was seen in chat is a hint, and the engine looks for itself.
//!
//! Votes and criteria of open gates are read on a hint, after every reconnection, and on a timer, so that a
//! lost event costs at most [`super::Pace::gate_every`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tracing::warn;

use super::aggregate::Aggregate;
use super::incident::{Incident, look_for_marks};
use super::ports::{Hint, PortError, Snapshot};
use super::run::Run;
use super::shared::Shared;
use crate::clock;
use crate::domain::run::{GateRef, Input, MessageKind, State};
use crate::domain::{MessageKey, MessageRef, RunId, incident};

/// Takes in a hint without holding its giver up.
pub(super) fn take(shared: &Arc<Shared>, hint: Hint) {
    match hint {
        Hint::Reconnected => {
            for run in open_runs(shared) {
                look(shared, &run);
            }
            look_for_marks(shared, None);
        }
        Hint::Marked { channel } => look_for_marks(shared, Some(channel)),
        Hint::ChannelDeleted { channel } => {
            for run in shared.runs.ids() {
                shared.runs.post(&run, Input::ThreadLost(channel));
            }
            for incident in shared.incidents.ids() {
                shared.incidents.post(&incident, incident::Input::ChannelLost { channel });
            }
        }
        Hint::Reactions { channel, message } => {
            if let Some((run, key)) = shared.runs.find_message(channel, message) {
                read_card(shared, &run, &key);
            }
        }
        Hint::ReactionRemoved { channel, message, user, vote } => {
            if let Some((run, key)) = shared.runs.find_message(channel, message)
                && let Some(snapshot) = shared.runs.snapshot(&run)
                && let Some((gate, card)) = gate_of(&snapshot.state, &key)
            {
                shared.runs.post(&run, Input::VoteRemoved { gate, card, user, vote });
            }
        }
        Hint::MessageDeleted { channel, message } => {
            message_deleted::<Run>(shared, MessageRef { channel, message });
            message_deleted::<Incident>(shared, MessageRef { channel, message });
        }
    }
}

fn message_deleted<A: Aggregate>(shared: &Shared, at: MessageRef) {
    let index = A::index(shared);
    if let Some((id, key)) = index.find_message(at.channel, at.message) {
        index.post(&id, A::lost(key, at));
    }
}

/// Looks at every open gate at once, because votes may have come and gone while nobody listened, and then again
/// and again until the engine stops.
pub(super) async fn keep_looking(shared: Arc<Shared>) {
    loop {
        for run in open_runs(&shared) {
            look(&shared, &run);
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = clock::sleep(&*shared.ports.clock, shared.pace.gate_every) => {}
        }
    }
}

fn open_runs(shared: &Shared) -> Vec<RunId> {
    let runs = shared.runs.read();
    runs.iter()
        .filter(|(_, entry)| entry.mailbox.is_some() && entry.state.open_gate().is_some())
        .map(|(run, _)| run.clone())
        .collect()
}

/// Reads the criteria and the votes of a run's open gate; the votes alone while an earlier round still measures.
fn look(shared: &Arc<Shared>, run: &RunId) {
    let Some(snapshot) = shared.runs.snapshot(run) else { return };
    let Some((gate, opened)) = snapshot.state.open_gate().map(|(gate, opened)| (gate.clone(), opened.clone())) else { return };
    if opened.readings.is_none() {
        // Its first measurement is an effect of its own.
        return;
    }
    let card = opened.card;
    let measuring = Measuring::begin(shared, (run.clone(), gate.clone(), card));
    let (shared, snapshot) = (Arc::clone(shared), snapshot.clone());
    let active = shared.activity.begin();
    tokio::spawn(async move {
        if let Some(measuring) = measuring {
            let readings = shared.ports.performer.measure(&snapshot, &gate).await;
            shared.runs.post(snapshot.state.id(), Input::GateMeasured { gate: gate.clone(), card, readings });
            drop(measuring);
        }
        read(&shared, &snapshot, gate, card).await;
        drop(active);
    });
}

/// The cards whose criteria are being measured.
pub(super) type UnderMeasurement = Mutex<BTreeSet<(RunId, GateRef, u32)>>;

/// The measurement of one card, as long as it lives. A slow one is not joined by the next: each would make the system
/// that it measures slower still, and the older readings could arrive last.
struct Measuring {
    shared: Arc<Shared>,
    card: (RunId, GateRef, u32),
}

impl Measuring {
    /// `None` if the card is being measured already.
    fn begin(shared: &Arc<Shared>, card: (RunId, GateRef, u32)) -> Option<Self> {
        let fresh = shared.under_measurement.lock().expect("no code panics while it holds the set").insert(card.clone());
        fresh.then(|| Self { shared: Arc::clone(shared), card })
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.shared.under_measurement.lock().expect("no code panics while it holds the set").remove(&self.card);
    }
}

/// Reads the votes on a message, if it is a gate's card.
pub(super) fn read_card(shared: &Arc<Shared>, run: &RunId, key: &MessageKey) {
    let Some(snapshot) = shared.runs.snapshot(run) else { return };
    let Some((gate, card)) = gate_of(&snapshot.state, key) else { return };
    let shared = Arc::clone(shared);
    let active = shared.activity.begin();
    tokio::spawn(async move {
        read(&shared, &snapshot, gate, card).await;
        drop(active);
    });
}

async fn read(shared: &Shared, snapshot: &Snapshot, gate: GateRef, card: u32) {
    let run = snapshot.state.id();
    if snapshot.state.is_dry_run() || posted_card(&snapshot.state, &gate, card).is_none() {
        return;
    }
    match shared.ports.chat.read_votes(snapshot, &gate, card).await {
        Ok(votes) => {
            shared.runs.post(run, Input::VotesRead { gate, card, votes });
        }
        Err(PortError::Gone { .. }) => {
            if let Some((key, message)) = posted_card(&snapshot.state, &gate, card) {
                shared.runs.post(run, Input::MessageLost(key, message));
            }
        }
        Err(error) => warn!(%run, %gate, %error, "the votes could not be read; the timer tries again"),
    }
}

/// Where a gate's card stands, once it does.
pub(super) fn posted_card(state: &State, gate: &GateRef, card: u32) -> Option<(MessageKey, MessageRef)> {
    let is_card = |kind: &MessageKind| matches!(kind, MessageKind::GateCard { gate: g, card: c } if g == gate && *c == card);
    let owed = state.owed.iter().find(|owed| is_card(&owed.kind))?;
    Some((owed.key.clone(), owed.posted?))
}

fn gate_of(state: &State, key: &MessageKey) -> Option<(GateRef, u32)> {
    state.owed.iter().find(|owed| owed.key == *key).and_then(|owed| match &owed.kind {
        MessageKind::GateCard { gate, card } => Some((gate.clone(), *card)),
        MessageKind::PlanCard
        | MessageKind::Progress
        | MessageKind::Question { .. }
        | MessageKind::Confirm { .. }
        | MessageKind::Checklist { .. }
        | MessageKind::Afterwards
        | MessageKind::Note(_)
        | MessageKind::Beat { .. }
        | MessageKind::Summary => None,
    })
}

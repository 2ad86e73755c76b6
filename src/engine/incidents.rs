//! What others may ask of the engine about incidents.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::info;

use super::dossier::dossier;
use super::handle::Handle;
use super::incident::{Incident, with_runs};
use super::incident_ports::{Dossier, IncidentError, IncidentSnapshot, Incidents, StuckIncident};
use super::index::{Entry, Refusal};
use super::load;
use super::run::Run;
use super::shared::Shared;
use crate::domain::ChannelId;
use crate::domain::incident::{IncidentId, Input, OpenRequest, Opener, Rejection, State, next_id, open};

/// Opens an incident, or returns the open one about the same run. A run that asks again after a crash gets the one that it
/// has called for before, whatever became of that.
pub(super) async fn open_incident(shared: &Arc<Shared>, request: OpenRequest) -> Result<IncidentId, IncidentError> {
    let active = shared.activity.begin();
    let opening = Arc::clone(&shared.opening).lock_owned().await;
    let is_opened_already = |state: &State| {
        let by_itself = matches!((&request.by, &state.opened.by), (Opener::Run { .. }, Opener::Run { .. }));
        state.run() == request.run.as_ref() && (state.is_open() || by_itself)
    };
    if let (Some(_), Some(known)) = (&request.run, find(shared, is_opened_already)) {
        return Ok(known);
    }
    let now = shared.now();
    let taken: Vec<IncidentId> = shared.incidents.ids();
    let incident = next_id(now, &taken)?;
    let events = open(incident, shared.ports.policies.incidents.clone(), request)?;
    info!(%incident, "opening");
    // A task of its own: a caller who goes away must not leave an incident in the journal that nobody has taken up.
    let shared = Arc::clone(shared);
    let begun = tokio::spawn(async move {
        let _held = (opening, active);
        load::begin::<Incident>(&shared, &incident, now, &events).await
    });
    let begun = begun.await.unwrap_or_else(|_| Err("the engine is stopping".to_owned()));
    begun.map_err(IncidentError::Unavailable)?;
    Ok(incident)
}

fn find(shared: &Shared, wanted: impl Fn(&State) -> bool) -> Option<IncidentId> {
    let incidents = shared.incidents.read();
    incidents.values().map(|entry| &entry.state).find(|state| wanted(state)).map(|state| *state.id())
}

/// The open incident, or else the newest, that lives in this channel.
pub(super) fn incident_in(shared: &Shared, channel: ChannelId) -> Option<IncidentId> {
    let incidents = shared.incidents.read();
    let here = incidents.values().map(|entry| &entry.state).filter(|state| state.channel == Some(channel));
    here.max_by_key(|state| (state.is_open(), *state.id())).map(|state| *state.id())
}

/// The open incident, or else the newest, of the run whose thread this is.
fn incident_of_thread(shared: &Shared, thread: ChannelId) -> Option<IncidentId> {
    let of_thread = |entry: &Entry<Run>| (entry.state.thread == Some(thread)).then(|| Arc::clone(&entry.state));
    let run = shared.runs.read().values().find_map(of_thread)?;
    let incidents = shared.incidents.read();
    let states = incidents.values().map(|entry| &entry.state);
    let its = states.filter(|state| state.run() == Some(run.id()) || run.incident == Some(*state.id()));
    its.max_by_key(|state| (state.is_open(), *state.id())).map(|state| *state.id())
}

#[async_trait]
impl Incidents for Handle {
    async fn open(&self, request: OpenRequest) -> Result<IncidentId, IncidentError> {
        open_incident(&self.shared, request).await
    }

    async fn tell(&self, incident: &IncidentId, input: Input) -> Result<(), IncidentError> {
        self.shared.incidents.send(incident, input).await.map_err(IncidentError::from)
    }

    fn incidents(&self) -> Vec<IncidentSnapshot> {
        let ids = self.shared.incidents.ids();
        ids.iter().rev().filter_map(|id| self.incident(id)).collect()
    }

    fn incident(&self, incident: &IncidentId) -> Option<IncidentSnapshot> {
        self.shared.incidents.snapshot(incident).map(|snapshot| with_runs(&self.shared, &snapshot))
    }

    fn stuck_incidents(&self) -> Vec<StuckIncident> {
        self.shared.incidents.stuck().into_iter().map(|(incident, why)| StuckIncident { incident, why }).collect()
    }

    fn incident_in_channel(&self, channel: ChannelId) -> Option<IncidentId> {
        incident_in(&self.shared, channel).or_else(|| incident_of_thread(&self.shared, channel))
    }

    async fn dossier(&self, incident: &IncidentId) -> Result<Dossier, IncidentError> {
        let snapshot = self.incident(incident).ok_or(IncidentError::Unknown)?;
        dossier(&self.shared, snapshot).await.map_err(|error| IncidentError::Unavailable(error.to_string()))
    }
}

impl From<Refusal<Rejection>> for IncidentError {
    fn from(refusal: Refusal<Rejection>) -> Self {
        match refusal {
            Refusal::Unknown => Self::Unknown,
            Refusal::Rejected(rejection) => Self::Rejected(rejection),
            Refusal::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

//! What others may ask of the engine about incidents.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::info;

use super::dossier::dossier;
use super::handle::Handle;
use super::incident::{Incident, with_runs};
use super::incident_ports::{Dossier, IncidentError, IncidentSnapshot, Incidents, StuckIncident};
use super::index::Refusal;
use super::load;
use super::shared::Shared;
use crate::domain::ChannelId;
use crate::domain::incident::{IncidentId, Input, OpenRequest, Rejection, State, next_id, open};

/// Opens an incident, or returns the one that the same run has called for before: a run asks again after a crash.
pub(super) async fn open_incident(shared: &Arc<Shared>, request: OpenRequest) -> Result<IncidentId, IncidentError> {
    let active = shared.activity.begin();
    let opening = Arc::clone(&shared.opening).lock_owned().await;
    if let Some(known) = request.run.as_ref().and_then(|run| find(shared, |state| state.run() == Some(run))) {
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
        let of_thread = || {
            let runs = self.shared.runs.read();
            runs.values().find(|entry| entry.state.thread == Some(channel)).and_then(|entry| entry.state.incident)
        };
        incident_in(&self.shared, channel).or_else(of_thread)
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

//! What a post-mortem is written from: an incident, its runs, and what happened to them, read from the journal.

use super::codec::stream;
use super::incident_ports::{Dossier, IncidentSnapshot};
use super::run::Run;
use super::shared::Shared;
use crate::domain::run::Event;
use crate::domain::{RunId, Timestamp};
use crate::store::StoreError;

/// Reads the histories of the incident's runs, and the journal's head.
///
/// # Errors
/// [`StoreError`] if the journal cannot be read now.
pub(super) async fn dossier(shared: &Shared, incident: IncidentSnapshot) -> Result<Dossier, StoreError> {
    let mut histories = Vec::with_capacity(incident.runs.len());
    for run in &incident.runs {
        let id = run.state.id().clone();
        let events = history(shared, &id).await?;
        histories.push((id, events));
    }
    let journal_head = shared.ports.journal.head().await?.hash.to_string();
    Ok(Dossier { incident, histories, journal_head })
}

/// What happened to a run, in order. A record that cannot be read is left out: its run is set aside and says so.
pub(super) async fn history(shared: &Shared, run: &RunId) -> Result<Vec<(Timestamp, Event)>, StoreError> {
    let records = shared.ports.journal.load(&stream::<Run>(run)).await?;
    Ok(records.iter().filter_map(|record| Some((record.at, serde_json::from_str(&record.body).ok()?))).collect())
}

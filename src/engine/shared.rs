//! What all tasks of the engine share: the ports, the indexes, and the right to act.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::incident::Incident;
use super::incident_ports::{IncidentChat, Outside, Tracker};
use super::index::Index;
use super::observe;
use super::ports::{Chat, Performer};
use super::run::Run;
use crate::clock::{Ids, SharedClock};
use crate::domain::{Timestamp, incident};
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
    /// The chat as incidents need it.
    pub incident_chat: Arc<dyn IncidentChat>,
    /// Who is woken, and where the public reads.
    pub outside: Arc<dyn Outside>,
    /// Where issues stand.
    pub tracker: Arc<dyn Tracker>,
    /// What the team has agreed on.
    pub policies: Policies,
}

/// What the team has agreed on. Pinned in whatever begins from now on.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// About incidents.
    pub incidents: incident::Policy,
    /// About runs.
    pub runs: RunPolicy,
}

/// What the team has agreed on about runs.
#[derive(Debug, Clone, Copy)]
pub struct RunPolicy {
    /// How often a live run gives a status update, from its first effect on; `None`: never.
    pub beat: Option<crate::domain::Duration>,
    /// How severe the incident is that a run calls for which goes badly; `None`: it calls for none.
    pub incident: Option<incident::Severity>,
}

impl Default for RunPolicy {
    /// A status update every 15 minutes, and a SEV2 incident.
    fn default() -> Self {
        Self { beat: Some(crate::domain::Duration::from_minutes(15)), incident: Some(incident::Severity::Sev2) }
    }
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
    pub(super) runs: Index<Run>,
    pub(super) incidents: Index<Incident>,
    pub(super) activity: Activity,
    /// The cards whose criteria are being measured again.
    pub(super) under_measurement: observe::UnderMeasurement,
    /// Cancelled when the engine must stop acting.
    pub(super) stop: CancellationToken,
    /// Why it must, unless it was told to.
    pub(super) forced: Forced,
    /// Serialises openings: two incidents must not both take the next number.
    pub(super) opening: Arc<tokio::sync::Mutex<()>>,
    /// Serialises starts: two runs must not both find the lock free.
    pub(super) starting: Arc<tokio::sync::Mutex<()>>,
}

/// What the engine is stopped by when nobody told it to: the first reason counts. Clones are one and the same.
#[derive(Clone)]
pub(super) struct Forced {
    stop: CancellationToken,
    why: Arc<OnceLock<String>>,
}

impl Forced {
    pub(super) fn new(stop: &CancellationToken) -> Self {
        Self { stop: stop.clone(), why: Arc::default() }
    }

    /// Stops everything at once.
    pub(super) fn stop(&self, why: &str) {
        // Told to stop by then: what it met on its way out is not why.
        if !self.stop.is_cancelled() {
            let _ = self.why.set(why.to_owned());
        }
        self.stop.cancel();
    }

    /// Why it stopped; `None` if it was told to, or has not.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }
}

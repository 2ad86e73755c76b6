//! What all tasks of the engine share: the ports, the indexes, and the right to act.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::index::Index;
use super::observe;
use super::ports::{Chat, Performer};
use super::run::Run;
use crate::clock::{Ids, SharedClock};
use crate::domain::Timestamp;
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
    pub(super) runs: Index<Run>,
    pub(super) activity: Activity,
    /// The cards whose criteria are being measured again.
    pub(super) under_measurement: observe::UnderMeasurement,
    /// Cancelled when the engine must stop acting: shut down, or the lease was lost.
    pub(super) stop: CancellationToken,
    /// Serialises starts: two runs must not both find the lock free.
    pub(super) starting: Arc<tokio::sync::Mutex<()>>,
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }
}

//! The right to act: kept while the engine runs, and everything stopped at once when it is lost.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::shared::Forced;
use crate::store::{Lease, LeaseError, SharedJournal};

/// How long a lease lives without being prolonged. A holder that was killed on this machine is proven dead at
/// once; one on another machine is waited for this long.
pub const LEASE_TTL: Duration = Duration::from_secs(30);

/// Prolongs the lease until `stop`, which it forces itself when the lease is lost or can no longer be counted on.
/// `asked` is the instant before the lease was asked for: it lives for `ttl` from then at least.
/// Measured in real time, whatever the engine's clock does.
pub(super) async fn keep(
    journal: SharedJournal,
    lease: Lease,
    ttl: Duration,
    asked: Instant,
    stop: CancellationToken,
    forced: Forced,
) {
    let mut sure_until = asked + ttl;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until((Instant::now() + ttl / 3).min(sure_until - ttl / 6)) => {}
        }
        let asked = Instant::now();
        // Another process may take it from `sure_until` on: stop before, not after, also if the store never answers.
        let last_moment = sure_until - ttl / 6;
        let Ok(renewed) = tokio::time::timeout_at(last_moment, journal.renew_lease(&lease, ttl)).await else {
            error!("the lease could not be prolonged in time; everything is stopped");
            return forced.stop("the lease could not be prolonged in time, so that another process may act on this journal soon");
        };
        match renewed {
            Ok(()) => sure_until = asked + ttl,
            Err(LeaseError::Lost | LeaseError::Held { .. } | LeaseError::Ttl) => {
                error!("the lease was lost: another process may act now; everything is stopped");
                return forced.stop("the lease was lost: another process may act on this journal now");
            }
            Err(LeaseError::Store(error)) => {
                warn!(%error, "the lease could not be prolonged");
            }
        }
    }
}

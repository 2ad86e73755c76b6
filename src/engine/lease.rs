//! The right to act: kept while the engine runs, and everything stopped at once when it is lost.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::store::{Lease, LeaseError, SharedJournal};

/// How long a lease lives without being prolonged. A holder that was killed on this machine is proven dead at
/// once; one on another machine is waited for this long.
pub const LEASE_TTL: Duration = Duration::from_secs(30);

/// Prolongs the lease until `stop`; cancels `stop` itself when the lease is lost or can no longer be counted on.
/// Measured in real time, whatever the engine's clock does.
pub(super) async fn keep(journal: SharedJournal, lease: Lease, stop: CancellationToken) {
    let mut sure_until = Instant::now() + LEASE_TTL;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LEASE_TTL / 3) => {}
        }
        let asked = Instant::now();
        match journal.renew_lease(&lease, LEASE_TTL).await {
            Ok(()) => sure_until = asked + LEASE_TTL,
            Err(LeaseError::Lost | LeaseError::Held { .. } | LeaseError::Ttl) => {
                error!("the lease was lost: another process may act now; everything is stopped");
                stop.cancel();
                return;
            }
            Err(LeaseError::Store(error)) => {
                warn!(%error, "the lease could not be prolonged");
                // Another process may take it from then on: stop before, not after.
                if Instant::now() + LEASE_TTL / 6 >= sure_until {
                    error!("the lease can no longer be counted on; everything is stopped");
                    stop.cancel();
                    return;
                }
            }
        }
    }
}

//! Keeps live messages current: one round at a time, coalesced, never holding anything up.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;
use tracing::debug;

use super::aggregate::Aggregate;
use super::ports::{Freshness, PortError};
use super::shared::Shared;
use crate::domain::{ChannelId, MessageId};

/// Brings the live messages up to date whenever something has changed, until nothing is owed any more.
pub(super) async fn keep_current<A: Aggregate>(shared: Arc<Shared>, id: A::Id, changed: Arc<Notify>) {
    let mut behind = false;
    let mut lost = BTreeSet::new();
    loop {
        if behind {
            // A view that could not be brought up to date is tried again, seldom enough not to add to the trouble.
            let again = tokio::time::sleep(shared.pace.refresh_every * BEHIND_FACTOR);
            tokio::select! { () = again => {}, () = changed.notified() => {} }
        } else {
            changed.notified().await;
        }
        let over = is_over::<A>(&shared, &id);
        behind = !round::<A>(&shared, &id, &mut lost).await;
        if (over && !behind) || shared.stop.is_cancelled() {
            return;
        }
        tokio::time::sleep(shared.pace.refresh_every).await;
    }
}

/// How many times the usual pause passes before a round that failed is made again.
const BEHIND_FACTOR: u32 = 5;

/// Whether nobody changes this one any more. Asked before the round, so that the round shows the end.
fn is_over<A: Aggregate>(shared: &Shared, id: &A::Id) -> bool {
    A::index(shared).read().get(id).is_none_or(|entry| entry.mailbox.is_none())
}

/// Whether every live message shows the present state now. `lost` are those that are gone for good: an old card
/// that somebody deleted is not posted again, and not asked for again.
async fn round<A: Aggregate>(shared: &Shared, id: &A::Id, lost: &mut BTreeSet<(ChannelId, MessageId)>) -> bool {
    let Some(snapshot) = A::index(shared).snapshot(id) else { return true };
    let mut current = true;
    for visible in A::visible(&snapshot.state).into_iter().filter(|visible| visible.live) {
        let place = (visible.at.channel, visible.at.message);
        if lost.contains(&place) {
            continue;
        }
        match A::refresh(shared, &snapshot, &visible.key).await {
            Ok(Freshness::Current) => {}
            Ok(Freshness::Lost) | Err(PortError::Gone { .. }) => {
                lost.insert(place);
                A::index(shared).post(id, A::lost(visible.key, visible.at));
            }
            Err(error @ (PortError::Later { .. } | PortError::Refused { .. })) => {
                debug!(%id, key = %visible.key, %error, "a live message could not be brought up to date");
                current = false;
            }
        }
    }
    current
}

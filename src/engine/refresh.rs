//! Keeps a run's live messages current: one round at a time, coalesced, never holding anything up.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;
use tracing::debug;

use super::ports::{Freshness, PortError};
use super::shared::Shared;
use crate::domain::run::Input;
use crate::domain::{ChannelId, MessageId, RunId};

/// Brings the live messages up to date whenever something has changed, until the run owes nothing any more.
pub(super) async fn keep_current(shared: Arc<Shared>, run: RunId, changed: Arc<Notify>) {
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
        let over = is_over(&shared, &run);
        behind = !round(&shared, &run, &mut lost).await;
        if (over && !behind) || shared.stop.is_cancelled() {
            return;
        }
        tokio::time::sleep(shared.pace.refresh_every).await;
    }
}

/// How many times the usual pause passes before a round that failed is made again.
const BEHIND_FACTOR: u32 = 5;

/// Whether nobody changes this run any more. Asked before the round, so that the round shows the end.
fn is_over(shared: &Shared, run: &RunId) -> bool {
    let runs = shared.runs.read().expect("no code panics while it holds the index");
    runs.get(run).is_none_or(|entry| entry.mailbox.is_none())
}

/// Whether every live message shows the present state now. `lost` are those that are gone for good: an old card
/// that somebody deleted is not posted again, and not asked for again.
async fn round(shared: &Shared, run: &RunId, lost: &mut BTreeSet<(ChannelId, MessageId)>) -> bool {
    let Some(snapshot) = shared.snapshot(run) else { return true };
    let mut current = true;
    let live = snapshot.state.owed.iter().filter(|owed| owed.kind.is_live());
    for (owed, message) in live.filter_map(|owed| Some((owed, owed.posted?))) {
        if lost.contains(&(message.channel, message.message)) {
            continue;
        }
        match shared.ports.chat.refresh(&snapshot, &owed.key).await {
            Ok(Freshness::Current) => {}
            Ok(Freshness::Lost) | Err(PortError::Gone { .. }) => {
                lost.insert((message.channel, message.message));
                shared.post(run, Input::MessageLost(owed.key.clone(), message), None);
            }
            Err(error @ (PortError::Later { .. } | PortError::Refused { .. })) => {
                debug!(%run, key = %owed.key, %error, "a live message could not be brought up to date");
                current = false;
            }
        }
    }
    current
}

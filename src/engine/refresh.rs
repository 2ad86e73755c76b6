//! Keeps a run's live messages current: one round at a time, coalesced, never holding anything up.

use std::sync::Arc;

use tokio::sync::Notify;
use tracing::debug;

use super::ports::{Freshness, PortError};
use super::shared::Shared;
use crate::domain::RunId;
use crate::domain::run::Input;

/// Brings the live messages up to date whenever something has changed, until the run owes nothing any more.
pub(super) async fn keep_current(shared: Arc<Shared>, run: RunId, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        let over = is_over(&shared, &run);
        round(&shared, &run).await;
        if over || shared.stop.is_cancelled() {
            return;
        }
        tokio::time::sleep(shared.pace.refresh_every).await;
    }
}

/// Whether nobody changes this run any more. Asked before the round, so that the round shows the end.
fn is_over(shared: &Shared, run: &RunId) -> bool {
    let runs = shared.runs.read().expect("no code panics while it holds the index");
    runs.get(run).is_none_or(|entry| entry.mailbox.is_none())
}

async fn round(shared: &Shared, run: &RunId) {
    let Some(snapshot) = shared.snapshot(run) else { return };
    let live = snapshot.state.owed.iter().filter(|owed| owed.kind.is_live() && owed.posted.is_some());
    for owed in live {
        match shared.ports.chat.refresh(&snapshot, &owed.key).await {
            Ok(Freshness::Current) => {}
            Ok(Freshness::Lost) | Err(PortError::Gone { .. }) => {
                shared.post(run, Input::MessageLost(owed.key.clone()), None);
            }
            // The next change brings it up to date; a view is never worth holding anything up for.
            Err(error @ (PortError::Later { .. } | PortError::Refused { .. })) => {
                debug!(%run, key = %owed.key, %error, "a live message could not be brought up to date");
            }
        }
    }
}

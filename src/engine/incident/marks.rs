//! 📌 on a message of an incident's channel: a hint, after which the engine looks for itself.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tracing::{debug, warn};

use super::with_runs;
use crate::domain::ChannelId;
use crate::domain::incident::{IncidentId, Input};
use crate::engine::shared::Shared;

/// How many incidents' marks are read at once. After a restart there may be hundreds to look at, and what is said meanwhile
/// goes the same way; a look that has to wait too long is given up.
const LOOKS_AT_ONCE: usize = 4;

/// Reads the marks of the incident that lives in this channel, or of all that are open, and puts on their timelines
/// what is not there yet. Returns at once.
pub(crate) fn look_for_marks(shared: &Arc<Shared>, channel: Option<ChannelId>) {
    let incidents = in_channels(shared, channel);
    let (active, stop) = (shared.activity.begin(), shared.stop.clone());
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let looks = stream::iter(incidents).for_each_concurrent(LOOKS_AT_ONCE, move |incident| {
            let shared = Arc::clone(&shared);
            async move { look(&shared, incident).await }
        });
        // Hundreds of looks must not hold up the end; the next process looks again.
        let _ = stop.run_until_cancelled(looks).await;
        drop(active);
    });
}

fn in_channels(shared: &Shared, channel: Option<ChannelId>) -> Vec<IncidentId> {
    let incidents = shared.incidents.read();
    let wanted = |here: Option<ChannelId>| here.is_some() && channel.is_none_or(|channel| here == Some(channel));
    // A message of the fallback channel does not say which incident it belongs to.
    let marked = incidents.iter().filter(|(_, entry)| {
        let open = entry.mailbox.is_some() && entry.state.archived_at.is_none();
        open && entry.state.has_own_channel() && wanted(entry.state.channel)
    });
    marked.map(|(id, _)| *id).collect()
}

async fn look(shared: &Shared, id: IncidentId) {
    let Some(snapshot) = shared.incidents.snapshot(&id) else { return };
    let incident = with_runs(shared, &snapshot);
    match shared.ports.incident_chat.read_marks(&incident).await {
        Ok(marks) => {
            for mark in marks.into_iter().rev() {
                let input = Input::MarkMessage { by: mark.by, message: mark.message, author: mark.author, text: None };
                if let Err(refusal) = shared.incidents.send(&id, input).await {
                    debug!(%id, %refusal, "a mark changes nothing");
                }
            }
        }
        Err(error) => warn!(%id, %error, "the marked messages could not be read; the next reconnection tries again"),
    }
}

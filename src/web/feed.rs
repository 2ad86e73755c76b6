//! The news that pages wait for: that something was journalled.

use tokio::sync::watch;

use crate::metrics::Observer;
use crate::store::Record;

/// Tells how far the journal is. What is new there, the pages read for themselves.
pub struct Feed(watch::Sender<u64>);

impl Default for Feed {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Feed {
    /// The position of the newest record, now and from now on.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Observer for Feed {
    fn saw(&self, record: &Record, _: bool) {
        self.0.send_if_modified(|newest| {
            let newer = record.position > *newest;
            *newest = record.position.max(*newest);
            newer
        });
    }
}

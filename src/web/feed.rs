//! The news that pages wait for: that something was journalled; and the archive, which grows with it.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

use super::archive::Archive;
use crate::metrics::Observer;
use crate::store::Record;

/// Tells how far the journal is, and keeps what lists need of it. What is new on a page, the page reads for itself.
pub struct Feed {
    newest: watch::Sender<u64>,
    archive: RwLock<Archive>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { newest: watch::Sender::new(0), archive: RwLock::default() }
    }
}

impl Feed {
    /// The position of the newest record, now and from now on.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// To be held for a moment only: whoever appends waits for it.
    pub(super) fn archive(&self) -> RwLockReadGuard<'_, Archive> {
        self.archive.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Feed {
    fn saw(&self, record: &Record, _: bool) {
        self.archive.write().unwrap_or_else(PoisonError::into_inner).take(record);
        self.newest.send_if_modified(|newest| {
            let newer = record.position > *newest;
            *newest = record.position.max(*newest);
            newer
        });
    }
}

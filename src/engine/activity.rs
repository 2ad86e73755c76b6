//! Counts what is going on, so that a shutdown can wait for it and a test can tell when nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many inputs are queued and effects are being performed. Clones share one count.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    count: AtomicUsize,
    idle: Notify,
}

/// Counts as long as it lives.
#[derive(Debug)]
pub(super) struct Active(Arc<Inner>);

impl Activity {
    pub(super) fn begin(&self) -> Active {
        self.inner.count.fetch_add(1, Ordering::SeqCst);
        Active(Arc::clone(&self.inner))
    }

    /// Returns when nothing is going on at that moment.
    pub(super) async fn idle(&self) {
        loop {
            let notified = self.inner.idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.inner.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

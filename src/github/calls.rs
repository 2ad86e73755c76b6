//! How requests to GitHub came out, counted for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::trouble::Failure;

/// Counts of requests by outcome, since the start. A clone shows the same counts.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    limited: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Calls {
    /// Each outcome by its name in metrics, those at nought included: `done`; `limited`, by a rate limit; `refused`,
    /// with another 3xx or 4xx; `failed`, with 5xx or no answer that can be read.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let Counts { done, limited, refused, failed } = &*self.0;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("done", read(done)), ("limited", read(limited)), ("refused", read(refused)), ("failed", read(failed))]
    }

    pub(super) fn count<T>(&self, answer: &Result<T, Failure>) {
        let count = match answer {
            Ok(_) => &self.0.done,
            Err(failure) if failure.is_limited() => &self.0.limited,
            Err(Failure::Answer(answer)) if answer.status < 500 => &self.0.refused,
            Err(Failure::Answer(_) | Failure::Unanswered { .. }) => &self.0.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

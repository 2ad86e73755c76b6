//! An effect under way: a task of its own, tried until it is done or no longer owed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::activity::Active;
use super::aggregate::{Aggregate, SnapshotOf};
use super::ports::PortError;
use super::shared::Shared;
use crate::clock;
use crate::domain::MessageKey;

pub(super) struct Flight<A: Aggregate> {
    pub(super) shared: Arc<Shared>,
    pub(super) id: A::Id,
    pub(super) effect: A::Effect,
    pub(super) cancel: CancellationToken,
    /// Whether a message may have been posted already.
    pub(super) search: bool,
    pub(super) views: Arc<Notify>,
    /// Set once chat has refused the message until a person has mended something: the next one gets its turn.
    pub(super) refused: AtomicBool,
}

impl<A: Aggregate> Flight<A> {
    /// What is done when the effect's own code has panicked.
    pub(super) async fn panicked(&self, active: &mut Option<Active>) {
        error!(id = %self.id, effect = A::effect_id(&self.effect), "a defect: the effect's code has panicked");
        if let Some(input) = A::cut_off(&self.effect) {
            return self.report(input);
        }
        *active = None;
        self.wait(self.shared.pace.retry_max).await;
    }

    pub(super) fn snapshot(&self) -> Option<SnapshotOf<A>> {
        A::index(&self.shared).snapshot(&self.id)
    }

    pub(super) fn report(&self, input: A::Input) {
        A::index(&self.shared).post(&self.id, input);
    }

    pub(super) async fn post_message(&self, active: &mut Option<Active>, key: MessageKey) {
        let mut pause = self.shared.pace.retry_first;
        let mut search = self.search;
        while let Some(snapshot) = self.snapshot() {
            match A::post(&self.shared, &snapshot, &key, search).await {
                Ok(posted) => return self.report(A::posted(key, posted)),
                Err(error @ PortError::Refused { .. }) => {
                    warn!(id = %self.id, %key, %error, "not posted; the messages after it do not wait for it");
                    A::refused(&key, &error.to_string()).into_iter().for_each(|input| self.report(input));
                    return self.refused.store(true, Ordering::Release);
                }
                Err(error @ (PortError::Later { .. } | PortError::Gone { .. })) => {
                    // The answer may have been lost after the message was made.
                    search = true;
                    if let (PortError::Gone { .. }, Some(input)) = (&error, A::displaced(&snapshot.state, &key)) {
                        self.report(input);
                    }
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits before the next try, longer each time. `false` if the effect is no longer owed.
    pub(super) async fn later(&self, active: &mut Option<Active>, error: &PortError, pause: &mut Duration) -> bool {
        let (least, seldom) = match error {
            PortError::Later { after, .. } => (*after, false),
            PortError::Gone { .. } => (None, false),
            PortError::Refused { .. } => (None, true),
        };
        warn!(id = %self.id, effect = A::effect_id(&self.effect), %error, "not done yet");
        *active = None;
        if let Some(least) = least {
            // The other side counts real seconds, whatever our clock does.
            tokio::select! {
                () = self.cancel.cancelled() => return false,
                () = tokio::time::sleep(least) => {}
            }
        }
        let pace = &self.shared.pace;
        let duration = if seldom { pace.retry_max } else { *pause };
        *pause = (*pause * 2).min(pace.retry_max);
        let owed = self.wait(duration).await;
        *active = Some(self.shared.activity.begin());
        owed
    }

    /// Waits, or returns early with `false` if the flight is cancelled.
    async fn wait(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.cancel.cancelled() => false,
            () = clock::sleep(&*self.shared.ports.clock, duration) => true,
        }
    }
}

//! A journal that can be away, lose its answers, and die around every append.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pointsman::clock::FakeClock;
use pointsman::domain::StreamId;
use pointsman::store::{
    AppendError, Fence, Head, Holder, Journal, Lease, LeaseError, NewRecord, RawRecord, Record, SharedJournal, StoreError,
};

use super::points::Points;

/// What is wrong with the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is written.
    Away,
    /// It is written, and the answer is lost.
    AnswerLost,
    /// Nothing is written, and nobody knows.
    LostWithAnswer,
    /// The database takes nothing any more.
    Refused,
    /// The records cannot be stored as they are.
    Invalid,
}

/// Faults that outlive one engine.
#[derive(Default)]
pub(crate) struct Faults {
    /// One for each of the next appends, once [`Faults::skip`] of them have gone well.
    pub(crate) appends: Mutex<VecDeque<Fault>>,
    /// How many appends still go well.
    pub(crate) skip: AtomicUsize,
    /// How long the next append takes by the engine's clock.
    pub(crate) slow: Mutex<Option<(FakeClock, Duration)>>,
    /// Whether nothing can be written or read at all.
    pub(crate) away: AtomicBool,
    /// Whether no stream can be read.
    pub(crate) loads_away: AtomicBool,
    /// Whether prolonging the lease never returns.
    pub(crate) renewals_hang: AtomicBool,
}

impl Faults {
    fn next_append(&self) -> Option<Fault> {
        let mut appends = self.appends.lock().unwrap();
        let skips = self.skip.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if skips { None } else { appends.pop_front() }
    }
}

/// The real journal behind points and faults.
pub(crate) struct TestJournal {
    pub(crate) inner: SharedJournal,
    pub(crate) points: Arc<Points>,
    pub(crate) faults: Arc<Faults>,
}

impl TestJournal {
    fn away() -> StoreError {
        StoreError::Unavailable { doing: "testing", place: "test".to_owned(), reason: "away".to_owned() }
    }

    fn refused() -> StoreError {
        StoreError::Refused { doing: "testing", place: "test".to_owned(), reason: "permission denied".to_owned() }
    }

    fn is_away(&self) -> bool {
        self.faults.away.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Journal for TestJournal {
    async fn append(
        &self,
        fence: Fence,
        stream: &StreamId,
        expected_seq: u64,
        records: &[NewRecord],
    ) -> Result<Vec<Record>, AppendError> {
        let kinds: Vec<&str> = records.iter().map(|record| record.kind.as_str()).collect();
        self.points.pass(&format!("before {kinds:?}")).await;
        let fault = self.faults.next_append();
        let lost = || AppendError::OutcomeUnknown { stream: stream.clone(), reason: "lost".to_owned() };
        if self.is_away() || fault == Some(Fault::Away) {
            return Err(AppendError::Unavailable(Self::away()));
        }
        if fault == Some(Fault::LostWithAnswer) {
            return Err(lost());
        }
        if fault == Some(Fault::Refused) {
            return Err(AppendError::Failed(Self::refused()));
        }
        if fault == Some(Fault::Invalid) {
            return Err(AppendError::Invalid { reason: "as the test wants it".to_owned() });
        }
        let stored = self.inner.append(fence, stream, expected_seq, records).await?;
        if let Some((clock, duration)) = self.faults.slow.lock().unwrap().take() {
            clock.advance(duration);
        }
        self.points.pass(&format!("after {kinds:?}")).await;
        if fault == Some(Fault::AnswerLost) {
            return Err(lost());
        }
        Ok(stored)
    }

    async fn load(&self, stream: &StreamId) -> Result<Vec<Record>, StoreError> {
        self.points.alive().await;
        let away = self.is_away() || self.faults.loads_away.load(Ordering::SeqCst);
        if away { Err(Self::away()) } else { self.inner.load(stream).await }
    }

    async fn read(&self, after_position: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        self.inner.read(after_position, limit).await
    }

    async fn read_raw(&self, after_position: Option<i64>, limit: u32) -> Result<Vec<RawRecord>, StoreError> {
        self.inner.read_raw(after_position, limit).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        if self.is_away() { Err(Self::away()) } else { self.inner.head().await }
    }

    async fn acquire_lease(&self, holder: &Holder, ttl: Duration) -> Result<Lease, LeaseError> {
        self.inner.acquire_lease(holder, ttl).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError> {
        if self.faults.renewals_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner.renew_lease(lease, ttl).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.inner.release_lease(lease).await
    }
}

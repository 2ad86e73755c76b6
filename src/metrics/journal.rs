//! The journal that tells: every append is timed, and whoever listens sees each record once it is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::Metrics;
use crate::domain::StreamId;
use crate::store::{
    AppendError, Fence, Head, Holder, Journal, Lease, LeaseError, NewRecord, RawRecord, Record, SharedJournal, StoreError,
};

/// Whoever wants to see what is journalled. Called in the middle of an append: it must be quick and may not fail.
pub trait Observer: Send + Sync + 'static {
    /// A record is durable. `news` if it was appended by this process just now, which is told once; else it was read.
    fn saw(&self, record: &Record, news: bool);
}

/// A journal whose appends are measured and told. It changes nothing of what is written.
pub struct MeasuredJournal {
    inner: SharedJournal,
    metrics: Arc<Metrics>,
    observers: Vec<Arc<dyn Observer>>,
    /// The streams with an append whose outcome nobody knows yet, and how many events were there before it: what the
    /// next load finds behind them is news.
    doubtful: Mutex<BTreeMap<StreamId, u64>>,
}

impl MeasuredJournal {
    /// Measures `inner`.
    #[must_use]
    pub fn new(inner: SharedJournal, metrics: Arc<Metrics>, observers: Vec<Arc<dyn Observer>>) -> Self {
        Self { inner, metrics, observers, doubtful: Mutex::default() }
    }

    fn tell(&self, records: &[Record], news: bool) {
        for record in records {
            for observer in &self.observers {
                observer.saw(record, news);
            }
        }
    }

    fn doubtful(&self) -> std::sync::MutexGuard<'_, BTreeMap<StreamId, u64>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outcome_of(appended: &Result<Vec<Record>, AppendError>) -> &'static str {
    match appended {
        Ok(_) => "appended",
        Err(AppendError::Conflict { .. }) => "conflict",
        Err(AppendError::Fenced { .. }) => "fenced",
        Err(AppendError::OutcomeUnknown { .. }) => "unknown",
        Err(_) => "failed",
    }
}

#[async_trait]
impl Journal for MeasuredJournal {
    async fn append(
        &self,
        fence: Fence,
        stream: &StreamId,
        expected_seq: u64,
        records: &[NewRecord],
    ) -> Result<Vec<Record>, AppendError> {
        let begun = Instant::now();
        let appended = self.inner.append(fence, stream, expected_seq, records).await;
        self.metrics.appended(outcome_of(&appended), begun.elapsed());
        match &appended {
            Ok(stored) => self.tell(stored, true),
            Err(AppendError::OutcomeUnknown { .. }) => drop(self.doubtful().insert(stream.clone(), expected_seq)),
            Err(_) => {}
        }
        appended
    }

    async fn load(&self, stream: &StreamId) -> Result<Vec<Record>, StoreError> {
        let records = self.inner.load(stream).await?;
        let known = self.doubtful().remove(stream);
        if let Some(known) = known {
            let unheard: Vec<Record> = records.iter().filter(|record| record.seq > known).cloned().collect();
            self.tell(&unheard, true);
        }
        Ok(records)
    }

    async fn read(&self, after_position: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        let records = self.inner.read(after_position, limit).await?;
        self.tell(&records, false);
        Ok(records)
    }

    async fn read_raw(&self, after_position: Option<i64>, limit: u32) -> Result<Vec<RawRecord>, StoreError> {
        self.inner.read_raw(after_position, limit).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.inner.head().await
    }

    async fn acquire_lease(&self, holder: &Holder, ttl: Duration) -> Result<Lease, LeaseError> {
        self.inner.acquire_lease(holder, ttl).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError> {
        self.inner.renew_lease(lease, ttl).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.inner.release_lease(lease).await
    }
}

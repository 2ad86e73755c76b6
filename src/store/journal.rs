//! The [`Journal`] trait and the words it speaks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{Hash, StreamId, Timestamp};

use super::error::{AppendError, LeaseError, StoreError};
use super::holder::Holder;

/// The largest body of a record, in bytes. The largest event pins a plan with its scripts; eight times
/// what such a plan may hold, and small enough to be loaded whole on every resume.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The longest kind of a record, in bytes: an event's name.
pub const KIND_BYTES_MAX: usize = 100;

/// The most records in one append: one decision yields a few, so this only stops a runaway.
pub const APPEND_RECORDS_MAX: usize = 1_000;

/// A page of [`Journal::read`] ends early once its bodies hold this much, so that a page fits in memory
/// whatever the bodies are.
pub const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The longest lease. Beyond this a dead holder on another machine would stop everything for too long.
pub const LEASE_TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// One fact, as it is in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The place in the whole journal: 1, 2, 3, ... without gaps.
    pub position: u64,
    /// Whose fact it is.
    pub stream: StreamId,
    /// The place in the stream: 1, 2, 3, ... without gaps.
    pub seq: u64,
    /// When it was decided, UTC, in whole milliseconds.
    pub at: Timestamp,
    /// The event's name, for people and export; the body alone is decoded.
    pub kind: String,
    /// The event: one line of JSON text, byte for byte as it was given.
    pub body: String,
    /// Covers everything above and the hash of the record before.
    pub hash: Hash,
}

/// A fact that is to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// When it was decided, UTC. Stored in whole milliseconds; finer parts are cut off.
    pub at: Timestamp,
    /// The event's name, [`KIND_BYTES_MAX`] bytes at most.
    pub kind: String,
    /// The event: one line of JSON text, [`BODY_BYTES_MAX`] bytes at most.
    pub body: String,
}

/// A row of the journal exactly as the database holds it, sensible or not: what the audit reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// The place in the whole journal.
    pub position: i64,
    /// The stream's name, as bytes.
    pub stream: Vec<u8>,
    /// The place in the stream.
    pub seq: i64,
    /// Milliseconds since 1970, UTC.
    pub at_ms: i64,
    /// The event's name, as bytes.
    pub kind: Vec<u8>,
    /// The event, as bytes.
    pub body: Vec<u8>,
    /// The hash of the record before, in hex digits.
    pub prev_hash: Vec<u8>,
    /// The record's own hash, in hex digits.
    pub hash: Vec<u8>,
}

/// The end of the journal: whoever knows it can tell later whether something was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The position of the last record; 0 if there is none.
    pub position: u64,
    /// The hash of the last record; [`Hash::GENESIS`] if there is none.
    pub hash: Hash,
}

/// Proves to an append that its writer holds, or held, a lease. Comes from a [`Lease`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    token: u64,
}

impl Fence {
    /// The number, for display: a later lease has a greater one.
    #[must_use]
    pub fn token(self) -> u64 {
        self.token
    }
}

/// The right to act, until it expires, is released or is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    token: u64,
    holder: Holder,
    until: Timestamp,
}

impl Lease {
    pub(super) fn new(token: u64, holder: Holder, until: Timestamp) -> Self {
        Self { token, holder, until }
    }

    /// What every append under this lease shows.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { token: self.token }
    }

    /// Who holds it.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// When it expired when it was acquired, by the *store's* clock (PostgreSQL: the server's). To know when
    /// to stop, measure the time to live from before the call on a clock of your own.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }
}

/// An append-only, hash-chained sequence of records, in streams, with one writer at a time.
///
/// It knows nothing of what the records mean. Dropping the future of a write does not stop the write.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends `records` to `stream`, all or none, in order, and returns them as stored.
    /// `expected_seq` is the number of events already there (0 for a new stream). No records, no write:
    /// then only the fence and `expected_seq` are checked.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] if another writer was first, [`AppendError::Fenced`] if the lease was lost;
    /// in every case but [`AppendError::OutcomeUnknown`] nothing is written.
    async fn append(
        &self,
        fence: Fence,
        stream: &StreamId,
        expected_seq: u64,
        records: &[NewRecord],
    ) -> Result<Vec<Record>, AppendError>;

    /// All records of `stream`, in order; empty if there is no such stream.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], or [`StoreError::Corrupt`] if a record cannot be decoded. Hashes are not
    /// checked here: [`super::audit::verify`] does.
    async fn load(&self, stream: &StreamId) -> Result<Vec<Record>, StoreError>;

    /// The records after `after_position` (0: from the start), in the journal's order: at most `limit`, and
    /// fewer if their bodies exceed [`PAGE_BYTES_MAX`]. Only an empty page is the end.
    ///
    /// # Errors
    /// As [`Journal::load`].
    async fn read(&self, after_position: u64, limit: u32) -> Result<Vec<Record>, StoreError>;

    /// The rows after `after_position` (`None`: from the very first) as they are, paged like [`Journal::read`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn read_raw(&self, after_position: Option<i64>, limit: u32) -> Result<Vec<RawRecord>, StoreError>;

    /// The last record's position and hash.
    ///
    /// # Errors
    /// As [`Journal::load`].
    async fn head(&self) -> Result<Head, StoreError>;

    /// Takes the lease if nobody has it, if it has expired, or if its holder is proven dead. Fences off
    /// every earlier holder.
    ///
    /// # Errors
    /// [`LeaseError::Held`] with who and until when, also if it is this very process.
    async fn acquire_lease(&self, holder: &Holder, ttl: Duration) -> Result<Lease, LeaseError>;

    /// Prolongs the lease to `ttl` from now, also if it has expired but nobody has taken it since.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] if it was passed on or released: stop acting. After [`LeaseError::Store`] the lease
    /// runs on as before.
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError>;

    /// Gives the lease back, so that the next holder need not wait; appends under it are fenced from now on.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] if it was passed on or released before.
    async fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError>;
}

/// A journal that many tasks use.
pub type SharedJournal = Arc<dyn Journal>;

//! The journal: append-only, hash-chained, fenced; in SQLite or PostgreSQL.
//!
//! Invariants:
//! - A record is never changed or removed; triggers in the databases refuse it, and [`audit`] finds it.
//! - One chain runs over the whole journal: each hash covers the record and the hash before it.
//! - An append is all or none, and happens only under the newest, unreleased lease.
//! - What is loaded is, byte for byte, what was appended.
//!
//! One course of every write, `sql_journal`, over two databases, `db`; the contract suite runs on both.
//! Absent on purpose: what the records mean. A body is one line of JSON text, and nothing here looks into it.

pub mod audit;

mod address;
mod chain;
mod db;
mod error;
mod holder;
mod journal;
mod migrate;
mod open;
#[doc(hidden)] // for the contract suite, which prepares each on both databases
pub mod queries;
mod sql_journal;

pub use error::{AppendError, LeaseError, StoreError};
pub use holder::Holder;
pub use journal::{
    APPEND_RECORDS_MAX, BODY_BYTES_MAX, Fence, Head, Journal, KIND_BYTES_MAX, LEASE_TTL_MAX, Lease, NewRecord, PAGE_BYTES_MAX,
    RawRecord, Record, SharedJournal,
};
pub use open::{open, open_existing};

//! Vocabulary and rules: no async, no I/O, no clock, no logging.
//!
//! Imports: `std`, `serde`, `serde_json` (values), `schemars` (definition schemas), `sha2`/`hex`
//! (digests), `indexmap` (ordered maps), `regex` (parameter patterns), `thiserror`, `chrono`.

/// An instant, always UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

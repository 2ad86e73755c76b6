//! The audit: proves that the journal is what was written, or says exactly where it is not.
//!
//! [`verify`] reads the raw rows, so that it also sees what was changed behind the triggers' back, and
//! recomputes every hash. [`export()`] writes the journal as JSON lines from which anybody can do the same.
//! The chain alone cannot tell that its end was cut off; a head that was noted down elsewhere can.

mod export;
mod walk;

use std::fmt;

use crate::domain::{Hash, Timestamp};

use super::error::StoreError;
use super::journal::{Head, Journal};

pub use export::export;

/// Records per page.
const PAGE_RECORDS: u32 = 500;

/// The most findings in a report: beyond this the journal is to be restored, not read.
pub const FINDINGS_MAX: usize = 1_000;

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// How many records the journal holds.
    pub records: u64,
    /// How many streams they name.
    pub streams: u64,
    /// The last record. To be compared with, and noted down as, the head that summaries show.
    pub head: Head,
    /// Everything that is wrong, in the journal's order, [`FINDINGS_MAX`] at most; empty if nothing is.
    pub findings: Vec<Finding>,
    /// Whether there was more to find than the report holds.
    pub is_cut_short: bool,
}

impl AuditReport {
    /// Whether the journal is what was written.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A record as it now stands in the journal; what it says about itself may be forged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The position at which it stands.
    pub position: i64,
    /// The stream that it names.
    pub stream: String,
    /// The place in the stream that it names.
    pub seq: i64,
    /// The instant that it names; `None` if that is out of range.
    pub at: Option<Timestamp>,
}

/// One thing that is wrong. `Display` is one sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The record is not what was written: a field or its hash was changed.
    Altered(Place),
    /// The record was never written here: it stands between two that followed each other directly, or is a copy.
    Inserted(Place),
    /// The record was written at another position.
    Reordered {
        /// Where it stands now.
        place: Place,
        /// Where it was written.
        written_at: i64,
    },
    /// The records at these positions, both included, are gone.
    Missing {
        /// The first.
        first: i64,
        /// The last.
        last: i64,
    },
    /// All records from here to `last` were given other positions, as to close a gap or to make room.
    Renumbered {
        /// The first position, as it now is.
        first: i64,
        /// The last position, as it now is.
        last: i64,
        /// How far each stands behind its own position; below zero: before it.
        by: i64,
    },
    /// The stream lacks events.
    StreamGap {
        /// The record after the gap.
        place: Place,
        /// The `seq` that should have come.
        expected_seq: i64,
    },
    /// No record has the expected head's hash: what came after `last_position` was cut off, or that head belongs to
    /// another journal.
    HeadNotFound {
        /// The head that was given.
        expected: Hash,
        /// The last position that there is; 0 if the journal is empty.
        last_position: i64,
    },
}

impl Finding {
    /// Where in the journal the finding stands, for ordering.
    #[must_use]
    pub fn position(&self) -> i64 {
        match self {
            Self::Altered(place) | Self::Inserted(place) | Self::Reordered { place, .. } | Self::StreamGap { place, .. } => {
                place.position
            }
            Self::Missing { first, .. } | Self::Renumbered { first, .. } => *first,
            Self::HeadNotFound { .. } => i64::MAX,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped: after tampering, the name may hold anything, a terminal's control codes included.
        write!(formatter, "the record at position {} ({}", self.position, self.stream.escape_debug())?;
        write!(formatter, ", event {}", self.seq)?;
        if let Some(at) = self.at {
            write!(formatter, ", {}", at.format("%Y-%m-%d %H:%M:%S%.3f UTC"))?;
        }
        formatter.write_str(")")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered(place) => {
                write!(formatter, "{place} is not what was written: it was altered")
            }
            Self::Inserted(place) => write!(formatter, "{place} was never written there: it was inserted"),
            Self::Reordered { place, written_at } => {
                write!(formatter, "{place} was written at position {written_at}: records were reordered")
            }
            Self::Missing { first, last } if first == last => {
                write!(formatter, "the record written at position {first} is missing: it was removed")
            }
            Self::Missing { first, last } => {
                write!(formatter, "the records written at positions {first} to {last} are missing: they were removed")
            }
            Self::Renumbered { first, last, by } => {
                let direction = if *by > 0 { "later" } else { "earlier" };
                let by = by.unsigned_abs();
                write!(formatter, "the records at positions {first} to {last} stand {by} {direction} than written")
            }
            Self::StreamGap { place, expected_seq } => {
                write!(formatter, "{place} does not follow: event {expected_seq} of its stream should come there")
            }
            Self::HeadNotFound { expected, last_position } => write!(
                formatter,
                "no record has the hash {expected}: the journal was cut off after position {last_position}, \
                 or this head belongs to another journal"
            ),
        }
    }
}

/// Reads the whole journal, recomputes every hash, and reports what does not fit. With `expected_head`, a hash that
/// was noted down earlier, also finds a cut tail; records appended since then are no finding.
///
/// Records may be appended meanwhile. Memory: one page, and a few bytes per stream.
///
/// # Errors
/// [`StoreError::Unavailable`] if the journal cannot be read; what it holds is never an error, only a finding.
pub async fn verify(journal: &dyn Journal, expected_head: Option<Hash>) -> Result<AuditReport, StoreError> {
    let mut walk = walk::Walk::new(expected_head);
    let mut after = None;
    loop {
        let page = journal.read_raw(after, PAGE_RECORDS).await?;
        let Some(last) = page.last() else {
            return Ok(walk.finish());
        };
        after = Some(last.position);
        for row in page {
            walk.step(row);
        }
    }
}

//! What can go wrong, told to the person who must mend it: what was not done, and what to do next.
//!
//! The adapter decides here, once, whether trying again can help. No message holds a password: places are
//! named by [`super::address::Address`], and the drivers' own messages never quote the address.

use crate::domain::{StreamId, Timestamp};

use super::holder::Holder;

/// Why the journal could not be opened, read or written. A failed write wrote nothing, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is not one of a journal.
    #[error("the journal's address is not usable: {reason}")]
    Address {
        /// What is wrong with it and how to write it.
        reason: String,
    },
    /// The place can be reached but refuses, and will until a person changes something.
    #[error("cannot open the journal {place}: {reason}")]
    CannotOpen {
        /// The address without its password.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A later version wrote this journal.
    #[error(
        "the journal {place} has schema version {found}, this program knows up to {known}: nothing was touched; \
         run the newer version of pointsman again"
    )]
    SchemaNewer {
        /// The address without its password.
        place: String,
        /// The version found there.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The database does not answer now, or is busy. Trying again can help.
    #[error("{doing}: the journal {place} is not available ({reason}); nothing was done, try again")]
    Unavailable {
        /// What was attempted.
        doing: &'static str,
        /// The address without its password.
        place: String,
        /// What the driver says.
        reason: String,
    },
    /// No room left. Trying again can help once somebody has made room.
    #[error("{doing}: no space left for the journal {place}; nothing was written, free some and it goes on by itself")]
    Full {
        /// What was attempted.
        doing: &'static str,
        /// The address without its password.
        place: String,
    },
    /// A stored record cannot be read back: damaged or tampered with.
    #[error("the journal's record at position {position} is damaged ({reason}); run `pointsman audit verify`")]
    Corrupt {
        /// Where in the journal.
        position: i64,
        /// What does not fit.
        reason: String,
    },
    /// Anything else the database refused; trying again does not help.
    #[error("{doing}: the journal {place} refused: {reason}")]
    Refused {
        /// What was attempted.
        doing: &'static str,
        /// The address without its password.
        place: String,
        /// What the database says.
        reason: String,
    },
    /// An export could not be written to where it should go.
    #[error("writing the export: {0}; what was written so far is incomplete")]
    Export(#[source] std::io::Error),
}

impl StoreError {
    /// Whether the same call can succeed later without a change of program or settings.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Full { .. } => true,
            Self::Address { .. }
            | Self::CannotOpen { .. }
            | Self::SchemaNewer { .. }
            | Self::Corrupt { .. }
            | Self::Refused { .. }
            | Self::Export(_) => false,
        }
    }
}

/// Why records were not appended. Except for [`AppendError::OutcomeUnknown`], nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer was first: load the stream again and decide anew.
    #[error("{stream} has {actual_seq} events, not {expected_seq}: another writer was first, nothing was written")]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// How many events the caller knew.
        expected_seq: u64,
        /// How many there are.
        actual_seq: u64,
    },
    /// The lease was released or passed on: stop acting, somebody else may have begun.
    #[error("nothing was written: the lease with token {token} is over (the current token is {current_token})")]
    Fenced {
        /// The caller's token.
        token: u64,
        /// The newest token; equal to `token` if the lease was released and nobody has it.
        current_token: u64,
    },
    /// More than the journal takes at once.
    #[error("nothing was written: {what} is {size}, the limit is {limit}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// The named limit.
        limit: usize,
    },
    /// A record that cannot be stored as it is: a defect of the caller.
    #[error("nothing was written: {reason}")]
    Invalid {
        /// What is wrong with which record.
        reason: String,
    },
    /// The database does not answer now, is busy or full. Trying again can help.
    #[error(transparent)]
    Unavailable(StoreError),
    /// The connection broke while the database was committing: the records are there, all or none.
    /// Load the stream to see which; a repetition with the same `expected_seq` is safe and answers
    /// [`AppendError::Conflict`] if they are.
    #[error("whether the records of {stream} were written is not known ({reason}): load the stream to see")]
    OutcomeUnknown {
        /// The stream.
        stream: StreamId,
        /// What the driver says.
        reason: String,
    },
    /// The database refused for good.
    #[error(transparent)]
    Failed(StoreError),
}

impl AppendError {
    /// Whether the same call is safe to repeat and can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::OutcomeUnknown { .. } => true,
            Self::Conflict { .. } | Self::Fenced { .. } | Self::TooLarge { .. } | Self::Invalid { .. } | Self::Failed(_) => false,
        }
    }
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() { Self::Unavailable(error) } else { Self::Failed(error) }
    }
}

/// Why a lease was not given, prolonged or returned.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it and may be alive.
    #[error("the journal is in use by {by}, whose lease runs until {}", until.format("%Y-%m-%d %H:%M:%S UTC"))]
    Held {
        /// Who.
        by: Holder,
        /// When it expires unless prolonged, by the store's clock.
        until: Timestamp,
    },
    /// It was released or passed on: whoever held it must stop acting at once.
    #[error("the lease was lost: it was released or passed on to another process")]
    Lost,
    /// The time to live is not one that the journal can keep.
    #[error("a lease lives from one millisecond to {} hours", super::journal::LEASE_TTL_MAX.as_secs() / 3600)]
    Ttl,
    /// The database could not be asked. The lease itself may still run.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LeaseError {
    /// Whether the same call can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Held { .. } => true,
            Self::Lost | Self::Ttl => false,
            Self::Store(error) => error.is_retryable(),
        }
    }
}

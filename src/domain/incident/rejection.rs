//! What a person may not do to an incident now: what, why, and what to do next.

use super::policy::Severity;
use crate::domain::{MessageRef, Timestamp};

/// Why a request was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is over.
    #[error("the incident was resolved by {by} {}", at.format("at %H:%M:%S UTC on %Y-%m-%d"))]
    AlreadyResolved {
        /// Who resolved it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// It is over, and its channel is gone.
    #[error("the incident is closed: its channel was exported and deleted")]
    Closed,
    /// Somebody is on it already.
    #[error("{by} acknowledged it {}", at.format("at %H:%M:%S UTC"))]
    AlreadyAcknowledged {
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// It has that severity.
    #[error("the incident is {severity} already")]
    SameSeverity {
        /// Which.
        severity: Severity,
    },
    /// They have that role.
    #[error("{person} is {role} already")]
    SameRole {
        /// Who.
        person: String,
        /// What they are.
        role: super::ResponderRole,
    },
    /// Nothing was said.
    #[error("{what} is required and was not given")]
    TextMissing {
        /// What.
        what: &'static str,
    },
    /// Too much was said.
    #[error("{what} has {length} characters, and {max} are the most")]
    TextTooLong {
        /// What.
        what: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// The post-mortem comes after the end.
    #[error("the incident is not resolved yet, so its post-mortem cannot be published")]
    NotResolved,
    /// That message is on the timeline.
    #[error("that message is on the timeline already")]
    AlreadyMarked {
        /// Which.
        message: MessageRef,
    },
    /// There are as many action items as one post-mortem holds.
    #[error("the post-mortem has {max} action items, and that is the most")]
    TooManyActions {
        /// How many.
        max: usize,
    },
    /// Nobody can do it by then.
    #[error("{due} has passed")]
    DueInThePast {
        /// The day.
        due: chrono::NaiveDate,
    },
    /// The day has as many incidents as its numbers count.
    #[error("{max} incidents were opened today, and a day's numbers end there")]
    TooManyToday {
        /// How many.
        max: u32,
    },
}

impl Rejection {
    /// A stable code for logs, tests and people who search for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyResolved { .. } => "already-resolved",
            Self::Closed => "closed",
            Self::AlreadyAcknowledged { .. } => "already-acknowledged",
            Self::SameSeverity { .. } => "same-severity",
            Self::SameRole { .. } => "same-role",
            Self::TextMissing { .. } => "text-missing",
            Self::TextTooLong { .. } => "text-too-long",
            Self::NotResolved => "not-resolved",
            Self::AlreadyMarked { .. } => "already-marked",
            Self::TooManyActions { .. } => "too-many-actions",
            Self::DueInThePast { .. } => "due-in-the-past",
            Self::TooManyToday { .. } => "too-many-today",
        }
    }

    /// What to do next, for people.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::AlreadyResolved { .. } => "If it is back, open a new incident with `/incident open` and name this one in it.",
            Self::Closed => "Its post-mortem and the journal keep what happened; `/incident open` opens a new one.",
            Self::AlreadyAcknowledged { .. } => "`/incident role` takes over a role.",
            Self::SameSeverity { .. } | Self::SameRole { .. } => "`/incident status` shows where it stands.",
            Self::TextMissing { .. } => "Give it and try again.",
            Self::TextTooLong { .. } => "Shorten it, or attach the rest as a file in the channel and add that to the timeline.",
            Self::NotResolved => "`/incident resolve` ends it; `/postmortem preview` shows the draft meanwhile.",
            Self::AlreadyMarked { .. } => "`/incident timeline` shows it.",
            Self::TooManyActions { .. } => "Put the rest into an issue of its own.",
            Self::DueInThePast { .. } => "Give a day from today on, e.g. `2026-12-01`.",
            Self::TooManyToday { .. } => "Use one of the open incidents; `/incident status` lists them.",
        }
    }
}

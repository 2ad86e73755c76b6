//! The timeline: what of an incident's history is told to people, and first of all by its post-mortem.

use std::sync::Arc;

use super::event::{Delivery, Event, ResponderRole};
use super::policy::Severity;
use crate::domain::{MessageRef, Person, Timestamp};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Arc<Happening>,
}

/// What happened: the facts that belong on a timeline and no others, so that whoever shows one shows all of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// Its channel was deleted.
    ChannelLost,
    /// Somebody was woken, or could not be.
    Paged {
        /// The escalation level; 0 for the opening.
        level: u32,
        /// What came of it.
        outcome: Delivery,
    },
    /// It is worse or better than it was taken to be.
    SeverityChanged {
        /// What it was.
        from: Severity,
        /// What it is.
        to: Severity,
        /// Who says so.
        by: Person,
        /// Why; may be empty.
        reason: String,
    },
    /// Somebody has a role in the response.
    RoleTaken {
        /// Which.
        role: ResponderRole,
        /// Who has it now.
        person: Person,
        /// Who gave it; often the same.
        by: Person,
    },
    /// Somebody is on it.
    Acknowledged {
        /// Who.
        by: Person,
    },
    /// Nobody had acknowledged for too long.
    Escalated {
        /// Which level, from 1.
        level: u32,
    },
    /// Somebody wrote something down.
    Noted {
        /// Who.
        by: Person,
        /// What.
        text: String,
    },
    /// Somebody gave a status update in their own words.
    Updated {
        /// Who.
        by: Person,
        /// What.
        text: String,
    },
    /// Somebody put a message here.
    MessageMarked {
        /// Who.
        by: Person,
        /// Which message.
        message: MessageRef,
        /// Who wrote it.
        author: String,
        /// Its text; `None` where Discord does not give it away (📌).
        text: Option<String>,
    },
    /// It is over.
    Resolved {
        /// Who says so.
        by: Person,
        /// How it was mended.
        summary: String,
    },
}

impl Happening {
    /// What an event is on the timeline; `None` if it does not belong there.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        Some(match event.clone() {
            Event::ChannelLost { .. } => Self::ChannelLost,
            Event::Paged { level, outcome } => Self::Paged { level, outcome },
            Event::SeverityChanged { from, to, by, reason } => Self::SeverityChanged { from, to, by, reason },
            Event::RoleTaken { role, person, by } => Self::RoleTaken { role, person, by },
            Event::Acknowledged { by } => Self::Acknowledged { by },
            Event::Escalated { level } => Self::Escalated { level },
            Event::Noted { by, text } => Self::Noted { by, text },
            Event::Updated { by, text } => Self::Updated { by, text },
            Event::MessageMarked { by, message, author, text } => Self::MessageMarked { by, message, author, text },
            Event::Resolved { by, summary } => Self::Resolved { by, summary },
            Event::Opened(_)
            | Event::ChannelOpened { .. }
            | Event::ArchiveDue
            | Event::ChannelArchived
            | Event::DeletionDue
            | Event::ChannelDeleted
            | Event::MessagePosted { .. }
            | Event::MessageLost { .. }
            | Event::MessageRefused { .. }
            | Event::SummaryPinned { .. }
            | Event::StatusPageTold { .. }
            | Event::StatusDue { .. }
            | Event::FactsGiven { .. }
            | Event::ActionAdded { .. }
            | Event::PublishRequested { .. }
            | Event::IssuePublished { .. }
            | Event::IssueDelayed { .. }
            | Event::ReviewScheduled { .. }
            | Event::ReviewNear => return None,
        })
    }
}

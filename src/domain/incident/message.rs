//! What an incident owes to chat.

use super::event::Event;
use crate::domain::{MessageKey, MessageRef, Timestamp};

/// A message that must be visible once in the incident's channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// Its fixed id within the incident, e.g. `summary`, `beat/17`, `note/9`.
    pub key: MessageKey,
    /// What it shows.
    pub kind: MessageKind,
    /// How often it was lost and is owed anew; part of the nonce.
    pub generation: u32,
    /// Since when it is owed: since it was lost, if it was posted before.
    pub since: Timestamp,
    /// Where it stands, once it is visible.
    pub posted: Option<MessageRef>,
    /// Why chat does not take it until a person has mended something, as long as that is so.
    pub refused: Option<String>,
}

/// What a message shows.
#[derive(Debug, Clone, PartialEq)]
pub enum MessageKind {
    /// The pinned card: what, how bad, who, since when, what next. Kept current.
    Summary,
    /// The post-mortem as far as it is: what is still to be told, action items, where its issue stands. Kept current.
    PostMortem,
    /// A status update, said once.
    Beat {
        /// When it was due.
        due: Timestamp,
        /// How many later ones it stands for as well.
        missed: u32,
    },
    /// What happened, said once.
    Note {
        /// What.
        event: Box<Event>,
        /// When.
        at: Timestamp,
    },
}

impl MessageKind {
    /// How many status updates it stands for; 1 for everything else.
    #[must_use]
    pub fn stands_for(&self) -> u32 {
        if let Self::Beat { missed, .. } = self { missed.saturating_add(1) } else { 1 }
    }

    /// Whether the message is edited as the state changes.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self {
            Self::Summary | Self::PostMortem => true,
            Self::Beat { .. } | Self::Note { .. } => false,
        }
    }
}

/// Whether an event is worth a message of its own.
#[must_use]
pub(super) fn is_noteworthy(event: &Event) -> bool {
    match event {
        Event::ChannelLost { .. }
        | Event::SeverityChanged { .. }
        | Event::RoleTaken { .. }
        | Event::Acknowledged { .. }
        | Event::Escalated { .. }
        | Event::Noted { .. }
        | Event::Updated { .. }
        | Event::MessageMarked { .. }
        | Event::Resolved { .. }
        | Event::ActionAdded { .. }
        | Event::IssueDelayed { .. }
        | Event::ReviewScheduled { .. }
        | Event::ReviewNear => true,
        // A page that did not go out must be seen; one that did is on the summary card.
        Event::Paged { outcome, .. } | Event::StatusPageTold { outcome, .. } => {
            matches!(outcome, super::event::Delivery::Refused { .. })
        }
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
        | Event::StatusDue { .. }
        | Event::FactsGiven { .. }
        | Event::PublishRequested { .. }
        | Event::IssuePublished { .. } => false,
    }
}

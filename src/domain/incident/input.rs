//! What is asked of an incident, and what was observed for it.

use chrono::NaiveDate;

use super::event::{Delivery, Facts, IssueKind, ResponderRole};
use super::policy::Severity;
use crate::domain::{ChannelId, IssueRef, MessageKey, MessageRef, Person, Timestamp};

/// Something that an incident must react to. The instant comes beside it.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time has passed.
    Tick,

    /// It has a place in chat.
    ChannelOpened {
        /// Where.
        channel: ChannelId,
        /// Why it is the fallback channel, if it is.
        fallback: Option<String>,
    },
    /// A channel is gone. Names the very channel, so that old news about one cannot take away the next.
    ChannelLost {
        /// Which.
        channel: ChannelId,
    },
    /// The channel was moved to the archive, or need not be.
    ChannelArchived,
    /// The channel was exported and deleted.
    ChannelDeleted,
    /// An owed message is visible. The number is how many status updates it tells of; 1 for everything else.
    MessagePosted(MessageKey, MessageRef, u32),
    /// A posted message is gone or can no longer be edited. Names the very message.
    MessageLost(MessageKey, MessageRef),
    /// Chat does not take an owed message until a person has mended something: why, for people.
    MessageRefused(MessageKey, String),
    /// This copy of the summary card is pinned.
    SummaryPinned(MessageRef),
    /// Somebody was woken, or could not be.
    Paged {
        /// The escalation level.
        level: u32,
        /// What came of it.
        outcome: Delivery,
    },
    /// The status page was told, or could not be.
    StatusPageTold {
        /// Which update.
        sequence: u32,
        /// What came of it.
        outcome: Delivery,
    },
    /// An issue stands on GitHub.
    IssuePublished {
        /// Which.
        issue: IssueKind,
        /// Where.
        at: IssueRef,
        /// The revision that it shows.
        revision: u32,
    },
    /// An issue could not be published yet.
    IssueDelayed {
        /// Which.
        issue: IssueKind,
        /// Why, for people.
        why: String,
    },
    /// The review meeting stands in the calendar, or cannot.
    ReviewScheduled {
        /// When it is.
        at: Timestamp,
        /// Discord's event.
        event: Option<u64>,
        /// Why there is none.
        why: Option<String>,
    },

    /// Somebody thinks that it is worse or better.
    ChangeSeverity {
        /// What it is to be.
        to: Severity,
        /// Who.
        by: Person,
        /// Why; may be empty.
        reason: String,
    },
    /// Somebody takes or gives a role in the response.
    TakeRole {
        /// Which.
        role: ResponderRole,
        /// Who is to have it.
        person: Person,
        /// Who says so.
        by: Person,
    },
    /// Somebody is on it.
    Acknowledge {
        /// Who.
        by: Person,
    },
    /// Somebody writes something down.
    Note {
        /// Who.
        by: Person,
        /// What.
        text: String,
    },
    /// Somebody gives a status update.
    Update {
        /// Who.
        by: Person,
        /// What.
        text: String,
    },
    /// Somebody puts a message on the timeline.
    MarkMessage {
        /// Who.
        by: Person,
        /// Which.
        message: MessageRef,
        /// Who wrote it.
        author: String,
        /// Its text, where Discord gives it away.
        text: Option<String>,
    },
    /// Somebody says that it is over.
    Resolve {
        /// Who.
        by: Person,
        /// How it was mended.
        summary: String,
    },
    /// Somebody tells what only people know.
    GiveFacts {
        /// Who.
        by: Person,
        /// What; `None` leaves a fact as it is.
        facts: Facts,
    },
    /// Somebody wants something done.
    AddAction {
        /// Who.
        by: Person,
        /// What is to be done.
        title: String,
        /// Who does it.
        owner: String,
        /// By when.
        due: NaiveDate,
    },
    /// Somebody wants the post-mortem on GitHub.
    Publish {
        /// Who.
        by: Person,
    },
}

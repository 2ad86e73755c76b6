//! The facts of an incident, in the past tense. What is journalled here is read for ever: variants and fields are
//! added, never renamed.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::id::IncidentId;
use super::policy::{Policy, Severity};
use crate::domain::{ChannelId, IssueRef, MessageKey, MessageRef, Person, RunId, Timestamp};

/// Something that happened to an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The incident exists. Always the first event.
    Opened(Box<Opened>),
    /// It has a place in chat.
    ChannelOpened {
        /// Where.
        channel: ChannelId,
        /// Why this is the fallback channel and not one of its own; `None` if it is its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fallback: Option<String>,
    },
    /// Its channel was deleted: everything that stood there and must be seen is owed anew.
    ChannelLost {
        /// Which.
        channel: ChannelId,
    },
    /// It is time to move its channel to the archive.
    ArchiveDue,
    /// Its channel was moved to the archive.
    ChannelArchived,
    /// It is time to export and delete its channel.
    DeletionDue,
    /// Its channel was exported and deleted; or there was nothing to delete.
    ChannelDeleted,
    /// An owed message is visible.
    MessagePosted {
        /// Which.
        key: MessageKey,
        /// Where it stands.
        message: MessageRef,
        /// Of a status update that stands for several: how many of the last ones it does not tell of, because they fell due
        /// while it was on its way. They are owed in another one.
        #[serde(default, skip_serializing_if = "is_zero")]
        untold: u32,
    },
    /// A posted message is gone, or can no longer be edited: it is owed anew.
    MessageLost {
        /// Which.
        key: MessageKey,
    },
    /// Chat does not take an owed message until a person has mended something; it is owed still.
    MessageRefused {
        /// Which.
        key: MessageKey,
        /// Why, for people.
        why: String,
    },
    /// The summary card is pinned in the channel.
    SummaryPinned {
        /// Which copy of it.
        message: MessageRef,
    },
    /// Somebody was woken, or could not be.
    Paged {
        /// The escalation level; 0 for the opening.
        level: u32,
        /// What came of it.
        outcome: Delivery,
    },
    /// The status page was told, or could not be.
    StatusPageTold {
        /// Which update, from 1.
        sequence: u32,
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
    /// Somebody is on it: escalation ends.
    Acknowledged {
        /// Who.
        by: Person,
    },
    /// Nobody has acknowledged for too long.
    Escalated {
        /// Which level, from 1.
        level: u32,
    },
    /// Somebody wrote something down for the timeline.
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
    /// Somebody put a message on the timeline.
    MessageMarked {
        /// Who.
        by: Person,
        /// Which message.
        message: MessageRef,
        /// Who wrote it.
        author: String,
        /// Its text; `None` where Discord does not give it away (📌).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// A status update has fallen due, and is owed from now on.
    StatusDue {
        /// When it was due.
        due: Timestamp,
        /// How many later ones fell due as well before anybody looked.
        missed: u32,
        /// When the next one is due.
        next: Timestamp,
    },
    /// It is over.
    Resolved {
        /// Who says so.
        by: Person,
        /// How it was mended.
        summary: String,
    },
    /// Somebody told for the post-mortem what only people know.
    FactsGiven {
        /// Who.
        by: Person,
        /// What; a field that is `None` stays as it was.
        facts: Facts,
    },
    /// Something is to be done so that it does not happen again.
    ActionAdded {
        /// Its number in this incident, from 1.
        action: u32,
        /// What is to be done.
        title: String,
        /// Who does it: a GitHub login or a name.
        owner: String,
        /// By when.
        due: NaiveDate,
        /// Who added it.
        by: Person,
    },
    /// Somebody wants the post-mortem to stand on GitHub.
    PublishRequested {
        /// Who.
        by: Person,
    },
    /// An issue stands on GitHub and shows this revision.
    IssuePublished {
        /// Which.
        issue: IssueKind,
        /// Where.
        at: IssueRef,
        /// The revision of the post-mortem that it shows.
        revision: u32,
    },
    /// An issue could not be published yet; it is tried again.
    IssueDelayed {
        /// Which.
        issue: IssueKind,
        /// Why, for people.
        why: String,
    },
    /// The review meeting has its time.
    ReviewScheduled {
        /// When.
        at: Timestamp,
        /// Discord's event; `None` if it could not be made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<u64>,
        /// Why there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// The review is near: people are reminded.
    ReviewNear,
}

/// What an incident is from its first moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// Its id.
    pub incident: IncidentId,
    /// What is wrong, in a line.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// Who or what opened it.
    pub by: Opener,
    /// Whether customers notice: then the status page is told.
    pub customer_facing: bool,
    /// Whether only some may see it.
    pub private: bool,
    /// Where it was asked for; `None` if nobody asked.
    pub asked_in: Option<ChannelId>,
    /// The run that it is about, if it is about one.
    pub run: Option<RunId>,
    /// What holds for it.
    pub policy: Policy,
}

/// Who or what opened an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opener {
    /// Somebody in chat.
    Person(Person),
    /// A run that goes badly.
    Run {
        /// Which.
        run: RunId,
        /// What went wrong, for people.
        why: String,
    },
}

/// A role in the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponderRole {
    /// Decides.
    Commander,
    /// Talks to everybody else.
    Communications,
    /// Writes down what happens.
    Scribe,
}

impl ResponderRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Commander, Self::Communications, Self::Scribe];

    /// Its name in options, e.g. `commander`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commander => "commander",
            Self::Communications => "communications",
            Self::Scribe => "scribe",
        }
    }
}

impl std::fmt::Display for ResponderRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Commander => "incident commander",
            Self::Communications => "communications lead",
            Self::Scribe => "scribe",
        })
    }
}

/// What came of telling a system outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It took it.
    Delivered,
    /// There is none.
    NotConfigured,
    /// It refused for good.
    Refused {
        /// Why, for people.
        why: String,
    },
}

/// An issue that an incident owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueKind {
    /// The post-mortem.
    PostMortem,
    /// An action item, by its number.
    Action(u32),
}

/// What only people know, for the post-mortem. A field is `None` until somebody has told it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// What happened, in a few sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Why it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_cause: Option<String>,
    /// How many users, or which part of them, were affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_affected: Option<String>,
    /// For how long it was down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downtime: Option<String>,
    /// Whether data was lost, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_loss: Option<String>,
    /// What was done to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// What went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub went_well: Option<String>,
    /// What went poorly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub went_poorly: Option<String>,
    /// Where we got lucky.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lucky: Option<String>,
}

impl Facts {
    /// These facts with what `newer` tells put over them.
    #[must_use]
    pub fn with(self, newer: Self) -> Self {
        Self {
            summary: newer.summary.or(self.summary),
            root_cause: newer.root_cause.or(self.root_cause),
            users_affected: newer.users_affected.or(self.users_affected),
            downtime: newer.downtime.or(self.downtime),
            data_loss: newer.data_loss.or(self.data_loss),
            resolution: newer.resolution.or(self.resolution),
            went_well: newer.went_well.or(self.went_well),
            went_poorly: newer.went_poorly.or(self.went_poorly),
            lucky: newer.lucky.or(self.lucky),
        }
    }
}

/// The name of an event as the journal shows it: the tag of its JSON form.
#[must_use]
pub fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::Opened(_) => "opened",
        Event::ChannelOpened { .. } => "channel_opened",
        Event::ChannelLost { .. } => "channel_lost",
        Event::ArchiveDue => "archive_due",
        Event::ChannelArchived => "channel_archived",
        Event::DeletionDue => "deletion_due",
        Event::ChannelDeleted => "channel_deleted",
        Event::MessagePosted { .. } => "message_posted",
        Event::MessageLost { .. } => "message_lost",
        Event::MessageRefused { .. } => "message_refused",
        Event::SummaryPinned { .. } => "summary_pinned",
        Event::Paged { .. } => "paged",
        Event::StatusPageTold { .. } => "status_page_told",
        Event::SeverityChanged { .. } => "severity_changed",
        Event::RoleTaken { .. } => "role_taken",
        Event::Acknowledged { .. } => "acknowledged",
        Event::Escalated { .. } => "escalated",
        Event::Noted { .. } => "noted",
        Event::Updated { .. } => "updated",
        Event::MessageMarked { .. } => "message_marked",
        Event::StatusDue { .. } => "status_due",
        Event::Resolved { .. } => "resolved",
        Event::FactsGiven { .. } => "facts_given",
        Event::ActionAdded { .. } => "action_added",
        Event::PublishRequested { .. } => "publish_requested",
        Event::IssuePublished { .. } => "issue_published",
        Event::IssueDelayed { .. } => "issue_delayed",
        Event::ReviewScheduled { .. } => "review_scheduled",
        Event::ReviewNear => "review_near",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

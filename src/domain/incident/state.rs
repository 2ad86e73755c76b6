//! Where an incident stands: the fold of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::NaiveDate;

use super::event::{Delivery, Facts, Opened, ResponderRole};
use super::id::IncidentId;
use super::message::{MessageKind, Owed};
use super::policy::{Policy, Severity};
use super::timeline::{Entry, Happening};
use crate::domain::beat::Beat;
use crate::domain::{ChannelId, Duration, IssueRef, MessageRef, Person, RunId, Timestamp};

/// Where an incident stands.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// What it was from its first moment.
    pub opened: Arc<Opened>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// How bad it is now.
    pub severity: Severity,
    /// Its place in chat, once there is one.
    pub channel: Option<ChannelId>,
    /// Why that is the fallback channel, if it is.
    pub fallback: Option<String>,
    /// What it owes to chat, in order.
    pub owed: Vec<Owed>,
    /// The copy of the summary card that is pinned.
    pub pinned: Option<MessageRef>,
    /// Who has which role in the response.
    pub roles: BTreeMap<ResponderRole, Person>,
    /// Who is on it.
    pub acknowledged: Option<Acknowledgement>,
    /// Since when nobody has acknowledged something that pages; `None` while it does not page.
    pub alarm_since: Option<Timestamp>,
    /// The highest escalation level that was reached; 0 for none.
    pub escalated: u32,
    /// Who is to be woken, by escalation level, and what came of it.
    pub pages: BTreeMap<u32, Page>,
    /// When status updates are due; `None` if this severity has none, or it is resolved.
    pub beat: Option<Beat>,
    /// When the last status update was given or fell due.
    pub last_status_at: Timestamp,
    /// The newest update that the status page should hear of, from 1; 0 for none.
    pub status_page_wanted: u32,
    /// The newest that it has heard of, or refused.
    pub status_page_told: u32,
    /// What happened, for people, in order.
    pub timeline: Vec<Entry>,
    /// How it ended.
    pub resolved: Option<Resolution>,
    /// What is learnt from it.
    pub post_mortem: PostMortem,
    /// The meeting about it.
    pub review: Option<Review>,
    /// How many of its channels were deleted by somebody.
    pub channels_lost: u32,
    /// Whether it is time to move its channel to the archive, or was.
    pub archive_due: bool,
    /// Whether it is time to export and delete its channel.
    pub deletion_due: bool,
    /// When its channel was moved to the archive.
    pub archived_at: Option<Timestamp>,
    /// When its channel was deleted: nothing follows any more.
    pub closed_at: Option<Timestamp>,
    /// How many events the state is made of.
    pub seq: u64,
    /// The instant of the last event.
    pub changed_at: Timestamp,
}

/// Somebody is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub by: Person,
    /// Since when.
    pub at: Timestamp,
}

/// Somebody is to be woken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Since when.
    pub since: Timestamp,
    /// What came of it; `None` while it is owed.
    pub outcome: Option<Delivery>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Who said so.
    pub by: Person,
    /// When.
    pub at: Timestamp,
    /// How it was mended.
    pub summary: String,
}

/// What is learnt from an incident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostMortem {
    /// What only people know, as far as they have told.
    pub facts: Facts,
    /// What is to be done, in order.
    pub actions: Vec<ActionItem>,
    /// Who wanted it on GitHub, once somebody did.
    pub requested_by: Option<Person>,
    /// Grows with everything that changes what it says; from 1 at the resolution.
    pub revision: u32,
    /// Where its issue stands, and what that shows.
    pub published: Option<Published>,
    /// Why publishing does not work, as it was told last; `None` since it has worked.
    pub delayed: Option<String>,
    /// The [gists](crate::domain::gist()) of everything that was told about it since it has last worked.
    pub delays_told: BTreeSet<String>,
}

/// Where an issue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Where.
    pub at: IssueRef,
    /// The revision that it shows.
    pub revision: u32,
}

/// Something that is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionItem {
    /// Its number in this incident, from 1.
    pub number: u32,
    /// What.
    pub title: String,
    /// Who does it.
    pub owner: String,
    /// By when.
    pub due: NaiveDate,
    /// Its own issue.
    pub issue: Option<IssueRef>,
}

/// The meeting about an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// When it is.
    pub at: Timestamp,
    /// Discord's event.
    pub event: Option<u64>,
    /// Whether people were reminded.
    pub reminded: bool,
}

impl State {
    /// The incident's id.
    #[must_use]
    pub fn id(&self) -> &IncidentId {
        &self.opened.incident
    }

    /// What holds for it.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.opened.policy
    }

    /// The run that it was opened about.
    #[must_use]
    pub fn run(&self) -> Option<&RunId> {
        self.opened.run.as_ref()
    }

    /// Whether people still work on it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.resolved.is_none()
    }

    /// Whether it lives in a channel of its own.
    #[must_use]
    pub fn has_own_channel(&self) -> bool {
        self.channel.is_some() && self.fallback.is_none()
    }

    /// How long it lasted, or has lasted.
    #[must_use]
    pub fn lasted(&self, now: Timestamp) -> Duration {
        Duration::between(self.opened_at, self.resolved.as_ref().map_or(now, |resolution| resolution.at))
    }

    /// How often a status update is due at a severity.
    #[must_use]
    pub fn cadence(&self, severity: Severity) -> Option<Duration> {
        self.policy().beats.get(&severity).copied().filter(|every| every.as_secs() > 0)
    }

    /// The newest status update and where it stands.
    #[must_use]
    pub fn newest_beat(&self) -> Option<&Owed> {
        self.owed.iter().rev().find(|owed| matches!(owed.kind, MessageKind::Beat { .. }))
    }

    /// When people last heard before the status update that was due at `due`: when the one before it was due or a person
    /// gave one, or else the opening.
    #[must_use]
    pub fn told_before(&self, due: Timestamp) -> Timestamp {
        let beats =
            self.owed.iter().filter_map(|owed| if let MessageKind::Beat { due, .. } = owed.kind { Some(due) } else { None });
        let given = self.timeline.iter().filter(|entry| matches!(*entry.what, Happening::Updated { .. })).map(|entry| entry.at);
        beats.chain(given).filter(|at| *at < due).max().unwrap_or(self.opened_at)
    }

    /// What happened after an instant, in order.
    pub fn changes_since(&self, since: Timestamp) -> impl Iterator<Item = &Entry> {
        self.timeline.iter().filter(move |entry| entry.at > since)
    }

    /// When the next escalation level is reached, and which that is; `None` if nobody is to be told any more.
    #[must_use]
    pub fn next_escalation(&self) -> Option<(u32, Timestamp)> {
        if self.acknowledged.is_some() || !self.is_open() {
            return None;
        }
        let since = self.alarm_since?;
        let level = self.escalated as usize;
        let next = self.policy().escalation.get(level)?;
        Some((self.escalated + 1, since + next.after.delta()))
    }

    /// When its channel is to be archived; `None` if it never is, or that time has come.
    #[must_use]
    pub fn archive_at(&self) -> Option<Timestamp> {
        let resolved = self.resolved.as_ref().filter(|_| !self.archive_due)?;
        Some(resolved.at + self.policy().archive_after.delta())
    }

    /// When its channel is to be exported and deleted; `None` if it never is, or that time has come.
    #[must_use]
    pub fn delete_at(&self) -> Option<Timestamp> {
        let resolved = self.resolved.as_ref().filter(|_| !self.deletion_due)?;
        Some(resolved.at + self.policy().delete_after?.delta())
    }
}

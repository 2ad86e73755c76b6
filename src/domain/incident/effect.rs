//! What an incident still owes to the world, and when time alone changes something.

use super::event::IssueKind;
use super::message::{MessageKind, Owed};
use super::state::State;
use crate::domain::run::EffectId;
use crate::domain::{MessageKey, MessageRef, Timestamp};

/// Something to be done in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Find or create the incident's channel.
    OpenChannel {
        /// How many were lost before.
        generation: u32,
    },
    /// Make an owed message visible.
    PostMessage {
        /// Which.
        key: MessageKey,
        /// How often it was lost before.
        generation: u32,
    },
    /// Pin the summary card.
    PinSummary {
        /// Which copy of it.
        message: MessageRef,
    },
    /// Wake somebody.
    Page {
        /// The escalation level; 0 for the opening.
        level: u32,
    },
    /// Tell the status page.
    TellStatusPage {
        /// Which update, from 1.
        sequence: u32,
    },
    /// Bring an issue up to date, creating it if it is not there.
    PublishIssue {
        /// Which.
        issue: IssueKind,
        /// The revision that it must show at least.
        revision: u32,
    },
    /// Put the review meeting into the calendar.
    ScheduleReview {
        /// When it is.
        at: Timestamp,
    },
    /// Move the channel to the archive.
    ArchiveChannel,
    /// Export the channel, then delete it.
    DeleteChannel,
}

impl Effect {
    /// Its fixed id within the incident.
    #[must_use]
    pub fn id(&self) -> EffectId {
        match self {
            Self::OpenChannel { generation } => format!("channel/{generation}"),
            Self::PostMessage { key, generation } => format!("message/{key}/{generation}"),
            Self::PinSummary { message } => format!("pin/{}", message.message),
            Self::Page { level } => format!("page/{level}"),
            Self::TellStatusPage { sequence } => format!("status-page/{sequence}"),
            Self::PublishIssue { issue: IssueKind::PostMortem, revision } => format!("issue/post-mortem/{revision}"),
            Self::PublishIssue { issue: IssueKind::Action(number), revision } => format!("issue/action-{number}/{revision}"),
            Self::ScheduleReview { .. } => "review".to_owned(),
            Self::ArchiveChannel => "archive".to_owned(),
            Self::DeleteChannel => "delete".to_owned(),
        }
    }
}

/// Everything that the state still owes to the world: who must be woken first, then what must be seen.
#[must_use]
pub fn pending(state: &State) -> Vec<Effect> {
    if state.closed_at.is_some() {
        return Vec::new();
    }
    let mut effects: Vec<Effect> = Vec::new();
    let unsent = state.pages.iter().filter(|(_, page)| page.outcome.is_none());
    effects.extend(unsent.map(|(level, _)| Effect::Page { level: *level }));
    if state.channel.is_none() {
        effects.push(Effect::OpenChannel { generation: state.channels_lost });
    } else {
        effects.extend(messages(state));
        effects.extend(pin(state));
    }
    if state.status_page_told < state.status_page_wanted {
        effects.push(Effect::TellStatusPage { sequence: state.status_page_wanted });
    }
    effects.extend(issues(state));
    if let (Some(resolution), None) = (&state.resolved, &state.review) {
        effects.push(Effect::ScheduleReview { at: resolution.at + state.policy().review_after.delta() });
    }
    effects.extend(end_of_channel(state));
    effects
}

/// What people must act on does not wait behind what they may read.
fn messages(state: &State) -> Vec<Effect> {
    let rank = |owed: &&Owed| match owed.kind {
        MessageKind::Summary | MessageKind::PostMortem => 0,
        MessageKind::Beat { .. } => 1,
        MessageKind::Note { .. } => 2,
    };
    let mut unposted: Vec<&Owed> = state.owed.iter().filter(|owed| owed.posted.is_none()).collect();
    unposted.sort_by_key(rank);
    unposted.into_iter().map(|owed| Effect::PostMessage { key: owed.key.clone(), generation: owed.generation }).collect()
}

fn pin(state: &State) -> Option<Effect> {
    let summary = state.owed.iter().find(|owed| owed.kind == MessageKind::Summary)?;
    let message = summary.posted.filter(|posted| state.pinned != Some(*posted) && state.has_own_channel())?;
    Some(Effect::PinSummary { message })
}

/// The post-mortem first, because its action items link to it; then those; then it again, with links to them.
fn issues(state: &State) -> Vec<Effect> {
    let post_mortem = &state.post_mortem;
    if post_mortem.requested_by.is_none() {
        return Vec::new();
    }
    let revision = post_mortem.revision;
    let own = Effect::PublishIssue { issue: IssueKind::PostMortem, revision };
    let Some(published) = &post_mortem.published else { return vec![own] };
    let unpublished = post_mortem.actions.iter().filter(|action| action.issue.is_none());
    let actions: Vec<Effect> =
        unpublished.map(|action| Effect::PublishIssue { issue: IssueKind::Action(action.number), revision: 1 }).collect();
    if actions.is_empty() && published.revision < revision { vec![own] } else { actions }
}

/// Whether an incident may end now: its time has come, everything that is owed is visible, the issues stand, and the status
/// page has heard of the end. What is still owed then would be owed for ever.
pub(super) fn may_end(state: &State) -> bool {
    let said = state.owed.iter().all(|owed| owed.posted.is_some());
    let told = state.status_page_told >= state.status_page_wanted;
    state.deletion_due && said && told && issues(state).is_empty()
}

/// A channel is put away only when its time has come and nothing is owed in it any more.
fn end_of_channel(state: &State) -> Option<Effect> {
    if state.owed.iter().any(|owed| owed.posted.is_none()) || !state.has_own_channel() {
        return None;
    }
    if state.deletion_due {
        return may_end(state).then_some(Effect::DeleteChannel);
    }
    (state.archive_due && state.archived_at.is_none()).then_some(Effect::ArchiveChannel)
}

/// The earliest instant after `now`, when the state was last looked at, at which time alone changes something.
#[must_use]
pub fn next_deadline(state: &State, now: Timestamp) -> Option<Timestamp> {
    if state.closed_at.is_some() {
        return None;
    }
    let review = state.review.as_ref().filter(|review| !review.reminded);
    let instants = [
        state.beat.map(|beat| beat.next),
        state.next_escalation().map(|(_, at)| at),
        review.map(|review| review.at - state.policy().review_reminder.delta()),
        state.archive_at(),
        state.delete_at(),
    ];
    instants.into_iter().flatten().filter(|at| *at > now).min()
}

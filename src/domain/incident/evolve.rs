//! The fold: one event at a time, live and on resume alike. It believes what was journalled and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::{Event, IssueKind, Opened};
use super::message::{MessageKind, Owed, is_noteworthy};
use super::policy::Severity;
use super::state::{Acknowledgement, ActionItem, Page, PostMortem, Published, Resolution, Review, State};
use super::timeline::{Entry, Happening};
use crate::domain::beat::{Beat, Rest};
use crate::domain::{CorruptJournal, MessageKey, Timestamp, gist};

/// The state after an incident's first event.
///
/// # Errors
/// [`CorruptJournal`] if it is not [`Event::Opened`].
pub fn begin(at: Timestamp, event: &Event) -> Result<State, CorruptJournal> {
    let Event::Opened(opened) = event else {
        return Err(CorruptJournal { seq: 1, what: "an incident begins with `opened`".to_owned() });
    };
    let mut state = State {
        opened: Arc::new(Opened::clone(opened)),
        opened_at: at,
        severity: opened.severity,
        channel: None,
        fallback: None,
        owed: vec![owed(at, "summary".to_owned(), MessageKind::Summary)],
        pinned: None,
        roles: BTreeMap::new(),
        acknowledged: None,
        alarm_since: None,
        escalated: 0,
        pages: BTreeMap::new(),
        beat: None,
        last_status_at: at,
        status_page_wanted: u32::from(opened.customer_facing),
        status_page_told: 0,
        timeline: Vec::new(),
        resolved: None,
        post_mortem: PostMortem::default(),
        review: None,
        channels_lost: 0,
        archive_due: false,
        deletion_due: false,
        archived_at: None,
        closed_at: None,
        seq: 1,
        changed_at: at,
    };
    set_severity(&mut state, at, opened.severity);
    Ok(state)
}

/// The state after one more event.
///
/// # Errors
/// [`CorruptJournal`] if the event cannot follow.
pub fn evolve(mut state: State, at: Timestamp, event: &Event) -> Result<State, CorruptJournal> {
    let seq = state.seq + 1;
    let corrupt = |what: &str| CorruptJournal { seq, what: what.to_owned() };
    if state.closed_at.is_some() {
        return Err(corrupt("the incident is closed"));
    }
    state.timeline.extend(Happening::of(event).map(|what| Entry { at, what: Arc::new(what) }));
    if is_noteworthy(event) {
        state.owed.push(owed(at, format!("note/{seq}"), MessageKind::Note { event: Box::new(event.clone()), at }));
    }
    match event {
        Event::Opened(_) => return Err(corrupt("an incident opens once")),
        Event::ChannelOpened { channel, fallback } => {
            state.channel = Some(*channel);
            state.fallback.clone_from(fallback);
        }
        Event::ChannelLost { .. } => channel_lost(&mut state, at),
        Event::ArchiveDue => state.archive_due = true,
        Event::ChannelArchived => state.archived_at = Some(at),
        Event::DeletionDue => state.deletion_due = true,
        Event::ChannelDeleted => state.closed_at = Some(at),
        Event::MessagePosted { key, message, untold } => {
            let owed = find(&mut state, key).ok_or_else(|| corrupt("nobody owed this message"))?;
            (owed.posted, owed.refused) = (Some(*message), None);
            owe_the_rest(&mut state, at, key, *untold);
        }
        Event::MessageLost { key } => {
            let owed = find(&mut state, key).ok_or_else(|| corrupt("nobody owed this message"))?;
            owe_anew(owed, at);
        }
        Event::MessageRefused { key, why } => {
            find(&mut state, key).ok_or_else(|| corrupt("nobody owed this message"))?.refused = Some(why.clone());
        }
        Event::SummaryPinned { message } => state.pinned = Some(*message),
        Event::Paged { level, outcome } => {
            let page = state.pages.get_mut(level).ok_or_else(|| corrupt("nobody was to be paged at this level"))?;
            page.outcome = Some(outcome.clone());
        }
        Event::StatusPageTold { sequence, .. } => state.status_page_told = *sequence,
        Event::SeverityChanged { to, .. } => {
            set_severity(&mut state, at, *to);
            tell_status_page(&mut state);
        }
        Event::RoleTaken { role, person, .. } => {
            state.roles.insert(*role, person.clone());
        }
        Event::Acknowledged { by } => state.acknowledged = Some(Acknowledgement { by: by.clone(), at }),
        Event::Escalated { level } => {
            state.escalated = *level;
            state.pages.insert(*level, Page { since: at, outcome: None });
        }
        Event::Noted { .. } | Event::MessageMarked { .. } => revise(&mut state),
        Event::Updated { .. } => {
            state.last_status_at = at;
            state.beat = state.beat.map(|beat| Beat::since(at, beat.every));
            tell_status_page(&mut state);
        }
        Event::StatusDue { due, missed, next } => status_due(&mut state, at, seq, (*due, *missed, *next)),
        Event::Resolved { by, summary } => {
            state.resolved = Some(Resolution { by: by.clone(), at, summary: summary.clone() });
            state.beat = None;
            state.owed.push(owed(at, "post-mortem".to_owned(), MessageKind::PostMortem));
            tell_status_page(&mut state);
            revise(&mut state);
        }
        Event::FactsGiven { facts, .. } => {
            state.post_mortem.facts = std::mem::take(&mut state.post_mortem.facts).with(facts.clone());
            revise(&mut state);
        }
        Event::ActionAdded { action, title, owner, due, .. } => {
            let (title, owner) = (title.clone(), owner.clone());
            state.post_mortem.actions.push(ActionItem { number: *action, title, owner, due: *due, issue: None });
            revise(&mut state);
        }
        Event::PublishRequested { by } => state.post_mortem.requested_by = Some(by.clone()),
        Event::IssuePublished { issue, at, revision } => {
            state.post_mortem.delayed = None;
            state.post_mortem.delays_told.clear();
            match issue {
                IssueKind::PostMortem => state.post_mortem.published = Some(Published { at: at.clone(), revision: *revision }),
                IssueKind::Action(number) => {
                    let action = state.post_mortem.actions.iter_mut().find(|action| action.number == *number);
                    action.ok_or_else(|| corrupt("there is no such action item"))?.issue = Some(at.clone());
                    revise(&mut state);
                }
            }
        }
        Event::IssueDelayed { why, .. } => {
            state.post_mortem.delays_told.insert(gist(why));
            state.post_mortem.delayed = Some(why.clone());
        }
        Event::ReviewScheduled { at, event, .. } => {
            state.review = Some(Review { at: *at, event: *event, reminded: false });
        }
        Event::ReviewNear => {
            if let Some(review) = &mut state.review {
                review.reminded = true;
            }
        }
    }
    state.seq = seq;
    state.changed_at = at;
    Ok(state)
}

fn owed(since: Timestamp, key: String, kind: MessageKind) -> Owed {
    Owed { key: MessageKey::new(key), kind, generation: 0, since, posted: None, refused: None }
}

fn find<'a>(state: &'a mut State, key: &MessageKey) -> Option<&'a mut Owed> {
    state.owed.iter_mut().find(|owed| owed.key == *key)
}

/// Cadence and alarm follow the severity at once. The next update is due one cadence after the last; if that has
/// passed, it is due now.
fn set_severity(state: &mut State, at: Timestamp, severity: Severity) {
    state.severity = severity;
    let next = |every: crate::domain::Duration| (state.last_status_at + every.delta()).max(at);
    state.beat = match (&state.resolved, state.cadence(severity)) {
        (None, Some(every)) => Some(Beat { every, next: next(every) }),
        (Some(_), _) | (None, None) => None,
    };
    if !state.policy().pages.contains(&severity) {
        state.alarm_since = None;
    } else if state.alarm_since.is_none() && state.resolved.is_none() {
        state.alarm_since = Some(at);
        state.pages.entry(0).or_insert(Page { since: at, outcome: None });
    }
}

fn tell_status_page(state: &mut State) {
    if state.opened.customer_facing {
        state.status_page_wanted += 1;
    }
}

/// What the post-mortem says has changed. Before the end there is none.
fn revise(state: &mut State) {
    if state.resolved.is_some() {
        state.post_mortem.revision += 1;
    }
}

/// An update that nobody could see yet stands for this one too: several missed ones are one late message.
fn status_due(state: &mut State, at: Timestamp, seq: u64, (due, missed, next): (Timestamp, u32, Timestamp)) {
    state.last_status_at = at;
    state.beat = state.beat.map(|beat| Beat { next, ..beat });
    tell_status_page(state);
    let beats = state.owed.iter_mut().rev().filter(|owed| owed.posted.is_none());
    for owed in beats {
        if let MessageKind::Beat { missed: counted, .. } = &mut owed.kind {
            *counted += 1 + missed;
            return;
        }
    }
    state.owed.push(owed(at, format!("beat/{seq}"), MessageKind::Beat { due, missed }));
}

/// What fell due while the message was on its way, and is not told by it, is owed in another one.
fn owe_the_rest(state: &mut State, at: Timestamp, key: &MessageKey, untold: u32) {
    // Without a beat any more, nobody asks when exactly it was due.
    let every = state.beat.map_or(crate::domain::Duration::ZERO, |beat| beat.every);
    let number = state.seq + 1;
    let Some(said) = find(state, key) else { return };
    let MessageKind::Beat { due, missed } = &mut said.kind else { return };
    if let Some(rest) = Rest::of(*due, *missed, untold, every) {
        *missed -= untold;
        state.owed.push(owed(at, format!("beat/{number}"), MessageKind::Beat { due: rest.due, missed: rest.missed }));
    }
}

/// What stood in the channel is gone with it. What people must see is owed anew; what was said is said.
fn channel_lost(state: &mut State, at: Timestamp) {
    state.channel = None;
    state.fallback = None;
    state.pinned = None;
    state.channels_lost += 1;
    for owed in state.owed.iter_mut().filter(|owed| owed.kind.is_live() && owed.posted.is_some()) {
        owe_anew(owed, at);
    }
}

fn owe_anew(owed: &mut Owed, at: Timestamp) {
    (owed.posted, owed.refused) = (None, None);
    owed.generation += 1;
    owed.since = at;
}

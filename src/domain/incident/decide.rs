//! Deciding: what follows from an input. May refuse, never acts.

use chrono::NaiveDate;

use super::effect::{Effect, may_end, pending};
use super::event::{Event, Facts, ResponderRole};
use super::evolve::evolve;
use super::input::Input;
use super::open::TITLE_MAX;
use super::policy::Severity;
use super::rejection::Rejection;
use super::state::State;
use super::timeline::Happening;
use crate::domain::{MessageKey, MessageRef, Person, Timestamp, gist};

/// The longest note, update or summary, in characters: it stands in one message beside other words.
const TEXT_MAX: usize = 1_500;
/// The longest fact for the post-mortem, in characters: what one field of a form takes.
const FACT_MAX: usize = 4_000;
/// The most action items of one post-mortem.
const ACTIONS_MAX: usize = 50;

/// The events that follow from `input` at `now`, what time alone changes included. Empty if nothing changes.
///
/// # Errors
/// A [`Rejection`] if a person asked for something that is not allowed now; nothing changes then.
pub fn decide(state: &State, now: Timestamp, input: Input) -> Result<Vec<Event>, Rejection> {
    let mut draft = Draft { state: state.clone(), now, events: Vec::new() };
    if state.closed_at.is_some() {
        return after_the_end(input);
    }
    apply(&mut draft, input)?;
    pass_time(&mut draft);
    Ok(draft.events)
}

/// The events so far, and the state that they lead to.
struct Draft {
    state: State,
    now: Timestamp,
    events: Vec<Event>,
}

impl Draft {
    fn push(&mut self, event: Event) {
        self.state = evolve(self.state.clone(), self.now, &event).expect("a decision emits only events that may follow");
        self.events.push(event);
    }
}

fn apply(draft: &mut Draft, input: Input) -> Result<(), Rejection> {
    match input {
        Input::Tick => {}
        Input::ChannelOpened { .. }
        | Input::ChannelLost { .. }
        | Input::ChannelArchived
        | Input::ChannelDeleted
        | Input::MessagePosted(..)
        | Input::MessageLost(..)
        | Input::MessageRefused(..)
        | Input::SummaryPinned(_)
        | Input::Paged { .. }
        | Input::StatusPageTold { .. }
        | Input::IssuePublished { .. }
        | Input::IssueDelayed { .. }
        | Input::ReviewScheduled { .. } => observe(draft, input),
        Input::ChangeSeverity { to, by, reason } => change_severity(draft, to, by, reason)?,
        Input::TakeRole { role, person, by } => take_role(draft, role, person, by)?,
        Input::Acknowledge { by } => acknowledge(draft, by)?,
        Input::Note { by, text: said } => draft.push(Event::Noted { by, text: text("a text", said, TEXT_MAX)? }),
        Input::Update { by, text: said } => {
            still_open(&draft.state)?;
            draft.push(Event::Updated { by, text: text("a text", said, TEXT_MAX)? });
        }
        Input::MarkMessage { by, message, author, text } => mark_message(draft, by, message, author, text)?,
        Input::Resolve { by, summary } => {
            still_open(&draft.state)?;
            draft.push(Event::Resolved { by, summary: text("a summary", summary, TEXT_MAX)? });
        }
        Input::GiveFacts { by, facts } => give_facts(draft, by, facts)?,
        Input::AddAction { by, title, owner, due } => add_action(draft, by, title, owner, due)?,
        Input::Publish { by } => publish(draft, by)?,
    }
    Ok(())
}

/// What was seen or done in the world. News about something that is over, or that says nothing new, changes nothing.
fn observe(draft: &mut Draft, input: Input) {
    let state = &draft.state;
    let event = match input {
        Input::ChannelOpened { channel, fallback } if state.channel.is_none() => Event::ChannelOpened { channel, fallback },
        // A channel that goes when it is to go is not lost: most likely it was we who deleted it.
        Input::ChannelLost { channel } if state.channel == Some(channel) && !is_to_go(state) => Event::ChannelLost { channel },
        Input::ChannelArchived if state.archived_at.is_none() => Event::ChannelArchived,
        Input::ChannelDeleted => Event::ChannelDeleted,
        Input::MessagePosted(key, message, told) => match state.owed.iter().find(|owed| owed.key == key) {
            Some(owed) if owed.posted.is_none() => {
                let untold = owed.kind.stands_for().saturating_sub(told.max(1));
                Event::MessagePosted { key, message, untold }
            }
            Some(_) | None => return,
        },
        // What was said once and then deleted by somebody is not said again.
        Input::MessageLost(key, message) if stands(state, &key, message) => Event::MessageLost { key },
        // The same trouble again is no news.
        Input::MessageRefused(key, why) if is_news(state, &key, &why) => Event::MessageRefused { key, why },
        Input::SummaryPinned(message) if state.pinned != Some(message) => Event::SummaryPinned { message },
        Input::Paged { level, outcome } if state.pages.get(&level).is_some_and(|page| page.outcome.is_none()) => {
            Event::Paged { level, outcome }
        }
        Input::StatusPageTold { sequence, outcome } if sequence > state.status_page_told => {
            Event::StatusPageTold { sequence, outcome }
        }
        Input::IssuePublished { issue, at, revision } => Event::IssuePublished { issue, at, revision },
        // Tried again for hours, it may fail in the same few ways over and over: each is told once.
        Input::IssueDelayed { issue, why } if !state.post_mortem.delays_told.contains(&gist(&why)) => {
            Event::IssueDelayed { issue, why }
        }
        Input::ReviewScheduled { at, event, why } if state.review.is_none() => Event::ReviewScheduled { at, event, why },
        // Everything else says nothing new; `apply` names every input, so that a new one stops the build there.
        _ => return,
    };
    draft.push(event);
}

/// Whether this copy of a message that is kept current stands in chat, as far as anybody knows.
fn stands(state: &State, key: &MessageKey, message: MessageRef) -> bool {
    state.owed.iter().any(|owed| owed.key == *key && owed.posted == Some(message) && owed.kind.is_live())
}

fn is_news(state: &State, key: &MessageKey, why: &str) -> bool {
    state.owed.iter().any(|owed| owed.key == *key && owed.posted.is_none() && owed.refused.as_deref() != Some(why))
}

fn still_open(state: &State) -> Result<(), Rejection> {
    match &state.resolved {
        Some(resolution) => Err(Rejection::AlreadyResolved { by: resolution.by.name.clone(), at: resolution.at }),
        None => Ok(()),
    }
}

fn change_severity(draft: &mut Draft, to: Severity, by: Person, reason: String) -> Result<(), Rejection> {
    still_open(&draft.state)?;
    let from = draft.state.severity;
    if from == to {
        return Err(Rejection::SameSeverity { severity: to });
    }
    let reason = bounded("the reason", reason, TEXT_MAX)?;
    draft.push(Event::SeverityChanged { from, to, by, reason });
    Ok(())
}

fn take_role(draft: &mut Draft, role: ResponderRole, person: Person, by: Person) -> Result<(), Rejection> {
    still_open(&draft.state)?;
    if draft.state.roles.get(&role).is_some_and(|holder| holder.id == person.id) {
        return Err(Rejection::SameRole { person: person.name, role });
    }
    draft.push(Event::RoleTaken { role, person, by });
    Ok(())
}

fn acknowledge(draft: &mut Draft, by: Person) -> Result<(), Rejection> {
    still_open(&draft.state)?;
    if let Some(acknowledged) = &draft.state.acknowledged {
        return Err(Rejection::AlreadyAcknowledged { by: acknowledged.by.name.clone(), at: acknowledged.at });
    }
    draft.push(Event::Acknowledged { by });
    Ok(())
}

/// A message may be marked after the end too: people tidy up the timeline then.
fn mark_message(
    draft: &mut Draft,
    by: Person,
    message: MessageRef,
    author: String,
    said: Option<String>,
) -> Result<(), Rejection> {
    let marked = |what: &Happening| matches!(what, Happening::MessageMarked { message: known, .. } if *known == message);
    if draft.state.timeline.iter().any(|entry| marked(&entry.what)) {
        return Err(Rejection::AlreadyMarked { message });
    }
    let text = said.map(|text| text.chars().take(TEXT_MAX).collect());
    draft.push(Event::MessageMarked { by, message, author, text });
    Ok(())
}

fn give_facts(draft: &mut Draft, by: Person, facts: Facts) -> Result<(), Rejection> {
    let Facts { summary, root_cause, users_affected, downtime, data_loss, resolution, went_well, went_poorly, lucky } = facts;
    let fact = |what, said: Option<String>| match said.filter(|said| !said.trim().is_empty()) {
        Some(said) => text(what, said, FACT_MAX).map(Some),
        None => Ok(None),
    };
    let facts = Facts {
        summary: fact("the summary", summary)?,
        root_cause: fact("the root cause", root_cause)?,
        users_affected: fact("the number of users", users_affected)?,
        downtime: fact("the downtime", downtime)?,
        data_loss: fact("the data loss", data_loss)?,
        resolution: fact("the resolution", resolution)?,
        went_well: fact("what went well", went_well)?,
        went_poorly: fact("what went poorly", went_poorly)?,
        lucky: fact("where we got lucky", lucky)?,
    };
    if facts == Facts::default() {
        return Err(Rejection::TextMissing { what: "at least one answer" });
    }
    draft.push(Event::FactsGiven { by, facts });
    Ok(())
}

fn add_action(draft: &mut Draft, by: Person, title: String, owner: String, due: NaiveDate) -> Result<(), Rejection> {
    let known = draft.state.post_mortem.actions.len();
    if known >= ACTIONS_MAX {
        return Err(Rejection::TooManyActions { max: ACTIONS_MAX });
    }
    if due < draft.now.date_naive() {
        return Err(Rejection::DueInThePast { due });
    }
    let title = text("a title", title, TITLE_MAX)?;
    let owner = text("an owner", owner, TITLE_MAX)?;
    let action = u32::try_from(known).unwrap_or(u32::MAX).saturating_add(1);
    draft.push(Event::ActionAdded { action, title, owner, due, by });
    Ok(())
}

/// Asking again is not a mistake: whoever asks sees where the issue stands.
fn publish(draft: &mut Draft, by: Person) -> Result<(), Rejection> {
    if draft.state.is_open() {
        return Err(Rejection::NotResolved);
    }
    if draft.state.post_mortem.requested_by.is_none() {
        draft.push(Event::PublishRequested { by });
    }
    Ok(())
}

/// What time alone changes: updates that fall due, escalation, the review's reminder, the channel's end.
fn pass_time(draft: &mut Draft) {
    let now = draft.now;
    if let Some(fall) = draft.state.beat.and_then(|beat| beat.fall(now)) {
        draft.push(Event::StatusDue { due: fall.due, missed: fall.missed, next: fall.next });
    }
    // Of several levels that were reached while nobody looked, the highest tells everybody whom the lower ones would have.
    let mut reached = None;
    let mut ahead = draft.state.clone();
    while let Some((level, _)) = ahead.next_escalation().filter(|(_, at)| *at <= now) {
        reached = Some(level);
        ahead.escalated = level;
    }
    if let Some(level) = reached {
        draft.push(Event::Escalated { level });
    }
    let reminder = draft.state.policy().review_reminder.delta();
    if draft.state.review.as_ref().is_some_and(|review| !review.reminded && review.at - reminder <= now) {
        draft.push(Event::ReviewNear);
    }
    if draft.state.archive_at().is_some_and(|at| at <= now) {
        draft.push(Event::ArchiveDue);
    }
    if draft.state.delete_at().is_some_and(|at| at <= now) {
        draft.push(Event::DeletionDue);
    }
    // An incident that lives in the fallback channel has none of its own to delete.
    if draft.state.fallback.is_some() && draft.state.closed_at.is_none() && may_end(&draft.state) {
        draft.push(Event::ChannelDeleted);
    }
}

/// Once an incident is closed nothing changes it, and people are told so.
fn after_the_end(input: Input) -> Result<Vec<Event>, Rejection> {
    match input {
        Input::ChangeSeverity { .. }
        | Input::TakeRole { .. }
        | Input::Acknowledge { .. }
        | Input::Note { .. }
        | Input::Update { .. }
        | Input::MarkMessage { .. }
        | Input::Resolve { .. }
        | Input::GiveFacts { .. }
        | Input::AddAction { .. }
        | Input::Publish { .. } => Err(Rejection::Closed),
        Input::Tick
        | Input::ChannelOpened { .. }
        | Input::ChannelLost { .. }
        | Input::ChannelArchived
        | Input::ChannelDeleted
        | Input::MessagePosted(..)
        | Input::MessageLost(..)
        | Input::MessageRefused(..)
        | Input::SummaryPinned(_)
        | Input::Paged { .. }
        | Input::StatusPageTold { .. }
        | Input::IssuePublished { .. }
        | Input::IssueDelayed { .. }
        | Input::ReviewScheduled { .. } => Ok(Vec::new()),
    }
}

/// Whether nothing is left to be done with the channel but to delete it.
fn is_to_go(state: &State) -> bool {
    pending(state).contains(&Effect::DeleteChannel)
}

/// A text that was given, trimmed, within its bound.
pub(super) fn text(what: &'static str, given: String, max: usize) -> Result<String, Rejection> {
    let given = bounded(what, given, max)?;
    if given.is_empty() { Err(Rejection::TextMissing { what }) } else { Ok(given) }
}

fn bounded(what: &'static str, given: String, max: usize) -> Result<String, Rejection> {
    let given = given.trim().to_owned();
    let length = given.chars().count();
    if length > max { Err(Rejection::TextTooLong { what, length, max }) } else { Ok(given) }
}

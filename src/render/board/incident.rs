//! An incident: its card on the first page, its line in the archive, its own page.
//!
//! Of a private incident the board says that it is there, how bad it is and whether somebody is on it, and nothing else: one
//! token opens the board for many, and it hangs on a wall.

use maud::{Markup, html};

use super::facts::Fact;
use super::{FACTS_MAX, Links, Shape, Tone, instant, issue_link, journal_head, outside, pill, run_line};
use crate::domain::incident::{
    Delivery, Event, Happening, IncidentId, IssueKind, MessageKind, Opener, Owed, ResponderRole, Severity, State,
};
use crate::domain::{Duration, IssueRef, MessageRef, Person, Timestamp};
use crate::render::incident::View;
use crate::render::text::level_name;

/// How many of the newest entries of the timeline a card shows.
const CARD_FACTS_MAX: usize = 3;

/// The title of what is told to some alone.
const PRIVATE: &str = "🔒 private";

/// An incident in a list.
#[derive(Debug, Clone, Copy)]
pub struct IncidentEntry<'a> {
    /// The incident and its runs.
    pub view: View<'a>,
    /// Whether it is set aside, and why.
    pub stuck: Option<&'a str>,
}

/// A resolved incident, in a line of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastIncident {
    /// Which.
    pub id: IncidentId,
    /// What was wrong, in a line; not told if it is private.
    pub title: String,
    /// Whether only some may know what it was about.
    pub private: bool,
    /// How bad it was at last.
    pub severity: Severity,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was resolved.
    pub resolved_at: Timestamp,
}

pub(super) fn card(entry: &IncidentEntry<'_>, links: &Links) -> Markup {
    let state = entry.view.state;
    html! {
        article.card {
            div.head { h3 { a href=(path(state.id())) { (title(state)) } } (severity_pill(state.severity)) }
            p.meta { code { (state.id()) } " · since " (instant(state.opened_at, Shape::Date)) (channel(state, links)) }
            (aside(entry.stuck))
            dl { (standing(entry.view, links)) }
            @if is_told(state) { (newest(state, links)) }
        }
    }
}

/// The page of an incident; `facts` are all that happened to it, in order.
#[must_use]
pub fn incident(entry: &IncidentEntry<'_>, facts: &[(Timestamp, Event)], links: &Links) -> Markup {
    let state = entry.view.state;
    html! {
        section.lead {
            div.head { h1 { (title(state)) } (severity_pill(state.severity)) }
            (aside(entry.stuck))
            @if !is_told(state) { p.banner.quiet { "A private incident: what it is about is told in its channel, to those who may know." } }
            @if is_told(state) && state.opened.customer_facing { p.banner.wait { "Customers notice it." } }
            dl.facts {
                (standing(entry.view, links))
                (resolution(state))
                dt { "Incident" } dd { code { (state.id()) } " · " (state.severity) ", " (state.severity.meaning()) (channel(state, links)) }
                dt { "Opened" } dd { (instant(state.opened_at, Shape::Date)) @if is_told(state) { (opener(&state.opened.by)) } }
            }
        }
        @if is_told(state) { section { h2 { "What happened" } (happened(state, facts, links)) (journal_head(entry.view.head)) } }
    }
}

pub(super) fn archived(incident: &PastIncident) -> Markup {
    html! {
        tr {
            td { a href=(path(&incident.id)) { code { (incident.id) } } }
            td { @if incident.private { (PRIVATE) } @else { (incident.title) } }
            td { (instant(incident.resolved_at, Shape::Date)) }
            td { (Duration::between(incident.opened_at, incident.resolved_at)) }
            td { (severity_pill(incident.severity)) }
        }
    }
}

pub(super) fn path(incident: &IncidentId) -> String {
    format!("/incidents/{incident}")
}

/// Whether the board tells what it is about.
pub(super) fn is_told(state: &State) -> bool {
    !state.opened.private
}

fn title(state: &State) -> &str {
    if is_told(state) { &state.opened.title } else { PRIVATE }
}

fn severity_pill(severity: Severity) -> Markup {
    let tone = match severity {
        Severity::Sev1 | Severity::Sev2 => Tone::Bad,
        Severity::Sev3 => Tone::Wait,
        Severity::Sev4 => Tone::Quiet,
    };
    pill(tone, &severity.to_string())
}

fn channel(state: &State, links: &Links) -> Markup {
    let channel = state.channel.filter(|_| state.closed_at.is_none());
    html! { @if let Some(channel) = channel { " · " a href=(links.channel(channel)) rel="noreferrer" { "channel" } } }
}

fn aside(stuck: Option<&str>) -> Markup {
    html! { @if let Some(why) = stuck { p.banner.bad { "Set aside, because its journal does not make sense: " (why) } } }
}

fn opener(by: &Opener) -> Markup {
    match by {
        Opener::Person(person) => html! { " by " (person.name) },
        Opener::Run { run, why } => html! { " by run " a href=(super::run_path(run)) { code { (run) } } ": " (why) },
    }
}

/// Who has it in hand, what was said last and when the next is due, its runs and its issue.
fn standing(view: View<'_>, links: &Links) -> Markup {
    let state = view.state;
    html! {
        @if is_told(state) {
            dt { "Commander" }
            dd { @match state.roles.get(&ResponderRole::Commander) { Some(person) => (person.name), None => span.wait { "nobody" } } }
        }
        @if state.is_open() { (response(state)) (updates(state, links)) }
        @if is_told(state) {
            @if !view.runs.is_empty() { dt { "Runs" } dd { @for run in view.runs { div { (run_line(*run)) } } } }
            (post_mortem(state))
        }
    }
}

fn response(state: &State) -> Markup {
    html! {
        dt { "On it" }
        dd {
            @match &state.acknowledged {
                Some(acknowledged) => {
                    span.good { (if is_told(state) { acknowledged.by.name.as_str() } else { "somebody" }) }
                    " since " (instant(acknowledged.at, Shape::Clock))
                }
                None => {
                    strong.bad { "nobody" }
                    @if let Some((level, at)) = state.next_escalation() { "; level " (level) " is told " (instant(at, Shape::Clock)) }
                }
            }
        }
    }
}

/// The newest status update, whether the bot's or a person's, and the next.
fn updates(state: &State, links: &Links) -> Markup {
    let newest = state.newest_beat();
    let unsaid = newest.filter(|owed| owed.posted.is_none());
    let seen = newest.and_then(|owed| Some((owed.posted?, owed)));
    html! {
        @if state.last_status_at > state.opened_at {
            dt { "Last update" }
            dd {
                (instant(state.last_status_at, Shape::Clock))
                @if unsaid.is_some() { " " strong.bad { "not visible in chat yet" } }
                @if let Some((message, owed)) = seen {
                    " " a href=(links.message(message)) rel="noreferrer" { "in chat" }
                    @if let MessageKind::Beat { missed: missed @ 1.., .. } = owed.kind { span.wait { ", for " (missed) " missed ones too" } }
                }
            }
        }
        @if is_told(state) && let Some((by, text)) = newest_words(state) { dt { "Said last" } dd { (by.name) ": " (text) } }
        dt { "Next update" }
        dd { @match state.beat { Some(beat) => { (instant(beat.next, Shape::Clock)) ", every " (beat.every) }, None => "none by itself" } }
    }
}

fn newest_words(state: &State) -> Option<(&Person, &str)> {
    state.timeline.iter().rev().find_map(|entry| match &*entry.what {
        Happening::Updated { by, text } => Some((by, text.as_str())),
        Happening::ChannelLost
        | Happening::Paged { .. }
        | Happening::SeverityChanged { .. }
        | Happening::RoleTaken { .. }
        | Happening::Acknowledged { .. }
        | Happening::Escalated { .. }
        | Happening::Noted { .. }
        | Happening::MessageMarked { .. }
        | Happening::Resolved { .. } => None,
    })
}

fn resolution(state: &State) -> Markup {
    let Some(resolved) = &state.resolved else { return html! {} };
    html! {
        dt { "Resolved" }
        dd {
            (instant(resolved.at, Shape::Date)) " after " (state.lasted(resolved.at))
            @if is_told(state) { " by " (resolved.by.name) ": " (resolved.summary) }
        }
        @if let Some(review) = &state.review { dt { "Review" } dd { (instant(review.at, Shape::Date)) } }
    }
}

fn post_mortem(state: &State) -> Markup {
    let post_mortem = &state.post_mortem;
    html! {
        @if let Some(published) = &post_mortem.published { dt { "Post-mortem" } dd { (issue_link(&published.at)) } }
        @if let Some(why) = &post_mortem.delayed { dt { "Issue" } dd.wait { "not on GitHub yet: " (why) } }
        @if !post_mortem.actions.is_empty() {
            dt { "Action items" }
            dd {
                @for action in &post_mortem.actions {
                    div {
                        (action.number) ". " (action.title) " – " (action.owner) ", by " (action.due)
                        @if let Some(issue) = &action.issue { " · " (issue_link(issue)) }
                    }
                }
            }
        }
    }
}

/// The newest of what people put on the timeline, the newest first.
fn newest(state: &State, links: &Links) -> Markup {
    let row =
        |at, what: &Happening| row(at, &happening(what), marked(what).and_then(|message| place(state, message, links)), None);
    html! { ol.events { @for entry in state.timeline.iter().rev().take(CARD_FACTS_MAX) { (row(entry.at, &entry.what)) } } }
}

/// Everything that happened, the newest first.
fn happened(state: &State, facts: &[(Timestamp, Event)], links: &Links) -> Markup {
    let shown: Vec<_> =
        facts.iter().rev().filter_map(|(at, event)| Some((*at, event, fact(event)?))).take(FACTS_MAX + 1).collect();
    let row = |at, event: &Event, fact: &Fact| {
        let message = message(state, event).and_then(|message| place(state, message, links));
        let issue = if let Event::IssuePublished { at: issue, .. } = event { Some(issue) } else { None };
        row(at, fact, message, issue)
    };
    html! {
        ol.events { @for (at, event, fact) in shown.iter().take(FACTS_MAX) { (row(*at, event, fact)) } }
        @if shown.len() > FACTS_MAX { p.hint { "Older facts are in the journal: " code { "pointsman audit export" } } }
    }
}

fn row(at: Timestamp, fact: &Fact, message: Option<String>, issue: Option<&IssueRef>) -> Markup {
    html! {
        li class=(fact.class) {
            (instant(at, Shape::Clock))
            span {
                (fact.text)
                @if let Some(url) = message { " " (outside(&url, "in chat")) }
                @if let Some(issue) = issue { " " (issue_link(issue)) }
            }
        }
    }
}

/// The message that an event is about.
fn message(state: &State, event: &Event) -> Option<MessageRef> {
    if let Event::StatusDue { due, .. } = event {
        return beat(state, *due);
    }
    Happening::of(event).as_ref().and_then(marked)
}

fn marked(what: &Happening) -> Option<MessageRef> {
    if let Happening::MessageMarked { message, .. } = what { Some(*message) } else { None }
}

/// Where a message stands. What stood in a channel that was deleted is nowhere any more.
fn place(state: &State, message: MessageRef, links: &Links) -> Option<String> {
    state.closed_at.is_none().then(|| links.message(message))
}

/// Where the status update stands that was due then; one that was missed is told with another.
fn beat(state: &State, wanted: Timestamp) -> Option<MessageRef> {
    let is = |owed: &&Owed| matches!(owed.kind, MessageKind::Beat { due, .. } if due == wanted);
    state.owed.iter().find(is)?.posted
}

/// An event in a line of plain text; `None` for what only the bot itself needs to know.
fn fact(event: &Event) -> Option<Fact> {
    if let Some(what) = Happening::of(event) {
        return Some(happening(&what));
    }
    let (class, text) = match event {
        Event::MessagePosted { .. }
        | Event::MessageLost { .. }
        | Event::SummaryPinned { .. }
        | Event::ArchiveDue
        | Event::DeletionDue
        | Event::StatusPageTold { outcome: Delivery::NotConfigured, .. } => return None,
        // What stands on the timeline was told above.
        Event::ChannelLost { .. }
        | Event::Paged { .. }
        | Event::SeverityChanged { .. }
        | Event::RoleTaken { .. }
        | Event::Acknowledged { .. }
        | Event::Escalated { .. }
        | Event::Noted { .. }
        | Event::Updated { .. }
        | Event::MessageMarked { .. }
        | Event::Resolved { .. } => return None,
        Event::Opened(opened) => ("bad", format!("Opened as {}{}", opened.severity, opened_by(&opened.by))),
        Event::ChannelOpened { fallback: None, .. } => ("quiet", "Its channel was opened".to_owned()),
        Event::ChannelOpened { fallback: Some(why), .. } => ("wait", format!("It lives in the fallback channel: {why}")),
        Event::ChannelArchived => ("quiet", "Its channel was moved to the archive".to_owned()),
        Event::ChannelDeleted => ("quiet", "Its channel was exported and deleted".to_owned()),
        Event::StatusPageTold { outcome: Delivery::Delivered, .. } => ("quiet", "The status page was told".to_owned()),
        Event::StatusPageTold { outcome: Delivery::Refused { why }, .. } => ("bad", format!("The status page refused: {why}")),
        Event::StatusDue { missed: 0, .. } => ("quiet", "Status update".to_owned()),
        Event::StatusDue { missed, .. } => ("wait", format!("Status update, late: {missed} later ones were missed")),
        Event::FactsGiven { by, .. } => ("quiet", format!("{} told more for the post-mortem", by.name)),
        Event::ActionAdded { action, title, owner, due, by } => {
            ("work", format!("{} added action item {action}: {title} – {owner}, by {due}", by.name))
        }
        Event::PublishRequested { by } => ("work", format!("{} wants the post-mortem published", by.name)),
        Event::IssuePublished { issue: IssueKind::PostMortem, revision, .. } => {
            ("good", format!("The post-mortem stands on GitHub, revision {revision}:"))
        }
        Event::IssuePublished { issue: IssueKind::Action(number), .. } => {
            ("good", format!("Action item {number} stands on GitHub:"))
        }
        Event::MessageRefused { why, .. } => ("bad", format!("Not to be seen in its channel: {why}")),
        Event::IssueDelayed { why, .. } => ("wait", format!("Not on GitHub yet: {why}")),
        Event::ReviewScheduled { at, .. } => ("work", format!("The review is at {}", at.format("%Y-%m-%d %H:%M UTC"))),
        Event::ReviewNear => ("quiet", "People were reminded of the review".to_owned()),
    };
    Some(Fact { class, text })
}

/// What stands on the timeline, in a line of plain text.
fn happening(what: &Happening) -> Fact {
    let (class, text) = match what {
        Happening::ChannelLost => ("bad", "The channel was deleted; a new one was owed".to_owned()),
        Happening::SeverityChanged { from, to, by, reason } => {
            let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            ("wait", format!("{from} became {to}, says {}{because}", by.name))
        }
        Happening::RoleTaken { role, person, by } if person.id == by.id => ("work", format!("{} is {role}", person.name)),
        Happening::RoleTaken { role, person, by } => ("work", format!("{} is {role}, named by {}", person.name, by.name)),
        Happening::Acknowledged { by } => ("good", format!("{} is on it", by.name)),
        Happening::Escalated { level } => ("bad", format!("Nobody had acknowledged: level {level} was told")),
        Happening::Noted { by, text } => ("quiet", format!("{}: {text}", by.name)),
        Happening::Updated { by, text } => ("work", format!("Update by {}: {text}", by.name)),
        Happening::MessageMarked { author, text, .. } => {
            ("quiet", format!("📌 {author}: {}", text.as_deref().unwrap_or("a message")))
        }
        Happening::Paged { level, outcome } => paged(*level, outcome),
        Happening::Resolved { by, summary } => ("good", format!("Resolved by {}: {summary}", by.name)),
    };
    Fact { class, text }
}

fn opened_by(by: &Opener) -> String {
    match by {
        Opener::Person(person) => format!(" by {}", person.name),
        Opener::Run { run, why } => format!(" by {run}: {why}"),
    }
}

fn paged(level: u32, outcome: &Delivery) -> (&'static str, String) {
    let what = level_name(level);
    match outcome {
        Delivery::Delivered => ("work", format!("The pager took the page for {what}")),
        Delivery::NotConfigured => ("wait", format!("Nobody was paged for {what}: no pager is configured")),
        Delivery::Refused { why } => ("bad", format!("The page for {what} was refused: {why}")),
    }
}

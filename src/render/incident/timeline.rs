//! What happened to an incident, a line for each thing.

use super::View;
use super::link;
use crate::domain::incident::{Delivery, Entry, Event};
use crate::render::limits;
use crate::render::text::{clock, code, escape, person};

/// Quoted text is cut here, so that one long note does not push the others out of a list.
const QUOTE_MAX: usize = 200;

/// The lines of these entries, in their order.
pub(super) fn lines<'a>(view: View<'_>, entries: impl IntoIterator<Item = &'a Entry>) -> Vec<String> {
    entries.into_iter().map(|entry| format!("{} {}", clock(entry.at), what(view, &entry.event))).collect()
}

fn quote(text: &str) -> String {
    escape(&limits::cut(text, QUOTE_MAX))
}

/// What happened, in one line, quotes cut. An event that never stands on a timeline shows its name.
fn what(view: View<'_>, event: &Event) -> String {
    match event {
        Event::ChannelLost { .. } => "🗑 the channel was deleted; a new one was owed".to_owned(),
        Event::SeverityChanged { from, to, by, reason } => {
            let because = if reason.is_empty() { String::new() } else { format!(": {}", quote(reason)) };
            format!("🎚 {from} → **{to}** by {}{because}", person(by))
        }
        Event::RoleTaken { role, person: who, by } if who.id == by.id => format!("🧑 {} is {role}", person(who)),
        Event::RoleTaken { role, person: who, by } => format!("🧑 {} is {role}, named by {}", person(who), person(by)),
        Event::Acknowledged { by } => format!("👋 {} is on it", person(by)),
        Event::Escalated { level } => format!("📣 nobody had acknowledged: level {level}"),
        Event::Noted { by, text } => format!("📝 {}: {}", person(by), quote(text)),
        Event::Updated { by, text } => format!("📢 {}: {}", person(by), quote(text)),
        Event::MessageMarked { message, author, text, .. } => {
            let text = text.as_deref().map_or_else(|| "a message".to_owned(), quote);
            format!("📌 **{}**: {text} ([message]({}))", escape(author), link(view, *message))
        }
        Event::Paged { level, outcome } => paged(*level, outcome),
        Event::Resolved { by, summary } => format!("✅ resolved by {}: {}", person(by), quote(summary)),
        Event::Opened(_)
        | Event::ChannelOpened { .. }
        | Event::ArchiveDue
        | Event::ChannelArchived
        | Event::DeletionDue
        | Event::ChannelDeleted
        | Event::MessagePosted { .. }
        | Event::MessageLost { .. }
        | Event::SummaryPinned { .. }
        | Event::StatusPageTold { .. }
        | Event::StatusDue { .. }
        | Event::FactsGiven { .. }
        | Event::ActionAdded { .. }
        | Event::PublishRequested { .. }
        | Event::IssuePublished { .. }
        | Event::IssueDelayed { .. }
        | Event::ReviewScheduled { .. }
        | Event::ReviewNear => code(crate::domain::incident::kind_of(event)),
    }
}

/// What came of waking somebody.
pub(super) fn paged(level: u32, outcome: &Delivery) -> String {
    let what = level_name(level);
    match outcome {
        Delivery::Delivered => format!("📟 paged for {what}"),
        Delivery::NotConfigured => format!("📟 nobody was paged for {what}: no pager is configured"),
        Delivery::Refused { why } => format!("📟 the page for {what} was refused: {}", quote(why)),
    }
}

/// What an escalation level is called.
pub(super) fn level_name(level: u32) -> String {
    if level == 0 { "the opening".to_owned() } else { format!("level {level}") }
}

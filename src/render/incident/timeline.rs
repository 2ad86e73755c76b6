//! What happened to an incident, a line for each thing.

use super::View;
use super::link;
use crate::domain::incident::{Delivery, Entry, Happening};
use crate::render::limits;
use crate::render::text::{clock, escape, level_name, person};

/// Quoted text is cut here, so that one long note does not push the others out of a list.
const QUOTE_MAX: usize = 200;

/// The lines of these entries, in their order.
pub(super) fn lines<'a>(view: View<'_>, entries: impl IntoIterator<Item = &'a Entry>) -> Vec<String> {
    entries.into_iter().map(|entry| format!("{} {}", clock(entry.at), what(view, &entry.what))).collect()
}

fn quote(text: &str) -> String {
    escape(&limits::cut(text, QUOTE_MAX))
}

/// What happened, in one line, quotes cut.
fn what(view: View<'_>, happening: &Happening) -> String {
    match happening {
        Happening::ChannelLost => "🗑 the channel was deleted; a new one was owed".to_owned(),
        Happening::SeverityChanged { from, to, by, reason } => {
            let because = if reason.is_empty() { String::new() } else { format!(": {}", quote(reason)) };
            format!("🎚 {from} → **{to}** by {}{because}", person(by))
        }
        Happening::RoleTaken { role, person: who, by } if who.id == by.id => format!("🧑 {} is {role}", person(who)),
        Happening::RoleTaken { role, person: who, by } => format!("🧑 {} is {role}, named by {}", person(who), person(by)),
        Happening::Acknowledged { by } => format!("👋 {} is on it", person(by)),
        Happening::Escalated { level } => format!("📣 nobody had acknowledged: level {level}"),
        Happening::Noted { by, text } => format!("📝 {}: {}", person(by), quote(text)),
        Happening::Updated { by, text } => format!("📢 {}: {}", person(by), quote(text)),
        Happening::MessageMarked { message, author, text, .. } => {
            let text = text.as_deref().map_or_else(|| "a message".to_owned(), quote);
            format!("📌 **{}**: {text} ([message]({}))", escape(author), link(view, *message))
        }
        Happening::Paged { level, outcome } => paged(*level, outcome),
        Happening::Resolved { by, summary } => format!("✅ resolved by {}: {}", person(by), quote(summary)),
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

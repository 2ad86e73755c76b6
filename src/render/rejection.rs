//! Refusals: what, why, and what to do next.

use super::message::Message;
use super::text::defuse;
use crate::domain::run::Rejection;

/// The refusal of something that a person asked for.
#[must_use]
pub fn rejected(rejection: &Rejection) -> Message {
    refused(&rejection.to_string(), rejection.advice())
}

/// A refusal in words: why, and what to do next.
#[must_use]
pub fn refused(why: &str, next: &str) -> Message {
    let why = sentence(&defuse(why));
    Message::plain(format!("🚫 {why}\n{next}")).fitted()
}

/// Several mistakes at once.
#[must_use]
pub fn mistakes(what: &str, mistakes: &[String], next: &str) -> Message {
    let lines: Vec<String> = mistakes.iter().map(|mistake| format!("– {}", defuse(mistake))).collect();
    let room = super::limits::CONTENT_MAX - super::limits::len(what) - super::limits::len(next) - 10;
    Message::plain(format!("🚫 {what}\n{}\n{next}", super::limits::lines(&lines, room))).fitted()
}

/// A fragment as errors are written, made into a sentence.
fn sentence(fragment: &str) -> String {
    let mut chars = fragment.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let rest = chars.as_str();
    let stop = if rest.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{rest}{stop}")
}

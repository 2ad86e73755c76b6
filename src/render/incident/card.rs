//! The pinned card: what is wrong, how bad it is, who has it in hand, what comes next.

use super::timeline::paged;
use super::{View, colour, status, title};
use crate::domain::incident::{Opener, ResponderRole, State};
use crate::render::limits;
use crate::render::message::{Button, Colour, Embed, IncidentPress, Message, Press, Style};
use crate::render::text::{clock, code, date, escape, level_name, person, relative, roles};

/// Renders the card.
pub(super) fn render(view: View<'_>) -> Message {
    let state = view.state;
    let mut embed = Embed {
        title: if state.is_open() { format!("🚨 {}", title(state)) } else { format!("✅ {}", title(state)) },
        description: limits::lines(&head(state), limits::DESCRIPTION_MAX),
        colour: if state.is_open() { colour(state.severity) } else { Colour::Green },
        ..Embed::default()
    };
    embed.field("Who", &responders(state));
    embed.field("Runs", &status::runs(view));
    embed.field("Pages", &pages(state));
    embed.field("Status updates", &updates(state));
    embed.field("Next", &next(state));
    Message::framed(embed).with_buttons(buttons(state))
}

fn head(state: &State) -> Vec<String> {
    let mut lines = vec![format!("**{}** {}", state.severity, state.severity.meaning()), status::standing(state)];
    lines.push(opened(state));
    if state.opened.customer_facing {
        lines.push("🌍 customers notice: the status page is told".to_owned());
    }
    if state.opened.private {
        lines.push("🔒 private: only those named for it see this channel".to_owned());
    }
    if let Some(why) = &state.fallback {
        lines.push(format!("⚠ no channel of its own: {}", escape(why)));
    }
    lines.extend(unsaid(state));
    if let Some(resolution) = &state.resolved {
        lines.push(format!("Mended: {}", escape(&resolution.summary)));
    }
    lines
}

/// What chat does not take, and why: this card can be edited where nothing can be posted any more, and `/incident status`
/// shows the same.
fn unsaid(state: &State) -> Option<String> {
    let refused: Vec<_> = state.owed.iter().filter_map(|owed| Some((owed.since, owed.refused.as_ref()?))).collect();
    let (since, why) = refused.first()?;
    let how_many = if refused.len() == 1 { "1 message is".to_owned() } else { format!("{} messages are", refused.len()) };
    let why = escape(why);
    Some(format!(
        "🔇 **{how_many} missing here**, the first since {}: {why}. Nothing is lost: they follow in order.",
        clock(*since)
    ))
}

fn opened(state: &State) -> String {
    match &state.opened.by {
        Opener::Person(by) => format!("opened by {} {}", person(by), date(state.opened_at)),
        Opener::Run { run, why } => format!("opened by run {} {}: {}", code(run.as_str()), date(state.opened_at), escape(why)),
    }
}

/// Who has which role; a role that nobody has is named, because that is what somebody must act on.
pub(super) fn responders(state: &State) -> Vec<String> {
    let holder = |role: ResponderRole| match state.roles.get(&role) {
        Some(holder) => format!("{role}: {}", person(holder)),
        None if state.is_open() => format!("{role}: nobody yet"),
        None => format!("{role}: nobody"),
    };
    ResponderRole::ALL.into_iter().map(holder).collect()
}

fn pages(state: &State) -> Vec<String> {
    let line = |(level, page): (&u32, &crate::domain::incident::Page)| match &page.outcome {
        Some(outcome) => paged(*level, outcome),
        None => format!("📟 being paged for {}, since {}", level_name(*level), clock(page.since)),
    };
    state.pages.iter().map(line).collect()
}

fn updates(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    if state.last_status_at > state.opened_at {
        lines.push(format!("last {}", clock(state.last_status_at)));
    }
    match state.beat {
        Some(beat) => lines.push(format!("next {} ({}), every {}", relative(beat.next), clock(beat.next), beat.every)),
        None if state.is_open() => lines.push(format!("none by itself at {}; `/incident update` gives one", state.severity)),
        None => {}
    }
    lines
}

/// What happens next and who must act; last, because that is where eyes rest.
fn next(state: &State) -> Vec<String> {
    if !state.is_open() {
        let meeting = state.review.as_ref().map(|review| format!("Review meeting {}.", date(review.at)));
        return std::iter::once("The post-mortem: see its card.".to_owned()).chain(meeting).collect();
    }
    let mut lines = Vec::new();
    if let Some((level, at)) = state.next_escalation() {
        let told = state.policy().escalation.get(level.saturating_sub(1) as usize).map(|level| roles(&level.roles));
        let told = told.unwrap_or_default();
        lines.push(format!("Nobody is on it yet. Level {level} ({told}) is told {}.", relative(at)));
    } else if state.acknowledged.is_none() {
        lines.push("Nobody is on it yet.".to_owned());
    }
    if !state.roles.contains_key(&ResponderRole::Commander) {
        lines.push("Somebody takes command: `/incident role`.".to_owned());
    }
    lines.push("`/incident update` tells how it goes, `/rollback now` goes back, `/incident resolve` ends it.".to_owned());
    lines
}

fn buttons(state: &State) -> Vec<Button> {
    if !state.is_open() {
        return Vec::new();
    }
    let button = |press, label: &str, style, emoji| Button {
        press: Press::Incident { incident: *state.id(), press },
        label: label.to_owned(),
        style,
        emoji: Some(emoji),
        disabled: false,
    };
    let mut buttons = Vec::new();
    if state.acknowledged.is_none() {
        buttons.push(button(IncidentPress::Acknowledge, "Acknowledge", Style::Primary, "👋"));
    }
    buttons.push(button(IncidentPress::Resolve, "Resolve", Style::Success, "✅"));
    buttons
}

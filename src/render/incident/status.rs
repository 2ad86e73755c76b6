//! Where incidents stand: in a line, as a list, as a page; and what happened to one.

use super::{View, card, colour, timeline, title};
use crate::domain::incident::{IncidentId, State};
use crate::render::View as RunView;
use crate::render::limits;
use crate::render::message::{Colour, Embed, Message};
use crate::render::text::{clock, code, date, escape, person, relative};

/// An incident that was set aside, because its records do not make sense or because of a defect.
#[derive(Debug, Clone, Copy)]
pub struct SetAside<'a> {
    /// Which.
    pub incident: &'a IncidentId,
    /// What is wrong.
    pub why: &'a str,
}

/// Those set aside, then the others as given, a few lines each.
#[must_use]
pub fn list(incidents: &[View<'_>], set_aside: &[SetAside<'_>]) -> Message {
    let aside = set_aside.iter().map(|stuck| format!("{} {}", code(&stuck.incident.to_string()), aside(stuck.why)));
    let shown = incidents.iter().filter(|view| set_aside.iter().all(|stuck| stuck.incident != view.state.id()));
    let lines: Vec<String> = aside.chain(shown.map(|view| list_line(view.state))).collect();
    let description = if lines.is_empty() {
        "No incident is known. `/incident open` opens one.".to_owned()
    } else {
        limits::lines(&lines, limits::DESCRIPTION_MAX)
    };
    let worst = incidents.iter().filter(|view| view.state.is_open()).map(|view| view.state.severity).min();
    let colour = if set_aside.is_empty() { worst.map_or(Colour::Grey, colour) } else { Colour::Red };
    Message::framed(Embed { title: "Incidents".to_owned(), description, colour, ..Embed::default() }).fitted()
}

/// What an incident's being set aside means, and what to do about it.
fn aside(why: &str) -> String {
    format!(
        "⛔ set aside: {}\nNothing more is done for it: no status update comes, nobody is woken, and it takes nothing in. Lead it by hand, or \
         open another with `/incident open`. A restart of the bot reads it again; if it is set aside again, `pointsman audit verify` tells \
         whether the journal was changed.",
        escape(why)
    )
}

/// The title of a private incident is left out: lists are read by people who may not know.
fn list_line(state: &State) -> String {
    let what = if state.opened.private { "🔒 private".to_owned() } else { escape(&state.opened.title) };
    let place = state.channel.filter(|_| state.closed_at.is_none()).map(|channel| format!(" <#{channel}>")).unwrap_or_default();
    format!("**{}** {}{place} · {what}\n{}", state.severity, code(&state.id().to_string()), standing(state))
}

/// One incident: what its card says, without the buttons; first of all that it is set aside, if it is, with why. Everything
/// is said even of a private one: whether the one who asks may know it is decided before.
#[must_use]
pub fn one(view: View<'_>, set_aside: Option<&str>) -> Message {
    let mut message = card::render(view);
    message.rows.clear();
    if let (Some(why), Some(embed)) = (set_aside, message.embeds.first_mut()) {
        embed.description = format!("{}\n{}", aside(why), embed.description);
        embed.colour = Colour::Red;
    }
    message.fitted()
}

/// What happened to an incident, the newest last; the oldest are counted if not all fit.
#[must_use]
pub fn timeline(view: View<'_>) -> Message {
    let state = view.state;
    let first = format!("{} opened as {}", date(state.opened_at), state.opened.severity);
    let lines = timeline::lines(view, &state.timeline);
    let description = limits::newest_lines(&[vec![first], lines].concat(), limits::DESCRIPTION_MAX);
    Message::framed(Embed {
        title: format!("🕰 {}", title(state)),
        description,
        colour: if state.is_open() { colour(state.severity) } else { Colour::Grey },
        ..Embed::default()
    })
    .fitted()
}

/// Where an incident stands, in one line.
#[must_use]
pub(super) fn standing(state: &State) -> String {
    if state.closed_at.is_some() {
        return "📦 closed: its channel was exported and deleted".to_owned();
    }
    if let Some(resolution) = &state.resolved {
        let lasted = state.lasted(resolution.at);
        return format!("✅ resolved by {} {} after {lasted}", person(&resolution.by), date(resolution.at));
    }
    match &state.acknowledged {
        Some(acknowledged) => format!("👋 {} is on it since {}", person(&acknowledged.by), clock(acknowledged.at)),
        None => match state.next_escalation() {
            Some((level, at)) => format!("🔔 nobody is on it; level {level} is told {}", relative(at)),
            None => "🔔 nobody is on it".to_owned(),
        },
    }
}

/// The linked runs, each with where it stands.
pub(super) fn runs(view: View<'_>) -> Vec<String> {
    view.runs.iter().map(run_line).collect()
}

/// A run: which, where to read about it, where it stands.
pub(super) fn run_line(run: &RunView<'_>) -> String {
    let state = run.state;
    let place = state.thread.map_or_else(|| code(state.id().as_str()), |thread| format!("<#{thread}>"));
    format!("{place} {}\n{}", escape(&state.runbook().title), crate::render::status::standing(state, run.now))
}

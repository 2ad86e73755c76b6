//! What people read about an incident: the pinned card, status updates, notes, the post-mortem's card, answers to
//! `/incident` and refusals.
//!
//! As for a run: pure functions of a [`View`], and an owed message ends with its [`marker`], by which it is found
//! again. One thing is added: a private incident whose place is the fallback channel says there that it exists and
//! how bad it is, and nothing else, because everybody reads that channel.

mod beat;
mod card;
mod note;
mod post_mortem;
pub mod status;
mod timeline;

#[cfg(test)]
mod tests;

use super::message::{Colour, Embed, Message, Pings};
use super::text::{code, escape};
use crate::domain::incident::{IncidentId, MessageKind, Owed, Rejection, Severity, State};
use crate::domain::{GuildId, MessageKey, MessageRef, RoleName, Timestamp};

/// What a message is made from: an incident as it stands at one moment.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The incident.
    pub state: &'a State,
    /// The hash of its journal's last record, in hex.
    pub head: &'a str,
    /// The run that it was opened about and those that were started from inside it, the oldest first; may be empty.
    pub runs: &'a [super::View<'a>],
    /// The server that it lives in: links to messages name it.
    pub guild: GuildId,
    /// Now.
    pub now: Timestamp,
}

/// What an owed message says.
#[must_use]
pub fn message(view: View<'_>, owed: &Owed) -> Message {
    let message = if is_public(view.state) {
        discreet(view, &owed.kind)
    } else {
        match &owed.kind {
            MessageKind::Summary => card::render(view),
            MessageKind::PostMortem => post_mortem::render(view),
            MessageKind::Beat { due, missed } => beat::render(view, *due, *missed),
            MessageKind::Note { event, at } => note::render(view, event, *at),
        }
    };
    let marker = marker(view.state.id(), &owed.key, owed.generation);
    message.marked(super::footer(&marker, owed.kind.stands_for())).fitted()
}

/// The last line of an owed message: incident, key and, if it was lost before, which copy this is; see
/// [`super::marker`].
#[must_use]
pub fn marker(incident: &IncidentId, key: &MessageKey, generation: u32) -> String {
    super::marked(incident, key, generation)
}

/// The refusal of something that a person asked for: what, why, what to do next, and the code to search for.
#[must_use]
pub fn rejected(rejection: &Rejection) -> Message {
    let next = format!("{}\n{}", rejection.advice(), code(rejection.code()));
    super::rejection::refused(&rejection.to_string(), &next)
}

/// Whether what is said about a private incident would be read by everybody.
fn is_public(state: &State) -> bool {
    state.opened.private && state.fallback.is_some()
}

/// What everybody may know of a private incident: that it is there, how bad it is, whether somebody is on it.
fn discreet(view: View<'_>, kind: &MessageKind) -> Message {
    let state = view.state;
    let what = match kind {
        MessageKind::Summary => "🔒 A private incident",
        MessageKind::PostMortem => "🔒 The post-mortem of a private incident is being written",
        MessageKind::Beat { .. } => "🔒 A status update of a private incident was due",
        MessageKind::Note { .. } => "🔒 Something happened in a private incident",
    };
    let lines = [
        format!("{what}: {} · {}", code(&state.id().to_string()), state.severity),
        status::standing(state),
        "What it is about is not said here: everybody reads this channel. Whoever may know runs `/incident status`.".to_owned(),
    ];
    let colour = if state.is_open() { colour(state.severity) } else { Colour::Grey };
    Message::framed(Embed { description: lines.join("\n"), colour, ..Embed::default() })
}

/// The heading of an incident's message: `SEV1 · inc-20261121-001 · Checkout is down`.
fn title(state: &State) -> String {
    format!("{} · {} · {}", state.severity, state.id(), escape(&state.opened.title))
}

fn colour(severity: Severity) -> Colour {
    match severity {
        Severity::Sev1 | Severity::Sev2 => Colour::Red,
        Severity::Sev3 => Colour::Amber,
        Severity::Sev4 => Colour::Blue,
    }
}

/// Pings everybody who holds one of these roles, as the incident's policy maps them.
fn ping_roles<'a>(state: &State, roles: impl IntoIterator<Item = &'a RoleName>) -> Pings {
    let mut pings = Pings::default();
    for role in roles {
        for id in state.policy().roles.get(role).into_iter().flatten() {
            if !pings.roles.contains(id) {
                pings.roles.push(*id);
            }
        }
    }
    pings
}

/// Pings those who respond: whoever has a role, and whoever acknowledged or resolved it.
fn ping_responders(state: &State) -> Pings {
    let acknowledged = state.acknowledged.iter().map(|acknowledged| acknowledged.by.id);
    let resolved = state.resolved.iter().map(|resolution| resolution.by.id);
    let mut pings = Pings::default();
    for id in state.roles.values().map(|person| person.id).chain(acknowledged).chain(resolved) {
        if !pings.users.contains(&id) {
            pings.users.push(id);
        }
    }
    pings
}

/// The address of a message.
fn link(view: View<'_>, message: MessageRef) -> String {
    format!("https://discord.com/channels/{}/{}/{}", view.guild, message.channel, message.message)
}

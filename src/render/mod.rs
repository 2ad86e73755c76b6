//! State to text: what people read in chat, and the same on the command line.
//!
//! Pure functions of a [`View`]: the same state gives the same message, so that a message is edited only when what it
//! says has changed, and every text can be kept as a snapshot. The messages are neutral; the Discord room
//! turns them into requests.
//!
//! Invariants:
//! - Text that people or runbooks gave goes through [`text::escape`], [`text::code`] or [`text::defuse`]: it never becomes
//!   formatting or a mention.
//! - Nobody is pinged who is not listed in [`Pings`].
//! - What is too long is cut with "… N more", never refused: a card that cannot be posted helps nobody.
//! - An owed message ends with its [`marker`], by which it is found again.
//!
//! Made to be read at 3 a.m. on a phone: short lines, no tables, the next step and who must act last.

mod beat;
pub mod board;
mod changes;
mod gate_card;
pub mod incident;
pub mod limits;
mod lists;
mod message;
mod note;
pub mod plan;
mod plan_card;
pub mod post_mortem;
mod progress;
mod question;
pub mod rejection;
mod runbook;
pub mod runbooks;
mod sign_off;
pub mod status;
mod summary;
pub mod text;
pub mod timeline_svg;
mod verb;
mod whoami;

#[cfg(test)]
mod tests;

use crate::domain::run::{MessageKey, MessageKind, Owed, Progress, State};
use crate::domain::{RoleName, RunId, Timestamp};

pub use message::{Attachment, Button, Colour, Embed, Field, IncidentPress, Message, Pings, Press, Style};
pub use runbook::runbook_page;
pub use sign_off::sign_off_status;
pub use verb::bind;
pub use whoami::{Allowed, Whoami, whoami};

/// What a message is made from: a run as it stands at one moment.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The run.
    pub state: &'a State,
    /// The hash of its journal's last record, in hex.
    pub head: &'a str,
    /// How far the steps under way are, newest first.
    pub progress: &'a [Progress],
    /// Now.
    pub now: Timestamp,
}

/// What an owed message says.
#[must_use]
pub fn message(view: View<'_>, owed: &Owed) -> Message {
    let message = match &owed.kind {
        MessageKind::PlanCard => plan_card::render(view),
        MessageKind::Progress => progress::render(view),
        MessageKind::GateCard { gate, card } => gate_card::render(view, gate, *card),
        MessageKind::Question { id } => question::render(view, *id),
        MessageKind::Confirm { step } => lists::confirm(view, step),
        MessageKind::Checklist { step } => lists::checklist(view, step),
        MessageKind::Afterwards => lists::afterwards(view),
        MessageKind::Beat { due, missed } => beat::render(view, *due, *missed),
        MessageKind::Note(event) => note::render(view, event),
        MessageKind::Summary => summary::render(view),
    };
    message.marked(footer(&marker(view.state.id(), &owed.key, owed.generation), owed.kind.stands_for())).fitted()
}

/// The last line of an owed message: run, key and, if it was lost before, which copy this is. An earlier copy
/// that is still there but can no longer be edited must not be taken for the new one.
#[must_use]
pub fn marker(run: &RunId, key: &MessageKey, generation: u32) -> String {
    marked(run, key, generation)
}

/// The marker as it stands in a message that tells of so many status updates. The bot reads it there: after a crash nobody
/// else remembers how many of them had fallen due when the message was made.
fn footer(marker: &str, tells_of: u32) -> String {
    if tells_of == 1 { marker.to_owned() } else { format!("{marker}{OF_SEVERAL}{tells_of}") }
}

/// Between a marker and the number of status updates.
const OF_SEVERAL: &str = " · updates: ";

/// How many status updates a message tells of whose last line is this; `None` if it is not this message.
#[must_use]
pub fn told(footer: &str, marker: &str) -> Option<u32> {
    match footer.strip_prefix(marker)? {
        "" => Some(1),
        rest => rest.strip_prefix(OF_SEVERAL)?.parse().ok(),
    }
}

fn marked(owner: &dyn std::fmt::Display, key: &MessageKey, generation: u32) -> String {
    match generation {
        0 => format!("{owner} · {key}"),
        lost => format!("{owner} · {key} · copy {}", lost + 1),
    }
}

/// Pings everybody who holds one of these roles, as the plan maps them.
fn ping_roles<'a>(state: &State, roles: impl IntoIterator<Item = &'a RoleName>) -> Pings {
    let mut pings = Pings::default();
    for role in roles {
        for id in state.plan().roles.get(role).into_iter().flatten() {
            if !pings.roles.contains(id) {
                pings.roles.push(*id);
            }
        }
    }
    pings
}

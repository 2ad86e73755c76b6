//! Who has signed and who is missing, on request.

use super::View;
use super::gate_card::{reading, signatures};
use super::message::{Colour, Embed, Message};
use super::status::{gate_title, standing};
use super::text::{clock, code, relative};

/// The gates of a run that have been opened, the open one first.
#[must_use]
pub fn sign_off_status(view: View<'_>) -> Message {
    let state = view.state;
    let head = format!("{} · digest {}", code(state.id().as_str()), code(&state.started.digest.short()));
    let now = format!("Now: {}", standing(state, view.now));
    let mut embed =
        Embed { title: "Sign-off".to_owned(), description: format!("{head}\n{now}"), colour: Colour::Blue, ..Embed::default() };
    let open = state.open_gate().map(|(gate, _)| gate);
    let ordered = state.gates.iter().filter(|(gate, _)| Some(*gate) == open);
    let ordered = ordered.chain(state.gates.iter().filter(|(gate, _)| Some(*gate) != open));
    for (gate, opened) in ordered {
        let mut lines = signatures(state, gate, opened);
        if Some(gate) == open {
            lines.extend(opened.readings.iter().flatten().filter(|r| !r.is_green()).map(reading));
            lines.push(format!("closes {} ({})", relative(opened.expires_at), clock(opened.expires_at)));
        }
        embed.field(&gate_title(state, gate).replace("**", ""), &lines);
    }
    if state.gates.is_empty() {
        embed.description.push_str("\nNo gate has opened yet.");
    }
    Message::framed(embed).fitted()
}

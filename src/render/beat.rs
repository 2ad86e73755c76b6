//! A run's status update: where it stands, what changed, plan and window, who must act, the way back, when the next one comes.

use super::message::{Colour, Embed, Message};
use super::progress;
use super::status::{colour, forecast, glass_mark, standing, title, ways_back};
use super::text::{clock, missing, relative};
use super::{View, changes, gate_card, limits};
use crate::domain::run::State;
use crate::domain::{Duration, Timestamp};

/// An update that becomes visible later than this after it was due says so. Below it, it is as punctual as a person
/// can tell.
const LATE_AFTER: Duration = Duration::from_minutes(1);

/// Renders the update that was due at `due` and stands for `missed` later ones.
pub(super) fn render(view: View<'_>, due: Timestamp, missed: u32) -> Message {
    let state = view.state;
    let mut lines = vec![standing(state, view.now)];
    lines.extend(glass_mark(state));
    lines.push(progress::overall(state));
    let mut embed = Embed {
        title: title(state, "Status update"),
        description: limits::lines(&lines, limits::DESCRIPTION_MAX),
        colour: if is_late(due, view.now) { Colour::Amber } else { colour(state, view.now) },
        ..Embed::default()
    };
    embed.field("Late", &late(due, missed, view.now));
    embed.field("Changed since the last update", &changed(state, due));
    embed.field("Forecast", &forecast(view));
    embed.field("Criteria", &criteria(state));
    embed.field("Still to sign", &still_to_sign(state));
    embed.field("Way back", &ways_back(view));
    let next = state.beat.map(|beat| format!("{} ({})", relative(beat.next), clock(beat.next)));
    embed.field("Next update", next.as_slice());
    Message::framed(embed)
}

fn changed(state: &State, due: Timestamp) -> Vec<String> {
    shown(&changes::lines(state, state.told_before(due)))
}

/// The newest of these lines, or that there are none.
pub(super) fn shown(changes: &[String]) -> Vec<String> {
    if changes.is_empty() {
        vec!["nothing that was written down".to_owned()]
    } else {
        vec![limits::newest_lines(changes, limits::FIELD_VALUE_MAX)]
    }
}

pub(super) fn is_late(due: Timestamp, now: Timestamp) -> bool {
    Duration::between(due, now) > LATE_AFTER
}

/// What a late update says about itself; nothing if it is punctual.
pub(super) fn late(due: Timestamp, missed: u32, now: Timestamp) -> Vec<String> {
    if !is_late(due, now) {
        return Vec::new();
    }
    let by = Duration::between(due, now);
    let count = match missed {
        0 => String::new(),
        1 => " It stands for 1 later update as well, which was missed.".to_owned(),
        missed => format!(" It stands for {missed} later updates as well, which were missed."),
    };
    vec![format!("⏰ This update was due {} and comes {by} late.{count}", clock(due))]
}

/// The newest values of the criteria that somebody waits for.
pub(super) fn criteria(state: &State) -> Vec<String> {
    let Some((_, gate)) = state.open_gate() else { return Vec::new() };
    gate.readings.iter().flatten().map(gate_card::reading).collect()
}

pub(super) fn still_to_sign(state: &State) -> Vec<String> {
    let Some((gate, _)) = state.open_gate() else { return Vec::new() };
    let quorum = state.quorum(gate).map(|quorum| quorum.missing).unwrap_or_default();
    if quorum.is_empty() { Vec::new() } else { vec![missing(&quorum)] }
}

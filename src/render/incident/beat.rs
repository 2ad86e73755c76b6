//! An incident's status update: where it stands, its runs, what changed, who commands, when the next one comes.

use super::{View, card, colour, status, timeline, title};
use crate::domain::Timestamp;
use crate::domain::incident::{Happening, MessageKind, State};
use crate::render::beat::{criteria, is_late, late, still_to_sign};
use crate::render::message::{Colour, Embed, Message};
use crate::render::progress;
use crate::render::status::{forecast, rollbacks};
use crate::render::text::{clock, escape, relative};
use crate::render::{View as RunView, limits};

/// The most runs that an update tells of in full; the others stand in a line each.
const RUNS_MAX: usize = 3;

/// Renders the update that was due at `due` and stands for `missed` later ones.
pub(super) fn render(view: View<'_>, due: Timestamp, missed: u32) -> Message {
    let state = view.state;
    let lines = [status::standing(state), format!("since {} · {}", clock(state.opened_at), state.lasted(view.now))];
    let mut embed = Embed {
        title: format!("📢 {}", title(state)),
        description: lines.join("\n"),
        colour: if is_late(due, view.now) { Colour::Amber } else { colour(state.severity) },
        ..Embed::default()
    };
    embed.field("Late", &late(due, missed, view.now));
    embed.field("Changed since the last update", &changes(view, due));
    for run in view.runs.iter().filter(|run| run.state.end.is_none()).take(RUNS_MAX) {
        embed.field(&run_heading(run), &run_lines(*run));
    }
    let rest: Vec<String> = others(view).map(status::run_line).collect();
    embed.field("Other runs", &rest);
    embed.field("Who", &card::responders(state));
    let next = state.beat.map(|beat| format!("{} ({})", relative(beat.next), clock(beat.next)));
    embed.field("Next update", next.as_slice());
    Message::framed(embed)
}

fn others<'a>(view: View<'a>) -> impl Iterator<Item = &'a RunView<'a>> {
    let (live, ended): (Vec<_>, Vec<_>) = view.runs.iter().partition(|run| run.state.end.is_none());
    live.into_iter().skip(RUNS_MAX).chain(ended)
}

fn run_heading(run: &RunView<'_>) -> String {
    format!("{} · {}", run.state.id(), escape(&run.state.runbook().title))
}

/// A run's phase and step, how far it is, its forecast, what it waits for, and the way back.
fn run_lines(run: RunView<'_>) -> Vec<String> {
    let state = run.state;
    let mut lines = vec![crate::render::status::standing(state, run.now), progress::overall(state)];
    lines.extend(progress::newest(run));
    lines.extend(forecast(run));
    lines.extend(criteria(state));
    lines.extend(still_to_sign(state).into_iter().map(|missing| format!("Still to sign: {missing}")));
    lines.extend(rollbacks(state).into_iter().map(|line| format!("↩ {line}")));
    lines
}

/// What changed since the update before the one that was due at `due`.
fn changes(view: View<'_>, due: Timestamp) -> Vec<String> {
    let since = before(view.state, due);
    let lines = timeline::lines(view, view.state.changes_since(since));
    if lines.is_empty() {
        vec!["nothing that was written down".to_owned()]
    } else {
        vec![limits::newest_lines(&lines, limits::FIELD_VALUE_MAX)]
    }
}

/// When people last heard: the update before, whether the bot's or a person's, else the opening.
fn before(state: &State, due: Timestamp) -> Timestamp {
    let beats = state.owed.iter().filter_map(|owed| match owed.kind {
        MessageKind::Beat { due, .. } => Some(due),
        MessageKind::Summary | MessageKind::PostMortem | MessageKind::Note { .. } => None,
    });
    let told = state.timeline.iter().filter(|entry| matches!(*entry.what, Happening::Updated { .. })).map(|entry| entry.at);
    beats.chain(told).filter(|at| *at < due).max().unwrap_or(state.opened_at)
}

//! An incident's status update: where it stands, its runs, what changed, who commands, when the next one comes.

use super::{View, card, colour, status, timeline, title};
use crate::domain::Timestamp;
use crate::domain::incident::Entry;
use crate::render::beat::{criteria, is_late, late, shown, still_to_sign};
use crate::render::message::{Colour, Embed, Message};
use crate::render::progress;
use crate::render::status::{forecast, ways_back};
use crate::render::text::{clock, code, escape, relative};
use crate::render::{View as RunView, changes};

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
    embed.field("Changed since the last update", &changed(view, due));
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
    lines.extend(ways_back(run).into_iter().map(|line| format!("↩ {line}")));
    lines
}

/// What happened to the incident and to its runs since the update before the one that was due at `due`, in order of time.
fn changed(view: View<'_>, due: Timestamp) -> Vec<String> {
    let since = view.state.told_before(due);
    let entries: Vec<&Entry> = view.state.changes_since(since).collect();
    let own = timeline::lines(view, entries.iter().copied());
    let mut lines: Vec<(Timestamp, String)> = entries.iter().map(|entry| entry.at).zip(own).collect();
    for run in view.runs {
        let id = code(run.state.id().as_str());
        let of_run = changes::since(run.state, since).into_iter();
        lines.extend(of_run.map(|(at, what)| (at, format!("{} {id} {what}", clock(at)))));
    }
    // The sort keeps the order of what happened at the same instant.
    lines.sort_by_key(|(at, _)| *at);
    shown(&lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>())
}

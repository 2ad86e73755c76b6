//! The summary at the end: how it went against how it was planned, and what proves it.

use super::gate_card::{reading, signatures};
use super::message::{Embed, Message, Pings};
use super::progress::took;
use super::status::{colour, gate_title, glass_mark, icon, title};
use super::text::{clock, code, code_block, date, escape, person};
use super::{View, limits};
use crate::domain::Duration;
use crate::domain::run::{Event, MessageKind, State, StepStatus, planned};
use crate::domain::runbook::Step;

/// Renders the summary.
pub(super) fn render(view: View<'_>) -> Message {
    let state = view.state;
    let mut embed = Embed {
        title: title(state, &format!("🏁 {}", escape(&state.runbook().title))),
        description: head(state).join("\n"),
        colour: colour(state, view.now),
        ..Embed::default()
    };
    embed.field("Planned and actual", &times(state));
    embed.field("Rollback", &rollback(state));
    for (gate, opened) in &state.gates {
        let mut lines = signatures(state, gate, opened);
        lines.extend(opened.readings.iter().flatten().map(reading));
        embed.field(&format!("🚦 {}", gate_title(state, gate).replace("**", "")), &lines);
    }
    embed.field("Steps", &steps(state));
    embed.field("Journal", &[audit(view)]);
    // The proof must stay whatever else is cut, and the long list of steps is what gives way.
    let last = embed.fields.len().saturating_sub(2);
    if embed.fields.len() >= 2 {
        embed.fields[last..].reverse();
    }
    Message::framed(embed).pinging(Pings::default().and(state.started.requester.id), "your run is over")
}

fn head(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(ending) = &state.end {
        let by = ending.by.as_ref().map(|by| format!(" · closed by {}", person(by))).unwrap_or_default();
        lines.push(format!("{} **{}** {}{by}", icon(ending.end), ending.end, date(ending.at)));
        lines.extend(ending.reason.as_ref().map(|reason| format!("because: {}", escape(reason))));
    }
    lines.push(format!("{} · digest {}", code(state.id().as_str()), code(&state.started.digest.short())));
    lines.push(format!("asked for by {}", person(&state.started.requester)));
    if state.is_dry_run() {
        let green = if state.rehearsal_red { "A criterion was red: see above." } else { "Nothing was changed." };
        lines.push(green.to_owned());
    }
    lines.extend(glass_mark(state));
    lines
}

fn times(state: &State) -> Vec<String> {
    let started = &state.started;
    let rows = planned(state.runbook(), started.starts_at, started.t_zero);
    let planned_end = rows.last().map_or(started.starts_at, |(_, _, end)| *end);
    let settled = |step: &Step| state.step(&step.step).finished_at;
    let last = state.runbook().phases.iter().flat_map(|phase| &phase.steps).filter_map(settled).max();
    let mut lines = vec![format!("start {}, planned {}", clock(state.started_at), clock(started.starts_at))];
    if let Some(last) = last {
        let (late, sign) = if last > planned_end {
            (Duration::between(planned_end, last), "later")
        } else {
            (Duration::between(last, planned_end), "earlier")
        };
        lines.push(format!("last step {}, planned {}: {late} {sign}", clock(last), clock(planned_end)));
        let window = if last <= started.window_ends_at { "kept" } else { "missed" };
        lines.push(format!("window until {}: {window}", clock(started.window_ends_at)));
    }
    lines
}

fn rollback(state: &State) -> Vec<String> {
    let finished = state.owed.iter().filter_map(|owed| match &owed.kind {
        MessageKind::Note(event) => match event.as_ref() {
            Event::RollbackFinished { rollback, took } => Some((rollback, took)),
            _ => None,
        },
        _ => None,
    });
    let target = |name| state.rollback_definition(name).map(|rollback| rollback.target).unwrap_or_default();
    finished.map(|(name, took)| format!("{} took {took}, target {}", code(name.as_str()), target(name))).collect()
}

fn steps(state: &State) -> Vec<String> {
    let line = |step: &Step| {
        let settled = state.step(&step.step);
        let mark = match &settled.status {
            StepStatus::Succeeded => "✅",
            StepStatus::Failed(_) => "❌",
            StepStatus::Skipped => "⏭",
            StepStatus::Pending
            | StepStatus::Running(_)
            | StepStatus::Waiting { .. }
            | StepStatus::Interrupted { .. }
            | StepStatus::Asserted { .. } => "⬜",
        };
        let attempts = if settled.attempts > 1 { format!(" · {} attempts", settled.attempts) } else { String::new() };
        format!("{mark} {} {}{attempts}", escape(&step.title), took(state, step))
    };
    let done = |name: &crate::domain::RollbackName| state.rolled_back.contains(name);
    let phases = state.runbook().phases.iter().flat_map(|phase| &phase.steps);
    let rollbacks = state.runbook().rollback.iter().filter(|(name, _)| done(name)).flat_map(|(_, rollback)| &rollback.steps);
    phases.chain(rollbacks).map(line).collect()
}

/// What proves afterwards that the journal is whole: a cut tail shows only against a head that is kept elsewhere.
fn audit(view: View<'_>) -> String {
    limits::cut(&code_block(&format!("pointsman audit verify --head {}", view.head)), limits::FIELD_VALUE_MAX)
}

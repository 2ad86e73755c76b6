//! The progress message: every step with its mark, the one under way with bar, rate and ETA.

use super::message::{Embed, Message};
use super::status::{colour, forecast, glass_mark, standing, title};
use super::text::{bar, code, escape, number, relative};
use super::{View, limits};
use crate::domain::Duration;
use crate::domain::run::{Portion, Progress, RollbackStage, State, StepStatus};
use crate::domain::runbook::Step;

/// Portions of one step that get a bar of their own: more would fill a phone's screen.
const BARS_MAX: usize = 8;

/// Room for the parts around the list of steps.
const STEPS_MAX: usize = 3_000;

/// Renders the message.
pub(super) fn render(view: View<'_>) -> Message {
    let state = view.state;
    let mut lines = vec![standing(state, view.now)];
    lines.extend(glass_mark(state));
    lines.push(overall(state));
    let description = format!("{}\n{}", lines.join("\n"), limits::lines(&step_lines(view), STEPS_MAX));
    let mut embed = Embed { title: title(state, "Progress"), description, colour: colour(state, view.now), ..Embed::default() };
    embed.field("Forecast", &forecast(view));
    Message::framed(embed)
}

pub(super) fn overall(state: &State) -> String {
    let steps = || state.runbook().phases.iter().flat_map(|phase| &phase.steps);
    let done = steps().filter(|step| state.step(&step.step).is_settled()).count() as u64;
    let total = steps().count() as u64;
    format!("{} {done} of {total} steps", bar(done, total))
}

fn step_lines(view: View<'_>) -> Vec<String> {
    let state = view.state;
    let mut lines = Vec::new();
    for phase in &state.runbook().phases {
        let settled = phase.steps.iter().all(|step| state.step(&step.step).is_settled());
        if settled {
            lines.push(format!("✅ **{}**", escape(phase.title())));
            continue;
        }
        lines.push(format!("**{}**", escape(phase.title())));
        lines.extend(phase.steps.iter().flat_map(|step| step_line(view, step)));
    }
    let running = |name: &crate::domain::RollbackName| {
        state.rollback.as_ref().is_some_and(|r| r.name == *name && r.stage != RollbackStage::AwaitingGate)
    };
    for (name, rollback) in &state.runbook().rollback {
        if running(name) || state.rolled_back.contains(name) {
            lines.push(format!("**↩ rollback {name}**"));
            lines.extend(rollback.steps.iter().flat_map(|step| step_line(view, step)));
        }
    }
    lines
}

/// A step's line, and more with bars if it tells how far it is.
fn step_line(view: View<'_>, step: &Step) -> Vec<String> {
    let state = view.state.step(&step.step);
    let title = escape(&step.title);
    let estimate = step.estimate.map(|estimate| format!(" (est {estimate})")).unwrap_or_default();
    match &state.status {
        StepStatus::Pending => vec![format!("⬜ {title}{estimate}")],
        StepStatus::Running(attempt) => {
            let again = if attempt.number > 1 { format!(" · attempt {}", attempt.number) } else { String::new() };
            let mut lines = vec![format!("▶ {title}{again} · since {}{estimate}", relative(attempt.since))];
            let newest = view.progress.iter().find(|found| found.step == step.step && found.attempt == attempt.number);
            lines.extend(newest.map(under_way));
            lines.extend(newest.into_iter().flat_map(|newest| portion_lines(&newest.portions)));
            lines
        }
        StepStatus::Waiting { retry_at } => vec![format!("🔁 {title} · tried again {}", relative(*retry_at))],
        StepStatus::Interrupted { .. } => vec![format!("❓ {title} · cut off, outcome unknown")],
        StepStatus::Asserted { .. } => vec![format!("🔎 {title} · being checked")],
        StepStatus::Succeeded => vec![format!("✅ {title} {}", took(view.state, step))],
        StepStatus::Failed(_) => vec![format!("❌ {title}")],
        StepStatus::Skipped => vec![format!("⏭ {title} · not needed")],
    }
}

/// How long a step took, against its estimate.
pub(super) fn took(state: &State, step: &Step) -> String {
    let settled = state.step(&step.step);
    let actual = match (settled.started_at, settled.finished_at) {
        (Some(from), Some(to)) => Duration::between(from, to).to_string(),
        _ => return String::new(),
    };
    match step.estimate {
        Some(estimate) => format!("{actual} (est {estimate})"),
        None => actual,
    }
}

/// The newest report of a step under way, if one tells how far it is.
pub(super) fn newest(view: View<'_>) -> Option<String> {
    let running = |step: &&Step| matches!(view.state.step(&step.step).status, StepStatus::Running(_));
    let step = view.state.runbook().all_steps().find(running)?;
    let StepStatus::Running(attempt) = &view.state.step(&step.step).status else { return None };
    let report = view.progress.iter().find(|found| found.step == step.step && found.attempt == attempt.number);
    report.map(under_way)
}

/// The newest report of an attempt: bar, share, rate, ETA.
fn under_way(newest: &Progress) -> String {
    let unit = escape(&newest.unit);
    let rate = rate(newest);
    let mut parts = match newest.total.filter(|total| *total > 0) {
        Some(total) => vec![
            format!("{} {} %", bar(newest.done, total), newest.done.min(total) * 100 / total),
            format!("{}/{} {unit}", number(newest.done), number(total)),
        ],
        None => vec![format!("{} {unit}", number(newest.done))],
    };
    if let Some(rate) = rate {
        parts.push(format!("{}/s", number(rate)));
        let left = newest.total.map(|total| total.saturating_sub(newest.done));
        if let Some(left) = left.filter(|left| *left > 0) {
            let eta = newest.at + Duration::from_secs(left / rate).delta();
            parts.push(format!("done {}", relative(eta)));
        }
    }
    if !newest.what.is_empty() {
        parts.push(code(&limits::cut(&newest.what, 40)));
    }
    format!("– {}", parts.join(" · "))
}

/// A bar for each portion that is not complete, in the order of the work; the others are counted.
fn portion_lines(portions: &[Portion]) -> Vec<String> {
    let is_complete = |portion: &&Portion| portion.done >= portion.total;
    let (complete, open): (Vec<_>, Vec<_>) = portions.iter().partition(is_complete);
    let mut lines: Vec<String> = open.iter().take(BARS_MAX).map(|portion| portion_line(portion)).collect();
    if open.len() > BARS_MAX {
        lines.push(format!("– and {} more", open.len() - BARS_MAX));
    }
    if !complete.is_empty() {
        let aside: u64 = complete.iter().map(|portion| portion.aside).sum();
        lines.push(format!("– ✅ {} of {}{}", complete.len(), portions.len(), put_aside(aside)));
    }
    lines
}

fn portion_line(portion: &Portion) -> String {
    let name = code(&limits::cut(&portion.name, 40));
    format!(
        "– {} {name} {}/{}{}",
        bar(portion.done, portion.total),
        number(portion.done),
        number(portion.total),
        put_aside(portion.aside)
    )
}

fn put_aside(count: u64) -> String {
    if count > 0 { format!(" · {} put aside", number(count)) } else { String::new() }
}

/// Units per second since counting began; `None` while that says nothing.
fn rate(progress: &Progress) -> Option<u64> {
    let millis = u64::try_from((progress.at - progress.since).num_milliseconds()).ok().filter(|millis| *millis > 0)?;
    let done = progress.done.saturating_sub(progress.done_at_start);
    Some(done.saturating_mul(1_000) / millis).filter(|rate| *rate > 0)
}

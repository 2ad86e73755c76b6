//! The plan card: what will run, when, behind which gates, and where it stands now.

use super::message::{Embed, Message};
use super::status::{colour, glass_mark, rollbacks, standing, title};
use super::text::{clock, code, date, escape, person, sign_off};
use super::{View, limits};
use crate::domain::Duration;
use crate::domain::run::{State, planned};

/// Renders the card.
pub(super) fn render(view: View<'_>) -> Message {
    let state = view.state;
    let started = &state.started;
    let mut embed = Embed {
        title: title(state, &escape(&state.runbook().title)),
        description: head(view).join("\n"),
        colour: colour(state, view.now),
        ..Embed::default()
    };
    embed.field("Parameters", &parameters(state));
    embed.field("Targets", &targets(state));
    embed.field("Time table", &time_table(state));
    embed.field("Way back", &rollbacks(state));
    let window = format!("{} to {} ({})", date(started.starts_at), clock(started.window_ends_at), state.runbook().window);
    embed.field("Window", &[window]);
    if let Some(thread) = state.thread {
        embed.field("Thread", &[format!("<#{thread}>")]);
    }
    Message::framed(embed)
}

fn head(view: View<'_>) -> Vec<String> {
    let state = view.state;
    let runbook = state.runbook();
    let mut lines = vec![format!("{} {} · {}", code(runbook.runbook.as_str()), escape(&runbook.version), runbook.kind)];
    lines.push(format!("{} · digest {}", code(state.id().as_str()), code(&state.started.digest.short())));
    lines.push(format!("asked for by {}", person(&state.started.requester)));
    if state.is_dry_run() {
        lines.push("It reads for real and changes nothing; no lock, no votes.".to_owned());
    } else {
        lines.push(format!("holds {}", code(&state.plan().lock)));
    }
    lines.extend(glass_mark(state));
    lines.push(String::new());
    lines.push(format!("Now: {}", standing(state, view.now)));
    lines
}

/// The longest value of a parameter that the card shows.
const VALUE_MAX: usize = 120;

fn parameters(state: &State) -> Vec<String> {
    let show = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    state
        .plan()
        .parameters
        .iter()
        .map(|(name, value)| format!("{name}: {}", code(&limits::cut(&show(value), VALUE_MAX))))
        .collect()
}

fn targets(state: &State) -> Vec<String> {
    state.plan().targets.iter().map(|(name, identity)| format!("{name}: {}", code(&identity.to_string()))).collect()
}

fn time_table(state: &State) -> Vec<String> {
    let started = &state.started;
    let rows = planned(state.runbook(), started.starts_at, started.t_zero);
    let mut lines = Vec::new();
    for (phase, (_, start, end)) in state.runbook().phases.iter().zip(rows) {
        let offset = phase.at.map(|at| format!("{at} · ")).unwrap_or_default();
        let when = if state.is_dry_run() { offset } else { format!("{offset}{} · ", clock(start)) };
        let steps = phase.steps.len();
        let plural = if steps == 1 { "" } else { "s" };
        lines.push(format!("{when}**{}** {steps} step{plural}, {}", escape(phase.title()), Duration::between(start, end)));
        if let Some(gate) = &phase.gate {
            lines.push(format!("– 🚦 signed by {}", sign_off(&gate.sign_off)));
        }
    }
    lines
}

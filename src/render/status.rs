//! Where runs stand, in a line, as a list, as a page.

use super::message::{Colour, Embed, Message};
use super::text::{clock, code, date, escape, missing, person, relative, roles};
use super::{View, limits};
use crate::domain::run::{Clearance, End, GateRef, RollbackStage, SafeUntil, Standing, State, Status, StepStatus};
use crate::domain::runbook::Rollback;
use crate::domain::{Person, RollbackName, RunId, StepName, Timestamp};

/// A run in a list.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The run.
    pub state: &'a State,
    /// Now.
    pub now: Timestamp,
}

/// A run that was set aside, because its records do not make sense or because of a defect.
#[derive(Debug, Clone, Copy)]
pub struct SetAside<'a> {
    /// Which.
    pub run: &'a RunId,
    /// What is wrong.
    pub why: &'a str,
}

/// The list of runs: those set aside, then the others as given, those at work first, each in two lines.
#[must_use]
pub fn list(runs: &[Line<'_>], set_aside: &[SetAside<'_>]) -> Message {
    let aside = set_aside.iter().map(|stuck| format!("{} {}", code(stuck.run.as_str()), aside(stuck.why)));
    let shown = runs.iter().filter(|line| set_aside.iter().all(|stuck| stuck.run != line.state.id()));
    let lines: Vec<String> = aside.chain(shown.map(list_line)).collect();
    let description = if lines.is_empty() {
        "No run is at work. `/migrate start` starts one.".to_owned()
    } else {
        limits::lines(&lines, limits::DESCRIPTION_MAX)
    };
    Message::framed(Embed { title: "Runs".to_owned(), description, colour: Colour::Blue, ..Embed::default() }).fitted()
}

/// What a run's being set aside means, and what to do about it.
fn aside(why: &str) -> String {
    format!(
        "⛔ set aside: {}\nNothing more is done for it, and a lock that it had is still held. A restart of the bot reads it again; \
         if it is set aside again, `pointsman audit verify` tells whether the journal was changed.",
        escape(why)
    )
}

fn list_line(line: &Line<'_>) -> String {
    let state = line.state;
    let place = state.thread.map_or_else(|| code(state.id().as_str()), |thread| format!("<#{thread}>"));
    let mode = if state.is_dry_run() { " · REHEARSAL" } else { "" };
    format!("{} {place}{mode}\n{} · {}", code(state.id().as_str()), escape(&state.runbook().title), standing(state, line.now))
}

/// One run: where it stands, who must act, what is possible; first of all that it is set aside, if it is, with why.
#[must_use]
pub fn one(view: View<'_>, set_aside: Option<&str>) -> Message {
    let state = view.state;
    let mut embed = Embed {
        title: title(state, &escape(&state.runbook().title)),
        description: format!(
            "{} · digest {}\nasked for by {} {}\n{}",
            code(state.id().as_str()),
            code(&state.started.digest.short()),
            person(&state.started.requester),
            relative(state.started_at),
            standing(state, view.now)
        ),
        colour: colour(state, view.now),
        ..Embed::default()
    };
    if let Some(why) = set_aside {
        embed.description = format!("{}\n{}", aside(why), embed.description);
        embed.colour = Colour::Red;
    }
    if let Some(mark) = glass_mark(state) {
        embed.description.push_str(&format!("\n{mark}"));
    }
    if let Some(thread) = state.thread {
        embed.field("Thread", &[format!("<#{thread}>")]);
    }
    if let Some((gate, _)) = state.open_gate() {
        let quorum = state.quorum(gate).map(|quorum| quorum.missing).unwrap_or_default();
        if !quorum.is_empty() {
            embed.field("Still to sign", &[missing(&quorum)]);
        }
    }
    embed.field("Forecast", &forecast(view));
    embed.field("Way back", &ways_back(view));
    Message::framed(embed).fitted()
}

/// Where a run stands, in one line.
#[must_use]
pub(super) fn standing(state: &State, now: Timestamp) -> String {
    match state.status(now) {
        Status::Scheduled { at } => format!("⏱ starts {} ({})", relative(at), clock(at)),
        Status::Waiting { phase, until } => format!("⏱ next: {} {}", phase_title(state, &phase), relative(until)),
        Status::Running { phase } => format!("▶ {}{}", phase_title(state, &phase), step_under_way(state)),
        Status::AtGate(gate) => format!("🚦 waits for sign-off: {}", gate_title(state, &gate)),
        Status::Paused => match &state.pause {
            Some(pause) => format!("⏸ paused by {}: {}", somebody(pause.by.as_ref()), escape(&pause.reason)),
            None => "⏸ paused".to_owned(),
        },
        Status::Asking(question) => {
            let who = state.question.as_ref().map(|question| roles(&question.answerers)).unwrap_or_default();
            format!("❓ waits for the answer to question {question} from {who}")
        }
        Status::RollingBack(rollback) => format!("↩ rolling back {}{}", code(rollback.as_str()), rollback_target(state)),
        Status::Closing(end) => match state.closing {
            Some(closing) => format!("{} {end}; keeps lock and way back until {}", icon(end), clock(closing.until)),
            None => format!("{} {end}; closing", icon(end)),
        },
        Status::Ended(end) => format!("{} {end}", icon(end)),
    }
}

fn step_under_way(state: &State) -> String {
    let running = |name: &StepName| matches!(state.step(name).status, StepStatus::Running(_) | StepStatus::Waiting { .. });
    let step = state.runbook().all_steps().find(|step| running(&step.step));
    step.map(|step| format!(": {}", escape(&step.title))).unwrap_or_default()
}

fn rollback_target(state: &State) -> String {
    match state.rollback.as_ref().map(|rollback| rollback.stage) {
        Some(RollbackStage::Running { target_at }) => format!(", should be done {}", relative(target_at)),
        Some(RollbackStage::AwaitingGate) | None => String::new(),
    }
}

/// When the run will be done, against its window.
pub(super) fn forecast(view: View<'_>) -> Vec<String> {
    let state = view.state;
    let at_work = state.end.is_none() && state.closing.is_none() && state.rollback.is_none() && state.abort.is_none();
    if !at_work || state.is_dry_run() {
        return Vec::new();
    }
    let forecast = crate::domain::run::forecast(state, super::text::to_minute(view.now));
    let verdict = if forecast.fits() { "fits" } else { "⚠ too late" };
    vec![format!("done about {}, window ends {}: {verdict}", clock(forecast.ends_at), clock(forecast.window_ends_at))]
}

/// The rollbacks: which are armed, who starts them, how long they take, until when they are possible.
pub(super) fn rollbacks(state: &State) -> Vec<String> {
    ways(state, |_, _| None)
}

/// The same, with the latest moment at which each is safe to start. For what is said once: a live message would change
/// with every minute.
pub(super) fn ways_back(view: View<'_>) -> Vec<String> {
    ways(view.state, |name, rollback| last_safe(view, name, rollback))
}

fn last_safe(view: View<'_>, name: &RollbackName, rollback: &Rollback) -> Option<String> {
    let last = crate::domain::run::last_safe(view.state, name, super::text::to_minute(view.now))?;
    let at = format!("{} ({})", clock(last.at), relative(last.at));
    Some(match last.bound {
        SafeUntil::WindowEnds if last.at < view.now => {
            format!("– ⚠ started now it ends after the window: the last safe start was {at}")
        }
        SafeUntil::WindowEnds => format!("– last safe start {at}: its {} must end within the window", rollback.target),
        SafeUntil::NoReturn(step) => {
            format!("– last safe start {at}: then {} is forecast to start", step_title(view.state, &step))
        }
    })
}

fn ways(state: &State, last_safe: impl Fn(&RollbackName, &Rollback) -> Option<String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, rollback) in &state.runbook().rollback {
        let how = if state.rolled_back.contains(name) {
            "carried out".to_owned()
        } else if state.end.is_some() {
            // The run is over, and its way back with it.
            continue;
        } else if let Some(until) = state.no_return(rollback) {
            format!("no longer possible: {}", escape(&until.because))
        } else if state.armed.contains_key(name) {
            format!("🛡 armed: one of {} starts it", roles(&rollback.allow))
        } else {
            format!("not armed: {} ask, then {} sign", roles(&rollback.allow), super::text::sign_off(&rollback.sign_off))
        };
        lines.push(format!("{} ({}) {how}", code(name.as_str()), rollback.target));
        if let (Some(until), None) = (&rollback.until, state.no_return(rollback)) {
            lines.push(format!("– possible until {} starts", code(until.step.as_str())));
        }
        lines.extend(last_safe(name, rollback));
    }
    lines
}

/// The mark of a run whose glass was broken.
pub(super) fn glass_mark(state: &State) -> Option<String> {
    let breaker = state.gates.iter().find_map(|(gate, opened)| match (&opened.glass, &opened.standing) {
        (_, Standing::Cleared { clearance: Clearance::BreakGlass { by }, .. }) | (Some(by), _) => Some((gate, by)),
        (None, Standing::Open | Standing::Clearing | Standing::Cleared { .. } | Standing::Refused(_)) => None,
    })?;
    Some(format!("🔨 **GLASS BROKEN** by {} at {}: a review is owed", person(breaker.1), gate_title(state, breaker.0)))
}

/// The heading of a run's message, marked if it is a rehearsal.
pub(super) fn title(state: &State, text: &str) -> String {
    if state.is_dry_run() { format!("🧪 REHEARSAL · {text}") } else { text.to_owned() }
}

/// The colour that fits where the run stands.
pub(super) fn colour(state: &State, now: Timestamp) -> Colour {
    let of_end = |end| match end {
        End::Succeeded => Colour::Green,
        End::RolledBack => Colour::Amber,
        End::Failed | End::Aborted | End::Refused => Colour::Red,
    };
    match state.status(now) {
        Status::Closing(end) | Status::Ended(end) => of_end(end),
        Status::AtGate(_) | Status::Paused | Status::Asking(_) => Colour::Amber,
        Status::RollingBack(_) => Colour::Red,
        Status::Scheduled { .. } | Status::Waiting { .. } | Status::Running { .. } if state.is_dry_run() => Colour::Violet,
        Status::Scheduled { .. } | Status::Waiting { .. } => Colour::Grey,
        Status::Running { .. } => Colour::Blue,
    }
}

/// A mark for how a run ended.
pub(super) fn icon(end: End) -> &'static str {
    match end {
        End::Succeeded => "✅",
        End::RolledBack => "↩",
        End::Failed => "❌",
        End::Aborted => "🛑",
        End::Refused => "⛔",
    }
}

/// What a gate stands before.
pub(super) fn gate_title(state: &State, gate: &GateRef) -> String {
    match gate {
        GateRef::Phase(phase) => phase_title(state, phase),
        GateRef::Rollback(rollback) => format!("rollback {}", code(rollback.as_str())),
    }
}

pub(super) fn phase_title(state: &State, phase: &crate::domain::PhaseName) -> String {
    state.phase(phase).map_or_else(|| code(phase.as_str()), |phase| format!("**{}**", escape(phase.title())))
}

/// A step's line for people.
pub(super) fn step_title(state: &State, step: &StepName) -> String {
    state.runbook().step(step).map_or_else(|| code(step.as_str()), |step| format!("**{}**", escape(&step.title)))
}

pub(super) fn somebody(by: Option<&Person>) -> String {
    by.map_or_else(|| "the bot".to_owned(), person)
}

/// The answer to a start: the run exists, and where to look.
#[must_use]
pub fn started(run: &RunId, title: &str, dry_run: bool, at: Option<Timestamp>) -> Message {
    let what = if dry_run { "Rehearsal" } else { "Run" };
    let when = at.map_or_else(|| "now".to_owned(), |at| format!("with the cutover at {}", date(at)));
    Message::plain(format!(
        "🎬 {what} {} of **{}** starts {when}.\nIts plan card follows here; everything else is in its thread.",
        code(run.as_str()),
        escape(title)
    ))
}

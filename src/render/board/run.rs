//! One run: where it stands, its time table, gates, steps, way back, and everything that happened.

use maud::{Markup, PreEscaped, html};

use super::facts::{Fact, fact};
use super::overview::{forecast_lines, missing};
use super::{
    FACTS_MAX, Links, Shape, Tone, bar, beat_lines, gate_words, instant, issue_link, journal_head, pill, roles, settled,
    status_words, tone, until,
};
use crate::domain::run::{Clearance, Event, Gate, GateRef, GateRefusal, Progress, Reading, Standing, State, StepStatus, Verdict};
use crate::domain::runbook::{Rollback, Step};
use crate::domain::{Duration, IssueRef, RollbackName, Timestamp};
use crate::render::View;
use crate::render::timeline_svg::{Palette, timeline_svg};

/// The page of a run; `events` are all that happened to it, in order; `post_mortem` is the issue of its incident.
#[must_use]
pub fn run(
    view: View<'_>,
    events: &[(Timestamp, Event)],
    stuck: Option<&str>,
    post_mortem: Option<&IssueRef>,
    links: &Links,
) -> Markup {
    let (state, now) = (view.state, view.now);
    let status = state.status(now);
    html! {
        section.lead {
            div.head {
                h1 { (state.runbook().title) }
                (pill(tone(&status), &status_words(state, &status)))
            }
            @if state.is_dry_run() { p.banner.quiet { "REHEARSAL: it writes nothing to any target and needs no votes." } }
            @if let Some(why) = stuck { p.banner.bad { "Set aside, because its journal does not make sense: " (why) } }
            @for (gate, by) in broken_glass(state) { p.banner.bad { "Glass broken by " (by) " at " (gate) ": a review is owed." } }
            @if let Some(pause) = &state.pause { p.banner.wait { "Paused by " (somebody(pause.by.as_ref())) ": " (pause.reason) } }
            (question(state))
            dl.facts {
                @if let Some(missing) = missing(state) { dt { "Missing" } dd.wait { (missing) } }
                @if let Some((what, at)) = until(state, &status) { dt { (what) } dd { (instant(at, Shape::Clock)) } }
                (forecast_lines(state, now))
                @if let Some(ending) = &state.end {
                    dt { "Ended" }
                    dd {
                        (instant(ending.at, Shape::Date)) " after " (Duration::between(state.started_at, ending.at))
                        @if let Some(reason) = &ending.reason { ": " (reason) }
                    }
                }
                dt { "Cutover" } dd { (instant(state.started.t_zero, Shape::Date)) }
                dt { "Asked for" } dd { (state.started.requester.name) ", " (instant(state.started_at, Shape::Date)) }
                dt { "Run" } dd { code { (state.id()) } " · " (state.started.mode) " · digest " code { (state.started.digest.short()) } }
                @if let Some(thread) = state.thread {
                    dt { "Thread" } dd { a href=(links.channel(thread)) rel="noreferrer" { "open in chat" } }
                }
                (beat_lines(state, links))
                @if let Some(incident) = &state.incident { dt { "Incident" } dd { a href=(super::incident::path(incident)) { (incident) } } }
                @if let Some(issue) = post_mortem { dt { "Post-mortem" } dd { (issue_link(issue)) } }
                @for review in &state.reviews {
                    @if let Some(issue) = &review.issue { dt { "Review" } dd { (issue_link(issue)) " of the broken glass at " (gate_words(state, &review.gate)) } }
                }
            }
        }
        section { h2 { "Time table" } div.scroll { (PreEscaped(timeline_svg(state, now, Palette::Light))) } }
        div.columns {
            div {
                @for (gate, opened) in &state.gates { (gate_card(state, gate, opened)) }
                (way_back(state))
            }
            (steps(view))
        }
        (happened(view, events))
    }
}

fn somebody(by: Option<&crate::domain::Person>) -> &str {
    by.map_or("the bot", |person| person.name.as_str())
}

fn broken_glass(state: &State) -> Vec<(String, &str)> {
    let names = state.gates.iter().filter_map(|(gate, opened)| {
        let by = match (&opened.glass, &opened.standing) {
            (Some(by), _) | (None, Standing::Cleared { clearance: Clearance::BreakGlass { by }, .. }) => by,
            (None, Standing::Open | Standing::Clearing | Standing::Cleared { .. } | Standing::Refused(_)) => return None,
        };
        Some((gate_words(state, gate), by.name.as_str()))
    });
    names.collect()
}

fn question(state: &State) -> Markup {
    use crate::domain::run::QuestionKind;
    let Some(question) = &state.question else { return html! {} };
    let what = match &question.kind {
        QuestionKind::UnknownOutcome { step, attempt, why } => {
            format!("Nobody knows whether attempt {attempt} of `{step}` took effect: {why}")
        }
        QuestionKind::Late { phase, due } => format!("`{phase}` was due at {} and is late", due.format("%H:%M:%S UTC")),
        QuestionKind::StepFailed { step, message } => format!("`{step}` failed: {message}"),
    };
    html! { p.banner.wait { strong { "Question " (question.id) ": " } (what) " – " (roles(&question.answerers)) " may answer, in chat." } }
}

fn gate_card(state: &State, gate: &GateRef, opened: &Gate) -> Markup {
    let (tone, words) = standing(state, opened);
    html! {
        section.gate {
            div.head { h2 { "Gate: " (gate_words(state, gate)) } (pill(tone, &words)) }
            @if matches!(opened.standing, Standing::Open | Standing::Clearing) && !state.is_dry_run() {
                p.meta { "card " (opened.card) " · open since " (instant(opened.opened_at, Shape::Clock)) ", closes " (instant(opened.expires_at, Shape::Clock)) }
            }
            (signatures(state, gate, opened))
            @if let Some(readings) = &opened.readings { (criteria(readings)) }
        }
    }
}

fn standing(state: &State, opened: &Gate) -> (Tone, String) {
    match &opened.standing {
        Standing::Open if state.is_dry_run() => (Tone::Quiet, "rehearsal".to_owned()),
        Standing::Open if opened.first_red().is_some() => (Tone::Bad, "a criterion is not green".to_owned()),
        Standing::Open => (Tone::Wait, "open for signatures".to_owned()),
        Standing::Clearing => (Tone::Wait, "everything is read once more".to_owned()),
        Standing::Cleared { clearance: Clearance::BreakGlass { .. }, .. } => (Tone::Bad, "glass broken".to_owned()),
        Standing::Cleared { clearance: Clearance::Rehearsal, .. } => (Tone::Quiet, "passed in rehearsal".to_owned()),
        Standing::Cleared { clearance: Clearance::SignOff { .. }, .. } => (Tone::Good, "cleared".to_owned()),
        Standing::Refused(why) => (Tone::Bad, refusal(why)),
    }
}

pub(super) fn refusal(why: &GateRefusal) -> String {
    match why {
        GateRefusal::Vetoed { by } => format!("vetoed by {}", by.name),
        GateRefusal::Expired => "expired".to_owned(),
        GateRefusal::WindowMissed { .. } => "it no longer fits the window".to_owned(),
        GateRefusal::TargetChanged { .. } => "a target has changed".to_owned(),
    }
}

fn signatures(state: &State, gate: &GateRef, opened: &Gate) -> Markup {
    if state.is_dry_run() {
        return html! {};
    }
    // Once cleared, what counted then is the truth, whatever is matched now.
    if let Standing::Cleared { clearance: Clearance::SignOff { signers }, .. } = &opened.standing {
        return html! { ul.signs { @for signer in signers { li.good { (signer.role) ": " (signer.person.name) } } } };
    }
    let Some(quorum) = state.quorum(gate) else { return html! {} };
    html! {
        ul.signs {
            @for signed in &quorum.assignments { li.good { (signed.role) ": " (signed.person.name) } }
            @for (role, count) in &quorum.missing { li.wait { (role) ": " @if *count > 1 { (count) " " } strong { "missing" } } }
        }
    }
}

fn criteria(readings: &[Reading]) -> Markup {
    html! {
        ul.criteria {
            @for reading in readings {
                @let (class, why) = verdict(&reading.verdict);
                li class=(class) {
                    (reading.says)
                    @if !reading.measured.is_empty() { " " code { (reading.measured) } }
                    @if let Some(why) = why { div.why { (why) } }
                }
            }
        }
    }
}

fn verdict(verdict: &Verdict) -> (&'static str, Option<&str>) {
    match verdict {
        Verdict::Green => ("good", None),
        Verdict::Red { why } => ("bad", Some(why)),
        Verdict::NotMeasured { why } => ("quiet", Some(why)),
    }
}

fn way_back(state: &State) -> Markup {
    if state.runbook().rollback.is_empty() {
        return html! {};
    }
    let row = |(name, rollback): (&RollbackName, &Rollback)| {
        let (tone, words) = rollback_words(state, name, rollback);
        html! {
            li {
                (pill(tone, &words)) " " strong { (rollback.title.as_deref().unwrap_or(name.as_str())) } " · takes about " (rollback.target)
                @if let Some(until) = &rollback.until { div.why { "possible until " code { (until.step) } " starts: " (until.because) } }
            }
        }
    };
    html! { section { h2 { "Way back" } ul.rollbacks { @for rollback in &state.runbook().rollback { (row(rollback)) } } } }
}

fn rollback_words(state: &State, name: &RollbackName, rollback: &Rollback) -> (Tone, String) {
    if state.rolled_back.contains(name) {
        (Tone::Good, "carried out".to_owned())
    } else if state.rollback.as_ref().is_some_and(|wanted| wanted.name == *name) {
        (Tone::Bad, "under way".to_owned())
    } else if state.end.is_some() {
        (Tone::Quiet, "over".to_owned())
    } else if state.no_return(rollback).is_some() {
        (Tone::Bad, "no longer possible".to_owned())
    } else if state.armed.contains_key(name) {
        (Tone::Good, format!("armed: one of {} starts it", roles(&rollback.allow)))
    } else {
        (Tone::Quiet, format!("not armed: {} sign", roles(rollback.sign_off.keys())))
    }
}

fn steps(view: View<'_>) -> Markup {
    let state = view.state;
    let (done, total) = settled(state);
    let shown = |name: &RollbackName| {
        state.rolled_back.contains(name) || state.rollback.as_ref().is_some_and(|wanted| wanted.name == *name)
    };
    html! {
        section.steps {
            div.head { h2 { "Steps" } div.bar { (bar(done as u64, total as u64)) span { (done) " of " (total) } } }
            @for phase in &state.runbook().phases {
                h3 { (phase.title()) @if let Some(due) = state.due(phase) { " " small { (instant(due, Shape::Clock)) } } }
                ol { @for step in &phase.steps { (step_row(view, step)) } }
            }
            @for (name, rollback) in state.runbook().rollback.iter().filter(|(name, _)| shown(name)) {
                h3 { "Rollback " (name) }
                ol { @for step in &rollback.steps { (step_row(view, step)) } }
            }
        }
    }
}

fn step_row(view: View<'_>, step: &Step) -> Markup {
    let is = view.state.step(&step.step);
    let (tone, words) = match &is.status {
        StepStatus::Pending => ("todo", step.estimate.map(|estimate| format!("about {estimate}")).unwrap_or_default()),
        StepStatus::Running(attempt) => ("work", format!("since {}", Duration::between(attempt.since, view.now))),
        StepStatus::Waiting { .. } => ("wait", "tried again soon".to_owned()),
        StepStatus::Interrupted { reason, .. } => ("wait", format!("outcome unknown: {reason}")),
        StepStatus::Asserted { .. } => ("wait", "being checked".to_owned()),
        StepStatus::Succeeded => ("good", took(view.state, step)),
        StepStatus::Failed(failure) => ("bad", failure.message.clone()),
        StepStatus::Skipped => ("quiet", "not needed".to_owned()),
    };
    let running = view.progress.iter().find(|p| p.step == step.step && matches!(is.status, StepStatus::Running(_)));
    html! {
        li class=(tone) {
            span.title { (step.title) } span.words { (words) }
            @if let Some(progress) = running { (progress_row(progress)) }
            @if is.checks.iter().any(|reading| !reading.is_green()) { (criteria(&is.checks)) }
        }
    }
}

fn took(state: &State, step: &Step) -> String {
    let is = state.step(&step.step);
    let Some((from, to)) = is.started_at.zip(is.finished_at) else { return String::new() };
    let took = Duration::between(from, to);
    match step.estimate {
        Some(estimate) => format!("{took} of {estimate}"),
        None => took.to_string(),
    }
}

fn progress_row(progress: &Progress) -> Markup {
    html! {
        div.bar {
            @if let Some(total) = progress.total { (bar(progress.done, total)) }
            span {
                (progress.done) @if let Some(total) = progress.total { " of " (total) } " " (progress.unit)
                @if !progress.what.is_empty() { " · " code { (progress.what) } }
            }
        }
    }
}

fn happened(view: View<'_>, events: &[(Timestamp, Event)]) -> Markup {
    let state = view.state;
    let facts: Vec<(&Timestamp, Fact)> =
        events.iter().rev().filter_map(|(at, event)| Some((at, fact(state, event)?))).take(FACTS_MAX + 1).collect();
    html! {
        section {
            h2 { "What happened" }
            @if facts.is_empty() { div.empty { p { "Nothing yet." } } }
            ol.events {
                @for (at, fact) in facts.iter().take(FACTS_MAX) {
                    li class=(fact.class) { (instant(**at, Shape::Clock)) span { (fact.text) } }
                }
            }
            @if facts.len() > FACTS_MAX { p.hint { "Older facts are in the journal: " code { "pointsman audit export" } } }
            (journal_head(view.head))
        }
    }
}

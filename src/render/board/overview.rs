//! The first page: what is going on, and what was.

use maud::{Markup, html};

use super::{Links, Shape, Tone, bar, end_tone, instant, pill, settled, status_words, tone, until};
use crate::domain::run::{Progress, State, StepStatus, forecast};
use crate::domain::{Duration, RunId, StepName, Timestamp};

/// A run in a list.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The run.
    pub state: &'a State,
    /// How far its steps under way are, newest first.
    pub progress: &'a [Progress],
    /// Whether it is set aside, and why.
    pub stuck: Option<&'a str>,
}

/// What the archive is narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Part of a runbook's name or title, or of a run's id; empty for all.
    pub search: String,
    /// A status as metrics name it; empty for all.
    pub status: String,
}

/// The statuses in which a run can have ended, as metrics name them and for people.
const ENDS: [(&str, &str); 5] = [
    ("succeeded", "succeeded"),
    ("rolled_back", "rolled back"),
    ("failed", "failed"),
    ("aborted", "aborted"),
    ("refused", "refused"),
];

/// `open` and `ended` are shown in their order; `ended` is what the filter has left, `hidden` how many more there are.
#[must_use]
pub fn overview(
    open: &[Entry<'_>],
    ended: &[Entry<'_>],
    hidden: usize,
    filter: &Filter,
    links: &Links,
    now: Timestamp,
) -> Markup {
    html! {
        section {
            h2 { "Runs" @if !open.is_empty() { " " span.count { (open.len()) } } }
            @if open.is_empty() {
                div.empty { p { "No run is at work. " code { "/migrate start" } " in chat starts one." } }
            }
            div.cards { @for entry in open { (card(entry, links, now)) } }
        }
        section {
            h2 { "Archive" }
            form.filter method="get" action="/" role="search" {
                input name="q" type="search" value=(filter.search) placeholder="runbook or run" aria-label="Runbook or run";
                select name="status" aria-label="Status" {
                    option value="" { "any end" }
                    @for (value, words) in ENDS { option value=(value) selected[filter.status == value] { (words) } }
                }
                button { "Search" }
            }
            (archive(ended, hidden, filter))
        }
    }
}

fn card(entry: &Entry<'_>, links: &Links, now: Timestamp) -> Markup {
    let state = entry.state;
    let status = state.status(now);
    let (done, total) = settled(state);
    html! {
        article.card {
            div.head {
                h3 { a href=(path(state.id())) { (state.runbook().title) } }
                (pill(tone(&status), &status_words(state, &status)))
            }
            p.meta {
                @if state.is_dry_run() { span.rehearsal { "REHEARSAL" } " " }
                code { (state.id()) } " · asked for by " (state.started.requester.name) " · " (instant(state.started_at, Shape::Date))
                @if let Some(thread) = state.thread { " · " a href=(links.channel(thread)) rel="noreferrer" { "thread" } }
            }
            @if let Some(why) = entry.stuck { p.bad { "Set aside: " (why) } }
            div.bar { (bar(done as u64, total as u64)) span { (done) " of " (total) " steps" } }
            dl {
                @if let Some(step) = under_way(state) {
                    dt { "Step" } dd { (state.runbook().step(&step).map_or(step.as_str(), |step| step.title.as_str())) }
                }
                @if let Some((what, at)) = until(state, &status) { dt { (what) } dd { (instant(at, Shape::Clock)) } }
                @if let Some(missing) = missing(state) { dt { "Missing" } dd.wait { (missing) } }
                (forecast_lines(state, now))
            }
        }
    }
}

/// Who must still sign, if a gate is open.
fn missing(state: &State) -> Option<String> {
    let (gate, _) = state.open_gate()?;
    let quorum = state.quorum(gate)?;
    let of_role = |(role, count): &(crate::domain::RoleName, usize)| match count {
        1 => role.to_string(),
        more => format!("{more} × {role}"),
    };
    (!quorum.missing.is_empty()).then(|| quorum.missing.iter().map(of_role).collect::<Vec<_>>().join(", "))
}

fn under_way(state: &State) -> Option<StepName> {
    let is = |name: &StepName| matches!(state.step(name).status, StepStatus::Running(_) | StepStatus::Waiting { .. });
    state.runbook().all_steps().find(|step| is(&step.step)).map(|step| step.step.clone())
}

/// When the work will be done, against the window; nothing once that is settled.
pub(super) fn forecast_lines(state: &State, now: Timestamp) -> Markup {
    let at_work = state.end.is_none() && state.closing.is_none() && state.rollback.is_none() && state.abort.is_none();
    if !at_work || state.is_dry_run() {
        return html! {};
    }
    let forecast = forecast(state, now);
    let spare = Duration::between(forecast.ends_at, forecast.window_ends_at);
    let over = Duration::between(forecast.window_ends_at, forecast.ends_at);
    html! {
        dt { "Forecast" }
        dd {
            "done " (instant(forecast.ends_at, Shape::Clock)) ", window ends " (instant(forecast.window_ends_at, Shape::Clock)) " "
            @if forecast.fits() { span.good { (spare) " to spare" } } @else { strong.bad { (over) " too late" } }
        }
    }
}

fn archive(ended: &[Entry<'_>], hidden: usize, filter: &Filter) -> Markup {
    if ended.is_empty() {
        let words = if *filter == Filter::default() { "No run has ended yet." } else { "No run that ended fits the search." };
        return html! { div.empty { p { (words) } } };
    }
    html! {
        div.scroll { table {
            thead { tr { th { "Run" } th { "Runbook" } th { "Ended" } th { "Took" } th { "How" } } }
            tbody { @for entry in ended { (archived(entry)) } }
        } }
        @if hidden > 0 { p.hint { (hidden) " more: narrow the search." } }
    }
}

fn archived(entry: &Entry<'_>) -> Markup {
    let state = entry.state;
    let Some(ending) = &state.end else { return html! {} };
    html! {
        tr {
            td { a href=(path(state.id())) { code { (state.id()) } } @if state.is_dry_run() { " " span.rehearsal { "REHEARSAL" } } }
            td { (state.runbook().title) }
            td { (instant(ending.at, Shape::Date)) }
            td { (Duration::between(state.started_at, ending.at)) }
            td { (pill(if entry.stuck.is_some() { Tone::Bad } else { end_tone(ending.end) }, &ending.end.to_string())) }
        }
    }
}

fn path(run: &RunId) -> String {
    format!("/runs/{run}")
}

//! The first page: what is going on, and what was.

use maud::{Markup, html};

use super::incident::{self, IncidentEntry, PastIncident};
use super::{Links, Shape, bar, beat_lines, end_tone, instant, pill, run_path, settled, status_words, tone, until};
use crate::domain::run::{End, Progress, State, StepStatus, forecast};
use crate::domain::{Duration, RunId, RunbookName, StepName, Timestamp};

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

/// A run that has ended, in a line of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRun {
    /// Which.
    pub id: RunId,
    /// What it executed.
    pub runbook: RunbookName,
    /// The runbook's line for people.
    pub title: String,
    /// Whether it was a dry run.
    pub rehearsal: bool,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub end: End,
}

/// What the archive is narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Part of a runbook's name or title, of an incident's title, or of an id, in lower case; empty for all.
    pub search: String,
    /// A status as metrics name it; empty for all.
    pub status: String,
}

impl Filter {
    /// Whether one of these texts holds what is searched for, in whatever case.
    #[must_use]
    pub fn finds(&self, texts: &[&str]) -> bool {
        self.search.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&self.search))
    }
}

/// The statuses in which a run can have ended, as metrics name them and for people.
const ENDS: [(&str, &str); 5] = [
    ("succeeded", "succeeded"),
    ("rolled_back", "rolled back"),
    ("failed", "failed"),
    ("aborted", "aborted"),
    ("refused", "refused"),
];

/// What the first page shows; every list in its order, and any may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Overview<'a> {
    /// The incidents that are not resolved.
    pub incidents: &'a [IncidentEntry<'a>],
    /// The runs that have not ended.
    pub runs: &'a [Entry<'a>],
    /// The resolved incidents that the filter has left.
    pub past_incidents: &'a [PastIncident],
    /// The ended runs that the filter has left.
    pub past_runs: &'a [PastRun],
    /// How many more of both there are.
    pub hidden: usize,
    /// The filter.
    pub filter: &'a Filter,
}

/// The first page.
#[must_use]
pub fn overview(shown: Overview<'_>, links: &Links, now: Timestamp) -> Markup {
    let Overview { incidents, runs: open, past_incidents, past_runs: ended, hidden, filter } = shown;
    html! {
        @if !incidents.is_empty() {
            section {
                h2 { "Open incidents " span.count { (incidents.len()) } }
                div.cards { @for entry in incidents { (incident::card(entry, links)) } }
            }
        }
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
                input name="q" type="search" value=(filter.search) placeholder="runbook, run or incident" aria-label="Runbook, run or incident";
                select name="status" aria-label="Status" {
                    option value="" { "any end" }
                    @for (value, words) in ENDS { option value=(value) selected[filter.status == value] { (words) } }
                }
                button { "Search" }
            }
            (past(past_incidents))
            (archive(ended, hidden, filter, past_incidents.is_empty()))
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
                h3 { a href=(run_path(state.id())) { (state.runbook().title) } }
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
                (beat_lines(state, links))
                @if let Some(incident) = &state.incident { dt { "Incident" } dd { a href=(incident::path(incident)) { (incident) } } }
            }
        }
    }
}

/// Who must still sign, if a gate is open.
pub(super) fn missing(state: &State) -> Option<String> {
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

fn past(incidents: &[PastIncident]) -> Markup {
    html! {
        @if !incidents.is_empty() {
            div.scroll { table {
                thead { tr { th { "Incident" } th { "Title" } th { "Resolved" } th { "Lasted" } th { "Severity" } } }
                tbody { @for incident in incidents { (incident::archived(incident)) } }
            } }
        }
    }
}

/// The ended runs. That there are none is worth a word only if there is `nothing_else` either.
fn archive(ended: &[PastRun], hidden: usize, filter: &Filter, nothing_else: bool) -> Markup {
    if ended.is_empty() && !nothing_else {
        return html! {};
    }
    if ended.is_empty() {
        let words = if *filter == Filter::default() { "No run has ended yet." } else { "No run that ended fits the search." };
        return html! { div.empty { p { (words) } } };
    }
    html! {
        div.scroll { table {
            thead { tr { th { "Run" } th { "Runbook" } th { "Ended" } th { "Took" } th { "How" } } }
            tbody { @for run in ended { (archived(run)) } }
        } }
        @if hidden > 0 { p.hint { (hidden) " more: narrow the search." } }
    }
}

fn archived(run: &PastRun) -> Markup {
    html! {
        tr {
            td { a href=(run_path(&run.id)) { code { (run.id) } } @if run.rehearsal { " " span.rehearsal { "REHEARSAL" } } }
            td { (run.title) }
            td { (instant(run.ended_at, Shape::Date)) }
            td { (Duration::between(run.started_at, run.ended_at)) }
            td { (pill(end_tone(run.end), &run.end.to_string())) }
        }
    }
}

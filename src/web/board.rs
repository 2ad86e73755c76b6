//! The run board: its pages, and the streams of updates that keep them live.
//!
//! The page of a run or an incident is folded from the journal when it is asked for. The first page shows what goes on as
//! the engine has it, and the archive, which is a fold as well. A page and its updates are rendered by the same function.
//! An update is sent when what a page shows has changed; if nothing has, a sign of life is sent, so that a page can tell
//! silence from peace.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::stream::{self, Stream, StreamExt as _};
use maud::{Markup, html};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::health::word;
use super::history::{self, Folding, History};
use super::session::{self, BoardToken};
use super::{Feed, Web};
use crate::domain::incident::{self, IncidentId};
use crate::domain::run::{self, Status};
use crate::domain::{RunId, StreamId, Timestamp};
use crate::engine::{IncidentSnapshot, RunSummary, Snapshot, StuckIncident};
use crate::render::View;
use crate::render::board::{self, Entry, Filter, IncidentEntry, Links, Live, PastIncident, PastRun};
use crate::render::incident::View as IncidentView;
use crate::store::StoreError;

/// How often a page is looked at again without news: what steps report between two facts, and time itself, move on.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The least time between two updates of one page: people do not read faster.
const UPDATE_EVERY_MIN: Duration = Duration::from_millis(300);
/// The longest silence on a stream of updates. `board.js` gives a stream up after 25 s.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(10);
/// The most streams at once: each renders its page again and again.
const STREAMS_MAX: usize = 64;
/// The most runs, and the most incidents, in one view of the archive.
const ARCHIVE_MAX: usize = 100;

/// What the board needs beside the parts of the bot.
#[derive(Clone)]
pub struct Board {
    /// What opens it.
    pub token: BoardToken,
    /// Where its links lead.
    pub links: Links,
    /// What wakes its pages.
    pub feed: Arc<Feed>,
    streams: Arc<Semaphore>,
}

impl Board {
    /// A board behind `token`.
    #[must_use]
    pub fn new(token: BoardToken, links: Links, feed: Arc<Feed>) -> Self {
        Self { token, links, feed, streams: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }
}

pub(super) fn routes(web: &Web) -> Router<Web> {
    let pages = Router::new()
        .route("/", get(overview_page))
        .route("/runs/{run}", get(run_page))
        .route("/incidents/{incident}", get(incident_page))
        .route("/live", get(overview_stream))
        .route("/live/incidents/{incident}", get(incident_stream))
        .route("/live/runs/{run}", get(run_stream))
        .route_layer(from_fn_with_state(web.clone(), session::guard));
    pages
        .route("/login", post(session::sign_in))
        .route("/assets/board.css", get(async || asset("text/css; charset=utf-8", include_str!("assets/board.css"))))
        .route("/assets/board.js", get(async || asset("text/javascript; charset=utf-8", include_str!("assets/board.js"))))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// What the archive is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Asked {
    q: String,
    status: String,
}

impl Asked {
    fn stream(&self) -> String {
        let pairs = [("q", &self.q), ("status", &self.status)].into_iter().filter(|(_, value)| !value.is_empty());
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        if query.is_empty() { "/live".to_owned() } else { format!("/live?{query}") }
    }
}

async fn overview_page(State(web): State<Web>, Query(asked): Query<Asked>) -> Response {
    let live = Live { body: overview(&web, &asked), stream: Some(asked.stream()) };
    board::shell("Run board", &live).into_response()
}

fn overview(web: &Web, asked: &Asked) -> Markup {
    let (Some(runs), Some(incidents), Some(board)) = (web.vitals.runs(), web.vitals.incidents(), &web.board) else {
        return not_yet();
    };
    let filter = Filter { search: asked.q.trim().to_lowercase(), status: asked.status.clone() };
    let (runs, stuck) = (runs.runs(), incidents.stuck_incidents());
    let open: Vec<IncidentSnapshot> = incidents.incidents().into_iter().filter(|incident| incident.state.is_open()).collect();
    let mut open: Vec<IncidentShown> = open.iter().map(|incident| IncidentShown::of(incident, &stuck)).collect();
    open.sort_by_key(|incident| incident.state.severity);
    let (mut past_runs, mut past_incidents) = {
        let archive = board.feed.archive();
        (archive.past_runs(), archive.past_incidents())
    };
    past_runs.retain(|run| fits(run, &filter));
    past_incidents.retain(|incident| incident_fits(incident, &filter));
    let hidden = past_runs.len().saturating_sub(ARCHIVE_MAX) + past_incidents.len().saturating_sub(ARCHIVE_MAX);
    past_runs.truncate(ARCHIVE_MAX);
    past_incidents.truncate(ARCHIVE_MAX);
    let shown = board::Overview {
        incidents: &open.iter().map(|incident| incident.entry(&board.links)).collect::<Vec<_>>(),
        runs: &runs.iter().filter(|run| !run.ended).map(entry).collect::<Vec<_>>(),
        past_incidents: &past_incidents,
        past_runs: &past_runs,
        hidden,
        filter: &filter,
    };
    board::overview(shown, &board.links, web.clock.now())
}

fn entry(run: &RunSummary) -> Entry<'_> {
    Entry { state: &run.snapshot.state, progress: &run.snapshot.progress, stuck: run.stuck.as_deref() }
}

fn fits(run: &PastRun, filter: &Filter) -> bool {
    let text = [run.id.as_str(), run.runbook.as_str(), run.title.as_str()];
    filter.finds(&text) && (filter.status.is_empty() || word(&Status::Ended(run.end)) == filter.status)
}

/// A status is one of runs; the title of a private incident is not told by what finds it either.
fn incident_fits(incident: &PastIncident, filter: &Filter) -> bool {
    let title = if incident.private { "private" } else { incident.title.as_str() };
    filter.status.is_empty() && filter.finds(&[&incident.id.to_string(), title])
}

/// An incident as pages show it.
struct IncidentShown<'a> {
    state: &'a incident::State,
    head: &'a str,
    runs: Vec<View<'a>>,
    now: Timestamp,
    stuck: Option<&'a str>,
}

impl<'a> IncidentShown<'a> {
    fn of(incident: &'a IncidentSnapshot, stuck: &'a [StuckIncident]) -> Self {
        let view = |run: &'a Snapshot| View { state: &run.state, head: &run.head, progress: &run.progress, now: run.now };
        let stuck = stuck.iter().find(|stuck| stuck.incident == *incident.state.id()).map(|stuck| stuck.why.as_str());
        let runs = incident.runs.iter().map(view).collect();
        Self { state: &incident.state, head: &incident.head, runs, now: incident.now, stuck }
    }

    fn entry(&self, links: &Links) -> IncidentEntry<'_> {
        let Self { state, head, runs, now, stuck } = self;
        let view = IncidentView { state, head, runs, guild: links.guild, now: *now };
        IncidentEntry { view, stuck: *stuck }
    }
}

fn not_yet() -> Markup {
    html! { div.empty { h2 { "The bot is starting" } p { "Its runs are shown once it holds the lease on the journal." } } }
}

/// The page of one run or incident.
struct Shown {
    body: Markup,
    /// Whether anything can still follow.
    live: bool,
}

async fn run_page(State(web): State<Web>, Path(name): Path<String>) -> Response {
    let run: Option<RunId> = name.parse().ok();
    let shown = match &run {
        Some(run) => run_shown(&web, run).await,
        None => Ok(None),
    };
    page_of("Run", run.map(|run| (run.to_string(), format!("/live/runs/{run}"))), shown)
}

async fn incident_page(State(web): State<Web>, Path(name): Path<String>) -> Response {
    let incident: Option<IncidentId> = name.parse().ok();
    let shown = match &incident {
        Some(incident) => incident_shown(&web, incident).await,
        None => Ok(None),
    };
    page_of("Incident", incident.map(|incident| (incident.to_string(), format!("/live/incidents/{incident}"))), shown)
}

/// The whole page of what was looked up; `named` are its title and its stream, if its address could be read.
fn page_of(kind: &str, named: Option<(String, String)>, shown: Result<Option<Shown>, StoreError>) -> Response {
    let (title, stream) = named.unzip();
    let (status, live) = match shown {
        Ok(Some(Shown { body, live })) => (StatusCode::OK, Live { body, stream: stream.filter(|_| live) }),
        Ok(None) => {
            let body = board::missing(&format!("The journal holds no {} of that id.", kind.to_lowercase()));
            (StatusCode::NOT_FOUND, Live { body, stream: None })
        }
        // It may be back in a moment: the stream goes on asking.
        Err(error) => {
            let body = board::missing(&format!("The journal could not be read: {error}"));
            (StatusCode::SERVICE_UNAVAILABLE, Live { body, stream })
        }
    };
    (status, board::shell(title.as_deref().unwrap_or(kind), &live)).into_response()
}

/// How far a run's steps under way are is not journalled: that alone is asked of the engine.
async fn run_shown(web: &Web, run: &RunId) -> Result<Option<Shown>, StoreError> {
    let Some(board) = &web.board else { return Ok(None) };
    let Some(History { state, facts, head, broken }) = run_history(web, run).await? else { return Ok(None) };
    let runs = web.vitals.runs();
    let progress = runs.as_ref().and_then(|runs| runs.snapshot(run)).map(|run| run.progress).unwrap_or_default();
    let stuck = runs.map(|runs| runs.stuck()).unwrap_or_default().into_iter().find(|stuck| stuck.run == *run);
    let stuck = stuck.map(|stuck| stuck.why).or_else(|| broken.map(|broken| broken.to_string()));
    let post_mortem = state.incident.and_then(|incident| board.feed.archive().post_mortem(&incident));
    let view = View { state: &state, head: &head, progress: &progress, now: web.clock.now() };
    let body = board::run(view, &facts, stuck.as_deref(), post_mortem.as_ref(), &board.links);
    Ok(Some(Shown { body, live: state.end.is_none() }))
}

async fn incident_shown(web: &Web, incident: &IncidentId) -> Result<Option<Shown>, StoreError> {
    let Some(board) = &web.board else { return Ok(None) };
    let Ok(stream) = StreamId::new("incident", &incident.to_string()) else { return Ok(None) };
    let Some(History { state, facts, head, broken }) = history::read(&*web.journal, &stream, &INCIDENT).await? else {
        return Ok(None);
    };
    let belonging = board.feed.archive().runs_of(incident);
    let mut runs = Vec::with_capacity(belonging.len());
    for run in &belonging {
        runs.extend(run_history(web, run).await?);
    }
    let now = web.clock.now();
    let runs = runs.iter().map(|run| View { state: &run.state, head: &run.head, progress: &[], now }).collect();
    let stuck = web.vitals.incidents().map(|incidents| incidents.stuck_incidents()).unwrap_or_default();
    let stuck = stuck.into_iter().find(|stuck| stuck.incident == *incident);
    let stuck = stuck.map(|stuck| stuck.why).or_else(|| broken.map(|broken| broken.to_string()));
    let shown = IncidentShown { state: &state, head: &head, runs, now, stuck: stuck.as_deref() };
    let body = board::incident(&shown.entry(&board.links), &facts, &board.links);
    // Also after its resolution: the post-mortem follows, and its issues.
    Ok(Some(Shown { body, live: state.closed_at.is_none() }))
}

const RUN: Folding<run::State, run::Event> = Folding { begin: run::begin, evolve: run::evolve };
const INCIDENT: Folding<incident::State, incident::Event> = Folding { begin: incident::begin, evolve: incident::evolve };

async fn run_history(web: &Web, run: &RunId) -> Result<Option<History<run::State, run::Event>>, StoreError> {
    let Ok(stream) = StreamId::new("run", run.as_str()) else { return Ok(None) };
    history::read(&*web.journal, &stream, &RUN).await
}

async fn overview_stream(State(web): State<Web>, Query(asked): Query<Asked>) -> Response {
    stream_of(web, Subject::Overview(asked))
}

async fn run_stream(State(web): State<Web>, Path(name): Path<String>) -> Response {
    match name.parse() {
        Ok(run) => stream_of(web, Subject::Run(run)),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn incident_stream(State(web): State<Web>, Path(name): Path<String>) -> Response {
    match name.parse() {
        Ok(incident) => stream_of(web, Subject::Incident(incident)),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// What a stream is about.
enum Subject {
    Overview(Asked),
    Incident(IncidentId),
    Run(RunId),
}

impl Subject {
    /// What its page shows now; `None` if that cannot be read at this moment, and the page keeps what it has.
    async fn render(&self, web: &Web) -> Option<String> {
        let body = match self {
            Self::Overview(asked) => overview(web, asked),
            Self::Incident(incident) => incident_shown(web, incident).await.ok()??.body,
            Self::Run(run) => run_shown(web, run).await.ok()??.body,
        };
        Some(body.into_string())
    }
}

/// One open page.
struct Follower {
    web: Web,
    subject: Subject,
    news: watch::Receiver<u64>,
    /// What the page shows; nothing is known of a page that has just connected.
    shown: Option<String>,
    spoke_at: Instant,
    _place: OwnedSemaphorePermit,
}

fn stream_of(web: Web, subject: Subject) -> Response {
    let Some(board) = &web.board else { return StatusCode::NOT_FOUND.into_response() };
    let Ok(place) = Arc::clone(&board.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; this one will try again\n").into_response();
    };
    let (news, over) = (board.feed.follow(), web.over.clone());
    let follower = Follower { web, subject, news, shown: None, spoke_at: Instant::now(), _place: place };
    Sse::new(updates(follower).take_until(over.cancelled_owned())).into_response()
}

fn updates(follower: Follower) -> impl Stream<Item = Result<SseEvent, Infallible>> + Send {
    stream::unfold(follower, async |mut follower| {
        let event = follower.next().await;
        Some((Ok(event), follower))
    })
}

impl Follower {
    /// The next thing to say: a page that has changed, or a sign of life.
    async fn next(&mut self) -> SseEvent {
        loop {
            if self.shown.is_some() {
                self.wait().await;
            }
            let page = self.subject.render(&self.web).await;
            if let Some(page) = page.filter(|page| self.shown.as_ref() != Some(page)) {
                let event = SseEvent::default().event("page");
                // A page is one line for the stream: as JSON, whatever line ends it holds.
                let event = event.json_data(&page).unwrap_or_else(|_| SseEvent::default().event("beat").data("-"));
                self.shown = Some(page);
                self.spoke_at = Instant::now();
                return event;
            }
            // Nothing to show at first is no reason to render without a pause.
            self.shown.get_or_insert_default();
            if self.spoke_at.elapsed() >= SIGN_OF_LIFE_EVERY {
                self.spoke_at = Instant::now();
                return SseEvent::default().event("beat").data("-");
            }
        }
    }

    /// Returns when the page should be looked at again.
    async fn wait(&mut self) {
        let news = async {
            // The feed lives as long as the board; if it does not, time alone is what is waited for.
            if self.news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            // What is appended is told before the engine holds it; and one thing leads to the next.
            tokio::time::sleep(UPDATE_EVERY_MIN).await;
        };
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

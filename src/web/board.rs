//! The run board: its pages, and the streams of updates that keep them live.
//!
//! A page and its updates are rendered by the same function from the same state. An update is sent when what a page
//! shows has changed; if nothing has, a sign of life is sent, so that a page can tell silence from peace.

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
use super::session::{self, BoardToken};
use super::{Feed, Web};
use crate::domain::incident::{self, IncidentId};
use crate::domain::run::{self, Event, State as RunState};
use crate::domain::{Hash, RunId, StreamId, Timestamp};
use crate::engine::{IncidentSnapshot, RunSummary, Snapshot, StuckIncident};
use crate::render::View;
use crate::render::board::{self, Entry, Filter, IncidentEntry, Links, Live};
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
    let (open, resolved): (Vec<_>, Vec<_>) = incidents.incidents().into_iter().partition(|incident| incident.state.is_open());
    let mut open: Vec<IncidentShown> = open.iter().map(|incident| IncidentShown::of(incident, &stuck)).collect();
    open.sort_by_key(|incident| incident.state.severity);
    let past = resolved.iter().filter(|incident| incident_fits(incident, &filter));
    let past: Vec<IncidentShown> = past.map(|incident| IncidentShown::of(incident, &stuck)).collect();
    let ended: Vec<&RunSummary> = runs.iter().filter(|run| run.ended && fits(run, &filter)).collect();
    let shown = board::Overview {
        incidents: &open.iter().map(|incident| incident.entry(&board.links)).collect::<Vec<_>>(),
        runs: &runs.iter().filter(|run| !run.ended).map(entry).collect::<Vec<_>>(),
        past_incidents: &past.iter().take(ARCHIVE_MAX).map(|incident| incident.entry(&board.links)).collect::<Vec<_>>(),
        past_runs: &ended.iter().take(ARCHIVE_MAX).map(|run| entry(run)).collect::<Vec<_>>(),
        hidden: ended.len().saturating_sub(ARCHIVE_MAX) + past.len().saturating_sub(ARCHIVE_MAX),
        filter: &filter,
    };
    board::overview(shown, &board.links, web.clock.now())
}

fn entry(run: &RunSummary) -> Entry<'_> {
    Entry { state: &run.snapshot.state, progress: &run.snapshot.progress, stuck: run.stuck.as_deref() }
}

fn fits(run: &RunSummary, filter: &Filter) -> bool {
    let text = [run.id.as_str(), run.runbook.as_str(), run.title.as_str()];
    filter.finds(&text) && (filter.status.is_empty() || word(&run.status) == filter.status)
}

/// A status is one of runs; the title of a private incident is not told by what finds it either.
fn incident_fits(incident: &IncidentSnapshot, filter: &Filter) -> bool {
    let opened = &incident.state.opened;
    let title = if opened.private { "private" } else { opened.title.as_str() };
    filter.status.is_empty() && filter.finds(&[&incident.state.id().to_string(), title])
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

/// A run as a page shows it: from memory if the engine remembers it, else folded from the journal.
struct Shown {
    run: Snapshot,
    events: Arc<Vec<(Timestamp, Event)>>,
}

async fn run_page(State(web): State<Web>, Path(name): Path<String>) -> Response {
    let run: Option<RunId> = name.parse().ok();
    let shown = match &run {
        Some(run) => look_up(&web, run).await,
        None => Ok(None),
    };
    let (status, live) = match shown {
        Ok(Some(shown)) => {
            let stream = shown.run.state.end.is_none().then(|| format!("/live/runs/{}", shown.run.state.id()));
            (StatusCode::OK, Live { body: run_body(&web, &shown), stream })
        }
        Ok(None) => {
            (StatusCode::NOT_FOUND, Live { body: board::missing("There is no run of that id in the journal."), stream: None })
        }
        Err(error) => {
            let body = board::missing(&format!("The journal could not be read: {error}"));
            (StatusCode::SERVICE_UNAVAILABLE, Live { body, stream: None })
        }
    };
    let title = run.map_or_else(|| "Run".to_owned(), |run| run.to_string());
    (status, board::shell(&title, &live)).into_response()
}

async fn incident_page(State(web): State<Web>, Path(name): Path<String>) -> Response {
    let incident: Option<IncidentId> = name.parse().ok();
    let body = incident.and_then(|incident| incident_body(&web, &incident));
    let title = incident.map_or_else(|| "Incident".to_owned(), |incident| incident.to_string());
    let (status, live) = match body {
        Some(body) => (StatusCode::OK, Live { body, stream: Some(format!("/live/incidents/{title}")) }),
        None => (StatusCode::NOT_FOUND, Live { body: board::missing("The bot knows no incident of that id."), stream: None }),
    };
    (status, board::shell(&title, &live)).into_response()
}

fn incident_body(web: &Web, incident: &IncidentId) -> Option<Markup> {
    let (incidents, links) = (web.vitals.incidents()?, &web.board.as_ref()?.links);
    let (snapshot, stuck) = (incidents.incident(incident)?, incidents.stuck_incidents());
    Some(board::incident(&IncidentShown::of(&snapshot, &stuck).entry(links), links))
}

async fn look_up(web: &Web, run: &RunId) -> Result<Option<Shown>, StoreError> {
    let Ok(stream) = StreamId::new("run", run.as_str()) else { return Ok(None) };
    let records = web.journal.load(&stream).await?;
    let read = |record: &crate::store::Record| Some((record.at, serde_json::from_str::<Event>(&record.body).ok()?));
    let events: Vec<(Timestamp, Event)> = records.iter().map_while(read).collect();
    let remembered = web.vitals.runs().and_then(|runs| runs.snapshot(run));
    let head = records.last().map_or(Hash::GENESIS, |record| record.hash).to_string();
    let folded = || Some(Snapshot { state: Arc::new(fold(&events)?), head, progress: Vec::new(), now: web.clock.now() });
    let Some(run) = remembered.or_else(folded) else { return Ok(None) };
    Ok(Some(Shown { run, events: Arc::new(events) }))
}

/// The state after as many of the events as make sense.
fn fold(events: &[(Timestamp, Event)]) -> Option<RunState> {
    let ((at, first), rest) = events.split_first()?;
    let mut state = run::begin(*at, first).ok()?;
    for (at, event) in rest {
        match run::evolve(state.clone(), *at, event) {
            Ok(next) => state = next,
            Err(_) => break,
        }
    }
    Some(state)
}

fn run_body(web: &Web, shown: &Shown) -> Markup {
    let Some(board) = &web.board else { return html! {} };
    let run = &shown.run;
    let view = View { state: &run.state, head: &run.head, progress: &run.progress, now: run.now };
    let stuck = web.vitals.runs().map(|runs| runs.stuck()).unwrap_or_default();
    let stuck = stuck.into_iter().find(|stuck| stuck.run == *run.state.id()).map(|stuck| stuck.why);
    board::run(view, &shown.events, stuck.as_deref(), &board.links)
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
            Self::Incident(incident) => incident_body(web, incident)?,
            Self::Run(run) => run_body(web, &look_up(web, run).await.ok()??),
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
            tokio::time::sleep(UPDATE_EVERY_MIN).await;
            // The feed lives as long as the board; if it does not, time alone is what is waited for.
            if self.news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

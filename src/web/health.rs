//! `/healthz`, `/readyz` and `/metrics`: for supervisors, load balancers and Prometheus.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::Web;
use crate::domain::Timestamp;
use crate::domain::incident::Severity;
use crate::domain::run::{End, Status};
use crate::engine::{IncidentSnapshot, RunSummary};
use crate::metrics::{CONTENT_TYPE, Scrape};

/// How long the journal may take to answer. Kubernetes gives a probe one second by default, and most raise it to a few.
const JOURNAL_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Web> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).route("/metrics", get(metrics))
}

/// Alive: the process answers. A restart would help nothing else, so nothing else is looked at.
async fn healthz() -> &'static str {
    "alive\n"
}

/// One part that must be well for the bot to be ready.
#[derive(Debug, Serialize)]
struct Part {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Part {
    fn of(ready: bool, why_not: &str) -> Self {
        Self { ready, why: (!ready).then(|| why_not.to_owned()) }
    }
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    lease: Part,
    journal: Part,
    gateway: Part,
}

async fn readiness(web: &Web) -> Readiness {
    let lease =
        Part::of(web.vitals.acts(), "the lease on the journal is not held: another process acts, or this one is stopping");
    let journal = match tokio::time::timeout(JOURNAL_ANSWERS_WITHIN, web.journal.head()).await {
        Ok(Ok(_)) => Part { ready: true, why: None },
        Ok(Err(error)) => Part { ready: false, why: Some(error.to_string()) },
        Err(_) => Part { ready: false, why: Some(format!("no answer within {} s", JOURNAL_ANSWERS_WITHIN.as_secs())) },
    };
    let gateway =
        Part::of(web.vitals.gateway().connected, "no session with Discord's gateway stands; commands and votes do not arrive");
    Readiness { ready: lease.ready && journal.ready && gateway.ready, lease, journal, gateway }
}

async fn readyz(State(web): State<Web>) -> Response {
    let readiness = readiness(&web).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(web): State<Web>) -> Response {
    let scrape = scrape(&web).await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], web.metrics.text(&scrape)).into_response()
}

async fn scrape(web: &Web) -> Scrape {
    let (gateway, now) = (web.vitals.gateway(), web.clock.now());
    let (engine, incidents) = (web.vitals.runs(), web.vitals.incidents());
    let runs = engine.as_ref().map(|runs| runs.runs()).unwrap_or_default();
    let stuck_runs = engine.map_or(0, |runs| runs.stuck().len() as u64);
    let stuck_incidents = incidents.as_ref().map_or(0, |incidents| incidents.stuck_incidents().len() as u64);
    let incidents = incidents.map(|incidents| incidents.incidents()).unwrap_or_default();
    let owed: Vec<Timestamp> = owed_since(&runs, &incidents).collect();
    let oldest = owed.iter().min();
    Scrape {
        ready: readiness(web).await.ready,
        runs: by_status(&runs),
        incidents_open: by_severity(&incidents),
        stuck: BTreeMap::from([("run", stuck_runs), ("incident", stuck_incidents)]),
        owed_messages: owed.len() as u64,
        oldest_owed_secs: oldest.map_or(0.0, |since| (now - since).as_seconds_f64().max(0.0)),
        gateway_connected: gateway.connected,
        gateway_reconnects: gateway.reconnects,
        events_unparsed: gateway.unparsed,
        discord_requests: web.vitals.discord_requests(),
        github_requests: web.vitals.github_requests().into(),
    }
}

/// Since when each message is owed that is not visible yet.
fn owed_since<'a>(runs: &'a [RunSummary], incidents: &'a [IncidentSnapshot]) -> impl Iterator<Item = Timestamp> + 'a {
    let of_runs = runs.iter().flat_map(|run| &run.snapshot.state.owed).filter(|owed| owed.posted.is_none());
    // What a closed incident still owed went with its channel.
    let alive = incidents.iter().map(|incident| &incident.state).filter(|state| state.closed_at.is_none());
    let of_incidents = alive.flat_map(|state| &state.owed).filter(|owed| owed.posted.is_none());
    of_runs.map(|owed| owed.since).chain(of_incidents.map(|owed| owed.since))
}

/// Every severity, for the same reason as every status.
fn by_severity(incidents: &[IncidentSnapshot]) -> BTreeMap<&'static str, u64> {
    let mut counts: BTreeMap<&'static str, u64> = Severity::ALL.into_iter().map(|severity| (severity.as_str(), 0)).collect();
    for incident in incidents.iter().filter(|incident| incident.state.is_open()) {
        *counts.entry(incident.state.severity.as_str()).or_default() += 1;
    }
    counts
}

/// Every status, so that a rule over one that is empty does not find it absent.
const STATUSES: [&str; 13] = [
    "scheduled",
    "waiting",
    "running",
    "at_gate",
    "paused",
    "asking",
    "rolling_back",
    "closing",
    "succeeded",
    "rolled_back",
    "failed",
    "aborted",
    "refused",
];

fn by_status(runs: &[RunSummary]) -> BTreeMap<&'static str, u64> {
    let mut counts: BTreeMap<&'static str, u64> = STATUSES.into_iter().map(|status| (status, 0)).collect();
    for run in runs {
        *counts.entry(word(&run.status)).or_default() += 1;
    }
    counts
}

/// A status in one word, as metrics and addresses use it.
pub(super) fn word(status: &Status) -> &'static str {
    match status {
        Status::Scheduled { .. } => "scheduled",
        Status::Waiting { .. } => "waiting",
        Status::Running { .. } => "running",
        Status::AtGate(_) => "at_gate",
        Status::Paused => "paused",
        Status::Asking(_) => "asking",
        Status::RollingBack(_) => "rolling_back",
        Status::Closing(_) => "closing",
        Status::Ended(End::Succeeded) => "succeeded",
        Status::Ended(End::RolledBack) => "rolled_back",
        Status::Ended(End::Failed) => "failed",
        Status::Ended(End::Aborted) => "aborted",
        Status::Ended(End::Refused) => "refused",
    }
}

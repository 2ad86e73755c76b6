//! The SX application: assets of one profile over HTTP, in SQLite or in PostgreSQL.
//!
//! A process reads its settings once, from its environment, and keeps them until it is started again:
//! `SX_DB_BACKEND_MODE` (`SQLITE` or `POSTGRES_PRIMARY`), `SX_SOURCE_ID` (its profile), `SX_HOME` (the profile's
//! directory, with the SQLite file), `SX_POSTGRES_DSN`, `SX_POSTGRES_ADMIN_DSN` and `SX_ADMIN_TOKEN`.
//!
//! | Path | Answer |
//! |---|---|
//! | `GET /health` | `{"ok", "backend", "supports", "source_id", "read_only", "database"}`; 503 when not ok |
//! | `GET /stats` | `{"source_id", "backend", "items", "item_meta", "notes"}` |
//! | `GET /items?limit=&after=`, `GET /items/{id}` | items by id, at most 500; one item |
//! | `GET`, `POST /items/{id}/meta` | the item's metadata; replaces it by the JSON object in the body |
//! | `GET`, `POST /items/{id}/notes` | the item's notes; adds `{"body", "pinned"}` |
//! | `DELETE /items/{id}/notes/{note}` | deletes a note |
//! | `GET /search?q=` | items whose title holds the text |
//! | `POST /admin/bootstrap/schema` | `{"source_id"}` to a schema; needs the header `x-sx-admin-token` |
//! | `GET /admin/responses` | what was answered since the start: 4xx and 5xx, and the most 5xx within a minute |
//!
//! **Sources.** The header `x-sx-source` or the query `source_id` names the source; without either it is the
//! process's own profile. If both are given and differ, the answer is 409; a source that is not known is 404. In
//! SQLite mode only the own profile is known, in PostgreSQL mode every source of the registry.
//!
//! **Read-only.** While the file `read-only` lies in `SX_HOME`, writes answer 503. Each answer names its backend in the
//! header `x-sx-backend`.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tokio::signal::unix::{SignalKind, signal};

use super::registry::{self, SourceId};
use super::store::{Scope, Store};
use super::{BURST, Faults, Mode, Place};
use crate::sandbox::estate::faults::Switches;

/// The most items in one answer.
const ITEMS_MAX: i64 = 500;
/// How many 5xx answers are remembered; older ones are forgotten.
const FAILURES_MAX: usize = 10_000;
/// What a burst is counted over.
const MINUTE: Duration = Duration::from_secs(60);

/// Serves until SIGTERM. Prints `listening on 127.0.0.1:PORT` when it does.
pub(super) async fn serve(environment: &BTreeMap<String, String>) -> io::Result<()> {
    let api = Arc::new(Api::new(environment)?);
    let slow = api.faults().slow_start_millis;
    tokio::time::sleep(Duration::from_millis(slow)).await;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    axum::serve(listener, router(api)).with_graceful_shutdown(async move { _ = terminate.recv().await }).await
}

struct Api {
    candidate: bool,
    source: SourceId,
    home: PathBuf,
    store: Store,
    dsn: Option<String>,
    admin_dsn: Option<String>,
    admin_token: Option<String>,
    switches: Switches<Faults>,
    responses: Mutex<Responses>,
    burst: AtomicU32,
}

/// What was answered since the start.
#[derive(Default)]
struct Responses {
    all: u64,
    client_errors: u64,
    failures: VecDeque<(Instant, String)>,
}

type Shared = Arc<Api>;

impl Api {
    fn new(environment: &BTreeMap<String, String>) -> io::Result<Self> {
        let setting = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        let needed = |name: &str| setting(name).ok_or_else(|| io::Error::other(format!("{name} is not set")));
        let switches: Switches<Faults> = Switches::new(setting("FAULTS_FILE").unwrap_or_default());
        let mode = needed("SX_DB_BACKEND_MODE")?;
        let unknown = || io::Error::other(format!("SX_DB_BACKEND_MODE is {mode:?}: it is SQLITE or POSTGRES_PRIMARY"));
        let mode = if switches.read().mode_ignored { Mode::Sqlite } else { Mode::parse(&mode).ok_or_else(unknown)? };
        let home = PathBuf::from(needed("SX_HOME")?);
        let store = match mode {
            Mode::Sqlite => Store::sqlite(&home.join(super::SQLITE_FILE)),
            Mode::PostgresPrimary => Store::postgres(&needed("SX_POSTGRES_DSN")?).map_err(io::Error::other)?,
        };
        Ok(Self {
            candidate: setting("SX_UNIT").is_some_and(|unit| unit.ends_with(super::CANDIDATE)),
            source: SourceId::parse(&needed("SX_SOURCE_ID")?).map_err(io::Error::other)?,
            home,
            store,
            dsn: setting("SX_POSTGRES_DSN"),
            admin_dsn: setting("SX_POSTGRES_ADMIN_DSN"),
            admin_token: setting("SX_ADMIN_TOKEN"),
            switches,
            responses: Mutex::default(),
            burst: AtomicU32::new(0),
        })
    }

    fn faults(&self) -> Faults {
        self.switches.read()
    }

    /// Whether a fault is on here; those with a place are about PostgreSQL.
    fn is_hit(&self, fault: Option<Place>) -> bool {
        self.store.mode() == Mode::PostgresPrimary && fault.is_some_and(|place| place.holds(self.candidate))
    }

    fn is_read_only(&self) -> bool {
        self.home.join("read-only").exists()
    }

    /// The source that a request is about.
    async fn resolve(&self, parts: &Parts) -> Result<Scope, Response> {
        let named = parts.headers.get("x-sx-source").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let query: Query<BTreeMap<String, String>> = Query::try_from_uri(&parts.uri).unwrap_or_default();
        let asked = query.get("source_id").cloned();
        let tolerant = self.is_hit(self.faults().mismatch_tolerated_on);
        if let (Some(named), Some(asked)) = (&named, &asked)
            && named != asked
            && !tolerant
        {
            let message = format!("the header says the source {named:?}, and the query {asked:?}");
            return Err(refusal(StatusCode::CONFLICT, "source_mismatch", &message));
        }
        let wanted = named.or(asked).unwrap_or_else(|| self.source.as_str().to_owned());
        let known = match SourceId::parse(&wanted) {
            Ok(source) => self.store.scope(&self.source, &source).await.map_err(|error| failure(&error))?,
            Err(_) => None,
        };
        match known {
            Some(scope) => Ok(scope),
            None if tolerant => {
                let own = self.store.scope(&self.source, &self.source).await.map_err(|error| failure(&error))?;
                own.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "unknown_source", "the own source is not registered"))
            }
            None => Err(refusal(StatusCode::NOT_FOUND, "unknown_source", &format!("there is no source {wanted:?}"))),
        }
    }
}

/// The source of a request, as an argument of its handler.
struct Sourced(Scope);

impl FromRequestParts<Shared> for Sourced {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Response> {
        api.resolve(parts).await.map(Self)
    }
}

fn refusal(status: StatusCode, code: &str, error: &str) -> Response {
    (status, Json(json!({ "error": error, "code": code }))).into_response()
}

fn failure(error: &sqlx::Error) -> Response {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "database", &error.to_string())
}

fn answer(found: Result<Value, sqlx::Error>) -> Response {
    match found {
        Ok(value) => Json(value).into_response(),
        Err(error) => failure(&error),
    }
}

fn found(found: Result<Option<Value>, sqlx::Error>) -> Response {
    match found {
        Ok(Some(value)) => Json(value).into_response(),
        Ok(None) => refusal(StatusCode::NOT_FOUND, "unknown_item", "no such item"),
        Err(error) => failure(&error),
    }
}

fn router(api: Shared) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/stats", get(stats))
        .route("/items", get(items))
        .route("/items/{id}", get(item))
        .route("/items/{id}/meta", get(meta).post(set_meta))
        .route("/items/{id}/notes", get(notes).post(add_note))
        .route("/items/{id}/notes/{note}", delete(delete_note))
        .route("/search", get(search))
        .route("/admin/bootstrap/schema", post(bootstrap))
        .route("/admin/responses", get(responses))
        .layer(middleware::from_fn_with_state(api.clone(), around))
        .with_state(api)
}

/// What holds for every request: writes, faults, the log.
async fn around(State(api): State<Shared>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let writes = method != axum::http::Method::GET && !path.starts_with("/admin");
    let bursts = path == "/search" && api.is_hit(api.faults().burst_on);
    let frozen = writes && api.is_read_only();
    let mut response = if frozen {
        refusal(StatusCode::SERVICE_UNAVAILABLE, "read_only", "the profile is read-only during its cutover; try again soon")
    } else if writes && api.is_hit(api.faults().writes_fail_on) {
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "database", "permission denied for table item_meta")
    } else if bursts && api.burst.fetch_add(1, Ordering::Relaxed) < BURST {
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "database", "remaining connection slots are reserved")
    } else {
        next.run(request).await
    };
    let status = response.status();
    let _ = writeln!(io::stderr(), "{method} {path} {}", status.as_u16());
    // A refused write says that the profile is read-only, which is meant to be: no failure.
    api.note(status, frozen, format!("{method} {path} {}", status.as_u16()));
    let headers = response.headers_mut();
    headers.insert("x-sx-backend", HeaderValue::from_static(api.store.mode().backend()));
    // The address leads to whichever process is the present one; a kept connection would stay with a former one.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

impl Api {
    fn note(&self, status: StatusCode, meant: bool, line: String) {
        let mut responses = self.responses.lock().expect("no code panics while it holds the log");
        responses.all += 1;
        responses.client_errors += u64::from(status.is_client_error());
        if status.is_server_error() && !meant {
            responses.failures.push_back((Instant::now(), line));
            if responses.failures.len() > FAILURES_MAX {
                responses.failures.pop_front();
            }
        }
    }
}

impl Responses {
    /// The most failures that lie within a minute of each other.
    fn worst_minute(&self) -> usize {
        let times: Vec<Instant> = self.failures.iter().map(|(at, _)| *at).collect();
        let within = |end: usize| times[..=end].iter().filter(|at| times[end].duration_since(**at) <= MINUTE).count();
        (0..times.len()).map(within).max().unwrap_or(0)
    }
}

async fn responses(State(api): State<Shared>) -> Json<Value> {
    let responses = api.responses.lock().expect("no code panics while it holds the log");
    let newest: Vec<&str> = responses.failures.iter().rev().take(20).map(|(_, line)| line.as_str()).collect();
    Json(json!({
        "responses": responses.all, "client_errors": responses.client_errors, "server_errors": responses.failures.len(),
        "server_errors_worst_minute": responses.worst_minute(), "newest_server_errors": newest,
    }))
}

async fn health(State(api): State<Shared>) -> Response {
    let error = api.store.ping().await.err().map(|error| error.to_string());
    let ok = error.is_none() && !api.is_hit(api.faults().unhealthy_on);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ok": ok, "backend": api.store.mode().backend(), "supports": [Mode::Sqlite.backend(), Mode::PostgresPrimary.backend()],
        "source_id": api.source.as_str(), "read_only": api.is_read_only(),
        "database": { "reachable": error.is_none(), "error": error },
    });
    (status, Json(body)).into_response()
}

async fn stats(State(api): State<Shared>, Sourced(scope): Sourced) -> Response {
    answer(api.store.stats(&scope).await)
}

#[derive(Deserialize)]
struct Page {
    limit: Option<i64>,
    after: Option<i64>,
}

async fn items(State(api): State<Shared>, Sourced(scope): Sourced, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(20).clamp(1, ITEMS_MAX);
    let mut items = match api.store.items(&scope, page.after.unwrap_or(0), limit).await {
        Ok(items) => items,
        Err(error) => return failure(&error),
    };
    if api.is_hit(api.faults().leak_on) {
        match api.store.item_of_another(&scope).await {
            Ok(foreign) => items.extend(foreign),
            Err(error) => return failure(&error),
        }
    }
    Json(json!({ "source_id": scope.source.as_str(), "items": items })).into_response()
}

async fn item(State(api): State<Shared>, Sourced(scope): Sourced, Path(id): Path<i64>) -> Response {
    found(api.store.item(&scope, id).await)
}

#[derive(Deserialize)]
struct Wanted {
    q: String,
}

async fn search(State(api): State<Shared>, Sourced(scope): Sourced, Query(wanted): Query<Wanted>) -> Response {
    let items = api.store.search(&scope, &wanted.q, ITEMS_MAX).await;
    answer(items.map(|items| json!({ "source_id": scope.source.as_str(), "items": items })))
}

async fn meta(State(api): State<Shared>, Sourced(scope): Sourced, Path(id): Path<i64>) -> Response {
    found(api.store.meta(&scope, id).await.map(|meta| meta.map(|meta| json!({ "item_id": id, "meta": meta }))))
}

async fn set_meta(State(api): State<Shared>, Sourced(scope): Sourced, Path(id): Path<i64>, Json(meta): Json<Value>) -> Response {
    if !meta.is_object() {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "not_an_object", "metadata is a JSON object");
    }
    match api.store.item(&scope, id).await {
        Ok(Some(_)) => answer(api.store.set_meta(&scope, id, &meta).await.map(|()| json!({ "item_id": id, "meta": meta }))),
        other => found(other),
    }
}

async fn notes(State(api): State<Shared>, Sourced(scope): Sourced, Path(id): Path<i64>) -> Response {
    answer(api.store.notes(&scope, id).await.map(|notes| json!({ "item_id": id, "notes": notes })))
}

#[derive(Deserialize)]
struct NewNote {
    body: String,
    #[serde(default)]
    pinned: bool,
}

async fn add_note(
    State(api): State<Shared>,
    Sourced(scope): Sourced,
    Path(id): Path<i64>,
    Json(note): Json<NewNote>,
) -> Response {
    match api.store.item(&scope, id).await {
        Ok(Some(_)) => answer(api.store.add_note(&scope, id, &note.body, note.pinned).await.map(|note| json!({ "id": note }))),
        other => found(other),
    }
}

async fn delete_note(State(api): State<Shared>, Sourced(scope): Sourced, Path((item, note)): Path<(i64, i64)>) -> Response {
    found(api.store.delete_note(&scope, item, note).await.map(|there| there.then(|| json!({ "deleted": note }))))
}

#[derive(Deserialize)]
struct WantedSource {
    source_id: String,
}

async fn bootstrap(State(api): State<Shared>, headers: HeaderMap, Json(wanted): Json<WantedSource>) -> Response {
    let shown = headers.get("x-sx-admin-token").map(HeaderValue::as_bytes).unwrap_or_default();
    let allowed = api.admin_token.as_ref().is_some_and(|token| bool::from(token.as_bytes().ct_eq(shown)));
    let (Some(dsn), Some(admin_dsn), true) = (&api.dsn, &api.admin_dsn, allowed) else {
        return refusal(StatusCode::FORBIDDEN, "not_allowed", "this needs the admin token, and PostgreSQL to be configured");
    };
    let source = match SourceId::parse(&wanted.source_id) {
        Ok(source) => source,
        Err(refused) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, "not_a_source", &refused.to_string()),
    };
    match registry::bootstrap(admin_dsn, dsn, &source, &api.faults()).await {
        Ok(done) => Json(done).into_response(),
        Err(refused) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "bootstrap_failed", &refused.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_the_most_failures_within_a_minute() {
        let begin = Instant::now();
        let at = |secs: &[u64]| Responses {
            failures: secs.iter().map(|secs| (begin + Duration::from_secs(*secs), String::new())).collect(),
            ..Responses::default()
        };
        for (secs, worst) in [(&[][..], 0), (&[0, 61, 122], 1), (&[0, 1, 60, 200], 3), (&[0, 100, 101, 102, 103], 4)] {
            assert_eq!(at(secs).worst_minute(), worst, "{secs:?}");
        }
    }
}

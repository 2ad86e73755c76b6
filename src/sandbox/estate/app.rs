//! The practice application: a small service over the ACE framework's tables, as its own process.
//!
//! It reads its database's address once, from `DATABASE_URL` (`sqlite:PATH` or `postgres://...`), like
//! a pod does from its Secret, and keeps it until it is started again. Endpoints:
//!
//! | Path | Answer |
//! |---|---|
//! | `GET /health` | `{"ok", "backend", "database": {"reachable", "error"}}`; 503 when not ok |
//! | `GET /version` | `{"version", "backend"}` |
//! | `GET /stats` | rows of `clusters` and `playbook_entries`, in total and per stage |
//! | `GET /items?limit=&after=` | entries by id, at most 500 |
//! | `GET /items/{id}` | one entry |
//! | `POST /items/{id}/meta` | replaces the entry's metadata by the JSON object in the body |
//! | `GET /metrics` | Prometheus text |
//!
//! Maintenance ("the API is temporarily disabled"): while the file `maintenance` in `CONFIG_DIR` (a mounted
//! ConfigMap) says `on`, everything but `/health`, `/version` and `/metrics` answers 503. Faults: see `faults.rs`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{FromRow, Row};
use tokio::signal::unix::{SignalKind, signal};

use super::faults::{Backend, Switches};

/// The most items in one answer.
const ITEMS_MAX: i64 = 500;
/// How long a request waits for a database connection.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);
/// What `/version` says when `APP_VERSION` is not set.
const VERSION_UNKNOWN: &str = "unknown";

/// Runs the hidden subcommand `practice-app`. Takes its settings from `environment`:
/// `DATABASE_URL`, `APP_VERSION`, `CONFIG_DIR`, `FAULTS_FILE`, and `PORT` (0, the default, takes a free one).
/// Prints `listening on 127.0.0.1:PORT` when it serves. Ends on SIGTERM, requests under way first.
#[must_use]
pub fn practice_app_main(environment: impl IntoIterator<Item = (OsString, OsString)>) -> ExitCode {
    let text = |value: OsString| value.to_string_lossy().into_owned();
    let environment = environment.into_iter().map(|(name, value)| (text(name), text(value))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serve(&environment))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "practice-app: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(environment: &BTreeMap<String, String>) -> io::Result<()> {
    let setting = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let url = setting("DATABASE_URL").ok_or_else(|| io::Error::other("DATABASE_URL is not set"))?;
    let app = Arc::new(App {
        database: Database::open(url).map_err(io::Error::other)?,
        version: setting("APP_VERSION").cloned().unwrap_or_else(|| VERSION_UNKNOWN.to_owned()),
        config: setting("CONFIG_DIR").map(PathBuf::from),
        switches: Switches::new(setting("FAULTS_FILE").map_or("", String::as_str)),
        requests: AtomicU64::new(0),
        failures: AtomicU64::new(0),
    });
    let port = setting("PORT").map_or(Ok(0), |port| port.parse()).map_err(io::Error::other)?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    axum::serve(listener, router(app)).with_graceful_shutdown(async move { _ = terminate.recv().await }).await
}

struct App {
    database: Database,
    version: String,
    config: Option<PathBuf>,
    switches: Switches,
    requests: AtomicU64,
    failures: AtomicU64,
}

type Shared = Arc<App>;

fn router(app: Shared) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/stats", get(stats))
        .route("/items", get(items))
        .route("/items/{id}", get(item))
        .route("/items/{id}/meta", post(set_meta))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app)
}

/// What holds for every request: faults, maintenance, counting.
async fn around(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let faults = app.switches.read();
    if faults.slow_millis > 0 {
        tokio::time::sleep(Duration::from_millis(faults.slow_millis)).await;
    }
    let path = request.uri().path().to_owned();
    let always = matches!(path.as_str(), "/health" | "/version" | "/metrics");
    let mut response = if !always && app.in_maintenance() {
        refusal(StatusCode::SERVICE_UNAVAILABLE, "maintenance: the API is temporarily disabled")
    } else if path.starts_with("/items") && faults.items_fail_on == Some(app.database.backend()) {
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "relation \"playbook_entries\" has no column \"stage\"")
    } else {
        next.run(request).await
    };
    app.requests.fetch_add(1, Ordering::Relaxed);
    if response.status().is_server_error() {
        app.failures.fetch_add(1, Ordering::Relaxed);
    }
    // The service leads to whichever pod is live; a kept connection would stay with an old one.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

impl App {
    fn in_maintenance(&self) -> bool {
        let said = self.config.as_ref().and_then(|config| std::fs::read_to_string(config.join("maintenance")).ok());
        said.is_some_and(|said| said.trim() == "on")
    }
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// A database that did not answer as hoped becomes a 500 with its message.
fn failure(error: &sqlx::Error) -> Response {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
}

async fn health(State(app): State<Shared>) -> Response {
    let backend = app.database.backend();
    let error = app.database.ping().await.err().map(|error| error.to_string());
    let ok = error.is_none() && app.switches.read().unhealthy_on != Some(backend);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let database = json!({ "reachable": error.is_none(), "error": error });
    (status, Json(json!({ "ok": ok, "backend": backend.name(), "database": database }))).into_response()
}

async fn version(State(app): State<Shared>) -> Json<Value> {
    let version = app.switches.read().wrong_version.unwrap_or_else(|| app.version.clone());
    Json(json!({ "version": version, "backend": app.database.backend().name() }))
}

async fn stats(State(app): State<Shared>) -> Response {
    match app.database.stats().await {
        Ok(stats) => Json(stats).into_response(),
        Err(error) => failure(&error),
    }
}

#[derive(Deserialize)]
struct Page {
    limit: Option<i64>,
    after: Option<i64>,
}

async fn items(State(app): State<Shared>, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(20).clamp(1, ITEMS_MAX);
    match app.database.items(page.after.unwrap_or(0), limit).await {
        Ok(items) => Json(json!({ "items": items })).into_response(),
        Err(error) => failure(&error),
    }
}

async fn item(State(app): State<Shared>, Path(id): Path<i64>) -> Response {
    match app.database.items(id - 1, 1).await {
        Ok(items) => match items.into_iter().find(|item| item["id"] == id) {
            Some(item) => Json(item).into_response(),
            None => refusal(StatusCode::NOT_FOUND, "no such item"),
        },
        Err(error) => failure(&error),
    }
}

async fn set_meta(State(app): State<Shared>, Path(id): Path<i64>, Json(metadata): Json<Value>) -> Response {
    if !metadata.is_object() {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "metadata is a JSON object");
    }
    match app.database.set_metadata(id, &metadata).await {
        Ok(0) => refusal(StatusCode::NOT_FOUND, "no such item"),
        Ok(_) => Json(json!({ "id": id, "metadata": metadata })).into_response(),
        Err(error) => failure(&error),
    }
}

async fn metrics(State(app): State<Shared>) -> Response {
    let up = u8::from(app.database.ping().await.is_ok());
    let text = format!(
        "# HELP ace_http_requests_total Requests answered.\n# TYPE ace_http_requests_total counter\nace_http_requests_total {}\n\
         # HELP ace_http_server_errors_total Requests answered with a 5xx status.\n# TYPE ace_http_server_errors_total counter\nace_http_server_errors_total {}\n\
         # HELP ace_database_up Whether the database answers.\n# TYPE ace_database_up gauge\nace_database_up{{backend=\"{}\"}} {up}\n",
        app.requests.load(Ordering::Relaxed),
        app.failures.load(Ordering::Relaxed),
        app.database.backend().name(),
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// The same questions for both databases, in the text that each of them understands.
enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

const COUNTS: &str =
    "SELECT 'clusters', count(*) FROM clusters UNION ALL SELECT 'playbook_entries', count(*) FROM playbook_entries";
const STAGES: &str = "SELECT stage, count(*) FROM playbook_entries GROUP BY stage ORDER BY stage";
const ITEMS_SQLITE: &str = "SELECT id, uuid, cluster_id, tenant_id, domain, content, stage, helpful_count, harmful_count, is_pinned <> 0, metadata, created_at \
     FROM playbook_entries WHERE id > $1 ORDER BY id LIMIT $2";
const ITEMS_POSTGRES: &str = "SELECT id, uuid::text, cluster_id, tenant_id, domain, content, stage, helpful_count::bigint, harmful_count::bigint, is_pinned, metadata::text, \
     to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '+00:00' FROM playbook_entries WHERE id > $1 ORDER BY id LIMIT $2";
const SET_METADATA_SQLITE: &str = "UPDATE playbook_entries SET metadata = $2 WHERE id = $1";
const SET_METADATA_POSTGRES: &str = "UPDATE playbook_entries SET metadata = $2::jsonb WHERE id = $1";

macro_rules! on {
    ($database:expr, $pool:ident => $answer:expr) => {
        match $database {
            Database::Sqlite($pool) => $answer,
            Database::Postgres($pool) => $answer,
        }
    };
}

impl Database {
    /// Connects when it is first asked something, so that a missing database shows in `/health`.
    fn open(url: &str) -> Result<Self, sqlx::Error> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let options = SqliteConnectOptions::new().filename(path.trim_start_matches("//")).busy_timeout(DATABASE_PATIENCE);
            return Ok(Self::Sqlite(
                SqlitePoolOptions::new().max_connections(4).acquire_timeout(DATABASE_PATIENCE).connect_lazy_with(options),
            ));
        }
        Ok(Self::Postgres(PgPoolOptions::new().max_connections(4).acquire_timeout(DATABASE_PATIENCE).connect_lazy(url)?))
    }

    fn backend(&self) -> Backend {
        match self {
            Self::Sqlite(_) => Backend::Sqlite,
            Self::Postgres(_) => Backend::Postgres,
        }
    }

    async fn ping(&self) -> Result<(), sqlx::Error> {
        on!(self, pool => sqlx::query("SELECT 1").execute(pool).await.map(|_| ()))
    }

    async fn counts(&self, query: &'static str) -> Result<Vec<(String, i64)>, sqlx::Error> {
        on!(self, pool => sqlx::query_as(query).fetch_all(pool).await)
    }

    async fn stats(&self) -> Result<Value, sqlx::Error> {
        let object = |counts: Vec<(String, i64)>| {
            counts.into_iter().map(|(name, count)| (name, json!(count))).collect::<serde_json::Map<_, _>>()
        };
        let mut stats = object(self.counts(COUNTS).await?);
        stats.insert("stages".to_owned(), Value::Object(object(self.counts(STAGES).await?)));
        stats.insert("backend".to_owned(), json!(self.backend().name()));
        Ok(Value::Object(stats))
    }

    async fn items(&self, after: i64, limit: i64) -> Result<Vec<Value>, sqlx::Error> {
        let items: Vec<Item> = match self {
            Self::Sqlite(pool) => sqlx::query_as(ITEMS_SQLITE).bind(after).bind(limit).fetch_all(pool).await?,
            Self::Postgres(pool) => sqlx::query_as(ITEMS_POSTGRES).bind(after).bind(limit).fetch_all(pool).await?,
        };
        Ok(items.into_iter().map(|item| item.0).collect())
    }

    async fn set_metadata(&self, id: i64, metadata: &Value) -> Result<u64, sqlx::Error> {
        let text = metadata.to_string();
        Ok(match self {
            Self::Sqlite(pool) => sqlx::query(SET_METADATA_SQLITE).bind(id).bind(text).execute(pool).await?.rows_affected(),
            Self::Postgres(pool) => sqlx::query(SET_METADATA_POSTGRES).bind(id).bind(text).execute(pool).await?.rows_affected(),
        })
    }
}

/// One playbook entry as the API shows it; the same for both databases.
struct Item(Value);

impl<'r, R: Row> FromRow<'r, R> for Item
where
    usize: sqlx::ColumnIndex<R>,
    i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    Option<i64>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    bool: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let text = |index: usize| row.try_get::<String, _>(index);
        let number = |index: usize| row.try_get::<i64, _>(index);
        let metadata: Value = serde_json::from_str(&text(10)?).unwrap_or(Value::Null);
        Ok(Self(json!({
            "id": number(0)?, "uuid": text(1)?, "cluster_id": row.try_get::<Option<i64>, _>(2)?, "tenant_id": text(3)?, "domain": text(4)?,
            "content": text(5)?, "stage": text(6)?, "helpful_count": number(7)?, "harmful_count": number(8)?, "is_pinned": row.try_get::<bool, _>(9)?,
            "metadata": metadata, "created_at": text(11)?,
        })))
    }
}

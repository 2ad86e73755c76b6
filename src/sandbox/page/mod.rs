//! The chat page of the sandbox: a chat in the browser that people are played in, and the stage beside it.
//!
//! The page is static files inside the program. What it shows it reads from the model's control (`/sandbox/v1`), and it
//! acts through it; it fetches nothing from anywhere else, and a content security policy holds it to that. The *stage*
//! (the bot's process, the practice estate's faults, the time) is reached through [`Levers`], so that the page knows
//! neither bot nor estate: it lists whatever it is handed.
//!
//! | Request | What it does |
//! |---|---|
//! | `GET /` and `/page/*` | the page |
//! | `GET /channels/GUILD/CHANNEL` and `../MESSAGE` | leads to that place on the page, as links to Discord do |
//! | `GET /stage` | the stage as [`StageView`]; `null` while there is none |
//! | `POST /stage` | moves a lever: see [`Pull`] |

mod levers;

use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

pub use self::levers::{BotView, Choice, ClockView, Fact, Levers, Link, Pull, StageView, Switch};

/// Scripts, styles and connections of the page's own address only; no inline code; nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files of the page: name, media type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("page.css", STYLE, include_str!("page.css")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("main.js", SCRIPT, include_str!("main.js")),
    ("dom.js", SCRIPT, include_str!("dom.js")),
    ("world.js", SCRIPT, include_str!("world.js")),
    ("text.js", SCRIPT, include_str!("text.js")),
    ("messages.js", SCRIPT, include_str!("messages.js")),
    ("composer.js", SCRIPT, include_str!("composer.js")),
    ("modal.js", SCRIPT, include_str!("modal.js")),
    ("stage.js", SCRIPT, include_str!("stage.js")),
];

/// Where the page finds its stage, which comes later than the page and may go again. Clones are the same place.
#[derive(Clone, Default)]
pub struct Backstage {
    levers: Arc<RwLock<Option<Arc<dyn Levers>>>>,
}

impl Backstage {
    /// A place without levers: the page shows the chat alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands the page these levers, or takes them away.
    pub fn set(&self, levers: Option<Arc<dyn Levers>>) {
        *self.levers.write().unwrap_or_else(PoisonError::into_inner) = levers;
    }

    fn levers(&self) -> Option<Arc<dyn Levers>> {
        self.levers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The page's routes, to be served beside the model's own.
pub fn router(backstage: Backstage) -> Router {
    Router::new()
        .route("/", get(|| async { ([(header::CONTENT_TYPE, HTML)], include_str!("index.html")) }))
        .route("/page/{file}", get(file))
        .route("/channels/{guild}/{channel}", get(async |Path((_, channel)): Path<(u64, u64)>| to_place(&channel.to_string())))
        .route(
            "/channels/{guild}/{channel}/{message}",
            get(async |Path((_, channel, message)): Path<(u64, u64, u64)>| to_place(&format!("{channel}/{message}"))),
        )
        .route("/stage", get(view).post(pull))
        .layer(middleware::from_fn(guard))
        .with_state(backstage)
}

async fn file(Path(wanted): Path<String>) -> Response {
    match FILES.iter().find(|(name, _, _)| *name == wanted) {
        Some((_, media_type, content)) => ([(header::CONTENT_TYPE, *media_type)], *content).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn to_place(place: &str) -> Response {
    Redirect::to(&format!("/#{place}")).into_response()
}

/// Adds the page's policy to every answer, and refuses requests that came by the name of another host: a foreign page
/// whose name was made to point to this machine would otherwise move the levers.
async fn guard(request: Request, next: Next) -> Response {
    if !names_this_machine(request.headers()) {
        return (StatusCode::MISDIRECTED_REQUEST, "open the page by 127.0.0.1 or localhost").into_response();
    }
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

async fn view(State(backstage): State<Backstage>) -> Response {
    match backstage.levers() {
        Some(levers) => Json(levers.view().await).into_response(),
        // Not an error: a model without a stage is a chat without levers.
        None => Json(json!(null)).into_response(),
    }
}

async fn pull(State(backstage): State<Backstage>, Json(pull): Json<Pull>) -> Response {
    let refused = |why: String| (StatusCode::CONFLICT, Json(json!({ "refused": why }))).into_response();
    let Some(levers) = backstage.levers() else {
        return refused("there is no stage at present".to_owned());
    };
    match levers.pull(pull).await {
        Ok(()) => Json(levers.view().await).into_response(),
        Err(why) => refused(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_open_the_page() {
        let by = |host: &'static str| names_this_machine(&HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]));
        assert!(by("127.0.0.1:4000") && by("localhost:4000") && by("[::1]:4000") && by("localhost"));
        assert!(!by("evil.example:4000") && !by("127.0.0.1.evil.example") && !by(""));
    }

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let texts = FILES.iter().map(|(_, _, text)| *text).chain([include_str!("index.html")]);
        let named = regex::Regex::new(r#""(?:/page|\.)/([a-z]+\.[a-z]+)""#).unwrap();
        let names: Vec<&str> =
            texts.flat_map(|text| named.captures_iter(text).filter_map(|found| found.get(1)).map(|name| name.as_str())).collect();
        assert!(names.len() > FILES.len(), "the names can be read: {names:?}");
        for name in names {
            assert!(FILES.iter().any(|(file, _, _)| *file == name), "{name} is named and not served");
        }
    }
}

//! HTTP for machines and for the war-room screen: health, metrics, and the run board.
//!
//! Everything here is a view: of the engine's state, of the journal, of what the parts of the bot say about themselves.
//! Nothing here changes anything, and what is kept is a fold of the journal and nothing else. Health and metrics are open, and tell nothing that
//! was typed by people; the board is behind a token.

mod archive;
mod board;
mod feed;
mod health;
mod history;
mod session;

pub use board::Board;
pub use feed::Feed;
pub use session::BoardToken;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::engine::{Incidents, Runs};
use crate::metrics::Metrics;
use crate::store::SharedJournal;

/// What the parts of the bot say about themselves, at this moment. They come to life one after the other, and this page
/// is there before them.
pub trait Vitals: Send + Sync + 'static {
    /// The engine's runs; `None` until it has taken them up.
    fn runs(&self) -> Option<Arc<dyn Runs>>;

    /// The engine's incidents; `None` until it has taken them up.
    fn incidents(&self) -> Option<Arc<dyn Incidents>>;

    /// Whether this process holds the lease and acts.
    fn acts(&self) -> bool;

    /// How the connection to the gateway stands.
    fn gateway(&self) -> GatewayVitals;

    /// Requests to Discord by route template and outcome, since the start.
    fn discord_requests(&self) -> Vec<(String, &'static str, u64)>;

    /// Requests to GitHub by outcome, since the start, outcomes that did not occur included.
    fn github_requests(&self) -> [(&'static str, u64); 4];
}

/// How the connection to the gateway stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GatewayVitals {
    /// Whether a session stands.
    pub connected: bool,
    /// How many sessions were begun after the first.
    pub reconnects: u64,
    /// How many known events could not be parsed.
    pub unparsed: u64,
}

/// What the pages are made from.
#[derive(Clone)]
pub struct Web {
    /// The parts of the bot.
    pub vitals: Arc<dyn Vitals>,
    /// What has been measured.
    pub metrics: Arc<Metrics>,
    /// The journal, only read here. Not the measured one: reading for a page is no news.
    pub journal: SharedJournal,
    /// The time.
    pub clock: SharedClock,
    /// The run board, if there is a token for it.
    pub board: Option<Board>,
    /// When to stop answering.
    pub over: CancellationToken,
}

/// Begins to listen.
///
/// # Errors
/// If the address is taken or not of this machine.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until [`Web::over`], then lets the answers under way end.
pub async fn serve(listener: TcpListener, web: Web) {
    let over = web.over.clone();
    let served = axum::serve(listener, router(web)).with_graceful_shutdown(over.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "health, metrics and the run board are served no more");
    }
}

fn router(web: Web) -> Router {
    let mut routes = health::routes();
    if web.board.is_some() {
        routes = routes.merge(board::routes(&web));
    }
    routes.fallback(nothing_here).with_state(web).layer(map_response(guarded))
}

async fn nothing_here(State(web): State<Web>) -> Response {
    let board = if web.board.is_some() {
        "the run board is at /"
    } else {
        "there is no run board, because no POINTSMAN_WEB_TOKEN is set"
    };
    (StatusCode::NOT_FOUND, format!("nothing is here; /healthz, /readyz and /metrics are for machines, {board}\n"))
        .into_response()
}

/// What every answer says to browsers: run nothing foreign, keep nothing, show it in no frame, tell nobody whence.
async fn guarded(mut response: Response) -> Response {
    const HEADERS: [(header::HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

//! HTTP for machines and for the war-room screen: health, metrics, and the run board.
//!
//! Everything here is a view: of the engine's state, of the journal, of what the parts of the bot say about themselves.
//! Nothing here changes anything, and no state of its own is kept. Health and metrics are open, and tell nothing that
//! was typed by people; the board is behind a token.

mod health;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::engine::Runs;
use crate::metrics::Metrics;
use crate::store::SharedJournal;

/// What the parts of the bot say about themselves, at this moment. They come to life one after the other, and this page
/// is there before them.
pub trait Vitals: Send + Sync + 'static {
    /// The engine's runs; `None` until it has taken them up.
    fn runs(&self) -> Option<Arc<dyn Runs>>;

    /// Whether this process holds the lease and acts.
    fn acts(&self) -> bool;

    /// How the connection to the gateway stands.
    fn gateway(&self) -> GatewayVitals;

    /// Requests to Discord by route template and outcome, since the start.
    fn discord_requests(&self) -> Vec<(String, &'static str, u64)>;

    /// How many runs are set aside because their records do not make sense.
    fn stuck_runs(&self) -> u64;
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
}

/// Begins to listen.
///
/// # Errors
/// If the address is taken or not of this machine.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until `stop`, then lets the answers under way end.
pub async fn serve(listener: TcpListener, web: Web, stop: CancellationToken) {
    let served = axum::serve(listener, router(web)).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "health, metrics and the run board are served no more");
    }
}

fn router(web: Web) -> Router {
    health::routes().with_state(web).fallback(nothing_here).layer(map_response(guarded))
}

async fn nothing_here() -> Response {
    (StatusCode::NOT_FOUND, "there is nothing here; /healthz, /readyz and /metrics are for machines\n").into_response()
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

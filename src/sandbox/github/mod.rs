//! A model of GitHub's issues behind real HTTP, for the tests, the demo and the chat page.
//!
//! | Address | What is there |
//! |---|---|
//! | `/api/v3/...` | the REST API, at the path of GitHub Enterprise Server |
//! | `/OWNER/NAME/issues`, `/OWNER/NAME/issues/N` | pages for people |
//! | `/sandbox/v1/github/...` | the control, see `control` |
//!
//! It enforces the documented limits, rights and required headers, answers redirects as GitHub does, and misbehaves on
//! demand. A route that is not modelled is answered 404 and counted.
//!
//! Time: rate limits run by the wall, because headers and clients' time-outs do; what is shown runs by the given clock.
//!
//! Absent on purpose: search (the bot does not use it), webhooks, reactions, projects, pull requests.

mod act;
mod api;
mod control;
mod faults;
mod pages;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::{any, get};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub use self::act::{Access, Act, Refused};
pub use self::faults::{Fault, Misbehaviour};
use self::state::State;
pub use self::state::{Comment, Issue, Repository, Request};
use crate::clock::SharedClock;

/// The repository whose issues the bot writes in the sandbox.
pub const REPOSITORY: &str = "acme/operations";
/// The token that the model accepts.
pub const TOKEN: &str = "ghp_sandboxSandboxSandboxSandboxSandbox1";
/// The account that the token belongs to.
pub const BOT: &str = "pointsman-bot";

/// The running model. Clones are handles to the same one.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    base_url: String,
    server: Mutex<Option<AbortHandle>>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Model").field("base_url", &self.shared.base_url).finish_non_exhaustive()
    }
}

impl Model {
    /// Starts the model with the empty repository [`REPOSITORY`] on `listen` (port 0 for any free one).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(clock: SharedClock, listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let state = Mutex::new(State::new(clock, base_url.clone()));
        let model = Self { shared: Arc::new(Shared { state, base_url, server: Mutex::new(None) }) };
        let router = Router::new()
            .route("/", get(pages::home))
            .route("/{owner}/{name}/issues", get(pages::list))
            .route("/{owner}/{name}/issues/{number}", get(pages::issue))
            .nest("/sandbox/v1/github", control::router())
            .fallback(any(api::answer))
            .with_state(model.clone());
        // It ends only with the task.
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        *model.shared.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server.abort_handle());
        Ok(model)
    }

    /// Stops listening. What stood in the repositories can still be read.
    pub fn stop(&self) {
        if let Some(server) = self.shared.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.abort();
        }
    }

    /// Where the pages are: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.shared.base_url
    }

    /// Where the API is: what `github.api_base` has to be.
    #[must_use]
    pub fn api_base(&self) -> String {
        format!("{}{}", self.base_url(), api::PREFIX)
    }

    /// The repository called `name` now, as it stands.
    #[must_use]
    pub fn repository(&self, name: &str) -> Option<Repository> {
        self.with(|state| state.named(name).map(|index| state.repositories[index].clone()))
    }

    /// The issues of [`REPOSITORY`], the oldest first.
    #[must_use]
    pub fn issues(&self) -> Vec<Issue> {
        self.with(|state| state.repositories[0].issues.values().cloned().collect())
    }

    /// The issue with this number in [`REPOSITORY`].
    #[must_use]
    pub fn issue(&self, number: u64) -> Option<Issue> {
        self.with(|state| state.repositories[0].issues.get(&number).cloned())
    }

    /// Every request to the API so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.with(|state| state.requests.clone())
    }

    /// Does what people do on GitHub's pages, in [`REPOSITORY`].
    ///
    /// # Errors
    /// [`Refused`] if there is no such issue; nothing was done.
    pub fn act(&self, act: Act) -> Result<(), Refused> {
        self.with(|state| act::perform(state, act))
    }

    /// Adds a fault. The first one that matches a request is applied.
    pub fn fault(&self, fault: Fault) {
        self.with(|state| state.faults.list.push(fault));
    }

    /// Ends every fault.
    pub fn clear_faults(&self) {
        self.with(|state| state.faults.list.clear());
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

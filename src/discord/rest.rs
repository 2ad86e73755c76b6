//! The one way out: every request to Discord's REST interface leaves through [`Api::call`].
//!
//! Decision: serenity's own rate limiter is off everywhere. With it on, its `proxy` does nothing, so that a bot
//! tested against a model would not be the bot that is shipped; it waits without bound inside a call; and it
//! never forgets a bucket. So the queue is ours (`limiter`), for production and tests alike, and serenity
//! gives the routes, the builders of commands, the parsing of interactions, and the gateway.
//!
//! Invariants:
//! - No call holds its caller longer than [`HOLD_MAX`]: what would take longer is [`Trouble::Limited`], to be tried again.
//! - A request whose answer was lost is told apart ([`Trouble::Unanswered`]) from one that was refused: only the
//!   caller knows whether it may be repeated.
//! - Answers are read leniently, one field at a time: a message that was posted is posted, also if Discord adds or leaves
//!   out a field that serenity's model demands.
//! - Neither the token nor a request's body is ever logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, USER_AGENT};
use reqwest::multipart::{Form, Part};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use serenity::http::{LightMethod, Route};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::limiter::{Limiter, RouteKey};
use crate::engine::PortError;

/// The longest that a call holds its caller, waiting for limits included.
pub const HOLD_MAX: Duration = Duration::from_secs(20);
/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// What Discord asks of clients: a name, an address, a version.
const AGENT: &str = concat!("DiscordBot (", env!("CARGO_PKG_REPOSITORY"), ", ", env!("CARGO_PKG_VERSION"), ")");

/// Where Discord is, and as whom.
#[derive(Debug, Clone)]
pub struct Access {
    /// The base address, `https://discord.com` in production; a path prefix is kept.
    pub api_base: String,
    /// The bot's token, without the prefix `Bot `.
    pub token: SecretString,
}

/// The REST interface of Discord, as one bot.
#[derive(Debug)]
pub struct Api {
    client: reqwest::Client,
    access: Access,
    limiter: Limiter,
    counts: Counts,
}

/// How many calls came out how, since the start; for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Done.
    pub done: AtomicU64,
    /// Answered 429.
    pub limited: AtomicU64,
    /// Refused for another reason of ours.
    pub refused: AtomicU64,
    /// Answered 5xx, or not at all.
    pub failed: AtomicU64,
}

/// Why a call did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It would have to wait longer than a caller is held. Nothing was sent, or it was refused with 429.
    #[error("Discord asks to wait {} s", after.as_secs())]
    Limited {
        /// How long.
        after: Duration,
    },
    /// Discord itself is in trouble. The request most likely had no effect.
    #[error("Discord answers {status}")]
    Server {
        /// The status.
        status: u16,
    },
    /// There was no answer, or one that cannot be read. Nobody knows whether the request had an effect.
    #[error("Discord does not answer: {why}")]
    Unanswered {
        /// What happened.
        why: String,
    },
    /// Discord refused it.
    #[error("Discord refused it: {message} (status {status}, code {code})")]
    Refused {
        /// The status.
        status: u16,
        /// Discord's code, 0 if it gave none.
        code: u32,
        /// Its words.
        message: String,
    },
}

/// Discord's codes that we act upon.
/// Source: <https://discord.com/developers/docs/topics/opcodes-and-status-codes#json-json-error-codes>.
pub mod codes {
    /// The channel or thread is gone.
    pub const UNKNOWN_CHANNEL: u32 = 10_003;
    /// The person is not a member of the server.
    pub const UNKNOWN_MEMBER: u32 = 10_007;
    /// The message is gone.
    pub const UNKNOWN_MESSAGE: u32 = 10_008;
    /// Messages older than an hour can be edited only so often.
    pub const OLD_MESSAGE_EDITS: u32 = 30_046;
    /// The bot does not see the channel.
    pub const MISSING_ACCESS: u32 = 50_001;
    /// The bot lacks a permission.
    pub const MISSING_PERMISSION: u32 = 50_013;
    /// The thread is archived.
    pub const ARCHIVED_THREAD: u32 = 50_083;
    /// The message carries a thread already.
    pub const THREAD_EXISTS: u32 = 160_004;
}

impl Trouble {
    /// Discord's code, if it refused.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Limited { .. } | Self::Server { .. } | Self::Unanswered { .. } => None,
        }
    }

    /// In the words of the engine. `doing` completes "the bot could not ..."; `needs` names the permissions that it takes.
    #[must_use]
    pub fn into_port_error(self, doing: &str, needs: &str) -> PortError {
        match self {
            Self::Limited { after } => {
                PortError::Later { why: format!("could not {doing}: {}", Self::Limited { after }), after: Some(after) }
            }
            Self::Server { .. } | Self::Unanswered { .. } => {
                PortError::Later { why: format!("could not {doing}: {self}"), after: None }
            }
            Self::Refused { code: codes::UNKNOWN_CHANNEL, .. } => {
                PortError::Gone { why: format!("could not {doing}: the channel or thread is gone") }
            }
            Self::Refused { code: codes::UNKNOWN_MESSAGE, .. } => {
                PortError::Gone { why: format!("could not {doing}: the message is gone") }
            }
            Self::Refused { code: codes::MISSING_ACCESS, .. } => PortError::Refused {
                why: format!(
                    "could not {doing}: the bot does not see the channel; give its role `View Channel` there (it needs {needs})"
                ),
            },
            Self::Refused { code: codes::MISSING_PERMISSION, .. } => PortError::Refused {
                why: format!("could not {doing}: the bot's role lacks a permission there; it needs {needs}"),
            },
            Self::Refused { status: 401, .. } => PortError::Refused {
                why: format!("could not {doing}: Discord does not accept the bot's token; set a valid one and restart"),
            },
            Self::Refused { .. } => PortError::Refused { why: format!("could not {doing}: {self}") },
        }
    }
}

/// A request in the making.
#[derive(Debug)]
pub struct Call<'a> {
    method: LightMethod,
    route: Route<'a>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    files: Vec<File>,
}

/// A file that goes with a request.
#[derive(Debug, Clone)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl<'a> Call<'a> {
    /// A request without query, body or files.
    #[must_use]
    pub fn new(method: LightMethod, route: Route<'a>) -> Self {
        Self { method, route, query: Vec::new(), body: None, files: Vec::new() }
    }

    /// The same with a query parameter.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The same with files; the body goes beside them.
    #[must_use]
    pub fn files(mut self, files: Vec<File>) -> Self {
        self.files = files;
        self
    }
}

impl Api {
    /// A client for `access`.
    ///
    /// # Errors
    /// If the HTTP client cannot be built, which only a broken TLS set-up of the machine brings about.
    pub fn new(access: Access) -> Result<Arc<Self>, reqwest::Error> {
        let client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).build()?;
        Ok(Arc::new(Self { client, access, limiter: Limiter::default(), counts: Counts::default() }))
    }

    /// How calls came out so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many refused requests count towards Discord's limit at present.
    #[must_use]
    pub fn invalid_requests(&self) -> usize {
        self.limiter.invalid(Instant::now())
    }

    /// What the gateway's client is built with.
    pub(super) fn access(&self) -> (&Access, &reqwest::Client) {
        (&self.access, &self.client)
    }

    /// Sends a request and returns the answer's JSON; `null` if it has none.
    ///
    /// # Errors
    /// [`Trouble`]. Requests refused with a short 429 are repeated here, all others are not.
    pub async fn call(&self, call: Call<'_>) -> Result<Value, Trouble> {
        let deadline = Instant::now() + HOLD_MAX;
        let path = call.route.path();
        let key = RouteKey::of(method_name(call.method), path.trim_start_matches("https://discord.com"));
        loop {
            let bucket = self.limiter.bucket(&key);
            let Ok(mut bucket) = timeout_at(deadline, bucket.lock()).await else {
                return Err(self.counted(Trouble::Limited { after: Duration::from_secs(1) }));
            };
            self.wait_turn(&key, &bucket, deadline).await.map_err(|trouble| self.counted(trouble))?;
            let answer = self.send(&call, &path, deadline).await.map_err(|trouble| self.counted(trouble))?;
            let limited = self.limiter.learn(&key, &mut bucket, answer.status, &answer.headers, Instant::now());
            match limited {
                None => return answer.read().inspect(|_| self.count(&self.counts.done)).map_err(|t| self.counted(t)),
                Some(limited) => {
                    let (after, global) = (limited.after, limited.global);
                    tracing::warn!(route = ?key, after_secs = after.as_secs_f64(), global, "Discord limits the rate");
                    self.count(&self.counts.limited);
                    if Instant::now() + after > deadline {
                        return Err(Trouble::Limited { after });
                    }
                }
            }
        }
    }

    /// Waits until bucket and global limit let a request pass.
    async fn wait_turn(&self, key: &RouteKey, bucket: &super::limiter::Bucket, deadline: Instant) -> Result<(), Trouble> {
        loop {
            let now = Instant::now();
            let ready = bucket.ready_at(now);
            let ready = if ready > now { Err(ready) } else { self.limiter.pass(key, now) };
            match ready {
                Ok(()) => return Ok(()),
                Err(at) if at > deadline => return Err(Trouble::Limited { after: at - now }),
                Err(at) => sleep_until(at).await,
            }
        }
    }

    async fn send(&self, call: &Call<'_>, path: &str, deadline: Instant) -> Result<Answer, Trouble> {
        let url = path.replacen("https://discord.com", self.access.api_base.trim_end_matches('/'), 1);
        let mut request = self
            .client
            .request(call.method.reqwest_method(), url)
            .header(AUTHORIZATION, format!("Bot {}", self.access.token.expose_secret()))
            .header(USER_AGENT, AGENT)
            .timeout(ANSWER_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1))));
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        request = match (&call.body, call.files.is_empty()) {
            (body, false) => request.multipart(form(body.as_ref(), &call.files)),
            (Some(body), true) => request.json(body),
            (None, true) => request.header(reqwest::header::CONTENT_LENGTH, 0),
        };
        let response = request.send().await.map_err(unanswered)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // An answer that breaks off after a refusal is a refusal all the same.
        let body = match response.bytes().await {
            Ok(bytes) => Some(bytes),
            Err(error) if status < 300 => return Err(unanswered(error)),
            Err(_) => None,
        };
        Ok(Answer { status, headers, body: body.unwrap_or_default() })
    }

    fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn counted(&self, trouble: Trouble) -> Trouble {
        self.count(match &trouble {
            Trouble::Limited { .. } => &self.counts.limited,
            Trouble::Refused { .. } => &self.counts.refused,
            Trouble::Server { .. } | Trouble::Unanswered { .. } => &self.counts.failed,
        });
        trouble
    }
}

fn unanswered(error: reqwest::Error) -> Trouble {
    // The address of an interaction holds its token.
    let error = error.without_url();
    let why = if error.is_timeout() { "no answer in time".to_owned() } else { chain(&error) };
    Trouble::Unanswered { why }
}

/// An error with its causes: reqwest's own text says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn form(body: Option<&Value>, files: &[File]) -> Form {
    let mut form = Form::new();
    if let Some(body) = body {
        form = form.text("payload_json", body.to_string());
    }
    for (index, file) in files.iter().enumerate() {
        form = form.part(format!("files[{index}]"), Part::bytes(file.bytes.clone()).file_name(file.name.clone()));
    }
    form
}

fn method_name(method: LightMethod) -> &'static str {
    match method {
        LightMethod::Delete => "DELETE",
        LightMethod::Get => "GET",
        LightMethod::Patch => "PATCH",
        LightMethod::Post => "POST",
        LightMethod::Put => "PUT",
    }
}

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: bytes::Bytes,
}

impl Answer {
    fn read(self) -> Result<Value, Trouble> {
        let json = if self.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(&self.body) };
        match (self.status, json) {
            (200..=299, Ok(value)) => Ok(value),
            (200..=299, Err(_)) => Err(Trouble::Unanswered { why: "its answer cannot be read".to_owned() }),
            (500..=599, _) => Err(Trouble::Server { status: self.status }),
            (status, json) => {
                let body = json.unwrap_or_default();
                let code = body.get("code").and_then(Value::as_u64).and_then(|code| code.try_into().ok()).unwrap_or(0);
                let words = body.get("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
                // The details name the field; they hold our own text, never a secret.
                let detail = body.get("errors").map(|errors| format!(" {errors}")).unwrap_or_default();
                let message = crate::render::limits::cut(&format!("{words}{detail}"), 500);
                Err(Trouble::Refused { status, code, message })
            }
        }
    }
}

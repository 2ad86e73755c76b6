//! The one way out: every request to Discord's REST interface leaves through [`Api::call`].
//!
//! Decision: serenity's own rate limiter is off everywhere. With it on, its `proxy` does nothing, so that a bot
//! tested against a model would not be the bot that is shipped; it waits without bound inside a call; and it
//! never forgets a bucket. So the queue is ours (`limiter`), for production and tests alike, and serenity
//! gives the routes, the builders of commands, the parsing of interactions, and the gateway.
//!
//! Invariants:
//! - No call holds its caller longer than [`HOLD_MAX`]: what would take longer is [`Trouble::Limited`], to be tried again.
//! - A POST is sent again only after a 429, which says that it had no effect; what may be repeated without harm is sent
//!   once more after a failure.
//! - A request whose answer was lost is told apart ([`Trouble::Unanswered`]) from one that was refused: only the
//!   caller knows whether it may be repeated.
//! - Answers are read leniently, one field at a time: a message that was posted is posted, also if Discord adds or leaves
//!   out a field that serenity's model demands.
//! - Neither the token nor a request's body is ever logged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use reqwest::multipart::{Form, Part};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use serenity::http::{LightMethod, Route};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::limiter::{Admission, Limited, Limits, Place, RateHeaders, RouteKey, Seen, is_invalid};
use crate::engine::PortError;

/// The longest that a call holds its caller, waiting for limits included.
pub const HOLD_MAX: Duration = Duration::from_secs(20);
/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The first answer to an interaction is worth nothing later.
/// Source: <https://discord.com/developers/docs/interactions/receiving-and-responding>.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// What a request must have left of its caller's time when it leaves: one cut short may have taken effect unseen.
const SEND_TIME_MIN: Duration = Duration::from_secs(5);
/// How often a call is sent in all after answers 429. The limits are learnt from the first; others may share them.
const SENT_MAX: u32 = 5;
/// The wait before a request that may be repeated is sent a second time.
const REPEAT_AFTER: Duration = Duration::from_millis(300);
/// The wait that is named when only the end of other requests is waited for.
const LATER: Duration = Duration::from_secs(1);
/// The largest answer that is read. A page of 100 full messages is below 4 MiB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What serenity's paths begin with; the base address takes its place.
const DISCORD: &str = "https://discord.com";
/// What follows in them.
const API: &str = "/api/v10";
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
pub struct Api {
    client: reqwest::Client,
    access: Access,
    limits: Mutex<Limits>,
    /// Told whenever a request has ended, which may let another leave.
    ended: Notify,
    counts: Mutex<Counts>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("access", &self.access).finish_non_exhaustive()
    }
}

/// How a call came out, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallOutcome {
    /// Done.
    Done,
    /// Answered 429, or held back because of one.
    Limited,
    /// Refused for another reason of ours.
    Refused,
    /// Answered 5xx, or not at all.
    Failed,
}

impl CallOutcome {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Limited => "limited",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    fn of(done: &Result<Value, Trouble>) -> Self {
        match done {
            Ok(_) => Self::Done,
            Err(Trouble::Limited { .. }) => Self::Limited,
            Err(Trouble::Refused { .. }) => Self::Refused,
            Err(Trouble::Server { .. } | Trouble::Unanswered { .. }) => Self::Failed,
        }
    }
}

/// How many calls of each route template came out how, since the start. Templates are few: ids and tokens are not in them.
type Counts = BTreeMap<(String, CallOutcome), u64>;

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
    /// The server has as many channels as it can.
    pub const GUILD_CHANNELS_MAX: u32 = 30_013;
    /// Messages older than an hour can be edited only so often.
    pub const OLD_MESSAGE_EDITS: u32 = 30_046;
    /// The bot does not see the channel.
    pub const MISSING_ACCESS: u32 = 50_001;
    /// The bot lacks a permission.
    pub const MISSING_PERMISSION: u32 = 50_013;
    /// A field is not what it should be; the answer's `errors` name it.
    pub const INVALID_BODY: u32 = 50_035;
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
pub struct Call {
    method: LightMethod,
    /// As serenity writes it, with [`DISCORD`] and [`API`] before it.
    path: Cow<'static, str>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    files: Vec<File>,
    within: Duration,
}

/// A file that goes with a request.
#[derive(Debug, Clone)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Call {
    /// A request without query, body or files.
    #[must_use]
    pub fn new(method: LightMethod, route: Route<'_>) -> Self {
        let within = match route {
            Route::InteractionResponse { .. } => FIRST_ANSWER_WITHIN,
            _ => HOLD_MAX,
        };
        Self { method, path: route.path(), query: Vec::new(), body: None, files: Vec::new(), within }
    }

    /// The same for a route that serenity does not know; `path` is what follows the version, e.g. `/users/@me`.
    #[must_use]
    pub fn at(method: LightMethod, path: &str) -> Self {
        let path = Cow::Owned(format!("{DISCORD}{API}{path}"));
        Self { method, path, query: Vec::new(), body: None, files: Vec::new(), within: HOLD_MAX }
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
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // The token goes where the settings say and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let (limits, ended, counts) = (Mutex::default(), Notify::new(), Mutex::default());
        Ok(Arc::new(Self { client, access, limits, ended, counts }))
    }

    /// How many calls of each route came out how, since the start: method and path template, outcome, number.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, CallOutcome, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((route, outcome), count)| (route.clone(), *outcome, *count)).collect()
    }

    /// How many refused requests count towards Discord's limit at present.
    #[must_use]
    pub fn invalid_requests(&self) -> usize {
        self.limits().invalid(Instant::now())
    }

    /// What the gateway's client is built with.
    pub(super) fn access(&self) -> (&Access, &reqwest::Client) {
        (&self.access, &self.client)
    }

    /// Sends a request and returns the answer's JSON; `null` if it has none.
    ///
    /// # Errors
    /// [`Trouble`]. Requests refused with a short 429 are repeated here, and once those other than POST that failed.
    pub async fn call(&self, call: Call) -> Result<Value, Trouble> {
        let path = &*call.path;
        let key = RouteKey::of(&call.method.reqwest_method(), path.trim_start_matches(DISCORD).trim_start_matches(API));
        let done = self.call_within(&call, path, &key).await;
        self.count(&key, CallOutcome::of(&done));
        done
    }

    async fn call_within(&self, call: &Call, path: &str, key: &RouteKey) -> Result<Value, Trouble> {
        let deadline = Instant::now() + call.within;
        let latest = deadline - SEND_TIME_MIN.min(call.within / 2);
        let (mut sent, mut repeated) = (0, false);
        loop {
            let slot = self.slot(key, latest).await?;
            let answer = self.send(call, path, deadline).await;
            sent += 1;
            if let Some(limited) = slot.end(answer.as_ref().ok()) {
                let after = limited.after;
                tracing::warn!(route = key.route(), after_secs = after.as_secs_f64(), ?limited.scope, "Discord limits the rate");
                // The table knows now how long: the next slot comes then, or tells that it takes too long.
                if sent < SENT_MAX {
                    self.count(key, CallOutcome::Limited);
                    continue;
                }
                return Err(Trouble::Limited { after });
            }
            let trouble = match answer.and_then(Answer::read) {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            let harmless = !matches!(call.method, LightMethod::Post);
            let passing = matches!(trouble, Trouble::Server { .. } | Trouble::Unanswered { .. });
            if !harmless || !passing || repeated || Instant::now() + REPEAT_AFTER > latest {
                return Err(trouble);
            }
            repeated = true;
            tokio::time::sleep(REPEAT_AFTER).await;
        }
    }

    /// Waits for leave to send, but not beyond `latest`.
    async fn slot(&self, key: &RouteKey, latest: Instant) -> Result<Slot<'_>, Trouble> {
        let later = |until: Instant| Trouble::Limited { after: until.saturating_duration_since(Instant::now()) };
        let mut slot = Slot::enter(self, key.clone());
        loop {
            // Registered before the table is asked, so that no ending in between is missed.
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            let until = match slot.admit() {
                Admission::Go => return Ok(slot),
                Admission::Barred(until) => return Err(later(until)),
                Admission::Wait(until) => until,
            };
            if until.is_some_and(|until| until > latest) || Instant::now() >= latest {
                return Err(until.map_or(Trouble::Limited { after: LATER }, later));
            }
            // The table decides, whatever the reason to look again.
            let _ = timeout_at(until.unwrap_or(latest), ended).await;
        }
    }

    async fn send(&self, call: &Call, path: &str, deadline: Instant) -> Result<Answer, Trouble> {
        let url = path.replacen(DISCORD, self.access.api_base.trim_end_matches('/'), 1);
        let mut request = self
            .client
            .request(call.method.reqwest_method(), url)
            .header(AUTHORIZATION, self.authorization()?)
            .header(USER_AGENT, AGENT)
            .timeout(ANSWER_TIMEOUT.min(deadline.saturating_duration_since(Instant::now())));
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        request = match (&call.body, call.files.is_empty()) {
            (body, false) => request.multipart(form(body.as_ref(), &call.files)),
            (Some(body), true) => request.json(body),
            (None, true) => request.header(reqwest::header::CONTENT_LENGTH, 0),
        };
        let mut response = request.send().await.map_err(unanswered)?;
        let (status, headers) = (response.status(), RateHeaders::of(response.headers()));
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(Trouble::Unanswered { why: format!("more than {ANSWER_BYTES_MAX} bytes") }),
                Ok(None) => break,
                Err(error) if status.is_success() => return Err(unanswered(error)),
                // An answer that breaks off after a refusal is a refusal all the same.
                Err(_) => break,
            }
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }

    fn authorization(&self) -> Result<HeaderValue, Trouble> {
        let text = format!("Bot {}", self.access.token.expose_secret());
        let value = HeaderValue::from_str(&text);
        let mut value = value.map_err(|_| Trouble::Refused { status: 401, code: 0, message: "this is no token".to_owned() })?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        // Counters stay usable whatever happened to a thread that held them.
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, key: &RouteKey, outcome: CallOutcome) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((key.route().to_owned(), outcome)).or_default() += 1;
    }
}

/// A request's place among the limits. It is given up when dropped, so that a cancelled call blocks nobody.
struct Slot<'a> {
    api: &'a Api,
    place: Option<Place>,
}

impl<'a> Slot<'a> {
    fn enter(api: &'a Api, key: RouteKey) -> Self {
        Self { api, place: Some(api.limits().enter(key)) }
    }

    fn admit(&mut self) -> Admission {
        let place = self.place.as_mut().expect("only the end takes the place");
        self.api.limits().admit(place, Instant::now())
    }

    /// Takes in what the answer said, if one came; returns the wait if it is worth waiting.
    fn end(mut self, answer: Option<&Answer>) -> Option<Limited> {
        let limited = answer.and_then(Answer::limited);
        if let Some(place) = self.place.take() {
            let seen =
                answer.map(|answer| Seen { headers: &answer.headers, limited, invalid: is_invalid(answer.status, limited) });
            self.leave(&place, seen);
        }
        limited
    }

    fn leave(&self, place: &Place, seen: Option<Seen<'_>>) {
        self.api.limits().end(place, seen, Instant::now());
        self.api.ended.notify_waiters();
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.leave(&place, None);
        }
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

struct Answer {
    status: StatusCode,
    headers: RateHeaders,
    body: Bytes,
}

impl Answer {
    /// What a 429 asks to wait. The limit of edits of old messages is answered 429 too, but waiting a little does not
    /// mend it, and it says nothing about edits of younger ones.
    fn limited(&self) -> Option<Limited> {
        if self.status != StatusCode::TOO_MANY_REQUESTS {
            return None;
        }
        let body = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        let lasting = body["code"].as_u64() == Some(u64::from(codes::OLD_MESSAGE_EDITS));
        (!lasting).then(|| self.headers.limited(&body))
    }

    fn read(self) -> Result<Value, Trouble> {
        let json = if self.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(&self.body) };
        match (self.status.as_u16(), json) {
            (200..=299, Ok(value)) => Ok(value),
            (200..=299, Err(_)) => Err(Trouble::Unanswered { why: "its answer cannot be read".to_owned() }),
            (500..=599, _) => Err(Trouble::Server { status: self.status.as_u16() }),
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

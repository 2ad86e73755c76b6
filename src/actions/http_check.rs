//! `http.check`: asks over HTTP and compares the answer with what is expected, again and again until a deadline if
//! wished.
//!
//! Requests go straight to the address, whatever proxies the environment names, and TLS trusts what the machine trusts.
//! Redirects are answers like others, unless `follow: true`; even then a request that carries secrets stays with the
//! server that they were meant for.
//!
//! Dry run: a request that changes nothing is really made. After a step that was only rehearsed and may have changed
//! what is asked, it is made once, and an answer that is not the expected one makes the result simulated. A request
//! that changes something is not made. Interruption: repeated if it changes nothing, else a person is asked.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::TimeDelta;
use regex::Regex;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, redirect};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::action::{Action, Done, Trouble, describe, keys};
use super::context::{Context, TargetKey};
use super::result::cut_text;
use super::shell_run::Argument;
use super::target::{Address, resolve};
use crate::domain::runbook::Target;
use crate::domain::{ActionSpec, Duration, Effect, Interruption};
use crate::expression::{Expression, Scope};

/// The least time between two requests: `every: 0s` must not flood a service.
const EVERY_MIN: std::time::Duration = std::time::Duration::from_millis(100);
/// The largest body that is read, in bytes: a check looks at an answer, it downloads nothing.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How much of a body that is no JSON a result shows, in bytes.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// How many redirects are followed: the default of reqwest.
const REDIRECTS_MAX: usize = 10;
/// The headers that a result shows, besides those that are expected.
const SHOWN_HEADERS: [&str; 6] = ["content-type", "content-length", "location", "retry-after", "etag", "server"];

/// The action `http.check`.
pub(super) struct HttpCheck;

/// What to ask, and what to expect. One of `path` (with `target`) and `url` is given.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// The service: a target of the kind `http`, for `path`.
    #[serde(default)]
    target: Option<TargetKey>,
    /// What follows the target's address; begins with `/` and may hold a query.
    #[serde(default)]
    path: Option<String>,
    /// The whole address, instead of `target` and `path`.
    #[serde(default)]
    url: Option<String>,
    /// The method.
    #[serde(default)]
    method: Method,
    /// Headers of the request.
    #[serde(default)]
    headers: BTreeMap<String, Argument>,
    /// Headers that hold secrets: from the header to the secret's name.
    #[serde(default)]
    secret_headers: BTreeMap<String, String>,
    /// The request's body, sent as JSON.
    #[serde(default)]
    body: Option<Value>,
    /// Says that a request by another method than `GET` and `HEAD` changes nothing, either.
    #[serde(default)]
    read_only: bool,
    /// What the answer must be like; without it, any status from 200 to 299.
    #[serde(default)]
    expect: Expect,
    /// Asks again until the answer is the expected one, for this long.
    #[serde(default)]
    until: Option<Duration>,
    /// How long to wait before asking again.
    #[serde(default = "default_every")]
    every: Duration,
    /// How long one request may take, in real time.
    #[serde(default = "default_timeout")]
    timeout: Duration,
    /// Follows redirects.
    #[serde(default)]
    follow: bool,
}

fn default_every() -> Duration {
    Duration::from_secs(2)
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

/// The methods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Method {
    /// Reads.
    #[default]
    Get,
    /// Reads the headers only.
    Head,
    /// Does what the service says it does.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    fn reads(self) -> bool {
        match self {
            Self::Get | Self::Head => true,
            Self::Post | Self::Put | Self::Patch | Self::Delete => false,
        }
    }
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Head => Self::HEAD,
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
            Method::Delete => Self::DELETE,
        }
    }
}

/// What the answer must be like: all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// The status, or a list of acceptable ones; any from 200 to 299 if it is not given.
    #[serde(default)]
    status: Option<Statuses>,
    /// Conditions over `body` (JSON, or text), `status`, `headers` (by lower-case name) and `latency_ms`, and what
    /// every condition sees: `params`, `steps`, `run`, `targets`.
    #[serde(default)]
    json: Vec<String>,
    /// Headers by name: the exact value, or `regex` with a regular expression that finds something in it.
    #[serde(default)]
    header: BTreeMap<String, HeaderExpectation>,
}

/// One status or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Statuses {
    /// This one.
    One(u16),
    /// Any of these.
    AnyOf(Vec<u16>),
}

/// What a header must hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum HeaderExpectation {
    /// Exactly this.
    Exact(String),
    /// Something that this finds.
    Matches(Matches),
}

/// A regular expression.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Matches {
    /// The regular expression.
    regex: String,
}

#[async_trait]
impl Action for HttpCheck {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            // Of the definition's kind of action; a request that changes something is told by `has_effect`.
            effect: Effect::Never,
            interruption: Interruption::Ask,
            target_keys: vec![("target".to_owned(), vec!["http"])],
            literal_keys: keys(&["expect"]),
            secret_keys: keys(&["secret_headers"]),
            ..describe::<Parameters>(
                "http.check",
                "Asks over HTTP and compares status, headers and JSON with what is expected, until a deadline if wished.",
            )
        }
    }

    fn has_effect(&self, with: &Map<String, Value>) -> bool {
        let reads = matches!(with.get("method").map(Value::as_str), None | Some(Some("GET" | "HEAD")));
        !reads && with.get("read_only") != Some(&Value::Bool(true))
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let check = Check::prepare(context, parameters)?;
        // By the wall: whoever is asked lives by it, however fast the bot's own clock runs in a sandbox.
        let started = std::time::Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let found = check.ask().await?;
            let unmet = match &found {
                Ok(answer) => check.unmet(answer),
                Err(silence) => vec![silence.clone()],
            };
            if let (Ok(answer), true) = (&found, unmet.is_empty()) {
                return Ok(Done::real(check.result(answer, attempts)));
            }
            context.note(&format!("attempt {attempts}: {}", unmet.join("; ")));
            let waited = TimeDelta::from_std(started.elapsed()).unwrap_or(TimeDelta::MAX);
            let Some(left) = time_left(parameters.until, waited) else {
                return Err(check.failure(&unmet, attempts, waited));
            };
            let total = parameters.until.map(Duration::as_secs);
            context.progress(u64::try_from(waited.num_seconds()).unwrap_or(0), total, "s", &unmet.join("; "));
            // The last question is asked at the deadline.
            context.or_cancelled(tokio::time::sleep(parameters.every.std().max(EVERY_MIN).min(left))).await?;
        }
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let check = Check::prepare(context, parameters)?;
        if check.changes {
            context.note("dry run: this request would have been sent");
            return Ok(Done::simulated(
                json!({ "status": null, "body": null, "headers": {}, "latency_ms": null, "attempts": 0 }),
            ));
        }
        let Some(step) = &context.rehearsed_before else { return self.perform(context, parameters).await };
        let answer = check.ask().await?.map_err(|silence| Trouble::passing(format!("{}: {silence}", check.name())))?;
        let unmet = check.unmet(&answer);
        let result = check.result(&answer, 1);
        if unmet.is_empty() {
            return Ok(Done::real(result));
        }
        context.note(&format!("dry run: not as expected, which `{step}` would have changed: {}", unmet.join("; ")));
        Ok(Done::simulated(result))
    }
}

/// How long it may still be asked again; `None` if no more.
fn time_left(until: Option<Duration>, waited: TimeDelta) -> Option<std::time::Duration> {
    let left = until?.delta() - waited;
    left.to_std().ok().filter(|left| !left.is_zero())
}

/// A check that can be made: everything in it is resolved and parsed.
struct Check<'a> {
    context: &'a Context,
    parameters: &'a Parameters,
    client: Client,
    url: Url,
    headers: HeaderMap,
    conditions: Vec<Expression>,
    patterns: Vec<(HeaderName, Pattern)>,
    /// Whether the request changes something.
    changes: bool,
}

/// What a header is compared with.
enum Pattern {
    Exact(String),
    Matches(Regex),
}

/// What came back.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
    latency_ms: u64,
}

impl<'a> Check<'a> {
    fn prepare(context: &'a Context, parameters: &'a Parameters) -> Result<Self, Trouble> {
        let unusable = |what: String| Trouble::lasting(format!("{what}; nothing was sent"));
        let changes = !parameters.method.reads() && !parameters.read_only;
        if changes && parameters.until.is_some() {
            let message = "`until` sends the request again and again, and this one changes something: leave it out, or say `read_only: true`";
            return Err(unusable(message.to_owned()));
        }
        let condition = |text: &String| Expression::parse(text).map_err(|error| unusable(format!("`{text}`: {error}")));
        let check = Self {
            context,
            parameters,
            client: client(parameters).map_err(|error| unusable(format!("no HTTP client: {}", words(error))))?,
            url: address(context, parameters).map_err(unusable)?,
            headers: headers(context, parameters)?,
            conditions: parameters.expect.json.iter().map(condition).collect::<Result<_, _>>()?,
            patterns: patterns(&parameters.expect.header).map_err(unusable)?,
            changes,
        };
        Ok(check)
    }

    fn name(&self) -> String {
        format!("{} {}", reqwest::Method::from(self.parameters.method), self.url)
    }

    fn request(&self) -> RequestBuilder {
        let request = self.client.request(self.parameters.method.into(), self.url.clone()).headers(self.headers.clone());
        match &self.parameters.body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    /// Asks once. The inner error says why there was no answer.
    async fn ask(&self) -> Result<Result<Answer, String>, Trouble> {
        let started = std::time::Instant::now();
        let asked = async {
            let response = self.request().send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok((status, headers, read(response).await?))
        };
        let error: reqwest::Error = match self.context.or_cancelled(asked).await? {
            Ok((status, headers, bytes)) => {
                let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let body = parse_body(&headers, &bytes);
                return Ok(Ok(Answer { status, headers, body, latency_ms }));
            }
            Err(error) => error,
        };
        // Without a connection nothing was sent; otherwise the service may have heard it.
        let unknown = self.changes && !error.is_connect();
        let silence = if error.is_timeout() {
            format!("no answer within {}", self.parameters.timeout)
        } else {
            format!("no answer: {}", words(error))
        };
        match unknown {
            true => Err(Trouble::Unknown { why: format!("{}: {silence}; it may have been carried out", self.name()) }),
            false => Ok(Err(silence)),
        }
    }

    /// Every expectation that does not hold, with what was found instead.
    fn unmet(&self, answer: &Answer) -> Vec<String> {
        let status = self.unmet_status(answer.status);
        let headers = self.patterns.iter().filter_map(|(name, pattern)| unmet_header(name, pattern, &answer.headers));
        let scope = self.scope(answer);
        let conditions = self.conditions.iter().filter_map(|condition| unmet_condition(condition, &scope));
        status.into_iter().chain(headers).chain(conditions).collect()
    }

    fn unmet_status(&self, found: u16) -> Option<String> {
        let wanted = match &self.parameters.expect.status {
            None if (200..300).contains(&found) => return None,
            Some(Statuses::One(status)) if *status == found => return None,
            Some(Statuses::AnyOf(statuses)) if statuses.contains(&found) => return None,
            None => "200 to 299".to_owned(),
            Some(Statuses::One(status)) => status.to_string(),
            Some(Statuses::AnyOf(statuses)) => statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
        };
        Some(format!("the status is {found}, expected {wanted}"))
    }

    fn scope(&self, answer: &Answer) -> Scope {
        let headers: Map<String, Value> = answer.headers.keys().map(|name| shown(name, &answer.headers)).collect();
        let scope = self.context.scope.clone().with("body", answer.body.clone()).with("status", answer.status);
        scope.with("headers", headers).with("latency_ms", answer.latency_ms)
    }

    fn result(&self, answer: &Answer, attempts: u32) -> Value {
        let body = match &answer.body {
            Value::String(text) => Value::from(cut_text(text, TEXT_BYTES_MAX)),
            body => body.clone(),
        };
        let expected = |name: &HeaderName| self.patterns.iter().any(|(expected, _)| expected == name);
        let chosen = |name: &&HeaderName| SHOWN_HEADERS.contains(&name.as_str()) || expected(name);
        let headers: Map<String, Value> = answer.headers.keys().filter(chosen).map(|name| shown(name, &answer.headers)).collect();
        json!({
            "status": answer.status, "body": body, "headers": headers, "latency_ms": answer.latency_ms, "attempts": attempts,
        })
    }

    fn failure(&self, unmet: &[String], attempts: u32, waited: TimeDelta) -> Trouble {
        let tried = match attempts {
            1 => String::new(),
            _ => format!(" (the last of {attempts} attempts in {} s)", waited.num_seconds()),
        };
        let message = format!("{}{tried}: {}", self.name(), unmet.join("; "));
        // What was carried out once must not be sent again only because the answer was another one.
        if self.changes { Trouble::lasting(message) } else { Trouble::passing(message) }
    }
}

fn client(parameters: &Parameters) -> reqwest::Result<Client> {
    Client::builder()
        .timeout(parameters.timeout.std())
        .redirect(redirects(parameters))
        .no_proxy()
        .tls_built_in_webpki_certs(false)
        .tls_built_in_native_certs(true)
        .user_agent(concat!("pointsman/", env!("CARGO_PKG_VERSION")))
        .build()
}

fn redirects(parameters: &Parameters) -> redirect::Policy {
    if !parameters.follow {
        return redirect::Policy::none();
    }
    let stays = !parameters.secret_headers.is_empty();
    redirect::Policy::custom(move |attempt| {
        let same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if stays && !same {
            attempt.stop()
        } else {
            attempt.follow()
        }
    })
}

fn address(context: &Context, parameters: &Parameters) -> Result<Url, String> {
    let (resolved, path) = match (&parameters.target, &parameters.path, &parameters.url) {
        (None, None, Some(url)) => (resolve(&Target::Http { url: url.clone() }, |name| context.secret(name)), None),
        (Some(target), path, None) => (context.address(target), Some(path.as_deref().unwrap_or("/"))),
        _ => return Err("a check has either a `target`, with a `path`, or a `url`".to_owned()),
    };
    let Address::Http(base) = resolved.map_err(|trouble| trouble.to_string())? else {
        return Err("the target is not an HTTP service".to_owned());
    };
    let Some(path) = path else { return Ok(base) };
    if !path.starts_with('/') {
        return Err(format!("`path` begins with `/`, and `{path}` does not"));
    }
    Url::parse(&format!("{}{path}", base.as_str().trim_end_matches('/'))).map_err(|error| format!("`{path}`: {error}"))
}

fn headers(context: &Context, parameters: &Parameters) -> Result<HeaderMap, Trouble> {
    let name = |name: &String| {
        name.parse::<HeaderName>()
            .map_err(|_| Trouble::lasting(format!("`{name}` is not the name of a header; nothing was sent")))
    };
    let no_value = |key: &String| Trouble::lasting(format!("the value of the header `{key}` cannot be sent; nothing was sent"));
    let mut headers = HeaderMap::new();
    for (key, value) in &parameters.headers {
        headers.insert(name(key)?, HeaderValue::from_str(&value.to_string()).map_err(|_| no_value(key))?);
    }
    for (key, secret) in &parameters.secret_headers {
        let secret = context.secret(secret).map_err(|error| Trouble::lasting(format!("{error}; nothing was sent")))?;
        let mut value = HeaderValue::from_str(secret.expose_secret()).map_err(|_| no_value(key))?;
        value.set_sensitive(true);
        headers.insert(name(key)?, value);
    }
    Ok(headers)
}

fn patterns(expected: &BTreeMap<String, HeaderExpectation>) -> Result<Vec<(HeaderName, Pattern)>, String> {
    let one = |(name, expectation): (&String, &HeaderExpectation)| {
        let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is not the name of a header"))?;
        let pattern = match expectation {
            HeaderExpectation::Exact(text) => Pattern::Exact(text.clone()),
            HeaderExpectation::Matches(Matches { regex }) => {
                Pattern::Matches(Regex::new(regex).map_err(|error| format!("the header `{name}`: {error}"))?)
            }
        };
        Ok((name, pattern))
    };
    expected.iter().map(one).collect()
}

/// At most [`BODY_BYTES_MAX`]; the rest is not read.
async fn read(mut response: reqwest::Response) -> reqwest::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = BODY_BYTES_MAX.saturating_sub(bytes.len());
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(bytes)
}

/// JSON if it says so or looks so, else text.
fn parse_body(headers: &HeaderMap, bytes: &[u8]) -> Value {
    let says = headers.get("content-type").and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains("json"));
    let looks = matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
    let parsed = (says || looks).then(|| serde_json::from_slice(bytes).ok()).flatten();
    parsed.unwrap_or_else(|| Value::from(String::from_utf8_lossy(bytes)))
}

fn shown(name: &HeaderName, headers: &HeaderMap) -> (String, Value) {
    (name.as_str().to_owned(), Value::from(text_of(name, headers)))
}

/// All values of a header, as one line would give them.
fn text_of(name: &HeaderName, headers: &HeaderMap) -> String {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(", ")
}

fn unmet_header(name: &HeaderName, pattern: &Pattern, headers: &HeaderMap) -> Option<String> {
    if !headers.contains_key(name) {
        return Some(format!("there is no header `{name}`"));
    }
    let found = text_of(name, headers);
    let (holds, wanted) = match pattern {
        Pattern::Exact(text) => (found == *text, format!("`{text}`")),
        Pattern::Matches(regex) => (regex.is_match(&found), format!("something like `{regex}`")),
    };
    (!holds).then(|| format!("the header `{name}` is `{}`, expected {wanted}", cut_text(&found, 200)))
}

fn unmet_condition(condition: &Expression, scope: &Scope) -> Option<String> {
    let text = condition.source();
    match condition.holds(scope) {
        Ok(true) => None,
        Ok(false) => {
            let found = condition.explain(scope).map(|found| format!(" ({})", cut_text(&found, 500))).unwrap_or_default();
            Some(format!("`{text}` does not hold{found}"))
        }
        Err(error) => Some(format!("`{text}` cannot be evaluated: {}", cut_text(&error.to_string(), 500))),
    }
}

/// An error with its causes; the address is known already.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !words.contains(&said) {
            words = format!("{words}: {said}");
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_change_something_have_an_effect() {
        let effect = |with: Value| Action::has_effect(&HttpCheck, with.as_object().unwrap());
        assert!(!effect(json!({ "path": "/" })) && !effect(json!({ "method": "HEAD" })));
        assert!(!effect(json!({ "method": "POST", "read_only": true })));
        assert!(effect(json!({ "method": "POST" })) && effect(json!({ "method": "{{ params.method }}" })));
        assert!(effect(json!({ "method": "PUT", "read_only": "{{ params.yes }}" })));
        let interruption = |with: Value| Action::interruption(&HttpCheck, with.as_object().unwrap());
        assert_eq!(interruption(json!({ "method": "DELETE" })), Interruption::Ask);
        assert_eq!(interruption(json!({})), Interruption::Repeat);
    }

    #[test]
    fn a_body_is_json_if_it_says_or_looks_so() {
        let json_type = HeaderMap::from_iter([(reqwest::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        assert_eq!(parse_body(&json_type, b"5"), json!(5));
        assert_eq!(parse_body(&HeaderMap::new(), b"5"), json!("5"));
        assert_eq!(parse_body(&HeaderMap::new(), b" {\"a\": 1}"), json!({ "a": 1 }));
        assert_eq!(parse_body(&json_type, b"{broken"), json!("{broken"));
    }
}

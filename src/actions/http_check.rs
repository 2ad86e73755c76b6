//! `http.check`: asks an HTTP service until the answer is as expected, or until a deadline.
//!
//! Dry run: it really asks. Interruption: it asks again. Only GET and HEAD, which change nothing; redirects are
//! answers and not followed, so that no secret header travels on; proxies of the bot's environment are not used.

use std::collections::BTreeMap;
use std::time::Instant;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::action::{Action, Done, Trouble, describe, keys};
use super::context::{Context, TargetKey};
use super::result::cut_text;
use super::target::Address;
use crate::domain::{ActionSpec, Duration};
use crate::expression::{Expression, Scope};

/// How much of a body is read, in bytes; a longer one is cut, and then no JSON.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// How much of a body that is not JSON a result shows, in bytes.
const RESULT_TEXT_BYTES_MAX: usize = 4 * 1024;
/// How long to wait between two requests unless the step says otherwise.
const EVERY_DEFAULT: Duration = Duration::from_secs(2);
/// How long one request may take unless the step says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// The action `http.check`.
pub(super) struct HttpCheck;

/// What to ask, and what the answer must be.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// The service: a target of the kind `http`. Otherwise `url`.
    #[serde(default)]
    target: Option<TargetKey>,
    /// With `target`: the path below its address, beginning with `/`; it may hold a query.
    #[serde(default)]
    path: Option<String>,
    /// The whole address, instead of `target` and `path`.
    #[serde(default)]
    url: Option<String>,
    /// `GET` unless set.
    #[serde(default)]
    method: Method,
    /// Headers to send.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Headers whose whole value is a secret: from the header to the secret's name.
    #[serde(default)]
    secret_headers: BTreeMap<String, String>,
    /// What the answer must be.
    #[serde(default)]
    expect: Expectations,
    /// How long to go on asking until the answer is as expected; one request when absent.
    #[serde(default)]
    until: Option<Duration>,
    /// How long to wait between two requests; 2 s unless set.
    #[serde(default = "every_default")]
    every: Duration,
    /// How long one request may take; 10 s unless set.
    #[serde(default = "timeout_default")]
    timeout: Duration,
}

fn every_default() -> Duration {
    EVERY_DEFAULT
}

fn timeout_default() -> Duration {
    TIMEOUT_DEFAULT
}

/// How to ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Method {
    /// The whole answer.
    #[default]
    Get,
    /// Without a body.
    Head,
}

/// What the answer must be. All of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Expectations {
    /// The status, or a list of those that will do. Any of 200 to 299 when absent.
    #[serde(default)]
    status: Option<Statuses>,
    /// Expressions over `body` (the JSON, or the text), `status` and `headers` (by lower-case name), besides
    /// `params`, `steps`, `targets` and `run`.
    #[serde(default)]
    json: Vec<String>,
    /// Headers that must be there with exactly this value.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// One status or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Statuses {
    /// This one.
    One(u16),
    /// Any of these.
    Any(Vec<u16>),
}

#[async_trait]
impl Action for HttpCheck {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            target_keys: vec![("target".to_owned(), vec!["http"])],
            literal_keys: keys(&["expect"]),
            secret_keys: keys(&["secret_headers"]),
            ..describe::<Parameters>(
                "http.check",
                "Asks an HTTP service until status, JSON and headers are as expected. A dry run really asks.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let probe = Probe::new(context, parameters)?;
        let deadline = parameters.until.map(|until| context.clock.now() + until.delta());
        let mut attempts: u32 = 0;
        loop {
            attempts += 1;
            let why = match context.or_cancelled(probe.ask(&context.scope)).await? {
                Ok(answer) => return Ok(Done::real(answer.result(attempts))),
                Err(why) => why,
            };
            context.note(&format!("{} {}: {why}", probe.method, probe.url));
            let goes_on = deadline.is_some_and(|deadline| context.clock.now() + parameters.every.delta() < deadline);
            if !goes_on {
                let tried = parameters.until.map_or(String::new(), |until| format!(" (tried {attempts} times in {until})"));
                return Err(Trouble::passing(format!("{} {}: {why}{tried}", probe.method, probe.url)));
            }
            context.sleep(parameters.every.std()).await?;
        }
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        self.perform(context, parameters).await
    }
}

/// Everything that stays the same from request to request.
struct Probe {
    client: reqwest::Client,
    method: reqwest::Method,
    url: url::Url,
    headers: HeaderMap,
    statuses: Option<Vec<u16>>,
    conditions: Vec<Expression>,
    expected_headers: BTreeMap<String, String>,
}

/// What came back.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
    latency_ms: u64,
}

impl Answer {
    fn result(self, attempts: u32) -> Value {
        let body = match self.body {
            Value::String(text) => Value::String(cut_text(&text, RESULT_TEXT_BYTES_MAX)),
            json => json,
        };
        json!({ "status": self.status, "body": body, "latency_ms": self.latency_ms, "attempts": attempts })
    }
}

impl Probe {
    fn new(context: &Context, parameters: &Parameters) -> Result<Self, Trouble> {
        let client = reqwest::Client::builder()
            .timeout(parameters.timeout.std())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("pointsman/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Trouble::lasting(format!("making an HTTP client: {}", root_cause(&error))))?;
        let method = match parameters.method {
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
        };
        let read = |text: &String| {
            Expression::parse(text).map_err(|error| Trouble::lasting(format!("`expect.json`: `{text}` cannot be read: {error}")))
        };
        Ok(Self {
            client,
            method,
            url: address(context, parameters)?,
            headers: headers(context, parameters)?,
            statuses: parameters.expect.status.clone().map(|statuses| match statuses {
                Statuses::One(status) => vec![status],
                Statuses::Any(statuses) => statuses,
            }),
            conditions: parameters.expect.json.iter().map(read).collect::<Result<_, _>>()?,
            expected_headers: parameters.expect.headers.clone(),
        })
    }

    /// One request; `Err` says what is not as expected.
    async fn ask(&self, scope: &Scope) -> Result<Answer, String> {
        let began = Instant::now();
        let request = self.client.request(self.method.clone(), self.url.clone()).headers(self.headers.clone());
        let response = request.send().await.map_err(|error| root_cause(&error))?;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let headers: BTreeMap<_, _> = headers.collect();
        let body = body(response).await?;
        let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let answer = Answer { status, headers, body, latency_ms };
        self.judge(&answer, scope).map(|()| answer)
    }

    fn judge(&self, answer: &Answer, scope: &Scope) -> Result<(), String> {
        let expected = match &self.statuses {
            None => (200..300).contains(&answer.status),
            Some(statuses) => statuses.contains(&answer.status),
        };
        if !expected {
            let wanted = self
                .statuses
                .as_ref()
                .map_or("200 to 299".to_owned(), |statuses| statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "));
            return Err(format!("answered with status {}, expected {wanted}", answer.status));
        }
        for (name, wanted) in &self.expected_headers {
            let found = answer.headers.get(&name.to_ascii_lowercase());
            if found != Some(wanted) {
                let found = found.map_or("is missing".to_owned(), |found| format!("is `{found}`"));
                return Err(format!("the header `{name}` {found}, expected `{wanted}`"));
            }
        }
        let scope =
            scope.clone().with("body", answer.body.clone()).with("status", answer.status).with("headers", json!(answer.headers));
        for condition in &self.conditions {
            match condition.holds(&scope) {
                Ok(true) => {}
                Ok(false) => {
                    let shown = condition.explain(&scope).map_or(String::new(), |shown| format!(" ({shown})"));
                    return Err(format!("`{}` is not true{shown}", condition.source()));
                }
                Err(error) => return Err(format!("`{}` cannot be measured: {error}", condition.source())),
            }
        }
        Ok(())
    }
}

/// The body: JSON if it is, else text.
async fn body(mut response: reqwest::Response) -> Result<Value, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| root_cause(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > BODY_BYTES_MAX {
            bytes.truncate(BODY_BYTES_MAX);
            break;
        }
    }
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())))
}

fn address(context: &Context, parameters: &Parameters) -> Result<url::Url, Trouble> {
    let text = match (&parameters.target, &parameters.url) {
        (Some(target), None) => {
            let Address::Http(base) = context.address(target)? else {
                return Err(Trouble::lasting(format!("the target `{}` is not an HTTP service", target.0)));
            };
            let path = parameters.path.as_deref().unwrap_or_default();
            // Without its slash, data in a path could go on with the host's name.
            if !path.is_empty() && !path.starts_with('/') {
                return Err(Trouble::lasting(format!("`path` must begin with `/`, and `{path}` does not")));
            }
            format!("{}{path}", base.as_str().trim_end_matches('/'))
        }
        (None, Some(url)) if parameters.path.is_none() => url.clone(),
        (Some(_), Some(_)) | (None, Some(_) | None) => {
            return Err(Trouble::lasting("a step asks either a `target`, with a `path`, or a whole `url`"));
        }
    };
    super::target::http_address(&text)
}

fn headers(context: &Context, parameters: &Parameters) -> Result<HeaderMap, Trouble> {
    let mut headers = HeaderMap::new();
    let name = |name: &String| {
        HeaderName::try_from(name.as_str()).map_err(|_| Trouble::lasting(format!("`{name}` is not the name of a header")))
    };
    for (header, value) in &parameters.headers {
        let value = HeaderValue::try_from(value.as_str())
            .map_err(|_| Trouble::lasting(format!("the value of the header `{header}` holds characters that no header may")))?;
        headers.insert(name(header)?, value);
    }
    for (header, secret) in &parameters.secret_headers {
        let resolved = context.secret(secret).map_err(|error| Trouble::lasting(error.to_string()))?;
        let mut value = HeaderValue::try_from(resolved.expose_secret())
            .map_err(|_| Trouble::lasting(format!("the secret `{secret}` holds characters that no header may")))?;
        value.set_sensitive(true);
        headers.insert(name(header)?, value);
    }
    Ok(headers)
}

/// The innermost reason: the outer ones only repeat the address.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

//! What the headers and bodies of Discord's answers say about limits. Pure.
//!
//! Source: <https://discord.com/developers/docs/topics/rate-limits#header-format>.

use std::str::FromStr;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// The wait after a 429 that does not say how long.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(1);
/// The shortest wait after a 429: one that says 0 must not make a hot loop.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
/// The longest wait that is believed; more is a broken header. Discord's longest limits last a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// What a 429 closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::discord) enum Scope {
    /// The route, for the bot.
    Route,
    /// The route, for everybody: not the bot's fault, and not counted towards the ban.
    Shared,
    /// Every route of the bot but answers to interactions and webhooks.
    Global,
    /// The address: the proxy before Discord answered, not Discord.
    Address,
}

/// A 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::discord) struct Limited {
    /// For how long.
    pub(in crate::discord) after: Duration,
    /// What.
    pub(in crate::discord) scope: Scope,
}

/// The headers about limits; a malformed one is as if it were missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::discord) struct RateHeaders {
    /// The bucket's name.
    pub(super) bucket: Option<String>,
    limit: Option<u32>,
    remaining: Option<u32>,
    reset_after: Option<Duration>,
    retry_after: Option<Duration>,
    global: bool,
    scope: Option<String>,
}

impl RateHeaders {
    /// Reads them off an answer.
    pub(in crate::discord) fn of(headers: &HeaderMap) -> Self {
        let global = text(headers, "x-ratelimit-global").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Self {
            bucket: text(headers, "x-ratelimit-bucket").map(ToOwned::to_owned),
            limit: parsed(headers, "x-ratelimit-limit"),
            remaining: parsed(headers, "x-ratelimit-remaining"),
            reset_after: parsed(headers, "x-ratelimit-reset-after").and_then(wait),
            retry_after: parsed(headers, "retry-after").and_then(wait),
            global,
            scope: text(headers, "x-ratelimit-scope").map(ToOwned::to_owned),
        }
    }

    /// Limit, what is left of it, and when it is whole again, if the answer told all three.
    pub(super) fn window(&self) -> Option<(u32, u32, Duration)> {
        Some((self.limit?, self.remaining?, self.reset_after?))
    }

    /// What a 429 with these headers and this body closes, and for how long.
    /// The header comes first although Discord rounds it up: a proxy on the way may have set it, and the body not.
    pub(in crate::discord) fn limited(&self, body: &Value) -> Limited {
        let told = self.retry_after.or_else(|| body["retry_after"].as_f64().and_then(wait));
        let scope = match self.scope.as_deref() {
            Some("shared") => Scope::Shared,
            Some("global") => Scope::Global,
            _ if self.global || body["global"] == Value::Bool(true) => Scope::Global,
            Some(_) => Scope::Route,
            // Discord itself always sends JSON.
            None if body.is_null() => Scope::Address,
            None => Scope::Route,
        };
        Limited { after: told.unwrap_or(RETRY_AFTER_UNKNOWN).max(RETRY_AFTER_MIN), scope }
    }
}

/// Whether an answer counts towards Discord's ban of addresses. Discord counts 401, 403 and 429; 404 is counted
/// here too, because asking again and again for what is gone is the same mistake.
pub(in crate::discord) fn is_invalid(status: StatusCode, limited: Option<Limited>) -> bool {
    match limited {
        Some(limited) => limited.scope != Scope::Shared,
        None => matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn parsed<T: FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    text(headers, name).and_then(|value| value.parse().ok())
}

/// Seconds as a duration; nothing if they are negative or not a number.
fn wait(seconds: f64) -> Option<Duration> {
    let told = if seconds.is_nan() { None } else { Some(seconds.min(RETRY_AFTER_MAX.as_secs_f64())) };
    told.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> RateHeaders {
        let pairs = pairs.iter().map(|&(name, value)| {
            let name = reqwest::header::HeaderName::from_static(name);
            (name, reqwest::header::HeaderValue::from_static(value))
        });
        RateHeaders::of(&pairs.collect())
    }

    #[test]
    fn the_wait_comes_from_the_header_then_the_body_then_is_a_second() {
        let body = json!({ "retry_after": 0.75 });
        let cases = [
            (headers(&[("retry-after", "2")]), &body, 2.0),
            (headers(&[("retry-after", "0.5")]), &body, 0.5),
            (headers(&[("retry-after", "soon")]), &body, 0.75),
            (headers(&[("retry-after", "-3")]), &body, 0.75),
            (headers(&[("retry-after", "NaN")]), &body, 0.75),
            (headers(&[]), &body, 0.75),
            (headers(&[("retry-after", "inf")]), &body, 86_400.0),
            (headers(&[]), &Value::Null, 1.0),
            (headers(&[]), &json!({ "retry_after": "x" }), 1.0),
            (headers(&[("retry-after", "0")]), &body, 0.1),
        ];
        for (headers, body, seconds) in cases {
            assert_eq!(headers.limited(body).after, Duration::from_secs_f64(seconds), "{headers:?} {body}");
        }
    }

    #[test]
    fn the_scope_is_the_headers_or_the_bodys() {
        let told = json!({ "retry_after": 1, "global": false });
        let cases = [
            (headers(&[("x-ratelimit-scope", "user")]), &told, Scope::Route),
            (headers(&[("x-ratelimit-scope", "shared")]), &told, Scope::Shared),
            (headers(&[("x-ratelimit-scope", "global")]), &told, Scope::Global),
            (headers(&[("x-ratelimit-global", "true")]), &told, Scope::Global),
            (headers(&[]), &json!({ "global": true }), Scope::Global),
            (headers(&[]), &told, Scope::Route),
            (headers(&[("retry-after", "3600")]), &Value::Null, Scope::Address),
        ];
        for (headers, body, scope) in cases {
            assert_eq!(headers.limited(body).scope, scope, "{headers:?} {body}");
        }
    }

    #[test]
    fn a_window_is_told_whole_or_not_at_all() {
        let whole = headers(&[("x-ratelimit-limit", "5"), ("x-ratelimit-remaining", "4"), ("x-ratelimit-reset-after", "1.250")]);
        assert_eq!(whole.window(), Some((5, 4, Duration::from_millis(1_250))));
        let half = headers(&[("x-ratelimit-limit", "5"), ("x-ratelimit-remaining", "?")]);
        assert_eq!(half.window(), None);
    }
}

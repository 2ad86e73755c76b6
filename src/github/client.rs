//! The requests: octocrab with time-outs, without repetition, and with errors in our own terms.
//!
//! Answers are read leniently, as JSON: octocrab's models demand fields that GitHub or its Enterprise edition sometimes
//! leaves out, and an issue that was made is made all the same.

use std::error::Error as _;
use std::time::Duration;

use octocrab::{Octocrab, Page};
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::calls::Calls;
use super::trouble::{Answer, Failure};

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait when GitHub limits us and does not say for how long.
/// Source: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit>.
const LIMITED_AFTER: Duration = Duration::from_secs(60);
/// The longest wait that is believed: GitHub's limits are counted by the hour.
const AFTER_MAX: Duration = Duration::from_secs(3_600);
/// How much of GitHub's words is kept, in characters: a proxy may answer with a page.
const MESSAGE_CHARS_MAX: usize = 300;

pub(super) struct Client {
    octocrab: Octocrab,
    token: SecretString,
    patience: Duration,
    pub(super) calls: Calls,
}

impl Client {
    pub(super) fn new(api_base: &str, token: SecretString, patience: Duration) -> Result<Self, String> {
        let base = api_base.trim_end_matches('/');
        let builder = Octocrab::builder()
            .base_uri(base)
            .map_err(|_| format!("`{base}` is no address"))?
            .personal_token(token.clone())
            .set_connect_timeout(Some(CONNECT_TIMEOUT.min(patience)))
            .set_read_timeout(Some(patience));
        // Its words may quote what it was given.
        let octocrab = builder.build().map_err(|_| "the token holds characters that no token has".to_owned())?;
        Ok(Self { octocrab, token, patience, calls: Calls::default() })
    }

    /// Redirects are followed.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.bounded(self.octocrab.get(path, None::<&()>)).await
    }

    /// One page of a list, and whether there is another.
    pub(super) async fn page(&self, path: &str, query: &[(&str, String)]) -> Result<(Vec<Value>, bool), Failure> {
        let page: Page<Value> = self.bounded(self.octocrab.get(path, Some(query))).await?;
        Ok((page.items, page.next.is_some()))
    }

    /// Whether there is something at this path, which answers without a body.
    pub(super) async fn exists(&self, path: &str) -> Result<bool, Failure> {
        let asked = async { octocrab::map_github_error(self.octocrab._get(path).await?).await };
        let found = match self.unless_late(asked).await {
            Ok(_) => Ok(true),
            Err(Failure::Answer(Answer { status: 404, .. })) => Ok(false),
            Err(failure) => Err(failure),
        };
        self.calls.count(&found);
        found
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.bounded(self.octocrab.post(path, Some(body))).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.bounded(self.octocrab.patch(path, Some(body))).await
    }

    async fn bounded<T>(&self, call: impl Future<Output = octocrab::Result<T>>) -> Result<T, Failure> {
        let answer = self.unless_late(call).await;
        self.calls.count(&answer);
        answer
    }

    async fn unless_late<T>(&self, call: impl Future<Output = octocrab::Result<T>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.patience, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_) => Err(Failure::Unanswered { why: format!("GitHub did not answer within {:?}", self.patience) }),
        }
    }

    fn failure(&self, error: &octocrab::Error) -> Failure {
        let octocrab::Error::GitHub { source, .. } = error else {
            return Failure::Unanswered { why: self.told(&format!("GitHub did not answer as it should: {}", chain(error))) };
        };
        let status = source.status_code.as_u16();
        let details: Vec<String> = source.errors.iter().flatten().map(Value::to_string).collect();
        let message =
            if details.is_empty() { source.message.clone() } else { format!("{}: {}", source.message, details.join(", ")) };
        let headers = source.headers.clone().unwrap_or_default();
        let limited = is_limited(status, &headers, &source.message);
        let after = wait(&headers).or(limited.then_some(LIMITED_AFTER)).map(|after| after.min(AFTER_MAX));
        Failure::Answer(Answer { status, message: self.told(&message), limited, after })
    }

    /// A text in one line, short, and without the token, which a proxy might throw back at us.
    fn told(&self, text: &str) -> String {
        let text = text.replace(self.token.expose_secret(), "***");
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(MESSAGE_CHARS_MAX).collect()
    }
}

/// GitHub's primary limit is 403 or 429 with none remaining, its secondary limits 403 or 429 with `retry-after` or words.
fn is_limited(status: u16, headers: &HeaderMap, message: &str) -> bool {
    let told = headers.contains_key("retry-after") || text(headers, "x-ratelimit-remaining") == Some("0");
    status == 429 || (status == 403 && (told || message.to_lowercase().contains("rate limit")))
}

/// How long the headers say to wait. The moment of a reset is taken against GitHub's own clock, not ours.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    if let Some(seconds) = text(headers, "retry-after").and_then(|seconds| seconds.parse().ok()) {
        return Some(Duration::from_secs(seconds));
    }
    if text(headers, "x-ratelimit-remaining") != Some("0") {
        return None;
    }
    let reset: i64 = text(headers, "x-ratelimit-reset")?.parse().ok()?;
    let now = chrono::DateTime::parse_from_rfc2822(text(headers, "date")?).ok()?.timestamp();
    // Both are whole seconds: one more is on the safe side.
    Some(Duration::from_secs(u64::try_from(reset.saturating_sub(now)).unwrap_or(0).saturating_add(1)))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An error with its causes: octocrab's own words are often just a kind.
fn chain(error: &octocrab::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn limits_are_told_from_refusals() {
        assert!(is_limited(429, &headers(&[]), ""));
        assert!(is_limited(403, &headers(&[("retry-after", "7")]), ""));
        assert!(is_limited(403, &headers(&[("x-ratelimit-remaining", "0")]), ""));
        assert!(is_limited(403, &headers(&[]), "You have exceeded a secondary rate limit."));
        assert!(!is_limited(403, &headers(&[("x-ratelimit-remaining", "12")]), "Resource not accessible"));
        assert!(!is_limited(401, &headers(&[("x-ratelimit-remaining", "0")]), "Bad credentials"));
    }

    #[test]
    fn the_wait_is_counted_by_githubs_clock() {
        let reset =
            [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795231200"), ("date", "Sat, 21 Nov 2026 03:19:30 GMT")];
        assert_eq!(wait(&headers(&reset)), Some(Duration::from_secs(31)));
        assert_eq!(wait(&headers(&[("retry-after", "7"), reset[0], reset[1], reset[2]])), Some(Duration::from_secs(7)));
        assert_eq!(wait(&headers(&[reset[1], reset[2]])), None, "the limit was not met");
        let past = [reset[0], ("x-ratelimit-reset", "5"), reset[2]];
        assert_eq!(wait(&headers(&past)), Some(Duration::from_secs(1)));
    }
}

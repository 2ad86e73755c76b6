//! Rate limits: whether a request may leave now, and if not, when.
//!
//! Everything is learnt from answers, nothing is hard-coded but what Discord documents (50 requests a second, 10,000
//! invalid ones in ten minutes): <https://discord.com/developers/docs/topics/rate-limits>. Buckets are serial:
//! one request at a time, in the order of asking, so that the waiting ones do not leave together when a bucket
//! resets. Times are of the machine's own clock, because the other side counts real seconds whatever
//! speed the sandbox runs at.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::time::Instant;

/// Requests a second of one bot, interactions and webhooks apart.
const GLOBAL_PER_SECOND: usize = 50;
/// The span in which [`INVALID_MAX`] counts.
const INVALID_WINDOW: Duration = Duration::from_secs(600);
/// Answers 401, 403 and 429 in that span after which this client stays silent. Discord bars the address at 10,000.
const INVALID_MAX: usize = 8_000;
/// Buckets that are remembered; beyond this, idle ones are forgotten. Tokens of interactions make new ones all the time.
const BUCKETS_MAX: usize = 1_000;
/// The wait after a 429 that names none that can be read.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);
/// The longest wait that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where a request counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RouteKey {
    /// Method and path with everything but the major parameter replaced.
    route: String,
    /// The channel, guild, or application and token.
    major: String,
    /// Whether the global limit counts it.
    global: bool,
}

impl RouteKey {
    /// The key of a method and a path such as `/api/v10/channels/1/messages/2`.
    pub(super) fn of(method: &str, path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty() && *s != "api" && !is_version(s)).collect();
        let hooks = matches!(segments.first(), Some(&("webhooks" | "interactions")));
        let majors = if hooks { 3 } else { 2 };
        let has_major = hooks || matches!(segments.first(), Some(&("channels" | "guilds")));
        let mut route = method.to_owned();
        for (index, segment) in segments.iter().enumerate() {
            route.push('/');
            let variable = segment.bytes().all(|byte| byte.is_ascii_digit())
                || (hooks && index == 2)
                || (index > 0 && segments[index - 1] == "reactions");
            route.push_str(if variable { "*" } else { segment });
        }
        let major = if has_major {
            segments.iter().skip(1).take(majors - 1).copied().collect::<Vec<_>>().join("/")
        } else {
            String::new()
        };
        Self { route, major, global: !hooks }
    }
}

fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What is known of one bucket. Whoever holds its lock is the only one whose request is under way in it.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    remaining: Option<u32>,
    reset_at: Option<Instant>,
    blocked_until: Option<Instant>,
}

impl Bucket {
    /// When a request may leave.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        let spent = self.remaining == Some(0);
        let reset = self.reset_at.filter(|_| spent);
        reset.into_iter().chain(self.blocked_until).max().map_or(now, |at| at.max(now))
    }
}

/// What a 429 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limited {
    /// How long to wait.
    pub(super) after: Duration,
    /// Whether everything has to wait.
    pub(super) global: bool,
}

/// The limits of one bot.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Discord's name for the bucket of a route, once an answer has told it.
    names: HashMap<String, String>,
    buckets: HashMap<(String, String), Arc<tokio::sync::Mutex<Bucket>>>,
    sent: VecDeque<Instant>,
    blocked_until: Option<Instant>,
    invalid: VecDeque<Instant>,
}

impl Limiter {
    /// The bucket that a request counts in.
    pub(super) fn bucket(&self, key: &RouteKey) -> Arc<tokio::sync::Mutex<Bucket>> {
        let mut inner = self.lock();
        if inner.buckets.len() >= BUCKETS_MAX {
            inner.buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1);
        }
        let name = inner.names.get(&key.route).unwrap_or(&key.route).clone();
        Arc::clone(inner.buckets.entry((name, key.major.clone())).or_default())
    }

    /// Takes one of the second's requests. `Err` says when to ask again.
    pub(super) fn pass(&self, key: &RouteKey, now: Instant) -> Result<(), Instant> {
        let mut inner = self.lock();
        inner.forget(now);
        if inner.invalid.len() >= INVALID_MAX {
            return Err(inner.invalid.front().map_or(now, |first| *first + INVALID_WINDOW));
        }
        if !key.global {
            return Ok(());
        }
        if let Some(until) = inner.blocked_until.filter(|until| *until > now) {
            return Err(until);
        }
        if inner.sent.len() >= GLOBAL_PER_SECOND {
            return Err(inner.sent.front().map_or(now, |first| *first + Duration::from_secs(1)));
        }
        inner.sent.push_back(now);
        Ok(())
    }

    /// Learns from an answer's status and headers. Returns the wait if it was a 429.
    pub(super) fn learn(
        &self,
        key: &RouteKey,
        bucket: &mut Bucket,
        status: u16,
        headers: &HeaderMap,
        now: Instant,
    ) -> Option<Limited> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let seconds = |name: &str| text(name).and_then(|text| text.parse::<f64>().ok()).and_then(duration);
        if let Some(remaining) = text("x-ratelimit-remaining").and_then(|text| text.parse().ok()) {
            bucket.remaining = Some(remaining);
            bucket.reset_at = seconds("x-ratelimit-reset-after").map(|after| now + after);
        }
        let mut inner = self.lock();
        if let Some(name) = text("x-ratelimit-bucket") {
            inner.names.insert(key.route.clone(), name.to_owned());
        }
        let shared = text("x-ratelimit-scope") == Some("shared");
        if matches!(status, 401 | 403) || (status == 429 && !shared) {
            inner.invalid.push_back(now);
        }
        if status != 429 {
            return None;
        }
        let after = seconds("retry-after").unwrap_or(RETRY_AFTER_DEFAULT);
        let global = text("x-ratelimit-global") == Some("true") || text("x-ratelimit-scope") == Some("global");
        if global {
            inner.blocked_until = Some(now + after);
        } else {
            bucket.blocked_until = Some(now + after);
        }
        Some(Limited { after, global })
    }

    /// How many invalid requests count at present.
    pub(super) fn invalid(&self, now: Instant) -> usize {
        let mut inner = self.lock();
        inner.forget(now);
        inner.invalid.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Counters stay usable whatever happened to a thread that held them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|at| *at + Duration::from_secs(1) <= now) {
            self.sent.pop_front();
        }
        while self.invalid.front().is_some_and(|at| *at + INVALID_WINDOW <= now) {
            self.invalid.pop_front();
        }
    }
}

fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
        let entry = |(name, value): &(&'static str, &'static str)| (name.parse().unwrap(), value.parse().unwrap());
        entries.iter().map(entry).collect()
    }

    #[test]
    fn routes_are_keyed_by_method_path_and_major_parameter() {
        let a = RouteKey::of("PATCH", "/api/v10/channels/1/messages/2");
        assert_eq!(a, RouteKey::of("PATCH", "/api/v10/channels/1/messages/3"));
        assert_ne!(a, RouteKey::of("PATCH", "/api/v10/channels/9/messages/2"), "another channel");
        assert_ne!(a, RouteKey::of("GET", "/api/v10/channels/1/messages/2"), "another method");
        let hook = RouteKey::of("PATCH", "/api/v10/webhooks/1/secret-token/messages/@original");
        assert!(!hook.global, "interactions are outside the global limit");
        assert!(!hook.route.contains("secret-token"));
        assert_eq!(
            RouteKey::of("PUT", "/api/v10/channels/1/messages/2/reactions/%E2%9C%85/@me"),
            RouteKey::of("PUT", "/api/v10/channels/1/messages/2/reactions/%E2%9D%8C/@me")
        );
    }

    #[tokio::test]
    async fn a_spent_bucket_waits_for_its_reset_and_routes_of_one_bucket_share_it() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let key = RouteKey::of("POST", "/channels/1/messages");
        let shared = limiter.bucket(&key);
        let told = headers(&[("x-ratelimit-bucket", "abcd"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "1.5")]);
        assert_eq!(limiter.learn(&key, &mut *shared.lock().await, 200, &told, now), None);
        assert_eq!(shared.lock().await.ready_at(now), now + Duration::from_millis(1_500));
        let renamed = limiter.bucket(&key);
        let other = RouteKey::of("POST", "/channels/1/other");
        limiter.learn(&other, &mut Bucket::default(), 200, &told, now);
        assert!(Arc::ptr_eq(&renamed, &limiter.bucket(&other)));
    }

    #[test]
    fn a_global_429_stops_everything_but_interactions_and_a_shared_one_is_not_our_fault() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let key = RouteKey::of("GET", "/channels/1");
        let told = headers(&[("retry-after", "7"), ("x-ratelimit-global", "true")]);
        let limited = limiter.learn(&key, &mut Bucket::default(), 429, &told, now);
        assert_eq!(limited, Some(Limited { after: Duration::from_secs(7), global: true }));
        assert_eq!(limiter.pass(&RouteKey::of("GET", "/guilds/1/members/2"), now), Err(now + Duration::from_secs(7)));
        assert_eq!(limiter.pass(&RouteKey::of("POST", "/interactions/1/t/callback"), now), Ok(()));
        assert_eq!(limiter.invalid(now), 1);
        let shared = headers(&[("retry-after", "nonsense"), ("x-ratelimit-scope", "shared")]);
        let limited = limiter.learn(&key, &mut Bucket::default(), 429, &shared, now);
        assert_eq!(limited.map(|l| l.after), Some(RETRY_AFTER_DEFAULT), "never a loop without a wait");
        assert_eq!(limiter.invalid(now), 1);
    }

    #[test]
    fn no_more_than_fifty_leave_in_a_second_and_too_many_invalid_ones_stop_all() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let key = RouteKey::of("GET", "/channels/1");
        for _ in 0..GLOBAL_PER_SECOND {
            assert_eq!(limiter.pass(&key, now), Ok(()));
        }
        assert_eq!(limiter.pass(&key, now), Err(now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(1);
        assert_eq!(limiter.pass(&key, later), Ok(()));
        for _ in 0..INVALID_MAX {
            limiter.learn(&key, &mut Bucket::default(), 403, &HeaderMap::new(), later);
        }
        assert_eq!(limiter.pass(&key, later + Duration::from_secs(2)), Err(later + INVALID_WINDOW));
    }
}

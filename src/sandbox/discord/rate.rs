//! Rate limits, counted in wall time because their headers count real seconds.
//!
//! The numbers are the ones that Discord's headers show today; it documents none of them ("read the headers"),
//! so a client that hard-codes them is wrong. Source: <https://discord.com/developers/docs/topics/rate-limits>.

use std::collections::{HashMap, VecDeque};

use chrono::TimeDelta;

use crate::domain::Timestamp;

/// Requests a second of one bot, interaction callbacks and webhooks apart.
const GLOBAL_PER_SECOND: usize = 50;
/// Answers 401, 403, 429 within [`INVALID_WINDOW`] that bar the address.
pub(super) const INVALID_MAX: usize = 10_000;
/// The window of [`INVALID_MAX`].
const INVALID_WINDOW: TimeDelta = TimeDelta::minutes(10);

/// What a request may do now.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// Go on; headers for the answer, if the route has a bucket.
    Pass(Option<Standing>),
    /// 429.
    Limited { retry_after_secs: f64, global: bool, standing: Option<Standing> },
    /// Too many invalid requests: the address is barred.
    Barred,
}

/// A bucket as the headers show it.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    pub(super) reset: Timestamp,
    pub(super) reset_after_secs: f64,
    pub(super) bucket: String,
}

#[derive(Debug, Clone)]
struct Window {
    used: u32,
    reset: Timestamp,
}

/// All counters.
#[derive(Debug, Default)]
pub(super) struct Rates {
    windows: HashMap<(String, String), Window>,
    global: VecDeque<Timestamp>,
    invalid: VecDeque<Timestamp>,
}

impl Rates {
    /// Counts a request on `route` (`POST /channels/{id}/messages`) for its major parameter.
    pub(super) fn take(&mut self, route: &str, major: &str, now: Timestamp) -> Verdict {
        self.forget(now);
        if self.invalid.len() >= INVALID_MAX {
            return Verdict::Barred;
        }
        if counts_globally(route) {
            if let Some(&oldest) = self.global.front().filter(|_| self.global.len() >= GLOBAL_PER_SECOND) {
                let wait = seconds(oldest + TimeDelta::seconds(1) - now);
                return Verdict::Limited { retry_after_secs: wait, global: true, standing: None };
            }
            self.global.push_back(now);
        }
        let Some((limit, window)) = bucket(route) else {
            return Verdict::Pass(None);
        };
        let entry = self.windows.entry((route.to_owned(), major.to_owned()));
        let current = entry.or_insert_with(|| Window { used: 0, reset: now + window });
        if current.reset <= now {
            *current = Window { used: 0, reset: now + window };
        }
        let full = current.used >= limit;
        if !full {
            current.used += 1;
        }
        let standing = Standing {
            limit,
            remaining: limit - current.used,
            reset: current.reset,
            reset_after_secs: seconds(current.reset - now),
            bucket: bucket_name(route),
        };
        if full {
            let retry_after_secs = standing.reset_after_secs;
            return Verdict::Limited { retry_after_secs, global: false, standing: Some(standing) };
        }
        Verdict::Pass(Some(standing))
    }

    /// Counts an answer 401, 403 or 429.
    pub(super) fn invalid(&mut self, now: Timestamp) {
        self.invalid.push_back(now);
    }

    fn forget(&mut self, now: Timestamp) {
        while self.global.front().is_some_and(|&at| at + TimeDelta::seconds(1) <= now) {
            self.global.pop_front();
        }
        while self.invalid.front().is_some_and(|&at| at + INVALID_WINDOW <= now) {
            self.invalid.pop_front();
        }
    }
}

/// Interaction callbacks and webhook calls are outside the global limit.
/// Source: <https://discord.com/developers/docs/interactions/receiving-and-responding>.
fn counts_globally(route: &str) -> bool {
    !route.contains(" /interactions/") && !route.contains(" /webhooks/")
}

/// Requests and their window, by route. `None`: no bucket headers.
fn bucket(route: &str) -> Option<(u32, TimeDelta)> {
    let (method, path) = route.split_once(' ').unwrap_or(("", route));
    if path.starts_with("/interactions/") || path.starts_with("/gateway") {
        return None;
    }
    Some(match (method, path) {
        ("POST", "/channels/{id}/messages") => (5, TimeDelta::seconds(5)),
        ("PATCH" | "DELETE", "/channels/{id}/messages/{id}") => (5, TimeDelta::seconds(5)),
        ("PUT" | "DELETE", path) if path.contains("/reactions/") => (1, TimeDelta::milliseconds(300)),
        (_, path) if path.starts_with("/webhooks/") => (5, TimeDelta::seconds(2)),
        ("POST" | "PUT" | "PATCH" | "DELETE", path) if path.contains("/pins") => (5, TimeDelta::seconds(4)),
        ("POST" | "PUT" | "PATCH" | "DELETE", _) => (10, TimeDelta::seconds(10)),
        _ => (50, TimeDelta::seconds(5)),
    })
}

fn bucket_name(route: &str) -> String {
    use sha2::Digest;
    hex::encode(&sha2::Sha256::digest(route.as_bytes())[..16])
}

fn seconds(delta: TimeDelta) -> f64 {
    delta.num_milliseconds().max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &str = "POST /channels/{id}/messages";

    fn at(millis: i64) -> Timestamp {
        chrono::DateTime::from_timestamp_millis(1_800_000_000_000 + millis).expect("a valid instant")
    }

    #[test]
    fn the_sixth_message_within_five_seconds_is_limited_until_the_window_ends() {
        let mut rates = Rates::default();
        for n in 0..5 {
            assert!(matches!(rates.take(POST, "1", at(n)), Verdict::Pass(Some(standing)) if standing.remaining == 4 - n as u32));
        }
        let Verdict::Limited { retry_after_secs, global: false, .. } = rates.take(POST, "1", at(1000)) else {
            panic!("the bucket is full")
        };
        assert!((retry_after_secs - 4.0).abs() < 0.001);
        assert!(matches!(rates.take(POST, "2", at(1000)), Verdict::Pass(_)), "another channel has its own bucket");
        assert!(matches!(rates.take(POST, "1", at(5000)), Verdict::Pass(_)), "the window has ended");
    }

    #[test]
    fn the_fifty_first_request_of_a_second_meets_the_global_limit_but_answers_to_interactions_pass() {
        let mut rates = Rates::default();
        for channel in 0..50 {
            assert!(matches!(rates.take(POST, &channel.to_string(), at(0)), Verdict::Pass(_)));
        }
        assert!(matches!(rates.take(POST, "50", at(10)), Verdict::Limited { global: true, .. }));
        assert!(matches!(rates.take("POST /interactions/{id}/{token}/callback", "", at(10)), Verdict::Pass(None)));
        assert!(matches!(rates.take(POST, "50", at(1000)), Verdict::Pass(_)));
    }

    #[test]
    fn ten_thousand_invalid_requests_bar_the_address_for_a_while() {
        let mut rates = Rates::default();
        for _ in 0..INVALID_MAX {
            rates.invalid(at(0));
        }
        assert!(matches!(rates.take(POST, "1", at(1)), Verdict::Barred));
        assert!(matches!(rates.take(POST, "1", at(600_000)), Verdict::Pass(_)));
    }
}

//! Misbehaviour on demand: what the REST side does wrong, how often, and to which requests.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Misbehaviour {
    /// This status and code instead of the effect.
    Answer {
        /// 401, 403, 404, 500, 502, 503, ...
        status: u16,
        /// Discord's error code; 0 for a bare server error.
        #[serde(default)]
        code: u32,
    },
    /// 429 instead of the effect.
    RateLimited {
        /// How long the client shall wait, seconds.
        retry_after_secs: f64,
        /// Whether it says that the global limit was met.
        #[serde(default)]
        global: bool,
    },
    /// No effect, and no answer ever; the connection stays open.
    Silent,
    /// The effect happens; the answer never comes, the connection stays open.
    SilentAfterEffect,
    /// The effect happens; the connection breaks before the answer.
    AnswerLost,
    /// No effect; the connection breaks.
    Cut,
    /// The effect happens at once, the answer comes late.
    Slow {
        /// By so many milliseconds.
        by_millis: u64,
    },
    /// The effect happens; the answer is cut to something that does not parse.
    GarbledAnswer,
}

/// A fault and the requests it hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// `METHOD /path/pattern` without `/api/v10`: `*` for any method, any one segment; `**` for any rest.
    /// For example `POST /channels/*/messages`, `* /**`; the gateway's upgrade is `GET /gateway-socket`.
    pub on: String,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many it hits; `None` until cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    #[serde(flatten)]
    pub misbehaviour: Misbehaviour,
}

impl Fault {
    /// Hits the next request that matches `on`.
    #[must_use]
    pub fn once(on: &str, misbehaviour: Misbehaviour) -> Self {
        Self { on: on.to_owned(), skip: 0, times: Some(1), misbehaviour }
    }

    /// Hits the next `times` requests that match `on`.
    #[must_use]
    pub fn times(on: &str, times: u32, misbehaviour: Misbehaviour) -> Self {
        Self { on: on.to_owned(), skip: 0, times: Some(times), misbehaviour }
    }

    /// Hits every request that matches `on` until cleared.
    #[must_use]
    pub fn always(on: &str, misbehaviour: Misbehaviour) -> Self {
        Self { on: on.to_owned(), skip: 0, times: None, misbehaviour }
    }
}

impl Misbehaviour {
    /// A slow answer.
    #[must_use]
    pub fn slow(by: Duration) -> Self {
        Self::Slow { by_millis: u64::try_from(by.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// The faults that stand.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) list: Vec<Fault>,
    /// Whether new connections are dropped as soon as they are accepted.
    pub(super) refuse_connections: bool,
}

impl Faults {
    /// The fault for this request, if one hits it. The first that matches counts, and only it.
    pub(super) fn take(&mut self, method: &str, segments: &[String]) -> Option<Misbehaviour> {
        let index = self.list.iter().position(|fault| matches(&fault.on, method, segments))?;
        let fault = &mut self.list[index];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let misbehaviour = fault.misbehaviour.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.list.remove(index);
            }
        }
        Some(misbehaviour)
    }
}

/// Whether a request is one that `pattern` means, see [`Fault::on`].
pub(in crate::sandbox) fn matches(pattern: &str, method: &str, segments: &[String]) -> bool {
    let (wanted_method, path) = pattern.split_once(' ').unwrap_or(("*", pattern));
    if wanted_method != "*" && !wanted_method.eq_ignore_ascii_case(method) {
        return false;
    }
    let mut segments = segments.iter();
    for wanted in path.split('/').filter(|part| !part.is_empty()) {
        match (wanted, segments.next()) {
            ("**", _) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn patterns_match_by_method_segment_and_rest() {
        let messages = segments("/channels/7/messages");
        assert!(matches("POST /channels/*/messages", "POST", &messages));
        assert!(!matches("GET /channels/*/messages", "POST", &messages));
        assert!(!matches("POST /channels/*", "POST", &messages));
        assert!(matches("* /channels/**", "DELETE", &messages));
        assert!(matches("* /**", "GET", &segments("/gateway")));
    }

    #[test]
    fn a_fault_skips_then_hits_then_is_gone() {
        let mut faults = Faults::default();
        faults.list.push(Fault { skip: 1, ..Fault::times("* /**", 2, Misbehaviour::Silent) });
        let path = segments("/users/@me");
        let hits: Vec<_> = (0..4).map(|_| faults.take("GET", &path).is_some()).collect();
        assert_eq!(hits, [false, true, true, false]);
    }
}

//! How often a gateway session may be begun. Pure.
//!
//! Discord allows 1,000 a day and resets the token of a bot that goes beyond; serenity begins a new one every few
//! seconds if the other side flaps, and never looks at the count.
//! Source: <https://discord.com/developers/docs/events/gateway#session-start-limit-object>.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// New sessions within [`WINDOW`] after which the connection rests: 720 a day at most.
const SESSIONS_MAX: usize = 5;
/// The window of [`SESSIONS_MAX`].
const WINDOW: Duration = Duration::from_secs(600);
/// Of the day's sessions, those that are left for a person who restarts the bot.
const RESERVE: u64 = 10;
/// The longest rest before the allowance is asked for again.
const REST_MAX: Duration = Duration::from_secs(900);

/// When the last few sessions were begun.
#[derive(Debug, Default)]
pub(super) struct Pace {
    begun: VecDeque<Instant>,
}

impl Pace {
    /// Counts a session.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begun.push_back(now);
        if self.begun.len() > SESSIONS_MAX {
            self.begun.pop_front();
        }
    }

    /// How long to rest before the next one, if at all.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let oldest = self.begun.front().filter(|_| self.begun.len() == SESSIONS_MAX)?;
        Some((*oldest + WINDOW).saturating_duration_since(now)).filter(|rest| !rest.is_zero())
    }
}

/// How long Discord's own count, in the answer to `GET /gateway/bot`, asks to rest. An answer without a count asks for none.
pub(super) fn rest_told(answer: &Value) -> Option<Duration> {
    let limit = &answer["session_start_limit"];
    let (remaining, reset_after) = (limit["remaining"].as_u64()?, limit["reset_after"].as_u64().unwrap_or(0));
    let rest = Duration::from_millis(reset_after).clamp(Duration::from_secs(1), REST_MAX);
    (remaining <= RESERVE).then_some(rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_few_sessions_in_a_row_are_followed_by_a_rest() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        for n in 0..4 {
            pace.begin(start + secs(7 * n));
            assert_eq!(pace.rest(start + secs(7 * n)), None);
        }
        pace.begin(start + secs(28));
        assert_eq!(pace.rest(start + secs(28)), Some(secs(572)));
        assert_eq!(pace.rest(start + secs(600)), None);
    }

    #[test]
    fn a_server_that_flaps_all_day_does_not_use_up_the_days_sessions() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let (mut now, mut begun) = (start, 0);
        while now < start + secs(86_400) {
            now += pace.rest(now).unwrap_or_default() + secs(7);
            pace.begin(now);
            begun += 1;
        }
        assert!(begun <= 1_000 - RESERVE, "{begun} sessions in a day");
    }

    #[test]
    fn the_last_sessions_of_a_day_are_left_for_people() {
        let told = |remaining: u64, reset_after: u64| {
            rest_told(&json!({ "session_start_limit": { "total": 1000, "remaining": remaining, "reset_after": reset_after } }))
        };
        assert_eq!(told(11, 5_000), None);
        assert_eq!(told(10, 5_000), Some(secs(5)));
        assert_eq!(told(0, 86_400_000), Some(REST_MAX));
        assert_eq!(rest_told(&json!({ "url": "ws://x" })), None);
    }
}

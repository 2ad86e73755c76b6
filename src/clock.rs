//! The only reading of the wall clock, and the only source of chance.
//!
//! Everything else receives time and ids as data. A [`Clock`] may run faster than the wall
//! ([`ScaledClock`], for the sandbox's `--speed`) or stand still until told ([`FakeClock`], for tests).
//! Absent on purpose: local time zones. Every instant is UTC; Discord shows it in the reader's own zone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::Timestamp;

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The current instant, UTC.
    fn now(&self) -> Timestamp;

    /// Returns once `now() >= deadline`. Cancel-safe.
    async fn sleep_until(&self, deadline: Timestamp);
}

/// A clock shared by many tasks.
pub type SharedClock = Arc<dyn Clock>;

/// Waits for `duration` of `clock`'s time.
pub async fn sleep(clock: &dyn Clock, duration: Duration) {
    let delta = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
    clock.sleep_until(clock.now() + delta).await;
}

/// The machine's own clock, for what must be measured in real time whatever the sandbox's speed is:
/// leases, rate limits, tokens that a remote side times.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this module is the one place that reads the clock")]
pub fn wall_now() -> Timestamp {
    Utc::now()
}

/// Wall time, optionally sped up: `now = anchor + (wall - anchor) * speed`.
///
/// Two processes with the same anchor and speed agree on the time, which is how the sandbox's models
/// and a bot of its own process share one fast clock.
#[derive(Debug, Clone, Copy)]
pub struct ScaledClock {
    anchor: Timestamp,
    speed: u32,
}

/// The greatest `--speed`: a 15-minute beat then comes every 0.9 s, below which Discord's rate
/// limits and not the clock set the pace.
pub const SPEED_MAX: u32 = 1_000;

/// How long a [`ScaledClock`] sleeps at most before it looks again, so that a suspended machine
/// or a stepped wall clock delays a deadline by no more than this.
const SLEEP_MAX: Duration = Duration::from_secs(30);

impl ScaledClock {
    /// The machine's clock, at its own speed.
    #[must_use]
    pub fn real() -> Self {
        Self { anchor: DateTime::UNIX_EPOCH, speed: 1 }
    }

    /// A clock that agrees with the wall at `anchor` and runs `speed` times as fast (1 to [`SPEED_MAX`]).
    #[must_use]
    pub fn new(anchor: Timestamp, speed: u32) -> Self {
        Self { anchor, speed: speed.clamp(1, SPEED_MAX) }
    }

    /// How many times as fast as the wall this clock runs.
    #[must_use]
    pub fn speed(&self) -> u32 {
        self.speed
    }

    /// The instant at which this clock and the wall agree.
    #[must_use]
    pub fn anchor(&self) -> Timestamp {
        self.anchor
    }
}

#[async_trait]
impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        if self.speed == 1 {
            return wall_now();
        }
        let factor = i32::try_from(self.speed).unwrap_or(i32::MAX);
        self.anchor + (wall_now() - self.anchor) * factor
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        loop {
            let Ok(left) = (deadline - self.now()).to_std() else {
                return;
            };
            if left.is_zero() {
                return;
            }
            // A floor of a millisecond keeps a fast clock from spinning on rounding.
            let wait = (left / self.speed).clamp(Duration::from_millis(1), SLEEP_MAX);
            tokio::time::sleep(wait).await;
        }
    }
}

/// A clock that stands still until [`FakeClock::advance`] moves it. Clones share one time.
#[derive(Debug, Clone)]
pub struct FakeClock {
    inner: Arc<Mutex<FakeInner>>,
}

#[derive(Debug)]
struct FakeInner {
    now: Timestamp,
    sleepers: BTreeMap<(Timestamp, u64), tokio::sync::oneshot::Sender<()>>,
    next: u64,
}

impl FakeClock {
    /// A clock that reads `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { inner: Arc::new(Mutex::new(FakeInner { now, sleepers: BTreeMap::new(), next: 0 })) }
    }

    /// Moves the time forward and wakes every sleeper whose deadline has come, in order.
    pub fn advance(&self, by: Duration) {
        let delta = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        let now = self.lock().now + delta;
        self.set(now);
    }

    /// Sets the time, backwards too (a stepped clock), and wakes whoever is due.
    pub fn set(&self, now: Timestamp) {
        let mut inner = self.lock();
        inner.now = now;
        let later = inner.sleepers.split_off(&(now + TimeDelta::nanoseconds(1), 0));
        for (_, sleeper) in std::mem::replace(&mut inner.sleepers, later) {
            // A sleeper that was dropped needs no waking.
            let _ = sleeper.send(());
        }
    }

    /// The earliest deadline that somebody sleeps towards, if any.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let mut inner = self.lock();
        inner.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        inner.sleepers.keys().next().map(|(deadline, _)| *deadline)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FakeInner> {
        self.inner.lock().expect("no code panics while it holds the fake clock")
    }
}

#[async_trait]
impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        loop {
            let woken = {
                let mut inner = self.lock();
                if inner.now >= deadline {
                    return;
                }
                let (sender, receiver) = tokio::sync::oneshot::channel();
                let number = inner.next;
                inner.next += 1;
                inner.sleepers.insert((deadline, number), sender);
                receiver
            };
            let _ = woken.await;
        }
    }
}

/// Where random ids and nonces come from.
pub trait Ids: Send + Sync + 'static {
    /// 64 fresh random bits.
    fn next(&self) -> u64;
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    #[expect(clippy::disallowed_methods, reason = "this module is the one source of chance")]
    fn next(&self) -> u64 {
        rand::random()
    }
}

/// Counts up from a seed: the same ids in every run of a test.
#[derive(Debug, Default)]
pub struct CountingIds(std::sync::atomic::AtomicU64);

impl Ids for CountingIds {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

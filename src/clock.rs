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

    /// Returns once as much of the wall's time has passed as lies before `deadline` when it is asked. What an attempt
    /// does in the world takes real seconds, however fast a rehearsal's clock runs: its time-out is measured so.
    async fn allow_until(&self, deadline: Timestamp) {
        self.sleep_until(deadline).await;
    }
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

/// Wall time, optionally sped up and ahead: `now = shows + (wall - anchor) * speed`, where `shows` is the anchor itself
/// unless the speed was changed on the way.
///
/// Two processes with the same three values agree on the time, which is how the sandbox's models
/// and a bot of its own process share one fast clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaledClock {
    anchor: Timestamp,
    shows: Timestamp,
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
        Self { anchor: DateTime::UNIX_EPOCH, shows: DateTime::UNIX_EPOCH, speed: 1 }
    }

    /// A clock that agrees with the wall at `anchor` and runs `speed` times as fast (1 to [`SPEED_MAX`]).
    #[must_use]
    pub fn new(anchor: Timestamp, speed: u32) -> Self {
        Self::showing(anchor, anchor, speed)
    }

    /// A clock that reads `shows` when the wall reads `anchor`, and runs `speed` times as fast (1 to [`SPEED_MAX`]).
    #[must_use]
    pub fn showing(anchor: Timestamp, shows: Timestamp, speed: u32) -> Self {
        Self { anchor, shows, speed: speed.clamp(1, SPEED_MAX) }
    }

    /// This clock at another speed: it goes on from what it reads now, so that time neither jumps nor goes back.
    #[must_use]
    pub fn at_speed(&self, speed: u32) -> Self {
        let wall = wall_now();
        Self::showing(wall, self.at(wall), speed)
    }

    /// How many times as fast as the wall this clock runs.
    #[must_use]
    pub fn speed(&self) -> u32 {
        self.speed
    }

    /// The instant of the wall that the clock counts from.
    #[must_use]
    pub fn anchor(&self) -> Timestamp {
        self.anchor
    }

    /// What it read at [`Self::anchor`].
    #[must_use]
    pub fn shows(&self) -> Timestamp {
        self.shows
    }

    /// Whether it is nothing but the machine's clock.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.speed == 1 && self.anchor == self.shows
    }

    fn at(&self, wall: Timestamp) -> Timestamp {
        let factor = i32::try_from(self.speed).unwrap_or(i32::MAX);
        self.shows + (wall - self.anchor) * factor
    }
}

#[async_trait]
impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        if self.is_real() { wall_now() } else { self.at(wall_now()) }
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

    async fn allow_until(&self, deadline: Timestamp) {
        tokio::time::sleep((deadline - self.now()).to_std().unwrap_or_default()).await;
    }
}

/// A [`ScaledClock`] whose speed can be changed while others go by it: the sandbox's time lever.
#[derive(Debug)]
pub struct AdjustableClock {
    present: tokio::sync::watch::Sender<ScaledClock>,
}

impl AdjustableClock {
    /// A clock that begins as `clock`.
    #[must_use]
    pub fn new(clock: ScaledClock) -> Self {
        Self { present: tokio::sync::watch::Sender::new(clock) }
    }

    /// What it is at present, for a process of its own that shall agree with it.
    #[must_use]
    pub fn present(&self) -> ScaledClock {
        *self.present.borrow()
    }

    /// Goes on at another speed from what it reads now. Whoever sleeps is woken by the new time.
    pub fn set_speed(&self, speed: u32) {
        self.present.send_modify(|clock| *clock = clock.at_speed(speed));
    }
}

#[async_trait]
impl Clock for AdjustableClock {
    fn now(&self) -> Timestamp {
        self.present().now()
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let mut changes = self.present.subscribe();
        loop {
            let present = *changes.borrow_and_update();
            tokio::select! {
                () = present.sleep_until(deadline) => return,
                // The sender lives as long as this borrow of the clock.
                _ = changes.changed() => {}
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_speed_neither_jumps_nor_goes_back() {
        let anchor = DateTime::from_timestamp(1_800_000_000, 0).expect("a valid instant");
        let fast = ScaledClock::new(anchor, 60);
        let wall = anchor + TimeDelta::minutes(1);
        assert_eq!(fast.at(wall), anchor + TimeDelta::hours(1));
        let slow = ScaledClock::showing(wall, fast.at(wall), 1);
        assert_eq!(slow.at(wall + TimeDelta::minutes(1)), anchor + TimeDelta::minutes(61));
        assert!(!slow.is_real() && ScaledClock::new(anchor, 1).is_real());
        let clock = ScaledClock::real();
        let (before, again) = (clock.now(), clock.at_speed(1));
        assert!(again.is_real() && again.now() >= before);
    }

    #[tokio::test]
    async fn whoever_sleeps_is_woken_by_the_new_speed() {
        let clock = Arc::new(AdjustableClock::new(ScaledClock::real()));
        let later = clock.now() + TimeDelta::minutes(10);
        let sleeper = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move { clock.sleep_until(later).await }
        });
        tokio::task::yield_now().await;
        clock.set_speed(SPEED_MAX);
        tokio::time::timeout(Duration::from_secs(20), sleeper).await.expect("ten minutes pass in 0.6 s").expect("it ends");
        assert!(clock.now() >= later);
    }
}

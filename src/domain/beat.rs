//! The beat: when the next status update is due, and what an absence comes to.

use serde::{Deserialize, Serialize};

use super::{Duration, Timestamp};

/// When status updates are due: at `next`, and then every `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The cadence. Never zero.
    pub every: Duration,
    /// When the next one is due.
    pub next: Timestamp,
}

/// What an update that stands for several owes after it was said, if later ones joined it on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// When the first one that was not told was due.
    pub due: Timestamp,
    /// How many more after that one.
    pub missed: u32,
}

impl Rest {
    /// Of an update that was due at `due` and stands for `missed` later ones, `every` apart: what is left when the last
    /// `untold` of them were not told.
    #[must_use]
    pub fn of(due: Timestamp, missed: u32, untold: u32, every: Duration) -> Option<Self> {
        let told = u64::from((missed + 1).checked_sub(untold)?);
        let due = due + Duration::from_secs(every.as_secs() * told).delta();
        Some(Self { due, missed: untold.checked_sub(1)? })
    }
}

/// One status update that has fallen due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fall {
    /// When it was due: the first of those that were missed.
    pub due: Timestamp,
    /// How many later ones fell due as well before anybody looked. They become one, which names the count.
    pub missed: u32,
    /// When the next one is due; after now, and on the same grid.
    pub next: Timestamp,
}

impl Beat {
    /// A beat whose first update is due one cadence after `since`.
    #[must_use]
    pub fn since(since: Timestamp, every: Duration) -> Self {
        Self { every, next: since + every.delta() }
    }

    /// What has fallen due by `now`; `None` if nothing has.
    #[must_use]
    pub fn fall(&self, now: Timestamp) -> Option<Fall> {
        if now < self.next {
            return None;
        }
        let every = self.every.as_secs().max(1);
        // Whole seconds cut off, not rounded: the next one is not missed before its instant.
        let late = u64::try_from((now - self.next).num_seconds()).unwrap_or_default();
        let missed = u32::try_from(late / every).unwrap_or(u32::MAX);
        let next = self.next + Duration::from_secs(every * (u64::from(missed) + 1)).delta();
        Some(Fall { due: self.next, missed, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + chrono::TimeDelta::minutes(minute)
    }

    #[test]
    fn an_update_is_due_at_its_instant_and_not_before() {
        let beat = Beat::since(at(0), Duration::from_minutes(15));
        assert_eq!(beat.fall(at(15) - chrono::TimeDelta::milliseconds(1)), None);
        assert_eq!(beat.fall(at(15)), Some(Fall { due: at(15), missed: 0, next: at(30) }));
    }

    #[test]
    fn what_a_message_did_not_tell_is_left_over() {
        let rest = |missed, untold| Rest::of(at(15), missed, untold, Duration::from_minutes(15));
        assert_eq!(rest(3, 0), None);
        assert_eq!(rest(3, 1), Some(Rest { due: at(60), missed: 0 }));
        assert_eq!(rest(3, 3), Some(Rest { due: at(30), missed: 2 }));
        assert_eq!(rest(0, 2), None, "no more than there were");
    }

    #[test]
    fn what_was_missed_becomes_one_update_and_the_grid_stays() {
        let beat = Beat::since(at(0), Duration::from_minutes(15));
        let just_before = at(30) - chrono::TimeDelta::milliseconds(1);
        assert_eq!(beat.fall(just_before), Some(Fall { due: at(15), missed: 0, next: at(30) }));
        assert_eq!(beat.fall(at(52)), Some(Fall { due: at(15), missed: 2, next: at(60) }));
        assert_eq!(beat.fall(at(60)), Some(Fall { due: at(15), missed: 3, next: at(75) }));
    }
}

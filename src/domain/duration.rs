//! Spans of time as definitions write them: `90s`, `1h30m`, `T-30m`.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A span of time, whole seconds, written `45s`, `5m`, `1h30m`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^([0-9]+(d|h|m|s))+$", "examples" = ["30s", "5m", "1h30m"]))]
pub struct Duration(u64);

/// The longest span that a definition may name: a year.
const SECS_MAX: u64 = 366 * 24 * 3600;

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// A span of `minutes` minutes.
    #[must_use]
    pub const fn from_minutes(minutes: u64) -> Self {
        Self(minutes * 60)
    }

    /// The whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// For arithmetic with instants.
    #[must_use]
    pub fn delta(self) -> TimeDelta {
        TimeDelta::seconds(i64::try_from(self.0).unwrap_or(i64::MAX / 1_000))
    }

    /// For the standard library.
    #[must_use]
    pub const fn std(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0)
    }

    /// The span between two instants, rounded to whole seconds; zero when `to` is before `from`.
    #[must_use]
    pub fn between(from: crate::domain::Timestamp, to: crate::domain::Timestamp) -> Self {
        Self(u64::try_from(((to - from).num_milliseconds() + 500).max(0) / 1_000).unwrap_or(0))
    }
}

impl std::ops::Add for Duration {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Duration {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, std::ops::Add::add)
    }
}

/// Why a text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write it like `30s`, `5m` or `1h30m`, at most a year")]
pub struct InvalidDuration(String);

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration(text.to_owned());
        let mut total: u64 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(invalid());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
            let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            let unit = rest[digits..].chars().next().ok_or_else(invalid)?;
            let factor = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                _ => return Err(invalid()),
            };
            total = number.checked_mul(factor).and_then(|secs| total.checked_add(secs)).ok_or_else(invalid)?;
            rest = &rest[digits + unit.len_utf8()..];
        }
        if total > SECS_MAX { Err(invalid()) } else { Ok(Self(total)) }
    }
}

impl TryFrom<String> for Duration {
    type Error = InvalidDuration;

    fn try_from(text: String) -> Result<Self, InvalidDuration> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut rest = self.0;
        for (unit, secs) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
            let count = rest / secs;
            rest %= secs;
            if count > 0 {
                text.push_str(&format!("{count}{unit}"));
            }
        }
        f.pad(if text.is_empty() { "0s" } else { &text })
    }
}

/// An instant relative to the cutover instant T-0: `T-30m`, `T-0`, `T+10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^T[+-]([0-9]+(d|h|m|s))+$|^T[+-]?0$|^T$", "examples" = ["T-30m", "T-0", "T+10m"]))]
pub struct Offset(i64);

impl Offset {
    /// T-0 itself.
    pub const ZERO: Self = Self(0);

    /// For arithmetic with instants; negative before T-0.
    #[must_use]
    pub fn delta(self) -> TimeDelta {
        TimeDelta::seconds(self.0)
    }
}

/// Why a text is not an offset from T-0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time relative to the cutover: write it like `T-30m`, `T-0` or `T+10m`")]
pub struct InvalidOffset(String);

impl FromStr for Offset {
    type Err = InvalidOffset;

    fn from_str(text: &str) -> Result<Self, InvalidOffset> {
        let invalid = || InvalidOffset(text.to_owned());
        let rest = text.trim().strip_prefix('T').ok_or_else(invalid)?;
        let (sign, span) = match rest.chars().next() {
            None => return Ok(Self::ZERO),
            Some('-') => (-1, &rest[1..]),
            Some('+') => (1, &rest[1..]),
            Some(_) => return Err(invalid()),
        };
        if span == "0" {
            return Ok(Self::ZERO);
        }
        let duration: Duration = span.parse().map_err(|_| invalid())?;
        Ok(Self(sign * i64::try_from(duration.as_secs()).map_err(|_| invalid())?))
    }
}

impl TryFrom<String> for Offset {
    type Error = InvalidOffset;

    fn try_from(text: String) -> Result<Self, InvalidOffset> {
        text.parse()
    }
}

impl From<Offset> for String {
    fn from(offset: Offset) -> Self {
        offset.to_string()
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = Duration::from_secs(self.0.unsigned_abs());
        match self.0 {
            0 => f.pad("T-0"),
            1.. => f.pad(&format!("T+{span}")),
            _ => f.pad(&format!("T-{span}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        for (text, secs) in [("30s", 30), ("5m", 300), ("1h30m", 5_400), ("2d", 172_800), ("0s", 0)] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.as_secs(), secs);
            assert_eq!(duration.to_string(), text);
        }
        for text in ["", "5", "m", "5x", "-5m", "99999d", "5 m", "18446744073709551615d"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn offsets_read_and_write() {
        for (text, secs) in [("T-30m", -1_800), ("T+10m", 600), ("T-0", 0)] {
            let offset: Offset = text.parse().unwrap();
            assert_eq!(offset.delta().num_seconds(), secs);
            assert_eq!(offset.to_string(), text);
        }
        for text in ["30m", "T30m", "T-", "T-x", "t-5m"] {
            assert!(text.parse::<Offset>().is_err(), "{text}");
        }
    }
}

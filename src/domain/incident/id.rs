//! The id of an incident: its UTC day and its number on that day.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// Names an incident, e.g. `inc-20261121-001`. Ids sort by day and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IncidentId {
    day: NaiveDate,
    number: u32,
}

/// The most incidents of one day: three digits, as people expect to read them.
pub const NUMBER_MAX: u32 = 999;

const PREFIX: &str = "inc-";
const DAY_FORMAT: &str = "%Y%m%d";

/// Why a text is not an [`IncidentId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an incident id: one looks like `inc-20261121-001`")]
pub struct InvalidIncidentId(String);

impl IncidentId {
    /// The incident of this number, from 1, on this UTC day. `None` beyond [`NUMBER_MAX`] or for a year that four
    /// digits cannot write.
    #[must_use]
    pub fn new(day: NaiveDate, number: u32) -> Option<Self> {
        use chrono::Datelike as _;
        ((1..=NUMBER_MAX).contains(&number) && (0..=9999).contains(&day.year())).then_some(Self { day, number })
    }

    /// The UTC day on which it was opened.
    #[must_use]
    pub fn day(&self) -> NaiveDate {
        self.day
    }

    /// Its number on that day, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The name of its channel, e.g. `incident-20261121-001`.
    #[must_use]
    pub fn channel_name(&self) -> String {
        format!("incident-{}-{:03}", self.day.format(DAY_FORMAT), self.number)
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{PREFIX}{}-{:03}", self.day.format(DAY_FORMAT), self.number))
    }
}

impl FromStr for IncidentId {
    type Err = InvalidIncidentId;

    fn from_str(text: &str) -> Result<Self, InvalidIncidentId> {
        let parse = || {
            let (day, number) = text.strip_prefix(PREFIX)?.split_once('-')?;
            let day = NaiveDate::parse_from_str(day, DAY_FORMAT).ok()?;
            Self::new(day, number.parse().ok()?)
        };
        parse().filter(|id| id.to_string() == text).ok_or_else(|| InvalidIncidentId(text.to_owned()))
    }
}

impl TryFrom<String> for IncidentId {
    type Error = InvalidIncidentId;

    fn try_from(text: String) -> Result<Self, InvalidIncidentId> {
        text.parse()
    }
}

impl From<IncidentId> for String {
    fn from(id: IncidentId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_is_taken() {
        let id: IncidentId = "inc-20261121-007".parse().unwrap();
        assert_eq!((id.to_string().as_str(), id.number()), ("inc-20261121-007", 7));
        assert_eq!(id.channel_name(), "incident-20261121-007");
        for wrong in ["inc-20261121-7", "inc-20261121-000", "inc-20261321-001", "inc-20261121-1000", "incident-20261121-001", ""]
        {
            assert!(wrong.parse::<IncidentId>().is_err(), "{wrong}");
        }
    }
}

//! What a team has agreed on about incidents: severities, cadences, who is woken when. Pinned when an incident opens.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Duration, RoleId, RoleName};

/// How bad it is. The order is that of urgency: `Sev1` is the smallest and the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Critical.
    Sev1,
    /// High.
    Sev2,
    /// Medium.
    Sev3,
    /// Low.
    Sev4,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Self; 4] = [Self::Sev1, Self::Sev2, Self::Sev3, Self::Sev4];

    /// Its name in files and options, e.g. `sev1`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sev1 => "sev1",
            Self::Sev2 => "sev2",
            Self::Sev3 => "sev3",
            Self::Sev4 => "sev4",
        }
    }

    /// What it means, for people who must choose one at night.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Sev1 => "critical: the system is down, data is lost, or security is breached",
            Self::Sev2 => "high: a major function is impaired, or performance has dropped by more than half",
            Self::Sev3 => "medium: a minor function is affected and there is a way around it",
            Self::Sev4 => "low: cosmetic, or a wish",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.as_str().to_uppercase())
    }
}

impl std::str::FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, UnknownSeverity> {
        let found = Self::ALL.into_iter().find(|severity| severity.as_str() == text.to_ascii_lowercase());
        found.ok_or_else(|| UnknownSeverity(text.to_owned()))
    }
}

/// A text that names no [`Severity`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a severity: choose sev1, sev2, sev3 or sev4")]
pub struct UnknownSeverity(pub String);

/// What holds for an incident from its opening to its end; later changes of the settings do not bend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How often a status update is due, by severity. Absent: never.
    pub beats: BTreeMap<Severity, Duration>,
    /// The severities that page, and that escalate while nobody acknowledges.
    pub pages: BTreeSet<Severity>,
    /// Who is told, and after how long without an acknowledgement, in order. The first is told at the opening if its
    /// `after` is zero.
    pub escalation: Vec<EscalationLevel>,
    /// Which Discord roles each role name means.
    pub roles: BTreeMap<RoleName, Vec<RoleId>>,
    /// Who sees the channel of a private incident, besides the bot and who opened it.
    pub private_roles: Vec<RoleName>,
    /// How long after the resolution the channel moves to the archive.
    pub archive_after: Duration,
    /// How long after the resolution the channel is exported and deleted; `None`: never.
    pub delete_after: Option<Duration>,
    /// How long after the resolution the review meeting is.
    pub review_after: Duration,
    /// How long before the review people are reminded of it.
    pub review_reminder: Duration,
}

/// One level of the escalation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscalationLevel {
    /// How long nobody has acknowledged by then.
    pub after: Duration,
    /// Who is told.
    pub roles: Vec<RoleName>,
}

impl Default for Policy {
    /// SEV1 every 15 minutes, SEV2 every 30, SEV3 every 60, SEV4 never; SEV1 and SEV2 page; escalation after 30 and 60
    /// minutes; the review within 24 hours.
    fn default() -> Self {
        let minutes = Duration::from_minutes;
        Self {
            beats: BTreeMap::from([(Severity::Sev1, minutes(15)), (Severity::Sev2, minutes(30)), (Severity::Sev3, minutes(60))]),
            pages: BTreeSet::from([Severity::Sev1, Severity::Sev2]),
            escalation: vec![
                EscalationLevel { after: minutes(30), roles: Vec::new() },
                EscalationLevel { after: minutes(60), roles: Vec::new() },
            ],
            roles: BTreeMap::new(),
            private_roles: Vec::new(),
            archive_after: minutes(24 * 60),
            delete_after: None,
            review_after: minutes(23 * 60),
            review_reminder: minutes(30),
        }
    }
}

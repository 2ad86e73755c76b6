//! `pointsman doctor`: what stands in the way of the bot, found before a night depends on it; each finding with its mend.
//!
//! No command is registered, no message is posted and no record appended. Written are the journal's tables, if they are of
//! an older version, as whatever opens the journal does; and its lease, which is taken if it is free and given back at once.
//! It may run beside the bot. What a finding says never holds a secret.

mod definitions;
mod discord;
mod github;
mod host;
mod permissions;
mod store;

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::catalog::CheckContext;
use crate::clock::SharedClock;
use crate::config::Settings;

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Well,
    /// It works, and might surprise somebody.
    Warning,
    /// Something will not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two: `discord.token`.
    pub about: &'static str,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it; empty if all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

impl Finding {
    fn well(about: &'static str, found: impl Into<String>) -> Self {
        Self { about, level: Level::Well, found: found.into(), mend: String::new() }
    }

    fn warning(about: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { about, level: Level::Warning, found: found.into(), mend: mend.into() }
    }

    fn problem(about: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { about, level: Level::Problem, found: found.into(), mend: mend.into() }
    }
}

/// Everything that was found, in the order in which it was looked at. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Of settings that cannot be used: nothing else can be looked at.
    #[must_use]
    pub fn of_bad_settings(why: &str) -> Self {
        let finding = Finding::problem("settings", why, "mend the settings as it says; docs/settings.md explains every key");
        Self { findings: vec![finding] }
    }

    /// Whether the bot can do its work.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.level < Level::Problem)
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = match finding.level {
                Level::Well => "ok     ",
                Level::Warning => "warning",
                Level::Problem => "PROBLEM",
            };
            let _ = writeln!(
                text,
                "{mark}  {:<19} {}",
                finding.about,
                finding.found.replace('\n', "\n                             ")
            );
            if !finding.mend.is_empty() {
                let _ = writeln!(text, "{:28} → {}", "", finding.mend);
            }
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
        let _ = writeln!(text, "\n{problems} problems, {warnings} warnings, {} ok", count(Level::Well));
        text
    }
}

/// What is examined.
pub struct Patient {
    /// The settings.
    pub settings: Settings,
    /// What the definitions are checked against.
    pub context: CheckContext,
    /// The folders in which programs are looked for, in order.
    pub path: Vec<PathBuf>,
    /// The time.
    pub clock: SharedClock,
}

/// Looks at everything, each part however the others stand.
pub async fn examine(patient: &Patient) -> Report {
    let mut findings = vec![Finding::well("settings", "they can be read and used")];
    let catalog = definitions::load(patient, &mut findings);
    findings.extend(host::examine(patient, catalog.as_ref()).await);
    findings.extend(store::examine(&patient.settings).await);
    findings.extend(discord::examine(patient, catalog.as_ref()).await);
    findings.extend(github::examine(patient).await);
    Report { findings }
}

//! How long it lasts and how often the bot dies.

use chrono::TimeDelta;
use pointsman::domain::Timestamp;

/// What the bot lives through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    /// How many times as fast as the wall's the incidents' time runs.
    pub(super) speed: u32,
    /// For how long, in minutes of the incidents' time.
    pub(super) minutes: i64,
    /// How often the bot is killed and started again.
    pub(super) restarts: u32,
    /// For how long it is away each time, in minutes of the incidents' time.
    pub(super) away: i64,
}

impl Course {
    /// When the bot's life number `life`, from 0, ends. The lives and what follows each share the time evenly.
    pub(super) fn end_of(&self, begin: Timestamp, life: u32) -> Timestamp {
        let part = TimeDelta::minutes(self.minutes) / i32::try_from(self.restarts + 1).unwrap();
        begin + part * i32::try_from(life + 1).unwrap()
    }
}

/// The most memory that a process of this machine has held so far; `process` is its id, or `self`.
pub(super) fn peak_memory(process: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned()
}

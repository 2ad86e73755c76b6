//! What is in the model: repositories with issues, the token's standing, faults and the log of requests.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::act::Access;
use super::faults::Faults;
use super::{BOT, REPOSITORY};
use crate::clock::{SharedClock, wall_now};
use crate::domain::Timestamp;

/// Requests an hour. Source: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.
const REQUESTS_PER_HOUR: u32 = 5_000;
const HOUR_SECS: i64 = 3_600;

pub(super) struct State {
    pub(super) clock: SharedClock,
    pub(super) base_url: String,
    pub(super) token_valid: bool,
    /// The first is [`REPOSITORY`]; ids are places in the list.
    pub(super) repositories: Vec<Repository>,
    pub(super) faults: Faults,
    pub(super) requests: Vec<Request>,
    pub(super) rate: Rate,
}

/// A repository.
#[derive(Debug, Clone, Serialize)]
pub struct Repository {
    /// `owner/name`.
    pub name: String,
    /// What it was called before; those addresses redirect.
    pub old_names: Vec<String>,
    /// Whether it takes no changes.
    pub archived: bool,
    /// Whether it has issues.
    pub has_issues: bool,
    /// What the token may do here.
    pub access: Access,
    /// Who can be assigned.
    pub people: Vec<String>,
    /// Its labels, made on demand.
    pub labels: BTreeSet<String>,
    /// By number.
    pub issues: BTreeMap<u64, Issue>,
    /// The number of the last issue that was made.
    pub last_number: u64,
    /// Issues that people deleted.
    pub deleted: BTreeSet<u64>,
    /// Issues that people moved: to the repository at this place of the list, under this number.
    pub moved: BTreeMap<u64, (usize, u64)>,
}

/// An issue.
#[derive(Debug, Clone, Serialize)]
pub struct Issue {
    /// Its number in the repository.
    pub number: u64,
    /// The title.
    pub title: String,
    /// The body, Markdown.
    pub body: String,
    /// Labels by name.
    pub labels: Vec<String>,
    /// Assigned accounts.
    pub assignees: Vec<String>,
    /// Who made it.
    pub author: String,
    /// Whether it is open.
    pub open: bool,
    /// Why it was closed, if somebody said so.
    pub state_reason: Option<String>,
    /// Whether only collaborators may comment.
    pub locked: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Comments, oldest first.
    pub comments: Vec<Comment>,
}

/// A comment.
#[derive(Debug, Clone, Serialize)]
pub struct Comment {
    /// Its id.
    pub id: u64,
    /// Who wrote it.
    pub author: String,
    /// Markdown.
    pub body: String,
    /// When.
    pub created_at: Timestamp,
}

/// One request to the API.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path without `/api/v3`, without its query.
    pub path: String,
    /// The answer's status; 0 if a fault let it go unanswered.
    pub status: u16,
    /// Whether a fault was applied.
    pub fault: bool,
    /// Whether the model has this route.
    pub modelled: bool,
}

impl State {
    pub(super) fn new(clock: SharedClock, base_url: String) -> Self {
        let people = [BOT, "olivia", "dana", "leo", "sam"];
        let repository = Repository::new(REPOSITORY, &people);
        let rate = Rate { used: 0, reset: wall_now().timestamp() + HOUR_SECS };
        let (faults, requests) = (Faults::default(), Vec::new());
        Self { clock, base_url, token_valid: true, repositories: vec![repository], faults, requests, rate }
    }

    /// Where the repository called `name` now is in the list.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.repositories.iter().position(|repository| repository.name.eq_ignore_ascii_case(name))
    }

    /// Where the repository that was called `name` once is, unless another is called so now.
    pub(super) fn once_named(&self, name: &str) -> Option<usize> {
        let was = |repository: &Repository| repository.old_names.iter().any(|old| old.eq_ignore_ascii_case(name));
        self.repositories.iter().position(was)
    }
}

impl Repository {
    pub(super) fn new(name: &str, people: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            old_names: Vec::new(),
            archived: false,
            has_issues: true,
            access: Access::Write,
            people: people.iter().map(|&person| person.to_owned()).collect(),
            labels: BTreeSet::new(),
            issues: BTreeMap::new(),
            last_number: 0,
            deleted: BTreeSet::new(),
            moved: BTreeMap::new(),
        }
    }

    /// Adds an open issue and returns its number.
    pub(super) fn open(&mut self, author: &str, title: &str, body: &str, at: Timestamp) -> u64 {
        self.last_number += 1;
        let issue = Issue {
            number: self.last_number,
            title: title.to_owned(),
            body: body.to_owned(),
            labels: Vec::new(),
            assignees: Vec::new(),
            author: author.to_owned(),
            open: true,
            state_reason: None,
            locked: false,
            created_at: at,
            updated_at: at,
            comments: Vec::new(),
        };
        self.issues.insert(self.last_number, issue);
        self.last_number
    }

    /// Known labels as they are spelled here, new ones made.
    pub(super) fn take_labels(&mut self, names: &[String]) -> Vec<String> {
        let mut taken: Vec<String> = Vec::new();
        for name in names {
            let known = self.labels.iter().find(|label| label.eq_ignore_ascii_case(name)).cloned();
            let label = known.unwrap_or_else(|| name.clone());
            self.labels.insert(label.clone());
            if !taken.contains(&label) {
                taken.push(label);
            }
        }
        taken
    }
}

/// The hourly limit.
#[derive(Debug)]
pub(super) struct Rate {
    pub(super) used: u32,
    /// Seconds since 1970, wall time.
    pub(super) reset: i64,
}

impl Rate {
    /// Counts a request; `false` if there are none left.
    pub(super) fn count(&mut self) -> bool {
        let now = wall_now().timestamp();
        if now >= self.reset {
            *self = Self { used: 0, reset: now + HOUR_SECS };
        }
        self.used = self.used.saturating_add(1);
        self.used <= REQUESTS_PER_HOUR
    }

    pub(super) fn exhaust(&mut self, reset_in_secs: u32) {
        *self = Self { used: REQUESTS_PER_HOUR, reset: wall_now().timestamp() + i64::from(reset_in_secs) };
    }

    pub(super) fn headers(&self) -> [(&'static str, String); 4] {
        [
            ("x-ratelimit-limit", REQUESTS_PER_HOUR.to_string()),
            ("x-ratelimit-remaining", REQUESTS_PER_HOUR.saturating_sub(self.used).to_string()),
            ("x-ratelimit-used", self.used.min(REQUESTS_PER_HOUR).to_string()),
            ("x-ratelimit-reset", self.reset.to_string()),
        ]
    }
}

//! What the bot asked for, and what it got wrong.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::Timestamp;

/// One request to the REST API, in the order of arrival.
#[derive(Debug, Clone, Serialize)]
pub struct RequestRecord {
    /// When it was answered, wall time.
    pub wall_at: Timestamp,
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path without `/api/v10`, with its query.
    pub path: String,
    /// The path with ids replaced by `{id}`, tokens by `{token}`, emoji by `{emoji}`.
    pub route: String,
    /// The answer's status; 0 if a fault let it go unanswered.
    pub status: u16,
    /// Discord's error code, if it was refused.
    pub code: Option<u32>,
    /// The fault that was applied, if one was.
    pub fault: Option<String>,
    /// `X-Audit-Log-Reason`, decoded.
    pub reason: Option<String>,
}

/// Something a correct bot never does: a body that Discord refuses, a second or late answer to an interaction,
/// a route that is not modelled, a broken gateway frame.
///
/// Two can befall a correct bot in trouble and are told apart by their code: 10062 when an interaction reached it
/// late (a Resume, a restart). A second answer (40060) is not noted where a fault had swallowed the first.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// When, wall time.
    pub wall_at: Timestamp,
    /// Where: `POST /channels/{id}/messages`, `gateway`.
    pub place: String,
    /// Discord's error code or the gateway's close code; 0 for a route that is not modelled.
    pub code: u32,
    /// What: the code and message as Discord would say it.
    pub what: String,
}

/// Totals since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counters {
    /// Requests by `METHOD /route` and status, for example `POST /channels/{id}/messages 200`.
    pub requests: BTreeMap<String, u64>,
    /// Requests to routes that the model does not have.
    pub unmodelled: u64,
    /// Answers 429 by a bucket or the global limit (not by a fault).
    pub rate_limited: u64,
    /// Answers 401, 403 and 429: 10,000 within 10 minutes bar the address.
    pub invalid: u64,
    /// Interactions that got no answer in time.
    pub not_answered: u64,
    /// Sessions opened by IDENTIFY.
    pub identified: u64,
    /// Sessions taken up by RESUME.
    pub resumed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) requests: Vec<RequestRecord>,
    pub(super) violations: Vec<Violation>,
    pub(super) counters: Counters,
}

impl Log {
    pub(super) fn add(&mut self, record: RequestRecord) {
        let key = format!("{} {} {}", record.method, record.route, record.status);
        *self.counters.requests.entry(key).or_default() += 1;
        if matches!(record.status, 401 | 403 | 429) {
            self.counters.invalid += 1;
        }
        self.requests.push(record);
    }

    pub(super) fn violation(&mut self, wall_at: Timestamp, place: &str, code: u32, what: String) {
        self.violations.push(Violation { wall_at, place: place.to_owned(), code, what });
    }
}

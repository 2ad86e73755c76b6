//! Opening an incident: its number, and what is refused before anything exists.

use super::decide::text;
use super::event::{Event, Opened, Opener};
use super::id::{IncidentId, NUMBER_MAX};
use super::policy::{Policy, Severity};
use super::rejection::Rejection;
use crate::domain::{ChannelId, RunId, Timestamp};

/// The longest title, in characters: it stands in card titles and in an issue's title beside other words.
pub(super) const TITLE_MAX: usize = 200;

/// A wish to open an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRequest {
    /// What is wrong, in a line.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// Who or what opens it.
    pub by: Opener,
    /// Whether customers notice.
    pub customer_facing: bool,
    /// Whether only some may see it.
    pub private: bool,
    /// Where it was asked for.
    pub asked_in: Option<ChannelId>,
    /// The run that it is about.
    pub run: Option<RunId>,
}

/// The next id of the UTC day of `now`: one more than the highest number among those `known`, so that numbers have
/// no gaps and no twins as long as whoever asks is alone.
///
/// # Errors
/// [`Rejection::TooManyToday`].
pub fn next_id<'a>(now: Timestamp, known: impl IntoIterator<Item = &'a IncidentId>) -> Result<IncidentId, Rejection> {
    let day = now.date_naive();
    let highest = known.into_iter().filter(|id| id.day() == day).map(IncidentId::number).max().unwrap_or(0);
    IncidentId::new(day, highest + 1).ok_or(Rejection::TooManyToday { max: NUMBER_MAX })
}

/// The events with which an incident begins.
///
/// # Errors
/// [`Rejection`] if its title is missing or too long; no incident exists then.
pub fn open(incident: IncidentId, policy: Policy, request: OpenRequest) -> Result<Vec<Event>, Rejection> {
    let title = text("a title", request.title, TITLE_MAX)?.replace(['\n', '\r'], " ");
    let OpenRequest { severity, by, customer_facing, private, asked_in, run, .. } = request;
    Ok(vec![Event::Opened(Box::new(Opened { incident, title, severity, by, customer_facing, private, asked_in, run, policy }))])
}

//! What the engine asks of the world on behalf of incidents, and what chat asks of the engine about them.

use std::sync::Arc;

use async_trait::async_trait;

use super::ports::{Freshness, PortError, Posted, Snapshot};
use crate::domain::incident::{Delivery, IncidentId, Input, IssueKind, OpenRequest, Rejection, State};
use crate::domain::run::{self, GateRef};
use crate::domain::{ChannelId, IssueRef, MessageKey, MessageRef, RunId, Timestamp};

/// An incident as it stood at one moment, with the runs that belong to it.
#[derive(Debug, Clone)]
pub struct IncidentSnapshot {
    /// The fold of its journal.
    pub state: Arc<State>,
    /// The hash of its last record when the state was read, in hex.
    pub head: String,
    /// The run that it was opened about and those that were started from inside it, the oldest first; may be empty.
    pub runs: Vec<Snapshot>,
    /// When it was taken.
    pub now: Timestamp,
}

/// An incident that was set aside because its records do not make sense, or because of a defect. Nothing more is done
/// for it in this process: no status update comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckIncident {
    /// Which.
    pub incident: IncidentId,
    /// What is wrong.
    pub why: String,
}

/// Everything that a post-mortem is written from.
#[derive(Debug, Clone)]
pub struct Dossier {
    /// The incident and its runs.
    pub incident: IncidentSnapshot,
    /// What happened to each of its runs, in order.
    pub histories: Vec<(RunId, Vec<(Timestamp, run::Event)>)>,
    /// The hash of the journal's very last record, in hex: whoever knows it finds a journal that was cut since.
    pub journal_head: String,
}

/// A channel for an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub channel: ChannelId,
    /// Why it is the fallback channel, for people; `None` if it is one of its own.
    pub fallback: Option<String>,
}

/// A message with a 📌 on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which.
    pub message: MessageRef,
    /// Who wrote it.
    pub author: String,
    /// Who marked it first.
    pub by: crate::domain::Person,
}

/// What the engine asks of chat for incidents.
#[async_trait]
pub trait IncidentChat: Send + Sync + 'static {
    /// Finds the incident's channel by its name and the id in its topic, or creates it under the configured category
    /// with topic and permissions. If it cannot be created for a reason that only people can mend (category or server
    /// full, permission missing), the configured fallback channel is the place; with none configured, or for a
    /// private incident, that is an error.
    async fn open_channel(&self, incident: &IncidentSnapshot) -> Result<Place, PortError>;

    /// Makes an owed message visible, once; see [`super::Chat::post`].
    async fn post_to_incident(&self, incident: &IncidentSnapshot, key: &MessageKey, search: bool) -> Result<Posted, PortError>;

    /// Brings a posted live message up to date; see [`super::Chat::refresh`].
    async fn refresh_in_incident(&self, incident: &IncidentSnapshot, key: &MessageKey) -> Result<Freshness, PortError>;

    /// Pins a message. Pinning it twice changes nothing.
    async fn pin(&self, incident: &IncidentSnapshot, message: MessageRef) -> Result<(), PortError>;

    /// Reads which messages of the channel carry a 📌, newest first; bots' marks left out.
    async fn read_marks(&self, incident: &IncidentSnapshot) -> Result<Vec<Mark>, PortError>;

    /// Puts the review meeting into the server's calendar, once: it is found again by the incident's id. Returns
    /// Discord's id of the event.
    async fn schedule_review(&self, incident: &IncidentSnapshot, at: Timestamp) -> Result<u64, PortError>;

    /// Moves the channel to the archive category. Without one it stays where it is.
    async fn archive_channel(&self, incident: &IncidentSnapshot) -> Result<(), PortError>;

    /// Exports the channel's messages to the bot's own directory, durably, and then deletes it.
    async fn delete_channel(&self, incident: &IncidentSnapshot) -> Result<(), PortError>;
}

/// Who is woken, and where the public reads.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// Wakes whoever the escalation level names. The same incident and level is told once, by a key of the two.
    async fn page(&self, incident: &IncidentSnapshot, level: u32) -> Result<Delivery, PortError>;

    /// Tells the status page where the incident stands. `sequence` grows with each update.
    async fn tell_status_page(&self, incident: &IncidentSnapshot, sequence: u32) -> Result<Delivery, PortError>;
}

/// Where issues stand.
#[async_trait]
pub trait Tracker: Send + Sync + 'static {
    /// Brings the post-mortem or an action item up to date, creating it once. Returns where it stands.
    async fn publish(&self, dossier: &Dossier, issue: IssueKind) -> Result<IssueRef, PortError>;

    /// Brings the review up to date that somebody owes who opened a gate without its sign-off, creating it once.
    async fn publish_review(&self, run: &Snapshot, gate: &GateRef, card: u32) -> Result<IssueRef, PortError>;
}

/// Why an incident was not opened, or an input not taken in. Nothing was changed, save for
/// [`IncidentError::Unavailable`], after which the journal knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncidentError {
    /// It is not allowed now.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// There is no such incident.
    #[error("there is no incident of that id")]
    Unknown,
    /// The engine cannot journal anything at present, or is stopping.
    #[error("the engine is not available: {0}")]
    Unavailable(String),
}

/// What chat asks of the engine about incidents. Reading is from memory and never waits, save for the dossier.
#[async_trait]
pub trait Incidents: Send + Sync + 'static {
    /// Opens an incident: allocates its number, journals. Its channel follows as an owed effect. If the request is
    /// about a run that has an open incident already, that one is returned and none is opened.
    ///
    /// # Errors
    /// [`IncidentError`]; no incident exists then.
    async fn open(&self, request: OpenRequest) -> Result<IncidentId, IncidentError>;

    /// Hands an input to an incident and waits for the decision.
    ///
    /// # Errors
    /// [`IncidentError`].
    async fn tell(&self, incident: &IncidentId, input: Input) -> Result<(), IncidentError>;

    /// Every incident that the bot remembers, newest first.
    fn incidents(&self) -> Vec<IncidentSnapshot>;

    /// One incident as it stands.
    fn incident(&self, incident: &IncidentId) -> Option<IncidentSnapshot>;

    /// The incidents that were set aside, those included of which nothing can be shown because not even their first
    /// record can be read. In no order; may be empty.
    fn stuck_incidents(&self) -> Vec<StuckIncident>;

    /// The open incident, or else the newest, whose channel this is, or in whose channel this thread of a run stands.
    fn incident_in_channel(&self, channel: ChannelId) -> Option<IncidentId>;

    /// Everything that a post-mortem is written from, read from the journal.
    ///
    /// # Errors
    /// [`IncidentError`].
    async fn dossier(&self, incident: &IncidentId) -> Result<Dossier, IncidentError>;
}

//! Channels of incidents, pagers, a status page and an issue tracker in memory. They outlive the engine, as the real
//! ones do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pointsman::domain::incident::{Delivery, IncidentId, IssueKind, MessageKind};
use pointsman::domain::run::GateRef;
use pointsman::domain::{ChannelId, IssueRef, MessageId, MessageKey, MessageRef, RunId, Timestamp};
use pointsman::engine::{
    Dossier, Freshness, IncidentChat, IncidentSnapshot, Mark, Outside, Place, PortError, Posted, Snapshot, Tracker,
};

use super::points::Points;

/// The fallback channel of every bench.
pub(crate) const FALLBACK: ChannelId = ChannelId::new(900);

/// A message as people see it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) incident: IncidentId,
    pub(crate) key: MessageKey,
    pub(crate) generation: u32,
    pub(crate) at: MessageRef,
    /// For a status update: when it was due and how many later ones it stands for.
    pub(crate) beat: Option<(Timestamp, u32)>,
    /// When it became visible.
    pub(crate) said_at: Timestamp,
    pub(crate) deleted: bool,
}

/// Everything that is visible of incidents.
#[derive(Default)]
pub(crate) struct IncidentWorld {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    channels: BTreeMap<ChannelId, IncidentId>,
    said: Vec<Said>,
    pinned: Vec<MessageRef>,
    marks: Vec<Mark>,
    pages: Vec<(IncidentId, u32)>,
    status_page: Vec<(IncidentId, u32)>,
    issues: BTreeMap<String, (u64, usize)>,
    reviews: Vec<IncidentId>,
    archived: Vec<IncidentId>,
    deleted: Vec<IncidentId>,
    next_id: u64,
    away: bool,
    lose_answer: bool,
    full: bool,
    github_away: bool,
}

impl IncidentWorld {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The next status update is shown, its answer never arrives, and chat cannot be reached from then on.
    pub(crate) fn go_away_with_the_next_update(&self) {
        self.lock().lose_answer = true;
    }

    /// Whether chat can be reached.
    pub(crate) fn set_away(&self, away: bool) {
        self.lock().away = away;
    }

    /// Whether no channel can be created.
    pub(crate) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Whether the issue tracker can be reached.
    pub(crate) fn set_github_away(&self, away: bool) {
        self.lock().github_away = away;
    }

    /// Puts a mark where the engine finds it when it looks.
    pub(crate) fn mark(&self, mark: Mark) {
        self.lock().marks.push(mark);
    }

    /// Every channel that was created and not deleted.
    pub(crate) fn channels(&self) -> Vec<(ChannelId, IncidentId)> {
        self.lock().channels.iter().map(|(channel, incident)| (*channel, *incident)).collect()
    }

    /// Somebody deletes a channel with everything in it.
    pub(crate) fn delete_channel(&self, channel: ChannelId) {
        let mut inner = self.lock();
        inner.channels.remove(&channel);
        inner.said.iter_mut().filter(|said| said.at.channel == channel).for_each(|said| said.deleted = true);
    }

    /// What is visible of an incident, in order.
    pub(crate) fn said(&self, incident: &IncidentId) -> Vec<Said> {
        self.lock().said.iter().filter(|said| said.incident == *incident && !said.deleted).cloned().collect()
    }

    /// The status updates that are visible, in order: due, stands for, said.
    pub(crate) fn beats(&self, incident: &IncidentId) -> Vec<(Timestamp, u32, Timestamp)> {
        self.said(incident).iter().filter_map(|said| said.beat.map(|(due, missed)| (due, missed, said.said_at))).collect()
    }

    /// Who was woken.
    pub(crate) fn pages(&self) -> Vec<(IncidentId, u32)> {
        self.lock().pages.clone()
    }

    /// What the status page was told.
    pub(crate) fn status_page(&self) -> Vec<(IncidentId, u32)> {
        self.lock().status_page.clone()
    }

    /// The issues by their marker, with how often each was written.
    pub(crate) fn issues(&self) -> BTreeMap<String, (u64, usize)> {
        self.lock().issues.clone()
    }

    /// The incidents with a review in the calendar.
    pub(crate) fn reviews(&self) -> Vec<IncidentId> {
        self.lock().reviews.clone()
    }

    /// What was pinned, in order.
    pub(crate) fn pinned(&self) -> Vec<MessageRef> {
        self.lock().pinned.clone()
    }

    /// Whose channels were put away, and whose were deleted.
    pub(crate) fn put_away(&self) -> (Vec<IncidentId>, Vec<IncidentId>) {
        let inner = self.lock();
        (inner.archived.clone(), inner.deleted.clone())
    }
}

/// The engine's side of [`IncidentWorld`].
pub(crate) struct FakeIncidentChat {
    pub(crate) world: Arc<IncidentWorld>,
    pub(crate) points: Arc<Points>,
}

fn away() -> PortError {
    PortError::Later { why: "chat is away".to_owned(), after: None }
}

impl FakeIncidentChat {
    async fn reach(&self) -> Result<(), PortError> {
        self.points.alive().await;
        if self.world.lock().away { Err(away()) } else { Ok(()) }
    }

    fn write_issue(&self, marker: String) -> Result<IssueRef, PortError> {
        let mut inner = self.world.lock();
        if inner.github_away {
            return Err(PortError::Later { why: "GitHub does not answer".to_owned(), after: None });
        }
        let next = inner.issues.len() as u64 + 1;
        let (number, written) = inner.issues.entry(marker).or_insert((next, 0));
        *written += 1;
        Ok(IssueRef { number: *number, url: format!("https://github.example/issues/{number}") })
    }
}

#[async_trait]
impl IncidentChat for FakeIncidentChat {
    async fn open_channel(&self, incident: &IncidentSnapshot) -> Result<Place, PortError> {
        self.reach().await?;
        let place = {
            let mut inner = self.world.lock();
            let id = *incident.state.id();
            let known = inner.channels.iter().find(|(_, known)| **known == id).map(|(channel, _)| *channel);
            match known {
                Some(channel) => Place { channel, fallback: None },
                None if inner.full => Place { channel: FALLBACK, fallback: Some("the category is full".to_owned()) },
                None => {
                    inner.next_id += 1;
                    let channel = ChannelId::new(2_000 + inner.next_id);
                    inner.channels.insert(channel, id);
                    Place { channel, fallback: None }
                }
            }
        };
        self.points.pass("channel opened").await;
        Ok(place)
    }

    async fn post_to_incident(&self, incident: &IncidentSnapshot, key: &MessageKey, search: bool) -> Result<Posted, PortError> {
        self.reach().await?;
        let at = {
            let mut inner = self.world.lock();
            let state = &incident.state;
            let channel = state.channel.expect("messages are owed in a channel");
            if channel != FALLBACK && !inner.channels.contains_key(&channel) {
                return Err(PortError::Gone { why: "the channel is gone".to_owned() });
            }
            let owed = state.owed.iter().find(|owed| owed.key == *key).expect("only what is owed is asked for");
            let same = |said: &&Said| {
                said.incident == *state.id() && said.key == *key && said.generation == owed.generation && !said.deleted
            };
            match inner.said.iter().find(same).filter(|_| search).map(|said| (said.at, said.beat)) {
                Some((at, beat)) => Posted { at, told: beat.map_or(1, |(_, missed)| missed + 1) },
                None => {
                    inner.next_id += 1;
                    let at = MessageRef { channel, message: MessageId::new(5_000 + inner.next_id) };
                    let beat = match owed.kind {
                        MessageKind::Beat { due, missed } => Some((due, missed)),
                        MessageKind::Summary | MessageKind::PostMortem | MessageKind::Note { .. } => None,
                    };
                    let (incident, generation, said_at) = (*state.id(), owed.generation, incident.now);
                    inner.said.push(Said { incident, key: key.clone(), generation, at, beat, said_at, deleted: false });
                    if beat.is_some() && std::mem::take(&mut inner.lose_answer) {
                        inner.away = true;
                        return Err(away());
                    }
                    Posted { at, told: owed.kind.stands_for() }
                }
            }
        };
        self.points.pass(&format!("said {key}")).await;
        Ok(at)
    }

    async fn refresh_in_incident(&self, incident: &IncidentSnapshot, key: &MessageKey) -> Result<Freshness, PortError> {
        self.reach().await?;
        let at = incident.state.owed.iter().find(|owed| owed.key == *key).and_then(|owed| owed.posted);
        let lost = self.world.lock().said.iter().any(|said| Some(said.at) == at && said.deleted);
        Ok(if lost { Freshness::Lost } else { Freshness::Current })
    }

    async fn pin(&self, _: &IncidentSnapshot, message: MessageRef) -> Result<(), PortError> {
        self.reach().await?;
        let mut inner = self.world.lock();
        if !inner.pinned.contains(&message) {
            inner.pinned.push(message);
        }
        Ok(())
    }

    async fn read_marks(&self, incident: &IncidentSnapshot) -> Result<Vec<Mark>, PortError> {
        self.reach().await?;
        let inner = self.world.lock();
        Ok(inner.marks.iter().filter(|mark| Some(mark.message.channel) == incident.state.channel).cloned().collect())
    }

    async fn schedule_review(&self, incident: &IncidentSnapshot, _: Timestamp) -> Result<u64, PortError> {
        self.reach().await?;
        {
            let mut inner = self.world.lock();
            let id = *incident.state.id();
            if !inner.reviews.contains(&id) {
                inner.reviews.push(id);
            }
        }
        self.points.pass("review scheduled").await;
        Ok(77)
    }

    async fn archive_channel(&self, incident: &IncidentSnapshot) -> Result<(), PortError> {
        self.reach().await?;
        self.world.lock().archived.push(*incident.state.id());
        Ok(())
    }

    async fn delete_channel(&self, incident: &IncidentSnapshot) -> Result<(), PortError> {
        self.reach().await?;
        let id = *incident.state.id();
        let mut inner = self.world.lock();
        inner.channels.retain(|_, known| *known != id);
        inner.deleted.push(id);
        Ok(())
    }
}

#[async_trait]
impl Outside for FakeIncidentChat {
    async fn page(&self, incident: &IncidentSnapshot, level: u32) -> Result<Delivery, PortError> {
        self.points.alive().await;
        {
            let mut inner = self.world.lock();
            let page = (*incident.state.id(), level);
            // The pager knows the key of a page and takes it once.
            if !inner.pages.contains(&page) {
                inner.pages.push(page);
            }
        }
        self.points.pass(&format!("paged {level}")).await;
        Ok(Delivery::Delivered)
    }

    async fn tell_status_page(&self, incident: &IncidentSnapshot, sequence: u32) -> Result<Delivery, PortError> {
        self.points.alive().await;
        self.world.lock().status_page.push((*incident.state.id(), sequence));
        Ok(Delivery::Delivered)
    }
}

#[async_trait]
impl Tracker for FakeIncidentChat {
    async fn publish(&self, dossier: &Dossier, issue: IssueKind) -> Result<IssueRef, PortError> {
        self.points.alive().await;
        let written = self.write_issue(format!("{}/{issue:?}", dossier.incident.state.id()));
        self.points.pass(&format!("issue {issue:?}")).await;
        written
    }

    async fn publish_review(&self, run: &Snapshot, gate: &GateRef, card: u32) -> Result<IssueRef, PortError> {
        self.points.alive().await;
        let run: &RunId = run.state.id();
        let written = self.write_issue(format!("{run}/{gate}/{card}"));
        self.points.pass("review issue").await;
        written
    }
}

//! The engine alone: the production journal on disk with full sync, and a chat that is a list in memory, so that what is
//! measured is the engine. The bot dies by being dropped without ceremony.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use pointsman::clock::{self, Clock as _, CountingIds, ScaledClock};
use pointsman::domain::incident::Delivery;
use pointsman::domain::incident::{IncidentId, IssueKind, MessageKind};
use pointsman::domain::run::{self, GateRef, Outcome, Reading};
use pointsman::domain::{
    ChannelId, IssueRef, MessageId, MessageKey, MessageRef, ParameterName, Plan, RunId, RunbookName, StepName, Timestamp,
};
use pointsman::engine::{
    Chat, Dossier, Engine, Freshness, IncidentChat, IncidentSnapshot, Job, JobSink, Mark, Outside, Pace, Performer, Place,
    PlanProblem, Planning, Policies, PortError, Ports, Posted, Snapshot, Tracker,
};
use pointsman::store::{self, SharedJournal};

use super::Course;
use super::history::{History, dead_holder};
use super::lateness::{Beat, Span, Tally, tally};

/// An update that falls due this close to the end need not have become visible before it.
const MARGIN: TimeDelta = TimeDelta::minutes(2);

/// Lives through `course` with `incidents` open incidents.
pub(super) async fn play(incidents: u32, course: &Course) -> Tally {
    let folder = tempfile::tempdir().unwrap();
    let journal = store::open(&format!("sqlite:{}", folder.path().join("journal.db").display()).into()).await.unwrap();
    let clock = ScaledClock::new(clock::wall_now(), course.speed);
    let opened = prepare(&journal, incidents, clock.now()).await;
    println!("{} open incidents, an update each every 15 minutes, {} times as fast as the wall", opened.len(), course.speed);

    let heard = Arc::new(Heard::default());
    let mut span = Span { begin: clock.now(), end: clock.now(), outages: Vec::new() };
    for life in 0..=course.restarts {
        let engine = start(&journal, &clock, &heard).await;
        clock.sleep_until(course.end_of(span.begin, life)).await;
        if life < course.restarts {
            // What it had begun to say may or may not have been heard.
            drop(engine);
            let gone = clock.now();
            clock.sleep_until(gone + TimeDelta::minutes(course.away)).await;
            span.outages.push((gone, clock.now()));
        } else {
            span.end = clock.now() - MARGIN;
            engine.shut_down().await;
        }
    }
    tally(&opened, &heard.take(), &span)
}

/// Journals the incidents as a bot would have: opened, with a channel and a card, acknowledged; their openings spread
/// over the cadence before `now`.
async fn prepare(journal: &SharedJournal, count: u32, now: Timestamp) -> BTreeMap<IncidentId, Timestamp> {
    let lease = journal.acquire_lease(&dead_holder(), Duration::from_secs(600)).await.unwrap();
    let mut opened = BTreeMap::new();
    for number in 0..count {
        let channel = ChannelId::new(u64::from(number) + 1);
        let message = MessageRef { channel, message: MessageId::new(u64::from(number) + 1) };
        let mut history = History::open(number, count, now, Policies::default().incidents);
        history.begin(channel);
        while let Some(key) = history.unposted() {
            history.posted(key, message);
        }
        history.journal(journal, &lease).await;
        opened.insert(history.id, history.at);
    }
    journal.release_lease(&lease).await.unwrap();
    opened
}

async fn start(journal: &SharedJournal, clock: &ScaledClock, heard: &Arc<Heard>) -> Engine {
    let nothing = Arc::new(Nothing);
    let ports = Ports {
        journal: Arc::clone(journal),
        clock: Arc::new(*clock),
        ids: Arc::new(CountingIds::default()),
        chat: Arc::clone(&nothing) as Arc<dyn Chat>,
        performer: nothing.clone(),
        incident_chat: Arc::clone(heard) as Arc<dyn IncidentChat>,
        outside: nothing.clone(),
        tracker: nothing.clone(),
        policies: Policies::default(),
    };
    Engine::start(ports, nothing, Pace::default(), &dead_holder()).await.unwrap()
}

/// A chat that remembers what it was told. A message that was posted before is found again, as in Discord.
#[derive(Default)]
struct Heard {
    inner: Mutex<HeardInner>,
}

#[derive(Default)]
struct HeardInner {
    beats: Vec<Beat>,
    places: BTreeMap<(IncidentId, String), Posted>,
}

impl Heard {
    fn take(&self) -> Vec<Beat> {
        std::mem::take(&mut self.inner.lock().unwrap().beats)
    }
}

#[async_trait]
impl IncidentChat for Heard {
    async fn open_channel(&self, incident: &IncidentSnapshot) -> Result<Place, PortError> {
        Ok(Place { channel: incident.state.channel.unwrap_or(ChannelId::new(1)), fallback: None })
    }

    async fn post_to_incident(&self, incident: &IncidentSnapshot, key: &MessageKey, search: bool) -> Result<Posted, PortError> {
        let id = *incident.state.id();
        let mut inner = self.inner.lock().unwrap();
        if let Some(posted) = inner.places.get(&(id, key.to_string())).filter(|_| search) {
            return Ok(*posted);
        }
        let owed = incident.state.owed.iter().find(|owed| owed.key == *key).unwrap();
        if let MessageKind::Beat { due, missed } = owed.kind {
            inner.beats.push(Beat { incident: id, due, missed, at: incident.now });
        }
        let message = MessageId::new(inner.places.len() as u64 + 1_000_000);
        let at = MessageRef { channel: incident.state.channel.unwrap(), message };
        let posted = Posted { at, told: owed.kind.stands_for() };
        inner.places.insert((id, key.to_string()), posted);
        Ok(posted)
    }

    async fn refresh_in_incident(&self, _: &IncidentSnapshot, _: &MessageKey) -> Result<Freshness, PortError> {
        Ok(Freshness::Current)
    }

    async fn pin(&self, _: &IncidentSnapshot, _: MessageRef) -> Result<(), PortError> {
        Ok(())
    }

    async fn read_marks(&self, _: &IncidentSnapshot) -> Result<Vec<Mark>, PortError> {
        Ok(Vec::new())
    }

    async fn schedule_review(&self, _: &IncidentSnapshot, _: Timestamp) -> Result<u64, PortError> {
        Ok(1)
    }

    async fn archive_channel(&self, _: &IncidentSnapshot) -> Result<(), PortError> {
        Ok(())
    }

    async fn delete_channel(&self, _: &IncidentSnapshot) -> Result<(), PortError> {
        Ok(())
    }
}

/// The ports that nothing is asked of: there is no run, no pager, no tracker.
struct Nothing;

fn unasked<T>() -> Result<T, PortError> {
    Err(PortError::Refused { why: "the bench has no such thing".to_owned() })
}

#[async_trait]
impl Chat for Nothing {
    async fn open_thread(&self, _: &Snapshot) -> Result<ChannelId, PortError> {
        unasked()
    }

    async fn post(&self, _: &Snapshot, _: &MessageKey, _: bool) -> Result<Posted, PortError> {
        unasked()
    }

    async fn refresh(&self, _: &Snapshot, _: &MessageKey) -> Result<Freshness, PortError> {
        unasked()
    }

    async fn read_votes(&self, _: &Snapshot, _: &GateRef, _: u32) -> Result<Vec<run::ReactionVote>, PortError> {
        unasked()
    }
}

#[async_trait]
impl Performer for Nothing {
    async fn perform(&self, _: Job, _: Arc<dyn JobSink>, _: tokio_util::sync::CancellationToken) -> Outcome {
        Outcome::Unknown { why: "the bench has no runs".to_owned() }
    }

    async fn probe(&self, _: Job) -> run::Finding {
        run::Finding::DidNotHappen
    }

    async fn check(&self, _: Job) -> (serde_json::Value, Vec<Reading>) {
        (serde_json::Value::Null, Vec::new())
    }

    async fn end_left_over(&self, _: &run::ProcessGroup) -> Result<(), String> {
        Ok(())
    }

    fn evaluate_when(&self, _: &Snapshot, _: &StepName) -> Result<bool, String> {
        Ok(true)
    }

    async fn measure(&self, _: &Snapshot, _: &GateRef) -> Vec<Reading> {
        Vec::new()
    }

    async fn targets_changed(&self, _: &Snapshot) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Outside for Nothing {
    async fn page(&self, _: &IncidentSnapshot, _: u32) -> Result<Delivery, PortError> {
        Ok(Delivery::NotConfigured)
    }

    async fn tell_status_page(&self, _: &IncidentSnapshot, _: u32) -> Result<Delivery, PortError> {
        Ok(Delivery::NotConfigured)
    }
}

#[async_trait]
impl Tracker for Nothing {
    async fn publish(&self, _: &Dossier, _: IssueKind) -> Result<IssueRef, PortError> {
        unasked()
    }

    async fn publish_review(&self, _: &Snapshot, _: &GateRef, _: u32) -> Result<IssueRef, PortError> {
        unasked()
    }
}

#[async_trait]
impl Planning for Nothing {
    async fn plan(&self, runbook: &RunbookName, _: &indexmap::IndexMap<ParameterName, String>) -> Result<Plan, PlanProblem> {
        Err(PlanProblem::UnknownRunbook(runbook.clone()))
    }

    async fn pin(&self, _: &RunId, _: &Plan) -> Result<(), PlanProblem> {
        Ok(())
    }
}

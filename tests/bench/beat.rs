//! How punctual the beat is: many open incidents, a fast clock, and a bot that is killed again and again.
//!
//! `bin/bench beat` runs it. The journal is the production one on disk, with full sync; chat is a list in memory, so
//! that what is measured is the engine: how late it says what is due, what it leaves unsaid, what it says twice. Time
//! runs `--speed` times as fast as the wall's; lateness is told in the incidents' own time.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has nothing to tell")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{SubsecRound as _, TimeDelta};
use clap::Parser as _;
use pointsman::clock::{self, Clock as _, CountingIds, ScaledClock};
use pointsman::domain::incident::{
    self, Delivery, Event, IncidentId, Input, IssueKind, MessageKind, OpenRequest, Opener, Policy, Severity,
};
use pointsman::domain::run::{self, GateRef, Outcome, Reading};
use pointsman::domain::{
    ChannelId, IssueRef, MessageId, MessageKey, MessageRef, ParameterName, Person, Plan, RunId, RunbookName, StepName, StreamId,
    Timestamp, UserId,
};
use pointsman::engine::{
    Chat, Dossier, Engine, Freshness, IncidentChat, IncidentSnapshot, Job, JobSink, Mark, Outside, Pace, Performer, Place,
    PlanProblem, Planning, Policies, PortError, Ports, Snapshot, Tracker,
};
use pointsman::store::{self, Holder, NewRecord, SharedJournal};

/// Lateness of the incidents' status updates.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Open incidents, their updates due at moments spread over the cadence.
    #[arg(long, default_value_t = 10_000)]
    incidents: u32,
    /// How many times as fast as the wall's the incidents' time runs.
    #[arg(long, default_value_t = 20)]
    speed: u32,
    /// For how long, in minutes of the incidents' time.
    #[arg(long, default_value_t = 60)]
    minutes: i64,
    /// How often the bot is killed and started again.
    #[arg(long, default_value_t = 3)]
    restarts: u32,
    /// For how long it is away each time, in minutes of the incidents' time.
    #[arg(long, default_value_t = 5)]
    away: i64,
    /// Given by `cargo bench`; means nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The severity whose cadence is fifteen minutes.
const SEVERITY: Severity = Severity::Sev1;
/// An update that falls due this close to the end need not have become visible before it.
const MARGIN: TimeDelta = TimeDelta::minutes(2);

fn main() {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&arguments));
}

async fn measure(arguments: &Arguments) {
    let folder = tempfile::tempdir().unwrap();
    let journal = store::open(&format!("sqlite:{}", folder.path().join("journal.db").display()).into()).await.unwrap();
    let clock = ScaledClock::new(clock::wall_now(), arguments.speed);
    let opened = prepare(&journal, arguments.incidents, clock.now()).await;
    println!("{} open incidents, an update each every 15 minutes, {} times as fast as the wall", opened.len(), arguments.speed);

    let heard = Arc::new(Heard::default());
    let begin = clock.now();
    let part = TimeDelta::minutes(arguments.minutes) / i32::try_from(arguments.restarts + 1).unwrap();
    let mut outages = Vec::new();
    for life in 0..=arguments.restarts {
        let engine = start(&journal, &clock, &heard).await;
        let end = begin + part * i32::try_from(life + 1).unwrap();
        clock.sleep_until(end).await;
        if life < arguments.restarts {
            // Dropped without ceremony, as a crash would; what it had begun to say may or may not have been heard.
            drop(engine);
            let gone = clock.now();
            clock.sleep_until(gone + TimeDelta::minutes(arguments.away)).await;
            outages.push((gone, clock.now()));
        } else {
            let end = clock.now();
            engine.shut_down().await;
            report(&opened, &heard.take(), begin, end, &outages);
        }
    }
}

/// Journals the incidents as a bot would have: opened, with a channel and a card, acknowledged; their openings spread
/// over the cadence before `now`.
async fn prepare(journal: &SharedJournal, count: u32, now: Timestamp) -> BTreeMap<IncidentId, Timestamp> {
    let lease = journal.acquire_lease(&dead_holder(), Duration::from_secs(600)).await.unwrap();
    let cadence = TimeDelta::minutes(15);
    let mut opened = BTreeMap::new();
    for number in 0..count {
        // Whole milliseconds, as the journal keeps them.
        let spread = cadence.num_milliseconds() * i64::from(number) / i64::from(count);
        let at = (now - cadence + TimeDelta::milliseconds(spread)).trunc_subsecs(3);
        let day = at.date_naive() - chrono::Days::new(u64::from(number / incident::NUMBER_MAX));
        let id = IncidentId::new(day, number % incident::NUMBER_MAX + 1).unwrap();
        let person = Person { id: UserId::new(1), name: "Olga".to_owned(), roles: BTreeSet::new(), bot: false };
        let request = OpenRequest {
            title: format!("Something is wrong with service {number}"),
            severity: SEVERITY,
            by: Opener::Person(person.clone()),
            customer_facing: false,
            private: false,
            asked_in: None,
            run: None,
        };
        let mut events = incident::open(id, Policy::default(), request).unwrap();
        let mut state = incident::begin(at, &events[0]).unwrap();
        let channel = ChannelId::new(u64::from(number) + 1);
        let card = MessageRef { channel, message: MessageId::new(u64::from(number) + 1) };
        let told = [
            Input::ChannelOpened { channel, fallback: None },
            Input::MessagePosted(MessageKey::new("summary"), card),
            Input::SummaryPinned(card),
            Input::Paged { level: 0, outcome: Delivery::NotConfigured },
            Input::Acknowledge { by: person },
        ];
        for input in told {
            for event in incident::decide(&state, at, input).unwrap() {
                state = incident::evolve(state, at, &event).unwrap();
                events.push(event);
            }
        }
        let note = state.owed.iter().find(|owed| owed.posted.is_none()).map(|owed| owed.key.clone()).unwrap();
        events.push(Event::MessagePosted { key: note, message: card });
        let record = |event: &Event| NewRecord {
            at,
            kind: incident::kind_of(event).to_owned(),
            body: serde_json::to_string(event).unwrap(),
        };
        let records: Vec<NewRecord> = events.iter().map(record).collect();
        let stream = StreamId::new("incident", &id.to_string()).unwrap();
        journal.append(lease.fence(), &stream, 0, &records).await.unwrap();
        opened.insert(id, at);
    }
    journal.release_lease(&lease).await.unwrap();
    opened
}

/// A process of this machine that is proven dead: its id is greater than any that Linux gives.
fn dead_holder() -> Holder {
    Holder { pid: 2_147_483_647, ..Holder::this_process() }
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

/// One update as it was heard.
struct Beat {
    incident: IncidentId,
    due: Timestamp,
    missed: u32,
    at: Timestamp,
}

fn report(
    opened: &BTreeMap<IncidentId, Timestamp>,
    heard: &[Beat],
    begin: Timestamp,
    end: Timestamp,
    outages: &[(Timestamp, Timestamp)],
) {
    let cadence = TimeDelta::minutes(15);
    let (mut unsaid, mut doubled, mut expected) = (0_u64, 0_u64, 0_u64);
    let mut said: BTreeMap<(IncidentId, Timestamp), u32> = BTreeMap::new();
    for beat in heard {
        for number in 0..=beat.missed {
            *said.entry((beat.incident, beat.due + cadence * i32::try_from(number).unwrap())).or_default() += 1;
        }
    }
    for (incident, at) in opened {
        let mut due = *at + cadence;
        while due < end - MARGIN {
            expected += 1;
            match said.get(&(*incident, due)).copied().unwrap_or(0) {
                0 => unsaid += 1,
                1 => {}
                _ => doubled += 1,
            }
            due += cadence;
        }
    }
    // What fell due while the bot was away cannot be punctual: it is told apart.
    let away = |due: Timestamp| due < begin || outages.iter().any(|(gone, back)| *gone <= due && due < *back);
    let lateness = |wanted: bool| {
        let chosen = heard.iter().filter(|beat| away(beat.due) == wanted);
        let mut lateness: Vec<f64> = chosen.map(|beat| (beat.at - beat.due).as_seconds_f64()).collect();
        lateness.sort_by(f64::total_cmp);
        lateness
    };
    println!("updates due {expected}, messages {}, unsaid {unsaid}, doubled {doubled}", heard.len());
    println!("{:<34} {:>8} {:>9} {:>9} {:>9} {:>9}", "lateness in seconds", "messages", "p50", "p95", "p99", "max");
    for (title, values) in [("due while the bot was running", lateness(false)), ("due while it was away", lateness(true))] {
        let at = |share: f64| values.get(((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1))).copied();
        let show = |share| at(share).map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"));
        println!("{title:<34} {:>8} {:>9} {:>9} {:>9} {:>9}", values.len(), show(0.5), show(0.95), show(0.99), show(1.0));
    }
    let bytes = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = bytes.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned();
    println!("peak memory of the whole bench: {peak}");
    assert_eq!((unsaid, doubled), (0, 0), "an update was left unsaid or said twice");
}

/// A chat that remembers what it was told. A message that was posted before is found again, as in Discord.
#[derive(Default)]
struct Heard {
    inner: Mutex<HeardInner>,
}

#[derive(Default)]
struct HeardInner {
    beats: Vec<Beat>,
    places: BTreeMap<(IncidentId, String), MessageRef>,
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

    async fn post_to_incident(
        &self,
        incident: &IncidentSnapshot,
        key: &MessageKey,
        search: bool,
    ) -> Result<MessageRef, PortError> {
        let id = *incident.state.id();
        let mut inner = self.inner.lock().unwrap();
        if let Some(at) = inner.places.get(&(id, key.to_string())).filter(|_| search) {
            return Ok(*at);
        }
        let owed = incident.state.owed.iter().find(|owed| owed.key == *key).unwrap();
        if let MessageKind::Beat { due, missed } = owed.kind {
            inner.beats.push(Beat { incident: id, due, missed, at: incident.now });
        }
        let message = MessageId::new(inner.places.len() as u64 + 1_000_000);
        let at = MessageRef { channel: incident.state.channel.unwrap(), message };
        inner.places.insert((id, key.to_string()), at);
        Ok(at)
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

    async fn post(&self, _: &Snapshot, _: &MessageKey, _: bool) -> Result<MessageRef, PortError> {
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

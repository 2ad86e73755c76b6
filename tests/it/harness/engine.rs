//! A whole engine over a real journal, with chat, actions and time in the test's hands.
//!
//! A [`Bench`] is the world that outlives the process: journal, chat, effects, time. A [`Life`] is one process: a
//! runtime of its own, killed by dropping it with everything that goes on in it. The next life finds the lease of a
//! holder that is proven dead, as after `kill -9`.

use std::sync::Arc;
use std::time::Duration;

use pointsman::clock::{Clock as _, CountingIds, FakeClock};
use pointsman::domain::run::{
    self, Actor, Answer, End, Event, GateRef, Input, ListRef, Mode, QuestionKind, State, StepStatus, Vote, pending,
};
use pointsman::domain::{ChannelId, MessageRef, Person, RunId, RunbookName, StepKind, StreamId, Timestamp, UserId};
use pointsman::engine::{
    Engine, EngineError, Handle, Hint, Pace, Policies, Ports, RunPolicy, Runs as _, SendError, Snapshot, StartError, StartOrder,
    Tracker,
};
use pointsman::store::{self, Holder, SharedJournal, audit};
use secrecy::SecretString;

use super::chat::{ChatWorld, FakeChat};
use super::incident_chat::{FakeIncidentChat, IncidentWorld};
use super::journal::{Faults, TestJournal};
use super::performer::{EffectWorld, FakePerformer};
use super::planning::FakePlanning;
use super::points::Points;
use super::postgres::TestDatabase;

/// The instant at which every bench begins.
pub(crate) fn at(secs: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap()
}

pub(crate) fn person(id: u64, name: &str, roles: &[&str]) -> Person {
    let roles = roles.iter().map(|role| role.parse().unwrap()).collect();
    Person { id: UserId::new(id), name: name.to_owned(), roles, bot: false }
}

pub(crate) fn requester() -> Person {
    person(1, "Ada", &["operator", "dba"])
}

pub(crate) fn dba() -> Person {
    person(2, "Grace", &["dba"])
}

pub(crate) fn lead() -> Person {
    person(3, "Edsger", &["operations_lead", "break_glass"])
}

pub(crate) fn operator() -> Person {
    person(4, "Barbara", &["operator"])
}

/// A gate, an armed rollback, and a step for everything that an interruption can mean.
pub(crate) const MOVE: &str = r#"{
  "runbook": "move", "title": "Move", "version": "1", "owner": "us", "kind": "migration",
  "lock": "db", "window": "4h", "grace": "5m",
  "phases": [
    { "phase": "prepare", "on_failure": "ask", "steps": [
      { "step": "look", "title": "Look", "action": "look.at" },
      { "step": "copy", "title": "Copy", "action": "act.resume" } ] },
    { "phase": "cutover", "on_failure": "rollback runtime",
      "gate": { "sign_off": { "dba": 1, "operations_lead": 1 }, "also_arms": "runtime", "expires": "30m",
                "go": [ { "expect": "true", "says": "all is well" } ] },
      "steps": [
        { "step": "switch", "title": "Switch", "action": "act.ask" },
        { "step": "tell", "title": "Tell", "action": "act.probe" },
        { "step": "smoke", "title": "Smoke", "action": "look.at" } ] }
  ],
  "rollback": {
    "runtime": { "target": "5m", "allow": ["operator"], "sign_off": { "operations_lead": 1 }, "steps": [
      { "step": "switch-back", "title": "Switch back", "action": "act.probe" } ] }
  },
  "afterwards": [ { "item": "Tell everybody", "owner": "operations_lead" } ]
}"#;

/// One step that changes something, and nothing else.
pub(crate) const TINY: &str = r#"{
  "runbook": "tiny", "title": "Tiny", "version": "1", "owner": "us", "kind": "operation",
  "lock": "tiny", "window": "1h",
  "phases": [ { "phase": "only", "steps": [ { "step": "poke", "title": "Poke", "action": "act.probe" } ] } ]
}"#;

/// People, time and a list, and no action but the last.
pub(crate) const HUMAN: &str = r#"{
  "runbook": "human", "title": "Human", "version": "1", "owner": "us", "kind": "operation",
  "lock": "human", "window": "4h",
  "phases": [ { "phase": "only", "steps": [
    { "step": "settle", "title": "Settle", "action": "wait.for", "with": { "duration": "5m" } },
    { "step": "agree", "title": "Agree", "action": "human.confirm", "with": { "question": "Shall we?", "owner": "dba" } },
    { "step": "list", "title": "List", "action": "human.checklist",
      "with": { "items": [ { "item": "one", "owner": "dba" }, { "item": "two", "owner": "operations_lead" } ] } },
    { "step": "poke", "title": "Poke", "action": "act.ask" } ] } ]
}"#;

/// Makes what publishes issues in one life, which may be killed at these moments.
pub(crate) type MakeTracker = Box<dyn Fn(Arc<Points>) -> Arc<dyn Tracker>>;

/// The world that outlives the engine.
pub(crate) struct Bench {
    pub(crate) chat: Arc<ChatWorld>,
    pub(crate) incidents: Arc<IncidentWorld>,
    pub(crate) effects: Arc<EffectWorld>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) planning: Arc<FakePlanning>,
    pub(crate) clock: FakeClock,
    pub(crate) pace: Pace,
    /// Neither beat nor incidents for runs, unless a test wants them.
    pub(crate) policies: Policies,
    /// What publishes issues, made anew for each life; `None`: `incidents` keeps them.
    pub(crate) tracker: Option<MakeTracker>,
    ids: Arc<CountingIds>,
    url: SecretString,
    _folder: Option<tempfile::TempDir>,
}

impl Bench {
    /// A bench over a SQLite journal of its own.
    pub(crate) fn new() -> Self {
        // In memory where there is such a place: some tests open a journal a thousand times.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let url = format!("sqlite:{}", folder.path().join("journal.db").display());
        Self::over(url, Some(folder))
    }

    /// A bench over a PostgreSQL journal of its own.
    pub(crate) fn postgres() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = runtime.block_on(TestDatabase::new());
        Self::over(database.url, None)
    }

    fn over(url: String, folder: Option<tempfile::TempDir>) -> Self {
        let planning = FakePlanning::default();
        for runbook in [MOVE, TINY, HUMAN] {
            planning.add(runbook);
        }
        let pace = Pace {
            gate_every: Duration::from_secs(300),
            refresh_every: Duration::from_millis(1),
            retry_first: Duration::from_secs(2),
            retry_max: Duration::from_secs(120),
            ..Pace::default()
        };
        Self {
            chat: Arc::default(),
            incidents: Arc::default(),
            effects: Arc::default(),
            faults: Arc::default(),
            planning: Arc::new(planning),
            clock: FakeClock::at(at(0)),
            pace,
            policies: Policies { runs: RunPolicy { beat: None, incident: None }, ..Policies::default() },
            tracker: None,
            ids: Arc::default(),
            url: url.into(),
            _folder: folder,
        }
    }

    /// One life of the bot, killed at the `kill_at`-th moment or at the end of the script.
    /// `None` if it was killed before the script's end; and how many moments it lived through.
    pub(crate) fn live<T>(&self, kill_at: Option<usize>, script: impl AsyncFnOnce(&Life<'_>) -> T) -> (Option<T>, Arc<Points>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let points = Arc::new(Points::new(kill_at));
        let life = async {
            let life = self.start(&points, &dead_holder()).await.expect("the engine starts");
            script(&life).await
        };
        let result = runtime.block_on(async {
            tokio::select! {
                biased;
                () = points.killed() => None,
                result = life => Some(result),
            }
        });
        runtime.shutdown_background();
        (result, points)
    }

    /// A life that is not killed before its script ends.
    pub(crate) fn whole_life<T>(&self, script: impl AsyncFnOnce(&Life<'_>) -> T) -> T {
        self.live(None, script).0.expect("nothing kills it")
    }

    pub(crate) async fn start(&self, points: &Arc<Points>, holder: &Holder) -> Result<Life<'_>, EngineError> {
        let (ports, journal) = self.ports(points).await;
        let engine = Engine::start(ports, Arc::clone(&self.planning) as _, self.pace, holder).await?;
        Ok(Life { handle: engine.handle(), engine, bench: self, journal })
    }

    /// A process that lives for one run.
    pub(crate) async fn start_for(&self, run: &RunId) -> Life<'_> {
        let (ports, journal) = self.ports(&Arc::new(Points::new(None))).await;
        let planning = Arc::clone(&self.planning) as _;
        let engine = Engine::start_for(run, ports, planning, self.pace, &dead_holder()).await.expect("the engine starts");
        Life { handle: engine.handle(), engine, bench: self, journal }
    }

    /// What an engine needs, and the journal without points and faults.
    async fn ports(&self, points: &Arc<Points>) -> (Ports, SharedJournal) {
        let inner = store::open(&self.url).await.expect("the journal opens");
        let (chat, points) = (Arc::clone(&self.chat), Arc::clone(points));
        let performer =
            FakePerformer { world: Arc::clone(&self.effects), points: Arc::clone(&points), journal: Arc::clone(&inner) };
        let incidents = Arc::new(FakeIncidentChat { world: Arc::clone(&self.incidents), points: Arc::clone(&points) });
        let journal = TestJournal { inner: Arc::clone(&inner), points: Arc::clone(&points), faults: Arc::clone(&self.faults) };
        let tracker: Arc<dyn Tracker> = match &self.tracker {
            Some(make) => make(Arc::clone(&points)),
            None => incidents.clone(),
        };
        let ports = Ports {
            journal: Arc::new(journal),
            clock: Arc::new(self.clock.clone()),
            ids: Arc::clone(&self.ids) as _,
            chat: Arc::new(FakeChat { world: chat, points }),
            performer: Arc::new(performer),
            incident_chat: incidents.clone(),
            outside: incidents,
            tracker,
            policies: self.policies.clone(),
        };
        (ports, inner)
    }
}

/// A process of this machine that is proven dead: its id is greater than any that Linux gives.
pub(crate) fn dead_holder() -> Holder {
    Holder { pid: 2_147_483_647, ..Holder::this_process() }
}

/// One process.
pub(crate) struct Life<'a> {
    pub(crate) engine: Engine,
    pub(crate) handle: Handle,
    pub(crate) bench: &'a Bench,
    /// The journal without points and faults.
    pub(crate) journal: SharedJournal,
}

/// How often every other task gets its turn before nothing more is expected of them.
const ROUNDS: usize = 20;

/// What a person does.
#[derive(Debug)]
pub(crate) enum Deed {
    React(MessageRef, Person, Vote),
    Send(Box<Input>),
}

/// What people do when they see this; they look again after every deed.
pub(crate) type People<'p> = &'p dyn Fn(&Bench, &Snapshot) -> Option<Deed>;

/// More steps than any test's history takes.
const DEEDS_MAX: usize = 2_000;

impl Life<'_> {
    /// The order for a run.
    pub(crate) fn order(&self, runbook: &str, mode: Mode) -> StartOrder {
        let runbook: RunbookName = runbook.parse().unwrap();
        let (requester, channel) = (requester(), ChannelId::new(5));
        StartOrder { runbook, parameters: indexmap::IndexMap::new(), mode, at: None, requester, channel }
    }

    pub(crate) async fn try_start(&self, runbook: &str, mode: Mode) -> Result<RunId, StartError> {
        self.handle.start(self.order(runbook, mode)).await
    }

    /// Starts a run and waits until nothing goes on.
    pub(crate) async fn begin(&self, runbook: &str, mode: Mode) -> RunId {
        let run = self.try_start(runbook, mode).await.expect("the run starts");
        self.settle().await;
        run
    }

    /// Returns when nothing goes on any more except attempts that hang.
    pub(crate) async fn settle(&self) {
        loop {
            tokio::select! {
                biased;
                () = self.handle.idle() => {
                    if self.stays_idle().await {
                        return;
                    }
                    continue;
                }
                () = self.bench.effects.hung() => {}
            }
            // A hanging attempt counts as activity: what else goes on cannot be told from it, but is over soon.
            if tokio::time::timeout(Duration::from_millis(50), self.handle.idle()).await.is_err()
                && self.bench.effects.hanging() > 0
            {
                return;
            }
        }
    }

    /// Whether nothing begins either when every task that can has run. A task that goes on to wait for time does not
    /// count as activity, and must have begun its wait before the clock is moved.
    async fn stays_idle(&self) -> bool {
        for _ in 0..ROUNDS {
            tokio::task::yield_now().await;
            if futures_util::FutureExt::now_or_never(self.handle.idle()).is_none() {
                return false;
            }
        }
        true
    }

    pub(crate) fn snapshot(&self, run: &RunId) -> Snapshot {
        self.handle.snapshot(run).expect("the engine knows the run")
    }

    pub(crate) fn state(&self, run: &RunId) -> Arc<State> {
        self.snapshot(run).state
    }

    /// Hands an input in, and waits until nothing goes on.
    pub(crate) async fn send(&self, run: &RunId, input: Input) -> Result<(), SendError> {
        let result = self.handle.send(run, input).await;
        self.settle().await;
        result
    }

    /// Awaits something that may have to wait for the engine's clock, which goes on meanwhile.
    pub(crate) async fn while_time_passes<T>(&self, something: impl Future<Output = T>) -> T {
        let time = async {
            loop {
                self.advance(1).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            done = something => done,
            () = time => unreachable!("time does not end"),
        }
    }

    /// Moves the time, and waits until nothing goes on.
    pub(crate) async fn advance(&self, secs: u64) {
        let until = self.bench.clock.now() + chrono::TimeDelta::seconds(i64::try_from(secs).unwrap());
        while let Some(next) = self.bench.clock.next_deadline().filter(|next| *next <= until) {
            self.bench.clock.set(next.max(self.bench.clock.now()));
            tokio::task::yield_now().await;
            self.settle().await;
        }
        self.bench.clock.set(until);
        self.settle().await;
    }

    /// Lets time pass and people act until the run owes nothing any more.
    pub(crate) async fn play(&self, run: &RunId, people: People<'_>) {
        for _ in 0..DEEDS_MAX {
            self.settle().await;
            let snapshot = self.snapshot(run);
            if snapshot.state.end.is_some() && pending(&snapshot.state).is_empty() {
                return;
            }
            match people(self.bench, &snapshot) {
                Some(Deed::React(at, person, vote)) => {
                    self.bench.chat.react(at, &person, vote);
                    self.handle.hint(Hint::Reactions { channel: at.channel, message: at.message });
                }
                Some(Deed::Send(input)) => drop(self.handle.send(run, *input).await),
                None => {
                    let next = self.bench.clock.next_deadline().expect("the engine always looks again some time");
                    self.bench.clock.set(next.max(self.bench.clock.now()));
                    tokio::task::yield_now().await;
                }
            }
        }
        let status = self.state(run).status(self.bench.clock.now());
        panic!("the run never ends: {status:?}, after {:?}", self.kinds(run).await);
    }

    /// A gate's card as it stands in chat.
    pub(crate) fn card(&self, run: &RunId, gate: &GateRef) -> MessageRef {
        card(&self.snapshot(run), gate).expect("the card is posted")
    }

    /// A person reacts and the gateway tells.
    pub(crate) async fn react(&self, at: MessageRef, person: &Person, vote: Vote) {
        self.bench.chat.react(at, person, vote);
        self.handle.hint(Hint::Reactions { channel: at.channel, message: at.message });
        self.settle().await;
    }

    /// The events of a run as the journal holds them.
    pub(crate) async fn events(&self, run: &RunId) -> Vec<Event> {
        let stream = StreamId::new("run", run.as_str()).unwrap();
        let records = self.journal.load(&stream).await.unwrap();
        records.iter().map(|record| serde_json::from_str(&record.body).unwrap()).collect()
    }

    /// The names of a run's events.
    pub(crate) async fn kinds(&self, run: &RunId) -> Vec<&'static str> {
        self.events(run).await.iter().map(run::kind_of).collect()
    }

    /// What must hold of every run at any time: the journal is intact and folds to what the engine shows, nothing
    /// was done before it was journalled, and nothing is visible twice.
    pub(crate) async fn expect_sound(&self, run: &RunId) {
        assert!(audit::verify(&*self.journal, None).await.unwrap().is_intact());
        let stream = StreamId::new("run", run.as_str()).unwrap();
        let mut state: Option<State> = None;
        for record in self.journal.load(&stream).await.unwrap() {
            let event: Event = serde_json::from_str(&record.body).unwrap();
            state = Some(match state {
                None => run::begin(record.at, &event).unwrap(),
                Some(state) => run::evolve(state, record.at, &event).unwrap(),
            });
        }
        assert_eq!(state.as_ref(), Some(&*self.state(run)));
        assert_eq!(self.bench.effects.violations(), Vec::<String>::new());
        assert_eq!(self.handle.stuck(), []);
        for message in self.bench.chat.visible() {
            let copies = self.bench.chat.copies(&message.run, message.key.as_str()).len();
            assert_eq!(copies, 1, "{} is visible {copies} times", message.key);
        }
    }

    /// What must hold of a run that owes nothing any more: everything that it owed is visible.
    pub(crate) async fn expect_settled(&self, run: &RunId) {
        self.expect_sound(run).await;
        let state = self.state(run);
        for owed in &state.owed {
            let copies = self.bench.chat.copies(run, owed.key.as_str());
            assert_eq!(copies.first().map(|copy| copy.at), owed.posted, "{} is not where the journal says", owed.key);
            assert_eq!(copies.len(), 1, "{} is missing", owed.key);
        }
    }
}

/// Where a gate's present card stands.
pub(crate) fn card(snapshot: &Snapshot, gate: &GateRef) -> Option<MessageRef> {
    let card = snapshot.state.gates.get(gate)?.card;
    let wanted = run::MessageKind::GateCard { gate: gate.clone(), card };
    snapshot.state.owed.iter().find(|owed| owed.kind == wanted)?.posted
}

/// The gate before the phase `cutover`.
pub(crate) fn cutover() -> GateRef {
    GateRef::Phase("cutover".parse().unwrap())
}

/// People who want the run to succeed: they sign, answer truthfully, tick, and close.
pub(crate) fn team(bench: &Bench, snapshot: &Snapshot) -> Option<Deed> {
    signatures(bench, snapshot).or_else(|| chores(bench, snapshot))
}

/// The signatures that an open card still lacks.
pub(crate) fn signatures(bench: &Bench, snapshot: &Snapshot) -> Option<Deed> {
    let (gate, _) = snapshot.state.open_gate().filter(|_| !snapshot.state.is_dry_run())?;
    let at = card(snapshot, gate)?;
    let message = bench.chat.visible().into_iter().find(|message| message.at == at)?;
    let signer = [dba(), lead()].into_iter().find(|signer| !message.reactions.contains(&(signer.id, Vote::Sign)))?;
    Some(Deed::React(at, signer, Vote::Sign))
}

/// Everything that people do but sign.
pub(crate) fn chores(bench: &Bench, snapshot: &Snapshot) -> Option<Deed> {
    let state = &snapshot.state;
    let send = |input| Some(Deed::Send(Box::new(input)));
    let reason = || "as the test wants it".to_owned();
    if let Some(question) = &state.question {
        let answer = match &question.kind {
            QuestionKind::UnknownOutcome { step, attempt, .. } => {
                let took = bench.effects.attempts(state.id(), step.as_str()).contains(attempt);
                if took { Answer::Happened } else { Answer::DidNotHappen }
            }
            QuestionKind::Late { .. } => Answer::Proceed,
            QuestionKind::StepFailed { .. } => Answer::Stop,
        };
        let by = [dba(), lead(), operator()].into_iter().find(|person| person.holds_any(&question.answerers));
        // A runbook without gate and rollback names nobody who may answer; the test gives somebody any role.
        return send(Input::Answer { question: question.id, answer, reason: reason(), by: by.unwrap_or_else(dba) });
    }
    if state.end.is_some() {
        return None;
    }
    if let Some(closing) = &state.closing {
        let ticked = state.is_ticked(&ListRef::Afterwards) || closing.end != End::Succeeded;
        let tick = Input::TickItem { list: ListRef::Afterwards, item: 0, ticked: true, by: lead() };
        return send(if ticked { Input::Close { by: lead(), reason: reason() } } else { tick });
    }
    human_steps(state).map(|input| Deed::Send(Box::new(input)))
}

fn human_steps(state: &State) -> Option<Input> {
    let running = state.steps.iter().filter(|(_, step)| matches!(step.status, StepStatus::Running(_)));
    running.filter(|_| !state.is_dry_run()).find_map(|(step, _)| match state.kind(step) {
        StepKind::Action | StepKind::Wait => None,
        StepKind::Confirm => Some(Input::Confirm { step: step.clone(), yes: true, by: dba() }),
        StepKind::Checklist => {
            let list = ListRef::Step(step.clone());
            let ticked = state.ticked.get(&list);
            let item = (0..2).find(|item| ticked.is_none_or(|ticked| !ticked.contains_key(item)))?;
            let by = if item == 0 { dba() } else { lead() };
            Some(Input::TickItem { list, item, ticked: true, by })
        }
    })
}

/// Somebody asks for the way back.
pub(crate) fn roll_back(by: Person) -> Input {
    Input::Rollback { rollback: None, by: Actor::Person(by), reason: "as the test wants it".to_owned() }
}

//! What stands in for the engine and the catalog.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use indexmap::IndexMap;
use pointsman::actions::Registry;
use pointsman::catalog::{Catalog, CheckContext};
use pointsman::discord::interactions;
use pointsman::domain::command::Command;
use pointsman::domain::incident::{self, IncidentId, OpenRequest, Policy};
use pointsman::domain::run::{
    GateRef, Input, MessageKey, Mode, Reading, StartRequest, State, Verdict, begin, decide, evolve, start,
};
use pointsman::domain::runbook::Runbook;
use pointsman::domain::{
    ChannelId, Interruption, MessageRef, ParameterName, Person, Plan, RoleId, RoleName, RunId, RunbookName, StepKind, StepTraits,
    Timestamp, UserId,
};
use pointsman::engine::{
    Dossier, Hint, IncidentError, IncidentSnapshot, Incidents, PlanProblem, Planning, RunSummary, Runs, SendError, Snapshot,
    StartError, StartOrder, Stuck, StuckIncident,
};
use pointsman::sandbox::discord::Model;
use tokio::sync::Notify;

const RUNBOOK: &str = include_str!("../../fixtures/discord/runbook.json");

pub(super) fn start_instant() -> Timestamp {
    chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("a valid instant")
}

pub(super) fn runbook() -> Runbook {
    serde_json::from_str(RUNBOOK).expect("the fixture is a runbook")
}

/// A person of the model, with these roles.
pub(super) fn person(model: &Model, name: &str, roles: &[&str]) -> Person {
    let roles = roles.iter().map(|role| role.parse().expect("a name")).collect();
    Person { id: UserId::new(model.user(name).get()), name: name.to_owned(), roles, bot: false }
}

/// What the registry would say of an action.
fn traits(action: &str) -> StepTraits {
    let kind = match action {
        "human.confirm" => StepKind::Confirm,
        "human.checklist" => StepKind::Checklist,
        _ => StepKind::Action,
    };
    StepTraits { kind, effect: kind == StepKind::Action, interruption: Interruption::Ask, late: vec![] }
}

/// A run that is driven by hand.
pub(super) struct Play {
    pub(super) state: State,
    pub(super) now: Timestamp,
}

impl Play {
    pub(super) fn begin(model: &Model, roles: &BTreeMap<RoleName, Vec<RoleId>>) -> Self {
        Self::of(model, roles, runbook())
    }

    /// The same of another runbook.
    pub(super) fn of(model: &Model, roles: &BTreeMap<RoleName, Vec<RoleId>>, runbook: Runbook) -> Self {
        let steps = runbook.all_steps().map(|step| (step.step.clone(), traits(step.action.as_str()))).collect();
        let plan = Plan {
            lock: runbook.lock.clone(),
            runbook,
            parameters: IndexMap::new(),
            steps,
            roles: roles.clone(),
            files: BTreeMap::new(),
            targets: BTreeMap::new(),
        };
        let request = StartRequest {
            run: RunId::from_random(7),
            mode: Mode::Live,
            requester: person(model, "olivia", &["operator"]),
            channel: ChannelId::new(model.channel("ops").get()),
            plan,
            at: None,
            held_by: None,
            unreadable: None,
            rehearsal: None,
            beat: None,
            opens_incident: None,
            incident: None,
        };
        let now = start_instant();
        let events = start(now, request).expect("it may start");
        let mut play = Self { state: begin(now, &events[0]).expect("a first event"), now };
        play.put(Input::Tick);
        play
    }

    pub(super) fn put(&mut self, input: Input) {
        for event in decide(&self.state, self.now, input).expect("it is allowed") {
            self.state = evolve(self.state.clone(), self.now, &event).expect("it follows");
        }
    }

    pub(super) fn later(&mut self, secs: i64) {
        self.now += chrono::TimeDelta::seconds(secs);
        self.put(Input::Tick);
    }

    pub(super) fn succeed(&mut self, step: &str) {
        let step: pointsman::domain::StepName = step.parse().expect("a name");
        let attempt = self.state.step(&step).attempts;
        let outcome = pointsman::domain::run::Outcome::Succeeded {
            result: serde_json::json!({}),
            simulated: false,
            checks: vec![],
            output: None,
        };
        self.put(Input::StepFinished(step, attempt, outcome));
    }

    /// Goes on to the open gate before the cutover.
    pub(super) fn go_to_gate(&mut self) -> MessageKey {
        self.succeed("look");
        self.succeed("copy");
        let by = Person { roles: ["operator".parse().expect("a name")].into(), ..self.state.started.requester.clone() };
        self.put(Input::Confirm { step: "tell".parse().expect("a name"), yes: true, by });
        self.later(700);
        let gate = GateRef::Phase("cutover".parse().expect("a name"));
        let reading = Reading { says: "all is well".to_owned(), measured: String::new(), verdict: Verdict::Green };
        self.put(Input::GateMeasured { gate: gate.clone(), card: 1, readings: vec![reading] });
        let kind = pointsman::domain::run::MessageKind::GateCard { gate, card: 1 };
        self.state.owed.iter().find(|owed| owed.kind == kind).expect("the card is owed").key.clone()
    }

    pub(super) fn posted(&mut self, key: &MessageKey, at: MessageRef) {
        self.put(Input::MessagePosted(key.clone(), at, u32::MAX));
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { state: Arc::new(self.state.clone()), head: "ab".repeat(32), progress: vec![], now: self.now }
    }
}

/// What the fake engine was told.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) orders: Vec<StartOrder>,
    pub(super) inputs: Vec<(RunId, Input)>,
    pub(super) hints: Vec<Hint>,
    pub(super) run: Option<Snapshot>,
    pub(super) stuck: Vec<Stuck>,
    pub(super) stuck_incidents: Vec<StuckIncident>,
    /// Every incident, in the order of their opening.
    pub(super) incidents: Vec<incident::State>,
    /// What belongs to each incident besides `run`.
    pub(super) linked: Vec<Snapshot>,
}

impl Seen {
    /// Hands an input to an incident, by the rules of the domain.
    pub(super) fn put(&mut self, id: &IncidentId, input: incident::Input) -> Result<(), IncidentError> {
        let now = start_instant();
        let state = self.incidents.iter_mut().find(|state| state.id() == id).ok_or(IncidentError::Unknown)?;
        for event in incident::decide(state, now, input)? {
            *state = incident::evolve(state.clone(), now, &event).expect("it follows");
        }
        Ok(())
    }

    fn incident(&self, state: &incident::State) -> IncidentSnapshot {
        let all = self.run.iter().chain(&self.linked);
        let runs = all.filter(|run| run.state.incident == Some(*state.id()) || state.run() == Some(run.state.id()));
        IncidentSnapshot {
            state: Arc::new(state.clone()),
            head: "cd".repeat(32),
            runs: runs.cloned().collect(),
            now: start_instant(),
        }
    }

    pub(super) fn reconnected(&self) -> usize {
        self.hints.iter().filter(|hint| **hint == Hint::Reconnected).count()
    }
}

/// Stands in for the engine: takes everything in and refuses what the domain refuses.
#[derive(Debug, Default)]
pub(super) struct Engine {
    seen: Mutex<Seen>,
    changed: Notify,
}

impl Engine {
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        let result = look(&mut self.seen.lock().expect("no test panics in it"));
        self.changed.notify_waiters();
        result
    }

    pub(super) fn show(&self, play: &Play) {
        self.with(|seen| seen.run = Some(play.snapshot()));
    }

    /// Waits until what was told fits.
    pub(super) async fn wait_for(&self, fits: impl Fn(&Seen) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if fits(&self.seen.lock().expect("no test panics in it")) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(super::SOON, wait).await.expect("the bot tells the engine in time");
    }
}

#[async_trait]
impl Runs for Engine {
    async fn start(&self, order: StartOrder) -> Result<RunId, StartError> {
        self.with(|seen| seen.orders.push(order));
        Ok(RunId::from_random(7))
    }

    async fn send(&self, run: &RunId, input: Input) -> Result<(), SendError> {
        let Some(snapshot) = self.snapshot(run) else { return Err(SendError::UnknownRun) };
        decide(&snapshot.state, snapshot.now, input.clone())?;
        self.with(|seen| seen.inputs.push((run.clone(), input)));
        Ok(())
    }

    fn runs(&self) -> Vec<RunSummary> {
        let run = self.with(|seen| seen.run.clone());
        let summary = |snapshot: Snapshot| RunSummary {
            id: snapshot.state.id().clone(),
            runbook: snapshot.state.runbook().runbook.clone(),
            title: snapshot.state.runbook().title.clone(),
            mode: snapshot.state.started.mode,
            status: snapshot.state.status(snapshot.now),
            requester: snapshot.state.started.requester.clone(),
            thread: snapshot.state.thread,
            started_at: snapshot.state.started_at,
            ended: snapshot.state.end.is_some(),
            stuck: None,
            snapshot: Arc::new(snapshot),
        };
        run.map(summary).into_iter().collect()
    }

    fn snapshot(&self, run: &RunId) -> Option<Snapshot> {
        self.with(|seen| seen.run.clone()).filter(|snapshot| snapshot.state.id() == run)
    }

    fn stuck(&self) -> Vec<Stuck> {
        self.with(|seen| seen.stuck.clone())
    }

    fn run_in_thread(&self, thread: ChannelId) -> Option<RunId> {
        let run = self.with(|seen| seen.run.clone())?;
        (run.state.thread == Some(thread)).then(|| run.state.id().clone())
    }

    fn hint(&self, hint: Hint) {
        self.with(|seen| seen.hints.push(hint));
    }
}

#[async_trait]
impl Incidents for Engine {
    async fn open(&self, request: OpenRequest) -> Result<IncidentId, IncidentError> {
        self.with(|seen| {
            let known = seen.incidents.iter().find(|state| request.run.is_some() && state.run() == request.run.as_ref());
            if let Some(known) = known {
                return Ok(*known.id());
            }
            let now = start_instant();
            let id = incident::next_id(now, seen.incidents.iter().map(incident::State::id))?;
            let events = incident::open(id, Policy::default(), request)?;
            seen.incidents.push(incident::begin(now, &events[0]).expect("a first event"));
            Ok(id)
        })
    }

    async fn tell(&self, incident: &IncidentId, input: incident::Input) -> Result<(), IncidentError> {
        self.with(|seen| seen.put(incident, input))
    }

    fn incidents(&self) -> Vec<IncidentSnapshot> {
        self.with(|seen| seen.incidents.iter().rev().map(|state| seen.incident(state)).collect())
    }

    fn incident(&self, incident: &IncidentId) -> Option<IncidentSnapshot> {
        self.with(|seen| seen.incidents.iter().find(|state| state.id() == incident).map(|state| seen.incident(state)))
    }

    fn stuck_incidents(&self) -> Vec<StuckIncident> {
        self.with(|seen| seen.stuck_incidents.clone())
    }

    fn incident_in_channel(&self, channel: ChannelId) -> Option<IncidentId> {
        self.with(|seen| {
            let here = seen.incidents.iter().filter(|state| state.channel == Some(channel));
            here.max_by_key(|state| (state.is_open(), *state.id())).map(|state| *state.id())
        })
    }

    async fn dossier(&self, incident: &IncidentId) -> Result<Dossier, IncidentError> {
        let incident = self.incident(incident).ok_or(IncidentError::Unknown)?;
        Ok(Dossier { incident, histories: vec![], journal_head: "ef".repeat(32) })
    }
}

#[async_trait]
impl Planning for Engine {
    async fn plan(&self, runbook: &RunbookName, _: &IndexMap<ParameterName, String>) -> Result<Plan, PlanProblem> {
        Err(PlanProblem::Unreachable(format!("the database of `{runbook}` does not answer")))
    }

    async fn pin(&self, _: &RunId, _: &Plan) -> Result<(), PlanProblem> {
        Ok(())
    }
}

/// Stands in for the catalog: a few commands of its own, and those about incidents as they are shipped.
pub(super) struct Definitions(Vec<Command>, Vec<Runbook>);

impl Default for Definitions {
    fn default() -> Self {
        let commands = serde_json::json!([
            { "command": "migrate", "help": "Move things", "subcommands": [
                { "name": "start", "help": "Start", "allow": ["operator"], "options": [
                    { "name": "runbook", "type": "runbook", "kinds": ["migration", "cutover"], "required": true },
                    { "name": "at", "type": "instant" },
                    { "name": "mode", "choices": ["live", "dry_run"], "default": "live" } ],
                  "do": { "start_run": { "runbook": "{{ options.runbook }}", "at": "{{ options.at }}", "mode": "{{ options.mode }}" } } },
                { "name": "move", "help": "Move one", "options": [ { "name": "source", "required": true } ],
                  "do": { "start_run": { "runbook": "move-profile", "parameters": { "source_id": "{{ options.source }}", "workers": "2" } } } },
                { "name": "plan", "help": "Plan", "options": [ { "name": "source", "required": true } ],
                  "do": { "plan_run": { "runbook": "move-profile", "parameters": { "source_id": "{{ options.source }}", "workers": "2" } } } },
                { "name": "status", "help": "Status", "options": [ { "name": "run", "type": "run" } ],
                  "do": { "run_status": { "run": "{{ options.run }}" } } },
                { "name": "pause", "help": "Pause", "options": [ { "name": "reason" }, { "name": "run", "type": "run" } ],
                  "do": { "pause_run": { "run": "{{ options.run }}", "reason": "{{ options.reason }}" } } } ] },
            { "command": "break-glass", "help": "Open a gate", "allow": ["operations_lead"],
              "options": [ { "name": "reason", "required": true }, { "name": "run", "type": "run" } ],
              "do": { "break_glass": { "run": "{{ options.run }}", "reason": "{{ options.reason }}" } } },
            { "command": "whoami", "help": "Who am I", "do": "who_am_i" }
        ]);
        let many: IndexMap<String, serde_json::Value> =
            (1..=7).map(|n| (format!("p{n}"), serde_json::json!({ "type": "string", "help": "a value" }))).collect();
        let mut long = serde_json::to_value(runbook()).expect("a runbook is JSON");
        long["runbook"] = "seven".into();
        long["parameters"] = serde_json::to_value(many).expect("a map is JSON");
        let long = serde_json::from_value(long).expect("a runbook");
        let mut look = serde_json::to_value(runbook()).expect("a runbook is JSON");
        look["runbook"] = "look-around".into();
        look["kind"] = "diagnosis".into();
        let look = serde_json::from_value(look).expect("a runbook");
        let mut commands: Vec<Command> = serde_json::from_value(commands).expect("the commands are well-formed");
        commands.extend(shipped(&["incident", "postmortem", "add-to-timeline", "rollback"]));
        Self(commands, vec![runbook(), long, look])
    }
}

fn shipped(names: &[&str]) -> Vec<Command> {
    let none = tempfile::tempdir().expect("a directory");
    let context = CheckContext { actions: Registry::standard().specs(), roles: None };
    let catalog = Catalog::load("commands", none.path(), &context).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let commands = catalog.commands().iter().map(|loaded| loaded.definition.clone());
    commands.filter(|command| names.contains(&command.command.as_str())).collect()
}

#[async_trait]
impl interactions::Definitions for Definitions {
    fn commands(&self) -> Vec<Command> {
        self.0.clone()
    }

    fn runbooks(&self) -> Vec<Runbook> {
        self.1.clone()
    }

    fn page(&self, runbook: &Runbook) -> String {
        format!("# {}", runbook.title)
    }

    async fn reload(&self) -> Result<(), Vec<String>> {
        Err(vec!["commands/x.yaml:1:1: nothing is right".to_owned()])
    }
}

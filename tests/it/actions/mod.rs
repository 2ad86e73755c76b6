//! Actions through the front door: a runbook is planned, its files are pinned, and its steps performed.

mod core;
mod databases;
mod disk;
mod docs;
mod http;
mod kubernetes;
mod moving;
mod plans;
mod postgres;
mod shell;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use indexmap::IndexMap;
use pointsman::actions::process::{ProcessGroup, Spawner};
use pointsman::actions::{
    Actions, PlanError, Planned, Planner, Registry, RunDirectories, SecretSource, Secrets, TargetReader, pin_files,
};
use pointsman::clock::ScaledClock;
use pointsman::domain::run::{Event, Failure, Mode, Outcome, OutputFile, Portion, Reading, Started, State, begin, evolve};
use pointsman::domain::runbook::Runbook;
use pointsman::domain::{ChannelId, Person, Plan, RoleId, RoleName, RunId, Timestamp, UserId};
use pointsman::engine::{Job, JobSink, Performer, Snapshot};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A bot's actions with directories, secrets and definitions of their own.
pub(crate) struct Bench {
    data: tempfile::TempDir,
    definitions: tempfile::TempDir,
    secrets: Vec<(String, SecretSource)>,
    spawner: Spawner,
    clock: ScaledClock,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let directory = || tempfile::tempdir().expect("a directory");
        Self { data: directory(), definitions: directory(), secrets: Vec::new(), spawner: spawner(), clock: ScaledClock::real() }
    }

    /// The same with a clock that runs so many times as fast as the wall.
    pub(crate) fn at_speed(mut self, speed: u32) -> Self {
        self.clock = ScaledClock::new(pointsman::clock::wall_now(), speed);
        self
    }

    pub(crate) fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.push((name.to_owned(), SecretSource::Value(SecretString::from(value))));
        self
    }

    /// Puts a shell script in front of a program of the machine.
    pub(crate) fn in_front_of(mut self, program: &str, script: &str) -> Self {
        let directory = self.place("bin");
        std::fs::create_dir_all(&directory).expect("made");
        let path = directory.join(program);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
        self.spawner = self.spawner.with_variable("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", directory.display()));
        self
    }

    /// A place for files that no run owns.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    pub(crate) fn definition(&self, path: &str, text: &str) {
        let file = self.definitions.path().join(path);
        std::fs::create_dir_all(file.parent().expect("has a parent")).expect("made");
        std::fs::write(file, text).expect("written");
    }

    fn secrets(&self) -> Secrets {
        Secrets::new(self.secrets.clone())
    }

    fn planner(&self) -> Planner {
        Planner::new(Arc::new(Registry::standard()), TargetReader::new(self.secrets(), self.spawner.clone()))
    }

    pub(crate) fn actions(&self) -> Actions {
        let (registry, clock) = (Arc::new(Registry::standard()), Arc::new(self.clock));
        Actions::new(registry, self.directories(), self.secrets(), self.spawner.clone(), clock)
    }

    pub(crate) fn directories(&self) -> RunDirectories {
        RunDirectories::new(self.data.path())
    }

    pub(crate) async fn try_plan(&self, runbook: Value, given: Value) -> Result<Planned, PlanError> {
        let runbook: Runbook = serde_json::from_value(runbook).expect("a runbook");
        let given: IndexMap<_, _> = serde_json::from_value(given).expect("parameters");
        self.planner().plan(&runbook, &given, &roles(), self.definitions.path()).await
    }

    /// Plans a runbook of one phase with these steps, and pins its files.
    pub(crate) async fn run(&self, runbook: Value, given: Value, mode: Mode) -> Run<'_> {
        let planned = self.try_plan(runbook, given).await.expect("a plan");
        let run = Run::new(self, planned.plan, mode);
        pin_files(&self.directories().of(run.state.id()), &planned.files).expect("pinned");
        run
    }

    /// Performs one step of a runbook that has no other.
    pub(crate) async fn one(&self, targets: Value, action: &str, with: Value, mode: Mode) -> Outcome {
        let runbook = runbook(targets, json!([step("it", action, with)]));
        self.run(runbook, json!({}), mode).await.perform("it").await
    }
}

pub(crate) fn spawner() -> Spawner {
    Spawner::new(PathBuf::from(env!("CARGO_BIN_EXE_pointsman")))
}

pub(crate) fn roles() -> BTreeMap<RoleName, Vec<RoleId>> {
    [("dba", 1), ("operations_lead", 2)].map(|(name, id)| (name.parse().expect("a name"), vec![RoleId::new(id)])).into()
}

/// A runbook with one phase.
pub(crate) fn runbook(targets: Value, steps: Value) -> Value {
    json!({
        "runbook": "test", "title": "Test", "version": "1.0.0", "owner": "platform", "kind": "operation",
        "targets": targets, "lock": "test", "window": "1h",
        "phases": [{ "phase": "only", "steps": steps }],
    })
}

pub(crate) fn step(name: &str, action: &str, with: Value) -> Value {
    json!({ "step": name, "title": name, "action": action, "with": with })
}

/// A run, moved on by hand.
pub(crate) struct Run<'a> {
    bench: &'a Bench,
    pub(crate) state: Arc<State>,
    pub(crate) sink: Arc<Seen>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(bench: &'a Bench, plan: Plan, mode: Mode) -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let now = Timestamp::UNIX_EPOCH;
        let requester = Person { id: UserId::new(9), name: "Ada".to_owned(), roles: BTreeSet::new(), bot: false };
        let started = Started {
            run: RunId::from_random(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            mode,
            requester,
            channel: ChannelId::new(5),
            digest: plan.digest(),
            plan,
            t_zero: now,
            starts_at: now,
            window_ends_at: now,
            beat: None,
            opens_incident: None,
            incident: None,
        };
        let state = begin(now, &Event::Started(Box::new(started))).expect("a first event");
        Self { bench, state: Arc::new(state), sink: Arc::default() }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.bench.directories().of(self.state.id()).path().to_owned()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { state: Arc::clone(&self.state), head: String::new(), progress: Vec::new(), now: Timestamp::UNIX_EPOCH }
    }

    pub(crate) fn job(&self, step: &str, attempt: u32) -> Job {
        Job { run: self.snapshot(), step: step.parse().expect("a name"), attempt, resumes: false, former: None }
    }

    pub(crate) async fn perform(&self, step: &str) -> Outcome {
        self.perform_until(step, &CancellationToken::new()).await
    }

    pub(crate) async fn perform_until(&self, step: &str, cancel: &CancellationToken) -> Outcome {
        self.bench.actions().perform(self.job(step, 1), self.sink.clone(), cancel.clone()).await
    }

    /// Performs a step and lets the run know.
    pub(crate) async fn go(&mut self, step: &str) -> Value {
        let outcome = self.perform(step).await;
        let Outcome::Succeeded { result, simulated, checks, output } = outcome else { panic!("{step}: {outcome:?}") };
        let name: pointsman::domain::StepName = step.parse().expect("a name");
        let now = Timestamp::UNIX_EPOCH;
        let started = Event::StepStarted { step: name.clone(), attempt: 1, deadline: now, resumes: false };
        let done =
            Event::StepSucceeded { step: name, attempt: 1, result: result.clone(), simulated, checks, output, asserted_by: None };
        let mut state = State::clone(&self.state);
        for event in [started, done] {
            state = evolve(state, now, &event).expect("a legal event");
        }
        self.state = Arc::new(state);
        result
    }
}

/// What an attempt reported.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) groups: Mutex<Vec<ProcessGroup>>,
    pub(crate) progress: Mutex<Vec<(u64, Option<u64>)>>,
    pub(crate) refuse: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl JobSink for Seen {
    async fn child_started(&self, group: ProcessGroup) -> Result<(), String> {
        if self.refuse.load(std::sync::atomic::Ordering::Relaxed) {
            return Err("the journal is away".to_owned());
        }
        self.groups.lock().expect("unpoisoned").push(group);
        Ok(())
    }

    fn progress(&self, done: u64, total: Option<u64>, _: &str, _: &str) {
        self.progress.lock().expect("unpoisoned").push((done, total));
    }

    fn progress_by_portion(&self, _: &str, portions: Vec<Portion>) {
        let (done, total) = portions.iter().fold((0, 0), |(done, total), portion| (done + portion.done, total + portion.total));
        self.progress.lock().expect("unpoisoned").push((done, Some(total)));
    }
}

pub(crate) fn expect_done(outcome: Outcome) -> (Value, bool) {
    match outcome {
        Outcome::Succeeded { result, simulated, .. } => (result, simulated),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn expect_failed(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed { failure, .. } => failure,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn checks_of(outcome: &Outcome) -> &[Reading] {
    match outcome {
        Outcome::Succeeded { checks, .. } | Outcome::Failed { checks, .. } => checks,
        Outcome::Unknown { why } => panic!("{why}"),
    }
}

pub(crate) fn output_of(outcome: &Outcome) -> &OutputFile {
    match outcome {
        Outcome::Succeeded { output: Some(output), .. } | Outcome::Failed { output: Some(output), .. } => output,
        other => panic!("no output: {other:?}"),
    }
}

/// Every file below a directory, as text.
pub(crate) fn everything_below(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            text += &everything_below(&path);
        } else {
            text += &String::from_utf8_lossy(&std::fs::read(&path).expect("readable"));
        }
    }
    text
}

//! Actions whose effects are counted. The world that they change outlives the engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pointsman::domain::run::{
    Event, Failure, FailureKind, Finding, GateRef, Outcome, ProcessGroup, Reading, StepStatus, Verdict,
};
use pointsman::domain::{RunId, StepName, StreamId};
use pointsman::engine::{Job, JobSink, Performer, Snapshot};
use pointsman::store::SharedJournal;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::points::Points;

/// What an attempt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// It takes effect and says so.
    Succeed,
    /// It fails without effect; whether another attempt may help.
    Fail { retryable: bool },
    /// It takes effect, and nobody knows.
    TakeEffectUnknown,
    /// It hangs until it is cancelled.
    Hang,
    /// It has a child process, takes effect and says so.
    WithChild,
    /// Its code panics before any effect.
    Panic,
}

/// What the actions have done, and what they are going to do.
pub(crate) struct EffectWorld {
    inner: Mutex<Inner>,
    hanging: AtomicUsize,
    hung: Notify,
    measures: Semaphore,
}

#[derive(Default)]
struct Inner {
    /// The attempts of each step that took effect.
    took: BTreeMap<(RunId, StepName), Vec<u32>>,
    rehearsed: BTreeMap<(RunId, StepName), u32>,
    always: BTreeMap<StepName, Behaviour>,
    next: BTreeMap<StepName, VecDeque<Behaviour>>,
    violations: Vec<String>,
    red: BTreeSet<String>,
    targets_changed: Vec<String>,
    when: BTreeMap<StepName, bool>,
    ended_groups: Vec<ProcessGroup>,
    former_groups: Vec<ProcessGroup>,
    cannot_end: bool,
    cancelled: Vec<StepName>,
    measured: usize,
}

impl Default for EffectWorld {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            hanging: AtomicUsize::new(0),
            hung: Notify::new(),
            measures: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }
}

impl EffectWorld {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// What a step does from now on.
    pub(crate) fn always(&self, step: &str, behaviour: Behaviour) {
        self.lock().always.insert(step.parse().unwrap(), behaviour);
    }

    /// What a step's next attempts do.
    pub(crate) fn next(&self, step: &str, behaviours: &[Behaviour]) {
        self.lock().next.entry(step.parse().unwrap()).or_default().extend(behaviours);
    }

    /// Whether a criterion is red.
    pub(crate) fn set_red(&self, says: &str, red: bool) {
        let mut inner = self.lock();
        if red {
            inner.red.insert(says.to_owned())
        } else {
            inner.red.remove(says)
        };
    }

    /// What is different about the targets.
    pub(crate) fn change_targets(&self, what: &[&str]) {
        self.lock().targets_changed = what.iter().map(|what| (*what).to_owned()).collect();
    }

    /// What a step's `when` comes to; true unless set.
    pub(crate) fn set_when(&self, step: &str, holds: bool) {
        self.lock().when.insert(step.parse().unwrap(), holds);
    }

    /// Whether left-over processes cannot be ended.
    pub(crate) fn set_cannot_end(&self, cannot: bool) {
        self.lock().cannot_end = cannot;
    }

    /// How often a step took effect.
    pub(crate) fn took(&self, run: &RunId, step: &str) -> usize {
        self.attempts(run, step).len()
    }

    /// Which attempts of a step took effect.
    pub(crate) fn attempts(&self, run: &RunId, step: &str) -> Vec<u32> {
        self.lock().took.get(&(run.clone(), step.parse().unwrap())).cloned().unwrap_or_default()
    }

    /// Every step of a run that took effect, and how often.
    pub(crate) fn all(&self, run: &RunId) -> BTreeMap<StepName, usize> {
        let inner = self.lock();
        let own = inner.took.iter().filter(|((of, _), _)| of == run);
        own.map(|((_, step), attempts)| (step.clone(), attempts.len())).collect()
    }

    /// How often a step was rehearsed.
    pub(crate) fn rehearsed(&self, run: &RunId, step: &str) -> u32 {
        self.lock().rehearsed.get(&(run.clone(), step.parse().unwrap())).copied().unwrap_or_default()
    }

    /// What should never have happened.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// The groups that were ended because nobody performed their attempt any more.
    pub(crate) fn ended_groups(&self) -> Vec<ProcessGroup> {
        self.lock().ended_groups.clone()
    }

    /// The groups that were to be proven gone before something else was done.
    pub(crate) fn former_groups(&self) -> Vec<ProcessGroup> {
        self.lock().former_groups.clone()
    }

    /// The steps whose attempts were cancelled while they hung.
    pub(crate) fn cancelled(&self) -> Vec<StepName> {
        self.lock().cancelled.clone()
    }

    /// How often criteria were measured.
    pub(crate) fn measured(&self) -> usize {
        self.lock().measured
    }

    /// Lets measurements begin and not end, until [`Self::let_measurements_end`].
    pub(crate) fn hold_measurements(&self) {
        self.measures.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn let_measurements_end(&self) {
        self.measures.add_permits(Semaphore::MAX_PERMITS);
    }

    /// How many attempts and measurements hang now.
    pub(crate) fn hanging(&self) -> usize {
        self.hanging.load(Ordering::SeqCst)
    }

    /// Returns once an attempt hangs.
    pub(crate) async fn hung(&self) {
        while self.hanging() == 0 {
            self.hung.notified().await;
        }
    }

    fn behaviour(&self, step: &StepName) -> Behaviour {
        let mut inner = self.lock();
        let next = inner.next.get_mut(step).and_then(VecDeque::pop_front);
        next.or_else(|| inner.always.get(step).copied()).unwrap_or(Behaviour::Succeed)
    }
}

/// The engine's side of [`EffectWorld`].
pub(crate) struct FakePerformer {
    pub(crate) world: Arc<EffectWorld>,
    pub(crate) points: Arc<Points>,
    /// The real journal: no effect may begin before its start is in it.
    pub(crate) journal: SharedJournal,
}

/// Counts one hanging attempt or measurement, also if its future is dropped.
struct Hanging<'a>(&'a EffectWorld);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.hanging.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FakePerformer {
    /// Whether the journal holds this attempt's start and no end of it.
    async fn expect_durable_start(&self, job: &Job) {
        let stream = StreamId::new("run", job.run.state.id().as_str()).unwrap();
        let records = self.journal.load(&stream).await.unwrap();
        let events = records.iter().map(|record| serde_json::from_str::<Event>(&record.body).unwrap());
        let mut about = events.filter(|event| match event {
            Event::StepStarted { step, .. }
            | Event::StepSucceeded { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepInterrupted { step, .. } => *step == job.step,
            _ => false,
        });
        let last = about.next_back();
        if !matches!(&last, Some(Event::StepStarted { attempt, .. }) if *attempt == job.attempt) {
            let message = format!("{} attempt {} began after {last:?}", job.step, job.attempt);
            self.world.lock().violations.push(message);
        }
    }

    async fn take_effect(&self, job: &Job) {
        let step = (job.run.state.id().clone(), job.step.clone());
        if job.run.state.is_dry_run() {
            *self.world.lock().rehearsed.entry(step).or_default() += 1;
        } else {
            self.world.lock().took.entry(step).or_default().push(job.attempt);
        }
        self.points.pass(&format!("{} took effect", job.step)).await;
    }

    fn note_former(&self, job: &Job) {
        self.world.lock().former_groups.extend(job.former.clone());
    }

    async fn hang(&self, step: &StepName, cancel: &CancellationToken) -> Outcome {
        self.world.hanging.fetch_add(1, Ordering::SeqCst);
        let _hanging = Hanging(&self.world);
        self.world.hung.notify_one();
        cancel.cancelled().await;
        self.points.alive().await;
        self.world.lock().cancelled.push(step.clone());
        failed(FailureKind::Cancelled, false)
    }
}

fn failed(kind: FailureKind, retryable: bool) -> Outcome {
    let failure = Failure { kind, message: "it failed".to_owned(), retryable };
    Outcome::Failed { failure, checks: vec![], output: None }
}

/// The process group that attempts with a child report.
pub(crate) fn group_of(attempt: u32) -> ProcessGroup {
    ProcessGroup { pgid: 4_000 + i32::try_from(attempt).unwrap(), start_time: 7, boot_id: "test".to_owned() }
}

#[async_trait]
impl Performer for FakePerformer {
    async fn perform(&self, job: Job, sink: Arc<dyn JobSink>, cancel: CancellationToken) -> Outcome {
        self.points.alive().await;
        self.expect_durable_start(&job).await;
        self.note_former(&job);
        let simulated = job.run.state.is_dry_run();
        let succeeded = Outcome::Succeeded { result: json!({ "ok": true }), simulated, checks: vec![], output: None };
        match self.world.behaviour(&job.step) {
            Behaviour::Succeed => self.take_effect(&job).await,
            Behaviour::Fail { retryable } => {
                self.points.pass(&format!("{} failed", job.step)).await;
                return failed(FailureKind::Failed, retryable);
            }
            Behaviour::TakeEffectUnknown => {
                self.take_effect(&job).await;
                return Outcome::Unknown { why: "the connection broke".to_owned() };
            }
            Behaviour::Hang => return self.hang(&job.step, &cancel).await,
            Behaviour::WithChild => {
                if sink.child_started(group_of(job.attempt)).await.is_err() {
                    return failed(FailureKind::Failed, true);
                }
                sink.progress(1, Some(2), "rows", "items");
                self.take_effect(&job).await;
            }
            Behaviour::Panic => panic!("a defect, as the test wants it"),
        }
        succeeded
    }

    async fn probe(&self, job: Job) -> Finding {
        self.points.alive().await;
        self.note_former(&job);
        let took = self.world.attempts(job.run.state.id(), job.step.as_str()).contains(&job.attempt);
        if took { Finding::Happened { result: json!({ "ok": true }) } } else { Finding::DidNotHappen }
    }

    async fn check(&self, job: Job) -> (Value, Vec<Reading>) {
        self.points.alive().await;
        self.note_former(&job);
        let took = self.world.took(job.run.state.id(), job.step.as_str()) > 0;
        (json!({ "ok": took }), vec![reading("it took effect", took)])
    }

    async fn end_left_over(&self, group: &ProcessGroup) -> Result<(), String> {
        self.points.alive().await;
        let mut inner = self.world.lock();
        if inner.cannot_end {
            return Err("it does not go away".to_owned());
        }
        inner.ended_groups.push(group.clone());
        Ok(())
    }

    fn evaluate_when(&self, run: &Snapshot, step: &StepName) -> Result<bool, String> {
        let status = &run.state.step(step).status;
        assert_eq!(*status, StepStatus::Pending, "only a step that has not begun is asked about");
        Ok(self.world.lock().when.get(step).copied().unwrap_or(true))
    }

    async fn measure(&self, run: &Snapshot, gate: &GateRef) -> Vec<Reading> {
        self.points.alive().await;
        self.world.lock().measured += 1;
        self.world.hanging.fetch_add(1, Ordering::SeqCst);
        let hanging = Hanging(&self.world);
        if self.world.measures.available_permits() == 0 {
            self.world.hung.notify_one();
        }
        drop(self.world.measures.acquire().await);
        drop(hanging);
        let inner = self.world.lock();
        let GateRef::Phase(phase) = gate else { return vec![] };
        let criteria = run.state.phase(phase).and_then(|phase| phase.gate.as_ref()).map(|gate| gate.go.clone());
        criteria
            .unwrap_or_default()
            .iter()
            .map(|criterion| reading(&criterion.says, !inner.red.contains(&criterion.says)))
            .collect()
    }

    async fn targets_changed(&self, _run: &Snapshot) -> Result<Vec<String>, String> {
        self.points.alive().await;
        Ok(self.world.lock().targets_changed.clone())
    }
}

fn reading(says: &str, green: bool) -> Reading {
    let verdict = if green { Verdict::Green } else { Verdict::Red { why: "no".to_owned() } };
    Reading { says: says.to_owned(), measured: String::new(), verdict }
}

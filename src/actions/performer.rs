//! Performing the engine's jobs: what stands between a step that was journalled as started and its outcome.
//!
//! Order of an attempt, each a condition for the next: the processes of a former attempt are gone; `with` is
//! bound; a step that changes something finds its targets to be the plan's; the action performs (or rehearses);
//! its checks are read; result, readings and messages are masked and bounded.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::action::{AnyAction, Done, Trouble};
use super::binding::bind_late;
use super::context::Context;
use super::output::Output;
use super::process::{ProcessGroup, Spawner, end_group};
use super::readings::{self, Measured};
use super::redact::Redactor;
use super::registry::Registry;
use super::result::{bounded, redacted};
use super::run_dir::{RunDirectories, RunDirectory};
use super::secrets::Secrets;
use super::target::TargetReader;
use crate::clock::SharedClock;
use crate::domain::run::{
    Failure, FailureKind, Finding, GateRef, Outcome, OutputFile, Portion, Reading, State, StepStatus, Verdict,
};
use crate::domain::runbook::{Gate, Step};
use crate::domain::{ActionSpec, Plan, StepName, TargetIdentity, TargetName};
use crate::engine::{Job, JobSink, Performer, Snapshot};
use crate::expression::{Expression, Scope};

/// From TERM to KILL for what an earlier process of the bot has left behind.
const LEFT_OVER_GRACE: Duration = Duration::from_secs(10);
/// How long a `measure` step may take unless it says otherwise: people wait for the card.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(60);

/// Performs steps: the engine's [`Performer`].
pub struct Actions {
    registry: Arc<Registry>,
    directories: RunDirectories,
    secrets: Secrets,
    spawner: Spawner,
    clock: SharedClock,
    targets: TargetReader,
}

impl Actions {
    /// Performs with these actions. Runs work in `directories`, ask `secrets`, and start children by `spawner`.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        directories: RunDirectories,
        secrets: Secrets,
        spawner: Spawner,
        clock: SharedClock,
    ) -> Self {
        let targets = TargetReader::new(secrets.clone(), spawner.clone());
        Self { registry, directories, secrets, spawner, clock, targets }
    }

    fn prepare(&self, state: &Arc<State>, wanted: &Wanted<'_>) -> Result<Attempt<'_>, Trouble> {
        let step = wanted.step;
        let (spec, action) = self.registry.find(&step.action).ok_or_else(|| {
            Trouble::lasting(format!("this version of the bot has no action `{}`; nothing was done", step.action))
        })?;
        let directory = self.directories.of(state.id());
        directory.create().map_err(|error| {
            Trouble::passing(format!(
                "the run's directory {} cannot be made: {error}; nothing was done",
                directory.path().display()
            ))
        })?;
        let with = bind_late(spec, entries(step), &wanted.scope)
            .map_err(|error| Trouble::lasting(format!("binding `with`: {error}; nothing was done")))?;
        let context = Context {
            run: state.id().clone(),
            step: step.step.clone(),
            attempt: wanted.attempt,
            resumes: wanted.resumes,
            rehearsal: state.is_dry_run(),
            rehearsed_before: rehearsed_before(state, spec, step),
            output: Output::new(&directory, &wanted.output),
            directory,
            scope: wanted.scope.clone(),
            clock: Arc::clone(&self.clock),
            cancel: wanted.cancel.clone(),
            sink: Arc::clone(&wanted.sink),
            plan: Arc::new(state.plan().clone()),
            spawner: self.spawner.clone(),
            secrets: self.secrets.clone(),
            redactor: Mutex::new(Redactor::default()),
        };
        Ok(Attempt { spec, action, has_effect: action.has_effect(&entries(step).collect()), context, with })
    }

    /// Refuses to touch a target that is not the one that was planned and signed for.
    async fn confirm_targets(&self, attempt: &Attempt<'_>) -> Result<(), Trouble> {
        let plan = &attempt.context.plan;
        for name in attempt.targets() {
            let difference = self.compare(plan, &name).await.map_err(|why| {
                Trouble::passing(format!("the target `{name}` could not be looked at before the step: {why}; nothing was done"))
            })?;
            if let Some(difference) = difference {
                return Err(Trouble::lasting(format!("{difference}; nothing was done. Plan a new run, and have that signed")));
            }
        }
        Ok(())
    }

    async fn compare(&self, plan: &Plan, name: &TargetName) -> Result<Option<String>, String> {
        let Some((target, planned)) = plan.runbook.targets.get(name).zip(plan.targets.get(name)) else {
            return Err("the plan does not know it".to_owned());
        };
        let found = self.targets.identify(target).await?;
        let different = found != *planned;
        Ok(different.then(|| format!("the target `{name}` is not the one of the plan: planned {planned}, found {found}")))
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Done, Trouble> {
        if attempt.has_effect {
            attempt.context.or_cancelled(self.confirm_targets(attempt)).await??;
        }
        let with = attempt.with.clone();
        let done = if attempt.context.rehearsal {
            attempt.unless_explained(attempt.action.rehearse(&attempt.context, with).await)?
        } else {
            attempt.action.perform(&attempt.context, with).await?
        };
        Ok(Done { result: bounded(redacted(done.result, &attempt.context.redactor())), ..done })
    }

    /// Performs one `measure` step within its time.
    async fn measure_step(&self, state: &Arc<State>, gate: &GateRef, step: &Step, scope: &Scope) -> Result<Done, String> {
        let cancel = CancellationToken::new();
        // A dropped future (the bot stops) must end its children too.
        let _ends_with_this = cancel.clone().drop_guard();
        let wanted = Wanted {
            step,
            attempt: 1,
            resumes: false,
            scope: scope.clone(),
            output: format!("gate-{}.{}", gate.to_string().replace(' ', "-"), step.step),
            cancel: cancel.clone(),
            sink: Arc::new(Unwatched),
        };
        let attempt = self.prepare(state, &wanted).map_err(|trouble| trouble.to_string())?;
        if attempt.has_effect {
            return Err(format!("`{}` would change something, and measuring must not", step.action));
        }
        let timeout = step.timeout.map_or(MEASURE_TIMEOUT, crate::domain::Duration::std);
        let performed = self.attempt(&attempt);
        tokio::pin!(performed);
        let done = tokio::select! {
            done = &mut performed => done,
            () = crate::clock::sleep(self.clock.as_ref(), timeout) => {
                cancel.cancel();
                let _ = performed.await;
                Err(Trouble::passing(format!("it took longer than {} s", timeout.as_secs())))
            }
        };
        attempt.context.output.finish();
        let done = done.map_err(|trouble| attempt.context.redact(&trouble.to_string()))?;
        let checks = readings::read(&step.check, &scope.clone().with("result", done.result.clone()), Measured::Live);
        match checks.iter().find(|reading| reading.is_red()) {
            Some(red) => Err(format!("its check is red: {}", describe_red(red))),
            None => Ok(done),
        }
    }

    fn unperformed(&self, trouble: Trouble) -> Outcome {
        outcome_of_trouble(trouble, None, &Redactor::default())
    }
}

/// What is to be prepared.
struct Wanted<'a> {
    step: &'a Step,
    attempt: u32,
    resumes: bool,
    scope: Scope,
    output: String,
    cancel: CancellationToken,
    sink: Arc<dyn JobSink>,
}

/// A step that is ready to be performed.
struct Attempt<'a> {
    spec: &'a ActionSpec,
    action: &'a dyn AnyAction,
    /// As the definition writes it, so that it agrees with the plan's traits.
    has_effect: bool,
    context: Context,
    with: Value,
}

impl Attempt<'_> {
    fn targets(&self) -> Vec<TargetName> {
        let name = |(key, _): &(String, _)| self.with.get(key)?.as_str()?.parse().ok();
        self.spec.target_keys.iter().filter_map(name).collect()
    }

    /// A look at what a step before has only been rehearsed to change, for instance at a table that is not made yet,
    /// may fail without meaning anything. A system that does not answer at all means something.
    fn unless_explained(&self, done: Result<Done, Trouble>) -> Result<Done, Trouble> {
        match (&self.context.rehearsed_before, done) {
            (Some(before), Err(Trouble::Failed { message, retryable: false })) if !self.has_effect => {
                self.context.note(&format!("not measured, because `{before}` was only rehearsed: {message}"));
                Ok(Done::simulated(Value::Null))
            }
            (_, done) => done,
        }
    }

    fn checks(&self, step: &Step, done: &Done) -> Vec<Reading> {
        let measured = match (self.context.rehearsal, done.simulated) {
            (false, _) => Measured::Live,
            (true, false) => Measured::DryRun,
            (true, true) => Measured::Simulated,
        };
        let scope = self.context.scope.clone().with("result", done.result.clone());
        let read = readings::read(&step.check, &scope, measured);
        let read = read.into_iter().map(|reading| excused(reading, self.context.rehearsed_before.as_ref()));
        masked(read.collect(), &self.context.redactor())
    }
}

#[async_trait]
impl Performer for Actions {
    async fn perform(&self, job: Job, sink: Arc<dyn JobSink>, cancel: CancellationToken) -> Outcome {
        if let Some(former) = &job.former
            && let Err(left) = self.end_left_over(former).await
        {
            return self.unperformed(Trouble::passing(format!("of the attempt before, {left}; nothing was done")));
        }
        let state = &job.run.state;
        let prepared =
            step_of(state, &job.step).and_then(|step| Ok((step, self.prepare(state, &wanted(self, &job, step, sink, cancel))?)));
        let (step, attempt) = match prepared {
            Ok(prepared) => prepared,
            Err(trouble) => return self.unperformed(trouble),
        };
        let done = self.attempt(&attempt).await;
        if let Err(trouble) = &done {
            attempt.context.note(&trouble.to_string());
        }
        let output = attempt.context.output.finish();
        match done {
            Ok(done) => judge(done.clone(), attempt.checks(step, &done), output),
            Err(trouble) => outcome_of_trouble(trouble, output, &attempt.context.redactor()),
        }
    }

    async fn probe(&self, job: Job) -> Finding {
        if let Some(former) = &job.former
            && let Err(left) = self.end_left_over(former).await
        {
            return Finding::Unclear { why: left };
        }
        let (sink, cancel): (Arc<dyn JobSink>, _) = (Arc::new(Unwatched), CancellationToken::new());
        let prepared = step_of(&job.run.state, &job.step)
            .and_then(|step| self.prepare(&job.run.state, &wanted(self, &job, step, sink, cancel)));
        let attempt = match prepared {
            Ok(attempt) => attempt,
            Err(trouble) => return Finding::Unclear { why: trouble.to_string() },
        };
        let finding = attempt.action.probe(&attempt.context, attempt.with.clone()).await;
        let redactor = attempt.context.redactor();
        match finding {
            Finding::Happened { result } => Finding::Happened { result: bounded(redacted(result, &redactor)) },
            Finding::DidNotHappen => Finding::DidNotHappen,
            Finding::Unclear { why } => Finding::Unclear { why: redactor.redact(&why) },
        }
    }

    async fn check(&self, job: Job) -> (Value, Vec<Reading>) {
        let state = Arc::clone(&job.run.state);
        let known = match &state.step(&job.step).status {
            StepStatus::Asserted { result, .. } => result.clone(),
            _ => Value::Null,
        };
        let result = match known {
            // A person says so: the action may still be able to tell what came of it.
            Value::Null => match self.probe(job.clone()).await {
                Finding::Happened { result } => result,
                Finding::DidNotHappen | Finding::Unclear { .. } => Value::Null,
            },
            known => known,
        };
        let Ok(step) = step_of(&state, &job.step) else { return (result, Vec::new()) };
        let scope = scope(&state, &self.directories.of(state.id())).with("result", result.clone());
        let measured = if state.is_dry_run() { Measured::DryRun } else { Measured::Live };
        (result, readings::read(&step.check, &scope, measured))
    }

    async fn end_left_over(&self, group: &ProcessGroup) -> Result<(), String> {
        end_group(group, LEFT_OVER_GRACE).await.map_err(|left| left.to_string())
    }

    fn evaluate_when(&self, run: &Snapshot, step: &StepName) -> Result<bool, String> {
        let state = &run.state;
        let step = step_of(state, step).map_err(|trouble| trouble.to_string())?;
        let Some(when) = &step.when else { return Ok(true) };
        let scope = scope(state, &self.directories.of(state.id()));
        let holds = Expression::parse(when).and_then(|expression| expression.holds(&scope));
        holds.map_err(|error| format!("`when: {when}` cannot be evaluated: {error}"))
    }

    async fn measure(&self, run: &Snapshot, gate: &GateRef) -> Vec<Reading> {
        let state = &run.state;
        let Some(definition) = gate_of(state, gate) else { return Vec::new() };
        let mut scope = scope(state, &self.directories.of(state.id())).with("measured", json!({}));
        let mut measured = Map::new();
        let mut failures = Vec::new();
        for step in &definition.measure {
            match self.measure_step(state, gate, step, &scope).await {
                Ok(done) => {
                    measured.insert(step.step.to_string(), json!({ "result": done.result, "simulated": done.simulated }));
                    scope.set("measured", measured.clone());
                }
                Err(why) => failures.push((step.step.clone(), why)),
            }
        }
        let how = if state.is_dry_run() { Measured::DryRun } else { Measured::Live };
        let mut readings = readings::read(&definition.go, &scope, how);
        for (criterion, reading) in definition.go.iter().zip(&mut readings) {
            explain_failure(&criterion.expect, reading, &failures);
            *reading = excused(reading.clone(), any_rehearsed(state).as_ref());
        }
        readings
    }

    async fn targets_changed(&self, run: &Snapshot) -> Result<Vec<String>, String> {
        let plan = run.state.plan();
        let mut differences = Vec::new();
        for name in plan.targets.keys() {
            let difference =
                self.compare(plan, name).await.map_err(|why| format!("the target `{name}` cannot be read: {why}"))?;
            differences.extend(difference);
        }
        Ok(differences)
    }
}

/// A job's processes and children when nobody journals them: they only look.
struct Unwatched;

#[async_trait]
impl JobSink for Unwatched {
    async fn child_started(&self, _: ProcessGroup) -> Result<(), String> {
        Ok(())
    }

    fn progress(&self, _: u64, _: Option<u64>, _: &str, _: &str) {}

    fn progress_by_portion(&self, _: &str, _: Vec<Portion>) {}
}

fn wanted<'a>(actions: &Actions, job: &Job, step: &'a Step, sink: Arc<dyn JobSink>, cancel: CancellationToken) -> Wanted<'a> {
    let directory = actions.directories.of(job.run.state.id());
    Wanted {
        step,
        attempt: job.attempt,
        resumes: job.resumes,
        scope: scope(&job.run.state, &directory),
        output: format!("{}.{}", job.step, job.attempt),
        cancel,
        sink,
    }
}

fn step_of<'a>(state: &'a State, name: &StepName) -> Result<&'a Step, Trouble> {
    state.runbook().step(name).ok_or_else(|| Trouble::lasting(format!("the runbook has no step `{name}`")))
}

fn gate_of<'a>(state: &'a State, gate: &GateRef) -> Option<&'a Gate> {
    match gate {
        GateRef::Phase(phase) => state.phase(phase)?.gate.as_ref(),
        // A rollback's own gate has signatures only.
        GateRef::Rollback(_) => None,
    }
}

fn entries(step: &Step) -> impl Iterator<Item = (String, Value)> {
    step.with.iter().map(|(key, value)| (key.clone(), value.clone()))
}

/// What the expressions of a run see.
fn scope(state: &State, directory: &RunDirectory) -> Scope {
    let plan = state.plan();
    let mode = if state.is_dry_run() { "dry_run" } else { "live" };
    let run = json!({ "id": state.id().to_string(), "dir": directory.path().to_string_lossy(), "mode": mode });
    Scope::new()
        .with("params", parameters(&plan.parameters))
        .with("targets", public_targets(&plan.targets))
        .with("run", run)
        .with("steps", state.results())
}

/// The parameters as expressions see them.
pub(super) fn parameters(parameters: &indexmap::IndexMap<crate::domain::ParameterName, Value>) -> Value {
    Value::Object(parameters.iter().map(|(name, value)| (name.to_string(), value.clone())).collect())
}

/// The targets as expressions see them: the kind and the public fields of the identity.
pub(super) fn public_targets(targets: &std::collections::BTreeMap<TargetName, TargetIdentity>) -> Value {
    let fields = |identity: &TargetIdentity| match serde_json::to_value(identity) {
        Ok(Value::Object(tagged)) => tagged.into_iter().next().map_or(Value::Null, |(kind, fields)| {
            let mut map = Map::from_iter([("kind".to_owned(), Value::from(kind))]);
            map.extend(fields.as_object().cloned().unwrap_or_default());
            Value::Object(map)
        }),
        _ => Value::Null,
    };
    Value::Object(targets.iter().map(|(name, identity)| (name.to_string(), fields(identity))).collect())
}

/// The first effect that this dry run has only rehearsed, if any.
fn any_rehearsed(state: &State) -> Option<StepName> {
    let rehearsed = |name: &StepName| state.step(name).simulated && state.plan().traits(name).effect;
    state.runbook().all_steps().map(|step| &step.step).find(|name| rehearsed(name)).cloned()
}

/// As [`any_rehearsed`], of those that share a target with `step`, or whose targets are not known.
fn rehearsed_before(state: &State, spec: &ActionSpec, step: &Step) -> Option<StepName> {
    let names = |step: &Step| -> Vec<String> {
        step.with.values().filter_map(Value::as_str).filter(|text| is_target(state, text)).map(str::to_owned).collect()
    };
    let own: Vec<&str> = spec.target_keys.iter().filter_map(|(key, _)| step.with.get(key)?.as_str()).collect();
    let concerns = |other: &&Step| {
        let theirs = names(other);
        own.is_empty() || theirs.is_empty() || theirs.iter().any(|name| own.contains(&name.as_str()))
    };
    let rehearsed = |other: &&Step| state.step(&other.step).simulated && state.plan().traits(&other.step).effect;
    state.runbook().all_steps().filter(rehearsed).find(concerns).map(|other| other.step.clone())
}

fn is_target(state: &State, text: &str) -> bool {
    state.runbook().targets.keys().any(|name| name.as_str() == text)
}

/// What is red in a dry run only because a change before it was not made, is not measured. What is green stays green.
fn excused(reading: Reading, rehearsed: Option<&StepName>) -> Reading {
    let verdict = match (reading.verdict, rehearsed) {
        (Verdict::Red { why }, Some(step)) => {
            Verdict::NotMeasured { why: format!("{why}, but `{step}` was only rehearsed before") }
        }
        (verdict, _) => verdict,
    };
    Reading { verdict, ..reading }
}

fn masked(readings: Vec<Reading>, redactor: &Redactor) -> Vec<Reading> {
    let verdict = |verdict: Verdict| match verdict {
        Verdict::Green => Verdict::Green,
        Verdict::Red { why } => Verdict::Red { why: redactor.redact(&why) },
        Verdict::NotMeasured { why } => Verdict::NotMeasured { why: redactor.redact(&why) },
    };
    let one = |reading: Reading| Reading {
        measured: redactor.redact(&reading.measured),
        verdict: verdict(reading.verdict),
        says: reading.says,
    };
    readings.into_iter().map(one).collect()
}

fn describe_red(reading: &Reading) -> String {
    let why = match &reading.verdict {
        Verdict::Red { why } | Verdict::NotMeasured { why } => why.as_str(),
        Verdict::Green => "",
    };
    match reading.measured.as_str() {
        "" => format!("{}: {why}", reading.says),
        measured => format!("{}: {why} ({measured})", reading.says),
    }
}

/// A step whose action succeeded: its checks have the last word.
fn judge(done: Done, checks: Vec<Reading>, output: Option<OutputFile>) -> Outcome {
    let red: Vec<String> = checks.iter().filter(|reading| reading.is_red()).map(describe_red).collect();
    if red.is_empty() {
        return Outcome::Succeeded { result: done.result, simulated: done.simulated, checks, output };
    }
    let message = format!("it ran, and a check is red: {}", red.join("; "));
    Outcome::Failed { failure: Failure { kind: FailureKind::CheckFailed, message, retryable: true }, checks, output }
}

fn outcome_of_trouble(trouble: Trouble, output: Option<OutputFile>, redactor: &Redactor) -> Outcome {
    let failed = |kind, message: &str, retryable| Outcome::Failed {
        failure: Failure { kind, message: redactor.redact(message), retryable },
        checks: Vec::new(),
        output: output.clone(),
    };
    match trouble {
        Trouble::Failed { message, retryable } => failed(FailureKind::Failed, &message, retryable),
        Trouble::Cancelled => failed(FailureKind::Cancelled, "cancelled; nothing of it is left running", true),
        Trouble::Unknown { why } => Outcome::Unknown { why: redactor.redact(&why) },
    }
}

/// Says why a value is missing, when the step that should have measured it failed.
fn explain_failure(expect: &str, reading: &mut Reading, failures: &[(StepName, String)]) {
    let Ok(expression) = Expression::parse(expect) else { return };
    let refers_to = |step: &StepName| {
        let mut references = expression.references().iter().filter(|reference| reference.root == "measured");
        references.any(|reference| reference.first().is_none_or(|first| first == step.as_str()))
    };
    let Some((step, failure)) = failures.iter().find(|(step, _)| refers_to(step)) else { return };
    let explained = format!("measuring `{step}` failed: {failure}");
    match &mut reading.verdict {
        Verdict::Red { why } | Verdict::NotMeasured { why } => *why = explained,
        Verdict::Green => {}
    }
}

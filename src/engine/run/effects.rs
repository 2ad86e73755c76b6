//! Performing the effects of a run.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Notify;
use tracing::debug;

use super::Run;
use crate::domain::incident::{OpenRequest, Opener, Severity};
use crate::domain::run::{Effect, Failure, FailureKind, GateRef, Input, Outcome, Portion, ProcessGroup, Progress};
use crate::domain::{RunId, StepName, Timestamp};
use crate::engine::activity::Active;
use crate::engine::flight::Flight;
use crate::engine::incident_ports::IncidentError;
use crate::engine::incidents::open_incident;
use crate::engine::observe::posted_card;
use crate::engine::ports::{Job, JobSink, PortError};
use crate::engine::shared::Shared;

impl Flight<Run> {
    /// Performs the effect and reports what came of it. `active` is empty while it waits to try again.
    pub(super) async fn perform(&self, active: &mut Option<Active>) {
        match self.effect.clone() {
            Effect::OpenThread => self.open_thread(active).await,
            Effect::PostMessage { key, .. } => self.post_message(active, key).await,
            Effect::MeasureGate { gate, card } => {
                if let Some(run) = self.snapshot() {
                    let readings = self.shared.ports.performer.measure(&run, &gate).await;
                    self.report(Input::GateMeasured { gate, card, readings });
                }
            }
            Effect::RecheckGate { gate, card } => self.recheck(active, gate, card).await,
            Effect::EvaluateWhen { step } => {
                if let Some(run) = self.snapshot() {
                    let result = self.shared.ports.performer.evaluate_when(&run, &step);
                    self.report(Input::WhenEvaluated(step, result));
                }
            }
            Effect::PerformStep { step, attempt, deadline, resumes, former } => {
                self.perform_step(step, attempt, deadline, resumes, former).await;
            }
            Effect::CancelStep { step, attempt, group } => self.cancel_left_over(active, step, attempt, group).await,
            Effect::ProbeStep { step, attempt, former } => {
                if let Some(job) = self.job(&step, attempt, false, former) {
                    let finding = self.shared.ports.performer.probe(job).await;
                    self.report(Input::StepProbed(step, attempt, finding));
                }
            }
            Effect::OpenIncident { severity, why } => self.open_incident(active, severity, why).await,
            Effect::PublishReview { gate, card } => self.publish_review(active, gate, card).await,
            Effect::CheckStep { step, attempt, former } => {
                if let Some(job) = self.job(&step, attempt, false, former) {
                    let (result, checks) = self.shared.ports.performer.check(job).await;
                    self.report(Input::StepChecked { step, attempt, result, checks });
                }
            }
        }
    }

    fn job(&self, step: &StepName, attempt: u32, resumes: bool, former: Option<ProcessGroup>) -> Option<Job> {
        Some(Job { run: self.snapshot()?, step: step.clone(), attempt, resumes, former })
    }

    async fn open_thread(&self, active: &mut Option<Active>) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(run) = self.snapshot() {
            match self.shared.ports.chat.open_thread(&run).await {
                Ok(thread) => return self.report(Input::ThreadOpened(thread)),
                Err(error) => {
                    if let (PortError::Gone { .. }, Some(plan)) = (&error, run.state.owed.first())
                        && let Some(message) = plan.posted
                    {
                        self.report(Input::MessageLost(plan.key.clone(), message));
                    }
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// Opens an incident about this run. One that a former process of the bot has opened is found again.
    async fn open_incident(&self, active: &mut Option<Active>, severity: Severity, why: String) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(run) = self.snapshot() {
            let state = &run.state;
            let (id, runbook) = (state.id().clone(), state.runbook());
            let title = format!("{}: {}", runbook.title, headline(&why));
            let request = OpenRequest {
                title: title.chars().take(TITLE_CHARS_MAX).collect(),
                severity,
                by: Opener::Run { run: id.clone(), why: why.clone() },
                customer_facing: false,
                private: false,
                asked_in: Some(state.started.channel),
                run: Some(id),
            };
            let error = match open_incident(&self.shared, request).await {
                Ok(incident) => return self.report(Input::IncidentOpened(incident)),
                Err(error @ IncidentError::Unavailable(_)) => PortError::Later { why: error.to_string(), after: None },
                Err(error @ (IncidentError::Rejected(_) | IncidentError::Unknown)) => {
                    PortError::Refused { why: error.to_string() }
                }
            };
            if !self.later(active, &error, &mut pause).await {
                return;
            }
        }
    }

    /// Tried for as long as it is owed. That it cannot be done yet is said in the thread.
    async fn publish_review(&self, active: &mut Option<Active>, gate: GateRef, card: u32) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(run) = self.snapshot() {
            match self.shared.ports.tracker.publish_review(&run, &gate, card).await {
                Ok(at) => return self.report(Input::ReviewPublished { gate, card, at }),
                Err(error) => {
                    self.report(Input::ReviewDelayed { gate: gate.clone(), card, why: error.to_string() });
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    async fn recheck(&self, active: &mut Option<Active>, gate: GateRef, card: u32) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(run) = self.snapshot() {
            let ports = &self.shared.ports;
            let seen = async {
                let targets_changed = ports.performer.targets_changed(&run).await;
                let targets_changed = targets_changed.map_err(|why| PortError::Later { why, after: None })?;
                let readings = ports.performer.measure(&run, &gate).await;
                // Votes last: what can be withdrawn at any moment is read closest to the start.
                let votes = ports.chat.read_votes(&run, &gate, card).await?;
                Ok::<_, PortError>((votes, readings, targets_changed))
            };
            match seen.await {
                Ok((votes, readings, targets_changed)) => {
                    return self.report(Input::GateRechecked { gate, card, votes, readings, targets_changed });
                }
                Err(PortError::Gone { why }) => {
                    if let Some((key, message)) = posted_card(&run.state, &gate, card) {
                        return self.report(Input::MessageLost(key, message));
                    }
                    // It is about to be posted: its votes can be read then.
                    if !self.later(active, &PortError::Later { why, after: None }, &mut pause).await {
                        return;
                    }
                }
                Err(error) => {
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    async fn perform_step(&self, step: StepName, attempt: u32, deadline: Timestamp, resumes: bool, former: Option<ProcessGroup>) {
        let Some(job) = self.job(&step, attempt, resumes, former) else { return };
        if self.shared.stop.is_cancelled() {
            return;
        }
        let sink = Arc::new(Sink {
            shared: Arc::clone(&self.shared),
            run: self.id.clone(),
            step: step.clone(),
            attempt,
            start: Mutex::new(None),
            views: Arc::clone(&self.views),
        });
        let clock = Arc::clone(&self.shared.ports.clock);
        let performing = self.shared.ports.performer.perform(job, sink, self.cancel.clone());
        tokio::pin!(performing);
        let outcome = tokio::select! {
            outcome = &mut performing => outcome,
            () = clock.allow_until(deadline) => {
                self.cancel.cancel();
                timed_out(performing.await)
            }
        };
        if self.shared.stop.is_cancelled() {
            // Nothing may be journalled any more; the next holder finds the attempt cut off.
            return;
        }
        debug!(run = %self.id, %step, attempt, "attempt over");
        self.report(Input::StepFinished(step, attempt, outcome));
    }

    /// An attempt that nobody performs any more: what is left of it is ended, and it counts as cancelled.
    async fn cancel_left_over(&self, active: &mut Option<Active>, step: StepName, attempt: u32, group: Option<ProcessGroup>) {
        let mut pause = self.shared.pace.retry_first;
        loop {
            let ended = match &group {
                Some(group) => self.shared.ports.performer.end_left_over(group).await,
                None => Ok(()),
            };
            match ended {
                Ok(()) => {
                    let message = "cancelled; whether it took effect is unknown".to_owned();
                    let failure = Failure { kind: FailureKind::Cancelled, message, retryable: false };
                    let outcome = Outcome::Failed { failure, checks: Vec::new(), output: None };
                    return self.report(Input::StepFinished(step, attempt, outcome));
                }
                Err(why) => {
                    let error = PortError::Later { why, after: None };
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }
}

/// What an attempt that was cancelled because of its time-out comes to. One that succeeded in the last moment has succeeded.
fn timed_out(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed { failure, checks, output } => {
            let failure = Failure {
                kind: FailureKind::TimedOut,
                message: format!("it took longer than its time-out and was cancelled; {}", failure.message),
                retryable: true,
            };
            Outcome::Failed { failure, checks, output }
        }
        Outcome::Succeeded { .. } | Outcome::Unknown { .. } => outcome,
    }
}

/// What went wrong, without the details that follow its first colon: those stand on the incident's card.
fn headline(why: &str) -> String {
    why.split(": ").next().unwrap_or(why).replace('`', "")
}

/// How much of a run's trouble goes into its incident's title, in characters: well below what a title may have.
const TITLE_CHARS_MAX: usize = 180;

/// Where an attempt reports to.
struct Sink {
    shared: Arc<Shared>,
    run: RunId,
    step: StepName,
    attempt: u32,
    start: Mutex<Option<(u64, Timestamp)>>,
    views: Arc<Notify>,
}

#[async_trait]
impl JobSink for Sink {
    async fn child_started(&self, group: ProcessGroup) -> Result<(), String> {
        let input = Input::ChildStarted(self.step.clone(), self.attempt, group);
        self.shared.runs.send(&self.run, input).await.map_err(|refusal| refusal.to_string())
    }

    fn progress(&self, done: u64, total: Option<u64>, unit: &str, what: &str) {
        self.show(done, total, unit, what, Vec::new());
    }

    fn progress_by_portion(&self, unit: &str, portions: Vec<Portion>) {
        let (done, total) = portions.iter().fold((0, 0), |(done, total), portion| (done + portion.done, total + portion.total));
        self.show(done, Some(total), unit, "", portions);
    }
}

impl Sink {
    fn show(&self, done: u64, total: Option<u64>, unit: &str, what: &str, portions: Vec<Portion>) {
        let at = self.shared.now();
        let (done_at_start, since) =
            *self.start.lock().expect("no code panics while it holds the start").get_or_insert((done, at));
        let progress = Progress {
            step: self.step.clone(),
            attempt: self.attempt,
            done,
            total,
            unit: unit.to_owned(),
            what: what.to_owned(),
            portions,
            done_at_start,
            since,
            at,
        };
        self.shared.runs.update(&self.run, |entry| {
            entry.progress.retain(|other| other.step != self.step);
            entry.progress.insert(0, progress);
        });
        self.views.notify_one();
    }
}

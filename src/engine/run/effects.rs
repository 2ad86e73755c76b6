//! Performing effects: each in a task of its own, tried until it is done or no longer owed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::activity::Active;
use super::observe::posted_card;
use super::ports::{Job, JobSink, PortError, Snapshot};
use super::run_task::wait;
use super::shared::{Refusal, Shared};
use crate::domain::run::{Effect, Failure, FailureKind, GateRef, Input, MessageKey, Outcome, ProcessGroup, Progress};
use crate::domain::{RunId, StepName, Timestamp};

pub(super) struct Flight {
    pub(super) shared: Arc<Shared>,
    pub(super) run: RunId,
    pub(super) effect: Effect,
    pub(super) cancel: CancellationToken,
    pub(super) search: bool,
    pub(super) views: Arc<Notify>,
}

impl Flight {
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
            Effect::CheckStep { step, attempt, former } => {
                if let Some(job) = self.job(&step, attempt, false, former) {
                    let (result, checks) = self.shared.ports.performer.check(job).await;
                    self.report(Input::StepChecked { step, attempt, result, checks });
                }
            }
        }
    }

    /// What is done when the effect's own code has panicked: an attempt is of unknown outcome then, and
    /// anything else is tried again, seldom.
    pub(super) async fn panicked(&self, active: &mut Option<Active>) {
        let id = self.effect.id();
        error!(run = %self.run, effect = id, "a defect: the effect's code has panicked");
        if let Effect::PerformStep { step, attempt, .. } = &self.effect {
            let why = "a defect in the program cut the attempt off".to_owned();
            return self.report(Input::StepFinished(step.clone(), *attempt, Outcome::Unknown { why }));
        }
        *active = None;
        wait(&self.shared, &self.cancel, self.shared.pace.retry_max).await;
    }

    fn snapshot(&self) -> Option<Snapshot> {
        self.shared.snapshot(&self.run)
    }

    fn job(&self, step: &StepName, attempt: u32, resumes: bool, former: Option<ProcessGroup>) -> Option<Job> {
        Some(Job { run: self.snapshot()?, step: step.clone(), attempt, resumes, former })
    }

    fn report(&self, input: Input) {
        self.shared.post(&self.run, input, None);
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

    async fn post_message(&self, active: &mut Option<Active>, key: MessageKey) {
        let mut pause = self.shared.pace.retry_first;
        let mut search = self.search;
        while let Some(run) = self.snapshot() {
            match self.shared.ports.chat.post(&run, &key, search).await {
                Ok(message) => return self.report(Input::MessagePosted(key, message)),
                Err(error) => {
                    // The answer may have been lost after the message was made.
                    search = true;
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
                let votes = ports.chat.read_votes(&run, &gate).await?;
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

    /// Waits before the next try, longer each time. `false` if the effect is no longer owed.
    async fn later(&self, active: &mut Option<Active>, error: &PortError, pause: &mut Duration) -> bool {
        let (least, seldom) = match error {
            PortError::Later { after, .. } => (*after, false),
            PortError::Gone { .. } => (None, false),
            PortError::Refused { .. } => (None, true),
        };
        warn!(run = %self.run, effect = self.effect.id(), %error, "not done yet");
        *active = None;
        if let Some(least) = least {
            // The other side counts real seconds, whatever our clock does.
            tokio::select! {
                () = self.cancel.cancelled() => return false,
                () = tokio::time::sleep(least) => {}
            }
        }
        let pace = &self.shared.pace;
        let duration = if seldom { pace.retry_max } else { *pause };
        *pause = (*pause * 2).min(pace.retry_max);
        let owed = wait(&self.shared, &self.cancel, duration).await;
        *active = Some(self.shared.activity.begin());
        owed
    }

    async fn perform_step(&self, step: StepName, attempt: u32, deadline: Timestamp, resumes: bool, former: Option<ProcessGroup>) {
        let Some(job) = self.job(&step, attempt, resumes, former) else { return };
        if self.shared.stop.is_cancelled() {
            return;
        }
        let sink = Arc::new(Sink {
            shared: Arc::clone(&self.shared),
            run: self.run.clone(),
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
            () = clock.sleep_until(deadline) => {
                self.cancel.cancel();
                timed_out(performing.await)
            }
        };
        if self.shared.stop.is_cancelled() {
            // Nothing may be journalled any more; the next holder finds the attempt cut off.
            return;
        }
        debug!(run = %self.run, %step, attempt, "attempt over");
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
        let (sender, receiver) = oneshot::channel();
        let input = Input::ChildStarted(self.step.clone(), self.attempt, group);
        if !self.shared.post(&self.run, input, Some(sender)) {
            return Err("the run takes no input any more".to_owned());
        }
        match receiver.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Refusal::Rejected(rejection))) => Err(rejection.to_string()),
            Ok(Err(Refusal::Unavailable(why))) => Err(why),
            Err(_) => Err("the engine is stopping".to_owned()),
        }
    }

    fn progress(&self, done: u64, total: Option<u64>, unit: &str, what: &str) {
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
            done_at_start,
            since,
            at,
        };
        self.shared.update(&self.run, |entry| {
            entry.progress.retain(|other| other.step != self.step);
            entry.progress.insert(0, progress);
        });
        self.views.notify_one();
    }
}

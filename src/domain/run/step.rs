//! The life of one step: begun, retried, interrupted, settled.

use serde_json::json;

use super::advance::{Draft, ask};
use super::event::{Event, Failure, FailureKind, ListRef, QuestionKind};
use super::input::Outcome;
use super::state::{StepStatus, with_of};
use crate::domain::runbook::{IfInterrupted, Step, TIMEOUT_DEFAULT, TIMEOUT_HUMAN_DEFAULT, Wait};
use crate::domain::{Interruption, StepKind, StepName, Timestamp};

/// Moves one step on as far as state and time allow. `held` means that nothing new may start.
pub(super) fn advance(draft: &mut Draft, name: &StepName, held: bool) -> bool {
    let state = draft.state.step(name);
    match state.status.clone() {
        StepStatus::Pending => begin(draft, name, held),
        StepStatus::Running(attempt) => time_passes(draft, name, attempt.deadline),
        StepStatus::Waiting { retry_at } => !held && retry_at <= draft.now && start_attempt(draft, name, false),
        StepStatus::Interrupted { attempt, reason, next } => match next {
            Interruption::Probe => false,
            Interruption::Ask => ask(draft, QuestionKind::UnknownOutcome { step: name.clone(), attempt, why: reason }),
            Interruption::Repeat => !held && start_attempt(draft, name, false),
            Interruption::Resume => !held && start_attempt(draft, name, true),
        },
        StepStatus::Asserted { .. } | StepStatus::Succeeded | StepStatus::Failed(_) | StepStatus::Skipped => false,
    }
}

fn begin(draft: &mut Draft, name: &StepName, held: bool) -> bool {
    let guarded = definition(draft, name).when.is_some();
    match draft.state.step(name).when {
        None if guarded => false,
        Some(false) => {
            draft.push(Event::StepSkipped { step: name.clone() });
            true
        }
        None | Some(true) => !held && start_attempt(draft, name, false),
    }
}

fn definition(draft: &Draft, name: &StepName) -> Step {
    draft.state.runbook().step(name).cloned().expect("the fold has states for the runbook's steps only")
}

fn start_attempt(draft: &mut Draft, name: &StepName, resumes: bool) -> bool {
    let step = definition(draft, name);
    let kind = draft.state.kind(name);
    let deadline = deadline(draft, &step, kind);
    let attempt = draft.state.step(name).attempts + 1;
    draft.push(Event::StepStarted { step: name.clone(), attempt, deadline, resumes });
    if draft.state.is_dry_run() && kind != StepKind::Action {
        let result = json!({ "simulated": true });
        let checks = Vec::new();
        draft.push(Event::StepSucceeded {
            step: name.clone(),
            attempt,
            result,
            simulated: true,
            checks,
            output: None,
            asserted_by: None,
        });
    }
    true
}

/// When the attempt ends if nothing else ends it. For a wait, that is its purpose.
fn deadline(draft: &Draft, step: &Step, kind: StepKind) -> Timestamp {
    let timeout = |default| draft.now + step.timeout.unwrap_or(default).delta();
    match kind {
        StepKind::Action => timeout(TIMEOUT_DEFAULT),
        StepKind::Confirm | StepKind::Checklist => timeout(TIMEOUT_HUMAN_DEFAULT),
        StepKind::Wait => {
            let wait: Wait = with_of(step).unwrap_or(Wait { duration: None, until: None });
            let until = wait.until.map(|offset| draft.state.started.t_zero + offset.delta());
            until.unwrap_or(draft.now + wait.duration.unwrap_or_default().delta()).max(draft.now)
        }
    }
}

/// What the clock does to a running step that nobody performs. Those that are performed are timed by the performer.
fn time_passes(draft: &mut Draft, name: &StepName, deadline: Timestamp) -> bool {
    let kind = draft.state.kind(name);
    if kind == StepKind::Checklist && draft.state.is_ticked(&ListRef::Step(name.clone())) {
        let by: Vec<_> =
            draft.state.ticked.get(&ListRef::Step(name.clone())).into_iter().flatten().map(|(_, p)| p.name.clone()).collect();
        return succeed(draft, name, json!({ "ticked_by": by }));
    }
    if deadline > draft.now {
        return false;
    }
    match kind {
        StepKind::Action => return false,
        StepKind::Wait => return succeed(draft, name, json!({ "waited_until": deadline.to_rfc3339() })),
        StepKind::Confirm | StepKind::Checklist => fail(draft, name, FailureKind::TimedOut, "nobody answered in time"),
    }
    true
}

/// Settles a step that nobody performs.
pub(super) fn succeed(draft: &mut Draft, name: &StepName, result: serde_json::Value) -> bool {
    let attempt = draft.state.step(name).attempts;
    let (checks, output) = (Vec::new(), None);
    draft.push(Event::StepSucceeded { step: name.clone(), attempt, result, simulated: false, checks, output, asserted_by: None });
    true
}

/// Fails a step for good.
pub(super) fn fail(draft: &mut Draft, name: &StepName, kind: FailureKind, message: &str) {
    let attempt = draft.state.step(name).attempts;
    let failure = Failure { kind, message: message.to_owned(), retryable: false };
    draft.push(Event::StepFailed { step: name.clone(), attempt, failure, checks: Vec::new(), output: None, retry_at: None });
}

/// Takes in what came of an attempt. An outcome of an attempt that is not under way is old news and changes nothing.
pub(super) fn finish(draft: &mut Draft, name: &StepName, attempt: u32, outcome: Outcome) {
    let Some(step) = draft.state.steps.get(name) else { return };
    if !step.is_under_way() || step.attempts != attempt {
        return;
    }
    match outcome {
        Outcome::Succeeded { result, simulated, checks, output } => {
            draft.push(Event::StepSucceeded {
                step: name.clone(),
                attempt,
                result,
                simulated,
                checks,
                output,
                asserted_by: None,
            });
        }
        Outcome::Failed { failure, checks, output } => {
            let retry_at = retry_at(draft, name, &failure);
            draft.push(Event::StepFailed { step: name.clone(), attempt, failure, checks, output, retry_at });
        }
        Outcome::Unknown { why } => interrupt(draft, name, attempt, why),
    }
}

fn retry_at(draft: &Draft, name: &StepName, failure: &Failure) -> Option<Timestamp> {
    let retry = definition(draft, name).retry;
    let failures = draft.state.step(name).failures + 1;
    let halting = draft.state.is_halting() && !draft.state.is_rollback_step(name);
    // What was cut off may have taken half its effect: that is repeated only if twice is as good as once.
    let cut_off = matches!(failure.kind, FailureKind::TimedOut | FailureKind::Cancelled);
    let may_repeat = !cut_off || is_repeatable(draft, name);
    (failure.retryable && may_repeat && failures < retry.attempts && !halting)
        .then(|| draft.now + retry.wait_after(failures).delta())
}

/// Whether doing it again is harmless whatever became of the attempt before.
fn is_repeatable(draft: &Draft, name: &StepName) -> bool {
    let traits = draft.state.plan().traits(name);
    if !traits.effect || draft.state.is_dry_run() {
        return true;
    }
    match (definition(draft, name).if_interrupted, traits.interruption) {
        (Some(IfInterrupted::Repeat), _) | (None, Interruption::Repeat) | (_, Interruption::Resume) => true,
        (Some(IfInterrupted::Ask), _) | (None, Interruption::Probe | Interruption::Ask) => false,
    }
}

/// How many attempts of a step may be cut off, since a person last had it tried again, before the run asks instead of
/// beginning another by itself.
const INTERRUPTIONS_MAX: u32 = 5;

/// Journals that an attempt's outcome is unknown, and what happens now.
pub(super) fn interrupt(draft: &mut Draft, name: &StepName, attempt: u32, reason: String) {
    let step = definition(draft, name);
    let traits = draft.state.plan().traits(name);
    // What changes nothing can always be done again, and so can everything in a rehearsal.
    let harmless = !traits.effect || draft.state.is_dry_run();
    let next = match (step.if_interrupted, traits.interruption) {
        (_, Interruption::Resume) => Interruption::Resume,
        _ if harmless => Interruption::Repeat,
        (Some(IfInterrupted::Repeat), _) => Interruption::Repeat,
        (Some(IfInterrupted::Ask), _) => Interruption::Ask,
        (None, declared) => declared,
    };
    // An attempt that is cut off again and again may be what stops the bot: then a person decides.
    let cut_off = draft.state.step(name).interruptions + 1;
    let by_itself = matches!(next, Interruption::Repeat | Interruption::Resume);
    let next = if by_itself && cut_off >= INTERRUPTIONS_MAX { Interruption::Ask } else { next };
    draft.push(Event::StepInterrupted { step: name.clone(), attempt, reason, next });
}

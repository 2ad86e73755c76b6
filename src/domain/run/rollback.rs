//! The way back: armed or behind its own gate.

use super::advance::{Draft, ask, closing_until, halt, stop};
use super::event::{Actor, End, Event, FailureKind, QuestionKind};
use super::rejection::Rejection;
use super::schedule::rollback_target_at;
use super::state::{RollbackStage, State, StepStatus};
use super::{gate, step};
use crate::domain::{Duration, RollbackName, StepName};

/// Moves a rollback on as far as state and time allow.
pub(super) fn advance(draft: &mut Draft) -> bool {
    let Some(rollback) = draft.state.rollback.clone() else { return false };
    match rollback.stage {
        RollbackStage::AwaitingGate => {
            let name = &rollback.name;
            match gate::enter_rollback(draft, name) {
                gate::Entrance::Changed => true,
                gate::Entrance::Closed => false,
                gate::Entrance::Open => begin(draft, name, rollback.by, rollback.reason),
            }
        }
        RollbackStage::Running { .. } => halt(draft) || (draft.state.is_halted() && steps(draft, &rollback.name)),
    }
}

fn steps(draft: &mut Draft, name: &RollbackName) -> bool {
    let steps = draft.state.rollback_definition(name).map(|rollback| rollback.steps.clone()).unwrap_or_default();
    let Some(next) = draft.state.next_step(&steps).map(|step| step.step.clone()) else { return finish(draft, name) };
    if let StepStatus::Failed(failure) = &draft.state.step(&next).status {
        let message = failure.message.clone();
        return ask(draft, QuestionKind::StepFailed { step: next, message });
    }
    step::advance(draft, &next, false)
}

fn finish(draft: &mut Draft, name: &RollbackName) -> bool {
    let since = draft.state.rollback.as_ref().map_or(draft.now, |rollback| rollback.since);
    draft.push(Event::RollbackFinished { rollback: name.clone(), took: Duration::between(since, draft.now) });
    let another = draft.state.possible_rollbacks().next().is_some();
    if !another {
        draft.push(Event::Ended { end: End::RolledBack, by: None, reason: None });
    } else if draft.state.closing.is_none() {
        let until = closing_until(&draft.state, draft.now);
        draft.push(Event::ClosingBegan { end: End::RolledBack, until });
    }
    true
}

fn begin(draft: &mut Draft, name: &RollbackName, by: Actor, reason: String) -> bool {
    let target_at = rollback_target_at(&draft.state, name, draft.now);
    draft.push(Event::RollbackStarted { rollback: name.clone(), by, reason, target_at });
    true
}

/// Starts the rollback that a phase names for its failure. `false` if it is impossible by now.
pub(super) fn on_failure(draft: &mut Draft, name: &RollbackName, failed: StepName, message: &str) -> bool {
    let possible = draft.state.possible_rollbacks().any(|(possible, _)| possible == name);
    if !possible {
        return false;
    }
    let (by, reason) = (Actor::OnFailure { step: failed }, message.to_owned());
    if draft.state.armed.contains_key(name) {
        return begin(draft, name, by, reason);
    }
    draft.push(Event::RollbackRequested { rollback: name.clone(), by, reason });
    true
}

/// Starts a rollback that somebody asks for, or opens its gate.
pub(super) fn request(draft: &mut Draft, name: Option<RollbackName>, by: Actor, reason: String) -> Result<(), Rejection> {
    let state = &draft.state;
    if state.is_dry_run() {
        return Err(Rejection::DryRun { what: "roll back" });
    }
    if state.rollback.as_ref().is_some_and(|rollback| rollback.stage != RollbackStage::AwaitingGate) {
        return Err(Rejection::RollbackUnderWay);
    }
    if state.effects_began_at.is_none() {
        return Err(Rejection::NothingToRollBack);
    }
    let name = choose(state, name)?;
    let definition = state.rollback_definition(&name).expect("chosen from the runbook's rollbacks");
    if state.rolled_back.contains(&name) {
        return Err(Rejection::AlreadyRolledBack { rollback: name });
    }
    if let Some(until) = state.no_return(definition) {
        return Err(Rejection::PastNoReturn { rollback: name, because: until.because.clone() });
    }
    let armed = state.armed.contains_key(&name);
    match &by {
        Actor::Person(person) if !person.holds_any(&definition.allow) => {
            return Err(Rejection::RoleMissing { what: "starting this rollback", roles: definition.allow.clone() });
        }
        Actor::Host { .. } if !armed => return Err(Rejection::NotArmed { rollback: name }),
        Actor::Person(_) | Actor::Host { .. } | Actor::OnFailure { .. } => {}
    }
    if armed {
        begin(draft, &name, by, reason);
    } else if state.rollback.as_ref().is_some_and(|asked| asked.name == name) {
        // Its gate is open already: the card says who is missing.
    } else {
        draft.push(Event::RollbackRequested { rollback: name, by, reason });
    }
    Ok(())
}

fn choose(state: &State, name: Option<RollbackName>) -> Result<RollbackName, Rejection> {
    let known = || state.runbook().rollback.keys().cloned().collect::<Vec<_>>();
    if let Some(name) = name {
        return if state.rollback_definition(&name).is_some() {
            Ok(name)
        } else {
            Err(Rejection::UnknownRollback { known: known() })
        };
    }
    let possible: Vec<&RollbackName> = state.possible_rollbacks().map(|(name, _)| name).collect();
    let armed: Vec<&RollbackName> = possible.iter().copied().filter(|name| state.armed.contains_key(*name)).collect();
    match (armed.as_slice(), possible.as_slice()) {
        ([only], _) | ([], [only]) => Ok((*only).clone()),
        ([], []) => match known().as_slice() {
            // The only one is past its point of no return or done: its own refusal says more than a list.
            [only] => Ok(only.clone()),
            _ => Err(Rejection::UnknownRollback { known: known() }),
        },
        _ => Err(Rejection::WhichRollback { known: known() }),
    }
}

/// Gives a rollback up whose step failed or is of unknown outcome: the run closes as failed, and the rollback can be
/// started again.
pub(super) fn give_up(draft: &mut Draft, kind: &QuestionKind) {
    if let QuestionKind::UnknownOutcome { step, .. } = kind {
        step::fail(draft, step, FailureKind::Cancelled, "its outcome stays unknown: the rollback was stopped");
    }
    stop(draft, End::Failed);
}

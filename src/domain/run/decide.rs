//! Deciding: what follows from an input. May refuse, never acts.

use super::advance::{Draft, advance, stop};
use super::event::{Answer, End, Event, FailureKind, Finding, GateRef, ListRef, QuestionKind, Reading};
use super::gate::{self, Recheck};
use super::input::{Input, Outcome};
use super::message::{MessageKind, Owed, Place};
use super::rejection::Rejection;
use super::rollback;
use super::state::{Review, RollbackStage, State, StepStatus, confirmation};
use super::step;
use crate::domain::{ChannelId, MessageKey, MessageRef, Person, StepKind, StepName, Timestamp, gist};

/// The events that follow from `input` at `now`, everything that comes next by itself included. Empty if
/// nothing changes: an observation that says nothing new, an outcome of an attempt that is over.
///
/// # Errors
/// A [`Rejection`] if a person asked for something that is not allowed now; nothing changes then.
pub fn decide(state: &State, now: Timestamp, input: Input) -> Result<Vec<Event>, Rejection> {
    let mut draft = Draft::new(state, now);
    if let Some(ending) = &state.end {
        after_the_end(&mut draft, ending.end, input)?;
    } else {
        apply(&mut draft, input)?;
        gate::leave_out_who_acted(&mut draft);
    }
    advance(&mut draft);
    Ok(draft.events)
}

/// Once a run is over, only its messages go on: what it still owes becomes visible, people are told that it is over.
fn after_the_end(draft: &mut Draft, end: End, input: Input) -> Result<(), Rejection> {
    match input {
        Input::ThreadOpened(_)
        | Input::MessagePosted(..)
        | Input::IncidentOpened(_)
        | Input::ReviewPublished { .. }
        | Input::ReviewDelayed { .. } => apply(draft, input),
        // What is owed in a thread that is gone would never be seen.
        Input::ThreadLost(_) if owes_in_thread(&draft.state) => apply(draft, input),
        // Without its plan card a run has no thread, and without a thread nobody is told how it ended.
        Input::MessageLost(..) if draft.state.thread.is_none() => apply(draft, input),
        Input::BreakGlass { .. }
        | Input::TickItem { .. }
        | Input::Confirm { .. }
        | Input::Answer { .. }
        | Input::Pause { .. }
        | Input::Resume { .. }
        | Input::Abort { .. }
        | Input::Close { .. }
        | Input::Rollback { .. } => Err(Rejection::AlreadyEnded { end }),
        Input::Tick
        | Input::Rebooted
        | Input::ThreadLost(_)
        | Input::MessageLost(..)
        | Input::VotesRead { .. }
        | Input::VoteRemoved { .. }
        | Input::GateMeasured { .. }
        | Input::GateRechecked { .. }
        | Input::WhenEvaluated(..)
        | Input::ChildStarted(..)
        | Input::StepFinished(..)
        | Input::StepProbed(..)
        | Input::StepChecked { .. } => Ok(()),
    }
}

fn apply(draft: &mut Draft, input: Input) -> Result<(), Rejection> {
    match input {
        Input::Tick => {}
        Input::Rebooted => reboot(draft),
        Input::ThreadOpened(thread) => {
            if draft.state.thread != Some(thread) {
                draft.push(Event::ThreadOpened { thread });
            }
        }
        Input::ThreadLost(thread) => {
            if draft.state.thread == Some(thread) {
                thread_lost(draft, thread);
            }
        }
        Input::MessagePosted(key, message, told) => {
            if let Some(owed) = draft.state.owed.iter().find(|owed| owed.key == key && owed.posted.is_none()) {
                let untold = owed.kind.stands_for().saturating_sub(told.max(1));
                draft.push(Event::MessagePosted { key, message, untold });
            }
        }
        Input::MessageLost(key, message) => message_lost(draft, key, message),
        Input::VotesRead { gate, card, votes } => gate::votes_observed(draft, &gate, card, &votes),
        Input::VoteRemoved { gate, card, user, vote } => gate::vote_removed(draft, &gate, card, user, vote),
        Input::GateMeasured { gate, card, readings } => gate::measurement_observed(draft, &gate, card, readings),
        Input::GateRechecked { gate, card, votes, readings, targets_changed } => {
            gate::recheck(draft, &gate, card, Recheck { votes, readings, targets_changed });
        }
        Input::BreakGlass { by, reason, other_holders } => {
            gate::break_glass(draft, by, given(reason)?, other_holders)?;
        }
        Input::WhenEvaluated(step, result) => when_evaluated(draft, step, result),
        Input::ChildStarted(step, attempt, group) => {
            let under_way = draft.state.steps.get(&step).is_some_and(|s| s.is_under_way() && s.attempts == attempt);
            if under_way {
                draft.push(Event::ChildStarted { step, attempt, group });
            }
        }
        Input::StepFinished(step, attempt, outcome) => step::finish(draft, &step, attempt, outcome),
        Input::StepProbed(step, attempt, finding) => probed(draft, step, attempt, finding),
        Input::StepChecked { step, attempt, result, checks } => checked(draft, &step, attempt, result, checks),
        Input::TickItem { list, item, ticked, by } => tick_item(draft, list, item, ticked, by)?,
        Input::Confirm { step, yes, by } => confirm(draft, &step, yes, &by)?,
        Input::Answer { question, answer, reason, by } => answered(draft, question, answer, reason, by)?,
        Input::Pause { by, reason } => pause(draft, by, reason)?,
        Input::Resume { by } => resume(draft, by)?,
        Input::Abort { by, reason } => abort(draft, by, reason)?,
        Input::Close { by, reason } => close(draft, by, reason)?,
        Input::IncidentOpened(incident) => {
            if draft.state.incident.is_none() {
                draft.push(Event::IncidentOpened { incident });
            }
        }
        Input::ReviewPublished { gate, card, at } => {
            if owes_review(&draft.state, &gate, card).is_some() {
                draft.push(Event::ReviewPublished { gate, card, at });
            }
        }
        Input::ReviewDelayed { gate, card, why } => {
            // Tried again for hours, it may fail in the same few ways over and over: each is told once.
            if owes_review(&draft.state, &gate, card).is_some_and(|review| !review.delays_told.contains(&gist(&why))) {
                draft.push(Event::ReviewDelayed { gate, card, why });
            }
        }
        Input::Rollback { rollback, by, reason } => {
            rollback::request(draft, rollback, by, given(reason)?)?;
        }
    }
    Ok(())
}

/// The review of this card, as long as it is owed.
fn owes_review<'a>(state: &'a State, gate: &GateRef, card: u32) -> Option<&'a Review> {
    state.reviews.iter().find(|review| review.gate == *gate && review.card == card && review.issue.is_none())
}

fn given(reason: String) -> Result<String, Rejection> {
    if reason.trim().is_empty() { Err(Rejection::ReasonMissing) } else { Ok(reason) }
}

fn owes_in_thread(state: &State) -> bool {
    state.owed.iter().any(|owed| owed.place == Place::Thread && owed.posted.is_none())
}

/// The thread is gone with every card in it: votes on them are void, and what may still be signed gets a new card.
fn thread_lost(draft: &mut Draft, thread: ChannelId) {
    let cards: Vec<(GateRef, u32)> = draft.state.owed.iter().filter(|owed| owed.posted.is_some()).filter_map(gate_card).collect();
    draft.push(Event::ThreadLost { thread });
    if draft.state.end.is_none() {
        cards.iter().for_each(|(gate, card)| gate::card_lost(draft, gate, *card));
    }
}

fn gate_card(owed: &Owed) -> Option<(GateRef, u32)> {
    match &owed.kind {
        MessageKind::GateCard { gate, card } => Some((gate.clone(), *card)),
        MessageKind::PlanCard
        | MessageKind::Progress
        | MessageKind::Question { .. }
        | MessageKind::Confirm { .. }
        | MessageKind::Checklist { .. }
        | MessageKind::Afterwards
        | MessageKind::Note(_)
        | MessageKind::Beat { .. }
        | MessageKind::Summary => None,
    }
}

fn message_lost(draft: &mut Draft, key: MessageKey, message: MessageRef) {
    let Some(owed) = draft.state.owed.iter().find(|owed| owed.key == key && owed.posted == Some(message)) else { return };
    // What was said once, or is settled, and then deleted by somebody is not said again.
    match gate_card(owed) {
        Some((gate, card)) => gate::card_lost(draft, &gate, card),
        None if draft.state.is_needed(owed) => draft.push(Event::MessageLost { key }),
        None => {}
    }
}

/// The bot starts and finds attempts that nobody performs any more.
fn reboot(draft: &mut Draft) {
    draft.push(Event::Rebooted);
    let cut_off: Vec<(StepName, u32)> = draft
        .state
        .steps
        .iter()
        .filter(|(name, _)| draft.state.kind(name) == StepKind::Action)
        .filter_map(|(name, step)| match &step.status {
            StepStatus::Running(attempt) => Some((name.clone(), attempt.number)),
            StepStatus::Pending
            | StepStatus::Waiting { .. }
            | StepStatus::Interrupted { .. }
            | StepStatus::Asserted { .. }
            | StepStatus::Succeeded
            | StepStatus::Failed(_)
            | StepStatus::Skipped => None,
        })
        .collect();
    for (name, attempt) in cut_off {
        step::interrupt(draft, &name, attempt, "the bot was restarted while it was under way".to_owned());
    }
}

fn when_evaluated(draft: &mut Draft, step: StepName, result: Result<bool, String>) {
    let waiting = draft.state.steps.get(&step).is_some_and(|s| s.status == StepStatus::Pending && s.when.is_none());
    if !waiting {
        return;
    }
    match result {
        Ok(holds) => draft.push(Event::WhenEvaluated { step, holds }),
        Err(why) => step::fail(draft, &step, FailureKind::Failed, &format!("its `when` cannot be evaluated: {why}")),
    }
}

fn probed(draft: &mut Draft, step: StepName, attempt: u32, finding: Finding) {
    let interrupted = draft
        .state
        .steps
        .get(&step)
        .is_some_and(|s| matches!(s.status, StepStatus::Interrupted { attempt: a, .. } if a == attempt));
    if interrupted {
        draft.push(Event::StepProbed { step, attempt, finding });
    }
}

fn checked(draft: &mut Draft, step: &StepName, attempt: u32, result: serde_json::Value, checks: Vec<Reading>) {
    let Some(StepStatus::Asserted { attempt: asserted, by, .. }) = draft.state.steps.get(step).map(|s| s.status.clone()) else {
        return;
    };
    if asserted != attempt {
        return;
    }
    match checks.iter().find(|check| !check.is_green()) {
        None => draft.push(Event::StepSucceeded {
            step: step.clone(),
            attempt,
            result,
            simulated: false,
            checks,
            output: None,
            asserted_by: by,
        }),
        Some(red) => {
            let message = format!("it is said to have happened, but a check is not green: {}", red.says);
            let failure = super::event::Failure { kind: FailureKind::CheckFailed, message, retryable: false };
            step::finish(draft, step, attempt, Outcome::Failed { failure, checks, output: None });
        }
    }
}

fn tick_item(draft: &mut Draft, list: ListRef, item: usize, ticked: bool, by: Person) -> Result<(), Rejection> {
    let open = match &list {
        ListRef::Afterwards => draft.state.closing.is_some_and(|closing| closing.end == End::Succeeded),
        ListRef::Step(step) => matches!(draft.state.steps.get(step).map(|s| &s.status), Some(StepStatus::Running(_))),
    };
    let items = draft.state.list_items(&list);
    let Some(definition) = items.get(item).filter(|_| open) else { return Err(Rejection::NotWaiting) };
    if !by.holds_any([&definition.owner]) {
        return Err(Rejection::RoleMissing { what: "ticking this item", roles: vec![definition.owner.clone()] });
    }
    let now_ticked = draft.state.ticked.get(&list).is_some_and(|items| items.contains_key(&item));
    if now_ticked != ticked {
        draft.push(Event::ItemTicked { list, item, ticked, by });
    }
    Ok(())
}

fn confirm(draft: &mut Draft, step: &StepName, yes: bool, by: &Person) -> Result<(), Rejection> {
    let waiting = matches!(draft.state.steps.get(step).map(|s| &s.status), Some(StepStatus::Running(_)));
    let asked = draft.state.runbook().step(step).and_then(confirmation).filter(|_| waiting);
    let Some(asked) = asked else { return Err(Rejection::NotWaiting) };
    if !by.holds_any([&asked.owner]) {
        return Err(Rejection::RoleMissing { what: "answering this", roles: vec![asked.owner] });
    }
    if yes {
        step::succeed(draft, step, serde_json::json!({ "confirmed_by": by.name }));
    } else {
        step::fail(draft, step, FailureKind::Declined, &format!("{} answered no: {}", by.name, asked.question));
    }
    Ok(())
}

fn answered(draft: &mut Draft, id: u32, answer: Answer, reason: String, by: Person) -> Result<(), Rejection> {
    let question = draft.state.question.clone().filter(|question| question.id == id).ok_or(Rejection::QuestionGone)?;
    let fits = match (&question.kind, answer) {
        (QuestionKind::UnknownOutcome { .. }, Answer::Happened | Answer::DidNotHappen | Answer::Stop)
        | (QuestionKind::Late { .. }, Answer::Proceed | Answer::Stop)
        | (QuestionKind::StepFailed { .. }, Answer::Retry | Answer::Stop) => true,
        (QuestionKind::UnknownOutcome { .. }, Answer::Proceed | Answer::Retry)
        | (QuestionKind::Late { .. }, Answer::Happened | Answer::DidNotHappen | Answer::Retry)
        | (QuestionKind::StepFailed { .. }, Answer::Happened | Answer::DidNotHappen | Answer::Proceed) => false,
    };
    if !fits {
        return Err(Rejection::WrongAnswer);
    }
    if !by.holds_any(&question.answerers) {
        return Err(Rejection::RoleMissing { what: "answering this", roles: question.answerers.into_iter().collect() });
    }
    let settles_a_fact = matches!(question.kind, QuestionKind::UnknownOutcome { .. });
    if settles_a_fact && by.id == draft.state.started.requester.id {
        return Err(Rejection::Requester { what: "settle whether it happened" });
    }
    let reason = given(reason)?;
    let of_rollback = draft.state.rollback.is_some();
    draft.push(Event::Answered { question: id, answer, by, reason });
    if answer == Answer::Stop {
        if of_rollback { rollback::give_up(draft, &question.kind) } else { stop_forward(draft, &question.kind) }
    }
    Ok(())
}

/// Carries out `Stop`: a step of unknown outcome is given up first, or it would be asked about again.
fn stop_forward(draft: &mut Draft, kind: &QuestionKind) {
    if let QuestionKind::UnknownOutcome { step, .. } = kind {
        step::fail(draft, step, FailureKind::Cancelled, "its outcome stays unknown: the run was stopped");
    }
    stop(draft, End::Failed);
}

fn pause(draft: &mut Draft, by: Person, reason: String) -> Result<(), Rejection> {
    forward_only(&draft.state)?;
    if draft.state.pause.is_some() {
        return Err(Rejection::AlreadyPaused);
    }
    draft.push(Event::Paused { by: Some(by), reason: given(reason)? });
    Ok(())
}

/// Pausing and aborting are for the way forward.
fn forward_only(state: &State) -> Result<(), Rejection> {
    if state.rollback.as_ref().is_some_and(|rollback| rollback.stage != RollbackStage::AwaitingGate) {
        return Err(Rejection::RollbackUnderWay);
    }
    if state.closing.is_some() {
        return Err(Rejection::AlreadyClosing);
    }
    if state.abort.is_some() {
        return Err(Rejection::AlreadyAborting);
    }
    Ok(())
}

fn resume(draft: &mut Draft, by: Person) -> Result<(), Rejection> {
    let paused = draft.state.pause.is_some();
    if paused {
        draft.push(Event::Unpaused { by });
    }
    let reopened = draft.state.rollback.is_none() && draft.state.closing.is_none() && gate::reopen(draft);
    if paused || reopened { Ok(()) } else { Err(Rejection::NotPaused) }
}

fn abort(draft: &mut Draft, by: Person, reason: String) -> Result<(), Rejection> {
    forward_only(&draft.state)?;
    draft.push(Event::AbortRequested { by, reason: given(reason)? });
    Ok(())
}

fn close(draft: &mut Draft, by: Person, reason: String) -> Result<(), Rejection> {
    if draft.state.rollback.is_some() {
        return Err(Rejection::RollbackUnderWay);
    }
    let Some(closing) = draft.state.closing else { return Err(Rejection::NotClosing) };
    draft.push(Event::Ended { end: closing.end, by: Some(by), reason: Some(given(reason)?) });
    Ok(())
}

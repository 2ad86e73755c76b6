//! The fold: one event at a time, live and on resume alike. It believes what was journalled and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::{Change, ChangeKind};
use super::event::{Answer, End, Event, GateRef, GateRefusal, ListRef, Question, QuestionKind, Started};
use super::message::{MessageKind, Owed, Place};
use super::state::{
    Armed, Attempt, Closing, Ending, Gate, Pause, Review, RollbackStage, RollbackState, Stamp, Standing, State, StepState,
    StepStatus,
};
use crate::domain::beat::{Beat, Rest};
use crate::domain::{CorruptJournal, MessageKey, MessageRef, RollbackName, StepKind, StepName, Timestamp, gist};

/// The state after a run's first event.
///
/// # Errors
/// [`CorruptJournal`] if it is not [`Event::Started`].
pub fn begin(at: Timestamp, event: &Event) -> Result<State, CorruptJournal> {
    let Event::Started(started) = event else {
        return Err(CorruptJournal { seq: 1, what: "a run begins with `started`".to_owned() });
    };
    if let Some(step) = started.plan.runbook.all_steps().find(|step| !started.plan.steps.contains_key(&step.step)) {
        return Err(CorruptJournal { seq: 1, what: format!("its plan does not describe the step `{}`", step.step) });
    }
    let steps = started.plan.runbook.all_steps().map(|step| (step.step.clone(), StepState::pending())).collect();
    Ok(State {
        started: Arc::new(Started::clone(started)),
        started_at: at,
        thread: None,
        owed: vec![
            live(at, "plan", MessageKind::PlanCard, Place::Channel),
            live(at, "progress", MessageKind::Progress, Place::Thread),
        ],
        steps,
        gates: BTreeMap::new(),
        armed: BTreeMap::new(),
        excused: BTreeSet::new(),
        question: None,
        questions_asked: 0,
        pause: None,
        abort: None,
        rollback: None,
        rolled_back: Vec::new(),
        effects_began_at: None,
        beat: None,
        trouble: None,
        incident: started.incident,
        reviews: Vec::new(),
        ticked: BTreeMap::new(),
        acted: BTreeSet::new(),
        rehearsal_red: false,
        closing: None,
        end: None,
        changes: Vec::new(),
        seq: 1,
        changed_at: at,
    })
}

/// The state after one more event.
///
/// # Errors
/// [`CorruptJournal`] if the event cannot follow: an unknown step or gate, a second start, anything but
/// messages after the end.
pub fn evolve(mut state: State, at: Timestamp, event: &Event) -> Result<State, CorruptJournal> {
    let stamp = Stamp { seq: state.seq + 1, at };
    let corrupt = |what: &str| CorruptJournal { seq: stamp.seq, what: what.to_owned() };
    if state.end.is_some() && !is_about_messages(event) {
        return Err(corrupt("the run has ended"));
    }
    if let Some(note) = stamp.note(event).filter(|note| !is_repeated(&state, note)) {
        state.owed.push(note);
    }
    state.changes.extend(ChangeKind::of(event).map(|kind| Change { at, kind }));
    match event {
        Event::Started(_) => return Err(corrupt("a run starts once")),
        Event::Rebooted => {}
        Event::ThreadOpened { thread } => state.thread = Some(*thread),
        Event::ThreadLost { .. } => thread_lost(&mut state, at),
        Event::MessagePosted { key, message, untold } => {
            posted(&mut state, at, key, Some(*message)).ok_or_else(|| corrupt("nobody owed this message"))?;
            owe_the_rest(&mut state, stamp, key, *untold);
        }
        Event::MessageLost { key } => posted(&mut state, at, key, None).ok_or_else(|| corrupt("nobody owed this message"))?,
        Event::GateOpened { .. }
        | Event::CriteriaMeasured { .. }
        | Event::SignOffGranted { .. }
        | Event::SignOffWithdrawn { .. }
        | Event::VoteRefused { .. }
        | Event::RefusedVoteRemoved { .. }
        | Event::GateWarned { .. }
        | Event::GateCardLost { .. }
        | Event::QuorumReached { .. }
        | Event::ClearanceFailed { .. }
        | Event::GateRefused { .. }
        | Event::GlassBroken { .. }
        | Event::GateCleared { .. }
        | Event::RollbackArmed { .. } => fold_gate(&mut state, stamp, event).ok_or_else(|| corrupt("no such gate was opened"))?,
        Event::WhenEvaluated { .. }
        | Event::StepStarted { .. }
        | Event::ChildStarted { .. }
        | Event::StepSucceeded { .. }
        | Event::StepFailed { .. }
        | Event::StepInterrupted { .. }
        | Event::StepProbed { .. }
        | Event::StepSkipped { .. } => {
            fold_step(&mut state, stamp, event).ok_or_else(|| corrupt("the runbook has no such step"))?
        }
        Event::ItemTicked { list, item, ticked, by } => {
            let items = state.ticked.entry(list.clone()).or_default();
            if *ticked {
                items.insert(*item, by.clone());
            } else {
                items.remove(item);
            }
        }
        Event::Asked(question) => {
            let kind = MessageKind::Question { id: question.id };
            state.owed.push(live(at, &format!("question/{}", question.id), kind, Place::Thread));
            if let QuestionKind::StepFailed { step, message } = &question.kind {
                call_for_help(&mut state, format!("step `{step}` failed: {message}"));
            }
            state.questions_asked = question.id;
            state.question = Some(question.clone());
        }
        Event::Answered { question, answer, by, .. } => {
            let open =
                state.question.take().filter(|open| open.id == *question).ok_or_else(|| corrupt("no such question was open"))?;
            state.acted.insert(by.id);
            fold_answer(&mut state, &open, *answer, by);
        }
        Event::Paused { by, reason } => {
            state.acted.extend(by.as_ref().map(|person| person.id));
            state.pause = Some(Pause { by: by.clone(), reason: reason.clone(), since: at });
        }
        Event::Unpaused { by } => {
            state.acted.insert(by.id);
            state.pause = None;
        }
        Event::AbortRequested { by, reason } => {
            state.question = None;
            state.abort = Some(Pause { by: Some(by.clone()), reason: reason.clone(), since: at });
        }
        Event::RollbackRequested { .. } | Event::RollbackStarted { .. } | Event::RollbackFinished { .. } => {
            fold_rollback(&mut state, stamp, event).ok_or_else(|| corrupt("the runbook has no such rollback"))?;
        }
        Event::ClosingBegan { end, until } => {
            state.closing = Some(Closing { end: *end, until: *until });
            state.pause = None;
            state.beat = None;
            if matches!(end, End::Failed) {
                let why = failed_step(&state).unwrap_or_else(|| "it could not go on".to_owned());
                call_for_help(&mut state, why);
            }
            let asked_for = state.owed.iter().any(|owed| owed.kind == MessageKind::Afterwards);
            if *end == End::Succeeded && !state.runbook().afterwards.is_empty() && !asked_for {
                state.owed.push(live(at, "afterwards", MessageKind::Afterwards, Place::Thread));
            }
        }
        Event::StatusDue { due, missed, next } => status_due(&mut state, stamp, *due, *missed, *next),
        Event::IncidentOpened { incident } => state.incident = Some(*incident),
        Event::ReviewPublished { gate, card, at } => {
            let review = review(&mut state, gate, *card).ok_or_else(|| corrupt("no such review was owed"))?;
            review.issue = Some(at.clone());
            review.delayed = None;
        }
        Event::ReviewDelayed { gate, card, why } => {
            let review = review(&mut state, gate, *card).ok_or_else(|| corrupt("no such review was owed"))?;
            review.delays_told.insert(gist(why));
            review.delayed = Some(why.clone());
        }
        Event::Ended { end, by, reason } => {
            state.beat = None;
            state.end = Some(Ending { end: *end, at, by: by.clone(), reason: reason.clone() });
            state.owed.push(live(at, "summary", MessageKind::Summary, Place::Thread));
        }
    }
    state.seq = stamp.seq;
    state.changed_at = at;
    Ok(state)
}

/// Whether the last thing said was the same: a bot that is restarted again and again says so once.
fn is_repeated(state: &State, note: &Owed) -> bool {
    let reboot = MessageKind::Note(Box::new(Event::Rebooted));
    note.kind == reboot && state.owed.last().is_some_and(|last| last.kind == reboot)
}

fn is_about_messages(event: &Event) -> bool {
    matches!(
        event,
        Event::MessagePosted { .. }
            | Event::MessageLost { .. }
            | Event::ThreadOpened { .. }
            | Event::ThreadLost { .. }
            | Event::IncidentOpened { .. }
            | Event::ReviewPublished { .. }
            | Event::ReviewDelayed { .. }
    )
}

/// A run that goes badly after its first effect wants people, unless they are there already.
fn call_for_help(state: &mut State, why: String) {
    if state.started.opens_incident.is_some() && !state.is_dry_run() && state.effects_began_at.is_some() {
        state.trouble.get_or_insert(why);
    }
}

/// The step that failed, with what went wrong.
fn failed_step(state: &State) -> Option<String> {
    state.runbook().all_steps().find_map(|step| match &state.step(&step.step).status {
        StepStatus::Failed(failure) => Some(format!("step `{}` failed: {}", step.step, failure.message)),
        StepStatus::Pending
        | StepStatus::Running(_)
        | StepStatus::Waiting { .. }
        | StepStatus::Interrupted { .. }
        | StepStatus::Asserted { .. }
        | StepStatus::Succeeded
        | StepStatus::Skipped => None,
    })
}

/// An update that nobody could see yet stands for this one too: several missed ones are one late message.
fn status_due(state: &mut State, stamp: Stamp, due: Timestamp, missed: u32, next: Timestamp) {
    state.beat = state.beat.map(|beat| Beat { next, ..beat });
    for owed in state.owed.iter_mut().rev().filter(|owed| owed.posted.is_none()) {
        if let MessageKind::Beat { missed: counted, .. } = &mut owed.kind {
            *counted += 1 + missed;
            return;
        }
    }
    state.owed.push(live(stamp.at, &format!("beat/{}", stamp.seq), MessageKind::Beat { due, missed }, Place::Thread));
}

/// What fell due while the message was on its way, and is not told by it, is owed in another one.
fn owe_the_rest(state: &mut State, stamp: Stamp, key: &MessageKey, untold: u32) {
    // Without a beat any more, nobody asks when exactly it was due.
    let every = state.beat.map_or(crate::domain::Duration::ZERO, |beat| beat.every);
    let Some(owed) = state.owed.iter_mut().find(|owed| owed.key == *key) else { return };
    let MessageKind::Beat { due, missed } = &mut owed.kind else { return };
    if let Some(rest) = Rest::of(*due, *missed, untold, every) {
        *missed -= untold;
        let kind = MessageKind::Beat { due: rest.due, missed: rest.missed };
        state.owed.push(live(stamp.at, &format!("beat/{}", stamp.seq), kind, Place::Thread));
    }
}

fn review<'a>(state: &'a mut State, gate: &GateRef, card: u32) -> Option<&'a mut Review> {
    state.reviews.iter_mut().find(|review| review.gate == *gate && review.card == card)
}

fn live(since: Timestamp, key: &str, kind: MessageKind, place: Place) -> Owed {
    Owed { key: MessageKey::new(key), kind, place, generation: 0, since, posted: None, former: None }
}

fn posted(state: &mut State, at: Timestamp, key: &MessageKey, message: Option<MessageRef>) -> Option<()> {
    let owed = state.owed.iter_mut().find(|owed| owed.key == *key)?;
    if message.is_none() {
        owed.generation += 1;
        owed.since = at;
    } else {
        owed.former = None;
    }
    owed.posted = message;
    Some(())
}

/// What stood in the thread is gone with it: what people must see or act on is owed anew, what was said is said. A
/// message carries one thread for ever, so that the plan card makes way for a new one.
fn thread_lost(state: &mut State, at: Timestamp) {
    state.thread = None;
    let anew: Vec<MessageKey> = state.owed.iter().filter(|owed| state.is_needed(owed)).map(|owed| owed.key.clone()).collect();
    for owed in state.owed.iter_mut().filter(|owed| owed.posted.is_some() && anew.contains(&owed.key)) {
        let stands = owed.posted.take().filter(|_| owed.place == Place::Channel);
        owed.former = stands.or(owed.former);
        owed.generation += 1;
        owed.since = at;
    }
}

/// `None` if the event is about a gate that was never opened.
fn fold_gate(state: &mut State, stamp: Stamp, event: &Event) -> Option<()> {
    match event {
        Event::GateOpened { gate, card, requester, expires_at } => {
            let former_votes = state.gates.remove(gate).map(Gate::into_former_votes).unwrap_or_default();
            let opened = Gate {
                card: *card,
                requester: *requester,
                opened_at: stamp.at,
                expires_at: *expires_at,
                readings: None,
                signers: BTreeMap::new(),
                refused: BTreeMap::new(),
                former_votes,
                warned: 0,
                glass: None,
                standing: Standing::Open,
            };
            state.gates.insert(gate.clone(), opened);
        }
        Event::CriteriaMeasured { gate, card, readings } => {
            let dry_run = state.is_dry_run();
            let opened = state.gates.get_mut(gate)?;
            let first = opened.readings.replace(readings.clone()).is_none();
            state.rehearsal_red |= dry_run && readings.iter().any(super::event::Reading::is_red);
            if first {
                let kind = MessageKind::GateCard { gate: gate.clone(), card: *card };
                state.owed.push(live(stamp.at, &gate_key(gate, *card), kind, Place::Thread));
            }
        }
        Event::SignOffGranted { gate, voter, .. } => {
            state.gates.get_mut(gate)?.signers.insert(voter.id, voter.clone());
        }
        Event::SignOffWithdrawn { gate, voter, .. } => {
            state.gates.get_mut(gate)?.signers.remove(&voter.id);
        }
        Event::VoteRefused { gate, card, voter, vote, why } => {
            let opened = state.gates.get_mut(gate)?;
            // A vote on an old card must not stand in the way of the same person's vote on the new one.
            if opened.card == *card {
                opened.refused.insert((voter.id, *vote), why.clone());
            } else {
                opened.former_votes.insert((*card, voter.id, *vote));
            }
        }
        Event::RefusedVoteRemoved { gate, user, .. } => {
            state.gates.get_mut(gate)?.refused.retain(|(voter, _), _| voter != user);
        }
        Event::GateWarned { gate, percent, .. } => state.gates.get_mut(gate)?.warned = *percent,
        Event::GateCardLost { gate, .. } => state.gates.get_mut(gate)?.signers.clear(),
        Event::QuorumReached { gate, .. } => state.gates.get_mut(gate)?.standing = Standing::Clearing,
        Event::ClearanceFailed { gate, .. } => state.gates.get_mut(gate)?.standing = Standing::Open,
        Event::GateRefused { gate, why, .. } => {
            state.gates.get_mut(gate)?.standing = Standing::Refused(GateRefusal::clone(why));
            if matches!(gate, GateRef::Rollback(_)) {
                state.rollback = None;
            }
        }
        Event::GlassBroken { gate, card, by, reason, skipped, .. } => {
            state.gates.get_mut(gate)?.glass = Some(by.clone());
            // Older journals may hold two of one card; one issue is owed.
            if review(state, gate, *card).is_none() {
                state.reviews.push(Review {
                    gate: gate.clone(),
                    card: *card,
                    by: by.clone(),
                    reason: reason.clone(),
                    skipped: skipped.clone(),
                    at: stamp.at,
                    issue: None,
                    delayed: None,
                    delays_told: BTreeSet::new(),
                });
            }
        }
        Event::GateCleared { gate, clearance, .. } => {
            state.gates.get_mut(gate)?.standing = Standing::Cleared { at: stamp.at, clearance: clearance.clone() };
        }
        Event::RollbackArmed { rollback, digest, signers } => {
            state.armed.insert(rollback.clone(), Armed { digest: *digest, signers: signers.clone(), at: stamp.at });
        }
        _ => return None,
    }
    Some(())
}

/// The key of a gate's card.
pub(super) fn gate_key(gate: &GateRef, card: u32) -> String {
    match gate {
        GateRef::Phase(phase) => format!("gate/{phase}/{card}"),
        GateRef::Rollback(rollback) => format!("gate/rollback/{rollback}/{card}"),
    }
}

/// `None` if the event is about a step that the runbook does not have.
fn fold_step(state: &mut State, stamp: Stamp, event: &Event) -> Option<()> {
    match event {
        Event::WhenEvaluated { step, holds } => state.steps.get_mut(step)?.when = Some(*holds),
        Event::StepStarted { step, attempt, deadline, resumes } => {
            let begun = state.steps.get_mut(step)?;
            begun.attempts = *attempt;
            begun.started_at.get_or_insert(stamp.at);
            begun.status =
                StepStatus::Running(Attempt { number: *attempt, since: stamp.at, deadline: *deadline, resumes: *resumes });
            note_start(state, stamp, step);
        }
        Event::ChildStarted { step, group, .. } => state.steps.get_mut(step)?.group = Some(group.clone()),
        Event::StepSucceeded { step, result, simulated, checks, .. } => {
            let done = state.steps.get_mut(step)?;
            done.status = StepStatus::Succeeded;
            done.finished_at = Some(stamp.at);
            done.result = Some(result.clone());
            done.simulated = *simulated;
            done.checks.clone_from(checks);
        }
        Event::StepFailed { step, failure, checks, retry_at, .. } => {
            let failed = state.steps.get_mut(step)?;
            failed.failures += 1;
            failed.checks.clone_from(checks);
            failed.status = match retry_at {
                Some(retry_at) => StepStatus::Waiting { retry_at: *retry_at },
                None => StepStatus::Failed(failure.clone()),
            };
            if retry_at.is_none() {
                failed.finished_at = Some(stamp.at);
            }
        }
        Event::StepInterrupted { step, attempt, reason, next } => {
            let cut_off = state.steps.get_mut(step)?;
            cut_off.interruptions += 1;
            cut_off.status = StepStatus::Interrupted { attempt: *attempt, reason: reason.clone(), next: *next };
        }
        Event::StepProbed { step, attempt, finding } => fold_finding(state.steps.get_mut(step)?, *attempt, finding),
        Event::StepSkipped { step } => {
            let skipped = state.steps.get_mut(step)?;
            skipped.status = StepStatus::Skipped;
            skipped.finished_at = Some(stamp.at);
        }
        _ => return None,
    }
    Some(())
}

fn fold_finding(step: &mut StepState, attempt: u32, finding: &super::event::Finding) {
    use super::event::Finding;
    use crate::domain::Interruption;
    step.status = match finding {
        Finding::Happened { result } => StepStatus::Asserted { attempt, by: None, result: result.clone() },
        Finding::DidNotHappen => StepStatus::Interrupted {
            attempt,
            reason: "it was looked into and had not taken effect".to_owned(),
            next: Interruption::Repeat,
        },
        Finding::Unclear { why } => StepStatus::Interrupted { attempt, reason: why.clone(), next: Interruption::Ask },
    };
}

/// What a step's start means for the run: its first effect, and the messages through which people take part.
fn note_start(state: &mut State, stamp: Stamp, step: &StepName) {
    let traits = state.plan().traits(step);
    let kind = traits.kind;
    if traits.effect && !state.is_dry_run() && state.effects_began_at.is_none() {
        state.effects_began_at = Some(stamp.at);
        state.beat = state.started.beat.map(|every| Beat::since(stamp.at, every));
    }
    let attempt = state.step(step).attempts;
    let message = match kind {
        StepKind::Confirm => Some(("confirm", MessageKind::Confirm { step: step.clone() })),
        StepKind::Checklist => Some(("checklist", MessageKind::Checklist { step: step.clone() })),
        StepKind::Action | StepKind::Wait => None,
    };
    if let (Some((word, kind)), false) = (message, state.is_dry_run()) {
        state.owed.push(live(stamp.at, &format!("{word}/{step}/{attempt}"), kind, Place::Thread));
        state.ticked.remove(&ListRef::Step(step.clone()));
    }
}

fn fold_answer(state: &mut State, question: &Question, answer: Answer, by: &crate::domain::Person) {
    match (&question.kind, answer) {
        (QuestionKind::UnknownOutcome { step, attempt, .. }, Answer::Happened) => {
            if let Some(step) = state.steps.get_mut(step) {
                let result = serde_json::Value::Null;
                step.status = StepStatus::Asserted { attempt: *attempt, by: Some(by.clone()), result };
            }
        }
        (
            QuestionKind::UnknownOutcome { step, .. } | QuestionKind::StepFailed { step, .. },
            Answer::DidNotHappen | Answer::Retry,
        ) => {
            if let Some(step) = state.steps.get_mut(step) {
                step.status = StepStatus::Pending;
                step.failures = 0;
                step.interruptions = 0;
            }
        }
        (QuestionKind::UnknownOutcome { step, .. } | QuestionKind::StepFailed { step, .. }, Answer::Stop)
            if state.is_rollback_step(step) =>
        {
            state.rollback = None;
        }
        (QuestionKind::Late { phase, .. }, Answer::Proceed) => {
            state.excused.insert(phase.clone());
        }
        // `Stop` is followed by the events that carry it out; the other pairs are refused by `decide`.
        (_, Answer::Stop | Answer::Happened | Answer::DidNotHappen | Answer::Proceed | Answer::Retry) => {}
    }
}

/// `None` if the runbook has no such rollback.
fn fold_rollback(state: &mut State, stamp: Stamp, event: &Event) -> Option<()> {
    match event {
        Event::RollbackRequested { rollback, by, reason } => {
            call_for_help(state, format!("rollback `{rollback}` is asked for: {reason}"));
            state.question = None;
            state.rollback = Some(RollbackState {
                name: rollback.clone(),
                by: by.clone(),
                reason: reason.clone(),
                since: stamp.at,
                stage: RollbackStage::AwaitingGate,
            });
        }
        Event::RollbackStarted { rollback, by, reason, target_at } => {
            call_for_help(state, format!("rollback `{rollback}` has begun: {reason}"));
            reset_steps(state, rollback)?;
            state.question = None;
            state.pause = None;
            let since = state.rollback.as_ref().map_or(stamp.at, |asked| asked.since);
            // Closing ends the beat: nothing happened any more. Now something does.
            state.beat = state.beat.or(state.started.beat.map(|every| Beat::since(stamp.at, every)));
            let stage = RollbackStage::Running { target_at: *target_at };
            state.rollback = Some(RollbackState { name: rollback.clone(), by: by.clone(), reason: reason.clone(), since, stage });
            let number = state.owed.iter().filter(|owed| matches!(owed.kind, MessageKind::Progress)).count();
            state.owed.push(live(stamp.at, &format!("progress/{number}"), MessageKind::Progress, Place::Thread));
        }
        Event::RollbackFinished { rollback, .. } => {
            state.rollback = None;
            state.rolled_back.push(rollback.clone());
            if let Some(closing) = &mut state.closing {
                closing.end = End::RolledBack;
                state.beat = None;
            }
        }
        _ => return None,
    }
    Some(())
}

/// A rollback that is started again begins with its first step.
fn reset_steps(state: &mut State, rollback: &RollbackName) -> Option<()> {
    let names: Vec<StepName> = state.rollback_definition(rollback)?.steps.iter().map(|step| step.step.clone()).collect();
    for name in names {
        let step = state.steps.get_mut(&name)?;
        *step = StepState { attempts: step.attempts, group: step.group.take(), ..StepState::pending() };
    }
    Some(())
}

//! What comes next by itself: the part of every decision that no person asks for.
//!
//! [`advance`] pushes one event after the other onto a [`Draft`] until nothing more follows from state and time.

use super::event::{End, Event, FailureKind, ListRef, Question, QuestionKind};
use super::evolve::evolve;
use super::state::{State, StepStatus};
use super::{gate, rollback, step};
use crate::domain::runbook::{OnFailure, Phase};
use crate::domain::{Duration, RoleName, StepKind, StepName, Timestamp};

/// A decision in the making: the events so far and the state after them.
pub(super) struct Draft {
    /// The state after the events.
    pub(super) state: State,
    /// The instant of the decision.
    pub(super) now: Timestamp,
    /// The events so far.
    pub(super) events: Vec<Event>,
}

impl Draft {
    pub(super) fn new(state: &State, now: Timestamp) -> Self {
        Self { state: state.clone(), now, events: Vec::new() }
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: Event) {
        // The state is taken apart and put together again; a placeholder would need a second constructor.
        let state = self.state.clone();
        self.state = evolve(state, self.now, &event).expect("a decision emits only events that may follow");
        self.events.push(event);
    }
}

/// The most events that one decision may add: more means that two rules undo each other.
const EVENTS_MAX: usize = 500;

/// Pushes everything that follows from the state and the time.
pub(super) fn advance(draft: &mut Draft) {
    if let Some(fall) = draft.state.beat.and_then(|beat| beat.fall(draft.now)) {
        draft.push(Event::StatusDue { due: fall.due, missed: fall.missed, next: fall.next });
    }
    let mut count = 0;
    while once(draft) {
        count += 1;
        assert!(count < EVENTS_MAX, "a run that never settles: {:?}", draft.events.last());
    }
}

/// Whether something was pushed.
fn once(draft: &mut Draft) -> bool {
    if draft.state.end.is_some() || draft.state.question.is_some() {
        return false;
    }
    if draft.state.rollback.is_some() {
        return rollback::advance(draft);
    }
    if draft.state.closing.is_some() {
        return close_when_due(draft);
    }
    if draft.state.abort.is_some() {
        return halt(draft) || (draft.state.is_halted() && stop(draft, End::Aborted));
    }
    forward(draft)
}

/// Settles the waits of the way forward that no effect ends: people and time. Steps that are performed are
/// cancelled by an effect.
pub(super) fn halt(draft: &mut Draft) -> bool {
    let under_way = |name: &StepName| draft.state.step(name).is_under_way() && draft.state.kind(name) != StepKind::Action;
    let phases = &draft.state.runbook().phases;
    let waiting = phases.iter().flat_map(|phase| &phase.steps).map(|step| step.step.clone()).find(under_way);
    let Some(name) = waiting else { return false };
    step::fail(draft, &name, FailureKind::Cancelled, "cancelled before it was answered");
    true
}

/// The way forward: the current phase's gate, then its steps.
fn forward(draft: &mut Draft) -> bool {
    let Some(phase) = draft.state.current_phase().cloned() else {
        return stop(draft, if draft.state.rehearsal_red { End::Failed } else { End::Succeeded });
    };
    if let Some((name, message)) = failed_step(&draft.state, &phase) {
        return on_failure(draft, &phase, name, message);
    }
    if !draft.state.has_begun(&phase) {
        match gate::enter(draft, &phase) {
            gate::Entrance::Changed => return true,
            gate::Entrance::Closed => return false,
            gate::Entrance::Open => {}
        }
    }
    let next = draft.state.next_step(&phase.steps).map(|step| step.step.clone());
    next.is_some_and(|name| step::advance(draft, &name, draft.state.pause.is_some()))
}

fn failed_step(state: &State, phase: &Phase) -> Option<(StepName, String)> {
    phase.steps.iter().find_map(|step| match &state.step(&step.step).status {
        StepStatus::Failed(failure) => Some((step.step.clone(), failure.message.clone())),
        StepStatus::Pending
        | StepStatus::Running(_)
        | StepStatus::Waiting { .. }
        | StepStatus::Interrupted { .. }
        | StepStatus::Asserted { .. }
        | StepStatus::Succeeded
        | StepStatus::Skipped => None,
    })
}

fn on_failure(draft: &mut Draft, phase: &Phase, name: StepName, message: String) -> bool {
    if draft.state.is_dry_run() || draft.state.effects_began_at.is_none() && phase.on_failure != OnFailure::Ask {
        return stop(draft, End::Failed);
    }
    match &phase.on_failure {
        OnFailure::Stop => stop(draft, End::Failed),
        OnFailure::Ask => ask(draft, QuestionKind::StepFailed { step: name, message }),
        OnFailure::Rollback(rollback) => rollback::on_failure(draft, rollback, name, &message) || stop(draft, End::Failed),
    }
}

/// Ends the way forward: into closing if anything was changed, else at once.
pub(super) fn stop(draft: &mut Draft, end: End) -> bool {
    let state = &draft.state;
    let reason = match end {
        End::Aborted => state.abort.as_ref().map(|abort| abort.reason.clone()),
        End::Succeeded | End::RolledBack | End::Failed | End::Refused => None,
    };
    let by = state.abort.as_ref().and_then(|abort| abort.by.clone());
    let event = if state.effects_began_at.is_some() {
        Event::ClosingBegan { end, until: closing_until(state, draft.now) }
    } else {
        Event::Ended { end, by, reason }
    };
    draft.push(event);
    true
}

/// Until when a run stays closing at least: the window's end, and never less than a while, or a run that fails
/// after its window would lose its lock and its way back in the moment in which it fails.
pub(super) fn closing_until(state: &State, now: Timestamp) -> Timestamp {
    state.started.window_ends_at.max(now + CLOSING_LEAST.delta())
}

/// How long a run stays closing at least.
const CLOSING_LEAST: Duration = Duration::from_minutes(30);

/// Asks a person.
pub(super) fn ask(draft: &mut Draft, kind: QuestionKind) -> bool {
    let answerers = answerers(&draft.state, &kind);
    let id = draft.state.questions_asked + 1;
    draft.push(Event::Asked(Question { id, kind, answerers: answerers.into_iter().collect() }));
    true
}

/// Who may answer: the roles of the phase's gate; without one, those of all gates, or else of the rollbacks, or else
/// of the plan; for a rollback's step, those who may start or sign it.
fn answerers(state: &State, kind: &QuestionKind) -> Vec<RoleName> {
    let step = match kind {
        QuestionKind::UnknownOutcome { step, .. } | QuestionKind::StepFailed { step, .. } => Some(step),
        QuestionKind::Late { .. } => None,
    };
    let own_phase = match (kind, step) {
        (QuestionKind::Late { phase, .. }, _) => state.phase(phase),
        (_, Some(step)) => state.runbook().phase_of(step),
        (_, None) => None,
    };
    if let Some(gate) = own_phase.and_then(|phase| phase.gate.as_ref()) {
        return gate.sign_off.keys().cloned().collect();
    }
    let rollbacks = || state.runbook().rollback.values();
    let of_rollbacks = || rollbacks().flat_map(|r| r.allow.iter().chain(r.sign_off.keys())).cloned().collect::<Vec<_>>();
    if step.is_some_and(|step| state.is_rollback_step(step)) {
        return of_rollbacks();
    }
    let gates = state.runbook().phases.iter().filter_map(|phase| phase.gate.as_ref());
    let of_gates: Vec<RoleName> = gates.flat_map(|gate| gate.sign_off.keys().cloned()).collect();
    // A question that nobody may answer would hold the run for ever: in the end, any role of the plan may.
    [of_gates, of_rollbacks(), state.plan().roles.keys().cloned().collect()]
        .into_iter()
        .find(|roles| !roles.is_empty())
        .unwrap_or_default()
}

fn close_when_due(draft: &mut Draft) -> bool {
    let Some(closing) = draft.state.closing else { return false };
    let open_items = closing.end == End::Succeeded && !draft.state.is_ticked(&ListRef::Afterwards);
    if draft.now < closing.until || open_items {
        return false;
    }
    draft.push(Event::Ended { end: closing.end, by: None, reason: Some("the maintenance window has ended".to_owned()) });
    true
}

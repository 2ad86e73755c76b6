//! What still has to be done in the world. Derived from the state alone, so that a restart finds the same list.

use super::event::{GateRef, ProcessGroup};
use super::message::{MessageKind, Owed, Place};
use super::state::{RollbackStage, Standing, State, StepStatus};
use crate::domain::incident::Severity;
use crate::domain::runbook::Step;
use crate::domain::{Interruption, MessageKey, StepKind, StepName, Timestamp};

/// The fixed id of an effect within its run: the same after a restart, so that nothing is performed twice at once.
pub type EffectId = String;

/// Something to be done in the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Open the run's thread on the plan card.
    OpenThread,
    /// Make an owed message visible.
    PostMessage {
        /// Which.
        key: MessageKey,
        /// How often it was lost before.
        generation: u32,
    },
    /// Measure the criteria of an open gate for the first time.
    MeasureGate {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
    },
    /// Read votes, roles, criteria and targets once more, just before the start.
    RecheckGate {
        /// Which gate.
        gate: GateRef,
        /// Which card.
        card: u32,
    },
    /// Evaluate a step's `when`.
    EvaluateWhen {
        /// Which step.
        step: StepName,
    },
    /// Perform an attempt, which is journalled as started.
    PerformStep {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// When to cancel it.
        deadline: Timestamp,
        /// Whether it goes on from a checkpoint.
        resumes: bool,
        /// What must be proven gone first.
        former: Option<ProcessGroup>,
    },
    /// Cancel an attempt, whether it is being performed or was left behind by a crash, and end its processes.
    CancelStep {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// Its processes.
        group: Option<ProcessGroup>,
    },
    /// Look whether an interrupted attempt took effect.
    ProbeStep {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// What must be proven gone first.
        former: Option<ProcessGroup>,
    },
    /// Open an incident about this run, or find the one that was opened.
    OpenIncident {
        /// How severe it is.
        severity: Severity,
        /// What went wrong, for people.
        why: String,
    },
    /// Bring the issue about that a break-glass owes.
    PublishReview {
        /// Of which gate.
        gate: GateRef,
        /// Of which card.
        card: u32,
    },
    /// Run the checks of a step that is said to have happened.
    CheckStep {
        /// Which step.
        step: StepName,
        /// Which attempt.
        attempt: u32,
        /// What must be proven gone first.
        former: Option<ProcessGroup>,
    },
}

impl Effect {
    /// Its fixed id.
    #[must_use]
    pub fn id(&self) -> EffectId {
        match self {
            Self::OpenThread => "thread".to_owned(),
            Self::PostMessage { key, generation } => format!("message/{key}/{generation}"),
            Self::MeasureGate { gate, card } => format!("measure/{gate}/{card}"),
            Self::RecheckGate { gate, card } => format!("recheck/{gate}/{card}"),
            Self::EvaluateWhen { step } => format!("when/{step}"),
            Self::PerformStep { step, attempt, .. } => format!("perform/{step}/{attempt}"),
            Self::CancelStep { step, attempt, .. } => format!("cancel/{step}/{attempt}"),
            Self::ProbeStep { step, attempt, .. } => format!("probe/{step}/{attempt}"),
            Self::OpenIncident { .. } => "incident".to_owned(),
            Self::PublishReview { gate, card } => format!("review/{gate}/{card}"),
            Self::CheckStep { step, attempt, .. } => format!("check/{step}/{attempt}"),
        }
    }
}

/// Everything that the state still owes to the world: messages first, cards before notes, each in their order.
#[must_use]
pub fn pending(state: &State) -> Vec<Effect> {
    let mut effects = messages(state);
    effects.extend(open_incident(state));
    let unpublished = state.reviews.iter().filter(|review| review.issue.is_none());
    effects.extend(unpublished.map(|review| Effect::PublishReview { gate: review.gate.clone(), card: review.card }));
    if state.end.is_some() {
        return effects;
    }
    if let Some((gate, opened)) = state.open_gate() {
        let card = opened.card;
        match &opened.standing {
            Standing::Open if opened.readings.is_none() => effects.push(Effect::MeasureGate { gate: gate.clone(), card }),
            Standing::Clearing => effects.push(Effect::RecheckGate { gate: gate.clone(), card }),
            Standing::Open | Standing::Cleared { .. } | Standing::Refused(_) => {}
        }
    }
    effects.extend(state.runbook().all_steps().filter_map(|step| for_step(state, &step.step)));
    effects.extend(next_when(state));
    effects
}

fn open_incident(state: &State) -> Option<Effect> {
    let why = state.trouble.clone().filter(|_| state.incident.is_none())?;
    Some(Effect::OpenIncident { severity: state.started.opens_incident?, why })
}

fn messages(state: &State) -> Vec<Effect> {
    let mut effects = Vec::new();
    let plan_posted = state.owed.first().is_some_and(|plan| plan.posted.is_some());
    if state.thread.is_none() && plan_posted {
        effects.push(Effect::OpenThread);
    }
    let visible = |place: Place| place == Place::Channel || state.thread.is_some();
    let mut unposted: Vec<&Owed> = state.owed.iter().filter(|owed| owed.posted.is_none() && visible(owed.place)).collect();
    // Discord takes about one message a second in a channel: what people must act on, and what has its hour, does not
    // wait behind what they may read.
    unposted.sort_by_key(|owed| !owed.kind.is_live() && !matches!(owed.kind, MessageKind::Beat { .. }));
    effects.extend(unposted.into_iter().map(|owed| Effect::PostMessage { key: owed.key.clone(), generation: owed.generation }));
    effects
}

fn for_step(state: &State, name: &StepName) -> Option<Effect> {
    let step = state.step(name);
    if state.kind(name) != StepKind::Action {
        return None;
    }
    let halting = state.is_halting() && !state.is_rollback_step(name);
    let (name, group) = (name.clone(), step.group.clone());
    match &step.status {
        StepStatus::Running(attempt) if halting => Some(Effect::CancelStep { step: name, attempt: attempt.number, group }),
        StepStatus::Interrupted { attempt, .. } | StepStatus::Asserted { attempt, .. } if halting => {
            Some(Effect::CancelStep { step: name, attempt: *attempt, group })
        }
        StepStatus::Running(attempt) => Some(Effect::PerformStep {
            step: name,
            attempt: attempt.number,
            deadline: attempt.deadline,
            resumes: attempt.resumes,
            former: group,
        }),
        StepStatus::Interrupted { attempt, next: Interruption::Probe, .. } => {
            Some(Effect::ProbeStep { step: name, attempt: *attempt, former: group })
        }
        StepStatus::Asserted { attempt, .. } => Some(Effect::CheckStep { step: name, attempt: *attempt, former: group }),
        StepStatus::Interrupted { .. }
        | StepStatus::Pending
        | StepStatus::Waiting { .. }
        | StepStatus::Succeeded
        | StepStatus::Failed(_)
        | StepStatus::Skipped => None,
    }
}

/// The `when` of the step that comes next: evaluated while its gate is still open, so that nothing stands
/// between a gate's clearance and the start of its first step.
fn next_when(state: &State) -> Option<Effect> {
    let step = next_in_line(state)?;
    let waiting = state.step(&step.step);
    let undecided = step.when.is_some() && waiting.when.is_none() && waiting.status == StepStatus::Pending;
    undecided.then(|| Effect::EvaluateWhen { step: step.step.clone() })
}

fn next_in_line(state: &State) -> Option<&Step> {
    match &state.rollback {
        Some(rollback) if rollback.stage != RollbackStage::AwaitingGate => {
            state.next_step(&state.rollback_definition(&rollback.name)?.steps)
        }
        Some(_) => None,
        None if state.closing.is_some() || state.abort.is_some() => None,
        None => state.next_step(&state.current_phase()?.steps),
    }
}

//! Where a run stands: the fold of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::change::Change;
use super::event::{
    Actor, Clearance, End, Event, Failure, GateRef, GateRefusal, ListRef, Mode, ProcessGroup, Question, Reading, Started, Vote,
    VoteRefusal,
};
use super::message::{MessageKind, Owed};
use crate::domain::beat::Beat;
use crate::domain::incident::IncidentId;
use crate::domain::runbook::{self, Checklist, Confirmation, Excludes, Phase, Rollback, Step};
use crate::domain::sign_off::{Assignment, Quorum, quorum};
use crate::domain::{
    ChannelId, Digest, Interruption, IssueRef, MessageKey, Person, PhaseName, Plan, RollbackName, RunId, StepKind, StepName,
    Timestamp, UserId,
};

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Everything that was fixed at the start.
    pub started: Arc<Started>,
    /// When it was started.
    pub started_at: Timestamp,
    /// Its thread, once that exists.
    pub thread: Option<ChannelId>,
    /// What it owes to chat, in order.
    pub owed: Vec<Owed>,
    /// Every step, those of the rollbacks included.
    pub steps: BTreeMap<StepName, StepState>,
    /// The gates that have been opened.
    pub gates: BTreeMap<GateRef, Gate>,
    /// The rollbacks that are armed.
    pub armed: BTreeMap<RollbackName, Armed>,
    /// Phases that a person has let start although they are late.
    pub excused: BTreeSet<PhaseName>,
    /// The open question, if the run asks.
    pub question: Option<Question>,
    /// How many questions it has asked.
    pub questions_asked: u32,
    /// Set while nothing new may start.
    pub pause: Option<Pause>,
    /// Set once somebody has ended it early.
    pub abort: Option<Pause>,
    /// The rollback that is wanted or under way.
    pub rollback: Option<RollbackState>,
    /// The rollbacks that were carried out, in order.
    pub rolled_back: Vec<RollbackName>,
    /// When the first step that changes something began.
    pub effects_began_at: Option<Timestamp>,
    /// What is ticked on each list, by item.
    pub ticked: BTreeMap<ListRef, BTreeMap<usize, Person>>,
    /// When status updates are due: from the first effect to the closing.
    pub beat: Option<Beat>,
    /// What went wrong that calls for an incident, if anything did.
    pub trouble: Option<String>,
    /// The incident in which people work on it: the one that it was started from, or that it called for.
    pub incident: Option<IncidentId>,
    /// The reviews that are owed because somebody opened a gate without its sign-off.
    pub reviews: Vec<Review>,
    /// Everybody who has paused, resumed or answered for it.
    pub acted: BTreeSet<UserId>,
    /// Whether a dry run met a red criterion: it goes on to find more, and ends failed.
    pub rehearsal_red: bool,
    /// Set from the last step, failure or abort until the end.
    pub closing: Option<Closing>,
    /// How it ended.
    pub end: Option<Ending>,
    /// What happened, in order, as far as people who were told before need to hear of it.
    pub changes: Vec<Change>,
    /// How many events the state is made of: the next one has this number plus one.
    pub seq: u64,
    /// The instant of the last event.
    pub changed_at: Timestamp,
}

/// What somebody owes who opened a gate without its sign-off: an issue in which people look at it afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Which gate.
    pub gate: GateRef,
    /// Which card of it.
    pub card: u32,
    /// Who opened it.
    pub by: Person,
    /// Why.
    pub reason: String,
    /// The roles that were not asked.
    pub skipped: Vec<crate::domain::RoleName>,
    /// When.
    pub at: Timestamp,
    /// Its issue, once that stands.
    pub issue: Option<IssueRef>,
    /// Why it does not stand yet, as it was told last.
    pub delayed: Option<String>,
    /// The [gists](crate::domain::gist()) of everything that was told about it.
    pub delays_told: BTreeSet<String>,
}

/// Who stopped something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Who; `None` if the engine did.
    pub by: Option<Person>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// A rollback that may be started by one authorised person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    /// As part of what.
    pub digest: Digest,
    /// Who signed for it.
    pub signers: Vec<Assignment>,
    /// When it was armed.
    pub at: Timestamp,
}

/// A rollback that is wanted or under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackState {
    /// Which.
    pub name: RollbackName,
    /// Who or what asked for it.
    pub by: Actor,
    /// Why.
    pub reason: String,
    /// When it was asked for: the target time counts from here.
    pub since: Timestamp,
    /// How far it is.
    pub stage: RollbackStage,
}

/// How far a rollback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackStage {
    /// It was not armed: its own gate must be signed.
    AwaitingGate,
    /// Its steps are under way.
    Running {
        /// When it should be done.
        target_at: Timestamp,
    },
}

/// The time between the last step and the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// How the run will have ended.
    pub end: End,
    /// When it may close by itself.
    pub until: Timestamp,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// How.
    pub end: End,
    /// When.
    pub at: Timestamp,
    /// Who closed it, if a person did.
    pub by: Option<Person>,
    /// Why.
    pub reason: Option<String>,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// Its status.
    pub status: StepStatus,
    /// How many attempts were begun.
    pub attempts: u32,
    /// How many attempts have failed since it was last reset; what `retry.attempts` counts.
    pub failures: u32,
    /// How many attempts were cut off since it was last reset.
    pub interruptions: u32,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it was settled.
    pub finished_at: Option<Timestamp>,
    /// What came out.
    pub result: Option<Value>,
    /// Whether that was a rehearsal.
    pub simulated: bool,
    /// Its checks as last measured.
    pub checks: Vec<Reading>,
    /// Whether its `when` holds, once that was evaluated.
    pub when: Option<bool>,
    /// The process group of its latest attempt that had one: proven gone before anything else is done.
    pub group: Option<ProcessGroup>,
}

impl StepState {
    pub(super) fn pending() -> Self {
        Self {
            status: StepStatus::Pending,
            attempts: 0,
            failures: 0,
            interruptions: 0,
            started_at: None,
            finished_at: None,
            result: None,
            simulated: false,
            checks: Vec::new(),
            when: None,
            group: None,
        }
    }

    /// Whether nothing more is to be done for it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.status, StepStatus::Succeeded | StepStatus::Skipped)
    }

    /// Whether something may still be going on in the world on its behalf.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        match self.status {
            StepStatus::Running(_) | StepStatus::Interrupted { .. } | StepStatus::Asserted { .. } => true,
            StepStatus::Pending
            | StepStatus::Waiting { .. }
            | StepStatus::Succeeded
            | StepStatus::Failed(_)
            | StepStatus::Skipped => false,
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum StepStatus {
    /// It has not begun.
    Pending,
    /// An attempt is under way.
    Running(Attempt),
    /// The next attempt is due at this instant.
    Waiting {
        /// When.
        retry_at: Timestamp,
    },
    /// An attempt was cut off and its outcome is unknown.
    Interrupted {
        /// Which.
        attempt: u32,
        /// How it was cut off, for people.
        reason: String,
        /// What happens now.
        next: Interruption,
    },
    /// Somebody, or a probe, says that the attempt took effect: its checks are still to run.
    Asserted {
        /// Which attempt.
        attempt: u32,
        /// Who says so; `None` for the action's own probe.
        by: Option<Person>,
        /// The result as far as it can be told.
        result: Value,
    },
    /// It is done.
    Succeeded,
    /// It failed for good.
    Failed(Failure),
    /// Its `when` is not true.
    Skipped,
}

/// An attempt under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which, from 1.
    pub number: u32,
    /// When it began.
    pub since: Timestamp,
    /// When it is cancelled.
    pub deadline: Timestamp,
    /// Whether it goes on from the checkpoint of an attempt that was cut off.
    pub resumes: bool,
}

/// Where a gate stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// Which card of it is the present one, from 1.
    pub card: u32,
    /// Whose signature does not count, because they asked.
    pub requester: Option<UserId>,
    /// When the card was opened.
    pub opened_at: Timestamp,
    /// When it refuses.
    pub expires_at: Timestamp,
    /// The criteria as last measured; `None` until the first measurement.
    pub readings: Option<Vec<Reading>>,
    /// The signatures that count.
    pub signers: BTreeMap<UserId, Person>,
    /// The votes that do not count, and why; they may be cast again after they were taken back.
    pub refused: BTreeMap<(UserId, Vote), VoteRefusal>,
    /// Votes on former cards, by card, that were known while their card stood or were answered since.
    pub former_votes: BTreeSet<(u32, UserId, Vote)>,
    /// The last warning, in percent of the time: 0, 50 or 80.
    pub warned: u8,
    /// Who broke the glass, if anybody.
    pub glass: Option<Person>,
    /// Open, clearing, cleared or refused.
    pub standing: Standing,
}

impl Gate {
    /// The first criterion that is not green, as an explanation; `None` if all are green.
    #[must_use]
    pub fn first_red(&self) -> Option<&Reading> {
        self.readings.iter().flatten().find(|reading| !reading.is_green())
    }

    /// Whether every criterion was measured and is green.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.readings.is_some() && self.first_red().is_none()
    }

    /// Whether a vote on this card or a former one wants no answer (any more): it counted, or it was answered.
    #[must_use]
    pub fn is_settled(&self, card: u32, user: UserId, vote: Vote) -> bool {
        if card != self.card {
            return self.former_votes.contains(&(card, user, vote));
        }
        let counted = match vote {
            Vote::Sign => self.signers.contains_key(&user),
            Vote::Veto => self.vetoed_by() == Some(user),
        };
        counted || self.refused.contains_key(&(user, vote))
    }

    fn vetoed_by(&self) -> Option<UserId> {
        match &self.standing {
            Standing::Refused(GateRefusal::Vetoed { by }) => Some(by.id),
            Standing::Refused(_) | Standing::Open | Standing::Clearing | Standing::Cleared { .. } => None,
        }
    }

    /// What the next card keeps of the votes on this one and on those before it.
    pub(super) fn into_former_votes(self) -> BTreeSet<(u32, UserId, Vote)> {
        let signed = self.signers.keys().map(|user| (*user, Vote::Sign));
        let vetoed = self.vetoed_by().map(|user| (user, Vote::Veto));
        let votes = signed.chain(vetoed).chain(self.refused.keys().copied());
        let votes: Vec<_> = votes.map(|(user, vote)| (self.card, user, vote)).collect();
        self.former_votes.into_iter().chain(votes).collect()
    }
}

/// Where a gate's present card stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It may be signed.
    Open,
    /// Enough have signed; everything is read once more.
    Clearing,
    /// What it stands before may run.
    Cleared {
        /// When.
        at: Timestamp,
        /// By what right.
        clearance: Clearance,
    },
    /// It is closed; only a new card opens it again.
    Refused(GateRefusal),
}

/// Where a run stands, in a word. Derived, never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Its start is still to come.
    Scheduled {
        /// When.
        at: Timestamp,
    },
    /// Its next phase is still to come.
    Waiting {
        /// Which.
        phase: PhaseName,
        /// When.
        until: Timestamp,
    },
    /// A step is under way, or about to be.
    Running {
        /// In which phase.
        phase: PhaseName,
    },
    /// It waits for signatures.
    AtGate(GateRef),
    /// Nothing new starts.
    Paused,
    /// It waits for an answer.
    Asking(u32),
    /// A rollback is under way.
    RollingBack(RollbackName),
    /// Done but not closed: lock and way back are kept.
    Closing(End),
    /// Over.
    Ended(End),
}

impl State {
    /// The run's id.
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.started.run
    }

    /// The pinned plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.started.plan
    }

    /// The pinned runbook.
    #[must_use]
    pub fn runbook(&self) -> &runbook::Runbook {
        &self.started.plan.runbook
    }

    /// Whether this is a dry run.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.started.mode == Mode::DryRun
    }

    /// Whether the run still holds its lock: live and not ended.
    #[must_use]
    pub fn holds_lock(&self) -> bool {
        self.end.is_none() && !self.is_dry_run()
    }

    /// The phase's definition.
    #[must_use]
    pub fn phase(&self, name: &PhaseName) -> Option<&Phase> {
        self.runbook().phase(name)
    }

    /// The rollback's definition.
    #[must_use]
    pub fn rollback_definition(&self, name: &RollbackName) -> Option<&Rollback> {
        self.runbook().rollback.get(name)
    }

    /// The state of a step.
    ///
    /// # Panics
    /// If the step is not of this runbook, which `evolve` rules out.
    #[must_use]
    pub fn step(&self, name: &StepName) -> &StepState {
        self.steps.get(name).expect("the fold has a state for every step of the runbook")
    }

    /// The first phase that is not done: where the run is on its way forward. `None` when all are.
    #[must_use]
    pub fn current_phase(&self) -> Option<&Phase> {
        self.runbook().phases.iter().find(|phase| phase.steps.iter().any(|step| !self.step(&step.step).is_settled()))
    }

    /// The first step of these that is not settled.
    #[must_use]
    pub fn next_step<'a>(&self, steps: &'a [Step]) -> Option<&'a Step> {
        steps.iter().find(|step| !self.step(&step.step).is_settled())
    }

    /// Whether any step of the phase has begun or was settled.
    #[must_use]
    pub fn has_begun(&self, phase: &Phase) -> bool {
        phase.steps.iter().any(|step| {
            let state = self.step(&step.step);
            state.attempts > 0 || state.is_settled() || matches!(state.status, StepStatus::Failed(_))
        })
    }

    /// When the phase is due: its offset from the cutover instant; the run's start for the first; `None` for
    /// one that follows on the phase before.
    #[must_use]
    pub fn due(&self, phase: &Phase) -> Option<Timestamp> {
        match phase.at {
            Some(offset) => Some(self.started.t_zero + offset.delta()),
            None if self.runbook().phases.first().is_some_and(|first| first.phase == phase.phase) => Some(self.started.starts_at),
            None => None,
        }
    }

    /// How many of each role must sign at this gate.
    #[must_use]
    pub fn sign_off(&self, gate: &GateRef) -> Option<&indexmap::IndexMap<crate::domain::RoleName, u8>> {
        match gate {
            GateRef::Phase(phase) => Some(&self.phase(phase)?.gate.as_ref()?.sign_off),
            GateRef::Rollback(rollback) => Some(&self.rollback_definition(rollback)?.sign_off),
        }
    }

    /// Whose signature this gate does not accept.
    #[must_use]
    pub fn excludes(&self, gate: &GateRef) -> Excludes {
        match gate {
            GateRef::Phase(phase) => {
                self.phase(phase).and_then(|phase| phase.gate.as_ref()).map(|gate| gate.excludes).unwrap_or_default()
            }
            GateRef::Rollback(_) => Excludes::Requester,
        }
    }

    /// Whether this gate leaves somebody out because they have acted on the run.
    #[must_use]
    pub(super) fn leaves_out(&self, gate: &GateRef, user: UserId) -> bool {
        self.excludes(gate) == Excludes::AnyoneWhoActed && self.acted.contains(&user)
    }

    /// How far the sign-off of an opened gate is.
    #[must_use]
    pub fn quorum(&self, gate: &GateRef) -> Option<Quorum> {
        Some(quorum(self.sign_off(gate)?, self.gates.get(gate)?.signers.values()))
    }

    /// The gate that may be signed now, if any: that of a rollback that waits comes before that of a phase, and while
    /// a rollback is wanted, or once the way forward is over, no phase's gate can be cleared.
    #[must_use]
    pub fn open_gate(&self) -> Option<(&GateRef, &Gate)> {
        let wanted = match &self.rollback {
            Some(RollbackState { name, stage: RollbackStage::AwaitingGate, .. }) => GateRef::Rollback(name.clone()),
            Some(_) => return None,
            None if self.abort.is_some() || self.closing.is_some() || self.end.is_some() => return None,
            None => GateRef::Phase(self.current_phase()?.phase.clone()),
        };
        let (gate, opened) = self.gates.get_key_value(&wanted)?;
        matches!(opened.standing, Standing::Open | Standing::Clearing).then_some((gate, opened))
    }

    /// Whether a message, once lost, must be seen again: it is kept current, and something can still change in it. A gate's
    /// card is never owed anew: its votes are void, and the gate gets another card.
    #[must_use]
    pub fn is_needed(&self, owed: &Owed) -> bool {
        let newest = || self.owed.iter().rev().find(|other| other.kind == owed.kind).is_some_and(|other| other.key == owed.key);
        let waits = |step: &StepName| matches!(self.step(step).status, StepStatus::Running(_));
        match &owed.kind {
            MessageKind::PlanCard => true,
            MessageKind::Progress | MessageKind::Afterwards => self.end.is_none() && newest(),
            MessageKind::Question { id } => self.question.as_ref().is_some_and(|question| question.id == *id),
            MessageKind::Confirm { step } | MessageKind::Checklist { step } => waits(step) && newest(),
            MessageKind::GateCard { .. } | MessageKind::Note(_) | MessageKind::Beat { .. } | MessageKind::Summary => false,
        }
    }

    /// The items of a list.
    #[must_use]
    pub fn list_items(&self, list: &ListRef) -> Vec<runbook::ChecklistItem> {
        match list {
            ListRef::Afterwards => self.runbook().afterwards.clone(),
            ListRef::Step(step) => self.runbook().step(step).and_then(checklist).map(|list| list.items).unwrap_or_default(),
        }
    }

    /// Whether every item of a list is ticked.
    #[must_use]
    pub fn is_ticked(&self, list: &ListRef) -> bool {
        let ticked = self.ticked.get(list).map_or(0, BTreeMap::len);
        ticked >= self.list_items(list).len()
    }

    /// The results of the steps so far, by step name: what expressions see as `steps`.
    #[must_use]
    pub fn results(&self) -> Value {
        let entry = |(name, step): (&StepName, &StepState)| {
            let status = match &step.status {
                StepStatus::Succeeded => "succeeded",
                StepStatus::Skipped => "skipped",
                StepStatus::Failed(_) => "failed",
                StepStatus::Pending
                | StepStatus::Running(_)
                | StepStatus::Waiting { .. }
                | StepStatus::Interrupted { .. }
                | StepStatus::Asserted { .. } => return None,
            };
            let mut value = serde_json::Map::new();
            value.insert("status".to_owned(), status.into());
            value.insert("simulated".to_owned(), step.simulated.into());
            if let Some(result) = &step.result {
                value.insert("result".to_owned(), result.clone());
            }
            Some((name.to_string(), Value::Object(value)))
        };
        Value::Object(self.steps.iter().filter_map(entry).collect())
    }

    /// Which rollbacks can still be started, in the order of the runbook.
    pub fn possible_rollbacks(&self) -> impl Iterator<Item = (&RollbackName, &Rollback)> {
        self.runbook()
            .rollback
            .iter()
            .filter(|(name, rollback)| !self.rolled_back.contains(name) && self.no_return(rollback).is_none())
    }

    /// Why a rollback is impossible by now; `None` while it is possible.
    #[must_use]
    pub fn no_return<'a>(&self, rollback: &'a Rollback) -> Option<&'a runbook::PointOfNoReturn> {
        rollback.until.as_ref().filter(|until| self.steps.get(&until.step).is_some_and(|step| step.attempts > 0))
    }

    /// Where the run stands at `now`, in a word.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        if let Some(ending) = &self.end {
            return Status::Ended(ending.end);
        }
        if let Some(question) = &self.question {
            return Status::Asking(question.id);
        }
        if let Some(rollback) = &self.rollback {
            return match rollback.stage {
                RollbackStage::AwaitingGate => Status::AtGate(GateRef::Rollback(rollback.name.clone())),
                RollbackStage::Running { .. } => Status::RollingBack(rollback.name.clone()),
            };
        }
        if let Some(closing) = &self.closing {
            return Status::Closing(closing.end);
        }
        if self.pause.is_some() {
            return Status::Paused;
        }
        let Some(phase) = self.current_phase() else { return Status::Closing(End::Succeeded) };
        if self.has_begun(phase) {
            return Status::Running { phase: phase.phase.clone() };
        }
        let gate = GateRef::Phase(phase.phase.clone());
        if phase.gate.is_some() && self.gates.get(&gate).is_some_and(|gate| !matches!(gate.standing, Standing::Cleared { .. })) {
            return Status::AtGate(gate);
        }
        match self.due(phase) {
            Some(at) if at > now && !self.is_dry_run() && self.steps.values().all(|step| step.attempts == 0) => {
                Status::Scheduled { at }
            }
            Some(until) if until > now && !self.is_dry_run() => Status::Waiting { phase: phase.phase.clone(), until },
            _ => Status::Running { phase: phase.phase.clone() },
        }
    }

    /// What happened after an instant, in order.
    pub fn changes_since(&self, since: Timestamp) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.at > since)
    }

    /// When people last heard where the run stands before the status update that was due at `due`: when the one before
    /// it was due, or else the run's start.
    #[must_use]
    pub fn told_before(&self, due: Timestamp) -> Timestamp {
        let beats =
            self.owed.iter().filter_map(|owed| if let MessageKind::Beat { due, .. } = owed.kind { Some(due) } else { None });
        beats.filter(|at| *at < due).max().unwrap_or(self.started_at)
    }

    /// Whether no step of the phases is under way: what a rollback and an abort wait for.
    #[must_use]
    pub(super) fn is_halted(&self) -> bool {
        let mut steps = self.runbook().phases.iter().flat_map(|phase| &phase.steps);
        steps.all(|step| !self.step(&step.step).is_under_way())
    }

    /// Whether the way forward is to be stopped at once: a rollback is under way, or the run was aborted.
    #[must_use]
    pub(super) fn is_halting(&self) -> bool {
        self.abort.is_some() || self.rollback.as_ref().is_some_and(|rollback| rollback.stage != RollbackStage::AwaitingGate)
    }

    /// Whether a step is one of a rollback's.
    #[must_use]
    pub fn is_rollback_step(&self, step: &StepName) -> bool {
        self.runbook().rollback.values().any(|rollback| rollback.steps.iter().any(|s| s.step == *step))
    }

    /// Who performs a step.
    #[must_use]
    pub fn kind(&self, step: &StepName) -> StepKind {
        self.plan().traits(step).kind
    }

    /// The number of the event that comes next.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.seq + 1
    }
}

/// The list of a `human.checklist` step; `None` for any other.
#[must_use]
pub fn checklist(step: &Step) -> Option<Checklist> {
    with_of(step)
}

/// The question of a `human.confirm` step; `None` for any other.
#[must_use]
pub fn confirmation(step: &Step) -> Option<Confirmation> {
    with_of(step)
}

pub(super) fn with_of<T: serde::de::DeserializeOwned>(step: &Step) -> Option<T> {
    let map: serde_json::Map<String, Value> = step.with.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    serde_json::from_value(Value::Object(map)).ok()
}

/// What an event looks like to the fold: its number and instant beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    /// Its number in the run's stream, from 1.
    pub(super) seq: u64,
    /// When it was journalled.
    pub(super) at: Timestamp,
}

impl Stamp {
    pub(super) fn note(self, event: &Event) -> Option<Owed> {
        use super::message::{Place, is_noteworthy};
        is_noteworthy(event).then(|| Owed {
            key: MessageKey::new(format!("note/{}", self.seq)),
            kind: MessageKind::Note(Box::new(event.clone())),
            place: Place::Thread,
            generation: 0,
            since: self.at,
            posted: None,
            former: None,
        })
    }
}

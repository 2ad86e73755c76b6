//! Gates: opened, signed, vetoed, expired, checked once more, cleared.
//!
//! The rules of sign-off are all here. A vote counts if its author holds a role of the gate, did not ask for
//! the run, and cast it while every criterion was green. A gate may leave out whoever has acted on the run, before or
//! after they signed. A veto of a required role is final for its card.

use std::collections::BTreeSet;

use super::advance::{Draft, ask, stop};
use super::event::{Actor, Clearance, End, Event, GateRef, GateRefusal, QuestionKind, Reading, Vote, VoteRefusal, Withdrawal};
use super::input::ReactionVote;
use super::rejection::Rejection;
use super::schedule::{forecast, gate_expiry, warning_at};
use super::state::{Gate, Standing, State, StepStatus};
use crate::domain::runbook::Phase;
use crate::domain::sign_off::quorum;
use crate::domain::{Person, RoleName, RollbackName, Timestamp, UserId};

/// What stands between a phase and its first step.
pub(super) enum Entrance {
    /// Nothing: it may start now.
    Open,
    /// It must wait, for time, people or an effect.
    Closed,
    /// Something was journalled: look again.
    Changed,
}

/// Whether a phase that has not begun may begin.
pub(super) fn enter(draft: &mut Draft, phase: &Phase) -> Entrance {
    let rehearsal = draft.state.is_dry_run();
    let due = draft.state.due(phase).filter(|_| !rehearsal);
    let Some(definition) = &phase.gate else { return enter_ungated(draft, phase, due) };
    let gate = GateRef::Phase(phase.phase.clone());
    match draft.state.gates.get(&gate).map(|opened| opened.standing.clone()) {
        None if due.is_some_and(|due| due - definition.opens_before.delta() > draft.now) => Entrance::Closed,
        None => open(draft, gate, 1),
        Some(Standing::Cleared { .. }) => Entrance::Open,
        Some(Standing::Clearing) => expire(draft, &gate),
        Some(Standing::Refused(_)) => Entrance::Closed,
        Some(Standing::Open) if rehearsal => rehearse(draft, &gate),
        Some(Standing::Open) => wait_at(draft, &gate, Some((phase, due))),
    }
}

fn enter_ungated(draft: &mut Draft, phase: &Phase, due: Option<Timestamp>) -> Entrance {
    match due {
        Some(due) if due > draft.now => Entrance::Closed,
        Some(due) if is_late(&draft.state, phase, due, draft.now) => {
            ask(draft, QuestionKind::Late { phase: phase.phase.clone(), due });
            Entrance::Changed
        }
        Some(_) | None => Entrance::Open,
    }
}

/// Whether a rollback that was not armed may begin.
pub(super) fn enter_rollback(draft: &mut Draft, name: &RollbackName) -> Entrance {
    let gate = GateRef::Rollback(name.clone());
    let since = draft.state.rollback.as_ref().map_or(draft.now, |rollback| rollback.since);
    match draft.state.gates.get(&gate) {
        None => open(draft, gate, 1),
        // A card of an earlier request says nothing about this one.
        Some(opened) if opened.opened_at < since => {
            let card = opened.card + 1;
            open(draft, gate, card)
        }
        Some(opened) => match opened.standing {
            Standing::Cleared { .. } => Entrance::Open,
            Standing::Clearing => expire(draft, &gate),
            Standing::Refused(_) => Entrance::Closed,
            Standing::Open => wait_at(draft, &gate, None),
        },
    }
}

fn open(draft: &mut Draft, gate: GateRef, card: u32) -> Entrance {
    let requester = match (&gate, draft.state.rollback.as_ref().map(|rollback| &rollback.by)) {
        (GateRef::Rollback(_), Some(Actor::Person(person))) => Some(person.id),
        (GateRef::Rollback(_), Some(Actor::Host { .. })) => None,
        (GateRef::Rollback(_) | GateRef::Phase(_), _) => Some(draft.state.started.requester.id),
    };
    let expires_at = gate_expiry(&draft.state, &gate, draft.now);
    draft.push(Event::GateOpened { gate, card, requester, expires_at });
    Entrance::Changed
}

/// A dry run shows the gate and goes on: red criteria are listed, and make the rehearsal fail at its end.
fn rehearse(draft: &mut Draft, gate: &GateRef) -> Entrance {
    let opened = &draft.state.gates[gate];
    if opened.readings.is_none() {
        return Entrance::Closed;
    }
    let (card, digest) = (opened.card, draft.state.started.digest);
    draft.push(Event::GateCleared { gate: gate.clone(), card, digest, clearance: Clearance::Rehearsal });
    Entrance::Changed
}

fn is_late(state: &State, phase: &Phase, due: Timestamp, now: Timestamp) -> bool {
    due + state.runbook().grace.delta() < now && !state.excused.contains(&phase.phase)
}

/// An open card: it expires, warns, or is ready for the last check.
fn wait_at(draft: &mut Draft, gate: &GateRef, phase: Option<(&Phase, Option<Timestamp>)>) -> Entrance {
    let now = draft.now;
    if let Entrance::Changed = expire(draft, gate) {
        return Entrance::Changed;
    }
    let opened = draft.state.gates[gate].clone();
    if !is_ready(&draft.state, gate, &opened) {
        return warn(draft, gate, &opened);
    }
    if let Some((phase, due)) = phase {
        let undecided =
            phase.steps.first().is_some_and(|step| step.when.is_some() && draft.state.step(&step.step).when.is_none());
        if draft.state.pause.is_some() || undecided || due.is_some_and(|due| due > now) {
            return Entrance::Closed;
        }
        if let Some(due) = due.filter(|due| is_late(&draft.state, phase, *due, now)) {
            ask(draft, QuestionKind::Late { phase: phase.phase.clone(), due });
            return Entrance::Changed;
        }
    }
    draft.push(Event::QuorumReached { gate: gate.clone(), card: opened.card });
    Entrance::Changed
}

/// A card whose time is over is refused, also while the last look before the start takes its time.
fn expire(draft: &mut Draft, gate: &GateRef) -> Entrance {
    if draft.state.gates[gate].expires_at > draft.now {
        return Entrance::Closed;
    }
    refuse(draft, gate, GateRefusal::Expired);
    Entrance::Changed
}

fn is_ready(state: &State, gate: &GateRef, opened: &Gate) -> bool {
    let signed = opened.glass.is_some() || state.quorum(gate).is_some_and(|quorum| quorum.is_complete());
    signed && opened.is_green()
}

fn warn(draft: &mut Draft, gate: &GateRef, opened: &Gate) -> Entrance {
    let passed = [80u8, 50].into_iter().find(|percent| warning_at(opened, i32::from(*percent)) <= draft.now);
    match passed.filter(|percent| *percent > opened.warned) {
        Some(percent) => {
            draft.push(Event::GateWarned { gate: gate.clone(), card: opened.card, percent });
            Entrance::Changed
        }
        None => Entrance::Closed,
    }
}

/// Closes a card for good, and says what becomes of the run.
fn refuse(draft: &mut Draft, gate: &GateRef, why: GateRefusal) {
    let reason = match &why {
        GateRefusal::Vetoed { by } => format!("the gate `{gate}` was vetoed by {}", by.name),
        GateRefusal::Expired => format!("the gate `{gate}` expired without its signatures"),
        GateRefusal::WindowMissed { .. } => format!("what is behind the gate `{gate}` no longer fits the window"),
        GateRefusal::TargetChanged { .. } => format!("a target is not the one that was signed for at `{gate}`"),
    };
    let card = draft.state.gates[gate].card;
    draft.push(Event::GateRefused { gate: gate.clone(), card, why });
    match gate {
        GateRef::Phase(_) if draft.state.effects_began_at.is_none() => {
            draft.push(Event::Ended { end: End::Refused, by: None, reason: Some(reason) });
        }
        GateRef::Phase(_) => pause(draft, reason),
        GateRef::Rollback(_) if draft.state.closing.is_some() => {}
        GateRef::Rollback(_) if has_failed_step(&draft.state) || draft.state.abort.is_some() => {
            let end = if draft.state.abort.is_some() { End::Aborted } else { End::Failed };
            stop(draft, end);
        }
        GateRef::Rollback(_) => pause(draft, reason),
    }
}

fn pause(draft: &mut Draft, reason: String) {
    if draft.state.pause.is_none() {
        draft.push(Event::Paused { by: None, reason });
    }
}

fn has_failed_step(state: &State) -> bool {
    let mut steps = state.runbook().phases.iter().flat_map(|phase| &phase.steps);
    steps.any(|step| matches!(state.step(&step.step).status, StepStatus::Failed(_)))
}

/// Opens a new card for the current phase's closed gate. `false` if no gate is closed.
pub(super) fn reopen(draft: &mut Draft) -> bool {
    let Some(phase) = draft.state.current_phase() else { return false };
    let gate = GateRef::Phase(phase.phase.clone());
    let Some(opened) = draft.state.gates.get(&gate) else { return false };
    if !matches!(opened.standing, Standing::Refused(_)) {
        return false;
    }
    let card = opened.card + 1;
    open(draft, gate, card);
    true
}

/// The card's message is gone: its votes are void, and a new card is opened with the same deadline.
pub(super) fn card_lost(draft: &mut Draft, gate: &GateRef, card: u32) {
    let Some(opened) = live_card(&draft.state, gate, card) else { return };
    let (requester, expires_at) = (opened.requester, opened.expires_at);
    draft.push(Event::GateCardLost { gate: gate.clone(), card });
    draft.push(Event::GateOpened { gate: gate.clone(), card: card + 1, requester, expires_at });
}

/// The gate if this is its present card and may still be signed.
fn live_card<'a>(state: &'a State, gate: &GateRef, card: u32) -> Option<&'a Gate> {
    let opened = state.gates.get(gate).filter(|opened| opened.card == card)?;
    matches!(opened.standing, Standing::Open | Standing::Clearing).then_some(opened)
}

/// Takes in a measurement that was made for its own sake.
pub(super) fn measurement_observed(draft: &mut Draft, gate: &GateRef, card: u32, readings: Vec<Reading>) {
    measured(draft, gate, card, readings);
    fall_back(draft, gate, card);
}

/// Takes in a measurement of the criteria.
fn measured(draft: &mut Draft, gate: &GateRef, card: u32, readings: Vec<Reading>) {
    let Some(opened) = live_card(&draft.state, gate, card) else { return };
    if opened.readings.as_ref() != Some(&readings) {
        draft.push(Event::CriteriaMeasured { gate: gate.clone(), card, readings });
    }
}

/// Takes in a reading of a card's reactions that was made for its own sake.
pub(super) fn votes_observed(draft: &mut Draft, gate: &GateRef, card: u32, votes: &[ReactionVote]) {
    if live_card(&draft.state, gate, card).is_none() {
        // The card was closed while it was read: whoever voted after that is answered.
        votes.iter().for_each(|vote| stray_vote(draft, gate, card, vote));
        return;
    }
    votes_read(draft, gate, card, votes);
    fall_back(draft, gate, card);
}

/// A card that lost a signature or turned red during the last look before the start: that look may have begun
/// before the change, so it must not clear the gate. It is made again when the card is ready again.
fn fall_back(draft: &mut Draft, gate: &GateRef, card: u32) {
    if live_card(&draft.state, gate, card).is_none_or(|opened| opened.standing != Standing::Clearing) {
        return;
    }
    let reasons = open_reasons(draft, gate);
    if !reasons.is_empty() {
        draft.push(Event::ClearanceFailed { gate: gate.clone(), card, reasons });
    }
}

/// Journals what is different in a whole reading of a live card's reactions from what was known.
fn votes_read(draft: &mut Draft, gate: &GateRef, card: u32, votes: &[ReactionVote]) {
    let Some(roles) = required_roles(&draft.state, gate) else { return };
    if live_card(&draft.state, gate, card).is_none() {
        return;
    }
    taken_back(draft, gate, card, votes);
    void_of_those_who_acted(draft, gate, card);
    let humans = || votes.iter().filter(|vote| !vote.person.bot);
    for vote in humans().filter(|vote| vote.vote == Vote::Veto) {
        if vote.person.holds_any(&roles) {
            refuse(draft, gate, GateRefusal::Vetoed { by: vote.person.clone() });
            return;
        }
        refuse_vote(draft, gate, card, vote, VoteRefusal::WrongRole);
    }
    for vote in humans().filter(|vote| vote.vote == Vote::Sign) {
        signature(draft, gate, card, vote, &roles);
    }
}

fn required_roles(state: &State, gate: &GateRef) -> Option<Vec<RoleName>> {
    Some(state.sign_off(gate)?.keys().cloned().collect())
}

fn taken_back(draft: &mut Draft, gate: &GateRef, card: u32, votes: &[ReactionVote]) {
    let opened = &draft.state.gates[gate];
    let signed: BTreeSet<UserId> = votes.iter().filter(|vote| vote.vote == Vote::Sign).map(|vote| vote.person.id).collect();
    let present: BTreeSet<UserId> = votes.iter().map(|vote| vote.person.id).collect();
    let withdrawn: Vec<Person> = opened.signers.values().filter(|person| !signed.contains(&person.id)).cloned().collect();
    let removed: BTreeSet<UserId> = opened.refused.keys().map(|(user, _)| *user).filter(|user| !present.contains(user)).collect();
    for voter in withdrawn {
        draft.push(Event::SignOffWithdrawn { gate: gate.clone(), card, voter, why: Withdrawal::Removed });
    }
    for user in removed {
        draft.push(Event::RefusedVoteRemoved { gate: gate.clone(), card, user });
    }
}

fn signature(draft: &mut Draft, gate: &GateRef, card: u32, vote: &ReactionVote, roles: &[RoleName]) {
    let opened = &draft.state.gates[gate];
    let person = &vote.person;
    match opened.signers.get(&person.id) {
        Some(_) if !person.holds_any(roles) => {
            let voter = person.clone();
            draft.push(Event::SignOffWithdrawn { gate: gate.clone(), card, voter, why: Withdrawal::RoleLost });
            refuse_vote(draft, gate, card, vote, VoteRefusal::WrongRole);
        }
        Some(known) if known.roles == person.roles => {}
        None if opened.refused.contains_key(&(person.id, Vote::Sign)) => {}
        Some(_) => grant(draft, gate, card, person),
        None => match refusal(&draft.state, gate, opened, person, roles) {
            Some(why) => refuse_vote(draft, gate, card, vote, why),
            None => grant(draft, gate, card, person),
        },
    }
}

/// Somebody has acted on the run: if they had signed at the gate that waits, and it leaves such people out, their
/// signature is void from now on.
pub(super) fn leave_out_who_acted(draft: &mut Draft) {
    let Some((gate, card)) = draft.state.open_gate().map(|(gate, opened)| (gate.clone(), opened.card)) else { return };
    if void_of_those_who_acted(draft, &gate, card) {
        fall_back(draft, &gate, card);
    }
}

/// Voids the signatures of people who have acted since, and answers them as if they had signed afterwards. Whether there
/// was one.
fn void_of_those_who_acted(draft: &mut Draft, gate: &GateRef, card: u32) -> bool {
    let signers = draft.state.gates[gate].signers.values();
    let left_out: Vec<Person> = signers.filter(|person| draft.state.leaves_out(gate, person.id)).cloned().collect();
    for voter in &left_out {
        let (gate, voter) = (gate.clone(), voter.clone());
        draft.push(Event::SignOffWithdrawn { gate: gate.clone(), card, voter: voter.clone(), why: Withdrawal::Acted });
        draft.push(Event::VoteRefused { gate, card, voter, vote: Vote::Sign, why: VoteRefusal::Acted });
    }
    !left_out.is_empty()
}

fn grant(draft: &mut Draft, gate: &GateRef, card: u32, person: &Person) {
    let digest = draft.state.started.digest;
    draft.push(Event::SignOffGranted { gate: gate.clone(), card, voter: person.clone(), digest });
}

/// Why this person's ✅ does not count now; `None` if it does.
fn refusal(state: &State, gate: &GateRef, opened: &Gate, person: &Person, roles: &[RoleName]) -> Option<VoteRefusal> {
    if opened.requester == Some(person.id) {
        Some(VoteRefusal::Requester)
    } else if !person.holds_any(roles) {
        Some(VoteRefusal::WrongRole)
    } else if state.leaves_out(gate, person.id) {
        Some(VoteRefusal::Acted)
    } else if !opened.is_green() {
        Some(VoteRefusal::RedCriterion)
    } else {
        None
    }
}

fn refuse_vote(draft: &mut Draft, gate: &GateRef, card: u32, vote: &ReactionVote, why: VoteRefusal) {
    let present = draft.state.gates.get(gate).filter(|opened| opened.card == card);
    let known = present.and_then(|opened| opened.refused.get(&(vote.person.id, vote.vote)));
    if known != Some(&why) {
        let (voter, vote) = (vote.person.clone(), vote.vote);
        draft.push(Event::VoteRefused { gate: gate.clone(), card, voter, vote, why });
    }
}

/// The gateway told that a reaction was removed. Believed at once: a signature is gone, and a vote that did not count may
/// be cast again, which counts only if the card's next reading finds it there.
pub(super) fn vote_removed(draft: &mut Draft, gate: &GateRef, card: u32, user: UserId, vote: Vote) {
    let Some(opened) = live_card(&draft.state, gate, card) else { return };
    if opened.refused.contains_key(&(user, vote)) {
        draft.push(Event::RefusedVoteRemoved { gate: gate.clone(), card, user });
    } else if let (Some(voter), Vote::Sign) = (opened.signers.get(&user).cloned(), vote) {
        draft.push(Event::SignOffWithdrawn { gate: gate.clone(), card, voter, why: Withdrawal::Removed });
        fall_back(draft, gate, card);
    }
}

/// A vote on a card that cannot be signed (any more) is answered, once.
fn stray_vote(draft: &mut Draft, gate: &GateRef, card: u32, vote: &ReactionVote) {
    let Some(opened) = draft.state.gates.get(gate) else { return };
    let settled = opened.is_settled(card, vote.person.id, vote.vote);
    if vote.person.bot || settled || live_card(&draft.state, gate, card).is_some() {
        return;
    }
    let started = opened.card == card && matches!(opened.standing, Standing::Cleared { .. });
    refuse_vote(draft, gate, card, vote, if started { VoteRefusal::TooLate } else { VoteRefusal::ClosedCard });
}

/// Breaks the glass of the gate that waits.
pub(super) fn break_glass(draft: &mut Draft, by: Person, reason: String, other_holders: bool) -> Result<(), Rejection> {
    let Some((gate, opened)) = draft.state.open_gate() else { return Err(Rejection::NoOpenGate) };
    if let Some(by) = &opened.glass {
        return Err(Rejection::GlassBroken { by: by.name.clone() });
    }
    if opened.requester == Some(by.id) && other_holders {
        return Err(Rejection::Requester { what: "break the glass" });
    }
    if !opened.is_green() {
        let says = opened.first_red().map_or("the criteria have not been measured yet", |reading| &reading.says);
        return Err(Rejection::RedCriterion { says: says.to_owned() });
    }
    let (gate, card) = (gate.clone(), opened.card);
    let skipped = draft.state.quorum(&gate).map(|quorum| quorum.missing).unwrap_or_default();
    let skipped = skipped.into_iter().map(|(role, _)| role).collect();
    let digest = draft.state.started.digest;
    draft.push(Event::GlassBroken { gate, card, by, reason, digest, skipped });
    Ok(())
}

/// The last look before the start: votes, roles, criteria and targets as they are now.
pub(super) fn recheck(draft: &mut Draft, gate: &GateRef, card: u32, seen: Recheck) {
    let clearing = live_card(&draft.state, gate, card).is_some_and(|opened| opened.standing == Standing::Clearing);
    let is_its_turn = draft.state.open_gate().is_some_and(|(open, _)| open == gate);
    if !clearing || !is_its_turn || matches!(expire(draft, gate), Entrance::Changed) {
        return;
    }
    measured(draft, gate, card, seen.readings);
    votes_read(draft, gate, card, &seen.votes);
    if live_card(&draft.state, gate, card).is_none() {
        return;
    }
    if !seen.targets_changed.is_empty() {
        refuse(draft, gate, GateRefusal::TargetChanged { what: seen.targets_changed.join("; ") });
        return;
    }
    let reasons = open_reasons(draft, gate);
    if !reasons.is_empty() {
        draft.push(Event::ClearanceFailed { gate: gate.clone(), card, reasons });
        return;
    }
    let forecast = forecast(&draft.state, draft.now);
    if matches!(gate, GateRef::Phase(_)) && !forecast.fits() {
        refuse(draft, gate, GateRefusal::WindowMissed { arithmetic: forecast.arithmetic() });
        return;
    }
    clear(draft, gate, card);
}

/// What the last look saw.
pub(super) struct Recheck {
    pub(super) votes: Vec<ReactionVote>,
    pub(super) readings: Vec<Reading>,
    pub(super) targets_changed: Vec<String>,
}

fn open_reasons(draft: &Draft, gate: &GateRef) -> Vec<String> {
    let state = &draft.state;
    let opened = &state.gates[gate];
    let mut reasons: Vec<String> =
        opened.readings.iter().flatten().filter(|r| !r.is_green()).map(|r| format!("not green: {}", r.says)).collect();
    if let (Some(quorum), None) = (state.quorum(gate), &opened.glass) {
        reasons.extend(quorum.missing.iter().map(|(role, count)| format!("{role}: {count} missing")));
    }
    if state.pause.is_some() && matches!(gate, GateRef::Phase(_)) {
        reasons.push("the run was paused".to_owned());
    }
    if let GateRef::Phase(name) = gate
        && let Some(phase) = state.phase(name)
        && state.due(phase).is_some_and(|due| is_late(state, phase, due, draft.now))
    {
        reasons.push("the last look took so long that the phase would start late".to_owned());
    }
    reasons
}

fn clear(draft: &mut Draft, gate: &GateRef, card: u32) {
    let state = &draft.state;
    let digest = state.started.digest;
    let complete = state.quorum(gate).filter(super::super::sign_off::Quorum::is_complete);
    let clearance = match (complete, state.gates[gate].glass.clone()) {
        (Some(quorum), _) => Clearance::SignOff { signers: quorum.assignments },
        (None, Some(by)) => Clearance::BreakGlass { by },
        (None, None) => return,
    };
    draft.push(Event::GateCleared { gate: gate.clone(), card, digest, clearance });
    arm(draft, gate);
}

/// The same signatures arm a rollback, if they satisfy its own sign-off.
fn arm(draft: &mut Draft, gate: &GateRef) {
    let GateRef::Phase(phase) = gate else { return };
    let state = &draft.state;
    let Some(rollback) = state.phase(phase).and_then(|phase| phase.gate.as_ref()).and_then(|gate| gate.also_arms.clone()) else {
        return;
    };
    let Some(definition) = state.rollback_definition(&rollback) else { return };
    let quorum = quorum(&definition.sign_off, state.gates[gate].signers.values());
    if quorum.is_complete() {
        let digest = state.started.digest;
        draft.push(Event::RollbackArmed { rollback, digest, signers: quorum.assignments });
    }
}

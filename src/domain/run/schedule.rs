//! Time: when phases are due, what the estimates add up to, and when to wake up.

use super::event::GateRef;
use super::state::{RollbackStage, Standing, State, StepStatus};
use crate::domain::runbook::{Phase, Runbook, Step};
use crate::domain::{Duration, PhaseName, RollbackName, StepName, Timestamp};

/// A phase in the time table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseForecast {
    /// Which.
    pub phase: PhaseName,
    /// When it should start by the plan.
    pub planned_start: Timestamp,
    /// When it should be done by the plan.
    pub planned_end: Timestamp,
    /// When it started, or will by the forecast.
    pub start: Timestamp,
    /// When it was done, or will be by the forecast.
    pub end: Timestamp,
    /// Whether it has begun.
    pub begun: bool,
    /// Whether it is done.
    pub done: bool,
}

/// When the run will be done if every remaining step takes its estimate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The phases, in order.
    pub phases: Vec<PhaseForecast>,
    /// When the last step will be done.
    pub ends_at: Timestamp,
    /// When the maintenance window ends.
    pub window_ends_at: Timestamp,
}

impl Forecast {
    /// Whether the work fits the window.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.ends_at <= self.window_ends_at
    }

    /// The sum for people: `forecast 22:40:00, window ends 22:30:00, 10m too late (all UTC)`.
    #[must_use]
    pub fn arithmetic(&self) -> String {
        let late = Duration::between(self.window_ends_at, self.ends_at);
        let clock = |at: Timestamp| at.format("%Y-%m-%d %H:%M:%S").to_string();
        let parts: Vec<String> = self
            .phases
            .iter()
            .filter(|p| !p.done)
            .map(|p| format!("{} {}", p.phase, Duration::between(p.start, p.end)))
            .collect();
        format!(
            "{} = forecast end {}; the window ends {}; {late} too late (UTC)",
            parts.join(" + "),
            clock(self.ends_at),
            clock(self.window_ends_at)
        )
    }
}

/// What the steps of a phase should take.
#[must_use]
pub(super) fn estimate(phase: &Phase) -> Duration {
    phase.steps.iter().filter_map(|step| step.estimate).sum()
}

/// The time table before anything has happened: each phase with its planned start and end.
#[must_use]
pub fn planned(runbook: &Runbook, starts_at: Timestamp, t_zero: Timestamp) -> Vec<(PhaseName, Timestamp, Timestamp)> {
    let mut cursor = starts_at;
    let mut rows = Vec::with_capacity(runbook.phases.len());
    for phase in &runbook.phases {
        let start = phase.at.map_or(cursor, |offset| cursor.max(t_zero + offset.delta()));
        cursor = start + estimate(phase).delta();
        rows.push((phase.phase.clone(), start, cursor));
    }
    rows
}

/// When the run will be done, seen from `now`. A gate is taken to open as soon as its phase may start.
#[must_use]
pub fn forecast(state: &State, now: Timestamp) -> Forecast {
    let started = &state.started;
    let plan = planned(state.runbook(), started.starts_at, started.t_zero);
    let mut cursor = now.max(started.starts_at);
    let mut phases = Vec::with_capacity(plan.len());
    for (phase, (name, planned_start, planned_end)) in state.runbook().phases.iter().zip(plan) {
        let steps = || phase.steps.iter().map(|step| state.step(&step.step));
        let begun = state.has_begun(phase);
        let done = steps().all(super::state::StepState::is_settled);
        let start = match steps().filter_map(|step| step.started_at).min() {
            Some(at) => at,
            None if done => planned_start.min(cursor),
            None => phase.at.map_or(cursor, |offset| cursor.max(started.t_zero + offset.delta())),
        };
        let end = if done {
            steps().filter_map(|step| step.finished_at).max().unwrap_or(start)
        } else {
            now.max(start) + remaining(state, &phase.steps, now).delta()
        };
        if !done {
            cursor = end;
        }
        phases.push(PhaseForecast { phase: name, planned_start, planned_end, start, end, begun, done });
    }
    let ends_at = phases.last().map_or(now, |last| last.end);
    Forecast { phases, ends_at, window_ends_at: started.window_ends_at }
}

/// Until when a rollback is safe to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSafe {
    /// The latest instant at which it should be started. It may have passed if the window is the bound.
    pub at: Timestamp,
    /// What stands against starting it later.
    pub bound: SafeUntil,
}

/// What stands against starting a rollback later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SafeUntil {
    /// It takes its target time, and would end after the maintenance window.
    WindowEnds,
    /// This step is forecast to start then, and there is no way back behind it.
    NoReturn(StepName),
}

/// Until when a rollback is safe to start, seen from `now`: so that it ends within the window, and before the step behind
/// which there is no way back. `None` if it is not possible (any more), or under way already. What people need for signing,
/// if it is not armed, is not taken off.
#[must_use]
pub fn last_safe(state: &State, rollback: &RollbackName, now: Timestamp) -> Option<LastSafe> {
    let (_, definition) = state.possible_rollbacks().find(|(name, _)| *name == rollback)?;
    let under_way = state.rollback.as_ref().is_some_and(|wanted| wanted.stage != RollbackStage::AwaitingGate);
    if under_way || state.end.is_some() || state.is_dry_run() {
        return None;
    }
    let window = LastSafe { at: state.started.window_ends_at - definition.target.delta(), bound: SafeUntil::WindowEnds };
    let no_return = definition.until.as_ref().and_then(|until| {
        let at = forecast_start(state, &until.step, now)?;
        Some(LastSafe { at, bound: SafeUntil::NoReturn(until.step.clone()) })
    });
    no_return.into_iter().chain([window]).min_by_key(|last| last.at)
}

/// When a step that has not begun will start, if every step before it takes its estimate; `None` once the run goes forward
/// no more.
fn forecast_start(state: &State, step: &StepName, now: Timestamp) -> Option<Timestamp> {
    if state.closing.is_some() || state.abort.is_some() || state.rollback.is_some() {
        return None;
    }
    let phases = forecast(state, now).phases;
    let is_in = |phase: &Phase| phase.steps.iter().position(|other| other.step == *step);
    let rows = state.runbook().phases.iter().zip(&phases);
    let (before, row) = rows.filter_map(|(phase, row)| Some((&phase.steps[..is_in(phase)?], row))).next()?;
    Some(now.max(row.start) + remaining(state, before, now).delta())
}

/// What those of a phase's steps that are not settled should still take.
fn remaining(state: &State, steps: &[Step], now: Timestamp) -> Duration {
    let left = |step: &Step| {
        let estimate = step.estimate.unwrap_or_default();
        match &state.step(&step.step).status {
            StepStatus::Succeeded | StepStatus::Skipped => Duration::ZERO,
            StepStatus::Running(attempt) => {
                Duration::from_secs(estimate.as_secs().saturating_sub(Duration::between(attempt.since, now).as_secs()))
            }
            StepStatus::Pending
            | StepStatus::Waiting { .. }
            | StepStatus::Interrupted { .. }
            | StepStatus::Asserted { .. }
            | StepStatus::Failed(_) => estimate,
        }
    };
    steps.iter().map(left).sum()
}

/// The earliest instant after `now`, when the state was last looked at, at which time alone changes something; `None` if only people or effects can.
#[must_use]
pub fn next_deadline(state: &State, now: Timestamp) -> Option<Timestamp> {
    deadlines(state).into_iter().filter(|at| *at > now).min()
}

fn deadlines(state: &State) -> Vec<Timestamp> {
    let mut instants = Vec::new();
    if state.end.is_some() {
        return instants;
    }
    instants.extend(state.closing.map(|closing| closing.until));
    instants.extend(state.beat.map(|beat| beat.next));
    for step in state.steps.values() {
        match &step.status {
            StepStatus::Running(attempt) => instants.push(attempt.deadline),
            StepStatus::Waiting { retry_at } => instants.push(*retry_at),
            StepStatus::Pending
            | StepStatus::Interrupted { .. }
            | StepStatus::Asserted { .. }
            | StepStatus::Succeeded
            | StepStatus::Failed(_)
            | StepStatus::Skipped => {}
        }
    }
    for gate in state.gates.values().filter(|gate| matches!(gate.standing, Standing::Open | Standing::Clearing)) {
        instants.extend([gate.expires_at, warning_at(gate, 50), warning_at(gate, 80)]);
    }
    if let (Some(phase), false) = (state.current_phase(), state.is_dry_run()) {
        let due = state.due(phase);
        instants.extend(due);
        if let (Some(due), Some(gate)) = (due, &phase.gate) {
            instants.push(due - gate.opens_before.delta());
        }
    }
    instants
}

/// When a gate warns that this part of its time has passed.
pub(super) fn warning_at(gate: &super::state::Gate, percent: i32) -> Timestamp {
    gate.opened_at + (gate.expires_at - gate.opened_at) * percent / 100
}

/// When a gate's present card expires, if it is opened at `now`.
pub(super) fn gate_expiry(state: &State, gate: &GateRef, now: Timestamp) -> Timestamp {
    match gate {
        GateRef::Phase(name) => {
            let phase = state.phase(name);
            let due = phase.and_then(|phase| state.due(phase)).unwrap_or(now);
            let expires = phase.and_then(|phase| phase.gate.as_ref()).map(|gate| gate.expires).unwrap_or_default();
            due.max(now) + expires.delta()
        }
        // A way back must not wait for long, nor vanish while people are being woken.
        GateRef::Rollback(_) => now + ROLLBACK_GATE_EXPIRES.delta(),
    }
}

/// How long the gate of a rollback that is not armed stays open.
const ROLLBACK_GATE_EXPIRES: Duration = Duration::from_minutes(60);

/// When a rollback that starts at `now` should be done.
pub(super) fn rollback_target_at(state: &State, rollback: &crate::domain::RollbackName, now: Timestamp) -> Timestamp {
    let since = state
        .rollback
        .as_ref()
        .filter(|asked| asked.name == *rollback && asked.stage == RollbackStage::AwaitingGate)
        .map_or(now, |asked| asked.since);
    since + state.rollback_definition(rollback).map(|definition| definition.target).unwrap_or_default().delta()
}

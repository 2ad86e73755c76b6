//! What changed about a run since people last heard of it, a line for each thing.

use super::status::{gate_title, icon, somebody, step_title};
use super::text::{clock, code, person};
use crate::domain::Timestamp;
use crate::domain::run::{ChangeKind, State};

/// What happened after an instant, in order: when, and a line without its clock time.
pub(super) fn since(state: &State, since: Timestamp) -> Vec<(Timestamp, String)> {
    state.changes_since(since).map(|change| (change.at, line(state, &change.kind))).collect()
}

/// The same as lines, each with its clock time.
pub(super) fn lines(state: &State, instant: Timestamp) -> Vec<String> {
    since(state, instant).into_iter().map(|(at, what)| format!("{} {what}", clock(at))).collect()
}

fn line(state: &State, change: &ChangeKind) -> String {
    match change {
        ChangeKind::StepDone(step) => format!("✅ {} done", step_title(state, step)),
        ChangeKind::StepSkipped(step) => format!("⏭ {} skipped", step_title(state, step)),
        ChangeKind::StepFailed(step) => format!("❌ {} failed", step_title(state, step)),
        ChangeKind::StepCutOff(step) => format!("✂ {} was cut off", step_title(state, step)),
        ChangeKind::GateOpened(gate) => format!("🚦 sign-off asked for: {}", gate_title(state, gate)),
        ChangeKind::Signed(gate, by) => format!("✍ {} signed: {}", person(by), gate_title(state, gate)),
        ChangeKind::Withdrawn(gate, by) => {
            format!("↪ the sign-off of {} counts no more: {}", person(by), gate_title(state, gate))
        }
        ChangeKind::GlassBroken(gate, by) => format!("🔨 {} broke the glass: {}", person(by), gate_title(state, gate)),
        ChangeKind::GateCleared(gate) => format!("🟢 signed off: {}", gate_title(state, gate)),
        ChangeKind::GateRefused(gate) => format!("⛔ closed, nothing went forward: {}", gate_title(state, gate)),
        ChangeKind::RollbackArmed(rollback) => format!("🛡 rollback {} is armed", code(rollback.as_str())),
        ChangeKind::RollbackRequested(rollback) => format!("↩ rollback {} is asked for", code(rollback.as_str())),
        ChangeKind::RollbackStarted(rollback) => format!("↩ rollback {} has begun", code(rollback.as_str())),
        ChangeKind::RollbackFinished(rollback) => format!("↩ rollback {} is done", code(rollback.as_str())),
        ChangeKind::Asked(question) => format!("❓ question {question} asked"),
        ChangeKind::Answered(question, by) => format!("💬 question {question} answered by {}", person(by)),
        ChangeKind::Paused(by) => format!("⏸ paused by {}", somebody(by.as_ref())),
        ChangeKind::Unpaused(by) => format!("▶ resumed by {}", person(by)),
        ChangeKind::Aborted(by) => format!("🛑 aborted by {}", person(by)),
        ChangeKind::Closing(end) => format!("{} {end}; closing", icon(*end)),
        ChangeKind::Ended(end) => format!("{} {end}: over", icon(*end)),
    }
}

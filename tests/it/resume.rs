//! Killed at every moment and started again: the journal, the chat and the world end up as if nothing had been.
//!
//! Every history is first lived through in peace. Then it is killed before and after each append and after each
//! effect, started again and played to its end; short ones are killed twice.

use std::collections::BTreeMap;

use pointsman::domain::run::{End, GateRef, Input, Mode, State, StepStatus};
use pointsman::domain::{Interruption, RunId, StepName};
use pointsman::engine::{Runs as _, Snapshot};

use crate::harness::engine::{Bench, Deed, Life, People, chores, lead, team};
use crate::harness::performer::Behaviour;

/// What is to be the same however often the bot died.
#[derive(Debug, PartialEq)]
struct Result {
    end: Option<End>,
    steps: BTreeMap<StepName, &'static str>,
    rolled_back: usize,
    armed: usize,
    /// The effects that may happen once only, and how often they did.
    effects: BTreeMap<StepName, usize>,
}

/// One history: what is started, how the world behaves, and what people do.
struct History {
    runbook: &'static str,
    mode: Mode,
    world: fn(&Bench),
    people: People<'static>,
    end: End,
}

fn word(status: &StepStatus) -> &'static str {
    match status {
        StepStatus::Pending => "pending",
        StepStatus::Running(_) => "running",
        StepStatus::Waiting { .. } => "waiting",
        StepStatus::Interrupted { .. } => "interrupted",
        StepStatus::Asserted { .. } => "asserted",
        StepStatus::Succeeded => "succeeded",
        StepStatus::Failed(_) => "failed",
        StepStatus::Skipped => "skipped",
    }
}

fn result(life: &Life<'_>, run: &RunId) -> Result {
    let state = life.state(run);
    let once = |step: &StepName| matches!(state.plan().traits(step).interruption, Interruption::Ask | Interruption::Probe);
    Result {
        end: state.end.as_ref().map(|ending| ending.end),
        steps: state.steps.iter().map(|(name, step)| (name.clone(), word(&step.status))).collect(),
        rolled_back: state.rolled_back.len(),
        armed: state.armed.len(),
        effects: life.bench.effects.all(run).into_iter().filter(|(step, _)| once(step)).collect(),
    }
}

impl History {
    fn bench(&self) -> Bench {
        let bench = Bench::new();
        (self.world)(&bench);
        bench
    }

    /// Starts the run unless an earlier life has; plays it to its end.
    async fn play(&self, life: &Life<'_>) -> RunId {
        let run = match life.handle.runs().first() {
            Some(known) => known.id.clone(),
            None => life.try_start(self.runbook, self.mode).await.expect("it starts"),
        };
        life.play(&run, self.people).await;
        run
    }

    async fn finish(&self, life: &Life<'_>) -> Result {
        let run = self.play(life).await;
        life.expect_settled(&run).await;
        result(life, &run)
    }

    /// Lives through it in peace; returns what came of it and how many moments there are.
    fn in_peace(&self) -> (Result, usize) {
        let (result, points) = self.bench().live(None, async |life| self.finish(life).await);
        let result = result.expect("nothing kills it");
        assert_eq!(result.end, Some(self.end));
        (result, points.passed())
    }

    /// Killed at these moments, one life each, and then played to its end.
    fn killed_at(&self, moments: &[usize]) -> (Result, Vec<String>) {
        let bench = self.bench();
        let mut killed = Vec::new();
        for moment in moments {
            let (done, points) = bench.live(Some(*moment), async |life| self.finish(life).await);
            killed.push(points.last());
            if let Some(result) = done {
                return (result, killed);
            }
        }
        (bench.whole_life(async |life| self.finish(life).await), killed)
    }

    fn expect_the_same_after_a_kill_at_every_moment(&self) {
        let (peace, moments) = self.in_peace();
        for moment in 1..=moments {
            let (after, killed) = self.killed_at(&[moment]);
            assert_eq!(after, peace, "killed at moment {killed:?}");
        }
    }

    fn expect_the_same_after_two_kills(&self) {
        let (peace, moments) = self.in_peace();
        for first in 1..=moments {
            // A second life of the same length at most, and some for the restart itself.
            for second in (1 + first % 3..=moments + 6).step_by(3) {
                let (after, killed) = self.killed_at(&[first, second]);
                assert_eq!(after, peace, "killed at moments {killed:?}");
            }
        }
    }
}

const GREEN: History = History { runbook: "move", mode: Mode::Live, world: |_| {}, people: &team, end: End::Succeeded };

#[test]
fn a_run_with_one_gate_survives_a_kill_at_every_moment() {
    GREEN.expect_the_same_after_a_kill_at_every_moment();
}

#[test]
fn an_armed_rollback_survives_a_kill_at_every_moment() {
    let world = |bench: &Bench| bench.effects.always("smoke", Behaviour::Fail { retryable: false });
    History { world, end: End::RolledBack, ..GREEN }.expect_the_same_after_a_kill_at_every_moment();
}

#[test]
fn a_failure_that_is_asked_about_survives_a_kill_at_every_moment() {
    let world = |bench: &Bench| bench.effects.always("copy", Behaviour::Fail { retryable: true });
    History { world, end: End::Failed, ..GREEN }.expect_the_same_after_a_kill_at_every_moment();
}

#[test]
fn a_dry_run_survives_a_kill_at_every_moment() {
    History { mode: Mode::DryRun, ..GREEN }.expect_the_same_after_a_kill_at_every_moment();
}

#[test]
fn a_broken_glass_survives_a_kill_at_every_moment() {
    fn breaker(bench: &Bench, snapshot: &Snapshot) -> Option<Deed> {
        let waits = snapshot.state.open_gate().is_some_and(|(_, gate)| gate.glass.is_none() && gate.is_green());
        let input = Input::BreakGlass { by: lead(), reason: "fire".to_owned(), other_holders: true };
        if waits { Some(Deed::Send(Box::new(input))) } else { chores(bench, snapshot) }
    }
    History { people: &breaker, ..GREEN }.expect_the_same_after_a_kill_at_every_moment();
}

#[test]
fn an_expired_gate_and_an_abort_survive_a_kill_at_every_moment() {
    fn sleepers(bench: &Bench, snapshot: &Snapshot) -> Option<Deed> {
        let state: &State = &snapshot.state;
        let expired = state.pause.is_some() && state.abort.is_none();
        let input = Input::Abort { by: lead(), reason: "nobody came".to_owned() };
        if expired { Some(Deed::Send(Box::new(input))) } else { chores(bench, snapshot) }
    }
    History { people: &sleepers, end: End::Aborted, ..GREEN }.expect_the_same_after_a_kill_at_every_moment();
}

#[test]
fn an_unknown_outcome_survives_a_kill_at_every_moment() {
    let world = |bench: &Bench| bench.effects.always("switch", Behaviour::TakeEffectUnknown);
    History { world, ..GREEN }.expect_the_same_after_a_kill_at_every_moment();
}

#[test]
fn a_rollback_behind_its_own_gate_survives_a_kill_at_every_moment() {
    fn retreat(bench: &Bench, snapshot: &Snapshot) -> Option<Deed> {
        let state: &State = &snapshot.state;
        let at_gate = matches!(state.open_gate(), Some((GateRef::Phase(_), _)));
        let input = crate::harness::engine::roll_back(crate::harness::engine::operator());
        if at_gate { Some(Deed::Send(Box::new(input))) } else { team(bench, snapshot) }
    }
    History { people: &retreat, end: End::RolledBack, ..GREEN }.expect_the_same_after_a_kill_at_every_moment();
}

#[test]
fn waits_and_people_survive_a_kill_at_every_moment() {
    History { runbook: "human", ..GREEN }.expect_the_same_after_a_kill_at_every_moment();
}

#[test]
fn a_short_run_survives_two_kills() {
    History { runbook: "tiny", ..GREEN }.expect_the_same_after_two_kills();
}

#[test]
fn every_run_ends_whichever_step_fails_and_the_next_one_starts() {
    for step in ["look", "copy", "switch", "tell", "smoke"] {
        for behaviour in [Behaviour::Fail { retryable: false }, Behaviour::TakeEffectUnknown] {
            let bench = GREEN.bench();
            bench.effects.next(step, &[behaviour]);
            bench.whole_life(async |life| {
                for _ in 0..2 {
                    let run = life.begin("move", Mode::Live).await;
                    life.play(&run, &team).await;
                    life.expect_settled(&run).await;
                }
            });
        }
    }
}

#[test]
fn a_run_survives_kills_on_postgresql_too() {
    let (peace, moments) = GREEN.in_peace();
    for moment in (1..=moments).step_by(moments / 4) {
        let bench = Bench::postgres();
        bench.live(Some(moment), async |life| GREEN.finish(life).await);
        assert_eq!(bench.whole_life(async |life| GREEN.finish(life).await), peace);
    }
}

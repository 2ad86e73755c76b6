//! The engine through its handle: order of appending and acting, votes, a chat or store that is away, leases, time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pointsman::clock::Clock as _;
use pointsman::control::{self, RollbackRequest};
use pointsman::domain::incident::Severity;
use pointsman::domain::run::{
    Answer, End, Event, GateRef, Input, ListRef, MessageKey, Mode, QuestionKind, Rejection, Status, StepStatus, Vote, VoteRefusal,
};
use pointsman::domain::{MessageRef, RunId, StreamId};
use pointsman::engine::{EngineError, Hint, Incidents as _, Runs as _, SendError, StartError};
use pointsman::store::{Holder, LeaseError, NewRecord};

use crate::harness::chat::PostFault;
use crate::harness::engine::{
    Bench, Life, MOVE, TINY, at, chores, cutover, dba, dead_holder, lead, operator, person, requester, roll_back, team,
};
use crate::harness::journal::Fault;
use crate::harness::performer::{Behaviour, group_of};
use crate::harness::points::Points;

fn reason() -> String {
    "as the test wants it".to_owned()
}

/// A run of `move` at its gate, the card posted and green.
async fn at_gate(life: &Life<'_>) -> (RunId, MessageRef) {
    let run = life.begin("move", Mode::Live).await;
    let card = life.card(&run, &cutover());
    (run, card)
}

/// A run of `move` whose step `switch` hangs behind the gate.
async fn hanging_switch(life: &Life<'_>) -> RunId {
    life.bench.effects.next("switch", &[Behaviour::Hang]);
    let (run, card) = at_gate(life).await;
    life.react(card, &dba(), Vote::Sign).await;
    life.react(card, &lead(), Vote::Sign).await;
    life.bench.effects.hung().await;
    run
}

fn status(life: &Life<'_>, run: &RunId) -> Status {
    life.state(run).status(life.bench.clock.now())
}

fn step_status(life: &Life<'_>, run: &RunId, step: &str) -> StepStatus {
    life.state(run).step(&step.parse().unwrap()).status.clone()
}

#[test]
fn no_effect_begins_before_its_start_is_durable() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        life.play(&run, &team).await;
        // The performer looks into the journal before each effect; `expect_sound` fails on what it noted.
        life.expect_settled(&run).await;
        assert_eq!(bench.effects.took(&run, "switch"), 1);
    });
}

#[test]
fn an_outcome_is_taken_in_before_the_step_can_be_owed_again() {
    // Many short steps on many threads: an ending that overtakes its outcome performs the step again.
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let points = Arc::new(Points::new(None));
        let life = bench.start(&points, &dead_holder()).await.unwrap();
        for _ in 0..20 {
            let run = life.begin("tiny", Mode::Live).await;
            while life.bench.effects.took(&run, "poke") == 0 || status(&life, &run) != Status::Closing(End::Succeeded) {
                life.settle().await;
                tokio::task::yield_now().await;
            }
            life.send(&run, Input::Close { by: lead(), reason: reason() }).await.unwrap();
            life.settle().await;
            assert_eq!(bench.effects.took(&run, "poke"), 1);
            let kinds = life.kinds(&run).await;
            assert_eq!(kinds.iter().filter(|kind| **kind == "step_started").count(), 1);
            life.expect_sound(&run).await;
        }
    });
}

#[test]
fn votes_cast_while_the_bot_was_away_count_and_withdrawn_ones_do_not() {
    let bench = Bench::new();
    let (run, card) = bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.react(card, &dba(), Vote::Sign).await;
        assert_eq!(life.state(&run).gates[&cutover()].signers.len(), 1);
        (run, card)
    });
    bench.chat.unreact(card, &dba(), Vote::Sign);
    bench.chat.react(card, &lead(), Vote::Sign);
    bench.whole_life(async |life| {
        life.settle().await;
        let signers: Vec<_> = life.state(&run).gates[&cutover()].signers.values().cloned().collect();
        assert_eq!(signers, [lead()], "the votes are read at once, without waiting for the timer");
        assert_eq!(bench.effects.took(&run, "switch"), 0);
        life.react(card, &dba(), Vote::Sign).await;
        assert_eq!(bench.effects.took(&run, "switch"), 1);
        life.expect_sound(&run).await;
    });
}

#[test]
fn a_lost_hint_costs_no_vote() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        bench.chat.react(card, &dba(), Vote::Sign);
        bench.chat.react(card, &lead(), Vote::Sign);
        assert_eq!(status(life, &run), Status::AtGate(cutover()));
        life.advance(300).await;
        assert_eq!(bench.effects.took(&run, "switch"), 1);
    });
}

#[test]
fn a_reconnection_reads_the_votes() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        bench.chat.react(card, &dba(), Vote::Sign);
        bench.chat.react(card, &lead(), Vote::Sign);
        life.handle.hint(Hint::Reconnected);
        life.settle().await;
        assert_eq!(bench.effects.took(&run, "switch"), 1);
    });
}

#[test]
fn a_hint_of_a_vote_that_is_not_there_changes_nothing() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        let before = life.kinds(&run).await;
        life.handle.hint(Hint::Reactions { channel: card.channel, message: card.message });
        life.settle().await;
        assert_eq!(life.kinds(&run).await, before);
    });
}

#[test]
fn a_removed_vote_is_believed_at_once() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.react(card, &dba(), Vote::Sign).await;
        bench.chat.set_away(true);
        let (channel, message) = (card.channel, card.message);
        life.handle.hint(Hint::ReactionRemoved { channel, message, user: dba().id, vote: Vote::Sign });
        life.settle().await;
        assert!(life.state(&run).gates[&cutover()].signers.is_empty());
    });
}

#[test]
fn roles_are_read_again_just_before_the_start() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.react(card, &dba(), Vote::Sign).await;
        bench.chat.person(&person(2, "Grace", &[]));
        life.react(card, &lead(), Vote::Sign).await;
        assert_eq!(bench.effects.took(&run, "switch"), 0);
        assert!(life.kinds(&run).await.contains(&"sign_off_withdrawn"));
    });
}

#[test]
fn a_late_veto_is_answered_too_late() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = hanging_switch(life).await;
        let card = life.card(&run, &cutover());
        life.react(card, &lead(), Vote::Veto).await;
        let refused = life.events(&run).await.into_iter().filter_map(|event| match event {
            Event::VoteRefused { why, .. } => Some(why),
            _ => None,
        });
        assert_eq!(refused.collect::<Vec<_>>(), [VoteRefusal::TooLate]);
    });
}

#[test]
fn a_vote_on_a_replaced_card_is_answered_and_one_on_the_new_card_counts() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, old) = at_gate(life).await;
        life.react(old, &lead(), Vote::Veto).await;
        life.send(&run, Input::Resume { by: lead() }).await.unwrap();
        life.settle().await;
        let new = life.card(&run, &cutover());
        assert_ne!(new, old);
        life.react(new, &dba(), Vote::Sign).await;
        let late = person(7, "Barbara", &["dba"]);
        life.react(old, &late, Vote::Sign).await;
        let refused = life.events(&run).await.into_iter().filter_map(|event| match event {
            Event::VoteRefused { card, voter, why, .. } => Some((card, voter.id, why)),
            _ => None,
        });
        assert_eq!(refused.collect::<Vec<_>>(), [(1, late.id, VoteRefusal::ClosedCard)]);
        assert_eq!(life.state(&run).gates[&cutover()].signers.keys().collect::<Vec<_>>(), [&dba().id]);
        life.react(new, &lead(), Vote::Sign).await;
        assert_eq!(bench.effects.took(&run, "switch"), 1);
    });
}

#[test]
fn a_deleted_card_is_posted_anew_and_its_votes_are_void() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.react(card, &dba(), Vote::Sign).await;
        bench.chat.delete(card);
        life.handle.hint(Hint::MessageDeleted { channel: card.channel, message: card.message });
        life.settle().await;
        let anew = life.card(&run, &cutover());
        assert_ne!(anew, card);
        assert!(life.state(&run).gates[&cutover()].signers.is_empty());
        life.react(anew, &dba(), Vote::Sign).await;
        life.react(anew, &lead(), Vote::Sign).await;
        assert_eq!(bench.effects.took(&run, "switch"), 1);
    });
}

#[test]
fn a_card_deleted_while_the_bot_was_away_is_posted_anew() {
    let bench = Bench::new();
    let (run, card) = bench.whole_life(async |life| at_gate(life).await);
    bench.chat.delete(card);
    bench.whole_life(async |life| {
        life.advance(300).await;
        assert_ne!(life.card(&run, &cutover()), card);
    });
}

#[test]
fn old_news_about_a_lost_message_does_not_post_a_third_copy() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let plan = life.state(&run).owed[0].clone();
        let posted = plan.posted.unwrap();
        bench.chat.delete(posted);
        for _ in 0..3 {
            life.handle.send(&run, Input::MessageLost(plan.key.clone(), posted)).await.unwrap();
            life.settle().await;
        }
        assert_eq!(life.state(&run).owed[0].generation, 1);
        assert_eq!(bench.chat.copies(&run, "plan").len(), 1);
    });
}

#[test]
fn a_message_whose_answer_was_lost_is_not_posted_again() {
    let bench = Bench::new();
    bench.chat.fail_posts(&[PostFault::After, PostFault::Before, PostFault::Refused]);
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        assert_eq!(life.state(&run).owed[0].posted, None);
        life.advance(300).await;
        assert!(life.state(&run).owed[0].posted.is_some());
        assert_eq!(bench.chat.copies(&run, "plan").len(), 1);
        life.play(&run, &team).await;
        life.expect_settled(&run).await;
    });
}

#[test]
fn notes_are_posted_in_the_order_in_which_they_are_owed() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        bench.chat.set_away(true);
        life.send(&run, Input::Pause { by: lead(), reason: reason() }).await.unwrap();
        life.send(&run, Input::Resume { by: lead() }).await.unwrap();
        bench.chat.set_away(false);
        life.advance(300).await;
        let shown: Vec<_> = bench.chat.visible().into_iter().map(|message| message.key).collect();
        let owed: Vec<_> = life.state(&run).owed.iter().map(|owed| owed.key.clone()).collect();
        assert_eq!(shown.len(), owed.len());
        let notes =
            |keys: &[MessageKey]| keys.iter().filter(|key| key.as_str().starts_with("note/")).cloned().collect::<Vec<_>>();
        assert_eq!(notes(&shown), notes(&owed));
    });
}

#[test]
fn a_silent_chat_stops_neither_the_run_nor_another_one() {
    let bench = Bench::new();
    bench.chat.set_away(true);
    bench.whole_life(async |life| {
        let tiny = life.begin("tiny", Mode::Live).await;
        let run = life.begin("move", Mode::Live).await;
        assert_eq!(bench.effects.took(&tiny, "poke"), 1);
        assert_eq!(bench.effects.took(&run, "copy"), 1);
        assert_eq!(status(life, &run), Status::AtGate(cutover()), "nothing forward starts without Discord");
        life.advance(600).await;
        let asked = bench.chat.posts_asked();
        assert!((8..40).contains(&asked), "tried again and again, ever more seldom: {asked}");
        bench.chat.set_away(false);
        life.play(&run, &team).await;
        life.play(&tiny, &team).await;
        life.expect_settled(&run).await;
        life.expect_settled(&tiny).await;
    });
}

#[test]
fn an_armed_rollback_runs_without_chat() {
    let bench = Bench::new();
    bench.effects.always("smoke", Behaviour::Fail { retryable: false });
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.react(card, &dba(), Vote::Sign).await;
        bench.chat.react(card, &lead(), Vote::Sign);
        life.handle.hint(Hint::Reactions { channel: card.channel, message: card.message });
        while bench.effects.took(&run, "switch") == 0 {
            tokio::task::yield_now().await;
        }
        bench.chat.set_away(true);
        life.settle().await;
        assert_eq!(bench.effects.took(&run, "switch-back"), 1);
        assert_eq!(status(life, &run), Status::Ended(End::RolledBack));
        bench.chat.set_away(false);
        life.play(&run, &team).await;
        life.expect_settled(&run).await;
    });
}

#[test]
fn a_gate_whose_last_look_outlives_the_card_refuses() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.react(card, &dba(), Vote::Sign).await;
        // The votes arrive, and then Discord is away for the last look.
        bench.chat.be_away_after_votes();
        life.react(card, &lead(), Vote::Sign).await;
        life.advance(31 * 60).await;
        bench.chat.set_away(false);
        life.advance(10 * 60).await;
        assert_eq!(bench.effects.took(&run, "switch"), 0);
        assert_eq!(status(life, &run), Status::Paused);
        assert!(life.kinds(&run).await.contains(&"gate_refused"));
    });
}

#[test]
fn a_lost_lease_stops_everything_and_ends_attempts_first() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = hanging_switch(life).await;
        let successor = life.journal.acquire_lease(&Holder::this_process(), Duration::from_secs(60)).await;
        let successor = successor.expect("the former holder is proven dead");
        let refused = life.handle.send(&run, Input::Pause { by: lead(), reason: reason() }).await;
        assert!(matches!(refused, Err(SendError::Unavailable(_))), "{refused:?}");
        assert!(life.engine.stopped().await.contains("the lease with token"));
        life.handle.idle().await;
        assert_eq!(bench.effects.cancelled(), ["switch".parse().unwrap()]);
        assert_eq!(life.kinds(&run).await.last(), Some(&"message_posted"), "nothing is journalled under a lost lease");
        assert!(!life.handle.is_running());
        life.journal.release_lease(&successor).await.unwrap();
    });
    bench.whole_life(async |life| {
        let run = life.handle.runs()[0].id.clone();
        life.settle().await;
        assert!(matches!(status(life, &run), Status::Asking(_)), "nobody knows what the attempt has done");
    });
}

#[test]
fn a_lease_that_the_store_does_not_prolong_is_given_up_in_time() {
    let mut bench = Bench::new();
    bench.pace.lease_ttl = Duration::from_millis(300);
    bench.whole_life(async |life| {
        let run = hanging_switch(life).await;
        bench.faults.renewals_hang.store(true, Ordering::SeqCst);
        assert!(life.engine.stopped().await.contains("could not be prolonged in time"));
        life.handle.idle().await;
        assert_eq!(bench.effects.cancelled(), ["switch".parse().unwrap()]);
        assert!(matches!(step_status(life, &run, "switch"), StepStatus::Running(_)));
    });
}

#[test]
fn a_journal_that_refuses_for_good_stops_the_engine_which_says_so() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, _) = at_gate(life).await;
        bench.faults.appends.lock().unwrap().push_back(Fault::Refused);
        let refused = life.handle.send(&run, Input::Pause { by: lead(), reason: reason() }).await;
        assert!(matches!(refused, Err(SendError::Unavailable(_))), "{refused:?}");
        let why = life.engine.stopped().await;
        assert!(why.contains("permission denied") && !why.contains("another process"), "{why}");
    });
}

#[test]
fn a_second_engine_is_refused_and_told_who_holds_the_journal() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let points = Arc::new(Points::new(None));
        // The lease of a dead process would be passed on: this one is alive.
        let lease = life.journal.acquire_lease(&Holder::this_process(), Duration::from_secs(60)).await.unwrap();
        let refused = bench.start(&points, &dead_holder()).await.err().expect("only one acts");
        let EngineError::Lease(LeaseError::Held { by, .. }) = &refused else { panic!("{refused}") };
        assert_eq!(by, lease.holder());
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    });
}

#[test]
fn a_shut_down_gives_the_lease_back() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let points = Arc::new(Points::new(None));
        for _ in 0..2 {
            let life = bench.start(&points, &Holder::this_process()).await.expect("nobody holds it");
            life.engine.shut_down().await;
        }
    });
}

#[test]
fn an_outcome_survives_a_store_that_is_away() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("tiny", Mode::Live).await;
        life.send(&run, Input::Close { by: lead(), reason: reason() }).await.unwrap();
        bench.effects.next("poke", &[Behaviour::Hang]);
        let run = life.begin("tiny", Mode::Live).await;
        bench.faults.away.store(true, Ordering::SeqCst);
        // The time-out ends the attempt; its outcome cannot be written.
        life.advance(601).await;
        assert_eq!(bench.effects.cancelled().len(), 1);
        assert!(matches!(step_status(life, &run, "poke"), StepStatus::Running(_)));
        let refused = life.handle.send(&run, Input::Pause { by: lead(), reason: reason() }).await;
        assert!(matches!(refused, Err(SendError::Unavailable(_))), "a person is told at once: {refused:?}");
        let other = life.try_start("move", Mode::Live).await;
        assert!(matches!(other, Err(StartError::Unavailable(_))));
        bench.faults.away.store(false, Ordering::SeqCst);
        life.advance(300).await;
        assert!(matches!(step_status(life, &run, "poke"), StepStatus::Failed(_)));
        life.expect_sound(&run).await;
    });
}

#[test]
fn a_write_of_unknown_outcome_is_neither_lost_nor_done_twice() {
    for fault in [Fault::AnswerLost, Fault::LostWithAnswer, Fault::Away] {
        for skipped in 0..12 {
            let bench = Bench::new();
            bench.whole_life(async |life| {
                let run = life.try_start("move", Mode::Live).await.unwrap();
                {
                    let mut appends = bench.faults.appends.lock().unwrap();
                    // A fault that is not one: the first appends are in order, and the next one is not.
                    appends.clear();
                    bench.faults.skip.store(skipped, Ordering::SeqCst);
                    appends.push_back(fault);
                }
                life.play(&run, &team).await;
                life.expect_settled(&run).await;
                assert_eq!(bench.effects.took(&run, "switch"), 1, "{fault:?} after {skipped}");
            });
        }
    }
}

#[test]
fn a_person_whose_write_was_of_unknown_outcome_is_not_refused_for_what_they_did_themselves() {
    for fault in [Fault::AnswerLost, Fault::LostWithAnswer] {
        let bench = Bench::new();
        bench.whole_life(async |life| {
            let (run, _) = at_gate(life).await;
            bench.faults.appends.lock().unwrap().push_back(fault);
            let pause = life.handle.send(&run, Input::Pause { by: lead(), reason: reason() });
            assert_eq!(life.while_time_passes(pause).await, Ok(()), "{fault:?}");
            assert_eq!(status(life, &run), Status::Paused);
            let again = life.send(&run, Input::Pause { by: lead(), reason: reason() }).await;
            assert_eq!(again, Err(SendError::Rejected(Rejection::AlreadyPaused)), "a second wish is another one");
            life.expect_sound(&run).await;
        });
    }
}

#[test]
fn a_person_is_told_that_nobody_knows_whether_it_was_journalled() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, _) = at_gate(life).await;
        bench.faults.appends.lock().unwrap().push_back(Fault::AnswerLost);
        bench.faults.loads_away.store(true, Ordering::SeqCst);
        let pause = life.handle.send(&run, Input::Pause { by: lead(), reason: reason() });
        let Err(SendError::Unavailable(why)) = life.while_time_passes(pause).await else { panic!("nobody can know") };
        assert!(why.contains("is not known yet") && !why.contains("nothing was done"), "{why}");
        bench.faults.loads_away.store(false, Ordering::SeqCst);
        life.advance(300).await;
        assert_eq!(status(life, &run), Status::Paused);
        life.expect_sound(&run).await;
    });
}

#[test]
fn a_start_of_unknown_outcome_is_settled_before_anybody_else_starts() {
    for fault in [Fault::AnswerLost, Fault::LostWithAnswer] {
        let bench = Bench::new();
        bench.whole_life(async |life| {
            bench.faults.appends.lock().unwrap().push_back(fault);
            let started = life.try_start("tiny", Mode::Live).await;
            let second = life.try_start("tiny", Mode::Live).await;
            match fault {
                Fault::AnswerLost => {
                    assert!(started.is_ok());
                    assert!(matches!(second, Err(StartError::Rejected(Rejection::Locked { .. }))));
                }
                Fault::LostWithAnswer | Fault::Away | Fault::Refused | Fault::Invalid => {
                    assert!(matches!(started, Err(StartError::Unavailable(_))));
                    assert!(second.is_ok());
                }
            }
            life.settle().await;
            assert_eq!(life.handle.runs().len(), 1);
        });
    }
}

#[test]
fn an_attempt_that_takes_too_long_is_cancelled_and_not_silently_repeated() {
    let bench = Bench::new();
    bench.planning.add(&TINY.replace(r#""action": "act.probe""#, r#""action": "act.ask", "retry": { "attempts": 3 }"#));
    bench.effects.next("poke", &[Behaviour::Hang]);
    bench.whole_life(async |life| {
        let run = life.begin("tiny", Mode::Live).await;
        life.advance(601).await;
        assert_eq!(bench.effects.cancelled().len(), 1);
        let StepStatus::Failed(failure) = step_status(life, &run, "poke") else { panic!("it failed for good") };
        assert_eq!(failure.kind, pointsman::domain::run::FailureKind::TimedOut);
        assert_eq!(status(life, &run), Status::Closing(End::Failed));
    });
}

#[test]
fn an_abort_cancels_the_attempt_and_keeps_lock_and_way_back() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = hanging_switch(life).await;
        life.send(&run, Input::Abort { by: lead(), reason: reason() }).await.unwrap();
        life.settle().await;
        assert_eq!(bench.effects.cancelled(), ["switch".parse().unwrap()]);
        assert_eq!(status(life, &run), Status::Closing(End::Aborted));
        let refused = life.try_start("move", Mode::Live).await;
        assert!(matches!(&refused, Err(StartError::Rejected(Rejection::Locked { run: holder, .. })) if *holder == run));
        life.send(&run, roll_back(operator())).await.unwrap();
        life.settle().await;
        assert_eq!(bench.effects.took(&run, "switch-back"), 1);
        life.expect_sound(&run).await;
    });
}

/// A run killed right after the child of its step `switch` had taken effect: its end was never journalled.
fn killed_after_the_switch() -> (Bench, RunId) {
    let killed = |moment| {
        let bench = Bench::new();
        bench.effects.next("switch", &[Behaviour::WithChild]);
        let (_, points) = bench.live(Some(moment), async |life| {
            let run = life.begin("move", Mode::Live).await;
            life.play(&run, &team).await;
        });
        points.last().contains("switch took effect").then_some(bench)
    };
    let bench = (1..100).find_map(killed).expect("the moment comes");
    let run = bench.whole_life(async |life| life.handle.runs()[0].id.clone());
    (bench, run)
}

#[test]
fn what_a_crash_left_behind_is_proven_gone_before_a_step_is_checked() {
    let (bench, run) = killed_after_the_switch();
    bench.whole_life(async |life| {
        life.play(&run, &team).await;
        life.expect_settled(&run).await;
        assert_eq!(bench.effects.took(&run, "switch"), 1);
        assert_eq!(bench.effects.former_groups(), [group_of(1)]);
    });
}

#[test]
fn what_a_crash_left_behind_is_ended_before_the_rollback_begins() {
    let (bench, run) = killed_after_the_switch();
    bench.effects.set_cannot_end(true);
    bench.whole_life(async |life| {
        life.send(&run, roll_back(operator())).await.unwrap();
        life.advance(60).await;
        assert_eq!(bench.effects.took(&run, "switch-back"), 0, "nothing is done while the old processes live");
        bench.effects.set_cannot_end(false);
        life.advance(300).await;
        assert_eq!(bench.effects.ended_groups(), [group_of(1)]);
        assert_eq!(bench.effects.took(&run, "switch-back"), 1);
        life.expect_sound(&run).await;
    });
}

#[test]
fn a_panicking_action_is_an_unknown_outcome_and_the_bot_lives_on() {
    let bench = Bench::new();
    bench.effects.next("switch", &[Behaviour::Panic]);
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.react(card, &dba(), Vote::Sign).await;
        life.react(card, &lead(), Vote::Sign).await;
        assert!(matches!(status(life, &run), Status::Asking(_)));
        life.play(&run, &team).await;
        assert_eq!(bench.effects.took(&run, "switch"), 1);
        life.expect_settled(&run).await;
    });
}

#[test]
fn a_scheduled_start_waits_and_a_late_one_asks() {
    let bench = Bench::new();
    let run = bench.whole_life(async |life| {
        let mut order = life.order("tiny", Mode::Live);
        order.at = Some(at(3_600));
        let run = life.handle.start(order).await.unwrap();
        life.settle().await;
        life.advance(3_500).await;
        assert_eq!(status(life, &run), Status::Scheduled { at: at(3_600) });
        run
    });
    bench.clock.set(at(3_600 + 301));
    bench.whole_life(async |life| {
        life.settle().await;
        assert_eq!(bench.effects.took(&run, "poke"), 0);
        let question = life.state(&run).question.clone().expect("it asks");
        assert!(matches!(question.kind, QuestionKind::Late { .. }));
        let answer = Input::Answer { question: question.id, answer: Answer::Proceed, reason: reason(), by: dba() };
        life.send(&run, answer).await.unwrap();
        assert_eq!(bench.effects.took(&run, "poke"), 1);
    });
}

#[test]
fn a_message_that_chat_refuses_holds_up_no_other() {
    let bench = Bench::new();
    bench.chat.refuse("progress");
    bench.whole_life(async |life| {
        let (run, _) = at_gate(life).await;
        assert_eq!(bench.chat.refused("progress"), 1);
        let state = life.state(&run);
        let missing: Vec<_> = state.owed.iter().filter(|owed| owed.posted.is_none()).map(|owed| owed.key.as_str()).collect();
        assert_eq!(missing, ["progress"], "everything after it is visible");
        let notes =
            bench.chat.visible().into_iter().filter_map(|message| message.key.as_str().strip_prefix("note/")?.parse().ok());
        let notes: Vec<u32> = notes.collect();
        assert!(notes.len() > 1 && notes.is_sorted(), "the others keep their order: {notes:?}");

        life.advance(119).await;
        assert_eq!(bench.chat.refused("progress"), 1, "it is tried again seldom");
        life.advance(1).await;
        assert_eq!(bench.chat.refused("progress"), 2);

        assert_eq!(bench.chat.accept("progress"), 2);
        life.advance(120).await;
        assert_eq!(bench.chat.copies(&run, "progress").len(), 1);
        life.play(&run, &team).await;
        life.expect_settled(&run).await;
    });
}

#[test]
fn a_slow_measurement_is_not_joined_by_the_next() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        at_gate(life).await;
        let (measured, read) = (bench.effects.measured(), bench.chat.votes_read());
        bench.effects.hold_measurements();
        life.advance(600).await;
        assert_eq!(bench.effects.measured(), measured + 1, "two rounds have passed");
        assert_eq!(bench.chat.votes_read(), read + 1, "the second looks at the votes all the same");
        bench.effects.let_measurements_end();
        life.advance(300).await;
        assert_eq!(bench.effects.measured(), measured + 2);
    });
}

#[test]
fn a_scheduled_start_starts_by_itself() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let mut order = life.order("tiny", Mode::Live);
        order.at = Some(at(3_600));
        let run = life.handle.start(order).await.unwrap();
        life.settle().await;
        life.advance(3_599).await;
        assert_eq!(bench.effects.took(&run, "poke"), 0);
        life.advance(1).await;
        assert_eq!(bench.effects.took(&run, "poke"), 1);
    });
}

#[test]
fn a_paused_run_starts_nothing_until_it_is_resumed() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.send(&run, Input::Pause { by: lead(), reason: reason() }).await.unwrap();
        life.react(card, &dba(), Vote::Sign).await;
        life.react(card, &lead(), Vote::Sign).await;
        assert_eq!(bench.effects.took(&run, "switch"), 0);
        let again = life.send(&run, Input::Pause { by: lead(), reason: reason() }).await;
        assert_eq!(again, Err(SendError::Rejected(Rejection::AlreadyPaused)));
        life.send(&run, Input::Resume { by: lead() }).await.unwrap();
        assert_eq!(bench.effects.took(&run, "switch"), 1);
    });
}

#[test]
fn of_many_starts_on_one_lock_one_succeeds() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let starts = (0..8).map(|_| life.try_start("tiny", Mode::Live));
        let started: Vec<_> = futures_util::future::join_all(starts).await;
        assert_eq!(started.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(started.iter().flat_map(|result| result.as_ref().err()).all(|error| error.to_string().contains("Ada")));
        life.settle().await;
        assert!(life.try_start("tiny", Mode::DryRun).await.is_ok(), "a dry run takes no lock");
    });
}

#[test]
fn a_live_run_needs_a_green_rehearsal_that_survives_a_restart() {
    let bench = Bench::new();
    bench.planning.add(&TINY.replace(r#""window": "1h""#, r#""window": "1h", "dry_run": { "required_within": "1h" }"#));
    bench.whole_life(async |life| {
        assert!(matches!(life.try_start("tiny", Mode::Live).await, Err(StartError::Rejected(Rejection::NotRehearsed { .. }))));
        let rehearsal = life.begin("tiny", Mode::DryRun).await;
        life.play(&rehearsal, &team).await;
        assert_eq!((bench.effects.took(&rehearsal, "poke"), bench.effects.rehearsed(&rehearsal, "poke")), (0, 1));
    });
    bench.whole_life(async |life| {
        let run = life.begin("tiny", Mode::Live).await;
        life.play(&run, &team).await;
        life.advance(3_700).await;
        assert!(life.try_start("tiny", Mode::Live).await.is_err(), "it is too old by now");
    });
}

#[test]
fn a_corrupt_run_is_set_aside_keeps_its_lock_and_the_others_live_on() {
    let bench = Bench::new();
    let (broken, other) = bench.whole_life(async |life| {
        let broken = life.begin("move", Mode::Live).await;
        let other = life.begin("human", Mode::Live).await;
        // A record that no run can have: journalled by a defect, so that the chain itself is sound.
        let stream = StreamId::new("run", broken.as_str()).unwrap();
        let lease = life.journal.acquire_lease(&dead_holder(), Duration::from_secs(60)).await.unwrap();
        let body = r#"{"step_skipped":{"step":"no-such-step"}}"#.to_owned();
        let record = NewRecord { at: at(0), kind: "step_skipped".to_owned(), body };
        let seq = life.state(&broken).seq;
        life.journal.append(lease.fence(), &stream, seq, &[record]).await.unwrap();
        (broken, other)
    });
    bench.whole_life(async |life| {
        let stuck = life.handle.stuck();
        assert_eq!(stuck.iter().map(|stuck| &stuck.run).collect::<Vec<_>>(), [&broken]);
        assert!(stuck[0].why.contains("no such step"), "{}", stuck[0].why);
        let summary = life.handle.runs().into_iter().find(|run| run.id == broken).unwrap();
        assert_eq!(summary.stuck.as_deref(), Some(stuck[0].why.as_str()), "it is listed as it stood");
        life.play(&other, &team).await;
        assert_eq!(status(life, &other), Status::Ended(End::Succeeded));
        let refused = life.try_start("move", Mode::Live).await;
        assert!(matches!(refused, Err(StartError::Rejected(Rejection::Locked { .. }))), "its target may be half-way");
        let refused = life.handle.send(&broken, Input::Abort { by: lead(), reason: reason() }).await;
        assert!(matches!(refused, Err(SendError::Unavailable(_))));
    });
}

#[test]
fn no_live_run_starts_while_nobody_can_tell_which_lock_an_unreadable_one_holds() {
    let unreadable: RunId = "run-newer000".parse().unwrap();
    let stream = StreamId::new("run", unreadable.as_str()).unwrap();
    let append = async |life: &Life<'_>, seq: u64, kind: &str| {
        let lease = life.journal.acquire_lease(&dead_holder(), Duration::from_secs(60)).await.unwrap();
        let body = format!(r#"{{"{kind}":{{"known":"to a newer version"}}}}"#);
        let record = NewRecord { at: at(0), kind: kind.to_owned(), body };
        life.journal.append(lease.fence(), &stream, seq, &[record]).await.unwrap();
    };
    let bench = Bench::new();
    bench.whole_life(async |life| append(life, 0, "started").await);
    bench.whole_life(async |life| {
        let refused = life.try_start("tiny", Mode::Live).await;
        let Err(StartError::Rejected(refused)) = refused else { panic!("{refused:?}") };
        assert!(refused.to_string().contains(unreadable.as_str()), "{refused}");
        assert!(life.try_start("tiny", Mode::DryRun).await.is_ok(), "a dry run takes no lock");
        append(life, 1, "ended").await;
    });
    bench.whole_life(async |life| {
        assert_eq!(life.handle.stuck().len(), 1, "it is still told of");
        assert!(life.try_start("tiny", Mode::Live).await.is_ok(), "whatever it was, it has ended");
    });
}

#[test]
fn an_ended_run_still_posts_what_it_owes_after_a_restart() {
    let bench = Bench::new();
    let run = bench.whole_life(async |life| {
        let run = life.begin("tiny", Mode::Live).await;
        bench.chat.set_away(true);
        life.send(&run, Input::Close { by: lead(), reason: reason() }).await.unwrap();
        assert_eq!(status(life, &run), Status::Ended(End::Succeeded));
        run
    });
    bench.chat.set_away(false);
    bench.whole_life(async |life| {
        life.play(&run, &team).await;
        life.expect_settled(&run).await;
        assert_eq!(bench.chat.copies(&run, "summary").len(), 1);
    });
}

#[test]
fn a_run_whose_thread_is_deleted_goes_on_in_another_on_a_new_plan_card() {
    for told in [true, false] {
        let bench = Bench::new();
        bench.whole_life(async |life| {
            let (run, card) = at_gate(life).await;
            life.react(card, &dba(), Vote::Sign).await;
            let (former, plan) = (life.state(&run).thread.unwrap(), bench.chat.copies(&run, "plan")[0].at);
            bench.chat.delete_thread(former);
            if told {
                life.handle.hint(Hint::ChannelDeleted { channel: former });
            }
            life.settle().await;
            life.advance(600).await;
            let state = life.state(&run);
            assert!(state.thread.is_some_and(|thread| thread != former), "told: {told}");
            assert_ne!(bench.chat.copies(&run, "plan")[0].at, plan, "a message carries one thread for ever");
            assert!(state.gates[&cutover()].signers.is_empty(), "who has signed is asked again");
            let lost = life.kinds(&run).await.iter().filter(|kind| **kind == "thread_lost").count();
            assert_eq!(lost, 1);
            life.expect_sound(&run).await;
            life.play(&run, &team).await;
            assert_eq!(life.state(&run).end.as_ref().map(|ending| ending.end), Some(End::Succeeded));
            life.expect_sound(&run).await;
        });
    }
}

#[test]
fn a_thread_deleted_after_the_end_is_opened_again_only_for_what_nobody_has_read() {
    for unread in [true, false] {
        let bench = Bench::new();
        let (run, former) = bench.whole_life(async |life| {
            let run = life.begin("tiny", Mode::Live).await;
            if unread {
                bench.chat.refuse("summary");
            }
            life.send(&run, Input::Close { by: lead(), reason: "done".to_owned() }).await.unwrap();
            assert!(life.state(&run).end.is_some());
            (run.clone(), life.state(&run).thread.unwrap())
        });
        bench.chat.delete_thread(former);
        if unread {
            bench.chat.accept("summary");
        }
        bench.whole_life(async |life| {
            life.handle.hint(Hint::ChannelDeleted { channel: former });
            life.settle().await;
            life.advance(600).await;
            assert_eq!(life.state(&run).thread == Some(former), !unread);
            assert_eq!(bench.chat.copies(&run, "summary").len(), usize::from(unread));
            life.expect_sound(&run).await;
        });
    }
}

#[test]
fn a_plan_card_deleted_before_the_thread_exists_hides_nothing() {
    let bench = Bench::new();
    let run = bench.whole_life(async |life| {
        bench.chat.set_away(true);
        life.begin("tiny", Mode::DryRun).await
    });
    // Posted, but its thread was never opened; the run has ended meanwhile.
    bench.chat.set_away(false);
    bench.live(None, async |life| {
        while bench.chat.copies(&run, "plan").is_empty() {
            tokio::task::yield_now().await;
        }
        bench.chat.delete(bench.chat.copies(&run, "plan")[0].at);
        life.advance(600).await;
        life.play(&run, &team).await;
        assert_eq!(bench.chat.copies(&run, "summary").len(), 1);
    });
}

#[test]
fn a_clock_that_goes_backwards_undoes_nothing() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("human", Mode::Live).await;
        life.advance(300).await;
        assert_eq!(step_status(life, &run, "settle"), StepStatus::Succeeded);
        bench.clock.set(at(-3_600));
        life.send(&run, Input::Confirm { step: "agree".parse().unwrap(), yes: true, by: dba() }).await.unwrap();
        assert!(life.state(&run).changed_at >= at(300), "the journal's time never goes back");
        let tick = |item, by| Input::TickItem { list: ListRef::Step("list".parse().unwrap()), item, ticked: true, by };
        life.send(&run, tick(0, dba())).await.unwrap();
        life.send(&run, tick(1, lead())).await.unwrap();
        assert_eq!(bench.effects.took(&run, "poke"), 1);
        life.expect_sound(&run).await;
    });
}

#[test]
fn a_deadline_that_passes_during_a_slow_write_is_kept() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("human", Mode::Live).await;
        life.advance(290).await;
        // The wait of five minutes ends while this is being written, and no message comes back to look at the run again.
        bench.chat.set_away(true);
        *bench.faults.slow.lock().unwrap() = Some((bench.clock.clone(), Duration::from_secs(30)));
        life.send(&run, Input::Pause { by: lead(), reason: reason() }).await.unwrap();
        tokio::task::yield_now().await;
        life.settle().await;
        assert_eq!(step_status(life, &run, "settle"), StepStatus::Succeeded, "nobody asked again");
    });
}

#[test]
fn a_crash_loop_says_once_that_the_bot_was_restarted() {
    let bench = Bench::new();
    let run = bench.whole_life(async |life| at_gate(life).await.0);
    for _ in 0..5 {
        bench.whole_life(async |life| life.settle().await);
    }
    bench.whole_life(async |life| {
        life.settle().await;
        let reboots = life.kinds(&run).await.iter().filter(|kind| **kind == "rebooted").count();
        let notes = bench.chat.visible().iter().filter(|message| message.key.as_str().starts_with("note/")).count();
        let before = ["step_succeeded", "step_succeeded"].len();
        assert_eq!((reboots, notes), (6, before + 1));
    });
}

#[test]
fn a_gate_warns_twice_however_often_the_bot_restarts() {
    let bench = Bench::new();
    let run = bench.whole_life(async |life| at_gate(life).await.0);
    for minutes in [16, 25, 26, 27] {
        bench.clock.set(at(minutes * 60));
        bench.whole_life(async |life| life.settle().await);
    }
    bench.whole_life(async |life| {
        let kinds = life.kinds(&run).await;
        assert_eq!(kinds.iter().filter(|kind| **kind == "gate_warned").count(), 2);
    });
}

#[test]
fn a_rollback_gate_comes_before_the_phase_gate_that_stands_open() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let (run, _) = at_gate(life).await;
        life.send(&run, roll_back(operator())).await.unwrap();
        let gate = GateRef::Rollback("runtime".parse().unwrap());
        assert_eq!(status(life, &run), Status::AtGate(gate.clone()));
        // Without any hint: the timer reads the votes of the gate whose turn it is.
        bench.chat.react(life.card(&run, &gate), &lead(), Vote::Sign);
        life.advance(300).await;
        assert_eq!(bench.effects.took(&run, "switch-back"), 1);
        assert_eq!(bench.effects.took(&run, "switch"), 0);
    });
}

#[test]
fn the_requester_settles_nothing_and_signs_nothing() {
    let bench = Bench::new();
    bench.effects.next("switch", &[Behaviour::TakeEffectUnknown]);
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.react(card, &requester(), Vote::Sign).await;
        life.react(card, &lead(), Vote::Sign).await;
        assert_eq!(bench.effects.took(&run, "switch"), 0);
        life.react(card, &dba(), Vote::Sign).await;
        let question = life.state(&run).question.clone().expect("it asks");
        let answer = |by| Input::Answer { question: question.id, answer: Answer::Happened, reason: reason(), by };
        let refused = life.send(&run, answer(requester())).await;
        assert!(matches!(refused, Err(SendError::Rejected(Rejection::Requester { .. }))));
        life.send(&run, answer(dba())).await.unwrap();
        life.play(&run, &team).await;
        assert_eq!(bench.effects.took(&run, "switch"), 1);
    });
}

#[test]
fn a_run_that_fails_after_its_window_keeps_its_way_back_for_a_while() {
    let bench = Bench::new();
    bench.planning.add(&MOVE.replace(r#""window": "4h""#, r#""window": "1m""#).replace("rollback runtime", "stop"));
    bench.effects.always("smoke", Behaviour::Fail { retryable: false });
    bench.whole_life(async |life| {
        // The estimates say nothing, so it starts; the gate takes longer than the window.
        let (run, card) = at_gate(life).await;
        bench.effects.next("switch", &[Behaviour::Hang, Behaviour::Succeed]);
        life.react(card, &dba(), Vote::Sign).await;
        life.react(card, &lead(), Vote::Sign).await;
        bench.effects.hung().await;
        life.advance(601).await;
        assert_eq!(status(life, &run), Status::Closing(End::Failed));
        life.send(&run, roll_back(operator())).await.unwrap();
        assert_eq!(bench.effects.took(&run, "switch-back"), 1);
    });
}

#[test]
fn a_red_criterion_blocks_and_a_changed_target_closes_the_gate() {
    let bench = Bench::new();
    bench.effects.set_red("all is well", true);
    bench.whole_life(async |life| {
        let (run, card) = at_gate(life).await;
        life.react(card, &dba(), Vote::Sign).await;
        life.react(card, &lead(), Vote::Sign).await;
        bench.effects.set_red("all is well", false);
        life.advance(300).await;
        assert_eq!(bench.effects.took(&run, "switch"), 0, "votes on a red card must be cast again");
        bench.effects.change_targets(&["another cluster"]);
        for signer in [dba(), lead()] {
            bench.chat.unreact(card, &signer, Vote::Sign);
            let (channel, message) = (card.channel, card.message);
            life.handle.hint(Hint::ReactionRemoved { channel, message, user: signer.id, vote: Vote::Sign });
            life.settle().await;
            life.react(card, &signer, Vote::Sign).await;
        }
        assert_eq!(status(life, &run), Status::Paused);
        assert_eq!(bench.effects.took(&run, "switch"), 0);
        assert!(bench.effects.measured() >= 2);
    });
}

#[test]
fn live_messages_show_the_end() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("tiny", Mode::Live).await;
        life.play(&run, &chores).await;
        let end = life.state(&run).seq;
        while bench.chat.copies(&run, "plan")[0].shows_seq < end {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_step_whose_when_is_false_is_skipped() {
    let bench = Bench::new();
    bench.planning.add(&TINY.replace(r#""title": "Poke""#, r#""title": "Poke", "when": "params.poke""#));
    bench.effects.set_when("poke", false);
    bench.whole_life(async |life| {
        let run = life.begin("tiny", Mode::Live).await;
        assert_eq!(bench.effects.took(&run, "poke"), 0);
        assert_eq!(status(life, &run), Status::Ended(End::Succeeded));
        assert_eq!(bench.planning.pinned.lock().unwrap().as_slice(), [run]);
    });
}

#[test]
fn an_armed_rollback_is_started_over_the_hosts_socket() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = hanging_switch(life).await;
        let folder = tempfile::tempdir().unwrap();
        let request = RollbackRequest { run: run.clone(), rollback: None, reason: reason(), user: "root".to_owned() };
        assert_eq!(control::ask(folder.path(), &request, control::PATIENCE).await.unwrap(), None, "no bot runs there");

        let listener = control::listen(folder.path()).unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        tokio::spawn(control::serve(listener, Arc::new(life.handle.clone()), stop.clone()));
        let unknown = RollbackRequest { run: RunId::from_random(99), ..request.clone() };
        let refused = control::ask(folder.path(), &unknown, control::PATIENCE).await.unwrap();
        assert!(matches!(refused, Some(control::Answer::Refused(why)) if why.contains(run.as_str())), "the open runs are named");
        let begun = control::ask(folder.path(), &request, control::PATIENCE).await.unwrap();
        assert_eq!(begun, Some(control::Answer::Started));
        assert!(life.kinds(&run).await.contains(&"rollback_started"));
        stop.cancel();
    });
}

/// What somebody on the host asks for.
fn from_the_host(run: &RunId) -> RollbackRequest {
    RollbackRequest { run: run.clone(), rollback: None, reason: reason(), user: "root".to_owned() }
}

#[test]
fn a_bot_that_does_not_answer_on_its_socket_is_not_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let _silent = control::listen(folder.path()).unwrap();
        let asked = control::ask(folder.path(), &from_the_host(&RunId::from_random(1)), Duration::from_millis(10)).await;
        let error = asked.expect_err("nobody answers");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("stop it"), "it says what to do: {error}");
    });
}

#[test]
fn a_rollback_from_the_host_that_cannot_go_on_says_why_instead_of_waiting() {
    for (fault, expected) in [(Fault::Refused, "permission denied"), (Fault::Invalid, "set aside")] {
        let bench = Bench::new();
        bench.whole_life(async |life| {
            let run = hanging_switch(life).await;
            // The rollback begins; what follows cannot be written.
            bench.faults.skip.store(1, Ordering::SeqCst);
            bench.faults.appends.lock().unwrap().push_back(fault);
            let why = control::carry_out(&life.engine, from_the_host(&run)).await.expect_err("it cannot end");
            assert!(why.contains(expected), "{why}");
        });
    }
}

#[test]
fn a_rollback_that_was_cut_off_is_carried_on_from_the_host() {
    let bench = Bench::new();
    let run = bench.whole_life(async |life| {
        let run = hanging_switch(life).await;
        bench.effects.next("switch-back", &[Behaviour::Hang]);
        life.send(&run, roll_back(operator())).await.unwrap();
        assert!(matches!(status(life, &run), Status::RollingBack(_)));
        run
    });
    bench.whole_life(async |life| {
        let done = control::carry_out(&life.engine, from_the_host(&run)).await;
        assert!(done.is_ok_and(|done| done.contains("is rolled back")));
        assert_eq!(bench.effects.took(&run, "switch-back"), 1);
        let begun = life.kinds(&run).await.iter().filter(|kind| **kind == "rollback_started").count();
        assert_eq!(begun, 1);
        let again = control::carry_out(&life.engine, from_the_host(&run)).await;
        assert!(again.is_err(), "a rollback that is over is not this one");
    });
}

#[test]
fn a_rollback_from_the_host_without_a_bot_touches_no_other_run() {
    let mut bench = Bench::new();
    bench.policies.runs.incident = Some(Severity::Sev2);
    let (run, other) = bench.whole_life(async |life| {
        let run = hanging_switch(life).await;
        bench.effects.next("poke", &[Behaviour::Hang]);
        (run, life.begin("tiny", Mode::Live).await)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let life = bench.start_for(&run).await;
        let before = life.kinds(&other).await;
        life.settle().await;
        control::carry_out(&life.engine, from_the_host(&run)).await.expect("it is rolled back");
        life.settle().await;
        life.engine.shut_down().await;
        assert_eq!(bench.effects.took(&run, "switch-back"), 1);
        let records = life.journal.load(&StreamId::new("run", other.as_str()).unwrap()).await.unwrap();
        assert_eq!(records.len(), before.len(), "nothing happened to the other run");
        assert_eq!(bench.effects.took(&other, "poke"), 0);
    });
    bench.whole_life(async |life| {
        life.settle().await;
        assert!(life.kinds(&other).await.contains(&"step_interrupted"), "the bot finds it as it was left");
        assert_eq!(life.handle.incidents().len(), 1, "the incident that the rolled back run has called for");
    });
}

//! A run whose thread is archived or deleted, and whose votes are cast while the gateway is deaf.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pointsman::domain::run::{GateRef, Standing};
use pointsman::domain::{ChannelId, RunId};
use pointsman::sandbox::discord::{self as model, Deaf, Fault, MessageId, Misbehaviour};

use super::super::{SOON, quiet};
use super::{Life, Rig, markers};

/// A connection that nobody doubts in the time of a test.
const TRUSTED: Duration = Duration::from_secs(150);

/// The card of the gate before the cutover.
fn card(life: &Life<'_>, run: &RunId) -> MessageId {
    life.rig.telling(life.thread(run), "· gate/cutover/").last().expect("the card stands").id
}

fn is_cleared(life: &Life<'_>, run: &RunId) -> bool {
    let gate = GateRef::Phase("cutover".parse().expect("a name"));
    let state = life.snapshot(run).state;
    state.gates.get(&gate).is_some_and(|gate| matches!(gate.standing, Standing::Cleared { .. }))
}

/// Everything that the run has ever owed stands where it belongs, once, and the bot has said nothing else there.
fn expect_said_once(life: &Life<'_>, run: &RunId) {
    let state = life.snapshot(run).state;
    let places = [state.started.channel, life.thread(run)];
    let mut said: Vec<u64> = places.iter().flat_map(|place| life.rig.said(*place)).map(|message| message.id.get()).collect();
    for owed in &state.owed {
        let at = owed.posted.unwrap_or_else(|| panic!("{} is not said", owed.key)).message.get();
        let place = said.iter().position(|id| *id == at);
        said.remove(place.unwrap_or_else(|| panic!("{} does not stand in chat", owed.key)));
    }
    assert_eq!(said, Vec::<u64>::new(), "nobody owed these");
}

#[test]
fn an_archived_thread_is_opened_by_what_the_run_says_next_and_takes_votes_again() {
    let rig = Rig::new(quiet());
    rig.live(async |life| {
        life.listen(TRUSTED).await;
        let run = life.run().await;
        let thread = model::ChannelId::new(life.thread(&run).get());
        rig.discord.archive_thread("mia", thread, true, false).expect("a moderator may");
        let archived = |rig: &Rig| rig.discord.read(|chat| chat.channels[&thread].thread.as_ref().map(|thread| thread.archived));
        assert_eq!(archived(&rig), Some(true));
        // Half of the gate's time: a warning is owed, and the card changes.
        life.advance(16 * 60).await;
        assert_eq!(archived(&rig), Some(false));
        expect_said_once(life, &run);
        let card = card(life, &run);
        for name in ["dana", "leo"] {
            rig.discord.react(name, card, "✅").expect("anybody may");
        }
        rig.until("the clearance", |_| is_cleared(life, &run)).await;
        life.settle().await;
        expect_said_once(life, &run);
        let signed = |who: &str| rig.telling(life.thread(&run), who).iter().filter(|m| m.text().contains("signed")).count();
        assert_eq!((signed("Dana"), signed("Leo")), (1, 1));
    });
}

#[test]
fn votes_cast_while_the_gateway_was_deaf_count_once() {
    let rig = Rig::new(quiet());
    rig.live(async |life| {
        let gateway = life.listen(Duration::from_millis(1_500)).await;
        let run = life.run().await;
        let card = card(life, &run);
        rig.discord.set_deaf(Some(Deaf::Acknowledging));
        for name in ["dana", "leo"] {
            rig.discord.react(name, card, "✅").expect("anybody may");
        }
        life.settle().await;
        assert!(!is_cleared(life, &run), "nobody has heard of it");
        let rebuilt = async {
            while gateway.health().rebuilt.load(Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, rebuilt).await.expect("the watchdog bites");
        rig.discord.set_deaf(None);
        rig.until("the clearance", |_| is_cleared(life, &run)).await;
        life.settle().await;
        expect_said_once(life, &run);
    });
}

#[test]
fn a_run_whose_thread_is_deleted_goes_on_in_another_that_says_so() {
    for somebody_listens in [true, false] {
        let rig = Rig::new(quiet());
        rig.live(async |life| {
            if somebody_listens {
                life.listen(TRUSTED).await;
            }
            let run = life.run().await;
            let ops = ChannelId::new(rig.discord.channel("ops").get());
            let (former, plan) = (life.thread(&run), rig.telling(ops, "· plan")[0].id);
            if !somebody_listens {
                // The answer about the new card is lost as well: it is found by its marker, and the former still goes.
                rig.discord.fault(Fault::once(&format!("POST /channels/{ops}/messages"), Misbehaviour::AnswerLost));
                rig.discord.forget_nonces();
            }
            assert!(rig.discord.delete_channel(model::ChannelId::new(former.get())));
            life.advance(16 * 60).await;
            let moved = || life.snapshot(&run).state.thread.is_some_and(|thread| thread != former);
            rig.until("another thread", |_| moved()).await;
            life.settle().await;
            let thread = life.thread(&run);
            let plans: Vec<_> = rig.telling(ops, "· plan").iter().map(|message| message.id).collect();
            assert!(plans.len() == 1 && plans[0] != plan, "the new card stands for the former one: {plans:?}");
            assert_eq!(thread.get(), plans[0].get(), "the thread hangs on it");
            assert_eq!(rig.telling(thread, "former thread was deleted").len(), 1);
            let card = card(life, &run);
            for name in ["dana", "leo"] {
                rig.discord.react(name, card, "✅").expect("anybody may");
            }
            life.advance(300).await;
            rig.until("the clearance", |_| is_cleared(life, &run)).await;
            life.settle().await;
            let said = markers(&rig.said(thread));
            let distinct: std::collections::BTreeSet<_> = said.iter().collect();
            assert_eq!(said.len(), distinct.len(), "{said:?}");
            assert!(life.snapshot(&run).state.owed.iter().all(|owed| owed.posted.is_some()));
        });
    }
}

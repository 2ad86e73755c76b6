//! An incident whose channel, messages, permissions or connection are lost in its midst.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pointsman::domain::incident::{IncidentId, Severity};
use pointsman::sandbox::discord::{self as model, Deaf, Fault, Message, Misbehaviour};
use twilight_model::guild::Permissions;

use super::super::{SOON, quiet};
use super::{Life, Rig, markers};

const POST: &str = "POST /channels/*/messages";
/// A connection that nobody doubts in the time of a test.
const TRUSTED: Duration = Duration::from_secs(150);

/// The status updates that stand in an incident's channel.
fn beats(life: &Life<'_>, incident: &IncidentId) -> Vec<Message> {
    life.rig.telling(life.channel(incident), " · beat/")
}

#[test]
fn updates_that_discord_does_not_take_are_one_late_one_that_says_for_how_many_it_stands() {
    let troubles = [
        Misbehaviour::Answer { status: 500, code: 0 },
        Misbehaviour::Answer { status: 502, code: 0 },
        Misbehaviour::Answer { status: 503, code: 0 },
        Misbehaviour::Answer { status: 504, code: 0 },
        Misbehaviour::Cut,
        // It asks for longer than the bot lives: the next process has forgotten it, and has lost nothing.
        Misbehaviour::RateLimited { retry_after_secs: 3_000.0, global: false },
    ];
    for trouble in troubles {
        let rig = Rig::new(quiet());
        let incident = rig.live(async |life| {
            let incident = life.incident(Severity::Sev1).await;
            rig.discord.fault(Fault::always(POST, trouble.clone()));
            life.advance(47 * 60).await;
            assert_eq!(beats(life, &incident).len(), 0, "{trouble:?}");
            rig.discord.clear_faults();
            incident
        });
        rig.live(async |life| {
            life.settle().await;
            let said = beats(life, &incident);
            assert_eq!(said.len(), 1, "{trouble:?}");
            let text = said[0].text();
            assert!(text.contains("32m late. It stands for 2 later updates as well"), "{trouble:?}: {text}");
            life.advance(14 * 60).await;
            assert_eq!(beats(life, &incident).len(), 2, "{trouble:?}: the next one is punctual");
            assert!(!beats(life, &incident)[1].text().contains("late"), "{trouble:?}");
            life.expect_said_once(&incident);
        });
    }
}

#[test]
fn an_update_whose_answer_never_comes_holds_up_no_other_incident_and_is_found_by_the_next_process() {
    let rig = Rig::new(quiet());
    let (silent, other) = rig.live(async |life| {
        let silent = life.incident(Severity::Sev1).await;
        let other = life.incident(Severity::Sev1).await;
        let on = format!("POST /channels/{}/messages", life.channel(&silent));
        rig.discord.fault(Fault::always(&on, Misbehaviour::SilentAfterEffect));
        rig.clock.advance(Duration::from_secs(15 * 60));
        rig.until("both updates", |_| beats(life, &silent).len() == 1 && beats(life, &other).len() == 1).await;
        (silent, other)
    });
    rig.discord.clear_faults();
    rig.discord.forget_nonces();
    rig.live(async |life| {
        life.settle().await;
        life.expect_said_once(&silent);
        life.expect_said_once(&other);
        assert_eq!(beats(life, &silent).len(), 1);
    });
}

#[test]
fn a_permission_lost_in_mid_incident_is_told_on_the_card_and_everything_follows_in_order() {
    for lost in [Permissions::SEND_MESSAGES, Permissions::EMBED_LINKS, Permissions::VIEW_CHANNEL] {
        let rig = Rig::new(quiet());
        rig.live(async |life| {
            let incident = life.incident(Severity::Sev1).await;
            life.note(&incident, "the cache is cold").await;
            let channel = life.channel(&incident);
            let before = rig.said(channel).len();
            rig.discord.revoke_from_bot(lost);
            life.note(&incident, "first of the silence").await;
            life.advance(31 * 60).await;
            life.note(&incident, "second of the silence").await;
            assert_eq!(rig.said(channel).len(), before, "{lost:?}: nothing can be said");
            if lost != Permissions::VIEW_CHANNEL {
                // A message of one's own can be edited all the same.
                let told = |rig: &Rig| rig.said(channel)[0].text().contains("3 messages are missing here");
                rig.until("the card tells that messages are missing", told).await;
                let card = rig.said(channel)[0].text();
                assert!(card.contains("lacks a permission") && card.contains("Send Messages"), "{card}");
            }
            rig.discord.grant_to_bot(lost);
            // Nothing is tried again in the moment in which it was refused.
            rig.clock.advance(Duration::from_secs(10));
            life.note(&incident, "it is mended").await;
            life.expect_said_once(&incident);
            rig.until("the card is as before", |rig| !rig.said(channel)[0].text().contains("missing here")).await;
            let said = rig.said(channel).split_off(before);
            let words = ["It stands for 1 later update", "first of the silence", "second of the silence", "it is mended"];
            assert_eq!(said.len(), words.len(), "{:?}", markers(&said));
            for (message, words) in said.iter().zip(words) {
                assert!(message.text().contains(words), "{lost:?}: {words} is not where it belongs: {:?}", markers(&said));
            }
        });
    }
}

#[test]
fn a_channel_deleted_in_mid_incident_is_replaced_by_one_that_says_so() {
    for somebody_listens in [true, false] {
        let rig = Rig::new(quiet());
        rig.live(async |life| {
            if somebody_listens {
                life.listen(TRUSTED).await;
            }
            let incident = life.incident(Severity::Sev1).await;
            let former = life.channel(&incident);
            assert!(rig.discord.delete_channel(model::ChannelId::new(former.get())));
            if somebody_listens {
                rig.until("another channel", |_| life.state(&incident).channel.is_some_and(|channel| channel != former)).await;
            }
            life.settle().await;
            life.advance(16 * 60).await;
            life.settle().await;
            let channel = life.channel(&incident);
            assert_ne!(channel, former);
            let name = life.state(&incident).id().channel_name();
            let named = rig.discord.read(|chat| chat.channels.values().filter(|channel| channel.name == name).count());
            assert_eq!(named, 1);
            assert_eq!(rig.telling(channel, "The incident's channel was deleted").len(), 1);
            let pinned: Vec<_> = rig.said(channel).into_iter().filter(|message| message.pinned.is_some()).collect();
            assert_eq!(pinned.len(), 1, "the card is pinned there");
            assert_eq!(beats(life, &incident).len(), 1);
            let said = markers(&rig.said(channel));
            let distinct: std::collections::BTreeSet<_> = said.iter().collect();
            assert_eq!(said.len(), distinct.len(), "{said:?}");
        });
    }
}

#[test]
fn a_deleted_card_comes_back_and_what_was_said_once_does_not() {
    let rig = Rig::new(quiet());
    rig.live(async |life| {
        life.listen(TRUSTED).await;
        let incident = life.incident(Severity::Sev1).await;
        life.note(&incident, "a password by mistake").await;
        life.advance(16 * 60).await;
        let channel = life.channel(&incident);
        let (card, note) = (rig.said(channel)[0].id, rig.telling(channel, "a password by mistake")[0].id);
        let beat = beats(life, &incident)[0].id;
        for message in [card, note, beat] {
            rig.discord.delete_message("mia", message).expect("a moderator may");
        }
        let cards = |rig: &Rig| rig.telling(channel, "· summary");
        rig.until("the card again", |rig| cards(rig).first().is_some_and(|card| card.pinned.is_some())).await;
        life.advance(10 * 60).await;
        life.note(&incident, "the last word").await;
        assert_eq!(cards(&rig).len(), 1);
        assert_eq!(rig.telling(channel, "a password by mistake").len(), 0, "a moderator had a reason");
        assert_eq!(beats(life, &incident).len(), 0);
    });
}

#[test]
fn in_a_full_category_the_fallback_channel_tells_why_and_hears_every_update() {
    let world = (0..50).fold(quiet(), |world, n| world.channel_in("Incidents", &format!("old-{n}")));
    let rig = Rig::new(world);
    rig.live(async |life| {
        let incident = life.incident(Severity::Sev1).await;
        let fallback = life.channel(&incident);
        assert_eq!(fallback.get(), rig.discord.channel("incidents-fallback").get());
        let card = rig.said(fallback)[0].text();
        assert!(card.contains("no channel of its own") && card.contains("50 channels"), "{card}");
        life.advance(31 * 60).await;
        assert_eq!(beats(life, &incident).len(), 2);
        life.expect_said_once(&incident);
        // The fallback channel goes while nobody listens, and meanwhile there is room.
        rig.discord.delete_channel(rig.discord.channel("old-7"));
        rig.discord.delete_channel(model::ChannelId::new(fallback.get()));
        life.advance(16 * 60).await;
        let own = life.channel(&incident);
        assert_eq!(rig.telling(own, "The incident's channel was deleted").len(), 1);
        assert_eq!(beats(life, &incident).len(), 1, "the update that found it gone");
    });
}

#[test]
fn what_was_marked_while_the_gateway_was_deaf_is_on_the_timeline_once() {
    let rig = Rig::new(quiet());
    rig.live(async |life| {
        let gateway = life.listen(Duration::from_millis(1_500)).await;
        let incident = life.incident(Severity::Sev2).await;
        let channel = life.channel(&incident);
        let said = rig.discord.send("noor", model::ChannelId::new(channel.get()), "it began at three").expect("she may");
        rig.discord.set_deaf(Some(Deaf::Acknowledging));
        rig.discord.react("sam", said, "📌").expect("anybody may");
        let rebuilt = async {
            while gateway.health().rebuilt.load(Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, rebuilt).await.expect("the watchdog bites");
        rig.discord.set_deaf(None);
        let marked = |rig: &Rig| rig.telling(channel, "on the timeline");
        rig.until("the mark", |rig| marked(rig).len() == 1).await;
        rig.discord.react("dana", said, "📌").expect("anybody may");
        life.settle().await;
        assert!(marked(&rig)[0].text().contains("Sam"), "who was first");
        life.expect_said_once(&incident);
    });
}

#[test]
fn of_two_who_resolve_at_once_the_channel_tells_the_first_and_the_second_alone_reads_who_it_was() {
    let rig = Rig::new(quiet());
    rig.live(async |life| {
        life.listen(TRUSTED).await;
        let incident = life.incident(Severity::Sev2).await;
        let channel = life.channel(&incident);
        let place = model::ChannelId::new(channel.get());
        let resolve = |name: &str, how: &str| {
            rig.discord.slash(name, place, &format!("/incident resolve summary:{how}")).expect("a command")
        };
        let (olivia, leo) = (resolve("olivia", "restarted"), resolve("leo", "waited"));
        let (olivia, leo) = (olivia.message(SOON).await.expect("answered"), leo.message(SOON).await.expect("answered"));
        life.settle().await;
        let told = rig.telling(channel, "**Resolved**");
        assert_eq!(told.len(), 1);
        let first = if told[0].text().contains("restarted") { "Olivia" } else { "Leo" };
        let second = if first == "Olivia" { &leo } else { &olivia };
        assert!(second.is_ephemeral() && second.text().contains(&format!("resolved by {first}")), "{}", second.text());
        assert_eq!(rig.telling(channel, "· post-mortem").len(), 1);
        assert_eq!(rig.discord.read(|chat| chat.events.len()), 1, "one review");
    });
}

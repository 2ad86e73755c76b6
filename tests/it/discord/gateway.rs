//! Events as hints, catching up, the watchdog.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pointsman::domain::run::Vote;
use pointsman::domain::{ChannelId, MessageId, UserId};
use pointsman::engine::Hint;
use pointsman::sandbox::discord::{Deaf, EventFault};

use super::messages::in_thread;
use super::{Bot, quiet};

#[tokio::test]
async fn reactions_and_deletions_become_hints() {
    let bot = Bot::online(quiet()).await;
    let play = in_thread(&bot).await;
    let card = play.state.owed.iter().find_map(|owed| owed.posted).expect("the plan card");
    let (channel, message) = (card.channel, card.message);
    let in_model = pointsman::sandbox::discord::MessageId::new(message.get());
    bot.model.react("dana", in_model, "✅").expect("anybody may");
    bot.engine.wait_for(|seen| seen.hints.contains(&Hint::Reactions { channel, message })).await;
    bot.model.unreact("dana", in_model, "✅").expect("it is hers");
    let user = UserId::new(bot.model.user("dana").get());
    let removed = Hint::ReactionRemoved { channel, message, user, vote: Vote::Sign };
    bot.engine.wait_for(|seen| seen.hints.contains(&removed)).await;
    let said = bot.model.send("olivia", bot.model.channel("ops"), "hello").expect("she may");
    bot.model.delete_message("olivia", said).expect("it is hers");
    let deleted =
        Hint::MessageDeleted { channel: ChannelId::new(bot.model.channel("ops").get()), message: MessageId::new(said.get()) };
    bot.engine.wait_for(|seen| seen.hints.contains(&deleted)).await;
    bot.finish();
}

#[tokio::test]
async fn a_new_session_makes_the_engine_look_again_and_a_resumed_one_does_not() {
    let bot = Bot::online(quiet()).await;
    assert_eq!(bot.engine.with(|seen| seen.reconnected()), 1);
    bot.model.refuse_resumes(10);
    bot.model.drop_gateway();
    bot.engine.wait_for(|seen| seen.reconnected() > 1).await;
    bot.finish();
}

#[tokio::test]
async fn a_deaf_gateway_is_probed_and_rebuilt() {
    let bot = Bot::with_patience(quiet(), Duration::from_millis(1_500)).await;
    bot.connect().await;
    bot.model.set_deaf(Some(Deaf::Acknowledging));
    let rebuilt = tokio::time::timeout(super::SOON, async {
        while bot.gateway.health().rebuilt.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    });
    rebuilt.await.expect("the watchdog bites");
    bot.model.set_deaf(None);
    bot.engine.wait_for(|seen| seen.reconnected() > 1).await;
    assert!(bot.gateway.health().is_connected());
    bot.finish();
}

#[tokio::test]
async fn what_cannot_be_mended_by_waiting_ends_it_with_a_sentence() {
    for (code, expected) in [(4004, "token"), (4013, "intents"), (4014, "intents")] {
        let bot = Bot::rest(quiet()).await;
        let (gateway, stop) = (bot.gateway.clone(), bot.stop.clone());
        let running = tokio::spawn(async move { gateway.run(stop).await });
        bot.engine.wait_for(|seen| seen.reconnected() > 0).await;
        bot.model.close_gateway(code);
        let ended = tokio::time::timeout(super::SOON, running).await.expect("it ends").expect("it does not panic");
        let sentence = ended.expect_err("it cannot go on").to_string();
        assert!(sentence.contains(expected) && sentence.contains(&code.to_string()), "{code}: {sentence}");
        assert_eq!(bot.model.counters().identified, 1, "{code}: it does not try again");
        bot.finish();
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_counted_and_made_up_for() {
    let bot = Bot::online(quiet()).await;
    let play = in_thread(&bot).await;
    let card = play.state.owed.iter().find_map(|owed| owed.posted).expect("the plan card");
    bot.model.spoil_events("MESSAGE_REACTION_ADD", EventFault::Garble, 1);
    let before = bot.engine.with(|seen| seen.reconnected());
    bot.model.react("dana", super::messages::in_model(card), "✅").expect("anybody may");
    bot.engine.wait_for(|seen| seen.reconnected() > before).await;
    assert_eq!(bot.gateway.health().unparsed.load(Relaxed), 1);
    bot.finish();
}

#[tokio::test]
async fn who_asks_by_an_interaction_that_cannot_be_read_is_told() {
    let bot = Bot::online(quiet()).await;
    bot.model.spoil_events("INTERACTION_CREATE", EventFault::Garble, 1);
    let pending = bot.model.slash("olivia", bot.model.channel("ops"), "/whoami").expect("a command");
    let told = pending.message(super::SOON).await.expect("answered");
    assert!(told.content.contains("could not read") && told.content.contains("pointsman rollback"), "{}", told.content);
    assert_eq!(bot.gateway.health().unparsed.load(Relaxed), 1);
    bot.finish();
}

#[tokio::test]
async fn a_resume_that_is_never_answered_is_noticed_and_mended() {
    let bot = Bot::with_patience(quiet(), Duration::from_millis(1_500)).await;
    bot.connect().await;
    bot.model.ignore_resumes(1);
    bot.model.drop_gateway();
    // Nothing comes back on the new connection; the watchdog gives it up, and a new session catches up.
    bot.engine.wait_for(|seen| seen.reconnected() > 1).await;
    assert_eq!(bot.gateway.health().rebuilt.load(Relaxed), 1);
    assert_eq!((bot.model.counters().identified, bot.model.counters().resumed), (2, 0));
    bot.finish();
}

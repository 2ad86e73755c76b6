//! Events as hints, catching up, the watchdog.

use std::time::Duration;

use pointsman::domain::run::Vote;
use pointsman::domain::{ChannelId, MessageId, UserId};
use pointsman::engine::Hint;
use pointsman::sandbox::discord::Deaf;

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
        while bot.gateway.health().rebuilt.load(std::sync::atomic::Ordering::Relaxed) == 0 {
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
async fn a_wrong_token_ends_it_with_a_sentence() {
    let bot = Bot::rest(quiet()).await;
    bot.engine.with(|_| {});
    let (gateway, stop) = (bot.gateway.clone(), bot.stop.clone());
    let running = tokio::spawn(async move { gateway.run(stop).await });
    bot.engine.wait_for(|seen| seen.reconnected() > 0).await;
    bot.model.close_gateway(4004);
    let ended = tokio::time::timeout(super::SOON, running).await.expect("it ends").expect("it does not panic");
    assert!(ended.expect_err("it cannot go on").to_string().contains("token"));
    bot.finish();
}

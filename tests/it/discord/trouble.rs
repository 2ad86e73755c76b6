//! Rate limits and servers in trouble: nobody is held, nothing is believed that was not said.

use std::time::Duration;

use pointsman::discord::rest::HOLD_MAX;
use pointsman::domain::run::MessageKind;
use pointsman::engine::{Chat, PortError};
use pointsman::sandbox::discord::{Fault, Misbehaviour, World};
use tokio::time::Instant;

use super::fake::Play;
use super::messages::key_of;
use super::{Bot, quiet, roles};

const POST: &str = "POST /channels/*/messages";

#[tokio::test]
async fn a_long_429_does_not_hold_its_caller_and_is_remembered() {
    let bot = Bot::rest(quiet()).await;
    let play = Play::begin(&bot.model, &roles(&bot.model));
    let key = key_of(&play, &MessageKind::PlanCard);
    bot.model.fault(Fault::once(POST, Misbehaviour::RateLimited { retry_after_secs: 580.0, global: false }));
    let begun = Instant::now();
    for _ in 0..2 {
        let later = bot.chat.post(&play.snapshot(), &key, false).await;
        let Err(PortError::Later { after: Some(after), .. }) = later else { panic!("not put off: {later:?}") };
        assert!(after > Duration::from_secs(570), "{after:?}");
    }
    assert!(begun.elapsed() < HOLD_MAX, "the caller is free at once");
    assert_eq!(bot.model.requests().iter().filter(|request| request.status == 429).count(), 1, "the second did not leave");
    assert!(bot.chat.open_thread(&play.snapshot()).await.is_err());
    bot.finish();
}

#[tokio::test]
async fn a_short_429_is_waited_for_and_repeated() {
    let bot = Bot::rest(quiet()).await;
    let play = Play::begin(&bot.model, &roles(&bot.model));
    bot.model.fault(Fault::once(POST, Misbehaviour::RateLimited { retry_after_secs: 0.2, global: true }));
    bot.chat.post(&play.snapshot(), &key_of(&play, &MessageKind::PlanCard), false).await.expect("posted in the end");
    bot.finish();
}

#[tokio::test]
async fn many_posts_at_once_meet_no_429_at_all() {
    let bot = Bot::rest(World::operations()).await;
    let play = Play::begin(&bot.model, &roles(&bot.model));
    let (snapshot, key) = (play.snapshot(), key_of(&play, &MessageKind::PlanCard));
    // One nonce: the model gives the same message back, and counts each request all the same.
    let posts = (0..12).map(|_| bot.chat.post(&snapshot, &key, false));
    let posted = futures_util::future::join_all(posts).await;
    assert!(posted.iter().all(|at| at == &posted[0] && at.is_ok()), "{posted:?}");
    assert_eq!(bot.model.counters().rate_limited, 0, "the bucket was learnt from the headers");
    bot.finish();
}

#[tokio::test]
async fn a_server_in_trouble_is_tried_again_later() {
    let bot = Bot::rest(quiet()).await;
    let play = Play::begin(&bot.model, &roles(&bot.model));
    let key = key_of(&play, &MessageKind::PlanCard);
    for misbehaviour in [Misbehaviour::Answer { status: 502, code: 0 }, Misbehaviour::Cut, Misbehaviour::GarbledAnswer] {
        bot.model.fault(Fault::once(POST, misbehaviour.clone()));
        let later = bot.chat.post(&play.snapshot(), &key, false).await;
        assert!(matches!(later, Err(PortError::Later { .. })), "{misbehaviour:?}: {later:?}");
    }
    bot.chat.post(&play.snapshot(), &key, true).await.expect("posted");
    let ops = bot.model.channel("ops");
    let cards = bot.model.read(|chat| chat.posts_in(ops).len());
    assert_eq!(cards, 1, "the garbled answer belonged to a message that stands");
    bot.finish();
}

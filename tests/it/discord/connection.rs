//! The gateway's connection when it does not come about, or goes.

use std::time::Duration;

use pointsman::sandbox::discord::{Fault, Misbehaviour};

use super::{Bot, SOON, quiet};

/// Waits for something that is not announced.
async fn comes_true(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("it never came true that {what}"));
}

#[tokio::test]
async fn an_upgrade_that_is_never_answered_is_given_up_and_leaves_nothing_behind() {
    let bot = Bot::with_patience(quiet(), Duration::from_millis(1_200)).await;
    bot.model.fault(Fault::once("GET /gateway-socket", Misbehaviour::Silent));
    bot.connect().await;
    assert_eq!((bot.model.gateway_connections(), bot.model.counters().identified), (1, 1));
    assert_eq!(bot.gateway.health().rebuilt.load(std::sync::atomic::Ordering::Relaxed), 1);
    bot.finish();
}

#[tokio::test]
async fn a_lost_connection_shows_until_it_stands_again() {
    let bot = Bot::online(quiet()).await;
    let health = bot.gateway.health();
    comes_true("it is connected", || health.is_connected()).await;
    bot.model.refuse_connections(true);
    bot.model.drop_gateway();
    comes_true("it is not connected", || !health.is_connected()).await;
    bot.model.refuse_connections(false);
    comes_true("it is connected again", || health.is_connected()).await;
    bot.finish();
}

#[tokio::test]
async fn a_token_that_rest_refuses_ends_it_before_any_session_is_begun() {
    let bot = Bot::rest(quiet()).await;
    bot.model.fault(Fault::always("GET /gateway/bot", Misbehaviour::Answer { status: 401, code: 0 }));
    let ended = tokio::time::timeout(SOON, bot.gateway.run(bot.stop.clone())).await.expect("it ends");
    assert!(ended.expect_err("it cannot go on").to_string().contains("token"));
    assert_eq!(bot.model.counters().identified, 0);
    bot.finish();
}

#[tokio::test]
async fn a_stop_is_obeyed_while_discord_does_not_answer() {
    let bot = Bot::rest(quiet()).await;
    bot.model.fault(Fault::always("* /**", Misbehaviour::Silent));
    let running = tokio::spawn({
        let (gateway, stop) = (bot.gateway.clone(), bot.stop.clone());
        async move { gateway.run(stop).await }
    });
    bot.model
        .wait_for_request(SOON, |requests| requests.iter().find(|request| request.fault.is_some()).map(drop))
        .await
        .expect("asked");
    bot.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), running).await.expect("well before the call's own time is up");
    assert!(ended.expect("no panic").is_ok());
    bot.model.clear_faults();
    bot.finish();
}

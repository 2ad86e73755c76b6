//! Rate limits and faults.

use std::time::Duration;

use pointsman::sandbox::discord::{Fault, Misbehaviour, Response, World};
use serenity::all::{CreateMessage, Event, Nonce};

use super::interactions::with_commands;
use super::{Bot, INTENTS, expect_clean, quiet_model, refusal, start};

const POST: &str = "POST /channels/*/messages";

#[tokio::test]
async fn the_sixth_message_in_five_seconds_is_limited_with_headers_and_body() {
    let bot = Bot::rest(&start(World::operations()).await);
    let url = format!("{}/api/v10/channels/{}/messages", bot.model.base_url(), bot.channel("ops"));
    let client = reqwest::Client::new();
    let post = || {
        let token = format!("Bot {}", bot.model.token());
        client.post(&url).header("authorization", token).json(&serde_json::json!({ "content": "x" })).send()
    };
    for n in 0..5 {
        let answer = post().await.expect("answered");
        assert_eq!((answer.status().as_u16(), answer.headers()["x-ratelimit-remaining"].clone()), (200, (4 - n).into()));
        assert_eq!(answer.headers()["x-ratelimit-limit"], "5");
        assert!(!answer.headers()["x-ratelimit-bucket"].is_empty());
    }
    let answer = post().await.expect("answered");
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-ratelimit-scope"]), (429, &"user".parse().expect("text")));
    let rounded: f64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    let body: serde_json::Value = answer.json().await.expect("json");
    let exact = body["retry_after"].as_f64().expect("seconds");
    assert!(exact <= rounded && rounded - exact < 1.0 && body["global"] == false);
    assert_eq!((bot.model.counters().rate_limited, bot.model.counters().invalid), (1, 1));
}

#[tokio::test]
async fn a_lost_answer_and_a_retry_with_an_enforced_nonce_leave_one_message() {
    let bot = Bot::rest(&quiet_model().await);
    let ops = bot.channel("ops");
    let send = || {
        let nonce = Nonce::String("effect-7".to_owned());
        ops.send_message(&bot.http, CreateMessage::new().content("once").nonce(nonce).enforce_nonce(true))
    };
    bot.model.fault(Fault::once(POST, Misbehaviour::AnswerLost));
    assert!(matches!(send().await, Err(serenity::Error::Http(_))), "the answer was lost");
    let retried = send().await.expect("the earlier message comes back");
    let again = send().await.expect("and again");
    assert_eq!(retried.id, again.id);
    assert_eq!(bot.model.read(|chat| chat.messages_with("once").len()), 1);
    bot.model.forget_nonces();
    send().await.expect("sent anew");
    assert_eq!(bot.model.read(|chat| chat.messages_with("once").len()), 2, "the nonce is remembered for minutes only");
    expect_clean(&bot.model);
}

#[tokio::test]
async fn faults_answer_in_place_of_the_effect() {
    let bot = Bot::rest(&quiet_model().await);
    let ops = bot.channel("ops");
    bot.model.fault(Fault::once(POST, Misbehaviour::Answer { status: 503, code: 0 }));
    bot.model.fault(Fault::once(POST, Misbehaviour::RateLimited { retry_after_secs: 2.5, global: true }));
    bot.model.fault(Fault::once(POST, Misbehaviour::Answer { status: 403, code: 50013 }));
    assert_eq!(refusal(ops.say(&bot.http, "a").await).0, 503);
    assert_eq!(refusal(ops.say(&bot.http, "b").await).0, 429);
    assert_eq!(refusal(ops.say(&bot.http, "c").await), (403, 50013));
    ops.say(&bot.http, "d").await.expect("the faults are used up");
    assert_eq!(bot.model.read(|chat| chat.messages_with("").len()), 1);
    let faults: Vec<_> = bot.model.requests().iter().map(|request| request.fault.is_some()).collect();
    assert_eq!(faults, [true, true, true, false]);
}

#[tokio::test]
async fn silence_cut_connections_and_garbled_answers_differ_in_their_effect() {
    let bot = Bot::rest(&quiet_model().await);
    let ops = bot.channel("ops");
    let there = |text: &str| bot.model.read(|chat| chat.messages_with(text).len());
    let impatient = |text: &'static str| tokio::time::timeout(Duration::from_millis(300), ops.say(&bot.http, text));

    bot.model.fault(Fault::once(POST, Misbehaviour::Silent));
    assert!(impatient("silent").await.is_err());
    assert_eq!(there("silent"), 0);
    bot.model.fault(Fault::once(POST, Misbehaviour::SilentAfterEffect));
    assert!(impatient("quiet").await.is_err());
    assert_eq!(there("quiet"), 1);
    bot.model.fault(Fault::once(POST, Misbehaviour::Cut));
    assert!(ops.say(&bot.http, "cut").await.is_err());
    assert_eq!(there("cut"), 0);
    bot.model.fault(Fault::once(POST, Misbehaviour::GarbledAnswer));
    assert!(ops.say(&bot.http, "garbled").await.is_err());
    assert_eq!(there("garbled"), 1);
    bot.model.refuse_connections(true);
    let fresh = Bot::rest(&bot.model);
    assert!(ops.say(&fresh.http, "refused").await.is_err());
    bot.model.clear_faults();
    ops.say(&fresh.http, "back").await.expect("sent");
}

#[tokio::test]
async fn the_world_can_change_under_the_bot() {
    let model = quiet_model().await;
    let bot = Bot::rest(&model);
    let ops = bot.channel("ops");
    let sent = ops.say(&bot.http, "card").await.expect("sent");
    let card = model.read(|chat| chat.messages_with("card")[0].id);
    model.delete_message("mia", card).expect("a moderator");
    assert_eq!(refusal(ops.message(&bot.http, sent.id).await), (404, 10008));
    assert!(model.delete_channel(model.channel("ops")));
    assert_eq!(refusal(ops.say(&bot.http, "x").await), (404, 10003));
    model.set_roles("dana", &["operator"]);
    let dana = model.user("dana");
    let member = bot.http.get_member(bot.guild(), dana.get().into()).await.expect("a member");
    assert_eq!(member.roles[0].get(), model.role("operator").get());
}

#[tokio::test]
async fn a_swallowed_answer_to_an_interaction_counts_and_a_second_one_is_no_violation() {
    let model = quiet_model().await;
    let mut bot = with_commands(&model).await;
    let pending = model.slash("olivia", model.channel("ops"), "/migrate start runbook:x").expect("known");
    let command = bot
        .expect("a command", |event| match event {
            Event::InteractionCreate(created) => created.interaction.clone().command(),
            _ => None,
        })
        .await;
    model.fault(Fault::once("POST /interactions/**", Misbehaviour::AnswerLost));
    assert!(command.defer(&bot.http).await.is_err());
    assert_eq!(refusal(command.defer(&bot.http).await), (400, 40060));
    assert!(matches!(pending.first().await, Ok(Response::Deferred(_))));
    expect_clean(&model);
    bot.stop().await;
}

#[tokio::test]
async fn an_upgrade_that_is_never_answered_leaves_the_bot_offline() {
    let model = quiet_model().await;
    model.fault(Fault::once("GET /gateway-socket", Misbehaviour::Silent));
    let _bot = Bot::connecting(&model, INTENTS).await;
    let online = model.wait_for_gateway(Duration::from_millis(300)).await;
    assert!(online.is_err(), "the client hangs in its first connection");
}

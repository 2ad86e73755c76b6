//! The control over HTTP, as a scenario in another process uses it.

use futures_util::StreamExt;
use serde_json::{Value, json};
use serenity::all::{CreateInteractionResponse, CreateInteractionResponseMessage, Event};

use super::interactions::with_commands;
use super::{Bot, SOON, quiet_model, refusal};

struct Control {
    base: String,
    client: reqwest::Client,
}

impl Control {
    fn of(bot: &Bot) -> Self {
        Self { base: format!("{}/sandbox/v1", bot.model.base_url()), client: reqwest::Client::new() }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.expect("answered");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.expect("json")
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.client.post(format!("{}{path}", self.base)).json(&body).send().await.expect("answered");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }
}

#[tokio::test]
async fn a_person_can_be_played_over_http_and_reads_only_their_own_ephemeral_messages() {
    let mut bot = with_commands(&quiet_model().await).await;
    let control = Control::of(&bot);
    let line = json!({ "as": "olivia", "act": "slash", "channel": "#ops", "text": "/migrate start runbook:x" });
    let (status, asked) = control.post("/act", line).await;
    assert_eq!(status, 200, "{asked}");
    let command = bot
        .expect("a command", |event| match event {
            Event::InteractionCreate(created) => created.interaction.clone().command(),
            _ => None,
        })
        .await;
    let text = CreateInteractionResponseMessage::new().content("just for you").ephemeral(true);
    command.create_response(&bot.http, CreateInteractionResponse::Message(text)).await.expect("answered");
    let id = asked["interaction"].as_str().expect("an id");
    let answered = control.get(&format!("/interactions/{id}?wait_millis=5000")).await;
    assert_eq!(answered["message"]["content"], "just for you");

    let seen = |state: Value| state["messages"].to_string().contains("just for you");
    assert!(seen(control.get("/state?as=olivia").await));
    assert!(!seen(control.get("/state?as=dana").await));
    assert!(seen(control.get("/state").await));
    let channels = control.get("/state?as=dana").await["channels"].to_string();
    assert!(channels.contains("ops") && !channels.contains("leads"), "hidden channels are hidden");

    bot.model.send("leo", bot.model.channel("ops"), "the last one").expect("sent");
    let told = async |who: &str| {
        let feed = control.client.get(format!("{}/changes?as={who}", control.base)).send().await.expect("open");
        let (mut feed, mut text) = (feed.bytes_stream(), String::new());
        let all = async {
            while !text.contains("the last one") {
                text.push_str(&String::from_utf8_lossy(&feed.next().await.expect("open").expect("a chunk")));
            }
        };
        tokio::time::timeout(SOON, all).await.expect("it comes");
        ["interaction_created", "interaction_answered"].map(|what| text.contains(what))
    };
    assert_eq!((told("olivia").await, told("dana").await), ([true; 2], [false; 2]), "what one does with the bot is one's own");

    let (status, refused) =
        control.post("/act", json!({ "as": "olivia", "act": "send", "channel": "nowhere", "text": "x" })).await;
    assert_eq!((status, refused["refused"].as_str()), (400, Some("no channel \"nowhere\"")));
    bot.stop().await;
}

#[tokio::test]
async fn changes_come_as_server_sent_events_from_where_one_left_off() {
    let bot = Bot::rest(&quiet_model().await);
    let control = Control::of(&bot);
    bot.channel("ops").say(&bot.http, "first").await.expect("sent");
    let feed = control.client.get(format!("{}/changes?as=dana", control.base)).send().await.expect("open");
    let mut feed = feed.bytes_stream();
    let mut text = String::new();
    let mut until = async |wanted: &str| {
        let more = async {
            while !text.contains(wanted) {
                let chunk = feed.next().await.expect("open").expect("a chunk");
                text.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        tokio::time::timeout(SOON, more).await.expect("it comes");
        text.clone()
    };
    until("first").await;
    bot.model.send("leo", bot.model.channel("leads"), "private").expect("sent");
    let mut changes = bot.model.changes_from(0);
    let count = std::iter::from_fn(|| changes.try_next()).count();
    assert_eq!(control.get("/state").await["seq"], count, "from where the feed goes on after the state");
    bot.channel("ops").say(&bot.http, "second").await.expect("sent");
    let text = until("second").await;
    assert!(!text.contains("private"), "a channel that dana cannot see");
    assert!(text.contains("\"what\":\"message_posted\"") && text.contains("id: 0"));
}

#[tokio::test]
async fn a_page_opened_twice_hears_everything_in_both_once() {
    let bot = Bot::rest(&quiet_model().await);
    let control = Control::of(&bot);
    let open = async || control.client.get(format!("{}/changes?as=olivia", control.base)).send().await.expect("open");
    let mut tabs = [open().await.bytes_stream(), open().await.bytes_stream()];
    for text in ["typed in the first tab", "typed in the second tab"] {
        let typed = json!({ "as": "olivia", "act": "send", "channel": "#ops", "text": text });
        assert_eq!(control.post("/act", typed).await.0, 200);
    }
    bot.channel("ops").say(&bot.http, "the last one").await.expect("sent");
    let mut heard = [String::new(), String::new()];
    for (tab, heard) in tabs.iter_mut().zip(&mut heard) {
        let all = async {
            while !heard.contains("the last one") || !heard.ends_with("\n\n") {
                heard.push_str(&String::from_utf8_lossy(&tab.next().await.expect("open").expect("a chunk")));
            }
        };
        tokio::time::timeout(SOON, all).await.expect("it comes");
    }
    let ids = |heard: &str| heard.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect::<Vec<u64>>();
    let [first, second] = heard.each_ref().map(|heard| ids(heard));
    assert_eq!(first, second, "both hear the same");
    assert!(first.len() >= 3 && first.is_sorted_by(|one, next| one < next), "each change once: {first:?}");
    let texts = ["typed in the first tab", "typed in the second tab", "the last one"];
    let stands = |text: &str| bot.model.read(|chat| chat.messages_with(text).len());
    assert_eq!(texts.map(stands), [1; 3]);
    bot.stop().await;
}

#[tokio::test]
async fn faults_and_changes_of_the_world_are_switched_over_http() {
    let bot = Bot::rest(&quiet_model().await);
    let control = Control::of(&bot);
    let ops = bot.channel("ops");
    let fault = json!({ "on": "POST /channels/*/messages", "fault": "rate_limited", "retry_after_secs": 1.5 });
    assert_eq!(control.post("/faults", fault).await.0, 200);
    assert_eq!(control.get("/faults").await["rest"][0]["fault"], "rate_limited");
    assert_eq!(refusal(ops.say(&bot.http, "x").await).0, 429);
    control.client.delete(format!("{}/faults", control.base)).send().await.expect("answered");
    ops.say(&bot.http, "x").await.expect("the fault is gone");
    let roles = json!({ "do": "set_roles", "user": "dana", "roles": ["operator"] });
    assert_eq!(control.post("/world", roles).await.0, 200);
    assert_eq!(control.post("/world", json!({ "do": "delete_channel", "channel": "ops" })).await.0, 200);
    assert_eq!(refusal(ops.say(&bot.http, "x").await), (404, 10003));
    assert_eq!(control.post("/gateway", json!({ "do": "drop" })).await.0, 200);
    assert_eq!(control.get("/counters").await["requests"]["POST /channels/{id}/messages 429"], 1);
    assert_eq!(control.get("/requests").await.as_array().map(Vec::len), Some(3));
    assert_eq!(control.get("/violations").await, json!([]));
}

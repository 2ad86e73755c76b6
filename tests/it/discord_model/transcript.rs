//! The chat as lines in a terminal.

use std::time::Duration;

use pointsman::sandbox::discord::World;
use pointsman::sandbox::discord::transcript::{Shown, Transcript};
use serenity::all::{
    CreateActionRow, CreateAttachment, CreateButton, CreateEmbed, CreateEmbedFooter, CreateMessage, CreateThread, EditMessage,
};

use super::{Bot, still_model};

#[tokio::test]
async fn the_chat_reads_like_a_chat() {
    let (model, clock) = still_model(World::operations().without_rate_limits()).await;
    let bot = Bot::rest(&model);
    let ops = bot.channel("ops");
    let mut feed = model.subscribe();
    let dba = model.role("dba");
    let embed = CreateEmbed::new()
        .title("Gate: cutover")
        .description(format!("needs <@&{dba}> until <t:1790000600:t>"))
        .field("criteria", "12 of 12 rows\nno orphans", false)
        .footer(CreateEmbedFooter::new("digest 5f2a91c0"));
    let row = CreateActionRow::Buttons(vec![
        CreateButton::new("ack").label("Acknowledge"),
        CreateButton::new("no").label("Too late").disabled(true),
    ]);
    let card = CreateMessage::new().content("Sign off, please").embed(embed).components(vec![row]);
    let file = CreateAttachment::bytes(&b"x".repeat(2048)[..], "plan.md");
    let sent = ops.send_files(&bot.http, [file], card).await.expect("sent");
    let card = model.read(|chat| chat.messages_with("Sign off")[0].id);
    clock.advance(Duration::from_secs(61));
    model.react("dana", card, "✅").expect("reacted");
    model.remove_reaction("mia", card, "dana", "✅").expect("removed");
    let thread = ops.create_thread_from_message(&bot.http, sent.id, CreateThread::new("run 7")).await.expect("opened");
    thread.id.say(&bot.http, format!("<@{}> over to you", model.user("leo"))).await.expect("sent");
    ops.delete_message(&bot.http, sent.id).await.expect("deleted");

    let mut transcript = Transcript::new();
    let mut lines = Vec::new();
    while let Some(change) = feed.try_next() {
        match model.read(|chat| transcript.show(&change, chat)) {
            Some(Shown::Lines(text)) => lines.push(text),
            other => assert!(other.is_none(), "{other:?}"),
        }
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    14:13:20  #ops  Pointsman  Sign off, please
              ┌ Gate: cutover
              │ needs @dba until 14:23:20 UTC
              │ criteria:
              │ 12 of 12 rows
              │ no orphans
              └ digest 5f2a91c0
              [Acknowledge] (Too late)
              📎 plan.md (2.0 KiB)
    14:14:21  #ops  Dana  reacts ✅ to "Sign off, please"
    14:14:21  #ops  Mia  takes Dana's ✅ from "Sign off, please"
    14:14:21  #ops › run 7  Pointsman  opens this thread
    14:14:21  #ops › run 7  Pointsman  @Leo over to you
    14:14:21  #ops  Pointsman  deletes "Sign off, please"
    "#);
}

#[tokio::test]
async fn a_creeping_bar_is_shown_by_quarters_and_everything_else_at_once() {
    let (model, _clock) = still_model(World::operations().without_rate_limits()).await;
    let bot = Bot::rest(&model);
    let ops = bot.channel("ops");
    let sent = ops.say(&bot.http, "copying ▰▱▱▱ 0 % (0 of 200)").await.expect("sent").id;
    let mut feed = model.subscribe();
    let mut transcript = Transcript::new();
    let mut shown = Vec::new();
    for text in [
        "copying ▰▱▱▱ 10 % (20 of 200)",
        "copying ▰▱▱▱ 26 % (52 of 200)",
        "copying ▰▰▱▱ 40 % (80 of 200)",
        "copying ▰▰▰▱ 99 % (198 of 200)",
        "copying ▰▰▰▰ 100 % (200 of 200)",
        "copied 200 rows",
    ] {
        ops.edit_message(&bot.http, sent, EditMessage::new().content(text)).await.expect("edited");
        while let Some(change) = feed.try_next() {
            let kind = match model.read(|chat| transcript.show(&change, chat)) {
                Some(Shown::Lines(_)) => "lines",
                Some(Shown::Progress(_)) => "progress",
                None => "nothing",
            };
            shown.push(kind);
        }
    }
    assert_eq!(shown, ["progress", "lines", "progress", "lines", "lines", "lines"]);
}

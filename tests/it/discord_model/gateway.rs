//! Events, and what becomes of them when the connection does not hold.

use std::collections::BTreeSet;

use pointsman::sandbox::discord::{Deaf, EventFault, World};
use serenity::all::{
    CreateChannel, CreateScheduledEvent, CreateThread, EditChannel, EditMessage, EditThread, Event, GatewayIntents, ReactionType,
    ScheduledEventType,
};

use super::{Bot, INTENTS, SOON, quiet_model, start};

fn message_text(event: &Event) -> Option<String> {
    match event {
        Event::MessageCreate(created) => Some(created.message.content.clone()),
        _ => None,
    }
}

fn reaction(event: &Event) -> Option<String> {
    match event {
        Event::ReactionAdd(added) => Some(added.reaction.emoji.to_string()),
        _ => None,
    }
}

#[tokio::test]
async fn messages_and_reactions_reach_the_bot_without_others_words() {
    let model = quiet_model().await;
    let mut bot = Bot::online(&model).await;
    let theirs = model.send("dana", model.channel("ops"), "secret").expect("sent");
    assert_eq!(bot.expect("a message", message_text).await, "", "no message-content intent");
    model.react("leo", theirs, "📌").expect("reacted");
    let (user, roles) = bot
        .expect("a reaction", |event| match event {
            Event::ReactionAdd(added) => {
                let member = added.reaction.member.as_ref()?;
                Some((added.reaction.user_id?, member.roles.len()))
            }
            _ => None,
        })
        .await;
    assert_eq!((user.get(), roles), (model.user("leo").get(), 2));
    model.unreact("leo", theirs, "📌").expect("taken back");
    bot.expect("a removal", |event| matches!(event, Event::ReactionRemove(_)).then_some(())).await;
    model.delete_message("dana", theirs).expect("deleted");
    bot.expect("a deletion", |event| matches!(event, Event::MessageDelete(_)).then_some(())).await;
    bot.stop().await;
}

#[tokio::test]
async fn a_dropped_socket_is_resumed_and_what_was_missed_is_replayed() {
    let model = quiet_model().await;
    let mut bot = Bot::online(&model).await;
    let sent = bot.channel("ops").say(&bot.http, "gate").await.expect("sent");
    bot.expect("its own message", message_text).await;
    model.refuse_connections(true);
    model.drop_gateway();
    model.wait_for_gateway_loss(SOON).await.expect("the connection goes");
    model.react("dana", pointsman::sandbox::discord::MessageId::new(sent.id.get()), "✅").expect("reacted");
    model.refuse_connections(false);
    assert_eq!(bot.expect("the missed reaction", reaction).await, "✅");
    assert_eq!((model.counters().resumed, model.counters().identified), (1, 1));
    bot.stop().await;
}

#[tokio::test]
async fn a_refused_resume_becomes_a_new_session_and_the_events_between_are_lost() {
    let model = quiet_model().await;
    let mut bot = Bot::online(&model).await;
    model.refuse_resumes(1);
    model.ask_to_reconnect();
    bot.expect("a second READY", |event| matches!(event, Event::Ready(_)).then_some(())).await;
    assert_eq!((model.counters().resumed, model.counters().identified), (0, 2));
    bot.stop().await;
}

#[tokio::test]
async fn events_can_be_lost_repeated_and_turned_around() {
    let model = quiet_model().await;
    let mut bot = Bot::online(&model).await;
    let message = model.send("dana", model.channel("ops"), "x").expect("sent");
    model.spoil_events("MESSAGE_REACTION_ADD", EventFault::Lose, 1);
    model.spoil_events("MESSAGE_REACTION_ADD", EventFault::Repeat, 1);
    model.react("dana", message, "✅").expect("reacted");
    model.react("dana", message, "❌").expect("reacted");
    assert_eq!(bot.expect("the second reaction", reaction).await, "❌");
    assert_eq!(bot.expect("it again", reaction).await, "❌");
    model.spoil_events("MESSAGE_REACTION_ADD", EventFault::Reorder, 1);
    model.react("leo", message, "✅").expect("reacted");
    model.react("leo", message, "❌").expect("reacted");
    let mut both = vec![bot.expect("a reaction", reaction).await, bot.expect("a reaction", reaction).await];
    both.sort();
    assert_eq!(both, ["✅", "❌"], "serenity runs each event in a task of its own, so only the set is certain");
    bot.stop().await;
}

#[tokio::test]
async fn a_deaf_gateway_swallows_events_and_a_probe_shows_it() {
    let model = quiet_model().await;
    let mut bot = Bot::online(&model).await;
    model.set_deaf(Some(Deaf::Acknowledging));
    let message = model.send("dana", model.channel("ops"), "unheard").expect("sent");
    model.set_deaf(None);
    model.react("dana", message, "✅").expect("reacted");
    let first = bot.expect("an event", |event| reaction(event).or_else(|| message_text(event))).await;
    assert_eq!(first, "✅", "the message was swallowed");
    bot.stop().await;
}

#[tokio::test]
async fn a_privileged_intent_that_is_not_switched_on_ends_the_client() {
    let model = quiet_model().await;
    let client = serenity::client::ClientBuilder::new_with_http(super::http(&model), INTENTS | GatewayIntents::MESSAGE_CONTENT);
    let mut client = client.await.expect("a client");
    let ended = tokio::time::timeout(SOON, client.start()).await.expect("it ends");
    let error = ended.expect_err("refused");
    assert!(matches!(error, serenity::Error::Gateway(serenity::gateway::GatewayError::DisallowedGatewayIntents)));
    assert!(model.violations().iter().any(|violation| violation.what.starts_with("4014")));
    model.stop();
}

#[tokio::test]
async fn a_request_for_a_member_is_answered_with_its_nonce() {
    let model = quiet_model().await;
    let mut bot = Bot::online(&model).await;
    let shards = bot.shards.clone().expect("online");
    let runners = shards.runners.lock().await;
    let runner = runners.values().next().expect("a shard").runner_tx.clone();
    drop(runners);
    let me = serenity::all::UserId::new(model.bot_id().get());
    runner.chunk_guild(
        bot.guild(),
        None,
        false,
        serenity::gateway::ChunkGuildFilter::UserIds(vec![me]),
        Some("probe-1".to_owned()),
    );
    let (nonce, members) = bot
        .expect("a chunk", |event| match event {
            Event::GuildMembersChunk(chunk) => Some((chunk.nonce.clone(), chunk.members.len())),
            _ => None,
        })
        .await;
    assert_eq!((nonce.as_deref(), members), (Some("probe-1"), 1));
    bot.stop().await;
}

#[tokio::test]
async fn the_bot_hears_nothing_of_channels_it_cannot_see() {
    let model = quiet_model().await;
    let mut bot = Bot::online(&model).await;
    model.revoke_from_bot(twilight_model::guild::Permissions::VIEW_CHANNEL);
    let ops = model.channel("ops");
    assert!(model.send("dana", ops, "hidden").is_err(), "nobody else sees it either");
    model.send("owner", ops, "hidden").expect("the owner may");
    model.grant_to_bot(twilight_model::guild::Permissions::VIEW_CHANNEL);
    let seen = model.send("owner", ops, "shown").expect("sent");
    let id = bot
        .expect("a message", |event| match event {
            Event::MessageCreate(created) => Some(created.message.id.get()),
            _ => None,
        })
        .await;
    assert_eq!(id, seen.get());
    bot.stop().await;
}

#[tokio::test]
async fn every_event_of_the_model_is_one_that_the_client_can_parse() {
    let members = twilight_model::gateway::Intents::GUILD_MEMBERS;
    let model = start(World::operations().without_rate_limits().privileged_intents(members)).await;
    let intents = INTENTS | GatewayIntents::GUILD_MEMBERS | GatewayIntents::GUILD_SCHEDULED_EVENTS;
    let mut bot = Bot::connecting(&model, intents).await;
    model.wait_for_gateway(SOON).await.expect("online");
    let (ops, guild) = (bot.channel("ops"), bot.guild());

    let channel = guild.create_channel(&bot.http, CreateChannel::new("incident-7")).await.expect("created");
    channel.id.edit(&bot.http, EditChannel::new().topic("SEV1")).await.expect("edited");
    channel.id.delete(&bot.http).await.expect("deleted");
    let sent = ops.say(&bot.http, "gate").await.expect("sent").id;
    let thread = ops.create_thread_from_message(&bot.http, sent, CreateThread::new("run 7")).await.expect("opened");
    thread.id.edit_thread(&bot.http, EditThread::new().archived(true)).await.expect("archived");
    thread.id.delete(&bot.http).await.expect("deleted");
    ops.edit_message(&bot.http, sent, EditMessage::new().content("gate 2")).await.expect("edited");
    // MESSAGE_REACTION_REMOVE_EMOJI is left out: Discord sends it without `burst` and `type`, which serenity 0.12.5 demands.
    let tick = ReactionType::Unicode("✅".into());
    bot.http.create_reaction(ops, sent, &tick).await.expect("reacted");
    bot.http.delete_message_reactions(ops, sent).await.expect("cleared");
    ops.pin(&bot.http, sent).await.expect("pinned");
    let start = serenity::all::Timestamp::from_unix_timestamp(4_000_000_000).expect("a valid instant");
    let end = serenity::all::Timestamp::from_unix_timestamp(4_000_003_600).expect("a valid instant");
    let review = CreateScheduledEvent::new(ScheduledEventType::External, "Review", start).location("x").end_time(end);
    guild.create_scheduled_event(&bot.http, review).await.expect("scheduled");
    model.set_roles("dana", &["dba", "security"]);
    model.revoke_from_bot(twilight_model::guild::Permissions::MANAGE_EVENTS);
    model.delete_role(model.role("security"));
    ops.delete_message(&bot.http, sent).await.expect("deleted");

    let mut awaited = BTreeSet::from([
        "GUILD_CREATE",
        "CHANNEL_CREATE",
        "CHANNEL_UPDATE",
        "CHANNEL_DELETE",
        "THREAD_CREATE",
        "THREAD_UPDATE",
        "THREAD_DELETE",
        "MESSAGE_CREATE",
        "MESSAGE_UPDATE",
        "MESSAGE_DELETE",
        "MESSAGE_REACTION_ADD",
        "MESSAGE_REACTION_REMOVE_ALL",
        "CHANNEL_PINS_UPDATE",
        "GUILD_SCHEDULED_EVENT_CREATE",
        "GUILD_MEMBER_UPDATE",
        "GUILD_ROLE_UPDATE",
        "GUILD_ROLE_DELETE",
    ]);
    while !awaited.is_empty() {
        let name = bot.expect("all of them", |event| event.name()).await;
        awaited.remove(name.as_str());
    }
    bot.stop().await;
}

//! Messages, reactions, threads, channels: what REST does, and what it refuses.

use chrono::TimeDelta;
use pointsman::clock::wall_now;
use pointsman::sandbox::discord::World;
use serenity::all::{
    ChannelType, CreateActionRow, CreateAllowedMentions, CreateAttachment, CreateButton, CreateChannel, CreateEmbed,
    CreateMessage, CreateScheduledEvent, CreateThread, EditChannel, EditMessage, EditThread, GetMessages, Mentionable, MessageId,
    PermissionOverwrite, PermissionOverwriteType, ReactionType, RoleId, ScheduledEventType, Timestamp, UserId,
};
use twilight_model::guild::Permissions;

use super::{Bot, expect_clean, quiet_model, refusal, start, still_model};

fn text(content: &str) -> CreateMessage {
    CreateMessage::new().content(content)
}

fn emoji(emoji: &str) -> ReactionType {
    ReactionType::Unicode(emoji.to_owned())
}

#[tokio::test]
async fn a_message_with_everything_is_stored_and_read_back_whole() {
    let bot = Bot::rest(&quiet_model().await);
    let ops = bot.channel("ops");
    let embed = CreateEmbed::new().title("Plan").description("three steps").field("target", "assets_1", true);
    let embed = embed.timestamp(Timestamp::now()).image("attachment://chart.png");
    let row = CreateActionRow::Buttons(vec![CreateButton::new("ack:7").label("Acknowledge")]);
    let message = text("hello").embed(embed).components(vec![row]);
    let files = [
        CreateAttachment::bytes(&b"one,two\n"[..], "rows.csv").description("rejected rows"),
        CreateAttachment::bytes(&b"png"[..], "chart.png"),
    ];
    let sent = ops.send_files(&bot.http, files, message).await.expect("sent");
    let read = ops.message(&bot.http, sent.id).await.expect("read");
    assert_eq!((read.content.as_str(), read.embeds[0].fields[0].value.as_str()), ("hello", "assets_1"));
    assert_eq!(read.components.len(), 1);
    assert_eq!(read.attachments.len(), 1, "a file that an embed shows is not listed beside it");
    let attachment = &read.attachments[0];
    assert_eq!((attachment.filename.as_str(), attachment.description.as_deref()), ("rows.csv", Some("rejected rows")));
    assert_eq!(attachment.download().await.expect("downloads"), b"one,two\n");
    let chart = read.embeds[0].image.as_ref().expect("an image").url.clone();
    assert_eq!(reqwest::get(chart).await.expect("served").bytes().await.expect("read").as_ref(), b"png");

    let whole: twilight_model::channel::Message = raw(&bot, &format!("/channels/{ops}/messages/{}", sent.id)).await;
    assert_eq!(whole.components.len(), 1);
    expect_clean(&bot.model);
}

/// An answer of the model, read by twilight's types.
async fn raw<T: serde::de::DeserializeOwned>(bot: &Bot, path: &str) -> T {
    let url = format!("{}/api/v10{path}", bot.model.base_url());
    let token = format!("Bot {}", bot.model.token());
    let answer = reqwest::Client::new().get(url).header("authorization", token).send().await.expect("answered");
    answer.json().await.expect("twilight reads it")
}

#[tokio::test]
async fn twilight_and_serenity_both_read_the_guild() {
    let bot = Bot::rest(&quiet_model().await);
    let guild = bot.guild();
    let user = UserId::new(bot.model.user("dana").get());
    assert_eq!(bot.http.get_guild(guild).await.expect("guild").name, "Night Shift");
    assert_eq!(bot.http.get_guild_roles(guild).await.expect("roles").len(), 7);
    assert_eq!(bot.http.get_member(guild, user).await.expect("member").roles.len(), 1);
    assert!(bot.http.get_channels(guild).await.expect("channels").len() >= 6);
    assert!(bot.http.get_guild_active_threads(guild).await.expect("threads").threads.is_empty());
    assert_eq!(bot.http.get_current_user().await.expect("me").id.get(), bot.model.bot_id().get());
    assert!(!bot.http.get_current_application_info().await.expect("application").bot_public);
    assert_eq!(refusal(bot.http.get_guild_members(guild, None, None).await), (403, 50001), "needs the intent");

    let counts: std::collections::BTreeMap<RoleId, u64> = raw(&bot, &format!("/guilds/{guild}/roles/member-counts")).await;
    let count = |role: &str| counts[&RoleId::new(bot.model.role(role).get())];
    assert_eq!((counts.len(), count("operator"), count("dba")), (6, 2, 1), "without @everyone");
    let _: Vec<twilight_model::guild::Role> = raw(&bot, &format!("/guilds/{guild}/roles")).await;
    let _: Vec<twilight_model::channel::Channel> = raw(&bot, &format!("/guilds/{guild}/channels")).await;
    let _: twilight_model::guild::Guild = raw(&bot, &format!("/guilds/{guild}")).await;
    let _: twilight_model::guild::Member = raw(&bot, &format!("/guilds/{guild}/members/{user}")).await;
    let _: twilight_model::oauth::Application = raw(&bot, "/applications/@me").await;
    expect_clean(&bot.model);
}

#[tokio::test]
async fn what_breaks_a_limit_is_refused_and_noted_as_a_violation() {
    let bot = Bot::rest(&quiet_model().await);
    let ops = bot.channel("ops");
    let long = serde_json::json!({ "content": "x".repeat(2001) });
    assert_eq!(refusal(bot.http.send_message(ops, vec![], &long).await), (400, 50035));
    let crowded = serde_json::json!({ "embeds": [{ "description": "x".repeat(4097) }] });
    assert_eq!(refusal(bot.http.send_message(ops, vec![], &crowded).await), (400, 50035));
    let button = || CreateButton::new("same").label("Twice");
    let twins = CreateActionRow::Buttons(vec![button(), button()]);
    assert_eq!(refusal(ops.send_message(&bot.http, text("x").components(vec![twins])).await), (400, 50035));
    assert_eq!(refusal(ops.send_message(&bot.http, text("  ")).await), (400, 50006));
    assert_eq!(bot.model.violations().len(), 4);
    let ops = bot.model_channel("ops");
    assert!(bot.model.read(|chat| chat.posts_in(ops).is_empty()));
}

impl Bot {
    fn model_channel(&self, name: &str) -> pointsman::sandbox::discord::ChannelId {
        self.model.read(|chat| chat.channel_named(name).map(|channel| channel.id)).expect("a channel")
    }
}

#[tokio::test]
async fn an_unmodelled_route_is_refused_and_counted() {
    let bot = Bot::rest(&quiet_model().await);
    assert_eq!(refusal(bot.http.get_guild_webhooks(bot.guild()).await), (404, 0));
    assert_eq!(bot.model.counters().unmodelled, 1);
    assert_eq!(bot.model.violations()[0].place, "GET /guilds/{id}/webhooks");
}

#[tokio::test]
async fn permissions_decide_what_the_bot_may_do() {
    let bot = Bot::rest(&quiet_model().await);
    let (ops, guild) = (bot.channel("ops"), bot.guild());
    let message = ops.say(&bot.http, "card").await.expect("sent").id;
    let revoke = |permissions| bot.model.revoke_from_bot(permissions);

    revoke(Permissions::PIN_MESSAGES);
    assert_eq!(refusal(ops.pin(&bot.http, message).await), (403, 50013), "MANAGE_MESSAGES no longer pins");
    revoke(Permissions::ADD_REACTIONS);
    assert_eq!(refusal(bot.http.create_reaction(ops, message, &emoji("✅")).await), (403, 50013));
    bot.model.grant_to_bot(Permissions::ADD_REACTIONS);
    revoke(Permissions::READ_MESSAGE_HISTORY);
    assert_eq!(refusal(bot.http.create_reaction(ops, message, &emoji("✅")).await), (403, 50013));
    assert!(ops.messages(&bot.http, GetMessages::new()).await.expect("a list").is_empty());
    revoke(Permissions::MANAGE_CHANNELS);
    assert_eq!(refusal(guild.create_channel(&bot.http, CreateChannel::new("x")).await), (403, 50013));
    revoke(Permissions::EMBED_LINKS);
    let card = CreateMessage::new().embed(CreateEmbed::new().title("x"));
    assert_eq!(refusal(ops.send_message(&bot.http, card).await), (403, 50013));
    revoke(Permissions::SEND_MESSAGES);
    assert_eq!(refusal(ops.say(&bot.http, "x").await), (403, 50013));
    revoke(Permissions::VIEW_CHANNEL);
    assert_eq!(refusal(ops.say(&bot.http, "x").await), (403, 50001));
    expect_clean(&bot.model);
}

#[tokio::test]
async fn overwrites_open_and_close_a_private_channel() {
    let bot = Bot::rest(&quiet_model().await);
    let leads = bot.model_channel("leads");
    let may_see = |user: &str| {
        let user = bot.model.user(user);
        bot.model.read(|chat| chat.permissions(user, leads).contains(Permissions::VIEW_CHANNEL))
    };
    assert!(may_see("leo") && !may_see("dana"));
    assert!(bot.model.send("dana", leads, "let me in").is_err());
    let dba = RoleId::new(bot.model.role("dba").get());
    let overwrite = PermissionOverwrite {
        allow: serenity::all::Permissions::VIEW_CHANNEL,
        deny: serenity::all::Permissions::empty(),
        kind: PermissionOverwriteType::Role(dba),
    };
    bot.channel("leads").create_permission(&bot.http, overwrite).await.expect("set");
    assert!(may_see("dana"));
    expect_clean(&bot.model);
}

#[tokio::test]
async fn reactions_are_paged_removed_by_moderators_and_limited_to_twenty_emoji() {
    let bot = Bot::rest(&quiet_model().await);
    let ops = bot.channel("ops");
    let sent = ops.say(&bot.http, "gate").await.expect("sent");
    let id = bot.model.read(|chat| chat.messages_with("gate")[0].id);
    bot.http.create_reaction(ops, sent.id, &emoji("✅")).await.expect("reacted");
    for person in ["olivia", "leo", "dana"] {
        bot.model.react(person, id, "✅").expect("reacted");
    }
    bot.model.react("dana", id, "✅").expect("a second time changes nothing");
    let page = |limit, after| {
        let http = bot.http.clone();
        async move { http.get_reaction_users(ops, sent.id, &emoji("✅"), limit, after).await.expect("a page") }
    };
    let first = page(3, None).await;
    let second = page(3, Some(first[2].id.get())).await;
    assert_eq!((first.len(), second.len()), (3, 1));
    let dana = UserId::new(bot.model.user("dana").get());
    bot.http.delete_reaction(ops, sent.id, dana, &emoji("✅")).await.expect("removed");
    assert_eq!(page(100, None).await.len(), 3);
    assert!(bot.model.remove_reaction("sam", id, "leo", "✅").is_err(), "no moderator");
    bot.model.remove_reaction("mia", id, "leo", "✅").expect("a moderator");
    bot.model.unreact("olivia", id, "✅").expect("taken back");
    assert_eq!(page(100, None).await.len(), 1);

    let read = ops.message(&bot.http, sent.id).await.expect("read");
    assert_eq!((read.reactions[0].count, read.reactions[0].me), (1, true));
    for n in 0..19_u32 {
        let letter = char::from_u32(0x1F600 + n).expect("an emoji").to_string();
        bot.http.create_reaction(ops, sent.id, &emoji(&letter)).await.expect("room for twenty");
    }
    assert_eq!(refusal(bot.http.create_reaction(ops, sent.id, &emoji("❌")).await), (400, 30010));
    assert_eq!(refusal(bot.http.create_reaction(ops, sent.id, &emoji("tick")).await), (400, 10014));
}

#[tokio::test]
async fn only_allowed_mentions_ping() {
    let bot = Bot::rest(&quiet_model().await);
    let ops = bot.channel("ops");
    let (dana, leo) = (UserId::new(bot.model.user("dana").get()), UserId::new(bot.model.user("leo").get()));
    let dba = RoleId::new(bot.model.role("dba").get());
    let content = format!("@everyone {} {} {}", dana.mention(), leo.mention(), dba.mention());
    let send = |allowed: CreateAllowedMentions| ops.send_message(&bot.http, text(&content).allowed_mentions(allowed));

    let silent = send(CreateAllowedMentions::new()).await.expect("sent");
    let one = send(CreateAllowedMentions::new().users([dana])).await.expect("sent");
    let all = ops.say(&bot.http, content.as_str()).await.expect("sent");
    assert!(silent.mentions.is_empty() && !silent.mention_everyone);
    assert_eq!(one.mentions.iter().map(|user| user.id).collect::<Vec<_>>(), [dana]);
    assert!(all.mention_everyone && all.mention_roles == [dba]);
    let pings = |id: MessageId| bot.model.read(|chat| chat.find_message(id.get().into_id()).expect("there").pings.clone());
    assert_eq!(pings(silent.id), Default::default());
    assert_eq!(pings(one.id).users.len(), 1);
    assert!(pings(all.id).everyone);
    let both = CreateAllowedMentions::new().all_users(true).users([dana]);
    assert_eq!(refusal(send(both).await), (400, 50035));
}

/// From serenity's bare numbers to the model's ids.
trait IntoId {
    fn into_id(self) -> pointsman::sandbox::discord::MessageId;
}

impl IntoId for u64 {
    fn into_id(self) -> pointsman::sandbox::discord::MessageId {
        pointsman::sandbox::discord::MessageId::new(self)
    }
}

#[tokio::test]
async fn edits_keep_their_history_and_edits_of_old_messages_run_out() {
    let (model, clock) = still_model(World::operations().without_rate_limits()).await;
    let bot = Bot::rest(&model);
    let ops = bot.channel("ops");
    let sent = ops.say(&bot.http, "0 %").await.expect("sent").id;
    let edit = |content: &str| ops.edit_message(&bot.http, sent, EditMessage::new().content(content));
    edit("50 %").await.expect("edited");
    edit("100 %").await.expect("edited");
    let message = model.read(|chat| chat.find_message(sent.get().into_id()).cloned()).expect("there");
    let history: Vec<_> = message.history.iter().map(|revision| revision.content.as_str()).collect();
    assert_eq!((history, message.content.as_str()), (vec!["0 %", "50 %"], "100 %"));

    clock.advance(std::time::Duration::from_secs(3600));
    for n in 0..5 {
        edit(&format!("late {n}")).await.expect("some are let through");
    }
    assert_eq!(refusal(edit("too late").await), (429, 30046));
    let other: MessageId = model.send("dana", model.channel("ops"), "mine").expect("sent").get().into();
    assert_eq!(refusal(ops.edit_message(&bot.http, other, EditMessage::new().content("x")).await).1, 50005);
}

#[tokio::test]
async fn history_is_paged_newest_first_and_hides_what_others_wrote() {
    let model = quiet_model().await;
    let bot = Bot::rest(&model);
    let ops = bot.channel("ops");
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(ops.say(&bot.http, format!("m{n}")).await.expect("sent").id);
    }
    let theirs = model.send("dana", model.channel("ops"), "secret plans").expect("sent");
    let bot_id = model.bot_id();
    model.send("dana", model.channel("ops"), &format!("<@{bot_id}> for you")).expect("sent");
    let list = |page: GetMessages| ops.messages(&bot.http, page);
    let newest = list(GetMessages::new().limit(3)).await.expect("a page");
    assert_eq!(newest[0].content, format!("<@{bot_id}> for you"), "a mention of the bot is shown to it");
    assert_eq!((newest[1].id.get(), newest[1].content.as_str()), (theirs.get(), ""));
    let after: Vec<_> = list(GetMessages::new().after(ids[1]).limit(2)).await.expect("a page");
    assert_eq!(after.iter().map(|message| message.id).collect::<Vec<_>>(), [ids[3], ids[2]]);
    let before = list(GetMessages::new().before(ids[2])).await.expect("a page");
    assert_eq!(before.iter().map(|message| message.id).collect::<Vec<_>>(), [ids[1], ids[0]]);
    expect_clean(&model);
}

#[tokio::test]
async fn pins_are_listed_and_leave_a_notice() {
    let bot = Bot::rest(&quiet_model().await);
    let ops = bot.channel("ops");
    let sent = ops.say(&bot.http, "summary card").await.expect("sent").id;
    ops.pin(&bot.http, sent).await.expect("pinned");
    assert_eq!(ops.pins(&bot.http).await.expect("pins")[0].id, sent);
    let listing: twilight_model::channel::message::PinsListing = raw(&bot, &format!("/channels/{ops}/messages/pins")).await;
    assert_eq!(listing.items.len(), 1);
    let kinds: Vec<_> =
        ops.messages(&bot.http, GetMessages::new()).await.expect("a list").iter().map(|message| message.kind).collect();
    assert_eq!(kinds[0], serenity::all::MessageType::PinsAdd);
    ops.unpin(&bot.http, sent).await.expect("unpinned");
    assert!(ops.pins(&bot.http).await.expect("pins").is_empty());
    expect_clean(&bot.model);
}

#[tokio::test]
async fn an_archived_thread_refuses_edits_and_opens_again_on_a_message() {
    let (model, clock) = still_model(World::operations().without_rate_limits()).await;
    let bot = Bot::rest(&model);
    let ops = bot.channel("ops");
    let start = ops.say(&bot.http, "run 7").await.expect("sent").id;
    let thread = CreateThread::new("run 7").auto_archive_duration(serenity::all::AutoArchiveDuration::OneHour);
    let thread = ops.create_thread_from_message(&bot.http, start, thread).await.expect("a thread");
    assert_eq!(thread.id.get(), start.get(), "a thread has its message's id");
    let again = CreateThread::new("run 7");
    assert_eq!(refusal(ops.create_thread_from_message(&bot.http, start, again).await), (400, 160_004));
    let card = thread.id.say(&bot.http, "card").await.expect("sent").id;

    clock.advance(std::time::Duration::from_secs(3600));
    let edit = || thread.id.edit_message(&bot.http, card, EditMessage::new().content("x"));
    assert_eq!(refusal(edit().await), (400, 50083));
    assert_eq!(refusal(bot.http.create_reaction(thread.id, card, &emoji("✅")).await), (400, 50083));
    let archived = ops.get_archived_public_threads(&bot.http, None, None).await.expect("a list");
    assert_eq!(archived.threads[0].id, thread.id);
    thread.id.say(&bot.http, "beat").await.expect("opens it again");
    edit().await.expect("open");

    thread.id.edit_thread(&bot.http, EditThread::new().archived(true).locked(true)).await.expect("closed");
    model.revoke_from_bot(Permissions::MANAGE_THREADS);
    assert_eq!(refusal(thread.id.say(&bot.http, "x").await), (400, 50083));
    expect_clean(&model);
}

#[tokio::test]
async fn the_third_rename_within_ten_minutes_waits_long() {
    let bot = Bot::rest(&start(World::operations()).await);
    let ops = bot.channel("ops");
    let rename = |name: &str| ops.edit(&bot.http, EditChannel::new().name(name));
    rename("ops-1").await.expect("the first");
    rename("ops-2").await.expect("the second");
    assert_eq!(refusal(rename("ops-3").await), (429, 20028));
    let answer = reqwest::Client::new()
        .patch(format!("{}/api/v10/channels/{ops}", bot.model.base_url()))
        .header("authorization", format!("Bot {}", bot.model.token()))
        .json(&serde_json::json!({ "name": "ops-3" }))
        .send()
        .await
        .expect("answered");
    let wait: u64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((500..=600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn categories_and_guilds_fill_up() {
    let bot = Bot::rest(&quiet_model().await);
    let guild = bot.guild();
    let category = bot.channel("Incidents");
    let create = |n: usize, parent: Option<serenity::all::ChannelId>| {
        let channel = CreateChannel::new(format!("Incident {n}")).kind(ChannelType::Text);
        let channel = parent.into_iter().fold(channel, |channel, parent| channel.category(parent));
        guild.create_channel(&bot.http, channel)
    };
    let first = create(0, Some(category)).await.expect("created");
    assert_eq!(first.name, "incident-0", "Discord writes text channels in its own way");
    for n in 1..50 {
        create(n, Some(category)).await.expect("room for fifty");
    }
    assert_eq!(refusal(create(50, Some(category)).await), (400, 50035));
    let present = bot.model.read(|chat| chat.channels.len());
    for n in present..500 {
        create(n, None).await.expect("room for five hundred");
    }
    assert_eq!(refusal(create(500, None).await), (400, 30013));
    first.delete(&bot.http).await.expect("deleted");
    create(500, None).await.expect("room again");
}

#[tokio::test]
async fn a_review_meeting_stands_in_the_calendar() {
    let bot = Bot::rest(&quiet_model().await);
    let start = Timestamp::from(wall_now() + TimeDelta::hours(20));
    let event = CreateScheduledEvent::new(ScheduledEventType::External, "Review of incident 7", start);
    assert_eq!(refusal(bot.guild().create_scheduled_event(&bot.http, event.clone()).await), (400, 50035));
    let end = Timestamp::from(wall_now() + TimeDelta::hours(21));
    let event = event.location("the war room").end_time(end);
    let made = bot.guild().create_scheduled_event(&bot.http, event).await.expect("made");
    assert_eq!(bot.guild().scheduled_events(&bot.http, false).await.expect("a list")[0].id, made.id);
    let _: Vec<twilight_model::guild::scheduled_event::GuildScheduledEvent> =
        raw(&bot, &format!("/guilds/{}/scheduled-events", bot.guild())).await;
}

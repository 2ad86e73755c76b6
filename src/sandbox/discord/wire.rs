//! The model's records as Discord's JSON: each object whole, because clients refuse half ones.
//! The tests hold every one of them against twilight's and serenity's types.

use chrono::SecondsFormat;
use serde_json::{Value, json};
use twilight_model::channel::ChannelType;

use super::chat::{Attachment, Channel, Chat, FLAG_HAS_THREAD, Member, Message, Reaction, Role, ScheduledEvent};
use super::ids::{ChannelId, UserId};
use super::permissions;
use crate::domain::Timestamp;

/// An instant as Discord writes it.
pub(super) fn timestamp(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, false)
}

/// A user object.
pub(super) fn user(member: &Member) -> Value {
    json!({
        "id": member.id, "username": member.name, "global_name": member.display_name, "discriminator": "0",
        "avatar": null, "bot": member.bot, "public_flags": 0, "flags": 0, "avatar_decoration_data": null,
        "banner": null, "accent_color": null,
    })
}

/// A guild member without its user, as it stands beside a message's author.
pub(super) fn partial_member(member: &Member) -> Value {
    json!({
        "roles": member.roles, "joined_at": timestamp(member.joined), "nick": null, "avatar": null,
        "deaf": false, "mute": false, "flags": 0, "pending": false, "premium_since": null,
        "communication_disabled_until": null,
    })
}

/// A guild member with its user.
pub(super) fn member(member: &Member) -> Value {
    let mut value = partial_member(member);
    value["user"] = user(member);
    value
}

/// A member as an interaction carries it: with what it may do in the channel.
pub(super) fn interaction_member(chat: &Chat, member_of: &Member, channel: ChannelId) -> Value {
    let mut value = member(member_of);
    value["permissions"] = json!(permissions::in_channel(chat, member_of.id, channel));
    value
}

/// A role object.
pub(super) fn role(role: &Role) -> Value {
    json!({
        "id": role.id, "name": role.name, "color": 0, "hoist": false, "managed": role.managed,
        "colors": { "primary_color": 0, "secondary_color": null, "tertiary_color": null },
        "mentionable": role.mentionable, "permissions": role.permissions, "position": role.position,
        "flags": 0, "icon": null, "unicode_emoji": null,
    })
}

/// A channel or thread object, as the bot `viewer` gets it.
pub(super) fn channel(chat: &Chat, channel: &Channel, viewer: UserId) -> Value {
    let mut value = json!({
        "id": channel.id, "guild_id": chat.guild, "type": channel.kind, "name": channel.name,
        "parent_id": channel.parent, "last_message_id": channel.last_message,
        "rate_limit_per_user": channel.slowmode_secs, "flags": 0,
    });
    if let Some(at) = channel.last_pin {
        value["last_pin_timestamp"] = json!(timestamp(at));
    }
    match &channel.thread {
        None => {
            value["position"] = json!(channel.position);
            value["topic"] = json!(channel.topic);
            value["nsfw"] = json!(false);
            value["permission_overwrites"] = json!(channel.overwrites);
        }
        Some(thread) => {
            value["owner_id"] = json!(thread.owner);
            // Both stop counting at 50, and twilight and serenity hold them in a byte.
            value["member_count"] = json!(thread.members.len().min(50));
            value["message_count"] = json!(thread.sent);
            value["total_message_sent"] = json!(thread.sent);
            value["thread_metadata"] = thread_metadata(channel);
            if thread.members.contains(&viewer) {
                value["member"] = thread_member(channel, viewer);
            }
        }
    }
    value
}

fn thread_metadata(channel: &Channel) -> Value {
    let Some(thread) = &channel.thread else {
        return Value::Null;
    };
    let mut value = json!({
        "archived": thread.archived, "locked": thread.locked,
        "auto_archive_duration": thread.auto_archive_minutes,
        "archive_timestamp": timestamp(thread.archive_changed), "create_timestamp": timestamp(channel.made),
    });
    if channel.kind == ChannelType::PrivateThread {
        value["invitable"] = json!(true);
    }
    value
}

/// A thread member object.
pub(super) fn thread_member(channel: &Channel, user: UserId) -> Value {
    json!({ "id": channel.id, "user_id": user, "join_timestamp": timestamp(channel.made), "flags": 0 })
}

/// How much of a message its reader gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// The gateway adds `guild_id` and `member`; REST does not.
    pub(super) gateway: bool,
    /// Others' content is blanked for a bot without the message-content intent.
    pub(super) content: bool,
}

/// A message object as the bot gets it.
pub(super) fn message(chat: &Chat, message: &Message, view: View) -> Value {
    let author = chat.members.get(&message.author);
    let shown = view.content || message.author == chat.bot || message.pings.users.contains(&chat.bot);
    let mut value = json!({
        "id": message.id, "channel_id": message.channel, "type": message.kind, "tts": false,
        "author": author.map(user), "content": if shown { message.content.as_str() } else { "" },
        "timestamp": timestamp(message.posted), "edited_timestamp": message.edited.map(timestamp),
        "mention_everyone": message.pings.everyone, "mention_roles": message.pings.roles,
        "mentions": message.pings.users.iter().filter_map(|id| chat.members.get(id)).map(user).collect::<Vec<_>>(),
        "attachments": if shown { message.attachments.iter().map(attachment).collect() } else { Vec::new() },
        "embeds": if shown { json!(message.embeds) } else { json!([]) },
        "components": if shown { json!(message.components) } else { json!([]) },
        "pinned": message.pinned.is_some(), "flags": message.flags,
    });
    if !message.reactions.is_empty() {
        value["reactions"] = message.reactions.iter().map(|found| reaction(found, chat.bot)).collect();
    }
    add_links(chat, message, &mut value);
    if view.gateway && !message.is_ephemeral() {
        value["guild_id"] = json!(chat.guild);
        value["member"] = author.map(partial_member).unwrap_or(Value::Null);
    }
    value
}

fn add_links(chat: &Chat, message: &Message, value: &mut Value) {
    if let Some(nonce) = message.nonce.as_ref().filter(|_| message.author == chat.bot) {
        value["nonce"] = json!(nonce);
    }
    if let Some(reply_to) = message.reply_to {
        value["message_reference"] =
            json!({ "type": 0, "message_id": reply_to, "channel_id": message.channel, "guild_id": chat.guild });
    }
    if message.interaction.is_some() {
        value["application_id"] = json!(chat.application);
        value["webhook_id"] = json!(chat.application);
    }
    if message.flags & FLAG_HAS_THREAD != 0
        && let Some(thread) = chat.channels.get(&message.id.cast())
    {
        value["thread"] = channel(chat, thread, chat.bot);
    }
}

fn attachment(attachment: &Attachment) -> Value {
    let mut value = json!({
        "id": attachment.id, "filename": attachment.filename, "size": attachment.size,
        "url": attachment.url, "proxy_url": attachment.url, "content_type": attachment.content_type,
    });
    if let Some(description) = &attachment.description {
        value["description"] = json!(description);
    }
    value
}

fn reaction(reaction: &Reaction, viewer: UserId) -> Value {
    json!({
        "count": reaction.users.len(), "count_details": { "burst": 0, "normal": reaction.users.len() },
        "me": reaction.users.contains(&viewer), "me_burst": false, "burst_colors": [],
        "emoji": emoji(&reaction.emoji),
    })
}

/// A unicode emoji object.
pub(super) fn emoji(emoji: &str) -> Value {
    json!({ "id": null, "name": emoji })
}

/// The guild object of `GET /guilds/{id}`.
pub(super) fn guild(chat: &Chat) -> Value {
    json!({
        "id": chat.guild, "name": chat.guild_name, "icon": null, "splash": null, "discovery_splash": null,
        "owner_id": chat.owner, "afk_channel_id": null, "afk_timeout": 300, "verification_level": 0,
        "default_message_notifications": 1, "explicit_content_filter": 0,
        "roles": chat.roles.values().map(role).collect::<Vec<_>>(), "emojis": [], "features": [], "mfa_level": 0,
        "application_id": null, "system_channel_id": null, "system_channel_flags": 0, "rules_channel_id": null,
        "max_members": 500_000, "vanity_url_code": null, "description": null, "banner": null, "premium_tier": 0,
        "preferred_locale": "en-GB", "public_updates_channel_id": null, "nsfw_level": 0, "stickers": [],
        "premium_progress_bar_enabled": false, "widget_enabled": false,
    })
}

/// The GUILD_CREATE object: the guild with all that the bot can see in it.
pub(super) fn guild_create(chat: &Chat) -> Value {
    let visible = |found: &&Channel| !permissions::in_channel(chat, chat.bot, found.id).is_empty();
    let open = |found: &&Channel| found.thread.as_ref().is_some_and(|thread| !thread.archived);
    let wire = |found: &Channel| channel(chat, found, chat.bot);
    let channels = chat.channels.values().filter(|found| found.thread.is_none()).filter(visible);
    let threads = chat.channels.values().filter(open).filter(visible);
    let mut value = guild(chat);
    value["joined_at"] = json!(chat.members.get(&chat.bot).map(|bot| timestamp(bot.joined)));
    value["large"] = json!(false);
    value["unavailable"] = json!(false);
    value["member_count"] = json!(chat.members.len());
    value["voice_states"] = json!([]);
    // Without the members intent the bot gets itself only.
    value["members"] = chat.members.get(&chat.bot).into_iter().map(member).collect();
    value["channels"] = channels.map(wire).collect();
    value["threads"] = threads.map(wire).collect();
    value["presences"] = json!([]);
    value["stage_instances"] = json!([]);
    value["guild_scheduled_events"] = chat.events.values().map(|event| scheduled_event(chat, event)).collect();
    value["soundboard_sounds"] = json!([]);
    value
}

/// A scheduled event object.
pub(super) fn scheduled_event(chat: &Chat, event: &ScheduledEvent) -> Value {
    json!({
        "id": event.id, "guild_id": chat.guild, "channel_id": event.channel, "creator_id": chat.bot,
        "name": event.name, "description": event.description, "scheduled_start_time": timestamp(event.start),
        "scheduled_end_time": event.end.map(timestamp), "privacy_level": 2, "status": event.status,
        "entity_type": event.entity_type, "entity_id": null,
        "entity_metadata": event.location.as_ref().map(|location| json!({ "location": location })),
        "user_count": 0, "recurrence_rule": null, "image": null,
    })
}

//! Channels: making, reading, changing, deleting, and who may do what in them.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::Value;
use twilight_model::channel::ChannelType;
use twilight_model::channel::permission_overwrite::{PermissionOverwrite, PermissionOverwriteType};
use twilight_model::guild::Permissions;
use twilight_model::id::Id;
use twilight_model::id::marker::GenericMarker;
use twilight_validate::channel as limits;

use super::{Answer, ApiError, Call, Reply, State, body, guild, require, require_in_guild};
use crate::clock;
use crate::sandbox::discord::chat::Channel;
use crate::sandbox::discord::draft::field;
use crate::sandbox::discord::feed::What;
use crate::sandbox::discord::ids::{ChannelId, GuildId};
use crate::sandbox::discord::{permissions, wire};

/// Channels of a guild, categories among them, threads not. Source: opcode 30013.
const CHANNELS_MAX: usize = 500;
/// Channels of a category. Source: <https://discord.com/developers/docs/resources/channel> (GUILD_CATEGORY).
const CATEGORY_MAX: usize = 50;
/// Overwrites of a channel. Source: opcode 30060.
const OVERWRITES_MAX: usize = 1000;
/// Renames and topic changes of one channel within the window. Not documented; discord-api-docs issue 1900.
const RENAMES_MAX: usize = 2;

pub(super) fn create(state: &mut State, call: &Call, guild: GuildId) -> Answer {
    guild::check(state, guild)?;
    require_in_guild(state, Permissions::MANAGE_CHANNELS)?;
    let body = body(call)?;
    let name: String = field(body, "name")?.ok_or_else(|| ApiError::invalid("name", "this field is required"))?;
    let kind: ChannelType = field(body, "type")?.unwrap_or(ChannelType::GuildText);
    if !matches!(kind, ChannelType::GuildText | ChannelType::GuildCategory | ChannelType::GuildAnnouncement) {
        return Err(ApiError::invalid("type", "the model has text channels and categories only"));
    }
    let parent: Option<ChannelId> = field(body, "parent_id")?;
    if state.chat.channels.values().filter(|channel| channel.thread.is_none()).count() >= CHANNELS_MAX {
        return Err(ApiError::new(400, 30013, "Maximum number of guild channels reached (500)"));
    }
    check_parent(state, parent)?;
    let now = state.now();
    let mut channel = Channel {
        id: state.ids.next(now),
        kind,
        name: String::new(),
        topic: None,
        parent,
        position: field(body, "position")?.unwrap_or_else(|| u32::try_from(state.chat.channels.len()).unwrap_or(0)),
        overwrites: Vec::new(),
        slowmode_secs: field(body, "rate_limit_per_user")?.unwrap_or(0),
        last_message: None,
        last_pin: None,
        made: now,
        thread: None,
    };
    set_name(&mut channel, &name)?;
    set_topic(&mut channel, field(body, "topic")?)?;
    channel.overwrites = match overwrites(state, body)? {
        Some(overwrites) => overwrites,
        // A new channel in a category starts with the category's.
        None => parent.and_then(|id| state.chat.channels.get(&id)).map(|c| c.overwrites.clone()).unwrap_or_default(),
    };
    let reply = wire::channel(&state.chat, &channel, state.chat.bot);
    state.add_channel(channel, state.chat.bot);
    Ok(Reply::created(reply))
}

fn check_parent(state: &State, parent: Option<ChannelId>) -> Result<(), ApiError> {
    let Some(parent) = parent else { return Ok(()) };
    let category = state.chat.channels.get(&parent).filter(|channel| channel.kind == ChannelType::GuildCategory);
    if category.is_none() {
        return Err(ApiError::invalid("parent_id", "category does not exist"));
    }
    if state.chat.channels.values().filter(|channel| channel.parent == Some(parent)).count() >= CATEGORY_MAX {
        return Err(ApiError::invalid("parent_id", "maximum number of channels in category reached (50)"));
    }
    Ok(())
}

/// Text channels are written in lower case with hyphens, whatever was asked for.
fn set_name(channel: &mut Channel, name: &str) -> Result<(), ApiError> {
    limits::name(name).map_err(|error| ApiError::invalid("name", error))?;
    channel.name = match channel.kind {
        ChannelType::GuildText | ChannelType::GuildAnnouncement => name.to_lowercase().replace(' ', "-"),
        _ => name.to_owned(),
    };
    Ok(())
}

fn set_topic(channel: &mut Channel, topic: Option<String>) -> Result<(), ApiError> {
    if let Some(topic) = &topic {
        limits::topic(topic).map_err(|error| ApiError::invalid("topic", error))?;
    }
    channel.topic = topic.filter(|topic| !topic.is_empty());
    Ok(())
}

/// `permission_overwrites`, clients leaving out either side; only bits that the bot has itself.
fn overwrites(state: &State, body: &Value) -> Result<Option<Vec<PermissionOverwrite>>, ApiError> {
    let Some(list) = field::<Vec<Value>>(body, "permission_overwrites")? else {
        return Ok(None);
    };
    if list.len() > OVERWRITES_MAX {
        return Err(ApiError::new(400, 30060, "Maximum number of permission overwrites reached (1000)"));
    }
    let mut overwrites = Vec::new();
    for entry in &list {
        let target = field(entry, "id")?.ok_or_else(|| ApiError::invalid("permission_overwrites", "id is missing"))?;
        overwrites.push(overwrite(state, entry, target)?);
    }
    Ok(Some(overwrites))
}

fn overwrite(state: &State, entry: &Value, target: Id<GenericMarker>) -> Result<PermissionOverwrite, ApiError> {
    let kind: PermissionOverwriteType =
        field(entry, "type")?.ok_or_else(|| ApiError::invalid("type", "this field is required"))?;
    let known = match kind {
        PermissionOverwriteType::Role => state.chat.roles.contains_key(&target.cast()),
        PermissionOverwriteType::Member => state.chat.members.contains_key(&target.cast()),
        _ => false,
    };
    if !known {
        return Err(ApiError::new(404, 10009, "Unknown Overwrite"));
    }
    let allow = field(entry, "allow")?.unwrap_or(Permissions::empty());
    let deny = field(entry, "deny")?.unwrap_or(Permissions::empty());
    if !permissions::in_guild(&state.chat, state.chat.bot).contains(allow | deny) {
        return Err(ApiError::missing_permissions());
    }
    Ok(PermissionOverwrite { allow, deny, id: target, kind })
}

pub(super) fn get(state: &State, channel: ChannelId) -> Answer {
    require(state, channel, Permissions::VIEW_CHANNEL)?;
    shown(state, channel)
}

fn shown(state: &State, channel: ChannelId) -> Answer {
    let channel = state.chat.channels.get(&channel).ok_or_else(ApiError::unknown_channel)?;
    Ok(Reply::json(wire::channel(&state.chat, channel, state.chat.bot)))
}

/// What a PATCH asks for, checked, before anything is changed.
struct Edit {
    name: Option<String>,
    topic: Option<Option<String>>,
    parent: Option<Option<ChannelId>>,
    overwrites: Option<Vec<PermissionOverwrite>>,
    position: Option<u32>,
    slowmode_secs: Option<u16>,
    archived: Option<bool>,
    locked: Option<bool>,
    auto_archive_minutes: Option<u16>,
}

pub(super) fn edit(state: &mut State, call: &Call, id: ChannelId) -> Answer {
    let body = body(call)?;
    let channel = state.chat.channels.get(&id).ok_or_else(ApiError::unknown_channel)?.clone();
    let edit = Edit {
        name: field(body, "name")?,
        topic: body.get("topic").map(|_| field(body, "topic")).transpose()?,
        parent: body.get("parent_id").map(|_| field(body, "parent_id")).transpose()?,
        overwrites: overwrites(state, body)?,
        position: field(body, "position")?,
        slowmode_secs: field(body, "rate_limit_per_user")?,
        archived: field(body, "archived")?,
        locked: field(body, "locked")?,
        auto_archive_minutes: field(body, "auto_archive_duration")?,
    };
    check_rights(state, &channel, &edit)?;
    if edit.parent != Some(channel.parent) {
        check_parent(state, edit.parent.flatten().filter(|_| channel.thread.is_none()))?;
    }
    let mut wanted = channel.clone();
    if let Some(name) = &edit.name {
        set_name(&mut wanted, name)?;
    }
    if let Some(topic) = edit.topic.clone().filter(|_| channel.thread.is_none()) {
        set_topic(&mut wanted, topic)?;
    }
    if wanted.name != channel.name || wanted.topic != channel.topic {
        count_rename(state, id)?;
    }
    state.change_channel(id, Some(state.chat.bot), |channel, now| {
        (channel.name, channel.topic) = (wanted.name, wanted.topic);
        apply(channel, edit, now);
    });
    shown(state, id)
}

fn check_rights(state: &State, channel: &Channel, edit: &Edit) -> Result<(), ApiError> {
    let Some(thread) = &channel.thread else {
        require(state, channel.id, Permissions::MANAGE_CHANNELS)?;
        if edit.overwrites.is_some() {
            require(state, channel.id, Permissions::MANAGE_ROLES)?;
        }
        return Ok(());
    };
    require(state, channel.id, Permissions::VIEW_CHANNEL)?;
    let opens = edit.archived == Some(false);
    let own = thread.owner == state.chat.bot && edit.locked.is_none() && !thread.locked;
    // Opening an unlocked thread again needs no more than sending in it.
    let only_opens = opens && edit.name.is_none() && edit.locked.is_none() && !thread.locked;
    if only_opens {
        require(state, channel.id, Permissions::SEND_MESSAGES_IN_THREADS)?;
    } else if !own {
        require(state, channel.id, Permissions::MANAGE_THREADS)?;
    }
    if thread.archived && !opens {
        return Err(ApiError::new(400, 50083, "Thread is archived"));
    }
    Ok(())
}

/// Two renames or topic changes in ten minutes; no header shows it, the 429 just comes.
fn count_rename(state: &mut State, channel: ChannelId) -> Result<(), ApiError> {
    let now = clock::wall_now();
    let window = TimeDelta::from_std(state.settings.rename_window).unwrap_or(TimeDelta::minutes(10));
    let renames = state.renames.entry(channel).or_default();
    while renames.front().is_some_and(|&at| at + window <= now) {
        renames.pop_front();
    }
    if let Some(&oldest) = renames.front().filter(|_| renames.len() >= RENAMES_MAX) {
        let left = (oldest + window - now).to_std().unwrap_or(Duration::ZERO);
        let message = "The write action you are performing on the channel has hit the write rate limit.";
        return Err(ApiError { retry_after: Some(left.as_secs_f64()), ..ApiError::new(429, 20028, message) });
    }
    renames.push_back(now);
    Ok(())
}

fn apply(channel: &mut Channel, edit: Edit, now: crate::domain::Timestamp) {
    if let Some(slowmode_secs) = edit.slowmode_secs {
        channel.slowmode_secs = slowmode_secs;
    }
    let Some(thread) = &mut channel.thread else {
        channel.parent = edit.parent.unwrap_or(channel.parent);
        channel.position = edit.position.unwrap_or(channel.position);
        channel.overwrites = edit.overwrites.unwrap_or_else(|| std::mem::take(&mut channel.overwrites));
        return;
    };
    thread.locked = edit.locked.unwrap_or(thread.locked);
    thread.auto_archive_minutes = edit.auto_archive_minutes.unwrap_or(thread.auto_archive_minutes);
    if let Some(archived) = edit.archived.filter(|&archived| archived != thread.archived) {
        thread.archived = archived;
        thread.archive_changed = now;
        thread.active = now;
    }
}

pub(super) fn delete(state: &mut State, id: ChannelId) -> Answer {
    let thread = state.chat.channels.get(&id).is_some_and(|channel| channel.thread.is_some());
    require(state, id, if thread { Permissions::MANAGE_THREADS } else { Permissions::MANAGE_CHANNELS })?;
    let Some(channel) = state.remove_channel(id, Some(state.chat.bot)) else {
        return Err(ApiError::unknown_channel());
    };
    Ok(Reply::json(wire::channel(&state.chat, &channel, state.chat.bot)))
}

pub(super) fn set_overwrite(state: &mut State, call: &Call, id: ChannelId, target: Id<GenericMarker>) -> Answer {
    require(state, id, Permissions::MANAGE_ROLES)?;
    let overwrite = overwrite(state, body(call)?, target)?;
    state.change_channel(id, Some(state.chat.bot), |channel, _| {
        channel.overwrites.retain(|known| known.id != target);
        channel.overwrites.push(overwrite);
    });
    Ok(Reply::empty())
}

pub(super) fn remove_overwrite(state: &mut State, id: ChannelId, target: Id<GenericMarker>) -> Answer {
    require(state, id, Permissions::MANAGE_ROLES)?;
    state.change_channel(id, Some(state.chat.bot), |channel, _| channel.overwrites.retain(|known| known.id != target));
    Ok(Reply::empty())
}

pub(super) fn typing(state: &mut State, id: ChannelId) -> Answer {
    require(state, id, Permissions::VIEW_CHANNEL)?;
    let user = state.chat.bot;
    state.record(Some(id), Some(user), What::Typing { user });
    Ok(Reply::empty())
}

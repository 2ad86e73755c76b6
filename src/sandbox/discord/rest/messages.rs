//! Messages: posting, reading, editing, deleting.

use chrono::TimeDelta;
use serde_json::Value;
use twilight_model::channel::ChannelType;
use twilight_model::guild::Permissions;

use super::{Answer, ApiError, Call, Reply, State, draft, limit, query_id, require, require_open, view};
use crate::clock;
use crate::sandbox::discord::chat::Message;
use crate::sandbox::discord::draft::Draft;
use crate::sandbox::discord::ids::{ChannelId, MessageId};
use crate::sandbox::discord::state::Posting;
use crate::sandbox::discord::wire;

/// After this age edits are limited. Source: opcode 30046.
const OLD_AFTER: TimeDelta = TimeDelta::hours(1);
/// Edits of old messages per channel and hour. Discord gives no number; this is a strict guess, so that
/// a bot that leans on such edits fails here first.
const OLD_EDITS_MAX: usize = 5;
/// Flags a bot may set on a post: suppress embeds, suppress notifications.
const SETTABLE_FLAGS: u64 = 1 << 2 | 1 << 12;

pub(super) fn create(state: &mut State, call: &Call, channel: ChannelId) -> Answer {
    let draft = draft(call)?;
    check_posting(state, channel, &draft)?;
    let nonce = draft.nonce.clone().filter(|_| draft.enforce_nonce);
    if let Some(earlier) = nonce.as_ref().and_then(|nonce| enforced(state, channel, nonce)) {
        return shown(state, channel, earlier);
    }
    let flags = draft.flags & SETTABLE_FLAGS;
    let message = state.post(Posting { flags, ..Posting::plain(channel, state.chat.bot, draft) })?;
    if let Some(nonce) = nonce {
        state.nonces.insert((channel, nonce), (clock::wall_now(), message));
    }
    shown(state, channel, message)
}

fn check_posting(state: &State, channel: ChannelId, draft: &Draft) -> Result<(), ApiError> {
    let found = state.chat.channels.get(&channel).ok_or_else(ApiError::unknown_channel)?;
    if found.kind == ChannelType::GuildCategory {
        return Err(ApiError::new(400, 50008, "Cannot send messages in a non-text channel"));
    }
    let mut wanted = match found.thread {
        Some(_) => Permissions::SEND_MESSAGES_IN_THREADS,
        None => Permissions::SEND_MESSAGES,
    };
    if draft.embeds.as_ref().is_some_and(|embeds| !embeds.is_empty()) {
        wanted |= Permissions::EMBED_LINKS;
    }
    if !draft.files.is_empty() {
        wanted |= Permissions::ATTACH_FILES;
    }
    if draft.reply_to.is_some() {
        wanted |= Permissions::READ_MESSAGE_HISTORY;
    }
    require(state, channel, wanted)?;
    if found.thread.as_ref().is_some_and(|thread| thread.archived && thread.locked)
        && require(state, channel, Permissions::MANAGE_THREADS).is_err()
    {
        return Err(ApiError::new(400, 50083, "Thread is archived"));
    }
    if draft.reply_to.is_some_and(|reply_to| state.chat.message(channel, reply_to).is_none()) {
        return Err(ApiError::invalid("message_reference", "unknown message"));
    }
    Ok(())
}

/// The message that this nonce made within the window, if it still stands.
fn enforced(state: &State, channel: ChannelId, nonce: &str) -> Option<MessageId> {
    let window = TimeDelta::from_std(state.settings.nonce_window).unwrap_or(TimeDelta::MAX);
    let (at, message) = state.nonces.get(&(channel, nonce.to_owned()))?;
    let fresh = clock::wall_now() - *at < window && state.chat.message(channel, *message).is_some();
    fresh.then_some(*message)
}

fn shown(state: &State, channel: ChannelId, message: MessageId) -> Answer {
    let message = state.chat.message(channel, message).ok_or_else(ApiError::unknown_message)?;
    Ok(Reply::json(wire::message(&state.chat, message, view(state))))
}

pub(super) fn get(state: &State, channel: ChannelId, message: MessageId) -> Answer {
    require(state, channel, Permissions::READ_MESSAGE_HISTORY)?;
    public(state, channel, message)?;
    shown(state, channel, message)
}

/// Refuses messages that are not there or that only one person sees.
pub(super) fn public(state: &State, channel: ChannelId, message: MessageId) -> Result<&Message, ApiError> {
    let message = state.chat.message(channel, message);
    message.filter(|message| !message.is_ephemeral()).ok_or_else(ApiError::unknown_message)
}

/// Newest first, whichever way the page was asked for. Without `READ_MESSAGE_HISTORY` the list is empty.
pub(super) fn list(state: &State, call: &Call, channel: ChannelId) -> Answer {
    require(state, channel, Permissions::VIEW_CHANNEL)?;
    let limit = limit(call, 50, 100)?;
    if require(state, channel, Permissions::READ_MESSAGE_HISTORY).is_err() {
        return Ok(Reply::json(Value::Array(Vec::new())));
    }
    let (before, after, around) = (query_id(call, "before")?, query_id(call, "after")?, query_id::<_>(call, "around")?);
    let public = || state.chat.messages_in(channel).filter(|message| !message.is_ephemeral());
    let mut page: Vec<&Message> = match (around, before, after) {
        (Some(around), ..) => {
            let half = limit / 2;
            let newer = public().filter(|message| message.id > around).take(half);
            let older = public().rev().filter(|message| message.id <= around).take(limit - half);
            newer.chain(older).collect()
        }
        (_, Some(before), _) => public().rev().filter(|message| message.id < before).take(limit).collect(),
        (_, _, Some(after)) => public().filter(|message| message.id > after).take(limit).collect(),
        _ => public().rev().take(limit).collect(),
    };
    page.sort_by_key(|message| std::cmp::Reverse(message.id));
    let view = view(state);
    Ok(Reply::json(page.into_iter().map(|message| wire::message(&state.chat, message, view)).collect()))
}

pub(super) fn edit(state: &mut State, call: &Call, channel: ChannelId, message: MessageId) -> Answer {
    let draft = draft(call)?;
    require(state, channel, Permissions::VIEW_CHANNEL)?;
    require_open(state, channel)?;
    let found = public(state, channel, message)?;
    if found.author != state.chat.bot {
        return Err(ApiError::new(403, 50005, "Cannot edit a message authored by another user"));
    }
    if !draft.files.is_empty() {
        require(state, channel, Permissions::ATTACH_FILES)?;
    }
    let posted = found.posted;
    count_old_edit(state, channel, posted)?;
    state.edit(channel, message, draft)?;
    shown(state, channel, message)
}

fn count_old_edit(state: &mut State, channel: ChannelId, posted: crate::domain::Timestamp) -> Result<(), ApiError> {
    let now = state.now();
    if now - posted < OLD_AFTER {
        return Ok(());
    }
    let edits = state.old_edits.entry(channel).or_default();
    while edits.front().is_some_and(|&at| now - at >= OLD_AFTER) {
        edits.pop_front();
    }
    if edits.len() >= OLD_EDITS_MAX {
        let message = "Maximum number of edits to messages older than 1 hour reached. Try again later.";
        return Err(ApiError::new(429, 30046, message));
    }
    edits.push_back(now);
    Ok(())
}

pub(super) fn delete(state: &mut State, channel: ChannelId, message: MessageId) -> Answer {
    require(state, channel, Permissions::VIEW_CHANNEL)?;
    let own = public(state, channel, message)?.author == state.chat.bot;
    if !own {
        require(state, channel, Permissions::MANAGE_MESSAGES)?;
    }
    require_open(state, channel)?;
    state.delete(channel, message, Some(state.chat.bot))?;
    Ok(Reply::empty())
}

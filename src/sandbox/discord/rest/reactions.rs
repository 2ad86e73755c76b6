//! Reactions.

use twilight_model::guild::Permissions;

use super::messages::public;
use super::{Answer, ApiError, Call, Reply, State, limit, query_id, require, require_open};
use crate::sandbox::discord::ids::{ChannelId, MessageId, UserId};
use crate::sandbox::discord::wire;

/// Characters of the longest emoji sequences, families and flags among them, with room to spare.
const EMOJI_CHARS_MAX: usize = 16;

pub(super) fn add(state: &mut State, channel: ChannelId, message: MessageId, emoji: &str) -> Answer {
    check_emoji(emoji)?;
    require(state, channel, Permissions::READ_MESSAGE_HISTORY)?;
    require_open(state, channel)?;
    // Only the first of an emoji needs the right to add.
    if public(state, channel, message)?.reacted(emoji).is_empty() {
        require(state, channel, Permissions::ADD_REACTIONS)?;
    }
    state.react(channel, message, state.chat.bot, emoji)?;
    Ok(Reply::empty())
}

/// The guild has no emoji of its own, so only unicode ones are known.
pub(super) fn check_emoji(emoji: &str) -> Result<(), ApiError> {
    let chars = emoji.chars().count();
    let known = !emoji.is_ascii() && chars <= EMOJI_CHARS_MAX && !emoji.chars().any(char::is_alphabetic);
    if known { Ok(()) } else { Err(ApiError::new(400, 10014, "Unknown Emoji")) }
}

/// Who reacted with an emoji, by rising id, after `after`.
pub(super) fn users(state: &State, call: &Call, channel: ChannelId, message: MessageId, emoji: &str) -> Answer {
    require(state, channel, Permissions::READ_MESSAGE_HISTORY)?;
    let after: Option<UserId> = query_id(call, "after")?;
    let limit = limit(call, 25, 100)?;
    let mut users = public(state, channel, message)?.reacted(emoji).to_vec();
    users.sort_unstable();
    let page = users.iter().filter(|&&user| after.is_none_or(|after| user > after)).take(limit);
    Ok(Reply::json(page.filter_map(|user| state.chat.members.get(user)).map(wire::user).collect()))
}

pub(super) fn remove(state: &mut State, channel: ChannelId, message: MessageId, emoji: &str, user: UserId) -> Answer {
    let bot = state.chat.bot;
    let wanted = if user == bot { Permissions::READ_MESSAGE_HISTORY } else { Permissions::MANAGE_MESSAGES };
    require(state, channel, wanted)?;
    require_open(state, channel)?;
    state.unreact(channel, message, user, emoji, bot)?;
    Ok(Reply::empty())
}

pub(super) fn clear(state: &mut State, channel: ChannelId, message: MessageId, emoji: Option<&str>) -> Answer {
    require(state, channel, Permissions::MANAGE_MESSAGES)?;
    require_open(state, channel)?;
    state.clear_reactions(channel, message, emoji, state.chat.bot)?;
    Ok(Reply::empty())
}

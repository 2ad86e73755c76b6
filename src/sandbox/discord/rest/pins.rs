//! Pins, over the old routes (serenity's) and the new ones.

use serde_json::json;
use twilight_model::guild::Permissions;

use super::messages::public;
use super::{Answer, ApiError, Call, Reply, State, limit, require, require_open, view};
use crate::sandbox::discord::chat::Message;
use crate::sandbox::discord::ids::{ChannelId, MessageId};
use crate::sandbox::discord::wire;

/// Pins of a channel. Source: opcode 30003.
const PINS_MAX: usize = 250;
/// The old list shows no more than this.
const OLD_LIST_MAX: usize = 50;

/// Since 2026-02-23 `MANAGE_MESSAGES` no longer pins; `PIN_MESSAGES` does.
pub(super) fn set(state: &mut State, channel: ChannelId, message: MessageId, pinned: bool) -> Answer {
    require(state, channel, Permissions::PIN_MESSAGES | Permissions::READ_MESSAGE_HISTORY)?;
    require_open(state, channel)?;
    let already = public(state, channel, message)?.pinned.is_some();
    if pinned && !already && newest_first(state, channel).len() >= PINS_MAX {
        return Err(ApiError::new(400, 30003, "Maximum number of pins reached for the channel (250)"));
    }
    state.pin(channel, message, state.chat.bot, pinned)?;
    Ok(Reply::empty())
}

fn newest_first(state: &State, channel: ChannelId) -> Vec<&Message> {
    let mut pins: Vec<_> = state.chat.messages_in(channel).filter(|message| message.pinned.is_some()).collect();
    pins.sort_by_key(|message| std::cmp::Reverse(message.pinned));
    pins
}

pub(super) fn list_old(state: &State, channel: ChannelId) -> Answer {
    require(state, channel, Permissions::VIEW_CHANNEL)?;
    let pins = newest_first(state, channel).into_iter().take(OLD_LIST_MAX);
    Ok(Reply::json(pins.map(|message| wire::message(&state.chat, message, view(state))).collect()))
}

pub(super) fn list(state: &State, call: &Call, channel: ChannelId) -> Answer {
    require(state, channel, Permissions::VIEW_CHANNEL)?;
    let limit = limit(call, 50, 50)?;
    let before = call
        .query
        .get("before")
        .map(|text| chrono::DateTime::parse_from_rfc3339(text).map_err(|error| ApiError::invalid("before", error)));
    let before = before.transpose()?.map(|before| before.to_utc());
    let pins = newest_first(state, channel);
    let older: Vec<_> = pins.into_iter().filter(|message| before.is_none_or(|before| message.pinned < Some(before))).collect();
    let items: Vec<_> = older
        .iter()
        .take(limit)
        .filter_map(|message| {
            let shown = wire::message(&state.chat, message, view(state));
            Some(json!({ "pinned_at": wire::timestamp(message.pinned?), "message": shown }))
        })
        .collect();
    Ok(Reply::json(json!({ "items": items, "has_more": older.len() > limit })))
}

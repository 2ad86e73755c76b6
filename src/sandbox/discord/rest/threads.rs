//! Threads.

use std::collections::BTreeSet;

use serde_json::json;
use twilight_model::channel::ChannelType;
use twilight_model::channel::message::MessageType;
use twilight_model::guild::Permissions;
use twilight_validate::channel as limits;

use super::messages::public;
use super::{Answer, ApiError, Call, Reply, State, body, limit, require};
use crate::sandbox::discord::chat::{Channel, Thread};
use crate::sandbox::discord::draft::{Draft, field};
use crate::sandbox::discord::ids::{ChannelId, MessageId, UserId};
use crate::sandbox::discord::state::Posting;
use crate::sandbox::discord::wire;

/// Open threads of a guild. Discord documents the error 160006 but no number; this is the one its clients show.
const ACTIVE_MAX: usize = 1000;
/// Source: <https://discord.com/developers/docs/resources/channel#thread-metadata-object>.
const AUTO_ARCHIVE_MINUTES: [u16; 4] = [60, 1440, 4320, 10080];

pub(super) fn create(state: &mut State, call: &Call, parent: ChannelId, start: Option<MessageId>) -> Answer {
    let body = body(call)?;
    let name: String = field(body, "name")?.ok_or_else(|| ApiError::invalid("name", "this field is required"))?;
    limits::name(&name).map_err(|error| ApiError::invalid("name", error))?;
    let minutes = field(body, "auto_archive_duration")?.unwrap_or(4320);
    if !AUTO_ARCHIVE_MINUTES.contains(&minutes) {
        return Err(ApiError::invalid("auto_archive_duration", format!("{minutes} is not one of 60, 1440, 4320, 10080")));
    }
    let kind = match start {
        Some(_) => ChannelType::PublicThread,
        // Without a type the thread is private, which surprises everyone once.
        None => field(body, "type")?.unwrap_or(ChannelType::PrivateThread),
    };
    check(state, parent, start, kind)?;
    let thread = new_thread(state, parent, start, kind, name, minutes);
    let (id, owner) = (thread.id, state.chat.bot);
    state.add_channel(thread.clone(), owner);
    if start.is_none() && kind == ChannelType::PublicThread {
        // Discord writes a notice into the parent.
        let draft = Draft { content: Some(thread.name), ..Draft::default() };
        state.post(Posting { kind: MessageType::ThreadCreated, ..Posting::plain(parent, owner, draft) })?;
    }
    let thread = state.chat.channels.get(&id).ok_or_else(ApiError::unknown_channel)?;
    Ok(Reply::created(wire::channel(&state.chat, thread, owner)))
}

fn check(state: &State, parent: ChannelId, start: Option<MessageId>, kind: ChannelType) -> Result<(), ApiError> {
    let found = state.chat.channels.get(&parent).ok_or_else(ApiError::unknown_channel)?;
    if !matches!(found.kind, ChannelType::GuildText | ChannelType::GuildAnnouncement) {
        return Err(ApiError::new(400, 50024, "Cannot execute action on this channel type"));
    }
    let wanted = match kind {
        ChannelType::PublicThread => Permissions::CREATE_PUBLIC_THREADS,
        ChannelType::PrivateThread => Permissions::CREATE_PRIVATE_THREADS,
        _ => return Err(ApiError::invalid("type", "not a kind of thread")),
    };
    require(state, parent, wanted)?;
    if let Some(start) = start {
        public(state, parent, start)?;
        if state.chat.channels.contains_key(&start.cast()) {
            return Err(ApiError::new(400, 160004, "A thread has already been created for this message"));
        }
    }
    let active = |channel: &&Channel| channel.thread.as_ref().is_some_and(|thread| !thread.archived);
    if state.chat.channels.values().filter(active).count() >= ACTIVE_MAX {
        return Err(ApiError::new(400, 160006, "Maximum number of active threads reached"));
    }
    Ok(())
}

fn new_thread(
    state: &mut State,
    parent: ChannelId,
    start: Option<MessageId>,
    kind: ChannelType,
    name: String,
    auto_archive_minutes: u16,
) -> Channel {
    let now = state.now();
    let owner = state.chat.bot;
    Channel {
        // A thread on a message has the message's id.
        id: start.map_or_else(|| state.ids.next(now), |start| start.cast()),
        kind,
        name,
        topic: None,
        parent: Some(parent),
        position: 0,
        overwrites: Vec::new(),
        slowmode_secs: 0,
        last_message: None,
        last_pin: None,
        made: now,
        thread: Some(Thread {
            owner,
            archived: false,
            locked: false,
            auto_archive_minutes,
            archive_changed: now,
            active: now,
            members: BTreeSet::from([owner]),
            sent: 0,
        }),
    }
}

/// Archived threads of a channel, newest archived first.
pub(super) fn archived(state: &State, call: &Call, parent: ChannelId, kind: &str) -> Answer {
    let (kind, wanted) = match kind {
        "private" => (ChannelType::PrivateThread, Permissions::READ_MESSAGE_HISTORY | Permissions::MANAGE_THREADS),
        _ => (ChannelType::PublicThread, Permissions::READ_MESSAGE_HISTORY),
    };
    require(state, parent, wanted)?;
    let limit = limit(call, 50, 100)?;
    let before = call
        .query
        .get("before")
        .map(|text| chrono::DateTime::parse_from_rfc3339(text).map_err(|error| ApiError::invalid("before", error)));
    let before = before.transpose()?.map(|before| before.to_utc());
    let mut threads: Vec<(&Channel, &Thread)> = state
        .chat
        .threads_of(parent)
        .into_iter()
        .filter_map(|channel| Some((channel, channel.thread.as_ref()?)))
        .filter(|(channel, thread)| channel.kind == kind && thread.archived)
        .filter(|(_, thread)| before.is_none_or(|before| thread.archive_changed < before))
        .collect();
    threads.sort_by_key(|(_, thread)| std::cmp::Reverse(thread.archive_changed));
    let more = threads.len() > limit;
    let bot = state.chat.bot;
    let page = || threads.iter().take(limit);
    let joined = page().filter(|(_, thread)| thread.members.contains(&bot));
    let members: Vec<_> = joined.map(|(channel, _)| wire::thread_member(channel, bot)).collect();
    let threads: Vec<_> = page().map(|(channel, _)| wire::channel(&state.chat, channel, bot)).collect();
    Ok(Reply::json(json!({ "threads": threads, "members": members, "has_more": more })))
}

pub(super) fn members(state: &State, thread: ChannelId) -> Answer {
    require(state, thread, Permissions::VIEW_CHANNEL)?;
    let channel = state.chat.channels.get(&thread).ok_or_else(ApiError::unknown_channel)?;
    let users = channel.thread.iter().flat_map(|thread| &thread.members);
    Ok(Reply::json(users.map(|&user| wire::thread_member(channel, user)).collect()))
}

pub(super) fn add_member(state: &mut State, thread: ChannelId, user: UserId) -> Answer {
    require(state, thread, Permissions::SEND_MESSAGES_IN_THREADS)?;
    super::require_open(state, thread)?;
    if !state.chat.members.contains_key(&user) {
        return Err(ApiError::new(404, 10007, "Unknown Member"));
    }
    state.change_channel(thread, Some(state.chat.bot), |channel, _| {
        if let Some(thread) = &mut channel.thread {
            thread.members.insert(user);
        }
    });
    Ok(Reply::empty())
}

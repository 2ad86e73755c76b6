//! Reading the guild.

use serde_json::{Value, json};
use twilight_model::gateway::Intents;

use super::{Answer, ApiError, Call, Reply, State, events, id, limit, query_id, unmodelled};
use crate::sandbox::discord::chat::Channel;
use crate::sandbox::discord::ids::{GuildId, UserId};
use crate::sandbox::discord::wire;

pub(super) fn get(state: &mut State, call: &Call, guild: GuildId, rest: &[&str]) -> Answer {
    check(state, guild)?;
    let chat = &state.chat;
    match rest {
        [] => Ok(Reply::json(wire::guild(chat))),
        ["roles"] => Ok(Reply::json(chat.roles.values().map(wire::role).collect())),
        ["roles", "member-counts"] => Ok(role_member_counts(state)),
        ["channels"] => Ok(Reply::json(channels(state, |channel| channel.thread.is_none()))),
        ["threads", "active"] => Ok(active_threads(state)),
        ["members", "@me"] => member(state, chat.bot),
        ["members", user] => member(state, id(user)?),
        ["members"] => members(state, call),
        ["scheduled-events"] => Ok(events::list(state)),
        ["scheduled-events", event] => events::get(state, id(event)?),
        _ => unmodelled(state, call),
    }
}

/// Refuses any guild but this one.
pub(super) fn check(state: &State, guild: GuildId) -> Result<(), ApiError> {
    if guild == state.chat.guild {
        return Ok(());
    }
    Err(ApiError::new(404, 10004, "Unknown Guild"))
}

fn member(state: &State, user: UserId) -> Answer {
    let member = state.chat.members.get(&user).ok_or_else(|| ApiError::new(404, 10007, "Unknown Member"))?;
    Ok(Reply::json(wire::member(member)))
}

/// How many members hold each role, `@everyone` left out. Takes no intent and no permission beyond being in the guild.
/// Source: <https://discord.com/developers/docs/resources/guild#get-guild-role-member-counts>.
fn role_member_counts(state: &State) -> Reply {
    let chat = &state.chat;
    let holders = |role| chat.members.values().filter(|member| member.roles.contains(&role)).count();
    let everyone = chat.guild.cast();
    let counts = chat.roles.keys().filter(|role| **role != everyone);
    Reply::json(counts.map(|role| (role.to_string(), json!(holders(*role)))).collect())
}

/// Listing members needs the members intent switched on.
/// Source: <https://discord.com/developers/docs/resources/guild#list-guild-members>.
fn members(state: &State, call: &Call) -> Answer {
    if state.settings.privileged_intents & Intents::GUILD_MEMBERS.bits() == 0 {
        return Err(ApiError::missing_access());
    }
    let after: Option<UserId> = query_id(call, "after")?;
    let limit = limit(call, 1, 1000)?;
    let members = state.chat.members.values().filter(|member| after.is_none_or(|after| member.id > after));
    Ok(Reply::json(members.take(limit).map(wire::member).collect()))
}

/// All channels are listed, seen or not, as Discord does; private threads are not.
fn channels(state: &State, wanted: impl Fn(&Channel) -> bool) -> Value {
    let channels = state.chat.channels.values().filter(|channel| wanted(channel));
    channels.map(|channel| wire::channel(&state.chat, channel, state.chat.bot)).collect()
}

fn active_threads(state: &State) -> Reply {
    let open = |channel: &Channel| channel.thread.as_ref().is_some_and(|thread| !thread.archived) && state.bot_sees(channel.id);
    let joined = state.chat.channels.values().filter(|channel| {
        open(channel) && channel.thread.as_ref().is_some_and(|thread| thread.members.contains(&state.chat.bot))
    });
    let members: Vec<_> = joined.map(|channel| wire::thread_member(channel, state.chat.bot)).collect();
    Reply::json(json!({ "threads": channels(state, open), "members": members, "has_more": false }))
}

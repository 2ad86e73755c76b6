//! Who the bot is, and where its gateway stands.

use serde_json::json;

use super::{Answer, ApiError, Reply, State};
use crate::sandbox::discord::chat::Chat;
use crate::sandbox::discord::ids::UserId;
use crate::sandbox::discord::{serve, wire};

/// IDENTIFYs in 24 hours. Source: <https://discord.com/developers/docs/events/gateway#session-start-limit-object>.
const SESSION_STARTS: u64 = 1000;

pub(super) fn gateway(state: &State) -> Reply {
    Reply::json(json!({ "url": serve::ws_url(&state.base_url) }))
}

pub(super) fn gateway_bot(state: &State) -> Reply {
    let remaining = SESSION_STARTS.saturating_sub(state.sessions.identified);
    Reply::json(json!({
        "url": serve::ws_url(&state.base_url), "shards": 1,
        "session_start_limit": { "total": SESSION_STARTS, "remaining": remaining, "reset_after": 86_400_000, "max_concurrency": 1 },
    }))
}

pub(super) fn me(state: &State) -> Reply {
    Reply::json(bot(&state.chat))
}

pub(super) fn user(state: &State, user: UserId) -> Answer {
    let member = state.chat.members.get(&user).ok_or_else(|| ApiError::new(404, 10013, "Unknown User"))?;
    Ok(Reply::json(wire::user(member)))
}

pub(super) fn application(state: &State) -> Reply {
    let chat = &state.chat;
    let intents = state.settings.privileged_intents;
    // Application flags for bots in fewer than 100 guilds: presence 1<<13, members 1<<15, message content 1<<19.
    let flag = |intent: u64, flag: u64| if intents & intent != 0 { flag } else { 0 };
    let flags = flag(1 << 8, 1 << 13) | flag(1 << 1, 1 << 15) | flag(1 << 15, 1 << 19);
    let owner = chat.members.get(&chat.owner).map(wire::user);
    Reply::json(json!({
        "id": chat.application, "name": chat.user_label(chat.bot), "icon": null, "description": "", "summary": "",
        "bot_public": false, "bot_require_code_grant": false, "verify_key": "00", "team": null, "flags": flags,
        "owner": owner, "bot": bot(chat), "rpc_origins": [], "integration_types_config": {},
        "approximate_guild_count": 1,
    }))
}

fn bot(chat: &Chat) -> serde_json::Value {
    let mut value = chat.members.get(&chat.bot).map(wire::user).unwrap_or_default();
    value["verified"] = json!(true);
    value["mfa_enabled"] = json!(false);
    value["email"] = json!(null);
    value
}

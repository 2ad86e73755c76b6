//! Scheduled events of the guild.

use chrono::DateTime;
use serde_json::Value;
use twilight_model::guild::Permissions;
use twilight_validate::request as limits;

use super::{Answer, ApiError, Call, Reply, State, body, guild, require_in_guild};
use crate::domain::Timestamp;
use crate::sandbox::discord::chat::ScheduledEvent;
use crate::sandbox::discord::draft::field;
use crate::sandbox::discord::feed::What;
use crate::sandbox::discord::ids::{EventId, GuildId};
use crate::sandbox::discord::wire;

/// The event takes place outside Discord: it needs a location and an end.
const EXTERNAL: u8 = 3;

pub(super) fn list(state: &State) -> Reply {
    Reply::json(state.chat.events.values().map(|event| wire::scheduled_event(&state.chat, event)).collect())
}

pub(super) fn get(state: &State, event: EventId) -> Answer {
    let event = state.chat.events.get(&event).ok_or_else(unknown)?;
    Ok(Reply::json(wire::scheduled_event(&state.chat, event)))
}

fn unknown() -> ApiError {
    ApiError::new(404, 10070, "Unknown Guild Scheduled Event")
}

pub(super) fn create(state: &mut State, call: &Call, guild: GuildId) -> Answer {
    guild::check(state, guild)?;
    require_in_guild(state, Permissions::CREATE_EVENTS)?;
    let body = body(call)?;
    let required = |name| ApiError::invalid(name, "this field is required");
    if field::<u8>(body, "privacy_level")? != Some(2) {
        return Err(ApiError::invalid("privacy_level", "must be 2"));
    }
    let now = state.now();
    let blank = ScheduledEvent {
        id: state.ids.next(now),
        name: field(body, "name")?.ok_or_else(|| required("name"))?,
        description: None,
        start: instant(body, "scheduled_start_time")?.ok_or_else(|| required("scheduled_start_time"))?,
        end: None,
        entity_type: field(body, "entity_type")?.ok_or_else(|| required("entity_type"))?,
        location: None,
        channel: None,
        status: 1,
    };
    if blank.start <= now {
        return Err(ApiError::invalid("scheduled_start_time", "cannot schedule event in the past"));
    }
    store(state, changed(blank, body)?)
}

pub(super) fn edit(state: &mut State, call: &Call, guild: GuildId, event: EventId) -> Answer {
    guild::check(state, guild)?;
    let event = state.chat.events.get(&event).ok_or_else(unknown)?.clone();
    // The bot made every event here, for which CREATE_EVENTS suffices.
    require_in_guild(state, Permissions::CREATE_EVENTS)?;
    let event = changed(event, body(call)?)?;
    store(state, event)
}

fn changed(mut event: ScheduledEvent, body: &Value) -> Result<ScheduledEvent, ApiError> {
    event.name = field(body, "name")?.unwrap_or(event.name);
    event.description = field(body, "description")?.or(event.description);
    event.start = instant(body, "scheduled_start_time")?.unwrap_or(event.start);
    event.end = instant(body, "scheduled_end_time")?.or(event.end);
    event.entity_type = field(body, "entity_type")?.unwrap_or(event.entity_type);
    event.status = field(body, "status")?.unwrap_or(event.status);
    event.channel = field(body, "channel_id")?.or(event.channel);
    if let Some(metadata) = body.get("entity_metadata").filter(|metadata| !metadata.is_null()) {
        event.location = field(metadata, "location")?;
    }
    limits::scheduled_event_name(&event.name).map_err(|error| ApiError::invalid("name", error))?;
    if let Some(description) = &event.description {
        limits::scheduled_event_description(description).map_err(|error| ApiError::invalid("description", error))?;
    }
    if event.entity_type == EXTERNAL && (event.location.is_none() || event.end.is_none()) {
        return Err(ApiError::invalid("entity_metadata", "an external event needs a location and an end"));
    }
    if event.end.is_some_and(|end| end <= event.start) {
        return Err(ApiError::invalid("scheduled_end_time", "must be after the start"));
    }
    Ok(event)
}

fn instant(body: &Value, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = field::<String>(body, name)? else {
        return Ok(None);
    };
    let parsed = DateTime::parse_from_rfc3339(&text).map_err(|error| ApiError::invalid(name, error))?;
    Ok(Some(parsed.to_utc()))
}

fn store(state: &mut State, event: ScheduledEvent) -> Answer {
    let data = wire::scheduled_event(&state.chat, &event);
    let known = state.chat.events.insert(event.id, event.clone()).is_some();
    let name = if known { "GUILD_SCHEDULED_EVENT_UPDATE" } else { "GUILD_SCHEDULED_EVENT_CREATE" };
    state.announce(name, twilight_model::gateway::Intents::GUILD_SCHEDULED_EVENTS, None, data.clone());
    state.record(None, Some(state.chat.bot), What::EventChanged { event: Box::new(event) });
    Ok(Reply::json(data))
}

//! The REST API, version 10: one table of routes, one file per family.
//!
//! A request passes faults, the token, the rate limits, then its handler; handlers are plain functions over the
//! state and never wait. A route that is not in the table answers 404 and is counted as unmodelled.

mod account;
mod channels;
mod commands;
mod events;
mod guild;
mod interactions;
mod messages;
mod pins;
mod reactions;
mod threads;
mod webhooks;

use std::collections::HashMap;

use serde_json::{Value, json};
use twilight_model::guild::Permissions;
use twilight_model::id::Id;

use super::draft::{Draft, File};
use super::error::ApiError;
use super::faults::Misbehaviour;
use super::ids::ChannelId;
use super::log::RequestRecord;
use super::permissions;
use super::rate::{Standing, Verdict};
use super::state::State;
use super::wire::View;
use crate::clock;

/// A request as the handlers see it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    /// The path after `/api/v10`, in decoded segments.
    pub(super) segments: Vec<String>,
    /// For the log.
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) authorization: Option<String>,
    pub(super) reason: Option<String>,
    /// The JSON body, of a multipart request its `payload_json`; an error if it did not parse.
    pub(super) body: Result<Value, ApiError>,
    pub(super) files: Vec<File>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Option<Value>,
    pub(super) standing: Option<Standing>,
    /// `Retry-After` seconds, and whether the limit was global.
    pub(super) limited: Option<(f64, bool)>,
}

impl Reply {
    fn json(body: Value) -> Self {
        Self { status: 200, body: Some(body), standing: None, limited: None }
    }

    fn created(body: Value) -> Self {
        Self { status: 201, ..Self::json(body) }
    }

    fn empty() -> Self {
        Self { status: 204, body: None, standing: None, limited: None }
    }

    fn refused(error: &ApiError) -> Self {
        let limited = error.retry_after.map(|seconds| (seconds, false));
        Self { status: error.status, limited, ..Self::json(error.body()) }
    }

    fn limited(seconds: f64, global: bool, standing: Option<Standing>) -> Self {
        let body = json!({ "message": "You are being rate limited.", "retry_after": seconds, "global": global });
        Self { status: 429, body: Some(body), standing, limited: Some((seconds, global)) }
    }
}

type Answer = Result<Reply, ApiError>;

/// Answers one request: applies its effect, unless a fault forbids it, and logs it.
pub(super) fn answer(state: &mut State, call: &Call) -> (Reply, Option<Misbehaviour>) {
    let misbehaviour = state.faults.take(&call.method, &call.segments);
    let (reply, code) = match &misbehaviour {
        Some(Misbehaviour::Answer { status, code }) => {
            let error = ApiError::new(*status, *code, "a fault that was asked for");
            (Reply::refused(&error), Some(*code))
        }
        Some(Misbehaviour::RateLimited { retry_after_secs, global }) => (Reply::limited(*retry_after_secs, *global, None), None),
        Some(Misbehaviour::Silent | Misbehaviour::Cut) => (Reply::empty(), None),
        _ => effect(state, call),
    };
    log(state, call, &reply, code, misbehaviour.as_ref());
    (reply, misbehaviour)
}

fn effect(state: &mut State, call: &Call) -> (Reply, Option<u32>) {
    let (route, major) = route_of(call);
    let mut standing = None;
    if state.settings.rate_limits {
        match state.rates.take(&route, &major, clock::wall_now()) {
            Verdict::Pass(passed) => standing = passed,
            Verdict::Limited { retry_after_secs, global, standing } => {
                state.log.counters.rate_limited += 1;
                return (Reply::limited(retry_after_secs, global, standing), None);
            }
            Verdict::Barred => {
                let error = ApiError::new(403, 0, "the address is barred: too many invalid requests");
                return (Reply::refused(&error), None);
            }
        }
    }
    match authorised(state, call).and_then(|()| route_to(state, call)) {
        Ok(reply) => (Reply { standing, ..reply }, None),
        Err(error) => {
            if is_violation(&error) && !(error.code == 40060 && was_spoiled(state, call)) {
                state.log.violation(clock::wall_now(), &route, error.code, error.line());
            }
            (Reply { standing, ..Reply::refused(&error) }, Some(error.code))
        }
    }
}

/// Whether a refusal shows a mistake in the client, as opposed to a state of the world it could not know:
/// malformed bodies, limits it could have counted, and second or late answers to an interaction.
fn is_violation(error: &ApiError) -> bool {
    matches!(error.code, 10014 | 10062 | 30015 | 30032 | 30060 | 40005 | 40060 | 50006 | 50008 | 50024 | 50035 | 50109)
}

/// Whether an earlier request to the same path met a fault, so that asking again was right.
fn was_spoiled(state: &State, call: &Call) -> bool {
    state.log.requests.iter().any(|earlier| earlier.fault.is_some() && earlier.path == call.path)
}

fn log(state: &mut State, call: &Call, reply: &Reply, code: Option<u32>, misbehaviour: Option<&Misbehaviour>) {
    let unanswered = matches!(
        misbehaviour,
        Some(Misbehaviour::Silent | Misbehaviour::Cut | Misbehaviour::SilentAfterEffect | Misbehaviour::AnswerLost)
    );
    if matches!(reply.status, 401 | 403 | 429) && !unanswered {
        state.rates.invalid(clock::wall_now());
    }
    state.log.add(RequestRecord {
        wall_at: clock::wall_now(),
        method: call.method.clone(),
        path: call.path.clone(),
        route: route_of(call).0.split_once(' ').map(|(_, path)| path.to_owned()).unwrap_or_default(),
        status: if unanswered { 0 } else { reply.status },
        code,
        fault: misbehaviour.map(|misbehaviour| format!("{misbehaviour:?}")),
        reason: call.reason.clone(),
    });
    state.revision += 1;
}

fn authorised(state: &State, call: &Call) -> Result<(), ApiError> {
    let open = matches!(call.segments.first().map(String::as_str), Some("interactions" | "webhooks"))
        || (call.segments.len() == 1 && call.segments[0] == "gateway");
    let wanted = format!("Bot {}", state.settings.token);
    if open || call.authorization.as_deref() == Some(&wanted) {
        return Ok(());
    }
    Err(ApiError::new(401, 0, "401: Unauthorized"))
}

/// The table of routes.
fn route_to(state: &mut State, call: &Call) -> Answer {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["gateway"]) => Ok(account::gateway(state)),
        ("GET", ["gateway", "bot"]) => Ok(account::gateway_bot(state)),
        ("GET", ["users", "@me"]) => Ok(account::me(state)),
        ("GET", ["users", user]) => account::user(state, id(user)?),
        ("GET", ["applications", "@me"] | ["oauth2", "applications", "@me"]) => Ok(account::application(state)),

        ("GET", ["guilds", guild, rest @ ..]) => guild::get(state, call, id(guild)?, rest),
        ("POST", ["guilds", guild, "channels"]) => channels::create(state, call, id(guild)?),
        ("POST", ["guilds", guild, "scheduled-events"]) => events::create(state, call, id(guild)?),
        ("PATCH", ["guilds", guild, "scheduled-events", event]) => events::edit(state, call, id(guild)?, id(event)?),

        ("PUT", ["applications", application, "guilds", guild, "commands"]) => {
            commands::overwrite(state, call, id(application)?, Some(id(guild)?))
        }
        ("PUT", ["applications", application, "commands"]) => commands::overwrite(state, call, id(application)?, None),
        ("GET", ["applications", application, "guilds", guild, "commands"]) => {
            commands::list(state, id(application)?, Some(id(guild)?))
        }
        ("GET", ["applications", application, "commands"]) => commands::list(state, id(application)?, None),

        ("POST", ["interactions", interaction, token, "callback"]) => {
            interactions::callback(state, call, id(interaction)?, token)
        }
        (method, ["webhooks", application, token, rest @ ..]) => {
            webhooks::route(state, call, method, id(application)?, token, rest)
        }
        (method, ["channels", channel, rest @ ..]) => route_channel(state, call, method, id(channel)?, rest),
        _ => unmodelled(state, call),
    }
}

fn route_channel(state: &mut State, call: &Call, method: &str, channel: ChannelId, rest: &[&str]) -> Answer {
    state.settle_thread(channel);
    match (method, rest) {
        ("GET", []) => channels::get(state, channel),
        ("PATCH", []) => channels::edit(state, call, channel),
        ("DELETE", []) => channels::delete(state, channel),
        ("PUT", ["permissions", target]) => channels::set_overwrite(state, call, channel, id(target)?),
        ("DELETE", ["permissions", target]) => channels::remove_overwrite(state, channel, id(target)?),
        ("POST", ["typing"]) => channels::typing(state, channel),

        ("GET", ["pins"]) => pins::list_old(state, channel),
        ("GET", ["messages", "pins"]) => pins::list(state, call, channel),
        ("PUT", ["pins", message] | ["messages", "pins", message]) => pins::set(state, channel, id(message)?, true),
        ("DELETE", ["pins", message] | ["messages", "pins", message]) => pins::set(state, channel, id(message)?, false),

        ("GET", ["messages"]) => messages::list(state, call, channel),
        ("POST", ["messages"]) => messages::create(state, call, channel),
        ("GET", ["messages", message]) => messages::get(state, channel, id(message)?),
        ("PATCH", ["messages", message]) => messages::edit(state, call, channel, id(message)?),
        ("DELETE", ["messages", message]) => messages::delete(state, channel, id(message)?),

        ("DELETE", ["messages", message, "reactions"]) => reactions::clear(state, channel, id(message)?, None),
        ("GET", ["messages", message, "reactions", emoji]) => reactions::users(state, call, channel, id(message)?, emoji),
        ("DELETE", ["messages", message, "reactions", emoji]) => reactions::clear(state, channel, id(message)?, Some(emoji)),
        ("PUT", ["messages", message, "reactions", emoji, "@me"]) => reactions::add(state, channel, id(message)?, emoji),
        ("DELETE", ["messages", message, "reactions", emoji, user]) => {
            let user = if *user == "@me" { state.chat.bot } else { id(user)? };
            reactions::remove(state, channel, id(message)?, emoji, user)
        }

        ("POST", ["messages", message, "threads"]) => threads::create(state, call, channel, Some(id(message)?)),
        ("POST", ["threads"]) => threads::create(state, call, channel, None),
        ("GET", ["threads", "archived", kind @ ("public" | "private")]) => threads::archived(state, call, channel, kind),
        ("GET", ["thread-members"]) => threads::members(state, channel),
        ("PUT", ["thread-members", user]) => {
            let user = if *user == "@me" { state.chat.bot } else { id(user)? };
            threads::add_member(state, channel, user)
        }
        _ => unmodelled(state, call),
    }
}

fn unmodelled(state: &mut State, call: &Call) -> Answer {
    state.log.counters.unmodelled += 1;
    let place = route_of(call).0;
    state.log.violation(clock::wall_now(), &place, 0, "the model does not have this route".to_owned());
    Err(ApiError::new(404, 0, "404: Not Found"))
}

/// A snowflake of the path.
fn id<T>(segment: &str) -> Result<Id<T>, ApiError> {
    segment.parse().map_err(|_| ApiError::invalid("id", format!("value {segment:?} is not snowflake")))
}

/// The JSON body.
fn body(call: &Call) -> Result<&Value, ApiError> {
    call.body.as_ref().map_err(Clone::clone)
}

/// The body as a message.
fn draft(call: &Call) -> Result<Draft, ApiError> {
    Draft::parse(body(call)?, call.files.clone())
}

/// A number of the query, within its range.
fn limit(call: &Call, default: usize, max: usize) -> Result<usize, ApiError> {
    let Some(text) = call.query.get("limit") else {
        return Ok(default);
    };
    let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| ApiError::invalid("limit", format!("{text:?} is not between 1 and {max}")))
}

/// An id of the query.
fn query_id<T>(call: &Call, name: &str) -> Result<Option<Id<T>>, ApiError> {
    call.query.get(name).map(|text| id(text)).transpose()
}

/// Refuses unless the bot sees the channel and may do all of `wanted` there.
fn require(state: &State, channel: ChannelId, wanted: Permissions) -> Result<(), ApiError> {
    if !state.chat.channels.contains_key(&channel) {
        return Err(ApiError::unknown_channel());
    }
    let held = permissions::in_channel(&state.chat, state.chat.bot, channel);
    if !held.contains(Permissions::VIEW_CHANNEL) {
        return Err(ApiError::missing_access());
    }
    if !held.contains(wanted) {
        return Err(ApiError::missing_permissions());
    }
    Ok(())
}

/// Refuses unless the bot may do `wanted` in the guild as a whole.
fn require_in_guild(state: &State, wanted: Permissions) -> Result<(), ApiError> {
    if permissions::in_guild(&state.chat, state.chat.bot).contains(wanted) {
        return Ok(());
    }
    Err(ApiError::missing_permissions())
}

/// Refuses what an archived thread does not allow.
fn require_open(state: &State, channel: ChannelId) -> Result<(), ApiError> {
    let thread = state.chat.channels.get(&channel).and_then(|channel| channel.thread.as_ref());
    if thread.is_some_and(|thread| thread.archived) {
        return Err(ApiError::new(400, 50083, "Thread is archived"));
    }
    Ok(())
}

/// How REST shows messages: others' content only with the intent switched on for the application.
fn view(state: &State) -> View {
    let content = twilight_model::gateway::Intents::MESSAGE_CONTENT.bits();
    View { gateway: false, content: state.settings.privileged_intents & content != 0 }
}

/// `METHOD /path` with ids, tokens and emoji replaced, and the major parameter its bucket is kept by.
fn route_of(call: &Call) -> (String, String) {
    let mut route = format!("{} ", call.method);
    let mut previous = "";
    for (index, segment) in call.segments.iter().enumerate() {
        route.push('/');
        let token = index == 2 && matches!(call.segments[0].as_str(), "webhooks" | "interactions");
        route.push_str(match segment.as_str() {
            _ if token => "{token}",
            _ if previous == "reactions" => "{emoji}",
            text if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => "{id}",
            text => text,
        });
        previous = segment;
    }
    let major = match call.segments.first().map(String::as_str) {
        Some("channels" | "guilds") => call.segments.get(1).cloned().unwrap_or_default(),
        Some("webhooks") => call.segments.get(2).cloned().unwrap_or_default(),
        _ => String::new(),
    };
    (route, major)
}

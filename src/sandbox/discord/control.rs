//! The model's control over HTTP, under `/sandbox/v1`: for a scenario in another process, and for the chat page.
//!
//! | Request | What it does |
//! |---|---|
//! | `GET /state?as=NAME` | the guild as NAME sees it; everything without `as`. Besides: `may` (NAME's permissions per channel), `now` (the model's time), `seq` (how many changes it contains) |
//! | `GET /changes?after=SEQ&as=NAME` | the change feed as server-sent events, from the one after SEQ, or all |
//! | `GET /interactions/{id}?wait_millis=N` | an interaction with its messages, once it is answered |
//! | `POST /act` | acts as a person: see [`Act`] |
//! | `GET /faults`, `POST /faults`, `DELETE /faults` | the faults that stand; adds a [`Fault`]; ends all faults |
//! | `POST /gateway` | troubles the gateway: see [`Trouble`] |
//! | `POST /world` | changes the world under the bot: see [`Alter`] |
//! | `GET /requests`, `/violations`, `/counters` | what the bot did |
//!
//! There is no authentication: it is served on loopback, and a foreign web page cannot send it JSON unasked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twilight_model::guild::Permissions;

use super::chat::{self, Channel, Chat, Message};
use super::faults::Fault;
use super::feed::{Change, What};
use super::ids::{ChannelId, InteractionId, MessageId, RoleId, UserId};
use super::people::Refused;
use super::sessions::{Deaf, EventFault};
use super::{Model, Pending};

/// How long a request may wait for an interaction at most.
const WAIT_MAX: Duration = Duration::from_secs(120);

pub(super) fn router() -> Router<Model> {
    Router::new()
        .route("/state", get(state))
        .route("/changes", get(changes))
        .route("/interactions/{id}", get(interaction))
        .route("/act", post(act))
        .route("/faults", get(standing_faults).post(add_fault).delete(clear_faults))
        .route("/gateway", post(trouble))
        .route("/world", post(alter))
        .route("/requests", get(|State(model): State<Model>| async move { Json(model.requests()) }))
        .route("/violations", get(|State(model): State<Model>| async move { Json(model.violations()) }))
        .route("/counters", get(|State(model): State<Model>| async move { Json(model.counters()) }))
}

/// A request that cannot be done, with the reason.
struct Bad(String);

impl IntoResponse for Bad {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "refused": self.0 }))).into_response()
    }
}

impl From<Refused> for Bad {
    fn from(refused: Refused) -> Self {
        Self(refused.to_string())
    }
}

#[derive(Debug, Deserialize)]
struct As {
    r#as: Option<String>,
}

async fn state(State(model): State<Model>, Query(viewer): Query<As>) -> Result<Json<Value>, Bad> {
    model.with(|state| {
        let chat = &state.chat;
        let viewer = viewer.r#as.map(|name| member(chat, &name)).transpose()?;
        let mut seen = chat.clone();
        seen.channels.retain(|&channel, _| sees(chat, viewer, channel));
        seen.messages.retain(|&channel, _| sees(chat, viewer, channel));
        for messages in seen.messages.values_mut() {
            messages.retain(|_, message| shown_to(message, viewer));
        }
        seen.interactions.retain(|_, interaction| viewer.is_none_or(|viewer| interaction.user == viewer));
        let may = |channel: &ChannelId| viewer.map_or(Permissions::all(), |viewer| chat.permissions(viewer, *channel));
        let may: BTreeMap<_, _> = seen.channels.keys().map(|channel| (*channel, may(channel))).collect();
        let mut value = serde_json::to_value(seen).map_err(|error| Bad(error.to_string()))?;
        value["may"] = json!(may);
        value["now"] = json!(state.now());
        value["seq"] = json!(state.feed.changes.len());
        Ok(Json(value))
    })
}

fn member(chat: &Chat, name: &str) -> Result<UserId, Bad> {
    chat.member_named(name).map(|member| member.id).ok_or_else(|| Bad(format!("no member {name:?}")))
}

fn sees(chat: &Chat, viewer: Option<UserId>, channel: ChannelId) -> bool {
    viewer.is_none_or(|viewer| chat.permissions(viewer, channel).contains(Permissions::VIEW_CHANNEL))
}

fn shown_to(message: &Message, viewer: Option<UserId>) -> bool {
    message.ephemeral_for.is_none_or(|only| viewer.is_none_or(|viewer| viewer == only))
}

#[derive(Debug, Deserialize)]
struct Since {
    after: Option<usize>,
    r#as: Option<String>,
}

async fn changes(
    State(model): State<Model>,
    Query(from): Query<Since>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Bad> {
    let viewer = from.r#as.map(|name| model.read(|chat| member(chat, &name))).transpose()?;
    let reader = model.changes_from(from.after.map_or(0, |after| after + 1));
    let stream = futures_util::stream::unfold((model, reader), move |(model, mut reader)| async move {
        loop {
            let change = reader.next().await?;
            if !model.read(|chat| visible(chat, viewer, &change)) {
                continue;
            }
            let event = Event::default().id(change.seq.to_string()).json_data(change.as_ref());
            // Every change serialises; one that did not would be skipped rather than end the stream.
            if let Ok(event) = event {
                return Some((Ok(event), (model, reader)));
            }
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn visible(chat: &Chat, viewer: Option<UserId>, change: &Change) -> bool {
    let message = match &change.what {
        What::MessagePosted { message } | What::MessageEdited { message } | What::MessageDeleted { message } => message,
        // What somebody does with the bot, and a form on their screen, is theirs alone.
        What::InteractionCreated { interaction } => return viewer.is_none_or(|viewer| viewer == interaction.user),
        What::InteractionAnswered { interaction, .. } => {
            let user = chat.interactions.get(interaction).map(|interaction| interaction.user);
            return viewer.is_none_or(|viewer| user == Some(viewer));
        }
        // Whoever could see a channel hears of its end.
        What::ChannelDeleted { .. } => return true,
        _ => {
            return change.channel.is_none_or(|channel| sees(chat, viewer, channel));
        }
    };
    shown_to(message, viewer) && sees(chat, viewer, message.channel)
}

#[derive(Debug, Deserialize)]
struct Wait {
    #[serde(default)]
    wait_millis: u64,
}

/// An interaction and the messages it led to.
#[derive(Debug, Serialize)]
struct Answered {
    interaction: chat::Interaction,
    message: Option<Message>,
    followups: Vec<Message>,
}

async fn interaction(
    State(model): State<Model>,
    Path(id): Path<InteractionId>,
    Query(wait): Query<Wait>,
) -> Result<Json<Answered>, Bad> {
    let wait = Duration::from_millis(wait.wait_millis).min(WAIT_MAX);
    let pending = Pending { model: model.clone(), id };
    // What came of it is read below, whether it came in time or not.
    let _ = tokio::time::timeout(wait, pending.message(wait)).await;
    model.read(|chat| {
        let interaction = chat.interactions.get(&id).ok_or_else(|| Bad(format!("no interaction {id}")))?.clone();
        let message = interaction.original.and_then(|message| chat.find_message(message)).cloned();
        let followups = interaction.followups.iter().filter_map(|&message| chat.find_message(message).cloned());
        Ok(Json(Answered { followups: followups.collect(), message, interaction }))
    })
}

/// What a person does.
#[derive(Debug, Deserialize)]
struct ActAs {
    /// The person's account name.
    r#as: String,
    #[serde(flatten)]
    act: Act,
}

/// One act; channels by name or id.
#[derive(Debug, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
enum Act {
    Slash { channel: String, text: String },
    Autocomplete { channel: String, text: String },
    MessageCommand { message: MessageId, name: String },
    Click { message: MessageId, custom_id: String },
    Select { message: MessageId, custom_id: String, values: Vec<String> },
    SubmitModal { interaction: InteractionId, fields: serde_json::Map<String, Value> },
    React { message: MessageId, emoji: String },
    Unreact { message: MessageId, emoji: String },
    RemoveReaction { message: MessageId, of: String, emoji: String },
    Send { channel: String, text: String },
    DeleteMessage { message: MessageId },
    ArchiveThread { channel: String, archived: bool, locked: bool },
}

async fn act(State(model): State<Model>, Json(ActAs { r#as: user, act }): Json<ActAs>) -> Result<Json<Value>, Bad> {
    let pending = match act {
        Act::Slash { channel, text } => model.slash(&user, place(&model, &channel)?, &text)?,
        Act::Autocomplete { channel, text } => model.autocomplete(&user, place(&model, &channel)?, &text)?,
        Act::MessageCommand { message, name } => model.message_command(&user, message, &name)?,
        Act::Click { message, custom_id } => model.click(&user, message, &custom_id)?,
        Act::Select { message, custom_id, values } => {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            model.select(&user, message, &custom_id, &values)?
        }
        Act::SubmitModal { interaction, fields } => {
            let fields: Vec<_> = fields.iter().map(|(name, text)| (name.as_str(), text.as_str().unwrap_or_default())).collect();
            model.submit_modal(&user, interaction, &fields)?
        }
        quiet => return act_quietly(&model, &user, quiet).map(Json),
    };
    Ok(Json(json!({ "interaction": pending.id })))
}

/// Acts that the bot does not answer.
fn act_quietly(model: &Model, user: &str, act: Act) -> Result<Value, Bad> {
    match act {
        Act::React { message, emoji } => model.react(user, message, &emoji)?,
        Act::Unreact { message, emoji } => model.unreact(user, message, &emoji)?,
        Act::RemoveReaction { message, of, emoji } => model.remove_reaction(user, message, &of, &emoji)?,
        Act::Send { channel, text } => {
            let message = model.send(user, place(model, &channel)?, &text)?;
            return Ok(json!({ "message": message }));
        }
        Act::DeleteMessage { message } => model.delete_message(user, message)?,
        Act::ArchiveThread { channel, archived, locked } => {
            model.archive_thread(user, place(model, &channel)?, archived, locked)?;
        }
        Act::Slash { .. }
        | Act::Autocomplete { .. }
        | Act::MessageCommand { .. }
        | Act::Click { .. }
        | Act::Select { .. }
        | Act::SubmitModal { .. } => return Err(Bad("this act is answered by the bot".to_owned())),
    }
    Ok(json!({}))
}

/// A channel by id or by name, with or without `#`.
fn place(model: &Model, text: &str) -> Result<ChannelId, Bad> {
    model.read(|chat| {
        let by_id = text.parse().ok().and_then(|id: ChannelId| chat.channels.get(&id));
        let found: Option<&Channel> = by_id.or_else(|| chat.channel_named(text.trim_start_matches('#')));
        found.map(|channel| channel.id).ok_or_else(|| Bad(format!("no channel {text:?}")))
    })
}

async fn standing_faults(State(model): State<Model>) -> Json<Value> {
    Json(model.with(|state| {
        let (deaf, connections) = (state.sessions.is_deaf(), state.sessions.connected());
        json!({ "rest": state.faults.list, "deaf": deaf, "gateway_connections": connections })
    }))
}

async fn add_fault(State(model): State<Model>, Json(fault): Json<Fault>) {
    model.fault(fault);
}

async fn clear_faults(State(model): State<Model>) {
    model.clear_faults();
}

/// What shall happen to the gateway.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Trouble {
    Drop,
    Close { code: u16 },
    AskToReconnect,
    Invalidate { resumable: bool },
    RefuseResumes { times: u32 },
    IgnoreResumes { times: u32 },
    Deaf { how: Deaf },
    Hear,
    Spoil { event: String, fault: EventFault, times: u32 },
    RefuseConnections,
    AcceptConnections,
}

async fn trouble(State(model): State<Model>, Json(trouble): Json<Trouble>) {
    match trouble {
        Trouble::Drop => model.drop_gateway(),
        Trouble::Close { code } => model.close_gateway(code),
        Trouble::AskToReconnect => model.ask_to_reconnect(),
        Trouble::Invalidate { resumable } => model.invalidate_sessions(resumable),
        Trouble::RefuseResumes { times } => model.refuse_resumes(times),
        Trouble::IgnoreResumes { times } => model.ignore_resumes(times),
        Trouble::Deaf { how } => model.set_deaf(Some(how)),
        Trouble::Hear => model.set_deaf(None),
        Trouble::Spoil { event, fault, times } => model.spoil_events(&event, fault, times),
        Trouble::RefuseConnections => model.refuse_connections(true),
        Trouble::AcceptConnections => model.refuse_connections(false),
    }
}

/// What shall change under the bot.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Alter {
    SetRoles { user: String, roles: Vec<String> },
    DeleteChannel { channel: String },
    DeleteRole { role: RoleId },
    RevokeFromBot { permissions: Permissions },
    GrantToBot { permissions: Permissions },
    ForgetNonces,
}

async fn alter(State(model): State<Model>, Json(alter): Json<Alter>) -> Result<(), Bad> {
    match alter {
        Alter::SetRoles { user, roles } => {
            model.read(|chat| member(chat, &user).map(drop))?;
            model.set_roles(&user, &roles.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Alter::DeleteChannel { channel } => {
            model.delete_channel(place(&model, &channel)?);
        }
        Alter::DeleteRole { role } => model.delete_role(role),
        Alter::RevokeFromBot { permissions } => model.revoke_from_bot(permissions),
        Alter::GrantToBot { permissions } => model.grant_to_bot(permissions),
        Alter::ForgetNonces => model.forget_nonces(),
    }
    Ok(())
}

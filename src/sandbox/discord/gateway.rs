//! The gateway: one WebSocket conversation per connection.
//! Source: <https://discord.com/developers/docs/events/gateway>, opcodes and close codes from topics/opcodes.

use std::collections::VecDeque;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedSender};
use twilight_model::gateway::Intents;

use super::faults::Misbehaviour;
use super::feed::What;
use super::ids::UserId;
use super::serve::{self, Cut};
use super::sessions::Out;
use super::state::State as Guild;
use super::{Model, wire};
use crate::clock;
use crate::domain::Timestamp;

/// Bytes of a frame from the client.
const PAYLOAD_MAX: usize = 4096;
/// Frames from the client within [`SENDS_WINDOW`].
const SENDS_MAX: usize = 120;
/// The window of [`SENDS_MAX`].
const SENDS_WINDOW: TimeDelta = TimeDelta::seconds(60);
/// Intents that must be switched on for the application.
const PRIVILEGED: Intents = Intents::GUILD_MEMBERS.union(Intents::GUILD_PRESENCES).union(Intents::MESSAGE_CONTENT);

pub(super) async fn upgrade(
    State(model): State<Model>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let path = ["gateway-socket".to_owned()];
    let misbehaviour = model.with(|state| state.faults.take("GET", &path));
    match misbehaviour {
        Some(Misbehaviour::Answer { status, .. }) => {
            let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
            status.into_response()
        }
        None => upgrade.on_upgrade(move |socket| converse(model, socket)),
        // Before the upgrade there is no effect to come first.
        misbehaviour => serve::misbehave(&cut, ().into_response(), misbehaviour).await,
    }
}

/// One connection's side of the protocol.
struct Conversation {
    model: Model,
    number: u64,
    out: UnboundedSender<Out>,
    /// Whether IDENTIFY or RESUME succeeded.
    open: bool,
    /// Whether its RESUME is never answered: heartbeats are acknowledged, and nothing else comes back.
    ignored: bool,
    sent: VecDeque<Timestamp>,
}

async fn converse(model: Model, mut socket: WebSocket) {
    let (out, mut told) = mpsc::unbounded_channel();
    let (number, interval) = model.with(|state| {
        state.sessions.connections += 1;
        (state.sessions.connections, state.settings.heartbeat_interval)
    });
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    let mut conversation = Conversation { model: model.clone(), number, out, open: false, ignored: false, sent: VecDeque::new() };
    conversation.say(json!({ "op": 10, "d": { "heartbeat_interval": interval, "_trace": [] } }));
    let clean = loop {
        tokio::select! {
            frame = socket.recv() => match frame {
                Some(Ok(Message::Text(text))) => conversation.hear(&text),
                Some(Ok(Message::Binary(bytes))) => conversation.hear(&String::from_utf8_lossy(&bytes)),
                Some(Ok(Message::Close(frame))) => {
                    break frame.is_some_and(|frame| matches!(frame.code, 1000 | 1001));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Err(_)) | None => break false,
            },
            // The conversation itself holds a sender, so the channel never ends.
            Some(told) = told.recv() => if !obey(&mut socket, told).await {
                break false;
            },
        }
    };
    let open = conversation.open;
    model.with(|state| {
        state.sessions.disconnected(number, clean);
        if open {
            state.record(None, None, What::Gateway { state: "disconnected".to_owned() });
        }
    });
}

/// Whether the connection goes on.
async fn obey(socket: &mut WebSocket, told: Out) -> bool {
    match told {
        Out::Text(text) => socket.send(Message::Text(text.as_ref().into())).await.is_ok(),
        Out::Close(code, reason) => {
            // The peer may have gone first.
            let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
            false
        }
        Out::Drop => false,
    }
}

impl Conversation {
    fn say(&self, value: Value) {
        // A full stop by the peer is seen by the reading side.
        let _ = self.out.send(Out::Text(value.to_string().into()));
    }

    fn close(&self, code: u16, reason: &'static str) {
        self.model.with(|state| state.log.violation(clock::wall_now(), "gateway", code.into(), format!("{code} {reason}")));
        let _ = self.out.send(Out::Close(code, reason));
    }

    fn hear(&mut self, text: &str) {
        if text.len() > PAYLOAD_MAX {
            return self.close(4002, "Decode error: the payload is larger than 4096 bytes");
        }
        let now = clock::wall_now();
        self.sent.push_back(now);
        while self.sent.front().is_some_and(|&at| at + SENDS_WINDOW <= now) {
            self.sent.pop_front();
        }
        if self.sent.len() > SENDS_MAX {
            return self.close(4008, "Rate limited");
        }
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            return self.close(4002, "Decode error");
        };
        let data = &frame["d"];
        match (frame["op"].as_u64(), self.open) {
            (Some(1), _) => {
                if self.model.with(|state| state.sessions.acknowledges()) {
                    self.say(json!({ "op": 11 }));
                }
            }
            _ if self.ignored => {}
            (Some(2), false) => self.identify(data),
            (Some(6), false) => self.resume(data),
            (Some(2 | 6), true) => self.close(4005, "Already authenticated"),
            (Some(3 | 4 | 8), false) => self.close(4003, "Not authenticated"),
            (Some(8), true) => self.request_members(data),
            // Presence and voice change nothing here.
            (Some(3 | 4), true) => {}
            _ => self.close(4001, "Unknown opcode"),
        }
    }

    fn token_is_right(&self, data: &Value) -> bool {
        let token = data["token"].as_str().unwrap_or_default();
        let token = token.strip_prefix("Bot ").unwrap_or(token);
        self.model.with(|state| state.settings.token == token)
    }

    fn identify(&mut self, data: &Value) {
        if !self.token_is_right(data) {
            return self.close(4004, "Authentication failed");
        }
        let Some(intents) = data["intents"].as_u64() else {
            return self.close(4013, "Invalid intent(s)");
        };
        let intents = Intents::from_bits_truncate(intents);
        let allowed = self.model.with(|state| Intents::from_bits_truncate(state.settings.privileged_intents));
        if !allowed.contains(intents & PRIVILEGED) {
            return self.close(4014, "Disallowed intent(s)");
        }
        let (number, out) = (self.number, self.out.clone());
        self.model.with(|state| open_session(state, intents, number, out));
        self.open = true;
    }

    fn resume(&mut self, data: &Value) {
        if !self.token_is_right(data) {
            return self.close(4004, "Authentication failed");
        }
        if self.model.with(|state| state.sessions.ignores_resume()) {
            self.ignored = true;
            return;
        }
        let session = data["session_id"].as_str().unwrap_or_default();
        let seq = data["seq"].as_u64().unwrap_or(u64::MAX);
        let (number, out) = (self.number, self.out.clone());
        let resumed = self.model.with(|state| {
            let resumed = state.sessions.resume(session, seq, number, out);
            if resumed {
                state.sessions.send_to(session, "RESUMED", &json!({ "_trace": [] }));
                state.log.counters.resumed = state.sessions.resumed;
                state.record(None, Some(state.chat.bot), What::Gateway { state: "resumed".to_owned() });
            }
            resumed
        });
        self.open = resumed;
        if !resumed {
            self.say(json!({ "op": 9, "d": false }));
        }
    }

    /// Answers with one chunk: the guild is small. Asking for all needs the members intent; asking for
    /// some by id does not, which is what makes it a probe.
    fn request_members(&self, data: &Value) {
        let ids: Vec<UserId> = match &data["user_ids"] {
            Value::Array(ids) => ids.iter().filter_map(|id| serde_json::from_value(id.clone()).ok()).collect(),
            id => serde_json::from_value(id.clone()).into_iter().collect(),
        };
        let number = self.number;
        self.model.with(|state| {
            let all = ids.is_empty();
            let found = |id: &UserId| state.chat.members.get(id);
            let members: Vec<Value> = match all {
                true if state.settings.privileged_intents & Intents::GUILD_MEMBERS.bits() != 0 => {
                    state.chat.members.values().map(wire::member).collect()
                }
                true => Vec::new(),
                false => ids.iter().filter_map(found).map(wire::member).collect(),
            };
            let missing: Vec<_> = ids.iter().filter(|id| found(id).is_none()).collect();
            let mut chunk = json!({
                "guild_id": state.chat.guild, "members": members, "chunk_index": 0, "chunk_count": 1,
                "not_found": missing,
            });
            if let Some(nonce) = data["nonce"].as_str() {
                chunk["nonce"] = json!(nonce);
            }
            state.sessions.send_on(number, "GUILD_MEMBERS_CHUNK", &chunk);
        });
    }
}

fn open_session(state: &mut Guild, intents: Intents, number: u64, out: UnboundedSender<Out>) {
    let id = format!("session-{number}");
    let chat = &state.chat;
    let ready = json!({
        "v": 10, "user": chat.members.get(&chat.bot).map(wire::user), "session_id": id,
        "resume_gateway_url": serve::ws_url(&state.base_url), "shard": [0, 1], "_trace": [],
        "guilds": [{ "id": chat.guild, "unavailable": true }],
        "application": { "id": chat.application, "flags": 0 },
    });
    let guild = wire::guild_create(chat);
    state.sessions.open(id.clone(), intents, number, out);
    state.sessions.send_to(&id, "READY", &ready);
    if intents.contains(Intents::GUILDS) {
        state.sessions.send_to(&id, "GUILD_CREATE", &guild);
    }
    state.log.counters.identified = state.sessions.identified;
    state.record(None, Some(state.chat.bot), What::Gateway { state: "identified".to_owned() });
}

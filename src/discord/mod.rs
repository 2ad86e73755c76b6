//! Discord: interactions to inputs, messages out, command registration, and nothing decided here.
//!
//! Invariants:
//! - One way out ([`rest`]): every request is counted, limited and bounded in time there.
//! - Nobody is mentioned whom a message does not name: `allowed_mentions` is always explicit.
//! - An owed message is created with a nonce made of its marker (run or incident, key, copy), and with `enforce_nonce`; after
//!   an unknown outcome the channel is searched for that marker first.
//! - Who may sign is decided from roles read over REST, never from what an event says.
//! - A button's `custom_id` carries all that it needs; nothing waits in memory.
//!
//! Absent on purpose: privileged intents, the cache of serenity, its rate limiter (see [`rest`]).

pub mod chat;
mod commands;
mod custom_id;
mod encode;
pub mod gateway;
pub mod incident_chat;
mod instant;
pub mod interactions;
mod limiter;
mod messages;
pub mod rest;

pub use chat::{ChatSettings, DiscordChat};
pub use gateway::{Gateway, GatewayError, GatewaySettings, Identity, identify};
pub use incident_chat::{DiscordIncidentChat, IncidentChatSettings};
pub use interactions::{Definitions, Interactions};
pub use rest::{Access, Api, CallOutcome};

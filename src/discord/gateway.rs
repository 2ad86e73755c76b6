//! The gateway: events as hints, interactions as work, and a watchdog over a connection that may fall silent.
//!
//! The gateway loses events by nature, so nothing here is believed that would let a run go forward: a reaction is a hint
//! to read all of them over REST. After every READY (which, unlike RESUMED, means that events were lost) the engine
//! looks at everything again.
//!
//! serenity hangs for ever on an upgrade or a RESUME that is never answered, and turns a known event that it cannot parse
//! into `Unknown` at DEBUG. Hence the watchdog, which probes a quiet connection and rebuilds a deaf one, and the
//! raw handler, which counts what could not be read and asks for a look over REST instead.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::Value;
use serenity::all::{ChunkGuildFilter, Client, ClientBuilder, Context, Event, GatewayIntents, RawEventHandler, ReactionType};
use serenity::async_trait;
use serenity::gateway::{GatewayError as SerenityGatewayError, ShardManager};
use serenity::http::{HttpBuilder, LightMethod, Route};
use serenity::model::id as serenity_id;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::chat::{DiscordChat, SIGN, VETO};
use super::interactions::Interactions;
use super::rest::{Api, Call, Trouble};
use crate::domain::run::Vote;
use crate::domain::{ChannelId, GuildId, MessageId, UserId};
use crate::engine::{Hint, Runs};
use crate::render::rejection;

/// How the gateway is watched. Spans are real time.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// The one server.
    pub guild: GuildId,
    /// The bot's own user: what the probe asks for, and whose reactions mean nothing.
    pub bot: UserId,
    /// A connection without an event for this long, probes included, is rebuilt. 2 to 3 minutes: each rebuild costs one of a
    /// thousand sessions a day.
    pub deaf_after: Duration,
}

/// [`GatewaySettings::deaf_after`] unless the settings say otherwise.
pub const DEAF_AFTER_DEFAULT: Duration = Duration::from_secs(150);
/// The first wait after a connection failed; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest wait between two connections.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// How long a client may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);

/// Why the bot cannot live on the gateway. Trying again would not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// Close code 4004.
    #[error("Discord does not accept the bot's token (close 4004): set a valid one and start again")]
    Token,
    /// Close code 4013 or 4014.
    #[error(
        "Discord does not accept the bot's intents (close 4013/4014): it asks for guilds, guild messages and reactions only, \
         none of which is privileged; check that the token belongs to this bot"
    )]
    Intents,
}

/// What the gateway has seen, for metrics and readiness.
#[derive(Debug)]
pub struct Health {
    connected: AtomicBool,
    heard_at: Mutex<Instant>,
    /// Known events that could not be parsed.
    pub unparsed: AtomicU64,
    /// How often a new session began.
    pub sessions: AtomicU64,
    /// How often a deaf connection was rebuilt.
    pub rebuilt: AtomicU64,
}

impl Health {
    fn new() -> Self {
        Self {
            connected: AtomicBool::new(false),
            heard_at: Mutex::new(Instant::now()),
            unparsed: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            rebuilt: AtomicU64::new(0),
        }
    }

    /// Whether a session stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// How long ago the last event came.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.heard_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn heard(&self) {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Who the bot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its user.
    pub bot: UserId,
    /// Its application.
    pub application: u64,
}

/// Asks Discord who the bot is.
///
/// # Errors
/// [`Trouble`]; a status 401 means that the token is wrong.
pub async fn identify(api: &Api) -> Result<Identity, Trouble> {
    let me = api.call(Call::new(LightMethod::Get, Route::UserMe)).await?;
    let application = api.call(Call::new(LightMethod::Get, Route::Oauth2ApplicationCurrent)).await?;
    let id = |value: &Value| {
        super::chat::snowflake(&value["id"]).ok_or_else(|| Trouble::Unanswered { why: "its answer names no id".to_owned() })
    };
    Ok(Identity { bot: UserId::new(id(&me)?), application: id(&application)? })
}

/// The gateway connection and what hangs on it.
#[derive(Clone)]
pub struct Gateway {
    api: Arc<Api>,
    runs: Arc<dyn Runs>,
    chat: Arc<DiscordChat>,
    interactions: Arc<Interactions>,
    settings: GatewaySettings,
    health: Arc<Health>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("settings", &self.settings).field("health", &self.health).finish_non_exhaustive()
    }
}

/// How one connection ended.
enum Ended {
    Stopped,
    Deaf,
    Failed(String),
    Fatal(GatewayError),
}

impl Gateway {
    /// A gateway over these parts.
    #[must_use]
    pub fn new(
        api: Arc<Api>,
        runs: Arc<dyn Runs>,
        chat: Arc<DiscordChat>,
        interactions: Arc<Interactions>,
        settings: GatewaySettings,
    ) -> Self {
        Self { api, runs, chat, interactions, settings, health: Arc::new(Health::new()) }
    }

    /// What it has seen so far.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Registers the commands, then stays connected until `stop`.
    ///
    /// # Errors
    /// [`GatewayError`]: nothing that waiting mends.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), GatewayError> {
        let mut wait = RETRY_MIN;
        let mut registered = false;
        loop {
            if !registered {
                registered = self.register().await;
            }
            let sessions = self.health.sessions.load(Ordering::Relaxed);
            match self.connect(&stop).await {
                Ended::Stopped => return Ok(()),
                Ended::Fatal(error) => return Err(error),
                Ended::Deaf => {
                    self.health.rebuilt.fetch_add(1, Ordering::Relaxed);
                    tracing::error!("the gateway is deaf: connecting anew");
                }
                Ended::Failed(why) => tracing::warn!(why, "the gateway connection failed: connecting anew"),
            }
            // One that had worked is rebuilt soon; one that never did costs sessions, so ever more seldom.
            let worked = self.health.sessions.load(Ordering::Relaxed) > sessions;
            wait = if worked { RETRY_MIN } else { (wait * 2).min(RETRY_MAX) };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn register(&self) -> bool {
        let registered = self.interactions.register_commands().await;
        if let Err(trouble) = &registered {
            tracing::error!(%trouble, "could not register the slash commands; trying again at the next connection");
        }
        registered.is_ok()
    }

    async fn connect(&self, stop: &CancellationToken) -> Ended {
        let events = Events { gateway: self.clone(), live: Arc::new(AtomicBool::new(true)), shard: Arc::new(Mutex::new(None)) };
        self.health.heard();
        let mut client = match self.client(events.clone()).await {
            Ok(client) => client,
            Err(why) => return Ended::Failed(why),
        };
        let shards = Arc::clone(&client.shard_manager);
        let ended = tokio::select! {
            () = stop.cancelled() => Ended::Stopped,
            () = self.watch(&events) => Ended::Deaf,
            result = client.start() => ended(result),
        };
        events.live.store(false, Ordering::Relaxed);
        self.health.connected.store(false, Ordering::Relaxed);
        close(&shards).await;
        ended
    }

    async fn client(&self, events: Events) -> Result<Client, String> {
        // serenity asks once, and when that fails uses another address for the rest of its life: so ask first.
        let answer = self.api.call(Call::new(LightMethod::Get, Route::Gateway)).await.map_err(|trouble| trouble.to_string())?;
        let url = answer["url"].as_str().ok_or("Discord names no gateway")?.to_owned();
        let (access, http) = self.api.access();
        let http = HttpBuilder::new(access.token.expose_secret())
            .client(http.clone())
            .proxy(access.api_base.clone())
            .ratelimiter_disabled(true)
            .build();
        let intents = GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::GUILD_MESSAGE_REACTIONS;
        let built = ClientBuilder::new_with_http(http, intents).raw_event_handler(events).await;
        let client = built.map_err(|error| error.to_string())?;
        *client.ws_url.lock().await = url;
        Ok(client)
    }

    /// Returns when the connection has been deaf for too long. Probes it halfway.
    async fn watch(&self, events: &Events) {
        let patience = self.settings.deaf_after;
        let mut probed = false;
        loop {
            let silent = self.health.silent_for();
            if silent >= patience {
                return;
            }
            if silent < patience / 2 {
                probed = false;
            } else if !probed {
                probed = events.probe();
            }
            let next = if silent < patience / 2 { patience / 2 } else { patience };
            tokio::time::sleep((next - silent).max(Duration::from_millis(1)).min(patience / 4)).await;
        }
    }
}

fn ended(result: serenity::Result<()>) -> Ended {
    match result {
        Ok(()) => Ended::Failed("the client ended".to_owned()),
        Err(serenity::Error::Gateway(SerenityGatewayError::InvalidAuthentication)) => Ended::Fatal(GatewayError::Token),
        Err(serenity::Error::Gateway(
            SerenityGatewayError::DisallowedGatewayIntents | SerenityGatewayError::InvalidGatewayIntents,
        )) => Ended::Fatal(GatewayError::Intents),
        Err(error) => Ended::Failed(error.to_string()),
    }
}

/// Closes a client's shards; one that hangs is left behind, and its events are no longer heard.
async fn close(shards: &Arc<ShardManager>) {
    if tokio::time::timeout(CLOSE_TIMEOUT, shards.shutdown_all()).await.is_err() {
        tracing::warn!("a gateway connection did not close in time");
    }
}

/// The events of one connection.
#[derive(Clone)]
struct Events {
    gateway: Gateway,
    /// Whether this is still the connection in use.
    live: Arc<AtomicBool>,
    /// Where probes are sent.
    shard: Arc<Mutex<Option<serenity::gateway::ShardMessenger>>>,
}

impl Events {
    /// Asks for something that the gateway must answer. `false` if there is no session yet.
    fn probe(&self) -> bool {
        let shard = self.shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shard) = shard.as_ref() else { return false };
        let settings = &self.gateway.settings;
        let own = ChunkGuildFilter::UserIds(vec![serenity_id::UserId::new(settings.bot.get())]);
        let guild = serenity_id::GuildId::new(settings.guild.get());
        shard.chunk_guild(guild, Some(1), false, own, Some("probe".to_owned()));
        true
    }

    fn hint(&self, hint: Hint) {
        self.gateway.runs.hint(hint);
    }

    /// A new session: what happened before it may have been missed.
    fn catch_up(&self) {
        self.gateway.chat.forget();
        self.hint(Hint::Reconnected);
    }

    fn reaction_removed(&self, reaction: &serenity::all::Reaction) {
        let (channel, message) = (ChannelId::new(reaction.channel_id.get()), MessageId::new(reaction.message_id.get()));
        match (reaction.user_id, vote(&reaction.emoji)) {
            (Some(user), Some(vote)) => {
                self.hint(Hint::ReactionRemoved { channel, message, user: UserId::new(user.get()), vote });
            }
            _ => self.hint(Hint::Reactions { channel, message }),
        }
    }

    fn deleted(&self, channel: serenity::all::ChannelId, message: serenity::all::MessageId) {
        let (channel, message) = (ChannelId::new(channel.get()), MessageId::new(message.get()));
        self.hint(Hint::MessageDeleted { channel, message });
    }

    /// A known event that could not be parsed: counted, and made up for where that is possible.
    async fn unparsed(&self, name: &str, value: &Value) {
        if !KNOWN.contains(&name) {
            return;
        }
        self.gateway.health.unparsed.fetch_add(1, Ordering::Relaxed);
        tracing::error!(event = name, "a known event could not be parsed; Discord or serenity has changed");
        if name == "INTERACTION_CREATE" {
            self.excuse(value).await;
        } else {
            self.catch_up();
        }
    }

    /// Tells the person that their interaction could not be read, if at least its id and token can be.
    async fn excuse(&self, value: &Value) {
        let (Some(id), Some(token)) = (super::chat::snowflake(&value["id"]), value["token"].as_str()) else { return };
        let application = super::chat::snowflake(&value["application_id"]).unwrap_or(1);
        let why = "the bot could not read what Discord sent for this";
        let next = "Try again; if it stays so, the bot needs an update. Reactions and `pointsman rollback` still work.";
        let told = self.gateway.interactions.tell(id, application, token, &rejection::refused(why, next)).await;
        if let Err(trouble) = told {
            tracing::warn!(%trouble, "could not tell that an interaction was not understood");
        }
    }
}

/// The events that something here depends upon.
const KNOWN: [&str; 10] = [
    "READY",
    "INTERACTION_CREATE",
    "MESSAGE_REACTION_ADD",
    "MESSAGE_REACTION_REMOVE",
    "MESSAGE_REACTION_REMOVE_ALL",
    "MESSAGE_REACTION_REMOVE_EMOJI",
    "MESSAGE_DELETE",
    "MESSAGE_DELETE_BULK",
    "CHANNEL_DELETE",
    "THREAD_DELETE",
];

fn vote(emoji: &ReactionType) -> Option<Vote> {
    match emoji {
        ReactionType::Unicode(text) if text == SIGN => Some(Vote::Sign),
        ReactionType::Unicode(text) if text == VETO => Some(Vote::Veto),
        _ => None,
    }
}

#[async_trait]
impl RawEventHandler for Events {
    async fn raw_event(&self, context: Context, event: Event) {
        if !self.live.load(Ordering::Relaxed) {
            return;
        }
        self.gateway.health.heard();
        let hint = |channel: serenity::all::ChannelId, message: serenity::all::MessageId| Hint::Reactions {
            channel: ChannelId::new(channel.get()),
            message: MessageId::new(message.get()),
        };
        match event {
            Event::Ready(_) => {
                *self.shard.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.shard.clone());
                self.gateway.health.connected.store(true, Ordering::Relaxed);
                self.gateway.health.sessions.fetch_add(1, Ordering::Relaxed);
                self.catch_up();
            }
            Event::Resumed(_) => self.gateway.health.connected.store(true, Ordering::Relaxed),
            Event::InteractionCreate(event) => self.gateway.interactions.handle(event.interaction).await,
            Event::ReactionAdd(event) => {
                let own = event.reaction.user_id.is_some_and(|user| user.get() == self.gateway.settings.bot.get());
                if !own {
                    self.hint(hint(event.reaction.channel_id, event.reaction.message_id));
                }
            }
            Event::ReactionRemove(event) => self.reaction_removed(&event.reaction),
            Event::ReactionRemoveAll(event) => self.hint(hint(event.channel_id, event.message_id)),
            Event::ReactionRemoveEmoji(event) => self.hint(hint(event.reaction.channel_id, event.reaction.message_id)),
            Event::MessageDelete(event) => self.deleted(event.channel_id, event.message_id),
            Event::MessageDeleteBulk(event) => event.ids.iter().for_each(|id| self.deleted(event.channel_id, *id)),
            Event::ChannelDelete(_) | Event::ThreadDelete(_) => self.catch_up(),
            Event::Unknown(event) => self.unparsed(&event.kind, &event.value).await,
            _ => {}
        }
    }
}

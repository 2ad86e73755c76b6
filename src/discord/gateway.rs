//! The gateway: events as hints, interactions as work, and a watchdog over a connection that may fall silent.
//!
//! The gateway loses events by nature, so nothing here is believed that would let a run go forward: a reaction is a hint
//! to read all of them over REST. After every READY (which, unlike RESUMED, means that events were lost) the engine
//! looks at everything again.
//!
//! serenity hangs for ever on an upgrade or a RESUME that is never answered, and turns a known event that it cannot parse
//! into `Unknown` at DEBUG. Hence the watchdog, which probes a quiet connection and rebuilds a deaf one, and the
//! raw handler, which counts what could not be read and asks for a look over REST instead. A heartbeat that is
//! acknowledged proves nothing: only events and answered probes count as signs of life.

mod connection;
mod pace;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use serenity::all::{ChunkGuildFilter, Context, Event, Interaction, RawEventHandler, ReactionType};
use serenity::async_trait;
use serenity::gateway::GatewayError as SerenityGatewayError;
use serenity::http::{LightMethod, Route};
use serenity::model::id as serenity_id;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::connection::Connection;
use self::pace::Pace;
use super::chat::{DiscordChat, SIGN, VETO};
use super::incident_chat::MARK;
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
/// The longest pause between two looks at a connection.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

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
    pace: Mutex<Pace>,
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
            pace: Mutex::default(),
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

    fn begun(&self) {
        self.connected.store(true, Ordering::Relaxed);
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).begin(Instant::now());
    }

    /// How long no new session is to be begun.
    fn rest(&self) -> Option<Duration> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).rest(Instant::now())
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
        super::messages::snowflake(&value["id"]).ok_or_else(|| Trouble::Unanswered { why: "its answer names no id".to_owned() })
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
    /// Too many sessions were begun: none for this long.
    Resting(Duration),
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
                registered = stop.run_until_cancelled(self.register()).await.unwrap_or(false);
            }
            let sessions = self.health.sessions.load(Ordering::Relaxed);
            let mut rest = None;
            match self.connect(&stop).await {
                Ended::Resting(time) => {
                    tracing::error!(secs = time.as_secs(), "too many gateway sessions were begun; none until later");
                    rest = Some(time);
                }
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
                () = tokio::time::sleep(rest.unwrap_or(wait)) => {}
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
        let url = match stop.run_until_cancelled(self.leave_to_connect()).await {
            None => return Ended::Stopped,
            Some(Err(ended)) => return ended,
            Some(Ok(url)) => url,
        };
        let (live, shard) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(None)));
        let events = Events { gateway: self.clone(), live, shard, home: Handle::current() };
        self.health.heard();
        let mut connection = match Connection::open(&self.api, url, Arc::new(events.clone())) {
            Ok(connection) => connection,
            Err(error) => return Ended::Failed(error.to_string()),
        };
        let ended = loop {
            tokio::select! {
                () = stop.cancelled() => break Ended::Stopped,
                why = connection.ended() => break ended(why),
                () = tokio::time::sleep((self.settings.deaf_after / 8).min(LOOK_EVERY_MAX)) => {}
            }
            self.health.connected.store(connection.stands().await, Ordering::Relaxed);
            if let Some(ended) = self.look(&events) {
                break ended;
            }
        };
        events.live.store(false, Ordering::Relaxed);
        self.health.connected.store(false, Ordering::Relaxed);
        connection.close().await;
        ended
    }

    /// The gateway's address, if a session may be begun now.
    async fn leave_to_connect(&self) -> Result<String, Ended> {
        if let Some(rest) = self.health.rest() {
            return Err(Ended::Resting(rest));
        }
        let answer = match self.api.call(Call::new(LightMethod::Get, Route::GatewayBot)).await {
            Ok(answer) => answer,
            Err(Trouble::Refused { status: 401, .. }) => return Err(Ended::Fatal(GatewayError::Token)),
            Err(trouble) => return Err(Ended::Failed(trouble.to_string())),
        };
        if let Some(rest) = pace::rest_told(&answer) {
            return Err(Ended::Resting(rest));
        }
        let url = answer["url"].as_str().ok_or_else(|| Ended::Failed("Discord names no gateway".to_owned()))?;
        Ok(url.to_owned())
    }

    /// Whether the connection is to be given up. Probes it when it has been silent for half its time.
    fn look(&self, events: &Events) -> Option<Ended> {
        if let Some(rest) = self.health.rest() {
            return Some(Ended::Resting(rest));
        }
        let (silent, patience) = (self.health.silent_for(), self.settings.deaf_after);
        if silent >= patience {
            return Some(Ended::Deaf);
        }
        if silent >= patience / 2 {
            events.probe(silent);
        }
        None
    }
}

fn ended(why: Option<SerenityGatewayError>) -> Ended {
    match why {
        None => Ended::Failed("the client ended".to_owned()),
        Some(SerenityGatewayError::InvalidAuthentication) => Ended::Fatal(GatewayError::Token),
        Some(SerenityGatewayError::DisallowedGatewayIntents | SerenityGatewayError::InvalidGatewayIntents) => {
            Ended::Fatal(GatewayError::Intents)
        }
        Some(error) => Ended::Failed(error.to_string()),
    }
}

/// The events of one connection.
#[derive(Clone)]
struct Events {
    gateway: Gateway,
    /// Whether this is still the connection in use.
    live: Arc<AtomicBool>,
    /// Where probes are sent.
    shard: Arc<Mutex<Option<Shard>>>,
    /// The bot's own runtime.
    home: Handle,
}

/// Where a session takes orders.
struct Shard {
    messenger: serenity::gateway::ShardMessenger,
    /// For which silence it was last probed: a shorter one since means that something was heard.
    probed_after: Option<Duration>,
}

impl Events {
    /// Asks for something that the gateway must answer by an event: the bot's own membership, which needs no intent.
    /// Once in each silence.
    fn probe(&self, silent: Duration) {
        let mut shard = self.shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shard) = shard.as_mut() else { return };
        let probed = shard.probed_after.is_some_and(|before| before < silent);
        shard.probed_after = Some(silent);
        if probed {
            return;
        }
        let settings = &self.gateway.settings;
        let own = ChunkGuildFilter::UserIds(vec![serenity_id::UserId::new(settings.bot.get())]);
        let guild = serenity_id::GuildId::new(settings.guild.get());
        shard.messenger.chunk_guild(guild, Some(1), false, own, Some("probe".to_owned()));
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
        let why = why_unparsed(name, value);
        tracing::error!(event = name, why, "a known event could not be parsed; Discord or serenity has changed");
        if name == "INTERACTION_CREATE" {
            self.excuse(value).await;
        } else {
            self.catch_up();
        }
    }

    /// Tells the person that their interaction could not be read, if at least its id and token can be.
    async fn excuse(&self, value: &Value) {
        let (Some(id), Some(token)) = (super::messages::snowflake(&value["id"]), value["token"].as_str()) else { return };
        let application = super::messages::snowflake(&value["application_id"]).unwrap_or(1);
        let why = "the bot could not read what Discord sent for this";
        let next = "Try again; if it stays so, the bot needs an update. Reactions and `pointsman rollback` still work.";
        let told = self.gateway.interactions.tell(id, application, token, &rejection::refused(why, next)).await;
        if let Err(trouble) = told {
            tracing::warn!(%trouble, "could not tell that an interaction was not understood");
        }
    }
}

/// What serenity misses in an event; it tells only for interactions, of which each counts.
fn why_unparsed(name: &str, value: &Value) -> String {
    let interaction = (name == "INTERACTION_CREATE").then(|| serde_json::from_value::<Interaction>(value.clone()));
    interaction.and_then(Result::err).map_or_else(|| "its shape is not the known one".to_owned(), |error| error.to_string())
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

fn is_mark(emoji: &ReactionType) -> bool {
    matches!(emoji, ReactionType::Unicode(text) if text == MARK)
}

#[async_trait]
impl RawEventHandler for Events {
    async fn raw_event(&self, context: Context, event: Event) {
        if !self.live.load(Ordering::Relaxed) {
            return;
        }
        self.gateway.health.heard();
        if let Event::Ready(ready) = &event {
            let shard = Shard { messenger: context.shard.clone(), probed_after: None };
            *self.shard.lock().unwrap_or_else(PoisonError::into_inner) = Some(shard);
            self.gateway.health.begun();
            let guild = self.gateway.settings.guild;
            if !ready.ready.guilds.iter().any(|known| known.id.get() == guild.get()) {
                tracing::error!(%guild, "the bot is not on the server: invite it, or check the server's id in the settings");
            }
        }
        // What follows may open connections, which must outlive this one.
        let events = self.clone();
        self.home.spawn(async move { events.take(event).await });
    }
}

impl Events {
    async fn take(&self, event: Event) {
        let hint = |channel: serenity::all::ChannelId, message: serenity::all::MessageId| Hint::Reactions {
            channel: ChannelId::new(channel.get()),
            message: MessageId::new(message.get()),
        };
        match event {
            Event::Ready(_) => self.catch_up(),
            Event::Resumed(_) => self.gateway.health.connected.store(true, Ordering::Relaxed),
            Event::InteractionCreate(event) => self.gateway.interactions.handle(event.interaction).await,
            Event::ReactionAdd(event) => {
                let own = event.reaction.user_id.is_some_and(|user| user.get() == self.gateway.settings.bot.get());
                if !own && is_mark(&event.reaction.emoji) {
                    self.hint(Hint::Marked { channel: ChannelId::new(event.reaction.channel_id.get()) });
                } else if !own {
                    self.hint(hint(event.reaction.channel_id, event.reaction.message_id));
                }
            }
            Event::ReactionRemove(event) => self.reaction_removed(&event.reaction),
            Event::ReactionRemoveAll(event) => self.hint(hint(event.channel_id, event.message_id)),
            Event::ReactionRemoveEmoji(event) => self.hint(hint(event.reaction.channel_id, event.reaction.message_id)),
            Event::MessageDelete(event) => self.deleted(event.channel_id, event.message_id),
            Event::MessageDeleteBulk(event) => event.ids.iter().for_each(|id| self.deleted(event.channel_id, *id)),
            Event::ChannelDelete(event) => {
                self.hint(Hint::ChannelDeleted { channel: ChannelId::new(event.channel.id.get()) });
                // Cards of runs may have stood in it too.
                self.catch_up();
            }
            Event::ThreadDelete(event) => {
                self.hint(Hint::ChannelDeleted { channel: ChannelId::new(event.thread.id.get()) });
                self.catch_up();
            }
            Event::Unknown(event) => self.unparsed(&event.kind, &event.value).await,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_interaction_that_cannot_be_parsed_is_told_with_the_missing_field() {
        let event = json!({ "t": "INTERACTION_CREATE", "d": {
            "id": "5", "application_id": "6", "type": 2, "token": "t", "version": 1, "channel_id": "7",
            "entitlements": [], "attachment_size_limit": 1, "data": { "id": "8", "name": "status", "type": 1 },
        }});
        let event: Event = serde_json::from_value(event).expect("any event is one");
        let Event::Unknown(event) = event else { panic!("it was parsed") };
        let why = why_unparsed(&event.kind, &event.value);
        assert!(why.contains("missing field `locale`"), "{why}");
        assert!(!why_unparsed("MESSAGE_DELETE", &json!({})).contains("field"));
    }
}

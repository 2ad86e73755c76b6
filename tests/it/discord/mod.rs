//! The production Discord client against the model: messages, votes, commands, forms, trouble, the gateway.
//! The engine is played by a fake that remembers what it was told, and a run is driven by hand through the domain.

mod connection;
mod fake;
mod faults;
mod gateway;
mod incident_commands;
mod incidents;
mod messages;
mod presses;
mod talk;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pointsman::clock::SharedClock;
use pointsman::discord::chat::{ChatSettings, DiscordChat};
use pointsman::discord::gateway::{Gateway, GatewaySettings, identify};
use pointsman::discord::interactions::{self, Interactions};
use pointsman::discord::{Access, Api};
use pointsman::domain::{GuildId, Mask, RoleId, RoleName};
use pointsman::sandbox::discord::{Model, World};
use tokio_util::sync::CancellationToken;

use self::fake::{Definitions, Engine};

/// A backstop for everything that is awaited; nothing here takes that long unless it fails.
const SOON: Duration = Duration::from_secs(20);
/// What the settings know to be a secret.
const PLANTED: &str = "planted-secret";

/// The bot's side of a model.
struct Bot {
    model: Model,
    chat: Arc<DiscordChat>,
    engine: Arc<Engine>,
    gateway: Gateway,
    stop: CancellationToken,
    dir: tempfile::TempDir,
}

impl Bot {
    /// A bot that speaks REST and has no gateway connection yet.
    async fn rest(world: World) -> Self {
        Self::with_patience(world, Duration::from_secs(150)).await
    }

    async fn with_patience(world: World, deaf_after: Duration) -> Self {
        Self::timed(world, Arc::new(pointsman::clock::ScaledClock::real()), deaf_after).await
    }

    /// The same in a model with a time of its own.
    async fn timed(world: World, clock: SharedClock, deaf_after: Duration) -> Self {
        let model = Model::start(world, clock, ([127, 0, 0, 1], 0).into()).await.expect("the model starts");
        let access = Access { api_base: model.base_url().to_owned(), token: model.token().into() };
        let api = Api::new(access).expect("a client");
        let identity = identify(&api).await.expect("the model knows the bot");
        let guild = GuildId::new(model.guild_id().get());
        let dir = tempfile::tempdir().expect("a directory");
        let settings = ChatSettings { guild, bot: identity.bot, runs_dir: dir.path().to_owned() };
        let chat = Arc::new(DiscordChat::new(Arc::clone(&api), settings));
        let engine = Arc::new(Engine::default());
        let settings = interactions::Settings {
            guild,
            application: identity.application,
            roles: roles(&model),
            now: Arc::new(fake::start_instant),
            post_mortem: Arc::new(|dossier| {
                format!("# Post-mortem of {}\n{}\n", dossier.incident.state.id(), dossier.journal_head)
            }),
            mask: Mask::new(|text| text.replace(PLANTED, "[redacted]")),
        };
        let interactions = Arc::new(Interactions::new(
            Arc::clone(&api),
            Arc::clone(&engine) as _,
            Arc::clone(&engine) as _,
            Arc::clone(&engine) as _,
            Arc::new(Definitions::default()),
            settings,
        ));
        let settings = GatewaySettings { guild, bot: identity.bot, deaf_after };
        let gateway = Gateway::new(api, Arc::clone(&engine) as _, Arc::clone(&chat), interactions, settings);
        Self { model, chat, engine, gateway, stop: CancellationToken::new(), dir }
    }

    /// The same with commands registered and a session on the gateway.
    async fn online(world: World) -> Self {
        let bot = Self::rest(world).await;
        bot.connect().await;
        bot
    }

    async fn connect(&self) {
        let (gateway, stop) = (self.gateway.clone(), self.stop.clone());
        tokio::spawn(async move { gateway.run(stop).await });
        self.engine.wait_for(|seen| seen.reconnected() > 0).await;
    }

    /// Nothing that the bot did would Discord refuse as malformed.
    fn finish(self) {
        self.stop.cancel();
        assert_eq!(self.model.counters().unmodelled, 0, "{:#?}", self.model.violations());
        assert!(self.model.violations().is_empty(), "{:#?}", self.model.violations());
        self.model.stop();
    }
}

/// The roles of the operations guild, as settings would map them.
fn roles(model: &Model) -> BTreeMap<RoleName, Vec<RoleId>> {
    let names = ["operator", "operations_lead", "dba", "security"];
    names.iter().map(|name| (name.parse().expect("a name"), vec![RoleId::new(model.role(name).get())])).collect()
}

/// The operations guild without rate limits.
fn quiet() -> World {
    World::operations().without_rate_limits()
}

//! The Discord model, driven by the production client library over real sockets.

mod control;
mod gateway;
mod interactions;
mod rest;
mod transcript;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use pointsman::clock::{FakeClock, ScaledClock};
use pointsman::sandbox::discord::{Model, World};
use serenity::all::{ChannelId, Event, GatewayIntents, GuildId, Http, HttpBuilder, HttpError};
use serenity::async_trait;
use serenity::client::{ClientBuilder, Context, RawEventHandler};
use serenity::gateway::ShardManager;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A backstop for everything that is awaited; nothing here takes that long unless it fails.
const SOON: Duration = Duration::from_secs(20);

/// The intents that the product asks for: none of them privileged.
const INTENTS: GatewayIntents =
    GatewayIntents::GUILDS.union(GatewayIntents::GUILD_MESSAGES).union(GatewayIntents::GUILD_MESSAGE_REACTIONS);

/// The production client, pointed at a model.
struct Bot {
    model: Model,
    http: Arc<Http>,
    events: UnboundedReceiver<Event>,
    shards: Option<Arc<ShardManager>>,
}

struct Forward(UnboundedSender<Event>);

#[async_trait]
impl RawEventHandler for Forward {
    async fn raw_event(&self, _context: Context, event: Event) {
        // The test may have ended.
        let _ = self.0.send(event);
    }
}

/// A model of the operations guild by the machine's clock, without rate limits.
async fn quiet_model() -> Model {
    start(World::operations().without_rate_limits()).await
}

async fn start(world: World) -> Model {
    let clock = Arc::new(ScaledClock::real());
    Model::start(world, clock, ([127, 0, 0, 1], 0).into()).await.expect("the model starts")
}

/// A model whose time stands still until told.
async fn still_model(world: World) -> (Model, FakeClock) {
    let clock = FakeClock::at(DateTime::from_timestamp(1_790_000_000, 0).expect("a valid instant"));
    let model = Model::start(world, Arc::new(clock.clone()), ([127, 0, 0, 1], 0).into()).await;
    (model.expect("the model starts"), clock)
}

fn http(model: &Model) -> Http {
    let client = reqwest::Client::builder().timeout(SOON).build().expect("a client");
    let http = HttpBuilder::new(model.token()).client(client).proxy(model.base_url()).ratelimiter_disabled(true).build();
    http.set_application_id(model.application_id().get().into());
    http
}

impl Bot {
    /// REST only.
    fn rest(model: &Model) -> Self {
        let (_, events) = unbounded_channel();
        Self { model: model.clone(), http: Arc::new(http(model)), events, shards: None }
    }

    /// REST and an open gateway; READY and GUILD_CREATE have come.
    async fn online(model: &Model) -> Self {
        let mut bot = Self::connecting(model, INTENTS).await;
        bot.expect("GUILD_CREATE", |event| matches!(event, Event::GuildCreate(_)).then_some(())).await;
        bot
    }

    async fn connecting(model: &Model, intents: GatewayIntents) -> Self {
        let (sender, events) = unbounded_channel();
        let builder = ClientBuilder::new_with_http(http(model), intents).raw_event_handler(Forward(sender));
        let mut client = builder.await.expect("a client");
        let (http, shards) = (client.http.clone(), Some(client.shard_manager.clone()));
        tokio::spawn(async move { client.start().await });
        Self { model: model.clone(), http, events, shards }
    }

    /// The next event that `look` accepts; any that serenity could not parse fails the test.
    async fn expect<T>(&mut self, what: &str, mut look: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the client runs");
                assert!(!matches!(event, Event::Unknown(_)), "serenity could not parse {event:?}");
                if let Some(found) = look(&event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(SOON, found).await.unwrap_or_else(|_| panic!("no {what} came"))
    }

    fn channel(&self, name: &str) -> ChannelId {
        self.model.channel(name).get().into()
    }

    fn guild(&self) -> GuildId {
        self.model.guild_id().get().into()
    }

    async fn stop(self) {
        if let Some(shards) = self.shards {
            shards.shutdown_all().await;
        }
        self.model.stop();
    }
}

/// The status and Discord's code of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, serenity::Error>) -> (u16, isize) {
    match result {
        Err(serenity::Error::Http(HttpError::UnsuccessfulRequest(answer))) => (answer.status_code.as_u16(), answer.error.code),
        other => panic!("not refused: {other:?}"),
    }
}

/// The bot did nothing that Discord would refuse as malformed, and used no route the model lacks.
fn expect_clean(model: &Model) {
    assert_eq!(model.counters().unmodelled, 0);
    assert!(model.violations().is_empty(), "{:#?}", model.violations());
}

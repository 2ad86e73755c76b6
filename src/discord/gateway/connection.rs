//! One connection to the gateway: serenity's shard, in a runtime of its own.
//!
//! serenity starts tasks that nobody can end: one that waits for an upgrade never looks at its orders, and would,
//! when the answer comes at last, begin a second session beside the new one. A runtime of its own ends them all. Its
//! one thread only reads the socket; what an event leads to runs in the bot's own runtime, because connections to
//! other servers that were opened here would die here.
//!
//! The shard manager is used without serenity's `Client`, which asks for the gateway's address a second time and
//! goes to Discord's real one if it gets no answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt};
use secrecy::ExposeSecret;
use serenity::client::RawEventHandler;
use serenity::gateway::{ConnectionStage, GatewayError, ShardManager, ShardManagerOptions};
use serenity::http::HttpBuilder;
use serenity::model::gateway::GatewayIntents;
use serenity::prelude::TypeMap;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, RwLock};
use tokio::time::timeout;

use crate::discord::rest::Api;

/// What the bot asks to be told, none of it privileged: guilds, to know whether it is on the server, and what becomes of
/// threads; messages, because a deleted card voids its votes; reactions, which are the votes. Interactions and the
/// answers to probes need no intent.
const INTENTS: GatewayIntents =
    GatewayIntents::GUILDS.union(GatewayIntents::GUILD_MESSAGES).union(GatewayIntents::GUILD_MESSAGE_REACTIONS);
/// How long a connection may take to say goodbye; what hangs does not answer.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// A connection, or the attempt at one. Dropping it ends every task that serves it.
pub(super) struct Connection {
    manager: Arc<ShardManager>,
    ended: BoxStream<'static, Result<(), GatewayError>>,
    runtime: Option<Runtime>,
}

impl Connection {
    /// Begins to connect to `url`. `events` is called in the connection's own runtime.
    ///
    /// # Errors
    /// If the machine gives no thread.
    pub(super) fn open(api: &Api, url: String, events: Arc<dyn RawEventHandler>) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("gateway").enable_all().build()?;
        let (access, client) = api.access();
        // Nothing goes this way; if something did, it would go where the settings say, and not for ever.
        let http = HttpBuilder::new(access.token.expose_secret()).client(client.clone()).proxy(access.api_base.clone());
        let options = ShardManagerOptions {
            data: Arc::new(RwLock::new(TypeMap::new())),
            event_handlers: Vec::new(),
            raw_event_handlers: vec![events],
            shard_index: 0,
            shard_init: 0,
            shard_total: 0,
            ws_url: Arc::new(Mutex::new(url)),
            http: Arc::new(http.ratelimiter_disabled(true).build()),
            intents: INTENTS,
            presence: None,
        };
        let (manager, ended) = {
            let _entered = runtime.enter();
            ShardManager::new(options)
        };
        let orders = Arc::clone(&manager);
        runtime.spawn(async move {
            orders.set_shards(0, 1, 1).await;
            if let Err(error) = orders.initialize() {
                tracing::error!(%error, "the gateway's client does not start");
            }
        });
        Ok(Self { manager, ended: ended.boxed(), runtime: Some(runtime) })
    }

    /// Comes true when serenity has ended the connection; tells why if it will not try again. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Option<GatewayError> {
        self.ended.next().await.and_then(Result::err)
    }

    /// Whether a session stands, as far as serenity knows.
    pub(super) async fn stands(&mut self) -> bool {
        self.manager.runners.lock().await.values().any(|runner| runner.stage == ConnectionStage::Connected)
    }

    /// Says goodbye if that is quickly done, and ends everything.
    pub(super) async fn close(self) {
        if timeout(GOODBYE_WITHIN, self.manager.shutdown_all()).await.is_err() {
            tracing::warn!("a gateway connection did not close in time and was cut");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its tasks is not allowed here, and they may hang.
            runtime.shutdown_background();
        }
    }
}

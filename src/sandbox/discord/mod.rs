//! A model of Discord: one guild behind real HTTP and WebSocket, for the tests, the demo and the chat page.
//!
//! It reads what the bot sends through twilight's types and validators, independent of serenity, which built it;
//! it enforces the documented limits, rate limits and permissions, and misbehaves on demand.
//!
//! Invariants: every change goes through `state`, is recorded in the feed and announced on the gateway exactly
//! once; no handler waits while it holds the lock; a request to a route that is not modelled is answered 404 and
//! counted, never guessed at.
//!
//! Time: rate limits, enforced nonces and the 3 s rule run by the wall, because headers and clients' time-outs
//! do; what Discord counts in minutes and hours (tokens, old edits, archiving) runs by the given clock.
//!
//! Absent on purpose: voice, direct messages and other guilds (but for a command that comes from there), emoji of a
//! guild, shards, compression.

mod answer;
mod chat;
mod control;
mod draft;
mod error;
mod faults;
mod feed;
mod founding;
mod gateway;
mod ids;
mod log;
mod mentions;
mod people;
mod permissions;
mod rate;
mod rest;
mod serve;
mod sessions;
mod slash;
mod state;
pub mod transcript;
mod wire;
mod world;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use twilight_model::guild::Permissions;

pub use self::answer::{NotAnswered, Pending};
pub use self::chat::*;
pub(in crate::sandbox) use self::faults::matches;
pub use self::faults::{Fault, Misbehaviour};
pub use self::feed::{Change, Changes, What};
pub use self::ids::*;
pub use self::log::{Counters, RequestRecord, Violation};
pub use self::people::Refused;
use self::sessions::Out;
pub use self::sessions::{Deaf, EventFault};
use self::state::State;
pub use self::world::{BOT, EVERYONE, TOKEN, World};
use crate::clock::SharedClock;

/// The running model. Clones are handles to the same one.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    revisions: watch::Sender<u64>,
    base_url: String,
    server: Mutex<Option<AbortHandle>>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Model").field("base_url", &self.shared.base_url).finish_non_exhaustive()
    }
}

/// Nothing matched before the time ran out.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the chat did not come to the awaited state within {0:?}")]
pub struct TimedOut(pub Duration);

impl Model {
    /// Starts the model of `world` on `listen` (port 0 for any free one), timed by `clock`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(world: World, clock: SharedClock, listen: SocketAddr) -> io::Result<Self> {
        Self::start_beside(world, clock, listen, axum::Router::new()).await
    }

    /// As [`Self::start`], and serves the routes of `beside` (which has no fallback) at the same address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_beside(world: World, clock: SharedClock, listen: SocketAddr, beside: axum::Router) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let state = State::new(&world, clock, base_url.clone());
        let shared = Shared { state: Mutex::new(state), revisions: watch::Sender::new(0), base_url, server: Mutex::new(None) };
        let model = Self { shared: Arc::new(shared) };
        let server = tokio::spawn(serve::run(model.clone(), listener, beside)).abort_handle();
        *model.shared.server.lock().expect("nobody panics while holding the server's handle") = Some(server);
        Ok(model)
    }

    /// Stops listening and drops every gateway connection. What stood in the chat can still be read.
    pub fn stop(&self) {
        let server = self.shared.server.lock().expect("nobody panics while holding the server's handle").take();
        if let Some(server) = server {
            server.abort();
        }
        self.with(|state| state.sessions.tell_all(&Out::Drop));
    }

    /// What stands before `/api/v10`: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.shared.base_url
    }

    /// The gateway's address, as `GET /gateway` answers it.
    #[must_use]
    pub fn ws_url(&self) -> String {
        serve::ws_url(self.base_url())
    }

    /// The token that the bot must show, without `Bot `.
    #[must_use]
    pub fn token(&self) -> String {
        self.with(|state| state.settings.token.clone())
    }

    /// The bot's application.
    #[must_use]
    pub fn application_id(&self) -> ApplicationId {
        self.read(|chat| chat.application)
    }

    /// The guild.
    #[must_use]
    pub fn guild_id(&self) -> GuildId {
        self.read(|chat| chat.guild)
    }

    /// The bot's user.
    #[must_use]
    pub fn bot_id(&self) -> UserId {
        self.read(|chat| chat.bot)
    }

    /// The id of the role called `name`.
    ///
    /// # Panics
    /// If the guild has none: the caller's world is not what it thinks.
    #[must_use]
    pub fn role(&self, name: &str) -> RoleId {
        self.read(|chat| chat.role_named(name).map(|role| role.id)).unwrap_or_else(|| panic!("no role {name:?}"))
    }

    /// The id of the newest channel or thread called `name`.
    ///
    /// # Panics
    /// If the guild has none.
    #[must_use]
    pub fn channel(&self, name: &str) -> ChannelId {
        let found = self.read(|chat| chat.channel_named(name).map(|channel| channel.id));
        found.unwrap_or_else(|| panic!("no channel {name:?}"))
    }

    /// The id of the person whose account is called `name`.
    ///
    /// # Panics
    /// If the guild has none.
    #[must_use]
    pub fn user(&self, name: &str) -> UserId {
        let found = self.read(|chat| chat.member_named(name).map(|member| member.id));
        found.unwrap_or_else(|| panic!("no member {name:?}"))
    }

    /// Looks at the guild as it stands. `look` must not call the model again.
    pub fn read<T>(&self, look: impl FnOnce(&Chat) -> T) -> T {
        self.with(|state| look(&state.chat))
    }

    /// Waits until `look` finds something, looking again after every change.
    ///
    /// # Errors
    /// [`TimedOut`] after `timeout` of wall time.
    pub async fn wait_for<T>(&self, timeout: Duration, mut look: impl FnMut(&Chat) -> Option<T>) -> Result<T, TimedOut> {
        self.wait(timeout, |state| look(&state.chat)).await
    }

    /// Waits until the request log holds something that `look` finds.
    ///
    /// # Errors
    /// [`TimedOut`] after `timeout` of wall time.
    pub async fn wait_for_request<T>(
        &self,
        timeout: Duration,
        mut look: impl FnMut(&[RequestRecord]) -> Option<T>,
    ) -> Result<T, TimedOut> {
        self.wait(timeout, |state| look(&state.log.requests)).await
    }

    /// Waits until the bot's gateway session is open.
    ///
    /// # Errors
    /// [`TimedOut`] after `timeout` of wall time.
    pub async fn wait_for_gateway(&self, timeout: Duration) -> Result<(), TimedOut> {
        self.wait(timeout, |state| (state.sessions.connected() > 0).then_some(())).await
    }

    /// Waits until no gateway session is connected.
    ///
    /// # Errors
    /// [`TimedOut`] after `timeout` of wall time.
    pub async fn wait_for_gateway_loss(&self, timeout: Duration) -> Result<(), TimedOut> {
        self.wait(timeout, |state| (state.sessions.connected() == 0).then_some(())).await
    }

    async fn wait<T>(&self, timeout: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> Result<T, TimedOut> {
        let mut revisions = self.shared.revisions.subscribe();
        let found = async {
            loop {
                revisions.borrow_and_update();
                if let Some(found) = self.with(&mut look) {
                    return found;
                }
                if revisions.changed().await.is_err() {
                    // The sender lives as long as this handle.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(timeout, found).await.map_err(|_| TimedOut(timeout))
    }

    /// A reader of all changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> Changes {
        let next = self.with(|state| state.feed.changes.len());
        self.changes_from(next)
    }

    /// A reader of all changes from number `seq` on; 0 is the beginning.
    #[must_use]
    pub fn changes_from(&self, seq: usize) -> Changes {
        Changes::new(self.clone(), seq, self.shared.revisions.subscribe())
    }

    /// Every REST request so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.with(|state| state.log.requests.clone())
    }

    /// What the bot got wrong so far: empty for a correct bot.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.with(|state| state.log.violations.clone())
    }

    /// Totals so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.with(|state| state.log.counters.clone())
    }

    /// How many gateway sessions are connected.
    #[must_use]
    pub fn gateway_connections(&self) -> usize {
        self.with(|state| state.sessions.connected())
    }

    /// The bytes of an attachment.
    #[must_use]
    pub fn attachment(&self, attachment: AttachmentId) -> Option<bytes::Bytes> {
        self.with(|state| state.files.get(&attachment).map(|(_, bytes)| bytes.clone()))
    }

    /// Adds a REST fault. The first one that matches a request is applied.
    pub fn fault(&self, fault: Fault) {
        self.with(|state| state.faults.list.push(fault));
    }

    /// Ends every fault of REST, gateway and connections.
    pub fn clear_faults(&self) {
        self.with(|state| {
            state.faults = faults::Faults::default();
            state.sessions.clear_faults();
        });
    }

    /// Drops new connections as soon as they are accepted, or no longer.
    pub fn refuse_connections(&self, refuse: bool) {
        self.with(|state| state.faults.refuse_connections = refuse);
    }

    /// Breaks every gateway connection without a close frame. Sessions stay and can be resumed.
    pub fn drop_gateway(&self) {
        self.with(|state| state.sessions.tell_all(&Out::Drop));
    }

    /// Closes every gateway connection with `code`.
    pub fn close_gateway(&self, code: u16) {
        self.with(|state| state.sessions.tell_all(&Out::Close(code, "a fault that was asked for")));
    }

    /// Asks every connection to reconnect (op 7).
    pub fn ask_to_reconnect(&self) {
        let text = serde_json::json!({ "op": 7, "d": null }).to_string();
        self.with(|state| state.sessions.tell_all(&Out::Text(text.into())));
    }

    /// Tells every connection that its session is invalid (op 9); with `resumable` false also forgets it.
    pub fn invalidate_sessions(&self, resumable: bool) {
        let text = serde_json::json!({ "op": 9, "d": resumable }).to_string();
        self.with(|state| {
            state.sessions.tell_all(&Out::Text(text.into()));
            if !resumable {
                state.sessions.forget();
            }
        });
    }

    /// Answers the next `times` RESUMEs by "invalid session".
    pub fn refuse_resumes(&self, times: u32) {
        self.with(|state| state.sessions.refuse_resumes = times);
    }

    /// Leaves the next `times` RESUMEs without an answer, while heartbeats on their connections are acknowledged.
    pub fn ignore_resumes(&self, times: u32) {
        self.with(|state| state.sessions.ignore_resumes = times);
    }

    /// Makes the gateway deaf (sockets stay open, no event arrives), or lets it hear again.
    pub fn set_deaf(&self, deaf: Option<Deaf>) {
        self.with(|state| state.sessions.set_deaf(deaf));
    }

    /// Loses, repeats, delays or garbles the next `times` events called `name` (`MESSAGE_REACTION_ADD`, or `*` for any).
    pub fn spoil_events(&self, name: &str, fault: EventFault, times: u32) {
        self.with(|state| state.sessions.spoil(name, fault, times));
    }

    /// Forgets which nonces were used, as Discord does after some minutes.
    pub fn forget_nonces(&self) {
        self.with(|state| state.nonces.clear());
    }

    /// Deletes a channel or thread, as its owner would. `false` if there is none.
    pub fn delete_channel(&self, channel: ChannelId) -> bool {
        self.with(|state| state.remove_channel(channel, Some(state.chat.owner)).is_some())
    }

    /// Gives a member exactly these roles, by name; unknown names are left out.
    pub fn set_roles(&self, user: &str, roles: &[&str]) {
        self.with(|state| {
            let roles: BTreeSet<_> = roles.iter().filter_map(|name| state.chat.role_named(name)).map(|role| role.id).collect();
            if let Some(user) = state.chat.member_named(user).map(|member| member.id) {
                state.set_roles(user, roles);
            }
        });
    }

    /// Sets what a role grants in the guild.
    pub fn set_role_permissions(&self, role: RoleId, permissions: Permissions) {
        self.with(|state| state.set_role_permissions(role, permissions));
    }

    /// Takes a role out of the guild.
    pub fn delete_role(&self, role: RoleId) {
        self.with(|state| state.remove_role(role));
    }

    /// Takes permissions from the bot's own role and from `@everyone`.
    pub fn revoke_from_bot(&self, permissions: Permissions) {
        self.change_bot(|held| held - permissions, true);
    }

    /// Gives permissions to the bot's own role.
    pub fn grant_to_bot(&self, permissions: Permissions) {
        self.change_bot(|held| held | permissions, false);
    }

    fn change_bot(&self, change: impl Fn(Permissions) -> Permissions, everyone_too: bool) {
        self.with(|state| {
            let everyone = state.chat.guild.cast();
            let wanted = |role: &&Role| role.managed || (everyone_too && role.id == everyone);
            let roles: Vec<_> = state.chat.roles.values().filter(wanted).map(|r| (r.id, change(r.permissions))).collect();
            for (role, permissions) in roles {
                state.set_role_permissions(role, permissions);
            }
        });
    }

    /// Runs `work` on the state and wakes those who wait if it changed anything.
    /// A closure of a test that panicked in here has changed nothing by halves: it only looked.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let _entered = Entered::new(&self.shared);
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.revision;
        let connected = state.sessions.connected();
        let result = work(&mut state);
        if state.sessions.connected() != connected {
            state.revision += 1;
        }
        if state.revision != before {
            self.shared.revisions.send_replace(state.revision);
        }
        result
    }
}

thread_local! {
    /// The model whose lock this thread holds, as its address; 0 for none.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Turns the deadlock of a model asked from within its own `read` or `wait_for` into a panic that says so.
struct Entered {
    outer: usize,
}

impl Entered {
    fn new(shared: &Arc<Shared>) -> Self {
        let this = Arc::as_ptr(shared) as usize;
        let outer = HELD.replace(this);
        assert_ne!(outer, this, "the model was asked again from within a look at it: use what the closure is given");
        Self { outer }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        HELD.set(self.outer);
    }
}

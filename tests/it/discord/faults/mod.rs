//! A whole engine over a real journal with the production clients, while the models of Discord and GitHub misbehave:
//! what people read in the channel, and that nothing is lost or doubled.
//!
//! A [`Rig`] is the world that outlives the bot: both models, journal, time. A [`Life`] is one process of the bot with a
//! runtime of its own: when its script ends, it is gone as after `kill -9`.

mod github;
mod incident;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indexmap::IndexMap;
use pointsman::clock::{Clock as _, CountingIds, FakeClock};
use pointsman::discord::chat::{ChatSettings, DiscordChat};
use pointsman::discord::gateway::{Gateway, GatewaySettings, identify};
use pointsman::discord::interactions::{self, Interactions};
use pointsman::discord::{Access, Api, DiscordIncidentChat, IncidentChatSettings};
use pointsman::domain::incident::{IncidentId, Input, OpenRequest, Opener, Policy, Severity, State};
use pointsman::domain::{ChannelId, GuildId, Mask, ParameterName, Plan, RoleId, RoleName, RunId, RunbookName, Timestamp};
use pointsman::engine::{
    Engine, Handle, Incidents, Pace, PlanProblem, Planning, Policies, Ports, RunPolicy, Runs, Snapshot, StartOrder,
};
use pointsman::github::{GitHub, Settings as GitHubSettings};
use pointsman::render::post_mortem::Template;
use pointsman::sandbox::discord::{self as model, Message, Model, World};
use pointsman::sandbox::github as issues;
use pointsman::store;
use pointsman::tracking::{GitHubTracker, House};
use secrecy::SecretString;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::fake::{Definitions, person};
use super::{SOON, roles};
use crate::harness::engine::{MOVE, dead_holder};
use crate::harness::incident_chat::{FakeIncidentChat, IncidentWorld};
use crate::harness::performer::{EffectWorld, FakePerformer};
use crate::harness::planning::plan_of;
use crate::harness::points::Points;

/// How often every other task gets its turn before nothing more is expected of them.
const ROUNDS: usize = 20;
/// How long GitHub's silence is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// When every rig begins.
fn start() -> Timestamp {
    super::fake::start_instant()
}

/// The world that outlives the bot.
struct Rig {
    discord: Model,
    github: issues::Model,
    clock: FakeClock,
    /// Nobody is paged for real, and no attempt does anything.
    outside: Arc<IncidentWorld>,
    effects: Arc<EffectWorld>,
    ids: Arc<CountingIds>,
    dir: tempfile::TempDir,
    /// Runs the models.
    world: Option<Runtime>,
}

impl Rig {
    fn new(world: World) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = FakeClock::at(start());
        let listen = ([127, 0, 0, 1], 0).into();
        let (discord, github) = runtime.block_on(async {
            let discord = Model::start(world, Arc::new(clock.clone()), listen).await.expect("the model starts");
            (discord, issues::Model::start(Arc::new(clock.clone()), listen).await.expect("the model starts"))
        });
        let (outside, effects, ids) = (Arc::default(), Arc::default(), Arc::default());
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { discord, github, clock, outside, effects, ids, dir, world: Some(runtime) }
    }

    /// One process of the bot, without a gateway connection: it hears of nothing that it does not ask for.
    fn live<T>(&self, script: impl AsyncFnOnce(&Life<'_>) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(async {
            let life = self.start().await;
            script(&life).await
        });
        runtime.shutdown_background();
        result
    }

    async fn start(&self) -> Life<'_> {
        let url = format!("sqlite:{}", self.dir.path().join("journal.db").display());
        let journal = store::open(&url.into()).await.expect("the journal opens");
        let access = Access { api_base: self.discord.base_url().to_owned(), token: self.discord.token().into() };
        let api = Api::new(access).expect("a client");
        let guild = GuildId::new(self.discord.guild_id().get());
        let bot = identify(&api).await.expect("the model knows the bot").bot;
        let settings = ChatSettings { guild, bot, runs_dir: self.dir.path().join("runs") };
        let chat = Arc::new(DiscordChat::new(Arc::clone(&api), settings));
        let points = Arc::new(Points::new(None));
        let outside = Arc::new(FakeIncidentChat { world: Arc::clone(&self.outside), points: Arc::clone(&points) });
        let (world, facts) = (Arc::clone(&self.effects), Arc::clone(&journal));
        let ports = Ports {
            journal,
            clock: Arc::new(self.clock.clone()),
            ids: Arc::clone(&self.ids) as _,
            chat: Arc::clone(&chat) as _,
            performer: Arc::new(FakePerformer { world, points, journal: facts }),
            incident_chat: Arc::new(DiscordIncidentChat::beside(&chat, self.places())),
            outside,
            tracker: Arc::new(self.tracker()),
            policies: self.policies(),
        };
        let pace = Pace {
            gate_every: Duration::from_secs(300),
            refresh_every: Duration::from_millis(1),
            retry_first: Duration::from_secs(2),
            retry_max: Duration::from_secs(120),
            ..Pace::default()
        };
        let planning: Arc<dyn Planning> = Arc::new(Team(roles(&self.discord)));
        let engine = Engine::start(ports, Arc::clone(&planning), pace, &dead_holder()).await.expect("the engine starts");
        Life { rig: self, handle: engine.handle(), _engine: engine, api, chat, planning, gone: CancellationToken::new() }
    }

    fn places(&self) -> IncidentChatSettings {
        let channel = |name: &str| Some(ChannelId::new(self.discord.channel(name).get()));
        let exports_dir = self.dir.path().join("exports");
        let house = self.house();
        IncidentChatSettings {
            category: channel("Incidents"),
            archive: None,
            fallback: channel("incidents-fallback"),
            exports_dir,
            mask: Mask::none(),
            post_mortem: Arc::new(move |incident| pointsman::tracking::draft(incident, &house)),
        }
    }

    fn tracker(&self) -> GitHubTracker {
        let settings = GitHubSettings {
            api_base: self.github.api_base(),
            token: SecretString::from(issues::TOKEN),
            repository: issues::REPOSITORY.parse().expect("a repository"),
        };
        let github = Some(GitHub::with_patience(settings, PATIENCE).expect("a client"));
        GitHubTracker { github, house: self.house() }
    }

    fn house(&self) -> House {
        House {
            guild: GuildId::new(self.discord.guild_id().get()),
            labels: vec!["post-mortem".to_owned()],
            assignees: vec![],
            template: Template::shipped().clone(),
            mask: Mask::none(),
        }
    }

    fn policies(&self) -> Policies {
        let incidents = Policy { roles: roles(&self.discord), ..Policy::default() };
        Policies { incidents, runs: RunPolicy { beat: None, incident: None } }
    }

    /// The messages of the bot in a channel, oldest first.
    fn said(&self, channel: ChannelId) -> Vec<Message> {
        let bot = self.discord.bot_id();
        let channel = model::ChannelId::new(channel.get());
        self.discord.read(|chat| chat.messages_in(channel).filter(|m| m.author == bot && m.is_post()).cloned().collect())
    }

    /// Those of them that contain these words.
    fn telling(&self, channel: ChannelId, words: &str) -> Vec<Message> {
        self.said(channel).into_iter().filter(|message| message.text().contains(words)).collect()
    }

    /// Waits until people read so in the guild.
    async fn until(&self, what: &str, fits: impl Fn(&Self) -> bool) {
        // Not the model's own wait: `fits` reads the model itself.
        let wait = async {
            while !fits(self) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "never seen: {what}");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.discord.stop();
        self.github.stop();
        if let Some(world) = self.world.take() {
            world.shutdown_background();
        }
    }
}

/// One process of the bot.
struct Life<'a> {
    rig: &'a Rig,
    handle: Handle,
    _engine: Engine,
    api: Arc<Api>,
    chat: Arc<DiscordChat>,
    planning: Arc<dyn Planning>,
    /// Ends the gateway connection, if there is one.
    gone: CancellationToken,
}

impl Life<'_> {
    /// Connects to the gateway, so that commands, clicks and hints come in; it counts as deaf after `deaf_after`.
    async fn listen(&self, deaf_after: Duration) -> Gateway {
        let identity = identify(&self.api).await.expect("the model knows the bot");
        let guild = GuildId::new(self.rig.discord.guild_id().get());
        let clock = self.rig.clock.clone();
        let settings = interactions::Settings {
            mask: Mask::none(),
            guild,
            application: identity.application,
            roles: roles(&self.rig.discord),
            now: Arc::new(move || clock.now()),
            post_mortem: Arc::new(|dossier| dossier.journal_head.clone()),
        };
        let handle = Arc::new(self.handle.clone());
        let interactions = Interactions::new(
            Arc::clone(&self.api),
            Arc::clone(&handle) as Arc<dyn Runs>,
            Arc::clone(&handle) as Arc<dyn Incidents>,
            Arc::clone(&self.planning),
            Arc::new(Definitions::default()),
            settings,
        );
        let settings = GatewaySettings { guild, bot: identity.bot, deaf_after };
        let runs = Arc::clone(&handle) as Arc<dyn Runs>;
        let gateway = Gateway::new(Arc::clone(&self.api), runs, Arc::clone(&self.chat), Arc::new(interactions), settings);
        let (running, gone) = (gateway.clone(), self.gone.clone());
        tokio::spawn(async move { running.run(gone).await });
        self.rig.discord.wait_for_gateway(SOON).await.expect("it connects");
        let registered = self.rig.discord.wait_for(SOON, |chat| (!chat.commands.is_empty()).then_some(()));
        registered.await.expect("the commands are registered");
        gateway
    }

    /// Returns when nothing goes on any more.
    async fn settle(&self) {
        let mut quiet = 0;
        while quiet < ROUNDS {
            let idle = futures_util::FutureExt::now_or_never(self.handle.idle()).is_some();
            quiet = if idle { quiet + 1 } else { 0 };
            if !idle {
                self.handle.idle().await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Moves the time, and waits at each deadline until nothing goes on.
    async fn advance(&self, secs: i64) {
        let until = self.rig.clock.now() + chrono::TimeDelta::seconds(secs);
        while let Some(next) = self.rig.clock.next_deadline().filter(|next| *next <= until) {
            self.rig.clock.set(next.max(self.rig.clock.now()));
            tokio::task::yield_now().await;
            self.settle().await;
        }
        self.rig.clock.set(until);
        self.settle().await;
    }

    /// An incident that somebody has opened and is on.
    async fn incident(&self, severity: Severity) -> IncidentId {
        let request = OpenRequest {
            title: "Checkout is down".to_owned(),
            severity,
            by: Opener::Person(person(&self.rig.discord, "olivia", &["operator"])),
            customer_facing: false,
            private: false,
            asked_in: None,
            run: None,
        };
        let incident = self.handle.open(request).await.expect("it opens");
        self.settle().await;
        self.tell(&incident, Input::Acknowledge { by: person(&self.rig.discord, "leo", &[]) }).await;
        incident
    }

    async fn tell(&self, incident: &IncidentId, input: Input) {
        self.handle.tell(incident, input).await.expect("it is allowed");
        self.settle().await;
    }

    async fn note(&self, incident: &IncidentId, text: &str) {
        let by = person(&self.rig.discord, "olivia", &["operator"]);
        self.tell(incident, Input::Note { by, text: text.to_owned() }).await;
    }

    fn state(&self, incident: &IncidentId) -> Arc<State> {
        self.handle.incident(incident).expect("the engine knows it").state
    }

    fn channel(&self, incident: &IncidentId) -> ChannelId {
        self.state(incident).channel.expect("it has a channel")
    }

    /// Everything that the incident has ever owed stands in its channel, once, and the bot has said nothing else there.
    fn expect_said_once(&self, incident: &IncidentId) {
        let state = self.state(incident);
        let mut said: Vec<u64> = self.rig.said(self.channel(incident)).iter().map(|message| message.id.get()).collect();
        for owed in &state.owed {
            let at = owed.posted.unwrap_or_else(|| panic!("{} is not said", owed.key)).message.get();
            let place = said.iter().position(|id| *id == at);
            said.remove(place.unwrap_or_else(|| panic!("{} does not stand in the channel", owed.key)));
        }
        assert_eq!(said, Vec::<u64>::new(), "nobody owed these");
    }

    /// Starts a live run of the runbook `move` in #ops.
    async fn run(&self) -> RunId {
        let order = StartOrder {
            runbook: "move".parse().expect("a name"),
            parameters: IndexMap::new(),
            mode: pointsman::domain::run::Mode::Live,
            at: None,
            requester: person(&self.rig.discord, "olivia", &["operator"]),
            channel: ChannelId::new(self.rig.discord.channel("ops").get()),
        };
        let run = self.handle.start(order).await.expect("it starts");
        self.settle().await;
        run
    }

    fn snapshot(&self, run: &RunId) -> Snapshot {
        self.handle.snapshot(run).expect("the engine knows it")
    }

    fn thread(&self, run: &RunId) -> ChannelId {
        self.snapshot(run).state.thread.expect("it has a thread")
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

/// Plans the runbook `move`, with the guild's roles.
struct Team(BTreeMap<RoleName, Vec<RoleId>>);

#[async_trait]
impl Planning for Team {
    async fn plan(&self, _: &RunbookName, _: &IndexMap<ParameterName, String>) -> Result<Plan, PlanProblem> {
        let plan = plan_of(serde_json::from_str(MOVE).expect("a runbook"));
        Ok(Plan { roles: self.0.clone(), ..plan })
    }

    async fn pin(&self, _: &RunId, _: &Plan) -> Result<(), PlanProblem> {
        Ok(())
    }
}

/// The markers of messages, in their order: what each of them is to the bot.
fn markers(messages: &[Message]) -> Vec<String> {
    let marker = |message: &Message| Some(message.embeds.last()?.footer.as_ref()?.text.clone());
    messages.iter().filter_map(marker).collect()
}

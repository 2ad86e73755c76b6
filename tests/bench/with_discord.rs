//! The whole program against the model of Discord, over HTTP and WebSocket, with Discord's limits in force.
//!
//! The bot is the production program with production settings, as a process of its own; it is killed as `kill -9` does. What
//! was said, and when, is read off the model's messages alone: who follows a channel has nothing else either.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::stream::{self, StreamExt as _};
use pointsman::clock::{self, AdjustableClock, Clock as _, ScaledClock};
use pointsman::discord::{Access, Api, ChatSettings, DiscordChat, DiscordIncidentChat, IncidentChatSettings, identify};
use pointsman::domain::incident::IncidentId;
use pointsman::domain::{ChannelId, GuildId, Mask, MessageKey, Timestamp};
use pointsman::engine::{IncidentChat as _, IncidentSnapshot, Policies};
use pointsman::sandbox::discord::{self as model, Model, World};
use pointsman::store;
use regex::Regex;
use tokio::process::{Child, Command};

use super::course::{Course, peak_memory};
use super::history::{CADENCE, History, dead_holder};
use super::lateness::{Beat, Span, Tally, tally};

/// Channels that a category takes.
const CATEGORY: u32 = 50;
/// The most incidents: a server takes 500 channels, and the operations guild has some of its own.
pub(super) const INCIDENTS_MAX: u32 = 450;
/// How many incidents are put into the model at once; each waits for its answers.
const PLACED_AT_ONCE: usize = 16;
/// A backstop, by the wall, for what must come: the bot's connection, its first word, its last.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of it.
pub(super) struct Findings {
    /// What was due held against what the model's channels show.
    pub(super) tally: Tally,
    /// The bot's requests, by route and status.
    pub(super) requests: BTreeMap<String, u64>,
    /// How many of them the limits refused with 429.
    pub(super) limited: u64,
    /// What a correct bot never does.
    pub(super) violations: Vec<model::Violation>,
    peak_memory: String,
    speed: u32,
}

/// Lives through `course` with `incidents` open incidents, at most [`INCIDENTS_MAX`].
pub(super) async fn play(incidents: u32, course: &Course) -> Findings {
    let stage = Stage::set(incidents, course.speed).await;
    let opened = &stage.opened;
    println!("{} open incidents, an update each every 15 minutes, {} times as fast as the wall", opened.len(), course.speed);
    let before = stage.model.counters();
    let mut span = Span { begin: stage.clock.now(), end: stage.clock.now(), outages: Vec::new() };
    for life in 0..course.restarts {
        let heard = stage.said().len();
        let bot = stage.start_bot().await;
        stage.clock.sleep_until(course.end_of(span.begin, life)).await;
        stage.expect_more_than(heard).await;
        stage.kill(bot).await;
        let gone = stage.clock.now();
        stage.clock.sleep_until(gone + TimeDelta::minutes(course.away)).await;
        span.outages.push((gone, stage.clock.now()));
    }
    let bot = stage.start_bot().await;
    stage.clock.sleep_until(course.end_of(span.begin, course.restarts)).await;
    span.end = stage.clock.now();
    // What it says too late is late; only what it has passed over is unsaid.
    let up_to_date = |chat: &model::Chat| (tally(opened, &said(chat, &stage.places), &span).behind == 0).then_some(());
    let _ = stage.model.wait_for(PATIENCE, up_to_date).await;
    let peak_memory = bot.id().map_or_else(|| "unknown".to_owned(), |process| peak_memory(&process.to_string()));
    stage.kill(bot).await;

    let after = stage.model.counters();
    let since = |(route, count): (&String, &u64)| (route.clone(), count - before.requests.get(route).copied().unwrap_or(0));
    let findings = Findings {
        tally: tally(opened, &stage.said(), &span),
        requests: after.requests.iter().map(since).filter(|(_, count)| *count > 0).collect(),
        limited: after.rate_limited - before.rate_limited,
        violations: stage.model.violations(),
        peak_memory,
        speed: course.speed,
    };
    stage.model.stop();
    findings
}

/// The model with the incidents in it, and what the bot needs to live before it.
struct Stage {
    model: Model,
    clock: Arc<AdjustableClock>,
    directory: tempfile::TempDir,
    /// When each incident was opened.
    opened: BTreeMap<IncidentId, Timestamp>,
    /// Where each lives, in the model, and when it was opened.
    places: Vec<(IncidentId, Timestamp, model::ChannelId)>,
}

impl Stage {
    /// Puts the incidents into the model and into the journal, then lets the time run at `speed`.
    async fn set(incidents: u32, speed: u32) -> Self {
        let clock = Arc::new(AdjustableClock::new(ScaledClock::new(clock::wall_now(), 1)));
        let now = clock.now();
        let model = Model::start(world(incidents, now), clock.clone(), ([127, 0, 0, 1], 0).into()).await.unwrap();
        let mut stage =
            Self { model, clock, directory: tempfile::tempdir().unwrap(), opened: BTreeMap::new(), places: Vec::new() };
        stage.place(incidents, now).await;
        stage.clock.set_speed(speed);
        std::fs::write(stage.path("pointsman.yaml"), stage.settings()).unwrap();
        stage
    }

    /// Posts and pins the cards as the bot would have, and journals that it has.
    async fn place(&mut self, incidents: u32, now: Timestamp) {
        let chat = self.chat().await;
        let histories = (0..incidents).map(|number| self.history(&chat, number, incidents, now));
        let histories: Vec<History> = stream::iter(histories).buffer_unordered(PLACED_AT_ONCE).collect().await;
        std::fs::create_dir(self.path("data")).unwrap();
        let journal = store::open(&format!("sqlite:{}", self.path("data/journal.db").display()).into()).await.unwrap();
        let lease = journal.acquire_lease(&dead_holder(), Duration::from_secs(600)).await.unwrap();
        for history in histories {
            history.journal(&journal, &lease).await;
            let place = model::ChannelId::new(history.state.channel.unwrap().get());
            self.places.push((history.id, history.at, place));
            self.opened.insert(history.id, history.at);
        }
        journal.release_lease(&lease).await.unwrap();
    }

    async fn chat(&self) -> DiscordIncidentChat {
        let access = Access { api_base: self.model.base_url().to_owned(), token: self.model.token().into() };
        let api = Api::new(access).unwrap();
        let (guild, bot) = (GuildId::new(self.model.guild_id().get()), identify(&api).await.unwrap().bot);
        let chat = DiscordChat::new(api, ChatSettings { guild, bot, runs_dir: self.path("runs") });
        let settings = IncidentChatSettings {
            category: None,
            archive: None,
            fallback: None,
            exports_dir: self.path("exports"),
            mask: Mask::none(),
            post_mortem: Arc::new(|_| String::new()),
        };
        DiscordIncidentChat::beside(&chat, settings)
    }

    async fn history(&self, chat: &DiscordIncidentChat, number: u32, count: u32, now: Timestamp) -> History {
        let mut history = History::open(number, count, now, Policies::default().incidents);
        history.begin(ChannelId::new(self.model.channel(&history.id.channel_name()).get()));
        while let Some(key) = history.unposted() {
            let snapshot = || IncidentSnapshot {
                state: Arc::new(history.state.clone()),
                head: "0".repeat(64),
                runs: vec![],
                now: history.at,
            };
            let message = chat.post_to_incident(&snapshot(), &key, false).await.unwrap().at;
            if key == MessageKey::new("summary") {
                chat.pin(&snapshot(), message).await.unwrap();
            }
            history.posted(key, message);
        }
        history
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn settings(&self) -> String {
        let mut text = format!("discord: {{ guild: '{}', api_base: '{}' }}\n", self.model.guild_id(), self.model.base_url());
        let (data, definitions) = (self.path("data"), env!("CARGO_MANIFEST_DIR"));
        let _ = writeln!(text, "data_dir: '{}'\ndefinitions: ['{definitions}']\nroles:", data.display());
        for name in ["operator", "operations_lead", "dba", "security", "break_glass"] {
            let _ = writeln!(text, "  {name}: '{}'", self.model.role(name));
        }
        let clock = self.clock.present();
        let (speed, anchor, shows) = (clock.speed(), clock.anchor().to_rfc3339(), clock.shows().to_rfc3339());
        let _ = writeln!(text, "clock: {{ speed: {speed}, anchor: '{anchor}', shows: '{shows}' }}");
        text
    }

    /// Starts the bot and waits until it is connected.
    async fn start_bot(&self) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("bot.log")).unwrap();
        let bot = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["serve", "--config"])
            .arg(self.path("pointsman.yaml"))
            .env_clear()
            .env("POINTSMAN_DISCORD_TOKEN", self.model.token())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let connected = self.model.wait_for_gateway(PATIENCE).await;
        connected.unwrap_or_else(|error| panic!("the bot does not connect: {error}\n{}", self.log()));
        bot
    }

    /// Waits until more than so many updates were said: a life in which the bot says nothing proves nothing.
    async fn expect_more_than(&self, heard: usize) {
        let more = |chat: &model::Chat| (said(chat, &self.places).len() > heard).then_some(());
        let said = self.model.wait_for(PATIENCE, more).await;
        said.unwrap_or_else(|error| panic!("the bot says nothing: {error}\n{}", self.log()));
    }

    /// The status updates that stand in the incidents' channels.
    fn said(&self) -> Vec<Beat> {
        self.model.read(|chat| said(chat, &self.places))
    }

    /// Kills the bot as `kill -9` does.
    async fn kill(&self, mut bot: Child) {
        let ended = bot.try_wait().unwrap();
        assert!(ended.is_none(), "the bot has ended by itself: {ended:?}\n{}", self.log());
        bot.kill().await.unwrap();
        self.model.wait_for_gateway_loss(PATIENCE).await.unwrap();
    }

    /// The end of the bot's log.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.path("bot.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// The operations guild with a channel for each incident, in as many categories as that takes.
fn world(incidents: u32, now: Timestamp) -> World {
    assert!(incidents <= INCIDENTS_MAX, "a server takes no more channels");
    (0..incidents).fold(World::operations().role("break_glass"), |mut world, number| {
        let category = format!("Incidents {}", number / CATEGORY + 1);
        if number % CATEGORY == 0 {
            world = world.category(&category);
        }
        let history = History::open(number, incidents, now, Policies::default().incidents);
        world.channel_in(&category, &history.id.channel_name())
    })
}

fn said(chat: &model::Chat, places: &[(IncidentId, Timestamp, model::ChannelId)]) -> Vec<Beat> {
    let update = Update::new();
    let mut beats = Vec::new();
    for (id, opened, channel) in places {
        beats.extend(chat.messages_in(*channel).filter_map(|message| update.read(*id, *opened, message)));
    }
    beats
}

/// How an update is read.
struct Update {
    next: Regex,
    late: Regex,
}

impl Update {
    fn new() -> Self {
        Self { next: Regex::new(r"^<t:(\d+):R>").unwrap(), late: Regex::new(r"stands for (\d+) later update").unwrap() }
    }

    /// Reads an update: it names the next one, which tells when it was due itself, and how many it stands for.
    fn read(&self, incident: IncidentId, opened: Timestamp, message: &model::Message) -> Option<Beat> {
        let embed = message.embeds.first()?;
        let marker = format!("{incident} · beat/");
        embed.footer.as_ref().filter(|footer| footer.text.starts_with(&marker))?;
        let field = |name: &str| embed.fields.iter().find(|field| field.name == name).map(|field| field.value.as_str());
        let number = |found: Option<regex::Captures<'_>>| found.map(|found| found[1].parse::<i64>().unwrap());
        let next = number(field("Next update").and_then(|text| self.next.captures(text))).expect("it names the next one");
        let missed = number(field("Late").and_then(|text| self.late.captures(text))).unwrap_or(0);
        // It names whole seconds; the updates are due a whole number of cadences after the opening.
        let ahead = Timestamp::from_timestamp(next, 0).unwrap() - opened + CADENCE / 2;
        let next = ahead.num_milliseconds() / CADENCE.num_milliseconds();
        let due = opened + CADENCE * i32::try_from(next - 1 - missed).unwrap();
        Some(Beat { incident, due, missed: u32::try_from(missed).unwrap(), at: message.posted })
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.tally)?;
        let made: u64 = self.requests.values().sum();
        let each = made as f64 / self.tally.messages.max(1) as f64;
        writeln!(f, "requests {made}, {each:.1} for each update; answered 429: {}", self.limited)?;
        let mut requests: Vec<_> = self.requests.iter().collect();
        requests.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (route, count) in requests {
            writeln!(f, "{count:>8} {route}")?;
        }
        writeln!(f, "Discord's limits count the wall's seconds: here they are {} times as tight for the incidents", self.speed)?;
        for violation in &self.violations {
            writeln!(f, "what no correct bot does: {} {}: {}", violation.place, violation.code, violation.what)?;
        }
        write!(f, "peak memory of the bot's last life: {}", self.peak_memory)
    }
}

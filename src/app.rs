//! The composition root: which parts make up a running bot, a host command, a sandbox.
//!
//! Nothing is decided here. `anyhow` names what was being done when something failed; nobody branches on it.

mod masking;
mod vitals;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::actions::process::Spawner;
use crate::actions::{Actions, Planner, Registry, RunDirectories, SecretSource, Secrets, TargetReader};
use crate::catalog::{CheckContext, DefinitionsDir, Diagnostics, SharedCatalog};
use crate::clock::{RandomIds, SharedClock};
use crate::config::{self, ConfigError, Environment, Settings};
use crate::control;
use crate::discord::chat::{ChatSettings, DiscordChat};
use crate::discord::gateway::{self, Gateway, GatewayError, GatewaySettings};
use crate::discord::interactions::{self, Definitions, Interactions};
use crate::discord::rest::Trouble;
use crate::discord::{Access, Api, DiscordIncidentChat, IncidentChatSettings};
use crate::domain::command::Command;
use crate::domain::incident::{Delivery, IssueKind};
use crate::domain::runbook::Runbook;
use crate::domain::{Digest, GuildId, IssueRef, Mask, MessageKey, MessageRef, Timestamp};
use crate::engine::{Engine, IncidentSnapshot, Incidents, Pace, Planning, Policies, PortError, Ports, Posted, RunPolicy, Runs};
use crate::github::GitHub;
use crate::metrics::{BeatWatch, MeasuredJournal, Metrics, RunWatch};
use crate::planning::CatalogPlanning;
use crate::render::{self, post_mortem::Template};
use crate::store::{self, SharedJournal, StoreError};
use crate::tracking::{self, GitHubTracker};
use crate::web;
use crate::webhook::{self, Webhooks};

/// What keeps a bot from starting until a person has changed something.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The definitions cannot be used.
    #[error("the definitions have mistakes; nothing was started\n{0}")]
    Definitions(Diagnostics),
    /// A folder of definitions that holds none.
    #[error(
        "there is neither `commands/` nor `runbooks/` in `{}`; nothing was started, name the right folder under \
         `definitions:` in the settings",
        .0.display()
    )]
    NoDefinitions(PathBuf),
    /// The post-mortem's form cannot be used.
    #[error("the post-mortem template {} cannot be used; nothing was started: {why}", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Discord knows no bot by this token.
    #[error("Discord refuses the bot's token ({0}): check POINTSMAN_DISCORD_TOKEN")]
    Token(Trouble),
}

/// Whether a new start would only meet `error` again. What may pass, such as a database that is away, is none of it: there
/// a service manager does well to start the bot once more.
#[must_use]
pub fn needs_a_person(error: &anyhow::Error) -> bool {
    let store = matches!(
        error.downcast_ref::<StoreError>(),
        Some(StoreError::Address { .. } | StoreError::CannotOpen { .. } | StoreError::SchemaNewer { .. })
    );
    store || error.is::<ConfigError>() || error.is::<Refused>() || error.is::<GatewayError>()
}

/// What the parts of a process share, before anything is started.
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// The catalog in use.
    pub catalog: Arc<SharedCatalog>,
    /// Every action.
    pub registry: Arc<Registry>,
    /// Where secrets come from.
    pub secrets: Secrets,
    /// How children are started.
    pub spawner: Spawner,
    /// Where runs keep their files.
    pub directories: RunDirectories,
    /// The time.
    pub clock: SharedClock,
}

impl Parts {
    /// Loads the definitions and makes the parts. `supervisor` is this program.
    ///
    /// # Errors
    /// Every mistake of the definitions.
    pub fn new(settings: Settings, environment: &Environment, supervisor: PathBuf) -> anyhow::Result<Self> {
        let dirs: Vec<DefinitionsDir> = settings.definitions.iter().map(|root| DefinitionsDir::under(root)).collect();
        for (dir, root) in dirs.iter().zip(&settings.definitions) {
            // A mistyped folder must not look like one without definitions.
            if !dir.commands.is_dir() && !dir.runbooks.is_dir() {
                return Err(Refused::NoDefinitions(root.clone()).into());
            }
        }
        Self::assemble(settings, environment, supervisor, dirs)
    }

    /// The parts without any definitions, for what works on pinned plans alone: a broken file must not stand in the way back.
    ///
    /// # Errors
    /// As [`Parts::new`], but for what the definitions' files bring.
    pub fn without_definitions(settings: Settings, environment: &Environment, supervisor: PathBuf) -> anyhow::Result<Self> {
        Self::assemble(settings, environment, supervisor, Vec::new())
    }

    fn assemble(
        settings: Settings,
        environment: &Environment,
        supervisor: PathBuf,
        dirs: Vec<DefinitionsDir>,
    ) -> anyhow::Result<Self> {
        let registry = Arc::new(Registry::standard());
        let context = CheckContext { actions: registry.specs(), roles: Some(settings.roles.keys().cloned().collect()) };
        let catalog = SharedCatalog::load(dirs, context).map_err(Refused::Definitions)?;
        let secrets = Secrets::new(settings.secrets.iter().map(|(name, source)| (name.clone(), secret_source(source))));
        let mut spawner = Spawner::new(supervisor);
        for name in ["PATH", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "NO_PROXY"] {
            if let Some(value) = environment.get(name) {
                spawner = spawner.with_variable(name, value);
            }
        }
        let directories = RunDirectories::new(&settings.data_dir);
        let clock: SharedClock = Arc::new(settings.clock);
        Ok(Self { catalog: Arc::new(catalog), registry, secrets, spawner, directories, clock, settings })
    }

    /// What makes plans.
    #[must_use]
    pub fn planning(&self) -> CatalogPlanning {
        let targets = TargetReader::new(self.secrets.clone(), self.spawner.clone());
        CatalogPlanning {
            catalog: Arc::clone(&self.catalog),
            planner: Planner::new(Arc::clone(&self.registry), targets),
            roles: self.settings.roles.clone(),
            directories: self.directories.clone(),
        }
    }

    /// What performs steps.
    #[must_use]
    pub fn performer(&self) -> Actions {
        Actions::new(
            Arc::clone(&self.registry),
            self.directories.clone(),
            self.secrets.clone(),
            self.spawner.clone(),
            Arc::clone(&self.clock),
        )
    }

    /// Where the channels of incidents are, and what becomes of them.
    fn incident_channels(&self, house: tracking::House) -> IncidentChatSettings {
        let incidents = &self.settings.incidents;
        IncidentChatSettings {
            category: incidents.category,
            archive: incidents.archive_category,
            fallback: incidents.fallback_channel,
            exports_dir: self.settings.data_dir.join("incidents"),
            mask: self.mask(),
            post_mortem: Arc::new(move |incident| tracking::draft(incident, &house)),
        }
    }

    /// What the team has agreed on about incidents and runs.
    #[must_use]
    pub fn policies(&self) -> Policies {
        let incidents = &self.settings.incidents;
        let runs = RunPolicy { beat: incidents.run_beat, incident: incidents.open_for_runs };
        Policies { incidents: incidents.policy.clone(), runs }
    }

    /// What wakes people and tells the public, with links into this server.
    ///
    /// # Errors
    /// If HTTP cannot be set up.
    pub fn webhooks(&self, guild: GuildId) -> anyhow::Result<Webhooks> {
        let endpoint = |hook: &config::Webhook| webhook::Endpoint { url: hook.url.clone(), token: hook.token.clone() };
        let incidents = &self.settings.incidents;
        let (pager, status_page) = (incidents.pager.as_ref().map(endpoint), incidents.status_page.as_ref().map(endpoint));
        Webhooks::new(guild, pager, status_page, webhook::PATIENCE).context("setting up the webhooks")
    }

    /// What the team has agreed on about its issues, the post-mortem's form read and tried.
    ///
    /// # Errors
    /// [`Refused::Template`].
    pub fn house(&self, guild: GuildId) -> anyhow::Result<tracking::House> {
        let incidents = &self.settings.incidents;
        let template = match &incidents.post_mortem_template {
            None => Template::shipped().clone(),
            Some(path) => read_template(path)?,
        };
        let (labels, assignees) = (incidents.labels.clone(), incidents.assignees.clone());
        Ok(tracking::House { guild, labels, assignees, template, mask: self.mask() })
    }

    /// What hides every secret of the settings in a text.
    #[must_use]
    pub fn mask(&self) -> Mask {
        masking::mask(&self.settings, &self.secrets)
    }

    /// What publishes issues. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the post-mortem's form or the way to GitHub cannot be used.
    pub fn tracker(&self, guild: GuildId) -> anyhow::Result<GitHubTracker> {
        let settings = self.settings.github.as_ref().map(|github| crate::github::Settings {
            api_base: github.api_base.clone(),
            token: github.token.clone(),
            repository: github.repository.clone(),
        });
        let github = settings.map(GitHub::new).transpose().context("setting up GitHub")?;
        Ok(GitHubTracker { github, house: self.house(guild)? })
    }

    /// Opens the journal, in a data directory that only the bot can read.
    ///
    /// # Errors
    /// If either cannot be made or opened.
    pub async fn open_journal(&self) -> anyhow::Result<SharedJournal> {
        private_directory(&self.settings.data_dir)
            .with_context(|| format!("making the data directory {}", self.settings.data_dir.display()))?;
        store::open(&self.settings.store).await.context("opening the journal")
    }
}

fn secret_source(source: &config::SecretSource) -> SecretSource {
    match source {
        config::SecretSource::Value(value) => SecretSource::Value(value.clone()),
        config::SecretSource::File(path) => SecretSource::File(path.clone()),
    }
}

fn read_template(path: &Path) -> Result<Template, Refused> {
    let refused = |why: String| Refused::Template { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Template::parse(&text).map_err(|error| {
        let line = error.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        refused(format!("{line}{error}"))
    })
}

fn private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The catalog as chat sees it.
struct CatalogDefinitions(Arc<SharedCatalog>);

#[async_trait]
impl Definitions for CatalogDefinitions {
    fn commands(&self) -> Vec<Command> {
        self.0.current().commands().iter().map(|loaded| loaded.definition.clone()).collect()
    }

    fn runbooks(&self) -> Vec<Runbook> {
        self.0.current().runbooks().iter().map(|loaded| loaded.definition.clone()).collect()
    }

    fn page(&self, runbook: &Runbook) -> String {
        let catalog = self.0.current();
        let digest = catalog.runbook(&runbook.runbook).map_or_else(|| Digest::of_bytes(b""), |loaded| loaded.source.digest);
        render::runbook_page(runbook, &digest)
    }

    async fn reload(&self) -> Result<(), Vec<String>> {
        let catalog = Arc::clone(&self.0);
        let reloaded = tokio::task::spawn_blocking(move || catalog.reload().map(drop)).await;
        match reloaded {
            Ok(Ok(())) => Ok(()),
            Ok(Err(diagnostics)) => Err(diagnostics.iter().map(mistake).collect()),
            Err(error) => Err(vec![error.to_string()]),
        }
    }
}

/// A mistake in one line, as chat shows it.
fn mistake(diagnostic: &crate::catalog::Diagnostic) -> String {
    format!("{}:{}: {}", diagnostic.file, diagnostic.line, diagnostic.message)
}

/// Runs the bot until it is told to stop, loses its lease, or Discord refuses it for good.
///
/// # Errors
/// Why it could not start, or had to stop.
pub async fn serve(parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    let discord = &parts.settings.discord;
    let (token, guild) = discord.credentials()?;
    let journal = parts.open_journal().await?;
    let api = Api::new(Access { api_base: discord.api_base.clone(), token }).context("setting up HTTP")?;
    let vitals = Arc::new(vitals::Parts::new(Arc::clone(&api)));
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    // Before anything that may have to wait, so that it can be seen what is waited for; until the end, for the same reason.
    let over = CancellationToken::new();
    let _over_on_return = over.clone().drop_guard();
    let feed = Arc::new(web::Feed::default());
    open_web(&parts, &vitals, &metrics, &journal, &feed, over).await?;
    let watch = Arc::new(RunWatch::new(Arc::clone(&metrics)));
    let beats = Arc::new(BeatWatch::new(Arc::clone(&metrics)));
    let journal: SharedJournal = Arc::new(MeasuredJournal::new(journal, metrics, vec![watch, beats, feed]));
    let identity = identify(&api, &stop).await?;
    let Some(identity) = identity else { return Ok(()) };
    let chat = Arc::new(DiscordChat::new(
        Arc::clone(&api),
        ChatSettings { guild, bot: identity.bot, runs_dir: parts.settings.data_dir.join("runs") },
    ));
    let planning: Arc<dyn Planning> = Arc::new(parts.planning());
    let tracker = parts.tracker(guild)?;
    if let Some(github) = &tracker.github {
        vitals.github_lives(github.calls());
    }
    let ports = Ports {
        journal,
        clock: Arc::clone(&parts.clock),
        ids: Arc::new(RandomIds),
        chat: Arc::clone(&chat) as Arc<dyn crate::engine::Chat>,
        performer: Arc::new(parts.performer()),
        incident_chat: Arc::new(DiscordIncidentChat::beside(&chat, parts.incident_channels(parts.house(guild)?))),
        outside: Arc::new(parts.webhooks(guild)?),
        tracker: Arc::new(tracker),
        policies: parts.policies(),
    };
    let engine = start_engine(ports, Arc::clone(&planning), &stop).await?;
    let Some(engine) = engine else { return Ok(()) };
    vitals.engine_lives(engine.handle());
    for stuck in engine.handle().stuck() {
        error!(run = %stuck.run, why = stuck.why, "this run is set aside; the journal needs a look: `pointsman audit verify`");
    }
    for stuck in engine.handle().stuck_incidents() {
        error!(incident = %stuck.incident, why = stuck.why, "this incident is set aside; the journal needs a look: `pointsman audit verify`");
    }
    let runs: Arc<dyn Runs> = Arc::new(engine.handle());
    let incidents: Arc<dyn Incidents> = Arc::new(engine.handle());
    let listener = control::listen(&parts.settings.data_dir).context("opening the host's socket")?;
    tokio::spawn(control::serve(listener, Arc::clone(&runs), stop.clone()));
    let clock = Arc::clone(&parts.clock);
    let house = parts.house(guild)?;
    let interactions = Arc::new(Interactions::new(
        Arc::clone(&api),
        Arc::clone(&runs),
        incidents,
        planning,
        Arc::new(CatalogDefinitions(Arc::clone(&parts.catalog))),
        interactions::Settings {
            guild,
            application: identity.application,
            roles: parts.settings.roles.clone(),
            now: Arc::new(move || clock.now()),
            post_mortem: Arc::new(move |dossier| tracking::post_mortem(dossier, &house)),
            mask: parts.mask(),
        },
    ));
    tokio::spawn(reload_on_hangup(Arc::clone(&parts.catalog), Arc::clone(&interactions), stop.clone()));
    let settings = GatewaySettings { guild, bot: identity.bot, deaf_after: discord.deaf_after.std() };
    let gateway = Gateway::new(api, runs, chat, interactions, settings);
    vitals.gateway_lives(gateway.health());
    let ended = tokio::select! {
        ended = gateway.run(stop.clone()) => ended.context("living on Discord's gateway"),
        why = engine.stopped() => Err(anyhow::anyhow!("the engine had to stop: {why}")),
    };
    stop.cancel();
    engine.shut_down().await;
    info!("stopped");
    ended
}

/// Serves health, metrics and the run board, if the settings say so.
async fn open_web(
    parts: &Parts,
    vitals: &Arc<vitals::Parts>,
    metrics: &Arc<Metrics>,
    journal: &SharedJournal,
    feed: &Arc<web::Feed>,
    over: CancellationToken,
) -> anyhow::Result<()> {
    let Some(settings) = &parts.settings.web else { return Ok(()) };
    let (_, guild) = parts.settings.discord.credentials()?;
    let listener =
        web::listen(settings.listen).await.with_context(|| format!("listening on {} (web.listen)", settings.listen))?;
    let tls = settings.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
    let board = settings
        .board_token
        .as_ref()
        .map(|token| web::Board::new(web::BoardToken::new(token, tls), links(&parts.settings.discord, guild), Arc::clone(feed)));
    info!(address = %listener.local_addr()?, board = board.is_some(), "health and metrics are served");
    let web = web::Web {
        vitals: Arc::clone(vitals) as Arc<dyn web::Vitals>,
        metrics: Arc::clone(metrics),
        journal: Arc::clone(journal),
        clock: Arc::clone(&parts.clock),
        board,
        over,
    };
    tokio::spawn(web::serve(listener, web));
    Ok(())
}

/// Where people open Discord: its API's own host, also for a model, which has its chat there.
fn links(discord: &config::Discord, guild: GuildId) -> render::board::Links {
    render::board::Links { chat: discord.api_base.clone(), guild }
}

/// Asks who the bot is, for as long as Discord does not answer. `None` if told to stop meanwhile.
async fn identify(api: &Api, stop: &CancellationToken) -> anyhow::Result<Option<gateway::Identity>> {
    let mut wait = std::time::Duration::from_secs(1);
    loop {
        match gateway::identify(api).await {
            Ok(identity) => return Ok(Some(identity)),
            // Any other refusal may be a proxy's or a mistyped address's, and may pass.
            Err(trouble @ Trouble::Refused { status: 401, .. }) => {
                return Err(Refused::Token(trouble).into());
            }
            Err(trouble) => warn!(%trouble, "Discord does not say who the bot is; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(std::time::Duration::from_secs(60)),
        }
    }
}

/// Starts the engine, waiting for the lease of a holder that may be alive. `None` if told to stop meanwhile.
async fn start_engine(ports: Ports, planning: Arc<dyn Planning>, stop: &CancellationToken) -> anyhow::Result<Option<Engine>> {
    let holder = store::Holder::this_process();
    loop {
        match Engine::start(ports.clone(), Arc::clone(&planning), Pace::default(), &holder).await {
            Ok(engine) => return Ok(Some(engine)),
            Err(crate::engine::EngineError::Lease(held)) if held.is_retryable() => {
                warn!(%held, "waiting for the right to act");
            }
            Err(error) => return Err(error).context("starting the engine"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(std::time::Duration::from_secs(2)) => {}
        }
    }
}

async fn reload_on_hangup(catalog: Arc<SharedCatalog>, interactions: Arc<Interactions>, stop: CancellationToken) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => {}
        }
        match catalog.reload() {
            Ok(catalog) => {
                info!(runbooks = catalog.runbooks().len(), "the definitions were reloaded");
                if let Err(trouble) = interactions.register_commands().await {
                    error!(%trouble, "the slash commands could not be registered; they are those of before");
                }
            }
            Err(diagnostics) => error!("the definitions have mistakes; those of before stay\n{diagnostics}"),
        }
    }
}

/// Returns when the process is told to stop (SIGTERM or Ctrl-C).
///
/// # Errors
/// If signals cannot be listened for.
pub async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Starts an armed rollback from the host. If no bot runs on this journal, this process carries the rollback
/// out itself; what chat is owed is posted when the bot starts again.
///
/// # Errors
/// Why it was refused, or how the rollback failed.
pub async fn rollback(parts: Parts, request: control::RollbackRequest) -> anyhow::Result<String> {
    let run = request.run.clone();
    let request = control::RollbackRequest { reason: parts.mask().apply(&request.reason), ..request };
    let asked = control::ask(&parts.settings.data_dir, &request, control::PATIENCE).await.context("asking the running bot")?;
    match asked {
        Some(control::Answer::Started) => {
            return Ok(format!("the rollback of {run} has begun; the bot carries it out and reports in the run's thread"));
        }
        Some(control::Answer::Refused(why)) => anyhow::bail!("{why}"),
        None => {}
    }
    let journal = parts.open_journal().await?;
    let ports = Ports {
        journal,
        clock: Arc::clone(&parts.clock),
        ids: Arc::new(RandomIds),
        chat: Arc::new(NoChat),
        performer: Arc::new(parts.performer()),
        incident_chat: Arc::new(NoChat),
        outside: Arc::new(NoChat),
        tracker: Arc::new(NoChat),
        policies: parts.policies(),
    };
    // For this run alone: what would be begun for others would be cut off when the rollback is over.
    let engine = Engine::start_for(&run, ports, Arc::new(parts.planning()), Pace::default(), &store::Holder::this_process())
        .await
        .context("no bot answers on this host, and its work could not be taken over")?;
    let outcome = control::carry_out(&engine, request).await.map_err(anyhow::Error::msg);
    engine.shut_down().await;
    outcome
}

/// The chat of a process that has none: everything stays owed.
struct NoChat;

impl NoChat {
    fn away<T>() -> Result<T, crate::engine::PortError> {
        let why = "this process works without Discord; the bot posts it when it runs again".to_owned();
        Err(crate::engine::PortError::Later { why, after: None })
    }
}

#[async_trait]
impl crate::engine::IncidentChat for NoChat {
    async fn open_channel(&self, _: &IncidentSnapshot) -> Result<crate::engine::Place, PortError> {
        Self::away()
    }

    async fn post_to_incident(&self, _: &IncidentSnapshot, _: &MessageKey, _: bool) -> Result<Posted, PortError> {
        Self::away()
    }

    async fn refresh_in_incident(&self, _: &IncidentSnapshot, _: &MessageKey) -> Result<crate::engine::Freshness, PortError> {
        Self::away()
    }

    async fn pin(&self, _: &IncidentSnapshot, _: MessageRef) -> Result<(), PortError> {
        Self::away()
    }

    async fn read_marks(&self, _: &IncidentSnapshot) -> Result<Vec<crate::engine::Mark>, PortError> {
        Self::away()
    }

    async fn schedule_review(&self, _: &IncidentSnapshot, _: Timestamp) -> Result<u64, PortError> {
        Self::away()
    }

    async fn archive_channel(&self, _: &IncidentSnapshot) -> Result<(), PortError> {
        Self::away()
    }

    async fn delete_channel(&self, _: &IncidentSnapshot) -> Result<(), PortError> {
        Self::away()
    }
}

#[async_trait]
impl crate::engine::Outside for NoChat {
    async fn page(&self, _: &IncidentSnapshot, _: u32) -> Result<Delivery, PortError> {
        Self::away()
    }

    async fn tell_status_page(&self, _: &IncidentSnapshot, _: u32) -> Result<Delivery, PortError> {
        Self::away()
    }
}

#[async_trait]
impl crate::engine::Tracker for NoChat {
    async fn publish(&self, _: &crate::engine::Dossier, _: IssueKind) -> Result<IssueRef, PortError> {
        Self::away()
    }

    async fn publish_review(
        &self,
        _: &crate::engine::Snapshot,
        _: &crate::domain::run::GateRef,
        _: u32,
    ) -> Result<IssueRef, PortError> {
        Self::away()
    }
}

#[async_trait]
impl crate::engine::Chat for NoChat {
    async fn open_thread(&self, _: &crate::engine::Snapshot) -> Result<crate::domain::ChannelId, crate::engine::PortError> {
        Self::away()
    }

    async fn post(
        &self,
        _: &crate::engine::Snapshot,
        _: &crate::domain::run::MessageKey,
        _: bool,
    ) -> Result<crate::engine::Posted, crate::engine::PortError> {
        Self::away()
    }

    async fn refresh(
        &self,
        _: &crate::engine::Snapshot,
        _: &crate::domain::run::MessageKey,
    ) -> Result<crate::engine::Freshness, crate::engine::PortError> {
        Self::away()
    }

    async fn read_votes(
        &self,
        _: &crate::engine::Snapshot,
        _: &crate::domain::run::GateRef,
        _: u32,
    ) -> Result<Vec<crate::domain::run::ReactionVote>, crate::engine::PortError> {
        Self::away()
    }
}

/// Where a journal is, for commands that only read it.
///
/// # Errors
/// If there is none there.
pub async fn open_existing_journal(settings: &Settings) -> anyhow::Result<SharedJournal> {
    store::open_existing(&settings.store).await.context("opening the journal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_new_start_would_meet_again_needs_a_person() {
        let refused = || Trouble::Refused { status: 401, code: 0, message: "401: Unauthorized".to_owned() };
        let newer = || StoreError::SchemaNewer { place: "p".to_owned(), found: 9, known: 1 };
        let away = || StoreError::Unavailable { doing: "connecting", place: "p".to_owned(), reason: "refused".to_owned() };
        for (error, expected) in [
            (anyhow::Error::from(Refused::Token(refused())), true),
            (anyhow::Error::from(GatewayError::Intents).context("living on Discord's gateway"), true),
            (anyhow::Error::from(newer()).context("opening the journal"), true),
            (anyhow::Error::from(away()).context("opening the journal"), false),
            (anyhow::Error::from(refused()).context("a message was refused"), false),
            (anyhow::anyhow!("the engine had to stop"), false),
        ] {
            assert_eq!(needs_a_person(&error), expected, "{error:#}");
        }
    }
}

//! The stage: the models, the practice estate, and the bot as a process of its own.
//!
//! The bot is the production program with production settings; it knows nothing of the sandbox. It can be
//! killed and started again, which is what a test of durability needs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::{Child, Command};

use super::discord::{Model, TOKEN, World};
use super::estate::{Estate, Options, switchboard, sx};
use super::github;
use super::page::{self, Backstage, Link, Switch};
use crate::clock::{AdjustableClock, Ids as _, RandomIds, ScaledClock};
use crate::domain::Timestamp;

/// The secrets of the runbooks: from their names in the bot's settings to those among the estate's settings.
const SECRETS: [(&str, &str); 5] = [
    ("ACE_POSTGRES_DSN", "ACE_POSTGRES_DSN"),
    ("ACE_KUBECONFIG", "KUBECONFIG"),
    ("SX_POSTGRES_DSN", "SX_POSTGRES_DSN"),
    ("SX_POSTGRES_ADMIN_DSN", "SX_POSTGRES_ADMIN_DSN"),
    ("SX_ADMIN_TOKEN", "SX_ADMIN_TOKEN"),
];

/// What a stage is made of.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// The `pointsman` program: bot, supervisor and practice application in one.
    pub exe: PathBuf,
    /// A new or empty directory that everything lives in.
    pub directory: PathBuf,
    /// The folder with `commands/` and `runbooks/`.
    pub definitions: PathBuf,
    /// The programs' search path, as the calling process has it.
    pub path: String,
    /// How many times as fast as the wall the time runs at first, for models and bot alike.
    pub speed: u32,
    /// Where fast time and the wall agree.
    pub anchor: Timestamp,
    /// The address for the Discord model; port 0 for any free one.
    pub listen: SocketAddr,
}

/// Models, estates and the bot.
pub struct Stage {
    options: StageOptions,
    /// Discord.
    pub model: Model,
    /// GitHub.
    pub github: github::Model,
    /// The estate that the secrets lead to at present.
    pub estate: Estate,
    /// Where the model's page looks for the levers.
    pub backstage: Backstage,
    clock: Arc<AdjustableClock>,
    /// Where the bot serves its run board; the same over its restarts, so that an open page finds it again.
    board: SocketAddr,
    bot: Option<Child>,
    estates: u32,
}

impl Stage {
    /// Starts the models of Discord and GitHub and a first estate with `rows` entries. The bot is not started.
    ///
    /// # Errors
    /// What could not be started; nothing is left running.
    pub async fn start(options: StageOptions, rows: u32) -> io::Result<Self> {
        std::fs::create_dir_all(&options.directory)?;
        let clock = Arc::new(AdjustableClock::new(ScaledClock::new(options.anchor, options.speed)));
        let world = World::operations().role("break_glass");
        let backstage = Backstage::new();
        let beside = page::router(backstage.clone());
        let model = Model::start_beside(world, clock.clone(), options.listen, beside).await?;
        let github = github::Model::start(clock.clone(), (options.listen.ip(), 0).into()).await?;
        let estate = start_estate(&options, 1, rows).await?;
        let board = free_address()?;
        let stage = Self { options, model, github, estate, backstage, clock, board, bot: None, estates: 1 };
        stage.write_secrets()?;
        std::fs::write(stage.settings_path(), stage.settings())?;
        Ok(stage)
    }

    /// Replaces the estate by a fresh one: new data, a new PostgreSQL cluster, a new application.
    ///
    /// # Errors
    /// What could not be started.
    pub async fn fresh_estate(&mut self, rows: u32) -> io::Result<()> {
        self.estates += 1;
        let fresh = start_estate(&self.options, self.estates, rows).await?;
        std::mem::replace(&mut self.estate, fresh).stop().await;
        self.write_secrets()
    }

    /// The bot's settings file.
    #[must_use]
    pub fn settings_path(&self) -> PathBuf {
        self.options.directory.join("pointsman.yaml")
    }

    /// The environment that the bot needs besides its settings.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let postgres = self.estate.postgres().programs().display().to_string();
        let path = format!("{}:{}:{postgres}", self.programs().display(), self.options.path);
        let github = ("POINTSMAN_GITHUB_TOKEN", github::TOKEN.to_owned());
        let board = ("POINTSMAN_WEB_TOKEN", BOARD_TOKEN.to_owned());
        vec![("POINTSMAN_DISCORD_TOKEN", TOKEN.to_owned()), github, board, ("PATH", path)]
    }

    /// The settings with which a bot connects to this stage.
    #[must_use]
    pub fn settings(&self) -> String {
        let mut text = String::from("# Written by the sandbox. The tokens come by POINTSMAN_{DISCORD,GITHUB,WEB}_TOKEN.\n");
        let _ = writeln!(text, "discord:\n  guild: \"{}\"\n  api_base: {}", self.model.guild_id(), self.model.base_url());
        let _ = writeln!(text, "github:\n  repository: {}\n  api_base: {}", github::REPOSITORY, self.github.api_base());
        let _ = writeln!(text, "web:\n  listen: {}", self.board);
        let places = [("category", "Incidents"), ("archive_category", "Archive"), ("fallback_channel", "incidents-fallback")];
        let _ = writeln!(text, "incidents:");
        for (key, name) in places {
            let _ = writeln!(text, "  {key}: \"{}\"", self.model.channel(name));
        }
        let _ = writeln!(text, "  escalation: [{{ after: 30m, roles: [operator] }}, {{ after: 60m, roles: [operations_lead] }}]");
        let _ = writeln!(text, "  private_roles: [operations_lead]");
        let _ = writeln!(text, "roles:");
        for name in ["operator", "operations_lead", "dba", "security", "break_glass"] {
            let _ = writeln!(text, "  {name}: \"{}\"", self.model.role(name));
        }
        let directory = self.options.directory.display();
        let _ = writeln!(text, "data_dir: {directory}/data\ndefinitions: [{}]", self.options.definitions.display());
        let _ = writeln!(text, "secrets:");
        for (name, _) in SECRETS {
            let _ = writeln!(text, "  {name}: {{ file: {directory}/secrets/{name} }}");
        }
        let clock = self.clock.present();
        if !clock.is_real() {
            let (speed, anchor, shows) = (clock.speed(), clock.anchor().to_rfc3339(), clock.shows().to_rfc3339());
            let _ = writeln!(text, "clock: {{ speed: {speed}, anchor: \"{anchor}\", shows: \"{shows}\" }}");
        }
        text
    }

    /// Where the practice applications' own programs are; the same for every estate, as the bot keeps its `PATH`.
    fn programs(&self) -> PathBuf {
        self.options.directory.join("bin")
    }

    /// The secrets lie in files, as a secret manager would mount them: the bot reads them when they are needed.
    /// With them go the programs that lead to the same estate.
    fn write_secrets(&self) -> io::Result<()> {
        let directory = self.options.directory.join("secrets");
        std::fs::create_dir_all(&directory)?;
        let settings: BTreeMap<&str, String> = self.estate.settings().into_iter().map(|s| (s.name, s.value)).collect();
        for (name, setting) in SECRETS {
            std::fs::write(directory.join(name), settings.get(setting).map_or("", String::as_str))?;
        }
        self.estate.sx().write_programs(&self.programs())
    }

    /// Starts the bot. Its log goes to `bot.log` in the stage's directory.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start_bot(&mut self) -> io::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let bot = Command::new(&self.options.exe)
            .args(["serve", "--config"])
            .arg(self.settings_path())
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.bot = Some(bot);
        Ok(())
    }

    /// Kills the bot as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill_bot(&mut self) -> io::Result<()> {
        match self.bot.take() {
            Some(mut bot) => bot.kill().await,
            None => Ok(()),
        }
    }

    /// Ends the bot as SIGTERM does, and waits until it is gone. One that does not go is killed.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub async fn end_bot(&mut self) -> io::Result<()> {
        let Some(mut bot) = self.bot.take() else {
            return Ok(());
        };
        if let Some(pid) = bot.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) {
            // One that has just ended by itself needs no signal.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        match tokio::time::timeout(STOP_PATIENCE, bot.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => bot.kill().await,
        }
    }

    /// The bot's process id while it has not been seen to end.
    #[must_use]
    pub fn bot_pid(&self) -> Option<u32> {
        self.bot.as_ref().and_then(Child::id)
    }

    /// The time on the stage.
    #[must_use]
    pub fn clock(&self) -> ScaledClock {
        self.clock.present()
    }

    /// Lets time run at another speed, for the models at once and for the bot by a restart: it is ended by SIGTERM and
    /// goes on from its journal. Time itself goes on from where it stood.
    ///
    /// # Errors
    /// If the settings cannot be written or the bot not be started; the models then have the new speed already.
    pub async fn set_speed(&mut self, speed: u32) -> io::Result<()> {
        let ran = self.bot.is_some() && self.bot_ended().is_none();
        self.end_bot().await?;
        self.clock.set_speed(speed);
        std::fs::write(self.settings_path(), self.settings())?;
        if ran { self.start_bot() } else { Ok(()) }
    }

    /// What can be made to go wrong or different in the practice estate, as it stands.
    #[must_use]
    pub fn switches(&self) -> Vec<Switch> {
        let mut switches = switchboard::switches(&self.estate.switches().read());
        switches.extend(sx::switchboard::switches(&self.estate.sx().switches().read()));
        switches
    }

    /// Sets one of [`Self::switches`] to the value of one of its choices.
    ///
    /// # Errors
    /// If there is no such switch or value, or it cannot be set.
    pub async fn set_switch(&mut self, id: &str, value: &str) -> io::Result<()> {
        let (ace, sx) = (self.estate.switches(), self.estate.sx().switches());
        if sx::switchboard::switches(&sx.read()).iter().any(|switch| switch.id == id) {
            return sx.set(&sx::switchboard::set(sx.read(), id, value).map_err(io::Error::other)?);
        }
        ace.set(&switchboard::set(ace.read(), id, value).map_err(io::Error::other)?)
    }

    /// Pages that belong to the stage.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let link = |title: &str, url: String| Link { title: title.to_owned(), url };
        vec![link("Run board", self.board_url()), link("Issues on GitHub", self.github.base_url().to_owned())]
    }

    /// The bot's run board, with what opens it. Nothing answers there while no bot runs.
    #[must_use]
    pub fn board_url(&self) -> String {
        format!("http://{}/?token={BOARD_TOKEN}", self.board)
    }

    /// The bot's exit status if it has ended by itself.
    pub fn bot_ended(&mut self) -> Option<std::process::ExitStatus> {
        self.bot.as_mut().and_then(|bot| bot.try_wait().ok().flatten())
    }

    /// Where the bot's log is.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.options.directory.join("bot.log")
    }

    /// Runs the program as a person on the host would, and returns what it printed and whether it succeeded.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn run_on_host(&self, arguments: &[&str]) -> io::Result<(bool, String)> {
        let output = Command::new(&self.options.exe)
            .args(arguments)
            .arg("--config")
            .arg(self.settings_path())
            .envs(self.environment())
            .stdin(Stdio::null())
            .output()
            .await?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Ends everything: the bot as SIGTERM does, then the estate.
    pub async fn stop(mut self) {
        self.backstage.set(None);
        // What is left of it is killed when it is dropped.
        let _ = self.end_bot().await;
        self.estate.stop().await;
        self.github.stop();
        self.model.stop();
    }
}

/// What opens the run board.
const BOARD_TOKEN: &str = "sandbox-run-board";

/// Ports that the system gives to nobody by itself, so that one which is free now is free when the bot comes to it.
/// Source: `net.ipv4.ip_local_port_range`, which begins at 32768.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How many ports are tried.
const PORT_TRIES: u32 = 50;

fn free_address() -> io::Result<SocketAddr> {
    let mut tried = Err(io::Error::other("no port was tried"));
    for _ in 0..PORT_TRIES {
        let port = RandomIds.next() % u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(port).expect("the range is one of ports");
        tried = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr());
        if tried.is_ok() {
            break;
        }
    }
    tried
}

/// How long a bot that was told to stop is waited for.
const STOP_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

async fn start_estate(options: &StageOptions, number: u32, rows: u32) -> io::Result<Estate> {
    let directory: &Path = &options.directory.join(format!("estate-{number}"));
    let estate = Estate::start(directory, Options { exe: options.exe.clone(), rows, seed: u64::from(number) }).await;
    estate.map_err(io::Error::other)
}

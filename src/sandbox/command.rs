//! `pointsman sandbox`: the models and the estate, with the bot or for a bot, or the scripted scenario.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;

use super::OpenStage;
use super::discord::Model;
use super::discord::transcript::{Shown, Transcript};
use super::scenario::{Findings, Narrator, Scenario};
use super::stage::{Stage, StageOptions};
use crate::clock;

/// Models of Discord, GitHub and Kubernetes with a practice estate, to try everything without an account.
///
/// It prints the address of a chat page: open it in a browser, choose who you are, and type /migrate start. The page's
/// stage panel kills the bot, breaks Discord and the practice application, and lets time run faster.
#[derive(Debug, Clone, clap::Args)]
pub struct SandboxArgs {
    /// Plays the scripted scenario: exit status 0 only if everything really happened. On a terminal, and without
    /// --headless, the chat page stays open afterwards, until Ctrl-C.
    #[arg(long)]
    pub scenario: bool,
    /// With --scenario: does not print the chat, only scenes, checks and results, and ends with the scenario.
    #[arg(long, requires = "scenario")]
    pub headless: bool,
    /// Runs the models and the estate alone, and prints the settings with which `pointsman serve` connects to them.
    #[arg(long, conflicts_with = "scenario")]
    pub models_only: bool,
    /// How many times as fast as the wall the time runs, for models and bot alike.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(clock::SPEED_MAX)))]
    pub speed: u32,
    /// Rows of the practice application's table.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(100..=i64::from(super::estate::sqlite::ROWS_MAX)))]
    pub rows: u32,
    /// Where everything lives; a new temporary directory unless given.
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The folder with `commands/` and `runbooks/`.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub definitions: PathBuf,
    /// The address of the chat page and the Discord model.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// Runs the sandbox until Ctrl-C, or the scenario to its end.
///
/// # Errors
/// What could not be started; nothing is left running.
pub async fn run(args: SandboxArgs, exe: PathBuf, path: String) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.listen.ip().is_loopback(), "the model listens on this machine only: give a loopback address");
    let definitions =
        std::fs::canonicalize(&args.definitions).with_context(|| format!("finding {}", args.definitions.display()))?;
    anyhow::ensure!(
        definitions.join("runbooks").is_dir(),
        "{} has no `runbooks` folder: run this where the definitions are, or name the place with --definitions",
        definitions.display()
    );
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None => temporary_directory()?,
    };
    std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let directory = std::fs::canonicalize(&directory)?;
    let options = StageOptions {
        exe,
        directory: directory.clone(),
        definitions,
        path,
        speed: args.speed,
        anchor: clock::wall_now(),
        listen: args.listen,
    };
    println!("preparing {} rows, a PostgreSQL cluster and an application in {}", args.rows, directory.display());
    let stage = Stage::start(options, args.rows).await.context("setting the stage")?;
    let ended = if args.scenario { play(stage, args.headless).await } else { stay(stage, args.models_only).await };
    if args.directory.is_none() && matches!(ended, Ok(ExitCode::SUCCESS)) {
        let _ = std::fs::remove_dir_all(&directory);
    } else {
        println!("what was left: {}", directory.display());
    }
    ended
}

/// PostgreSQL runs as a user of its own and must be able to search the way to its files.
fn temporary_directory() -> anyhow::Result<PathBuf> {
    use crate::clock::Ids as _;
    use std::os::unix::fs::DirBuilderExt as _;
    let directory = std::env::temp_dir().join(format!("pointsman-sandbox-{:016x}", clock::RandomIds.next()));
    std::fs::DirBuilder::new().mode(0o755).create(&directory).with_context(|| format!("making {}", directory.display()))?;
    Ok(directory)
}

async fn play(mut stage: Stage, headless: bool) -> anyhow::Result<ExitCode> {
    if !headless {
        println!("open {} to watch in a browser", stage.model.base_url());
    }
    let screen = Screen::default();
    let printer = (!headless).then(|| tokio::spawn(print_chat(stage.model.clone(), screen.clone())));
    let mut narrator = screen.clone();
    let played = tokio::select! {
        played = Scenario::new(&mut stage, &mut narrator).play() => played.context("the scenario could not go on"),
        stopped = ctrl_c() => stopped.and_then(|()| Err(anyhow::anyhow!("stopped by Ctrl-C"))),
    };
    if let Some(printer) = printer {
        printer.abort();
    }
    let log = stage.log_path();
    let findings = match played {
        Ok(findings) => findings,
        Err(error) => {
            stage.stop().await;
            print_tail(&log);
            return Err(error);
        }
    };
    print_findings(&findings);
    // Whoever pipes the output away is not there to play.
    if !headless && std::io::stdout().is_terminal() {
        println!("\nopen {} to look around and go on playing; Ctrl-C ends everything", stage.model.base_url());
        let stage = OpenStage::open(stage);
        ctrl_c().await?;
        stage.stop().await;
    } else {
        stage.stop().await;
    }
    Ok(if findings.unmet == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_findings(findings: &Findings) {
    println!("\n── result ─────────────────────────────────────────────");
    for line in &findings.lines {
        println!("{line}");
    }
    println!("{} expectations met, {} not met", findings.met, findings.unmet);
}

fn print_tail(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    eprintln!("── the end of the bot's log ──");
    for line in &lines[lines.len().saturating_sub(40)..] {
        eprintln!("{line}");
    }
}

async fn stay(mut stage: Stage, models_only: bool) -> anyhow::Result<ExitCode> {
    println!("\nchat page        {}", stage.model.base_url());
    println!("control          {}/sandbox/v1", stage.model.base_url());
    println!("GitHub model     {}", stage.github.base_url());
    println!("application      {}", stage.estate.kubernetes().service_url());
    println!("SQLite file      {}", stage.estate.sqlite().display());
    for setting in stage.estate.sx().settings().into_iter().filter(|setting| !setting.secret) {
        println!("{:<16} {}", setting.name, setting.value);
    }
    println!("settings         {}\n", stage.settings_path().display());
    if models_only {
        println!("{}", stage.settings());
        println!("start a bot with:");
        for (name, value) in stage.environment() {
            println!("  export {name}={value}");
        }
        println!("  pointsman serve --config {}", stage.settings_path().display());
    } else {
        stage.start_bot().context("starting the bot")?;
        println!("run board        {}", stage.board_url());
        println!("the bot runs; its log is {}", stage.log_path().display());
    }
    println!("open {} in a browser; Ctrl-C ends everything", stage.model.base_url());
    let printer = tokio::spawn(print_chat(stage.model.clone(), Screen::default()));
    let stage = OpenStage::open(stage);
    ctrl_c().await?;
    printer.abort();
    stage.stop().await;
    Ok(ExitCode::SUCCESS)
}

async fn ctrl_c() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => Ok(result?),
        _ = terminate.recv() => Ok(()),
    }
}

async fn print_chat(model: Model, screen: Screen) {
    let mut changes = model.changes_from(0);
    let mut transcript = Transcript::new();
    while let Some(change) = changes.next().await {
        if let Some(shown) = model.read(|chat| transcript.show(&change, chat)) {
            screen.show(&shown);
        }
    }
}

/// The terminal: lines, and one line of progress that is overwritten.
#[derive(Debug, Clone, Default)]
struct Screen {
    progress_shown: Arc<Mutex<bool>>,
}

impl Screen {
    fn show(&self, shown: &Shown) {
        let mut out = std::io::stdout().lock();
        let terminal = out.is_terminal();
        let mut progress = self.progress_shown.lock().expect("no code panics while it prints");
        let _ = match shown {
            Shown::Progress(line) if terminal => write!(out, "\r\x1b[2K{line}").and_then(|()| out.flush()),
            Shown::Progress(line) => writeln!(out, "{line}"),
            Shown::Lines(lines) if *progress => writeln!(out, "\r\x1b[2K{lines}"),
            Shown::Lines(lines) => writeln!(out, "{lines}"),
        };
        *progress = terminal && matches!(shown, Shown::Progress(_));
    }
}

impl Narrator for Screen {
    fn scene(&mut self, title: &str) {
        self.show(&Shown::Lines(format!("\n── {title} ──")));
    }

    fn checked(&mut self, what: &str, holds: bool) {
        self.show(&Shown::Lines(format!("{} {what}", if holds { "✔" } else { "✘" })));
    }
}

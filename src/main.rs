//! The `pointsman` command: parses, builds, runs until told to stop.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use indexmap::IndexMap;
use pointsman::actions::Registry;
use pointsman::app::{self, Parts};
use pointsman::catalog::CheckContext;
use pointsman::cli::{self, AuditCommand, CheckArgs, CopyArgs, RenderArgs, SchemaArgs};
use pointsman::config::{ConfigError, Environment, Settings};
use pointsman::control::RollbackRequest;
use pointsman::doctor;
use pointsman::domain::{ParameterName, RollbackName, RunId, RunbookName, with_suggestion};
use pointsman::engine::{PlanProblem, Planning as _};
use pointsman::{render, telemetry};
use tokio_util::sync::CancellationToken;

/// Runs database migrations, cutovers and rollbacks from Discord, behind role sign-off.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, about, propagate_version = true)]
struct Arguments {
    /// The settings file; `pointsman.yaml` in this folder unless given.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the bot until it is told to stop.
    Serve,
    /// Checks all definitions and reports every mistake at once; needs no network.
    Check(CheckArgs),
    /// Writes the JSON Schemas of the definitions, for editors.
    Schema(SchemaArgs),
    /// Writes a runbook as one page to follow by hand when chat is down.
    Render(RenderArgs),
    /// Prints the plan that a run would pin: digest, gates, time table. Starts nothing.
    Plan {
        /// The runbook's name.
        runbook: RunbookName,
        /// A parameter of the runbook; may be given several times.
        #[arg(short, long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
        parameters: Vec<(ParameterName, String)>,
    },
    /// Starts an armed rollback from this host, for when Discord is away.
    Rollback {
        /// The run, e.g. `run-k3f9w2mx`.
        run: RunId,
        /// Which rollback; the armed one unless given.
        #[arg(long)]
        rollback: Option<RollbackName>,
        /// Why; it goes into the journal.
        #[arg(long)]
        reason: String,
    },
    /// Looks at everything that the bot needs, and says how to mend what is not well; exit status 1 on a problem.
    Doctor {
        /// Write the findings as JSON.
        #[arg(long)]
        json: bool,
    },
    Copy(Box<CopyArgs>),
    /// Verifies or exports the journal.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Models of Discord and Kubernetes with a practice estate, to try everything without an account.
    #[cfg(feature = "sandbox")]
    Sandbox(pointsman::sandbox::SandboxArgs),
    /// Writes a shell's completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn parameter(text: &str) -> Result<(ParameterName, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.parse().map_err(|error: pointsman::domain::InvalidName| error.to_string())?, value.to_owned()))
}

/// `EX_CONFIG` of [sysexits.h](https://man7.org/linux/man-pages/man3/sysexits.h.3head.html): started again, the program
/// would end the same way. `deploy/systemd/pointsman.service` does not start it again then.
const NEEDS_A_PERSON: u8 = 78;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before anything else: the supervisor of a child process must have no runtime and no threads yet.
    match args.next() {
        Some(word) if word == "supervise" => return pointsman::actions::process::supervise_main(args),
        #[cfg(feature = "sandbox")]
        Some(word) if word == pointsman::sandbox::estate::sx::HIDDEN => {
            return pointsman::sandbox::estate::sx::practice_sx_main(args, std::env::vars_os());
        }
        #[cfg(feature = "sandbox")]
        Some(word) if word == "practice-app" => return pointsman::sandbox::estate::app::practice_app_main(std::env::vars_os()),
        _ => {}
    }
    match run(Arguments::parse()) {
        Ok(code) => code,
        // Whoever read the output has seen enough, e.g. `pointsman schema | head`.
        Err(error) if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pointsman: {error:#}");
            if app::needs_a_person(&error) { ExitCode::from(NEEDS_A_PERSON) } else { ExitCode::FAILURE }
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process();
    let actions = CheckContext { actions: Registry::standard().specs(), roles: None };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    // What works on definitions alone needs no settings, and takes them in where they are named.
    let given_settings = || arguments.config.as_deref().map(|path| Settings::load(Some(path), &environment)).transpose();
    match arguments.command {
        Command::Check(args) => {
            let (args, context) = match given_settings()? {
                Some(settings) => args.under(&settings, actions),
                None => (args, actions),
            };
            Ok(cli::check(&args, &context, out.is_terminal(), &mut out)?)
        }
        Command::Schema(args) => Ok(cli::schema(&args, &actions, &mut out)?),
        Command::Render(args) => {
            let args = given_settings()?.iter().fold(args, RenderArgs::under);
            Ok(cli::render(&args, &actions, &mut out, &mut err)?)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "pointsman", &mut out);
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => {
            let path = environment.get("PATH").unwrap_or_default().to_owned();
            block_on(pointsman::sandbox::run(args, this_program()?, path))?
        }
        Command::Doctor { json } => {
            let report = match Settings::load(arguments.config.as_deref(), &environment) {
                Ok(settings) => block_on(doctor::examine(&patient(settings, &environment, actions)))?,
                Err(error) => doctor::Report::of_bad_settings(&error.to_string()),
            };
            let text = if json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { report.text() };
            out.write_all(text.as_bytes())?;
            Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Copy(args) => block_on(cli::copy(&args, &mut out)),
        Command::Audit { command } => {
            let settings = Settings::load(arguments.config.as_deref(), &environment)?;
            block_on(async {
                let journal = app::open_existing_journal(&settings).await?;
                Ok(cli::audit(&command, &*journal, &mut out).await?)
            })?
        }
        Command::Plan { runbook, parameters } => {
            let parts = parts(arguments.config, &environment)?;
            block_on(plan(&parts, &runbook, parameters.into_iter().collect()))?
        }
        Command::Rollback { run, rollback, reason } => {
            let settings = settings(arguments.config, &environment)?;
            let parts = Parts::without_definitions(settings, &environment, this_program()?)?;
            let user = environment.get("SUDO_USER").or(environment.get("USER")).unwrap_or("unknown").to_owned();
            block_on(async {
                println!("{}", app::rollback(parts, RollbackRequest { run, rollback, reason, user }).await?);
                Ok(ExitCode::SUCCESS)
            })?
        }
        Command::Serve => {
            let parts = parts(arguments.config, &environment)?;
            block_on(async {
                let stop = CancellationToken::new();
                let told = stop.clone();
                tokio::spawn(async move {
                    if app::told_to_stop().await.is_ok() {
                        told.cancel();
                    }
                });
                app::serve(parts, stop).await?;
                Ok(ExitCode::SUCCESS)
            })?
        }
    }
}

fn parts(config: Option<PathBuf>, environment: &Environment) -> anyhow::Result<Parts> {
    Parts::new(settings(config, environment)?, environment, this_program()?)
}

/// The settings, with logs set up as they say.
fn settings(config: Option<PathBuf>, environment: &Environment) -> anyhow::Result<Settings> {
    let settings = Settings::load(config.as_deref(), environment)?;
    telemetry::init(&settings.log).map_err(|why| ConfigError::Value { what: "log.filter".to_owned(), why })?;
    Ok(settings)
}

fn patient(settings: Settings, environment: &Environment, context: CheckContext) -> doctor::Patient {
    let path = std::env::split_paths(environment.get("PATH").unwrap_or_default()).collect();
    let clock = std::sync::Arc::new(settings.clock);
    doctor::Patient { settings, context, path, clock }
}

fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("finding this program's own file")
}

/// Runs `work` on a runtime of its own.
fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    Ok(runtime.block_on(work))
}

async fn plan(parts: &Parts, runbook: &RunbookName, parameters: IndexMap<ParameterName, String>) -> anyhow::Result<ExitCode> {
    let plan = parts.planning().plan(runbook, &parameters).await.map_err(|problem| match problem {
        PlanProblem::UnknownRunbook(_) => {
            let catalog = parts.catalog.current();
            let known = catalog.runbooks().iter().map(|loaded| loaded.definition.runbook.as_str());
            anyhow::anyhow!(with_suggestion(&problem.to_string(), runbook.as_str(), known))
        }
        PlanProblem::Missing(_) => anyhow::anyhow!("{problem}; give each with `-p NAME=VALUE`"),
        PlanProblem::Invalid(mistakes) => anyhow::anyhow!("no plan could be made:\n  {}", mistakes.join("\n  ")),
        problem => problem.into(),
    })?;
    write!(io::stdout(), "{}", render::plan::text(&plan))?;
    Ok(ExitCode::SUCCESS)
}

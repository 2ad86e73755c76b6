//! `pointsman copy`: the move from SQLite to PostgreSQL as a command of its own, without a run.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::transfer::copy::{self, FaultLimit, OnFault, Options, Progress, SchemaMode};
use crate::transfer::{Error, verify};

/// How often a copy goes on by itself after a failure that may pass (a lost connection, a full disk).
const ATTEMPTS_MAX: u32 = 6;
/// The pause before the second attempt; it doubles from one to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// How often progress is shown: on a terminal, and in a log.
const SHOWN_EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Copy a SQLite database to PostgreSQL, verify it, and say what was put aside
#[derive(Debug, Clone, clap::Args)]
pub struct CopyArgs {
    /// The SQLite file; it is opened read-only
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// The PostgreSQL database, postgres://USER:PASSWORD@HOST:PORT/DATABASE; better given by the environment, where no process list shows it
    #[arg(long, value_name = "URL", env = "POINTSMAN_COPY_TO", hide_env_values = true)]
    pub to: String,
    /// Show what would happen, and write nothing
    #[arg(long)]
    pub plan: bool,
    /// With --plan: look at about so many rows of each table instead of all
    #[arg(long, value_name = "ROWS", requires = "plan")]
    pub sample: Option<u64>,
    /// Read and convert every row as the copy would, and write nothing
    #[arg(long, conflicts_with = "plan")]
    pub rehearse: bool,
    /// Take an unfinished copy back
    #[arg(long, conflicts_with_all = ["plan", "rehearse"])]
    pub undo: bool,
    /// Compare only; the copy was done before
    #[arg(long, conflicts_with_all = ["plan", "rehearse", "undo"])]
    pub verify_only: bool,
    /// Do not compare the databases after the copy
    #[arg(long)]
    pub no_verify: bool,
    /// The copy's name in the target: the same one goes on where it stopped [default: the source's path]
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// Copy these tables only
    #[arg(long, value_name = "TABLE,...", value_delimiter = ',')]
    pub tables: Option<Vec<String>>,
    /// Leave these tables or columns alone, in the source or in the target
    #[arg(long, value_name = "TABLE[.COLUMN],...", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// How to read a column: epoch_seconds, boolean, jsonb, uuid, ... (may be given several times)
    #[arg(long, value_name = "TABLE.COLUMN=CAST")]
    pub cast: Vec<String>,
    /// What to do about one kind of fault, e.g. `*:nul_byte=strip_nul` (may be given several times)
    #[arg(long, value_name = "TABLE.COLUMN:FAULT=POLICY")]
    pub policy: Vec<String>,
    /// Whether the tables exist: auto, fill or create
    #[arg(long, default_value = "auto")]
    pub schema: String,
    /// The schema of the target that holds the tables
    #[arg(long, value_name = "SCHEMA", default_value = "public")]
    pub target_schema: String,
    /// What to do with a row that does not fit: quarantine or fail
    #[arg(long, default_value = "quarantine")]
    pub on_fault: String,
    /// Fail when more rows than this are put aside
    #[arg(long, value_name = "ROWS")]
    pub fault_rows: Option<u64>,
    /// Fail when more than this share of a table is put aside, 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub fault_share: Option<f64>,
    /// Accept that the source is written to meanwhile
    #[arg(long)]
    pub source_may_change: bool,
    /// Streams that load side by side [default: one per processor, at most 4]
    #[arg(long)]
    pub streams: Option<usize>,
    /// Leave gathering statistics to autovacuum
    #[arg(long)]
    pub no_analyze: bool,
    /// Write the rows that were put aside to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub quarantine: Option<PathBuf>,
    /// Write the verification to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command. Results go to `out`, progress to the standard error. Status 0: done and verified; 1: not done, or the databases
/// differ; 130: stopped by Ctrl-C, the same command goes on.
pub async fn copy(args: &CopyArgs, out: &mut (dyn Write + Send)) -> ExitCode {
    let cancel = CancellationToken::new();
    let on_signal = cancel.clone();
    let watcher = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            on_signal.cancel();
        }
    });
    let result = perform(args, out, &cancel).await;
    watcher.abort();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            if error.is_cancelled() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

async fn perform(args: &CopyArgs, out: &mut (dyn Write + Send), cancel: &CancellationToken) -> Result<bool, Error> {
    let options = args.options()?;
    let target = SecretString::from(args.to.clone());
    if args.undo {
        let undone = copy::undo(&target, &options.copy_id).await?;
        let says = if undone { "was taken back" } else { "was never begun there; nothing to take back" };
        return say(out, &format!("copy `{}` {says}", options.copy_id)).map(|()| true);
    }
    if args.plan {
        let plan = copy::plan(&args.from, &target, &options, args.sample, cancel).await?;
        return show(args, out, &plan, &plan.to_markdown()).map(|()| true);
    }
    let display = Display::new();
    if args.rehearse {
        let report = copy::rehearse(&args.from, &target, &options, &|progress| display.show(&progress), cancel).await;
        display.end();
        let report = report?;
        return show(args, out, &report, &report.to_markdown()).map(|()| true);
    }
    if !args.verify_only {
        let report = copy_with_patience(args, &target, &options, &display, cancel).await;
        display.end();
        write_quarantine(args, &target, &options).await?;
        let report = report?;
        show(args, out, &report, &report.to_markdown())?;
    }
    if args.no_verify {
        return Ok(true);
    }
    let report = verify::run(&args.from, &target, &verify::Options::of_copy(&options), &|_, _| {}, cancel).await?;
    if let Some(path) = &args.report {
        std::fs::write(path, report.to_markdown())
            .map_err(|error| unusable("--report", format!("cannot be written: {error}")))?;
    }
    show(args, out, &report, &report.to_markdown())?;
    Ok(report.failed == 0)
}

/// Goes on by itself after failures that may pass.
async fn copy_with_patience(
    args: &CopyArgs,
    target: &SecretString,
    options: &Options,
    display: &Display,
    cancel: &CancellationToken,
) -> Result<copy::Report, Error> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        match copy::run(&args.from, target, options, &|progress| display.show(&progress), cancel).await {
            Err(error) if error.is_retryable() && attempt < ATTEMPTS_MAX => {
                display.note(&format!("{error}; going on in {} s", pause.as_secs()));
                tokio::select! {
                    () = cancel.cancelled() => return Err(error),
                    () = tokio::time::sleep(pause) => {}
                }
                pause *= 2;
            }
            result => return result,
        }
    }
    Err(Error::Defect("the attempts never end".to_owned()))
}

async fn write_quarantine(args: &CopyArgs, target: &SecretString, options: &Options) -> Result<(), Error> {
    let Some(path) = &args.quarantine else { return Ok(()) };
    let file = std::fs::File::create(path).map_err(|error| unusable("--quarantine", format!("cannot be written: {error}")))?;
    let mut file = std::io::BufWriter::new(file);
    copy::write_quarantine(target, &options.copy_id, &mut file).await?;
    file.flush().map_err(|error| unusable("--quarantine", format!("cannot be written: {error}")))
}

fn show(args: &CopyArgs, out: &mut (dyn Write + Send), value: &impl serde::Serialize, markdown: &str) -> Result<(), Error> {
    if args.json {
        let json = serde_json::to_string(value).map_err(|error| Error::Defect(error.to_string()))?;
        return say(out, &json);
    }
    say(out, markdown)
}

fn say(out: &mut (dyn Write + Send), text: &str) -> Result<(), Error> {
    writeln!(out, "{text}").map_err(|error| unusable("output", format!("cannot be written: {error}")))
}

fn unusable(option: &str, says: String) -> Error {
    Error::Options { option: option.to_owned(), says }
}

impl CopyArgs {
    /// The source's full path, or its end if it is very long; its name alone where it does not exist.
    fn default_id(&self) -> String {
        let path = std::fs::canonicalize(&self.from).ok();
        let path = path.as_deref().or(self.from.file_name().map(Path::new)).unwrap_or(&self.from).to_string_lossy().into_owned();
        let cut = path.chars().count().saturating_sub(200);
        path.chars().skip(cut).collect()
    }

    /// The options of the library.
    fn options(&self) -> Result<Options, Error> {
        let mut options = Options::new(self.id.clone().unwrap_or_else(|| self.default_id()));
        options.tables = self.tables.clone();
        options.exclude = self.exclude.clone();
        for text in &self.cast {
            let (column, cast) =
                text.split_once('=').ok_or_else(|| unusable("--cast", format!("`{text}` is not TABLE.COLUMN=CAST")))?;
            options.casts.insert(column.to_owned(), word("--cast", cast)?);
        }
        for text in &self.policy {
            let parts = text.split_once('=').and_then(|(place, policy)| Some((place.rsplit_once(':')?, policy)));
            let ((column, fault), policy) =
                parts.ok_or_else(|| unusable("--policy", format!("`{text}` is not TABLE.COLUMN:FAULT=POLICY")))?;
            let policies: &mut BTreeMap<_, _> = options.policies.entry(column.to_owned()).or_default();
            policies.insert(word("--policy", fault)?, word("--policy", policy)?);
        }
        options.schema = word::<SchemaMode>("--schema", &self.schema)?;
        options.target_schema.clone_from(&self.target_schema);
        options.on_fault = word::<OnFault>("--on-fault", &self.on_fault)?;
        options.fault_limit = FaultLimit { rows: self.fault_rows, share: self.fault_share };
        options.source_may_change = self.source_may_change;
        options.streams = self.streams.unwrap_or(options.streams);
        options.analyze = !self.no_analyze;
        Ok(options)
    }
}

/// Reads one of our words; the error lists those that there are.
fn word<T: DeserializeOwned>(option: &str, text: &str) -> Result<T, Error> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|error| unusable(option, error.to_string()))
}

/// Progress on the standard error: bars that are drawn over on a terminal, now and then a line elsewhere.
struct Display {
    terminal: bool,
    state: Mutex<Drawn>,
}

struct Drawn {
    last: Option<Instant>,
    lines: usize,
}

impl Display {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), state: Mutex::new(Drawn { last: None, lines: 0 }) }
    }

    fn show(&self, progress: &Progress) {
        let Ok(mut drawn) = self.state.lock() else { return };
        let pause = if self.terminal { SHOWN_EVERY.0 } else { SHOWN_EVERY.1 };
        if drawn.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        drawn.last = Some(Instant::now());
        let text = progress.to_text();
        let mut stderr = std::io::stderr().lock();
        if !self.terminal {
            let _ = writeln!(stderr, "{}", text.lines().last().unwrap_or_default());
            return;
        }
        if drawn.lines > 0 {
            let _ = write!(stderr, "\x1b[{}A\x1b[J", drawn.lines);
        }
        let _ = writeln!(stderr, "{text}");
        drawn.lines = text.lines().count();
    }

    /// A line that stays.
    fn note(&self, text: &str) {
        self.end();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Leaves the bars where they are.
    fn end(&self) {
        if let Ok(mut drawn) = self.state.lock() {
            *drawn = Drawn { last: None, lines: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::transfer::{Cast, FaultCode, Policy};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: CopyArgs,
    }

    fn options(more: &[&str]) -> Result<Options, Error> {
        let fixed = ["copy", "--from", "/data/app.sqlite", "--to", "postgres://u@h/d"];
        Command::parse_from(fixed.iter().chain(more)).args.options()
    }

    #[test]
    fn arguments_become_options() {
        let options = options(&[
            "--cast",
            "t.at=epoch_seconds",
            "--policy",
            "*:nul_byte=strip_nul",
            "--exclude",
            "a,b.c",
            "--fault-share",
            "0.1",
        ])
        .expect("valid");
        assert_eq!(options.copy_id, "app.sqlite");
        assert_eq!(options.casts["t.at"], Cast::EpochSeconds);
        assert_eq!(options.policies["*"][&FaultCode::NulByte], Policy::StripNul);
        assert_eq!((options.on_fault, options.fault_limit.share), (OnFault::Quarantine, Some(0.1)));
        assert_eq!(options.exclude, ["a", "b.c"]);
    }

    #[test]
    fn wrong_words_are_answered_with_the_right_ones() {
        let error = options(&["--cast", "t.at=epoch"]).expect_err("no such cast").to_string();
        assert!(error.contains("--cast") && error.contains("epoch_seconds"), "{error}");
        assert!(options(&["--policy", "nul_byte"]).expect_err("incomplete").to_string().contains("TABLE.COLUMN:FAULT=POLICY"));
    }
}

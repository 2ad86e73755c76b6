//! The bot's side: starting a command under its supervisor, following it, and cancelling it.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::group::{self, LeftBehind, end_group};
use super::output::{Captured, Line, OutputLimits, Sink, Stream};
use super::wire::{Exit, Order, Report, encode_order};
use crate::actions::redact::Redactor;
use crate::domain::run::ProcessGroup;

/// Debian's search path for commands.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// From TERM to KILL unless the command says otherwise; docker and systemd give 10 s and 90 s.
const GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// How much longer than the grace the supervisor may take before the bot ends the group itself.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(15);
/// How long the outputs may stay open once every process is gone.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How much is read from an output at once: the capacity of a Linux pipe.
const CHUNK_BYTES: usize = 64 * 1024;

/// Starts commands under supervisors: knows the program that supervises and what every environment holds.
#[derive(Debug, Clone)]
pub struct Spawner {
    supervisor: PathBuf,
    base: Vec<(OsString, OsString)>,
}

impl Spawner {
    /// `supervisor` is the `pointsman` program itself (`std::env::current_exe()` in the bot).
    /// Commands see `PATH` (Debian's default), `HOME=/` and `LANG=C.UTF-8`, and what they ask for.
    #[must_use]
    pub fn new(supervisor: PathBuf) -> Self {
        let base = [("PATH", PATH_DEFAULT), ("HOME", "/"), ("LANG", "C.UTF-8")];
        Self { supervisor, base: base.map(|(name, value)| (name.into(), value.into())).into() }
    }

    /// Sets a variable that every command sees, for instance the `PATH` from the settings.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.base.retain(|(known, _)| *known != name);
        self.base.push((name, value.into()));
        self
    }
}

/// A command to run: no shell, every argument as it is.
#[derive(Debug, Clone)]
pub struct Command {
    argv: Vec<OsString>,
    env: Vec<(OsString, Value)>,
    cwd: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    limits: OutputLimits,
    grace: Duration,
    redactor: Redactor,
}

/// The value of a variable.
#[derive(Debug, Clone)]
enum Value {
    Plain(OsString),
    Secret(SecretString),
}

impl Command {
    /// `program` without a slash is looked up in the command's own `PATH`.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            argv: vec![program.into()],
            env: Vec::new(),
            cwd: None,
            stdin: None,
            limits: OutputLimits::default(),
            grace: GRACE_DEFAULT,
            redactor: Redactor::default(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.argv.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.argv.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable; the last one of a name counts.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Value::Plain(value.into())));
        self
    }

    /// Sets a variable to a secret, which is also masked in all that the command prints.
    #[must_use]
    pub fn secret_env(mut self, name: impl Into<OsString>, value: SecretString) -> Self {
        self.env.push((name.into(), Value::Secret(value)));
        self
    }

    /// Where it runs; otherwise where the bot runs.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cwd = Some(directory.into());
        self
    }

    /// What it reads, at most 64 MiB; otherwise it reads from `/dev/null`.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// How much of each output is kept.
    #[must_use]
    pub fn limits(mut self, limits: OutputLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How long it may take to end after TERM, before KILL; 10 s unless set.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Masks these secrets in its output, besides those of [`Self::secret_env`].
    #[must_use]
    pub fn redactor(mut self, redactor: Redactor) -> Self {
        self.redactor = redactor;
        self
    }

    fn program(&self) -> String {
        self.argv[0].to_string_lossy().into_owned()
    }

    fn full_redactor(&self) -> Redactor {
        self.redactor.with(self.env.iter().filter_map(|(_, value)| match value {
            Value::Secret(secret) => Some(secret.clone()),
            Value::Plain(_) => None,
        }))
    }

    fn order(&self, spawner: &Spawner, group: &ProcessGroup) -> Order {
        let mut env = spawner.base.clone();
        for (name, value) in &self.env {
            env.retain(|(known, _)| known != name);
            env.push((
                name.clone(),
                match value {
                    Value::Plain(value) => value.clone(),
                    Value::Secret(secret) => secret.expose_secret().into(),
                },
            ));
        }
        env.push((group::MARK.into(), group::mark_of(group).into()));
        Order { argv: self.argv.clone(), env: Some(env), cwd: self.cwd.clone(), stdin: self.stdin.clone(), grace: self.grace }
    }
}

/// What came of a command that ended and left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// What it printed to standard output.
    pub stdout: Captured,
    /// What it printed to standard error.
    pub stderr: Captured,
    /// Whether some of either output was dropped.
    pub truncated: bool,
    /// Real time from its start until its group was gone.
    pub duration: Duration,
    /// Processes that were still running when the command ended by itself, and were ended.
    pub left_behind: u32,
}

/// Why a command has no result. Which variant it is says what may have happened in the world.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The supervisor could not be started: nothing has run.
    #[error("starting the supervisor {}: {source}", program.display())]
    Spawn {
        /// The supervisor's program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `on_started` failed: nothing has run.
    #[error("the start could not be recorded, so nothing was run: {0}")]
    NotRecorded(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The command could not be started (no such program, no such directory, ...): nothing has run.
    #[error("`{program}` could not be started: {reason}")]
    NotStarted {
        /// The program that was asked for.
        program: String,
        /// The system's reason.
        reason: String,
    },
    /// Cancelled. With `None` nothing has run; otherwise the command was ended, and this is how far it had come.
    #[error("cancelled")]
    Cancelled(Option<Box<Finished>>),
    /// The supervisor died before it told how the command ended. Everything of the group has been
    /// ended; what the command has done is unknown.
    #[error("the supervisor of `{program}` died before the command's end; its outcome is unknown")]
    SupervisorLost {
        /// The program that was asked for.
        program: String,
    },
    /// As [`Self::SupervisorLost`], and something may still run.
    #[error(transparent)]
    LeftBehind(#[from] LeftBehind),
}

/// Runs `command` to its end, in a process group of its own of which nothing remains afterwards.
///
/// `on_started` gets the group before anything runs, to be journalled; if it fails, nothing runs.
/// `on_line` gets every line as it comes, redacted; it must not block. When `cancel` fires, or the
/// future is dropped, or this process dies, the whole group gets TERM, then KILL after the command's grace;
/// only a dropped future does not wait for that.
///
/// A command that ends with a status other than 0 is not an error here: see [`Finished::exit`].
///
/// # Errors
/// See [`ProcessError`].
pub async fn run<S, F, E>(
    spawner: &Spawner,
    command: Command,
    on_started: S,
    on_line: &mut (dyn FnMut(Line<'_>) + Send),
    cancel: &CancellationToken,
) -> Result<Finished, ProcessError>
where
    S: FnOnce(ProcessGroup) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if cancel.is_cancelled() {
        return Err(ProcessError::Cancelled(None));
    }
    let session = Session::open(spawner, command)
        .await
        .map_err(|source| ProcessError::Spawn { program: spawner.supervisor.clone(), source })?;
    on_started(session.group.clone()).await.map_err(|error| ProcessError::NotRecorded(error.into()))?;
    if cancel.is_cancelled() {
        return Err(ProcessError::Cancelled(None));
    }
    session.follow(spawner, on_line, cancel).await
}

/// A supervisor that waits for its order. Dropping it closes the socket, which ends everything.
struct Session {
    command: Command,
    group: ProcessGroup,
    supervisor: Child,
    reports: OwnedReadHalf,
    orders: OwnedWriteHalf,
}

/// What the supervisor has told by its end.
#[derive(Debug, Default)]
struct Told {
    not_started: Option<String>,
    exit: Option<Exit>,
    cleaned: bool,
    left_behind: u32,
    survivors: u32,
    /// The end was asked for before the command had ended.
    cancelled: bool,
}

impl Session {
    async fn open(spawner: &Spawner, command: Command) -> io::Result<Self> {
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        let mut supervisor = tokio::process::Command::new(&spawner.supervisor);
        supervisor.arg("supervise").env_clear().process_group(0);
        supervisor.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = supervisor.spawn()?;
        // The builder holds the other end of the socket: while it lives, the supervisor's end goes unseen.
        drop(supervisor);
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or(io::ErrorKind::NotFound)?;
        let group = group::of_leader(pid)?;
        let (reports, orders) = UnixStream::from_std(ours)?.into_split();
        Ok(Self { command, group, supervisor: child, reports, orders })
    }

    async fn follow(
        mut self,
        spawner: &Spawner,
        on_line: &mut (dyn FnMut(Line<'_>) + Send),
        cancel: &CancellationToken,
    ) -> Result<Finished, ProcessError> {
        let started = Instant::now();
        let program = self.command.program();
        let redactor = self.command.full_redactor();
        let mut stdout = Sink::new(&redactor, self.command.limits);
        let mut stderr = Sink::new(&redactor, self.command.limits);
        let (out, err) = (self.supervisor.stdout.take(), self.supervisor.stderr.take());
        let on_line = Mutex::new(on_line);
        let told = {
            let pumps = async {
                tokio::join!(pump(out, &mut stdout, Stream::Stdout, &on_line), pump(err, &mut stderr, Stream::Stderr, &on_line))
            };
            tokio::pin!(pumps);
            let supervised = self.supervised(spawner, cancel);
            tokio::pin!(supervised);
            let mut drained = false;
            let told = loop {
                tokio::select! {
                    told = &mut supervised => break told,
                    _ = &mut pumps, if !drained => drained = true,
                }
            };
            if !drained {
                // All writers are gone, so the end is near; a pipe kept open elsewhere must not hold a step.
                let _ = timeout(DRAIN_MAX, pumps).await;
            }
            told?
        };
        let stdout = stdout.finish(&mut hand_on(&on_line, Stream::Stdout));
        let stderr = stderr.finish(&mut hand_on(&on_line, Stream::Stderr));
        if let Some(reason) = told.not_started {
            return Err(ProcessError::NotStarted { program, reason });
        }
        let Some(exit) = told.exit else {
            return Err(ProcessError::SupervisorLost { program });
        };
        let truncated = stdout.truncated() || stderr.truncated();
        let finished = Finished { exit, stdout, stderr, truncated, duration: started.elapsed(), left_behind: told.left_behind };
        if told.cancelled { Err(ProcessError::Cancelled(Some(Box::new(finished)))) } else { Ok(finished) }
    }

    /// Gives the order and stays until the supervisor has ended and its group is gone.
    async fn supervised(&mut self, spawner: &Spawner, cancel: &CancellationToken) -> Result<Told, ProcessError> {
        let order = encode_order(&self.command.order(spawner, &self.group))
            .map_err(|error| ProcessError::NotStarted { program: self.command.program(), reason: error.to_string() })?;
        tokio::select! {
            // A supervisor that is gone is noticed below, by the end of its reports.
            _ = self.orders.write_all(&order) => {}
            () = cancel.cancelled() => return Err(ProcessError::Cancelled(None)),
        }
        drop(order);
        let told = self.listen(cancel).await;
        let orderly = told.not_started.is_some() || (told.exit.is_some() && told.cleaned && told.survivors == 0);
        if !orderly {
            end_group(&self.group, Duration::ZERO).await?;
        }
        // It has nothing left to do; collecting it frees the group's id.
        let _ = timeout(SUPERVISOR_PATIENCE, self.supervisor.wait()).await;
        Ok(told)
    }

    /// Reads reports to their end. On `cancel` closes our half of the socket, which is the supervisor's
    /// sign to end everything, and from then on waits only so long.
    async fn listen(&mut self, cancel: &CancellationToken) -> Told {
        let mut lines = BufReader::new(&mut self.reports).lines();
        let mut told = Told::default();
        let mut deadline = None;
        loop {
            let patience = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                line = lines.next_line() => match line {
                    Ok(Some(line)) => told.take(&line),
                    Ok(None) | Err(_) => return told,
                },
                () = cancel.cancelled(), if deadline.is_none() => {
                    told.cancelled = told.exit.is_none();
                    let _ = self.orders.shutdown().await;
                    deadline = Some(Instant::now() + self.command.grace + SUPERVISOR_PATIENCE);
                }
                () = patience => return told,
            }
        }
    }
}

impl Told {
    fn take(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Report::NotStarted { reason }) => self.not_started = Some(reason),
            Ok(Report::Ended { exit }) => self.exit = Some(exit),
            Ok(Report::Cleaned { left_behind, survivors }) => {
                self.cleaned = true;
                self.left_behind = left_behind;
                self.survivors = survivors;
            }
            // Cut by the supervisor's death: what is missing then says so.
            Err(_) => {}
        }
    }
}

type OnLine<'a, 'b> = Mutex<&'a mut (dyn FnMut(Line<'_>) + Send + 'b)>;

/// Carries one output into its sink until all its writers are gone.
async fn pump(from: Option<impl AsyncRead + Unpin>, sink: &mut Sink, stream: Stream, on_line: &OnLine<'_, '_>) {
    let Some(mut from) = from else { return };
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        sink.push(&chunk[..length], &mut hand_on(on_line, stream));
    }
}

fn hand_on<'a>(on_line: &'a OnLine<'_, '_>, stream: Stream) -> impl FnMut(&str) + 'a {
    move |text| {
        // Both outputs are read by one task, so nobody else holds it; poisoned, the caller's panic is under way.
        if let Ok(mut on_line) = on_line.lock() {
            on_line(Line { stream, text });
        }
    }
}

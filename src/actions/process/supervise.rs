//! The supervisor: the process between the bot and a command (`pointsman supervise`).
//!
//! It has two uses. Without arguments it reads an order from standard input, runs it, and reports
//! on the same socket. With `[--grace-ms N] -- PROGRAM ARG...` it runs that program at once with its
//! own environment and output and ends as it ends: for the long-lived processes of the sandbox.
//! In both, the end of standard input means: end everything, now.
//!
//! It signals processes and never its own group as a whole, for it is the group's leader and must outlive it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal as Kind, WaitOptions, WaitStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::procfs::{self, Process};
use super::wire::{Exit, Order, Report, read_order};

/// What a command leaves behind when it ends by itself gets this long between TERM and KILL.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// How long KILL is repeated before the supervisor gives up and says so. Only a process stuck inside the kernel lasts.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How often `/proc` is read again while processes are being ended: a grandchild's end raises no signal here.
const RESCAN: Duration = Duration::from_millis(10);
/// The grace of the form with arguments, unless `--grace-ms` says otherwise.
const GRACE_DEFAULT: Duration = Duration::from_secs(5);
/// Status of the supervisor when it could not do its work, as env(1) and timeout(1) use it.
const FAILED: u8 = 125;

/// Runs the hidden subcommand `supervise`; `args` are what follows that word.
/// To be called first thing in `main`, before any runtime or thread exists.
#[must_use]
pub fn supervise_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match supervise(args.into_iter().collect()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "pointsman supervise: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn supervise(args: Vec<OsString>) -> io::Result<ExitCode> {
    let (order, reporter) = if args.is_empty() {
        match read_order(&mut stdin_file()?) {
            Ok(order) => (order, Reporter(Some(stdin_file()?))),
            // The bot changed its mind, or is gone: nothing has run, nothing is to be done.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => return Err(error),
        }
    } else {
        (parse_order(args)?, Reporter(None))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Supervisor::run(order, reporter))
}

/// The form with arguments, for a program that inherits everything.
fn parse_order(args: Vec<OsString>) -> io::Result<Order> {
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, "usage: supervise [--grace-ms N] -- PROGRAM ARG...");
    let dashes = args.iter().position(|argument| argument == "--").ok_or_else(usage)?;
    let grace = match &args[..dashes] {
        [] => GRACE_DEFAULT,
        [flag, millis] if flag == "--grace-ms" => {
            let millis = millis.to_str().and_then(|text| text.parse().ok()).ok_or_else(usage)?;
            Duration::from_millis(millis)
        }
        _ => return Err(usage()),
    };
    let argv = args[dashes + 1..].to_vec();
    if argv.is_empty() {
        return Err(usage());
    }
    Ok(Order { argv, env: None, cwd: None, stdin: None, grace })
}

/// Standard input as an unbuffered file of its own: nothing that is read may be lost in a buffer.
fn stdin_file() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// The way back to the bot; silent when nobody listens.
struct Reporter(Option<File>);

impl Reporter {
    fn report(&mut self, report: &Report) {
        let Some(socket) = &mut self.0 else { return };
        if let Ok(mut line) = serde_json::to_vec(report) {
            line.push(b'\n');
            // A bot that is gone needs no report.
            let _ = socket.write_all(&line);
        }
    }
}

struct Supervisor {
    command: Pid,
    exit: Option<Exit>,
    child_ended: Signal,
}

impl Supervisor {
    async fn run(order: Order, mut reporter: Reporter) -> io::Result<ExitCode> {
        // Orphans come to us instead of to init, so that parentage finds every descendant.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // Handled, not ignored: a handler ends with exec, an ignored signal would be handed on to the command.
        let _outlive = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
            .map(signal)
            .into_iter()
            .collect::<io::Result<Vec<_>>>()?;
        let child_ended = signal(SignalKind::child())?;
        let command = match start(&order) {
            Ok(command) => command,
            Err(error) => {
                reporter.report(&Report::NotStarted { reason: error.to_string() });
                return if reporter.0.is_some() { Ok(ExitCode::from(FAILED)) } else { Err(error) };
            }
        };
        let mut supervisor = Self { command, exit: None, child_ended };
        supervisor.follow(order.grace, &mut reporter).await
    }

    /// Waits for the command or for the end of standard input, whatever is first, and leaves nothing.
    async fn follow(&mut self, grace: Duration, reporter: &mut Reporter) -> io::Result<ExitCode> {
        let mut closed = watch_stdin()?;
        loop {
            self.reap();
            if self.exit.is_some() {
                break;
            }
            tokio::select! {
                _ = self.child_ended.recv() => {}
                _ = &mut closed => break,
            }
        }
        let by_itself = self.exit;
        if let Some(exit) = by_itself {
            reporter.report(&Report::Ended { exit });
        }
        let grace = if by_itself.is_some() { LEFTOVER_GRACE } else { grace };
        let (left_behind, survivors) = self.end_all(grace).await?;
        if let (None, Some(exit)) = (by_itself, self.exit) {
            reporter.report(&Report::Ended { exit });
        }
        reporter.report(&Report::Cleaned { left_behind, survivors });
        Ok(self.exit.map_or(ExitCode::from(FAILED), exit_code))
    }

    /// TERM, `grace`, then KILL until nothing is left. Returns how many were signalled, and how many remain.
    async fn end_all(&mut self, grace: Duration) -> io::Result<(u32, u32)> {
        let mut signalled = HashSet::new();
        let kill_from = Instant::now() + grace;
        let give_up = kill_from + KILL_PATIENCE;
        loop {
            self.reap();
            let members = members()?;
            if members.is_empty() || Instant::now() >= give_up {
                return Ok((count(signalled.len()), count(members.len())));
            }
            let kill = Instant::now() >= kill_from;
            for member in members {
                let new = signalled.insert((member.pid, member.start_time));
                if kill {
                    procfs::send_signal(&member, Kind::KILL);
                } else if new {
                    procfs::send_signal(&member, Kind::TERM);
                    // One that was stopped could not act on the TERM.
                    procfs::send_signal(&member, Kind::CONT);
                }
            }
            tokio::select! {
                _ = self.child_ended.recv() => {}
                () = tokio::time::sleep(RESCAN) => {}
            }
        }
    }

    /// Collects every child that has ended: the command, and orphans that came to us.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == self.command {
                self.exit = exit_of(status);
            }
        }
    }
}

/// Starts the command in this group. Its `Child` is dropped: `reap` collects it with all others.
fn start(order: &Order) -> io::Result<Pid> {
    let Some((program, arguments)) = order.argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program given"));
    };
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    command.stdin(if order.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    if let Some(env) = &order.env {
        command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
    }
    if let Some(cwd) = &order.cwd {
        command.current_dir(cwd);
    }
    let mut child = command.spawn()?;
    if let (Some(mut stdin), Some(bytes)) = (child.stdin.take(), order.stdin.clone()) {
        // A command need not read its input to the end.
        std::thread::spawn(move || stdin.write_all(&bytes));
    }
    Ok(Pid::from_child(&child))
}

/// Resolves when standard input ends. A thread, because any kind of file may stand there.
fn watch_stdin() -> io::Result<tokio::sync::oneshot::Receiver<()>> {
    let mut stdin = stdin_file()?;
    let (closed, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut scrap = [0; 64];
        loop {
            match stdin.read(&mut scrap) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
        let _ = closed.send(());
    });
    Ok(receiver)
}

/// Everything alive that is in this group or descends from this process, itself left out.
fn members() -> io::Result<Vec<Process>> {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let group = rustix::process::getpgrp().as_raw_nonzero().get();
    // Only a group of our own may be ended: started by hand in a shell's group, the parentage alone counts.
    let own_group = (group == me).then_some(group);
    let all = procfs::processes()?;
    let mut family = HashSet::from([me]);
    loop {
        let before = family.len();
        family
            .extend(all.iter().filter(|process| family.contains(&process.parent)).map(|process| process.pid).collect::<Vec<_>>());
        if family.len() == before {
            break;
        }
    }
    let belongs = |process: &Process| family.contains(&process.pid) || own_group == Some(process.group);
    Ok(all.into_iter().filter(|process| process.pid != me && !process.zombie && belongs(process)).collect())
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
}

/// The supervisor ends as the command did; a signal becomes 128 plus its number, as in a shell.
fn exit_code(exit: Exit) -> ExitCode {
    let number = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    };
    ExitCode::from(u8::try_from(number).unwrap_or(FAILED))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

//! A long-lived process of the estate that cannot outlive the sandbox, not even one that is killed.
//!
//! It runs under `pointsman supervise`, which ends it when this side of its standard input closes.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a stopped process may take before its supervisor is killed; well above every grace used here.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// A running process and its lifeline. Dropping it ends the process soon; [`Self::stop`] also waits.
#[derive(Debug)]
pub(super) struct Supervised {
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Supervised {
    /// Starts `argv` under the supervisor `exe`, with exactly the environment `env`. Standard output can
    /// be read with [`Self::take_output`]; standard error goes to the end of the file `log`.
    ///
    /// # Errors
    /// The log cannot be opened, or the supervisor not be started.
    pub(super) fn start(exe: &Path, grace: Duration, argv: &[String], env: &[(String, String)], log: &Path) -> io::Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut child = Command::new(exe)
            .arg("supervise")
            .args(["--grace-ms", &grace.as_millis().to_string(), "--"])
            .args(argv)
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline })
    }

    /// The process's standard output, once.
    pub(super) fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it and waits until it and all that it started are gone.
    pub(super) async fn stop(mut self) {
        self.lifeline = None;
        if timeout(STOP_PATIENCE, self.child.wait()).await.is_err() {
            // Only a process stuck in the kernel comes to this; its supervisor would wait with it.
            let _ = self.child.start_kill();
        }
    }

    /// Waits until it has ended by itself.
    pub(super) async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }
}

//! The door on the host: what an operator with a shell may ask of the running bot when Discord is away.
//!
//! A unix socket in the data directory, readable by its owner alone: whoever can open it could as well read
//! the journal and the secrets. One request a connection, one line of JSON each way. It starts armed
//! rollbacks and nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::run::{Actor, Input, Status};
use crate::domain::{RollbackName, RunId};
use crate::engine::{Engine, Runs, SendError};

/// A wish to start an armed rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackRequest {
    /// Of which run.
    pub run: RunId,
    /// Which; the armed one when absent.
    #[serde(default)]
    pub rollback: Option<RollbackName>,
    /// Why.
    pub reason: String,
    /// The system user who asks.
    pub user: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It has begun, durably.
    Started,
    /// It has not; what, why and what to do next.
    Refused(String),
}

/// The longest request line, in bytes.
const REQUEST_BYTES_MAX: u64 = 16 * 1024;

/// Where the socket of a data directory is.
#[must_use]
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Opens the door. An old socket file of a bot that was killed is replaced: the lease has proven that it is dead.
///
/// # Errors
/// If the socket cannot be made.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = socket_path(data_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers requests until `stop`.
pub async fn serve(listener: UnixListener, runs: Arc<dyn Runs>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let runs = Arc::clone(&runs);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &*runs).await {
                        warn!(%error, "a request on the host's socket was not answered");
                    }
                });
            }
            Err(error) => warn!(%error, "the host's socket could not be accepted on"),
        }
    }
}

async fn answer(stream: UnixStream, runs: &dyn Runs) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => start_rollback(runs, request).await,
        Err(error) => Answer::Refused(format!("the request cannot be read: {error}")),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await?;
    writer.shutdown().await
}

/// Starts an armed rollback on behalf of somebody on the host.
pub async fn start_rollback(runs: &dyn Runs, request: RollbackRequest) -> Answer {
    let RollbackRequest { run, rollback, reason, user } = request;
    info!(%run, user, "a rollback is asked for on the host");
    let input = Input::Rollback { rollback, by: Actor::Host { user }, reason };
    match runs.send(&run, input).await {
        Ok(()) => Answer::Started,
        Err(SendError::Rejected(rejection)) => Answer::Refused(format!("{rejection}. {}", rejection.advice())),
        Err(SendError::UnknownRun) => {
            let open: Vec<String> = runs.runs().iter().filter(|run| !run.ended).map(|run| run.id.to_string()).collect();
            let open = if open.is_empty() { "no run is open".to_owned() } else { format!("open runs: {}", open.join(", ")) };
            Answer::Refused(format!("there is no run {run}; {open}"))
        }
        Err(SendError::Unavailable(why)) => {
            Answer::Refused(format!("it could not be journalled, as far as is known: {why}. Try again: it begins only once."))
        }
    }
}

/// How long a running bot has to answer: many times what it takes while its journal can be written.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the running bot. `None` if none is running on this data directory.
///
/// # Errors
/// If it is running and does not answer within `patience`. Whether it has begun is not known then.
pub async fn ask(data_dir: &Path, request: &RollbackRequest, patience: Duration) -> io::Result<Option<Answer>> {
    tokio::time::timeout(patience, exchange(data_dir, request)).await.unwrap_or_else(|_| {
        let why = format!(
            "the bot does not answer within {patience:?}, and whether it has begun is not known: stop it (`systemctl stop \
             pointsman`) and run this again, which then carries the rollback out, or on, itself"
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    })
}

async fn exchange(data_dir: &Path, request: &RollbackRequest) -> io::Result<Option<Answer>> {
    let stream = match UnixStream::connect(socket_path(data_dir)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (reader, mut writer) = stream.into_split();
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(reader.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    serde_json::from_str(&line).map(Some).map_err(io::Error::other)
}

/// Starts an armed rollback in a process that has no chat, or takes up one that was cut off, and returns when it is over
/// with a line for whoever asked.
///
/// # Errors
/// Why it was refused or did not come to its end, and what to do next.
pub async fn carry_out(engine: &Engine, request: RollbackRequest) -> Result<String, String> {
    let (runs, run) = (engine.handle(), request.run.clone());
    let before = runs.snapshot(&run);
    let carried_out = before.as_ref().map_or(0, |before| before.state.rolled_back.len());
    // A bot that was stopped in the middle of it has left it to us: nobody has to ask for it once more.
    let is_asked_for = |under_way: &RollbackName| request.rollback.as_ref().is_none_or(|asked| asked == under_way);
    let goes_on = before.is_some_and(
        |before| matches!(before.state.status(before.now), Status::RollingBack(under_way) if is_asked_for(&under_way)),
    );
    if !goes_on && let Answer::Refused(why) = start_rollback(&runs, request).await {
        return Err(why);
    }
    tokio::select! {
        biased;
        why = engine.stopped() => Err(format!("the rollback of {run} was cut off: {why}. Run this again: it goes on where it was")),
        over = is_over(&runs, &run, carried_out) => over,
    }
}

/// How often it is looked whether a rollback is over.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Waits for the end of a rollback. `carried_out` is how many were over before it.
async fn is_over(runs: &dyn Runs, run: &RunId, carried_out: usize) -> Result<String, String> {
    loop {
        let snapshot = runs.snapshot(run).ok_or_else(|| format!("{run} is gone"))?;
        if snapshot.state.rolled_back.len() > carried_out {
            return Ok(format!("{run} is rolled back; the bot reports it in chat when it runs again"));
        }
        if let Some(stuck) = runs.stuck().into_iter().find(|stuck| stuck.run == *run) {
            let why = stuck.why;
            return Err(format!(
                "{run} was set aside during its rollback: {why}. `pointsman audit export` shows how far it came"
            ));
        }
        match snapshot.state.status(snapshot.now) {
            Status::RollingBack(_) => tokio::time::sleep(LOOK_EVERY).await,
            Status::Asking(_) => {
                return Err(format!("a step of the rollback failed, and {run} asks what to do; start the bot to answer in chat"));
            }
            status => return Err(format!("the rollback of {run} did not finish: {status:?}")),
        }
    }
}

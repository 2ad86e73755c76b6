//! The unit manager: starts and stops the application's processes, as systemd would those of `sx-api@.service`.
//!
//! A unit has an environment file, read anew at each start, and an address that stays the same. It is asked over
//! HTTP, because what a runbook's step starts by itself ends with the step:
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /units`, `GET /units/{name}` | `{"unit", "running", "mode", "address", "environment_file"}` |
//! | `POST /units/{name}/start`, `/stop`, `/restart` | the same, when the process listens, or is gone |
//! | `GET /faults`, `PUT /faults` | the switches, see [`super::Faults`] |

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Faults;
use crate::sandbox::estate::entrance;
use crate::sandbox::estate::faults::Switches;
use crate::sandbox::estate::supervised::Supervised;

/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(3);
/// How long a process may take until it listens, slow starts included.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What a unit is made of.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) environment_file: PathBuf,
    pub(super) log: PathBuf,
}

#[derive(Debug)]
struct Unit {
    definition: Definition,
    address: SocketAddr,
    endpoint: watch::Sender<Option<SocketAddr>>,
    process: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    process: Supervised,
    mode: String,
}

/// The running manager. Dropping it ends every unit soon.
#[derive(Debug)]
pub(super) struct Manager {
    units: Shared,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Units {
    exe: PathBuf,
    switches: Switches<Faults>,
    units: BTreeMap<String, Unit>,
}

type Shared = Arc<Units>;

impl Manager {
    /// Opens the addresses of all units and of the manager itself. No unit is started.
    pub(super) async fn open(exe: PathBuf, switches: Switches<Faults>, definitions: Vec<Definition>) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        let mut units = BTreeMap::new();
        for definition in definitions {
            let entrance = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let (endpoint, endpoints) = watch::channel(None);
            let address = entrance.local_addr()?;
            tasks.push(tokio::spawn(entrance::run(entrance, endpoints, stop.clone())));
            units.insert(definition.name.clone(), Unit { definition, address, endpoint, process: Mutex::default() });
        }
        let units = Arc::new(Units { exe, switches, units });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (router, ending) = (router(units.clone()), stop.clone());
        tasks.push(tokio::spawn(async move {
            tokio::select! { _ = axum::serve(listener, router) => {}, () = ending.cancelled() => {} }
        }));
        Ok(Self { units, address, stop, tasks })
    }

    /// `http://127.0.0.1:PORT` of the manager.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `http://127.0.0.1:PORT` of a unit.
    pub(super) fn url_of(&self, unit: &str) -> String {
        self.units.units.get(unit).map_or_else(String::new, |unit| format!("http://{}", unit.address))
    }

    /// Starts a unit that does not run, and waits until it listens.
    pub(super) async fn start(&self, unit: &str) -> io::Result<()> {
        self.units.act(unit, "start").await.map(drop).map_err(io::Error::other)
    }

    /// Ends everything and waits until it is gone.
    pub(super) async fn stop(mut self) {
        for name in self.units.units.keys() {
            // A unit that cannot be stopped in order is ended by its supervisor.
            let _ = self.units.act(name, "stop").await;
        }
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            let _ = task.await;
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Units {
    async fn act(&self, name: &str, action: &str) -> Result<Value, String> {
        let unit = self.units.get(name).ok_or_else(|| format!("there is no unit {name}"))?;
        let mut process = unit.process.lock().await;
        if matches!(action, "stop" | "restart") {
            unit.endpoint.send_replace(None);
            if let Some(running) = process.take() {
                running.process.stop().await;
            }
        }
        let runs = process.as_mut().is_some_and(|running| !running.process.has_ended());
        if matches!(action, "start" | "restart") && !runs {
            *process = Some(self.spawn(unit).await?);
        }
        Ok(view(unit, process.as_mut()))
    }

    async fn spawn(&self, unit: &Unit) -> Result<Running, String> {
        let Definition { name, environment_file, log } = &unit.definition;
        let failed = |what: &str| format!("{name} was not started: {what}");
        let text = std::fs::read_to_string(environment_file)
            .map_err(|error| failed(&format!("reading {}: {error}", environment_file.display())))?;
        let mut environment = parse_environment(&text);
        let mode = environment.iter().find(|(name, _)| name == "SX_DB_BACKEND_MODE").map(|(_, mode)| mode.clone());
        environment.push(("SX_UNIT".to_owned(), name.clone()));
        environment.push(("FAULTS_FILE".to_owned(), self.switches.path().display().to_string()));
        let argv = [self.exe.display().to_string(), super::HIDDEN.to_owned(), "api".to_owned()];
        let mut process =
            Supervised::start(&self.exe, GRACE, &argv, &environment, log).map_err(|error| failed(&error.to_string()))?;
        let mut output = BufReader::new(process.take_output().ok_or_else(|| failed("its output is gone"))?).lines();
        let line = tokio::time::timeout(START_PATIENCE, output.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let Some(address) = line.strip_prefix("listening on ").and_then(|address| address.parse().ok()) else {
            process.stop().await;
            return Err(failed(&format!("it does not listen; its log ends with: {}", last_line(log))));
        };
        unit.endpoint.send_replace(Some(address));
        Ok(Running { process, mode: mode.unwrap_or_default() })
    }
}

fn last_line(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or_default().to_owned()
}

/// `NAME=VALUE` per line, as systemd's `EnvironmentFile=` reads what is not quoted; `#` begins a comment.
fn parse_environment(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn view(unit: &Unit, running: Option<&mut Running>) -> Value {
    let mode = running.and_then(|running| (!running.process.has_ended()).then(|| running.mode.clone()));
    json!({
        "unit": unit.definition.name, "running": mode.is_some(), "mode": mode,
        "address": format!("http://{}", unit.address), "environment_file": unit.definition.environment_file,
    })
}

fn router(units: Shared) -> Router {
    Router::new()
        .route("/units", get(list))
        .route("/units/{name}", get(show))
        .route("/units/{name}/{action}", post(act))
        .route("/faults", get(faults).put(set_faults))
        .with_state(units)
}

async fn list(State(units): State<Shared>) -> Json<Value> {
    let mut all = Vec::new();
    for unit in units.units.values() {
        all.push(view(unit, unit.process.lock().await.as_mut()));
    }
    Json(Value::from(all))
}

async fn show(State(units): State<Shared>, Path(name): Path<String>) -> Response {
    match units.units.get(&name) {
        Some(unit) => Json(view(unit, unit.process.lock().await.as_mut())).into_response(),
        None => (StatusCode::NOT_FOUND, format!("there is no unit {name}")).into_response(),
    }
}

async fn act(State(units): State<Shared>, Path((name, action)): Path<(String, String)>) -> Response {
    if !matches!(action.as_str(), "start" | "stop" | "restart") {
        return (StatusCode::NOT_FOUND, format!("a unit is started, stopped or restarted, not {action:?}")).into_response();
    }
    // Whoever asked may go away; a restart is not left half done.
    let acted = tokio::spawn(async move { units.act(&name, &action).await }).await;
    match acted {
        Ok(Ok(view)) => Json(view).into_response(),
        Ok(Err(why)) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn faults(State(units): State<Shared>) -> Json<Faults> {
    Json(units.switches.read())
}

async fn set_faults(State(units): State<Shared>, Json(faults): Json<Faults>) -> Response {
    match units.switches.set(&faults) {
        Ok(()) => Json(faults).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_file_is_read_line_by_line() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let text = "# who\nA=1\n\n  B=x=y # kept\nno assignment\nC=\n";
        assert_eq!(parse_environment(text), [pair("A", "1"), pair("B", "x=y # kept"), pair("C", "")]);
    }
}

//! The SX application and the runbook `postgres-primary-cutover`: real processes, real databases, the real actions
//! and scripts. Only chat and time are the tests' own.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use indexmap::IndexMap;
use pointsman::actions::process::Spawner;
use pointsman::actions::{Actions, Planner, Registry, RunDirectories, SecretSource, Secrets, TargetReader};
use pointsman::catalog::{Catalog, CheckContext, DefinitionsDir, SharedCatalog};
use pointsman::clock::{Clock as _, CountingIds, FakeClock, ScaledClock};
use pointsman::domain::run::{self, Actor, End, Event, GateRef, Input, ListRef, Mode, StepStatus, Vote, pending};
use pointsman::domain::{ChannelId, Person, RoleId, RunId, StepKind, StreamId, Timestamp};
use pointsman::engine::{Engine, Handle, Hint, Pace, Policies, Ports, RunPolicy, Runs as _, Snapshot, StartOrder};
use pointsman::planning::CatalogPlanning;
use pointsman::sandbox::estate::sx::{self, Faults, NEIGHBOUR, Place, SOURCE, Sx, SxOptions};
use pointsman::store::{self, Holder, SharedJournal};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::harness::chat::{ChatWorld, FakeChat};
use crate::harness::engine::{at, card, person};
use crate::harness::incident_chat::FakeIncidentChat;
use crate::harness::points::Points;
use crate::harness::postgres::server_url;

/// Items of the profile that is moved; its notes are a fifth, its metadata a third.
const ITEMS: u32 = 120;
/// Where the scripts' programs are, besides the estate's own.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn exe() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_pointsman"))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An SX installation on the tests' server.
struct Estate {
    sx: Sx,
    folder: tempfile::TempDir,
}

impl Estate {
    async fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sx_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (admin_url, password) = (server_url(), "practice0password".to_owned());
        let options = SxOptions { exe: exe(), admin_url, database, password, items: ITEMS, seed: 7 };
        let sx = Sx::start(&folder.path().join("sx"), options).await.unwrap();
        sx.write_programs(&folder.path().join("bin")).unwrap();
        Self { sx, folder }
    }

    fn set(&self, faults: Faults) {
        self.sx.switches().set(&faults).unwrap();
    }

    fn setting(&self, name: &str) -> String {
        self.sx.settings().into_iter().find(|setting| setting.name == name).unwrap().value
    }

    fn path(&self) -> String {
        format!("{}:{PATH}", self.folder.path().join("bin").display())
    }

    /// A program as a runbook's step would run it, with its secrets.
    async fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).env_clear().env("PATH", self.path()).env("SX_DB_BACKEND_MODE", "POSTGRES_PRIMARY");
        for name in ["SX_POSTGRES_DSN", "SX_POSTGRES_ADMIN_DSN"] {
            command.env(name, self.setting(name));
        }
        command.output().await.unwrap()
    }

    async fn sx_db(&self, arguments: &[&str]) -> Output {
        self.run(&self.folder.path().join("bin/sx_db"), arguments).await
    }

    async fn script(&self, name: &str, arguments: &[&str]) -> Output {
        self.run(&repository().join("runbooks/scripts").join(name), arguments).await
    }

    async fn profile(&self, action: &str) -> String {
        let home = self.sx.home(SOURCE).display().to_string();
        stdout(&self.script("sx-profile.sh", &[action, &home, SOURCE, "run-by-hand"]).await)
    }

    /// The names of the smoke checks of a unit that failed.
    async fn failed_smoke_checks(&self, unit: &str) -> Vec<String> {
        failed_checks(&self.script("postgres_primary_smoke.sh", &[&self.sx.url_of(unit), SOURCE, NEIGHBOUR]).await)
    }

    async fn failed_plugin_checks(&self) -> Vec<String> {
        failed_checks(&self.script("sx-plugin-check.sh", &[&self.sx.url_of(SOURCE), SOURCE]).await)
    }

    async fn get(&self, unit: &str, path: &str) -> (u16, Value) {
        let answer = reqwest::get(format!("{}{path}", self.sx.url_of(unit))).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn backend(&self) -> Value {
        self.get(SOURCE, "/health").await.1["backend"].clone()
    }

    async fn ask(&self, sql: &str) -> i64 {
        let mut connection = PgConnection::connect(self.sx.admin_dsn()).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap()
    }

    /// Whether the profile's schema and its row in the registry are there.
    async fn is_bootstrapped(&self) -> (bool, bool) {
        let schema = self.ask("SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'src_assets_1'").await;
        let mapping = self.ask("SELECT count(*) FROM sx_registry.sources WHERE source_id = 'assets_1'").await;
        (schema == 1, mapping == 1)
    }

    /// What the runbook's import does, and its switch.
    async fn move_by_hand(&self) {
        let sqlite = self.sx.home(SOURCE).join(sx::SQLITE_FILE).display().to_string();
        stdout(&self.sx_db(&["pg-bootstrap", "--source", SOURCE]).await);
        stdout(&self.sx_db(&["import", "--source", SOURCE, "--sqlite", &sqlite]).await);
        self.profile("switch").await;
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn failed_checks(output: &Output) -> Vec<String> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let checks = report["checks"].as_array().unwrap().iter();
    let failed = checks.filter(|check| check["ok"] == false).map(|check| check["name"].as_str().unwrap().to_owned());
    let failed: Vec<String> = failed.collect();
    assert_eq!(report["failing"], json!(failed));
    assert_eq!(output.status.success(), failed.is_empty(), "the exit status says the same");
    failed
}

#[test]
fn the_shipped_runbooks_load_without_a_warning() {
    let roles = ["operator", "operations_lead", "dba", "security", "break_glass"].map(|role| role.parse().unwrap());
    let context = CheckContext { actions: Registry::standard().specs(), roles: Some(roles.into()) };
    let catalog = Catalog::load_all(&[DefinitionsDir::under(repository())], &context).unwrap_or_else(|found| panic!("{found}"));
    assert!(catalog.warnings().is_empty(), "{}", catalog.warnings());
    let names: Vec<&str> = catalog.runbooks().iter().map(|loaded| loaded.definition.runbook.as_str()).collect();
    assert_eq!(names, ["ace-sqlite-to-postgres", "postgres-primary-cutover"]);
}

#[tokio::test]
async fn every_fault_is_found_by_the_check_that_is_for_it() {
    let estate = Estate::start().await;
    assert_eq!(
        estate.failed_smoke_checks(SOURCE).await,
        ["the backend is postgres_primary", "the other source's items can be listed",],
        "before the move, only SQLite answers, and it knows its own profile alone"
    );
    estate.move_by_hand().await;
    assert_eq!(estate.failed_smoke_checks(SOURCE).await, Vec::<String>::new());
    assert_eq!(estate.failed_plugin_checks().await, Vec::<String>::new());

    let on = Some(Place::Live);
    for (faults, found) in [
        (Faults { leak_on: on, ..Faults::default() }, &["no item of one source shows in another"][..]),
        (
            Faults { mismatch_tolerated_on: on, ..Faults::default() },
            &["a header and a query that differ are refused", "an unknown source is refused"][..],
        ),
        (Faults { unhealthy_on: on, ..Faults::default() }, &["health is reachable"][..]),
        (Faults { leak_on: Some(Place::Candidate), ..Faults::default() }, &[][..]),
    ] {
        estate.set(faults.clone());
        assert_eq!(estate.failed_smoke_checks(SOURCE).await, found, "{faults:?}");
    }

    estate.set(Faults { writes_fail_on: on, ..Faults::default() });
    assert_eq!(estate.failed_plugin_checks().await, ["metadata can be written", "a note can be written"]);

    estate.set(Faults { burst_on: on, ..Faults::default() });
    for wanted in [vec![500; sx::BURST as usize], vec![200]].concat() {
        assert_eq!(estate.get(SOURCE, "/search?q=e").await.0, wanted);
    }
    let (_, log) = estate.get(SOURCE, "/admin/responses").await;
    assert!(log["server_errors_worst_minute"].as_u64().unwrap() >= u64::from(sx::BURST), "{log}");

    estate.set(Faults { mode_ignored: true, slow_start_millis: 300, ..Faults::default() });
    estate.profile("switch").await;
    assert_eq!(estate.backend().await, "sqlite", "it was restarted in a mode that it did not take");
    estate.sx.stop().await;
}

#[tokio::test]
async fn a_bootstrap_that_fails_leaves_nothing_and_an_import_needs_one() {
    let estate = Estate::start().await;
    let sqlite = estate.sx.home(SOURCE).join(sx::SQLITE_FILE).display().to_string();
    let import = ["import", "--source", SOURCE, "--sqlite", sqlite.as_str()];
    estate.set(Faults { bootstrap_fails: true, ..Faults::default() });
    let failed = estate.sx_db(&["pg-bootstrap", "--source", SOURCE]).await;
    assert!(!failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("permission denied"), "{failed:?}");
    assert_eq!(estate.is_bootstrapped().await, (false, false));
    let refused = estate.sx_db(&import).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bootstrap it first; nothing was imported"), "{refused:?}");

    estate.set(Faults::default());
    let client = reqwest::Client::new();
    let url = format!("{}/admin/bootstrap/schema", estate.sx.url_of(SOURCE));
    let ask = |token: &str| client.post(&url).header("x-sx-admin-token", token).json(&json!({ "source_id": SOURCE })).send();
    assert_eq!(ask("guessed").await.unwrap().status().as_u16(), 403);
    assert_eq!(estate.is_bootstrapped().await, (false, false));
    let done: Value = ask(&estate.setting("SX_ADMIN_TOKEN")).await.unwrap().json().await.unwrap();
    assert_eq!((&done["schema"], &done["created"]), (&json!("src_assets_1"), &json!(true)), "{done}");
    assert_eq!(estate.is_bootstrapped().await, (true, true));

    estate.set(Faults { import_loses_rows: true, ..Faults::default() });
    let said: Value = serde_json::from_str(&stdout(&estate.sx_db(&import).await)).unwrap();
    let there = estate.ask("SELECT count(*) FROM src_assets_1.notes").await;
    assert_eq!(said["rows"]["notes"], there + 1, "one is lost, and it does not say so");
    estate.set(Faults::default());
    stdout(&estate.sx_db(&import).await);
    assert_eq!(estate.ask("SELECT count(*) FROM src_assets_1.notes").await, there + 1, "imported again, it is whole");

    let broken = "DROP TABLE src_assets_1.notes";
    let mut connection = PgConnection::connect(estate.sx.admin_dsn()).await.unwrap();
    sqlx::query(broken).execute(&mut connection).await.unwrap();
    let registry: Value = serde_json::from_str(&stdout(&estate.sx_db(&["registry", "--expect", "assets_3"]).await)).unwrap();
    let found = (&registry["invalid"], &registry["missing"], &registry["sound"]);
    assert_eq!(found, (&json!([SOURCE]), &json!(["assets_3"]), &json!(false)), "{registry}");
    estate.sx.stop().await;
}

#[tokio::test]
async fn a_frozen_profile_refuses_writes_and_both_modes_answer_alike() {
    let estate = Estate::start().await;
    let pages = ["/items?limit=7&after=3", "/items/5", "/items/6/meta", "/items/5/notes", "/search?q=BRIDGE"];
    let mut before = Vec::new();
    for page in pages {
        before.push(estate.get(SOURCE, page).await);
    }
    assert!(before.iter().all(|(status, _)| *status == 200), "{before:?}");
    estate.profile("freeze").await;
    let write = async || {
        let url = format!("{}/items/6/meta", estate.sx.url_of(SOURCE));
        let sent = reqwest::Client::new().post(url).json(&json!({ "rating": 5 })).send().await;
        sent.unwrap().status().as_u16()
    };
    assert_eq!(write().await, 503);
    estate.move_by_hand().await;
    for (page, before) in pages.iter().zip(&before) {
        assert_eq!(estate.get(SOURCE, page).await, *before, "{page}");
    }
    assert_eq!(write().await, 503, "the switch alone does not open it");
    let (_, log) = estate.get(SOURCE, "/admin/responses").await;
    assert_eq!(log["server_errors"], 0, "a refused write is meant to be");
    estate.profile("thaw").await;
    assert_eq!(write().await, 200);
    let env = std::fs::read_to_string(estate.sx.home(SOURCE).join("api.env.before-run-by-hand")).unwrap();
    assert!(env.contains("SX_DB_BACKEND_MODE=SQLITE\n"), "the former environment is kept");
    estate.profile("back").await;
    assert_eq!(estate.backend().await, "sqlite");
    estate.sx.stop().await;
}

/// A whole bot but for chat and time: an engine over a journal, the shipped runbook, the real actions.
struct Night {
    estate: Estate,
    chat: Arc<ChatWorld>,
    clock: FakeClock,
    journal: SharedJournal,
    engine: Engine,
    handle: Handle,
}

fn lead() -> Person {
    person(3, "Edsger", &["operations_lead"])
}

fn dba() -> Person {
    person(2, "Grace", &["dba"])
}

fn other_dba() -> Person {
    person(6, "Barbara", &["dba"])
}

fn security() -> Person {
    person(5, "Sam", &["security"])
}

impl Night {
    async fn begin() -> Self {
        let estate = Estate::start().await;
        let folder = estate.folder.path();
        let registry = Arc::new(Registry::standard());
        let context = CheckContext { actions: registry.specs(), roles: None };
        let catalog = SharedCatalog::load(vec![DefinitionsDir::under(repository())], context).unwrap_or_else(|e| panic!("{e}"));
        let names = ["SX_POSTGRES_DSN", "SX_POSTGRES_ADMIN_DSN", "SX_ADMIN_TOKEN"];
        let secrets =
            Secrets::new(names.map(|name| (name.to_owned(), SecretSource::Value(SecretString::from(estate.setting(name))))));
        let spawner = Spawner::new(exe()).with_variable("PATH", estate.path());
        let directories = RunDirectories::new(&folder.join("data"));
        let roles = ["operator", "operations_lead", "dba", "security", "break_glass"].iter().zip(10..);
        let planning = CatalogPlanning {
            catalog: Arc::new(catalog),
            planner: Planner::new(Arc::clone(&registry), TargetReader::new(secrets.clone(), spawner.clone())),
            roles: roles.map(|(role, id)| (role.parse().unwrap(), vec![RoleId::new(id)])).collect(),
            directories: directories.clone(),
        };
        let journal = store::open(&format!("sqlite:{}", folder.join("journal.db").display()).into()).await.unwrap();
        let (chat, clock) = (Arc::<ChatWorld>::default(), FakeClock::at(at(0)));
        let points = Arc::new(Points::new(None));
        let incidents = Arc::new(FakeIncidentChat { world: Arc::default(), points: Arc::clone(&points) });
        let ports = Ports {
            journal: Arc::clone(&journal),
            clock: Arc::new(clock.clone()),
            ids: Arc::new(CountingIds::default()),
            chat: Arc::new(FakeChat { world: Arc::clone(&chat), points }),
            // What the actions wait for is real, and so is their time.
            performer: Arc::new(Actions::new(registry, directories, secrets, spawner, Arc::new(ScaledClock::real()))),
            incident_chat: incidents.clone(),
            outside: incidents.clone(),
            tracker: incidents,
            // Incidents have tests of their own.
            policies: Policies { runs: RunPolicy { beat: None, incident: None }, ..Policies::default() },
        };
        let engine = Engine::start(ports, Arc::new(planning), Pace::default(), &Holder::this_process()).await.unwrap();
        Self { handle: engine.handle(), estate, chat, clock, journal, engine }
    }

    async fn start(&self, mode: Mode) -> RunId {
        let setting = |name| self.estate.setting(name);
        let parameters = [
            ("source_id", SOURCE.to_owned()),
            ("home", setting("SX_HOME")),
            ("service", setting("SX_SERVICE_URL")),
            ("candidate", setting("SX_CANDIDATE_URL")),
        ];
        let parameters: IndexMap<_, _> = parameters.into_iter().map(|(name, value)| (name.parse().unwrap(), value)).collect();
        let (runbook, requester) = ("postgres-primary-cutover".parse().unwrap(), person(1, "Ada", &["operator"]));
        let order = StartOrder { runbook, parameters, mode, at: None, requester, channel: ChannelId::new(5) };
        self.handle.start(order).await.unwrap()
    }

    /// A green rehearsal, and then the real thing until it is closing.
    async fn cut_over(&self) -> RunId {
        let rehearsal = self.start(Mode::DryRun).await;
        let state = self.play(&rehearsal, false).await.state;
        assert_eq!(state.end.as_ref().map(|ending| ending.end), Some(End::Succeeded), "{:?}", self.failures(&rehearsal));
        assert_eq!(self.estate.is_bootstrapped().await, (false, false), "a rehearsal writes nothing");
        let run = self.start(Mode::Live).await;
        self.play(&run, true).await;
        run
    }

    /// Lets time pass and people act until the run has ended, or, with `until_closing`, is done but for being closed.
    async fn play(&self, run: &RunId, until_closing: bool) -> Snapshot {
        for _ in 0..2_000 {
            self.settle().await;
            let snapshot = self.handle.snapshot(run).unwrap();
            let state = &snapshot.state;
            if state.end.is_some() && pending(state).is_empty() || until_closing && state.closing.is_some() {
                return snapshot;
            }
            if !self.act(run, &snapshot).await {
                let next = self.clock.next_deadline().expect("the engine always looks again some time");
                self.clock.set(next.max(self.clock.now()));
            }
        }
        panic!("the run never ends: {:?}", self.failures(run));
    }

    async fn settle(&self) {
        self.handle.idle().await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
            self.handle.idle().await;
        }
    }

    /// One thing that a person does, if there is one to do.
    async fn act(&self, run: &RunId, snapshot: &Snapshot) -> bool {
        if let Some((gate, _)) = snapshot.state.open_gate().filter(|_| !snapshot.state.is_dry_run())
            && let Some(at) = card(snapshot, gate)
        {
            let message = self.chat.visible().into_iter().find(|message| message.at == at).unwrap();
            let signed = |signer: &Person| message.reactions.contains(&(signer.id, Vote::Sign));
            if let Some(signer) = [lead(), dba(), security(), other_dba()].into_iter().find(|signer| !signed(signer)) {
                self.chat.react(at, &signer, Vote::Sign);
                self.handle.hint(Hint::Reactions { channel: at.channel, message: at.message });
                return true;
            }
        }
        let Some(input) = chore(snapshot) else { return false };
        self.handle.send(run, input).await.unwrap();
        true
    }

    async fn events(&self, run: &RunId) -> Vec<(Timestamp, Event)> {
        let stream = StreamId::new("run", run.as_str()).unwrap();
        let records = self.journal.load(&stream).await.unwrap();
        records.iter().map(|record| (record.at, serde_json::from_str(&record.body).unwrap())).collect()
    }

    /// Minutes from T-0 to the start of a step.
    async fn minutes_to(&self, run: &RunId, wanted: &str) -> i64 {
        let t_zero = self.handle.snapshot(run).unwrap().state.started.t_zero;
        let started = |event: &Event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == wanted);
        let (at, _) = self.events(run).await.into_iter().find(|(_, event)| started(event)).unwrap();
        (at - t_zero).num_minutes()
    }

    async fn kinds(&self, run: &RunId) -> Vec<&'static str> {
        self.events(run).await.iter().map(|(_, event)| run::kind_of(event)).collect()
    }

    /// The steps that failed, and why.
    fn failures(&self, run: &RunId) -> Vec<(String, String)> {
        let state = self.handle.snapshot(run).unwrap().state;
        let failed = state.steps.iter().filter_map(|(name, step)| match &step.status {
            StepStatus::Failed(failure) => Some((name.to_string(), failure.message.clone())),
            _ => None,
        });
        failed.collect()
    }

    fn is_done(&self, run: &RunId, step: &str) -> bool {
        let state = self.handle.snapshot(run).unwrap().state;
        matches!(state.steps[step].status, StepStatus::Succeeded)
    }

    async fn end(self) {
        self.engine.shut_down().await;
        self.estate.sx.stop().await;
    }
}

/// What people have to do beside signing: tick, close.
fn chore(snapshot: &Snapshot) -> Option<Input> {
    let state = &snapshot.state;
    if state.end.is_some() || state.is_dry_run() || state.rollback.is_some() {
        return None;
    }
    if let Some(closing) = &state.closing {
        let owners = [lead(), dba(), dba(), lead(), security(), lead(), dba()];
        let ticked = state.ticked.get(&ListRef::Afterwards);
        let open = (0..owners.len()).find(|item| ticked.is_none_or(|ticked| !ticked.contains_key(item)));
        return Some(match open.filter(|_| closing.end == End::Succeeded) {
            Some(item) => Input::TickItem { list: ListRef::Afterwards, item, ticked: true, by: owners[item].clone() },
            None => Input::Close { by: lead(), reason: "all was looked at".to_owned() },
        });
    }
    let running = state.steps.iter().filter(|(_, step)| matches!(step.status, StepStatus::Running(_)));
    let (step, _) = running.into_iter().find(|(step, _)| state.kind(step) == StepKind::Checklist)?;
    let list = ListRef::Step(step.clone());
    let owners = [lead(), dba(), security()];
    let item = (0..owners.len()).find(|item| state.ticked.get(&list).is_none_or(|ticked| !ticked.contains_key(item)))?;
    Some(Input::TickItem { list, item, ticked: true, by: owners[item].clone() })
}

#[tokio::test]
async fn a_cutover_moves_one_profile_at_its_times_and_leaves_the_other_alone() {
    let night = Night::begin().await;
    let run = night.cut_over().await;
    assert_eq!(night.failures(&run), []);
    for (step, minutes) in [
        ("confirm-prerequisites", -45),
        ("export-user-data", -30),
        ("bootstrap-by-cli", -20),
        ("import", -15),
        ("smoke-candidate", -10),
        ("freeze-writes", 0),
        ("search", 10),
        ("still-on-postgres", 30),
    ] {
        assert_eq!(night.minutes_to(&run, step).await, minutes, "{step}");
    }
    let kinds = night.kinds(&run).await;
    assert!(kinds.contains(&"gate_cleared") && kinds.contains(&"rollback_armed"), "{kinds:?}");
    assert_eq!(night.estate.backend().await, "postgres_primary");
    assert_eq!(night.estate.ask("SELECT count(*) FROM src_assets_1.items").await, i64::from(ITEMS));
    assert_eq!(night.estate.failed_smoke_checks(SOURCE).await, Vec::<String>::new());
    let (_, neighbour) = night.estate.get(NEIGHBOUR, "/stats").await;
    assert_eq!((&neighbour["source_id"], &neighbour["items"]), (&json!(NEIGHBOUR), &json!(ITEMS / 3)));
    let directory = night.estate.folder.path().join("data/runs").join(run.as_str());
    for kept in ["profile-before.sqlite", "user-data.jsonl", "postgres-before.dump"] {
        assert!(directory.join(kept).exists(), "{kept}");
    }
    let state = night.play(&run, false).await.state;
    assert_eq!(state.end.as_ref().map(|ending| ending.end), Some(End::Succeeded));
    let secret = night.estate.setting("SX_ADMIN_TOKEN");
    for (_, event) in night.events(&run).await {
        assert!(!serde_json::to_string(&event).unwrap().contains(&secret), "a secret is in the journal: {event:?}");
    }
    night.end().await;
}

#[tokio::test]
async fn a_leak_after_the_switch_leads_back_to_sqlite_and_postgres_keeps_its_data() {
    let night = Night::begin().await;
    night.estate.set(Faults { leak_on: Some(Place::Live), ..Faults::default() });
    let run = night.cut_over().await;
    let [(step, why)] = &night.failures(&run)[..] else { panic!("{:?}", night.failures(&run)) };
    assert_eq!(step, "smoke");
    assert!(why.contains("no item of one source shows in another"), "{why}");
    assert!(night.is_done(&run, "smoke-candidate"), "the candidate had no such fault");
    let state = night.handle.snapshot(&run).unwrap().state;
    assert_eq!(state.rolled_back.iter().map(ToString::to_string).collect::<Vec<_>>(), ["runtime"]);
    let (_, health) = night.estate.get(SOURCE, "/health").await;
    assert_eq!((&health["ok"], &health["backend"], &health["read_only"]), (&json!(true), &json!("sqlite"), &json!(false)));
    assert_eq!(night.estate.ask("SELECT count(*) FROM src_assets_1.items").await, i64::from(ITEMS), "kept for a look");

    // The data, too: on signatures of its own, and whoever asks does not count. The neighbour has gone on meanwhile, and must not be set back.
    let url = format!("{}/items/3/notes", night.estate.sx.url_of(NEIGHBOUR));
    let sent = reqwest::Client::new().post(url).json(&json!({ "body": "written since" })).send().await.unwrap();
    assert!(sent.status().is_success());
    let (reason, by) = ("PostgreSQL shall be as before".to_owned(), Actor::Person(dba()));
    let data = Input::Rollback { rollback: Some("data".parse().unwrap()), by, reason };
    night.handle.send(&run, data).await.unwrap();
    night.settle().await;
    let state = night.handle.snapshot(&run).unwrap().state;
    let open = state.open_gate().map(|(gate, _)| gate.clone());
    assert_eq!(open, Some(GateRef::Rollback("data".parse().unwrap())), "it was not armed by the cutover's gate");
    let state = night.play(&run, false).await.state;
    assert_eq!(state.end.as_ref().map(|ending| ending.end), Some(End::RolledBack), "{:?}", night.failures(&run));
    assert!(night.is_done(&run, "bootstrap-missing"), "the snapshot was taken before the profile had a schema");
    assert_eq!(night.estate.is_bootstrapped().await, (true, true));
    assert_eq!(night.estate.ask("SELECT count(*) FROM src_assets_1.items").await, 0);
    assert_eq!(night.estate.ask("SELECT count(*) FROM src_assets_2.notes WHERE body = 'written since'").await, 1);
    let evidence = night.estate.folder.path().join("data/runs").join(run.as_str()).join("postgres-evidence.dump");
    assert!(evidence.exists(), "what was there is kept");
    assert_eq!(night.estate.backend().await, "sqlite");
    night.end().await;
}

#[tokio::test]
async fn a_bootstrap_that_fails_stops_the_cutover_before_the_import() {
    let night = Night::begin().await;
    night.estate.set(Faults { bootstrap_fails: true, ..Faults::default() });
    let run = night.cut_over().await;
    let [(step, why)] = &night.failures(&run)[..] else { panic!("{:?}", night.failures(&run)) };
    assert_eq!(step, "bootstrap-by-cli");
    assert!(why.contains("permission denied to register the source"), "{why}");
    let state = night.play(&run, false).await.state;
    assert_eq!(state.end.as_ref().map(|ending| ending.end), Some(End::Failed));
    assert!(state.gates.is_empty(), "no gate was opened");
    assert!(!night.is_done(&run, "import"));
    assert_eq!(night.estate.is_bootstrapped().await, (false, false));
    assert_eq!(night.estate.backend().await, "sqlite");
    night.end().await;
}

#[tokio::test]
async fn a_burst_of_errors_found_at_the_log_review_leads_back_to_sqlite() {
    let night = Night::begin().await;
    night.estate.set(Faults { burst_on: Some(Place::Live), ..Faults::default() });
    let run = night.cut_over().await;
    let [(step, why)] = &night.failures(&run)[..] else { panic!("{:?}", night.failures(&run)) };
    assert_eq!(step, "log-review");
    assert!(why.contains("server_errors_worst_minute"), "{why}");
    assert!(night.is_done(&run, "search") && night.is_done(&run, "note-and-meta"), "whoever asked again was served");
    assert_eq!(night.estate.backend().await, "sqlite");
    night.end().await;
}

#[tokio::test]
async fn a_row_that_the_import_lost_is_found_before_the_switch() {
    let night = Night::begin().await;
    night.estate.set(Faults { import_loses_rows: true, ..Faults::default() });
    let run = night.cut_over().await;
    let [(step, _)] = &night.failures(&run)[..] else { panic!("{:?}", night.failures(&run)) };
    assert_eq!(step, "compare", "the items are counted earlier, and it is a note that is lost");
    assert!(!night.is_done(&run, "switch"));
    let (_, health) = night.estate.get(SOURCE, "/health").await;
    assert_eq!((&health["backend"], &health["read_only"]), (&json!("sqlite"), &json!(false)), "it takes writes again");
    night.end().await;
}

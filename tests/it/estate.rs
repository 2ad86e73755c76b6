//! The practice estate: the real kubectl, real processes, a real PostgreSQL cluster.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use pointsman::sandbox::estate::faults::{Backend, Faults, Switches};
use pointsman::sandbox::estate::kubernetes::{self, Kubernetes};
use pointsman::sandbox::estate::postgres::Cluster;
use pointsman::sandbox::estate::{Estate, Options, sqlite};
use rustix::process::Pid;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::net::unix::pipe::Receiver;

/// No condition takes this long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn exe() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_pointsman"))
}

/// Waits until `condition` gives something, looking again whenever the cluster changes.
async fn eventually<T>(kubernetes: &Kubernetes, what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, kubernetes.wait_for(condition)).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The model alone, over a small SQLite database.
struct Small {
    kubernetes: Kubernetes,
    switches: Switches,
    directory: tempfile::TempDir,
}

impl Small {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let database = directory.path().join("ace.sqlite");
        sqlite::generate(&database, 300, 1).expect("generates");
        let switches = Switches::new(directory.path().join("faults.json"));
        let options = kubernetes::Options {
            exe: exe(),
            directory: directory.path().to_owned(),
            database_url: format!("sqlite:{}", database.display()),
            token: "practice-token".to_owned(),
            switches: switches.clone(),
        };
        let kubernetes = Kubernetes::start(options).await.expect("starts");
        wait_for_backend(&kubernetes, "sqlite").await;
        Self { kubernetes, switches, directory }
    }

    async fn kubectl(&self, arguments: &[&str]) -> Output {
        kubectl(&self.kubernetes, arguments).await
    }
}

async fn kubectl(kubernetes: &Kubernetes, arguments: &[&str]) -> Output {
    kubectl_with(kubernetes.kubeconfig(), arguments).await
}

async fn kubectl_with(kubeconfig: &Path, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = tokio::process::Command::new("kubectl");
    command.args(arguments).env("KUBECONFIG", kubeconfig).env("HOME", home.path()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("in time").expect("kubectl is installed")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

async fn get(kubernetes: &Kubernetes, path: &str) -> Option<(u16, Value)> {
    let answer = reqwest::get(format!("{}{path}", kubernetes.service_url())).await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.unwrap_or_default()))
}

async fn backend(kubernetes: &Kubernetes) -> String {
    let (_, version) = get(kubernetes, "/version").await.expect("answers");
    version["backend"].as_str().expect("names its backend").to_owned()
}

async fn wait_for_backend(kubernetes: &Kubernetes, name: &str) {
    eventually(kubernetes, name, async || get(kubernetes, "/version").await.filter(|(_, version)| version["backend"] == name))
        .await;
}

#[tokio::test]
async fn the_application_moves_with_secret_and_restart_and_undo_alone_does_not_bring_it_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let estate = Estate::start(directory.path(), Options { exe: exe(), rows: 500, seed: 7 }).await.expect("starts");
    let kubernetes = estate.kubernetes();
    wait_for_backend(kubernetes, "sqlite").await;
    apply_schema(&estate).await;

    let patch = |url: &str| serde_json::json!({ "stringData": { "DATABASE_URL": url } }).to_string();
    let to_postgres = patch(&estate.postgres().url());
    let patched = kubectl(kubernetes, &["patch", "secret", "ace-framework-db", "--type=merge", "--patch", &to_postgres]).await;
    assert_eq!(stdout(&patched), "secret/ace-framework-db patched");
    // A pod keeps what it was started with.
    assert_eq!(backend(kubernetes).await, "sqlite");

    restart(kubernetes).await;
    assert_eq!(backend(kubernetes).await, "postgres");
    let (status, stats) = get(kubernetes, "/stats").await.expect("answers");
    assert_eq!((status, &stats["playbook_entries"], &stats["backend"]), (200, &Value::from(0), &Value::from("postgres")));

    // The trap: the template goes back, the Secret does not.
    assert_eq!(
        stdout(&kubectl(kubernetes, &["rollout", "undo", "deployment/ace-framework"]).await),
        "deployment.apps/ace-framework rolled back"
    );
    stdout(&kubectl(kubernetes, &["rollout", "status", "deployment/ace-framework", "--timeout=60s"]).await);
    assert_eq!(backend(kubernetes).await, "postgres");

    let to_sqlite = patch(&format!("sqlite:{}", estate.sqlite().display()));
    stdout(&kubectl(kubernetes, &["patch", "secret", "ace-framework-db", "--patch", &to_sqlite]).await);
    restart(kubernetes).await;
    assert_eq!(backend(kubernetes).await, "sqlite");
    let (_, stats) = get(kubernetes, "/stats").await.expect("answers");
    assert_eq!(stats["playbook_entries"], 500);
    estate.stop().await;
}

async fn restart(kubernetes: &Kubernetes) {
    stdout(&kubectl(kubernetes, &["rollout", "restart", "deployment/ace-framework"]).await);
    let status = kubectl(kubernetes, &["rollout", "status", "deployment/ace-framework", "--timeout=60s"]).await;
    assert!(stdout(&status).ends_with("successfully rolled out"), "{status:?}");
}

async fn apply_schema(estate: &Estate) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/scripts");
    for _ in 0..2 {
        let applied = tokio::process::Command::new(scripts.join("ace-schema.sh"))
            .arg(scripts.join("ace-schema.sql"))
            .env("ACE_POSTGRES_DSN", estate.postgres().url())
            .output()
            .await
            .expect("runs");
        assert_eq!(stdout(&applied), "20251130_ace_primary");
    }
}

#[tokio::test]
async fn a_rollout_that_never_becomes_ready_times_out_and_the_old_pod_serves() {
    let small = Small::start().await;
    small.switches.set(&Faults { rollout_stuck: true, ..Faults::default() }).expect("sets");
    stdout(&small.kubectl(&["rollout", "restart", "deployment/ace-framework"]).await);
    let status = small.kubectl(&["rollout", "status", "deployment/ace-framework", "--timeout=1s"]).await;
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stderr).contains("timed out"), "{status:?}");
    assert_eq!(get(&small.kubernetes, "/health").await.expect("the old pod answers").0, 200);

    stdout(
        &small.kubectl(&["patch", "deployment", "ace-framework", "--patch", r#"{"spec":{"progressDeadlineSeconds":1}}"#]).await,
    );
    let status = small.kubectl(&["rollout", "status", "deployment/ace-framework", "--timeout=60s"]).await;
    assert!(String::from_utf8_lossy(&status.stderr).contains("exceeded its progress deadline"), "{status:?}");

    small.switches.set(&Faults::default()).expect("sets");
    let rollout = ["rollout", "status", "deployment/ace-framework", "--timeout=60s"];
    // At once it may still be told of the deadline that passed.
    eventually(&small.kubernetes, "the rollout goes on", async || small.kubectl(&rollout).await.status.success().then_some(()))
        .await;
    small.kubernetes.stop().await;
}

#[tokio::test]
async fn kubectl_finds_what_it_asks_for() {
    let small = Small::start().await;
    let one = ["get", "deployment", "ace-framework", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
    assert_eq!(stdout(&small.kubectl(&one).await), "ace-framework:1.4.2");
    let listed = stdout(&small.kubectl(&["get", "deployments,replicasets,pods,services,secrets,configmaps", "-o", "name"]).await);
    assert!(listed.contains("deployment.apps/ace-framework\n") && listed.contains("secret/ace-framework-db"), "{listed}");
    assert_eq!(stdout(&small.kubectl(&["get", "ns", "-o", "name"]).await), "namespace/ace\nnamespace/default");

    let log = stdout(&small.kubectl(&["logs", "--selector=app=ace-framework"]).await);
    assert!(log.starts_with("listening on 127.0.0.1:"), "{log}");

    stdout(&small.kubectl(&["create", "secret", "generic", "other", "--from-literal=k=v"]).await);
    let json_patch =
        ["patch", "secret", "other", "--type=json", "--patch", r#"[{"op":"replace","path":"/data/k","value":"dw=="}]"#];
    stdout(&small.kubectl(&json_patch).await);
    assert_eq!(stdout(&small.kubectl(&["get", "secret", "other", "-o", "jsonpath={.data.k}"]).await), "dw==");
    stdout(&small.kubectl(&["delete", "secret", "other", "--wait=false"]).await);
    let missing = small.kubectl(&["get", "secret", "other"]).await;
    assert_eq!(String::from_utf8_lossy(&missing.stderr).trim(), r#"Error from server (NotFound): secrets "other" not found"#);

    stdout(&small.kubectl(&["set", "image", "deployment/ace-framework", "app=ace-framework:2.0.0"]).await);
    stdout(&small.kubectl(&["rollout", "status", "deployment/ace-framework", "--timeout=60s"]).await);
    assert_eq!(get(&small.kubernetes, "/version").await.expect("answers").1["version"], "2.0.0");
    let history = stdout(&small.kubectl(&["rollout", "history", "deployment/ace-framework"]).await);
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    stdout(&small.kubectl(&["rollout", "undo", "deployment/ace-framework", "--to-revision=1"]).await);
    stdout(&small.kubectl(&["rollout", "status", "deployment/ace-framework", "--timeout=60s"]).await);
    assert_eq!(get(&small.kubernetes, "/version").await.expect("answers").1["version"], "1.4.2");

    stdout(&small.kubectl(&["scale", "deployment/ace-framework", "--replicas=0"]).await);
    eventually(&small.kubernetes, "no pod", async || get(&small.kubernetes, "/version").await.is_none().then_some(())).await;
    stdout(&small.kubectl(&["scale", "deployment/ace-framework", "--replicas=2"]).await);
    stdout(&small.kubectl(&["wait", "--for=condition=Available", "deployment/ace-framework", "--timeout=60s"]).await);
    wait_for_backend(&small.kubernetes, "sqlite").await;
    assert!(small.kubernetes.requests().iter().any(|request| request.method == "PATCH" && request.uri.contains("/scale")));
    small.kubernetes.stop().await;
}

#[tokio::test]
async fn the_api_refuses_without_the_token_and_on_demand() {
    let small = Small::start().await;
    let other = small.directory.path().join("other-kubeconfig");
    let config = std::fs::read_to_string(small.kubernetes.kubeconfig()).expect("reads");
    std::fs::write(&other, config.replace("practice-token", "guessed")).expect("writes");
    let refused = kubectl_with(&other, &["get", "secrets"]).await;
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("You must be logged in to the server"),
        "{refused:?}"
    );
    small.switches.set(&Faults { api_refuses: true, ..Faults::default() }).expect("sets");
    let refused = small.kubectl(&["get", "secret", "ace-framework-db"]).await;
    assert!(!refused.status.success(), "{refused:?}");
    small.kubernetes.stop().await;
}

#[tokio::test]
async fn a_missing_secret_keeps_the_new_pod_from_starting() {
    let small = Small::start().await;
    stdout(&small.kubectl(&["delete", "secret", "ace-framework-db", "--wait=false"]).await);
    stdout(&small.kubectl(&["rollout", "restart", "deployment/ace-framework"]).await);
    let reason = ["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].state.waiting.reason}"];
    eventually(&small.kubernetes, "a pod that waits", async || {
        stdout(&small.kubectl(&reason).await).contains("CreateContainerConfigError").then_some(())
    })
    .await;
    assert_eq!(get(&small.kubernetes, "/health").await.expect("the old pod answers").0, 200);
    small.kubernetes.stop().await;
}

#[tokio::test]
async fn a_deleted_pod_is_replaced_and_the_new_one_reads_the_secret_anew() {
    let small = Small::start().await;
    let nowhere = r#"{"stringData":{"DATABASE_URL":"postgres://ace:x@127.0.0.1:1/ace"}}"#;
    stdout(&small.kubectl(&["patch", "secret", "ace-framework-db", "--patch", nowhere]).await);
    stdout(&small.kubectl(&["delete", "pods", "-l", "app=ace-framework", "--wait=false"]).await);
    // Its database does not answer, so it never becomes ready, and the Service has nobody to lead to.
    eventually(&small.kubernetes, "no endpoint", async || get(&small.kubernetes, "/version").await.is_none().then_some(())).await;
    let back = format!(r#"{{"stringData":{{"DATABASE_URL":"sqlite:{}"}}}}"#, small.directory.path().join("ace.sqlite").display());
    stdout(&small.kubectl(&["patch", "secret", "ace-framework-db", "--patch", &back]).await);
    stdout(&small.kubectl(&["delete", "pods", "-l", "app=ace-framework", "--wait=false"]).await);
    wait_for_backend(&small.kubernetes, "sqlite").await;
    small.kubernetes.stop().await;
}

#[tokio::test]
async fn maintenance_and_faults_work_at_once() {
    let small = Small::start().await;
    let status = async |path: &str| get(&small.kubernetes, path).await.expect("answers").0;
    assert_eq!(status("/items?limit=3").await, 200);
    let on = ["patch", "configmap", "ace-framework-config", "--patch", r#"{"data":{"maintenance":"on"}}"#];
    stdout(&small.kubectl(&on).await);
    assert_eq!(
        (status("/items").await, status("/stats").await, status("/health").await, status("/version").await),
        (503, 503, 200, 200)
    );
    let off = ["patch", "configmap", "ace-framework-config", "--patch", r#"{"data":{"maintenance":"off"}}"#];
    stdout(&small.kubectl(&off).await);
    assert_eq!(status("/items").await, 200);

    let faults = Faults { items_fail_on: Some(Backend::Sqlite), wrong_version: Some("0.9".to_owned()), ..Faults::default() };
    small.switches.set(&faults).expect("sets");
    assert_eq!((status("/items").await, status("/items/1").await, status("/health").await), (500, 500, 200));
    assert_eq!(get(&small.kubernetes, "/version").await.expect("answers").1["version"], "0.9");
    small.switches.set(&Faults { items_fail_on: Some(Backend::Postgres), ..Faults::default() }).expect("sets");
    assert_eq!(status("/items").await, 200);
    small.switches.set(&Faults { unhealthy_on: Some(Backend::Sqlite), ..Faults::default() }).expect("sets");
    assert_eq!(status("/health").await, 503);
    small.kubernetes.stop().await;
}

#[tokio::test]
async fn items_are_read_and_written() {
    let small = Small::start().await;
    let (_, page) = get(&small.kubernetes, "/items?limit=2").await.expect("answers");
    let id = page["items"][1]["id"].as_i64().expect("an id");
    let url = format!("{}/items/{id}/meta", small.kubernetes.service_url());
    let client = reqwest::Client::new();
    let written = client.post(&url).json(&serde_json::json!({ "note": "ok" })).send().await.expect("answers");
    assert_eq!(written.status().as_u16(), 200);
    assert_eq!(get(&small.kubernetes, &format!("/items/{id}")).await.expect("answers").1["metadata"]["note"], "ok");
    let refused = client.post(&url).json(&serde_json::json!([1])).send().await.expect("answers");
    assert_eq!(refused.status().as_u16(), 422);
    assert_eq!(get(&small.kubernetes, "/items/999999").await.expect("answers").0, 404);
    let metrics =
        reqwest::get(format!("{}/metrics", small.kubernetes.service_url())).await.expect("answers").text().await.expect("reads");
    assert!(metrics.contains("ace_database_up{backend=\"sqlite\"} 1\n"), "{metrics}");
    small.kubernetes.stop().await;
}

#[tokio::test]
async fn a_killed_cluster_comes_back_with_its_data() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut cluster = Cluster::create(&exe(), &directory.path().join("postgres"), "practice-password").await.expect("starts");
    let mut connection = PgConnection::connect(&cluster.url()).await.expect("connects");
    sqlx::query("CREATE TABLE kept AS SELECT 42 AS answer").execute(&mut connection).await.expect("writes");
    let identifier = "SELECT system_identifier FROM pg_control_system()";
    let (before,): (i64,) = sqlx::query_as(identifier).fetch_one(&mut connection).await.expect("is allowed to know it");
    let port = cluster.port();
    cluster.kill().await.expect("is killed");
    PgConnection::connect(&cluster.url()).await.expect_err("is gone");
    cluster.kill().await.expect_err("there is nothing to kill");
    cluster.start().await.expect("recovers");
    assert_eq!(cluster.port(), port);
    cluster.stop().await;
    PgConnection::connect(&cluster.url()).await.expect_err("is stopped");
    cluster.start().await.expect("starts again");
    let mut connection = PgConnection::connect(&cluster.url()).await.expect("connects");
    let (answer,): (i32,) = sqlx::query_as("SELECT answer FROM kept").fetch_one(&mut connection).await.expect("reads");
    let (after,): (i64,) = sqlx::query_as(identifier).fetch_one(&mut connection).await.expect("reads");
    assert_eq!((answer, after), (42, before));
    cluster.stop().await;
}

#[tokio::test]
async fn nothing_of_an_estate_outlives_a_killed_sandbox() {
    if let Some(directory) = crate::process::role() {
        let estate = Estate::start(&directory, Options { exe: exe(), rows: 100, seed: 3 }).await.expect("starts");
        wait_for_backend(estate.kubernetes(), "sqlite").await;
        std::fs::write(directory.join("ready"), "up").expect("writes");
        std::future::pending::<()>().await;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let ready = directory.path().join("ready");
    rustix::fs::mkfifoat(rustix::fs::CWD, &ready, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("makes a pipe");
    let mut sandbox = crate::process::start_again("estate::nothing_of_an_estate_outlives_a_killed_sandbox", directory.path());
    // The pipe's other end is opened when the estate stands.
    let told = tokio::task::spawn_blocking(move || std::fs::read_to_string(ready).expect("reads"));
    assert_eq!(tokio::time::timeout(PATIENCE, told).await.expect("in time").expect("no panic"), "up");
    assert!(processes_of(directory.path()).len() >= 2, "a server and a pod");
    sandbox.kill().expect("is killed");
    sandbox.wait().expect("is collected");
    tokio::time::timeout(PATIENCE, gone(directory.path())).await.expect("all end");
}

/// The processes that have the directory in their arguments or environment; those that have ended have neither.
fn processes_of(directory: &Path) -> Vec<Pid> {
    let name = directory.display().to_string();
    let holds = |file: PathBuf| std::fs::read(file).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&name));
    let me = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").expect("reads").flatten().filter(|entry| entry.file_name() != me.as_str());
    let found = processes.filter(|entry| holds(entry.path().join("cmdline")) || holds(entry.path().join("environ")));
    found.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Returns when none of those processes lives any more.
async fn gone(directory: &Path) {
    loop {
        let left = processes_of(directory);
        if left.is_empty() {
            return;
        }
        for pid in left {
            // One that cannot be opened has ended since it was listed.
            if let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
                // Not a pipe, but waited for like one: it becomes readable when its process ends.
                let ended = Receiver::from_owned_fd_unchecked(process).expect("can be waited for");
                ended.readable().await.expect("is told");
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_database() {
    let directory = tempfile::tempdir().expect("a directory");
    let dump = |name: &str, seed: u64| {
        let path = directory.path().join(name);
        let generated = sqlite::generate(&path, 2_000, seed).expect("generates");
        assert_eq!((generated.clusters, generated.playbook_entries), (50, 2_000));
        rows_of(&path)
    };
    let first = dump("first", 1);
    assert_eq!(first.len(), 2_050);
    assert!(first == dump("second", 1));
    assert!(first != dump("third", 2));
    let again = sqlite::generate(&directory.path().join("first"), 1, 1).expect_err("never overwrites");
    assert!(again.to_string().contains("exists already"), "{again}");
}

#[test]
fn the_practice_data_is_whole_but_not_tame() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ace.sqlite");
    sqlite::generate(&path, 20_000, 5).expect("generates");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    let count = |condition: &str| -> i64 {
        connection
            .query_row(&format!("SELECT count(*) FROM playbook_entries WHERE {condition}"), [], |row| row.get(0))
            .expect("counts")
    };
    for broken in [
        "NOT json_valid(metadata)",
        "cluster_id IS NOT NULL AND cluster_id NOT IN (SELECT id FROM clusters)",
        "is_pinned NOT IN (0, 1)",
        "instr(content, char(0)) > 0",
        "datetime(created_at) IS NULL OR length(created_at) <> 32",
        "typeof(confidence) <> 'real' OR length(embedding) <> 32",
    ] {
        assert_eq!(count(broken), 0, "{broken}");
    }
    for present in [
        "content = ''",
        "instr(content, char(10)) > 0",
        "instr(content, char(9)) > 0",
        "cluster_id IS NULL",
        "embedding IS NULL",
        "helpful_count = 2147483647",
        "last_used_at IS NULL",
    ] {
        assert!(count(present) > 0, "{present}");
    }
    let (rows, last): (i64, i64) = connection
        .query_row("SELECT count(*), max(id) FROM playbook_entries", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("reads");
    assert!(last > rows, "ids have gaps");
    let integrity: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checks");
    assert_eq!(integrity, "ok");
}

/// Every row of both tables as text.
fn rows_of(path: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).expect("opens");
    let mut rows = Vec::new();
    for table in ["clusters", "playbook_entries"] {
        let mut select = connection.prepare(&format!("SELECT * FROM {table} ORDER BY id")).expect("prepares");
        let columns = select.column_count();
        let texts = select.query_map([], |row| {
            (0..columns).map(|index| Ok(format!("{:?}", row.get_ref(index)?))).collect::<rusqlite::Result<Vec<_>>>()
        });
        rows.extend(texts.expect("reads").map(|row| row.expect("reads").join("|")));
    }
    rows
}

//! `kubernetes.rollout` and `kubernetes.secret`: the real kubectl against the practice estate's model.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pointsman::actions::{Actions, Registry};
use pointsman::clock::ScaledClock;
use pointsman::domain::run::{Finding, Mode, Outcome};
use pointsman::engine::Performer as _;
use pointsman::sandbox::estate::faults::{Faults, Switches};
use pointsman::sandbox::estate::kubernetes::{DEPLOYMENT, Kubernetes, NAMESPACE, Options, SECRET, SECRET_KEY};
use pointsman::sandbox::estate::sqlite;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Bench, Run, everything_below, expect_done, expect_failed, runbook, spawner, step};

/// What no output, result or argument may hold. It opens a database, so that pods start with it.
const NEW_SECRET: &str = "hunter2-hunter2";

/// The model, and a bot whose kubectl notes its arguments.
struct Practice {
    bench: Bench,
    kubernetes: Kubernetes,
    switches: Switches,
    tools: tempfile::TempDir,
}

impl Practice {
    async fn start() -> Self {
        let tools = tempfile::tempdir().expect("a directory");
        let database = tools.path().join("ace.sqlite");
        sqlite::generate(&database, 20, 1).expect("generates");
        let switches = Switches::new(tools.path().join("faults.json"));
        let options = Options {
            exe: PathBuf::from(env!("CARGO_BIN_EXE_pointsman")),
            directory: tools.path().to_owned(),
            database_url: format!("sqlite:{}", database.display()),
            token: "practice-token".to_owned(),
            switches: switches.clone(),
        };
        let kubernetes = Kubernetes::start(options).await.expect("starts");
        let log = tools.path().join("arguments");
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" >> {}\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin exec kubectl \"$@\"\n",
            log.display()
        );
        let wrapper = tools.path().join("bin/kubectl");
        std::fs::create_dir_all(wrapper.parent().expect("has a parent")).expect("made");
        std::fs::write(&wrapper, script).expect("written");
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let kubeconfig = kubernetes.kubeconfig().display().to_string();
        let bench = Bench::new().secret("KUBECONFIG", &kubeconfig).secret("NEW", NEW_SECRET);
        Self { bench, kubernetes, switches, tools }
    }

    /// A run with these steps: name, action, `with` save for the target.
    async fn run(&self, mode: Mode, steps: &[(&str, &str, Value)]) -> Run<'_> {
        let targets = json!({ "cluster": { "kubernetes": { "namespace": NAMESPACE, "kubeconfig": "KUBECONFIG" } } });
        let with = |with: &Value| {
            let mut with = with.clone();
            with["target"] = json!("cluster");
            with
        };
        let steps: Vec<Value> = steps.iter().map(|(name, action, given)| step(name, action, with(given))).collect();
        self.bench.run(runbook(targets, json!(steps)), json!({}), mode).await
    }

    fn actions(&self) -> Actions {
        let path = self.tools.path().join("bin").display().to_string();
        let spawner = spawner().with_variable("PATH", format!("{path}:/usr/local/bin:/usr/bin:/bin"));
        let (registry, clock) = (Arc::new(Registry::standard()), Arc::new(ScaledClock::real()));
        Actions::new(registry, self.bench.directories(), self.bench.secrets(), spawner, clock)
    }

    async fn perform(&self, run: &Run<'_>, step: &str, attempt: u32) -> Outcome {
        self.actions().perform(run.job(step, attempt), run.sink.clone(), CancellationToken::new()).await
    }

    async fn done(&self, run: &Run<'_>, step: &str) -> Value {
        expect_done(self.perform(run, step, 1).await).0
    }

    async fn one(&self, action: &str, with: Value) -> Outcome {
        let run = self.run(Mode::Live, &[("it", action, with)]).await;
        self.perform(&run, "it", 1).await
    }

    fn deployment(&self) -> Value {
        self.kubernetes.object("apps", "deployments", DEPLOYMENT).expect("is there")
    }

    fn data(&self, secret: &str) -> Value {
        self.kubernetes.object("", "secrets", secret).expect("is there")["data"].clone()
    }

    fn arguments(&self) -> String {
        std::fs::read_to_string(self.tools.path().join("arguments")).expect("kubectl was called")
    }
}

fn rollout(verb: &str) -> Value {
    json!({ "do": verb, "workload": format!("deployment/{DEPLOYMENT}"), "wait": "1m" })
}

fn with(mut value: Value, key: &str, entry: Value) -> Value {
    value[key] = entry;
    value
}

#[tokio::test]
async fn a_repeated_restart_restarts_once_and_its_undo_undoes_once() {
    let practice = Practice::start().await;
    let steps = [
        ("look", "kubernetes.rollout", rollout("status")),
        ("restart", "kubernetes.rollout", rollout("restart")),
        ("again", "kubernetes.rollout", rollout("restart")),
        ("undo-both", "kubernetes.rollout", with(rollout("undo"), "of", json!("restart"))),
        ("undo-nothing", "kubernetes.rollout", with(rollout("undo"), "of", json!("look"))),
    ];
    let run = practice.run(Mode::Live, &steps).await;
    let first = practice.done(&run, "look").await;
    let expected = json!({ "workload": format!("deployment/{DEPLOYMENT}"), "revision_before": 1, "revision": 1, "ready": 1,
        "replicas": 1, "image": "ace-framework:1.4.2" });
    assert_eq!(first, expected);
    let before = practice.deployment()["spec"]["template"].clone();
    assert!(matches!(practice.actions().probe(run.job("restart", 1)).await, Finding::DidNotHappen));
    for attempt in 1..=2 {
        let (result, simulated) = expect_done(practice.perform(&run, "restart", attempt).await);
        assert_eq!((&result["revision_before"], &result["revision"], simulated), (&json!(1), &json!(2), false), "{result}");
    }
    let found = practice.actions().probe(run.job("restart", 2)).await;
    assert!(matches!(&found, Finding::Happened { result } if result["revision_before"] == 1), "{found:?}");
    // Another step restarts anew, within the same second too.
    let result = practice.done(&run, "again").await;
    assert_eq!((&result["revision_before"], &result["revision"]), (&json!(2), &json!(3)));
    for attempt in 1..=2 {
        let (result, _) = expect_done(practice.perform(&run, "undo-both", attempt).await);
        assert_eq!((&result["revision_before"], &result["revision"]), (&json!(3), &json!(4)), "{result}");
    }
    assert_eq!(practice.deployment()["spec"]["template"], before);
    assert_eq!(practice.done(&run, "undo-nothing").await["revision"], 4);
    practice.kubernetes.stop().await;
}

#[tokio::test]
async fn an_undo_goes_to_the_revision_that_is_named() {
    let practice = Practice::start().await;
    let steps = [
        ("restart", "kubernetes.rollout", rollout("restart")),
        (
            "back",
            "kubernetes.rollout",
            with(rollout("undo"), "to_revision", json!("{{ steps['restart'].result.revision_before }}")),
        ),
        ("previous", "kubernetes.rollout", rollout("undo")),
    ];
    let mut run = practice.run(Mode::Live, &steps).await;
    let before = practice.deployment()["spec"]["template"].clone();
    run.go("restart").await;
    let restarted = practice.deployment()["spec"]["template"].clone();
    assert_ne!(before, restarted);
    practice.done(&run, "back").await;
    assert_eq!(practice.deployment()["spec"]["template"], before);
    practice.done(&run, "previous").await;
    assert_eq!(practice.deployment()["spec"]["template"], restarted);
    let failure = expect_failed(practice.one("kubernetes.rollout", with(rollout("undo"), "to_revision", json!(99))).await);
    assert!(failure.message.contains("the revision 99 is not kept any more; nothing was done"), "{}", failure.message);
    practice.kubernetes.stop().await;
}

#[tokio::test]
async fn a_rollout_that_does_not_become_ready_fails_and_a_repeat_waits_on() {
    let practice = Practice::start().await;
    let run = practice.run(Mode::Live, &[("restart", "kubernetes.rollout", with(rollout("restart"), "wait", json!("1s")))]).await;
    // The first pod must be there, or it is the one that hangs.
    practice.one("kubernetes.rollout", rollout("status")).await;
    practice.switches.set(&Faults { rollout_stuck: true, ..Faults::default() }).expect("sets");
    let failure = expect_failed(practice.perform(&run, "restart", 1).await);
    assert!(failure.message.contains("0 of 1 new pods are available") && failure.retryable, "{}", failure.message);
    practice.switches.set(&Faults::default()).expect("sets");
    expect_done(practice.one("kubernetes.rollout", rollout("status")).await);
    let (result, _) = expect_done(practice.perform(&run, "restart", 2).await);
    assert_eq!((&result["revision_before"], &result["revision"]), (&json!(1), &json!(2)));
    practice.kubernetes.stop().await;
}

#[tokio::test]
async fn a_secret_is_patched_and_restored_and_its_values_are_shown_nowhere() {
    let practice = Practice::start().await;
    let set = json!({ SECRET_KEY: { "secret": "NEW" }, "EXTRA": { "value": "{{ run.mode }}" } });
    let steps = [
        ("patch", "kubernetes.secret", json!({ "do": "patch", "secret": SECRET, "set": set })),
        ("more", "kubernetes.secret", json!({ "do": "patch", "secret": SECRET, "set": { "MORE": { "value": 7 } } })),
        ("restore", "kubernetes.secret", json!({ "do": "restore", "secret": SECRET })),
    ];
    let run = practice.run(Mode::Live, &steps).await;
    let former = practice.data(SECRET);
    let backup = format!("{SECRET}.pointsman.{}", run.state.id());
    let mut outcomes = Vec::new();
    for attempt in 1..=2 {
        let outcome = practice.perform(&run, "patch", attempt).await;
        let (result, simulated) = expect_done(outcome.clone());
        assert_eq!((&result["keys"], &result["backup"], simulated), (&json!(["DATABASE_URL", "EXTRA"]), &json!(backup), false));
        assert_eq!(practice.data(SECRET), json!({ SECRET_KEY: STANDARD.encode(NEW_SECRET), "EXTRA": STANDARD.encode("live") }));
        assert_eq!(practice.data(&backup), former, "a repeat keeps the former values");
        outcomes.push(outcome);
    }
    practice.done(&run, "more").await;
    for _ in 1..=2 {
        let outcome = practice.perform(&run, "restore", 1).await;
        assert_eq!(expect_done(outcome.clone()).0["keys"], json!(["DATABASE_URL", "EXTRA", "MORE"]));
        assert_eq!(practice.data(SECRET), former);
        outcomes.push(outcome);
    }
    assert_eq!(practice.data(&backup), former);
    let address = STANDARD.decode(former[SECRET_KEY].as_str().expect("text")).expect("base64");
    let address = String::from_utf8(address).expect("text");
    let all = format!("{outcomes:?}\n{}\n{}", practice.arguments(), everything_below(&run.directory()));
    assert!(all.contains("--patch-file=/dev/stdin") && all.contains(&format!("--namespace={NAMESPACE}")), "{all}");
    for secret in [NEW_SECRET.to_owned(), STANDARD.encode(NEW_SECRET), address.clone(), STANDARD.encode(address)] {
        assert!(!all.contains(&secret), "{secret}: {all}");
    }
    practice.kubernetes.stop().await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing_in_the_cluster() {
    let practice = Practice::start().await;
    let set = json!({ SECRET_KEY: { "secret": "NEW" } });
    let steps = [
        ("patch", "kubernetes.secret", json!({ "do": "patch", "secret": SECRET, "set": set })),
        ("restart", "kubernetes.rollout", rollout("restart")),
        ("undo", "kubernetes.rollout", with(rollout("undo"), "to_revision", json!(1))),
        ("restore", "kubernetes.secret", json!({ "do": "restore", "secret": SECRET, "if_absent": "ok" })),
        ("missing", "kubernetes.secret", json!({ "do": "patch", "secret": "no-such", "set": set })),
    ];
    let run = practice.run(Mode::DryRun, &steps).await;
    let (spec, data) = (practice.deployment()["spec"].clone(), practice.data(SECRET));
    for name in ["patch", "restart", "undo", "restore"] {
        assert!(expect_done(practice.perform(&run, name, 1).await).1, "{name} is simulated");
    }
    assert_eq!((practice.deployment()["spec"].clone(), practice.data(SECRET)), (spec, data));
    assert_eq!(practice.kubernetes.object("", "secrets", &format!("{SECRET}.pointsman.{}", run.state.id())), None);
    assert_eq!(practice.arguments().matches("--dry-run=server").count(), 3, "{}", practice.arguments());
    let failure = expect_failed(practice.perform(&run, "missing", 1).await);
    assert!(failure.message.contains(r#"secrets "no-such" not found"#) && !failure.retryable, "{}", failure.message);
    assert!(run.sink.groups.lock().expect("unpoisoned").is_empty(), "nothing that changes something was started");
    practice.kubernetes.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_the_reason() {
    let practice = Practice::start().await;
    let secret = |given: Value| with(given, "secret", json!(SECRET));
    for (action, given, message) in [
        ("kubernetes.rollout", json!({ "do": "restart", "workload": "daemonset/x" }), "`workload` must be `deployment/NAME`"),
        (
            "kubernetes.rollout",
            json!({ "do": "restart", "workload": "deployment/--all" }),
            "`workload` must be `deployment/NAME`",
        ),
        ("kubernetes.rollout", json!({ "do": "restart", "workload": "deployment/x" }), r#""x" not found"#),
        ("kubernetes.rollout", with(rollout("restart"), "to_revision", json!(1)), "belong to `do: undo`"),
        ("kubernetes.rollout", rollout("undo"), "is at revision 1, and an earlier revision is not kept any more"),
        ("kubernetes.secret", secret(json!({ "do": "restore" })), "so there is nothing to put back; nothing was done"),
        ("kubernetes.secret", secret(json!({ "do": "patch" })), "`set` names no key"),
        (
            "kubernetes.secret",
            secret(json!({ "do": "patch", "set": { "K": { "secret": "GONE" } } })),
            "the secret `GONE` is missing",
        ),
        ("kubernetes.secret", secret(json!({ "do": "patch", "set": { "a/b": { "value": "x" } } })), "`a/b` is not a key"),
    ] {
        let failure = expect_failed(practice.one(action, given).await);
        assert!(failure.message.contains(message) && !failure.retryable, "{}", failure.message);
    }
    let absent = secret(json!({ "do": "restore", "if_absent": "ok" }));
    assert_eq!(expect_done(practice.one("kubernetes.secret", absent).await).0["backup"], Value::Null);
    practice.switches.set(&Faults { api_refuses: true, ..Faults::default() }).expect("sets");
    let run = practice.run(Mode::Live, &[("it", "kubernetes.rollout", rollout("restart"))]).await;
    assert!(expect_failed(practice.perform(&run, "it", 1).await).retryable);
    practice.kubernetes.stop().await;
}

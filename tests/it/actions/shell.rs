//! `shell.run`: argv, pinned scripts, secrets, dry runs and what an end means.

use std::os::unix::fs::PermissionsExt;

use pointsman::domain::run::{FailureKind, Mode, Outcome};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Bench, everything_below, expect_done, expect_failed, output_of, runbook, step};

#[tokio::test]
async fn arguments_and_variables_arrive_as_they_are() {
    let mut book = runbook(
        json!({}),
        json!([step(
            "it",
            "shell.run",
            json!({
                "argv": ["sh", "-c", "printf '%s|%s|%s' \"$1\" \"$NAME\" \"$2\"", "sh", "{{ params.name }}", "{{ params.rows }}"],
                "env": { "NAME": "{{ params.name }}" },
            })
        )]),
    );
    book["parameters"] =
        json!({ "name": { "type": "string", "help": "a name" }, "rows": { "type": "integer", "help": "how many" } });
    let bench = Bench::new();
    for evil in ["$(id); `id` 'x' \"y\" ${HOME} \\", "{{ run.id }}{% if %}", "-rf /"] {
        let run = bench.run(book.clone(), json!({ "name": evil, "rows": 5 }), Mode::Live).await;
        let (result, _) = expect_done(run.perform("it").await);
        assert_eq!(result["stdout"], format!("{evil}|{evil}|5"));
    }
}

#[tokio::test]
async fn the_pinned_copy_runs_although_the_script_on_disk_was_changed() {
    let bench = Bench::new();
    bench.definition("scripts/go.sh", "#!/bin/sh\ncat scripts/data.txt \"$1\"\n");
    bench.definition("scripts/data.txt", "as planned\n");
    let with = json!({
        "script": "scripts/go.sh",
        "files": ["scripts/data.txt"],
        "args": ["{{ run.dir }}/files/scripts/data.txt"],
    });
    let run = bench.run(runbook(json!({}), json!([step("it", "shell.run", with)])), json!({}), Mode::Live).await;
    bench.definition("scripts/go.sh", "#!/bin/sh\necho changed\n");
    bench.definition("scripts/data.txt", "changed\n");
    let (result, _) = expect_done(run.perform("it").await);
    assert_eq!(result["stdout"], "as planned\nas planned");
}

#[tokio::test]
async fn a_pinned_copy_that_is_missing_or_changed_runs_nothing() {
    let bench = Bench::new();
    bench.definition("go.sh", "#!/bin/sh\necho ran > \"$1\"\n");
    let witness = bench.place("witness");
    let with = json!({ "script": "go.sh", "args": [witness] });
    let run = bench.run(runbook(json!({}), json!([step("it", "shell.run", with)])), json!({}), Mode::Live).await;
    let pinned = std::fs::read_dir(run.directory().join("pinned")).expect("there").next().expect("one").expect("readable").path();
    std::fs::set_permissions(&pinned, std::fs::Permissions::from_mode(0o600)).expect("set");
    std::fs::write(&pinned, "#!/bin/sh\necho evil > \"$1\"\n").expect("written");
    let failure = expect_failed(run.perform("it").await);
    assert!(failure.message.contains("the pinned copy of `go.sh` was changed"), "{}", failure.message);
    assert!(!failure.retryable);
    std::fs::remove_file(&pinned).expect("removed");
    let failure = expect_failed(run.perform("it").await);
    assert!(failure.message.contains("the pinned copy of `go.sh` is missing"), "{}", failure.message);
    assert!(!witness.exists(), "something ran");
}

#[tokio::test]
async fn secrets_reach_the_child_and_nothing_else() {
    let planted = "tr0ub4dor&3 \"quoted\"";
    let bench = Bench::new().secret("API_TOKEN", planted).secret("OTHER", "never-asked-for");
    let script = "printf '%s' \"$TOKEN\" | sha256sum; echo \"token $TOKEN\"; echo \"$TOKEN\" | base64 >&2; env; exit 3";
    let with = json!({ "argv": ["sh", "-c", script], "secret_env": { "TOKEN": "API_TOKEN" }, "expect_exit": 3 });
    let run = bench.run(runbook(json!({}), json!([step("it", "shell.run", with)])), json!({}), Mode::Live).await;
    let outcome = run.perform("it").await;
    let (result, _) = expect_done(outcome.clone());
    let digest = pointsman::domain::Digest::of_bytes(planted.as_bytes()).to_string();
    assert!(result["stdout"].as_str().expect("text").contains(&digest), "the child had the secret: {result}");
    assert!(result["stdout"].as_str().expect("text").contains("token [redacted]"), "{result}");
    let all = format!("{outcome:?}{}{:?}", everything_below(&run.directory()), run.state.plan());
    assert!(!all.contains("tr0ub4dor"), "{all}");
    assert!(!all.contains("never-asked-for"), "{all}");
}

#[tokio::test]
async fn a_missing_secret_is_named_and_nothing_runs() {
    let bench = Bench::new();
    let witness = bench.place("witness");
    let with = json!({ "argv": ["touch", witness], "secret_env": { "TOKEN": "API_TOKEN" } });
    for mode in [Mode::Live, Mode::DryRun] {
        let failure = expect_failed(bench.one(json!({}), "shell.run", with.clone(), mode).await);
        assert!(failure.message.contains("the secret `API_TOKEN` is missing"), "{}", failure.message);
        assert!(failure.message.contains("nothing was run") && !failure.retryable, "{}", failure.message);
    }
    assert!(!witness.exists());
}

#[tokio::test]
async fn a_dry_run_runs_what_only_reads_and_nothing_else() {
    let bench = Bench::new();
    let witness = bench.place("witness");
    let outcome = bench.one(json!({}), "shell.run", json!({ "argv": ["touch", witness] }), Mode::DryRun).await;
    assert!(expect_done(outcome).1, "simulated");
    assert!(!witness.exists());
    let with = json!({ "argv": ["echo", "{\"n\": 5}"], "read_only": true, "parse": "json" });
    let (result, simulated) = expect_done(bench.one(json!({}), "shell.run", with, Mode::DryRun).await);
    assert_eq!((&result["json"]["n"], simulated), (&json!(5), false));
}

#[tokio::test]
async fn a_bad_end_says_what_the_program_said() {
    let bench = Bench::new();
    let with = json!({ "argv": ["sh", "-c", "echo starting; echo 'disk on fire' >&2; exit 7"] });
    let outcome = bench.one(json!({}), "shell.run", with, Mode::Live).await;
    let failure = expect_failed(outcome.clone());
    assert_eq!(failure.kind, FailureKind::Failed);
    assert!(failure.message.contains("7") && failure.message.ends_with("disk on fire"), "{}", failure.message);
    assert!(output_of(&outcome).tail.contains("starting\n"), "{:?}", output_of(&outcome));
    let failure = expect_failed(bench.one(json!({}), "shell.run", json!({ "argv": ["no-such-program"] }), Mode::Live).await);
    assert!(failure.message.contains("`no-such-program` could not be started"), "{}", failure.message);
    let failure =
        expect_failed(bench.one(json!({}), "shell.run", json!({ "argv": ["echo", "x"], "parse": "json" }), Mode::Live).await);
    assert!(failure.message.contains("not one JSON value"), "{}", failure.message);
}

#[tokio::test]
async fn a_start_that_cannot_be_journalled_runs_nothing() {
    let bench = Bench::new();
    let witness = bench.place("witness");
    let book = runbook(json!({}), json!([step("it", "shell.run", json!({ "argv": ["touch", witness] }))]));
    let run = bench.run(book, json!({}), Mode::Live).await;
    run.sink.refuse.store(true, std::sync::atomic::Ordering::Relaxed);
    let failure = expect_failed(run.perform("it").await);
    assert!(failure.message.contains("the journal is away") && failure.retryable, "{}", failure.message);
    assert!(!witness.exists());
}

#[tokio::test]
async fn cancelling_ends_the_program() {
    let bench = Bench::new();
    let book = runbook(json!({}), json!([step("it", "shell.run", json!({ "argv": ["sleep", "600"] }))]));
    let run = bench.run(book, json!({}), Mode::Live).await;
    let cancel = CancellationToken::new();
    let sink = run.sink.clone();
    let canceller = async {
        while sink.groups.lock().expect("unpoisoned").is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(run.perform_until("it", &cancel), canceller);
    let Outcome::Failed { failure, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::Cancelled);
    let group = run.sink.groups.lock().expect("unpoisoned")[0].clone();
    assert!(pointsman::actions::process::group_is_gone(&group));
}

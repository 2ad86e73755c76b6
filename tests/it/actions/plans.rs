//! The planner: parameters, digests, what is bound when, and every refusal.

use pointsman::actions::PlanError;
use pointsman::domain::run::Mode;
use pointsman::domain::{Interruption, StepKind};
use serde_json::{Value, json};

use super::{Bench, runbook, step};

fn book() -> Value {
    let mut book = runbook(
        json!({}),
        json!([
            step("look", "shell.run", json!({ "argv": ["echo", "{{ params.name }}"], "read_only": true })),
            step(
                "change",
                "shell.run",
                json!({ "script": "scripts/{{ params.name }}.sh", "args": ["{{ run.dir }}", "{{ params.rows }}"] })
            ),
            step("ask", "human.confirm", json!({ "question": "Is {{ params.name }} quiet?", "owner": "dba" })),
        ]),
    );
    book["lock"] = json!("profile:{{ params.name }}");
    book["title"] = json!("Move {{ params.name }}");
    book["phases"][0]["title"] = json!("Only {{ params.name }}");
    book["phases"][0]["steps"][0]["title"] = json!("Look at {{ params.name }}");
    book["parameters"] = json!({
        "name": { "type": "string", "help": "a profile", "pattern": "[a-z]+" },
        "rows": { "type": "integer", "help": "how many", "min": 1, "default": 7 },
        "until": { "type": "duration", "help": "how long" },
    });
    book
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.definition("scripts/assets.sh", "#!/bin/sh\necho\n");
    bench
}

#[tokio::test]
async fn a_plan_holds_everything_that_is_known_and_lists_the_rest() {
    let planned = bench().try_plan(book(), json!({ "name": "assets", "until": "90s" })).await.expect("a plan");
    let plan = &planned.plan;
    assert_eq!(plan.lock, "profile:assets");
    assert_eq!((plan.runbook.title.as_str(), plan.runbook.phases[0].title()), ("Move assets", "Only assets"));
    assert_eq!(plan.runbook.phases[0].steps[0].title, "Look at assets");
    assert_eq!(json!(plan.parameters), json!({ "name": "assets", "rows": 7, "until": "1m30s" }));
    let traits = |name: &str| plan.traits(&name.parse().expect("a name")).clone();
    assert_eq!((traits("look").effect, traits("look").interruption), (false, Interruption::Repeat));
    assert_eq!((traits("change").effect, traits("change").interruption), (true, Interruption::Ask));
    assert_eq!(traits("change").late, ["{{ run.dir }}"]);
    assert_eq!(traits("ask").kind, StepKind::Confirm);
    let with = |name: &str| plan.runbook.step(&name.parse().expect("a name")).expect("there").with.clone();
    assert_eq!(with("look")["argv"], json!(["echo", "assets"]));
    assert_eq!(with("change")["args"], json!(["{{ run.dir }}", 7]));
    assert_eq!(with("ask")["question"], "Is assets quiet?");
    assert_eq!(plan.files["scripts/assets.sh"].sha256, planned.files[0].0);
    assert_eq!(planned.files[0].1, b"#!/bin/sh\necho\n");
}

#[tokio::test]
async fn equal_inputs_give_equal_digests_and_any_change_another() {
    let bench = bench();
    let given = json!({ "name": "assets", "until": "90s" });
    let digest = bench.try_plan(book(), given.clone()).await.expect("a plan").plan.digest();
    let same = json!({ "until": "1m30s", "name": " assets ", "rows": "7" });
    assert_eq!(bench.try_plan(book(), same).await.expect("a plan").plan.digest(), digest);
    let more = json!({ "name": "assets", "until": "90s", "rows": 8 });
    assert_ne!(bench.try_plan(book(), more).await.expect("a plan").plan.digest(), digest);
    let mut other = book();
    other["phases"][0]["steps"][0]["title"] = json!("another");
    assert_ne!(bench.try_plan(other, given.clone()).await.expect("a plan").plan.digest(), digest);
    bench.definition("scripts/assets.sh", "#!/bin/sh\necho changed\n");
    assert_ne!(bench.try_plan(book(), given).await.expect("a plan").plan.digest(), digest);
}

#[tokio::test]
async fn missing_parameters_are_listed_alone_so_that_they_can_be_asked_for() {
    let error = bench().try_plan(book(), json!({})).await.expect_err("two are missing");
    let PlanError::Missing(missing) = error else { panic!("{error:?}") };
    assert_eq!(json!(missing), json!(["name", "until"]));
}

#[tokio::test]
async fn all_wrong_parameters_are_reported_at_once() {
    let given = json!({ "name": "NO", "rows": 0, "untill": "5m" });
    let error = bench().try_plan(book(), given).await.expect_err("wrong");
    let PlanError::Refused(problems) = error else { panic!("{error:?}") };
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems[0].contains("`name` (a profile)") && problems[0].contains("does not match"), "{problems:#?}");
    assert!(problems[1].contains("`rows`") && problems[1].contains("less than 1"), "{problems:#?}");
    assert!(problems[2].ends_with("the runbook `test` has no parameter `untill`, did you mean `until`?"), "{problems:#?}");
    assert!(problems[3].contains("`until` is required"), "{problems:#?}");
}

#[tokio::test]
async fn an_unmapped_role_names_the_setting() {
    let mut book = book();
    book["phases"][0]["steps"][2]["with"]["owner"] = json!("security");
    let error = bench().try_plan(book, json!({ "name": "assets", "until": "1m" })).await.expect_err("unmapped");
    assert!(error.to_string().contains("the role `security` is not mapped") && error.to_string().contains("`roles:`"), "{error}");
}

#[tokio::test]
async fn files_that_cannot_be_pinned_refuse_the_plan() {
    let bench = bench();
    let with = |script: &str| runbook(json!({}), json!([step("it", "shell.run", json!({ "script": script }))]));
    let error = bench.try_plan(with("scripts/none.sh"), json!({})).await.expect_err("not there");
    assert!(error.to_string().contains("`scripts/none.sh`"), "{error}");
    let error = bench.try_plan(with("../outside.sh"), json!({})).await.expect_err("outside");
    assert!(error.to_string().contains("without `..`"), "{error}");
}

#[tokio::test]
async fn targets_that_cannot_be_looked_at_are_all_reported() {
    let bench = Bench::new().secret("BAD_DSN", "hunter2").secret("CLOSED", "postgres://u:hunter2@127.0.0.1:1/d");
    let targets = json!({
        "file": { "sqlite": { "path": "/nowhere/app.sqlite" } },
        "bad": { "postgres": { "dsn": "BAD_DSN" } },
        "closed": { "postgres": { "dsn": "CLOSED" } },
        "unset": { "postgres": { "dsn": "UNSET" } },
        "web": { "http": { "url": "gopher://x" } },
    });
    let error = bench.try_plan(runbook(targets, json!([step("it", "shell.run", json!({ "argv": ["true"] }))])), json!({})).await;
    let Err(PlanError::Unreachable(problems)) = error else { panic!("{error:?}") };
    let text = problems.join("\n");
    for part in [
        "`file` cannot be looked at: the SQLite file /nowhere/app.sqlite cannot be read: No such file",
        "the secret `BAD_DSN` is not the address of a PostgreSQL database",
        "connecting to PostgreSQL u@127.0.0.1:1/d: Connection refused",
        "the secret `UNSET` is missing",
        "`gopher://x` is not an HTTP address",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_dry_run_and_a_live_run_of_one_plan_share_its_digest() {
    let bench = bench();
    let given = json!({ "name": "assets", "until": "90s" });
    let rehearsed = bench.run(book(), given.clone(), Mode::DryRun).await;
    let live = bench.run(book(), given, Mode::Live).await;
    assert_ne!(rehearsed.state.id(), live.state.id());
    assert_ne!(rehearsed.directory(), live.directory(), "which a step names by `run.dir`");
    assert_eq!(rehearsed.state.started.digest, live.state.started.digest);
    // Not only as it was computed: as the journal keeps it, too.
    assert_eq!(rehearsed.state.plan().digest(), live.state.started.digest);
}

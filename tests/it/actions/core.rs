//! What every attempt goes through: late binding, targets looked at again, checks, gates.

use pointsman::domain::run::{FailureKind, Finding, GateRef, Mode, Verdict};
use pointsman::engine::Performer;
use serde_json::json;

use super::{Bench, checks_of, expect_done, expect_failed, runbook, step};

fn echo(json: &str) -> serde_json::Value {
    json!({ "argv": ["echo", json], "read_only": true, "parse": "json" })
}

#[tokio::test]
async fn later_steps_see_earlier_results() {
    let bench = Bench::new();
    let steps = json!([
        step("first", "shell.run", echo("{\"n\": 41}")),
        step(
            "second",
            "shell.run",
            json!({ "argv": ["echo", "{{ steps['first'].result.json.n + 1 }} {{ run.id }} {{ run.mode }}"] })
        ),
    ]);
    let mut run = bench.run(runbook(json!({}), steps), json!({}), Mode::Live).await;
    run.go("first").await;
    let result = run.go("second").await;
    assert_eq!(result["stdout"], format!("42 {} live", run.state.id()));
}

#[tokio::test]
async fn what_is_not_there_yet_stops_the_step_before_it_begins() {
    let bench = Bench::new();
    let steps = json!([
        step("first", "shell.run", echo("{}")),
        step("second", "shell.run", json!({ "argv": ["echo", "{{ steps['first'].result.json.n }}"] })),
    ]);
    let run = bench.run(runbook(json!({}), steps), json!({}), Mode::Live).await;
    let failure = expect_failed(run.perform("second").await);
    assert!(failure.message.contains("`argv`") && failure.message.contains("nothing was done"), "{}", failure.message);
}

#[tokio::test]
async fn a_red_check_fails_the_step_and_shows_what_was_measured() {
    let bench = Bench::new();
    let mut only = step("it", "shell.run", echo("{\"n\": 41}"));
    only["check"] = json!([
        { "expect": "result.exit == 0", "says": "it ended well" },
        { "expect": "result.json.n >= 42", "says": "enough rows" },
        { "expect": "result.json.gone", "says": "it is there" },
    ]);
    let run = bench.run(runbook(json!({}), json!([only])), json!({}), Mode::Live).await;
    let outcome = run.perform("it").await;
    let checks = checks_of(&outcome).to_vec();
    assert!(checks[0].is_green() && checks[1].is_red() && checks[2].is_red(), "{checks:?}");
    assert_eq!(checks[1].measured, "result.json.n = 41");
    let failure = expect_failed(outcome);
    assert_eq!(failure.kind, FailureKind::CheckFailed);
    assert!(failure.message.contains("enough rows"), "{}", failure.message);
}

#[tokio::test]
async fn a_dry_run_measures_what_it_can_and_no_more() {
    let bench = Bench::new();
    let mut simulated = step("change", "shell.run", json!({ "argv": ["true"] }));
    simulated["check"] = json!([{ "expect": "result.exit == 0", "says": "it ended well" }]);
    let mut real = step("look", "shell.run", echo("{\"n\": 1}"));
    real["check"] = json!([
        { "expect": "result.json.n == 1", "says": "there is one" },
        { "expect": "steps['change'].result.exit == 0", "says": "the change was made" },
    ]);
    let mut run = bench.run(runbook(json!({}), json!([simulated, real])), json!({}), Mode::DryRun).await;
    assert!(matches!(checks_of(&run.perform("change").await)[0].verdict, Verdict::NotMeasured { .. }));
    run.go("change").await;
    let outcome = run.perform("look").await;
    let checks = checks_of(&outcome);
    assert!(checks[0].is_green(), "{checks:?}");
    assert!(matches!(&checks[1].verdict, Verdict::NotMeasured { why } if why.contains("`change`")), "{checks:?}");
}

#[tokio::test]
async fn what_a_rehearsed_change_would_have_mended_does_not_fail_the_dry_run() {
    let bench = Bench::new();
    let path = bench.place("app.sqlite");
    rusqlite::Connection::open(&path).expect("made").execute_batch("CREATE TABLE t (id INTEGER)").expect("made");
    let targets = json!({ "app": { "sqlite": { "path": path } } });
    let count = json!({ "target": "app", "sql": "SELECT count(*) FROM t", "equals": 1 });
    let insert = json!({ "target": "app", "sql": "INSERT INTO t VALUES (1)", "write": true });
    let mut look = step("look", "sql.query", json!({ "target": "app", "sql": "SELECT count(*) AS n FROM t" }));
    look["check"] = json!([
        { "expect": "result.value == 1", "says": "the row is there" },
        { "expect": "result.row_count == 1", "says": "it was counted" },
    ]);
    let gone = json!({ "target": "app", "sql": "SELECT * FROM made_later" });
    let steps = json!([
        step("change", "sql.query", insert),
        step("count", "sql.check", count.clone()),
        look,
        step("gone", "sql.query", gone),
    ]);
    let mut run = bench.run(runbook(targets, steps), json!({}), Mode::DryRun).await;
    expect_failed(run.perform("count").await);
    expect_failed(run.perform("gone").await);
    run.go("change").await;
    let (_, simulated) = expect_done(run.perform("count").await);
    assert!(simulated);
    let outcome = run.perform("look").await;
    let checks = checks_of(&outcome);
    assert!(
        matches!(&checks[0].verdict, Verdict::NotMeasured { why } if why.contains("`change` was only rehearsed")),
        "{checks:?}"
    );
    assert!(checks[1].is_green(), "{checks:?}");
    assert!(expect_done(run.perform("gone").await).1);
}

fn gated(measure: serde_json::Value, go: serde_json::Value) -> serde_json::Value {
    let mut book = runbook(json!({}), json!([step("go", "shell.run", json!({ "argv": ["true"] }))]));
    book["phases"][0]["gate"] = json!({ "sign_off": { "dba": 1 }, "measure": measure, "go": go });
    book
}

#[tokio::test]
async fn a_gate_measures_in_order_and_what_failed_is_red_with_its_reason() {
    let bench = Bench::new();
    let measure = json!([
        step("lag", "shell.run", echo("{\"seconds\": 3}")),
        step(
            "twice",
            "shell.run",
            json!({ "argv": ["echo", "{{ measured['lag'].result.json.seconds * 2 }}"], "read_only": true, "parse": "json" })
        ),
        step("broken", "shell.run", json!({ "argv": ["sh", "-c", "echo no route >&2; exit 1"], "read_only": true })),
    ]);
    let go = json!([
        { "expect": "measured['lag'].result.json.seconds < 5", "says": "the lag is small" },
        { "expect": "measured['twice'].result.json == 6", "says": "it adds up" },
        { "expect": "measured['broken'].result.exit == 0", "says": "it is reachable" },
    ]);
    for (mode, not_measured) in [(Mode::Live, false), (Mode::DryRun, true)] {
        let run = bench.run(gated(measure.clone(), go.clone()), json!({}), mode).await;
        let readings = bench.actions().measure(&run.snapshot(), &GateRef::Phase("only".parse().expect("a name"))).await;
        assert!(readings[0].is_green() && readings[1].is_green(), "{readings:?}");
        match &readings[2].verdict {
            Verdict::Red { why } if !not_measured => {
                assert!(why.contains("measuring `broken` failed") && why.contains("no route"))
            }
            Verdict::NotMeasured { why } if not_measured => assert!(why.contains("no route"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_measure_step_that_would_change_something_is_not_performed() {
    let bench = Bench::new();
    let witness = bench.place("witness");
    let measure = json!([step("touch", "shell.run", json!({ "argv": ["touch", witness] }))]);
    let go = json!([{ "expect": "measured['touch'].result.exit == 0", "says": "touched" }]);
    let run = bench.run(gated(measure, go), json!({}), Mode::Live).await;
    let readings = bench.actions().measure(&run.snapshot(), &GateRef::Phase("only".parse().expect("a name"))).await;
    assert!(matches!(&readings[0].verdict, Verdict::Red { why } if why.contains("measuring must not")), "{readings:?}");
    assert!(!witness.exists());
}

#[tokio::test]
async fn a_measurement_that_takes_too_long_is_ended_and_red() {
    let bench = Bench::new();
    let mut slow = step("slow", "shell.run", json!({ "argv": ["sleep", "600"], "read_only": true }));
    slow["timeout"] = json!("1s");
    let go = json!([{ "expect": "measured['slow'].result.exit == 0", "says": "it ends" }]);
    let run = bench.run(gated(json!([slow]), go), json!({}), Mode::Live).await;
    let readings = bench.actions().measure(&run.snapshot(), &GateRef::Phase("only".parse().expect("a name"))).await;
    assert!(matches!(&readings[0].verdict, Verdict::Red { why } if why.contains("longer than 1 s")), "{readings:?}");
}

#[tokio::test]
async fn when_is_true_false_or_an_error_and_never_a_guess() {
    let bench = Bench::new();
    let mut conditional = step("it", "shell.run", json!({ "argv": ["true"] }));
    conditional["when"] = json!("steps['first'].result.json.n == 1");
    let steps = json!([step("first", "shell.run", echo("{\"n\": 1}")), conditional]);
    let mut run = bench.run(runbook(json!({}), steps), json!({}), Mode::Live).await;
    let it = "it".parse().expect("a name");
    let error = bench.actions().evaluate_when(&run.snapshot(), &it).expect_err("nothing is known yet");
    assert!(error.contains("steps['first']"), "{error}");
    run.go("first").await;
    assert_eq!(bench.actions().evaluate_when(&run.snapshot(), &it), Ok(true));
    assert_eq!(bench.actions().evaluate_when(&run.snapshot(), &"first".parse().expect("a name")), Ok(true));
}

#[tokio::test]
async fn a_moved_target_is_noticed_and_not_touched() {
    let bench = Bench::new();
    let real = bench.place("app.sqlite");
    rusqlite::Connection::open(&real).expect("made").execute_batch("CREATE TABLE t (id INTEGER)").expect("made");
    let link = bench.place("link.sqlite");
    std::os::unix::fs::symlink(&real, &link).expect("linked");
    let other = bench.place("other.sqlite");
    std::fs::copy(&real, &other).expect("copied");
    let targets = json!({ "app": { "sqlite": { "path": link } } });
    let with = json!({ "target": "app", "sql": "INSERT INTO t VALUES (1)", "write": true });
    let run = bench.run(runbook(targets, json!([step("it", "sql.query", with)])), json!({}), Mode::Live).await;
    assert_eq!(bench.actions().targets_changed(&run.snapshot()).await, Ok(vec![]));
    std::fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink(&other, &link).expect("linked");
    let changed = bench.actions().targets_changed(&run.snapshot()).await.expect("readable");
    assert!(changed.len() == 1 && changed[0].contains("`app` is not the one of the plan"), "{changed:?}");
    let failure = expect_failed(run.perform("it").await);
    assert!(failure.message.contains("nothing was done") && !failure.retryable, "{}", failure.message);
    std::fs::remove_file(&link).expect("removed");
    let error = bench.actions().targets_changed(&run.snapshot()).await.expect_err("gone");
    assert!(error.contains("`app` cannot be read"), "{error}");
}

#[tokio::test]
async fn an_action_that_cannot_tell_says_so() {
    let bench = Bench::new();
    let book = runbook(json!({}), json!([step("it", "shell.run", json!({ "argv": ["true"] }))]));
    let run = bench.run(book, json!({}), Mode::Live).await;
    assert!(matches!(bench.actions().probe(run.job("it", 1)).await, Finding::Unclear { .. }));
}

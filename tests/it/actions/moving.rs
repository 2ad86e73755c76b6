//! `database.copy` and `database.verify`: a real SQLite file and a real PostgreSQL server.

use pointsman::domain::run::{FailureKind, Mode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{Bench, Run, everything_below, expect_done, expect_failed, output_of, runbook, step};
use crate::harness::postgres::TestDatabase;

/// The password in the target's address; the server takes any.
const PASSWORD: &str = "hunter2-hunter2";

/// A SQLite file and an empty PostgreSQL database.
struct Pair {
    bench: Bench,
    database: TestDatabase,
}

impl Pair {
    async fn new(sql: &str) -> Self {
        let database = TestDatabase::new().await;
        let mut url = url::Url::parse(&database.url).expect("a URL");
        url.set_password(Some(PASSWORD)).expect("has a host");
        let pair = Self { bench: Bench::new().secret("DSN", url.as_str()), database };
        pair.sqlite("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
        pair.sqlite(sql);
        pair
    }

    fn sqlite(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.bench.place("app.sqlite")).expect("opens");
        connection.execute_batch(sql).expect("the SQL is valid");
    }

    async fn postgres(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.database.url).await.expect("connects");
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.expect("the SQL is valid");
    }

    async fn count(&self, table: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.database.url).await.expect("connects");
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("counts")
    }

    /// A run with the steps `copy` and `verify`.
    async fn run(&self, mode: Mode, copy: Value, verify: Value) -> Run<'_> {
        let targets = json!({
            "old": { "sqlite": { "path": self.bench.place("app.sqlite") } },
            "new": { "postgres": { "dsn": "DSN" } },
        });
        let with = |mut with: Value| {
            with["source"] = json!("old");
            with["target"] = json!("new");
            with
        };
        let steps = json!([step("copy", "database.copy", with(copy)), step("verify", "database.verify", with(verify))]);
        self.bench.run(runbook(targets, steps), json!({}), mode).await
    }
}

fn rows(count: u32) -> String {
    format!(
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) INSERT INTO items SELECT n, 'name ' || n FROM s"
    )
}

#[tokio::test]
async fn a_copy_arrives_is_told_and_is_found_again_by_a_repeat() {
    let pair = Pair::new(&rows(3_000)).await;
    let mut run = pair.run(Mode::Live, json!({ "batch_rows": 500 }), json!({ "samples": 50 })).await;
    let result = run.go("copy").await;
    assert_eq!((&result["rows"], &result["source_rows"], &result["already_done"]), (&json!(3_000), &json!(3_000), &json!(false)));
    assert_eq!(
        (&result["tables"][0]["table"], result["copy_id"].as_str()),
        (&json!("items"), Some(format!("{}/copy", run.state.id()).as_str()))
    );
    let progress = run.sink.progress.lock().expect("unpoisoned").clone();
    assert!(
        progress.contains(&(3_000, Some(3_000))) && progress.iter().any(|(done, _)| *done > 0 && *done < 3_000),
        "{progress:?}"
    );
    assert_eq!(run.go("copy").await["already_done"], true);
    assert_eq!(pair.count("items").await, 3_000);

    let outcome = run.perform("verify").await;
    let (result, simulated) = expect_done(outcome.clone());
    assert_eq!((&result["failed"], &result["pass_rate"], simulated), (&json!(0), &json!(1.0), false));
    let report = std::fs::read_to_string(run.directory().join(&output_of(&outcome).file)).expect("a report");
    assert!(report.starts_with("# Verification: everything agrees") && report.contains("| `items` | 3000 | 3000 |"), "{report}");

    pair.postgres("UPDATE items SET name = 'other' WHERE id = 7").await;
    let (result, _) = expect_done(run.perform("verify").await);
    assert!(result["failed"].as_u64() > Some(0) && result["tables"][0]["differences"][0]["column"] == "name", "{result}");
    let all = format!("{outcome:?}{}", everything_below(&run.directory()));
    assert!(!all.contains(PASSWORD), "{all}");
}

#[tokio::test]
async fn a_copy_that_was_stopped_goes_on_with_the_next_attempt() {
    let pair = Pair::new(&rows(5_000)).await;
    let run = pair.run(Mode::Live, json!({ "batch_rows": 10, "streams": 1 }), json!({})).await;
    let cancel = CancellationToken::new();
    let first = run.perform_until("copy", &cancel);
    let stopped = async {
        while run.sink.progress.lock().expect("unpoisoned").iter().all(|(done, _)| *done == 0) {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(first, stopped);
    assert_eq!(expect_failed(outcome).kind, FailureKind::Cancelled);
    let (result, _) = expect_done(run.perform("copy").await);
    assert_eq!((&result["resumed"], &result["rows"]), (&json!(true), &json!(5_000)));
    assert_eq!(pair.count("items").await, 5_000);
}

#[tokio::test]
async fn a_row_that_cannot_be_converted_is_told_in_full() {
    let pair = Pair::new("INSERT INTO items VALUES (1, 'good'), (42, 'a' || char(0) || 'b')").await;
    let run = pair.run(Mode::Live, json!({}), json!({})).await;
    let failure = expect_failed(run.perform("copy").await);
    for part in ["items", "42", "name", "zero byte"] {
        assert!(failure.message.to_lowercase().contains(part), "{part}: {}", failure.message);
    }
    assert!(!failure.retryable);

    let quarantine = json!({ "on_fault": "quarantine" });
    let other = Pair::new("INSERT INTO items VALUES (1, 'good'), (42, 'a' || char(0) || 'b')").await;
    let mut run = other.run(Mode::Live, quarantine, json!({ "copy": "copy" })).await;
    let result = run.go("copy").await;
    assert_eq!((&result["rows"], &result["quarantined"], &result["source_rows"]), (&json!(1), &json!(1), &json!(2)));
    assert_eq!(run.go("verify").await["failed"], 0, "what was put aside is not missed");
}

#[tokio::test]
async fn a_dry_run_converts_everything_and_writes_nothing() {
    let pair = Pair::new(&rows(100)).await;
    // The tables come from a step before, which a dry run only rehearses too.
    let run = pair.run(Mode::DryRun, json!({ "schema": "fill" }), json!({})).await;
    let (result, simulated) = expect_done(run.perform("copy").await);
    assert_eq!((&result["rows"], &result["rehearsal"], simulated), (&json!(100), &json!(true), true));
    let (result, simulated) = expect_done(run.perform("verify").await);
    assert_eq!((&result["passed"], simulated), (&json!(0), true));
    assert_eq!(pair.count("pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')").await, 0);

    pair.postgres("CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL)").await;
    assert!(expect_done(run.perform("verify").await).1, "an empty table says nothing");
    pair.postgres("INSERT INTO items VALUES (1, 'name 1')").await;
    let (result, simulated) = expect_done(run.perform("verify").await);
    assert!(!simulated && result["failed"].as_u64() > Some(0), "rows that are there are compared: {result}");
    let refused = expect_failed(run.perform("copy").await);
    assert!(refused.message.contains("already holds rows"), "{}", refused.message);
}

#[tokio::test]
async fn a_table_that_is_missing_on_either_side_is_told_before_anything_is_written() {
    const UNFIT: &str = "source and target do not fit, nothing was written: ";
    let pair = Pair::new(&rows(1)).await;
    let run = pair.run(Mode::Live, json!({ "schema": "fill" }), json!({})).await;
    let nowhere = "`items`: the target's schema `public` has no such table; ";
    for (step, mend) in [
        ("copy", "create it there, leave it out with `exclude`, or use `schema: create`"),
        ("verify", "copy it there first, or leave it out with `exclude`"),
    ] {
        let failure = expect_failed(run.perform(step).await);
        assert_eq!((failure.message, failure.retryable), (format!("{UNFIT}{nowhere}{mend}"), false), "{step}");
    }

    pair.postgres("CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL); CREATE TABLE orders (id bigint PRIMARY KEY)")
        .await;
    for step in ["copy", "verify"] {
        let failure = expect_failed(run.perform(step).await);
        let only_there = format!(
            "{UNFIT}`orders`: the target has this table and the source has not; name it in `exclude`, or name the tables to {} in `tables`",
            if step == "copy" { "copy" } else { "compare" }
        );
        assert_eq!(failure.message, only_there, "{step}");
    }

    let named = json!({ "tables": ["items", "ordres"] });
    let run = pair.run(Mode::Live, named.clone(), named).await;
    for step in ["copy", "verify"] {
        let failure = expect_failed(run.perform(step).await);
        assert_eq!(failure.message, "option tables: the SQLite database has no table `ordres`; it has: items", "{step}");
    }
    assert_eq!((pair.count("items").await, pair.count("orders").await), (0, 0));
    assert_eq!(pair.count("pg_namespace WHERE nspname = 'pointsman_transfer'").await, 0, "not even a checkpoint");
}

//! `sql.*` and `sqlite.*` on real databases.

use pointsman::domain::run::{FailureKind, Mode};
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use super::{Bench, expect_done, expect_failed, runbook, step};
use crate::harness::postgres::TestDatabase;

async fn with_postgres() -> (Bench, Value, TestDatabase) {
    let database = TestDatabase::new().await;
    let bench = Bench::new().secret("DSN", &database.url);
    (bench, json!({ "db": { "postgres": { "dsn": "DSN" } } }), database)
}

fn with_sqlite(sql: &str) -> (Bench, Value) {
    let bench = Bench::new();
    let path = bench.place("app.sqlite");
    rusqlite::Connection::open(&path).expect("made").execute_batch(sql).expect("made");
    let targets = json!({ "db": { "sqlite": { "path": path } } });
    (bench, targets)
}

pub(super) async fn execute(url: &str, sql: &'static str) {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connects");
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("executes");
}

fn count(path: &std::path::Path) -> i64 {
    let connection = rusqlite::Connection::open(path).expect("opens");
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("counts")
}

#[tokio::test]
async fn postgres_values_of_every_kind_come_back() {
    let (bench, targets, _database) = with_postgres().await;
    let with = json!({
        "target": "db",
        "sql": "SELECT $1::int + 1 AS n, $2 AS text, $3::boolean AS flag, $4::float8 AS x, $5::text AS nothing,
                '6f0f2d4e-4d2a-4a3e-9d31-0c1b6f0f2d4e'::uuid AS id, 12345.678::numeric AS money, '{\"a\": [1]}'::jsonb AS doc,
                '2026-03-01T22:00:00Z'::timestamptz AT TIME ZONE 'UTC' AS at, ARRAY[1, 2] AS list, '\\x00ff'::bytea AS raw; ",
        "params": [41, "'; DROP TABLE x; --", true, 0.5, null],
    });
    let (result, simulated) = expect_done(bench.one(targets, "sql.query", with, Mode::DryRun).await);
    assert!(!simulated);
    assert_eq!(
        result["rows"][0],
        json!({
            "n": 42, "text": "'; DROP TABLE x; --", "flag": true, "x": 0.5, "nothing": null,
            "id": "6f0f2d4e-4d2a-4a3e-9d31-0c1b6f0f2d4e", "money": 12345.678, "doc": { "a": [1] },
            "at": "2026-03-01T22:00:00", "list": [1, 2], "raw": "\\x00ff",
        })
    );
    assert_eq!((&result["value"], &result["row_count"], &result["more"]), (&json!(42), &json!(1), &json!(false)));
}

#[tokio::test]
async fn reading_changes_nothing_and_is_limited() {
    let (bench, targets, database) = with_postgres().await;
    execute(
        &database.url,
        "CREATE TABLE t (n int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING n'",
    )
    .await;
    let failure =
        expect_failed(bench.one(targets.clone(), "sql.query", json!({ "target": "db", "sql": "SELECT f()" }), Mode::Live).await);
    assert!(failure.message.contains("read-only") && !failure.retryable, "{}", failure.message);
    let with = json!({ "target": "db", "sql": "SELECT generate_series(1, 1000) AS n", "rows_max": 3 });
    let (result, _) = expect_done(bench.one(targets.clone(), "sql.query", with, Mode::Live).await);
    assert_eq!((&result["row_count"], &result["more"]), (&json!(3), &json!(true)));
    let with = json!({ "target": "db", "sql": "SELECT pg_sleep(600)", "timeout": "1s" });
    let failure = expect_failed(bench.one(targets, "sql.query", with, Mode::Live).await);
    assert!(failure.message.contains("statement timeout"), "{}", failure.message);
}

#[tokio::test]
async fn a_write_is_counted_live_and_only_prepared_in_a_dry_run() {
    let (bench, targets, database) = with_postgres().await;
    execute(&database.url, "CREATE TABLE t (n int)").await;
    let write = |sql: &str| json!({ "target": "db", "sql": sql, "params": [5], "write": true });
    let insert = write("INSERT INTO t SELECT generate_series(1, $1)");
    let (result, simulated) = expect_done(bench.one(targets.clone(), "sql.query", insert.clone(), Mode::DryRun).await);
    assert_eq!((&result["rows_affected"], simulated), (&Value::Null, true));
    let asked = json!({ "target": "db", "sql": "SELECT count(*) FROM t", "equals": 0 });
    expect_done(bench.one(targets.clone(), "sql.check", asked, Mode::Live).await);
    let failure =
        expect_failed(bench.one(targets.clone(), "sql.query", write("INSERT INTO gone VALUES ($1)"), Mode::DryRun).await);
    assert!(failure.message.contains("\"gone\" does not exist"), "{}", failure.message);
    let (result, _) = expect_done(bench.one(targets.clone(), "sql.query", insert, Mode::Live).await);
    assert_eq!(result["rows_affected"], 5);
    let asked = json!({ "target": "db", "sql": "SELECT count(*) FROM t", "equals": 5 });
    expect_done(bench.one(targets, "sql.check", asked, Mode::Live).await);
}

#[tokio::test]
async fn cancelling_stops_the_statement_on_the_server() {
    let (bench, targets, database) = with_postgres().await;
    let with = json!({ "target": "db", "sql": "SELECT pg_sleep(600) AS marked_by_the_test" });
    let run = bench.run(runbook(targets, json!([step("it", "sql.query", with)])), json!({}), Mode::Live).await;
    let cancel = CancellationToken::new();
    let mut watcher = sqlx::PgConnection::connect(&database.url).await.expect("connects");
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%marked_by_the_test%' AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()";
    let canceller = async {
        while sqlx::query_scalar::<_, i64>(asked).fetch_one(&mut watcher).await.expect("answers") == 0 {}
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(run.perform_until("it", &cancel), canceller);
    assert_eq!(expect_failed(outcome).kind, FailureKind::Cancelled);
    while sqlx::query_scalar::<_, i64>(asked).fetch_one(&mut watcher).await.expect("answers") > 0 {}
}

#[tokio::test]
async fn sql_check_wants_one_row_and_the_value() {
    let (bench, targets) = with_sqlite("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1), (2)");
    let check = |sql: &str, equals: Value| json!({ "target": "db", "sql": sql, "equals": equals });
    expect_done(bench.one(targets.clone(), "sql.check", check("SELECT count(*) = 2 FROM t", json!(true)), Mode::DryRun).await);
    for (with, message) in [
        (check("SELECT count(*) FROM t", json!(3)), "the query returned 2, and 3 was expected"),
        (check("SELECT n FROM t", json!(1)), "exactly one row, and it returned more"),
        (check("SELECT n FROM t WHERE n > 5", json!(1)), "exactly one row, and it returned none"),
        (check("SELECT n, n AS m FROM t WHERE n = 1", json!(1)), "one column; it returned 2"),
        (check("SELECT n FROM t WHERE n = $1", json!(1)), "Got 0, needed 1"),
    ] {
        let failure = expect_failed(bench.one(targets.clone(), "sql.check", with, Mode::Live).await);
        assert!(failure.message.contains(message), "{}", failure.message);
    }
    let with = json!({ "target": "db", "sql": "SELECT max(n) AS most, 'x' AS name FROM t" });
    let (result, _) = expect_done(bench.one(targets, "sql.check", with, Mode::Live).await);
    assert_eq!(result["row"], json!({ "most": 2, "name": "x" }));
}

#[tokio::test]
async fn sqlite_is_read_and_written_by_bind_parameters() {
    let (bench, targets) = with_sqlite("CREATE TABLE t (n INTEGER, s TEXT, b BLOB)");
    let insert = json!({
        "target": "db", "sql": "INSERT INTO t VALUES ($1, $2, x'00ff') RETURNING n", "params": [1, "'); DROP TABLE t; --"], "write": true,
    });
    let (_, simulated) = expect_done(bench.one(targets.clone(), "sql.query", insert.clone(), Mode::DryRun).await);
    assert!(simulated);
    assert_eq!(count(&bench.place("app.sqlite")), 0);
    let (result, _) = expect_done(bench.one(targets.clone(), "sql.query", insert, Mode::Live).await);
    assert_eq!(result["rows_affected"], 1);
    let with = json!({ "target": "db", "sql": "SELECT * FROM t WHERE n = $1", "params": [1] });
    let (result, _) = expect_done(bench.one(targets.clone(), "sql.query", with, Mode::Live).await);
    assert_eq!(result["rows"], json!([{ "n": 1, "s": "'); DROP TABLE t; --", "b": "\\x00ff" }]));
    for (sql, message) in [
        ("DELETE FROM t", "say `write: true`"),
        ("SELECT 1; DELETE FROM t", "more than one statement"),
        ("SELECT * FROM gone", "no such table: gone"),
    ] {
        let failure =
            expect_failed(bench.one(targets.clone(), "sql.query", json!({ "target": "db", "sql": sql }), Mode::Live).await);
        assert!(failure.message.contains(message), "{}", failure.message);
    }
    assert_eq!(count(&bench.place("app.sqlite")), 1);
}

#[tokio::test]
async fn an_endless_sqlite_statement_is_interrupted() {
    let (bench, targets) = with_sqlite("CREATE TABLE t (n INTEGER)");
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
    let with = json!({ "target": "db", "sql": endless, "timeout": "1s" });
    let failure = expect_failed(bench.one(targets, "sql.query", with, Mode::Live).await);
    assert!(failure.message.contains("longer than 1 s"), "{}", failure.message);
}

#[tokio::test]
async fn an_unreadable_sqlite_file_is_explained() {
    let (bench, targets) = with_sqlite("CREATE TABLE t (n INTEGER)");
    let path = bench.place("app.sqlite");
    std::fs::write(&path, "this is no database, but it is long enough to look at".repeat(50)).expect("written");
    for action in ["sql.query", "sqlite.inspect"] {
        let mut with = json!({ "target": "db" });
        if action == "sql.query" {
            with["sql"] = json!("SELECT 1");
        }
        let failure = expect_failed(bench.one(targets.clone(), action, with, Mode::Live).await);
        assert!(failure.message.contains("app.sqlite: file is not a database"), "{}", failure.message);
    }
    let with = json!({ "target": "db", "tolerate_damage": true });
    let (result, _) = expect_done(bench.one(targets, "sqlite.inspect", with, Mode::Live).await);
    assert!(result["integrity"].as_str().expect("text").contains("not a database"), "{result}");
}

#[tokio::test]
async fn an_inspection_counts_and_checks() {
    let (bench, targets) = with_sqlite(
        "PRAGMA user_version = 7; CREATE TABLE a (n INTEGER); CREATE TABLE \"b \"\"x\" (n INTEGER); INSERT INTO a VALUES (1), (2)",
    );
    let (result, simulated) = expect_done(bench.one(targets, "sqlite.inspect", json!({ "target": "db" }), Mode::DryRun).await);
    assert!(!simulated);
    assert_eq!(result["tables"], json!({ "a": 2, "b \"x": 0 }));
    assert_eq!((&result["user_version"], &result["integrity"], &result["row_count"]), (&json!(7), &json!("ok"), &json!(2)));
}

#[tokio::test]
async fn a_backup_of_a_database_in_use_opens_and_is_hashed() {
    let (bench, targets) = with_sqlite("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER, s TEXT)");
    let source = bench.place("app.sqlite");
    let application = rusqlite::Connection::open(&source).expect("opens");
    application.execute_batch("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 20000) INSERT INTO t SELECT n, hex(randomblob(200)) FROM c; BEGIN; INSERT INTO t VALUES (0, 'open')").expect("fills");
    let with = json!({ "target": "db", "to": "{{ run.dir }}/before.sqlite" });
    let book = runbook(targets, json!([step("it", "sqlite.backup", with)]));
    for mode in [Mode::DryRun, Mode::Live] {
        let run = bench.run(book.clone(), json!({}), mode).await;
        assert!(!run.state.plan().traits(&"it".parse().expect("a name")).effect);
        let (result, simulated) = expect_done(run.perform("it").await);
        assert!(!simulated);
        let copy = run.directory().join("before.sqlite");
        assert_eq!(count(&copy), 20_000, "what was committed");
        let bytes = std::fs::read(&copy).expect("there");
        assert_eq!(result["sha256"], pointsman::domain::Digest::of_bytes(&bytes).to_string());
        assert_eq!((&result["tables"]["t"], &result["integrity"]), (&json!(20_000), &json!("ok")));
        let progress = run.sink.progress.lock().expect("unpoisoned").clone();
        assert!(progress.last().is_some_and(|(done, total)| Some(*done) == *total && *done > 4_000_000), "{progress:?}");
        let again = expect_done(run.perform("it").await).0;
        assert_eq!(again, result, "an attempt after a crash knows its own copy");
    }
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_a_dry_run_leaves_nothing() {
    let (bench, targets) = with_sqlite("CREATE TABLE t (n INTEGER)");
    let to = bench.place("elsewhere.sqlite");
    let with = json!({ "target": "db", "to": to });
    let (result, simulated) = expect_done(bench.one(targets.clone(), "sqlite.backup", with.clone(), Mode::DryRun).await);
    assert_eq!((&result["path"], simulated), (&json!(to), true));
    assert!(!to.exists());
    std::fs::write(&to, "precious").expect("written");
    for mode in [Mode::DryRun, Mode::Live] {
        let failure = expect_failed(bench.one(targets.clone(), "sqlite.backup", with.clone(), mode).await);
        assert!(failure.message.contains("exists and is not this step's own copy"), "{}", failure.message);
    }
    assert_eq!(std::fs::read_to_string(&to).expect("there"), "precious");
    for (to, message) in
        [("/nowhere/at/all.sqlite", "the directory of"), ("relative.sqlite", "absolute"), ("/tmp/../x.sqlite", "`..`")]
    {
        let failure =
            expect_failed(bench.one(targets.clone(), "sqlite.backup", json!({ "target": "db", "to": to }), Mode::Live).await);
        assert!(failure.message.contains(message), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_explained() {
    let (bench, targets) = with_sqlite("CREATE TABLE t (n INTEGER)");
    let failure = expect_failed(
        bench.one(targets, "sqlite.backup", json!({ "target": "db", "to": "/proc/full.sqlite" }), Mode::Live).await,
    );
    assert!(failure.message.contains("/proc/full.sqlite") && failure.message.contains("unable to open"), "{}", failure.message);
}

#[tokio::test]
async fn a_password_never_shows() {
    let (bench, targets, database) = with_postgres().await;
    let url = database.url.replace("pointsman@", "pointsman:hunter2secret@");
    let bench = Bench { secrets: Vec::new(), ..bench }.secret("DSN", &url);
    let with = json!({ "target": "db", "sql": "SELECT $1 AS leaked", "params": ["hunter2secret"] });
    let (result, _) = expect_done(bench.one(targets, "sql.query", with, Mode::Live).await);
    assert_eq!(result["value"], "[redacted]");
}

//! `postgres.dump` and `postgres.restore` on real databases, and on programs that lie.

use pointsman::domain::run::{Finding, Mode, Outcome};
use pointsman::engine::Performer;
use serde_json::{Value, json};
use sqlx::Connection as _;

use super::databases::execute;
use super::{Bench, expect_done, expect_failed, runbook, step};
use crate::harness::postgres::TestDatabase;

const DATA: &str = "CREATE SCHEMA \"Odd schema\";
    CREATE TABLE clusters (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, score double precision);
    CREATE TABLE \"Odd schema\".\"a \"\"b\" (id int PRIMARY KEY REFERENCES clusters (id), doc jsonb, at timestamptz, raw bytea);
    INSERT INTO clusters (name, score) SELECT 'c' || n, n / 7.0 FROM generate_series(1, 500) AS n;
    INSERT INTO \"Odd schema\".\"a \"\"b\" SELECT id, jsonb_build_object('n', id), now(), decode('00ff', 'hex') FROM clusters";

struct Pair {
    bench: Bench,
    source: TestDatabase,
    target: TestDatabase,
}

impl Pair {
    async fn new() -> Self {
        let (source, target) = (TestDatabase::new().await, TestDatabase::new().await);
        execute(&source.url, DATA).await;
        let bench = Bench::new().secret("SOURCE", &source.url).secret("TARGET", &target.url);
        Self { bench, source, target }
    }

    fn targets() -> Value {
        json!({ "source": { "postgres": { "dsn": "SOURCE" } }, "target": { "postgres": { "dsn": "TARGET" } } })
    }

    fn book(dump: Value) -> Value {
        let mut with = json!({ "target": "source", "to": "{{ run.dir }}/before.dump" });
        with.as_object_mut().expect("a map").extend(dump.as_object().expect("a map").clone());
        let restore = json!({ "target": "target", "from": "{{ steps['dump'].result.path }}" });
        runbook(Self::targets(), json!([step("dump", "postgres.dump", with), step("restore", "postgres.restore", restore)]))
    }
}

async fn ask(url: &str, sql: &'static str) -> i64 {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connects");
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("answers")
}

async fn expect_no_scratch(url: &str, run: &super::Run<'_>) {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("connects");
    let like = format!("pointsman_{}%", run.state.id().as_str().replace('-', "_"));
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM pg_database WHERE datname LIKE $1").bind(like);
    assert_eq!(count.fetch_one(&mut connection).await.expect("answers"), 0, "the scratch database is gone");
}

#[tokio::test]
async fn what_was_dumped_is_proven_and_comes_back_the_same() {
    let pair = Pair::new().await;
    for dump in [json!({}), json!({ "format": "directory", "jobs": 2 })] {
        let mut run = pair.bench.run(Pair::book(dump), json!({}), Mode::Live).await;
        let dumped = run.go("dump").await;
        assert_eq!((&dumped["rows"], &dumped["table_count"]), (&json!(1_000), &json!(2)));
        assert_eq!(dumped["tables"], json!({ "\"Odd schema\".\"a \"\"b\"": 500, "public.clusters": 500 }));
        expect_no_scratch(&pair.source.url, &run).await;
        execute(&pair.source.url, "DELETE FROM \"Odd schema\".\"a \"\"b\" WHERE id = 1").await;
        assert_eq!(expect_done(run.perform("dump").await).0, dumped, "an attempt after a crash knows its own dump");
        execute(&pair.source.url, "INSERT INTO \"Odd schema\".\"a \"\"b\" (id) VALUES (1)").await;
        assert_eq!(pair.bench.actions().probe(run.job("restore", 1)).await, Finding::DidNotHappen);
        let restored = run.go("restore").await;
        assert_eq!(restored["rows"], 1_000);
        assert_eq!(ask(&pair.target.url, "SELECT count(*) FROM clusters").await, 500);
        assert!(matches!(pair.bench.actions().probe(run.job("restore", 1)).await, Finding::Happened { .. }));
        let failure = expect_failed(run.perform("restore").await);
        assert!(
            failure.message.contains("holds 2 tables already") && failure.message.contains("replace: true"),
            "{}",
            failure.message
        );
        execute(&pair.target.url, "UPDATE clusters SET name = 'x' WHERE id = 7").await;
        assert!(matches!(pair.bench.actions().probe(run.job("restore", 1)).await, Finding::Unclear { .. }));
        execute(&pair.target.url, "DROP SCHEMA \"Odd schema\" CASCADE; DROP TABLE clusters").await;
    }
}

#[tokio::test]
async fn a_replacing_restore_puts_the_old_content_back() {
    let pair = Pair::new().await;
    let mut book = Pair::book(json!({}));
    book["phases"][0]["steps"][1]["with"]["target"] = json!("source");
    book["phases"][0]["steps"][1]["with"]["replace"] = json!(true);
    let mut run = pair.bench.run(book, json!({}), Mode::Live).await;
    run.go("dump").await;
    execute(&pair.source.url, "TRUNCATE clusters CASCADE").await;
    run.go("restore").await;
    assert_eq!(ask(&pair.source.url, "SELECT count(*) FROM clusters").await, 500);
}

#[tokio::test]
async fn a_dry_run_writes_nothing_anywhere() {
    let pair = Pair::new().await;
    let run = pair.bench.run(Pair::book(json!({})), json!({}), Mode::DryRun).await;
    let (result, simulated) = expect_done(run.perform("dump").await);
    assert_eq!((&result["table_count"], simulated), (&json!(2), true));
    assert!(!run.directory().join("before.dump").exists());
    expect_no_scratch(&pair.source.url, &run).await;
    let mut live = pair.bench.run(Pair::book(json!({})), json!({}), Mode::Live).await;
    let path = live.go("dump").await["path"].clone();
    let with = json!({ "target": "target", "from": path });
    assert!(expect_done(pair.bench.one(Pair::targets(), "postgres.restore", with, Mode::DryRun).await).1);
    assert_eq!(ask(&pair.target.url, "SELECT count(*) FROM pg_class WHERE relname = 'clusters'").await, 0);
}

#[tokio::test]
async fn a_dump_that_ends_well_and_lacks_rows_does_not_count() {
    let mut pair = Pair::new().await;
    pair.bench = pair.bench.in_front_of("pg_dump", "exec /usr/bin/pg_dump --exclude-table-data=clusters \"$@\"");
    execute(&pair.source.url, "ALTER TABLE \"Odd schema\".\"a \"\"b\" DROP CONSTRAINT \"a \"\"b_id_fkey\"").await;
    let run = pair.bench.run(Pair::book(json!({})), json!({}), Mode::Live).await;
    let failure = expect_failed(run.perform("dump").await);
    assert!(failure.message.contains("public.clusters has 0 rows, expected 500; it was not kept"), "{}", failure.message);
    expect_no_scratch(&pair.source.url, &run).await;
    let left: Vec<_> = std::fs::read_dir(run.directory()).expect("there").filter_map(|entry| entry.ok()).collect();
    assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().contains("dump")), "{left:?}");
}

#[tokio::test]
async fn a_full_disk_fails_the_dump_and_leaves_nothing() {
    let mut pair = Pair::new().await;
    // A limit on the size of files is how a test can fill a disk: writing fails just so.
    pair.bench = pair.bench.in_front_of("pg_dump", "trap '' XFSZ; ulimit -f 1; exec /usr/bin/pg_dump \"$@\"");
    let run = pair.bench.run(Pair::book(json!({})), json!({}), Mode::Live).await;
    let failure = expect_failed(run.perform("dump").await);
    assert!(failure.message.contains("pg_dump ended with") && failure.message.contains("File too large"), "{}", failure.message);
    expect_no_scratch(&pair.source.url, &run).await;
    assert!(!run.directory().join("before.dump").exists());
}

#[tokio::test]
async fn a_changed_dump_or_one_without_its_manifest_is_refused() {
    let pair = Pair::new().await;
    let mut run = pair.bench.run(Pair::book(json!({})), json!({}), Mode::Live).await;
    let path = run.go("dump").await["path"].as_str().expect("text").to_owned();
    let mut bytes = std::fs::read(&path).expect("there");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let failure = expect_failed(run.perform("restore").await);
    assert!(failure.message.contains("was changed since it was made"), "{}", failure.message);
    std::fs::remove_file(format!("{path}.manifest.json")).expect("removed");
    let failure = expect_failed(run.perform("restore").await);
    assert!(failure.message.contains("with its manifest"), "{}", failure.message);
    let again = expect_failed(run.perform("dump").await);
    assert!(again.message.contains("not this step's own dump"), "{}", again.message);
}

#[tokio::test]
async fn the_password_goes_to_the_program_by_environment_only() {
    let mut pair = Pair::new().await;
    let url = pair.source.url.replace("pointsman@", "pointsman:hunter2secret@");
    pair.bench = Bench::new().secret("SOURCE", &url).secret("TARGET", &url);
    let script = "echo \"args: $*\" >&2; echo \"password: $PGPASSWORD\" >&2; test \"$PGPASSWORD\" = hunter2secret && exec /usr/bin/pg_dump \"$@\"";
    pair.bench = pair.bench.in_front_of("pg_dump", script);
    let run = pair.bench.run(Pair::book(json!({})), json!({}), Mode::Live).await;
    let outcome = run.perform("dump").await;
    assert!(matches!(&outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    let all = format!("{outcome:?}{}", super::everything_below(&run.directory().join("output")));
    assert!(all.contains("password: [redacted]") && !all.contains("hunter2"), "{all}");
}

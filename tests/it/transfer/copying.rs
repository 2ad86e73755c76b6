//! What arrives, and what is refused.

use std::sync::Mutex;

use pointsman::transfer::copy::{self, OnFault, Options, Progress, SchemaMode};
use pointsman::transfer::{Cast, Error, FaultCode};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{Pair, ignore, options};

/// Every type with the values that scripts get wrong.
const TYPES: &str = "
CREATE TABLE zoo (id INTEGER PRIMARY KEY AUTOINCREMENT, n INT, r REAL, d DECIMAL(10,2), t TEXT NOT NULL DEFAULT 'x', b BLOB, flag BOOLEAN DEFAULT 1,
  at DATETIME, day DATE, clock TIME, u UUID, j JSON, UNIQUE (t));
INSERT INTO zoo VALUES (1, 9223372036854775807, 0.1, 19.99, 'tab\tnew
line\\N \"q\" ä😀', x'00ff10', 1, '2024-02-29 10:11:12.123456', '2024-02-29', '23:59:59', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{\"b\": [1, 2.50], \"a\": null}');
INSERT INTO zoo VALUES (2, -9223372036854775808, 1.7976931348623157e308, -0.01, '', x'', 0, '0001-01-01', '9999-12-31', '00:00:00.000001', NULL, '[]');
INSERT INTO zoo VALUES (7, NULL, 3.0000000000000004e-1, NULL, 'null', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
UPDATE sqlite_sequence SET seq = 41;";

#[tokio::test]
async fn every_type_arrives_in_a_created_schema() {
    let pair = Pair::new(TYPES).await;
    let options = Options::new("zoo");
    let report = pair.copy(&options).await.expect("copies");
    assert_eq!((report.rows, report.created, report.quarantined), (3, true, 0));
    assert_eq!(
        pair.read("SELECT format('%s %s %s %s %s', n, r, d, t, b) FROM zoo ORDER BY id").await,
        "9223372036854775807 0.1 19.99 tab\tnew\nline\\N \"q\" ä😀 \\x00ff10|-9223372036854775808 1.7976931348623157e+308 -0.01  \\x| 0.30000000000000004  null "
    );
    assert_eq!(
        pair.read("SELECT format('%s %s %s %s %s %s', flag, at, day, clock, u, j) FROM zoo ORDER BY id LIMIT 2").await,
        "t 2024-02-29 10:11:12.123456 2024-02-29 23:59:59 a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 {\"a\": null, \"b\": [1, 2.50]}|\
         f 0001-01-01 00:00:00 9999-12-31 00:00:00.000001  []"
    );
    // AUTOINCREMENT had handed out 41 before.
    assert_eq!(pair.read("INSERT INTO zoo (n) VALUES (1) RETURNING id::text || t || flag::text").await, "42xtrue");
    pair.postgres("DELETE FROM zoo WHERE id = 42").await;
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn an_existing_schema_is_filled_by_name_with_casts() {
    let pair = Pair::new(
        "CREATE TABLE Playbook (ID INTEGER PRIMARY KEY, created INTEGER, active TEXT, score TEXT, meta TEXT, ref TEXT);
         INSERT INTO Playbook VALUES (5, 1700000000, 'yes', '12.5', '{\"a\":1}', 'a0eebc999c0b4ef8bb6d6bb9bd380a11'), (6, '2023-11-14T22:13:20Z', 'f', '7', 'null', NULL);",
    )
    .await;
    pair.postgres(
        "CREATE TYPE mood AS ENUM ('ok', 'bad');
         CREATE TABLE playbook (ref uuid, meta jsonb, score numeric(6,2) NOT NULL, active boolean, created timestamptz NOT NULL, id serial PRIMARY KEY, twice int GENERATED ALWAYS AS (2) STORED)",
    )
    .await;
    let mut options = options(1);
    options.casts.insert("playbook.created".to_owned(), Cast::EpochSeconds);
    options.casts.insert("playbook.active".to_owned(), Cast::Boolean);
    let report = pair.copy(&options).await.expect("copies");
    assert!(!report.created);
    assert_eq!(
        pair.read("SELECT concat_ws(' ', id, extract(epoch FROM created)::bigint, active, score, meta, ref, twice) FROM playbook ORDER BY id").await,
        "5 1700000000 t 12.50 {\"a\": 1} a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 2|6 1700000000 f 7.00 null 2"
    );
    assert_eq!(pair.read("SELECT nextval('playbook_id_seq')::text").await, "7");
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn a_value_that_cannot_be_converted_is_named_with_table_key_column_value_and_reason() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO t VALUES (1, 1), (2, 2), (3, 'many'), (4, 4);",
    )
    .await;
    let error = pair.copy(&options(1)).await.expect_err("the third row is faulty");
    let Error::Fault(fault) = &error else { panic!("{error}") };
    assert_eq!(
        (fault.table.as_str(), fault.key.as_str(), fault.column.as_str(), fault.value.as_str(), fault.code),
        ("t", "id=3", "n", "'many'", FaultCode::WrongType)
    );
    assert!(error.to_string().contains("is not a number"), "{error}");
    assert!(!error.is_retryable());
    let rehearsed = pair.rehearse(&Options { copy_id: "other".to_owned(), ..options(1) }).await;
    assert!(matches!(rehearsed, Err(Error::Schema(_) | Error::NotEmpty { .. } | Error::Fault(_))), "{rehearsed:?}");
    // The value is corrected and the same copy goes on.
    pair.sqlite("UPDATE t SET n = 3 WHERE id = 3");
    let report = pair.copy(&options(1)).await.expect("resumes");
    assert!(report.resumed);
    pair.expect_verified(&options(1)).await;
}

#[tokio::test]
async fn a_row_that_only_the_server_can_refuse_is_named_too() {
    let pair = Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, x TEXT); INSERT INTO t VALUES (10, 1, '10.0.0.1'), (20, 2, '10.0.0.999'), (30, -3, '10.0.0.3');").await;
    pair.postgres("CREATE TABLE t (id bigint PRIMARY KEY, n int CHECK (n > 0), x inet)").await;
    let Error::Fault(fault) = pair.copy(&options(100)).await.expect_err("refused") else { panic!("a fault") };
    assert_eq!((fault.key.as_str(), fault.column.as_str(), fault.value.as_str()), ("id=20", "x", "10.0.0.999"));
    let quarantine = Options { on_fault: OnFault::Quarantine, ..options(100) };
    let report = pair.copy(&quarantine).await.expect("every good row is loaded");
    assert_eq!((report.rows, report.quarantined), (1, 2));
    assert_eq!(
        pair.read("SELECT concat_ws(' ', table_name, row_key, column_name, value, code) FROM pointsman_transfer.quarantine ORDER BY row_key").await,
        "t id=20 x 10.0.0.999 wrong_type|t id=30   check_violation"
    );
    pair.expect_verified(&quarantine).await;
}

#[tokio::test]
async fn a_target_that_holds_rows_is_refused_and_left_alone() {
    let pair = Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1);").await;
    pair.postgres("CREATE TABLE t (id bigint PRIMARY KEY); INSERT INTO t VALUES (99)").await;
    let error = pair.copy(&options(10)).await.expect_err("refused");
    assert!(matches!(error, Error::NotEmpty { .. }) && error.to_string().contains("`t`"), "{error}");
    assert_eq!(pair.read("SELECT id::text FROM t").await, "99");
    assert_eq!(pair.read("SELECT to_regclass('pointsman_transfer.copy')::text").await, "NULL");
}

#[tokio::test]
async fn all_differences_of_the_schemas_are_told_at_once() {
    let pair =
        Pair::new("CREATE TABLE a (id INTEGER PRIMARY KEY, extra TEXT); CREATE TABLE only_here (id INTEGER PRIMARY KEY);").await;
    pair.postgres("CREATE TABLE a (id bigint PRIMARY KEY, needed text NOT NULL); CREATE TABLE only_there (id bigint)").await;
    let Error::Schema(mismatches) = pair.copy(&options(10)).await.expect_err("refused") else { panic!("a schema error") };
    let mut names: Vec<_> = mismatches.iter().map(|mismatch| mismatch.what.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a.extra", "a.needed", "only_here", "only_there"]);
    let excluded = Options { exclude: ["a.extra", "only_here", "only_there"].map(str::to_owned).to_vec(), ..options(10) };
    let Error::Schema(mismatches) = pair.copy(&excluded).await.expect_err("refused") else { panic!("a schema error") };
    assert!(mismatches.len() == 1 && mismatches[0].says.contains("NOT NULL"), "{mismatches:?}");
}

#[tokio::test]
async fn tables_and_casts_that_name_nothing_are_refused() {
    let pair = Pair::new("CREATE TABLE a (id INTEGER PRIMARY KEY);").await;
    let named = Options { tables: Some(vec!["b".to_owned()]), ..options(10) };
    assert!(pair.copy(&named).await.expect_err("refused").to_string().contains("it has: a"));
    let mut cast = options(10);
    cast.casts.insert("a.created".to_owned(), Cast::EpochSeconds);
    assert!(matches!(pair.copy(&cast).await, Err(Error::Options { .. })));
    let created = Options { schema: SchemaMode::Fill, ..options(10) };
    assert!(matches!(pair.copy(&created).await, Err(Error::Schema(_))));
}

#[tokio::test]
async fn foreign_keys_in_a_cycle_are_filled_and_stand_afterwards() {
    let pair = Pair::new(
        "CREATE TABLE team (id INTEGER PRIMARY KEY, lead INTEGER REFERENCES person(id));
         CREATE TABLE person (id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), boss INTEGER REFERENCES person);
         INSERT INTO person VALUES (1, 10, 2), (2, 10, NULL); INSERT INTO team VALUES (10, 1);",
    )
    .await;
    pair.copy(&options(1)).await.expect("creates");
    let keys = "SELECT conname || ' ' || convalidated FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1";
    assert_eq!(pair.read(keys).await, "person_boss_fkey0 true|person_team_fkey1 true|team_lead_fkey0 true");
    pair.expect_verified(&options(1)).await;
    // The same into a schema that has the keys already, with a trigger that would change every row.
    pair.postgres(
        "TRUNCATE team, person; DROP SCHEMA pointsman_transfer CASCADE;
         CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.boss = NULL; RETURN NEW; END';
         CREATE TRIGGER spoil BEFORE INSERT ON person FOR EACH ROW EXECUTE FUNCTION spoil();",
    )
    .await;
    pair.copy(&options(1)).await.expect("fills");
    assert_eq!(pair.read(keys).await, "person_boss_fkey0 true|person_team_fkey1 true|team_lead_fkey0 true");
    assert_eq!(pair.read("SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'spoil'").await, "O");
    pair.expect_verified(&options(1)).await;
}

#[tokio::test]
async fn a_rehearsal_converts_everything_and_writes_nothing() {
    let pair = Pair::new(TYPES).await;
    let report = pair.rehearse(&Options::new("zoo")).await.expect("rehearses");
    assert!(report.rehearsal);
    assert_eq!((report.rows, report.tables[0].source_rows), (3, 3));
    assert_eq!(
        pair.read("SELECT count(*)::text FROM pg_class WHERE relnamespace IN ('public'::regnamespace) OR relname = 'copy'").await,
        "0"
    );
    pair.sqlite("UPDATE zoo SET j = '{' WHERE id = 2");
    assert!(matches!(pair.rehearse(&Options::new("zoo")).await, Err(Error::Fault(fault)) if fault.code == FaultCode::BadJson));
}

#[tokio::test]
async fn progress_counts_every_row_once_and_ends_at_the_total() {
    let pair = Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t SELECT value FROM series(500);").await;
    let seen: Mutex<Vec<Progress>> = Mutex::default();
    let watch = |progress: Progress| seen.lock().expect("not poisoned").push(progress);
    copy::run(&pair.path(), &pair.url(), &options(100), &watch, &CancellationToken::new()).await.expect("copies");
    let seen = seen.into_inner().expect("not poisoned");
    let done: Vec<u64> = seen.iter().map(|progress| progress.done).collect();
    assert!(done.is_sorted() && done.contains(&100) && done.last() == Some(&500), "{done:?}");
    assert!(seen.iter().all(|progress| progress.total == 500 && progress.tables[0].table == "t"));
    assert!(seen.iter().any(|progress| progress.rows_per_second > 0.0));
    let last = seen.last().expect("some progress");
    assert_eq!((last.constraints_done, last.constraints_total), (2, 2));
}

#[tokio::test]
async fn unusable_addresses_and_files_are_explained() {
    let pair = Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY);").await;
    let run = |path: std::path::PathBuf, url: &str| {
        let url = SecretString::from(url.to_owned());
        async move { copy::run(&path, &url, &options(1), &ignore, &CancellationToken::new()).await.expect_err("refused").to_string() }
    };
    let url = secrecy::ExposeSecret::expose_secret(&pair.url()).to_owned();
    assert!(run(pair.path().with_extension("gone"), &url).await.contains("does the file exist"));
    let garbage = pair.path().with_extension("txt");
    std::fs::write(
        &garbage,
        "no database at all, but long enough to have a header of one hundred bytes, which SQLite reads first of all.",
    )
    .expect("writes");
    assert!(run(garbage, &url).await.contains("no SQLite database"));
    assert!(run(pair.path(), &url.replace("pointsman@", "")).await.contains("names no user"));
    let refused = run(pair.path(), "postgres://someone:hunter2@127.0.0.1:1/app").await;
    assert!(refused.contains("someone@127.0.0.1:1/app") && !refused.contains("hunter2"), "{refused}");
}

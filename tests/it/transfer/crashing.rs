//! Processes that are killed, connections that are cut, servers without room, and encrypted connections.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use pointsman::transfer::copy::{self, Options, Progress};
use pointsman::transfer::{Error, verify};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::{Pair, ignore, options};

const TWO_TABLES: &str = "CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO a SELECT value, 'some text ' || value FROM series(60000);
CREATE TABLE b (k TEXT PRIMARY KEY, a INT REFERENCES a) WITHOUT ROWID; INSERT INTO b SELECT 'k' || value, value FROM series(20000);";

/// Rows that the target's checkpoints cover; `None` when the copy is complete. Over one connection: the copy does not wait.
async fn covered(watch: &mut PgConnection) -> Option<u64> {
    let begun: Option<bool> = sqlx::query_scalar("SELECT to_regclass('pointsman_transfer.part') IS NOT NULL")
        .fetch_one(&mut *watch)
        .await
        .expect("asked");
    if begun != Some(true) {
        return Some(0);
    }
    let counts: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM pointsman_transfer.copy WHERE report IS NOT NULL),
                (SELECT coalesce(sum(loaded), 0)::bigint FROM pointsman_transfer.part)",
    )
    .fetch_one(watch)
    .await
    .expect("asked");
    (counts.0 == 0).then(|| counts.1.try_into().expect("a count"))
}

#[tokio::test]
async fn a_process_killed_again_and_again_finishes_with_the_right_rows() {
    // Enough rows that whoever looks on sees the copy on its way, also on a busy machine.
    let pair = Pair::new(&TWO_TABLES.replace("60000", "240000").replace("20000", "60000")).await;
    let mut kills = 0;
    let mut before = 0;
    let mut watch = pair.connect().await;
    loop {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["copy", "--id", "test", "--streams", "2", "--no-verify", "--from"])
            .arg(pair.path())
            .env("POINTSMAN_COPY_TO", pair.url().expose_secret())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        // As soon as it has come further than its predecessor, or has ended, and on every second round not even so far.
        let ended = loop {
            if let Some(status) = child.try_wait().expect("can be asked") {
                break Some(status);
            }
            match covered(&mut watch).await {
                Some(rows) if rows > before || (kills % 2 == 1 && rows > 0) => {
                    before = rows;
                    break None;
                }
                _ => tokio::task::yield_now().await,
            }
        };
        match ended {
            Some(status) => {
                assert!(status.success(), "{status}: {:?}", child.wait_with_output());
                break;
            }
            None => {
                child.kill().expect("SIGKILL");
                child.wait().expect("is gone");
                kills += 1;
            }
        }
        assert!(kills < 200, "it comes further with every round");
    }
    assert!(kills >= 2, "killed {kills} times");
    let report = pair.expect_verified(&Options::new("test")).await;
    assert_eq!(report.tables.iter().map(|table| table.target_rows).sum::<u64>(), 300_000);
}

#[tokio::test]
async fn cut_connections_are_worth_another_attempt_that_loses_nothing() {
    let pair = Pair::new(TWO_TABLES).await;
    let options = Options { batch_rows: 3_000, streams: 2, ..Options::new("test") };
    let (mut cuts, cancel) = (0, CancellationToken::new());
    for next_cut in (10_000..).step_by(15_000) {
        let reached = AtomicBool::new(false);
        let watch = |progress: Progress| reached.store(progress.done >= next_cut, Ordering::Relaxed);
        let (path, url) = (pair.path(), pair.url());
        let run = copy::run(&path, &url, &options, &watch, &cancel);
        let cutter = async {
            let cut = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE application_name = 'pointsman copy' AND datname = current_database()";
            loop {
                if reached.load(Ordering::Relaxed) {
                    break pair.read(cut).await;
                }
                tokio::task::yield_now().await;
            }
        };
        let result = tokio::select! {
            result = run => result,
            _ = async { cutter.await; std::future::pending::<()>().await } => unreachable!("the cutter waits for ever"),
        };
        match result {
            Ok(report) => {
                assert_eq!(report.rows, 80_000);
                break;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                cuts += 1;
            }
        }
    }
    assert!(cuts >= 2, "cut {cuts} times");
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn a_server_without_room_is_worth_another_attempt_that_loses_nothing() {
    let pair =
        Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t SELECT value, 'v' FROM series(500);").await;
    // The disk is full as soon as row 300 comes, until room is made.
    pair.postgres(
        "CREATE TABLE room (made boolean); INSERT INTO room VALUES (false);
         CREATE FUNCTION has_room(id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
           BEGIN IF id >= 300 AND NOT (SELECT made FROM public.room) THEN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END IF; RETURN true; END $$;
         CREATE TABLE t (id bigint PRIMARY KEY CHECK (has_room(id)), v text)",
    )
    .await;
    let options = Options { exclude: vec!["room".to_owned()], ..options(100) };
    let error = pair.copy(&options).await.expect_err("no room");
    assert!(error.is_retryable() && error.to_string().contains("loading table `t`"), "{error}");
    assert_eq!(error.to_string().matches("No space left").count(), 1, "{error}");
    assert!(error.to_string().contains("make room on the server and go on"), "{error}");
    assert_eq!(pair.read("SELECT count(*)::text FROM t").await, "200");
    pair.postgres("UPDATE room SET made = true").await;
    assert_eq!(pair.copy(&options).await.expect("goes on").rows, 500);
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn two_processes_never_work_on_the_same_copy() {
    let pair = Pair::new(TWO_TABLES).await;
    let (path, url, cancel) = (pair.path(), pair.url(), CancellationToken::new());
    let options = Options { batch_rows: 2_000, ..Options::new("test") };
    let one = copy::run(&path, &url, &options, &ignore, &cancel);
    let two = copy::run(&path, &url, &options, &ignore, &cancel);
    let (one, two) = tokio::join!(one, two);
    for result in [&one, &two] {
        assert!(matches!(result, Ok(_) | Err(Error::Busy { .. })), "{result:?}");
    }
    assert!(one.is_ok() || two.is_ok());
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn a_copy_works_through_tls() {
    let pair =
        Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t SELECT value, 'v' FROM series(500);").await;
    let write = |name: &str, text: &str| {
        let lines = text.lines().map(|line| format!("('{line}')")).collect::<Vec<_>>().join(", ");
        format!("COPY (SELECT * FROM (VALUES {lines}) v) TO PROGRAM 'umask 077; cat > {name}';")
    };
    // The server writes the files itself, so that they belong to whoever it runs as.
    pair.postgres(&write("pointsman-test.key", include_str!("../../fixtures/tls/server.key"))).await;
    pair.postgres(&write("pointsman-test.crt", include_str!("../../fixtures/tls/server.crt"))).await;
    for setting in ["ssl_cert_file = 'pointsman-test.crt'", "ssl_key_file = 'pointsman-test.key'", "ssl = on"] {
        pair.postgres(&format!("ALTER SYSTEM SET {setting}")).await;
    }
    pair.postgres("SELECT pg_reload_conf()").await;
    let url = SecretString::from(format!("{}?sslmode=require", pair.url().expose_secret()));
    let cancel = CancellationToken::new();
    // The reload takes a moment to reach the process that accepts connections.
    let report = loop {
        match copy::run(&pair.path(), &url, &options(100), &ignore, &cancel).await {
            Err(Error::Connect { reason, .. }) if reason.contains("upgrade") || reason.contains("TLS") => {
                tokio::task::yield_now().await
            }
            result => break result.expect("copies"),
        }
    };
    assert_eq!(report.rows, 500);
    let verified =
        verify::run(&pair.path(), &url, &verify::Options::of_copy(&options(100)), &|_, _| {}, &cancel).await.expect("verifies");
    assert_eq!(verified.failed, 0);
}

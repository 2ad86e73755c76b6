//! Stopping anywhere, and going on.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use pointsman::transfer::copy::{self, Options, Progress};
use pointsman::transfer::{Error, verify};
use tokio_util::sync::CancellationToken;

use super::{Pair, ignore, options};

const ROWS: &str = "
CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE pair (a TEXT, b INTEGER, v REAL, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE child (parent INTEGER REFERENCES parent(id), note TEXT);
INSERT INTO parent SELECT value * 3, 'name ' || value FROM series(40);
INSERT INTO pair SELECT 'k' || (value % 5), value, value / 7.0 FROM series(40);
INSERT INTO child SELECT value * 3, 'same note' FROM series(40);
CREATE INDEX child_parent ON child (parent);";

/// Runs the copy until `stop` says so, then drops it in the middle of whatever it does.
async fn run_until(pair: &Pair, options: &Options, stop: impl Fn(&Progress) -> ControlFlow<()> + Sync) -> bool {
    let cancel = CancellationToken::new();
    let watch = |progress: Progress| {
        if stop(&progress).is_break() {
            cancel.cancel();
        }
    };
    match copy::run(&pair.path(), &pair.url(), options, &watch, &cancel).await {
        Ok(_) => false,
        Err(error) => {
            assert!(error.is_cancelled(), "{error}");
            true
        }
    }
}

#[tokio::test]
async fn a_copy_stopped_after_any_batch_goes_on_without_a_lost_or_doubled_row() {
    let options = options(7);
    for stop_at in 1.. {
        let pair = Pair::new(ROWS).await;
        let calls = AtomicU64::new(0);
        let stopped = run_until(&pair, &options, |_| {
            if calls.fetch_add(1, Ordering::Relaxed) + 1 == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await;
        if !stopped {
            assert!(stop_at > 15, "the copy has more than 15 stops, this was number {stop_at}");
            return;
        }
        let report = pair.copy(&options).await.expect("goes on");
        assert_eq!((report.rows, report.source_rows), (120, 120), "stopped at {stop_at}");
        pair.expect_verified(&options).await;
    }
}

#[tokio::test]
async fn a_copy_dropped_at_any_await_goes_on_without_a_lost_or_doubled_row() {
    let options = options(10);
    let pair = Pair::new(ROWS).await;
    // Each round polls the copy a few times more and then drops it in mid-air.
    let mut finished = None;
    for polls in (0..).step_by(11) {
        let cancel = CancellationToken::new();
        let path = pair.path();
        let url = pair.url();
        let mut run = Box::pin(copy::run(&path, &url, &options, &ignore, &cancel));
        let mut left = polls;
        let result = std::future::poll_fn(|context| {
            if left == 0 {
                return std::task::Poll::Ready(None);
            }
            left -= 1;
            run.poll_unpin(context).map(Some)
        })
        .await;
        drop(run);
        match result {
            None => {}
            Some(Ok(report)) => {
                finished = Some(report);
                break;
            }
            Some(Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(finished.expect("it ends").rows, 120);
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn a_finished_copy_is_not_done_again() {
    let pair = Pair::new(ROWS).await;
    let first = pair.copy(&options(50)).await.expect("copies");
    pair.postgres("DELETE FROM child").await;
    let second = pair.copy(&options(50)).await.expect("returns the report");
    assert!(second.already_done && !first.already_done);
    assert_eq!(second.tables, first.tables);
    assert_eq!(pair.read("SELECT count(*)::text FROM child").await, "0");
}

#[tokio::test]
async fn a_source_that_changed_since_the_interruption_is_refused() {
    for change in [
        "UPDATE parent SET name = 'other' WHERE id = 3",
        "DELETE FROM parent WHERE id = 3",
        "INSERT INTO parent VALUES (4, 'new')",
    ] {
        let pair = Pair::new(ROWS).await;
        assert!(
            run_until(&pair, &options(7), |progress| if progress.done >= 60 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
            .await
        );
        pair.sqlite(change);
        let error = pair.copy(&options(7)).await.expect_err("refused");
        assert!(matches!(error, Error::SourceChanged { .. }) && error.to_string().contains("`parent`"), "{change}: {error}");
    }
}

#[tokio::test]
async fn a_change_of_what_was_not_yet_copied_is_part_of_the_copy() {
    let pair = Pair::new(ROWS).await;
    assert!(
        run_until(&pair, &options(7), |progress| if progress.done >= 7 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
        .await
    );
    // Tables without foreign keys come first, by name: `pair`, then `parent`.
    pair.sqlite("UPDATE child SET note = 'another'; INSERT INTO parent VALUES (1000, 'late')");
    assert_eq!(pair.copy(&options(7)).await.expect("goes on").rows, 121);
    pair.expect_verified(&options(7)).await;
}

#[tokio::test]
async fn a_write_during_the_copy_is_noticed() {
    let pair = Pair::new(&format!("PRAGMA journal_mode = wal; {ROWS}")).await;
    let write = |_: Progress| pair.sqlite("UPDATE parent SET name = name || '.' WHERE id = 120");
    let error = copy::run(&pair.path(), &pair.url(), &options(7), &write, &CancellationToken::new()).await.expect_err("noticed");
    assert!(matches!(error, Error::SourceChanged { .. }), "{error}");
    assert!(copy::undo(&pair.url(), "test").await.expect("undoes"));
    let accepted = Options { source_may_change: true, ..options(7) };
    copy::run(&pair.path(), &pair.url(), &accepted, &write, &CancellationToken::new()).await.expect("accepted");
}

#[tokio::test]
async fn other_options_do_not_resume() {
    let pair = Pair::new(ROWS).await;
    assert!(
        run_until(&pair, &options(7), |progress| if progress.done >= 7 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
        .await
    );
    let other = Options { tables: Some(vec!["parent".to_owned()]), ..options(7) };
    assert!(matches!(pair.copy(&other).await, Err(Error::PlanChanged { .. })));
    let stranger = Options { copy_id: "stranger".to_owned(), ..options(7) };
    assert!(pair.copy(&stranger).await.is_err());
}

#[tokio::test]
async fn an_unfinished_copy_can_be_undone_and_begun_anew() {
    for existing in [false, true] {
        let pair = Pair::new(ROWS).await;
        if existing {
            pair.postgres(
                "CREATE TABLE parent (id bigint PRIMARY KEY, name text); CREATE TABLE pair (a text, b int, v float8, PRIMARY KEY (a, b));
                 CREATE TABLE child (parent bigint REFERENCES parent, note text)",
            )
            .await;
        }
        let keys = "SELECT count(*)::text FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace";
        let before = pair.read(keys).await;
        assert!(
            run_until(&pair, &options(7), |progress| if progress.done >= 90 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
            .await
        );
        let unfinished = pair.verify(&verify::Options::of_copy(&options(7))).await;
        assert!(unfinished.checks.iter().any(|check| !check.passed && check.detail.contains("not finished")), "{unfinished:?}");
        assert!(copy::undo(&pair.url(), "test").await.expect("undoes"));
        assert!(!copy::undo(&pair.url(), "test").await.expect("nothing left"));
        assert_eq!(pair.read(keys).await, before);
        let again = Options { copy_id: "again".to_owned(), ..options(100) };
        pair.copy(&again).await.expect("copies");
        pair.expect_verified(&again).await;
        assert!(copy::undo(&pair.url(), "again").await.expect_err("complete").to_string().contains("complete"));
    }
}

#[tokio::test]
async fn several_streams_load_disjoint_ranges_of_one_snapshot() {
    let pair = Pair::new("CREATE TABLE big (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO big SELECT value * 2 - 150000, 'v' || value FROM series(150000);").await;
    let options = Options { streams: 3, ..Options::new("parallel") };
    let report = pair.copy(&options).await.expect("copies");
    assert_eq!(report.rows, 150_000);
    pair.expect_verified(&options).await;
}

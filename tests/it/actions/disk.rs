//! A disk that is full, until somebody makes room: a file-system of its own where the kernel lets us mount one, else a
//! limit on the size of files, at which writing fails as well.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pointsman::domain::run::Mode;
use pointsman::domain::{StreamId, Timestamp};
use pointsman::store::{AppendError, Holder, NewRecord, audit, open};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use secrecy::SecretString;
use serde_json::json;

use super::{Bench, expect_done, expect_failed};
use crate::process::{role, start_in};

/// Room at first, in bytes: for the journal's empty schema and a few records, but not for many.
const ROOM: u64 = 1024 * 1024;
/// In the file system's root: that it is one of its own.
const MARK: &str = "mounted";

/// Starts the test again in front of a small disk, and expects that it passes there.
fn play_on_a_small_disk(test: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let mount =
        format!("mount -t tmpfs -o size={ROOM} tmpfs '{0}' && touch '{0}/{MARK}' && exec \"$@\"", directory.path().display());
    let flags: &[&[&str]] = &[&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let can = |flags: &&&[&str]| {
        let tried = Command::new("unshare").args(**flags).args(["sh", "-c", &mount, "sh", "true"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let mut before: Vec<&str> = match flags.iter().find(can) {
        Some(flags) => ["unshare"].iter().chain(*flags).chain(&["sh", "-c", &mount]).copied().collect(),
        None => vec!["sh", "-c", "trap '' XFSZ; exec \"$@\""],
    };
    before.push("sh");
    let status = start_in(&before, test, directory.path()).wait().expect("it ends");
    assert!(status.success(), "{status}: what it found stands above");
}

/// The room on the small disk, to be made larger.
struct Room<'a>(&'a Path);

impl<'a> Room<'a> {
    fn small(at: &'a Path) -> Self {
        if !at.join(MARK).exists() {
            let limit = Rlimit { current: Some(ROOM), ..getrlimit(Resource::Fsize) };
            setrlimit(Resource::Fsize, limit).expect("limits itself");
        }
        Self(at)
    }

    fn make(self) {
        if self.0.join(MARK).exists() {
            let more = Command::new("mount").args(["-o", "remount,size=64m"]).arg(self.0).status().expect("mount runs");
            assert!(more.success(), "{more}");
        } else {
            let all = getrlimit(Resource::Fsize);
            setrlimit(Resource::Fsize, Rlimit { current: all.maximum, ..all }).expect("lifts its limit");
        }
    }
}

#[tokio::test]
async fn a_journal_on_a_full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    let Some(at) = role() else {
        return play_on_a_small_disk("actions::disk::a_journal_on_a_full_disk_loses_nothing_and_goes_on_when_there_is_room");
    };
    let room = Room::small(&at);
    let address = SecretString::from(format!("sqlite:{}", at.join("journal.db").display()));
    let journal = open(&address).await.expect("there is room for an empty one");
    let lease = journal.acquire_lease(&Holder::this_process(), Duration::from_secs(600)).await.expect("free");
    let stream = StreamId::new("run", "run-00000001").expect("a name");
    let body = format!("\"{}\"", "x".repeat(60_000));
    let record = || NewRecord { at: Timestamp::UNIX_EPOCH, kind: "tested".to_owned(), body: body.clone() };
    let mut written = 0;
    let error = loop {
        match journal.append(lease.fence(), &stream, written, &[record(), record()]).await {
            Ok(_) => written += 2,
            Err(error) => break error,
        }
        assert!(written < 1_000, "the disk is never full");
    };
    let AppendError::Unavailable(why) = &error else { panic!("{error:?}") };
    assert!(error.is_retryable(), "{error}");
    assert!(why.to_string().contains("journal.db"), "{why}");
    if at.join(MARK).exists() {
        assert!(why.to_string().contains("no space left") && why.to_string().contains("nothing was written"), "{why}");
    }
    for _ in 0..8 {
        // Whichever connection it takes: none is spoilt by having failed once.
        let error = journal.append(lease.fence(), &stream, written, &[record(), record()]).await.expect_err("still full");
        assert!(error.is_retryable(), "{error}");
    }
    assert_eq!(journal.load(&stream).await.expect("it can still be read").len() as u64, written, "all or none");
    room.make();
    journal.append(lease.fence(), &stream, written, &[record(), record()]).await.expect("it goes on by itself");
    assert!(audit::verify(&*journal, None).await.expect("read").is_intact());
}

#[tokio::test]
async fn a_backup_onto_a_full_disk_leaves_no_half_file() {
    let Some(at) = role() else {
        return play_on_a_small_disk("actions::disk::a_backup_onto_a_full_disk_leaves_no_half_file");
    };
    let bench = Bench::new();
    let source = bench.place("app.sqlite");
    let fill = "CREATE TABLE t (v BLOB); WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 300)
                INSERT INTO t SELECT randomblob(10000) FROM s";
    rusqlite::Connection::open(&source).expect("made").execute_batch(fill).expect("made");
    let room = Room::small(&at);
    let to = at.join("backup.sqlite");
    let targets = json!({ "db": { "sqlite": { "path": source } } });
    let with = json!({ "target": "db", "to": to });
    let failure = expect_failed(bench.one(targets.clone(), "sqlite.backup", with.clone(), Mode::Live).await);
    assert!(failure.message.contains("backup.sqlite"), "{}", failure.message);
    if at.join(MARK).exists() {
        assert!(failure.message.contains("disk is full") || failure.message.contains("No space left"), "{}", failure.message);
    }
    let left = std::fs::read_dir(&at).expect("there").map(|entry| entry.expect("readable").file_name());
    let left: Vec<_> = left.filter(|name| name != MARK).collect();
    assert!(left.is_empty(), "{left:?}");
    room.make();
    expect_done(bench.one(targets, "sqlite.backup", with, Mode::Live).await);
    assert!(to.exists());
}

//! The journal's contract: the same suite on SQLite and PostgreSQL.
//!
//! Tampering is done by raw SQL on a connection of the test's own, after dropping the triggers, as somebody with the
//! database's password could.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use pointsman::domain::{Hash, StreamId};
use pointsman::store::audit::{self, Finding};
use pointsman::store::{
    APPEND_RECORDS_MAX, AppendError, BODY_BYTES_MAX, Fence, Head, Holder, Journal, LeaseError, NewRecord, Record, SharedJournal,
    StoreError, open, open_existing, queries,
};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};

use crate::harness::postgres::TestDatabase;

/// Long enough for the slowest machine; expiry is tested with leases that expire at once.
const TTL: Duration = Duration::from_secs(600);

/// An empty journal's place, in one of the two databases.
enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(TestDatabase),
}

impl Place {
    fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => {
                format!("sqlite:{}", folder.path().join("journal.db").display())
            }
            Self::Postgres(database) => database.url.clone(),
        }
    }

    async fn open(&self) -> SharedJournal {
        open(&SecretString::from(self.url())).await.expect("the journal opens")
    }

    /// Runs SQL behind the journal's back.
    async fn raw(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(_) => sqlx::SqliteConnection::connect(&self.url()).await?.execute(sql).await.map(drop),
            Self::Postgres(_) => sqlx::PgConnection::connect(&self.url()).await?.execute(sql).await.map(drop),
        }
    }

    /// Disarms the triggers, then runs SQL.
    async fn tamper(&self, sql: &str) {
        let disarm = match self {
            Self::Sqlite(_) => {
                "DROP TRIGGER IF EXISTS journal_appends_only; DROP TRIGGER IF EXISTS journal_refuses_update; \
                 DROP TRIGGER IF EXISTS journal_refuses_delete;"
            }
            Self::Postgres(_) => "ALTER TABLE journal DISABLE TRIGGER ALL;",
        };
        self.raw(&format!("{disarm} {sql}")).await.expect("the tampering works");
    }
}

/// Runs each behaviour as a test on both databases.
macro_rules! on_both {
    ($($(#[doc = $doc:literal])* $behaviour:ident;)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $behaviour() {
                let folder = tempfile::tempdir().expect("a folder for the test");
                super::$behaviour(super::Place::Sqlite(folder)).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(super::Place::Postgres(super::TestDatabase::new().await)).await;
            })*
        }
    };
}

on_both! {
    what_is_appended_is_loaded_byte_for_byte;
    streams_share_one_chain_and_one_order;
    the_second_of_two_writers_is_told_to_decide_again;
    many_writers_at_once_leave_a_sound_chain;
    an_abandoned_append_is_whole_or_absent;
    what_cannot_be_stored_is_refused_whole;
    the_largest_body_is_stored_and_pages_stay_small;
    a_journal_is_there_again_after_an_abrupt_end;
    the_database_itself_refuses_change;
    a_live_holder_keeps_the_lease;
    a_dead_holder_is_replaced_at_once_and_fenced_off;
    an_expired_lease_is_passed_on_and_a_renewed_one_is_not;
    a_released_lease_fences_its_holder;
    of_many_who_want_the_lease_one_gets_it;
    a_flipped_bit_is_found;
    removed_records_are_found;
    an_inserted_record_is_found;
    reordered_records_are_found;
    a_cut_tail_is_found_by_the_head;
    bytes_that_are_no_text_are_a_finding_and_no_crash;
    an_export_holds_what_the_hashes_cover;
    a_newer_schema_is_refused;
    every_query_can_be_prepared;
}

fn stream(name: &str) -> StreamId {
    StreamId::new("run", name).expect("a stream name")
}

/// A whole number of milliseconds, `ms` after an instant in 2026.
fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_795_219_200_000 + ms).expect("in range")
}

fn event(number: i64) -> NewRecord {
    NewRecord { at: at(number), kind: "Tested".to_owned(), body: format!(r#"{{"number":{number}}}"#) }
}

fn events(numbers: std::ops::RangeInclusive<i64>) -> Vec<NewRecord> {
    numbers.map(event).collect()
}

async fn lease(journal: &dyn Journal) -> Fence {
    journal.acquire_lease(&Holder::this_process(), TTL).await.expect("nobody has the lease").fence()
}

/// A journal of nine records: three streams, three records each, in turn.
async fn nine_records(place: &Place) -> (SharedJournal, Vec<Record>) {
    let journal = place.open().await;
    let fence = lease(&*journal).await;
    let mut records = Vec::new();
    for seq in 0..3 {
        for name in ["a", "b", "c"] {
            let number = i64::try_from(records.len()).expect("few") + 1;
            records.extend(journal.append(fence, &stream(name), seq, &[event(number)]).await.expect("appended"));
        }
    }
    (journal, records)
}

async fn findings(journal: &dyn Journal) -> Vec<Finding> {
    audit::verify(journal, None).await.expect("the audit reads").findings
}

// ---- appending and loading

async fn what_is_appended_is_loaded_byte_for_byte(place: Place) {
    let journal = place.open().await;
    let fence = lease(&*journal).await;
    let odd = NewRecord {
        at: at(5) + TimeDelta::nanoseconds(999_999),
        kind: "Größe ✅".to_owned(),
        body: "{ \"b\": 1.0e2,\t\"a\": \"\\u0000 ü 🚦 \\u00fc\", \"b\" : 1 }".to_owned(),
    };
    let appended = journal.append(fence, &stream("a"), 0, &[odd.clone(), event(6)]).await.expect("appended");
    let loaded = journal.load(&stream("a")).await.expect("loaded");
    assert_eq!(loaded, appended);
    assert_eq!(loaded[0].body, odd.body);
    assert_eq!(loaded[0].kind, odd.kind);
    assert_eq!(loaded[0].at, at(5), "cut off to milliseconds");
    assert_eq!(journal.load(&stream("unknown")).await.expect("loaded"), []);
}

async fn streams_share_one_chain_and_one_order(place: Place) {
    let (journal, records) = nine_records(&place).await;
    let places: Vec<(u64, &str, u64)> =
        records.iter().map(|record| (record.position, record.stream.name(), record.seq)).collect();
    assert_eq!(places[..4], [(1, "a", 1), (2, "b", 1), (3, "c", 1), (4, "a", 2)]);
    assert_eq!(journal.head().await.expect("read"), Head { position: 9, hash: records[8].hash });
    assert_eq!(journal.read(0, 100).await.expect("read"), records);
    assert_eq!(journal.read(2, 3).await.expect("read"), records[2..5]);
    assert_eq!(journal.read(9, 100).await.expect("read"), []);
    let report = audit::verify(&*journal, Some(records[4].hash)).await.expect("read");
    assert!(report.is_intact(), "{:?}", report.findings);
    assert_eq!((report.records, report.streams), (9, 3));
}

async fn the_second_of_two_writers_is_told_to_decide_again(place: Place) {
    let (journal, other) = (place.open().await, place.open().await);
    let fence = lease(&*journal).await;
    let a = stream("a");
    let (one, two) = (events(1..=2), events(11..=12));
    let (first, second) = tokio::join!(journal.append(fence, &a, 0, &one), other.append(fence, &a, 0, &two));
    let loser = match (first, second) {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
        both => panic!("one wins and one loses: {both:?}"),
    };
    assert!(matches!(&loser, AppendError::Conflict { expected_seq: 0, actual_seq: 2, .. }), "{loser:?}");
    assert!(!loser.is_retryable(), "repeating it as it is cannot help");
    assert_eq!(journal.load(&a).await.expect("loaded").len(), 2);
    let ahead = journal.append(fence, &a, 7, &[event(3)]).await.expect_err("there are two");
    assert!(matches!(ahead, AppendError::Conflict { expected_seq: 7, actual_seq: 2, .. }), "{ahead:?}");
}

async fn many_writers_at_once_leave_a_sound_chain(place: Place) {
    let journals = [place.open().await, place.open().await];
    let fence = lease(&*journals[0]).await;
    let writers = (0..20).map(|number| {
        let journal = Arc::clone(&journals[number % 2]);
        tokio::spawn(async move { journal.append(fence, &stream(&format!("n{number}")), 0, &events(1..=3)).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic").expect("different streams do not conflict");
    }
    let report = audit::verify(&*journals[1], None).await.expect("read");
    assert_eq!((report.findings, report.records, report.streams), (vec![], 60, 20));
}

async fn an_abandoned_append_is_whole_or_absent(place: Place) {
    let journal = place.open().await;
    let fence = lease(&*journal).await;
    for round in 0..20_u32 {
        let (name, records) = (stream(&format!("r{round}")), events(1..=5));
        let mut append = journal.append(fence, &name, 0, &records);
        for _ in 0..round {
            // Polled a little further each round, then dropped.
            if futures_util::poll!(&mut append).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    // A write of our own queues behind whatever still runs, and proves that no connection was left in a transaction.
    journal.append(fence, &stream("last"), 0, &[event(1)]).await.expect("appended");
    for round in 0..20 {
        let length = journal.load(&stream(&format!("r{round}"))).await.expect("loaded").len();
        assert!(length == 0 || length == 5, "{length} of 5 in round {round}");
    }
    assert_eq!(findings(&*journal).await, []);
}

async fn what_cannot_be_stored_is_refused_whole(place: Place) {
    let journal = place.open().await;
    let fence = lease(&*journal).await;
    let body = |body: &str| NewRecord { body: body.to_owned(), ..event(2) };
    let large = format!("\"{}\"", "x".repeat(BODY_BYTES_MAX));
    for bad in [body("{"), body(""), body("{\n}"), body("\"\0\""), body(&large), NewRecord { kind: String::new(), ..event(2) }] {
        let error = journal.append(fence, &stream("a"), 0, &[event(1), bad]).await.expect_err("refused");
        assert!(matches!(error, AppendError::Invalid { .. } | AppendError::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().starts_with("nothing was written: "), "{error}");
    }
    let many = events(1..=i64::try_from(APPEND_RECORDS_MAX).expect("few") + 1);
    let error = journal.append(fence, &stream("a"), 0, &many).await.expect_err("refused");
    assert_eq!(error.to_string(), "nothing was written: the number of records at once is 1001, the limit is 1000");
    assert_eq!(journal.head().await.expect("read"), Head { position: 0, hash: Hash::GENESIS });
    assert_eq!(journal.append(fence, &stream("a"), 0, &[]).await.expect("nothing to do"), []);
    journal.append(fence, &stream("a"), 0, &many[1..]).await.expect("as many as allowed");
}

async fn the_largest_body_is_stored_and_pages_stay_small(place: Place) {
    let journal = place.open().await;
    let fence = lease(&*journal).await;
    let body = format!("\"{}\"", "x".repeat(BODY_BYTES_MAX - 2));
    for seq in 0..6 {
        let record = NewRecord { body: body.clone(), ..event(1) };
        journal.append(fence, &stream("a"), seq, &[record]).await.expect("appended");
    }
    let page = journal.read(0, 100).await.expect("read");
    assert_eq!(page.len(), 5, "32 MiB are exceeded with the fifth");
    assert_eq!(journal.read(5, 100).await.expect("read").len(), 1);
    assert_eq!(page[0].body, body);
    let report = audit::verify(&*journal, None).await.expect("read");
    assert_eq!((report.records, report.findings), (6, vec![]));
}

async fn a_journal_is_there_again_after_an_abrupt_end(place: Place) {
    let (journal, records) = nine_records(&place).await;
    // Dropped without a farewell while a second one reads, as after kill -9: nothing is flushed or closed first.
    let again = place.open().await;
    drop(journal);
    assert_eq!(again.read(0, 100).await.expect("read"), records);
    let third = open_existing(&SecretString::from(place.url())).await.expect("it exists");
    assert_eq!(third.head().await.expect("read").hash, records[8].hash);
}

async fn the_database_itself_refuses_change(place: Place) {
    let (journal, _) = nine_records(&place).await;
    let copy = |verb: &str, position: u32| {
        format!(
            "{verb} INTO journal (position, stream, seq, at_ms, kind, body, prev_hash, hash) \
             SELECT {position}, 'run/x', 1, at_ms, kind, body, prev_hash, hash FROM journal WHERE position = 1"
        )
    };
    let mut attempts = vec![
        "UPDATE journal SET body = '{}' WHERE position = 3".to_owned(),
        "DELETE FROM journal WHERE position = 9".to_owned(),
        copy("INSERT", 11),
    ];
    match place {
        Place::Sqlite(_) => attempts.push(copy("INSERT OR REPLACE", 3)),
        Place::Postgres(_) => attempts.push("TRUNCATE journal".to_owned()),
    }
    for sql in attempts {
        let error = place.raw(&sql).await.expect_err(&sql).to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    assert_eq!(findings(&*journal).await, []);
}

// ---- the lease

/// A holder on this machine whose process cannot exist: ids end far below.
fn dead_holder() -> Holder {
    Holder { pid: 2_147_483_647, ..Holder::this_process() }
}

/// A holder of whom this machine can prove nothing.
fn foreign_holder() -> Holder {
    Holder { host: "db-ops-2 elsewhere".to_owned(), ..Holder::this_process() }
}

async fn a_live_holder_keeps_the_lease(place: Place) {
    let journal = place.open().await;
    for holder in [Holder::this_process(), foreign_holder()] {
        let lease = journal.acquire_lease(&holder, TTL).await.expect("nobody has it");
        let error = journal.acquire_lease(&Holder::this_process(), TTL).await.expect_err("it is held");
        assert!(matches!(&error, LeaseError::Held { by, until } if *by == holder && *until == lease.until()), "{error:?}");
        assert!(error.is_retryable());
        assert!(error.to_string().contains(&format!("process {}", holder.pid)), "{error}");
        journal.release_lease(&lease).await.expect("given back");
    }
    let zero = journal.acquire_lease(&Holder::this_process(), Duration::ZERO).await.expect_err("no lease at all");
    assert!(matches!(zero, LeaseError::Ttl), "{zero:?}");
}

async fn a_dead_holder_is_replaced_at_once_and_fenced_off(place: Place) {
    let journal = place.open().await;
    let old = journal.acquire_lease(&dead_holder(), TTL).await.expect("nobody has it");
    journal.append(old.fence(), &stream("a"), 0, &[event(1)]).await.expect("appended");
    let new = journal.acquire_lease(&Holder::this_process(), TTL).await.expect("the holder is dead");
    assert!(new.fence().token() > old.fence().token());
    let error = journal.append(old.fence(), &stream("a"), 1, &[event(2)]).await.expect_err("fenced");
    assert!(matches!(error, AppendError::Fenced { .. }), "{error:?}");
    assert!(matches!(journal.renew_lease(&old, TTL).await, Err(LeaseError::Lost)));
    assert!(matches!(journal.release_lease(&old).await, Err(LeaseError::Lost)));
    assert_eq!(journal.load(&stream("a")).await.expect("loaded").len(), 1, "nothing was written");
    journal.append(new.fence(), &stream("a"), 1, &[event(2)]).await.expect("the new one goes on");
}

async fn an_expired_lease_is_passed_on_and_a_renewed_one_is_not(place: Place) {
    let journal = place.open().await;
    let short = journal.acquire_lease(&foreign_holder(), Duration::from_millis(1)).await.expect("nobody has it");
    let second = acquire_when_expired(&*journal).await;
    assert!(matches!(journal.renew_lease(&short, TTL).await, Err(LeaseError::Lost)));
    journal.release_lease(&second).await.expect("given back");
    let third = journal.acquire_lease(&foreign_holder(), Duration::from_millis(1)).await.expect("nobody has it");
    journal.renew_lease(&third, TTL).await.expect("late, but nobody took it");
    let held = journal.acquire_lease(&Holder::this_process(), TTL).await;
    assert!(matches!(held, Err(LeaseError::Held { .. })), "{held:?}");
    journal.append(third.fence(), &stream("a"), 0, &[event(1)]).await.expect("appended");
}

/// Asks again until a lease of a millisecond has run out by the store's clock.
async fn acquire_when_expired(journal: &dyn Journal) -> pointsman::store::Lease {
    loop {
        match journal.acquire_lease(&Holder::this_process(), TTL).await {
            Err(LeaseError::Held { .. }) => tokio::task::yield_now().await,
            result => return result.expect("acquired"),
        }
    }
}

async fn a_released_lease_fences_its_holder(place: Place) {
    let journal = place.open().await;
    let lease = journal.acquire_lease(&Holder::this_process(), TTL).await.expect("nobody has it");
    journal.release_lease(&lease).await.expect("given back");
    let error = journal.append(lease.fence(), &stream("a"), 0, &[event(1)]).await.expect_err("fenced");
    assert!(matches!(error, AppendError::Fenced { token: 1, current_token: 1 }), "{error:?}");
    assert!(matches!(journal.renew_lease(&lease, TTL).await, Err(LeaseError::Lost)));
}

async fn of_many_who_want_the_lease_one_gets_it(place: Place) {
    let journal = place.open().await;
    journal.acquire_lease(&dead_holder(), TTL).await.expect("nobody has it");
    let wanting = (0..10).map(|_| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { journal.acquire_lease(&Holder::this_process(), TTL).await })
    });
    let mut tokens = Vec::new();
    for wanting in wanting.collect::<Vec<_>>() {
        match wanting.await.expect("no panic") {
            Ok(lease) => tokens.push(lease.fence().token()),
            Err(error) => assert!(matches!(error, LeaseError::Held { .. }), "{error:?}"),
        }
    }
    assert_eq!(tokens, [2]);
}

// ---- the audit

async fn a_flipped_bit_is_found(place: Place) {
    let (journal, records) = nine_records(&place).await;
    place.tamper("UPDATE journal SET body = replace(body, '5', '4') WHERE position = 5").await;
    let findings = findings(&*journal).await;
    let [Finding::Altered(found)] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((found.position, found.stream.as_str(), found.seq), (5, "run/b", 2));
    assert_eq!(found.at, Some(records[4].at));
    assert_eq!(
        findings[0].to_string(),
        "the record at position 5 (run/b, event 2, 2026-11-21 00:00:00.005 UTC) is not what was written: it was altered"
    );
}

async fn removed_records_are_found(place: Place) {
    let (journal, _) = nine_records(&place).await;
    place.tamper("DELETE FROM journal WHERE position IN (4, 5)").await;
    let findings = findings(&*journal).await;
    assert_eq!(findings[0], Finding::Missing { first: 4, last: 5 });
    assert!(matches!(&findings[1], Finding::StreamGap { place, expected_seq: 2 } if place.stream == "run/a"));
    assert!(matches!(&findings[2], Finding::StreamGap { place, expected_seq: 2 } if place.stream == "run/b"));
    assert_eq!(findings.len(), 3);
}

async fn an_inserted_record_is_found(place: Place) {
    let (journal, _) = nine_records(&place).await;
    place
        .tamper(
            "UPDATE journal SET position = position + 100 WHERE position >= 5; \
             UPDATE journal SET position = position - 99 WHERE position >= 105; \
             INSERT INTO journal (position, stream, seq, at_ms, kind, body, prev_hash, hash) \
             SELECT 5, 'run/x', 1, at_ms, kind, '{\"granted\":true}', hash, prev_hash FROM journal WHERE position = 4;",
        )
        .await;
    let findings = findings(&*journal).await;
    assert!(matches!(&findings[0], Finding::Inserted(place) if place.position == 5), "{findings:?}");
    assert_eq!(findings[1..], [Finding::Renumbered { first: 6, last: 10, by: 1 }]);
}

async fn reordered_records_are_found(place: Place) {
    let (journal, _) = nine_records(&place).await;
    place
        .tamper(
            "UPDATE journal SET position = 100 WHERE position = 3; UPDATE journal SET position = 3 WHERE position = 7; \
             UPDATE journal SET position = 7 WHERE position = 100;",
        )
        .await;
    let findings = findings(&*journal).await;
    let [Finding::Reordered { place: one, written_at: 7 }, Finding::Reordered { place: other, written_at: 3 }] = &findings[..]
    else {
        panic!("{findings:?}")
    };
    assert_eq!((one.position, other.position), (3, 7));
}

async fn a_cut_tail_is_found_by_the_head(place: Place) {
    let (journal, records) = nine_records(&place).await;
    place.tamper("DELETE FROM journal WHERE position > 6").await;
    assert_eq!(findings(&*journal).await, [], "the chain alone cannot tell");
    let report = audit::verify(&*journal, Some(records[8].hash)).await.expect("read");
    assert_eq!(report.findings, [Finding::HeadNotFound { expected: records[8].hash, last_position: 6 }]);
}

async fn bytes_that_are_no_text_are_a_finding_and_no_crash(place: Place) {
    let (journal, _) = nine_records(&place).await;
    // PostgreSQL keeps text valid; there the stream's name is spoilt instead.
    place
        .tamper(match place {
            Place::Sqlite(_) => "UPDATE journal SET stream = CAST(x'72756e2fff' AS TEXT) WHERE position = 2",
            Place::Postgres(_) => "UPDATE journal SET stream = 'No Stream' WHERE position = 2",
        })
        .await;
    let error = journal.read(0, 100).await.expect_err("it cannot be decoded");
    assert!(matches!(error, StoreError::Corrupt { position: 2, .. }), "{error:?}");
    let findings = findings(&*journal).await;
    assert!(matches!(&findings[..], [Finding::Altered(place)] if place.position == 2), "{findings:?}");
    let mut lines = Vec::new();
    assert_eq!(audit::export(&*journal, &mut lines).await.expect("exported"), 9);
}

async fn an_export_holds_what_the_hashes_cover(place: Place) {
    let journal = place.open().await;
    let fence = lease(&*journal).await;
    let body = r#"{"b":1.0, "a":"\u00fc"}"#;
    let record = NewRecord { body: body.to_owned(), ..event(7) };
    let records = journal.append(fence, &stream("a"), 0, &[record, event(8)]).await.expect("appended");
    let mut lines = Vec::new();
    assert_eq!(audit::export(&*journal, &mut lines).await.expect("exported"), 2);
    let text = String::from_utf8(lines).expect("text");
    let expected = format!(
        r#"{{"position":1,"stream":"run/a","seq":1,"at":"2026-11-21T00:00:00.007Z","kind":"Tested","prev":"{}","hash":"{}","event":{body}}}"#,
        Hash::GENESIS,
        records[0].hash
    );
    assert_eq!(text.lines().next(), Some(expected.as_str()));
    let second: serde_json::Value = serde_json::from_str(text.lines().nth(1).expect("two lines")).expect("JSON");
    assert_eq!(second["prev"], records[0].hash.to_string());
    assert_eq!(second["event"]["number"], 8);
}

// ---- opening

async fn a_newer_schema_is_refused(place: Place) {
    let (journal, _) = nine_records(&place).await;
    place
        .raw(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 9, 'from the future', success, checksum, 1 FROM _sqlx_migrations WHERE version = 1",
        )
        .await
        .expect("noted");
    let error = open(&SecretString::from(place.url())).await.err().expect("refused");
    assert!(matches!(error, StoreError::SchemaNewer { found: 9, .. }), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(findings(&*journal).await, []);
}

async fn every_query_can_be_prepared(place: Place) {
    drop(place.open().await);
    match &place {
        Place::Sqlite(_) => {
            let mut connection = sqlx::SqliteConnection::connect(&place.url()).await.expect("connects");
            for sql in queries::SHARED.into_iter().chain(queries::ONLY_SQLITE) {
                (&mut connection).prepare(sql.into_sql_str()).await.expect(sql);
            }
        }
        Place::Postgres(_) => {
            let mut connection = sqlx::PgConnection::connect(&place.url()).await.expect("connects");
            for sql in queries::SHARED.into_iter().chain(queries::ONLY_POSTGRES) {
                (&mut connection).prepare(sql.into_sql_str()).await.expect(sql);
            }
        }
    }
}

async fn refusal(url: &str) -> StoreError {
    open(&SecretString::from(url)).await.err().unwrap_or_else(|| panic!("{url} is refused"))
}

#[tokio::test]
async fn a_file_that_cannot_be_a_journal_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let missing = refusal(&path("missing/journal.db")).await.to_string();
    assert!(missing.contains("does not exist: create it and start again"), "{missing}");
    let is_folder = refusal(&folder.path().display().to_string()).await.to_string();
    assert!(is_folder.contains("this is a folder"), "{is_folder}");
    std::fs::write(path("notes.txt"), "not a database at all, but long enough to have a header".repeat(20)).expect("written");
    let notes = refusal(&path("notes.txt")).await;
    assert!(notes.to_string().contains("is no SQLite database"), "{notes}");
    assert!(!notes.is_retryable());
    let looked = open_existing(&SecretString::from(path("misspelt.db"))).await.err().expect("refused").to_string();
    assert!(looked.contains("check the path"), "{looked}");
    assert!(!folder.path().join("misspelt.db").exists(), "looking creates nothing");
}

#[tokio::test]
async fn a_new_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::Sqlite(folder);
    nine_records(&place).await;
    let Place::Sqlite(folder) = &place else { unreachable!("it was made above") };
    for entry in std::fs::read_dir(folder.path()).expect("listed") {
        let entry = entry.expect("listed");
        let mode = entry.metadata().expect("known").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn a_server_that_refuses_says_what_to_do_and_no_password() {
    let database = TestDatabase::new().await;
    let with_password = database.url.replacen("pointsman@", "pointsman:hunter2@", 1);
    let (base, _) = with_password.rsplit_once('/').expect("a URL with a database");
    let absent = refusal(&format!("{base}/absent")).await;
    assert!(absent.to_string().contains("create the database"), "{absent}");
    let stranger = refusal(&with_password.replacen("pointsman:", "stranger:", 1)).await;
    assert!(stranger.to_string().contains("check the user and the password"), "{stranger}");
    // A port that was free a moment ago and that nobody listens on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let down = refusal(&format!("postgres://ada:hunter2@127.0.0.1:{port}/journal")).await;
    assert!(down.is_retryable(), "{down:?}");
    for error in [absent, stranger, down] {
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let anonymous = refusal("postgres://127.0.0.1/journal").await;
    assert!(anonymous.to_string().contains("names no user"), "{anonymous}");
}

// ---- a server in trouble: a trigger stands in for the disk, the administrator, the network

/// Makes `statement` run inside the server at each insert, `when` that is.
async fn sabotage(place: &Place, when: &str, statement: &str) {
    place
        .raw(&format!(
            "CREATE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER sabotage AFTER INSERT ON journal {when} FOR EACH ROW EXECUTE FUNCTION sabotage()"
        ))
        .await
        .expect("sabotaged");
}

async fn expect_recovery(place: &Place, journal: &dyn Journal, fence: Fence) {
    assert_eq!(journal.load(&stream("a")).await.expect("loaded"), [], "nothing was written");
    place.raw("DROP TRIGGER sabotage ON journal").await.expect("mended");
    journal.append(fence, &stream("a"), 0, &[event(1)]).await.expect("it goes on by itself");
    assert_eq!(findings(journal).await, []);
}

#[tokio::test]
async fn a_server_without_room_writes_nothing_and_recovers() {
    let place = Place::Postgres(TestDatabase::new().await);
    let journal = place.open().await;
    let fence = lease(&*journal).await;
    sabotage(&place, "", "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'").await;
    let error = journal.append(fence, &stream("a"), 0, &events(1..=3)).await.expect_err("no room");
    assert!(matches!(error, AppendError::Unavailable(StoreError::Full { .. })), "{error:?}");
    expect_recovery(&place, &*journal, fence).await;
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_writes_nothing_and_recovers() {
    let place = Place::Postgres(TestDatabase::new().await);
    let journal = place.open().await;
    let fence = lease(&*journal).await;
    sabotage(&place, "", "PERFORM pg_terminate_backend(pg_backend_pid())").await;
    let error = journal.append(fence, &stream("a"), 0, &events(1..=3)).await.expect_err("the connection is gone");
    assert!(matches!(error, AppendError::Unavailable(StoreError::Unavailable { .. })), "{error:?}");
    assert!(error.is_retryable());
    expect_recovery(&place, &*journal, fence).await;
}

#[tokio::test]
async fn a_connection_lost_while_committing_is_told_as_unknown() {
    let place = Place::Postgres(TestDatabase::new().await);
    let journal = place.open().await;
    let fence = lease(&*journal).await;
    sabotage(&place, "DEFERRABLE INITIALLY DEFERRED", "PERFORM pg_terminate_backend(pg_backend_pid())").await;
    let error = journal.append(fence, &stream("a"), 0, &events(1..=3)).await.expect_err("the connection is gone");
    assert!(matches!(error, AppendError::OutcomeUnknown { .. }), "{error:?}");
    assert!(error.is_retryable(), "the sequence number makes a repetition safe");
    expect_recovery(&place, &*journal, fence).await;
}

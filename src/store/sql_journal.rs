//! The [`Journal`] over SQLite and PostgreSQL: one course of every write, the same in both.

use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use futures_util::{Stream, TryStreamExt as _};

use crate::domain::{Hash, StreamId, Timestamp};

use super::chain::Link;
use super::db::{AsRaw, Db, LeaseRow, NewRow, Pool, Tx, detached, is_certain_failure, on};
use super::error::{AppendError, LeaseError, StoreError};
use super::holder::Holder;
use super::journal::{
    APPEND_RECORDS_MAX, BODY_BYTES_MAX, Fence, Head, Journal, KIND_BYTES_MAX, LEASE_TTL_MAX, Lease, NewRecord, PAGE_BYTES_MAX,
    RawRecord, Record,
};
use super::queries;

const APPENDING: &str = "appending to the journal";
const READING: &str = "reading the journal";
const LEASING: &str = "changing the lease";

/// The journal in one of the two databases.
pub(super) struct SqlJournal {
    db: Db,
}

impl SqlJournal {
    pub(super) fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl Journal for SqlJournal {
    async fn append(
        &self,
        fence: Fence,
        stream: &StreamId,
        expected_seq: u64,
        records: &[NewRecord],
    ) -> Result<Vec<Record>, AppendError> {
        check(records)?;
        let (db, stream, records) = (self.db.clone(), stream.clone(), records.to_vec());
        detached(async move {
            let mut tx = db.begin().await.map_err(|error| db.error(APPENDING, error))?;
            match append_in(&db, &mut tx, fence, &stream, expected_seq, records).await {
                Ok(records) => commit_append(&db, tx, stream, records).await,
                Err(error) => {
                    tx.rollback().await;
                    Err(error)
                }
            }
        })
        .await
    }

    async fn load(&self, stream: &StreamId) -> Result<Vec<Record>, StoreError> {
        let rows = on!(&self.db.pool, Pool, pool => {
            collect(sqlx::query(queries::LOAD).bind(stream.as_str()).fetch(pool), usize::MAX).await
        });
        decode(rows.map_err(|error| self.db.error(READING, error))?)
    }

    async fn read(&self, after_position: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        let after = i64::try_from(after_position).unwrap_or(i64::MAX);
        decode(self.read_raw(Some(after), limit).await?)
    }

    async fn read_raw(&self, after_position: Option<i64>, limit: u32) -> Result<Vec<RawRecord>, StoreError> {
        let after = after_position.unwrap_or(i64::MIN);
        on!(&self.db.pool, Pool, pool => {
            collect(sqlx::query(queries::READ).bind(after).bind(i64::from(limit)).fetch(pool), PAGE_BYTES_MAX).await
        })
        .map_err(|error| self.db.error(READING, error))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        let row = on!(&self.db.pool, Pool, pool => sqlx::query_as(queries::HEAD).fetch_optional(pool).await);
        head_of(row.map_err(|error| self.db.error(READING, error))?)
    }

    async fn acquire_lease(&self, holder: &Holder, ttl: Duration) -> Result<Lease, LeaseError> {
        let ttl_ms = ttl_ms(ttl)?;
        let holder = holder.clone();
        self.change_lease(move |row, now_ms| {
            if let Some(by) = row.holder.filter(|by| row.until_ms > now_ms && !by.is_proven_dead()) {
                return Err(LeaseError::Held { by, until: timestamp(row.until_ms) });
            }
            let (token, until_ms) = (row.token + 1, now_ms + ttl_ms);
            let lease = Lease::new(unsigned(token)?, holder.clone(), timestamp(until_ms));
            Ok((LeaseChange::Take { token, holder, until_ms }, lease))
        })
        .await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError> {
        let ttl_ms = ttl_ms(ttl)?;
        let fence = lease.fence();
        self.change_lease(move |row, now_ms| {
            if !row.is_held_under(fence) {
                return Err(LeaseError::Lost);
            }
            Ok((LeaseChange::Renew { until_ms: now_ms + ttl_ms }, ()))
        })
        .await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        let fence = lease.fence();
        self.change_lease(move |row, _| {
            if !row.is_held_under(fence) {
                return Err(LeaseError::Lost);
            }
            Ok((LeaseChange::Release, ()))
        })
        .await
    }
}

// ---- appending

/// Refuses what cannot be stored before anything is locked.
fn check(records: &[NewRecord]) -> Result<(), AppendError> {
    at_most("the number of records at once", records.len(), APPEND_RECORDS_MAX)?;
    for record in records {
        at_most("a record's kind in bytes", record.kind.len(), KIND_BYTES_MAX)?;
        at_most("a record's body in bytes", record.body.len(), BODY_BYTES_MAX)?;
        if record.kind.is_empty() || record.kind.chars().any(char::is_control) {
            return Err(AppendError::Invalid { reason: format!("{:?} is no name of an event", record.kind) });
        }
        // One line, so that an export of one record per line shows the very bytes that are hashed.
        if record.body.contains(['\n', '\r']) {
            return Err(AppendError::Invalid { reason: format!("the body of `{}` has several lines", record.kind) });
        }
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&record.body) {
            return Err(AppendError::Invalid { reason: format!("the body of `{}` is no JSON: {error}", record.kind) });
        }
    }
    Ok(())
}

fn at_most(what: &'static str, size: usize, limit: usize) -> Result<(), AppendError> {
    if size > limit { Err(AppendError::TooLarge { what, size, limit }) } else { Ok(()) }
}

async fn append_in(
    db: &Db,
    tx: &mut Tx,
    fence: Fence,
    stream: &StreamId,
    expected_seq: u64,
    records: Vec<NewRecord>,
) -> Result<Vec<Record>, AppendError> {
    let failed = |error| AppendError::from(db.error(APPENDING, error));
    let lease = tx.lock_lease().await.map_err(failed)?;
    if !lease.is_held_under(fence) {
        return Err(AppendError::Fenced { token: fence.token(), current_token: unsigned(lease.token)? });
    }
    let actual_seq = unsigned(tx.stream_length(stream.as_str()).await.map_err(failed)?)?;
    if actual_seq != expected_seq {
        return Err(AppendError::Conflict { stream: stream.clone(), expected_seq, actual_seq });
    }
    let mut head = head_of(tx.head().await.map_err(failed)?)?;
    let mut appended = Vec::with_capacity(records.len());
    for (new, seq) in records.into_iter().zip(expected_seq + 1..) {
        let record = follow(head, stream.clone(), seq, new);
        tx.insert(&new_row(&record, &head.hash)).await.map_err(failed)?;
        head = Head { position: record.position, hash: record.hash };
        appended.push(record);
    }
    Ok(appended)
}

/// The record that `new` becomes behind `head`.
fn follow(head: Head, stream: StreamId, seq: u64, new: NewRecord) -> Record {
    let position = head.position + 1;
    let at_ms = new.at.timestamp_millis();
    let hash = Link {
        prev: &head.hash,
        position: signed(position),
        stream: stream.as_str().as_bytes(),
        seq: signed(seq),
        at_ms,
        kind: new.kind.as_bytes(),
        body: new.body.as_bytes(),
    }
    .hash();
    Record { position, stream, seq, at: timestamp(at_ms), kind: new.kind, body: new.body, hash }
}

fn new_row<'a>(record: &'a Record, prev_hash: &'a Hash) -> NewRow<'a> {
    NewRow {
        position: signed(record.position),
        stream: record.stream.as_str(),
        seq: signed(record.seq),
        at_ms: record.at.timestamp_millis(),
        kind: &record.kind,
        body: &record.body,
        prev_hash,
        hash: &record.hash,
    }
}

async fn commit_append(db: &Db, tx: Tx, stream: StreamId, records: Vec<Record>) -> Result<Vec<Record>, AppendError> {
    match tx.commit().await {
        Ok(()) => Ok(records),
        Err(error) if is_certain_failure(&error) || records.is_empty() => Err(db.error(APPENDING, error).into()),
        Err(error) => Err(AppendError::OutcomeUnknown { stream, reason: error.to_string() }),
    }
}

// ---- leasing

/// What happens to the lease's row.
enum LeaseChange {
    Take { token: i64, holder: Holder, until_ms: i64 },
    Renew { until_ms: i64 },
    Release,
}

impl LeaseRow {
    fn is_held_under(&self, fence: Fence) -> bool {
        self.holder.is_some() && u64::try_from(self.token) == Ok(fence.token())
    }
}

impl SqlJournal {
    /// Lets `decide` look at the lease and the store's time, and makes the change it wants, under the lock.
    async fn change_lease<T: Send + 'static>(
        &self,
        decide: impl FnOnce(LeaseRow, i64) -> Result<(LeaseChange, T), LeaseError> + Send + 'static,
    ) -> Result<T, LeaseError> {
        let db = self.db.clone();
        detached(async move {
            let failed = |error| db.error(LEASING, error);
            let mut tx = db.begin().await.map_err(failed)?;
            let row = tx.lock_lease().await.map_err(failed)?;
            // Read after the lock was waited for.
            let now_ms = tx.now_ms().await.map_err(failed)?;
            let (change, answer) = match decide(row, now_ms) {
                Ok(decided) => decided,
                Err(error) => {
                    tx.rollback().await;
                    return Err(error);
                }
            };
            match change {
                LeaseChange::Take { token, holder, until_ms } => tx.take_lease(token, &holder, until_ms).await,
                LeaseChange::Renew { until_ms } => tx.renew_lease(until_ms).await,
                LeaseChange::Release => tx.release_lease().await,
            }
            .map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            Ok(answer)
        })
        .await
    }
}

fn ttl_ms(ttl: Duration) -> Result<i64, LeaseError> {
    match i64::try_from(ttl.as_millis()) {
        Ok(ms) if ms > 0 && ttl <= LEASE_TTL_MAX => Ok(ms),
        _ => Err(LeaseError::Ttl),
    }
}

// ---- reading

/// The rows of a query, until there are no more or their bodies exceed `bytes_max`; at least one if there is one.
async fn collect<R: AsRaw>(
    rows: impl Stream<Item = Result<R, sqlx::Error>>,
    bytes_max: usize,
) -> Result<Vec<RawRecord>, sqlx::Error> {
    let mut rows = std::pin::pin!(rows);
    let mut records = Vec::new();
    let mut bytes = 0_usize;
    while bytes <= bytes_max
        && let Some(row) = rows.try_next().await?
    {
        let record = row.as_raw()?;
        bytes += record.body.len();
        records.push(record);
    }
    Ok(records)
}

fn decode(rows: Vec<RawRecord>) -> Result<Vec<Record>, StoreError> {
    rows.into_iter().map(decode_record).collect()
}

fn decode_record(row: RawRecord) -> Result<Record, StoreError> {
    let position = row.position;
    let corrupt = |reason: String| StoreError::Corrupt { position, reason };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| corrupt(error.to_string()));
    Ok(Record {
        position: unsigned(position)?,
        stream: text(row.stream)?.parse().map_err(|error| corrupt(format!("{error}")))?,
        seq: u64::try_from(row.seq).map_err(|error| corrupt(error.to_string()))?,
        at: DateTime::from_timestamp_millis(row.at_ms).ok_or_else(|| corrupt("its time is out of range".to_owned()))?,
        kind: text(row.kind)?,
        body: text(row.body)?,
        hash: text(row.hash)?.parse().map_err(|error| corrupt(format!("{error}")))?,
    })
}

fn head_of(row: Option<(i64, String)>) -> Result<Head, StoreError> {
    let Some((position, hash)) = row else {
        return Ok(Head { position: 0, hash: Hash::GENESIS });
    };
    let hash = hash.parse().map_err(|error| StoreError::Corrupt { position, reason: format!("{error}") })?;
    Ok(Head { position: unsigned(position)?, hash })
}

// ---- numbers

/// Both databases count in `i64`; what they count never reaches its end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("a journal holds fewer than 2^63 records")
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt { position: number, reason: "a count is below zero".to_owned() })
}

/// Only a lease row that somebody edited by hand can be out of range.
fn timestamp(ms: i64) -> Timestamp {
    DateTime::from_timestamp_millis(ms).unwrap_or(Timestamp::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

    use super::*;

    /// SQLite's own bound on a file's pages stands in for a disk without room: the error is the same.
    #[tokio::test]
    async fn a_full_disk_writes_nothing_and_room_made_lets_it_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("journal.db"))
            .create_if_missing(true)
            .pragma("max_page_count", "64");
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        crate::store::migrate::sqlite().run(&pool).await.unwrap();
        let journal = SqlJournal::new(Db { pool: Pool::Sqlite(pool.clone()), place: "journal.db".into() });
        let fence = journal.acquire_lease(&Holder::this_process(), LEASE_TTL_MAX).await.unwrap().fence();
        let stream = StreamId::new("run", "a").unwrap();
        let record = |body: &str| NewRecord { at: DateTime::UNIX_EPOCH, kind: "Tested".to_owned(), body: format!("\"{body}\"") };
        let large = [record("small"), record(&"x".repeat(1_000_000))];

        let error = journal.append(fence, &stream, 0, &large).await.unwrap_err();
        assert!(matches!(error, AppendError::Unavailable(StoreError::Full { .. })), "{error:?}");
        assert!(error.is_retryable());
        assert_eq!(journal.load(&stream).await.unwrap(), [], "not even the small one");

        sqlx::query("PRAGMA max_page_count = 100000").execute(&pool).await.unwrap();
        assert_eq!(journal.append(fence, &stream, 0, &large).await.unwrap().len(), 2);
    }
}

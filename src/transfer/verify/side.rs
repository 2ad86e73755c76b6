//! One side of a comparison: its rows, read once, as a digest per bucket and a selection of whole rows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use rusqlite::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;

use super::order::{Order, Ordered};
use super::spell::{CHUNK_BYTES, CHUNK_ROWS, Pending, Speller};
use crate::transfer::digest::{Content, row_hash};
use crate::transfer::encode::BINARY_HEADER;
use crate::transfer::error::{Error, Fault};
use crate::transfer::plan::TablePlan;
use crate::transfer::source::quoted;
use crate::transfer::stream::{Encoding, Scan, key_text};

/// Rows are spread over this many digests by the hash of their key, so that a difference can be narrowed down.
pub(super) const BUCKETS: usize = 4_096;
/// Rows larger than this are kept by their hash only.
const KEPT_ROW_BYTES_MAX: usize = 16 * 1024;
/// Rows that are kept at most, whatever the selection says.
const KEPT_ROWS_MAX: usize = 200_000;
/// Faulty rows that are named.
const FAULTS_MAX: usize = 20;

/// Which rows are kept whole.
#[derive(Debug, Clone)]
pub(super) enum Selection {
    /// One of `stride` rows, by the hash of its key; none for 0.
    Sample { stride: u64 },
    /// The rows of these buckets.
    Buckets(Arc<BTreeSet<usize>>),
}

/// A kept row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// Its fields.
    Row(Vec<u8>),
    /// Too large to keep.
    Hash(u128),
}

/// What one reading of one side gave.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) total: Content,
    /// The checksum in the order of the key; `None` when it was not asked for, or when the rows did not come in that order.
    pub(super) ordered: Option<String>,
    buckets: Vec<Content>,
    /// By the hash of the key; without a key, by that of the row, with how often it occurs.
    pub(super) kept: HashMap<u128, (Kept, u64)>,
    /// Rows that the copy put aside (source only).
    pub(super) quarantined: u64,
    /// Rows that cannot be converted and were not put aside (source only).
    pub(super) unconvertible: u64,
    pub(super) faults: Vec<Fault>,
}

impl Compared {
    fn new() -> Self {
        Self {
            total: Content::default(),
            ordered: None,
            buckets: vec![Content::default(); BUCKETS],
            kept: HashMap::new(),
            quarantined: 0,
            unconvertible: 0,
            faults: Vec::new(),
        }
    }

    /// Buckets whose rows are not the same on the other side.
    pub(super) fn differing_buckets(&self, other: &Self) -> BTreeSet<usize> {
        (0..BUCKETS).filter(|bucket| self.buckets[*bucket] != other.buckets[*bucket]).collect()
    }

    /// Kept rows in an order that is the same on both sides.
    pub(super) fn kept_in_order(&self) -> BTreeMap<u128, &(Kept, u64)> {
        self.kept.iter().map(|(key, kept)| (*key, kept)).collect()
    }
}

/// Takes rows in.
struct Reading {
    key: Option<Vec<usize>>,
    /// One past the last column of the key.
    key_end: usize,
    selection: Selection,
    scratch: Vec<u8>,
    ordered: Option<Ordered>,
    compared: Compared,
}

impl Reading {
    fn new(table: &TablePlan, selection: Selection, order: Option<&Order>) -> Self {
        let key = table.key_positions();
        let key_end = key.iter().flatten().max().map_or(0, |last| last + 1);
        let ordered = order.map(|_| Ordered::new(table));
        Self { key, key_end, selection, scratch: Vec::new(), ordered, compared: Compared::new() }
    }

    fn add(&mut self, row: &[u8]) {
        let hash = row_hash(row);
        let key = self.key_hash(row).unwrap_or(hash);
        let bucket = usize::try_from(key % BUCKETS as u128).unwrap_or(0);
        self.compared.total.add(hash);
        if let Some(ordered) = &mut self.ordered {
            ordered.add(row, hash);
        }
        self.compared.buckets[bucket].add(hash);
        let chosen = match &self.selection {
            Selection::Sample { stride: 0 } => false,
            // The bits above those that choose the bucket.
            Selection::Sample { stride } => (key >> 64).is_multiple_of(u128::from(*stride)),
            Selection::Buckets(buckets) => buckets.contains(&bucket),
        };
        if chosen && self.compared.kept.len() < KEPT_ROWS_MAX {
            let kept = if row.len() > KEPT_ROW_BYTES_MAX { Kept::Hash(hash) } else { Kept::Row(row.to_vec()) };
            self.compared.kept.entry(key).and_modify(|(_, count)| *count += 1).or_insert((kept, 1));
        }
    }

    fn key_hash(&mut self, row: &[u8]) -> Option<u128> {
        let key = self.key.as_ref()?;
        self.scratch.clear();
        // In the order of the columns, which is the same on both sides.
        for (position, field) in Fields(row).enumerate().take(self.key_end) {
            if key.contains(&position) {
                let field = field.unwrap_or_default();
                self.scratch.extend_from_slice(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
                self.scratch.extend_from_slice(field);
            }
        }
        Some(row_hash(&self.scratch))
    }

    fn finish(self) -> Compared {
        Compared { ordered: self.ordered.and_then(Ordered::finish), ..self.compared }
    }
}

/// The fields of a row: each its length, -1 for NULL, and its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.0 = rest;
            return Some(None);
        };
        let (field, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(field))
    }
}

/// The rows that a copy put aside: those that never were in the target by their key, the others by the hash of their
/// content, with how often it occurs.
#[derive(Debug, Clone, Default)]
pub(super) struct Aside {
    pub(super) keys: Arc<HashSet<String>>,
    pub(super) hashes: HashMap<u128, u64>,
}

impl Aside {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.hashes.is_empty()
    }

    /// Whether this row was put aside; a hash counts as often as it was given.
    fn takes(&mut self, key: impl FnOnce() -> String, row: Option<&[u8]>) -> bool {
        if self.is_empty() {
            return false;
        }
        if let Some(count) = row.and_then(|row| self.hashes.get_mut(&row_hash(row))).filter(|count| **count > 0) {
            *count -= 1;
            return true;
        }
        self.keys.contains(&key())
    }
}

/// What one reading of one table needs to know.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) path: Arc<Path>,
    pub(super) table: Arc<TablePlan>,
    pub(super) aside: Aside,
    pub(super) selection: Selection,
    /// For a checksum in this order.
    pub(super) order: Option<Order>,
}

impl Task {
    fn scan<'a>(&'a self, connection: &'a Connection) -> Scan<'a> {
        let order = self.order.as_ref().and_then(|order| order.source.as_deref());
        Scan { connection, path: &self.path, table: &self.table, low: None, high: None, encoding: Encoding::Compared, order }
    }
}

/// Rows of the source on their way in. Those that were put aside are counted and otherwise passed over.
struct SourceReading {
    reading: Reading,
    aside: Aside,
}

impl SourceReading {
    fn new(task: &Task) -> Self {
        Self { reading: Reading::new(&task.table, task.selection.clone(), task.order.as_ref()), aside: task.aside.clone() }
    }

    fn add(&mut self, key: impl FnOnce() -> String, row: Result<&[u8], Box<Fault>>) {
        if self.aside.takes(key, row.as_ref().ok().copied()) {
            self.reading.compared.quarantined += 1;
            return;
        }
        match row {
            Ok(row) => self.reading.add(row),
            Err(fault) => {
                self.reading.compared.unconvertible += 1;
                if self.reading.compared.faults.len() < FAULTS_MAX {
                    self.reading.compared.faults.push(*fault);
                }
            }
        }
    }
}

/// Reads the source.
pub(super) fn read_source(connection: &Connection, task: &Task) -> Result<Compared, Error> {
    let mut source = SourceReading::new(task);
    task.scan(connection).run(&mut Vec::new(), |row, buffer| {
        let bytes = row.fault.map_or_else(|| Ok(&buffer[row.start..]), |fault| Err(Box::new(fault)));
        source.add(|| key_text(&task.table, &row.key), bytes);
        buffer.clear();
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(source.reading.finish())
}

/// Reads a source with columns that only PostgreSQL can spell: its rows go by `speller` in chunks.
pub(super) async fn read_source_spelled(
    connection: Connection,
    task: Task,
    speller: &mut PgConnection,
) -> Result<(Connection, Compared), Error> {
    let (sender, mut chunks) = mpsc::channel::<Vec<Pending>>(1);
    let own = task.clone();
    let reading = crate::transfer::copy::blocking(move || {
        send_chunks(&connection, &own, &sender)?;
        Ok(connection)
    });
    let spelling = async {
        let mut source = SourceReading::new(&task);
        let words = Speller::new(&task.table);
        while let Some(mut chunk) = chunks.recv().await {
            words.spell(speller, &mut chunk).await?;
            for Pending { key, row } in chunk {
                source.add(|| key, row.as_deref().map_err(Clone::clone));
            }
        }
        Ok(source.reading.finish())
    };
    futures_util::future::try_join(reading, spelling).await
}

fn send_chunks(connection: &Connection, task: &Task, sender: &mpsc::Sender<Vec<Pending>>) -> Result<(), Error> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    task.scan(connection).run(&mut Vec::new(), |row, buffer| {
        bytes += buffer.len();
        let found = row.fault.map_or_else(|| Ok(buffer[row.start..].to_vec()), |fault| Err(Box::new(fault)));
        buffer.clear();
        chunk.push(Pending { key: key_text(&task.table, &row.key), row: found });
        if chunk.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
            return Ok(ControlFlow::Continue(()));
        }
        bytes = 0;
        // A receiver that is gone has ended the comparison.
        let sent = sender.blocking_send(std::mem::take(&mut chunk));
        Ok(if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let _ = sender.blocking_send(chunk);
    Ok(())
}

/// Reads the target.
pub(super) async fn read_target(control: &mut PgConnection, task: &Task) -> Result<Compared, Error> {
    let mut reading = Reading::new(&task.table, task.selection.clone(), task.order.as_ref());
    let order = task.order.as_ref().map(|order| format!(" ORDER BY {}", order.target)).unwrap_or_default();
    read_rows(control, &task.table, &order, |row| reading.add(row)).await?;
    Ok(reading.finish())
}

/// Rows of the target, whole and hashed.
pub(in crate::transfer) struct RowsAt {
    pub(in crate::transfer) rows: Vec<(Vec<u8>, u128)>,
    /// Their `ctid`s, in no particular order.
    pub(in crate::transfer) places: Vec<String>,
}

/// Reads the rows at these places (`ctid`s).
pub(in crate::transfer) async fn read_rows_at(
    control: &mut PgConnection,
    table: &TablePlan,
    places: Vec<String>,
) -> Result<RowsAt, Error> {
    let mut rows = Vec::new();
    if !places.is_empty() {
        let list = places.iter().map(|place| format!("'{place}'")).collect::<Vec<_>>().join(", ");
        read_rows(control, table, &format!(" WHERE ctid IN ({list})"), |row| rows.push((row.to_vec(), row_hash(row)))).await?;
    }
    Ok(RowsAt { rows, places })
}

async fn read_rows(
    control: &mut PgConnection,
    table: &TablePlan,
    clauses: &str,
    mut each: impl FnMut(&[u8]),
) -> Result<(), Error> {
    let doing = format!("reading table {}", table.target.qualified());
    let failed = |error| Error::server(&doing, &error);
    let columns = table.columns.iter().map(|column| {
        let name = quoted(&column.target);
        if column.kind.is_compared_as_text() { format!("{name}::text") } else { name }
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let statement = format!("COPY (SELECT {columns} FROM {}{clauses}) TO STDOUT (FORMAT binary)", table.target.qualified());
    let mut stream = control.copy_out_raw(&statement).await.map_err(failed)?;
    let mut rows = Rows { pending: Vec::new(), started: false };
    while let Some(chunk) = stream.try_next().await.map_err(failed)? {
        rows.feed(&chunk, &mut each).ok_or_else(|| Error::Defect(format!("{doing}: the binary stream is not as documented")))?;
    }
    Ok(())
}

/// Cuts a binary COPY stream into rows, wherever the chunks end.
struct Rows {
    pending: Vec<u8>,
    started: bool,
}

impl Rows {
    fn feed(&mut self, chunk: &[u8], mut row: impl FnMut(&[u8])) -> Option<()> {
        // A server sends one row per chunk, so that usually nothing has to be put together.
        let mut joined = std::mem::take(&mut self.pending);
        let mut rest = if joined.is_empty() {
            chunk
        } else {
            joined.extend_from_slice(chunk);
            &joined
        };
        if !self.started {
            if rest.len() < BINARY_HEADER.len() {
                self.pending = rest.to_vec();
                return Some(());
            }
            rest = rest.strip_prefix(BINARY_HEADER)?;
            self.started = true;
        }
        while let Some(end) = row_end(rest) {
            row(&rest[2..end]);
            rest = &rest[end..];
        }
        if rest != [0xff, 0xff] {
            self.pending = rest.to_vec();
        }
        Some(())
    }
}

/// Where the first row ends; `None` when it is not complete or the stream's end mark stands there.
fn row_end(bytes: &[u8]) -> Option<usize> {
    let count = usize::try_from(i16::from_be_bytes(*bytes.first_chunk::<2>()?)).ok()?;
    let mut at = 2;
    for _ in 0..count {
        let length = i32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?);
        at += 4 + usize::try_from(length).unwrap_or(0);
    }
    (at <= bytes.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_wherever_the_chunks_end() {
        let mut stream = BINARY_HEADER.to_vec();
        let rows: [&[u8]; 2] = [&[0, 0, 0, 1, b'a', 255, 255, 255, 255], &[0, 0, 0, 0, 0, 0, 0, 2, b'b', b'c']];
        for row in rows {
            stream.extend_from_slice(&[0, 2]);
            stream.extend_from_slice(row);
        }
        stream.extend_from_slice(&[0xff, 0xff]);
        for size in 1..=stream.len() {
            let mut found = Vec::new();
            let mut cutter = Rows { pending: Vec::new(), started: false };
            for chunk in stream.chunks(size) {
                cutter.feed(chunk, |row| found.push(row.to_vec())).expect("a valid stream");
            }
            assert_eq!(found, rows, "chunks of {size}");
        }
    }

    #[test]
    fn fields_are_read_back() {
        let fields: Vec<_> = Fields(&[0, 0, 0, 1, b'a', 255, 255, 255, 255, 0, 0, 0, 0]).collect();
        assert_eq!(fields, [Some(&b"a"[..]), None, Some(&b""[..])]);
    }
}

//! The rows on their way: each stream reads one part at a time on a blocking thread and writes it, batch by batch, over a
//! connection of its own.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use secrecy::SecretString;
use sqlx::postgres::{PgConnection, PgDatabaseError};
use tokio::sync::mpsc;

use super::limit;
use super::options::Options;
use super::progress::Tracker;
use crate::transfer::checkpoint::{self, Part};
use crate::transfer::encode::{BINARY_HEADER, BINARY_TRAILER, Format};
use crate::transfer::error::{Error, Fault, FaultCode};
use crate::transfer::plan::{Plan, TablePlan};
use crate::transfer::policy::Policy;
use crate::transfer::stream::{Batch, BatchLimits, Spare, key_text, read_batches};
use crate::transfer::target::{self, execute};

/// Bytes per message to the server: more does not make COPY faster, and the driver keeps a buffer of this size.
const MESSAGE_BYTES: usize = 128 * 1024;
/// After a refused row, how many rows are tried at first before going back to all that is left.
const CAUTIOUS_ROWS: usize = 32;

/// Where batches go.
pub(super) enum Sink<'a> {
    /// To the target, under this epoch of the copy.
    Target { target: &'a SecretString, epoch: i64 },
    /// Nowhere: a rehearsal.
    Nowhere,
}

/// What all streams share.
struct Shared<'a> {
    path: Arc<Path>,
    tables: Vec<Arc<TablePlan>>,
    queue: Mutex<VecDeque<Part>>,
    finished: Mutex<Vec<Part>>,
    /// Connections of streams that have ended.
    connections: Mutex<Vec<PgConnection>>,
    options: &'a Options,
    sink: &'a Sink<'a>,
    tracker: &'a Tracker<'a>,
}

/// All parts as they are after loading, and the streams' connections to the target (none in a rehearsal).
pub(super) struct Loaded {
    pub(super) parts: Vec<Part>,
    pub(super) connections: Vec<PgConnection>,
}

/// Loads all parts that are not done, one stream per connection. The first error ends all streams.
pub(super) async fn load_parts(
    source: &Path,
    plan: &Plan,
    connections: Vec<Connection>,
    parts: Vec<Part>,
    options: &Options,
    sink: &Sink<'_>,
    tracker: &Tracker<'_>,
) -> Result<Loaded, Error> {
    let (finished, waiting): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| part.done);
    let shared = Shared {
        path: source.into(),
        tables: plan.tables.iter().cloned().map(Arc::new).collect(),
        queue: Mutex::new(waiting.into()),
        finished: Mutex::new(finished),
        connections: Mutex::default(),
        options,
        sink,
        tracker,
    };
    let streams = connections.into_iter().map(|connection| stream(&shared, connection));
    futures_util::future::try_join_all(streams).await?;
    Ok(Loaded {
        parts: shared.finished.into_inner().unwrap_or_else(PoisonError::into_inner),
        connections: shared.connections.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}

/// What a stream takes along from part to part: its connection to the source, and the memory of its batches, which would
/// otherwise be asked for anew with every part and stay with the allocator.
struct Reader {
    source: Connection,
    spares: Receiver<Spare>,
}

async fn stream(shared: &Shared<'_>, source: Connection) -> Result<(), Error> {
    let (give_back, spares) = std::sync::mpsc::channel();
    let mut reader = Reader { source, spares };
    let mut writer = match shared.sink {
        Sink::Target { target, epoch } => {
            let mut connection = target::connect(target).await?;
            // Safe because rows and checkpoint are lost or kept together; the end of the copy waits for the disk.
            execute(&mut connection, "preparing the session", "SET synchronous_commit = off").await?;
            Some(Writer { connection, epoch: *epoch, copy_id: &shared.options.copy_id })
        }
        Sink::Nowhere => None,
    };
    loop {
        let next = shared.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(part) = next else { break };
        let table = shared.tables.iter().find(|table| table.name() == part.table);
        let table = table.ok_or_else(|| Error::Defect(format!("no plan for table `{}`", part.table)))?;
        let (returned, part) = load_part(shared, Arc::clone(table), reader, &give_back, part, writer.as_mut()).await?;
        reader = returned;
        shared.finished.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }
    // Kept for the indexes: the server counts a connection that is closed for a moment longer, beside the one that replaces it.
    let connection = writer.map(|writer| writer.connection);
    shared.connections.lock().unwrap_or_else(PoisonError::into_inner).extend(connection);
    Ok(())
}

async fn load_part(
    shared: &Shared<'_>,
    table: Arc<TablePlan>,
    reader: Reader,
    give_back: &Sender<Spare>,
    mut part: Part,
    mut writer: Option<&mut Writer<'_>>,
) -> Result<(Reader, Part), Error> {
    // One batch waits while one is read and one is sent.
    let (sender, mut receiver) = mpsc::channel::<Batch>(1);
    let limits = BatchLimits { rows: shared.options.batch_rows, bytes: shared.options.batch_bytes };
    let (path, plan, from) = (Arc::clone(&shared.path), Arc::clone(&table), part.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let Reader { source, spares } = &reader;
        let read = read_batches(source, &path, &plan, &from, limits, spares, |batch| match sender.blocking_send(batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        (reader, read)
    });
    while let Some(mut batch) = receiver.recv().await {
        let bytes = batch.payload.len() as u64;
        let before = part.clone();
        part.last_key = batch.last_key.take();
        part.running = batch.running;
        part.done = batch.last;
        let faults = match writer.as_mut() {
            Some(writer) => writer.write(&table, &mut batch, &mut part).await?,
            None => {
                part.loaded += batch.rows.len() as u64;
                part.quarantined += batch.faults.len() as u64;
                std::mem::take(&mut batch.faults)
            }
        };
        let rows = part.loaded - before.loaded;
        let changed = batch
            .changes
            .iter()
            .map(|((column, rule), count)| (part.table.clone(), table.columns[*column].name.clone(), *rule, *count));
        shared.tracker.note(&faults, changed);
        shared.tracker.advance(&part.table, rows, part.quarantined - before.quarantined, bytes);
        if !faults.is_empty() {
            check_limit(shared)?;
        }
        if let Some(spare) = batch.into_spare(limits) {
            // A reader that has ended needs no memory.
            let _ = give_back.send(spare);
        }
    }
    let (reader, read) = reading.await.map_err(|error| Error::Defect(error.to_string()))?;
    read?;
    Ok((reader, part))
}

/// Ends the copy as soon as it is certain that too many rows are put aside.
fn check_limit(shared: &Shared<'_>) -> Result<(), Error> {
    let counts = shared.tracker.tables().into_iter().map(|table| (table.table, table.quarantined, table.total));
    limit::check(&shared.options.fault_limit, counts, &shared.tracker.faults())
}

/// One stream's way into the target.
struct Writer<'a> {
    connection: PgConnection,
    epoch: i64,
    copy_id: &'a str,
}

impl Writer<'_> {
    /// Writes a batch with its checkpoint in one transaction; returns the rows that were put aside.
    async fn write(&mut self, table: &TablePlan, batch: &mut Batch, part: &mut Part) -> Result<Vec<Fault>, Error> {
        let doing = format!("loading table `{}`", table.name());
        execute(&mut self.connection, &doing, "BEGIN").await?;
        let mut faults = std::mem::take(&mut batch.faults);
        let mut loaded = batch.rows.len() as u64;
        if let Err(error) = self.copy(table, batch, 0, batch.rows.len()).await {
            let refused = Refused::from(&error, &doing, 0)?;
            execute(&mut self.connection, &doing, "ROLLBACK; BEGIN").await?;
            let found = self.copy_around_faults(table, batch, refused, &doing).await?;
            loaded -= found.len() as u64;
            faults.extend(found);
        }
        checkpoint::quarantine(&mut self.connection, self.copy_id, &faults, None).await?;
        for ((column, rule), count) in &batch.changes {
            let column = &table.columns[*column].name;
            checkpoint::count_changes(&mut self.connection, self.copy_id, table.name(), column, rule.as_str(), *count).await?;
        }
        part.loaded += loaded;
        part.quarantined += faults.len() as u64;
        checkpoint::advance(&mut self.connection, self.copy_id, self.epoch, part).await?;
        execute(&mut self.connection, &doing, "COMMIT").await?;
        Ok(faults)
    }

    /// Loads all rows of the batch but those that the server refuses. PostgreSQL names the refused row, so everything before it
    /// is loaded, the row is put aside, and the rest follows, cautiously at first because faults come in clusters.
    async fn copy_around_faults(
        &mut self,
        table: &TablePlan,
        batch: &Batch,
        first: Refused,
        doing: &str,
    ) -> Result<Vec<Fault>, Error> {
        let mut faults = Vec::new();
        let (mut from, mut width) = (0, first.row.max(1));
        while from < batch.rows.len() {
            let to = batch.rows.len().min(from + width);
            execute(&mut self.connection, doing, "SAVEPOINT part_of_batch").await?;
            match self.copy(table, batch, from, to).await {
                Ok(()) => {
                    execute(&mut self.connection, doing, "RELEASE SAVEPOINT part_of_batch").await?;
                    from = to;
                    width = (width * 4).max(CAUTIOUS_ROWS);
                }
                Err(error) => {
                    let refused = Refused::from(&error, doing, from)?;
                    execute(&mut self.connection, doing, "ROLLBACK TO SAVEPOINT part_of_batch").await?;
                    if let Some(smaller) = narrowed(from, to, refused.row) {
                        width = smaller;
                        continue;
                    }
                    let fault = Refused { row: from, ..refused }.into_fault(table, batch);
                    if table.policy_for(&fault.column, fault.code) == Policy::Fail {
                        return Err(Error::Fault(Box::new(fault)));
                    }
                    faults.push(fault);
                    from += 1;
                    width = CAUTIOUS_ROWS;
                }
            }
        }
        Ok(faults)
    }

    /// Sends the rows `from..to` of the batch in one COPY.
    async fn copy(&mut self, table: &TablePlan, batch: &Batch, from: usize, to: usize) -> Result<(), sqlx::Error> {
        if from == to {
            return Ok(());
        }
        let begin = batch.rows[from].0;
        let end = batch.rows.get(to).map_or(batch.payload.len(), |(start, _)| *start);
        let mut copy = self.connection.copy_in_raw(&table.copy_statement()).await?;
        let binary = table.format == Format::Binary;
        if binary {
            copy.send(BINARY_HEADER).await?;
        }
        for message in batch.payload[begin..end].chunks(MESSAGE_BYTES) {
            copy.send(message).await?;
        }
        if binary {
            copy.send(BINARY_TRAILER).await?;
        }
        copy.finish().await.map(drop)
    }
}

/// A row that the server refused, as its message names it.
struct Refused {
    /// Index into the batch's rows.
    row: usize,
    code: FaultCode,
    reason: String,
    column: String,
    value: String,
}

impl Refused {
    /// Reads the row from the error's place (`COPY t, line 3, column c: "x"`), when the error is about a row at all.
    fn from(error: &sqlx::Error, doing: &str, from: usize) -> Result<Self, Error> {
        let about_a_row = || {
            let server = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
            let code = fault_code(server.code())?;
            let place = server.r#where()?;
            let line: usize = number_after(place, ", line ")?;
            let (column, value) = column_and_value(place);
            let column = if column.is_empty() { server.column().unwrap_or_default().to_owned() } else { column };
            let mut reason = server.message().to_owned();
            if let Some(detail) = server.detail() {
                reason.push_str("; ");
                reason.extend(detail.chars().take(300));
            }
            Some(Self { row: from + line.checked_sub(1)?, code, reason, column, value })
        };
        about_a_row().ok_or_else(|| Error::server(doing, error))
    }

    fn into_fault(self, table: &TablePlan, batch: &Batch) -> Fault {
        let named = table.columns.iter().find(|column| column.target == self.column);
        Fault {
            table: table.name().to_owned(),
            key: batch.rows.get(self.row).map(|(_, key)| key_text(table, key)).unwrap_or_default(),
            column: named.map(|column| column.name.clone()).unwrap_or_default(),
            value: self.value,
            code: self.code,
            reason: self.reason,
        }
    }
}

/// How many rows from `from` are tried next after the server refused `from..to` at `row`; `None` when that is the row itself.
/// Rows before it may have been buffered and not yet checked, so they go again by themselves. A row that is too large for a page is
/// refused only when the server empties its buffer, with the number of the row that it read last, or of none: then the range is halved.
fn narrowed(from: usize, to: usize, row: usize) -> Option<usize> {
    let rows = to - from;
    if row == from || rows == 1 {
        return None;
    }
    Some(if row + 1 < to { row - from } else { rows.div_ceil(2) })
}

/// Which SQLSTATEs are about the row and not about the server: data, integrity, and rows that fit into no page or index.
fn fault_code(sqlstate: &str) -> Option<FaultCode> {
    match sqlstate {
        "23505" | "23P01" => Some(FaultCode::DuplicateKey),
        "23502" => Some(FaultCode::NullInNotNull),
        "23514" => Some(FaultCode::CheckViolation),
        "23503" => Some(FaultCode::Orphan),
        "22001" | "22003" | "22008" => Some(FaultCode::OutOfRange),
        "22P02" | "22007" => Some(FaultCode::WrongType),
        "22021" => Some(FaultCode::InvalidUtf8),
        _ if sqlstate.starts_with("22") || sqlstate.starts_with("23") || sqlstate.starts_with("54") => Some(FaultCode::Refused),
        _ => None,
    }
}

fn number_after(text: &str, mark: &str) -> Option<usize> {
    let digits = text.split(mark).nth(1)?;
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

fn column_and_value(place: &str) -> (String, String) {
    let Some((_, rest)) = place.split_once(", column ") else {
        return (String::new(), String::new());
    };
    let (column, value) = rest.split_once(": ").unwrap_or((rest.lines().next().unwrap_or_default(), ""));
    (column.trim_matches('"').to_owned(), value.lines().next().unwrap_or_default().trim_matches('"').chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_gets_smaller_until_the_refused_row_stands_alone() {
        assert_eq!(narrowed(10, 50, 30), Some(20));
        assert_eq!(narrowed(10, 50, 10), None);
        // The last row, and one past it: nothing is known.
        assert_eq!((narrowed(10, 50, 49), narrowed(10, 50, 50)), (Some(20), Some(20)));
        assert_eq!((narrowed(10, 12, 11), narrowed(10, 11, 11)), (Some(1), None));
    }

    #[test]
    fn the_place_of_an_error_names_row_column_and_value() {
        let place = "COPY zoo, line 17, column mood: \"grumpy\"";
        assert_eq!(number_after(place, ", line "), Some(17));
        assert_eq!(column_and_value(place), ("mood".to_owned(), "grumpy".to_owned()));
        assert_eq!(column_and_value("COPY zoo, line 17"), (String::new(), String::new()));
        assert_eq!(column_and_value("COPY zoo, line 3, column mood"), ("mood".to_owned(), String::new()));
        assert_eq!(number_after("SQL statement", ", line "), None);
    }
}

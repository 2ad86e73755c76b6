//! Rows out of SQLite, converted and encoded, in the order of their keys. Blocking; runs on a blocking thread.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::Receiver;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql};

use super::checkpoint::{Key, KeyValue, Part};
use super::digest::Running;
use super::encode::{Format, write_compared};
use super::error::{Error, Fault, printable};
use super::plan::TablePlan;
use super::policy::{self, Misfit, Policy};
use super::source::{RowKey, failure, quoted};

/// How rows are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// For COPY.
    Copy(Format),
    /// For the comparison with what the target returns.
    Compared,
}

/// A range of rows of one table, walked in the order of its key.
pub(super) struct Scan<'a> {
    pub(super) connection: &'a Connection,
    pub(super) path: &'a Path,
    pub(super) table: &'a TablePlan,
    pub(super) low: Option<i64>,
    pub(super) high: Option<i64>,
    pub(super) encoding: Encoding,
    /// The list after `ORDER BY`, if not the order of the key that the rows are named by.
    pub(super) order: Option<&'a str>,
}

/// One row of a scan. Its bytes were appended to the buffer, none if it has a fault.
pub(super) struct Visited {
    pub(super) key: Key,
    pub(super) fault: Option<Fault>,
    /// Rules that changed a value, with the index of its column.
    pub(super) changes: Vec<(usize, Policy)>,
    /// Where the row's bytes begin in the buffer.
    pub(super) start: usize,
}

impl Scan<'_> {
    /// Shows every row to `visit`, which may empty the buffer, and stops when it breaks.
    pub(super) fn run(
        &self,
        buffer: &mut Vec<u8>,
        mut visit: impl FnMut(Visited, &mut Vec<u8>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let doing = || format!("reading table `{}`", self.table.name());
        let failed = |error: &rusqlite::Error| failure(self.path, &doing(), error);
        let mut statement = self.connection.prepare(&self.select()).map_err(|error| failed(&error))?;
        let bounds: Vec<i64> = [self.low, self.high].into_iter().flatten().collect();
        let mut rows = statement.query(rusqlite::params_from_iter(bounds)).map_err(|error| failed(&error))?;
        while let Some(row) = rows.next().map_err(|error| failed(&error))? {
            let key = self.read_key(row).map_err(|error| failed(&error))?;
            let start = buffer.len();
            let mut changes = Vec::new();
            let fault = self.encode(row, &key, buffer, &mut changes).map_err(|error| failed(&error))?;
            if fault.is_some() {
                buffer.truncate(start);
                changes.clear();
            }
            if visit(Visited { key, fault, changes, start }, buffer)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn key_columns(&self) -> Vec<String> {
        match &self.table.source.key {
            RowKey::Rowid(alias) => vec![quoted(alias)],
            RowKey::Primary => {
                self.table.source.primary_key.iter().map(|index| quoted(&self.table.source.columns[*index].name)).collect()
            }
        }
    }

    fn select(&self) -> String {
        let key = self.key_columns();
        let columns = self.table.columns.iter().map(|column| quoted(&column.name));
        let list = key.iter().cloned().chain(columns).collect::<Vec<_>>().join(", ");
        let mut bounds = Vec::new();
        bounds.extend(self.low.map(|_| format!("{} >= ?", key[0])));
        bounds.extend(self.high.map(|_| format!("{} <= ?", key[0])));
        let filter = if bounds.is_empty() { String::new() } else { format!(" WHERE {}", bounds.join(" AND ")) };
        let order = self.order.map_or_else(|| key.join(", "), str::to_owned);
        format!("SELECT {list} FROM {}{filter} ORDER BY {order}", quoted(self.table.name()))
    }

    fn key_width(&self) -> usize {
        match self.table.source.key {
            RowKey::Rowid(_) => 1,
            RowKey::Primary => self.table.source.primary_key.len(),
        }
    }

    fn read_key(&self, row: &Row<'_>) -> rusqlite::Result<Key> {
        match self.table.source.key {
            RowKey::Rowid(_) => row.get(0).map(Key::Rowid),
            RowKey::Primary => (0..self.key_width())
                .map(|index| row.get_ref(index).map(KeyValue::from))
                .collect::<Result<_, _>>()
                .map(Key::Primary),
        }
    }

    /// Appends the row, or returns the first fault in it.
    fn encode(
        &self,
        row: &Row<'_>,
        key: &Key,
        buffer: &mut Vec<u8>,
        changes: &mut Vec<(usize, Policy)>,
    ) -> rusqlite::Result<Option<Fault>> {
        let offset = self.key_width();
        if let Encoding::Copy(format) = self.encoding {
            format.start_row(buffer, self.table.columns.len());
        }
        for (index, column) in self.table.columns.iter().enumerate() {
            let value = row.get_ref(offset + index)?;
            let carried = policy::carry(value, column, |converted| match self.encoding {
                Encoding::Copy(format) => format.write(buffer, index, converted),
                Encoding::Compared => write_compared(buffer, converted),
            });
            match carried {
                Ok(None) => {}
                Ok(Some(rule)) => changes.push((index, rule)),
                Err(misfit) => return Ok(Some(self.fault(key, index, value, &misfit))),
            }
        }
        if let Encoding::Copy(format) = self.encoding {
            format.end_row(buffer);
        }
        Ok(None)
    }

    fn fault(&self, key: &Key, index: usize, value: ValueRef<'_>, misfit: &Misfit) -> Fault {
        let column = &self.table.columns[index];
        Fault {
            table: self.table.name().to_owned(),
            key: key_text(self.table, key),
            column: column.name.clone(),
            value: printable(value),
            code: misfit.code,
            reason: format!("{} (target type {})", misfit.reason, column.type_name),
        }
    }
}

/// A key as people read it: `rowid=7`, or with the names of the primary key.
pub(super) fn key_text(table: &TablePlan, key: &Key) -> String {
    match key {
        Key::Rowid(rowid) => {
            let RowKey::Rowid(alias) = &table.source.key else {
                return rowid.to_string();
            };
            format!("{alias}={rowid}")
        }
        Key::Primary(values) => {
            let names = table.source.primary_key.iter().map(|index| table.source.columns[*index].name.as_str());
            names.zip(values).map(|(name, value)| format!("{name}={}", printable(value.as_ref()))).collect::<Vec<_>>().join(", ")
        }
    }
}

impl KeyValue {
    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(bits) => ValueRef::Real(f64::from_bits(*bits)),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

impl From<ValueRef<'_>> for KeyValue {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number.to_bits()),
            ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl ToSql for KeyValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.as_ref()))
    }
}

/// Rows that go to the target in one transaction.
#[derive(Debug)]
pub(super) struct Batch {
    /// The encoded rows, one after the other.
    pub(super) payload: Vec<u8>,
    /// Where each row begins in the payload, and its key.
    pub(super) rows: Vec<(usize, Key)>,
    /// Rows that could not be converted.
    pub(super) faults: Vec<Fault>,
    /// How often a rule changed a value, by column.
    pub(super) changes: BTreeMap<(usize, Policy), u64>,
    /// The last row that was read, faulty or not.
    pub(super) last_key: Option<Key>,
    /// The digest after it.
    pub(super) running: Running,
    /// Whether the part ends here.
    pub(super) last: bool,
}

/// The memory of a batch that was sent, to be filled again.
#[derive(Debug)]
pub(super) struct Spare {
    payload: Vec<u8>,
    rows: Vec<(usize, Key)>,
}

impl Spare {
    fn fresh(limits: BatchLimits) -> Self {
        Self { payload: Vec::with_capacity(limits.bytes + limits.bytes / 8), rows: Vec::new() }
    }
}

/// How large a batch may become; whichever limit comes first ends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Reads what is left of `part` in batches. Rows that the checkpoint covers are read again, compared with
/// its digest, and not sent. What comes back by `spares` is filled again, so that memory does not grow with the table.
///
/// # Errors
/// [`Error::SourceChanged`] when the covered rows are no longer what they were; [`Error::Fault`] for the first faulty row
/// that no policy puts aside.
pub(super) fn read_batches(
    connection: &Connection,
    path: &Path,
    table: &TablePlan,
    part: &Part,
    limits: BatchLimits,
    spares: &Receiver<Spare>,
    mut send: impl FnMut(Batch) -> ControlFlow<()>,
) -> Result<(), Error> {
    let scan =
        Scan { connection, path, table, low: part.low, high: part.high, encoding: Encoding::Copy(table.format), order: None };
    let covered = part.seen();
    let mut seen = 0_u64;
    let spare = || spares.try_recv().unwrap_or_else(|_| Spare::fresh(limits));
    let Spare { payload: mut buffer, rows } = spare();
    let mut batch = Batch::after(Running::default(), None, rows);
    scan.run(&mut buffer, |row, buffer| {
        seen += 1;
        batch.running.update(&buffer[row.start..]);
        if seen <= covered {
            buffer.clear();
            return if seen == covered {
                check_covered(table, part, &row.key, batch.running).map(|()| ControlFlow::Continue(()))
            } else {
                Ok(ControlFlow::Continue(()))
            };
        }
        batch.last_key = Some(row.key.clone());
        match row.fault {
            Some(fault) if table.policy_for(&fault.column, fault.code) == Policy::Fail => {
                return Err(Error::Fault(Box::new(fault)));
            }
            Some(fault) => batch.faults.push(fault),
            None => batch.rows.push((row.start, row.key)),
        }
        for change in row.changes {
            *batch.changes.entry(change).or_default() += 1;
        }
        if batch.rows.len() + batch.faults.len() < limits.rows && buffer.len() < limits.bytes {
            return Ok(ControlFlow::Continue(()));
        }
        let Spare { payload, rows } = spare();
        let next = Batch::after(batch.running, batch.last_key.clone(), rows);
        let mut full = std::mem::replace(&mut batch, next);
        full.payload = std::mem::replace(buffer, payload);
        Ok(send(full))
    })?;
    if seen < covered {
        return Err(changed(table, "rows that were copied are gone"));
    }
    batch.payload = buffer;
    batch.last = true;
    batch.last_key = batch.last_key.or_else(|| part.last_key.clone());
    // A receiver that is gone has stopped the copy and needs no last batch.
    let _ = send(batch);
    Ok(())
}

impl Batch {
    fn after(running: Running, last_key: Option<Key>, rows: Vec<(usize, Key)>) -> Self {
        Self { payload: Vec::new(), rows, faults: Vec::new(), changes: BTreeMap::new(), last_key, running, last: false }
    }

    /// Empties the batch; `None` when a single large row made it so large that its memory is better given back.
    pub(super) fn into_spare(self, limits: BatchLimits) -> Option<Spare> {
        let Self { mut payload, mut rows, .. } = self;
        payload.clear();
        rows.clear();
        (payload.capacity() <= 2 * limits.bytes).then_some(Spare { payload, rows })
    }
}

fn check_covered(table: &TablePlan, part: &Part, key: &Key, running: Running) -> Result<(), Error> {
    if part.running == running && part.last_key.as_ref() == Some(key) {
        Ok(())
    } else {
        Err(changed(table, "rows that were copied have changed"))
    }
}

fn changed(table: &TablePlan, what: &str) -> Error {
    Error::SourceChanged {
        when: "since the copy was interrupted",
        says: format!(
            "table `{}`: {what}; nothing more was written. Restore the file as it was and resume, or undo the copy and begin anew",
            table.name()
        ),
    }
}

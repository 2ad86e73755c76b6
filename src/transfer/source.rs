//! The SQLite side: read-only connections that share one snapshot, and the schema as SQLite reports it.
//!
//! Everything here blocks; callers run it on a blocking thread.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::Error;

/// How long a read waits for a writer that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Page cache of one connection, in KiB: scans read every page once, so a larger one buys nothing.
const CACHE_KIB: i64 = 4_096;
/// How often opening is tried again while somebody writes between the connections.
const SNAPSHOT_TRIES: u32 = 20;

/// Read-only connections to one SQLite file that all see the same snapshot until they are dropped.
#[derive(Debug)]
pub(super) struct Snapshot {
    path: PathBuf,
    /// Each holds its own read transaction on the same state of the database.
    pub(super) connections: Mutex<Vec<Connection>>,
    /// Outside any transaction, so that it notices other connections' commits.
    monitor: Mutex<Connection>,
    version: i64,
}

impl Snapshot {
    /// Opens `count` connections (at least one) on one state of the file.
    ///
    /// # Errors
    /// [`Error::Source`] when the file is missing, no database, unreadable or locked, or when somebody
    /// writes so often that no common state is found.
    pub(super) fn open(path: &Path, count: usize) -> Result<Self, Error> {
        for _ in 0..SNAPSHOT_TRIES {
            let monitor = connect(path)?;
            let version = data_version(path, &monitor)?;
            let connections = (0..count.max(1)).map(|_| begin(path)).collect::<Result<Vec<_>, _>>()?;
            // A commit between two of the transactions would have changed the version that the monitor sees.
            if data_version(path, &monitor)? == version {
                return Ok(Self {
                    path: path.to_owned(),
                    connections: Mutex::new(connections),
                    monitor: Mutex::new(monitor),
                    version,
                });
            }
        }
        Err(Error::Source {
            path: path.display().to_string(),
            doing: "taking one snapshot for all connections".to_owned(),
            reason: "other programs commit without a pause; stop them, or copy with one stream".to_owned(),
            retryable: true,
        })
    }

    /// Whether somebody committed to the database since the snapshot was taken.
    pub(super) fn has_changed(&self) -> Result<bool, Error> {
        let monitor = self.monitor.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(data_version(&self.path, &monitor)? != self.version)
    }

    /// The schema as the snapshot has it.
    pub(super) fn schema(&self) -> Result<Schema, Error> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        read_schema(&connections[0]).map_err(|error| failure(&self.path, "reading the schema", &error))
    }

    /// Splits off the connections for the workers; the watch over changes stays here.
    pub(super) fn take_connections(&self) -> Vec<Connection> {
        std::mem::take(&mut self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Brings a connection back.
    pub(super) fn give_back(&self, connections: Vec<Connection>) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).extend(connections);
    }
}

/// Wraps SQLite's error with what was being done.
pub(super) fn failure(path: &Path, doing: &str, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let retryable = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => " (does the file exist, and may this user read it and its folder?)",
        Some(ErrorCode::NotADatabase) => " (the file is no SQLite database, or it is encrypted)",
        Some(ErrorCode::DatabaseCorrupt) => " (run `PRAGMA integrity_check` on it, or take a backup that passes it)",
        _ => "",
    };
    Error::Source { path: path.display().to_string(), doing: doing.to_owned(), reason: format!("{error}{hint}"), retryable }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        Ok(connection)
    };
    open().map_err(|error| failure(path, "opening", &error))
}

fn begin(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path)?;
    // BEGIN alone takes no snapshot: the first read does.
    let read = connection
        .execute_batch("BEGIN")
        .and_then(|()| connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)));
    read.map_err(|error| failure(path, "opening a snapshot", &error))?;
    Ok(connection)
}

fn data_version(path: &Path, connection: &Connection) -> Result<i64, Error> {
    let read = connection.query_row("PRAGMA data_version", [], |row| row.get(0));
    read.map_err(|error| failure(path, "asking whether the file changed", &error))
}

/// What the source holds.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    /// Ordinary tables, by name.
    pub(super) tables: Vec<Table>,
    /// What is not copied: views, triggers, virtual tables, with the reason.
    pub(super) left_out: Vec<LeftOut>,
}

/// Something of the source that a copy does not carry over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeftOut {
    /// `view`, `trigger`, `virtual table`, `index`, `check`, `default`, `collation`, ...
    pub kind: String,
    /// Its name, with the table's where that helps.
    pub name: String,
    /// Why, and what a person can do.
    pub reason: String,
}

/// One table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Indices into `columns`, in the key's order; empty without a declared key.
    pub(super) primary_key: Vec<usize>,
    pub(super) key: RowKey,
    /// The highest key that was handed out: of any row, or as AUTOINCREMENT remembers it; `None` if rows have no such key.
    pub(super) handed_out: Option<i64>,
    pub(super) indexes: Vec<Index>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    /// The CREATE statement.
    pub(super) sql: String,
    /// Rows in the snapshot.
    pub(super) rows: u64,
}

/// How rows are walked, named and resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowKey {
    /// By rowid, under a name for it that no column hides.
    Rowid(String),
    /// A WITHOUT ROWID table, by its primary key.
    Primary,
}

/// One column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// The declared type, as written.
    pub(super) declared: String,
    pub(super) not_null: bool,
    /// The default's SQL text.
    pub(super) default: Option<String>,
}

/// One index or unique constraint.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) unique: bool,
    /// `c` by CREATE INDEX, `u` by a UNIQUE constraint, `pk` by the primary key.
    pub(super) origin: String,
    /// Its key columns; `None` for an expression.
    pub(super) columns: Vec<Option<String>>,
    /// The CREATE statement, for `c`.
    pub(super) sql: Option<String>,
}

/// One foreign key.
#[derive(Debug, Clone)]
pub(super) struct ForeignKey {
    pub(super) parent: String,
    pub(super) from: Vec<String>,
    /// Empty when the parent's primary key is meant.
    pub(super) to: Vec<String>,
    pub(super) on_update: String,
    pub(super) on_delete: String,
}

/// A name in double quotes, as both databases read it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn read_schema(connection: &Connection) -> rusqlite::Result<Schema> {
    let mut schema = Schema { tables: Vec::new(), left_out: Vec::new() };
    let mut list = connection.prepare("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name")?;
    let mut rows = list.query([])?;
    while let Some(row) = rows.next()? {
        let (name, kind, without_rowid): (String, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if name.starts_with("sqlite_") {
            continue;
        }
        let left_out =
            |kind: &str, reason: &str| LeftOut { kind: kind.to_owned(), name: name.clone(), reason: reason.to_owned() };
        match kind.as_str() {
            "table" => schema.tables.push(read_table(connection, &name, without_rowid)?),
            "view" => schema.left_out.push(left_out("view", "its SQL is SQLite's; create it in the target by hand")),
            "virtual" => schema.left_out.push(left_out("virtual table", "its content belongs to a SQLite module")),
            _ => schema.left_out.push(left_out("shadow table", "it is the inside of a virtual table")),
        }
    }
    let mut triggers = connection.prepare("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger' ORDER BY name")?;
    let mut rows = triggers.query([])?;
    while let Some(row) = rows.next()? {
        let name = format!("{} on {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?);
        schema.left_out.push(LeftOut {
            kind: "trigger".to_owned(),
            name,
            reason: "its SQL is SQLite's; create it in the target by hand".to_owned(),
        });
    }
    Ok(schema)
}

fn read_table(connection: &Connection, name: &str, without_rowid: bool) -> rusqlite::Result<Table> {
    let (columns, primary_key) = read_columns(connection, name)?;
    let indexes = read_indexes(connection, name)?;
    let sql: String = connection.query_row(
        "SELECT coalesce(sql, '') FROM sqlite_schema WHERE type = 'table' AND name = ?1",
        [name],
        |row| row.get(0),
    )?;
    let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {}", quoted(name)), [], |row| row.get(0))?;
    // A single key column without an index of its own is the rowid itself.
    let aliased = primary_key.len() == 1 && !without_rowid && !indexes.iter().any(|index| index.origin == "pk");
    let highest = if aliased {
        let max = format!("SELECT max({}) FROM {}", quoted(&columns[primary_key[0]].name), quoted(name));
        connection.query_row(&max, [], |row| row.get(0))?
    } else {
        None
    };
    let key = if without_rowid {
        RowKey::Primary
    } else if aliased {
        RowKey::Rowid(columns[primary_key[0]].name.clone())
    } else {
        let free = ["rowid", "_rowid_", "oid"]
            .iter()
            .find(|alias| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(alias)));
        RowKey::Rowid((*free.unwrap_or(&"")).to_owned())
    };
    Ok(Table {
        handed_out: read_autoincrement(connection, name, &sql)?.max(highest),
        foreign_keys: read_foreign_keys(connection, name)?,
        name: name.to_owned(),
        rows: u64::try_from(rows).unwrap_or_default(),
        columns,
        primary_key,
        key,
        indexes,
        sql,
    })
}

fn read_columns(connection: &Connection, table: &str) -> rusqlite::Result<(Vec<Column>, Vec<usize>)> {
    let mut statement = connection.prepare(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid",
    )?;
    let mut rows = statement.query([table])?;
    let (mut columns, mut key) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(4)?;
        if position > 0 {
            key.push((position, columns.len()));
        }
        let declared: String = row.get(1)?;
        columns.push(Column {
            name: row.get(0)?,
            // SQLite appends these words to the type of a generated column.
            declared: declared.trim_end_matches(" GENERATED ALWAYS").to_owned(),
            not_null: row.get(2)?,
            default: row.get(3)?,
        });
    }
    key.sort_unstable();
    Ok((columns, key.into_iter().map(|(_, index)| index).collect()))
}

fn read_indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Index>> {
    let mut statement = connection.prepare(
        "SELECT l.name, l.\"unique\", l.origin, s.sql FROM pragma_index_list(?1) l LEFT JOIN sqlite_schema s ON s.type = 'index' AND s.name = l.name ORDER BY l.name",
    )?;
    let mut rows = statement.query([table])?;
    let mut indexes = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let columns = read_index_columns(connection, &name)?;
        indexes.push(Index { name, unique: row.get(1)?, origin: row.get(2)?, columns, sql: row.get(3)? });
    }
    Ok(indexes)
}

fn read_index_columns(connection: &Connection, index: &str) -> rusqlite::Result<Vec<Option<String>>> {
    let mut statement = connection.prepare("SELECT name FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno")?;
    statement.query_map([index], |row| row.get(0))?.collect()
}

fn read_foreign_keys(connection: &Connection, table: &str) -> rusqlite::Result<Vec<ForeignKey>> {
    let mut statement = connection.prepare(
        "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
    )?;
    let mut rows = statement.query([table])?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if keys.last().is_none_or(|(last, _)| *last != id) {
            let key = ForeignKey {
                parent: row.get(1)?,
                from: Vec::new(),
                to: Vec::new(),
                on_update: row.get(4)?,
                on_delete: row.get(5)?,
            };
            keys.push((id, key));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.from.push(row.get(2)?);
            key.to.extend(row.get::<_, Option<String>>(3)?);
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

fn read_autoincrement(connection: &Connection, table: &str, sql: &str) -> rusqlite::Result<Option<i64>> {
    use rusqlite::OptionalExtension as _;
    if !sql.to_ascii_uppercase().contains("AUTOINCREMENT") {
        return Ok(None);
    }
    // The table of sequences exists as soon as one table uses AUTOINCREMENT, and may hold anything.
    connection.query_row("SELECT CAST(seq AS INTEGER) FROM sqlite_sequence WHERE name = ?1", [table], |row| row.get(0)).optional()
}

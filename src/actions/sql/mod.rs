//! `sql.query` and `sql.check`: one statement on a PostgreSQL or SQLite target, values by bind parameters only.
//!
//! Dry run: what reads is really read; a statement with `write: true` is prepared (so that its syntax, tables and
//! columns are checked) and not executed. Interruption: reading is repeated; after a write a person is asked.

mod check;
mod postgres;
mod query;
mod sqlite;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::action::Trouble;
use super::context::{Context, TargetKey};
use super::target::Address;
use crate::domain::Duration;

pub(super) use check::Check;
pub(super) use postgres::{Session, cancellable};
pub(super) use query::Query;
pub(super) use sqlite::{OpenMode, explain as explain_sqlite, in_thread as in_sqlite_thread, open as open_sqlite};

/// A row: column names to values, in the order of the statement.
type Row = Map<String, Value>;

/// The most rows that a statement may return into a result.
const ROWS_MAX: u32 = 1_000;
/// The rows that a result holds unless the step says otherwise.
const ROWS_DEFAULT: u32 = 100;
/// How long a statement may run unless the step says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_minutes(1);

fn timeout_default() -> Duration {
    TIMEOUT_DEFAULT
}

fn rows_default() -> u32 {
    ROWS_DEFAULT
}

/// A value that is bound to a placeholder.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::actions) enum Bind {
    /// No value.
    Null(()),
    /// `true` or `false`; 1 or 0 for SQLite.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Real(f64),
    /// Text. PostgreSQL wants a cast where the column is of another type: `$1::uuid`.
    Text(String),
}

/// A statement as both actions give it.
struct Statement<'a> {
    sql: &'a str,
    params: &'a [Bind],
    rows_max: u32,
    timeout: Duration,
}

/// Rows that were read; `more` when there are others beyond the limit.
#[derive(Debug)]
struct Rows {
    rows: Vec<Row>,
    more: bool,
}

impl Rows {
    /// Of up to `rows_max + 1` rows.
    fn limited(mut rows: Vec<Row>, rows_max: u32) -> Self {
        let more = rows.len() > rows_max as usize;
        rows.truncate(rows_max as usize);
        Self { rows, more }
    }

    /// The first column of the first row.
    fn value(&self) -> Value {
        self.rows.first().and_then(|row| row.values().next()).cloned().unwrap_or(Value::Null)
    }
}

async fn read(context: &Context, target: &TargetKey, statement: &Statement<'_>) -> Result<Rows, Trouble> {
    match context.address(target)? {
        Address::Postgres(address) => postgres::read(context, &address, statement).await,
        Address::Sqlite(path) => sqlite::read(context, path, statement).await,
        Address::Kubernetes(_) | Address::Http(_) => Err(no_database(target)),
    }
}

/// Executes a statement in a transaction of its own; returns how many rows it changed.
async fn write(context: &Context, target: &TargetKey, statement: &Statement<'_>) -> Result<u64, Trouble> {
    match context.address(target)? {
        Address::Postgres(address) => postgres::write(context, &address, statement).await,
        Address::Sqlite(path) => sqlite::write(context, path, statement).await,
        Address::Kubernetes(_) | Address::Http(_) => Err(no_database(target)),
    }
}

/// Has the database check a statement without executing it.
async fn prepare(context: &Context, target: &TargetKey, statement: &Statement<'_>) -> Result<(), Trouble> {
    match context.address(target)? {
        Address::Postgres(address) => postgres::prepare(context, &address, statement).await,
        Address::Sqlite(path) => sqlite::prepare(context, path, statement).await,
        Address::Kubernetes(_) | Address::Http(_) => Err(no_database(target)),
    }
}

fn no_database(target: &TargetKey) -> Trouble {
    Trouble::lasting(format!("the target `{}` is not a database", target.0))
}

/// The statement without the semicolon that people end it with.
fn trimmed(sql: &str) -> &str {
    sql.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace())
}

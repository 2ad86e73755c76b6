//! `sqlite.backup` and `sqlite.inspect`.

mod backup;
mod inspect;

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::action::Trouble;
use super::sql::explain_sqlite;

pub(super) use backup::Backup;
pub(super) use inspect::Inspect;

/// What a check found that found nothing.
const INTACT: &str = "ok";
/// How many findings of `integrity_check` are read: enough for people to see what it is.
const FINDINGS_MAX: usize = 10;

/// Rows by table, SQLite's own tables left out.
fn count_rows(connection: &Connection, path: &Path) -> Result<BTreeMap<String, u64>, Trouble> {
    let failed = |error| explain_sqlite(path, "counting the rows of", &error);
    let list = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    let mut names = connection.prepare(list).map_err(failed)?;
    let names = names.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
    let names: Vec<String> = names.collect::<Result<_, _>>().map_err(failed)?;
    let count = |name: String| {
        let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
        let rows = connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map_err(failed)?;
        Ok((name, u64::try_from(rows).unwrap_or(0)))
    };
    names.into_iter().map(count).collect()
}

/// `ok`, or what `integrity_check` found.
fn integrity(connection: &Connection, path: &Path) -> Result<String, Trouble> {
    let failed = |error| explain_sqlite(path, "checking", &error);
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})")).map_err(failed)?;
    let findings = check.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
    let findings: Vec<String> = findings.collect::<Result<_, _>>().map_err(failed)?;
    Ok(findings.join("; "))
}

//! `sqlite.inspect`: what is in a SQLite file.
//!
//! Dry run: it really looks. Interruption: it looks again.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::actions::action::{Action, Done, Trouble, describe};
use crate::actions::context::{Context, TargetKey};
use crate::actions::sql::{OpenMode, explain_sqlite, in_sqlite_thread};
use crate::domain::ActionSpec;

/// The action `sqlite.inspect`.
pub(in crate::actions) struct Inspect;

/// What to look at. One of `target` and `path` is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// The database: a target of the kind `sqlite`.
    #[serde(default)]
    target: Option<TargetKey>,
    /// Any other SQLite file, such as a backup of this run.
    #[serde(default)]
    path: Option<String>,
    /// Reports a file that cannot be read in `integrity`, instead of failing.
    #[serde(default)]
    tolerate_damage: bool,
}

#[async_trait]
impl Action for Inspect {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            target_keys: vec![("target".to_owned(), vec!["sqlite"])],
            ..describe::<Parameters>(
                "sqlite.inspect",
                "Reports tables, rows, integrity, version, journal mode and size of a SQLite file. A dry run really looks.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let path = match (&parameters.target, &parameters.path) {
            (Some(target), None) => context.sqlite(target)?,
            (None, Some(path)) => PathBuf::from(path),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Trouble::lasting("a step inspects either a `target` or a `path`, exactly one of them"));
            }
        };
        let shown = path.to_string_lossy().into_owned();
        match in_sqlite_thread(context, path, OpenMode::Read, None, look).await {
            Err(Trouble::Failed { message, retryable: false }) if parameters.tolerate_damage => {
                Ok(Done::real(unreadable(&shown, &message)))
            }
            looked => looked.map(Done::real),
        }
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        self.perform(context, parameters).await
    }
}

/// The same fields, of a file that gives nothing away.
fn unreadable(path: &str, why: &str) -> Value {
    json!({
        "path": path, "table_count": 0, "row_count": 0, "tables": {}, "integrity": why,
        "journal_mode": null, "user_version": null, "bytes": std::fs::metadata(path).map(|data| data.len()).ok(),
    })
}

fn look(connection: &Connection, path: &Path) -> Result<Value, Trouble> {
    let failed = |error| explain_sqlite(path, "inspecting", &error);
    // One snapshot for everything.
    connection.execute_batch("BEGIN").map_err(failed)?;
    let tables = super::count_rows(connection, path)?;
    let journal_mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
    let user_version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let bytes = std::fs::metadata(path).map_err(|error| Trouble::passing(format!("{}: {error}", path.display())))?.len();
    Ok(json!({
        "path": path.to_string_lossy(),
        "table_count": tables.len(),
        "row_count": tables.values().sum::<u64>(),
        "tables": tables,
        "integrity": super::integrity(connection, path)?,
        "journal_mode": journal_mode,
        "user_version": user_version,
        "bytes": bytes,
    }))
}

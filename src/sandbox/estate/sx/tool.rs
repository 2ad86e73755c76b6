//! `sx_db`, the application's command line, and `sx-service`, which asks the unit manager.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use rusqlite::OpenFlags;
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::data::{TABLES, USER_OWNED};
use super::registry::{self, Refused, SourceId};
use super::{Faults, Mode};
use crate::sandbox::estate::faults::Switches;

/// How long `sx-service` waits for a unit; longer than the manager itself does.
const SERVICE_PATIENCE: Duration = Duration::from_secs(90);

/// Moves and looks after the data of profiles. Every command prints one JSON value.
#[derive(Debug, Parser)]
#[command(name = "sx_db")]
struct SxDb {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Writes what people own (notes, metadata) to a file of JSON lines.
    Export {
        /// The profile.
        #[arg(long, value_parser = source)]
        source: SourceId,
        /// Exports from this SQLite file; without it, from PostgreSQL.
        #[arg(long)]
        sqlite: Option<PathBuf>,
        /// The items too.
        #[arg(long)]
        all: bool,
        /// The file to write; replaced if it is there.
        #[arg(long)]
        to: PathBuf,
    },
    /// Makes PostgreSQL hold what the SQLite file holds; only with `SX_DB_BACKEND_MODE=POSTGRES_PRIMARY`.
    Import {
        /// The profile.
        #[arg(long, value_parser = source)]
        source: SourceId,
        /// Its SQLite file; only read.
        #[arg(long)]
        sqlite: PathBuf,
    },
    /// Makes the schemas of sources and registers them; changes nothing that is sound already.
    PgBootstrap {
        /// The profile; may be given several times.
        #[arg(long, value_parser = source, required = true)]
        source: Vec<SourceId>,
    },
    /// Checks that every mapping of the registry leads to a whole schema.
    Registry {
        /// A profile that must have one.
        #[arg(long, value_parser = source)]
        expect: Vec<SourceId>,
    },
}

fn source(text: &str) -> Result<SourceId, String> {
    SourceId::parse(text).map_err(|refused| refused.to_string())
}

/// Runs `sx_db`. Secrets and the mode come from `environment`.
pub(super) async fn sx_db(args: Vec<String>, environment: &BTreeMap<String, String>) -> Result<(), Refused> {
    let parsed = SxDb::try_parse_from(std::iter::once("sx_db".to_owned()).chain(args));
    let SxDb { command } = parsed.map_err(|error| Refused(error.to_string()))?;
    let setting = |name: &str| {
        let value = environment.get(name).filter(|value| !value.is_empty());
        value.map(String::as_str).ok_or_else(|| Refused(format!("{name} is not set; nothing was done")))
    };
    let faults: Faults = Switches::new(environment.get("FAULTS_FILE").map_or("", String::as_str)).read();
    let answer = match command {
        DbCommand::Export { source, sqlite, all, to } => {
            let tables: &[&str] = if all { &TABLES } else { &USER_OWNED };
            let rows = match sqlite {
                Some(file) => rows_in_sqlite(&file, tables)?,
                None => rows_in_postgres(setting("SX_POSTGRES_DSN")?, &source, tables).await?,
            };
            export(&source, &rows, &to)?
        }
        DbCommand::Import { source, sqlite } => {
            if environment.get("SX_DB_BACKEND_MODE").and_then(|mode| Mode::parse(mode)) != Some(Mode::PostgresPrimary) {
                let message = "an import is for SX_DB_BACKEND_MODE=POSTGRES_PRIMARY, which is not set; nothing was imported";
                return Err(Refused(message.to_owned()));
            }
            registry::import(setting("SX_POSTGRES_DSN")?, &source, &sqlite, &faults).await?
        }
        DbCommand::PgBootstrap { source } => {
            let mut done = Vec::new();
            for source in &source {
                done.push(
                    registry::bootstrap(setting("SX_POSTGRES_ADMIN_DSN")?, setting("SX_POSTGRES_DSN")?, source, &faults).await?,
                );
            }
            json!({ "bootstrapped": done })
        }
        DbCommand::Registry { expect } => registry::integrity(setting("SX_POSTGRES_ADMIN_DSN")?, &expect).await?,
    };
    writeln!(io::stdout(), "{answer}").map_err(|error| Refused(error.to_string()))
}

type Rows = Vec<(String, Vec<Value>)>;

fn rows_in_sqlite(file: &Path, tables: &[&str]) -> Result<Rows, Refused> {
    let file = rusqlite::Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    file.execute_batch("BEGIN")?;
    tables.iter().map(|table| Ok(((*table).to_owned(), registry::rows_of(&file, table)?))).collect()
}

async fn rows_in_postgres(dsn: &str, source: &SourceId, tables: &[&str]) -> Result<Rows, Refused> {
    let mut connection = PgConnection::connect(dsn).await?;
    let mut all = Vec::new();
    for table in tables {
        let select = format!("SELECT to_jsonb(t)::text FROM {}.{table} t ORDER BY 1", source.schema());
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(select)).fetch_all(&mut connection).await?;
        let rows = rows.iter().map(|row| serde_json::from_str(row)).collect::<Result<_, _>>();
        all.push(((*table).to_owned(), rows.map_err(|error| Refused(error.to_string()))?));
    }
    connection.close().await?;
    Ok(all)
}

fn export(source: &SourceId, rows: &Rows, to: &Path) -> Result<Value, Refused> {
    let failed = |error: io::Error| Refused(format!("writing {}: {error}", to.display()));
    let partial = to.with_extension("partial");
    let mut file = io::BufWriter::new(std::fs::File::create(&partial).map_err(failed)?);
    let mut counts = Map::new();
    for (table, rows) in rows {
        for row in rows {
            writeln!(file, "{}", json!({ "source_id": source.as_str(), "table": table, "row": row })).map_err(failed)?;
        }
        counts.insert(table.clone(), json!(rows.len()));
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().and_then(|()| std::fs::rename(&partial, to)).map_err(failed)?;
    Ok(json!({ "source_id": source.as_str(), "file": to, "rows": counts }))
}

/// Starts, stops and restarts the processes of a profile.
#[derive(Debug, Parser)]
#[command(name = "sx-service")]
struct SxService {
    /// The manager's address.
    #[arg(long)]
    manager: String,
    /// What to do: start, stop, restart or status.
    #[arg(value_parser = ["start", "stop", "restart", "status"])]
    action: String,
    /// The unit, e.g. `assets_1` or `assets_1.candidate`.
    unit: String,
}

/// Runs `sx-service`: returns when the unit listens, or is gone.
pub(super) async fn sx_service(args: Vec<String>) -> Result<(), Refused> {
    let parsed = SxService::try_parse_from(std::iter::once("sx-service".to_owned()).chain(args));
    let SxService { manager, action, unit } = parsed.map_err(|error| Refused(error.to_string()))?;
    let client = reqwest::Client::builder().timeout(SERVICE_PATIENCE).no_proxy().build();
    let client = client.map_err(|error| Refused(error.to_string()))?;
    let url = format!("{manager}/units/{unit}");
    let request = if action == "status" { client.get(url) } else { client.post(format!("{url}/{action}")) };
    let unreachable = |error: reqwest::Error| Refused(format!("the unit manager does not answer: {error}"));
    let answer = request.send().await.map_err(unreachable)?;
    let (done, text) = (answer.status().is_success(), answer.text().await.map_err(unreachable)?);
    if !done {
        return Err(Refused(format!("{action} {unit}: {text}")));
    }
    writeln!(io::stdout(), "{text}").map_err(|error| Refused(error.to_string()))
}

//! Opening a journal: connect, refuse what would not be safe, bring the schema up to date.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, PgConnection};

use super::address::Address;
use super::db::{Db, Pool, classify};
use super::error::StoreError;
use super::journal::SharedJournal;
use super::sql_journal::SqlJournal;
use super::{migrate, queries};

/// One writer at a time anyway; the others read boards and audits.
const CONNECTIONS_MAX: u32 = 4;

/// How long a connection may take before the database counts as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long SQLite waits for another process's write lock. Our own writes take milliseconds; a backup tool's take longer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECTING: &str = "connecting";
const MIGRATING: &str = "bringing the schema up to date";

/// Opens the journal at `url`, creating it if it is not there, and brings its schema up to date.
/// `url` is `sqlite:/path/file.db`, a bare path, or `postgres://user:password@host:port/database`.
///
/// # Errors
/// [`StoreError::Address`], [`StoreError::CannotOpen`] and [`StoreError::SchemaNewer`] need a person;
/// [`StoreError::Unavailable`] may pass. Nothing is changed then.
pub async fn open(url: &SecretString) -> Result<SharedJournal, StoreError> {
    open_at(Address::parse(url.expose_secret())?, true).await
}

/// As [`open`], but refuses a SQLite file that is not there: for commands that look at a journal, such as the
/// audit, a new and empty one would be the wrong answer to a misspelt path.
///
/// # Errors
/// As [`open`].
pub async fn open_existing(url: &SecretString) -> Result<SharedJournal, StoreError> {
    open_at(Address::parse(url.expose_secret())?, false).await
}

async fn open_at(address: Address, create: bool) -> Result<SharedJournal, StoreError> {
    let place: Arc<str> = address.to_string().into();
    let pool = match address {
        Address::Sqlite(path) => open_sqlite(&place, &path, create).await?,
        Address::Postgres(url) => open_postgres(&place, url.as_str()).await?,
    };
    Ok(Arc::new(SqlJournal::new(Db { pool, place })))
}

async fn open_sqlite(place: &str, path: &Path, create: bool) -> Result<Pool, StoreError> {
    prepare_file(place, path, create)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A record counts as written only when it survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT);
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(BUSY_TIMEOUT + CONNECT_TIMEOUT)
        // On a full disk SQLite undoes the transaction by itself; the driver does not notice, and would refuse every
        // later transaction of that connection. A new one takes its place.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!sqlx::Connection::is_in_transaction(connection)) }))
        .connect_with(options)
        .await
        .map_err(|error| classify(place, CONNECTING, error))?;
    let migrator = migrate::sqlite();
    // SQLite has no lock around migrations: of two processes that create a journal at the same time one may find
    // the other's tables half-way. The second look finds them complete.
    let mut result = migrator.run(&pool).await;
    if matches!(result, Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..))) {
        result = migrator.run(&pool).await;
    }
    result.map_err(|error| migration_error(place, error))?;
    Ok(Pool::Sqlite(pool))
}

/// Creates a missing file for its owner alone, and turns the driver's "unable to open database file" into the reason.
fn prepare_file(place: &str, path: &Path, create: bool) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let result = std::fs::OpenOptions::new().read(true).write(true).create(create).mode(0o600).open(path);
    let Err(error) = result else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let reason = if path.is_dir() {
        "this is a folder: name a file in it".to_owned()
    } else if !folder.is_dir() {
        format!("the folder {} does not exist: create it and start again", folder.display())
    } else if !create && !path.exists() {
        "there is no such file, and a command that only looks does not create one: check the path".to_owned()
    } else {
        format!("{error}: make it and the folder {} writable for the user that runs pointsman", folder.display())
    };
    Err(StoreError::CannotOpen { place: place.to_owned(), reason })
}

async fn open_postgres(place: &str, url: &str) -> Result<Pool, StoreError> {
    let options: PgConnectOptions = url.parse().map_err(|_| StoreError::Address {
        // The driver's own words could quote a value of the query.
        reason: "the PostgreSQL URL has an option that the driver does not know".to_owned(),
    })?;
    let options = options.application_name("pointsman");
    // A single connection first: the pool would hide a refused one behind its time-out.
    let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options))
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(|error| classify(place, CONNECTING, error))?;
    require_utf8(place, &mut connection).await?;
    run_postgres_migrations(place, &migrate::postgres(), &mut connection).await?;
    // The connection has done its work; how its end goes is nobody's concern.
    let _ = connection.close().await;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(CONNECT_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(
                async move { sqlx::Executor::execute(connection, sqlx::raw_sql(queries::postgres::SESSION)).await.map(drop) },
            )
        })
        .connect_lazy_with(options);
    Ok(Pool::Postgres(pool))
}

async fn run_postgres_migrations(place: &str, migrator: &Migrator, connection: &mut PgConnection) -> Result<(), StoreError> {
    migrator.run(connection).await.map_err(|error| migration_error(place, error))
}

/// In another encoding the server would convert bodies, and the hash covers their bytes.
async fn require_utf8(place: &str, connection: &mut PgConnection) -> Result<(), StoreError> {
    let encoding: String = sqlx::query_scalar(queries::postgres::ENCODING)
        .fetch_one(connection)
        .await
        .map_err(|error| classify(place, CONNECTING, error))?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(StoreError::CannotOpen {
        place: place.to_owned(),
        reason: format!("the database has the encoding {encoding}; create one with `createdb -E UTF8 -T template0`"),
    })
}

fn migration_error(place: &str, error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _) => {
            StoreError::SchemaNewer { place: place.to_owned(), found, known: migrate::NEWEST }
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(place, MIGRATING, error),
        // Foreign and open-ended; each needs a person.
        other => StoreError::CannotOpen { place: place.to_owned(), reason: other.to_string() },
    }
}

//! One profile's rows, in either database. Each row comes as the JSON that the API shows, the same from both.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use super::Mode;
use super::data::TABLES;
use super::registry::SourceId;

/// How long a request waits for a database connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// A source that is known, and where its tables are.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) source: SourceId,
    /// What stands before a table's name: nothing, or `SCHEMA.`.
    prefix: String,
}

/// The database of a process. It connects when it is first asked something.
pub(super) enum Store {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A value for a `$n`.
enum Bind<'a> {
    Integer(i64),
    Text(&'a str),
    Boolean(bool),
}

macro_rules! bound {
    ($query:expr, $binds:expr) => {{
        let mut query = $query;
        for bind in $binds {
            query = match bind {
                Bind::Integer(number) => query.bind(*number),
                Bind::Text(text) => query.bind((*text).to_owned()),
                Bind::Boolean(boolean) => query.bind(*boolean),
            };
        }
        query
    }};
}

const ITEM_SQLITE: &str =
    "json_object('id', id, 'uid', uid, 'title', title, 'kind', kind, 'size_bytes', size_bytes, 'created_at', created_at)";
const ITEM_POSTGRES: &str = "json_build_object('id', id, 'uid', uid, 'title', title, 'kind', kind, 'size_bytes', size_bytes, \
     'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '+00:00')::text";
const NOTE_SQLITE: &str = "json_object('id', id, 'body', body, 'pinned', json(iif(pinned, 'true', 'false')))";
const NOTE_POSTGRES: &str = "json_build_object('id', id, 'body', body, 'pinned', pinned)::text";

impl Store {
    pub(super) fn sqlite(file: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(file).busy_timeout(PATIENCE);
        Self::Sqlite(SqlitePoolOptions::new().max_connections(4).acquire_timeout(PATIENCE).connect_lazy_with(options))
    }

    pub(super) fn postgres(dsn: &str) -> Result<Self, sqlx::Error> {
        Ok(Self::Postgres(PgPoolOptions::new().max_connections(4).acquire_timeout(PATIENCE).connect_lazy(dsn)?))
    }

    pub(super) fn mode(&self) -> Mode {
        match self {
            Self::Sqlite(_) => Mode::Sqlite,
            Self::Postgres(_) => Mode::PostgresPrimary,
        }
    }

    pub(super) async fn ping(&self) -> Result<(), sqlx::Error> {
        self.texts("SELECT '1'".to_owned(), &[]).await.map(drop)
    }

    /// Where the tables of `wanted` are, if it is known: in SQLite the process's own profile, in PostgreSQL what is registered.
    pub(super) async fn scope(&self, own: &SourceId, wanted: &SourceId) -> Result<Option<Scope>, sqlx::Error> {
        if self.mode() == Mode::Sqlite {
            return Ok((own == wanted).then(|| Scope { source: wanted.clone(), prefix: String::new() }));
        }
        let select = "SELECT schema_name FROM sx_registry.sources WHERE source_id = $1";
        let schema = self.texts(select.to_owned(), &[Bind::Text(wanted.as_str())]).await?;
        // Only a schema of the expected name is ever used: the registry's text never becomes SQL.
        let registered = schema.first().is_some_and(|schema| *schema == wanted.schema());
        Ok(registered.then(|| Scope { source: wanted.clone(), prefix: format!("{}.", wanted.schema()) }))
    }

    pub(super) async fn stats(&self, scope: &Scope) -> Result<Value, sqlx::Error> {
        let mut stats = json!({ "source_id": scope.source.as_str(), "backend": self.mode().backend() });
        for table in TABLES {
            let count = format!("SELECT CAST(count(*) AS text) FROM {}{table}", scope.prefix);
            let count = self.texts(count, &[]).await?;
            stats[table] = json!(count.first().and_then(|count| count.parse::<u64>().ok()));
        }
        Ok(stats)
    }

    pub(super) async fn items(&self, scope: &Scope, after: i64, limit: i64) -> Result<Vec<Value>, sqlx::Error> {
        let rest = format!("FROM {}items WHERE id > $1 ORDER BY id LIMIT $2", scope.prefix);
        self.rows(self.item_columns(), &rest, &[Bind::Integer(after), Bind::Integer(limit)]).await
    }

    pub(super) async fn item(&self, scope: &Scope, id: i64) -> Result<Option<Value>, sqlx::Error> {
        let rest = format!("FROM {}items WHERE id = $1", scope.prefix);
        Ok(self.rows(self.item_columns(), &rest, &[Bind::Integer(id)]).await?.into_iter().next())
    }

    pub(super) async fn search(&self, scope: &Scope, text: &str, limit: i64) -> Result<Vec<Value>, sqlx::Error> {
        let position = match self.mode() {
            Mode::Sqlite => "instr(lower(title), lower($1))",
            Mode::PostgresPrimary => "strpos(lower(title), lower($1))",
        };
        let rest = format!("FROM {}items WHERE {position} > 0 ORDER BY id LIMIT $2", scope.prefix);
        self.rows(self.item_columns(), &rest, &[Bind::Text(text), Bind::Integer(limit)]).await
    }

    pub(super) async fn meta(&self, scope: &Scope, id: i64) -> Result<Option<Value>, sqlx::Error> {
        let rest = format!("FROM {}item_meta WHERE item_id = $1", scope.prefix);
        Ok(self.rows("CAST(meta AS text)", &rest, &[Bind::Integer(id)]).await?.into_iter().next())
    }

    pub(super) async fn set_meta(&self, scope: &Scope, id: i64, meta: &Value) -> Result<(), sqlx::Error> {
        let cast = if self.mode() == Mode::Sqlite { "$2" } else { "$2::jsonb" };
        let upsert = format!(
            "INSERT INTO {}item_meta (item_id, meta) VALUES ($1, {cast}) ON CONFLICT (item_id) DO UPDATE SET meta = excluded.meta \
             RETURNING CAST(item_id AS text)",
            scope.prefix
        );
        self.texts(upsert, &[Bind::Integer(id), Bind::Text(&meta.to_string())]).await.map(drop)
    }

    pub(super) async fn notes(&self, scope: &Scope, id: i64) -> Result<Vec<Value>, sqlx::Error> {
        let columns = if self.mode() == Mode::Sqlite { NOTE_SQLITE } else { NOTE_POSTGRES };
        self.rows(columns, &format!("FROM {}notes WHERE item_id = $1 ORDER BY id", scope.prefix), &[Bind::Integer(id)]).await
    }

    /// Adds a note and returns its id.
    pub(super) async fn add_note(&self, scope: &Scope, item: i64, body: &str, pinned: bool) -> Result<i64, sqlx::Error> {
        let now = match self.mode() {
            Mode::Sqlite => "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')",
            Mode::PostgresPrimary => "now()",
        };
        let insert = format!(
            "INSERT INTO {}notes (item_id, body, pinned, created_at) VALUES ($1, $2, $3, {now}) RETURNING CAST(id AS text)",
            scope.prefix
        );
        let ids = self.texts(insert, &[Bind::Integer(item), Bind::Text(body), Bind::Boolean(pinned)]).await?;
        ids.first().and_then(|id| id.parse().ok()).ok_or(sqlx::Error::RowNotFound)
    }

    /// Deletes a note of an item; false if there is none.
    pub(super) async fn delete_note(&self, scope: &Scope, item: i64, note: i64) -> Result<bool, sqlx::Error> {
        let delete = format!("DELETE FROM {}notes WHERE item_id = $1 AND id = $2 RETURNING CAST(id AS text)", scope.prefix);
        Ok(!self.texts(delete, &[Bind::Integer(item), Bind::Integer(note)]).await?.is_empty())
    }

    /// The first item of any other registered source, for the fault that lets one through.
    pub(super) async fn item_of_another(&self, scope: &Scope) -> Result<Option<Value>, sqlx::Error> {
        let others = "SELECT source_id FROM sx_registry.sources WHERE source_id <> $1 ORDER BY 1";
        let others = self.texts(others.to_owned(), &[Bind::Text(scope.source.as_str())]).await?;
        let Some(other) = others.first().and_then(|id| SourceId::parse(id).ok()) else { return Ok(None) };
        let foreign = Scope { prefix: format!("{}.", other.schema()), source: other };
        Ok(self.items(&foreign, 0, 1).await?.into_iter().next())
    }

    fn item_columns(&self) -> &'static str {
        match self.mode() {
            Mode::Sqlite => ITEM_SQLITE,
            Mode::PostgresPrimary => ITEM_POSTGRES,
        }
    }

    async fn rows(&self, columns: &str, rest: &str, binds: &[Bind<'_>]) -> Result<Vec<Value>, sqlx::Error> {
        let texts = self.texts(format!("SELECT {columns} {rest}"), binds).await?;
        texts.iter().map(|text| serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))).collect()
    }

    /// Runs a statement that gives one column of text. Names in it are ours or made of [`SourceId`]s.
    async fn texts(&self, sql: String, binds: &[Bind<'_>]) -> Result<Vec<String>, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => bound!(sqlx::query_scalar(AssertSqlSafe(sql)), binds).fetch_all(pool).await,
            Self::Postgres(pool) => bound!(sqlx::query_scalar(AssertSqlSafe(sql)), binds).fetch_all(pool).await,
        }
    }
}

//! The PostgreSQL side: dedicated connections with known settings, and the schema as the catalog reports it.
//!
//! Connections are never pooled: a cancelled COPY leaves a connection out of step, and the only
//! safe thing to do with it is to drop it.

use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::create::Offenders;
use super::error::{Error, Mismatch, describe};
use super::kind::Kind;
use super::source::quoted;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Known settings for every session: they decide how values are read and written, and keep
/// time-outs of the role or database from ending a long load.
const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; \
    SET extra_float_digits = 1; SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET xmloption = 'content'; \
    SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET client_min_messages = 'warning'";

/// Where the target is, without any secret: `user@host:port/database`.
pub fn address(target: &SecretString) -> Result<String, Error> {
    options(target).map(|(_, address)| address)
}

/// Opens a dedicated connection.
///
/// # Errors
/// [`Error::Url`] for an unusable address, [`Error::Connect`] when the server does not answer or refuses.
pub(super) async fn connect(target: &SecretString) -> Result<PgConnection, Error> {
    let (options, address) = options(target)?;
    let failed =
        |reason: String, retryable| Error::Connect { address: address.clone(), reason: scrub(reason, target), retryable };
    let attempt = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
    let mut connection = match attempt {
        Err(_) => {
            return Err(failed(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()), true));
        }
        Ok(Err(error)) => {
            let (reason, _, transient) = describe(&error);
            return Err(failed(reason, transient || matches!(error, sqlx::Error::Io(_))));
        }
        Ok(Ok(connection)) => connection,
    };
    execute(&mut connection, "preparing the session", SESSION).await?;
    // Only some servers and platforms can watch the client's socket while they compute; it is a courtesy.
    let _ = connection.execute("SET client_connection_check_interval = '2s'").await;
    Ok(connection)
}

/// Says good-bye, so that the server gives the place free at once. Whether it heard does not matter: the work is done.
pub(super) async fn close(connection: PgConnection) {
    let _ = connection.close().await;
}

/// Runs one or several statements without parameters.
pub(super) async fn execute(connection: &mut PgConnection, doing: &str, sql: impl Into<String>) -> Result<(), Error> {
    let statement = sqlx::raw_sql(AssertSqlSafe(sql.into()));
    connection.execute(statement).await.map(drop).map_err(|error| Error::server(doing, &error))
}

fn options(target: &SecretString) -> Result<(PgConnectOptions, String), Error> {
    let text = target.expose_secret();
    let url = url::Url::parse(text)
        .map_err(|error| Error::Url(format!("{error}; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(Error::Url("its scheme must be `postgres`; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned()));
    }
    let names_user = !url.username().is_empty() || url.query_pairs().any(|(key, value)| key == "user" && !value.is_empty());
    if !names_user {
        return Err(Error::Url("it names no user, and none is guessed; write postgres://USER@HOST:PORT/DATABASE".to_owned()));
    }
    let options = PgConnectOptions::from_str(text).map_err(|error| Error::Url(scrub(error.to_string(), target)))?;
    let Some(database) = options.get_database().map(ToOwned::to_owned) else {
        return Err(Error::Url("it names no database; write postgres://USER@HOST:PORT/DATABASE".to_owned()));
    };
    let address = format!("{}@{}:{}/{database}", options.get_username(), options.get_host(), options.get_port());
    Ok((options.application_name("pointsman copy").disable_statement_logging(), address))
}

/// Takes the password out of a message, in case a library put it there.
fn scrub(message: String, target: &SecretString) -> String {
    let text = target.expose_secret();
    let password = url::Url::parse(text).ok().and_then(|url| url.password().map(ToOwned::to_owned)).unwrap_or_default();
    let message = message.replace(text, "[url]");
    if password.is_empty() { message } else { message.replace(&password, "[password]") }
}

/// One table of the target.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) oid: i64,
    /// Whether its rows live in partitions, where a row's place alone does not name it.
    pub(super) partitioned: bool,
    pub(super) columns: Vec<Column>,
}

impl Table {
    /// The table's name, quoted and with its schema.
    pub(super) fn qualified(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// One column of the target.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type as PostgreSQL writes it.
    pub(super) type_name: String,
    pub(super) kind: Kind,
    pub(super) not_null: bool,
    /// Whether a value comes by itself when none is given.
    pub(super) has_default: bool,
    /// Whether PostgreSQL computes the value.
    pub(super) generated: bool,
    /// The sequence behind an identity or serial column, quoted and with its schema.
    pub(super) sequence: Option<String>,
}

/// A foreign key or trigger of the target that must rest while rows are loaded.
#[derive(Debug, Clone)]
pub(super) struct Resting {
    /// The table that carries it, quoted and with its schema.
    pub(super) table: String,
    pub(super) what: &'static str,
    pub(super) name: String,
    /// Takes it away.
    pub(super) drop: String,
    /// Brings it back as it was.
    pub(super) restore: String,
    /// The rows that keep it from coming back.
    pub(super) offenders: Option<Offenders>,
}

/// Ordinary tables of `schema` with their columns, by name.
pub(super) async fn read_tables(connection: &mut PgConnection, schema: &str) -> Result<Vec<Table>, Error> {
    let doing = "reading the target's schema";
    let rows =
        sqlx::query(TABLES).bind(schema).fetch_all(&mut *connection).await.map_err(|error| Error::server(doing, &error))?;
    let mut tables: Vec<Table> = Vec::new();
    for row in rows {
        let read = || -> Result<(Table, Option<Column>), sqlx::Error> {
            let table = Table {
                schema: schema.to_owned(),
                name: row.try_get("table_name")?,
                oid: row.try_get("oid")?,
                partitioned: row.try_get("partitioned")?,
                columns: Vec::new(),
            };
            if row.try_get::<Option<String>, _>("column_name")?.is_none() {
                return Ok((table, None));
            }
            Ok((table, Some(read_column(&row)?)))
        };
        let (table, column) = read().map_err(|error| Error::server(doing, &error))?;
        if tables.last().is_none_or(|last| last.oid != table.oid) {
            tables.push(table);
        }
        if let Some(last) = tables.last_mut() {
            last.columns.extend(column);
        }
    }
    Ok(tables)
}

fn read_column(row: &sqlx::postgres::PgRow) -> Result<Column, sqlx::Error> {
    let labels: Vec<String> = row.try_get("labels")?;
    Ok(Column {
        name: row.try_get("column_name")?,
        type_name: row.try_get("type_name")?,
        kind: Kind::from_catalog(row.try_get("base_name")?, row.try_get("modifier")?, labels),
        not_null: row.try_get("not_null")?,
        has_default: row.try_get("has_default")?,
        generated: row.try_get("generated")?,
        sequence: row.try_get("sequence")?,
    })
}

/// A domain's base type is taken, one level deep; a domain over a domain is read by PostgreSQL from text.
/// A sequence counts when the column owns it (identity, serial) or when its default calls it.
const TABLES: &str = "
SELECT c.oid::int8 AS oid, c.relkind = 'p' AS partitioned, c.relname AS table_name, a.attname AS column_name,
       format_type(a.atttypid, a.atttypmod) AS type_name,
       coalesce(b.typname, t.typname)::text AS base_name,
       CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier,
       a.attnotnull OR t.typnotnull AS not_null,
       a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL AS has_default,
       a.attgenerated <> '' AS generated,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = coalesce(b.oid, t.oid) ORDER BY e.enumsortorder) AS labels,
       coalesce(pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), a.attname),
         (SELECT format('%I.%I', sn.nspname, s.relname) FROM pg_attrdef d
            JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass
            JOIN pg_class s ON s.oid = p.refobjid AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace
           WHERE d.adrelid = c.oid AND d.adnum = a.attnum LIMIT 1)) AS sequence
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
 WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
 ORDER BY c.relname, c.oid, a.attnum";

/// Names in `schema` that no new table can have: of relations of every kind, and of types. PostgreSQL itself makes way for a table with the
/// types of arrays.
pub(super) async fn read_names(connection: &mut PgConnection, schema: &str) -> Result<Vec<String>, Error> {
    let names = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1
         UNION SELECT t.typname::text FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $1 AND t.typcategory <> 'A'",
    );
    names
        .bind(schema)
        .fetch_all(connection)
        .await
        .map_err(|error| Error::server("reading the names in the target's schema", &error))
}

/// Whether the table holds at least one row.
pub(super) async fn has_rows(connection: &mut PgConnection, table: &Table) -> Result<bool, Error> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", table.qualified());
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .map_err(|error| Error::server(format!("looking whether table `{}` is empty", table.name), &error))
}

/// Foreign keys and user triggers of these tables, which would reject or change rows in mid-load.
pub(super) async fn read_resting(connection: &mut PgConnection, oids: &[i64]) -> Result<Vec<Resting>, Error> {
    let doing = "reading the target's foreign keys and triggers";
    let failed = |error| Error::server(doing, &error);
    let mut resting = Vec::new();
    let keys = sqlx::query_as::<_, (String, String, String, String, Vec<String>, Vec<String>)>(
        "SELECT concat('\"', replace(n.nspname, '\"', '\"\"'), '\".\"', replace(c.relname, '\"', '\"\"'), '\"'), k.conname::text, pg_get_constraintdef(k.oid),
                (SELECT format('%I.%I', pn.nspname, p.relname) FROM pg_class p JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE p.oid = k.confrelid),
                ARRAY(SELECT quote_ident(a.attname) FROM unnest(k.conkey) WITH ORDINALITY u(n, o) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o),
                ARRAY(SELECT quote_ident(a.attname) FROM unnest(k.confkey) WITH ORDINALITY u(n, o) JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o)
           FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid::int8 = ANY($1) ORDER BY 1, 2",
    );
    for (table, name, definition, parent, from, to) in keys.bind(oids).fetch_all(&mut *connection).await.map_err(failed)? {
        resting.push(Resting {
            drop: format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {}", quoted(&name)),
            offenders: Some(Offenders::orphans(&table, &from, &parent, &to)),
            restore: format!("ALTER TABLE {table} ADD CONSTRAINT {} {definition}", quoted(&name)),
            what: "foreign key",
            table,
            name,
        });
    }
    let triggers = sqlx::query_as::<_, (String, String, String)>(
        "SELECT concat('\"', replace(n.nspname, '\"', '\"\"'), '\".\"', replace(c.relname, '\"', '\"\"'), '\"'), t.tgname::text, t.tgenabled::text
           FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgrelid::int8 = ANY($1) ORDER BY 1, 2",
    );
    for (table, name, enabled) in triggers.bind(oids).fetch_all(&mut *connection).await.map_err(failed)? {
        let mode = match enabled.as_str() {
            "A" => "ENABLE ALWAYS",
            "R" => "ENABLE REPLICA",
            _ => "ENABLE",
        };
        resting.push(Resting {
            drop: format!("ALTER TABLE {table} DISABLE TRIGGER {}", quoted(&name)),
            restore: format!("ALTER TABLE {table} {mode} TRIGGER {}", quoted(&name)),
            what: "trigger",
            offenders: None,
            table,
            name,
        });
    }
    Ok(resting)
}

/// Finds the table that a source table of this name fills: the same name, else the same in lower case, else
/// the only one that is equal without regard to case.
pub(super) fn find_table<'a>(tables: &'a [Table], name: &str) -> Result<Option<&'a Table>, Mismatch> {
    find(tables, name, |table| &table.name)
}

/// Finds a column by the same rule.
pub(super) fn find_column<'a>(columns: &'a [Column], name: &str) -> Result<Option<&'a Column>, Mismatch> {
    find(columns, name, |column| &column.name)
}

fn find<'a, T>(items: &'a [T], name: &str, name_of: impl Fn(&T) -> &String) -> Result<Option<&'a T>, Mismatch> {
    let lower = name.to_lowercase();
    let exact = items.iter().find(|item| name_of(item) == name).or_else(|| items.iter().find(|item| *name_of(item) == lower));
    if exact.is_some() {
        return Ok(exact);
    }
    let mut alike = items.iter().filter(|item| name_of(item).to_lowercase() == lower);
    match (alike.next(), alike.next()) {
        (first, None) => Ok(first),
        _ => Err(Mismatch { what: name.to_owned(), says: "several names of the target differ from it only in case".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        address(&SecretString::from(url.to_owned())).expect_err("is refused").to_string()
    }

    #[test]
    fn a_url_without_user_or_database_is_refused_with_the_form_that_is_expected() {
        assert!(refusal("postgres://db.example:5432/app").contains("names no user"));
        assert!(refusal("postgres://u@db.example").contains("names no database"));
        assert!(refusal("mysql://u@db.example/app").contains("postgres://USER"));
        assert!(refusal("nonsense").contains("postgres://USER"));
    }

    #[test]
    fn no_message_holds_the_password() {
        let url = "postgres://u:hunter2@db.example:6432/app";
        assert_eq!(address(&SecretString::from(url.to_owned())).expect("usable"), "u@db.example:6432/app");
        assert!(!refusal("postgres://u:hunter2@db.example:6432/app?sslmode=sometimes").contains("hunter2"));
        assert_eq!(
            scrub(format!("cannot reach {url}: hunter2"), &SecretString::from(url.to_owned())),
            "cannot reach [url]: [password]"
        );
    }
}

//! Rows and content of every table, computed by the server that holds them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::actions::action::Trouble;
use crate::actions::context::Context;
use crate::actions::sql::{Session, cancellable};
use crate::actions::target::PostgresAddress;

/// The tables of a database, by `schema.table`. Materialised views, sequences and large objects are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Census {
    pub(super) tables: BTreeMap<String, Count>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) rows: u64,
    /// Sum of a hash of every row's text: equal in any order, different when a value is.
    pub(super) checksum: String,
}

/// Everything that decides how a value is written as text.
const SAME_TEXT: &str = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC';
    SET extra_float_digits = 1; SET bytea_output = 'hex'; SET statement_timeout = 0; SET row_security = off";

/// Tables that hold rows of their own; those of extensions and of PostgreSQL itself are left out.
const TABLES: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1";

impl Census {
    /// How many rows there are in all.
    pub(super) fn rows(&self) -> u64 {
        self.tables.values().map(|count| count.rows).sum()
    }

    /// Rows by table, for results.
    pub(super) fn by_table(&self) -> BTreeMap<&str, u64> {
        self.tables.iter().map(|(name, count)| (name.as_str(), count.rows)).collect()
    }

    /// What is different in `found`, for people; empty if nothing is.
    pub(super) fn differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (name, count) in &self.tables {
            match found.tables.get(name) {
                None => differences.push(format!("{name} is missing")),
                Some(other) if other.rows != count.rows => {
                    differences.push(format!("{name} has {} rows, expected {}", other.rows, count.rows));
                }
                Some(other) if other.checksum != count.checksum => {
                    differences.push(format!("{name} has the right number of rows with other content"));
                }
                Some(_) => {}
            }
        }
        let more = found.tables.keys().filter(|name| !self.tables.contains_key(*name));
        differences.extend(more.map(|name| format!("{name} should not be there")));
        differences
    }
}

/// Sets the connection up so that equal values are equal text.
pub(super) async fn same_text(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SAME_TEXT).execute(connection).await.map(|_| ())
}

/// The names of the tables that a census is of.
pub(super) async fn tables(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar::<_, String>(TABLES).fetch_all(connection).await
}

/// Counts every table on the session, in whatever transaction it is. `what` says for people what for.
pub(super) async fn take(
    context: &Context,
    address: &PostgresAddress,
    session: &mut Session,
    what: &str,
) -> Result<Census, Trouble> {
    let pid = session.pid;
    let connection = &mut session.connection;
    let work = async {
        same_text(&mut *connection).await?;
        let names = tables(&mut *connection).await?;
        let mut census = Census::default();
        for (index, name) in names.iter().enumerate() {
            context.progress(index as u64, Some(names.len() as u64), "tables", what);
            census.tables.insert(name.clone(), count(&mut *connection, name).await?);
        }
        context.progress(names.len() as u64, Some(names.len() as u64), "tables", what);
        Ok(census)
    };
    cancellable(context, address, pid, "counting the tables of", work).await
}

async fn count(connection: &mut PgConnection, quoted: &str) -> Result<Count, sqlx::Error> {
    // The name comes quoted from the catalog. ONLY: a child's rows are counted with the child.
    let sql = format!(
        "SELECT count(*), coalesce(sum(('x' || substr(md5(t::text), 1, 16))::bit(64)::bigint::numeric), 0)::text FROM ONLY {quoted} AS t"
    );
    let (rows, checksum) = sqlx::query_as::<_, (i64, String)>(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok(Count { rows: rows.unsigned_abs(), checksum })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(tables: &[(&str, u64, &str)]) -> Census {
        let count = |(name, rows, checksum): &(&str, u64, &str)| {
            ((*name).to_owned(), Count { rows: *rows, checksum: (*checksum).to_owned() })
        };
        Census { tables: tables.iter().map(count).collect() }
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let dumped = census(&[("a", 1, "x"), ("b", 2, "x"), ("c", 3, "x"), ("d", 4, "x")]);
        assert!(dumped.differences(&dumped).is_empty());
        let restored = census(&[("a", 1, "x"), ("b", 1, "x"), ("c", 3, "y"), ("e", 0, "0")]);
        assert_eq!(
            dumped.differences(&restored),
            [
                "b has 1 rows, expected 2",
                "c has the right number of rows with other content",
                "d is missing",
                "e should not be there"
            ]
        );
    }
}

//! Sequences and identities after the rows: set beyond what they may not hand out again, and tried.

use rusqlite::types::ValueRef;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::report::{SequenceProof, SequenceReport};
use crate::transfer::cast::convert;
use crate::transfer::error::Error;
use crate::transfer::plan::{ColumnPlan, TablePlan};
use crate::transfer::source::quoted;
use crate::transfer::target::{self, execute};

/// A column with the sequence behind it.
struct Drawing<'a> {
    table: &'a TablePlan,
    column: &'a ColumnPlan,
    found: &'a target::Table,
    sequence: &'a str,
    doing: String,
}

/// Sets a sequence beyond every value of its column, in source and target, and beyond what SQLite's AUTOINCREMENT has handed out, never back; then
/// inserts a row that gets its key from it, and rolls that back.
///
/// # Errors
/// [`Error::Server`], also when the sequence hands out a key that a row holds.
pub(super) async fn set(
    control: &mut PgConnection,
    table: &TablePlan,
    column: &ColumnPlan,
    found: &target::Table,
    sequence: &str,
) -> Result<SequenceReport, Error> {
    let doing = format!("setting sequence {sequence} of `{}.{}`", table.name(), column.name);
    let drawing = Drawing { table, column, found, sequence, doing };
    let next = drawing.advance(control).await?;
    let (next, proof) = match next {
        Some(next) => (next, drawing.prove(control, next).await?),
        None => (i64::MAX, SequenceProof::Exhausted),
    };
    Ok(SequenceReport { sequence: sequence.to_owned(), column: format!("{}.{}", table.name(), column.name), next, proof })
}

impl Drawing<'_> {
    fn failed(&self, error: &sqlx::Error) -> Error {
        Error::server(&self.doing, error)
    }

    /// Moves the sequence if need be; returns what it hands out next, `None` at the end of 64 bits.
    async fn advance(&self, control: &mut PgConnection) -> Result<Option<i64>, Error> {
        let is_key = self.table.source.primary_key == [self.column.source];
        // Rows that were put aside keep their keys, unless the column could not hold them.
        let fits = |key: &i64| convert(ValueRef::Integer(*key), &self.column.kind, None, false).is_ok();
        let handed_out = self.table.source.handed_out.filter(|key| is_key && fits(key));
        let read = format!(
            "SELECT p.seqincrement, s.is_called, s.last_value,
                    (SELECT CASE WHEN p.seqincrement > 0 THEN max({0}) ELSE min({0}) END::int8 FROM {1} AS own)
               FROM {2} s, pg_sequence p WHERE p.seqrelid = '{3}'::regclass",
            quoted(&self.column.target),
            self.table.target.qualified(),
            self.sequence,
            self.sequence.replace('\'', "''"),
        );
        let (step, is_called, stands, last): (i64, bool, i64, Option<i64>) =
            sqlx::query_as(AssertSqlSafe(read)).fetch_one(&mut *control).await.map_err(|error| self.failed(&error))?;
        let next = if is_called { stands.checked_add(step) } else { Some(stands) };
        let last = if step > 0 { last.max(handed_out) } else { last };
        let is_behind = |last: &i64| next.is_some_and(|next| if step > 0 { *last >= next } else { *last <= next });
        let Some(last) = last.filter(is_behind) else { return Ok(next) };
        let set = sqlx::query("SELECT setval($1::regclass, $2)").bind(self.sequence).bind(last);
        set.execute(&mut *control).await.map_err(|error| self.failed(&error))?;
        Ok(last.checked_add(step))
    }

    /// Draws the next key in a transaction that is rolled back, as realistically as the table lets: with a copy of a row, with a row of
    /// defaults, or, where other keys or conditions refuse both, by itself.
    async fn prove(&self, control: &mut PgConnection, next: i64) -> Result<SequenceProof, Error> {
        execute(control, &self.doing, "BEGIN; SAVEPOINT proof").await?;
        let proven = self.prove_in_transaction(control, next).await;
        if proven.is_ok() {
            execute(control, &self.doing, "ROLLBACK").await?;
        }
        proven
    }

    async fn prove_in_transaction(&self, control: &mut PgConnection, next: i64) -> Result<SequenceProof, Error> {
        // A sequence that is restarted in a transaction comes back with it, so that the proof uses no number up. What the application's
        // triggers do may not come back, so they rest.
        let table = self.table.target.qualified();
        let restart = format!("ALTER SEQUENCE {} RESTART WITH {next}", self.sequence);
        let rests = self.attempt(control, &format!("ALTER TABLE {table} DISABLE TRIGGER USER")).await?.is_some();
        let key = quoted(&self.column.target);
        let others = self.found.columns.iter().filter(|column| column.name != self.column.target && !column.generated);
        let others = others.map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
        let inserts = [
            (
                SequenceProof::CopiedRow,
                format!("INSERT INTO {table} ({others}) SELECT {others} FROM {table} LIMIT 1 RETURNING {key}::int8"),
            ),
            (SequenceProof::DefaultRow, format!("INSERT INTO {table} DEFAULT VALUES RETURNING {key}::int8")),
        ];
        for (proof, insert) in inserts.into_iter().filter(|_| rests) {
            self.attempt(control, &restart).await?;
            if self.attempt(control, &insert).await? == Some(1) {
                return Ok(proof);
            }
        }
        self.attempt(control, &restart).await?;
        let draw =
            format!("SELECT count(*) FROM {table} WHERE {key} = (SELECT nextval('{}'))", self.sequence.replace('\'', "''"));
        let holders: i64 =
            sqlx::query_scalar(AssertSqlSafe(draw)).fetch_one(control).await.map_err(|error| self.failed(&error))?;
        if holders == 0 {
            return Ok(SequenceProof::FreeNumber);
        }
        Err(Error::Server {
            doing: self.doing.clone(),
            reason: format!("it hands out {next}, which a row of the table holds; set it by hand and resume"),
            sqlstate: String::new(),
            retryable: false,
        })
    }

    /// Runs one statement; `None` when the server refuses it, with nothing changed, else how many rows it touched.
    async fn attempt(&self, control: &mut PgConnection, statement: &str) -> Result<Option<u64>, Error> {
        match sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut *control).await {
            Ok(done) => execute(control, &self.doing, "RELEASE SAVEPOINT proof; SAVEPOINT proof")
                .await
                .map(|()| Some(done.rows_affected())),
            Err(sqlx::Error::Database(_)) => execute(control, &self.doing, "ROLLBACK TO SAVEPOINT proof").await.map(|()| None),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

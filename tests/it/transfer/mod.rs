//! The movers against a real SQLite file and a real PostgreSQL server.

mod applications;
mod casts;
mod command;
mod connections;
mod copying;
mod crashing;
mod hostile;
mod names;
mod reading;
mod resuming;
mod verifying;
mod zoo;

use std::path::PathBuf;

use pointsman::transfer::copy::{self, Options, Progress};
use pointsman::transfer::{Error, verify};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::harness::postgres::TestDatabase;

/// A SQLite file and an empty PostgreSQL database.
pub(super) struct Pair {
    directory: TempDir,
    database: TestDatabase,
}

impl Pair {
    /// A pair whose SQLite file was made by `sql`.
    pub(super) async fn new(sql: &str) -> Self {
        let pair = Self { directory: tempfile::tempdir().expect("a directory"), database: TestDatabase::new().await };
        pair.sqlite(sql);
        pair
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("app.sqlite")
    }

    pub(super) fn url(&self) -> SecretString {
        SecretString::from(self.database.url.clone())
    }

    /// Changes the SQLite file. `series(N)` in the SQL stands for a table of one column `value` from 1 to N.
    pub(super) fn sqlite(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.path()).expect("opens");
        // As in most programs that use SQLite; the bundled library has it on.
        connection.execute_batch("PRAGMA foreign_keys = off").expect("a pragma");
        let series =
            "(WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s WHERE value < $1) SELECT value FROM s)";
        let sql = regex::Regex::new(r"series\((\d+)\)").expect("a pattern").replace_all(sql, series);
        connection.execute_batch(&sql).expect("the SQL is valid");
    }

    pub(super) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.expect("connects")
    }

    /// Changes the PostgreSQL database.
    pub(super) async fn postgres(&self, sql: &str) {
        self.connect().await.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.expect("the SQL is valid");
    }

    /// The first column of every row, as text, joined by `|`.
    pub(super) async fn read(&self, sql: &str) -> String {
        let rows: Vec<Option<String>> = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut self.connect().await)
            .await
            .expect("the query is valid");
        rows.into_iter().map(|value| value.unwrap_or_else(|| "NULL".to_owned())).collect::<Vec<_>>().join("|")
    }

    pub(super) async fn copy(&self, options: &Options) -> Result<copy::Report, Error> {
        copy::run(&self.path(), &self.url(), options, &ignore, &CancellationToken::new()).await
    }

    pub(super) async fn rehearse(&self, options: &Options) -> Result<copy::Report, Error> {
        copy::rehearse(&self.path(), &self.url(), options, &ignore, &CancellationToken::new()).await
    }

    pub(super) async fn verify(&self, options: &verify::Options) -> verify::Report {
        verify::run(&self.path(), &self.url(), options, &|_, _| {}, &CancellationToken::new())
            .await
            .expect("both sides can be read")
    }

    /// Expects that the copy is verified without any difference.
    pub(super) async fn expect_verified(&self, options: &Options) -> verify::Report {
        let report = self.verify(&verify::Options::of_copy(options)).await;
        assert_eq!(report.failed, 0, "{}", report.to_markdown());
        report
    }
}

pub(super) fn ignore(_: Progress) {}

/// Options with one stream and small batches, so that few rows make many batches.
pub(super) fn options(batch_rows: usize) -> Options {
    Options { batch_rows, streams: 1, ..Options::new("test") }
}

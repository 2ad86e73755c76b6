//! A fresh PostgreSQL database for each test, on the server that `bin/test` started.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::Connection;

/// A database that only this test knows. It goes with the throw-away server.
pub(crate) struct TestDatabase {
    /// `postgres://user@host:port/name`
    pub(crate) url: String,
}

impl TestDatabase {
    /// Creates an empty database.
    pub(crate) async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let server = server_url();
        let mut admin = sqlx::PgConnection::connect(&server).await.expect("the test server answers");
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut admin)
            .await
            .expect("a test database can be created");
        admin.close().await.expect("closes");
        let base = server.rsplit_once('/').expect("the server's URL ends in a database").0;
        Self { url: format!("{base}/{name}") }
    }
}

/// The URL of the server's own `postgres` database.
#[expect(clippy::disallowed_methods, reason = "the one setting of the tests: where their server is")]
pub(crate) fn server_url() -> String {
    std::env::var("POINTSMAN_TEST_POSTGRES")
        .expect("POINTSMAN_TEST_POSTGRES is not set: run the tests with `bin/test`, which starts their server")
}

//! Never more connections than configured: the server counts them, and refuses one more.

use pointsman::transfer::copy::{self, OnFault, Options};
use pointsman::transfer::{Error, verify};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use super::{Pair, ignore};

/// Every kind of work after the rows as well: indexes side by side, keys, foreign keys with an orphan to sweep, sequences.
const TABLES: &str = "
CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE c (id INTEGER PRIMARY KEY, p INT REFERENCES p, at TEXT, note TEXT);
CREATE INDEX by_at ON c (at); CREATE INDEX by_note ON c (note); CREATE INDEX by_p ON c (p);
INSERT INTO p SELECT value, 'n' || value FROM series(300);
INSERT INTO c SELECT value, value % 301 + 1, 'at ' || value, 'note' FROM series(900);";

fn options(streams: usize) -> Options {
    Options { streams, batch_rows: 100, on_fault: OnFault::Quarantine, ..Options::new("counted") }
}

impl Pair {
    /// The URL for a new user, who is no superuser and whom the server gives `limit` connections; `grants` is SQL about `{user}`.
    async fn limited_user(&self, limit: usize, grants: &str) -> SecretString {
        let mut url = url::Url::parse(self.url().expose_secret()).expect("a URL");
        let user = format!("user_{}_{limit}", url.path().trim_start_matches('/'));
        self.postgres(&format!("CREATE ROLE {user} LOGIN CONNECTION LIMIT {limit}; {}", grants.replace("{user}", &user))).await;
        url.set_username(&user).expect("a user");
        SecretString::from(url.to_string())
    }

    /// The URL for a user who owns the database.
    async fn limited_owner(&self, limit: usize) -> SecretString {
        let database = url::Url::parse(self.url().expose_secret()).expect("a URL").path().trim_start_matches('/').to_owned();
        self.limited_user(limit, &format!("ALTER DATABASE {database} OWNER TO {{user}}; ALTER SCHEMA public OWNER TO {{user}}"))
            .await
    }
}

fn expect_no_place(error: &Error) {
    assert!(matches!(error, Error::Connect { retryable: true, .. }), "{error}");
    assert!(error.to_string().contains("too many connections for role"), "{error}");
}

#[tokio::test]
async fn a_copy_takes_one_connection_for_each_stream_and_one_more() {
    for streams in [1, 3] {
        let pair = Pair::new(TABLES).await;
        let url = pair.limited_owner(streams + 1).await;
        let copied = copy::run(&pair.path(), &url, &options(streams), &ignore, &CancellationToken::new()).await;
        let report = copied.expect("the places are enough");
        assert_eq!((report.rows, report.quarantined), (1_198, 2));
        pair.expect_verified(&options(streams)).await;
    }
    // And the limit is real: with one place less a stream finds none.
    let pair = Pair::new(TABLES).await;
    let url = pair.limited_owner(3).await;
    let refused = copy::run(&pair.path(), &url, &options(3), &ignore, &CancellationToken::new()).await;
    expect_no_place(&refused.expect_err("a stream finds no place"));
}

#[tokio::test]
async fn a_verification_takes_one_connection_and_a_second_for_types_that_only_postgresql_spells() {
    let may_read = "GRANT pg_read_all_data TO {user}";
    let run = async |pair: &Pair, limit| {
        let (url, options) = (pair.limited_user(limit, may_read).await, verify::Options::of_copy(&options(2)));
        verify::run(&pair.path(), &url, &options, &|_, _| {}, &CancellationToken::new()).await
    };
    let plain = Pair::new(TABLES).await;
    plain.copy(&options(2)).await.expect("copies");
    assert_eq!(run(&plain, 1).await.expect("one place is enough").failed, 0);

    let spelled = Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY, net TEXT); INSERT INTO t VALUES (1, '10.0.0.1/32');").await;
    spelled.postgres("CREATE TABLE t (id bigint PRIMARY KEY, net inet)").await;
    spelled.copy(&options(2)).await.expect("copies");
    expect_no_place(&run(&spelled, 1).await.expect_err("the second finds no place"));
    assert_eq!(run(&spelled, 2).await.expect("two places are enough").failed, 0);
}

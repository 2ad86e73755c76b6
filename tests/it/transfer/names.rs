//! What SQLite lets a schema be and PostgreSQL does not: found before anything is touched, or given another name that is shown.

use pointsman::transfer::copy::{self, Options};
use pointsman::transfer::Error;
use tokio_util::sync::CancellationToken;

use super::{Pair, options};

impl Pair {
    async fn plan(&self, options: &Options) -> Result<copy::Plan, Error> {
        copy::plan(&self.path(), &self.url(), options, None, &CancellationToken::new()).await
    }

    /// Expects that plan and copy are refused for the same tables and columns, and that nothing was written.
    async fn expect_refused(&self, options: &Options, expected: &[(&str, &str)]) {
        for error in [self.plan(options).await.map(drop), self.copy(options).await.map(drop)] {
            let Error::Schema(mismatches) = error.expect_err("is refused") else { panic!("a mismatch of the schemas") };
            let found: Vec<&str> = mismatches.iter().map(|mismatch| mismatch.what.as_str()).collect();
            assert_eq!(found, expected.iter().map(|(what, _)| *what).collect::<Vec<_>>());
            for (mismatch, (_, says)) in mismatches.iter().zip(expected) {
                assert!(mismatch.says.contains(says), "{mismatch}");
            }
        }
        let written = "SELECT count(*)::text FROM pg_namespace WHERE nspname = 'pointsman_transfer'";
        assert_eq!(self.read(written).await, "0");
    }
}

#[tokio::test]
async fn names_that_postgresql_cannot_have_are_refused_before_anything_is_written() {
    let long = "n".repeat(64);
    let many = (0..1_601).map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ");
    let pair = Pair::new(&format!(
        "CREATE TABLE a (ctid TEXT, xmin INT, \"CMAX\" INT, oid INT); CREATE TABLE b (\"\" INT, {long} INT, {long}x INT); CREATE TABLE c ({many});
         CREATE TABLE {long} (a); CREATE TABLE {long}y (a); CREATE TABLE \"\" (a); INSERT INTO a VALUES ('t', 1, 2, 3);"
    ))
    .await;
    let (first, second, third) = (format!("b.{long}"), format!("b.{long}x"), format!("{long}y"));
    pair.expect_refused(
        &options(10),
        &[
            ("", "no empty names"),
            ("a.ctid", "system column"),
            ("a.xmin", "system column"),
            ("b.", "no empty names"),
            (&first, "63 bytes"),
            (&second, "63 bytes"),
            ("c", "1601 columns"),
            (&long, "63 bytes"),
            (&third, "63 bytes"),
        ],
    )
    .await;
    let exclude = ["", "a.ctid", "a.xmin", "b.", &first, &second, "b", "c.c7", &long, &third];
    let options = Options { exclude: exclude.iter().map(ToString::to_string).collect(), ..options(10) };
    assert_eq!(pair.copy(&options).await.expect("the rest can be copied").rows, 1);
    // PostgreSQL tells upper from lower case.
    assert_eq!(pair.read("SELECT \"CMAX\"::text FROM a").await, "2");
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn a_table_whose_name_something_else_has_is_refused() {
    let pair = Pair::new("CREATE TABLE v (a); CREATE TABLE mood (a); CREATE TABLE \"\" (a); CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE t_id_seq (a); CREATE TABLE fine (a);").await;
    pair.postgres(
        "CREATE VIEW v AS SELECT 1; CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE other (a int); CREATE INDEX fine2 ON other (a)",
    )
    .await;
    let options = Options { exclude: vec![String::new()], ..options(10) };
    let taken = "something else in the target's schema";
    pair.expect_refused(&options, &[("mood", taken), ("t_id_seq", "the sequence of another table's key"), ("v", taken)]).await;
}

#[tokio::test]
async fn names_of_indexes_and_constraints_that_collide_are_given_anew_and_shown() {
    let long = "i".repeat(70);
    let pair = Pair::new(&format!(
        "CREATE TABLE t (a INT UNIQUE, b INT, CONSTRAINT c CHECK (a > 0), CONSTRAINT c CHECK (b > 0));
         CREATE TABLE t_pkey (id INT PRIMARY KEY, t_a_key INT);
         CREATE TABLE o (id INTEGER PRIMARY KEY, p INT REFERENCES t (a), CHECK (p > 0));
         CREATE INDEX {long}1 ON t (a); CREATE INDEX {long}2 ON t (b); CREATE UNIQUE INDEX {long}3 ON t (a, b);
         CREATE INDEX t_a_key ON t_pkey (t_a_key); CREATE INDEX seen ON o (p); CREATE INDEX o_pkey ON o (p);
         INSERT INTO t VALUES (1, 1), (2, 2); INSERT INTO t_pkey VALUES (1, 1); INSERT INTO o VALUES (1, 2);"
    ))
    .await;
    pair.postgres("CREATE VIEW seen AS SELECT 1").await;
    let plan = pair.plan(&options(10)).await.expect("plans");
    let report = pair.copy(&options(10)).await.expect("copies");
    assert_eq!(plan.left_out, report.left_out);
    let mut renamed: Vec<(&str, &str)> =
        report.left_out.iter().map(|item| (item.name.as_str(), item.reason.split('`').nth(1).unwrap_or_default())).collect();
    renamed.sort_unstable();
    let cut = &long[..63];
    let (second, third) = (format!("{}_2", &long[..61]), format!("{}_3", &long[..61]));
    let (one, two, three) = (format!("{long}1 of t"), format!("{long}2 of t"), format!("{long}3 of t"));
    assert_eq!(
        renamed,
        [
            ("c of t", "c_2"),
            (one.as_str(), cut),
            (&two, &second),
            (&three, &third),
            ("o_pkey of o", "o_pkey_2"),
            ("seen of o", "seen_2"),
            ("t_a_key of t_pkey", "t_a_key_2"),
        ]
    );
    assert!(plan.statements_after.iter().any(|statement| statement.contains(&third)), "{:?}", plan.statements_after);
    let indexes = pair.read("SELECT indexname::text FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1").await;
    assert_eq!(
        indexes.split('|').collect::<Vec<_>>(),
        [&second, &third, cut, "o_pkey", "o_pkey_2", "seen_2", "t_a_key", "t_a_key_2", "t_pkey_pkey"]
    );
    assert_eq!(
        pair.read("SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND conrelid = 't'::regclass ORDER BY 1").await,
        "c|c_2"
    );
    pair.expect_verified(&options(10)).await;
}

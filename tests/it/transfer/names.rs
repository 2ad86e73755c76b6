//! What SQLite lets a schema be and PostgreSQL does not: found before anything is touched, or given another name that is shown.

use pointsman::transfer::copy::{self, OnFault, Options};
use pointsman::transfer::{Error, FaultCode};
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

/// The long text of row 2 fits into an index all the same, because PostgreSQL compresses it.
const LARGE_KEYS: &str = "
CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INT); CREATE INDEX plain ON t (b, a);
CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT, b BLOB); CREATE UNIQUE INDEX one ON u (a); CREATE UNIQUE INDEX two ON u (b) WHERE id > 1;
INSERT INTO t VALUES (1, 'x', 1), (2, hex(zeroblob(40000)), 1), (3, hex(randomblob(6000)), 1), (4, hex(randomblob(9000)), 1);
INSERT INTO u VALUES (1, 'x', randomblob(3000)), (2, hex(zeroblob(40000)), x'00'), (3, hex(randomblob(6000)), x'01'), (4, 'y', randomblob(3000)), (5, 'z', x'02');";

#[tokio::test]
async fn keys_that_are_too_large_for_an_index_cost_the_index_or_the_row_and_are_named() {
    let pair = Pair::new(LARGE_KEYS).await;
    // Written into the schema, because SQLite keeps its own unique indexes.
    pair.sqlite("DROP INDEX one; UPDATE u SET a = 'x' WHERE id = 5; CREATE INDEX one ON u (a); PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX one ON u (a)' WHERE name = 'one'; PRAGMA writable_schema = reset;");
    let strict = options(10);
    let error = pair.copy(&strict).await.expect_err("rows are too large for unique indexes");
    let Error::Fault(fault) = &error else { panic!("{error}") };
    assert_eq!((fault.table.as_str(), fault.code), ("u", FaultCode::Refused), "{error}");
    assert!(error.to_string().contains("unique index") || error.to_string().contains("index \""), "{error}");
    assert!(["id=3", "id=4"].contains(&fault.key.as_str()) && error.to_string().contains("then resume"), "{error}");

    let quarantining = Options { on_fault: OnFault::Quarantine, ..strict };
    let report = loop {
        match pair.copy(&quarantining).await {
            // The server has not noticed yet that the strict attempt ended, whose transaction still sees the rows.
            Err(error) if error.is_retryable() => assert!(error.to_string().contains("still sees it"), "{error}"),
            report => break report.expect("goes on where it stopped"),
        }
    };
    assert!(report.resumed);
    assert_eq!((report.rows, report.quarantined), (6, 3));
    let aside =
        "SELECT row_key || ' ' || code || ' ' || (reason ~ 'index row') FROM pointsman_transfer.quarantine ORDER BY row_key";
    assert_eq!(pair.read(aside).await, "id=3 refused true|id=4 refused true|id=5 duplicate_key false");
    let [plain] = &report.left_out[..] else { panic!("{:?}", report.left_out) };
    assert_eq!((plain.kind.as_str(), plain.name.as_str()), ("index", "index \"plain\""));
    for part in ["index row", "all rows are loaded", "id=3; id=4;"] {
        assert!(plain.reason.contains(part), "{}", plain.reason);
    }
    assert_eq!(
        pair.read("SELECT indexname::text FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1").await,
        "one|t_pkey|two|u_pkey"
    );
    pair.expect_verified(&quarantining).await;
}

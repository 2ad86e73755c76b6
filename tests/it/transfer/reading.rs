//! Every value is read as PostgreSQL itself would read it: the same text goes over as text and as the type, and
//! PostgreSQL compares the two.

use pointsman::transfer::Cast;
use pointsman::transfer::copy::{OnFault, Options};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::Pair;

/// How many texts each type is tried with.
const TEXTS: usize = 1_500;

/// Types, and patterns of texts of which most are theirs and some are not.
const TYPES: &[(&str, &str)] = &[
    ("bigint", r"[+-]?[0-9]{1,20}| ?[0-9]{1,3} "),
    ("integer", r"[+-]?0{0,2}[0-9]{1,11}"),
    ("smallint", r"-?[0-9]{1,6}"),
    ("float8", r"[+-]?[0-9]{1,17}(\.[0-9]{0,17})?(e[+-]?[0-9]{1,3})?"),
    ("numeric", r"[+-]?[0-9]{0,30}\.?[0-9]{1,30}(e[+-]?[0-9]{1,3})?"),
    ("numeric(8,3)", r"-?[0-9]{1,6}\.[0-9]{1,3}0{0,4}"),
    ("boolean", r"true|false|TRUE|False|0|1"),
    ("timestamp", r"[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]([ T][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?)?"),
    (
        "timestamptz",
        r"[12][0-9]{3}-0[1-9]-[0-2][0-9] [01][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)",
    ),
    ("date", r"[0-9]{4}-[01][0-9]-[0-3][0-9]"),
    ("time", r"[0-2][0-9]:[0-6][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"),
    ("uuid", r"\{?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\}?"),
    ("varchar(5)", r"[a-zä😀]{0,7}"),
    (
        "jsonb",
        r#"\{"[a-c]{1,2}": (-?[1-9]?[0-9](\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?|"[a-z\\n\\u00e4]{0,3}"|\[(1, ?)?null\]), ?"[d-f]{0,3}" ?: ?(true|\{\})\}"#,
    ),
    ("json", r#"\[[0-9]{1,2}(, ?"[a-z]{0,2}")?\]?"#),
];

fn texts(pattern: &str) -> Vec<String> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = proptest::string::string_regex(pattern).expect("a pattern");
    (0..TEXTS).map(|_| strategy.new_tree(&mut runner).expect("a text").current()).collect()
}

#[tokio::test]
async fn texts_are_read_as_postgresql_reads_them() {
    let pair = Pair::new("CREATE TABLE empty (id INTEGER PRIMARY KEY)").await;
    let mut connection = rusqlite::Connection::open(pair.path()).expect("opens");
    let mut created = String::from("CREATE TABLE empty (id bigint PRIMARY KEY);");
    for (number, (name, pattern)) in TYPES.iter().enumerate() {
        let transaction = connection.transaction().expect("begins");
        transaction
            .execute_batch(&format!("CREATE TABLE t{number} (id INTEGER PRIMARY KEY, raw TEXT, v BLOB)"))
            .expect("creates");
        for text in texts(pattern) {
            transaction.execute(&format!("INSERT INTO t{number} (raw, v) VALUES (?1, ?1)"), [text]).expect("inserts");
        }
        transaction.commit().expect("commits");
        created.push_str(&format!("CREATE TABLE t{number} (id bigint PRIMARY KEY, raw text, v {name});"));
    }
    pair.postgres(&created).await;
    let options = Options { on_fault: OnFault::Quarantine, ..Options::new("types") };
    pair.copy(&options).await.expect("copies");
    for (number, (name, _)) in TYPES.iter().enumerate() {
        // Two values of json cannot be compared, its text can.
        let (ours, theirs) =
            if *name == "json" { ("v::text", "raw::json::text".to_owned()) } else { ("v", format!("raw::{name}")) };
        let zone = if *name == "timestamptz" { "SET TimeZone = 'UTC'; " } else { "" };
        let different = pair
            .read(&format!("SELECT raw || ' became ' || v::text FROM t{number} WHERE {ours} IS DISTINCT FROM {theirs} LIMIT 5"))
            .await;
        assert_eq!(different, "", "{zone}{name}");
        let loaded: usize = pair.read(&format!("SELECT count(*)::text FROM t{number}")).await.parse().expect("a number");
        assert!(loaded > TEXTS / 10, "{name}: {loaded} loaded");
    }
    // Whatever was put aside is refused by PostgreSQL too, or would have been changed: nothing is refused without need.
    let needless = "SELECT count(*)::text FROM pointsman_transfer.quarantine WHERE code NOT IN ('wrong_type', 'out_of_range', 'inexact', 'bad_json', 'ambiguous')";
    assert_eq!(pair.read(needless).await, "0");
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn numbers_are_read_as_the_declared_epoch() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, s INTEGER, ms INTEGER, us INTEGER, j REAL);
         INSERT INTO t SELECT value, value * 7919717 - 30000000000, value * 991 * 7919717, value * 7919717 * 13, 2400000.5 + value * 13.25 FROM series(2000);",
    )
    .await;
    let mut options = Options::new("epochs");
    for (column, cast) in
        [("s", Cast::EpochSeconds), ("ms", Cast::EpochMillis), ("us", Cast::EpochMicros), ("j", Cast::JulianDay)]
    {
        options.casts.insert(format!("t.{column}"), cast);
    }
    pair.copy(&options).await.expect("copies");
    let different = "SELECT count(*)::text FROM t WHERE extract(epoch FROM s) <> id * 7919717 - 30000000000 OR extract(epoch FROM ms) * 1000 <> id * 991 * 7919717
        OR extract(epoch FROM us) * 1000000 <> id * 7919717 * 13 OR extract(julian FROM j AT TIME ZONE 'UTC') <> 2400001 + id * 13.25";
    assert_eq!(pair.read(different).await, "0");
    pair.expect_verified(&options).await;
}

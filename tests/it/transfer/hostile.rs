//! Data as users have it: every planted fault is found, none more, none fewer, and every good row is loaded.

use std::collections::{BTreeMap, BTreeSet};

use pointsman::transfer::copy::{FaultLimit, OnFault, Options};
use pointsman::transfer::{Cast, Error, FaultCode, Policy, verify};

use super::{Pair, options};

/// A reproducible sequence of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A column, an SQL literal that does not fit into it, and the fault that must be found.
type Plant = (&'static str, &'static str, &'static str);

const PLANTS: &[Plant] = &[
    ("n", "'many'", "wrong_type"),
    ("n", "2.5", "inexact"),
    ("n", "1e300", "out_of_range"),
    ("n", "x'01'", "wrong_type"),
    ("n", "''", "wrong_type"),
    ("n", "9e999", "non_finite"),
    ("r", "'high'", "wrong_type"),
    ("r", "x'00'", "wrong_type"),
    ("d", "'1,5'", "wrong_type"),
    ("d", "-9e999", "non_finite"),
    ("t", "CAST(x'610062' AS TEXT)", "nul_byte"),
    ("t", "CAST(x'ff61' AS TEXT)", "invalid_utf8"),
    ("t", "x'616263'", "wrong_type"),
    ("t", "NULL", "null_in_not_null"),
    ("b", "'text'", "wrong_type"),
    ("b", "17", "wrong_type"),
    ("flag", "2", "out_of_range"),
    ("flag", "'yes'", "ambiguous"),
    ("flag", "'maybe'", "wrong_type"),
    ("at", "1700000000", "ambiguous"),
    ("at", "'yesterday'", "wrong_type"),
    ("at", "'2023-02-30 00:00:00'", "out_of_range"),
    ("at", "'2024-01-01 00:00:00+05:00'", "ambiguous"),
    ("at", "'2024-01-01 00:00:00.1234567'", "inexact"),
    ("day", "'2024-01-01 10:00:00'", "inexact"),
    ("u", "'not-a-uuid'", "wrong_type"),
    ("u", "zeroblob(16)", "ambiguous"),
    ("j", "'{\"a\": '", "bad_json"),
    ("j", "'{\"a\": \"\\u0000\"}'", "bad_json"),
    ("j", "'{\"a\": 1, \"a\": 2}'", "bad_json"),
    ("epoch", "99999999999999", "out_of_range"),
    ("epoch", "'never'", "wrong_type"),
    ("key", "'twin'", "duplicate_key"),
    ("parent", "-5", "orphan"),
    ("size", "-1", "check_violation"),
];

const SCHEMA: &str = "CREATE TABLE parent (id INTEGER PRIMARY KEY);
INSERT INTO parent VALUES (1), (2), (3);
CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, r REAL, d DECIMAL(10,2), t TEXT, b BLOB, flag BOOLEAN, at DATETIME, day DATE, u UUID, j JSON, epoch, key TEXT, parent INTEGER REFERENCES parent, size INTEGER);";

/// Inserts `rows` rows, about every twentieth with one planted fault; returns the plants by `id column code`.
fn plant(pair: &Pair, rows: u64, seed: u64) -> BTreeMap<String, Plant> {
    let mut dice = Dice(seed);
    let mut planted = BTreeMap::new();
    let mut sql = String::from("BEGIN;");
    let mut twins = 0;
    for id in 1..=rows {
        let mut values: BTreeMap<&str, String> = BTreeMap::from([
            ("n", format!("{}", dice.roll(1_000_000))),
            ("r", format!("{}.5e-{}", dice.roll(1000), dice.roll(300))),
            ("d", format!("{}.{:02}", dice.roll(1000), dice.roll(100))),
            ("t", format!("'row {id}'")),
            ("b", "x'00ff'".to_owned()),
            ("flag", format!("{}", dice.roll(2))),
            ("at", format!("'2024-01-{:02} 10:00:00'", dice.roll(28) + 1)),
            ("day", "'2024-02-29'".to_owned()),
            ("u", format!("'A{:031X}'", dice.roll(u64::MAX))),
            ("j", "'{\"b\": [1.50, null], \"a\": \"x\"}'".to_owned()),
            (
                "epoch",
                if dice.roll(2) == 0 {
                    format!("{}", 1_600_000_000 + dice.roll(1000))
                } else {
                    "'2024-01-01T00:00:00Z'".to_owned()
                },
            ),
            ("key", format!("'k{id}'")),
            ("parent", format!("{}", dice.roll(3) + 1)),
            ("size", "1".to_owned()),
        ]);
        if dice.roll(20) == 0 {
            let plant @ (column, literal, code) = PLANTS[usize::try_from(dice.roll(PLANTS.len() as u64)).expect("small")];
            values.insert(column, literal.to_owned());
            twins += u64::from(code == "duplicate_key");
            // The first of equal keys is a good row.
            if code != "duplicate_key" || twins > 1 {
                let column = if matches!(code, "duplicate_key" | "orphan" | "check_violation") { "" } else { column };
                planted.insert(format!("id={id} {column} {code}"), plant);
            }
        }
        let (names, values): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        sql.push_str(&format!("INSERT INTO t (id, {}) VALUES ({id}, {});", names.join(", "), values.join(", ")));
    }
    sql.push_str("COMMIT;");
    pair.sqlite(&sql);
    planted
}

/// How many of each kind were planted and found; `bin/bench faults` shows it.
fn table(title: &str, planted: &BTreeMap<String, Plant>, found: &[String]) -> String {
    let mut kinds: BTreeMap<Plant, (u64, u64)> = BTreeMap::new();
    for (line, plant) in planted {
        let (count, hits) = kinds.entry(*plant).or_default();
        *count += 1;
        *hits += u64::from(found.contains(line));
    }
    let mut out = format!(
        "# {title}: {} planted, {} found\n| Column | Value | Fault | Planted | Found |\n|---|---|---|---:|---:|\n",
        planted.len(),
        found.len()
    );
    for ((column, literal, code), (count, hits)) in kinds {
        out.push_str(&format!("| {column} | {literal} | {code} | {count} | {hits} |\n"));
    }
    out
}

/// Expects that exactly the planted rows were put aside, for the planted reasons.
async fn expect_found(title: &str, pair: &Pair, planted: &BTreeMap<String, Plant>) {
    let found = found(pair).await;
    println!("{}", table(title, planted, &found));
    let more: Vec<_> = found.iter().filter(|line| !planted.contains_key(*line)).collect();
    let fewer: Vec<_> = planted.keys().filter(|line| !found.contains(line)).collect();
    assert!(
        more.is_empty() && fewer.is_empty() && found.len() == planted.len(),
        "found and not planted: {more:?}, planted and not found: {fewer:?}"
    );
}

async fn found(pair: &Pair) -> Vec<String> {
    let found = pair.read("SELECT row_key || ' ' || column_name || ' ' || code FROM pointsman_transfer.quarantine").await;
    let mut found: Vec<String> = found.split('|').filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect();
    found.sort();
    found
}

fn quarantining() -> Options {
    let mut options = Options { on_fault: OnFault::Quarantine, batch_rows: 300, streams: 2, ..Options::new("hostile") };
    options.casts.insert("t.epoch".to_owned(), Cast::EpochSeconds);
    options
}

#[tokio::test]
async fn every_planted_fault_is_found_in_an_existing_schema() {
    let mut kinds = BTreeSet::new();
    for seed in [1, 2] {
        let pair = Pair::new(SCHEMA).await;
        pair.postgres(
            "CREATE TABLE parent (id bigint PRIMARY KEY);
             CREATE TABLE t (id bigint PRIMARY KEY, n bigint, r float8, d numeric(10,2), t text NOT NULL, b bytea, flag boolean, at timestamp, day date, u uuid, j jsonb,
               epoch timestamptz, key text UNIQUE, parent bigint REFERENCES parent, size bigint CHECK (size > 0))",
        )
        .await;
        let planted = plant(&pair, 3_000, seed);
        assert!(planted.len() > 100);
        let report = pair.copy(&quarantining()).await.expect("every good row is loaded");
        expect_found(&format!("existing schema, seed {seed}"), &pair, &planted).await;
        assert_eq!((report.quarantined, report.rows + report.quarantined), (planted.len() as u64, 3_003));
        assert_eq!(report.faults.iter().map(|fault| fault.rows).sum::<u64>(), report.quarantined);
        pair.expect_verified(&quarantining()).await;
        kinds.extend(planted.into_values());
    }
    assert_eq!(kinds.len(), PLANTS.len(), "every kind was planted");
}

#[tokio::test]
async fn every_planted_fault_is_found_in_a_created_schema() {
    let pair = Pair::new(SCHEMA).await;
    let planted = plant(&pair, 3_000, 3);
    // Constraints that the rows break can only be written into the file's schema afterwards, as `PRAGMA writable_schema` or a
    // table rebuilt without checks leaves them.
    pair.sqlite(
        "PRAGMA writable_schema = on;
         UPDATE sqlite_schema SET sql = replace(replace(sql, 't TEXT,', 't TEXT NOT NULL,'), 'size INTEGER', 'size INTEGER CHECK (size > 0)') WHERE name = 't';
         PRAGMA writable_schema = reset; CREATE INDEX by_key ON t (key);",
    );
    pair.sqlite("PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX by_key ON t (key)' WHERE name = 'by_key'; PRAGMA writable_schema = reset;");
    let report = pair.copy(&quarantining()).await.expect("every good row is loaded");
    expect_found("created schema", &pair, &planted).await;
    assert_eq!(report.rows + report.quarantined, 3_003);
    pair.expect_verified(&quarantining()).await;
    assert_eq!(
        pair.read(
            "SELECT count(*)::text FROM pg_constraint WHERE contype IN ('f', 'c') AND convalidated AND conrelid = 't'::regclass"
        )
        .await,
        "2"
    );
}

#[tokio::test]
async fn orphans_of_orphans_are_put_aside_too() {
    let pair = Pair::new(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, up INT REFERENCES c (id)); CREATE TABLE b (id INTEGER PRIMARY KEY, up INT REFERENCES a (id) ON DELETE CASCADE);
         CREATE TABLE c (id INTEGER PRIMARY KEY, up INT REFERENCES b (id));
         INSERT INTO a VALUES (1, 404), (2, NULL); INSERT INTO b VALUES (1, 1), (2, 2); INSERT INTO c VALUES (1, 1), (2, 2);",
    )
    .await;
    let options = Options { on_fault: OnFault::Quarantine, ..options(10) };
    let report = pair.copy(&options).await.expect("loads the good rows");
    assert_eq!((report.rows, report.quarantined), (3, 3));
    assert_eq!(found(&pair).await, ["id=1  orphan", "id=1  orphan", "id=1  orphan"]);
    pair.expect_verified(&options).await;
    // Without the leave to put rows aside, the first one is named and nothing is hidden.
    let pair = Pair::new("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY, p INT REFERENCES p); INSERT INTO t VALUES (8, 9);").await;
    let Error::Fault(fault) = pair.copy(&super::options(10)).await.expect_err("an orphan") else { panic!("a fault") };
    assert_eq!((fault.key.as_str(), fault.code), ("id=8", FaultCode::Orphan));
    assert!(fault.reason.contains("(p)=(9)"), "{fault}");
}

#[tokio::test]
async fn equal_rows_without_a_key_are_counted_one_by_one() {
    let pair = Pair::new("CREATE TABLE t (a TEXT, b INT); INSERT INTO t VALUES ('x', 1), ('x', 1), ('x', 1), ('y', 2);").await;
    pair.postgres("CREATE TABLE t (a text, b int); CREATE UNIQUE INDEX ON t (lower(a))").await;
    let options = Options { on_fault: OnFault::Quarantine, ..options(10) };
    let report = pair.copy(&options).await.expect("copies");
    assert_eq!((report.rows, report.quarantined), (2, 2));
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn rows_that_fit_into_no_page_are_put_aside_wherever_they_stand() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t SELECT value, CASE WHEN value IN (1, 17, 18, 700) THEN hex(zeroblob(5000)) ELSE 'a' END FROM series(700);
         CREATE TABLE one (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO one VALUES (1, hex(zeroblob(5000)));",
    )
    .await;
    pair.postgres(
        "CREATE TABLE t (id bigint PRIMARY KEY, a text); CREATE TABLE one (id bigint PRIMARY KEY, a text);
         ALTER TABLE t ALTER a SET STORAGE PLAIN; ALTER TABLE one ALTER a SET STORAGE PLAIN",
    )
    .await;
    let options = Options { on_fault: OnFault::Quarantine, ..options(500) };
    let report = pair.copy(&options).await.expect("every good row is loaded");
    assert_eq!((report.rows, report.quarantined), (696, 5));
    assert_eq!(found(&pair).await, ["id=1  refused", "id=1  refused", "id=17  refused", "id=18  refused", "id=700  refused"]);
    pair.expect_verified(&options).await;
}

#[tokio::test]
async fn limits_end_the_copy_with_a_summary_by_reason() {
    let pair = Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT); INSERT INTO t SELECT value, CASE WHEN value % 10 = 0 THEN 'x' ELSE value END FROM series(100);").await;
    let with = |limit: FaultLimit| Options { on_fault: OnFault::Quarantine, fault_limit: limit, ..options(1000) };
    let error = pair.copy(&with(FaultLimit { rows: Some(9), share: None })).await.expect_err("ten are too many");
    assert!(matches!(error, Error::TooManyFaults { .. }));
    for part in ["10 rows were put aside, 9 are allowed", "10 x wrong_type in `t.n`", "id=10"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let report = pair.copy(&with(FaultLimit { rows: Some(10), share: Some(0.1) })).await.expect("within the limit");
    assert_eq!((report.rows, report.quarantined), (90, 10));
    assert!(matches!(
        pair.rehearse(&Options {
            copy_id: "r".to_owned(),
            target_schema: "other".to_owned(),
            ..with(FaultLimit { rows: None, share: Some(0.05) })
        })
        .await,
        Err(Error::TooManyFaults { .. })
    ));
}

#[tokio::test]
async fn policies_change_values_by_rule_and_count_them() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n NUMERIC, at DATETIME);
         INSERT INTO t VALUES (1, CAST(x'610062' AS TEXT), 1.005, 'soon'), (2, CAST(x'e4' AS TEXT), 2, NULL), (3, 'ok', 3.999, '2024-01-01');",
    )
    .await;
    pair.postgres("CREATE TABLE t (id bigint PRIMARY KEY, a text, n numeric(6,2), at timestamp)").await;
    let mut options = options(10);
    options.policies.insert(
        "*".to_owned(),
        BTreeMap::from([(FaultCode::NulByte, Policy::StripNul), (FaultCode::InvalidUtf8, Policy::ReadAsLatin1)]),
    );
    options.policies.insert("t.n".to_owned(), BTreeMap::from([(FaultCode::Inexact, Policy::Round)]));
    options.policies.insert("T.AT".to_owned(), BTreeMap::from([(FaultCode::WrongType, Policy::SetNull)]));
    let rehearsed = pair.rehearse(&options).await.expect("rehearses");
    let report = pair.copy(&options).await.expect("copies");
    assert_eq!(
        pair.read("SELECT concat_ws(' ', id, a, n, at) FROM t ORDER BY id").await,
        "1 ab 1.01|2 ä 2.00|3 ok 4.00 2024-01-01 00:00:00"
    );
    let changes: Vec<_> =
        report.changes.iter().map(|change| (change.column.as_str(), change.rule.as_str(), change.values)).collect();
    assert_eq!(changes, [("a", "read_as_latin1", 1), ("a", "strip_nul", 1), ("at", "set_null", 1), ("n", "round", 2)]);
    assert_eq!(rehearsed.changes.iter().map(|change| change.values).sum::<u64>(), 5);
    pair.expect_verified(&options).await;
    // Compared without the rules, the changed values are differences.
    let strict = pair.verify(&verify::Options { policies: BTreeMap::new(), ..verify::Options::of_copy(&options) }).await;
    assert!(strict.failed > 0);
    let nonsense = Options {
        copy_id: "n".to_owned(),
        policies: BTreeMap::from([("*".to_owned(), BTreeMap::from([(FaultCode::NulByte, Policy::Round)]))]),
        ..options
    };
    assert!(pair.copy(&nonsense).await.expect_err("refused").to_string().contains("`round` can do nothing about `nul_byte`"));
}

#[tokio::test]
async fn a_resumed_copy_keeps_what_was_put_aside() {
    let pair = Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT); INSERT INTO t SELECT value, CASE WHEN value % 7 = 0 THEN 'x' ELSE value END FROM series(100);").await;
    pair.sqlite("UPDATE t SET n = 'stop' WHERE id = 50");
    let mut failing = Options { on_fault: OnFault::Quarantine, ..options(10) };
    failing.fault_limit.rows = Some(6);
    assert!(matches!(pair.copy(&failing).await, Err(Error::TooManyFaults { .. })));
    failing.fault_limit.rows = None;
    let report = pair.copy(&failing).await.expect("resumes");
    assert!(report.resumed);
    assert_eq!((report.rows, report.quarantined), (85, 15));
    assert_eq!(found(&pair).await.len(), 15);
    pair.expect_verified(&failing).await;
}

#[tokio::test]
async fn no_new_row_gets_the_key_of_one_that_was_put_aside() {
    let rows = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1), (9, 'nine'); CREATE TABLE far (id INTEGER PRIMARY KEY, n INT); INSERT INTO far VALUES (1, 1), (5000000000, 2);";
    let pair = Pair::new(rows).await;
    pair.postgres("CREATE TABLE t (id serial PRIMARY KEY, n int); CREATE TABLE far (id serial PRIMARY KEY, n int)").await;
    let options = Options { on_fault: OnFault::Quarantine, ..options(10) };
    let report = pair.copy(&options).await.expect("copies");
    assert_eq!((report.rows, report.quarantined), (2, 2));
    // The second one's key could not be handed out by this sequence anyway.
    let next: Vec<_> = report.sequences.iter().map(|sequence| (sequence.column.as_str(), sequence.next)).collect();
    assert_eq!(next, [("far.id", 2), ("t.id", 10)]);
    pair.expect_verified(&options).await;
}

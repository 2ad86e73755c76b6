//! Differences that a copy did not make are found and named.

use pointsman::transfer::verify::{DifferenceKind, Options};

use super::{Pair, options};

const ROWS: &str = "
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL, at DATETIME);
INSERT INTO item SELECT value, 'item ' || value, value / 3.0, '2024-01-01 00:00:00' FROM series(2000);
CREATE TABLE log (line TEXT); INSERT INTO log VALUES ('same'), ('same'), ('other');";

async fn copied() -> Pair {
    let pair = Pair::new(ROWS).await;
    pair.copy(&options(500)).await.expect("copies");
    pair
}

#[tokio::test]
async fn an_equal_pair_passes_every_check() {
    let pair = copied().await;
    let report = pair.expect_verified(&options(500)).await;
    assert!((report.pass_rate - 1.0).abs() < f64::EPSILON);
    let item = &report.tables[0];
    assert!(item.checksum_equal && item.samples_compared > 500 && item.samples_compared == item.samples_equal, "{item:?}");
    assert!(report.to_markdown().starts_with("# Verification: everything agrees"));
    assert_eq!((item.ordered_equal, item.unordered.as_str()), (Some(true), ""));
    assert_eq!(item.source_ordered.as_ref().map(String::len), Some(32));
    // Rows without a key have no order, and the report says so.
    assert_eq!((report.tables[1].ordered_equal, report.tables[1].unordered.as_str()), (None, "it has no primary key"));
    assert!(report.to_markdown().contains("No checksum in order for `log`: it has no primary key."), "{}", report.to_markdown());
}

#[tokio::test]
async fn rows_are_compared_in_the_order_of_their_key_where_both_sides_have_one() {
    let pair = Pair::new(
        "CREATE TABLE words (k TEXT PRIMARY KEY, v INT); INSERT INTO words SELECT char(1100 - value) || 'Zz', value FROM series(900);
         CREATE TABLE pairs (a BOOLEAN, b INTEGER, c BLOB, PRIMARY KEY (c, b, a)) WITHOUT ROWID; INSERT INTO pairs SELECT value % 2, -value, CAST('x' || (value / 7) AS BLOB) FROM series(50);
         CREATE TABLE reals (r REAL PRIMARY KEY); INSERT INTO reals SELECT (value - 25) / 8.0 FROM series(50);
         CREATE TABLE mixed (k PRIMARY KEY); INSERT INTO mixed VALUES ('10'), (9), (100);
         CREATE TABLE folded (k TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID; INSERT INTO folded VALUES ('a'), ('B'), ('c');
         CREATE TABLE sums (d DECIMAL(9,2) PRIMARY KEY); INSERT INTO sums VALUES (1), (2);",
    )
    .await;
    pair.postgres(
        "CREATE TABLE words (k text PRIMARY KEY, v int); CREATE TABLE pairs (a boolean, b bigint, c bytea, PRIMARY KEY (a, b, c)); CREATE TABLE reals (r float8 PRIMARY KEY);
         CREATE TABLE mixed (k text PRIMARY KEY); CREATE TABLE folded (k text PRIMARY KEY); CREATE TABLE sums (d numeric(9,2) PRIMARY KEY)",
    )
    .await;
    pair.copy(&options(500)).await.expect("copies");
    let report = pair.expect_verified(&options(500)).await;
    let ordered: Vec<_> = report.tables.iter().map(|table| (table.table.as_str(), table.ordered_equal)).collect();
    assert_eq!(
        ordered,
        [("folded", None), ("mixed", None), ("pairs", Some(true)), ("reals", Some(true)), ("sums", None), ("words", Some(true))]
    );
    assert!(report.tables[0].unordered.starts_with("SQLite sorts its key in another order"), "{report:?}");
    assert!(report.tables[4].unordered.contains("`d` (numeric(9,2))"), "{report:?}");
    pair.postgres("UPDATE words SET v = 0 WHERE v = 450").await;
    let report = pair.verify(&Options::of_copy(&options(500))).await;
    assert_eq!(report.tables[5].ordered_equal, Some(false));
    assert!(report.checks.iter().any(|check| check.name == "order of `words`" && !check.passed), "{report:?}");
}

#[tokio::test]
async fn values_that_only_postgresql_can_spell_are_compared_in_its_spelling() {
    let pair = Pair::new(
        "CREATE TABLE odd (id INTEGER PRIMARY KEY, ip TEXT, span TEXT, list TEXT, sort TEXT, bits TEXT, words TEXT);
         INSERT INTO odd VALUES (1, '010.1.2.3', '90 minutes', '{ 1,2 , NULL}', '(3,7]', '101', 'b a'), (2, '::0001/64', 'P1Y2M', '{}', 'empty', '000', NULL), (3, NULL, NULL, NULL, NULL, NULL, '');
         INSERT INTO odd SELECT 3 + value, '10.0.' || (value / 256) || '.' || (value % 256), value || ' s', '{' || value || '}', '[1,' || (value + 1) || ')', '110', 'w' || value FROM series(2500);
         UPDATE odd SET ip = '10.1.2.3' WHERE id = 1;",
    )
    .await;
    pair.postgres("CREATE DOMAIN evens AS int[]; CREATE TABLE odd (id bigint PRIMARY KEY, ip inet, span interval, list evens, sort int4range, bits bit(3), words tsvector)").await;
    pair.copy(&options(1000)).await.expect("copies");
    assert_eq!(
        pair.read("SELECT concat_ws(' ', ip, span, list, sort, words) FROM odd WHERE id = 1").await,
        "10.1.2.3 01:30:00 {1,2,NULL} [4,8) 'a' 'b'"
    );
    let report = pair.expect_verified(&options(1000)).await;
    assert!(report.tables[0].samples_compared > 0 && report.tables[0].ordered_equal == Some(true), "{report:?}");
    // A difference that only its type knows is named in the type's spelling.
    pair.postgres("UPDATE odd SET span = '91 minutes' WHERE id = 1; UPDATE odd SET sort = '[4,9)' WHERE id = 1; UPDATE odd SET list = '{1,2,3}' WHERE id = 2000").await;
    let report = pair.verify(&Options::of_copy(&options(1000))).await;
    let named = report.tables[0]
        .differences
        .iter()
        .map(|found| format!("{} {} {} {}", found.row, found.column, found.source, found.target));
    let mut named: Vec<String> = named.collect();
    named.sort_unstable();
    assert_eq!(named, ["id=1 sort '[4,8)' '[4,9)'", "id=1 span '01:30:00' '01:31:00'", "id=2000 list '{1997}' '{1,2,3}'"]);
    // A value that the type cannot read and that nobody put aside is a difference too.
    pair.sqlite("UPDATE odd SET ip = '10.0.0.999' WHERE id = 5");
    let report = pair.verify(&Options::of_copy(&options(1000))).await;
    let found =
        |found: &&pointsman::transfer::verify::Difference| found.kind == DifferenceKind::Unconvertible && found.row == "id=5";
    assert_eq!(report.tables[0].differences.iter().filter(found).count(), 1, "{:?}", report.tables[0].differences);
    let excluded = Options { exclude: vec!["odd.ip".to_owned(), "odd.span".to_owned()], ..Options::of_copy(&options(1000)) };
    assert!(
        pair.verify(&excluded)
            .await
            .to_markdown()
            .contains("Not compared, because the options leave them out: `odd.ip`, `odd.span`.")
    );
}

#[tokio::test]
async fn a_changed_value_is_named_with_row_column_and_both_values() {
    let pair = copied().await;
    pair.postgres("UPDATE item SET name = 'item |x|', at = at + interval '1 microsecond' WHERE id = 1234").await;
    let report = pair.verify(&Options::of_copy(&options(500))).await;
    let item = &report.tables[0];
    assert!(item.rows_equal && !item.checksum_equal && report.failed >= 1);
    assert_eq!(item.differences.len(), 2, "{item:?}");
    let first = &item.differences[0];
    assert_eq!(
        (first.row.as_str(), first.column.as_str(), first.source.as_str(), first.target.as_str()),
        ("id=1234", "name", "'item 1234'", "'item |x|'")
    );
    assert_eq!(item.differences[1].target, "2024-01-01 00:00:00.000001");
    assert!(
        report.to_markdown().contains(r"| id=1234 | changed | name | 'item 1234' | 'item \|x\|' |"),
        "{}",
        report.to_markdown()
    );
}

#[tokio::test]
async fn missing_extra_and_doubled_rows_are_found() {
    let pair = copied().await;
    pair.postgres("DELETE FROM item WHERE id = 7; INSERT INTO item VALUES (5000, 'new'); INSERT INTO log VALUES ('same')").await;
    let report = pair.verify(&Options::of_copy(&options(500))).await;
    let kinds: Vec<_> =
        report.tables[0].differences.iter().map(|difference| (difference.kind, difference.row.as_str())).collect();
    assert!(
        kinds.len() == 2
            && kinds.contains(&(DifferenceKind::Missing, "id=7"))
            && kinds.contains(&(DifferenceKind::Extra, "id=5000")),
        "{kinds:?}"
    );
    // The numbers of rows are equal all the same: the checksum finds it.
    assert!(report.tables[0].rows_equal && !report.tables[0].checksum_equal);
    let log = &report.tables[1];
    assert!(!log.rows_equal && log.differences.len() == 1 && log.differences[0].kind == DifferenceKind::Extra, "{log:?}");
}

#[tokio::test]
async fn a_stale_sequence_and_an_unvalidated_constraint_are_found() {
    let pair = copied().await;
    pair.postgres("SELECT setval('item_id_seq', 1999); ALTER TABLE item ADD CONSTRAINT dear CHECK (price > 1) NOT VALID").await;
    let report = pair.verify(&Options::of_copy(&options(500))).await;
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.passed).map(|check| check.detail.as_str()).collect();
    assert_eq!(report.failed, 2, "{failed:?}");
    assert!(failed[0].contains("hands out 2000 next") && failed[1].contains("dear"), "{failed:?}");
    assert_eq!(report.sequences[0].highest, Some(2000));
}

#[tokio::test]
async fn a_source_row_that_cannot_be_converted_is_a_difference() {
    let pair = copied().await;
    pair.sqlite("UPDATE item SET at = 'soon' WHERE id = 3");
    let report = pair.verify(&Options::of_copy(&options(500))).await;
    let differences = &report.tables[0].differences;
    assert!(
        differences.iter().any(|difference| difference.kind == DifferenceKind::Unconvertible && difference.row == "id=3"),
        "{differences:?}"
    );
    assert!(report.failed > 0);
}

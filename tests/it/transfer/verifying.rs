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

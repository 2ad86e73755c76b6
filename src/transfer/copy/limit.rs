//! When too many rows are put aside.

use super::options::FaultLimit;
use crate::transfer::error::{Error, Fault};

/// Compares what was put aside (table, rows aside, rows of the source) with the limit.
///
/// # Errors
/// [`Error::TooManyFaults`] with a summary by table, column and kind.
#[expect(clippy::cast_precision_loss, reason = "a share of rows")]
pub(super) fn check(
    limit: &FaultLimit,
    tables: impl Iterator<Item = (String, u64, u64)>,
    faults: &[(u64, Fault)],
) -> Result<(), Error> {
    let (mut sum, mut over) = (0, None);
    for (table, aside, total) in tables {
        sum += aside;
        if limit.share.is_some_and(|share| aside as f64 > share * total as f64) {
            over = Some(format!(
                "{aside} of the {total} rows of table `{table}` were put aside, a share of {} is allowed",
                limit.share.unwrap_or_default()
            ));
        }
    }
    if let Some(rows) = limit.rows.filter(|rows| sum > *rows) {
        over = Some(format!("{sum} rows were put aside, {rows} are allowed"));
    }
    let Some(over) = over else { return Ok(()) };
    let kinds = faults
        .iter()
        .map(|(count, first)| format!("{count} x {} in `{}.{}`, e.g. {first}", first.code, first.table, first.column));
    let kinds = kinds.collect::<Vec<_>>().join("; ");
    let says = format!(
        "{over}: {kinds}. Declare casts or policies, correct the source, or raise the limit; then resume, or undo the copy and begin anew"
    );
    Err(Error::TooManyFaults { says })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(rows: Option<u64>, share: Option<f64>) -> Result<(), Error> {
        let tables = [("a".to_owned(), 3, 100), ("b".to_owned(), 2, 10)];
        check(&FaultLimit { rows, share }, tables.into_iter(), &[])
    }

    #[test]
    fn limits_count_over_all_tables_and_shares_within_one() {
        assert!(checked(None, None).is_ok() && checked(Some(5), Some(0.2)).is_ok());
        assert!(checked(Some(4), None).expect_err("over").to_string().starts_with("5 rows were put aside, 4 are allowed"));
        assert!(checked(None, Some(0.19)).expect_err("over").to_string().contains("table `b`"));
    }
}

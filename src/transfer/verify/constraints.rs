//! Beside the rows: sequences beyond their columns, constraints that hold for every row, indexes that are usable, and a
//! copy that is complete.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::report::{Report, SequenceCheck};
use super::{Options, sequence_columns};
use crate::transfer::checkpoint;
use crate::transfer::error::Error;
use crate::transfer::plan::Plan;
use crate::transfer::source::quoted;

pub(super) async fn check(control: &mut PgConnection, plan: &Plan, options: &Options, report: &mut Report) -> Result<(), Error> {
    check_sequences(control, plan, report).await?;
    check_validity(control, plan, report).await?;
    let Some(copy_id) = &options.copy_id else {
        return Ok(());
    };
    let begun = checkpoint::find(control, copy_id).await?;
    let (passed, detail) = match begun.map(|begun| begun.report.is_some()) {
        Some(true) => (true, String::new()),
        Some(false) => (false, format!("copy `{copy_id}` was begun and is not finished: resume it")),
        None => (false, format!("the target knows no copy `{copy_id}`")),
    };
    report.add_check("the copy is complete", passed, detail);
    Ok(())
}

async fn check_sequences(control: &mut PgConnection, plan: &Plan, report: &mut Report) -> Result<(), Error> {
    for (table, column, sequence) in sequence_columns(plan) {
        let read = format!(
            "SELECT (SELECT CASE WHEN p.seqincrement > 0 THEN max({0}) ELSE min({0}) END::int8 FROM {1} AS own),
                    is_called, last_value, p.seqincrement
               FROM {sequence}, pg_sequence p WHERE p.seqrelid = '{2}'::regclass",
            quoted(&column.target),
            table.target.qualified(),
            sequence.replace('\'', "''"),
        );
        let (highest, is_called, stands, step): (Option<i64>, bool, i64, i64) = sqlx::query_as(AssertSqlSafe(read))
            .fetch_one(&mut *control)
            .await
            .map_err(|error| Error::server(format!("reading sequence {sequence}"), &error))?;
        // At the end of 64 bits there is no next value, and the check fails.
        let next = if is_called { stands.saturating_add(step) } else { stands };
        let sequence = SequenceCheck {
            sequence: sequence.to_owned(),
            column: format!("{}.{}", table.name(), column.name),
            next,
            highest,
            ahead: highest.is_none_or(|highest| if step > 0 { next > highest } else { next < highest }),
        };
        report.add_sequence(sequence);
    }
    Ok(())
}

async fn check_validity(control: &mut PgConnection, plan: &Plan, report: &mut Report) -> Result<(), Error> {
    let oids: Vec<i64> = plan.tables.iter().map(|table| table.target.oid).collect();
    let invalid: Vec<(String, String)> = sqlx::query_as(
        "SELECT 'constraint ' || conname, conrelid::regclass::text FROM pg_constraint WHERE NOT convalidated AND conrelid::int8 = ANY($1)
          UNION ALL
         SELECT 'index ' || indexrelid::regclass::text, indrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready) AND indrelid::int8 = ANY($1)
          ORDER BY 1",
    )
    .bind(&oids)
    .fetch_all(control)
    .await
    .map_err(|error| Error::server("reading the target's constraints", &error))?;
    let detail = invalid.iter().map(|(name, table)| format!("{name} of {table} is not validated")).collect::<Vec<_>>().join("; ");
    report.add_check("every constraint and index is valid", invalid.is_empty(), detail);
    Ok(())
}

//! Rows that only show as faulty once all are in: keys that occur twice, children without a parent, broken conditions, keys that
//! are too large for their index.
//! They are taken out of the target again and put aside.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::transfer::checkpoint;
use crate::transfer::create::{Deferred, Offenders};
use crate::transfer::error::{Error, Fault, FaultCode};
use crate::transfer::plan::{Plan, TablePlan};
use crate::transfer::policy::Policy;
use crate::transfer::target::execute;
use crate::transfer::verify::{RowsAt, read_rows_at, row_name};

/// Rows that are put aside in one statement.
const CHUNK: i64 = 2_000;
/// Rounds over the foreign keys: each can orphan rows one level down.
const ROUNDS_MAX: usize = 100;

/// Puts aside every row that keeps `deferred` from being made; returns how many, by table. A policy that says `fail` names the first instead.
/// Runs in the caller's transaction.
pub(super) async fn sweep(
    connection: &mut PgConnection,
    copy_id: &str,
    plan: &Plan,
    deferred: &Deferred,
    reason: &str,
) -> Result<u64, Error> {
    let (table, offenders) = of(plan, deferred)?;
    let Some(offenders) = offenders else { return Ok(0) };
    if table.target.partitioned {
        return Err(Error::Server {
            doing: format!("making {} of {}", deferred.what, deferred.table),
            reason: format!("{reason}; rows of a partitioned table are not put aside after loading, correct them in the source"),
            sqlstate: String::new(),
            retryable: false,
        });
    }
    let mut swept = 0;
    loop {
        let found = offending(connection, table, offenders).await?;
        let faults: Vec<Fault> = found.rows.iter().map(|(row, _)| fault(table, row, offenders.code, deferred, reason)).collect();
        let Some(first) = faults.first() else { return Ok(swept) };
        if table.policy_for("", offenders.code) == Policy::Fail {
            return Err(Error::Fault(Box::new(first.clone())));
        }
        let hashes: Vec<String> = found.rows.iter().map(|(_, hash)| format!("{hash:032x}")).collect();
        checkpoint::quarantine(connection, copy_id, &faults, Some(&hashes)).await?;
        delete(connection, table, &found.places).await?;
        let count = faults.len() as u64;
        checkpoint::count_swept(connection, copy_id, table.name(), count).await?;
        swept += count;
    }
}

/// Names of rows that are shown.
const NAMED_MAX: usize = 3;

/// Every row that the index `probe` does not take is one that the index of the table would not take: only PostgreSQL can tell, because it
/// compresses keys. Rows that are shorter as text than this (in bytes) have no key near the limit, a third of a page of 8 KiB.
const PROBE: &str = "
CREATE OR REPLACE FUNCTION pg_temp.pointsman_oversized(source text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE place tid;
BEGIN
  FOR place IN EXECUTE format('SELECT ctid FROM %s AS whole WHERE octet_length(whole::text) > 1000', source) LOOP
    BEGIN
      EXECUTE format('INSERT INTO pg_temp.pointsman_probe SELECT * FROM %s WHERE ctid = $1', source) USING place;
    EXCEPTION WHEN program_limit_exceeded THEN
      RETURN NEXT place::text;
    END;
  END LOOP;
END $$";

/// The same index, with the rows as offenders whose keys are too large for it. What it needs lasts as long as the transaction.
pub(super) async fn oversized(connection: &mut PgConnection, index: &Deferred) -> Result<Deferred, Error> {
    let doing = format!("looking for the rows that are too large for {} of {}", index.what, index.table);
    // Of the same rows each may come twice here.
    let probe = index.sql.replacen("CREATE UNIQUE INDEX", "CREATE INDEX", 1);
    let probe = probe.replacen(&format!(" ON {} (", index.table), " ON pg_temp.pointsman_probe (", 1);
    let table = format!("CREATE TEMP TABLE pointsman_probe (LIKE {}) ON COMMIT DROP", index.table);
    execute(connection, &doing, format!("DROP TABLE IF EXISTS pg_temp.pointsman_probe; {table}; {probe}; {PROBE}")).await?;
    let sql = format!("SELECT pg_temp.pointsman_oversized('{}')", index.table.replace('\'', "''"));
    Ok(Deferred { offenders: Some(Offenders { code: FaultCode::Refused, sql }), ..index.clone() })
}

/// The keys of the first offending rows, and how many more there are.
pub(super) async fn named(connection: &mut PgConnection, plan: &Plan, deferred: &Deferred) -> Result<String, Error> {
    let (table, offenders) = of(plan, deferred)?;
    let Some(offenders) = offenders else { return Ok(String::new()) };
    let found = offending(connection, table, offenders).await?;
    let mut names: Vec<String> = found.rows.iter().map(|(row, _)| row_name(table, row)).collect();
    names.sort();
    let more = names.len().saturating_sub(NAMED_MAX);
    names.truncate(NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(format!("{}{rest}", names.join("; ")))
}

fn of<'a>(plan: &'a Plan, deferred: &'a Deferred) -> Result<(&'a TablePlan, Option<&'a Offenders>), Error> {
    let table = plan.tables.iter().find(|table| table.target.qualified() == deferred.table);
    let table = table.ok_or_else(|| Error::Defect(format!("no plan for {}", deferred.table)))?;
    Ok((table, deferred.offenders.as_ref()))
}

/// Takes every foreign key of the copy away, puts aside orphans until none is left, and notes that the keys are to be made again.
/// Each step is a transaction of its own: a crash leaves fewer orphans and keys that are still to be made.
pub(super) async fn sweep_orphans(connection: &mut PgConnection, copy_id: &str, plan: &Plan, reason: &str) -> Result<(), Error> {
    let all = checkpoint::deferred(connection, copy_id).await?;
    let keys: Vec<_> = all.into_iter().filter(|noted| is_foreign_key(&noted.deferred)).collect();
    execute(connection, ORPHANS, "BEGIN").await?;
    for noted in &keys {
        // Without them, so that taking a row out cannot reach others by ON DELETE CASCADE.
        execute(connection, ORPHANS, noted.deferred.reverse.clone().unwrap_or_default()).await?;
        checkpoint::mark(connection, copy_id, noted.position, false).await?;
    }
    execute(connection, ORPHANS, "COMMIT").await?;
    for _ in 0..ROUNDS_MAX {
        let mut found = 0;
        for noted in &keys {
            found += sweep_if_possible(connection, copy_id, plan, &noted.deferred, reason).await?;
        }
        if found == 0 {
            return Ok(());
        }
    }
    Err(Error::Defect(format!("orphans were still found after {ROUNDS_MAX} rounds")))
}

const ORPHANS: &str = "putting orphans aside";

/// A foreign key that PostgreSQL cannot state (types that do not compare) has no orphans either: it will be left out.
async fn sweep_if_possible(
    connection: &mut PgConnection,
    copy_id: &str,
    plan: &Plan,
    deferred: &Deferred,
    reason: &str,
) -> Result<u64, Error> {
    execute(connection, ORPHANS, "BEGIN").await?;
    match sweep(connection, copy_id, plan, deferred, reason).await {
        Ok(count) => execute(connection, ORPHANS, "COMMIT").await.map(|()| count),
        Err(Error::Server { sqlstate, .. }) if deferred.optional && sqlstate.starts_with("42") => {
            execute(connection, ORPHANS, "ROLLBACK").await.map(|()| 0)
        }
        Err(error) => Err(error),
    }
}

fn is_foreign_key(deferred: &Deferred) -> bool {
    deferred.reverse.is_some() && deferred.offenders.as_ref().is_some_and(|offenders| offenders.code == FaultCode::Orphan)
}

async fn offending(connection: &mut PgConnection, table: &TablePlan, offenders: &Offenders) -> Result<RowsAt, Error> {
    let doing = format!("looking for rows of table `{}` with {}", table.name(), offenders.code);
    let query = format!("{} LIMIT {CHUNK}", offenders.sql);
    let places: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| Error::server(&doing, &error))?;
    read_rows_at(connection, table, places).await
}

fn fault(table: &TablePlan, row: &[u8], code: FaultCode, deferred: &Deferred, reason: &str) -> Fault {
    let mut reason = format!("{}: {reason}", deferred.what);
    reason.truncate(reason.floor_char_boundary(600));
    Fault { table: table.name().to_owned(), key: row_name(table, row), column: String::new(), value: String::new(), code, reason }
}

async fn delete(connection: &mut PgConnection, table: &TablePlan, places: &[String]) -> Result<(), Error> {
    let statement = format!("DELETE FROM {} WHERE ctid = ANY($1::text[]::tid[])", table.target.qualified());
    sqlx::query(AssertSqlSafe(statement))
        .bind(places)
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| Error::server(format!("putting rows of table `{}` aside", table.name()), &error))
}

//! Statements on PostgreSQL.
//!
//! A reading statement is wrapped so that the server itself turns each row into JSON: one reading of every type
//! that PostgreSQL has, extensions included, instead of a table of decoders here.

use std::future::Future;

use serde_json::{Map, Value};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _};

use super::{Bind, Row, Rows, Statement};
use crate::actions::action::Trouble;
use crate::actions::context::Context;
use crate::actions::target::PostgresAddress;

/// How long a COMMIT may take before its outcome counts as unknown.
const COMMIT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) async fn read(context: &Context, address: &PostgresAddress, statement: &Statement<'_>) -> Result<Rows, Trouble> {
    let mut session = Session::open(context, address).await?;
    // The text is the runbook author's, pinned and signed; values only ever arrive as bind parameters.
    let sql = format!(
        "SELECT row_to_json(pointsman_row)::text FROM (\n{}\n) AS pointsman_row LIMIT {}",
        statement.sql,
        statement.rows_max + 1
    );
    let arguments = arguments(statement.params)?;
    let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let work = async {
        begin_with_timeout(&mut session.connection, begin, statement).await?;
        let query = sqlx::query_scalar_with::<_, String, _>(AssertSqlSafe(sql), arguments);
        query.fetch_all(&mut session.connection).await
    };
    let texts = cancellable(context, address, session.pid, "reading from", work).await?;
    let rows: Result<Vec<Row>, _> = texts.iter().map(|text| serde_json::from_str::<Map<String, Value>>(text)).collect();
    let rows = rows.map_err(|error| Trouble::lasting(format!("PostgreSQL returned a row that cannot be read: {error}")))?;
    // The transaction changed nothing: however it ends is well.
    let _ = session.connection.close().await;
    Ok(Rows::limited(rows, statement.rows_max))
}

pub(super) async fn write(context: &Context, address: &PostgresAddress, statement: &Statement<'_>) -> Result<u64, Trouble> {
    let mut session = Session::open(context, address).await?;
    let arguments = arguments(statement.params)?;
    let sql = statement.sql.to_owned();
    let work = async {
        begin_with_timeout(&mut session.connection, "BEGIN", statement).await?;
        sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut session.connection).await
    };
    let done = cancellable(context, address, session.pid, "writing to", work).await?;
    commit(address, session.connection).await?;
    Ok(done.rows_affected())
}

pub(super) async fn prepare(context: &Context, address: &PostgresAddress, statement: &Statement<'_>) -> Result<(), Trouble> {
    let mut session = Session::open(context, address).await?;
    arguments(statement.params)?;
    let sql = AssertSqlSafe(statement.sql.to_owned()).into_sql_str();
    let work = async { session.connection.prepare(sql).await.map(|_| ()) };
    cancellable(context, address, session.pid, "preparing a statement on", work).await?;
    let _ = session.connection.close().await;
    Ok(())
}

/// From here on it cannot be taken back, so it is not cancelled; without an answer nobody knows.
async fn commit(address: &PostgresAddress, mut connection: PgConnection) -> Result<(), Trouble> {
    let committed = tokio::time::timeout(COMMIT_TIMEOUT, sqlx::query("COMMIT").execute(&mut connection)).await;
    match committed {
        Ok(Ok(_)) => Ok(()),
        // The server answered: a deferred constraint, for instance. Nothing was kept.
        Ok(Err(error @ sqlx::Error::Database(_))) => Err(address.explain("committing to", &error)),
        Ok(Err(error)) => Err(Trouble::Unknown {
            why: format!("{}; whether it was committed is unknown", address.explain("committing to", &error)),
        }),
        Err(_) => {
            let why = format!("PostgreSQL {} did not answer the COMMIT; whether it was committed is unknown", address.display());
            Err(Trouble::Unknown { why })
        }
    }
}

/// A connection, and the server process behind it.
pub(in crate::actions) struct Session {
    pub(in crate::actions) connection: PgConnection,
    pub(in crate::actions) pid: i32,
}

impl Session {
    pub(in crate::actions) async fn open(context: &Context, address: &PostgresAddress) -> Result<Self, Trouble> {
        let mut connection = context.or_cancelled(address.connect()).await??;
        let asked = sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()").fetch_one(&mut connection);
        let pid = context.or_cancelled(asked).await?.map_err(|error| address.explain("asking", &error))?;
        Ok(Self { connection, pid })
    }
}

async fn begin_with_timeout(
    connection: &mut PgConnection,
    begin: &'static str,
    statement: &Statement<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(begin).execute(&mut *connection).await?;
    let milliseconds = statement.timeout.as_secs().clamp(1, 2_000_000) * 1_000;
    let limit = format!("SET LOCAL statement_timeout = {milliseconds}");
    sqlx::query(AssertSqlSafe(limit)).execute(&mut *connection).await.map(|_| ())
}

/// Waits for `work` on the connection of the server process `pid`. A dropped connection alone would leave the
/// statement running on the server until it wants to answer, so cancelling asks the server as well.
pub(in crate::actions) async fn cancellable<T>(
    context: &Context,
    address: &PostgresAddress,
    pid: i32,
    doing: &str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Trouble> {
    tokio::select! {
        biased;
        () = context.cancel.cancelled() => {
            if let Ok(mut other) = address.connect().await {
                let _ = sqlx::query("SELECT pg_cancel_backend($1)").bind(pid).execute(&mut other).await;
                let _ = other.close().await;
            }
            Err(Trouble::Cancelled)
        }
        done = work => done.map_err(|error| address.explain(doing, &error)),
    }
}

fn arguments(params: &[Bind]) -> Result<PgArguments, Trouble> {
    let mut arguments = PgArguments::default();
    for (index, param) in params.iter().enumerate() {
        let added = match param {
            Bind::Null(()) => arguments.add(None::<String>),
            Bind::Boolean(boolean) => arguments.add(*boolean),
            Bind::Integer(integer) => arguments.add(*integer),
            Bind::Real(real) => arguments.add(*real),
            Bind::Text(text) => arguments.add(text.clone()),
        };
        added.map_err(|error| Trouble::lasting(format!("the value for ${} cannot be bound: {error}", index + 1)))?;
    }
    Ok(arguments)
}

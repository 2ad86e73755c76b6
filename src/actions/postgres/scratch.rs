//! A scratch database beside the target, on the same server, of the same encoding and collation.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _};

use crate::actions::action::Trouble;
use crate::actions::context::Context;
use crate::actions::target::PostgresAddress;
use crate::domain::Digest;

/// How long dropping may take; it is done even when the step is cancelled.
const DROP_TIMEOUT: Duration = Duration::from_secs(30);

/// The scratch database of a step. It exists from [`create`] to [`Scratch::drop_it`].
pub(super) struct Scratch {
    server: PostgresAddress,
    pub(super) address: PostgresAddress,
}

/// Creates it anew: one of this name can only be left over from an attempt of the same step of the same run.
pub(super) async fn create(context: &Context, target: &PostgresAddress) -> Result<Scratch, Trouble> {
    let step = Digest::of_bytes(context.step.as_str().as_bytes()).short();
    let name = format!("pointsman_{}_{step}", context.run.as_str().replace('-', "_"));
    let scratch = Scratch { server: target.clone(), address: target.with_database(&name) };
    scratch.drop_it().await?;
    let mut connection = context.or_cancelled(target.connect()).await??;
    let like = "SELECT format('CREATE DATABASE %I TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L', $1,
        pg_encoding_to_char(encoding), datcollate, datctype) FROM pg_database WHERE datname = current_database()";
    let explain = |error| target.explain("creating a scratch database beside", &error);
    let sql: String = sqlx::query_scalar(like).bind(&name).fetch_one(&mut connection).await.map_err(explain)?;
    // Not cancelled halfway: a database that appears after we have gone would stay for ever.
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.map_err(explain)?;
    let _ = connection.close().await;
    Ok(scratch)
}

impl Scratch {
    /// Drops it, if it is there. Not cancelled: it must not stay.
    pub(super) async fn drop_it(&self) -> Result<(), Trouble> {
        let work = async {
            let mut connection = self.server.connect().await?;
            // The name is made of letters, digits and `_` above.
            let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.address.database);
            let dropped = sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await;
            dropped.map_err(|error| self.server.explain("dropping the scratch database beside", &error))?;
            let _ = connection.close().await;
            Ok(())
        };
        let name = &self.address.database;
        let late = || Trouble::passing(format!("the scratch database {name} could not be dropped in time; drop it by hand"));
        tokio::time::timeout(DROP_TIMEOUT, work).await.map_err(|_| late())?
    }
}

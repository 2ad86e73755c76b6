//! Taking an unfinished copy back.

use secrecy::SecretString;

use crate::transfer::error::Error;
use crate::transfer::target::{self, execute};
use crate::transfer::{checkpoint, source::quoted};

/// Takes back everything that the unfinished copy `copy_id` did: tables that it created are dropped, tables that it filled
/// are emptied, foreign keys and triggers come back, its checkpoints and its quarantine go. All or none.
/// Returns whether there was anything to take back.
///
/// # Errors
/// [`Error::Options`] when the copy is complete (its tables may hold newer rows by now); [`Error::Busy`] while it is being
/// worked on; [`Error::Server`] when the target refuses, with nothing taken back.
pub async fn undo(target: &SecretString, copy_id: &str) -> Result<bool, Error> {
    let mut control = target::connect(target).await?;
    checkpoint::lock(&mut control, copy_id).await?;
    let Some(begun) = checkpoint::find(&mut control, copy_id).await? else {
        return Ok(false);
    };
    if begun.report.is_some() {
        let says = format!(
            "copy `{copy_id}` is complete and the application may have written since; empty its tables by hand if that is meant"
        );
        return Err(Error::Options { option: "copy_id".to_owned(), says });
    }
    checkpoint::take_over(&mut control, copy_id).await?;
    let deferred = checkpoint::deferred(&mut control, copy_id).await?;
    let doing = format!("undoing copy `{copy_id}`");
    execute(&mut control, &doing, "BEGIN").await?;
    let tables = begun.tables.join(", ");
    if begun.creates {
        execute(&mut control, &doing, format!("DROP TABLE IF EXISTS {tables}")).await?;
    } else {
        execute(&mut control, &doing, format!("TRUNCATE {tables}")).await?;
        for noted in deferred.into_iter().filter(|noted| !noted.done) {
            execute(&mut control, &doing, noted.deferred.sql).await?;
        }
    }
    for table in ["quarantine", "copy"] {
        let statement = sqlx::AssertSqlSafe(format!("DELETE FROM pointsman_transfer.{} WHERE copy_id = $1", quoted(table)));
        sqlx::query(statement).bind(copy_id).execute(&mut control).await.map_err(|error| Error::server(&doing, &error))?;
    }
    execute(&mut control, &doing, "COMMIT").await?;
    Ok(true)
}

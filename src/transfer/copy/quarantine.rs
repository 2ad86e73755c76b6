//! The rows that were put aside, as a file.

use std::io::Write;

use futures_util::TryStreamExt as _;
use secrecy::SecretString;
use sqlx::Row as _;

use crate::transfer::checkpoint;
use crate::transfer::error::Error;
use crate::transfer::target;

/// Writes what the copy put aside, one JSON object per line (`table`, `key`, `column`, `value`, `code`, `reason`), in the order in
/// which it was found. Returns the number of lines; a copy that the target does not know has none.
///
/// # Errors
/// When the target cannot be read, or the file not be written (as [`Error::Options`]).
pub async fn write_quarantine(target: &SecretString, copy_id: &str, out: &mut (dyn Write + Send)) -> Result<u64, Error> {
    let mut control = target::connect(target).await?;
    if checkpoint::find(&mut control, copy_id).await?.is_none() {
        return Ok(0);
    }
    let failed = |error| Error::server("reading the quarantine", &error);
    let query = sqlx::query(
        "SELECT json_build_object('table', table_name, 'key', row_key, 'column', column_name, 'value', value, 'code', code, 'reason', reason)::text
           FROM pointsman_transfer.quarantine WHERE copy_id = $1 ORDER BY number",
    );
    let mut rows = query.bind(copy_id).fetch(&mut control);
    let mut count = 0;
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let line: String = row.try_get(0).map_err(failed)?;
        writeln!(out, "{line}").map_err(|error| Error::Options {
            option: "quarantine".to_owned(),
            says: format!("the file cannot be written: {error}"),
        })?;
        count += 1;
    }
    Ok(count)
}

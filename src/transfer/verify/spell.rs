//! Values whose spelling only PostgreSQL knows (`inet`, `interval`, arrays, ranges, ...): the source's text is given to PostgreSQL, which
//! reads it as the column's type and spells it as it spells the target's values.

use sqlx::AssertSqlSafe;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::side::Fields;
use crate::transfer::error::{Error, Fault, FaultCode, printable_text};
use crate::transfer::kind::Kind;
use crate::transfer::plan::TablePlan;

/// A row of the source on its way into the comparison: its name, and its fields or what is wrong with it.
pub(super) struct Pending {
    pub(super) key: String,
    pub(super) row: Result<Vec<u8>, Box<Fault>>,
}

/// Rows that PostgreSQL is asked about at once, and their bytes.
pub(super) const CHUNK_ROWS: usize = 1_000;
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;

/// Whether a table has columns that only PostgreSQL can spell.
pub(super) fn is_needed(table: &TablePlan) -> bool {
    table.columns.iter().any(|column| column.kind == Kind::Other)
}

/// Asks PostgreSQL for the spelling of one table's columns.
pub(super) struct Speller<'a> {
    table: &'a TablePlan,
    /// Positions of the columns.
    columns: Vec<usize>,
    statement: String,
}

impl<'a> Speller<'a> {
    pub(super) fn new(table: &'a TablePlan) -> Self {
        let columns: Vec<usize> = (0..table.columns.len()).filter(|index| table.columns[*index].kind == Kind::Other).collect();
        let cast = |(number, column): (usize, &usize)| format!("c{number}::{}::text", table.columns[*column].type_name);
        let casts = columns.iter().enumerate().map(cast).collect::<Vec<_>>().join(", ");
        let arrays = (1..=columns.len()).map(|number| format!("${number}::text[]")).collect::<Vec<_>>().join(", ");
        let names = (0..columns.len()).map(|number| format!("c{number}, ")).collect::<String>();
        let statement = format!("SELECT {casts} FROM unnest({arrays}) WITH ORDINALITY AS u({names}place) ORDER BY place");
        Self { table, columns, statement }
    }

    /// Respells every row; one that PostgreSQL cannot read gets a fault.
    pub(super) async fn spell(&self, connection: &mut PgConnection, chunk: &mut [Pending]) -> Result<(), Error> {
        match self.try_spell(connection, chunk).await {
            Err(error) if is_about_a_value(&error) => {}
            result => return result,
        }
        for pending in chunk {
            match self.try_spell(connection, std::slice::from_mut(pending)).await {
                Err(error) if is_about_a_value(&error) => pending.row = Err(Box::new(self.fault(pending, error.to_string()))),
                result => result?,
            }
        }
        Ok(())
    }

    async fn try_spell(&self, connection: &mut PgConnection, chunk: &mut [Pending]) -> Result<(), Error> {
        let doing = format!("reading values of table `{}` as their types", self.table.name());
        let failed = |error| Error::server(&doing, &error);
        let mut query = sqlx::query(AssertSqlSafe(self.statement.clone()));
        for column in &self.columns {
            let texts: Vec<Option<String>> = rows(chunk).map(|row| text(row, *column)).collect();
            query = query.bind(texts);
        }
        let spelled = query.fetch_all(connection).await.map_err(failed)?;
        let good = chunk.iter_mut().filter_map(|pending| pending.row.as_mut().ok());
        for (row, spelled) in good.zip(spelled) {
            let mut out = Vec::with_capacity(row.len());
            for (position, field) in Fields(row).enumerate() {
                let place = self.columns.iter().position(|column| *column == position);
                let own: Option<String> = place.map(|place| spelled.try_get(place)).transpose().map_err(failed)?.flatten();
                write_field(&mut out, if place.is_some() { own.as_deref().map(str::as_bytes) } else { field });
            }
            *row = out;
        }
        Ok(())
    }

    fn fault(&self, pending: &Pending, reason: String) -> Fault {
        let first = self.columns.first().copied().unwrap_or_default();
        let value = pending.row.as_ref().ok().and_then(|row| Fields(row).nth(first)).flatten().map(printable_text);
        Fault {
            table: self.table.name().to_owned(),
            key: pending.key.clone(),
            column: self.table.columns[first].name.clone(),
            value: value.unwrap_or_else(|| "NULL".to_owned()),
            code: FaultCode::WrongType,
            reason,
        }
    }
}

/// Data that the type does not take, or that a domain's conditions refuse.
fn is_about_a_value(error: &Error) -> bool {
    matches!(error, Error::Server { sqlstate, .. } if sqlstate.starts_with("22") || sqlstate.starts_with("23"))
}

fn rows(chunk: &[Pending]) -> impl Iterator<Item = &Vec<u8>> {
    chunk.iter().filter_map(|pending| pending.row.as_ref().ok())
}

fn text(row: &[u8], column: usize) -> Option<String> {
    // Conversion has made sure that it is UTF-8.
    Fields(row).nth(column).flatten().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn write_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    let length = field.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(field.unwrap_or_default());
}

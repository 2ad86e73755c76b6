//! The journal as JSON lines: one record per line, in order, with all that its hash covers.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat};

use crate::store::error::StoreError;
use crate::store::journal::{Journal, RawRecord};

use super::PAGE_RECORDS;

/// Writes every record as one line of JSON: `position`, `stream`, `seq`, `at` (RFC 3339, milliseconds), `kind`, `prev`
/// (the hash before), `hash`, and `event`, the body byte for byte. Returns how many lines it wrote.
///
/// A body that is no longer one line of JSON comes as the string `event_damaged` instead; [`super::verify`] tells more.
///
/// # Errors
/// [`StoreError::Unavailable`] if the journal cannot be read, [`StoreError::Export`] if `writer` fails; the lines
/// written until then are whole.
pub async fn export(journal: &dyn Journal, writer: &mut (dyn Write + Send)) -> Result<u64, StoreError> {
    let mut after = None;
    let mut lines = 0;
    loop {
        let page = journal.read_raw(after, PAGE_RECORDS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.position);
        for row in &page {
            write_line(writer, row).map_err(StoreError::Export)?;
            lines += 1;
        }
    }
    writer.flush().map_err(StoreError::Export)?;
    Ok(lines)
}

fn write_line(writer: &mut dyn Write, row: &RawRecord) -> io::Result<()> {
    let text = |bytes: &[u8]| serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string();
    let at = match DateTime::from_timestamp_millis(row.at_ms) {
        Some(at) => format!("\"{}\"", at.to_rfc3339_opts(SecondsFormat::Millis, true)),
        None => row.at_ms.to_string(),
    };
    write!(writer, r#"{{"position":{},"stream":{},"seq":{},"#, row.position, text(&row.stream), row.seq)?;
    write!(writer, r#""at":{at},"kind":{},"#, text(&row.kind))?;
    write!(writer, r#""prev":{},"hash":{},"#, text(&row.prev_hash), text(&row.hash))?;
    if is_one_line_of_json(&row.body) {
        // Not parsed and printed again: that could change the bytes that are hashed.
        writer.write_all(br#""event":"#)?;
        writer.write_all(&row.body)?;
    } else {
        write!(writer, r#""event_damaged":{}"#, text(&row.body))?;
    }
    writer.write_all(b"}\n")
}

fn is_one_line_of_json(body: &[u8]) -> bool {
    !body.contains(&b'\n')
        && !body.contains(&b'\r')
        && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
        && std::str::from_utf8(body).is_ok()
}

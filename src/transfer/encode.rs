//! Rows as COPY wants them, in text or binary, and rows as verification compares them.
//!
//! Sources: <https://www.postgresql.org/docs/current/sql-copy.html>, sections "Text Format" and "Binary Format".

use super::kind::Value;
use super::temporal;

/// How rows travel to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// PostgreSQL's input functions read every value; works for every type.
    Text,
    /// No parsing on the server; for the types whose binary form is known.
    Binary,
}

/// What opens a binary COPY: signature, no flags, no header extension.
pub(super) const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What closes a binary COPY.
pub(super) const BINARY_TRAILER: &[u8] = &[0xff, 0xff];

impl Format {
    /// Opens a row of `columns` values.
    pub(super) fn start_row(self, out: &mut Vec<u8>, columns: usize) {
        if self == Self::Binary {
            // PostgreSQL's tables end at 1,600 columns, far below the field's 32,767.
            out.extend_from_slice(&u16::try_from(columns).unwrap_or(u16::MAX).to_be_bytes());
        }
    }

    /// Appends the value of column `index`.
    pub(super) fn write(self, out: &mut Vec<u8>, index: usize, value: &Value<'_>) {
        match self {
            Self::Binary => write_binary(out, value),
            Self::Text => {
                if index > 0 {
                    out.push(b'\t');
                }
                write_text(out, value);
            }
        }
    }

    /// Closes a row.
    pub(super) fn end_row(self, out: &mut Vec<u8>) {
        if self == Self::Text {
            out.push(b'\n');
        }
    }

    /// The option of the COPY statement.
    pub(super) fn as_sql(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

/// Appends length and bytes of one field, as COPY's binary format and the comparison use them.
pub(super) fn write_binary(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Value::Bool(flag) => field(out, &[u8::from(*flag)]),
        Value::Int2(number) => field(out, &number.to_be_bytes()),
        Value::Int4(number) | Value::Date(number) => field(out, &number.to_be_bytes()),
        Value::Int8(number) | Value::Timestamp(number) | Value::Time(number) => field(out, &number.to_be_bytes()),
        Value::Float4(number) => field(out, &number.to_be_bytes()),
        Value::Float8(number) => field(out, &number.to_be_bytes()),
        Value::Text(text) => field(out, text.as_bytes()),
        Value::Bytes(bytes) => field(out, bytes),
        Value::Uuid(bytes) => field(out, bytes),
        Value::Jsonb(text) => {
            let length = i32::try_from(text.len() + 1).unwrap_or(i32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            // The version of jsonb's binary form.
            out.push(1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Appends one field as verification compares it: like [`write_binary`], JSON as its bare text.
pub(super) fn write_compared(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Jsonb(text) => field(out, text.as_bytes()),
        _ => write_binary(out, value),
    }
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    // Conversion refuses values beyond `VALUE_BYTES_MAX`, far below 2 GB.
    out.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn write_text(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => out.extend_from_slice(b"\\N"),
        Value::Bool(flag) => out.push(if *flag { b't' } else { b'f' }),
        Value::Int2(number) => display(out, number),
        Value::Int4(number) => display(out, number),
        Value::Int8(number) => display(out, number),
        // Rust prints the shortest digits that read back as the same number; `inf` and `NaN` are spelled as PostgreSQL reads them.
        Value::Float4(number) => display(out, format_args!("{number:e}")),
        Value::Float8(number) => display(out, format_args!("{number:e}")),
        Value::Text(text) => escape(out, text.as_bytes()),
        Value::Jsonb(text) => escape(out, text.as_bytes()),
        Value::Bytes(bytes) => {
            out.extend_from_slice(b"\\\\x");
            out.extend_from_slice(hex::encode(bytes).as_bytes());
        }
        Value::Timestamp(micros) => temporal::write_timestamp(out, *micros),
        Value::Date(days) => temporal::write_date(out, i64::from(*days)),
        Value::Time(micros) => temporal::write_time(out, *micros),
        Value::Uuid(bytes) => out.extend_from_slice(hex::encode(bytes).as_bytes()),
    }
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    use std::io::Write as _;
    write!(out, "{value}").expect("writing to memory does not fail");
}

fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\r",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn text(value: &Value<'_>) -> String {
        let mut out = Vec::new();
        write_text(&mut out, value);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn copy_text_escapes_what_copy_reads() {
        assert_eq!(text(&Value::Text(Cow::Borrowed("a\tb\\N\r\n"))), "a\\tb\\\\N\\r\\n");
        assert_eq!(text(&Value::Null), "\\N");
        assert_eq!(text(&Value::Bytes(Cow::Borrowed(&[0, 255]))), "\\\\x00ff");
        assert_eq!(text(&Value::Float8(0.1 + 0.2)), "3.0000000000000004e-1");
        assert_eq!(text(&Value::Float8(f64::NEG_INFINITY)), "-inf");
    }

    #[test]
    fn a_binary_field_is_its_length_and_its_bytes() {
        let mut out = Vec::new();
        write_binary(&mut out, &Value::Int4(1));
        write_binary(&mut out, &Value::Null);
        write_binary(&mut out, &Value::Jsonb("{}".to_owned()));
        assert_eq!(out, [0, 0, 0, 4, 0, 0, 0, 1, 255, 255, 255, 255, 0, 0, 0, 3, 1, b'{', b'}']);
    }
}

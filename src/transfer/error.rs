//! What can go wrong in a move, said so that the reader knows which table, what was not done, and what to do next.
//!
//! A [`Fault`] is about one value of one row; an [`Error`] ends the operation.

use std::fmt;

use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

/// How many characters of a faulty value are shown.
pub(super) const VALUE_CHARS_MAX: usize = 200;

/// Why a value cannot be carried over as it is. Stable: policies and summaries are written in these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultCode {
    /// A zero byte, which no text of PostgreSQL can hold.
    NulByte,
    /// Text whose bytes are not UTF-8.
    InvalidUtf8,
    /// A value of another storage class than the target type can take: a blob in a text column, text that is no number.
    WrongType,
    /// A number, date or length beyond what the target type holds.
    OutOfRange,
    /// The target type would have to round or cut the value.
    Inexact,
    /// A value that could mean several things: a bare number in a timestamp column.
    Ambiguous,
    /// An infinity or NaN where the target type has none.
    NonFinite,
    /// Text that is no JSON, or JSON that `jsonb` would change or refuse (`\u0000`, a doubled key).
    BadJson,
    /// NULL in a column that the target declares NOT NULL.
    NullInNotNull,
    /// Text that is none of the enumeration's labels.
    UnknownLabel,
    /// A single value beyond the size limit.
    TooLarge,
    /// The same key twice as PostgreSQL compares keys.
    DuplicateKey,
    /// A foreign key without its parent row.
    Orphan,
    /// A CHECK constraint of the target is not met.
    CheckViolation,
    /// PostgreSQL refused the value for another reason; its own words follow.
    Refused,
}

impl FaultCode {
    /// Every code, in the order in which they are documented.
    pub const ALL: [Self; 15] = [
        Self::NulByte,
        Self::InvalidUtf8,
        Self::WrongType,
        Self::OutOfRange,
        Self::Inexact,
        Self::Ambiguous,
        Self::NonFinite,
        Self::BadJson,
        Self::NullInNotNull,
        Self::UnknownLabel,
        Self::TooLarge,
        Self::DuplicateKey,
        Self::Orphan,
        Self::CheckViolation,
        Self::Refused,
    ];

    /// The word that stands in files and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NulByte => "nul_byte",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::WrongType => "wrong_type",
            Self::OutOfRange => "out_of_range",
            Self::Inexact => "inexact",
            Self::Ambiguous => "ambiguous",
            Self::NonFinite => "non_finite",
            Self::BadJson => "bad_json",
            Self::NullInNotNull => "null_in_not_null",
            Self::UnknownLabel => "unknown_label",
            Self::TooLarge => "too_large",
            Self::DuplicateKey => "duplicate_key",
            Self::Orphan => "orphan",
            Self::CheckViolation => "check_violation",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row that could not be carried over, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The table, by its name in the source.
    pub table: String,
    /// The row: `rowid=42`, or its primary key (`a=1, b='x'`).
    pub key: String,
    /// The column at fault; empty when the row as a whole is refused.
    pub column: String,
    /// The value as it stands in the source, printable and bounded.
    pub value: String,
    /// The kind of fault.
    pub code: FaultCode,
    /// The reason in words.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table `{}`, row {}", self.table, self.key)?;
        if !self.column.is_empty() {
            write!(f, ", column `{}`, value {}", self.column, self.value)?;
        }
        write!(f, ": {} ({})", self.reason, self.code)
    }
}

/// A value in a form that can be printed anywhere: control characters escaped, blobs in hex, at most
/// [`VALUE_CHARS_MAX`] characters with the full length said.
pub(super) fn printable(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(bytes) => printable_text(bytes),
        ValueRef::Blob(bytes) => {
            let shown = &bytes[..bytes.len().min(VALUE_CHARS_MAX / 2)];
            let more = if shown.len() < bytes.len() { format!("... ({} bytes)", bytes.len()) } else { String::new() };
            format!("x'{}'{more}", hex::encode(shown))
        }
    }
}

/// Text in quotes, printable and bounded; bytes that are not UTF-8 appear as `\xNN`.
pub(super) fn printable_text(bytes: &[u8]) -> String {
    let mut shown = String::from("'");
    let mut count = 0;
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().chars().map(escape_char);
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        for piece in valid.chain(invalid) {
            if count == VALUE_CHARS_MAX {
                return format!("{shown}'... ({} bytes)", bytes.len());
            }
            shown.push_str(&piece);
            count += 1;
        }
    }
    shown.push('\'');
    shown
}

fn escape_char(letter: char) -> String {
    match letter {
        '\'' => "''".to_owned(),
        '\\' => "\\\\".to_owned(),
        // Direction marks could turn the message around; they are shown like control characters.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => letter.escape_unicode().to_string(),
        _ if letter.is_control() => letter.escape_default().to_string(),
        _ => letter.to_string(),
    }
}

/// One difference between the two schemas that keeps a copy from starting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// The table, or `table.column`.
    pub what: String,
    /// What is wrong with it and what can be done.
    pub says: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.what, self.says)
    }
}

/// Why a copy, a rehearsal or a verification ended without its result.
///
/// Whatever the error, batches that were committed stay, with their checkpoint: the same call with the
/// same `copy_id` goes on from there, and [`super::copy::undo`] takes everything back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the target cannot be used.
    #[error("the PostgreSQL URL is not usable: {0}")]
    Url(String),
    /// An option contradicts another one or names something that does not exist.
    #[error("option {option}: {says}")]
    Options {
        /// The option's name, with its key where it has one.
        option: String,
        /// What is wrong, and what would be right.
        says: String,
    },
    /// The SQLite file cannot be opened or read.
    #[error("SQLite database {path}: {doing}: {reason}")]
    Source {
        /// The file.
        path: String,
        /// What was being done.
        doing: String,
        /// SQLite's words.
        reason: String,
        /// Whether another attempt may succeed (the file was locked).
        retryable: bool,
    },
    /// The PostgreSQL server did not take the connection.
    #[error("no connection to PostgreSQL at {address}: {reason}; check that the server runs, and user, password and database")]
    Connect {
        /// `user@host:port/database`
        address: String,
        /// The reason, without any password.
        reason: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
    /// PostgreSQL refused or broke off while something was being done.
    #[error("PostgreSQL, while {doing}: {reason}")]
    Server {
        /// What was being done, with the table.
        doing: String,
        /// The server's message, detail and place.
        reason: String,
        /// The five characters of the SQLSTATE, empty for a broken connection.
        sqlstate: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
    /// The two schemas do not fit; everything that is wrong, at once. Nothing was written.
    #[error("source and target do not fit, nothing was written: {}", list(.0))]
    Schema(Vec<Mismatch>),
    /// A target table already holds rows that this copy did not write. Nothing was written.
    #[error(
        "target table {tables} already holds rows and no copy with the id `{copy_id}` was begun: nothing was written; \
         empty it, choose another database, or give the id of the copy that is to be resumed"
    )]
    NotEmpty {
        /// The tables, joined by commas.
        tables: String,
        /// The id that was given.
        copy_id: String,
    },
    /// A row cannot be converted, and the options say that this ends the copy.
    #[error("{0}; earlier batches are in the target, correct the value or declare a cast or a policy, then resume")]
    Fault(Box<Fault>),
    /// More rows were put aside than the options allow.
    #[error("{says}")]
    TooManyFaults {
        /// The counts by reason, the limit and what to do.
        says: String,
    },
    /// The source was written to, so that what is in the target is no single state of it.
    #[error("the SQLite database was changed {when}: {says}")]
    SourceChanged {
        /// `during the copy` or `since the copy was interrupted`
        when: &'static str,
        /// Which table, what is in the target, what to do.
        says: String,
    },
    /// The copy was begun with other options or another schema.
    #[error(
        "copy `{copy_id}` was begun with other options or schemas ({says}): resume it with the same ones, or undo it and begin anew"
    )]
    PlanChanged {
        /// The copy.
        copy_id: String,
        /// What differs.
        says: String,
    },
    /// Another process works on the same copy.
    #[error("copy `{copy_id}` is being worked on by another connection: wait until it ends, or end it, and try again")]
    Busy {
        /// The copy.
        copy_id: String,
    },
    /// The caller asked to stop.
    #[error("stopped on request after {rows} rows; call again with the same copy id to go on, or undo it")]
    Cancelled {
        /// Rows that are committed in the target.
        rows: u64,
    },
    /// A mistake of this program.
    #[error("defect in the copy, please report it: {0}")]
    Defect(String),
}

fn list(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// Whether the same call may succeed a little later with nothing changed by anybody.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Source { retryable, .. } | Self::Connect { retryable, .. } | Self::Server { retryable, .. } => *retryable,
            Self::Busy { .. } => true,
            Self::Url(_)
            | Self::Options { .. }
            | Self::Schema(_)
            | Self::NotEmpty { .. }
            | Self::Fault(_)
            | Self::TooManyFaults { .. }
            | Self::SourceChanged { .. }
            | Self::PlanChanged { .. }
            | Self::Cancelled { .. }
            | Self::Defect(_) => false,
        }
    }

    /// Whether the caller's own cancellation ended the operation.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }

    /// Wraps what sqlx says, with the server's detail and place and without sqlx's own prefixes.
    pub(super) fn server(doing: impl Into<String>, error: &sqlx::Error) -> Self {
        let (reason, sqlstate, retryable) = describe(error);
        Self::Server { doing: doing.into(), reason, sqlstate, retryable }
    }
}

/// The words, the SQLSTATE, and whether another attempt may succeed.
pub(super) fn describe(error: &sqlx::Error) -> (String, String, bool) {
    let sqlx::Error::Database(database) = error else {
        let broken = matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_));
        return (format!("connection lost: {error}"), String::new(), broken);
    };
    let sqlstate = database.code().unwrap_or_default().into_owned();
    let mut words = database.message().to_owned();
    if let Some(server) = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        for more in [server.detail(), server.hint(), server.r#where()].into_iter().flatten() {
            words.push_str("; ");
            words.extend(more.chars().take(2 * VALUE_CHARS_MAX));
        }
    }
    if sqlstate == DISK_FULL {
        words.push_str("; make room on the server and go on: what is committed stays, nothing else was written");
    }
    let retryable = is_transient(&sqlstate);
    (words, sqlstate, retryable)
}

/// The SQLSTATE of a server without room. Its own hint says nothing about what became of the rows.
const DISK_FULL: &str = "53100";

/// SQLSTATE classes that pass by themselves or when an operator makes room: connection trouble,
/// serialisation and deadlock, lack of resources (a full disk), a server that shuts down or starts.
/// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_transient(sqlstate: &str) -> bool {
    ["08", "40", "53", "57P"].iter().any(|class| sqlstate.starts_with(class)) || sqlstate == "55P03"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_printable_and_bounded() {
        assert_eq!(printable(ValueRef::Text(b"a'b\0\xff\n")), r"'a''b\u{0}\xff\n'");
        assert_eq!(printable(ValueRef::Blob(&[0xde, 0xad])), "x'dead'");
        let long = printable(ValueRef::Text("é".repeat(5_000).as_bytes()));
        assert!(long.ends_with("'... (10000 bytes)") && long.chars().count() < 250, "{long}");
        assert_eq!(printable_text("a\u{202e}b".as_bytes()), r"'a\u{202e}b'");
    }

    #[test]
    fn codes_are_written_as_serde_writes_them() {
        for code in FaultCode::ALL {
            assert_eq!(serde_json::to_value(code).expect("serialises"), code.as_str());
        }
    }
}

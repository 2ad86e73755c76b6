//! From a value as SQLite holds it to a value of the target's type, or the reason why not.
//!
//! The rule without a declared cast: what has exactly one meaning in the target's type is carried over in
//! full; what would have to be guessed, rounded, cut or invented is a fault. A declared [`Cast`] says how
//! to read the values of one column.

use std::borrow::Cow;

use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

use super::error::FaultCode;
use super::kind::{Kind, Value};
use super::numeric::Decimal;
use super::{json, temporal};

/// The largest single value that is carried over: PostgreSQL's fields end at 1 GB, and COPY's text form of a
/// blob takes twice its size.
pub(super) const VALUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How the values of one source column are to be read, and, when the copy creates the table, as which type
/// they are kept. Text that already is in the target's form is accepted beside the declared one, so that
/// `epoch_seconds` reads a column that mixes epochs and ISO timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cast {
    /// Numbers are seconds since 1970-01-01 UTC, with a fraction if real. Creates `timestamptz`.
    EpochSeconds,
    /// Numbers are milliseconds since 1970-01-01 UTC. Creates `timestamptz`.
    EpochMillis,
    /// Numbers are microseconds since 1970-01-01 UTC. Creates `timestamptz`.
    EpochMicros,
    /// Numbers are Julian days, as SQLite's `julianday()` gives them; read to the millisecond. Creates `timestamptz`.
    JulianDay,
    /// 0 and 1, and any spelling of true/false, t/f, yes/no, y/n, on/off. Creates `boolean`.
    Boolean,
    /// 0 is false, every other number is true; words as for `boolean`. Creates `boolean`.
    BooleanNonzero,
    /// ISO text; an offset is applied and the instant kept in UTC. Creates `timestamptz`.
    Timestamptz,
    /// ISO text; an offset is applied and the instant kept in UTC. Creates `timestamp`.
    TimestampUtc,
    /// `YYYY-MM-DD`. Creates `date`.
    Date,
    /// `HH:MM:SS`. Creates `time`.
    Time,
    /// Integers, also as text. Creates `bigint`.
    Bigint,
    /// Numbers, also as text. Creates `double precision`.
    Double,
    /// Numbers, also as text, in decimal. Creates `numeric`.
    Numeric,
    /// JSON text. Creates `jsonb`.
    Jsonb,
    /// JSON text, kept letter by letter. Creates `json`.
    Json,
    /// Any spelling of a UUID, or its 16 bytes in network order. Creates `uuid`.
    Uuid,
    /// Every value as text; blobs must be UTF-8. Creates `text`.
    Text,
    /// Blobs; text gives its UTF-8 bytes. Creates `bytea`.
    Bytea,
    /// Text of hex digits; blanks and line breaks between them do not count. Creates `bytea`.
    Hex,
    /// Text in base64; blanks and line breaks do not count. Creates `bytea`.
    Base64,
}

impl Cast {
    /// The type that a created column gets.
    pub(super) fn creates(self) -> (&'static str, Kind) {
        match self {
            Self::EpochSeconds | Self::EpochMillis | Self::EpochMicros | Self::JulianDay | Self::Timestamptz => {
                ("timestamptz", Kind::TimestampTz(6))
            }
            Self::TimestampUtc => ("timestamp", Kind::Timestamp(6)),
            Self::Boolean | Self::BooleanNonzero => ("boolean", Kind::Bool),
            Self::Date => ("date", Kind::Date),
            Self::Time => ("time", Kind::Time(6)),
            Self::Bigint => ("bigint", Kind::Int8),
            Self::Double => ("double precision", Kind::Float8),
            Self::Numeric => ("numeric", Kind::Numeric(None)),
            Self::Jsonb => ("jsonb", Kind::Jsonb),
            Self::Json => ("json", Kind::Json),
            Self::Uuid => ("uuid", Kind::Uuid),
            Self::Text => ("text", Kind::Text(None)),
            Self::Bytea | Self::Hex | Self::Base64 => ("bytea", Kind::Bytea),
        }
    }

    /// Whether an existing column of this kind can take what the cast reads.
    pub(super) fn fits(self, kind: &Kind) -> bool {
        match self {
            Self::EpochSeconds
            | Self::EpochMillis
            | Self::EpochMicros
            | Self::JulianDay
            | Self::Timestamptz
            | Self::TimestampUtc => {
                matches!(kind, Kind::Timestamp(_) | Kind::TimestampTz(_) | Kind::Date)
            }
            Self::Boolean | Self::BooleanNonzero => *kind == Kind::Bool,
            Self::Date => *kind == Kind::Date,
            Self::Time => matches!(kind, Kind::Time(_)),
            Self::Bigint => matches!(kind, Kind::Int2 | Kind::Int4 | Kind::Int8),
            Self::Double => matches!(kind, Kind::Float4 | Kind::Float8),
            Self::Numeric => matches!(kind, Kind::Numeric(_)),
            Self::Jsonb | Self::Json => matches!(kind, Kind::Jsonb | Kind::Json),
            Self::Uuid => *kind == Kind::Uuid,
            Self::Text => matches!(kind, Kind::Text(_) | Kind::Char(_) | Kind::Enum(_) | Kind::Other),
            Self::Bytea | Self::Hex | Self::Base64 => *kind == Kind::Bytea,
        }
    }
}

type Converted<T> = Result<T, (FaultCode, &'static str)>;

/// Converts one value for a column of `kind`. `round` allows the last digits to go where the type cannot hold them.
pub(super) fn convert<'a>(value: ValueRef<'a>, kind: &Kind, cast: Option<Cast>, round: bool) -> Converted<Value<'a>> {
    if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = value
        && bytes.len() > VALUE_BYTES_MAX
    {
        return Err((FaultCode::TooLarge, "is larger than 256 MiB"));
    }
    if matches!(value, ValueRef::Null) {
        return Ok(Value::Null);
    }
    match kind {
        Kind::Bool => to_bool(value, cast).map(Value::Bool),
        Kind::Int2 => to_integer(value, round).and_then(|number| narrow(number, Value::Int2)),
        Kind::Int4 => to_integer(value, round).and_then(|number| narrow(number, Value::Int4)),
        Kind::Int8 => to_integer(value, round).map(Value::Int8),
        Kind::Float4 => to_float(value, round).and_then(|number| to_single(number, round)),
        Kind::Float8 => to_float(value, round).map(Value::Float8),
        Kind::Numeric(limits) => to_numeric(value, *limits, round).map(|text| Value::Text(Cow::Owned(text))),
        Kind::Text(limit) => to_text(value, cast, *limit).map(Value::Text),
        Kind::Char(limit) => to_text(value, cast, None).and_then(|text| to_char(text, *limit)).map(Value::Text),
        Kind::Bytea => to_bytes(value, cast).map(Value::Bytes),
        Kind::Timestamp(digits) => {
            to_micros(value, cast, true, round).and_then(|micros| keep_digits(micros, *digits, round)).map(Value::Timestamp)
        }
        Kind::TimestampTz(digits) => {
            to_micros(value, cast, false, round).and_then(|micros| keep_digits(micros, *digits, round)).map(Value::Timestamp)
        }
        Kind::Date => to_date(value, cast, round).map(Value::Date),
        Kind::Time(digits) => to_time(value, round).and_then(|micros| keep_digits(micros, *digits, round)).map(Value::Time),
        Kind::Uuid => to_uuid(value, cast).map(Value::Uuid),
        Kind::Json => to_json(value).and_then(|text| json::check(&text).map(|()| Value::Text(text))),
        Kind::Jsonb => to_json(value).and_then(|text| json::canonical(&text)).map(Value::Jsonb),
        Kind::Enum(labels) => to_label(value, cast, labels).map(Value::Text),
        Kind::Other => to_text(value, cast, None).map(Value::Text),
    }
}

/// Text as PostgreSQL can hold it.
fn utf8(bytes: &[u8]) -> Converted<&str> {
    if bytes.contains(&0) {
        return Err((FaultCode::NulByte, "holds a zero byte, which PostgreSQL's text cannot"));
    }
    std::str::from_utf8(bytes).map_err(|_| (FaultCode::InvalidUtf8, "is not UTF-8"))
}

fn to_text(value: ValueRef<'_>, cast: Option<Cast>, limit: Option<u32>) -> Converted<Cow<'_, str>> {
    let text = match value {
        ValueRef::Text(bytes) => Cow::Borrowed(utf8(bytes)?),
        ValueRef::Blob(bytes) if cast == Some(Cast::Text) => Cow::Borrowed(utf8(bytes)?),
        ValueRef::Blob(_) => return Err((FaultCode::WrongType, "is a blob in a text column")),
        ValueRef::Integer(number) => Cow::Owned(number.to_string()),
        ValueRef::Real(number) => Cow::Owned(format!("{number:?}")),
        ValueRef::Null => Cow::Borrowed(""),
    };
    if let Some(limit) = limit
        && text.len() > limit as usize
        && text.chars().count() > limit as usize
    {
        return Err((FaultCode::OutOfRange, "is longer than the column allows"));
    }
    Ok(text)
}

/// `char(n)` ignores trailing blanks, so they count neither against the limit nor in a comparison.
fn to_char(text: Cow<'_, str>, limit: u32) -> Converted<Cow<'_, str>> {
    let kept = text.trim_end_matches(' ');
    if kept.chars().count() > limit as usize {
        return Err((FaultCode::OutOfRange, "is longer than the column allows"));
    }
    Ok(if kept.len() == text.len() { text } else { Cow::Owned(kept.to_owned()) })
}

fn to_label<'a>(value: ValueRef<'a>, cast: Option<Cast>, labels: &[String]) -> Converted<Cow<'a, str>> {
    let text = to_text(value, cast, None)?;
    if labels.iter().any(|label| *label == text) {
        Ok(text)
    } else {
        Err((FaultCode::UnknownLabel, "is none of the enumeration's labels"))
    }
}

/// The text of a number, date or the like: UTF-8, without blanks around it, not empty.
fn token(bytes: &[u8]) -> Converted<&str> {
    let text = utf8(bytes)?.trim();
    if text.is_empty() { Err((FaultCode::WrongType, "is empty text, which only a text column can hold")) } else { Ok(text) }
}

fn to_integer(value: ValueRef<'_>, round: bool) -> Converted<i64> {
    match value {
        ValueRef::Integer(number) => Ok(number),
        ValueRef::Real(number) => real_to_integer(if round { number.round_ties_even() } else { number }),
        ValueRef::Text(bytes) => {
            let decimal = Decimal::parse(token(bytes)?)?;
            let decimal = if round { decimal.rounded(0) } else { decimal };
            decimal.to_integer().unwrap_or(Err((FaultCode::Inexact, "is not a whole number")))
        }
        ValueRef::Blob(_) => Err((FaultCode::WrongType, "is a blob in a column of numbers")),
        ValueRef::Null => Err((FaultCode::WrongType, "is NULL")),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked first; 2^63 itself is excluded")]
fn real_to_integer(number: f64) -> Converted<i64> {
    if !number.is_finite() {
        return Err((FaultCode::NonFinite, "is not finite"));
    }
    if number.fract() != 0.0 {
        return Err((FaultCode::Inexact, "is not a whole number"));
    }
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        Ok(number as i64)
    } else {
        Err((FaultCode::OutOfRange, "does not fit into 64 bits"))
    }
}

fn narrow<'a, T: TryFrom<i64>>(number: i64, wrap: impl Fn(T) -> Value<'a>) -> Converted<Value<'a>> {
    T::try_from(number).map(wrap).map_err(|_| (FaultCode::OutOfRange, "does not fit into the column's integer type"))
}

fn to_float(value: ValueRef<'_>, round: bool) -> Converted<f64> {
    match value {
        ValueRef::Real(number) => Ok(number),
        ValueRef::Integer(number) => integer_to_float(number, round),
        ValueRef::Text(bytes) => text_to_float(token(bytes)?),
        ValueRef::Blob(_) => Err((FaultCode::WrongType, "is a blob in a column of numbers")),
        ValueRef::Null => Err((FaultCode::WrongType, "is NULL")),
    }
}

#[expect(clippy::cast_precision_loss, reason = "the loss is what is checked here")]
fn integer_to_float(number: i64, round: bool) -> Converted<f64> {
    let float = number as f64;
    // Widening to 128 bits keeps 2^63, to which i64::MAX rounds, from comparing equal after saturation.
    #[expect(clippy::cast_possible_truncation, reason = "a float of an i64 fits into 128 bits")]
    let exact = float as i128 == i128::from(number);
    if exact || round { Ok(float) } else { Err((FaultCode::Inexact, "has more digits than a floating point number keeps")) }
}

fn text_to_float(text: &str) -> Converted<f64> {
    if text.trim_start_matches(['+', '-']).starts_with(|first: char| first.is_ascii_alphabetic()) {
        let known = matches!(text.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str(), "nan" | "inf" | "infinity");
        return Err(if known { (FaultCode::NonFinite, "is not finite") } else { (FaultCode::WrongType, "is not a number") });
    }
    let number: f64 = text.parse().map_err(|_| (FaultCode::WrongType, "is not a number"))?;
    let vanished = number == 0.0
        && text.split(['e', 'E']).next().is_some_and(|digits| digits.bytes().any(|byte| matches!(byte, b'1'..=b'9')));
    if number.is_finite() && !vanished {
        Ok(number)
    } else {
        Err((FaultCode::OutOfRange, "is beyond the range of floating point numbers"))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the loss is what is checked here")]
fn to_single(number: f64, round: bool) -> Converted<Value<'static>> {
    let single = number as f32;
    if (single.is_infinite() && number.is_finite()) || (single == 0.0 && number != 0.0) {
        return Err((FaultCode::OutOfRange, "is beyond the range of `real`"));
    }
    let exact = f64::from(single).to_bits() == number.to_bits() || number.is_nan();
    if exact || round {
        Ok(Value::Float4(single))
    } else {
        Err((FaultCode::Inexact, "has more digits than `real` keeps; use double precision"))
    }
}

fn to_numeric(value: ValueRef<'_>, limits: Option<(u16, i16)>, round: bool) -> Converted<String> {
    let decimal = match value {
        ValueRef::Integer(number) if limits.is_none() => return Ok(number.to_string()),
        ValueRef::Integer(number) => Decimal::parse(&number.to_string())?,
        ValueRef::Real(number) if !number.is_finite() => {
            return Err((FaultCode::NonFinite, "is not finite"));
        }
        ValueRef::Real(number) => Decimal::parse(&format!("{number:e}"))?,
        ValueRef::Text(bytes) => text_to_decimal(token(bytes)?)?,
        ValueRef::Blob(_) => {
            return Err((FaultCode::WrongType, "is a blob in a column of numbers"));
        }
        ValueRef::Null => return Err((FaultCode::WrongType, "is NULL")),
    };
    let Some((precision, scale)) = limits else {
        return Ok(decimal.to_text());
    };
    decimal.fit(precision, scale, round).map(|decimal| decimal.to_text())
}

fn text_to_decimal(text: &str) -> Converted<Decimal> {
    let word = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if matches!(word.as_str(), "nan" | "inf" | "infinity") {
        return Err((FaultCode::NonFinite, "is not finite"));
    }
    Decimal::parse(text)
}

fn to_bool(value: ValueRef<'_>, cast: Option<Cast>) -> Converted<bool> {
    const NEITHER: (FaultCode, &str) = (FaultCode::OutOfRange, "is neither 0 nor 1");
    let nonzero = cast == Some(Cast::BooleanNonzero);
    match value {
        ValueRef::Integer(0) => Ok(false),
        ValueRef::Integer(1) => Ok(true),
        ValueRef::Integer(_) => {
            if nonzero {
                Ok(true)
            } else {
                Err(NEITHER)
            }
        }
        ValueRef::Real(number) if nonzero => Ok(number != 0.0),
        ValueRef::Real(number) => match number {
            0.0 => Ok(false),
            1.0 => Ok(true),
            _ => Err(NEITHER),
        },
        ValueRef::Text(bytes) => word_to_bool(token(bytes)?, cast.is_some()),
        ValueRef::Blob(_) => Err((FaultCode::WrongType, "is a blob in a column of booleans")),
        ValueRef::Null => Err((FaultCode::WrongType, "is NULL")),
    }
}

fn word_to_bool(word: &str, all_words: bool) -> Converted<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        "t" | "yes" | "y" | "on" if all_words => Ok(true),
        "f" | "no" | "n" | "off" if all_words => Ok(false),
        "t" | "yes" | "y" | "on" | "f" | "no" | "n" | "off" => {
            Err((FaultCode::Ambiguous, "is a word for a boolean; declare the cast `boolean` to read it so"))
        }
        _ => Err((FaultCode::WrongType, "is not a boolean")),
    }
}

fn to_bytes(value: ValueRef<'_>, cast: Option<Cast>) -> Converted<Cow<'_, [u8]>> {
    match (value, cast) {
        (ValueRef::Blob(bytes), _) => Ok(Cow::Borrowed(bytes)),
        (ValueRef::Text(bytes), Some(Cast::Bytea)) => Ok(Cow::Borrowed(bytes)),
        (ValueRef::Text(bytes), Some(Cast::Hex)) => {
            hex::decode(without_blanks(bytes)?).map(Cow::Owned).map_err(|_| (FaultCode::WrongType, "is not text of hex digits"))
        }
        (ValueRef::Text(bytes), Some(Cast::Base64)) => {
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::STANDARD.decode(without_blanks(bytes)?);
            decoded.map(Cow::Owned).map_err(|_| (FaultCode::WrongType, "is not base64"))
        }
        (ValueRef::Text(_), _) => {
            Err((FaultCode::WrongType, "is text in a column of bytes; declare the cast `bytea`, `hex` or `base64`"))
        }
        _ => Err((FaultCode::WrongType, "is a number in a column of bytes")),
    }
}

/// Spelled bytes are often broken into lines, by PostgreSQL's own base64 too; the breaks mean nothing.
fn without_blanks(bytes: &[u8]) -> Converted<String> {
    Ok(utf8(bytes)?.chars().filter(|letter| !letter.is_ascii_whitespace()).collect())
}

/// Microseconds since 2000-01-01. `zoneless` columns refuse an offset that they would drop.
fn to_micros(value: ValueRef<'_>, cast: Option<Cast>, zoneless: bool, round: bool) -> Converted<i64> {
    let number = match value {
        ValueRef::Integer(number) => return epoch_to_micros(number, cast),
        ValueRef::Real(number) => number,
        ValueRef::Text(bytes) => {
            let text = token(bytes)?;
            return match (temporal::parse_instant(text), text.parse::<f64>()) {
                (Ok(instant), _) => instant_to_micros(instant, cast, zoneless, round),
                (Err(_), Ok(_)) if is_epoch(cast) => match text.parse::<i64>() {
                    Ok(number) => epoch_to_micros(number, cast),
                    Err(_) => real_epoch_to_micros(text.parse().unwrap_or(f64::NAN), cast),
                },
                (Err(fault), _) => Err(fault),
            };
        }
        ValueRef::Blob(_) => {
            return Err((FaultCode::WrongType, "is a blob in a column of timestamps"));
        }
        ValueRef::Null => return Err((FaultCode::WrongType, "is NULL")),
    };
    real_epoch_to_micros(number, cast)
}

fn is_epoch(cast: Option<Cast>) -> bool {
    matches!(cast, Some(Cast::EpochSeconds | Cast::EpochMillis | Cast::EpochMicros | Cast::JulianDay))
}

fn instant_to_micros(instant: temporal::Instant, cast: Option<Cast>, zoneless: bool, round: bool) -> Converted<i64> {
    if zoneless && cast.is_none() && instant.offset_seconds.is_some_and(|offset| offset != 0) {
        return Err((
            FaultCode::Ambiguous,
            "has an offset, which a column without time zone would drop; declare the cast `timestamp_utc` to keep the instant in UTC",
        ));
    }
    if instant.finer && !round {
        return Err((FaultCode::Inexact, "has digits beyond the microsecond"));
    }
    temporal::check_range(instant.utc_micros())
}

const BARE_NUMBER: (FaultCode, &str) = (
    FaultCode::Ambiguous,
    "is a bare number in a column of timestamps; declare the cast `epoch_seconds`, `epoch_millis`, `epoch_micros` or `julian_day`",
);

fn epoch_to_micros(number: i64, cast: Option<Cast>) -> Converted<i64> {
    let factor = match cast {
        Some(Cast::EpochSeconds) => 1_000_000,
        Some(Cast::EpochMillis) => 1_000,
        Some(Cast::EpochMicros) => 1,
        #[expect(clippy::cast_precision_loss, reason = "Julian days of the calendar have seven digits")]
        Some(Cast::JulianDay) => return real_epoch_to_micros(number as f64, cast),
        _ => return Err(BARE_NUMBER),
    };
    let micros = number.checked_mul(factor).and_then(|micros| micros.checked_sub(temporal::EPOCH_SECONDS * 1_000_000));
    temporal::check_range(micros.unwrap_or(i64::MAX))
}

/// A real epoch has about 0.2 µs of resolution today, so the nearest microsecond is what was stored; a Julian
/// day has 40 µs, and SQLite itself keeps it to the millisecond.
#[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates, and the range is checked next")]
fn real_epoch_to_micros(number: f64, cast: Option<Cast>) -> Converted<i64> {
    if !number.is_finite() {
        return Err((FaultCode::NonFinite, "is not finite"));
    }
    let since_1970 = match cast {
        Some(Cast::EpochSeconds) => (number * 1_000_000.0).round() as i64,
        Some(Cast::EpochMillis) => (number * 1_000.0).round() as i64,
        Some(Cast::EpochMicros) => number.round() as i64,
        Some(Cast::JulianDay) => (((number - 2_440_587.5) * 86_400_000.0).round() as i64).saturating_mul(1_000),
        _ => return Err(BARE_NUMBER),
    };
    temporal::check_range(since_1970.saturating_sub(temporal::EPOCH_SECONDS * 1_000_000))
}

fn keep_digits(micros: i64, digits: u8, round: bool) -> Converted<i64> {
    let unit = 10_i64.pow(6 - u32::from(digits.min(6)));
    match micros.rem_euclid(unit) {
        0 => Ok(micros),
        // The middle goes away from 2000-01-01, PostgreSQL's zero.
        rest if round && (rest * 2 > unit || (rest * 2 == unit && micros > 0)) => Ok(micros - rest + unit),
        rest if round => Ok(micros - rest),
        _ => Err((FaultCode::Inexact, "has more digits of the second than the column keeps")),
    }
}

fn to_date(value: ValueRef<'_>, cast: Option<Cast>, round: bool) -> Converted<i32> {
    if let ValueRef::Text(bytes) = value
        && let Ok(days) = temporal::parse_date(token(bytes)?)
    {
        return Ok(days);
    }
    let micros = to_micros(value, cast, true, round)?;
    if micros.rem_euclid(temporal::DAY_MICROS) != 0 && !round {
        return Err((FaultCode::Inexact, "has a time of day, which a date would drop"));
    }
    i32::try_from(micros.div_euclid(temporal::DAY_MICROS)).map_err(|_| (FaultCode::OutOfRange, "is outside the calendar"))
}

fn to_time(value: ValueRef<'_>, round: bool) -> Converted<i64> {
    let ValueRef::Text(bytes) = value else {
        return Err((FaultCode::WrongType, "is not a time of day (HH:MM:SS)"));
    };
    match temporal::parse_time(token(bytes)?)? {
        (_, true) if !round => Err((FaultCode::Inexact, "has digits beyond the microsecond")),
        (micros, _) => Ok(micros),
    }
}

fn to_uuid(value: ValueRef<'_>, cast: Option<Cast>) -> Converted<[u8; 16]> {
    const NO_UUID: (FaultCode, &str) = (FaultCode::WrongType, "is not a UUID");
    match value {
        ValueRef::Text(bytes) => parse_uuid(token(bytes)?).ok_or(NO_UUID),
        ValueRef::Blob(bytes) => match (<[u8; 16]>::try_from(bytes), cast) {
            (Ok(uuid), Some(Cast::Uuid)) => Ok(uuid),
            (Ok(_), _) => {
                Err((FaultCode::Ambiguous, "is a blob of 16 bytes; declare the cast `uuid` to read it in network order"))
            }
            (Err(_), _) => Err(NO_UUID),
        },
        _ => Err(NO_UUID),
    }
}

/// 32 hex digits in any case, with hyphens after any group of four, in braces or with `urn:uuid:` before them.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bare = text.get(..9).filter(|start| start.eq_ignore_ascii_case("urn:uuid:")).map_or(text, |_| &text[9..]);
    let bare = bare.strip_prefix('{').map_or(Some(bare), |inner| inner.strip_suffix('}'))?;
    let mut digits = String::with_capacity(32);
    let mut after_hyphen = true;
    for letter in bare.chars() {
        match letter {
            '-' if !after_hyphen && digits.len().is_multiple_of(4) && digits.len() < 32 => after_hyphen = true,
            _ if letter.is_ascii_hexdigit() && digits.len() < 32 => {
                digits.push(letter);
                after_hyphen = false;
            }
            _ => return None,
        }
    }
    let mut bytes = [0; 16];
    hex::decode_to_slice(&digits, &mut bytes).ok().map(|()| bytes)
}

/// JSON text. A column declared JSON has numeric affinity in SQLite, so a document that is a number arrives as one.
fn to_json(value: ValueRef<'_>) -> Converted<Cow<'_, str>> {
    match value {
        ValueRef::Text(bytes) => utf8(bytes).map(Cow::Borrowed),
        ValueRef::Integer(number) => Ok(Cow::Owned(number.to_string())),
        ValueRef::Real(number) if number.is_finite() => Ok(Cow::Owned(format!("{number:e}"))),
        ValueRef::Real(_) => Err((FaultCode::NonFinite, "is not finite")),
        ValueRef::Blob(_) => Err((FaultCode::WrongType, "is a blob in a column of JSON")),
        ValueRef::Null => Err((FaultCode::WrongType, "is NULL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(value: ValueRef<'_>, kind: &Kind, cast: Option<Cast>) -> Result<(), FaultCode> {
        convert(value, kind, cast, false).map(drop).map_err(|(code, _)| code)
    }

    #[test]
    fn numbers_are_exact_or_refused() {
        use ValueRef::{Blob, Integer, Real, Text};
        assert_eq!(convert(Real(3.0), &Kind::Int8, None, false), Ok(Value::Int8(3)));
        assert_eq!(convert(Text(b" 42 "), &Kind::Int4, None, false), Ok(Value::Int4(42)));
        assert_eq!(code(Real(3.5), &Kind::Int8, None), Err(FaultCode::Inexact));
        assert_eq!(code(Integer(40_000), &Kind::Int2, None), Err(FaultCode::OutOfRange));
        assert_eq!(code(Real(9.3e18), &Kind::Int8, None), Err(FaultCode::OutOfRange));
        assert_eq!(code(Text(b"twelve"), &Kind::Int8, None), Err(FaultCode::WrongType));
        assert_eq!(code(Text(b""), &Kind::Int8, None), Err(FaultCode::WrongType));
        assert_eq!(code(Blob(b"1"), &Kind::Int8, None), Err(FaultCode::WrongType));
        assert_eq!(code(Integer(9_007_199_254_740_993), &Kind::Float8, None), Err(FaultCode::Inexact));
        assert_eq!(code(Integer(i64::MAX), &Kind::Float8, None), Err(FaultCode::Inexact));
        assert_eq!(code(Integer(i64::MIN), &Kind::Float8, None), Ok(()));
        assert_eq!(code(Text(b"nan"), &Kind::Float8, None), Err(FaultCode::NonFinite));
        assert_eq!(code(Text(b"1e999"), &Kind::Float8, None), Err(FaultCode::OutOfRange));
        assert_eq!(code(Text(b"1e-999"), &Kind::Float8, None), Err(FaultCode::OutOfRange));
        assert_eq!(code(Real(0.1), &Kind::Float4, None), Err(FaultCode::Inexact));
        assert_eq!(convert(Real(0.1), &Kind::Numeric(Some((5, 2))), None, false), Ok(Value::Text("0.10".into())));
        assert_eq!(code(Real(0.1 + 0.2), &Kind::Numeric(Some((5, 2))), None), Err(FaultCode::Inexact));
        assert_eq!(code(Integer(1000), &Kind::Numeric(Some((5, 2))), None), Err(FaultCode::OutOfRange));
        assert_eq!(code(Real(f64::INFINITY), &Kind::Numeric(None), None), Err(FaultCode::NonFinite));
        assert_eq!(code(Real(f64::INFINITY), &Kind::Float8, None), Ok(()));
    }

    #[test]
    fn booleans_need_a_cast_for_words_and_other_numbers() {
        use ValueRef::{Integer, Text};
        assert_eq!(convert(Integer(1), &Kind::Bool, None, false), Ok(Value::Bool(true)));
        assert_eq!(convert(Text(b"TRUE"), &Kind::Bool, None, false), Ok(Value::Bool(true)));
        assert_eq!(code(Text(b"yes"), &Kind::Bool, None), Err(FaultCode::Ambiguous));
        assert_eq!(convert(Text(b"Off"), &Kind::Bool, Some(Cast::Boolean), false), Ok(Value::Bool(false)));
        assert_eq!(code(Integer(2), &Kind::Bool, Some(Cast::Boolean)), Err(FaultCode::OutOfRange));
        assert_eq!(convert(Integer(2), &Kind::Bool, Some(Cast::BooleanNonzero), false), Ok(Value::Bool(true)));
    }

    #[test]
    fn instants_need_a_cast_for_bare_numbers_and_lose_nothing() {
        use ValueRef::{Integer, Real, Text};
        let tz = Kind::TimestampTz(6);
        let expected = convert(Text(b"2023-11-14T22:13:20Z"), &tz, None, false);
        for (value, cast) in [
            (Integer(1_700_000_000), Cast::EpochSeconds),
            (Real(1_700_000_000.0), Cast::EpochSeconds),
            (Integer(1_700_000_000_000), Cast::EpochMillis),
            (Text(b"1700000000"), Cast::EpochSeconds),
            (Real(2_460_263.425_925_926), Cast::JulianDay),
            (Text(b"2023-11-14 22:13:20"), Cast::EpochSeconds),
        ] {
            assert_eq!(convert(value, &tz, Some(cast), false), expected, "{value:?} {cast:?}");
        }
        assert_eq!(code(Integer(1_700_000_000), &tz, None), Err(FaultCode::Ambiguous));
        assert_eq!(code(Integer(1_700_000_000_000), &tz, Some(Cast::EpochSeconds)), Err(FaultCode::OutOfRange));
        let plain = Kind::Timestamp(6);
        assert_eq!(code(Text(b"2023-11-14 22:13:20+02:00"), &plain, None), Err(FaultCode::Ambiguous));
        assert_eq!(code(Text(b"2023-11-14 22:13:20+00:00"), &plain, None), Ok(()));
        assert_eq!(code(Text(b"2023-11-14 22:13:20.5"), &Kind::Timestamp(0), None), Err(FaultCode::Inexact));
        assert_eq!(code(Text(b"2023-11-14 22:13:20"), &Kind::Date, None), Err(FaultCode::Inexact));
        assert_eq!(code(Text(b"2023-11-14 00:00:00"), &Kind::Date, None), Ok(()));
    }

    #[test]
    fn uuids_are_read_in_every_spelling_that_has_one_meaning() {
        let expected = parse_uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").expect("a UUID");
        for text in [
            "A0EEBC999C0B4EF8BB6D6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "urn:uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(parse_uuid(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "a0eebc99",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
            "-a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
            "ä0eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert_eq!(parse_uuid(text), None, "{text}");
        }
        assert_eq!(code(ValueRef::Blob(&expected), &Kind::Uuid, None), Err(FaultCode::Ambiguous));
        assert_eq!(convert(ValueRef::Blob(&expected), &Kind::Uuid, Some(Cast::Uuid), false), Ok(Value::Uuid(expected)));
    }
}

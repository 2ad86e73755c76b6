//! The types of the target as far as a copy must know them, and typed values on their way there.

use std::borrow::Cow;

/// What a target column holds. Domains count as their base type; everything that is not named
/// here is [`Kind::Other`] and read by PostgreSQL itself from text.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// `Some((precision, scale))` for `numeric(p, s)`; the scale may be negative (rounded to tens, hundreds, ...) or beyond the precision.
    Numeric(Option<(u16, i16)>),
    /// `text`, `varchar` and `citext`; the limit is in characters.
    Text(Option<u32>),
    /// `char(n)`, which does not tell trailing blanks apart.
    Char(u32),
    Bytea,
    /// The digits of the second that are kept, 0 to 6.
    Timestamp(u8),
    /// The digits of the second that are kept, 0 to 6.
    TimestampTz(u8),
    Date,
    /// The digits of the second that are kept, 0 to 6.
    Time(u8),
    Uuid,
    Json,
    Jsonb,
    /// An enumeration with its labels.
    Enum(Vec<String>),
    #[default]
    Other,
}

impl Kind {
    /// The kind of a type by its name in `pg_type` and its modifier, as `pg_attribute` gives them.
    pub(super) fn from_catalog(name: &str, modifier: i32, labels: Vec<String>) -> Self {
        let length = || u32::try_from(modifier - 4).ok().filter(|_| modifier >= 4);
        let second_digits = || u8::try_from(modifier).unwrap_or(6).min(6);
        match name {
            "bool" => Self::Bool,
            "int2" => Self::Int2,
            "int4" => Self::Int4,
            "int8" => Self::Int8,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "numeric" => numeric_kind(modifier),
            "text" | "citext" => Self::Text(None),
            "varchar" => Self::Text(length()),
            "bpchar" => length().map_or(Self::Text(None), Self::Char),
            "bytea" => Self::Bytea,
            "timestamp" => Self::Timestamp(second_digits()),
            "timestamptz" => Self::TimestampTz(second_digits()),
            "date" => Self::Date,
            "time" => Self::Time(second_digits()),
            "uuid" => Self::Uuid,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            _ if !labels.is_empty() => Self::Enum(labels),
            _ => Self::Other,
        }
    }

    /// Whether COPY's binary format is written for this kind. `numeric` and unknown types travel as text.
    pub(super) fn is_binary_safe(&self) -> bool {
        !matches!(self, Self::Numeric(_) | Self::Other)
    }

    /// Whether a column of this kind is compared through its text (`column::text`).
    pub(super) fn is_compared_as_text(&self) -> bool {
        matches!(self, Self::Numeric(_) | Self::Char(_) | Self::Jsonb | Self::Enum(_) | Self::Other)
    }
}

/// The modifier packs precision and an 11-bit signed scale. Source: `numeric_typmod_scale` in PostgreSQL's `numeric.c`.
fn numeric_kind(modifier: i32) -> Kind {
    let Some(packed) = modifier.checked_sub(4).filter(|packed| *packed >= 0) else {
        return Kind::Numeric(None);
    };
    let precision = u16::try_from(packed >> 16 & 0xffff).unwrap_or_default();
    let scale = i16::try_from(((packed & 0x7ff) ^ 1024) - 1024).unwrap_or_default();
    Kind::Numeric(Some((precision, scale)))
}

/// A value ready to be written to the target.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Float4(f32),
    Float8(f64),
    /// Text, enumerations, numbers in decimal, and whatever PostgreSQL reads itself.
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Microseconds since 2000-01-01, with or without time zone.
    Timestamp(i64),
    /// Days since 2000-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    Uuid([u8; 16]),
    /// JSON in the spelling of `jsonb`.
    Jsonb(String),
}

//! What is done about a value that does not fit: put the row aside, stop, or change the value by a named rule.
//!
//! Nothing is changed unless a policy says so, and every change is counted by column and rule.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cast::convert;
use super::error::FaultCode;
use super::kind::{Kind, Value};
use super::plan::ColumnPlan;

/// What to do about one kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The copy stops.
    Fail,
    /// The row is put aside.
    Quarantine,
    /// The value becomes NULL; the row is put aside where the column is NOT NULL.
    SetNull,
    /// Zero bytes are taken out of the text (for `nul_byte`).
    StripNul,
    /// Bytes that are not UTF-8 become U+FFFD (for `invalid_utf8`).
    ReplaceInvalid,
    /// The bytes are read as ISO 8859-1 (for `invalid_utf8`).
    ReadAsLatin1,
    /// The number or instant is rounded to what the type keeps (for `inexact`).
    Round,
    /// The text is cut to the length that the column keeps (for `out_of_range`).
    Truncate,
    /// The text becomes a JSON string (for `bad_json`).
    QuoteAsJson,
}

impl Policy {
    /// The word that stands in files and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Quarantine => "quarantine",
            Self::SetNull => "set_null",
            Self::StripNul => "strip_nul",
            Self::ReplaceInvalid => "replace_invalid",
            Self::ReadAsLatin1 => "read_as_latin1",
            Self::Round => "round",
            Self::Truncate => "truncate",
            Self::QuoteAsJson => "quote_as_json",
        }
    }

    /// Whether the policy can do anything about this kind of fault.
    pub(super) fn applies_to(self, code: FaultCode) -> bool {
        // These are found when the value has left our hands, so that it cannot be changed any more.
        let found_late =
            matches!(code, FaultCode::DuplicateKey | FaultCode::Orphan | FaultCode::CheckViolation | FaultCode::Refused);
        match self {
            Self::Fail | Self::Quarantine => true,
            Self::SetNull => !found_late && code != FaultCode::NullInNotNull,
            Self::StripNul => code == FaultCode::NulByte,
            Self::ReplaceInvalid | Self::ReadAsLatin1 => code == FaultCode::InvalidUtf8,
            Self::Round => code == FaultCode::Inexact,
            Self::Truncate => code == FaultCode::OutOfRange,
            Self::QuoteAsJson => code == FaultCode::BadJson,
        }
    }
}

/// The policies of one column, by kind of fault.
pub(super) type Policies = BTreeMap<FaultCode, Policy>;

/// A value that no rule could make fit.
pub(super) struct Misfit {
    pub(super) code: FaultCode,
    pub(super) reason: &'static str,
}

/// Converts a value for its column, under the column's policies, and passes the result on. Returns the rule that changed
/// the value, if one did (the last, if several).
pub(super) fn carry<'a>(
    value: ValueRef<'a>,
    column: &ColumnPlan,
    write: impl FnOnce(&Value<'_>),
) -> Result<Option<Policy>, Misfit> {
    if matches!(value, ValueRef::Null) {
        if column.not_null {
            return Err(Misfit { code: FaultCode::NullInNotNull, reason: "is NULL, and the column is NOT NULL" });
        }
        write(&Value::Null);
        return Ok(None);
    }
    match convert(value, &column.kind, column.cast, false) {
        Ok(converted) => {
            write(&converted);
            Ok(None)
        }
        Err((code, reason)) => change(value, column, Misfit { code, reason }, write).map(Some),
    }
}

/// Applies the policies one after the other; each kind of fault is met once at most.
fn change<'a>(
    value: ValueRef<'a>,
    column: &ColumnPlan,
    mut misfit: Misfit,
    write: impl FnOnce(&Value<'_>),
) -> Result<Policy, Misfit> {
    let mut bytes: Option<Cow<'a, [u8]>> = match value {
        ValueRef::Text(bytes) => Some(Cow::Borrowed(bytes)),
        _ => None,
    };
    let (mut round, mut met) = (false, Vec::new());
    loop {
        let policy = column.policies.get(&misfit.code).copied().filter(|policy| policy.applies_to(misfit.code));
        let Some(policy) = policy.filter(|_| !met.contains(&misfit.code)) else { return Err(misfit) };
        met.push(misfit.code);
        let changed = match policy {
            Policy::Fail | Policy::Quarantine => return Err(misfit),
            Policy::SetNull if column.not_null => return Err(misfit),
            Policy::SetNull => {
                write(&Value::Null);
                return Ok(policy);
            }
            Policy::Round => {
                round = true;
                bytes.take()
            }
            _ => match bytes.take() {
                Some(text) => Some(change_text(policy, &text, &column.kind).into()),
                None => return Err(misfit),
            },
        };
        let next = changed.as_deref().map_or(value, ValueRef::Text);
        match convert(next, &column.kind, column.cast, round) {
            Ok(converted) => {
                write(&converted);
                return Ok(policy);
            }
            Err((code, reason)) => misfit = Misfit { code, reason },
        }
        bytes = changed;
    }
}

fn change_text(policy: Policy, bytes: &[u8], kind: &Kind) -> Vec<u8> {
    match policy {
        Policy::StripNul => bytes.iter().copied().filter(|byte| *byte != 0).collect(),
        Policy::ReplaceInvalid => String::from_utf8_lossy(bytes).into_owned().into_bytes(),
        Policy::ReadAsLatin1 => bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes(),
        Policy::QuoteAsJson => serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string().into_bytes(),
        Policy::Truncate => {
            let text = String::from_utf8_lossy(bytes);
            let limit = match kind {
                Kind::Text(Some(limit)) | Kind::Char(limit) => *limit as usize,
                _ => usize::MAX,
            };
            text.chars().take(limit).collect::<String>().into_bytes()
        }
        Policy::Fail | Policy::Quarantine | Policy::SetNull | Policy::Round => bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(value: ValueRef<'_>, kind: Kind, policies: &[(FaultCode, Policy)]) -> Result<(String, Option<Policy>), FaultCode> {
        let policies = policies.iter().copied().collect();
        let column = ColumnPlan { kind, policies, ..ColumnPlan::default() };
        let mut seen = String::new();
        let rule = carry(value, &column, |value| seen = format!("{value:?}")).map_err(|misfit| misfit.code)?;
        Ok((seen, rule))
    }

    #[test]
    fn nothing_is_changed_without_a_policy() {
        assert_eq!(carried(ValueRef::Text(b"a\0b"), Kind::Text(None), &[]), Err(FaultCode::NulByte));
        let aside = [(FaultCode::NulByte, Policy::Quarantine)];
        assert_eq!(carried(ValueRef::Text(b"a\0b"), Kind::Text(None), &aside), Err(FaultCode::NulByte));
        assert_eq!(carried(ValueRef::Text(b"ab"), Kind::Text(None), &[]).map(|found| found.1), Ok(None));
    }

    #[test]
    fn each_rule_changes_what_it_is_for() {
        let text = Kind::Text(Some(3));
        for (value, kind, code, policy, expected) in [
            (&b"a\0b"[..], &text, FaultCode::NulByte, Policy::StripNul, "Text(\"ab\")"),
            (b"a\xff", &text, FaultCode::InvalidUtf8, Policy::ReplaceInvalid, "Text(\"a\u{fffd}\")"),
            (b"a\xe4", &text, FaultCode::InvalidUtf8, Policy::ReadAsLatin1, "Text(\"a\u{e4}\")"),
            (b"abcd", &text, FaultCode::OutOfRange, Policy::Truncate, "Text(\"abc\")"),
            (b"1.005", &Kind::Numeric(Some((5, 2))), FaultCode::Inexact, Policy::Round, "Text(\"1.01\")"),
            (b"{oops", &Kind::Jsonb, FaultCode::BadJson, Policy::QuoteAsJson, "Jsonb(\"\\\"{oops\\\"\")"),
            (b"soon", &Kind::Date, FaultCode::WrongType, Policy::SetNull, "Null"),
        ] {
            let found = carried(ValueRef::Text(value), kind.clone(), &[(code, policy)]);
            assert_eq!(found, Ok((expected.to_owned(), Some(policy))), "{policy:?}");
        }
    }

    #[test]
    fn two_faults_in_one_value_take_two_rules() {
        let both = [(FaultCode::NulByte, Policy::StripNul), (FaultCode::InvalidUtf8, Policy::ReadAsLatin1)];
        assert_eq!(
            carried(ValueRef::Text(b"\0\xe4"), Kind::Text(None), &both).map(|found| found.0),
            Ok("Text(\"\u{e4}\")".to_owned())
        );
        assert_eq!(carried(ValueRef::Text(b"\0\xe4"), Kind::Text(None), &both[..1]), Err(FaultCode::InvalidUtf8));
    }
}

//! Instants as people type them.

use chrono::{NaiveDateTime, NaiveTime, TimeDelta};

use crate::domain::{Duration, Timestamp};

/// Reads `now` (which is `None`), `in 20m`, `22:00` (UTC, the next such time), `2026-03-01T22:00Z` or RFC 3339.
///
/// # Errors
/// A sentence that says what is expected.
pub(super) fn parse_instant(text: &str, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("now") {
        return Ok(None);
    }
    if let Some(span) = text.strip_prefix("in ").or_else(|| text.strip_prefix('+')) {
        let span: Duration = span.trim().parse().map_err(|error| format!("{error}"))?;
        return Ok(Some(now + span.delta()));
    }
    if let Ok(time) = NaiveTime::parse_from_str(text.trim_end_matches(['Z', 'z']), "%H:%M") {
        let today = now.date_naive().and_time(time).and_utc();
        return Ok(Some(if today > now { today } else { today + TimeDelta::days(1) }));
    }
    if let Ok(at) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(Some(at.to_utc()));
    }
    let short = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let forms = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"];
    let parsed = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(short, form).ok());
    parsed
        .map(|at| Some(at.and_utc()))
        .ok_or_else(|| format!("`{text}` is not a time: write `now`, `in 20m`, `22:00` (UTC) or `2026-03-01T22:00Z`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn instants_are_read_in_every_form_that_is_offered() {
        let now = at("2026-02-28T23:30:00Z");
        let cases = [
            ("in 20m", "2026-02-28T23:50:00Z"),
            ("+90s", "2026-02-28T23:31:30Z"),
            ("23:45", "2026-02-28T23:45:00Z"),
            ("22:00", "2026-03-01T22:00:00Z"),
            ("23:30Z", "2026-03-01T23:30:00Z"),
            ("2026-03-01T22:00Z", "2026-03-01T22:00:00Z"),
            ("2026-03-01 22:00", "2026-03-01T22:00:00Z"),
            ("2026-03-01T23:00:00+01:00", "2026-03-01T22:00:00Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_instant(text, now), Ok(Some(at(expected))), "{text}");
        }
        assert_eq!(parse_instant("now", now), Ok(None));
        assert_eq!(parse_instant("", now), Ok(None));
        for text in ["tomorrow", "25:00", "in a while", "2026-13-01T22:00Z"] {
            assert!(parse_instant(text, now).is_err(), "{text}");
        }
    }
}

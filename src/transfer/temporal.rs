//! Dates and times as PostgreSQL keeps them: microseconds or days since 2000-01-01, proleptic Gregorian, UTC.
//!
//! Text is read in the forms that SQLite's own functions and the usual drivers write. Years 1 to 9999
//! only: beyond them lies no data, but wrongly declared epochs do.

use super::error::FaultCode;

/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's day zero.
const EPOCH_DAYS: i64 = 10_957;
/// Microseconds of a day.
pub(super) const DAY_MICROS: i64 = 86_400_000_000;
/// Seconds from 1970-01-01 to 2000-01-01.
pub(super) const EPOCH_SECONDS: i64 = EPOCH_DAYS * 86_400;
/// 0001-01-01 00:00:00 in microseconds since 2000-01-01.
const MICROS_MIN: i64 = -730_119 * DAY_MICROS;
/// 9999-12-31 23:59:59.999999 in microseconds since 2000-01-01.
const MICROS_MAX: i64 = 2_921_940 * DAY_MICROS - 1;

type Reading<T> = Result<T, (FaultCode, &'static str)>;

/// A point in time as text gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant {
    /// Microseconds since 2000-01-01 00:00 of the text's own clock, to the nearest.
    pub(super) local_micros: i64,
    /// Seconds east of UTC, when the text says so.
    pub(super) offset_seconds: Option<i32>,
    /// Whether digits beyond the microsecond were given that are not zero.
    pub(super) finer: bool,
}

impl Instant {
    /// Microseconds since 2000-01-01 00:00 UTC; a text without an offset counts as UTC, as in SQLite.
    pub(super) fn utc_micros(self) -> i64 {
        self.local_micros - i64::from(self.offset_seconds.unwrap_or(0)) * 1_000_000
    }
}

/// Refuses instants outside the years 1 to 9999.
pub(super) fn check_range(micros: i64) -> Reading<i64> {
    if (MICROS_MIN..=MICROS_MAX).contains(&micros) {
        Ok(micros)
    } else {
        Err((FaultCode::OutOfRange, "is outside the years 1 to 9999"))
    }
}

/// `YYYY-MM-DD`, optionally followed by `T` or a blank, `HH:MM[:SS[.fraction]]` and `Z`, `UTC` or `±HH[[:]MM]`.
pub(super) fn parse_instant(text: &str) -> Reading<Instant> {
    let mut cursor = Cursor(text.trim().as_bytes());
    let days = parse_days(&mut cursor)?;
    if cursor.0.is_empty() {
        return Ok(Instant { local_micros: days * DAY_MICROS, offset_seconds: None, finer: false });
    }
    if !(cursor.take(b'T') || cursor.take(b't') || cursor.take(b' ')) {
        return Err(NOT_A_TIMESTAMP);
    }
    let (micros, finer) = parse_clock(&mut cursor)?;
    let offset_seconds = parse_offset(&mut cursor)?;
    if !cursor.0.is_empty() {
        return Err(NOT_A_TIMESTAMP);
    }
    Ok(Instant { local_micros: days * DAY_MICROS + micros, offset_seconds, finer })
}

/// `YYYY-MM-DD` in days since 2000-01-01.
pub(super) fn parse_date(text: &str) -> Reading<i32> {
    let mut cursor = Cursor(text.trim().as_bytes());
    let days = parse_days(&mut cursor)?;
    if cursor.0.is_empty() {
        Ok(i32::try_from(days).unwrap_or(i32::MAX))
    } else {
        Err((FaultCode::WrongType, "is not a date (YYYY-MM-DD)"))
    }
}

/// `HH:MM[:SS[.fraction]]` in microseconds since midnight, and whether finer digits were given.
pub(super) fn parse_time(text: &str) -> Reading<(i64, bool)> {
    let mut cursor = Cursor(text.trim().as_bytes());
    let time = parse_clock(&mut cursor)?;
    if cursor.0.is_empty() { Ok(time) } else { Err((FaultCode::WrongType, "is not a time of day (HH:MM:SS)")) }
}

const NOT_A_TIMESTAMP: (FaultCode, &str) = (FaultCode::WrongType, "is not a timestamp (YYYY-MM-DD HH:MM:SS)");

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits = self.0.get(..count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = &self.0[count..];
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }
}

fn parse_days(cursor: &mut Cursor<'_>) -> Reading<i64> {
    let mut read = || {
        let year = cursor.digits(4)?;
        let month = cursor.take(b'-').then(|| cursor.digits(2))??;
        let day = cursor.take(b'-').then(|| cursor.digits(2))??;
        Some((year, month, day))
    };
    let (year, month, day) = read().ok_or(NOT_A_TIMESTAMP)?;
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
        return Err((FaultCode::OutOfRange, "is no day of the calendar"));
    }
    Ok(days_from_civil(year, month, day))
}

fn parse_clock(cursor: &mut Cursor<'_>) -> Reading<(i64, bool)> {
    let mut read = || {
        let hour = cursor.digits(2)?;
        let minute = cursor.take(b':').then(|| cursor.digits(2))??;
        let second = if cursor.take(b':') { cursor.digits(2)? } else { 0 };
        Some((hour, minute, second))
    };
    let (hour, minute, second) = read().ok_or(NOT_A_TIMESTAMP)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err((FaultCode::OutOfRange, "is no time of the day"));
    }
    let (micros, finer) = parse_fraction(cursor)?;
    Ok((((hour * 60 + minute) * 60 + second) * 1_000_000 + micros, finer))
}

fn parse_fraction(cursor: &mut Cursor<'_>) -> Reading<(i64, bool)> {
    if !(cursor.take(b'.') || cursor.take(b',')) {
        return Ok((0, false));
    }
    let count = cursor.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return Err(NOT_A_TIMESTAMP);
    }
    let digits = &cursor.0[..count];
    let micros = (0..6).fold(0, |number, index| number * 10 + i64::from(digits.get(index).map_or(0, |digit| digit - b'0')));
    let finer = digits.iter().skip(6).any(|digit| *digit != b'0');
    let micros = if finer { nearest_micros(digits) } else { micros };
    cursor.0 = &cursor.0[count..];
    Ok((micros, finer))
}

/// The decimals of a second to the nearest microsecond, 0 to 1,000,000, by way of a floating point number, as in PostgreSQL.
/// Source: `ParseFractionalSecond` in PostgreSQL's `datetime.c`.
#[expect(clippy::cast_possible_truncation, reason = "at most a million")]
fn nearest_micros(digits: &[u8]) -> i64 {
    let seconds: f64 = format!("0.{}", String::from_utf8_lossy(digits)).parse().unwrap_or_default();
    (seconds * 1_000_000.0).round_ties_even() as i64
}

fn parse_offset(cursor: &mut Cursor<'_>) -> Reading<Option<i32>> {
    let rest = std::str::from_utf8(cursor.0).map_err(|_| NOT_A_TIMESTAMP)?.trim_start();
    // Go's driver writes the offset and the zone's name: `+0000 UTC`.
    let rest = rest.strip_suffix(" UTC").unwrap_or(rest);
    if rest.is_empty() {
        cursor.0 = b"";
        return Ok(None);
    }
    if matches!(rest, "Z" | "z" | "UTC") {
        cursor.0 = b"";
        return Ok(Some(0));
    }
    let sign = match rest.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return Err(NOT_A_TIMESTAMP),
    };
    let mut zone = Cursor(&rest.as_bytes()[1..]);
    let hours = zone.digits(2).ok_or(NOT_A_TIMESTAMP)?;
    zone.take(b':');
    let minutes = if zone.0.is_empty() { 0 } else { zone.digits(2).ok_or(NOT_A_TIMESTAMP)? };
    if !zone.0.is_empty() {
        return Err(NOT_A_TIMESTAMP);
    }
    if hours > 15 || minutes > 59 {
        return Err((FaultCode::OutOfRange, "has an offset beyond 15:59"));
    }
    cursor.0 = b"";
    let seconds = sign * (hours * 3600 + minutes * 60);
    Ok(Some(i32::try_from(seconds).unwrap_or_default()))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 2000-01-01. Source: <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468 - EPOCH_DAYS
}

/// Year, month and day of a day since 2000-01-01, for the years 1 to 9999.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + EPOCH_DAYS + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Appends `YYYY-MM-DD`.
pub(super) fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_from_days(days);
    push_padded(out, year, 4);
    out.push(b'-');
    push_padded(out, month, 2);
    out.push(b'-');
    push_padded(out, day, 2);
}

/// Appends `HH:MM:SS[.ffffff]`.
pub(super) fn write_time(out: &mut Vec<u8>, micros: i64) {
    let seconds = micros / 1_000_000;
    push_padded(out, seconds / 3600, 2);
    out.push(b':');
    push_padded(out, seconds / 60 % 60, 2);
    out.push(b':');
    push_padded(out, seconds % 60, 2);
    if micros % 1_000_000 != 0 {
        out.push(b'.');
        push_padded(out, micros % 1_000_000, 6);
    }
}

/// Appends `YYYY-MM-DD HH:MM:SS[.ffffff]`.
pub(super) fn write_timestamp(out: &mut Vec<u8>, micros: i64) {
    write_date(out, micros.div_euclid(DAY_MICROS));
    out.push(b' ');
    write_time(out, micros.rem_euclid(DAY_MICROS));
}

fn push_padded(out: &mut Vec<u8>, number: i64, width: u32) {
    for place in (0..width).rev() {
        let digit = u8::try_from(number / 10_i64.pow(place) % 10).unwrap_or_default();
        out.push(b'0' + digit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(micros: i64) -> String {
        let mut out = Vec::new();
        write_timestamp(&mut out, micros);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn the_usual_spellings_name_the_same_instant() {
        let expected = parse_instant("2024-02-29 10:11:12.5").expect("reads").utc_micros();
        for text in [
            "2024-02-29T10:11:12.500Z",
            "2024-02-29 10:11:12.500000+00:00",
            "2024-02-29 12:41:12.5+0230",
            "2024-02-29 08:11:12.5-02",
            "2024-02-29 10:11:12.5 +0000 UTC",
            " 2024-02-29 10:11:12,5 UTC ",
        ] {
            assert_eq!(parse_instant(text).map(Instant::utc_micros), Ok(expected), "{text}");
        }
        assert_eq!(written(expected), "2024-02-29 10:11:12.500000");
        assert_eq!(parse_instant("2000-01-01").expect("reads").local_micros, 0);
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "now",
            "2024",
            "2023-02-29",
            "2024-13-01",
            "0000-01-01",
            "2024-01-01 24:00:00",
            "2024-01-01 10:00:60",
            "2024-1-1",
            "2024-01-01x",
            "2024-01-01 10:00 Europe/Berlin",
            "20240101",
        ] {
            assert!(parse_instant(text).is_err(), "{text}");
        }
        assert!(parse_instant("2024-01-01 10:00:00.1234567").expect("reads").finer);
        assert!(!parse_instant("2024-01-01 10:00:00.123456000").expect("reads").finer);
    }

    #[test]
    fn every_day_is_written_as_it_was_read() {
        for days in (-730_119..2_921_940).step_by(37) {
            let mut out = Vec::new();
            write_date(&mut out, days);
            let text = String::from_utf8(out).expect("ASCII");
            assert_eq!(parse_date(&text).map(i64::from), Ok(days), "{text}");
        }
        assert_eq!(written(MICROS_MIN), "0001-01-01 00:00:00");
        assert_eq!(written(MICROS_MAX), "9999-12-31 23:59:59.999999");
    }
}

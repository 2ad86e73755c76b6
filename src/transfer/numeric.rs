//! Decimal numbers as text, the way `numeric` prints them: no rounding, no detour over binary fractions.

use super::error::FaultCode;

/// Digits before the decimal point that `numeric` holds.
/// Source: <https://www.postgresql.org/docs/current/datatype-numeric.html>
const INTEGER_DIGITS_MAX: usize = 131_072;
/// Digits after the decimal point that `numeric` holds.
const FRACTION_DIGITS_MAX: usize = 16_383;

type Reading<T> = Result<T, (FaultCode, &'static str)>;

const NOT_A_NUMBER: (FaultCode, &str) = (FaultCode::WrongType, "is not a number");

/// A decimal number taken apart: its digits without leading zeros, and how many of them are fraction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: String,
    scale: usize,
}

impl Decimal {
    /// Reads `[+-]digits[.digits][e[+-]digits]`.
    pub(super) fn parse(text: &str) -> Reading<Self> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(NOT_A_NUMBER);
        }
        Self::assemble(negative, whole, fraction, exponent)
    }

    fn assemble(negative: bool, whole: &str, fraction: &str, exponent: i32) -> Reading<Self> {
        let mut digits = format!("{whole}{fraction}");
        let scale = i64::try_from(fraction.len()).unwrap_or(i64::MAX) - i64::from(exponent);
        if scale < 0 && digits.bytes().any(|digit| digit != b'0') {
            let zeros = usize::try_from(-scale).unwrap_or(usize::MAX);
            if zeros > INTEGER_DIGITS_MAX {
                return Err((FaultCode::OutOfRange, "has more digits than numeric holds"));
            }
            digits.extend(std::iter::repeat_n('0', zeros));
        }
        let scale = usize::try_from(scale.max(0)).unwrap_or(usize::MAX);
        if scale > FRACTION_DIGITS_MAX {
            return Err((FaultCode::OutOfRange, "has more decimal places than numeric holds"));
        }
        let significant = digits.trim_start_matches('0').to_owned();
        if significant.len() > INTEGER_DIGITS_MAX + scale {
            return Err((FaultCode::OutOfRange, "has more digits than numeric holds"));
        }
        let negative = negative && !significant.is_empty();
        Ok(Self { negative, digits: significant, scale })
    }

    /// The number as `numeric(precision, scale)` keeps it; with `round`, to its last digit.
    pub(super) fn fit(self, precision: u16, scale: i16, round: bool) -> Reading<Self> {
        let decimal = if round { self.rounded(i64::from(scale)) } else { self };
        let places = usize::try_from(scale).unwrap_or_default();
        let decimal = decimal.with_scale(places)?;
        let zeros = usize::from(scale.min(0).unsigned_abs());
        if decimal.digits.bytes().rev().take(zeros).any(|digit| digit != b'0') {
            return Err((FaultCode::Inexact, "has more digits than the column keeps"));
        }
        if decimal.digits.len() > usize::from(precision) + zeros {
            return Err((FaultCode::OutOfRange, "has more digits than the column keeps"));
        }
        Ok(decimal)
    }

    /// The number with exactly `scale` decimal places.
    fn with_scale(mut self, scale: usize) -> Reading<Self> {
        while self.scale > scale {
            match self.digits.pop() {
                Some('0') | None => self.scale -= 1,
                Some(_) => {
                    return Err((FaultCode::Inexact, "has more decimal places than the column keeps"));
                }
            }
        }
        if !self.digits.is_empty() {
            self.digits.extend(std::iter::repeat_n('0', scale - self.scale));
        }
        self.scale = scale;
        Ok(self)
    }

    /// The number with at most `scale` decimal places, rounded half away from zero as `numeric` rounds. A negative scale rounds to tens,
    /// hundreds, and so on.
    pub(super) fn rounded(mut self, scale: i64) -> Self {
        let cut = usize::try_from(i64::try_from(self.scale).unwrap_or(i64::MAX) - scale).unwrap_or_default();
        if cut == 0 {
            return self;
        }
        let kept = self.digits.len().saturating_sub(cut);
        let up = self.digits.len() >= cut && self.digits.as_bytes().get(kept).is_some_and(|digit| *digit >= b'5');
        self.digits.truncate(kept);
        self.scale = usize::try_from(scale).unwrap_or_default();
        if up {
            self.digits = increment(&self.digits);
        }
        if !self.digits.is_empty() {
            self.digits.extend(std::iter::repeat_n('0', usize::try_from(-scale).unwrap_or_default()));
        }
        self.negative &= !self.digits.is_empty();
        self
    }

    /// How many digits stand before the decimal point.
    fn integer_digits(&self) -> usize {
        self.digits.len().saturating_sub(self.scale)
    }

    /// As `numeric` prints it.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.digits.len() + 3);
        if self.negative {
            text.push('-');
        }
        let whole = self.integer_digits();
        text.push_str(if whole == 0 { "0" } else { &self.digits[..whole] });
        if self.scale > 0 {
            text.push('.');
            text.extend(std::iter::repeat_n('0', self.scale - (self.digits.len() - whole)));
            text.push_str(&self.digits[whole..]);
        }
        text
    }

    /// The number as an integer, when it is one.
    pub(super) fn to_integer(&self) -> Option<Reading<i64>> {
        let whole = self.clone().with_scale(0).ok()?;
        Some(whole.to_text().parse().map_err(|_| (FaultCode::OutOfRange, "does not fit into 64 bits")))
    }
}

fn parse_exponent(text: &str) -> Reading<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NOT_A_NUMBER);
    }
    match text.parse::<i32>() {
        Ok(exponent) if exponent.abs() <= 200_000 => Ok(exponent),
        _ => Err((FaultCode::OutOfRange, "has an exponent beyond what numeric holds")),
    }
}

fn increment(digits: &str) -> String {
    let mut bytes = digits.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        if *byte == b'9' {
            *byte = b'0';
        } else {
            *byte += 1;
            return String::from_utf8(bytes).unwrap_or_default();
        }
    }
    format!("1{}", String::from_utf8(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: &str) -> Result<String, FaultCode> {
        Decimal::parse(input).map(|decimal| decimal.to_text()).map_err(|(code, _)| code)
    }

    #[test]
    fn numbers_keep_their_digits_and_scale() {
        for (input, expected) in [
            ("1.50", "1.50"),
            ("-0.00", "0.00"),
            ("007", "7"),
            ("+.5", "0.5"),
            ("5.", "5"),
            ("1e3", "1000"),
            ("1.25e1", "12.5"),
            ("1e-3", "0.001"),
            ("-12e-1", "-1.2"),
            ("0e5", "0"),
            ("0.1e-2", "0.001"),
        ] {
            assert_eq!(text(input), Ok(expected.to_owned()), "{input}");
        }
        for input in ["", ".", "-", "1,5", "1e", "0x10", "1 2", "inf", "NaN", "1_000"] {
            assert_eq!(text(input), Err(FaultCode::WrongType), "{input}");
        }
        assert_eq!(text("1e300000"), Err(FaultCode::OutOfRange));
    }

    #[test]
    fn scale_is_kept_exactly_or_refused_or_rounded_when_asked() {
        let parse = |text| Decimal::parse(text).expect("a number");
        assert_eq!(parse("1.5").with_scale(2).expect("fits").to_text(), "1.50");
        assert_eq!(parse("1.500").with_scale(1).expect("fits").to_text(), "1.5");
        assert_eq!(parse("0.001").with_scale(2).expect_err("would round").0, FaultCode::Inexact);
        for (input, scale, expected) in [
            ("0.995", 2, "1.00"),
            ("-2.5", 0, "-3"),
            ("0.004", 2, "0.00"),
            ("0.05", 1, "0.1"),
            ("9.99", 0, "10"),
            ("0.5", 0, "1"),
            ("0.04", 0, "0"),
        ] {
            assert_eq!(parse(input).fit(9, scale, true).expect("fits").to_text(), expected, "{input}");
        }
        for (input, scale, expected) in [("1250", -2, "1300"), ("49", -2, "0"), ("-50", -2, "-100"), ("99.5", -1, "100")] {
            assert_eq!(parse(input).rounded(scale).to_text(), expected, "{input}");
        }
        assert_eq!(parse("3.00").to_integer(), Some(Ok(3)));
        assert_eq!(parse("3.10").to_integer(), None);
    }

    #[test]
    fn precision_and_scale_hold_together() {
        let fit = |text: &str, precision, scale| {
            let decimal = Decimal::parse(text).expect("a number");
            decimal.fit(precision, scale, false).map(|decimal| decimal.to_text()).map_err(|(code, _)| code)
        };
        assert_eq!(fit("99.9", 3, 1), Ok("99.9".to_owned()));
        assert_eq!(fit("100", 3, 1), Err(FaultCode::OutOfRange));
        assert_eq!(fit("0.00099", 2, 5), Ok("0.00099".to_owned()));
        assert_eq!(fit("0.001", 2, 5), Err(FaultCode::OutOfRange));
        assert_eq!(fit("99900", 3, -2), Ok("99900".to_owned()));
        assert_eq!(fit("100000", 3, -2), Err(FaultCode::OutOfRange));
        assert_eq!(fit("12345", 3, -2), Err(FaultCode::Inexact));
        assert_eq!(fit("0", 3, -2), Ok("0".to_owned()));
    }
}

//! JSON as `jsonb` keeps and prints it, so that both sides of a comparison use one spelling.
//!
//! `jsonb` orders keys, drops repeated ones and refuses `\u0000`. Whatever it would change in meaning is
//! refused here with the reason; what it only spells differently (order, blanks, escapes) is respelled.
//! Numbers keep every digit: they never pass through a binary fraction.

use super::error::FaultCode;
use super::numeric::Decimal;

/// How deep arrays and objects may nest; PostgreSQL's own limit is its stack, a few thousand.
const DEPTH_MAX: usize = 500;

type Reading<T> = Result<T, (FaultCode, &'static str)>;

const fn bad<T>(reason: &'static str) -> Reading<T> {
    Err((FaultCode::BadJson, reason))
}

/// Checks that `text` is JSON, as the type `json` demands.
pub(super) fn check(text: &str) -> Reading<()> {
    parse(text, false).map(drop)
}

/// The text that `jsonb` prints for this document.
pub(super) fn canonical(text: &str) -> Reading<String> {
    let value = parse(text, true)?;
    let mut out = String::with_capacity(text.len() + 16);
    write(&value, &mut out);
    Ok(out)
}

enum Value {
    Literal(&'static str),
    Number(String),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

fn parse(text: &str, binary: bool) -> Reading<Value> {
    let mut parser = Parser { text, at: 0, binary };
    let value = parser.value(0)?;
    parser.blanks();
    if parser.at == text.len() { Ok(value) } else { bad("is not JSON: something follows the document") }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Whether the document must survive as `jsonb`.
    binary: bool,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Reading<Value> {
        if depth > DEPTH_MAX {
            return bad("is nested too deeply");
        }
        self.blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.literal(),
        }
    }

    fn literal(&mut self) -> Reading<Value> {
        for word in ["true", "false", "null"] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(Value::Literal(word));
            }
        }
        bad("is not JSON")
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Reading<Value> {
        let start = self.at;
        self.take(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.at;
        let mut valid = self.digits() && !(leading_zero && self.at > whole + 1);
        if self.take(b'.') {
            valid &= self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let _ = self.take(b'+') || self.take(b'-');
            valid &= self.digits();
        }
        if !valid {
            return bad("is not JSON: malformed number");
        }
        let text = &self.text[start..self.at];
        if !self.binary {
            return Ok(Value::Number(text.to_owned()));
        }
        let decimal = Decimal::parse(text).map_err(|_| (FaultCode::BadJson, "holds a number beyond what jsonb keeps"))?;
        Ok(Value::Number(decimal.to_text()))
    }

    fn array(&mut self, depth: usize) -> Reading<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return bad("is not JSON: unfinished array");
            }
        }
    }

    fn object(&mut self, depth: usize) -> Reading<Value> {
        self.at += 1;
        let mut members = Vec::new();
        self.blanks();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return bad("is not JSON: a key must be a string");
            }
            let key = self.string()?;
            self.blanks();
            if !self.take(b':') {
                return bad("is not JSON: a key without a value");
            }
            members.push((key, self.value(depth + 1)?));
            self.blanks();
            if self.take(b'}') {
                return self.ordered(members);
            }
            if !self.take(b',') {
                return bad("is not JSON: unfinished object");
            }
        }
    }

    /// `jsonb` keeps keys by length, then by bytes, each once.
    fn ordered(&self, mut members: Vec<(String, Value)>) -> Reading<Value> {
        if self.binary {
            members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes())));
            if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return bad("gives a key twice, of which jsonb would keep one");
            }
        }
        Ok(Value::Object(members))
    }

    fn string(&mut self) -> Reading<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20) else {
                return bad("is not JSON: unfinished string");
            };
            out.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Ok(out),
                b'\\' => self.escape(&mut out)?,
                _ => return bad("is not JSON: a control character in a string"),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Reading<()> {
        let Some(letter) = self.peek() else {
            return bad("is not JSON: unfinished string");
        };
        self.at += 1;
        out.push(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(out),
            _ => return bad("is not JSON: unknown escape"),
        });
        Ok(())
    }

    fn unicode(&mut self, out: &mut String) -> Reading<()> {
        let first = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) { 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00) } else { first }
        } else {
            first
        };
        match char::from_u32(code) {
            Some('\0') if self.binary => bad("holds \\u0000, which jsonb cannot keep"),
            Some(letter) => {
                out.push(letter);
                Ok(())
            }
            None if self.binary => bad("holds half of a surrogate pair, which jsonb cannot keep"),
            None => Ok(()),
        }
    }

    fn hex4(&mut self) -> Reading<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return bad("is not JSON: \\u needs four hex digits");
        }
        self.at += 4;
        Ok(digits.iter().fold(0, |code, digit| code * 16 + char::from(*digit).to_digit(16).unwrap_or_default()))
    }
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Literal(word) => out.push_str(word),
        Value::Number(digits) => out.push_str(digits),
        Value::Text(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, member)) in members.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_string(key, out);
                out.push_str(": ");
                write(member, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if letter < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_spelled_as_jsonb_spells_them() {
        for (input, expected) in [
            (r#" {"bb":1,"a":[1,2.50,1e2,-0.0] , "":null} "#, r#"{"": null, "a": [1, 2.50, 100, 0.0], "bb": 1}"#),
            (r#""\u00e4\ud83d\ude00\/\u0001\n""#, "\"ä😀/\\u0001\\n\""),
            ("[]", "[]"),
            ("{}", "{}"),
            ("true", "true"),
        ] {
            assert_eq!(canonical(input), Ok(expected.to_owned()), "{input}");
        }
    }

    #[test]
    fn broken_documents_are_refused_with_the_reason() {
        for input in [
            "",
            "{",
            "[1,]",
            "{'a':1}",
            "{\"a\"}",
            "01",
            "1.",
            "-",
            "tru",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "[1] 2",
            "\"a\nb\"",
            "NaN",
        ] {
            assert_eq!(canonical(input).map_err(|(code, _)| code), Err(FaultCode::BadJson), "{input}");
            assert!(check(input).is_err(), "{input}");
        }
    }

    #[test]
    fn what_jsonb_would_change_is_refused_for_jsonb_only() {
        for input in [r#""\u0000""#, r#"{"a":1,"a":2}"#, r#""\ud800""#, "1e200000"] {
            assert!(canonical(input).is_err(), "{input}");
            assert_eq!(check(input), Ok(()), "{input}");
        }
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX + 2), "]".repeat(DEPTH_MAX + 2));
        assert!(canonical(&deep).is_err());
    }
}

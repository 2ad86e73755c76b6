//! Small pieces of text: escaped words, instants, people, counts.

use std::fmt::Write as _;

use crate::domain::run::Actor;
use crate::domain::{Person, RoleName, Timestamp};

/// Text from people or runbooks, as one line that shows literally: no formatting, no link, no mention.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '>' | '[' | ']' | '(' | ')' | '#' => {
                escaped.push('\\');
                escaped.push(c);
            }
            // No backslash takes the meaning out of @everyone; a character of no width does.
            '@' => escaped.push_str("@\u{200b}"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text of ours that may quote somebody: its formatting stays, its mentions do not.
#[must_use]
pub fn defuse(text: &str) -> String {
    text.replace('@', "@\u{200b}").replace('<', "<\u{200b}")
}

/// A word as code.
#[must_use]
pub fn code(text: &str) -> String {
    let inner: String = text
        .chars()
        .map(|c| {
            if c == '`' {
                'ˋ'
            } else if c.is_control() {
                ' '
            } else {
                c
            }
        })
        .collect();
    if inner.trim().is_empty() { "(empty)".to_owned() } else { format!("`{}`", inner.trim()) }
}

/// What an escalation level is called.
#[must_use]
pub fn level_name(level: u32) -> String {
    if level == 0 { "the opening".to_owned() } else { format!("level {level}") }
}

/// Lines as a block of code.
#[must_use]
pub fn code_block(text: &str) -> String {
    format!("```\n{}\n```", text.replace("```", "ˋˋˋ").trim_end())
}

/// An instant as clock time in the reader's own zone.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    format!("<t:{}:t>", at.timestamp())
}

/// An instant with its date in the reader's own zone.
#[must_use]
pub fn date(at: Timestamp) -> String {
    format!("<t:{}:f>", at.timestamp())
}

/// An instant as a distance that counts by itself: "in 5 minutes".
#[must_use]
pub fn relative(at: Timestamp) -> String {
    format!("<t:{}:R>", at.timestamp())
}

/// An instant rounded to the minute, so that a text that shows it changes once a minute at most.
#[must_use]
pub fn to_minute(at: Timestamp) -> Timestamp {
    let secs = at.timestamp();
    Timestamp::from_timestamp(secs - secs.rem_euclid(60), 0).unwrap_or(at)
}

/// A person's name.
#[must_use]
pub fn person(person: &Person) -> String {
    format!("**{}**", escape(&person.name))
}

/// Who or what started something.
#[must_use]
pub fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Person(somebody) => person(somebody),
        Actor::Host { user } => format!("{} on the host", code(user)),
        Actor::OnFailure { step } => format!("the failure of {}", code(step.as_str())),
    }
}

/// Roles as a list: `dba`, `security`.
#[must_use]
pub fn roles<'a>(roles: impl IntoIterator<Item = &'a RoleName>) -> String {
    let names: Vec<String> = roles.into_iter().map(|role| code(role.as_str())).collect();
    if names.is_empty() { "(nobody)".to_owned() } else { names.join(", ") }
}

/// Who is missing: `dba`: missing, `security`: 2 missing.
#[must_use]
pub fn missing(missing: &[(RoleName, usize)]) -> String {
    let one = |(role, count): &(RoleName, usize)| match count {
        1 => format!("{}: missing", code(role.as_str())),
        many => format!("{}: {many} missing", code(role.as_str())),
    };
    missing.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// How many must sign: `dba`, 2 × `security`.
#[must_use]
pub fn sign_off(sign_off: &indexmap::IndexMap<RoleName, u8>) -> String {
    let one = |(role, count): (&RoleName, &u8)| match count {
        1 => code(role.as_str()),
        many => format!("{many} × {}", code(role.as_str())),
    };
    sign_off.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A whole number with its thousands set apart: `1,234,567`.
#[must_use]
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A bar of ten places.
#[must_use]
pub fn bar(done: u64, total: u64) -> String {
    const PLACES: u64 = 10;
    let full = (done.min(total) * PLACES).checked_div(total).unwrap_or(PLACES);
    let mut text = String::new();
    for place in 0..PLACES {
        let _ = write!(text, "{}", if place < full { '▰' } else { '▱' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_neither_formats_nor_mentions() {
        assert_eq!(escape("**x** @everyone <@&1>\n[a](b)"), "\\*\\*x\\*\\* @\u{200b}everyone \\<@\u{200b}&1\\> \\[a\\]\\(b\\)");
        assert_eq!(code("a`b`\nc"), "`aˋbˋ c`");
        assert_eq!(code(""), "(empty)");
        assert!(!code_block("x```y").trim_start_matches("```").trim_end_matches("```").contains("```"));
        assert_eq!(defuse("`a` <@1>"), "`a` <\u{200b}@\u{200b}1>");
    }

    #[test]
    fn numbers_and_bars() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(bar(4, 10), "▰▰▰▰▱▱▱▱▱▱");
        assert_eq!(bar(0, 0), "▰▰▰▰▰▰▰▰▰▰");
        assert_eq!(bar(12, 10), bar(10, 10));
    }
}

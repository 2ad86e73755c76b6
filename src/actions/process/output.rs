//! What a command prints, on its way to whoever reads it: redacted, readable, bounded.
//!
//! Secrets are masked twice: in the raw bytes, and again after the control sequences are gone,
//! for a colour code inside a secret would hide it the first time.

use std::collections::VecDeque;

use crate::actions::redact::{Redactor, RedactorStream};

/// The longest line that is handed on in one piece; a longer one comes in several.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Which of the command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line that the command printed, already redacted and without control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it was printed.
    pub stream: Stream,
    /// The line without its end; at most 8 KiB, a longer one is cut into several.
    pub text: &'a str,
}

/// How much of each output is kept. What lies between head and tail is counted and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    /// Bytes kept from the beginning.
    pub head_bytes: usize,
    /// Bytes kept from the end.
    pub tail_bytes: usize,
}

impl Default for OutputLimits {
    /// 64 KiB of head and of tail: some 1,500 lines, well below Discord's 10 MiB for an attachment.
    fn default() -> Self {
        Self { head_bytes: 64 * 1024, tail_bytes: 64 * 1024 }
    }
}

/// What was kept of one output: redacted, without control characters, lines ended by `\n`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// The beginning; all of it when nothing was dropped.
    pub head: String,
    /// The end; empty unless the head was too short for all.
    pub tail: String,
    /// Bytes dropped between head and tail.
    pub dropped_bytes: u64,
    /// Bytes that the command printed, before redaction and cleaning.
    pub total_bytes: u64,
}

impl Captured {
    /// Whether something was dropped.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.dropped_bytes > 0
    }

    /// Head and tail in one text, with a note where something was dropped.
    #[must_use]
    pub fn text(&self) -> String {
        if self.truncated() {
            format!("{}\n[... {} bytes left out ...]\n{}", self.head, self.dropped_bytes, self.tail)
        } else {
            format!("{}{}", self.head, self.tail)
        }
    }
}

/// Takes the raw bytes of one output and gives lines and a [`Captured`].
pub(super) struct Sink {
    raw: RedactorStream,
    cleaner: Cleaner,
    clean: RedactorStream,
    line: Vec<u8>,
    keeper: Keeper,
    total_bytes: u64,
}

impl Sink {
    pub(super) fn new(redactor: &Redactor, limits: OutputLimits) -> Self {
        Self {
            raw: redactor.stream(),
            cleaner: Cleaner::default(),
            clean: redactor.stream(),
            line: Vec::new(),
            keeper: Keeper { limits, ..Keeper::default() },
            total_bytes: 0,
        }
    }

    /// Takes the next bytes; calls `on_line` for every line that is complete.
    pub(super) fn push(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        self.total_bytes += bytes.len() as u64;
        let mut masked = Vec::new();
        self.raw.push(bytes, &mut masked);
        self.push_masked(&masked, on_line);
    }

    fn push_masked(&mut self, masked: &[u8], on_line: &mut dyn FnMut(&str)) {
        let mut cleaned = Vec::with_capacity(masked.len());
        self.cleaner.push(masked, &mut cleaned);
        let mut certain = Vec::with_capacity(cleaned.len());
        self.clean.push(&cleaned, &mut certain);
        self.keep(&certain, on_line);
    }

    /// Takes what was held back, as the last line if need be.
    pub(super) fn finish(mut self, on_line: &mut dyn FnMut(&str)) -> Captured {
        let mut rest = Vec::new();
        self.raw.finish(&mut rest);
        self.push_masked(&rest, on_line);
        let mut certain = Vec::new();
        self.clean.push(self.cleaner.finish(), &mut certain);
        self.clean.finish(&mut certain);
        self.keep(&certain, on_line);
        if !self.line.is_empty() {
            on_line(&String::from_utf8_lossy(&self.line));
        }
        self.keeper.finish(self.total_bytes)
    }

    fn keep(&mut self, text: &[u8], on_line: &mut dyn FnMut(&str)) {
        self.keeper.push(text);
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                self.hand_on(self.line.len(), on_line);
            }
            while self.line.len() > LINE_BYTES_MAX {
                self.hand_on(floor_char_boundary(&self.line, LINE_BYTES_MAX), on_line);
            }
        }
    }

    fn hand_on(&mut self, length: usize, on_line: &mut dyn FnMut(&str)) {
        let mut from = 0;
        while length - from > LINE_BYTES_MAX {
            let cut = from + floor_char_boundary(&self.line[from..], LINE_BYTES_MAX);
            on_line(&String::from_utf8_lossy(&self.line[from..cut]));
            from = cut;
        }
        on_line(&String::from_utf8_lossy(&self.line[from..length]));
        self.line.drain(..length);
    }
}

/// The greatest place not after `at` where no character is cut.
fn floor_char_boundary(text: &[u8], at: usize) -> usize {
    (at.saturating_sub(3)..=at).rev().find(|place| text.get(*place).is_none_or(|byte| byte & 0xC0 != 0x80)).unwrap_or(at)
}

/// Where in a control sequence the cleaner is (ECMA-48).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Text,
    /// After a carriage return: a line end, unless a newline follows, which is then the same one.
    Return,
    /// After ESC.
    Escape,
    /// Inside `ESC [ ...`, up to a final byte.
    Control,
    /// Inside a title or the like, `ESC ] ...`, up to BEL or `ESC \`.
    Text8,
    /// After an ESC inside such a text.
    Text8Escape,
}

/// Removes control sequences and control characters, keeps newline and tab, makes line ends of
/// carriage returns (a progress display then is lines), and replaces invalid UTF-8.
#[derive(Debug, Default)]
struct Cleaner {
    mode: Mode,
    /// The start of a character whose other bytes have not come yet; at most three bytes.
    partial: Vec<u8>,
}

impl Cleaner {
    fn push(&mut self, bytes: &[u8], to: &mut Vec<u8>) {
        let mut plain = std::mem::take(&mut self.partial);
        for &byte in bytes {
            self.step(byte, &mut plain);
        }
        let mut rest = plain.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    push_printable(text, to);
                    return;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    push_printable(&String::from_utf8_lossy(valid), to);
                    let Some(bad) = error.error_len() else {
                        self.partial = after.to_vec();
                        return;
                    };
                    to.extend_from_slice("\u{FFFD}".as_bytes());
                    rest = &after[bad..];
                }
            }
        }
    }

    /// What stands for a character that the end has cut.
    fn finish(&mut self) -> &'static [u8] {
        if std::mem::take(&mut self.partial).is_empty() { b"" } else { "\u{FFFD}".as_bytes() }
    }

    fn step(&mut self, byte: u8, to: &mut Vec<u8>) {
        self.mode = match (self.mode, byte) {
            (Mode::Text8, 0x07) | (Mode::Text8Escape, b'\\') => Mode::Text,
            (Mode::Text8, 0x1B) => Mode::Text8Escape,
            // A newline ends a broken sequence: text must not vanish for want of a terminator.
            (Mode::Control | Mode::Text8 | Mode::Text8Escape | Mode::Escape, b'\n') => emit(b'\n', to),
            (Mode::Text8 | Mode::Text8Escape, _) => Mode::Text8,
            (Mode::Control, 0x40..=0x7E) => Mode::Text,
            (Mode::Control, 0x20..=0x3F) => Mode::Control,
            (Mode::Escape, b'[') => Mode::Control,
            (Mode::Escape, b']' | b'P' | b'X' | b'^' | b'_') => Mode::Text8,
            (Mode::Escape, 0x20..=0x2F) => Mode::Escape,
            (Mode::Escape, 0x30..=0x7E) => Mode::Text,
            (Mode::Return, b'\n') => Mode::Text,
            (_, 0x1B) => Mode::Escape,
            (_, b'\r') => {
                to.push(b'\n');
                Mode::Return
            }
            (_, b'\n' | b'\t' | 0x20..=0x7E | 0x80..) => emit(byte, to),
            (_, 0x00..=0x1F | 0x7F) => Mode::Text,
        };
    }
}

fn emit(byte: u8, to: &mut Vec<u8>) -> Mode {
    to.push(byte);
    Mode::Text
}

/// Drops what steers a terminal or reverses the reading order: C1 controls, and the bidirectional
/// overrides with which a text can be made to read as another.
fn push_printable(text: &str, to: &mut Vec<u8>) {
    if text.is_ascii() {
        to.extend_from_slice(text.as_bytes());
        return;
    }
    let steers = |c: char| matches!(c, '\u{80}'..='\u{9F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    to.extend(text.chars().filter(|c| !steers(*c)).collect::<String>().into_bytes());
}

/// Keeps head and tail at constant memory.
#[derive(Debug, Default)]
struct Keeper {
    limits: OutputLimits,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped_bytes: u64,
}

impl Keeper {
    fn push(&mut self, text: &[u8]) {
        let (to_head, rest) = text.split_at(text.len().min(self.limits.head_bytes - self.head.len()));
        self.head.extend_from_slice(to_head);
        // Of a piece longer than the whole tail only the end can stay.
        let (skipped, rest) = rest.split_at(rest.len().saturating_sub(self.limits.tail_bytes));
        let overflow = (self.tail.len() + rest.len()).saturating_sub(self.limits.tail_bytes);
        self.tail.drain(..overflow.min(self.tail.len()));
        self.tail.extend(rest);
        self.dropped_bytes += (skipped.len() + overflow) as u64;
    }

    /// A character cut by a limit is replaced, unless head and tail touch.
    fn finish(self, total_bytes: u64) -> Captured {
        let (mut head, tail) = (self.head, Vec::from(self.tail));
        let (head, tail) = if self.dropped_bytes == 0 {
            head.extend_from_slice(&tail);
            (head, Vec::new())
        } else {
            (head, tail)
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Captured { head: text(head), tail: text(tail), dropped_bytes: self.dropped_bytes, total_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    /// Feeds `bytes` in pieces of `size` and gives the lines and what was kept.
    fn capture(bytes: &[u8], size: usize, limits: OutputLimits, secrets: &[&str]) -> (Vec<String>, Captured) {
        let redactor = Redactor::new(secrets.iter().map(|secret| SecretString::from(*secret)));
        let mut sink = Sink::new(&redactor, limits);
        let mut lines = Vec::new();
        for piece in bytes.chunks(size) {
            sink.push(piece, &mut |line| lines.push(line.to_owned()));
        }
        let captured = sink.finish(&mut |line| lines.push(line.to_owned()));
        (lines, captured)
    }

    #[test]
    fn control_sequences_go_and_text_stays_however_it_is_cut() {
        let bytes = "\u{1b}[1;31mred\u{1b}[0m\ttab\u{7}\r\n 10%\r 20%\u{1b}]0;title\u{7}é\u{1b}(Bx\u{9b}y\u{202e}z".as_bytes();
        for size in 1..bytes.len() {
            let (lines, captured) = capture(bytes, size, OutputLimits::default(), &[]);
            assert_eq!(captured.text(), "red\ttab\n 10%\n 20%éxyz", "pieces of {size}");
            assert_eq!(lines, ["red\ttab", " 10%", " 20%éxyz"]);
        }
    }

    #[test]
    fn invalid_utf8_is_replaced_and_counted_as_printed() {
        let (_, captured) = capture(b"a\xff\xc3\x28b\xe2\x82", 1, OutputLimits::default(), &[]);
        assert_eq!(captured.text(), "a\u{FFFD}\u{FFFD}(b\u{FFFD}");
        assert_eq!(captured.total_bytes, 7);
    }

    #[test]
    fn a_colour_code_inside_a_secret_does_not_hide_it() {
        let (lines, captured) = capture(b"password=hun\x1b[1mter2 hunter2\n", 5, OutputLimits::default(), &["hunter2"]);
        assert_eq!(captured.text(), "password=[redacted] [redacted]\n");
        assert_eq!(lines, ["password=[redacted] [redacted]"]);
    }

    #[test]
    fn head_and_tail_are_kept_and_the_rest_is_counted() {
        let limits = OutputLimits { head_bytes: 4, tail_bytes: 3 };
        for size in 1..12 {
            let (_, captured) = capture(b"0123456789ab", size, limits, &[]);
            assert_eq!(
                (captured.head.as_str(), captured.tail.as_str(), captured.dropped_bytes),
                ("0123", "9ab", 5),
                "pieces of {size}"
            );
            let (_, whole) = capture(b"0123456", size, limits, &[]);
            assert_eq!((whole.text().as_str(), whole.truncated()), ("0123456", false));
        }
    }

    #[test]
    fn a_very_long_line_comes_in_pieces_that_cut_no_character() {
        let text = "ä".repeat(LINE_BYTES_MAX);
        let (lines, _) = capture(text.as_bytes(), 1_000, OutputLimits::default(), &[]);
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES_MAX));
        assert_eq!(lines.concat(), text);
        let (lines, _) = capture(text.as_bytes(), text.len(), OutputLimits::default(), &[]);
        assert_eq!(lines.concat(), text);
    }
}

//! YAML as a tree in which every key and value knows where it stands in the file.
//!
//! Deserialising directly would stop at the first mistake of a file; the checks walk this tree instead
//! and go on. The subset is strict: `true` and `false` are the only booleans (`no` stays text), a number
//! is decimal, and duplicate keys, anchors, aliases, tags and further documents are refused, so that what
//! a reviewer reads is what the bot reads and no file grows when it is loaded.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};

use super::diagnostics::Report;

/// The largest definition file, in bytes: forty times the longest runbook we know.
pub(super) const FILE_LEN_MAX: usize = 1024 * 1024;

/// The deepest nesting of a definition; a runbook needs about ten levels.
const DEPTH_MAX: usize = 64;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Bytes of the file, on one line: a text's first line, a list's first item, a map's first key.
    pub(super) span: Range<usize>,
    /// Where a text ends, its further lines included; for a list or a map, the end of `span`.
    pub(super) end: usize,
    pub(super) value: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; keys are unique.
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

impl Node {
    /// The value under `key`, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a map; none for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self.value {
            Content::Bool(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match &self.value {
            Content::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The text under `key`, read as a `T`; `None` when absent or unreadable, which the shape check reports.
    pub(super) fn parsed<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.text()?.parse().ok()
    }

    /// Every text in it, itself included.
    pub(super) fn texts(&self) -> Vec<&Self> {
        match &self.value {
            Content::Text(_) => vec![self],
            Content::List(items) => items.iter().flat_map(Self::texts).collect(),
            Content::Map(entries) => entries.iter().flat_map(|entry| entry.value.texts()).collect(),
            Content::Null | Content::Bool(_) | Content::Number(_) => Vec::new(),
        }
    }

    /// The same without places.
    pub(super) fn to_json(&self) -> Value {
        match &self.value {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>())
            }
        }
    }

    /// What it is, for people: "the text `no`", "a list".
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Content::Null => "nothing".to_owned(),
            Content::Bool(value) => format!("`{value}`"),
            Content::Number(number) => format!("the number {number}"),
            Content::Text(text) if text.chars().count() <= 40 && !text.contains('\n') => format!("the text `{text}`"),
            Content::Text(_) => "a text".to_owned(),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }
}

/// Reads a file's text; `None` when it cannot be read as a tree at all, with the reason in `report`.
pub(super) fn parse(text: &str, report: &mut Report<'_>) -> Option<Node> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        block_nesting_limit: DEPTH_MAX,
        flow_nesting_limit: DEPTH_MAX,
    };
    let events = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { events, text, report };
    builder.file()
}

struct Builder<'t, 'a, 'r, P> {
    events: P,
    text: &'t str,
    report: &'a mut Report<'r>,
}

impl<'t, P> Builder<'t, '_, '_, P>
where
    P: Iterator<Item = Result<(Event<'t>, Span), granit_parser::ScanError>>,
{
    fn file(&mut self) -> Option<Node> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::DocumentStart(..) if root.is_some() => {
                    let help = "put each definition into a file of its own";
                    self.report.error(range(&span, self.text), "a second document in the same file").help(help);
                    return None;
                }
                Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
                other => root = Some(self.node(other, &span)?),
            }
        }
        if root.is_none() {
            self.report.error(0..0, "the file is empty");
        }
        root
    }

    /// The next event; the outer `None` after a syntax error, which ends the file.
    #[expect(clippy::option_option, reason = "the outer one ends the file by `?`, the inner one is the end of the stream")]
    fn next(&mut self) -> Option<Option<(Event<'t>, Span)>> {
        match self.events.next() {
            None => Some(None),
            Some(Ok(event)) => Some(Some(event)),
            Some(Err(error)) => {
                let at = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
                let what = error.info();
                self.report.error(at..at + 1, format!("this is not YAML: {what}"));
                None
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span) -> Option<Node> {
        let place = range(span, self.text);
        if let Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(_, anchor, tag) | Event::MappingStart(_, anchor, tag) =
            &event
        {
            if *anchor != 0 {
                self.report.error(place.clone(), "anchors (`&name`) are not allowed").help("write the value where it is used");
            }
            if tag.is_some() {
                self.report
                    .error(place.clone(), "tags (`!name`) are not allowed")
                    .help("leave the tag out, and quote a text that starts with `!`");
            }
        }
        let node = match event {
            Event::Scalar(text, style, ..) => {
                let value = if style == ScalarStyle::Plain { plain(&text) } else { Content::Text(text.into_owned()) };
                let end = span.end.byte_offset().unwrap_or(place.end).clamp(place.end, self.text.len());
                Node { span: place, end, value }
            }
            Event::SequenceStart(..) => self.list(place)?,
            Event::MappingStart(..) => self.map(place)?,
            // What remains of the events that can stand here: aliases.
            _ => {
                self.report.error(place.clone(), "aliases (`*name`) are not allowed").help("write the value out");
                Node { end: place.end, span: place, value: Content::Null }
            }
        };
        Some(node)
    }

    fn list(&mut self, mut place: Range<usize>) -> Option<Node> {
        let mut items: Vec<Node> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, &span)?);
        }
        if let Some(first) = items.first() {
            place = first.span.clone();
        }
        Some(Node { end: place.end, span: place, value: Content::List(items) })
    }

    fn map(&mut self, mut place: Range<usize>) -> Option<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key_span = range(&span, self.text);
            let key = self.key(event, &span)?;
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, &span)?;
            let Some(key) = key else { continue };
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let line = self.report.line_of(first.key_span.start);
                self.report.error(key_span, format!("`{key}` is given twice")).help(format!("the first one is in line {line}"));
                continue;
            }
            entries.push(Entry { key, key_span, value });
        }
        if let Some(first) = entries.first() {
            place = first.key_span.clone();
        }
        Some(Node { end: place.end, span: place, value: Content::Map(entries) })
    }

    /// A key; the inner `None` for something that cannot be one. Keys are text, `1:` and `true:` too.
    #[expect(clippy::option_option, reason = "the outer one ends the file by `?`")]
    fn key(&mut self, event: Event<'t>, span: &Span) -> Option<Option<String>> {
        if let Event::Scalar(text, ..) = event {
            return Some(Some(text.into_owned()));
        }
        let node = self.node(event, span)?;
        self.report.error(node.span, "a key must be a plain text").help("quote a template: `key: \"{{ ... }}\"`");
        Some(None)
    }
}

/// The bytes of a span, on its first line only: block texts go on for pages.
fn range(span: &Span, text: &str) -> Range<usize> {
    let start = span.start.byte_offset().unwrap_or(0).min(text.len());
    let end = span.end.byte_offset().unwrap_or(start).clamp(start, text.len());
    let slice = &text[start..end];
    let line = slice.lines().next().unwrap_or_default().trim_end();
    start..start + line.len()
}

/// What an unquoted scalar is.
fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" => Content::Null,
        "true" => Content::Bool(true),
        "false" => Content::Bool(false),
        _ => number(text).map_or_else(|| Content::Text(text.to_owned()), Content::Number),
    }
}

/// Decimal numbers as JSON writes them. `012`, `0x1f`, `1_000`, `+1` and `.5` stay text, since readers differ on them.
fn number(text: &str) -> Option<serde_json::Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return None;
    }
    match serde_json::from_str(text) {
        Ok(Value::Number(number)) => Some(number),
        _ => None,
    }
}

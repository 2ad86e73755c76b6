//! Mistakes in definitions, told so that they can be mended: where, what, and what was probably meant.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use crate::domain::nearest;

/// Whether a definition can be used in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// No definition is loaded while there is one.
    Error,
    /// Worth a thought.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the loading.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, a fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    source: Arc<str>,
    span: Range<usize>,
}

impl Diagnostic {
    /// The diagnostic as a terminal shows it: message, file, line, column, the line with a caret, and the help.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.decor_style(DecorStyle::Ascii).render(&[self.group()])
    }

    /// The diagnostic for machines.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "severity": match self.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "help": self.help,
            "snippet": self.render(false),
        })
    }

    fn group(&self) -> Group<'_> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str());
        let group = if self.source.is_empty() {
            title.element(Origin::path(self.file.as_str()).line(self.line).char_column(self.column))
        } else {
            let annotation = AnnotationKind::Primary.span(self.span.clone());
            title.element(Snippet::source(&*self.source).path(self.file.as_str()).annotation(annotation))
        };
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }
}

/// All mistakes of all files, in the order of the files and of the lines in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Each mistake.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// Whether there is nothing to tell, not even a warning.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many stop the loading.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// How many do not.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.0.len() - self.errors()
    }

    /// All of them as a terminal shows them, with a line of totals; empty if there are none.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let mut text: String = self.0.iter().map(|diagnostic| diagnostic.render(colour) + "\n\n").collect();
        text.push_str(&format!("{}, {}\n", counted(self.errors(), "error"), counted(self.warnings(), "warning")));
        text
    }

    /// All of them for machines: `{"errors": n, "warnings": n, "diagnostics": [...]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let diagnostics: Vec<Value> = self.0.iter().map(Diagnostic::to_json).collect();
        json!({ "errors": self.errors(), "warnings": self.warnings(), "diagnostics": diagnostics })
    }

    /// Adds a mistake of a file that is no definition, of which only the line is known.
    pub fn add_error(&mut self, file: &str, line: usize, message: &str) {
        self.0.push(Diagnostic {
            severity: Severity::Error,
            file: file.to_owned(),
            line,
            column: 1,
            message: message.to_owned(),
            help: None,
            span: 0..0,
            source: Arc::from(""),
        });
    }

    pub(super) fn extend(&mut self, mut of_one_file: Vec<Diagnostic>) {
        of_one_file.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.severity));
        self.0.extend(of_one_file);
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Collects the mistakes of one file.
pub(super) struct Report<'a> {
    file: &'a str,
    source: &'a Arc<str>,
    found: Vec<Diagnostic>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a str, source: &'a Arc<str>) -> Self {
        Self { file, source, found: Vec::new() }
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> Help<'_> {
        self.add(Severity::Error, span, message.into())
    }

    pub(super) fn warning(&mut self, span: Range<usize>, message: impl Into<String>) -> Help<'_> {
        self.add(Severity::Warning, span, message.into())
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub(super) fn into_found(self) -> Vec<Diagnostic> {
        self.found
    }

    /// The line of a byte of the file, from 1.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.source[..floor(self.source, offset)].matches('\n').count() + 1
    }

    /// The text of the file.
    pub(super) fn source(&self) -> &'a str {
        self.source
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, message: String) -> Help<'_> {
        let start = floor(self.source, span.start);
        let end = ceil(self.source, span.end.max(start));
        let before = &self.source[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.found.push(Diagnostic {
            severity,
            file: self.file.to_owned(),
            line: self.line_of(start),
            column: before[line_start..].chars().count() + 1,
            message,
            help: None,
            source: Arc::clone(self.source),
            span: start..end,
        });
        Help(self.found.last_mut())
    }
}

/// Adds a help to the mistake just reported.
pub(super) struct Help<'a>(Option<&'a mut Diagnostic>);

impl Help<'_> {
    /// Leaves the line itself out: it holds what must not be repeated in a chat or a log.
    pub(super) fn hide_source(self) -> Self {
        let Help(mut diagnostic) = self;
        if let Some(diagnostic) = diagnostic.as_mut() {
            diagnostic.source = Arc::from("");
        }
        Help(diagnostic)
    }

    pub(super) fn help(self, help: impl Into<String>) {
        if let Some(diagnostic) = self.0 {
            diagnostic.help = Some(help.into());
        }
    }

    /// "did you mean" the candidate that is nearest to `word`; the whole list when none is near and it is short.
    pub(super) fn suggest<'c>(self, word: &str, candidates: impl IntoIterator<Item = &'c str>) {
        let mut seen = BTreeSet::new();
        let candidates: Vec<&str> = candidates.into_iter().filter(|candidate| seen.insert(*candidate)).collect();
        if let Some(diagnostic) = self.0 {
            match nearest(word, candidates.iter().copied()) {
                Some(near) => diagnostic.message.push_str(&format!(", did you mean `{near}`?")),
                None if candidates.is_empty() => diagnostic.help = Some("there is none".to_owned()),
                None if candidates.len() == 1 => diagnostic.help = Some(format!("there is only {}", quoted_list(&candidates))),
                None if candidates.len() <= LISTED_MAX => {
                    diagnostic.help = Some(format!("use one of {}", quoted_list(&candidates)));
                }
                None => {}
            }
        }
    }
}

/// The longest list of candidates that is shown whole.
const LISTED_MAX: usize = 20;

pub(super) fn quoted_list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn floor(text: &str, offset: usize) -> usize {
    text.floor_char_boundary(offset)
}

fn ceil(text: &str, offset: usize) -> usize {
    text.ceil_char_boundary(offset)
}

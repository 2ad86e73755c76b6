//! The one language of the definitions: templates (`{{ params.source }}`), criteria and `when`.
//!
//! It is Jinja as minijinja implements it, made strict: text is data and never becomes a template; what
//! is not there is an error and never empty text; values of different types are not compared. An engine
//! that asks [`Expression::holds`] gets true, false or an error, and takes an error for red.
//!
//! Invariants:
//! - Evaluating reads the [`Scope`] and nothing else: no files, no clock, no includes, no functions.
//! - It ends: fuel bounds the work, [`SOURCE_LEN_MAX`] and [`TEXT_LEN_MAX`] the size.
//! - An error names references, never the values behind them.
//!
//! How: the text is parsed to minijinja's tree, checked against a list of what is allowed, and written
//! back in a stricter form that the virtual machine runs (`lower`). Writing an evaluator of our own
//! instead would have made a second language out of one.

mod lower;
mod machine;
mod reference;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

pub use reference::Reference;

/// The longest template or expression, in bytes: far above any sensible one, low enough to parse at once.
pub const SOURCE_LEN_MAX: usize = 64 * 1024;

/// The longest text that a template may come out as, in bytes.
pub const TEXT_LEN_MAX: usize = 1024 * 1024;

/// The deepest nesting of values that [`render_value`] follows.
const DEPTH_MAX: usize = 64;

/// Why a template or an expression cannot be read or has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong, a fragment for people; names references, never values.
    pub message: String,
    /// The line within the text, from 1; known for errors of syntax.
    pub line: Option<usize>,
    /// The byte offset within the text, where known.
    pub offset: Option<usize>,
}

impl ExpressionError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: None, offset: None }
    }
}

/// What an expression can see: a map from names (`params`, `steps`, `run`, ...) to values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope(Map<String, Value>);

impl Scope {
    /// A scope that sees nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The scope with `name` bound to `value`, in place of what it was bound to.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Binds `name` to `value`, in place of what it was bound to.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Whether `name` is bound.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value behind a reference, if it is there.
    #[must_use]
    pub fn value(&self, reference: &Reference) -> Option<&Value> {
        let root = self.0.get(&reference.root)?;
        reference.path.iter().try_fold(root, |value, segment| match value {
            Value::Array(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => value.get(segment),
        })
    }
}

impl From<Map<String, Value>> for Scope {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}

/// A text with `{{ ... }}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    lowered: lower::Lowered,
}

impl Template {
    /// Reads a template; plain text is one too.
    ///
    /// # Errors
    /// Syntax, an unknown filter or test, or a construct that definitions may not use, with its place.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        check_length(text)?;
        Ok(Self { source: text.to_owned(), lowered: lower::template(text)? })
    }

    /// The text as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it is plain text, the same in every scope.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.lowered.literal
    }

    /// Whether it is exactly one `{{ expression }}`, which keeps its type when evaluated.
    #[must_use]
    pub fn is_single_expression(&self) -> bool {
        self.lowered.single.is_some()
    }

    /// What it refers to. Names that the template binds itself (`for`, `set`) are left out.
    #[must_use]
    pub fn references(&self) -> &BTreeSet<Reference> {
        &self.lowered.references
    }

    /// The text that it comes out as in `scope`.
    ///
    /// # Errors
    /// A reference to something that is not there or is `null`, a type error, or too much work or text.
    pub fn render(&self, scope: &Scope) -> Result<String, ExpressionError> {
        if self.lowered.literal {
            return Ok(self.source.clone());
        }
        machine::render(&self.lowered.source, scope)
    }

    /// The value that it comes out as in `scope`: a template that is exactly one `{{ expression }}` keeps the
    /// expression's type, any other is text.
    ///
    /// # Errors
    /// As [`Self::render`]; a single expression may be `null`.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        match &self.lowered.single {
            Some(expression) => machine::evaluate(expression, scope),
            None => self.render(scope).map(Value::String),
        }
    }
}

/// A condition or a value, such as `steps['verify'].result.pass_rate >= 0.99`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    source: String,
    lowered: lower::Lowered,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Syntax, an unknown filter or test, or a construct that definitions may not use, with its place.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        check_length(text)?;
        Ok(Self { source: text.to_owned(), lowered: lower::expression(text)? })
    }

    /// The text as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it refers to.
    #[must_use]
    pub fn references(&self) -> &BTreeSet<Reference> {
        &self.lowered.references
    }

    /// Its value in `scope`.
    ///
    /// # Errors
    /// A reference to something that is not there, a type error, or too much work.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        machine::evaluate(&self.lowered.source, scope)
    }

    /// Whether it is true in `scope`.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and any value other than true or false: whoever asks takes that for red.
    pub fn holds(&self, scope: &Scope) -> Result<bool, ExpressionError> {
        match self.evaluate(scope)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(ExpressionError::new(format!("comes out as {}, not as true or false", type_of(&other)))),
        }
    }

    /// The measured values behind the references, for people who wonder why it is not true, e.g.
    /// `steps['verify'].result.pass_rate = 0.93`. `None` if it refers to nothing.
    #[must_use]
    pub fn explain(&self, scope: &Scope) -> Option<String> {
        let parts: Vec<String> = self.references().iter().map(|reference| explain_one(reference, scope)).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// Renders every text in a JSON value as a template, keys excepted.
///
/// # Errors
/// The first template that cannot be read or has no value; the message does not say where it stands.
pub fn render_value(value: &Value, scope: &Scope) -> Result<Value, ExpressionError> {
    render_nested(value, scope, 0)
}

fn render_nested(value: &Value, scope: &Scope, depth: usize) -> Result<Value, ExpressionError> {
    if depth > DEPTH_MAX {
        return Err(ExpressionError::new(format!("is nested more than {DEPTH_MAX} levels deep")));
    }
    match value {
        Value::String(text) => Template::parse(text)?.evaluate(scope),
        Value::Array(items) => items.iter().map(|item| render_nested(item, scope, depth + 1)).collect(),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| Ok((key.clone(), render_nested(value, scope, depth + 1)?)));
            entries.collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
    }
}

fn check_length(text: &str) -> Result<(), ExpressionError> {
    if text.len() <= SOURCE_LEN_MAX {
        return Ok(());
    }
    Err(ExpressionError::new(format!("is longer than {SOURCE_LEN_MAX} bytes")))
}

/// The longest value that an explanation shows, in characters: a criterion's line on a card.
const EXPLAINED_LEN_MAX: usize = 80;

fn explain_one(reference: &Reference, scope: &Scope) -> String {
    let Some(value) = scope.value(reference) else {
        return format!("{reference} is not there");
    };
    let text = value.to_string();
    if text.chars().count() <= EXPLAINED_LEN_MAX {
        return format!("{reference} = {text}");
    }
    let start: String = text.chars().take(EXPLAINED_LEN_MAX - 1).collect();
    format!("{reference} = {start}…")
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

//! What an expression refers to, as far as its text tells.

use std::fmt;

/// A path into the scope: `steps['import'].result.failed`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The name at the head: `params`, `steps`, `result`, ...
    pub root: String,
    /// What follows, as far as it is written out; a list index is a segment of digits.
    pub path: Vec<String>,
    /// Whether a subscript follows that is known only when the expression is evaluated.
    pub dynamic: bool,
}

impl Reference {
    /// The first segment: the step's name in `steps['import'].result`, the parameter's in `params.source`.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.path.first().map(String::as_str)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        for (index, segment) in self.path.iter().enumerate() {
            let names_a_step = index == 0 && matches!(self.root.as_str(), "steps" | "measured");
            if segment.bytes().all(|b| b.is_ascii_digit()) {
                write!(f, "[{segment}]")?;
            } else if names_a_step || !is_identifier(segment) {
                write!(f, "['{segment}']")?;
            } else {
                write!(f, ".{segment}")?;
            }
        }
        if self.dynamic { f.write_str("[...]") } else { Ok(()) }
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

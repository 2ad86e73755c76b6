//! Hiding secrets in texts: in what people wrote, before it is written down, and in what leaves for GitHub.

use std::fmt;
use std::sync::Arc;

/// Hides secrets in a text. Which ones it knows is up to whoever makes it; it may look them up anew for each text, so
/// that one that was changed meanwhile is hidden by its new value.
#[derive(Clone)]
pub struct Mask(Arc<dyn Fn(&str) -> String + Send + Sync>);

impl Mask {
    /// A mask that gives each text back as `hide` does.
    #[must_use]
    pub fn new(hide: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(hide))
    }

    /// A mask that knows no secret.
    #[must_use]
    pub fn none() -> Self {
        Self::new(str::to_owned)
    }

    /// The text with every known secret hidden.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        (self.0)(text)
    }

    /// The text with every known secret hidden, if it holds any.
    #[must_use]
    pub fn hidden(&self, text: &str) -> Option<String> {
        let masked = self.apply(text);
        (masked != text).then_some(masked)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").finish_non_exhaustive()
    }
}

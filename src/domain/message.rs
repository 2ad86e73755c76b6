//! What messages of every kind of aggregate have in common: a fixed id.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The fixed id of a message within its run or incident, e.g. `gate/cutover/1` or `note/17`. It is also the marker by
/// which the message is found again in the channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageKey(String);

impl MessageKey {
    /// A key as a marker or a journal gave it.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

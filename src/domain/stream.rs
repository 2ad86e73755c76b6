//! The name of a stream: the events of one aggregate, in order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest stream name, in bytes. Ours have about twenty; the bound keeps the index rows small.
pub const STREAM_ID_LENGTH_MAX: usize = 120;

/// Names the stream of one aggregate: what kind it is, then which one, as in `run/run-k3f9w2mx`.
///
/// Shape: segments parted by `/`, each of lower-case letters, digits, `.`, `_` and `-`, starting with a
/// letter or digit; at most [`STREAM_ID_LENGTH_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct StreamId(String);

/// Why a text is not a [`StreamId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no stream name: write lower-case letters, digits, `.`, `_` and `-` in segments parted by `/`, \
     {STREAM_ID_LENGTH_MAX} bytes at most"
)]
pub struct InvalidStreamId {
    text: String,
}

impl StreamId {
    /// The stream of the aggregate `name` of the given `kind`: `StreamId::new("run", "run-k3f9w2mx")`.
    ///
    /// # Errors
    /// [`InvalidStreamId`] if the two together are no stream name.
    pub fn new(kind: &str, name: &str) -> Result<Self, InvalidStreamId> {
        format!("{kind}/{name}").parse()
    }

    /// The name as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment, which says what kind of aggregate this is: `run` in `run/run-k3f9w2mx`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.split_once('/').map_or(self.0.as_str(), |(kind, _)| kind)
    }

    /// What follows the kind: `run-k3f9w2mx` in `run/run-k3f9w2mx`; empty if the name has one segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }
}

fn is_segment(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    segment.bytes().next().is_some_and(plain) && segment.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

impl FromStr for StreamId {
    type Err = InvalidStreamId;

    fn from_str(text: &str) -> Result<Self, InvalidStreamId> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for StreamId {
    type Error = InvalidStreamId;

    fn try_from(text: String) -> Result<Self, InvalidStreamId> {
        if text.len() <= STREAM_ID_LENGTH_MAX && text.split('/').all(is_segment) {
            return Ok(Self(text));
        }
        Err(InvalidStreamId { text: text.chars().take(STREAM_ID_LENGTH_MAX).collect() })
    }
}

impl From<StreamId> for String {
    fn from(stream: StreamId) -> Self {
        stream.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_name_tells_its_kind_and_name() {
        let stream = StreamId::new("run", "run-k3f9w2mx").unwrap();
        assert_eq!(stream.as_str(), "run/run-k3f9w2mx");
        assert_eq!((stream.kind(), stream.name()), ("run", "run-k3f9w2mx"));
        assert_eq!(serde_json::to_string(&stream).unwrap(), "\"run/run-k3f9w2mx\"");
        let single: StreamId = "directory".parse().unwrap();
        assert_eq!((single.kind(), single.name()), ("directory", ""));
    }

    #[test]
    fn what_could_be_mistaken_is_no_stream_name() {
        let long = format!("run/{}", "a".repeat(STREAM_ID_LENGTH_MAX));
        for text in ["", "run/", "/run", "run//a", "Run/a", "run/a b", "run/-a", "run/ä", "run/a\n", "../run", &long] {
            assert!(text.parse::<StreamId>().is_err(), "{text:?}");
            assert!(serde_json::from_value::<StreamId>(text.into()).is_err(), "{text:?}");
        }
    }
}

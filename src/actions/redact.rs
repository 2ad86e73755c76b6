//! Keeps secrets out of everything that a child prints, before it is stored, shown or logged.
//!
//! A secret is masked as it is and in the forms in which programs like to print it: base64 (also
//! inside a longer encoded text), URL-encoded, JSON-escaped; and the password inside a URL counts
//! as a secret of its own. Any overlap of found places is masked as a whole. Absent on purpose:
//! guessing what might be a secret. Only known values are masked, and those always.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

/// What stands in a secret's place.
pub const MASK: &str = "[redacted]";

/// Encoded forms shorter than this are not masked: they would hit ordinary text.
const ENCODED_BYTES_MIN: usize = 6;
/// In prose, forms shorter than this are not masked: there they are words and numbers that people use.
const PROSE_BYTES_MIN: usize = 6;

/// Masks a set of known secrets. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redactor {
    automaton: Option<Arc<AhoCorasick>>,
    secrets: Arc<[SecretString]>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Redactor({} secrets)", self.secrets.len())
    }
}

impl Redactor {
    /// A redactor of these values. Empty ones are left out; with none, text passes as it is.
    ///
    /// # Panics
    /// When all forms together exceed what an automaton can hold (4 GiB of text).
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self::of_forms_from(1, secrets)
    }

    /// A redactor for what people write, of all secrets there are rather than the few that a child was given. A value of
    /// fewer than six bytes passes: as a word it would be masked everywhere.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn for_prose(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self::of_forms_from(PROSE_BYTES_MIN, secrets)
    }

    fn of_forms_from(bytes_min: usize, secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let secrets: Arc<[SecretString]> = secrets.into_iter().filter(|secret| !secret.expose_secret().is_empty()).collect();
        let forms = secrets.iter().flat_map(|secret| forms(secret.expose_secret()));
        let forms: BTreeSet<Vec<u8>> = forms.filter(|form| form.len() >= bytes_min).collect();
        let automaton = (!forms.is_empty()).then(|| {
            // Never the DFA: its size is a product that a few long secrets make huge.
            let built = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(forms);
            Arc::new(built.expect("secrets from settings are far below the automaton's limit"))
        });
        Self { automaton, secrets }
    }

    /// This redactor and `more` secrets.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = SecretString>) -> Self {
        let more: Vec<SecretString> = more.into_iter().collect();
        if more.is_empty() { self.clone() } else { Self::new(self.secrets.iter().cloned().chain(more)) }
    }

    /// Masks a text that is there as a whole.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.redact_bytes(text.as_bytes())).into_owned()
    }

    /// As [`Self::redact`], for bytes.
    #[must_use]
    pub fn redact_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.stream();
        let mut masked = Vec::with_capacity(bytes.len());
        stream.push(bytes, &mut masked);
        stream.finish(&mut masked);
        masked
    }

    /// Masks a text that comes in pieces.
    #[must_use]
    pub fn stream(&self) -> RedactorStream {
        RedactorStream { automaton: self.automaton.clone(), held: Vec::new(), covered: 0 }
    }
}

/// Masks a text that comes in pieces, also where a secret is cut by the end of one.
/// It holds back as many bytes as the longest form has, less one.
pub struct RedactorStream {
    automaton: Option<Arc<AhoCorasick>>,
    held: Vec<u8>,
    /// So many bytes at the start of `held` belong to a place whose mask was already written.
    covered: usize,
}

impl RedactorStream {
    /// Takes the next piece and appends to `to` what is certain by now.
    pub fn push(&mut self, piece: &[u8], to: &mut Vec<u8>) {
        let Some(automaton) = &self.automaton else {
            to.extend_from_slice(piece);
            return;
        };
        self.held.extend_from_slice(piece);
        // A place that starts before this has its end within `held`, so it has been found.
        let certain = (self.held.len() + 1).saturating_sub(automaton.max_pattern_len());
        self.emit(certain, to);
    }

    /// Appends what was held back. To be called once, at the end.
    pub fn finish(&mut self, to: &mut Vec<u8>) {
        self.emit(self.held.len(), to);
    }

    fn emit(&mut self, certain: usize, to: &mut Vec<u8>) {
        let mut at = self.covered.min(certain);
        let mut covered_until = self.covered;
        for place in self.places() {
            if place.start >= certain {
                break;
            }
            if place.start > covered_until || (place.start == covered_until && covered_until == 0) {
                to.extend_from_slice(&self.held[at..place.start]);
                to.extend_from_slice(MASK.as_bytes());
            }
            covered_until = covered_until.max(place.end);
            at = covered_until.min(certain);
        }
        to.extend_from_slice(&self.held[at..certain]);
        self.held.drain(..certain);
        self.covered = covered_until.saturating_sub(certain);
    }

    /// All occurrences, overlapping ones too, by their start.
    fn places(&self) -> Vec<Range<usize>> {
        let Some(automaton) = &self.automaton else {
            return Vec::new();
        };
        let mut places: Vec<_> = automaton.find_overlapping_iter(&self.held).map(|found| found.range()).collect();
        places.sort_by_key(|place| (place.start, place.end));
        places
    }
}

/// What a secret gives away: itself, without space around it, and the password if it is an address. None is empty.
#[must_use]
pub fn values(secret: &str) -> Vec<String> {
    let mut values = vec![secret.to_owned(), secret.trim().to_owned()];
    values.extend(password_in_url(secret));
    values.retain(|value| !value.is_empty());
    values
}

/// The secret in every form that is masked.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for value in values(secret) {
        let percent: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let json = serde_json::Value::String(value.clone()).to_string();
        let json = json.trim_matches('"').to_owned();
        let mut encoded = vec![percent.replace('+', "%20"), percent.to_lowercase(), percent, json, hex::encode(&value)];
        encoded.extend(base64_forms(value.as_bytes()));
        encoded.retain(|form| form.len() >= ENCODED_BYTES_MIN);
        forms.extend(encoded.into_iter().map(String::into_bytes));
        forms.push(value.into_bytes());
    }
    forms
}

/// The password of a connection URL, as written and decoded.
fn password_in_url(secret: &str) -> Vec<String> {
    let Ok(url) = url::Url::parse(secret) else {
        return Vec::new();
    };
    let Some(written) = url.password().filter(|password| !password.is_empty()) else {
        return Vec::new();
    };
    let decoded = url::form_urlencoded::parse(format!("p={}", written.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned());
    std::iter::once(written.to_owned()).chain(decoded).collect()
}

/// Base64 of the value, standing alone or at any place in a longer encoded text: for each of the
/// three alignments, the characters that depend on the value alone.
fn base64_forms(value: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3_usize {
        let mut padded = vec![0; before];
        padded.extend_from_slice(value);
        // Characters with bits of the neighbours: the first `ceil(8 * before / 6)`, and the last when bits are left over.
        let first = (8 * before).div_ceil(6);
        let last = 8 * padded.len() / 6;
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            forms.extend(text.get(first..last).map(str::to_owned));
        }
    }
    forms.extend([STANDARD.encode(value), URL_SAFE.encode(value), STANDARD_NO_PAD.encode(value), URL_SAFE_NO_PAD.encode(value)]);
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(secrets.iter().map(|secret| SecretString::from(*secret)))
    }

    /// Feeds `text` in pieces of `size` bytes.
    fn in_pieces(redactor: &Redactor, text: &[u8], size: usize) -> String {
        let mut stream = redactor.stream();
        let mut masked = Vec::new();
        for piece in text.chunks(size) {
            stream.push(piece, &mut masked);
        }
        stream.finish(&mut masked);
        String::from_utf8_lossy(&masked).into_owned()
    }

    #[test]
    fn a_secret_is_masked_whatever_the_pieces_are() {
        let redactor = redactor(&["hunter2", "correct horse"]);
        let text = b"a hunter2 b correct horse hunter2hunter2 hunter";
        for size in 1..=text.len() {
            let expected = "a [redacted] b [redacted] [redacted][redacted] hunter";
            let found = in_pieces(&redactor, text, size);
            assert!(
                found == expected || found == expected.replace("[redacted][redacted]", "[redacted]"),
                "pieces of {size}: {found}"
            );
        }
    }

    #[test]
    fn overlapping_secrets_are_masked_as_a_whole() {
        assert_eq!(redactor(&["abcdef", "defghi"]).redact("xabcdefghiy"), "x[redacted]y");
    }

    #[test]
    fn encoded_forms_are_masked() {
        let redactor = redactor(&["s3cr&t pass/wörd"]);
        for text in [
            STANDARD_NO_PAD.encode("s3cr&t pass/wörd"),
            URL_SAFE_NO_PAD.encode("s3cr&t pass/wörd"),
            "s3cr%26t%20pass%2Fw%C3%B6rd".to_owned(),
            "s3cr%26t+pass%2Fw%C3%B6rd".to_owned(),
            "s3cr%26t+pass%2fw%c3%b6rd".to_owned(),
            hex::encode("s3cr&t pass/wörd"),
        ] {
            assert_eq!(redactor.redact(&format!("<{text}>")), "<[redacted]>", "{text}");
        }
    }

    #[test]
    fn base64_of_a_text_around_the_secret_gives_nothing_of_its_inside_away() {
        let redactor = redactor(&["correct-horse"]);
        for before in ["", "u:", "user:", "admin:"] {
            let header = STANDARD_NO_PAD.encode(format!("{before}correct-horse!"));
            let masked = redactor.redact(&header);
            assert!(masked.contains(MASK), "{masked}");
            assert!(masked.len() < before.len() * 2 + MASK.len() + 8, "{masked}");
        }
    }

    #[test]
    fn the_password_inside_a_url_is_a_secret_too() {
        let redactor = redactor(&["postgres://ace:p%40ss-word@db/ace"]);
        assert_eq!(redactor.redact("password=p@ss-word, p%40ss-word"), "password=[redacted], [redacted]");
        assert_eq!(redactor.redact("postgres://ace:p%40ss-word@db/ace"), MASK);
    }

    #[test]
    fn in_prose_a_short_secret_is_a_word() {
        let redactor = Redactor::for_prose(["dev", "hunter2", "postgres://ace:db@host/ace"].map(SecretString::from));
        assert_eq!(redactor.redact("the developer's db: hunter2"), "the developer's db: [redacted]");
        assert_eq!(redactor.redact("postgres://ace:db@host/ace"), MASK);
    }

    #[test]
    fn debug_output_names_no_secret() {
        assert_eq!(format!("{:?}", redactor(&["hunter2"])), "Redactor(1 secrets)");
    }

    proptest! {
        #[test]
        fn no_secret_survives_any_cutting(
            secrets in prop::collection::vec("[ab]{2,5}", 1..4),
            text in "[abc]{0,60}",
            size in 1_usize..12,
        ) {
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let masked = in_pieces(&redactor(&secrets), text.as_bytes(), size);
            let left = masked.replace(MASK, "#");
            for secret in secrets {
                prop_assert!(!left.contains(secret), "{secret} in {left} from {text}");
            }
            // What is no part of a secret stays, in order.
            prop_assert_eq!(left.matches('c').count(), text.matches('c').count());
        }
    }
}

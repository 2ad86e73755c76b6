//! The chain: what a record's hash covers.
//!
//! Every record's hash covers the one before it, over the whole journal and not per stream, so that a
//! removed stream leaves a hole as a removed record does. The encoding is unambiguous: every field is
//! preceded by its length, so no two different records have the same bytes before hashing.

use sha2::{Digest, Sha256};

use crate::domain::Hash;

/// Parts these hashes from any other SHA-256 in the system, and one version of the encoding from the next.
const DOMAIN: &[u8] = b"pointsman journal v1";

/// The fields of a record as they are stored, whether or not they make sense: the audit hashes raw rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link<'a> {
    pub(super) prev: &'a Hash,
    pub(super) position: i64,
    pub(super) stream: &'a [u8],
    pub(super) seq: i64,
    /// Milliseconds since 1970, UTC.
    pub(super) at_ms: i64,
    pub(super) kind: &'a [u8],
    pub(super) body: &'a [u8],
}

impl Link<'_> {
    /// The hash that the record must carry.
    pub(super) fn hash(&self) -> Hash {
        let mut digest = Sha256::new();
        self.encode(|bytes| digest.update(bytes));
        Hash::from_bytes(digest.finalize().into())
    }

    /// Feeds the encoding to `sink`, piece by piece: a body of megabytes is not copied.
    fn encode(&self, mut sink: impl FnMut(&[u8])) {
        let fields: [&[u8]; 8] = [
            DOMAIN,
            self.prev.as_bytes(),
            &self.position.to_be_bytes(),
            self.stream,
            &self.seq.to_be_bytes(),
            &self.at_ms.to_be_bytes(),
            self.kind,
            self.body,
        ];
        for field in fields {
            sink(&(field.len() as u64).to_be_bytes());
            sink(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(link: &Link<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        link.encode(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// Splits an encoding into its fields again, knowing nothing but that each has its length before it.
    fn decoded(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_at(8);
            let length = usize::try_from(u64::from_be_bytes(length.try_into().unwrap())).unwrap();
            let (field, rest) = rest.split_at(length);
            fields.push(field.to_vec());
            bytes = rest;
        }
        fields
    }

    proptest! {
        /// What can be decoded to exactly what was encoded cannot be the encoding of anything else.
        #[test]
        fn the_encoding_is_unambiguous(
            prev in any::<[u8; 32]>(),
            (position, seq, at_ms) in any::<(i64, i64, i64)>(),
            (stream, kind, body) in any::<(Vec<u8>, Vec<u8>, Vec<u8>)>(),
        ) {
            let prev = Hash::from_bytes(prev);
            let link = Link { prev: &prev, position, stream: &stream, seq, at_ms, kind: &kind, body: &body };
            prop_assert_eq!(decoded(&encoded(&link)), vec![
                DOMAIN.to_vec(),
                prev.as_bytes().to_vec(),
                position.to_be_bytes().to_vec(),
                stream.clone(),
                seq.to_be_bytes().to_vec(),
                at_ms.to_be_bytes().to_vec(),
                kind.clone(),
                body.clone(),
            ]);
        }

        #[test]
        fn moving_a_byte_between_neighbouring_fields_changes_the_hash(text in "[a-z]{2,20}", cut in 1_usize..20) {
            let cut = cut.min(text.len() - 1);
            let link = |kind: &str, body: &str| {
                Link { prev: &Hash::GENESIS, position: 1, stream: b"run/a", seq: 1, at_ms: 0,
                       kind: kind.as_bytes(), body: body.as_bytes() }.hash()
            };
            prop_assert_ne!(link(&text[..cut], &text[cut..]), link(&text, ""));
            prop_assert_ne!(link(&text[..cut], &text[cut..]), link("", &text));
        }
    }

    /// The format is for ever: a journal written today must verify with every later version.
    #[test]
    fn the_hash_of_a_known_record_never_changes() {
        let link = Link {
            prev: &Hash::GENESIS,
            position: 1,
            stream: b"run/run-k3f9w2mx",
            seq: 1,
            at_ms: 1_795_219_200_000,
            kind: b"Requested",
            body: br#"{"by":"ada"}"#,
        };
        // Computed independently, with Python's hashlib over struct.pack(">Q", len(field)) + field.
        assert_eq!(link.hash().to_string(), "b31a30083a2d11f0ca0370774e21cfb94d7e9c0b3de3caa17f253d96765144ca");
    }
}

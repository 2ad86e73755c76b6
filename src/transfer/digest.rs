//! Two digests with different jobs.
//!
//! [`Running`] tells on resume whether the rows that are already in the target are still the rows of the
//! source: fast, sequential, its whole state is one number that fits into a checkpoint row.
//! [`Content`] compares two tables whose rows come in any order: the sum of the rows' SHA-256, so that a
//! changed, missing, additional or doubled row shows.

use sha2::{Digest as _, Sha256};

/// A sequential digest whose state can be stored and taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Running(pub(super) u64);

impl Running {
    /// Takes in one row. Row boundaries count: `ab|c` and `a|bc` differ.
    pub(super) fn update(&mut self, row: &[u8]) {
        let mut state = fold(self.0 ^ 0x9e37_79b9_7f4a_7c15, row.len() as u64 ^ 0xd1b5_4a32_d192_ed03);
        let (words, rest) = row.as_chunks::<8>();
        for word in words {
            state = fold(state ^ u64::from_le_bytes(*word), 0xa076_1d64_78bd_642f);
        }
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.0 = fold(state ^ u64::from_le_bytes(last), 0xe703_7ed1_a0b4_28db);
    }
}

/// Multiplies to 128 bits and folds the halves: the mixing step of wyhash.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a | 1).wrapping_mul(u128::from(b)) ^ (u128::from(a) << 17);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken on purpose")]
    let folded = (product as u64) ^ ((product >> 64) as u64);
    folded
}

/// The order-free digest of a multiset of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Content {
    sum: u128,
    /// Rows taken in.
    pub(super) rows: u64,
}

impl Content {
    /// Adds one row by its [`row_hash`].
    pub(super) fn add(&mut self, hash: u128) {
        self.sum = self.sum.wrapping_add(hash);
        self.rows += 1;
    }

    /// 32 hex digits.
    pub(super) fn to_hex(self) -> String {
        format!("{:032x}", self.sum)
    }
}

/// The first half of the SHA-256 of a row's canonical bytes.
pub(super) fn row_hash(row: &[u8]) -> u128 {
    let digest = Sha256::digest(row);
    let mut half = [0u8; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(rows: &[&[u8]]) -> Running {
        let mut state = Running::default();
        rows.iter().for_each(|row| state.update(row));
        state
    }

    #[test]
    fn a_running_digest_sees_order_boundaries_and_every_byte() {
        let base = running(&[b"hello world, row one", b"two"]);
        assert_ne!(base, running(&[b"two", b"hello world, row one"]));
        assert_ne!(base, running(&[b"hello world, row onet", b"wo"]));
        assert_ne!(base, running(&[b"hello world, row one", b"two", b""]));
        for index in 0..20 {
            let mut row = b"hello world, row one".to_vec();
            row[index] ^= 1;
            assert_ne!(base, running(&[&row, b"two"]), "byte {index}");
        }
        assert_ne!(running(&[&[0; 8]]), running(&[&[0; 16]]));
    }

    #[test]
    fn a_content_digest_ignores_order_but_not_repetition() {
        let digest = |rows: &[&[u8]]| {
            let mut content = Content::default();
            rows.iter().for_each(|row| content.add(row_hash(row)));
            content
        };
        assert_eq!(digest(&[b"a", b"b"]), digest(&[b"b", b"a"]));
        assert_ne!(digest(&[b"a", b"b"]), digest(&[b"a", b"b", b"b"]));
    }
}

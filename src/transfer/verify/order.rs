//! The order in which both databases can give the rows of a table, and the checksum over rows in that order.
//!
//! The order is that of the primary key: numbers by value, text and bytes by their bytes. Each side sorts by its own means,
//! and every row is checked to come after the one before it; where a side cannot keep the order (text in a column of
//! numbers, a collation), there is no ordered checksum, and the report says so.

use sha2::{Digest as _, Sha256};

use super::side::Fields;
use crate::transfer::kind::Kind;
use crate::transfer::plan::TablePlan;
use crate::transfer::source::{RowKey, quoted};

/// The lists after `ORDER BY` on the two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// `None` where SQLite walks the table in this order anyway.
    pub(super) source: Option<String>,
    pub(super) target: String,
}

impl Order {
    /// The common order of a table, or why there is none.
    pub(super) fn of(table: &TablePlan) -> Result<Self, String> {
        let Some(positions) = table.key_positions() else {
            return Err("it has no primary key".to_owned());
        };
        let columns: Vec<_> = positions.iter().map(|position| &table.columns[*position]).collect();
        if let Some(column) = columns.iter().find(|column| !has_one_order(&column.kind)) {
            return Err(format!("the two databases sort `{}` ({}) differently", column.name, column.type_name));
        }
        let walked = match &table.source.key {
            RowKey::Primary => true,
            RowKey::Rowid(alias) => columns.len() == 1 && columns[0].name == *alias,
        };
        let source = columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
        let target = columns.iter().map(|column| match column.kind {
            Kind::Text(_) => format!("{}::text COLLATE \"C\"", quoted(&column.target)),
            _ => quoted(&column.target),
        });
        Ok(Self { source: (!walked).then_some(source), target: target.collect::<Vec<_>>().join(", ") })
    }
}

/// Whether SQLite and PostgreSQL sort values of this kind alike, as far as SQLite holds them in one spelling.
fn has_one_order(kind: &Kind) -> bool {
    match kind {
        Kind::Bool
        | Kind::Int2
        | Kind::Int4
        | Kind::Int8
        | Kind::Float4
        | Kind::Float8
        | Kind::Text(_)
        | Kind::Bytea
        | Kind::Timestamp(_)
        | Kind::TimestampTz(_)
        | Kind::Date
        | Kind::Time(_)
        | Kind::Uuid => true,
        Kind::Numeric(_) | Kind::Char(_) | Kind::Json | Kind::Jsonb | Kind::Enum(_) | Kind::Other => false,
    }
}

/// Takes rows in one after the other.
pub(super) struct Ordered {
    /// The columns of the key, in the key's order.
    key: Vec<(usize, Class)>,
    previous: Vec<Vec<u8>>,
    current: Vec<Vec<u8>>,
    first: bool,
    in_order: bool,
    hasher: Sha256,
}

impl Ordered {
    /// For a table that has an [`Order`].
    pub(super) fn new(table: &TablePlan) -> Self {
        let key: Vec<_> = table
            .key_positions()
            .into_iter()
            .flatten()
            .map(|position| (position, class(&table.columns[position].kind)))
            .collect();
        let empty = vec![Vec::new(); key.len()];
        Self { previous: empty.clone(), current: empty, key, first: true, in_order: true, hasher: Sha256::new() }
    }

    /// Takes in a row by its fields and the hash of all of it.
    pub(super) fn add(&mut self, row: &[u8], hash: u128) {
        let end = self.key.iter().map(|(position, _)| position + 1).max().unwrap_or(0);
        for (position, field) in Fields(row).enumerate().take(end) {
            for (slot, (_, class)) in self.key.iter().enumerate().filter(|(_, (column, _))| *column == position) {
                self.current[slot].clear();
                match field {
                    Some(bytes) => write_sortable(&mut self.current[slot], *class, bytes),
                    None => self.in_order = false,
                }
            }
        }
        self.in_order &= self.first || self.previous < self.current;
        self.first = false;
        std::mem::swap(&mut self.previous, &mut self.current);
        self.hasher.update(hash.to_be_bytes());
    }

    /// 32 hex digits; `None` when a row came out of order.
    pub(super) fn finish(self) -> Option<String> {
        self.in_order.then(|| hex::encode(&self.hasher.finalize()[..16]))
    }
}

/// How the binary form of a kind sorts.
#[derive(Debug, Clone, Copy)]
enum Class {
    Signed,
    Float,
    Bytes,
}

fn class(kind: &Kind) -> Class {
    match kind {
        Kind::Int2 | Kind::Int4 | Kind::Int8 | Kind::Timestamp(_) | Kind::TimestampTz(_) | Kind::Date | Kind::Time(_) => {
            Class::Signed
        }
        Kind::Float4 | Kind::Float8 => Class::Float,
        Kind::Bool
        | Kind::Text(_)
        | Kind::Bytea
        | Kind::Uuid
        | Kind::Numeric(_)
        | Kind::Char(_)
        | Kind::Json
        | Kind::Jsonb
        | Kind::Enum(_)
        | Kind::Other => Class::Bytes,
    }
}

/// Writes big-endian numbers so that comparing their bytes compares their values.
fn write_sortable(out: &mut Vec<u8>, class: Class, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    let Some(first) = out.first().copied() else { return };
    match class {
        Class::Float if first & 0x80 != 0 => out.iter_mut().for_each(|byte| *byte = !*byte),
        Class::Signed | Class::Float => out[0] = first ^ 0x80,
        Class::Bytes => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sortable(class: Class, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_sortable(&mut out, class, bytes);
        out
    }

    #[test]
    fn numbers_sort_by_value() {
        let integers = [i64::MIN, -2, -1, 0, 1, 255, 256, i64::MAX].map(|number| sortable(Class::Signed, &number.to_be_bytes()));
        assert!(integers.is_sorted_by(|a, b| a < b));
        let reals = [f64::NEG_INFINITY, -1.5, -1e-300, 0.0, 1e-300, 2.0, f64::INFINITY]
            .map(|number| sortable(Class::Float, &number.to_be_bytes()));
        assert!(reals.is_sorted_by(|a, b| a < b));
    }

    fn checksum(keys: &[i32]) -> Option<String> {
        let mut ordered = Ordered {
            key: vec![(1, Class::Signed)],
            previous: vec![Vec::new()],
            current: vec![Vec::new()],
            first: true,
            in_order: true,
            hasher: Sha256::new(),
        };
        for key in keys {
            let mut row = vec![0, 0, 0, 1, b'x', 0, 0, 0, 4];
            row.extend_from_slice(&key.to_be_bytes());
            ordered.add(&row, u128::from(key.unsigned_abs()));
        }
        ordered.finish()
    }

    #[test]
    fn a_checksum_sees_the_order_and_refuses_disorder() {
        assert_ne!(checksum(&[-2, 1]), checksum(&[-1, 2]));
        assert_eq!(checksum(&[-2, 1]), checksum(&[-2, 1]));
        assert_eq!(checksum(&[1, -2]), None);
        assert_eq!(checksum(&[1, 1]), None, "a key occurs once");
    }
}

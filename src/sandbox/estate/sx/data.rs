//! A profile's SQLite file: the same for the same seed.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};

/// The tables of a profile, parents first; the same names in SQLite and in PostgreSQL.
pub(super) const TABLES: [&str; 3] = ["items", "item_meta", "notes"];
/// The tables with what people wrote, which no scan of the assets would bring back.
pub(super) const USER_OWNED: [&str; 2] = ["item_meta", "notes"];

const SCHEMA: &str = "
CREATE TABLE items (
    id INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, title TEXT NOT NULL, kind TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE item_meta (item_id INTEGER PRIMARY KEY REFERENCES items (id), meta JSON NOT NULL);
CREATE TABLE notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, item_id INTEGER NOT NULL REFERENCES items (id), body TEXT NOT NULL,
    pinned BOOLEAN NOT NULL DEFAULT 0, created_at TEXT NOT NULL
);
CREATE INDEX ix_notes_item ON notes (item_id);";

const NOUNS: [&str; 6] = ["bridge", "harbour", "signal box", "goods yard", "turntable", "level crossing"];
const KINDS: [&str; 4] = ["photo", "scan", "drawing", "report"];
/// What trips careless imports, one each in turn.
const ODD: [&str; 5] = ["O'Brien's \"best\"", "tab\there, line\nthere", "C:\\temp\\new", "駅 — ☕ \u{1F682}", ""];

/// Writes a new file with `items` items of the profile `source`, metadata for a third of them, and notes on some.
///
/// # Errors
/// It cannot be written; what was begun is left for a look.
pub(super) fn generate(path: &Path, source: &str, items: u32, seed: u64) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")?;
    connection.execute_batch(SCHEMA)?;
    let transaction = connection.transaction()?;
    for id in 1..=items {
        insert(&transaction, source, id, mix(seed ^ u64::from(id)))?;
    }
    transaction.commit()?;
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")
}

fn insert(transaction: &Transaction<'_>, source: &str, id: u32, dice: u64) -> rusqlite::Result<()> {
    let pick = |list: &[&'static str], shift: u32| list[(dice >> shift) as usize % list.len()];
    let title = format!("{} {id}", pick(&NOUNS, 0));
    let at = format!("2025-03-{:02}T{:02}:{:02}:{:02}.{:06}+00:00", 1 + dice % 28, id % 24, id % 60, dice % 60, dice % 1_000_000);
    let size = i64::try_from(dice % 5_000_000_000).unwrap_or(0);
    let mut add = transaction.prepare("INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    add.execute(params![id, format!("{source}-{id:06}"), title, pick(&KINDS, 8), size, at])?;
    if id.is_multiple_of(3) {
        let meta =
            serde_json::json!({ "rating": dice % 6, "tags": [pick(&KINDS, 16), "n°7"], "hint": pick(&ODD, 24), "seen": null });
        let mut add = transaction.prepare("INSERT INTO item_meta VALUES (?1, ?2)")?;
        add.execute(params![id, meta.to_string()])?;
    }
    if id.is_multiple_of(5) {
        let mut add = transaction.prepare("INSERT INTO notes (item_id, body, pinned, created_at) VALUES (?1, ?2, ?3, ?4)")?;
        add.execute(params![id, pick(&ODD, 32), dice.is_multiple_of(4), at])?;
    }
    Ok(())
}

/// Numbers that look like chance: the finaliser of SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

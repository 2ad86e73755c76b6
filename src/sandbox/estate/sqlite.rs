//! The practice application's SQLite database: realistic, clean, and the same for the same seed.
//!
//! Clean means that every row fits the PostgreSQL schema in `runbooks/scripts/ace-schema.sql`. It is not
//! tame: the texts hold what real ones do (quotes, tabs, newlines, backslashes, other scripts, emoji,
//! empty strings), JSON nests, numbers reach their limits, ids have gaps, and what may be NULL sometimes is.

use std::path::Path;

use chrono::{Datelike, Timelike};
use rusqlite::{Connection, OpenFlags, Transaction, params};

/// The most rows that the generator makes: what fits a laptop's disk (about 1 KB each with indexes).
pub const ROWS_MAX: u32 = 10_000_000;
/// One cluster for so many playbook entries.
const ENTRIES_PER_CLUSTER: u32 = 40;
/// 2025-01-01T00:00:00Z, when the practice data begins, in seconds since 1970.
const EPOCH_SECS: i64 = 1_735_689_600;
/// What the practice data covers: 300 days.
const SPAN_SECS: u64 = 300 * 86_400;

/// How many rows a generated database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generated {
    /// Rows of `clusters`.
    pub clusters: u32,
    /// Rows of `playbook_entries`.
    pub playbook_entries: u32,
}

const TABLES: &str = "
CREATE TABLE clusters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL, tenant_id TEXT NOT NULL, domain TEXT NOT NULL,
    label TEXT NOT NULL, summary TEXT, confidence REAL NOT NULL, is_active BOOLEAN NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE playbook_entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL, cluster_id INTEGER REFERENCES clusters (id),
    tenant_id TEXT NOT NULL, domain TEXT NOT NULL, content TEXT NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('shadow', 'staging', 'production')),
    helpful_count INTEGER NOT NULL DEFAULT 0, harmful_count INTEGER NOT NULL DEFAULT 0, confidence REAL NOT NULL,
    is_pinned BOOLEAN NOT NULL DEFAULT 0, embedding BLOB, metadata JSON NOT NULL DEFAULT '{}',
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, last_used_at TEXT
);";

/// Made after the rows: filling sorted indexes row by row takes several times as long.
const INDEXES: &str = "
CREATE UNIQUE INDEX ix_clusters_uuid ON clusters (uuid);
CREATE UNIQUE INDEX ix_playbook_entries_uuid ON playbook_entries (uuid);
CREATE INDEX ix_clusters_tenant_domain ON clusters (tenant_id, domain);
CREATE INDEX ix_playbook_entries_cluster_id ON playbook_entries (cluster_id);
CREATE INDEX ix_playbook_entries_tenant_stage ON playbook_entries (tenant_id, domain, stage);";

/// Writes a new database with `rows` playbook entries (at most [`ROWS_MAX`]) and their clusters.
/// The same `rows` and `seed` give the same content.
///
/// # Errors
/// `path` exists already, or cannot be written. What was begun is left for a look.
pub fn generate(path: &Path, rows: u32, seed: u64) -> rusqlite::Result<Generated> {
    if path.exists() {
        let reason = format!("{} exists already", path.display());
        return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN), Some(reason)));
    }
    let rows = rows.min(ROWS_MAX);
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // Nobody reads a file that is half made, so nothing needs to survive a crash.
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;")?;
    connection.execute_batch(TABLES)?;
    let transaction = connection.transaction()?;
    let mut dice = Dice::new(seed);
    let clusters = (rows / ENTRIES_PER_CLUSTER).max(1);
    insert_clusters(&transaction, clusters, &mut dice)?;
    insert_entries(&transaction, rows, clusters, &mut dice)?;
    transaction.execute_batch(INDEXES)?;
    transaction.commit()?;
    // As the application keeps it.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE); ANALYZE;")?;
    Ok(Generated { clusters, playbook_entries: rows })
}

fn insert_clusters(transaction: &Transaction<'_>, count: u32, dice: &mut Dice) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare("INSERT INTO clusters VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    for id in 1..=count {
        let created = dice.below(SPAN_SECS);
        let summary = dice.one_in(5).then(|| dice.sentence());
        insert.execute(params![
            id,
            dice.uuid(),
            dice.pick(TENANTS),
            dice.pick(DOMAINS),
            format!("{} {}", dice.pick(SUBJECTS), id),
            summary,
            dice.unit(),
            !dice.one_in(12),
            instant(created, dice.below(1_000_000)),
            instant(created + dice.below(86_400), dice.below(1_000_000)),
        ])?;
    }
    Ok(())
}

fn insert_entries(transaction: &Transaction<'_>, count: u32, clusters: u32, dice: &mut Dice) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare("INSERT INTO playbook_entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)")?;
    let mut id = 0_i64;
    for number in 0..count {
        // Deleted rows leave gaps.
        id += if dice.one_in(50) { 2 } else { 1 };
        let created = dice.below(SPAN_SECS);
        let cluster = (!dice.one_in(20)).then(|| 1 + dice.below(u64::from(clusters)));
        let embedding = (!dice.one_in(10)).then(|| dice.bytes());
        let used = (!dice.one_in(4)).then(|| instant(created + dice.below(86_400), 0));
        insert.execute(params![
            id,
            dice.uuid(),
            cluster.map(|cluster| i64::try_from(cluster).unwrap_or(1)),
            dice.pick(TENANTS),
            dice.pick(DOMAINS),
            dice.content(number),
            dice.pick(STAGES),
            dice.count(),
            dice.count(),
            dice.unit(),
            dice.one_in(30),
            embedding.as_ref().map(<[u8; 32]>::as_slice),
            dice.metadata(number),
            instant(created, dice.below(1_000_000)),
            instant(created + dice.below(86_400), dice.below(1_000_000)),
            used,
        ])?;
    }
    Ok(())
}

/// ISO 8601 with microseconds and offset, as Python's `isoformat` writes it.
fn instant(secs: u64, micros: u64) -> String {
    let secs = EPOCH_SECS + i64::try_from(secs).unwrap_or(0);
    let at = chrono::DateTime::from_timestamp(secs, 0).unwrap_or_default();
    // Three of these per row: reading a format string anew each time would cost more than all the rest.
    let (year, month, day) = (at.year(), at.month(), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+00:00")
}

const TENANTS: &[&str] = &["acme", "globex", "initech", "umbrella", "tenant-äöü"];
const DOMAINS: &[&str] = &["support", "billing", "devops", "security", "sales", "legal"];
const STAGES: &[&str] = &["shadow", "staging", "production", "production"];
const SUBJECTS: &[&str] = &[
    "When a refund is asked for",
    "Before a deployment",
    "If the API answers 429",
    "For a locked account",
    "On a failed import",
];
const ADVICE: &[&str] = &[
    "check the newest invoice first",
    "read the last three log lines",
    "ask for the order's number",
    "retry with backoff, never in a loop",
    "look for an open incident",
    "never promise a date",
];
/// What trips careless exports, one each in turn.
const ODD: &[&str] = &[
    "O'Brien said \"no\"",
    "tab\there",
    "line one\nline two",
    "C:\\temp\\new",
    "naïve café — ☕",
    "日本語のメモ",
    "{\"not\": \"json\"}",
    "a,b;c|d",
    "\\N",
    "100 % \u{1F680}",
    "",
];

/// A small, fast, seeded source (SplitMix64): the data needs to look random, not be unguessable.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap_or(0)]
    }

    /// 0 to below 1, with all 53 bits, so that a careless 15-digit print changes it.
    fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
        let bits = (self.next() >> 11) as f64;
        bits / (1_u64 << 53) as f64
    }

    fn count(&mut self) -> i32 {
        if self.one_in(5_000) { i32::MAX } else { i32::try_from(self.below(200)).unwrap_or(0) }
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        bytes
    }

    /// A version 4 UUID in its usual spelling.
    fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        let node = low & 0xFFFF_FFFF_FFFF;
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{node:012x}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFF,
            0x8000 | ((low >> 48) & 0x3FFF)
        )
    }

    fn sentence(&mut self) -> String {
        format!("{}, {}.", self.pick(SUBJECTS), self.pick(ADVICE))
    }

    fn content(&mut self, number: u32) -> String {
        if self.one_in(20) {
            return ODD[number as usize % ODD.len()].to_owned();
        }
        let mut text = self.sentence();
        for _ in 0..self.below(4) {
            text.push(' ');
            text.push_str(&self.sentence());
        }
        text
    }

    fn metadata(&mut self, number: u32) -> String {
        if self.one_in(15) {
            return "{}".to_owned();
        }
        let (score, tag) = (self.below(1_000), self.pick(DOMAINS));
        format!(
            r#"{{"source": "import-{}", "score": {score}, "tags": ["{tag}", "n{}"], "review": {{"done": {}, "by": null}}}}"#,
            number % 97,
            number % 7,
            score % 2 == 0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_and_instants_have_their_usual_spelling() {
        let uuid = Dice::new(1).uuid();
        assert_eq!((uuid.len(), &uuid[14..15], uuid.matches('-').count()), (36, "4", 4));
        assert_eq!(instant(61, 5), "2025-01-01T00:01:01.000005+00:00");
    }
}

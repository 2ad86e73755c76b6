//! The schema's versions. A file here is never changed once released, not even its comments: what was applied
//! is compared by checksum.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const SQLITE_0001: &str = include_str!("migrations/sqlite/0001_journal.sql");
const POSTGRES_0001: &str = include_str!("migrations/postgres/0001_journal.sql");

/// The newest version in both lists below.
pub(super) const NEWEST: i64 = 1;

/// The schema in SQLite.
pub(super) fn sqlite() -> Migrator {
    migrator(&[(1, "journal", SQLITE_0001)])
}

/// The schema in PostgreSQL.
pub(super) fn postgres() -> Migrator {
    migrator(&[(1, "journal", POSTGRES_0001)])
}

fn migrator(files: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(files.iter().map(migration).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_have_the_same_versions() {
        let versions = |migrator: &Migrator| migrator.iter().map(|one| one.version).collect::<Vec<_>>();
        assert_eq!(versions(&sqlite()), versions(&postgres()));
        assert_eq!(versions(&sqlite()).last(), Some(&NEWEST));
    }
}

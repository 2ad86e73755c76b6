//! Where a journal is: the one setting, parsed, and shown without its password.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::error::StoreError;

/// A parsed journal address. `Display` never shows the password.
#[derive(Clone)]
pub(super) enum Address {
    /// A file of its own.
    Sqlite(PathBuf),
    /// A database on a server. The URL holds the password: it is for the driver alone.
    Postgres(Url),
}

const HOW: &str = "write `sqlite:/path/to/journal.db`, a plain path, or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`";

impl Address {
    /// # Errors
    /// [`StoreError::Address`], which quotes the scheme at most: the rest may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let text = text.trim();
        match scheme(text) {
            Some("postgres" | "postgresql") => parse_postgres(text),
            Some("sqlite") => {
                let path = &text["sqlite:".len()..];
                parse_sqlite(path.strip_prefix("//").unwrap_or(path))
            }
            Some(other) => refuse(format!("`{other}:` is no database that pointsman knows; {HOW}")),
            None => parse_sqlite(text),
        }
    }
}

fn refuse<T>(reason: String) -> Result<T, StoreError> {
    Err(StoreError::Address { reason })
}

/// What stands before the first colon, if it could be a scheme or the start of credentials.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    (!scheme.is_empty() && !scheme.contains('/')).then_some(scheme)
}

fn parse_sqlite(path: &str) -> Result<Address, StoreError> {
    if path.is_empty() || path == ":memory:" {
        return refuse(format!("a journal needs a file that outlives the process; {HOW}"));
    }
    if path.contains(['?', '#', '\0']) {
        return refuse("a SQLite path takes no options: leave out `?` and what follows".to_owned());
    }
    Ok(Address::Sqlite(PathBuf::from(path)))
}

fn parse_postgres(text: &str) -> Result<Address, StoreError> {
    let Ok(url) = Url::parse(text) else {
        return refuse(format!("it is no valid URL (are special characters in the password percent-encoded?); {HOW}"));
    };
    if url.username().is_empty() {
        // The driver would log in as `anonymous`, or as whoever the process happens to be.
        return refuse(format!("the PostgreSQL URL names no user; {HOW}"));
    }
    if url.path().trim_matches('/').is_empty() {
        return refuse(format!("the PostgreSQL URL names no database; {HOW}"));
    }
    Ok(Address::Postgres(url))
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "{}", path.display()),
            Self::Postgres(url) => {
                // Put together from what may be shown: a query, too, can hold a password.
                write!(formatter, "postgres://{}@{}", url.username(), url.host_str().unwrap_or("localhost"))?;
                if let Some(port) = url.port() {
                    write!(formatter, ":{port}")?;
                }
                formatter.write_str(url.path())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_be_written_in_four_ways() {
        for (text, path) in [
            ("/var/lib/p/journal.db", "/var/lib/p/journal.db"),
            ("sqlite:/var/lib/p/journal.db", "/var/lib/p/journal.db"),
            ("sqlite:///var/lib/p/journal.db", "/var/lib/p/journal.db"),
            ("sqlite:journal.db", "journal.db"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), path, "{text}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let shown = Address::parse("postgres://ada:hunter2@db:5433/journal?password=hunter2&sslmode=require").unwrap();
        assert_eq!(shown.to_string(), "postgres://ada@db:5433/journal");
        for text in [
            "postgres://:hunter2@db/journal",
            "postgres://ada:hunter2@db",
            "postgres://ada:hunter2@db:port/journal",
            "mysql://ada:hunter2@db/journal",
            "postgres:hunter2",
            "ada:hunter2@db/journal",
        ] {
            let error = Address::parse(text).err().expect(text).to_string();
            assert!(!error.contains("hunter2"), "{text}: {error}");
            assert!(error.contains("write `sqlite:"), "it says how to write it: {error}");
        }
    }

    #[test]
    fn a_journal_in_memory_or_with_options_is_refused() {
        for text in ["", "sqlite:", "sqlite::memory:", ":memory:", "sqlite:/a.db?mode=memory"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}

//! `postgres.dump` and `postgres.restore`: by pg_dump and pg_restore, proven by counting and comparing.
//!
//! An exit status proves nothing about a dump: it counts when it has been restored and every table has the same
//! rows, by number and by a checksum of their content, that the server computes on each side.

mod census;
mod dump;
mod restore;
mod scratch;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::action::Trouble;
use super::process::Command;
use super::target::{CONNECT_TIMEOUT, PostgresAddress};
use census::Census;

pub(super) use dump::Dump;
pub(super) use restore::Restore;

/// What is written beside a dump: what it must hold, and by which bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// The run and the step that made it: an attempt after a crash knows its own dump by it.
    made_by: String,
    /// The dump's own path, when it was made.
    path: String,
    /// How it is stored.
    format: Format,
    /// Of all its bytes.
    sha256: String,
    /// How many they are.
    bytes: u64,
    /// The database that it is of.
    database: String,
    /// Its tables.
    census: Census,
}

/// How a dump is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::actions) enum Format {
    /// One compressed file.
    #[default]
    Custom,
    /// A directory with a file for each table, which several processes write at once.
    Directory,
}

/// Where the manifest of a dump is.
fn manifest_path(dump: &Path) -> PathBuf {
    let mut name = dump.as_os_str().to_owned();
    name.push(".manifest.json");
    PathBuf::from(name)
}

/// A program of PostgreSQL, told by environment where to connect: an argument could be read by every user.
fn program(name: &str, address: &PostgresAddress) -> Command {
    let mut command = Command::new(name)
        .arg("--no-password")
        .env("PGHOST", address.host.trim_start_matches('[').trim_end_matches(']'))
        .env("PGPORT", address.port.to_string())
        .env("PGUSER", &address.user)
        .env("PGDATABASE", &address.database)
        .env("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT.as_secs().to_string())
        .env("PGAPPNAME", "pointsman")
        .env("PGPASSFILE", "/dev/null");
    for (variable, value) in &address.tls {
        command = command.env(variable, value);
    }
    match &address.password {
        Some(password) => command.secret_env("PGPASSWORD", password.clone()),
        None => command,
    }
}

/// An absolute path without `..`.
fn plain_path(key: &str, text: &str) -> Result<PathBuf, Trouble> {
    let path = PathBuf::from(text);
    let plain = path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if plain && path.file_name().is_some() {
        return Ok(path);
    }
    Err(Trouble::lasting(format!("`{key}` must be an absolute path without `..`, and `{text}` is not; nothing was done")))
}

/// SHA-256 and size of a dump: of the file, or of the directory's files in the order of their names.
fn hash(path: &Path) -> io::Result<(String, u64)> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        files.sort();
    }
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut chunk = vec![0; 256 * 1024];
    for file in files {
        if path.is_dir() {
            hasher.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            hasher.update([0]);
        }
        let mut file = File::open(file)?;
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                length => {
                    hasher.update(&chunk[..length]);
                    bytes += length as u64;
                }
            }
        }
    }
    Ok((hex::encode(hasher.finalize()), bytes))
}

/// Makes a dump durable.
fn sync(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            File::open(entry?.path())?.sync_all()?;
        }
    }
    File::open(path)?.sync_all()
}

/// Removes a dump, whatever its format; what is not there is removed already.
fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Does blocking work on files.
async fn on_files<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Trouble> {
    let (owned, shown) = (path.to_owned(), path.display().to_string());
    let done = tokio::task::spawn_blocking(move || work(&owned)).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| Trouble::passing(format!("the dump {shown}: {error}")))
}

//! A run's own directory, where everything lives that is not in the journal.
//!
//! ```text
//! <data dir>/runs/run-k3f9w2mx/      0700, made when the run is planned or first acts
//!   pinned/<sha256>                  0400, the scripts and files of the plan, by content
//!   files/...                        fresh copies of a step's pinned files, under the paths that the runbook names
//!   output/<step>.<attempt>.log      what an attempt printed, redacted and bounded
//!   state/<name>.json                what an action must remember across a crash (never a secret)
//!   scratch/                         for actions' temporary files; kubectl's cache
//!   ...                              what steps write to `{{ run.dir }}`
//! ```
//!
//! Invariant: what is written here and needed later is durable before it is relied upon (file and
//! directory synced, then renamed into place).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::{Digest, RunId};

/// Where the directories of all runs are.
#[derive(Debug, Clone)]
pub struct RunDirectories {
    root: PathBuf,
}

impl RunDirectories {
    /// Directories under `data_dir`, the bot's own directory. Made absolute, for children run elsewhere.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Self { root: data_dir.join("runs") }
    }

    /// The directory of a run; it may not exist yet.
    #[must_use]
    pub fn of(&self, run: &RunId) -> RunDirectory {
        RunDirectory { path: self.root.join(run.as_str()) }
    }
}

/// The directory of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, readable by the bot alone, if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(&self) -> io::Result<()> {
        self.subdirectory("").map(|_| ())
    }

    /// A directory in it, made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn subdirectory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Where the pinned copy of these bytes is.
    #[must_use]
    pub fn pinned(&self, sha256: &Digest) -> PathBuf {
        self.path.join("pinned").join(sha256.to_string())
    }

    /// Remembers a value durably, unless there is one of this name already; returns what is remembered.
    pub(super) fn remember_first<T: Serialize + DeserializeOwned>(&self, name: &str, value: T) -> io::Result<T> {
        if let Some(known) = self.recall(name)? {
            return Ok(known);
        }
        let directory = self.subdirectory("state")?;
        write_durably(&directory, &format!("{name}.json"), &serde_json::to_vec(&value)?, 0o600)?;
        Ok(value)
    }

    /// Forgets what was remembered under this name.
    pub(super) fn forget(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join("state").join(format!("{name}.json"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What was remembered under this name, if anything was.
    pub(super) fn recall<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.path.join("state").join(format!("{name}.json"))) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Writes the files of a plan into the run's directory, durably. What is there with the right content stays.
/// To be called before the run's first event: from then on the run executes these copies.
///
/// # Errors
/// If they cannot be written; what was written by then does no harm.
pub fn pin_files(directory: &RunDirectory, files: &[(Digest, Vec<u8>)]) -> io::Result<()> {
    directory.create()?;
    if files.is_empty() {
        return Ok(());
    }
    let pinned = directory.subdirectory("pinned")?;
    for (sha256, bytes) in files {
        let there = fs::read(directory.pinned(sha256)).is_ok_and(|found| Digest::of_bytes(&found) == *sha256);
        if !there {
            write_durably(&pinned, &sha256.to_string(), bytes, 0o400)?;
        }
    }
    sync_directory(&directory.path)?;
    directory.path.parent().map_or(Ok(()), sync_directory)
}

/// Writes a file whole or not at all.
pub(super) fn write_durably(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let partial = directory.join(format!("{name}.partial"));
    let _ = fs::remove_file(&partial);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    fs::rename(&partial, directory.join(name))?;
    sync_directory(directory)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn directory(data: &Path) -> RunDirectory {
        RunDirectories::new(data).of(&RunId::from_random(7))
    }

    #[test]
    fn pinned_files_are_private_and_mended_when_they_are_not_what_they_should_be() {
        let data = tempfile::tempdir().unwrap();
        let directory = directory(data.path());
        let files = [(Digest::of_bytes(b"echo"), b"echo".to_vec())];
        pin_files(&directory, &files).unwrap();
        let path = directory.pinned(&files[0].0);
        assert_eq!(fs::read(&path).unwrap(), b"echo");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "evil").unwrap();
        pin_files(&directory, &files).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"echo");
    }

    #[test]
    fn the_first_value_that_is_remembered_stays() {
        let data = tempfile::tempdir().unwrap();
        let directory = directory(data.path());
        assert_eq!(directory.recall::<u32>("n").unwrap(), None);
        assert_eq!(directory.remember_first("n", 1).unwrap(), 1);
        assert_eq!(directory.remember_first("n", 2).unwrap(), 1);
        assert_eq!(directory.recall::<u32>("n").unwrap(), Some(1));
    }
}

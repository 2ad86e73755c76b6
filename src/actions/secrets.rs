//! Where secrets come from: the settings name them, an attempt that needs one resolves it.
//!
//! A secret is read when it is asked for and not before, so that a rotated file is seen, and it is never
//! part of a plan, a scope or a result.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

/// The longest secret that a file may hold, in bytes: certificates and kubeconfigs fit.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where one secret's value is.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// Given by environment; read once, with the settings.
    Value(SecretString),
    /// In a file, read each time; one line end at its end is not part of it.
    File(PathBuf),
}

/// The secrets that runbooks may name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets(Arc<BTreeMap<String, SecretSource>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a secret cannot be had. Names it, never shows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The settings do not know it.
    #[error(
        "the secret `{name}` is missing: add it under `secrets:` in the settings, by environment or file, and restart the bot"
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// Its file cannot be used.
    #[error("the secret `{name}` cannot be read from {}: {why}", path.display())]
    Unreadable {
        /// Its name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Secrets {
    /// The secrets of the settings, by name.
    #[must_use]
    pub fn new(sources: impl IntoIterator<Item = (String, SecretSource)>) -> Self {
        Self(Arc::new(sources.into_iter().collect()))
    }

    /// The names that runbooks may use, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Every secret's value as it is now. One that cannot be had is left out: nobody can look for what nobody knows.
    pub fn values(&self) -> impl Iterator<Item = SecretString> {
        self.0.keys().filter_map(|name| self.resolve(name).ok())
    }

    /// The secret's value as it is now.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn resolve(&self, name: &str) -> Result<SecretString, SecretError> {
        match self.0.get(name) {
            None => Err(SecretError::Unknown { name: name.to_owned() }),
            Some(SecretSource::Value(value)) => Ok(value.clone()),
            Some(SecretSource::File(path)) => {
                read(path).map_err(|why| SecretError::Unreadable { name: name.to_owned(), path: path.clone(), why })
            }
        }
    }
}

fn read(path: &PathBuf) -> Result<SecretString, String> {
    let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > SECRET_BYTES_MAX {
        return Err(format!("it holds {bytes} bytes, more than {SECRET_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(SecretString::from(text.strip_suffix('\r').unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_secret_comes_from_the_environment_or_afresh_from_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let sources =
            [("plain".to_owned(), SecretSource::Value("value".into())), ("file".to_owned(), SecretSource::File(path.clone()))];
        let secrets = Secrets::new(sources);
        assert_eq!(secrets.resolve("plain").unwrap().expose_secret(), "value");
        assert_eq!(secrets.resolve("file").unwrap().expose_secret(), "one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(secrets.resolve("file").unwrap().expose_secret(), "two");
        assert!(!format!("{secrets:?}").contains("value"));
    }

    #[test]
    fn a_missing_secret_is_named_with_the_next_step() {
        let error = Secrets::default().resolve("ace_dsn").unwrap_err().to_string();
        assert!(error.contains("`ace_dsn` is missing") && error.contains("`secrets:`"), "{error}");
    }
}

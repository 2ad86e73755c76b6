//! GitHub's issues, in our own types: one issue per marker, whatever happens in between.
//!
//! Invariants:
//! - Find before create: an issue is made only when no issue that was made since the draft's beginning carries its marker,
//!   as the list of issues shows it. Search is not used: it lags behind.
//! - A creation is sent once. When its answer is lost or cannot be read, the marker is looked for; nothing is sent again
//!   before the caller asks again.
//! - An issue that does not carry our mark is never written to.
//! - What people wrote, added, took away or closed stays so.
//! - Neither the token nor a text in which it stands leaves this room.
//!
//! Absent on purpose: repetition (the caller has a clock and a journal), projects, milestones, GitHub Apps.

mod calls;
mod client;
mod publish;
mod rights;
mod trouble;

use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::domain::RepositoryName;

pub use self::calls::Calls;
use self::client::Client;
pub use self::rights::Rights;
pub use self::trouble::{Reason, Trouble};

/// GitHub's own API. That of GitHub Enterprise Server is at `https://HOST/api/v3`.
/// Source: <https://docs.github.com/en/enterprise-server/rest/overview/resources-in-the-rest-api>.
pub const API_BASE: &str = "https://api.github.com";

/// The longest wait for an answer unless set otherwise. GitHub itself gives up on a request after ten seconds.
/// Source: <https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api#timeouts>.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where the issues are, and as whom they are written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the API is: [`API_BASE`], or another with its path.
    pub api_base: String,
    /// A token that may read and write the repository's issues.
    pub token: SecretString,
    /// The repository whose issues they are.
    pub repository: RepositoryName,
}

/// The issues of one repository. Publishing goes one after the other.
pub struct GitHub {
    client: Client,
    repository: RepositoryName,
    /// Held while an issue is looked for and made, so that two callers cannot make the same one.
    turn: Mutex<()>,
}

impl std::fmt::Debug for GitHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitHub").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// Why GitHub cannot be set up as the settings say.
#[derive(Debug, Clone, thiserror::Error)]
#[error("GitHub cannot be reached as `github.api_base` and the token say: {0}")]
pub struct Unusable(String);

impl GitHub {
    /// Prepares to talk to GitHub; nothing is sent yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Unusable`] if the address is none, or the token cannot stand in a header.
    pub fn new(settings: Settings) -> Result<Self, Unusable> {
        Self::with_patience(settings, PATIENCE)
    }

    /// As [`GitHub::new`], with another longest wait for an answer.
    ///
    /// # Errors
    /// As [`GitHub::new`].
    pub fn with_patience(settings: Settings, patience: Duration) -> Result<Self, Unusable> {
        let client = Client::new(&settings.api_base, settings.token, patience).map_err(Unusable)?;
        Ok(Self { client, repository: settings.repository, turn: Mutex::new(()) })
    }

    /// How its requests came out; goes on counting as long as either lives.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.client.calls.clone()
    }
}

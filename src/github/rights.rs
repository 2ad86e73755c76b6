//! What the token may do, for `pointsman doctor`.

use serde_json::json;

use super::trouble::{mend_disabled, mend_rights};
use super::{GitHub, Trouble};
use crate::domain::RepositoryName;

/// What GitHub lets us do with the repository, which can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The repository as GitHub calls it now; it differs from the settings' if it was renamed or moved.
    pub repository: RepositoryName,
    /// Whether the settings name it so.
    pub named_so: bool,
    /// Whether it takes no changes any more.
    pub archived: bool,
    /// Whether it has issues.
    pub issues_enabled: bool,
    /// Whether the token may make issues in it.
    pub may_write: bool,
}

impl Rights {
    /// What is missing and how to mend it, one sentence each; empty if nothing is.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<String> {
        let Self { repository, .. } = self;
        let mut list = Vec::new();
        if !self.named_so {
            list.push(format!("the repository is called {repository} now: set `github.repository` to that"));
        }
        if self.archived {
            list.push(format!("{repository} is archived: take it out of the archive, or name another repository"));
        } else if !self.issues_enabled {
            list.push(format!("{repository} has no issues: {}", mend_disabled(repository)));
        } else if !self.may_write {
            list.push(format!("the token may not make issues: {}", mend_rights(repository)));
        }
        list
    }
}

/// The repository as it answers.
pub(super) struct Place {
    pub(super) name: RepositoryName,
    pub(super) archived: bool,
    pub(super) issues_enabled: bool,
}

impl GitHub {
    /// Looks at what the token may do. Nothing is made.
    ///
    /// Whether it may write is asked by creating an issue without a title, which GitHub never takes: whoever may not
    /// create one is told that (403, 404), all others that the title is missing (422).
    ///
    /// # Errors
    /// [`Trouble`] if the repository cannot be read, or GitHub does not answer.
    pub async fn check_rights(&self) -> Result<Rights, Trouble> {
        let place = self.locate("read the repository").await?;
        let mut may_write = false;
        if place.issues_enabled && !place.archived {
            let asked = self.client.post(&format!("/repos/{}/issues", place.name), &json!({})).await;
            may_write = match asked {
                Err(failure) => match failure.status() {
                    Some(400 | 422) => true,
                    Some(403 | 404) if !failure.is_limited() => false,
                    _ => return Err(failure.into_trouble("ask whether issues may be made", &place.name)),
                },
                // An answer in the affirmative to nothing is not GitHub's; what it means is anybody's guess.
                Ok(_) => false,
            };
        }
        Ok(Rights {
            named_so: place.name.is_same(&self.repository),
            archived: place.archived,
            issues_enabled: place.issues_enabled,
            may_write,
            repository: place.name,
        })
    }

    /// The repository under its present name.
    pub(super) async fn locate(&self, doing: &str) -> Result<Place, Trouble> {
        let path = format!("/repos/{}", self.repository);
        let found = self.client.get(&path).await.map_err(|failure| failure.into_trouble(doing, &self.repository))?;
        let name = found["full_name"].as_str().and_then(|name| name.parse().ok());
        Ok(Place {
            name: name.unwrap_or_else(|| self.repository.clone()),
            archived: found["archived"].as_bool().unwrap_or(false),
            issues_enabled: found["has_issues"].as_bool().unwrap_or(true),
        })
    }
}

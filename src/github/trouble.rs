//! What went wrong, sorted: what may work later, and what a person has to mend first.

use std::time::Duration;

use crate::domain::RepositoryName;

/// Why GitHub did not do what it should. The texts never hold the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It may work later, without anybody doing anything. Whether something was done already is looked up then.
    #[error("{why}")]
    Later {
        /// What happened.
        why: String,
        /// How long to wait at least, if GitHub or caution says so.
        after: Option<Duration>,
    },
    /// It will not work until a person mends something. Nothing was made.
    #[error("{why}; {mend}")]
    Refused {
        /// What kind of refusal it is.
        reason: Reason,
        /// What happened.
        why: String,
        /// What to do about it.
        mend: String,
    },
}

/// The kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The token is not valid (401).
    Token,
    /// The token may not do this (403, 451).
    Forbidden,
    /// There is no such repository for this token (404).
    NotFound,
    /// The repository does not have issues (410).
    IssuesDisabled,
    /// The repository takes no changes any more (403).
    Archived,
    /// The issue that was known is gone: people deleted it or moved it out of sight (404, 410).
    Gone,
    /// The issue that was known does not carry our mark: it is another one, or people took the mark away.
    NotOurs,
    /// The repository is elsewhere now, and GitHub takes no changes under the old name (301, 307, 308).
    Moved,
    /// So many issues were made meanwhile that it cannot be told whether ours is among them.
    TooMany,
    /// GitHub does not take what was sent (400, 422), or answers what it should not.
    Invalid,
}

/// A request that did not succeed.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// GitHub answered with an error.
    Answer(Answer),
    /// No answer, or one that cannot be read: nobody knows whether the request had an effect.
    Unanswered { why: String },
}

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// GitHub's words, its list of errors included.
    pub(super) message: String,
    /// Whether a rate limit was met.
    pub(super) limited: bool,
    /// How long to wait, if told.
    pub(super) after: Option<Duration>,
}

/// After a creation whose outcome is unknown: GitHub gives up on a request after ten seconds, so that by then it has
/// happened or never will.
const SETTLED_AFTER: Duration = Duration::from_secs(15);

impl Failure {
    /// Whether the request may have had its effect all the same.
    pub(super) fn may_have_happened(&self) -> bool {
        match self {
            Self::Unanswered { .. } => true,
            Self::Answer(answer) => answer.status >= 500,
        }
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(answer) => Some(answer.status),
            Self::Unanswered { .. } => None,
        }
    }

    pub(super) fn is_limited(&self) -> bool {
        matches!(self, Self::Answer(answer) if answer.limited)
    }

    /// For people. `doing` completes "could not ...".
    pub(super) fn into_trouble(self, doing: &str, repository: &RepositoryName) -> Trouble {
        match self {
            Self::Unanswered { why } => Trouble::Later { why: format!("could not {doing}: {why}"), after: None },
            Self::Answer(answer) => answer.into_trouble(doing, repository),
        }
    }

    /// As [`Failure::into_trouble`], for a creation of which nobody knows whether it happened.
    pub(super) fn into_unknown(self, doing: &str, repository: &RepositoryName) -> Trouble {
        match self.into_trouble(doing, repository) {
            Trouble::Later { why, after } => {
                let why = format!("{why}; it may have been made, and is looked for before it is tried again");
                Trouble::Later { why, after: Some(after.unwrap_or_default().max(SETTLED_AFTER)) }
            }
            refused @ Trouble::Refused { .. } => refused,
        }
    }
}

impl Answer {
    fn into_trouble(self, doing: &str, repository: &RepositoryName) -> Trouble {
        let Self { status, message, limited, after } = self;
        let why = format!("could not {doing}: GitHub answers {status}, {message}");
        if limited || status == 408 || status >= 500 {
            return Trouble::Later { why, after };
        }
        let archived = message.to_lowercase().contains("archived");
        let (reason, mend) = match status {
            401 => (Reason::Token, MEND_TOKEN.to_owned()),
            403 if archived => (
                Reason::Archived,
                format!("take {repository} out of the archive, or name another repository in `github.repository`"),
            ),
            403 | 451 => (Reason::Forbidden, mend_rights(repository)),
            404 => (
                Reason::NotFound,
                format!(
                    "check `github.repository` ({repository}) and that the token may see it: GitHub also answers so for \
                     a repository that the token may not read"
                ),
            ),
            410 => (Reason::IssuesDisabled, mend_disabled(repository)),
            301 | 302 | 307 | 308 => {
                (Reason::Moved, format!("{repository} has moved: set `github.repository` to its present name"))
            }
            _ => (Reason::Invalid, format!("see what GitHub says, and whether `github.api_base` is GitHub's API ({repository})")),
        };
        Trouble::Refused { reason, why, mend }
    }
}

const MEND_TOKEN: &str = "the token is wrong or has expired: make a new one, set POINTSMAN_GITHUB_TOKEN or the file that \
                          POINTSMAN_GITHUB_TOKEN_FILE names, and start the bot again";

pub(super) fn mend_rights(repository: &RepositoryName) -> String {
    format!(
        "give the token the right to read and write issues of {repository}: `Issues: read and write` for a fine-grained \
         token, the scope `repo` for a classic one; an organization may have to approve it"
    )
}

pub(super) fn mend_disabled(repository: &RepositoryName) -> String {
    format!("turn issues on in the settings of {repository}, or name another repository in `github.repository`")
}

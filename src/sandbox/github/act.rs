//! What people do on GitHub's pages, and what owners do to a repository.

use serde::{Deserialize, Serialize};

use super::state::{Issue, Repository, State};
use crate::domain::Timestamp;

/// What the token may do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It is not seen.
    Hidden,
    /// Its issues can be read.
    Read,
    /// Issues can be made and changed; labels and assignees are left out without a word.
    NoPush,
    /// Everything about issues.
    Write,
}

/// One act, in the sandbox's own repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Somebody opens an issue.
    Open {
        /// Their account.
        by: String,
        /// The title.
        title: String,
        /// The body.
        body: String,
    },
    /// Closes an issue.
    Close {
        /// Which.
        number: u64,
    },
    /// Locks its conversation.
    Lock {
        /// Which.
        number: u64,
    },
    /// Deletes it for ever.
    Delete {
        /// Which.
        number: u64,
    },
    /// Moves it to another repository, which is made if there is none of that name.
    Transfer {
        /// Which.
        number: u64,
        /// `owner/name`.
        to: String,
    },
    /// Writes its body anew.
    EditBody {
        /// Which.
        number: u64,
        /// The new body.
        body: String,
    },
    /// Adds a label.
    AddLabel {
        /// Which.
        number: u64,
        /// The label.
        label: String,
    },
    /// Takes a label away.
    RemoveLabel {
        /// Which.
        number: u64,
        /// The label.
        label: String,
    },
    /// Archives the repository, or takes it out.
    Archive {
        /// Which of the two.
        archived: bool,
    },
    /// Turns issues on or off.
    Issues {
        /// Which of the two.
        enabled: bool,
    },
    /// Gives the repository another name; the old one redirects.
    Rename {
        /// `owner/name`.
        to: String,
    },
    /// Changes what the token may do.
    Grant {
        /// What.
        access: Access,
    },
    /// Revokes the token, or makes it valid again.
    Token {
        /// Which of the two.
        valid: bool,
    },
}

/// There is no such issue.
#[derive(Debug, Clone, thiserror::Error)]
#[error("there is no issue #{0}")]
pub struct Refused(pub u64);

pub(super) fn perform(state: &mut State, act: Act) -> Result<(), Refused> {
    let now = state.clock.now();
    match act {
        Act::Transfer { number, to } => return transfer(state, number, &to, now),
        Act::Token { valid } => state.token_valid = valid,
        act => return in_repository(&mut state.repositories[0], act, now),
    }
    Ok(())
}

fn in_repository(home: &mut Repository, act: Act, now: Timestamp) -> Result<(), Refused> {
    match act {
        Act::Open { by, title, body } => {
            home.open(&by, &title, &body, now);
        }
        Act::Close { number } => change(home, number, now, |issue| issue.open = false)?,
        Act::Lock { number } => change(home, number, now, |issue| issue.locked = true)?,
        Act::EditBody { number, body } => change(home, number, now, |issue| issue.body = body)?,
        Act::AddLabel { number, label } => {
            home.labels.insert(label.clone());
            change(home, number, now, |issue| issue.labels.push(label))?;
        }
        Act::RemoveLabel { number, label } => change(home, number, now, |issue| issue.labels.retain(|other| *other != label))?,
        Act::Delete { number } => {
            home.issues.remove(&number).ok_or(Refused(number))?;
            home.deleted.insert(number);
        }
        Act::Archive { archived } => home.archived = archived,
        Act::Issues { enabled } => home.has_issues = enabled,
        Act::Rename { to } => {
            let old = std::mem::replace(&mut home.name, to);
            home.old_names.push(old);
        }
        Act::Grant { access } => home.access = access,
        Act::Transfer { .. } | Act::Token { .. } => {}
    }
    Ok(())
}

fn change(home: &mut Repository, number: u64, now: Timestamp, change: impl FnOnce(&mut Issue)) -> Result<(), Refused> {
    let issue = home.issues.get_mut(&number).ok_or(Refused(number))?;
    change(issue);
    issue.updated_at = now;
    Ok(())
}

fn transfer(state: &mut State, number: u64, to: &str, now: Timestamp) -> Result<(), Refused> {
    let mut issue = state.repositories[0].issues.remove(&number).ok_or(Refused(number))?;
    let index = state.named(to).unwrap_or_else(|| {
        state.repositories.push(Repository::new(to, &[]));
        state.repositories.len() - 1
    });
    let there = &mut state.repositories[index];
    there.last_number += 1;
    issue.number = there.last_number;
    issue.updated_at = now;
    there.issues.insert(issue.number, issue);
    let moved_to = (index, there.last_number);
    state.repositories[0].moved.insert(number, moved_to);
    Ok(())
}

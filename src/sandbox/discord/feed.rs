//! The change feed: everything that happened in the guild, in order, for ever.
//!
//! A change is self-contained (it names its place and its person as they were then), so that a transcript
//! or a page can show it after the channel is gone. Nothing is dropped: a reader that is slow reads later.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use super::Model;
use super::chat::{Channel, Interaction, Message, Response, ScheduledEvent};
use super::ids::{ChannelId, InteractionId, MessageId, RoleId, UserId};
use crate::domain::Timestamp;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// Its number, from 0, without gaps.
    pub seq: u64,
    /// When, in the model's time.
    pub at: Timestamp,
    /// The channel or thread it happened in, if it has one.
    pub channel: Option<ChannelId>,
    /// That channel as people write it: `#ops`, `#ops › run 7`; empty without one.
    pub place: String,
    /// The display name of who did it; empty when nobody did.
    pub who: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened, with all that is needed to show it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A message appeared.
    MessagePosted {
        /// As it is.
        message: Box<Message>,
    },
    /// A message changed (its former version is the last of its history).
    MessageEdited {
        /// As it is now.
        message: Box<Message>,
    },
    /// A message went.
    MessageDeleted {
        /// As it was.
        message: Box<Message>,
    },
    /// A message was pinned or unpinned.
    PinChanged {
        /// As it is now.
        message: Box<Message>,
    },
    /// Somebody reacted.
    ReactionAdded {
        /// To this message.
        message: MessageId,
        /// Who.
        user: UserId,
        /// With this.
        emoji: String,
    },
    /// A reaction went, taken back or removed by a moderator.
    ReactionRemoved {
        /// From this message.
        message: MessageId,
        /// Whose it was.
        user: UserId,
        /// This.
        emoji: String,
    },
    /// A channel, category or thread appeared.
    ChannelCreated {
        /// As it is.
        channel_now: Box<Channel>,
    },
    /// A channel or thread was renamed, archived, locked or moved.
    ChannelUpdated {
        /// As it is now.
        channel_now: Box<Channel>,
        /// As it was.
        before: Box<Channel>,
    },
    /// A channel or thread went, with its messages.
    ChannelDeleted {
        /// As it was.
        before: Box<Channel>,
    },
    /// Somebody used a command, a component or a modal.
    InteractionCreated {
        /// As it is.
        interaction: Box<Interaction>,
    },
    /// The bot gave its first answer, or the time for it ran out.
    InteractionAnswered {
        /// To this.
        interaction: InteractionId,
        /// With this.
        response: Response,
        /// After so many milliseconds of wall time.
        after_millis: i64,
    },
    /// The bot registered its commands.
    CommandsRegistered {
        /// Their names.
        names: Vec<String>,
    },
    /// A member's roles changed.
    MemberUpdated {
        /// Whose.
        user: UserId,
        /// The roles now.
        roles: Vec<RoleId>,
    },
    /// A role's permissions changed.
    RoleUpdated {
        /// Which.
        role: RoleId,
    },
    /// A scheduled event was made or changed.
    EventChanged {
        /// As it is now.
        event: Box<ScheduledEvent>,
    },
    /// Somebody types.
    Typing {
        /// Who.
        user: UserId,
    },
    /// The bot's gateway session came or went.
    Gateway {
        /// `identified`, `resumed`, `disconnected`, ...
        state: String,
    },
}

/// The log of changes.
#[derive(Debug, Default)]
pub(super) struct Feed {
    pub(super) changes: Vec<Arc<Change>>,
}

/// A reader of the feed. Dropping it costs nothing.
#[derive(Debug)]
pub struct Changes {
    model: Model,
    next: usize,
    revisions: watch::Receiver<u64>,
}

impl Changes {
    pub(super) fn new(model: Model, next: usize, revisions: watch::Receiver<u64>) -> Self {
        Self { model, next, revisions }
    }

    /// The next change, waiting for it if need be. Cancel-safe. `None` once the model has gone.
    pub async fn next(&mut self) -> Option<Arc<Change>> {
        loop {
            // Marked as seen before looking, so that a change that comes between is not missed.
            self.revisions.borrow_and_update();
            if let Some(change) = self.try_next() {
                return Some(change);
            }
            self.revisions.changed().await.ok()?;
        }
    }

    /// The next change if it has happened already.
    pub fn try_next(&mut self) -> Option<Arc<Change>> {
        let next = self.next;
        let change = self.model.with(|state| state.feed.changes.get(next).cloned())?;
        self.next += 1;
        Some(change)
    }
}

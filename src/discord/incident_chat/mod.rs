//! The chat of incidents, made of Discord: a channel each, its messages, the marks on them, the review, its end.
//!
//! Invariants:
//! - What is created is looked for first, by something of the incident's id, because an answer may have been lost.
//! - A private incident never lives where others read: not in the fallback channel, and its title not in the calendar.
//! - A channel is deleted only after everything that can be read of it lies on disk.
//!
//! Absent on purpose: renaming a channel or changing its topic, which Discord allows twice in ten minutes.

mod channel;
mod export;
mod marks;
mod review;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serenity::http::LightMethod;

pub(super) use self::marks::MARK;
use super::chat::{self, DiscordChat};
use super::messages::{self, Messages, Outgoing, POSTING_NEEDS};
use super::rest::{Call, Trouble, codes};
use crate::domain::incident::Owed;
use crate::domain::{ChannelId, GuildId, Mask, MessageKey, MessageRef, Timestamp};
use crate::engine::{Freshness, IncidentChat, IncidentSnapshot, Mark, Place, PortError, Posted};
use crate::render::{self, Attachment};

/// How incidents reach Discord.
#[derive(Debug)]
pub struct DiscordIncidentChat {
    messages: Arc<Messages>,
    settings: IncidentChatSettings,
}

/// Where incidents live.
#[derive(Clone)]
pub struct IncidentChatSettings {
    /// The category in which channels are created; `None`: outside any.
    pub category: Option<ChannelId>,
    /// The category to which ended incidents' channels move; `None`: they stay.
    pub archive: Option<ChannelId>,
    /// Where an incident lives whose channel cannot be created; `None`: it has no place until people mend what is wrong.
    pub fallback: Option<ChannelId>,
    /// The directory that takes the messages of deleted channels, in a directory of each incident's id. Made when needed.
    pub exports_dir: PathBuf,
    /// Hides the secrets of the settings in what is exported: people may have written some.
    pub mask: Mask,
    /// Writes the post-mortem of an incident as far as its own records and the state of its runs tell it, in the team's form.
    pub post_mortem: Arc<dyn Fn(&IncidentSnapshot) -> String + Send + Sync>,
}

impl std::fmt::Debug for IncidentChatSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { category, archive, fallback, exports_dir, .. } = self;
        let mut shown = f.debug_struct("IncidentChatSettings");
        shown.field("category", category).field("archive", archive).field("fallback", fallback);
        shown.field("exports_dir", exports_dir).finish_non_exhaustive()
    }
}

impl DiscordIncidentChat {
    /// A chat on the server and as the bot of `chat`, which then remembers for both what messages show.
    #[must_use]
    pub fn beside(chat: &DiscordChat, settings: IncidentChatSettings) -> Self {
        Self { messages: chat.messages(), settings }
    }

    async fn call(&self, call: Call) -> Result<serde_json::Value, Trouble> {
        self.messages.api().call(call).await
    }

    fn rendered(&self, incident: &IncidentSnapshot, owed: &Owed) -> render::Message {
        let runs: Vec<_> = incident.runs.iter().map(chat::view).collect();
        let (state, guild) = (&incident.state, GuildId::new(self.messages.guild().get()));
        let view = render::incident::View { state, head: &incident.head, runs: &runs, guild, now: incident.now };
        render::incident::message(view, owed)
    }

    fn write_post_mortems(&self, incident: &IncidentSnapshot, attachments: &mut [Attachment]) {
        for attachment in attachments {
            if let Attachment::PostMortem { name } = attachment {
                *attachment = Attachment::Text { name: std::mem::take(name), text: (self.settings.post_mortem)(incident) };
            }
        }
    }
}

#[async_trait]
impl IncidentChat for DiscordIncidentChat {
    async fn open_channel(&self, incident: &IncidentSnapshot) -> Result<Place, PortError> {
        self.find_or_create(&incident.state).await
    }

    async fn post_to_incident(&self, incident: &IncidentSnapshot, key: &MessageKey, search: bool) -> Result<Posted, PortError> {
        let state = &incident.state;
        let owed = owed(incident, key)?;
        let channel = channel_of(incident)?;
        let later = |trouble: Trouble| trouble.into_port_error(&format!("post {key} of {}", state.id()), POSTING_NEEDS);
        let marker = render::incident::marker(state.id(), key, owed.generation);
        if search && let Some(found) = self.messages.find(channel, &marker).await.map_err(later)? {
            return Ok(found);
        }
        let mut message = self.rendered(incident, owed);
        self.write_post_mortems(incident, &mut message.attachments);
        let files = messages::files(None, &message.attachments).await;
        let live = owed.kind.is_live().then(|| name(incident, key));
        let outgoing = Outgoing { channel, marker: &marker, message: &message, files, live };
        self.messages.create(outgoing).await.map_err(later)
    }

    async fn refresh_in_incident(&self, incident: &IncidentSnapshot, key: &MessageKey) -> Result<Freshness, PortError> {
        let Some(owed) = incident.state.owed.iter().find(|owed| owed.key == *key) else { return Ok(Freshness::Current) };
        let Some(at) = owed.posted.filter(|_| owed.kind.is_live()) else { return Ok(Freshness::Current) };
        let message = self.rendered(incident, owed);
        let freshness = self.messages.refresh(name(incident, key), at, &message, None).await;
        freshness.map_err(|trouble| trouble.into_port_error(&format!("refresh {key} of {}", incident.state.id()), POSTING_NEEDS))
    }

    /// The copy that was pinned before, if there is one, is taken down: it is no longer kept current.
    async fn pin(&self, incident: &IncidentSnapshot, message: MessageRef) -> Result<(), PortError> {
        let doing = format!("pin the summary of {}", incident.state.id());
        self.set_pin(LightMethod::Put, message).await.map_err(|trouble| trouble.into_port_error(&doing, PINNING_NEEDS))?;
        if let Some(former) = incident.state.pinned.filter(|former| *former != message && former.channel == message.channel)
            && let Err(trouble) = self.set_pin(LightMethod::Delete, former).await
            && trouble.code() != Some(codes::UNKNOWN_MESSAGE)
        {
            tracing::warn!(id = %incident.state.id(), %trouble, "the former summary is still pinned");
        }
        Ok(())
    }

    async fn read_marks(&self, incident: &IncidentSnapshot) -> Result<Vec<Mark>, PortError> {
        let channel = channel_of(incident)?;
        let doing = format!("read the marks of {}", incident.state.id());
        self.marks(&incident.state, channel).await.map_err(|trouble| trouble.into_port_error(&doing, READING_NEEDS))
    }

    async fn schedule_review(&self, incident: &IncidentSnapshot, at: Timestamp) -> Result<u64, PortError> {
        let doing = format!("schedule the review of {}", incident.state.id());
        self.review(&incident.state, at).await.map_err(|trouble| trouble.into_port_error(&doing, "`Create Events`"))
    }

    async fn archive_channel(&self, incident: &IncidentSnapshot) -> Result<(), PortError> {
        let channel = channel_of(incident)?;
        match self.settings.archive {
            None => Ok(()),
            Some(archive) => self.move_to(channel, archive).await,
        }
    }

    async fn delete_channel(&self, incident: &IncidentSnapshot) -> Result<(), PortError> {
        let channel = channel_of(incident)?;
        self.export_and_delete(&incident.state, channel).await
    }
}

impl DiscordIncidentChat {
    /// Pins over the route that serenity does not know yet; the one that it knows is deprecated.
    /// Source: <https://discord.com/developers/docs/resources/message#pin-message>.
    async fn set_pin(&self, method: LightMethod, at: MessageRef) -> Result<(), Trouble> {
        let path = format!("/channels/{}/messages/pins/{}", at.channel, at.message);
        self.call(Call::at(method, &path)).await.map(drop)
    }
}

/// What pinning takes. `Manage Messages` no longer suffices.
const PINNING_NEEDS: &str = "`View Channel`, `Read Message History` and `Pin Messages`";
/// What reading takes.
const READING_NEEDS: &str = "`View Channel` and `Read Message History`";

/// What all copies of a message are known by.
fn name(incident: &IncidentSnapshot, key: &MessageKey) -> String {
    render::incident::marker(incident.state.id(), key, 0)
}

fn owed<'a>(incident: &'a IncidentSnapshot, key: &MessageKey) -> Result<&'a Owed, PortError> {
    let state = &incident.state;
    let owed = state.owed.iter().find(|owed| owed.key == *key);
    owed.ok_or_else(|| PortError::Refused { why: format!("{} owes no message {key}", state.id()) })
}

fn channel_of(incident: &IncidentSnapshot) -> Result<ChannelId, PortError> {
    let none = || PortError::Later { why: "the incident has no channel yet".to_owned(), after: None };
    incident.state.channel.ok_or_else(none)
}

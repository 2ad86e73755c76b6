//! The read side: everything that stands in the guild, as plain data.
//!
//! These are the model's own records, not Discord's JSON (`wire.rs` makes that). They hold more than Discord
//! shows: who was really pinged, every earlier version of a message, who may see an ephemeral one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use twilight_model::application::command::Command;
use twilight_model::channel::ChannelType;
use twilight_model::channel::message::{Component, Embed, MessageType};
use twilight_model::channel::permission_overwrite::PermissionOverwrite;
use twilight_model::guild::Permissions;

use super::ids::{ApplicationId, AttachmentId, ChannelId, EventId, GuildId, InteractionId, MessageId, RoleId, UserId};
use super::permissions;
use crate::domain::Timestamp;

/// The whole guild as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Chat {
    /// The guild's id.
    pub guild: GuildId,
    /// The guild's name.
    pub guild_name: String,
    /// Who owns the guild and so may do everything.
    pub owner: UserId,
    /// The bot's application.
    pub application: ApplicationId,
    /// The bot's user.
    pub bot: UserId,
    /// By id, so in the order they were made; `@everyone` is among them.
    pub roles: BTreeMap<RoleId, Role>,
    /// People and bots, by id.
    pub members: BTreeMap<UserId, Member>,
    /// Channels, categories and threads, by id.
    pub channels: BTreeMap<ChannelId, Channel>,
    /// The messages of each channel, oldest first; ephemeral ones included.
    pub messages: BTreeMap<ChannelId, BTreeMap<MessageId, Message>>,
    /// The commands that the bot registered, in its order.
    pub commands: Vec<Command>,
    /// The guild's scheduled events.
    pub events: BTreeMap<EventId, ScheduledEvent>,
    /// Every interaction so far, oldest first.
    pub interactions: BTreeMap<InteractionId, Interaction>,
}

/// A named set of permissions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Role {
    /// Its id.
    pub id: RoleId,
    /// Its name.
    pub name: String,
    /// What it grants in the guild.
    pub permissions: Permissions,
    /// Its place in the order, `@everyone` being 0.
    pub position: u16,
    /// Whether anyone may mention it.
    pub mentionable: bool,
    /// Whether it belongs to the bot and cannot be given to others.
    pub managed: bool,
}

/// A person or bot in the guild.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    /// Its id.
    pub id: UserId,
    /// The unique account name.
    pub name: String,
    /// The name that others see.
    pub display_name: String,
    /// Whether this is a bot.
    pub bot: bool,
    /// Its roles, without `@everyone`.
    pub roles: BTreeSet<RoleId>,
    /// When it joined.
    pub joined: Timestamp,
}

/// A channel, category or thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// What it is.
    pub kind: ChannelType,
    /// Its name, without `#`.
    pub name: String,
    /// Its topic, if it has one.
    pub topic: Option<String>,
    /// The category of a channel, the channel of a thread.
    pub parent: Option<ChannelId>,
    /// Its place in the list.
    pub position: u32,
    /// Exceptions from the guild's permissions. Threads have none and use their parent's.
    pub overwrites: Vec<PermissionOverwrite>,
    /// Slow mode, seconds.
    pub slowmode_secs: u16,
    /// The newest message, which may be deleted by now.
    pub last_message: Option<MessageId>,
    /// When something was pinned last.
    pub last_pin: Option<Timestamp>,
    /// When it was made.
    pub made: Timestamp,
    /// What only a thread has.
    pub thread: Option<Thread>,
}

/// What only a thread has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Thread {
    /// Who opened it.
    pub owner: UserId,
    /// Closed: no edits and reactions; a new message opens it again unless it is locked.
    pub archived: bool,
    /// Only those with `MANAGE_THREADS` may open it again.
    pub locked: bool,
    /// Minutes without activity after which it archives itself.
    pub auto_archive_minutes: u16,
    /// When `archived` last changed.
    pub archive_changed: Timestamp,
    /// The last sign of life, from which `auto_archive_minutes` runs.
    pub active: Timestamp,
    /// Who is in it.
    pub members: BTreeSet<UserId>,
    /// How many messages were ever sent.
    pub sent: u32,
}

/// A message as it stands, with its history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Where it stands.
    pub channel: ChannelId,
    /// Who wrote it.
    pub author: UserId,
    /// What sort of message: a normal one, an answer to a command, or one of Discord's own notices.
    pub kind: MessageType,
    /// The text, at most 2,000 characters.
    pub content: String,
    /// Boxes below the text.
    pub embeds: Vec<Embed>,
    /// Rows of buttons and selects.
    pub components: Vec<Component>,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// When it was posted.
    pub posted: Timestamp,
    /// When it was last edited.
    pub edited: Option<Timestamp>,
    /// What it said before each edit, oldest first.
    pub history: Vec<Revision>,
    /// Reactions in the order in which their emoji came first.
    pub reactions: Vec<Reaction>,
    /// Whether it is pinned, and since when.
    pub pinned: Option<Timestamp>,
    /// Discord's flag bits: 64 ephemeral, 128 "is thinking", 32 has a thread.
    pub flags: u64,
    /// The client's nonce.
    pub nonce: Option<String>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// Who got a notification from it.
    pub pings: Pings,
    /// The only person who sees it, if it is ephemeral.
    pub ephemeral_for: Option<UserId>,
    /// The interaction that it answers or follows.
    pub interaction: Option<InteractionId>,
}

/// What a message said before an edit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Revision {
    /// The former text.
    pub content: String,
    /// The former embeds.
    pub embeds: Vec<Embed>,
    /// The former components.
    pub components: Vec<Component>,
    /// When it was replaced.
    pub until: Timestamp,
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// Its name.
    pub filename: String,
    /// Bytes.
    pub size: u64,
    /// Its media type, guessed from the name as Discord does.
    pub content_type: String,
    /// Where to download it.
    pub url: String,
    /// Alternative text.
    pub description: Option<String>,
}

/// One emoji below a message and who put it there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reaction {
    /// The emoji itself.
    pub emoji: String,
    /// Who reacted, in their order, never empty.
    pub users: Vec<UserId>,
}

/// Who a message notified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pings {
    /// `@everyone` or `@here`.
    pub everyone: bool,
    /// People by name.
    pub users: BTreeSet<UserId>,
    /// Everyone with the role.
    pub roles: BTreeSet<RoleId>,
}

/// A date in the guild's calendar.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScheduledEvent {
    /// Its id.
    pub id: EventId,
    /// 1-100 characters.
    pub name: String,
    /// At most 1,000 characters.
    pub description: Option<String>,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Option<Timestamp>,
    /// 1 stage, 2 voice, 3 elsewhere.
    pub entity_type: u8,
    /// Where, if elsewhere.
    pub location: Option<String>,
    /// The voice channel otherwise.
    pub channel: Option<ChannelId>,
    /// 1 scheduled, 2 active, 3 completed, 4 cancelled.
    pub status: u8,
}

/// What a person did that asks the bot for an answer.
#[derive(Debug, Clone, Serialize)]
pub struct Interaction {
    /// Its id.
    pub id: InteractionId,
    /// The key to its answers, good for 15 minutes.
    #[serde(skip)]
    pub token: String,
    /// What was used.
    pub kind: InteractionKind,
    /// Who did it.
    pub user: UserId,
    /// Where.
    pub channel: ChannelId,
    /// Where it came from, if not from the guild; then `channel` only keeps the answer.
    pub elsewhere: Option<Elsewhere>,
    /// The message whose button or select was used, or that the modal came from.
    pub source: Option<MessageId>,
    /// As a person would write it: `/migrate start runbook:x`, or the button's label.
    pub said: String,
    /// When, in the model's time.
    pub at: Timestamp,
    /// When, by the wall; the 3 s rule counts from here.
    pub wall_at: Timestamp,
    /// What came back.
    pub response: Response,
    /// How long the first answer took, milliseconds of wall time.
    pub answered_millis: Option<i64>,
    /// The message of the first answer, while it exists.
    pub original: Option<MessageId>,
    /// Messages that followed.
    pub followups: Vec<MessageId>,
}

/// A place outside the guild that a command can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Elsewhere {
    /// A server that the bot does not work for.
    AnotherServer,
    /// A direct message to the bot.
    DirectMessage,
}

/// What a person used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InteractionKind {
    /// A slash command or a message command.
    Command,
    /// A button or select.
    Component,
    /// Typing an option that completes itself.
    Autocomplete,
    /// Sending a modal.
    ModalSubmit,
}

/// The state of an interaction's first answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Nothing yet.
    Waiting,
    /// Nothing within the time: the person reads "The application did not respond".
    NotAnswered,
    /// "Is thinking": the message is there, its content follows.
    Deferred(MessageId),
    /// The click was accepted; the message may change later.
    DeferredUpdate,
    /// A message.
    Message(MessageId),
    /// The message with the component was changed.
    Updated(MessageId),
    /// Completions.
    Choices(Vec<Choice>),
    /// A dialogue opened.
    Modal(Modal),
}

/// One completion.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// What the person sees.
    pub name: String,
    /// What the bot gets.
    pub value: Value,
}

/// A dialogue of text inputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Modal {
    /// What the bot recognises it by.
    pub custom_id: String,
    /// Its title.
    pub title: String,
    /// Its rows.
    pub components: Vec<Component>,
}

impl Modal {
    /// The custom ids of its text inputs, in order.
    #[must_use]
    pub fn inputs(&self) -> Vec<&str> {
        self.text_inputs().map(|input| input.custom_id.as_str()).collect()
    }

    /// Its text inputs with what they were filled in with, in order.
    pub fn text_inputs(&self) -> impl Iterator<Item = &twilight_model::channel::message::component::TextInput> {
        self.components.iter().filter_map(|component| match component {
            Component::ActionRow(row) => row.components.iter().find_map(as_text_input),
            Component::Label(label) => as_text_input(&label.component),
            _ => None,
        })
    }
}

fn as_text_input(component: &Component) -> Option<&twilight_model::channel::message::component::TextInput> {
    match component {
        Component::TextInput(input) => Some(input),
        _ => None,
    }
}

/// Set in [`Message::flags`]: only one person sees it.
pub const FLAG_EPHEMERAL: u64 = 1 << 6;
/// Set in [`Message::flags`]: "is thinking".
pub const FLAG_LOADING: u64 = 1 << 7;
/// Set in [`Message::flags`]: a thread hangs on it.
pub const FLAG_HAS_THREAD: u64 = 1 << 5;

impl Message {
    /// Whether only one person sees it.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        self.ephemeral_for.is_some()
    }

    /// Whether it is still "thinking".
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.flags & FLAG_LOADING != 0
    }

    /// Whether a person or bot wrote it, as opposed to Discord's own notices.
    #[must_use]
    pub fn is_post(&self) -> bool {
        matches!(
            self.kind,
            MessageType::Regular | MessageType::Reply | MessageType::ChatInputCommand | MessageType::ContextMenuCommand
        )
    }

    /// All that can be read in it: the text and the embeds' texts, one per line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![self.content.clone()];
        for embed in &self.embeds {
            lines.extend(embed.author.iter().map(|author| author.name.clone()));
            lines.extend(embed.title.clone());
            lines.extend(embed.description.clone());
            lines.extend(embed.fields.iter().map(|field| format!("{}: {}", field.name, field.value)));
            lines.extend(embed.footer.iter().map(|footer| footer.text.clone()));
        }
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }

    /// The custom ids of its buttons and selects, in order.
    #[must_use]
    pub fn custom_ids(&self) -> Vec<&str> {
        let rows = self.components.iter().filter_map(|component| match component {
            Component::ActionRow(row) => Some(&row.components),
            _ => None,
        });
        rows.flatten().filter_map(custom_id).collect()
    }

    /// Who reacted with `emoji`, in their order.
    #[must_use]
    pub fn reacted(&self, emoji: &str) -> &[UserId] {
        self.reactions.iter().find(|reaction| reaction.emoji == emoji).map_or(&[], |reaction| &reaction.users)
    }

    pub(super) fn component(&self, wanted: &str) -> Option<&Component> {
        let rows = self.components.iter().filter_map(|component| match component {
            Component::ActionRow(row) => Some(&row.components),
            _ => None,
        });
        rows.flatten().find(|component| custom_id(component) == Some(wanted))
    }
}

fn custom_id(component: &Component) -> Option<&str> {
    match component {
        Component::Button(button) => button.custom_id.as_deref(),
        Component::SelectMenu(select) => Some(&select.custom_id),
        _ => None,
    }
}

impl Chat {
    /// The member with this account name.
    #[must_use]
    pub fn member_named(&self, name: &str) -> Option<&Member> {
        self.members.values().find(|member| member.name == name)
    }

    /// The role of this name.
    #[must_use]
    pub fn role_named(&self, name: &str) -> Option<&Role> {
        self.roles.values().find(|role| role.name == name)
    }

    /// The newest channel or thread of this name.
    #[must_use]
    pub fn channel_named(&self, name: &str) -> Option<&Channel> {
        self.channels.values().rev().find(|channel| channel.name == name)
    }

    /// The threads of a channel, oldest first, archived ones too.
    #[must_use]
    pub fn threads_of(&self, parent: ChannelId) -> Vec<&Channel> {
        self.channels.values().filter(|channel| channel.thread.is_some() && channel.parent == Some(parent)).collect()
    }

    /// Every message of a channel, oldest first, Discord's notices and ephemeral ones included.
    pub fn messages_in(&self, channel: ChannelId) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages.get(&channel).into_iter().flat_map(BTreeMap::values)
    }

    /// What people and bots wrote in a channel for all to see, oldest first.
    #[must_use]
    pub fn posts_in(&self, channel: ChannelId) -> Vec<&Message> {
        self.messages_in(channel).filter(|message| message.is_post() && !message.is_ephemeral()).collect()
    }

    /// A message by its ids.
    #[must_use]
    pub fn message(&self, channel: ChannelId, message: MessageId) -> Option<&Message> {
        self.messages.get(&channel)?.get(&message)
    }

    /// A message by its own id.
    #[must_use]
    pub fn find_message(&self, message: MessageId) -> Option<&Message> {
        self.messages.values().find_map(|messages| messages.get(&message))
    }

    /// Every message in the guild whose text contains `needle`, oldest first within each channel.
    #[must_use]
    pub fn messages_with(&self, needle: &str) -> Vec<&Message> {
        let all = self.messages.values().flat_map(BTreeMap::values);
        all.filter(|message| message.text().contains(needle)).collect()
    }

    /// What `user` may do in `channel`, by roles and overwrites; nothing if either is unknown.
    #[must_use]
    pub fn permissions(&self, user: UserId, channel: ChannelId) -> Permissions {
        permissions::in_channel(self, user, channel)
    }

    /// How people write a channel: `#ops`, or `#ops › run 7` for a thread.
    #[must_use]
    pub fn channel_label(&self, channel: ChannelId) -> String {
        let Some(channel) = self.channels.get(&channel) else {
            return format!("#{channel}");
        };
        match channel.parent.filter(|_| channel.thread.is_some()).and_then(|parent| self.channels.get(&parent)) {
            Some(parent) => format!("#{} › {}", parent.name, channel.name),
            None => format!("#{}", channel.name),
        }
    }

    /// How people see a user.
    #[must_use]
    pub fn user_label(&self, user: UserId) -> String {
        self.members.get(&user).map_or_else(|| user.to_string(), |member| member.display_name.clone())
    }
}

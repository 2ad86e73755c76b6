//! The one mutable state behind the model's lock, and the few operations that change the guild.
//!
//! Every change goes through here, whoever asks (the bot over REST, a person, a fault), so that each one is
//! recorded in the feed and announced on the gateway exactly once. No method waits.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use twilight_model::channel::message::{Embed, MessageType};
use twilight_model::gateway::Intents;
use twilight_model::guild::Permissions;

use super::chat::{Attachment, Channel, Chat, FLAG_HAS_THREAD, Message, Pings, Reaction, Revision};
use super::draft::{Draft, File};
use super::error::ApiError;
use super::faults::Faults;
use super::feed::{Change, Feed, What};
use super::founding::found;
use super::ids::{AttachmentId, ChannelId, InteractionId, MessageId, RoleId, Snowflakes, UserId};
use super::log::Log;
use super::rate::Rates;
use super::sessions::Sessions;
use super::wire::{self, View};
use super::world::{Settings, World};
use super::{mentions, permissions};
use crate::clock::SharedClock;
use crate::domain::Timestamp;

/// Different emoji a message may have. Source: opcode 30010.
const EMOJI_MAX: usize = 20;

/// Everything the model knows.
pub(super) struct State {
    pub(super) chat: Chat,
    pub(super) settings: Settings,
    pub(super) clock: SharedClock,
    pub(super) base_url: String,
    pub(super) ids: Snowflakes,
    pub(super) feed: Feed,
    pub(super) sessions: Sessions,
    pub(super) faults: Faults,
    pub(super) rates: Rates,
    pub(super) log: Log,
    pub(super) files: HashMap<AttachmentId, (String, Bytes)>,
    /// Enforced nonces: by wall time, because a client's retry is timed by the wall.
    pub(super) nonces: HashMap<(ChannelId, String), (Timestamp, MessageId)>,
    /// When each channel was renamed, wall time, oldest first.
    pub(super) renames: HashMap<ChannelId, VecDeque<Timestamp>>,
    /// When messages older than an hour were edited, per channel, the model's time.
    pub(super) old_edits: HashMap<ChannelId, VecDeque<Timestamp>>,
    /// Counts up with every change that somebody may wait for.
    pub(super) revision: u64,
}

/// A message to put into a channel.
pub(super) struct Posting {
    pub(super) channel: ChannelId,
    pub(super) author: UserId,
    pub(super) draft: Draft,
    pub(super) kind: MessageType,
    pub(super) flags: u64,
    pub(super) ephemeral_for: Option<UserId>,
    pub(super) interaction: Option<InteractionId>,
}

impl Posting {
    /// A plain message for all to see.
    pub(super) fn plain(channel: ChannelId, author: UserId, draft: Draft) -> Self {
        let kind = if draft.reply_to.is_some() { MessageType::Reply } else { MessageType::Regular };
        Self { channel, author, draft, kind, flags: 0, ephemeral_for: None, interaction: None }
    }
}

impl State {
    /// Builds the guild of `world`.
    pub(super) fn new(world: &World, clock: SharedClock, base_url: String) -> Self {
        let mut ids = Snowflakes::new();
        let chat = found(world, &mut ids, clock.now());
        Self {
            chat,
            settings: world.settings.clone(),
            clock,
            base_url,
            ids,
            feed: Feed::default(),
            sessions: Sessions::new(world.settings.session_kept),
            faults: Faults::default(),
            rates: Rates::default(),
            log: Log::default(),
            files: HashMap::new(),
            nonces: HashMap::new(),
            renames: HashMap::new(),
            old_edits: HashMap::new(),
            revision: 0,
        }
    }

    /// The model's time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Adds to the feed.
    pub(super) fn record(&mut self, channel: Option<ChannelId>, who: Option<UserId>, what: What) {
        let change = Change {
            seq: self.feed.changes.len() as u64,
            at: self.now(),
            channel,
            place: channel.map(|channel| self.chat.channel_label(channel)).unwrap_or_default(),
            who: who.map(|who| self.chat.user_label(who)).unwrap_or_default(),
            what,
        };
        self.feed.changes.push(Arc::new(change));
        self.revision += 1;
    }

    /// Sends an event to every session that asked for `intent` (none needed if empty),
    /// if the bot can see `channel`.
    pub(super) fn announce(&mut self, name: &str, intent: Intents, channel: Option<ChannelId>, data: Value) {
        if channel.is_some_and(|channel| !self.bot_sees(channel)) {
            return;
        }
        self.sessions.dispatch(name, intent, |_| data.clone());
    }

    fn announce_message(&mut self, name: &str, message: &Message) {
        if message.is_ephemeral() || !self.bot_sees(message.channel) {
            return;
        }
        let chat = &self.chat;
        self.sessions.dispatch(name, Intents::GUILD_MESSAGES, |intents| {
            let content = intents.contains(Intents::MESSAGE_CONTENT);
            wire::message(chat, message, View { gateway: true, content })
        });
    }

    pub(super) fn bot_sees(&self, channel: ChannelId) -> bool {
        permissions::in_channel(&self.chat, self.chat.bot, channel).contains(Permissions::VIEW_CHANNEL)
    }

    /// Puts a message into its channel.
    ///
    /// # Errors
    /// 10003 for an unknown channel, 50006 for nothing to show.
    pub(super) fn post(&mut self, posting: Posting) -> Result<MessageId, ApiError> {
        if !self.chat.channels.contains_key(&posting.channel) {
            return Err(ApiError::unknown_channel());
        }
        let notice = !matches!(posting.kind, MessageType::Regular | MessageType::Reply) && posting.interaction.is_none();
        if posting.draft.is_empty() && posting.flags & super::chat::FLAG_LOADING == 0 && !notice {
            return Err(ApiError::new(400, 50006, "Cannot send an empty message"));
        }
        let message = self.build(posting);
        let id = message.id;
        self.touch(&message);
        self.chat.messages.entry(message.channel).or_default().insert(id, message.clone());
        self.announce_message("MESSAGE_CREATE", &message);
        let (channel, author) = (message.channel, message.author);
        self.record(Some(channel), Some(author), What::MessagePosted { message: Box::new(message) });
        Ok(id)
    }

    fn build(&mut self, posting: Posting) -> Message {
        let Posting { channel, author, draft, kind, flags, ephemeral_for, interaction } = posting;
        let now = self.now();
        let id = self.ids.next(now);
        let mut message = Message {
            id,
            channel,
            author,
            kind,
            content: draft.content.unwrap_or_default(),
            embeds: draft.embeds.unwrap_or_default(),
            components: draft.components.unwrap_or_default(),
            attachments: Vec::new(),
            posted: now,
            edited: None,
            history: Vec::new(),
            reactions: Vec::new(),
            pinned: None,
            flags,
            nonce: draft.nonce,
            reply_to: draft.reply_to,
            pings: Pings::default(),
            ephemeral_for,
            interaction,
        };
        if ephemeral_for.is_none() {
            let permissions = permissions::in_channel(&self.chat, author, channel);
            message.pings = mentions::pings(&self.chat, &message.content, draft.allowed_mentions.as_ref(), permissions);
        }
        self.attach(&mut message, draft.files);
        message
    }

    /// Stores files and lists them, except those that an embed shows by `attachment://name`.
    fn attach(&mut self, message: &mut Message, files: Vec<File>) {
        for file in files {
            let id: AttachmentId = self.ids.next(self.clock.now());
            let url = format!("{}/attachments/{}/{id}/{}", self.base_url, message.channel, encode(&file.filename));
            let content_type = content_type(&file.filename);
            let attachment = Attachment {
                id,
                filename: file.filename,
                size: file.bytes.len() as u64,
                content_type: content_type.to_owned(),
                url,
                description: file.description,
            };
            self.files.insert(id, (content_type.to_owned(), file.bytes));
            if !message.embeds.iter_mut().any(|embed| shows(embed, &attachment)) {
                message.attachments.push(attachment);
            }
        }
    }

    /// Marks a channel as used: its newest message, and of a thread its activity and members.
    fn touch(&mut self, message: &Message) {
        let Some(channel) = self.chat.channels.get_mut(&message.channel) else {
            return;
        };
        channel.last_message = Some(message.id);
        let Some(thread) = &mut channel.thread else {
            return;
        };
        thread.sent += 1;
        thread.active = message.posted;
        thread.members.insert(message.author);
        if thread.archived {
            self.change_channel(message.channel, None, |channel, now| {
                if let Some(thread) = &mut channel.thread {
                    thread.archived = false;
                    thread.archive_changed = now;
                }
            });
        }
    }

    /// Changes a message that is there; an edit of anything but flags is kept in its history.
    pub(super) fn edit(&mut self, channel: ChannelId, id: MessageId, draft: Draft) -> Result<(), ApiError> {
        let now = self.now();
        let found = self.chat.messages.get(&channel).and_then(|messages| messages.get(&id));
        let mut message = found.ok_or_else(ApiError::unknown_message)?.clone();
        let revision = Revision {
            content: message.content.clone(),
            embeds: message.embeds.clone(),
            components: message.components.clone(),
            until: now,
        };
        if message.is_loading() {
            message.flags &= !super::chat::FLAG_LOADING;
        } else {
            message.history.push(revision);
            message.edited = Some(now);
        }
        self.apply(&mut message, draft);
        let empty = message.content.trim().is_empty()
            && message.embeds.is_empty()
            && message.components.is_empty()
            && message.attachments.is_empty();
        if empty {
            return Err(ApiError::new(400, 50006, "Cannot send an empty message"));
        }
        self.chat.messages.entry(channel).or_default().insert(id, message.clone());
        self.announce_message("MESSAGE_UPDATE", &message);
        let author = message.author;
        self.record(Some(channel), Some(author), What::MessageEdited { message: Box::new(message) });
        Ok(())
    }

    fn apply(&mut self, message: &mut Message, draft: Draft) {
        if let Some(content) = draft.content {
            message.content = content;
        }
        if let Some(embeds) = draft.embeds {
            message.embeds = embeds;
        }
        if let Some(components) = draft.components {
            message.components = components;
        }
        if let Some(kept) = draft.kept {
            message.attachments.retain(|attachment| kept.contains(&attachment.id));
        }
        self.attach(message, draft.files);
    }

    /// Removes a message.
    pub(super) fn delete(&mut self, channel: ChannelId, id: MessageId, by: Option<UserId>) -> Result<(), ApiError> {
        let messages = self.chat.messages.get_mut(&channel);
        let message = messages.and_then(|messages| messages.remove(&id)).ok_or_else(ApiError::unknown_message)?;
        if !message.is_ephemeral() {
            let data = json!({ "id": id, "channel_id": channel, "guild_id": self.chat.guild });
            self.announce("MESSAGE_DELETE", Intents::GUILD_MESSAGES, Some(channel), data);
        }
        self.record(Some(channel), by, What::MessageDeleted { message: Box::new(message) });
        Ok(())
    }

    /// Pins or unpins a message.
    pub(super) fn pin(&mut self, channel: ChannelId, id: MessageId, by: UserId, pinned: bool) -> Result<(), ApiError> {
        let now = self.now();
        let message = self.chat.messages.get_mut(&channel).and_then(|messages| messages.get_mut(&id));
        let message = message.ok_or_else(ApiError::unknown_message)?;
        if message.pinned.is_some() == pinned {
            return Ok(());
        }
        message.pinned = pinned.then_some(now);
        let message = message.clone();
        if let Some(channel) = self.chat.channels.get_mut(&channel) {
            channel.last_pin = Some(now);
        }
        self.announce_message("MESSAGE_UPDATE", &message);
        let data = json!({
            "guild_id": self.chat.guild, "channel_id": channel, "last_pin_timestamp": wire::timestamp(now),
        });
        self.announce("CHANNEL_PINS_UPDATE", Intents::GUILDS, Some(channel), data);
        self.record(Some(channel), Some(by), What::PinChanged { message: Box::new(message) });
        if pinned {
            // Discord writes a notice of its own into the channel.
            let draft = Draft { reply_to: Some(id), ..Draft::default() };
            let kind = MessageType::ChannelMessagePinned;
            self.post(Posting { kind, ..Posting::plain(channel, by, draft) })?;
        }
        Ok(())
    }

    /// Adds a reaction; a second one of the same person and emoji changes nothing.
    ///
    /// # Errors
    /// 10008, or 30010 for a twenty-first emoji.
    pub(super) fn react(&mut self, channel: ChannelId, id: MessageId, user: UserId, emoji: &str) -> Result<(), ApiError> {
        let message = self.chat.messages.get_mut(&channel).and_then(|messages| messages.get_mut(&id));
        let message = message.filter(|message| !message.is_ephemeral()).ok_or_else(ApiError::unknown_message)?;
        let (author, full) = (message.author, message.reactions.len() >= EMOJI_MAX);
        match message.reactions.iter_mut().find(|reaction| reaction.emoji == emoji) {
            Some(reaction) if reaction.users.contains(&user) => return Ok(()),
            Some(reaction) => reaction.users.push(user),
            None if full => {
                return Err(ApiError::new(400, 30010, "Maximum number of reactions reached (20)"));
            }
            None => message.reactions.push(Reaction { emoji: emoji.to_owned(), users: vec![user] }),
        }
        let mut data = self.reaction_event(channel, id, user, emoji);
        data["member"] = self.chat.members.get(&user).map(wire::member).unwrap_or(Value::Null);
        data["message_author_id"] = json!(author);
        self.announce("MESSAGE_REACTION_ADD", Intents::GUILD_MESSAGE_REACTIONS, Some(channel), data);
        let what = What::ReactionAdded { message: id, user, emoji: emoji.to_owned() };
        self.record(Some(channel), Some(user), what);
        Ok(())
    }

    /// Takes a reaction away; `by` is who did it, the person or a moderator.
    ///
    /// # Errors
    /// 10008 for an unknown message, 10014 when there is no such reaction.
    pub(super) fn unreact(
        &mut self,
        channel: ChannelId,
        id: MessageId,
        user: UserId,
        emoji: &str,
        by: UserId,
    ) -> Result<(), ApiError> {
        let message = self.chat.messages.get_mut(&channel).and_then(|messages| messages.get_mut(&id));
        let message = message.ok_or_else(ApiError::unknown_message)?;
        let Some(reaction) = message.reactions.iter_mut().find(|reaction| reaction.emoji == emoji) else {
            return Err(ApiError::new(404, 10014, "Unknown Emoji"));
        };
        let before = reaction.users.len();
        reaction.users.retain(|&known| known != user);
        if reaction.users.len() == before {
            return Ok(());
        }
        message.reactions.retain(|reaction| !reaction.users.is_empty());
        let data = self.reaction_event(channel, id, user, emoji);
        self.announce("MESSAGE_REACTION_REMOVE", Intents::GUILD_MESSAGE_REACTIONS, Some(channel), data);
        let what = What::ReactionRemoved { message: id, user, emoji: emoji.to_owned() };
        self.record(Some(channel), Some(by), what);
        Ok(())
    }

    /// Takes all reactions away, or all of one emoji.
    pub(super) fn clear_reactions(
        &mut self,
        channel: ChannelId,
        id: MessageId,
        emoji: Option<&str>,
        by: UserId,
    ) -> Result<(), ApiError> {
        let message = self.chat.messages.get_mut(&channel).and_then(|messages| messages.get_mut(&id));
        let message = message.ok_or_else(ApiError::unknown_message)?;
        let (gone, kept) = std::mem::take(&mut message.reactions)
            .into_iter()
            .partition::<Vec<_>, _>(|reaction| emoji.is_none_or(|emoji| reaction.emoji == emoji));
        message.reactions = kept;
        let mut data = json!({ "channel_id": channel, "message_id": id, "guild_id": self.chat.guild });
        let name = match emoji {
            Some(emoji) => {
                data["emoji"] = wire::emoji(emoji);
                "MESSAGE_REACTION_REMOVE_EMOJI"
            }
            None => "MESSAGE_REACTION_REMOVE_ALL",
        };
        self.announce(name, Intents::GUILD_MESSAGE_REACTIONS, Some(channel), data);
        for reaction in gone {
            for user in reaction.users {
                let what = What::ReactionRemoved { message: id, user, emoji: reaction.emoji.clone() };
                self.record(Some(channel), Some(by), what);
            }
        }
        Ok(())
    }

    fn reaction_event(&self, channel: ChannelId, message: MessageId, user: UserId, emoji: &str) -> Value {
        json!({
            "user_id": user, "channel_id": channel, "message_id": message, "guild_id": self.chat.guild,
            "emoji": wire::emoji(emoji), "burst": false, "type": 0, "burst_colors": [],
        })
    }

    /// Adds a channel, category or thread that is complete but for its id.
    pub(super) fn add_channel(&mut self, channel: Channel, by: UserId) {
        let id = channel.id;
        let name = if channel.thread.is_some() { "THREAD_CREATE" } else { "CHANNEL_CREATE" };
        self.chat.channels.insert(id, channel.clone());
        let mut data = wire::channel(&self.chat, &channel, self.chat.bot);
        if channel.thread.is_some() {
            data["newly_created"] = json!(true);
            self.mark_thread_start(&channel);
        }
        self.announce(name, Intents::GUILDS, Some(id), data);
        self.record(Some(id), Some(by), What::ChannelCreated { channel_now: Box::new(channel) });
    }

    fn mark_thread_start(&mut self, thread: &Channel) {
        let Some(parent) = thread.parent else { return };
        let start = self.chat.messages.get_mut(&parent).and_then(|messages| messages.get_mut(&thread.id.cast()));
        if let Some(start) = start {
            start.flags |= FLAG_HAS_THREAD;
            let start = start.clone();
            self.announce_message("MESSAGE_UPDATE", &start);
        }
    }

    /// Changes a channel by `change` (given the channel and now), and says so if anything changed.
    pub(super) fn change_channel(&mut self, id: ChannelId, by: Option<UserId>, change: impl FnOnce(&mut Channel, Timestamp)) {
        let now = self.now();
        let Some(channel) = self.chat.channels.get_mut(&id) else {
            return;
        };
        let before = channel.clone();
        change(channel, now);
        let after = channel.clone();
        if after == before {
            return;
        }
        let name = if after.thread.is_some() { "THREAD_UPDATE" } else { "CHANNEL_UPDATE" };
        let data = wire::channel(&self.chat, &after, self.chat.bot);
        self.announce(name, Intents::GUILDS, Some(id), data);
        let what = What::ChannelUpdated { channel_now: Box::new(after), before: Box::new(before) };
        self.record(Some(id), by, what);
    }

    /// Removes a channel or thread with its messages; the threads of a channel go with it.
    pub(super) fn remove_channel(&mut self, id: ChannelId, by: Option<UserId>) -> Option<Channel> {
        let seen = self.bot_sees(id);
        for thread in self.chat.threads_of(id).iter().map(|thread| thread.id).collect::<Vec<_>>() {
            self.remove_channel(thread, by);
        }
        let place = self.chat.channel_label(id);
        let channel = self.chat.channels.remove(&id)?;
        self.chat.messages.remove(&id);
        for child in self.chat.channels.values_mut().filter(|child| child.parent == Some(id)) {
            child.parent = None;
        }
        let (name, data) = if channel.thread.is_some() {
            let data = json!({
                "id": id, "guild_id": self.chat.guild, "parent_id": channel.parent, "type": channel.kind,
            });
            ("THREAD_DELETE", data)
        } else {
            ("CHANNEL_DELETE", wire::channel(&self.chat, &channel, self.chat.bot))
        };
        if seen {
            self.sessions.dispatch(name, Intents::GUILDS, |_| data.clone());
        }
        self.record(Some(id), by, What::ChannelDeleted { before: Box::new(channel.clone()) });
        if let Some(change) = self.feed.changes.last_mut().and_then(Arc::get_mut) {
            change.place = place;
        }
        Some(channel)
    }

    /// Archives a thread whose time without activity has run out. Asked before each use of the thread,
    /// which nobody can tell from a timer.
    pub(super) fn settle_thread(&mut self, id: ChannelId) {
        let now = self.now();
        let due = self.chat.channels.get(&id).and_then(|channel| channel.thread.as_ref()).is_some_and(|thread| {
            !thread.archived && now >= thread.active + chrono::TimeDelta::minutes(thread.auto_archive_minutes.into())
        });
        if due {
            self.change_channel(id, None, |channel, now| {
                if let Some(thread) = &mut channel.thread {
                    thread.archived = true;
                    thread.archive_changed = now;
                }
            });
        }
    }

    /// Gives a member exactly these roles.
    pub(super) fn set_roles(&mut self, user: UserId, roles: BTreeSet<RoleId>) {
        let Some(member) = self.chat.members.get_mut(&user) else {
            return;
        };
        member.roles = roles;
        let member = member.clone();
        let mut data = wire::member(&member);
        data["guild_id"] = json!(self.chat.guild);
        self.announce("GUILD_MEMBER_UPDATE", Intents::GUILD_MEMBERS, None, data);
        let roles = member.roles.iter().copied().collect();
        self.record(None, Some(user), What::MemberUpdated { user, roles });
    }

    /// Sets what a role grants.
    pub(super) fn set_role_permissions(&mut self, role: RoleId, permissions: Permissions) {
        let Some(known) = self.chat.roles.get_mut(&role) else {
            return;
        };
        known.permissions = permissions;
        let data = json!({ "guild_id": self.chat.guild, "role": wire::role(known) });
        self.announce("GUILD_ROLE_UPDATE", Intents::GUILDS, None, data);
        self.record(None, None, What::RoleUpdated { role });
    }

    /// Takes a role out of the guild and from everyone who held it.
    pub(super) fn remove_role(&mut self, role: RoleId) {
        if self.chat.roles.remove(&role).is_none() {
            return;
        }
        for member in self.chat.members.values_mut() {
            member.roles.remove(&role);
        }
        let data = json!({ "guild_id": self.chat.guild, "role_id": role });
        self.announce("GUILD_ROLE_DELETE", Intents::GUILDS, None, data);
        self.record(None, None, What::RoleUpdated { role });
    }
}

/// Whether `embed` shows the file, in which case its links are made real.
fn shows(embed: &mut Embed, attachment: &Attachment) -> bool {
    let wanted = format!("attachment://{}", attachment.filename);
    let image = embed.image.as_mut().map(|image| &mut image.url);
    let thumbnail = embed.thumbnail.as_mut().map(|thumbnail| &mut thumbnail.url);
    let mut shown = false;
    for url in [image, thumbnail].into_iter().flatten().filter(|url| **url == wanted) {
        url.clone_from(&attachment.url);
        shown = true;
    }
    shown
}

fn content_type(filename: &str) -> &'static str {
    match filename.rsplit_once('.').map(|(_, extension)| extension) {
        Some("txt" | "log") => "text/plain; charset=utf-8",
        Some("md") => "text/markdown; charset=utf-8",
        Some("json") => "application/json; charset=utf-8",
        Some("csv") => "text/csv; charset=utf-8",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("gz") => "application/gzip",
        _ => "application/octet-stream",
    }
}

fn encode(filename: &str) -> String {
    url::form_urlencoded::byte_serialize(filename.as_bytes()).collect::<String>().replace('+', "%20")
}

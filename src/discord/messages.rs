//! The bot's own messages, for every kind of aggregate: posted once, found again by their marker, kept current; and who
//! reacted to a message.
//!
//! Invariants:
//! - The nonce is made of the marker and of nothing else, so that every attempt to post one copy of one message has the same.
//! - A live message is edited only if what it shows has changed since it was last sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use serenity::http::{LightMethod, Route};
use serenity::model::id as serenity_id;
use tokio::time::Instant;

use super::encode;
use super::rest::{Api, Call, File, Trouble, codes};
use crate::domain::{ChannelId, GuildId, Hash, MessageId, MessageRef, Person, RoleId, RoleName, UserId};
use crate::engine::{Freshness, Posted};
use crate::render::{self, Attachment, Message, limits};

/// Messages of a channel that Discord gives at once.
pub(super) const PAGE: usize = 100;
/// Pages that a search for a marker reads: five thousand messages, more than a run's thread or an incident's channel
/// ever held.
const SEARCH_PAGES_MAX: usize = 50;
/// Characters of a nonce that Discord takes.
const NONCE_LEN: usize = 25;
/// What posting takes.
pub(super) const POSTING_NEEDS: &str =
    "`View Channel`, `Send Messages`, `Send Messages in Threads`, `Embed Links`, `Attach Files` and `Read Message History`";

/// The bot's messages on one server.
#[derive(Debug)]
pub(super) struct Messages {
    api: Arc<Api>,
    guild: GuildId,
    bot: UserId,
    /// What each live message shows, by a name that all its copies share.
    shown: Mutex<HashMap<String, Shown>>,
}

/// What a live message showed when it was last sent.
#[derive(Debug, Default)]
struct Shown {
    content: Option<Hash>,
    edited_at: Option<Instant>,
    /// Counts the wishes to edit: one that has waited yields to a newer one.
    wishes: u64,
    /// A copy that Discord lets nobody edit any more: taken away as soon as the new one stands.
    former: Option<MessageRef>,
}

/// What became of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edited {
    Done,
    /// The message is gone.
    Gone,
    /// It stands, but Discord takes no more edits of a message of its age.
    TooOld,
}

/// A message on its way.
pub(super) struct Outgoing<'a> {
    /// Where to.
    pub(super) channel: ChannelId,
    /// By what it is found again: the footer of one of its embeds.
    pub(super) marker: &'a str,
    /// What it says.
    pub(super) message: &'a Message,
    /// What goes with it.
    pub(super) files: Vec<File>,
    /// If it will be kept current: a name that all its copies share.
    pub(super) live: Option<String>,
}

impl Messages {
    pub(super) fn new(api: Arc<Api>, guild: GuildId, bot: UserId) -> Self {
        Self { api, guild, bot, shown: Mutex::default() }
    }

    pub(super) fn api(&self) -> &Api {
        &self.api
    }

    pub(super) fn guild(&self) -> serenity_id::GuildId {
        serenity_id::GuildId::new(self.guild.get())
    }

    pub(super) fn bot(&self) -> UserId {
        self.bot
    }

    /// Forgets what messages show, so that each is edited, and thereby found to be there, at its next refresh.
    pub(super) fn forget(&self) {
        for shown in self.lock().values_mut() {
            shown.content = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Shown>> {
        // A cache: whatever it holds after a panic is at worst one edit too many.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts a message under its nonce.
    pub(super) async fn create(&self, outgoing: Outgoing<'_>) -> Result<Posted, Trouble> {
        let Outgoing { channel, marker, message, files, live } = outgoing;
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let mut body = encode::with_files(encode::creatable(message), &names);
        body["nonce"] = nonce(marker).into();
        body["enforce_nonce"] = true.into();
        let route = Route::ChannelMessages { channel_id: to_channel(channel) };
        let call = || Call::new(LightMethod::Post, route).body(body.clone()).files(files.clone());
        let answer = self.in_open_thread(channel, call).await?;
        let id = MessageId::new(snowflake(&answer["id"]).ok_or_else(unreadable)?);
        if let Some(name) = live {
            let content = Some(content_hash(message));
            let shown = Shown { content, edited_at: Some(Instant::now()), ..Shown::default() };
            let before = self.lock().insert(name, shown);
            if let Some(former) = before.and_then(|before| before.former) {
                self.take_away(former).await;
            }
        }
        // Under a nonce that was used, Discord answers with the message of then.
        Ok(Posted { at: MessageRef { channel, message: id }, told: told(&answer, marker).unwrap_or(1) })
    }

    /// Makes a call; if the thread is archived, opens it and makes the call once more.
    async fn in_open_thread(&self, channel: ChannelId, call: impl Fn() -> Call) -> Result<Value, Trouble> {
        match self.api.call(call()).await {
            Err(trouble) if trouble.code() == Some(codes::ARCHIVED_THREAD) => {
                let open = Call::new(LightMethod::Patch, Route::Channel { channel_id: to_channel(channel) });
                self.api.call(open.body(json!({ "archived": false }))).await?;
                self.api.call(call()).await
            }
            answer => answer,
        }
    }

    /// A page of a channel's messages, newest first, those before `before` if it is given.
    pub(super) async fn page_before(&self, channel: ChannelId, before: Option<u64>) -> Result<Vec<Value>, Trouble> {
        let route = Route::ChannelMessages { channel_id: to_channel(channel) };
        let mut call = Call::new(LightMethod::Get, route).query("limit", PAGE);
        if let Some(before) = before {
            call = call.query("before", before);
        }
        Ok(list(self.api.call(call).await?))
    }

    /// Looks for our own message with this marker, newest first.
    pub(super) async fn find(&self, channel: ChannelId, marker: &str) -> Result<Option<Posted>, Trouble> {
        let mut before: Option<u64> = None;
        for _ in 0..SEARCH_PAGES_MAX {
            let page = self.page_before(channel, before).await?;
            let own = |message: &&Value| snowflake(&message["author"]["id"]) == Some(self.bot.get());
            if let Some((found, told)) = page.iter().filter(own).find_map(|message| Some((message, told(message, marker)?))) {
                let id = snowflake(&found["id"]).ok_or_else(unreadable)?;
                return Ok(Some(Posted { at: MessageRef { channel, message: MessageId::new(id) }, told }));
            }
            before = oldest(&page);
            if page.len() < PAGE || before.is_none() {
                return Ok(None);
            }
        }
        tracing::warn!(%channel, marker, "the search for a message ended before the channel's beginning");
        Ok(None)
    }

    /// Brings a posted message up to date, unless it shows this already. With `every`, edits are at least that far apart,
    /// and one that has waited yields to a newer one.
    pub(super) async fn refresh(
        &self,
        name: String,
        at: MessageRef,
        message: &Message,
        every: Option<Duration>,
    ) -> Result<Freshness, Trouble> {
        let hash = content_hash(message);
        if self.lock().get(&name).is_some_and(|shown| shown.content == Some(hash)) {
            return Ok(Freshness::Current);
        }
        if let Some(every) = every
            && !self.turn(&name, every).await
        {
            return Ok(Freshness::Current);
        }
        let edited = self.edit(at, message).await?;
        let mut shown = self.lock();
        match edited {
            Edited::Done => {
                let entry = shown.entry(name).or_default();
                entry.content = Some(hash);
                entry.edited_at = Some(Instant::now());
                Ok(Freshness::Current)
            }
            Edited::Gone => {
                shown.remove(&name);
                Ok(Freshness::Lost)
            }
            Edited::TooOld => {
                shown.insert(name, Shown { former: Some(at), ..Shown::default() });
                Ok(Freshness::Lost)
            }
        }
    }

    /// Waits until a message may be edited again. `false` if a newer wish will do it instead.
    async fn turn(&self, name: &str, every: Duration) -> bool {
        let (wish, wait) = {
            let mut shown = self.lock();
            let entry = shown.entry(name.to_owned()).or_default();
            entry.wishes += 1;
            (entry.wishes, entry.edited_at.map(|at| at + every))
        };
        if let Some(until) = wait {
            tokio::time::sleep_until(until).await;
        }
        self.lock().get(name).is_none_or(|entry| entry.wishes == wish)
    }

    async fn edit(&self, at: MessageRef, message: &Message) -> Result<Edited, Trouble> {
        let body = encode::editable(message);
        let call = || Call::new(LightMethod::Patch, message_route(at)).body(body.clone());
        match self.in_open_thread(at.channel, call).await {
            Ok(_) => Ok(Edited::Done),
            Err(trouble) => match trouble.code() {
                Some(codes::UNKNOWN_MESSAGE | codes::UNKNOWN_CHANNEL) => Ok(Edited::Gone),
                Some(codes::OLD_MESSAGE_EDITS) => Ok(Edited::TooOld),
                _ => Err(trouble),
            },
        }
    }

    /// Takes away a copy that a newer one replaces, so that nobody reads what is no longer so. A copy that cannot be
    /// taken away is older than the one that stands below it.
    pub(super) async fn take_away(&self, former: MessageRef) {
        if let Err(trouble) = self.api.call(Call::new(LightMethod::Delete, message_route(former))).await
            && trouble.code() != Some(codes::UNKNOWN_MESSAGE)
        {
            tracing::warn!(%trouble, message = %former.message, "could not take away a message that a newer one replaces");
        }
    }

    /// Puts our own reaction on a message, so that a tap is enough for others.
    pub(super) async fn react(&self, at: MessageRef, emoji: &str) -> Result<(), Trouble> {
        let encoded = percent(emoji);
        let route = Route::ChannelMessageReactionMe {
            channel_id: to_channel(at.channel),
            message_id: to_message(at.message),
            reaction: &encoded,
        };
        self.api.call(Call::new(LightMethod::Put, route)).await.map(drop)
    }

    /// Everybody who reacted with this emoji, in the order of their ids; bots left out.
    pub(super) async fn reacted(&self, at: MessageRef, emoji: &str) -> Result<Vec<Value>, Trouble> {
        let encoded = percent(emoji);
        let mut users = Vec::new();
        let mut after: Option<u64> = None;
        loop {
            let route = Route::ChannelMessageReactionEmoji {
                channel_id: to_channel(at.channel),
                message_id: to_message(at.message),
                reaction: &encoded,
            };
            let mut call = Call::new(LightMethod::Get, route).query("limit", PAGE);
            if let Some(after) = after {
                call = call.query("after", after);
            }
            let page = list(self.api.call(call).await?);
            let last = page.iter().filter_map(|user| snowflake(&user["id"])).max();
            let full = page.len() == PAGE;
            users.extend(page.into_iter().filter(|user| user["bot"] != Value::Bool(true)));
            match last.filter(|_| full) {
                Some(last) if Some(last) > after => after = Some(last),
                Some(_) | None => return Ok(users),
            }
        }
    }

    /// A member as they are now, with the roles that `map` knows; `None` if they have left the server.
    pub(super) async fn member(&self, map: &BTreeMap<RoleName, Vec<RoleId>>, user: &Value) -> Result<Option<Person>, Trouble> {
        let Some(id) = snowflake(&user["id"]) else { return Ok(None) };
        let route = Route::GuildMember { guild_id: self.guild(), user_id: serenity_id::UserId::new(id) };
        let member = match self.api.call(Call::new(LightMethod::Get, route)).await {
            Ok(member) => member,
            Err(trouble) if trouble.code() == Some(codes::UNKNOWN_MEMBER) => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        let held: Vec<RoleId> = member["roles"].as_array().into_iter().flatten().filter_map(snowflake).map(RoleId::new).collect();
        let roles = role_names(map, &held);
        let name = [&member["nick"], &member["user"]["global_name"], &user["global_name"], &user["username"]];
        let name = name.into_iter().find_map(Value::as_str).unwrap_or("(no name)").to_owned();
        Ok(Some(Person { id: UserId::new(id), name, roles, bot: false }))
    }
}

/// The bytes of attachments; those that are a step's output lie in `dir`. A file that cannot be read is left out: what
/// it was about is said in the text.
pub(super) async fn files(dir: Option<&Path>, attachments: &[Attachment]) -> Vec<File> {
    let mut files = Vec::new();
    for attachment in attachments {
        match read(dir, attachment).await {
            Ok(bytes) => files.push(File { name: attachment.name().to_owned(), bytes }),
            Err(why) => tracing::warn!(?dir, file = attachment.name(), why, "could not attach a file"),
        }
    }
    files
}

async fn read(dir: Option<&Path>, attachment: &Attachment) -> Result<Vec<u8>, String> {
    let path = match attachment {
        Attachment::Text { text, .. } => return Ok(text.clone().into_bytes()),
        Attachment::Output { path, .. } => Path::new(path),
        Attachment::PostMortem { .. } => return Err("it is a post-mortem, and this message belongs to no incident".to_owned()),
    };
    // The path comes from the journal, which a person with a database shell could have written.
    if path.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err("it is not a plain path inside the run's directory".to_owned());
    }
    let path = dir.ok_or("it is a step's output, and this message belongs to no run")?.join(path);
    let size = tokio::fs::metadata(&path).await.map_err(|error| error.to_string())?.len();
    if size > limits::ATTACHMENT_BYTES_MAX {
        return Err(format!("it has {size} bytes, more than Discord takes"));
    }
    tokio::fs::read(&path).await.map_err(|error| error.to_string())
}

/// The role names that somebody with these Discord roles holds.
pub(super) fn role_names<'a>(
    map: impl IntoIterator<Item = (&'a RoleName, &'a Vec<RoleId>)>,
    held: &[RoleId],
) -> BTreeSet<RoleName> {
    map.into_iter().filter(|(_, ids)| ids.iter().any(|id| held.contains(id))).map(|(name, _)| name.clone()).collect()
}

/// The same for every attempt to post one copy of one message, and for nothing else.
fn nonce(marker: &str) -> String {
    let mut digits = Hash::of(marker.as_bytes()).to_string();
    digits.truncate(NONCE_LEN);
    digits
}

fn content_hash(message: &Message) -> Hash {
    Hash::of(encode::editable(message).to_string().as_bytes())
}

/// How many status updates the message tells of, if the footer of one of its embeds is this marker.
fn told(message: &Value, marker: &str) -> Option<u32> {
    let mut embeds = message["embeds"].as_array().into_iter().flatten();
    embeds.find_map(|embed| render::told(embed["footer"]["text"].as_str()?, marker))
}

/// The smallest id on a page.
pub(super) fn oldest(page: &[Value]) -> Option<u64> {
    page.iter().filter_map(|message| snowflake(&message["id"])).min()
}

/// An answer that is a list.
pub(super) fn list(answer: Value) -> Vec<Value> {
    match answer {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn message_route(at: MessageRef) -> Route<'static> {
    Route::ChannelMessage { channel_id: to_channel(at.channel), message_id: to_message(at.message) }
}

pub(super) fn to_channel(channel: ChannelId) -> serenity_id::ChannelId {
    serenity_id::ChannelId::new(channel.get())
}

pub(super) fn to_message(message: MessageId) -> serenity_id::MessageId {
    serenity_id::MessageId::new(message.get())
}

/// An id as Discord writes it: digits in a text.
pub(super) fn snowflake(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok().filter(|id| *id > 0)
}

/// What an answer without an id comes to.
pub(super) fn unreadable() -> Trouble {
    Trouble::Unanswered { why: "its answer names no id".to_owned() }
}

/// An emoji as a path takes it.
fn percent(emoji: &str) -> String {
    emoji.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

//! The chat that the engine knows, made of Discord: posting once, keeping current, reading votes.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use serenity::http::{LightMethod, Route};
use serenity::model::id as serenity_id;
use tokio::time::Instant;

use super::encode;
use super::rest::{Api, Call, File, Trouble, codes};
use crate::domain::run::{GateRef, MessageKey, MessageKind, Owed, Place, ReactionVote, State, Vote};
use crate::domain::{ChannelId, Hash, MessageId, MessageRef, Person, RoleId, RoleName, RunId, UserId};
use crate::engine::{Chat, Freshness, PortError, Snapshot};
use crate::render::{self, Attachment, Message, View, limits};

/// How a run's messages reach Discord.
#[derive(Debug)]
pub struct DiscordChat {
    api: Arc<Api>,
    settings: ChatSettings,
    shown: Mutex<HashMap<(RunId, MessageKey), Shown>>,
}

/// What the chat must know.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// The one server.
    pub guild: crate::domain::GuildId,
    /// The bot's own user.
    pub bot: UserId,
    /// The directory that holds each run's own, by run id: step outputs are attached from there.
    pub runs_dir: PathBuf,
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

/// Between two edits of a progress message, in real time.
const PROGRESS_EVERY: Duration = Duration::from_secs(3);
/// Messages of a channel that Discord gives at once.
const PAGE: usize = 100;
/// Pages that a search for a marker reads: five thousand messages, more than a run's thread ever held.
const SEARCH_PAGES_MAX: usize = 50;
/// Minutes after which a silent thread is archived; the longest that Discord offers. A post opens it again.
const AUTO_ARCHIVE_MINUTES: u32 = 10_080;
/// The reactions that mean something.
pub(super) const SIGN: &str = "✅";
/// See [`SIGN`].
pub(super) const VETO: &str = "❌";
/// What posting takes.
const POSTING_NEEDS: &str =
    "`View Channel`, `Send Messages`, `Send Messages in Threads`, `Embed Links`, `Attach Files` and `Read Message History`";

impl DiscordChat {
    /// A chat over `api`.
    #[must_use]
    pub fn new(api: Arc<Api>, settings: ChatSettings) -> Self {
        Self { api, settings, shown: Mutex::new(HashMap::new()) }
    }

    /// Forgets what messages show, so that each is edited, and thereby found to be there, at its next refresh. For
    /// after a time in which deletions could have been missed.
    pub fn forget(&self) {
        for shown in self.lock().values_mut() {
            shown.content = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(RunId, MessageKey), Shown>> {
        // A cache: whatever it holds after a panic is at worst one edit too many.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn create(&self, run: &RunId, owed: &Owed, channel: ChannelId, message: &Message) -> Result<MessageRef, Trouble> {
        let files = self.files(run, &message.attachments).await;
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let mut body = encode::with_files(encode::creatable(message), &names);
        body["nonce"] = nonce(run, owed).into();
        body["enforce_nonce"] = true.into();
        let route = Route::ChannelMessages { channel_id: to_channel(channel) };
        let call = || Call::new(LightMethod::Post, route).body(body.clone()).files(files.clone());
        let answer = self.in_open_thread(channel, call).await?;
        let id = snowflake(&answer["id"]).ok_or_else(unreadable)?;
        Ok(MessageRef { channel, message: MessageId::new(id) })
    }

    /// Makes a call; if the thread is archived, opens it and makes the call once more.
    async fn in_open_thread<'a>(&self, channel: ChannelId, call: impl Fn() -> Call<'a>) -> Result<Value, Trouble> {
        match self.api.call(call()).await {
            Err(trouble) if trouble.code() == Some(codes::ARCHIVED_THREAD) => {
                let open = Call::new(LightMethod::Patch, Route::Channel { channel_id: to_channel(channel) });
                self.api.call(open.body(json!({ "archived": false }))).await?;
                self.api.call(call()).await
            }
            answer => answer,
        }
    }

    /// Looks for our own message with this marker, newest first.
    async fn find(&self, run: &RunId, channel: ChannelId, marker: &str) -> Result<Option<MessageRef>, Trouble> {
        let mut before: Option<u64> = None;
        for _ in 0..SEARCH_PAGES_MAX {
            let route = Route::ChannelMessages { channel_id: to_channel(channel) };
            let mut call = Call::new(LightMethod::Get, route).query("limit", PAGE);
            if let Some(before) = before {
                call = call.query("before", before);
            }
            let answer = self.api.call(call).await?;
            let page = answer.as_array().map(Vec::as_slice).unwrap_or_default();
            let own = |message: &&Value| snowflake(&message["author"]["id"]) == Some(self.settings.bot.get());
            if let Some(found) = page.iter().filter(own).find(|message| carries(message, marker)) {
                let id = snowflake(&found["id"]).ok_or_else(unreadable)?;
                return Ok(Some(MessageRef { channel, message: MessageId::new(id) }));
            }
            before = page.iter().filter_map(|message| snowflake(&message["id"])).min();
            if page.len() < PAGE || before.is_none() {
                return Ok(None);
            }
        }
        tracing::warn!(%run, %channel, marker, "the search for a message ended before the channel's beginning");
        Ok(None)
    }

    async fn edit(&self, at: MessageRef, message: &Message) -> Result<Edited, Trouble> {
        let route = Route::ChannelMessage {
            channel_id: to_channel(at.channel),
            message_id: serenity_id::MessageId::new(at.message.get()),
        };
        let body = encode::editable(message);
        let call = || Call::new(LightMethod::Patch, route).body(body.clone());
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
    async fn take_away(&self, former: MessageRef) {
        let route = Route::ChannelMessage {
            channel_id: to_channel(former.channel),
            message_id: serenity_id::MessageId::new(former.message.get()),
        };
        if let Err(trouble) = self.api.call(Call::new(LightMethod::Delete, route)).await {
            tracing::warn!(%trouble, message = %former.message, "could not take away a message that a newer one replaces");
        }
    }

    /// Puts ✅ and ❌ below a card, so that a tap is enough. Without them people can still add their own.
    async fn offer_votes(&self, run: &RunId, at: MessageRef) {
        for reaction in [SIGN, VETO] {
            let encoded = percent(reaction);
            let route = Route::ChannelMessageReactionMe {
                channel_id: to_channel(at.channel),
                message_id: serenity_id::MessageId::new(at.message.get()),
                reaction: &encoded,
            };
            if let Err(trouble) = self.api.call(Call::new(LightMethod::Put, route)).await {
                tracing::warn!(%run, %trouble, reaction, "could not offer a reaction on a gate card");
            }
        }
    }

    /// Everybody who reacted with this emoji; bots left out.
    async fn reacted(&self, at: MessageRef, emoji: &str) -> Result<Vec<Value>, Trouble> {
        let encoded = percent(emoji);
        let mut users = Vec::new();
        let mut after: Option<u64> = None;
        loop {
            let route = Route::ChannelMessageReactionEmoji {
                channel_id: to_channel(at.channel),
                message_id: serenity_id::MessageId::new(at.message.get()),
                reaction: &encoded,
            };
            let mut call = Call::new(LightMethod::Get, route).query("limit", PAGE);
            if let Some(after) = after {
                call = call.query("after", after);
            }
            let answer = self.api.call(call).await?;
            let page = answer.as_array().cloned().unwrap_or_default();
            let last = page.iter().filter_map(|user| snowflake(&user["id"])).max();
            let full = page.len() == PAGE;
            users.extend(page.into_iter().filter(|user| user["bot"] != Value::Bool(true)));
            match last.filter(|_| full) {
                Some(last) if Some(last) > after => after = Some(last),
                Some(_) | None => return Ok(users),
            }
        }
    }

    /// A member as they are now; `None` if they have left the server.
    async fn member(&self, state: &State, user: &Value) -> Result<Option<Person>, Trouble> {
        let Some(id) = snowflake(&user["id"]) else { return Ok(None) };
        let route = Route::GuildMember {
            guild_id: serenity_id::GuildId::new(self.settings.guild.get()),
            user_id: serenity_id::UserId::new(id),
        };
        let member = match self.api.call(Call::new(LightMethod::Get, route)).await {
            Ok(member) => member,
            Err(trouble) if trouble.code() == Some(codes::UNKNOWN_MEMBER) => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        let held: Vec<RoleId> = member["roles"].as_array().into_iter().flatten().filter_map(snowflake).map(RoleId::new).collect();
        let roles = role_names(&state.plan().roles, &held);
        let name = [&member["nick"], &member["user"]["global_name"], &user["global_name"], &user["username"]];
        let name = name.into_iter().find_map(Value::as_str).unwrap_or("(no name)").to_owned();
        Ok(Some(Person { id: UserId::new(id), name, roles, bot: false }))
    }

    async fn votes(&self, state: &State, at: MessageRef) -> Result<Vec<ReactionVote>, Trouble> {
        let mut votes = Vec::new();
        for (emoji, vote) in [(SIGN, Vote::Sign), (VETO, Vote::Veto)] {
            for user in self.reacted(at, emoji).await? {
                if let Some(person) = self.member(state, &user).await? {
                    votes.push(ReactionVote { person, vote });
                }
            }
        }
        Ok(votes)
    }

    /// The bytes of the attachments. A file that cannot be read is left out: what it was about is said in the text.
    async fn files(&self, run: &RunId, attachments: &[Attachment]) -> Vec<File> {
        let dir = self.settings.runs_dir.join(run.as_str());
        let mut files = Vec::new();
        for attachment in attachments {
            match read(&dir, attachment).await {
                Ok(bytes) => files.push(File { name: attachment.name().to_owned(), bytes }),
                Err(why) => tracing::warn!(%run, file = attachment.name(), why, "could not attach a file"),
            }
        }
        files
    }

    /// Waits until a progress message may be edited again. `false` if a newer wish will do it instead.
    async fn turn(&self, id: &(RunId, MessageKey)) -> bool {
        let (wish, wait) = {
            let mut shown = self.lock();
            let entry = shown.entry(id.clone()).or_default();
            entry.wishes += 1;
            (entry.wishes, entry.edited_at.map(|at| at + PROGRESS_EVERY))
        };
        if let Some(until) = wait {
            tokio::time::sleep_until(until).await;
        }
        self.lock().get(id).is_none_or(|entry| entry.wishes == wish)
    }
}

#[async_trait]
impl Chat for DiscordChat {
    async fn open_thread(&self, run: &Snapshot) -> Result<ChannelId, PortError> {
        let state = &run.state;
        let card = state.owed.iter().find(|owed| owed.kind == MessageKind::PlanCard).and_then(|owed| owed.posted);
        let Some(card) = card else {
            return Err(PortError::Later { why: "the plan card is not visible yet".to_owned(), after: None });
        };
        let name = limits::cut(&format!("{} · {}", state.id(), state.runbook().title), limits::THREAD_NAME_MAX);
        let route = Route::ChannelMessageThreads {
            channel_id: to_channel(card.channel),
            message_id: serenity_id::MessageId::new(card.message.get()),
        };
        let body = json!({ "name": name, "auto_archive_duration": AUTO_ARCHIVE_MINUTES });
        match self.api.call(Call::new(LightMethod::Post, route).body(body)).await {
            // A thread made from a message has the message's id.
            Ok(_) => Ok(ChannelId::new(card.message.get())),
            Err(trouble) if trouble.code() == Some(codes::THREAD_EXISTS) => Ok(ChannelId::new(card.message.get())),
            Err(trouble) => Err(trouble.into_port_error("open the run's thread", "`Create Public Threads`")),
        }
    }

    async fn post(&self, run: &Snapshot, key: &MessageKey, search: bool) -> Result<MessageRef, PortError> {
        let (owed, channel) = place(run, key)?;
        let id = run.state.id();
        let later = |trouble: Trouble| trouble.into_port_error(&format!("post {key} of {id}"), POSTING_NEEDS);
        if search {
            let marker = render::marker(id, key, owed.generation);
            if let Some(found) = self.find(id, channel, &marker).await.map_err(later)? {
                return Ok(found);
            }
        }
        let message = render::message(view(run), owed);
        let posted = self.create(id, owed, channel, &message).await.map_err(later)?;
        if owed.kind.is_live() {
            let content = Some(content_hash(&message));
            let shown = Shown { content, edited_at: Some(Instant::now()), ..Shown::default() };
            let before = self.lock().insert((id.clone(), key.clone()), shown);
            if let Some(former) = before.and_then(|before| before.former) {
                self.take_away(former).await;
            }
        }
        if message.votable {
            self.offer_votes(id, posted).await;
        }
        Ok(posted)
    }

    async fn refresh(&self, run: &Snapshot, key: &MessageKey) -> Result<Freshness, PortError> {
        let Some(owed) = run.state.owed.iter().find(|owed| owed.key == *key) else { return Ok(Freshness::Current) };
        let Some(at) = owed.posted.filter(|_| owed.kind.is_live()) else { return Ok(Freshness::Current) };
        let message = render::message(view(run), owed);
        let hash = content_hash(&message);
        let id = (run.state.id().clone(), key.clone());
        if self.lock().get(&id).is_some_and(|shown| shown.content == Some(hash)) {
            return Ok(Freshness::Current);
        }
        if owed.kind == MessageKind::Progress && !self.turn(&id).await {
            return Ok(Freshness::Current);
        }
        let edited = self.edit(at, &message).await;
        let edited = edited.map_err(|trouble| trouble.into_port_error(&format!("refresh {key} of {}", id.0), POSTING_NEEDS))?;
        let mut shown = self.lock();
        match edited {
            Edited::Done => {
                let entry = shown.entry(id).or_default();
                entry.content = Some(hash);
                entry.edited_at = Some(Instant::now());
                Ok(Freshness::Current)
            }
            Edited::Gone => {
                shown.remove(&id);
                Ok(Freshness::Lost)
            }
            Edited::TooOld => {
                shown.insert(id, Shown { former: Some(at), ..Shown::default() });
                Ok(Freshness::Lost)
            }
        }
    }

    async fn read_votes(&self, run: &Snapshot, gate: &GateRef) -> Result<Vec<ReactionVote>, PortError> {
        let state = &run.state;
        let Some(card) = state.gates.get(gate).map(|opened| opened.card) else { return Ok(Vec::new()) };
        let kind = MessageKind::GateCard { gate: gate.clone(), card };
        let Some(at) = state.owed.iter().find(|owed| owed.kind == kind).and_then(|owed| owed.posted) else {
            return Ok(Vec::new());
        };
        let doing = format!("read the votes at gate {gate} of {}", state.id());
        self.votes(state, at).await.map_err(|trouble| trouble.into_port_error(&doing, "`Read Message History`"))
    }
}

/// A run as the renderer sees it.
pub(super) fn view(run: &Snapshot) -> View<'_> {
    View { state: &run.state, head: &run.head, progress: &run.progress, now: run.now }
}

/// The runbook roles that somebody with these Discord roles holds.
pub(super) fn role_names<'a>(
    map: impl IntoIterator<Item = (&'a RoleName, &'a Vec<RoleId>)>,
    held: &[RoleId],
) -> std::collections::BTreeSet<RoleName> {
    map.into_iter().filter(|(_, ids)| ids.iter().any(|id| held.contains(id))).map(|(name, _)| name.clone()).collect()
}

fn place<'a>(run: &'a Snapshot, key: &MessageKey) -> Result<(&'a Owed, ChannelId), PortError> {
    let state = &run.state;
    let owed = state.owed.iter().find(|owed| owed.key == *key);
    let owed = owed.ok_or_else(|| PortError::Refused { why: format!("{} owes no message {key}", state.id()) })?;
    let channel = match owed.place {
        Place::Channel => Some(state.started.channel),
        Place::Thread => state.thread,
    };
    let channel = channel.ok_or_else(|| PortError::Later { why: "the run's thread is not open yet".to_owned(), after: None })?;
    Ok((owed, channel))
}

/// Characters of a nonce that Discord takes.
const NONCE_LEN: usize = 25;

/// The same for every attempt to post one copy of one message, and for nothing else.
fn nonce(run: &RunId, owed: &Owed) -> String {
    let mut digits = Hash::of(render::marker(run, &owed.key, owed.generation).as_bytes()).to_string();
    digits.truncate(NONCE_LEN);
    digits
}

fn content_hash(message: &Message) -> Hash {
    Hash::of(encode::editable(message).to_string().as_bytes())
}

/// Whether the footer of one of its embeds is exactly this marker.
fn carries(message: &Value, marker: &str) -> bool {
    let embeds = message["embeds"].as_array().into_iter().flatten();
    embeds.into_iter().any(|embed| embed["footer"]["text"].as_str() == Some(marker))
}

async fn read(dir: &Path, attachment: &Attachment) -> Result<Vec<u8>, String> {
    let path = match attachment {
        Attachment::Text { text, .. } => return Ok(text.clone().into_bytes()),
        Attachment::Output { path, .. } => Path::new(path),
    };
    // The path comes from the journal, which a person with a database shell could have written.
    if path.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err("it is not a plain path inside the run's directory".to_owned());
    }
    let path = dir.join(path);
    let size = tokio::fs::metadata(&path).await.map_err(|error| error.to_string())?.len();
    if size > limits::ATTACHMENT_BYTES_MAX {
        return Err(format!("it has {size} bytes, more than Discord takes"));
    }
    tokio::fs::read(&path).await.map_err(|error| error.to_string())
}

fn to_channel(channel: ChannelId) -> serenity_id::ChannelId {
    serenity_id::ChannelId::new(channel.get())
}

/// An id as Discord writes it: digits in a text.
pub(super) fn snowflake(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok().filter(|id| *id > 0)
}

fn unreadable() -> Trouble {
    Trouble::Unanswered { why: "its answer names no id".to_owned() }
}

/// An emoji as a path takes it.
fn percent(emoji: &str) -> String {
    emoji.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

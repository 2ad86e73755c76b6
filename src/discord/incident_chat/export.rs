//! The end of an incident's channel: everything in it onto disk, and only then away.
//!
//! Two files in a directory of the incident's id: `messages.jsonl` for machines, one message a line, and `messages.md` for
//! people. Both are written beside their final names, synced, and renamed, so that what stands under
//! those names is whole. The threads in the channel are exported with it: they are deleted with it too.
//!
//! Secrets of the settings are hidden in both.
//!
//! Absent on purpose: the bytes of attachments, whose names, sizes and links are kept; the text of other people's
//! messages, which Discord gives only to bots with a privileged intent; private threads.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use serenity::http::{LightMethod, Route};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use super::channel::is_channel_of;
use super::marks::author;
use super::{DiscordIncidentChat, READING_NEEDS};
use crate::discord::messages::{PAGE, list, snowflake, to_channel};
use crate::discord::rest::{Call, Trouble};
use crate::domain::incident::State;
use crate::domain::{ChannelId, Mask};
use crate::engine::PortError;

/// The file for machines.
const LINES: &str = "messages.jsonl";
/// The file for people.
const PAGES: &str = "messages.md";
/// What deleting takes.
const DELETING_NEEDS: &str = "`View Channel`, `Read Message History` and `Manage Channels`";
/// Only the bot's user reads what was said in incidents, of which some are private.
const DIR_MODE: u32 = 0o700;
/// See [`DIR_MODE`].
const FILE_MODE: u32 = 0o600;

impl DiscordIncidentChat {
    pub(super) async fn export_and_delete(&self, state: &State, channel: ChannelId) -> Result<(), PortError> {
        let doing = format!("export and delete the channel of {}", state.id());
        let port_error = |trouble: Trouble| trouble.into_port_error(&doing, DELETING_NEEDS);
        let route = || Route::Channel { channel_id: to_channel(channel) };
        let known = self.call(Call::new(LightMethod::Get, route())).await.map_err(port_error)?;
        if !is_channel_of(&known, state.id()) {
            let why = format!(
                "could not {doing}: its name or topic was changed, so that nobody can tell whose it is; nothing was deleted. Name it \
                 `{}` and let its topic begin with `{}`, or delete it by hand",
                state.id().channel_name(),
                state.id()
            );
            return Err(PortError::Refused { why });
        }
        let dir = self.settings.exports_dir.join(state.id().to_string());
        let mut export =
            Export::begin(&dir, state, self.settings.mask.clone()).await.map_err(|error| not_written(&doing, &dir, &error))?;
        let exported = self.export(channel, &mut export).await;
        exported.map_err(|problem| problem.into_port_error(&doing, &dir))?;
        // Without the permission to read its history Discord shows a channel as empty.
        if export.messages == 0 && !known["last_message_id"].is_null() {
            let why =
                format!("could not {doing}: the bot cannot read its messages; nothing was deleted. It needs {READING_NEEDS}");
            return Err(PortError::Refused { why });
        }
        let messages = export.messages;
        export.finish().await.map_err(|error| not_written(&doing, &dir, &error))?;
        tracing::info!(id = %state.id(), messages, dir = %dir.display(), "the channel is exported and will be deleted");
        self.call(Call::new(LightMethod::Delete, route())).await.map_err(port_error).map(drop)
    }

    /// The channel, oldest message first, then each thread that a message of it carries or announces.
    async fn export(&self, channel: ChannelId, export: &mut Export) -> Result<(), Problem> {
        let mut threads = Vec::new();
        self.export_one(channel, None, export, &mut threads).await?;
        for (thread, name) in threads {
            // A thread in a thread there is not.
            match self.export_one(thread, Some(&name), export, &mut Vec::new()).await {
                Err(Problem::Discord(trouble)) if trouble.code() == Some(crate::discord::rest::codes::UNKNOWN_CHANNEL) => {}
                exported => exported?,
            }
        }
        Ok(())
    }

    async fn export_one(
        &self,
        channel: ChannelId,
        thread: Option<&str>,
        export: &mut Export,
        threads: &mut Vec<(ChannelId, String)>,
    ) -> Result<(), Problem> {
        export.heading(thread).await?;
        // No message is older than the smallest id.
        let mut after = 1;
        loop {
            let route = Route::ChannelMessages { channel_id: to_channel(channel) };
            let call = Call::new(LightMethod::Get, route).query("limit", PAGE).query("after", after);
            let mut page = list(self.call(call).await?);
            page.sort_by_key(|message| snowflake(&message["id"]));
            for message in &page {
                export.message(message, thread).await?;
                threads.extend(thread_of(message));
            }
            match page.last().and_then(|message| snowflake(&message["id"])).filter(|_| page.len() == PAGE) {
                Some(last) if last > after => after = last,
                Some(_) | None => return Ok(()),
            }
        }
    }
}

/// Discord's number of the notice that a thread was made without a message.
const THREAD_CREATED: u64 = 18;

/// The thread that hangs on a message, or that a notice tells of.
fn thread_of(message: &Value) -> Option<(ChannelId, String)> {
    let carried = snowflake(&message["thread"]["id"]);
    let announced = || {
        let notice = message["type"].as_u64() == Some(THREAD_CREATED);
        snowflake(&message["message_reference"]["channel_id"]).filter(|_| notice)
    };
    let name = message["thread"]["name"].as_str().or(message["content"].as_str()).unwrap_or_default();
    carried.or_else(announced).map(|id| (ChannelId::new(id), name.to_owned()))
}

/// Why an export is not whole.
enum Problem {
    Discord(Trouble),
    Disk(io::Error),
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        Self::Discord(trouble)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl Problem {
    fn into_port_error(self, doing: &str, dir: &Path) -> PortError {
        match self {
            Self::Discord(trouble) => trouble.into_port_error(doing, DELETING_NEEDS),
            Self::Disk(error) => not_written(doing, dir, &error),
        }
    }
}

fn not_written(doing: &str, dir: &Path, error: &io::Error) -> PortError {
    let dir = dir.display();
    PortError::Refused { why: format!("could not {doing}: writing to {dir} failed ({error}); nothing was deleted") }
}

/// The two files in the making.
struct Export {
    dir: PathBuf,
    lines: File,
    pages: File,
    messages: u64,
    mask: Mask,
}

impl Export {
    async fn begin(dir: &Path, state: &State, mask: Mask) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).await?;
        let mut options = File::options();
        options.create(true).write(true).truncate(true).mode(FILE_MODE);
        let lines = options.open(part(dir, LINES)).await?;
        let mut pages = options.open(part(dir, PAGES)).await?;
        let title = format!(
            "# {}: {}\n\nThe messages of its channel, exported before it was deleted. Times are UTC.\n",
            state.id(),
            line(&state.opened.title)
        );
        pages.write_all(mask.apply(&title).as_bytes()).await?;
        Ok(Self { dir: dir.to_owned(), lines, pages, messages: 0, mask })
    }

    async fn heading(&mut self, thread: Option<&str>) -> io::Result<()> {
        let heading = thread.map_or_else(|| "Channel".to_owned(), |name| format!("Thread: {}", line(name)));
        self.pages.write_all(self.mask.apply(&format!("\n## {heading}\n")).as_bytes()).await
    }

    async fn message(&mut self, message: &Value, thread: Option<&str>) -> io::Result<()> {
        let line = self.mask.apply(&record(message, thread).to_string());
        self.lines.write_all(format!("{line}\n").as_bytes()).await?;
        self.pages.write_all(self.mask.apply(&for_people(message)).as_bytes()).await?;
        self.messages += 1;
        Ok(())
    }

    /// Makes what was written last, whatever happens to the machine.
    async fn finish(mut self) -> io::Result<()> {
        for (file, name) in [(&mut self.lines, LINES), (&mut self.pages, PAGES)] {
            file.flush().await?;
            file.sync_all().await?;
            fs::rename(part(&self.dir, name), self.dir.join(name)).await?;
        }
        // A rename is durable once its directory is, and a new directory once its parent is.
        for dir in [Some(self.dir.as_path()), self.dir.parent()].into_iter().flatten() {
            File::open(dir).await?.sync_all().await?;
        }
        Ok(())
    }
}

/// Where a file grows.
fn part(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.part"))
}

/// A message as a line for machines.
fn record(message: &Value, thread: Option<&str>) -> Value {
    let attachments =
        items(&message["attachments"]).map(|file| json!({ "name": file["filename"], "bytes": file["size"], "url": file["url"] }));
    let reactions =
        items(&message["reactions"]).map(|reaction| json!({ "emoji": reaction["emoji"]["name"], "count": reaction["count"] }));
    json!({
        "id": message["id"], "channel": message["channel_id"], "thread": thread, "type": message["type"],
        "at": message["timestamp"], "edited_at": message["edited_timestamp"],
        "author": { "id": message["author"]["id"], "name": author(message), "bot": message["author"]["bot"] == true },
        "reply_to": message["message_reference"]["message_id"], "pinned": message["pinned"],
        "text": message["content"], "embeds": message["embeds"],
        "attachments": attachments.collect::<Vec<_>>(), "reactions": reactions.collect::<Vec<_>>(),
    })
}

/// A message as Markdown.
fn for_people(message: &Value) -> String {
    let at = message["timestamp"].as_str().unwrap_or_default();
    let mut text = format!("\n**{}** · {}\n", line(&author(message)), at.get(..19).unwrap_or(at).replace('T', " "));
    let mut says = |part: &Value| {
        if let Some(part) = part.as_str().filter(|part| !part.trim().is_empty()) {
            for line in part.lines() {
                // Writing to a `String` does not fail.
                let _ = writeln!(text, "> {line}");
            }
        }
    };
    says(&message["content"]);
    for embed in items(&message["embeds"]) {
        says(&embed["title"]);
        says(&embed["description"]);
        for field in items(&embed["fields"]) {
            says(&field["name"]);
            says(&field["value"]);
        }
    }
    for file in items(&message["attachments"]) {
        let (name, url) = (file["filename"].as_str().unwrap_or("file"), file["url"].as_str().unwrap_or_default());
        let _ = writeln!(text, "> attachment: {} <{url}>", line(name));
    }
    if !text.contains("\n> ") {
        text.push_str("> (text not given to the bot)\n");
    }
    text
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Somebody's words as one line.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

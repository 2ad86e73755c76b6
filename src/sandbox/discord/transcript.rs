//! The change feed as lines for a terminal: what a person in the chat would have seen, in order.
//!
//! An edit is shown only if it says something new: a progress bar that creeps is left out until a quarter more
//! is done, or offered as one line to be rewritten in place.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

use chrono::DateTime;
use regex::{Captures, Regex};
use twilight_model::channel::message::component::ButtonStyle;
use twilight_model::channel::message::{Component, Embed};

use super::chat::{Attachment, Chat, InteractionKind, Message, Response};
use super::feed::{Change, What};
use super::ids::MessageId;

/// What the lines below a message are indented by: the width of the time and two spaces.
const INDENT: &str = "          ";

/// Percent that must have been added before a creeping edit is shown again.
const NOTICEABLE_PERCENT: u32 = 25;

static MARK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<(?:@[!&]?|#)(\d+)>|<t:(-?\d+)(?::([tTdDfFR]))?>|<a?:(\w+):\d+>").expect("a constant pattern"));
static PERCENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\d{1,3})(?:\.\d+)? ?%").expect("a constant pattern"));
/// What changes while something only goes on: numbers, bars, units of time, and stamps.
static CREEPING: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<t:[^>]*>|[\d.,:%█▓▒░▰▱■□▏▎▍▌▋▊▉\s]+|\b[smhd]\b").expect("a constant pattern"));

/// What to print for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// One or more whole lines, without a line feed at the end.
    Lines(String),
    /// One line about something that goes on, which may take the place of the last such line.
    Progress(String),
}

/// Turns changes into lines. It keeps what it needs to know between them.
#[derive(Debug, Default)]
pub struct Transcript {
    /// The percentage that each message last showed.
    percents: HashMap<MessageId, u32>,
    /// How each message begins, for what is said about it after it has gone.
    titles: HashMap<MessageId, String>,
}

impl Transcript {
    /// A transcript that has shown nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines for `change`; `None` if a person would not notice it. `chat` gives mentions their names.
    pub fn show(&mut self, change: &Change, chat: &Chat) -> Option<Shown> {
        if let What::MessagePosted { message } | What::MessageEdited { message } = &change.what {
            self.titles.insert(message.id, excerpt(&plain(chat, &message.text())));
        }
        let text = match &change.what {
            What::MessagePosted { message } => posted(chat, message)?,
            What::MessageEdited { message } => return self.edited(change, chat, message),
            What::MessageDeleted { message } => {
                format!("deletes {:?}", excerpt(&plain(chat, &message.text())))
            }
            What::PinChanged { message } => {
                let verb = if message.pinned.is_some() { "pins" } else { "unpins" };
                format!("{verb} {:?}", excerpt(&plain(chat, &message.text())))
            }
            What::ReactionAdded { message, emoji, .. } => {
                format!("reacts {emoji} to {}", self.about(*message))
            }
            What::ReactionRemoved { message, user, emoji } => {
                let whose = chat.user_label(*user);
                let whose = if whose == change.who { "their".to_owned() } else { format!("{whose}'s") };
                format!("takes {whose} {emoji} from {}", self.about(*message))
            }
            What::ChannelCreated { channel_now } => {
                format!("opens this {}", if channel_now.thread.is_some() { "thread" } else { "channel" })
            }
            What::ChannelUpdated { channel_now, before } => renamed(channel_now, before)?,
            What::ChannelDeleted { .. } => "deletes the channel".to_owned(),
            What::InteractionCreated { interaction } if interaction.kind != InteractionKind::Autocomplete => {
                format!("▸ {}", interaction.said)
            }
            What::InteractionAnswered { response, .. } => answered(response)?,
            What::CommandsRegistered { names } => {
                format!("registers its commands: /{}", names.join(" /"))
            }
            What::EventChanged { event } => {
                format!("puts {:?} into the calendar for {}", event.name, event.start.format("%Y-%m-%d %H:%M UTC"))
            }
            What::Gateway { state } => format!("gateway: {state}"),
            What::MemberUpdated { .. } => "has other roles now".to_owned(),
            What::InteractionCreated { .. } | What::RoleUpdated { .. } | What::Typing { .. } => {
                return None;
            }
        };
        Some(Shown::Lines(format!("{}{text}", head(change))))
    }

    fn about(&self, message: MessageId) -> String {
        self.titles.get(&message).map_or_else(|| "an older message".to_owned(), |title| format!("{title:?}"))
    }

    fn edited(&mut self, change: &Change, chat: &Chat, message: &Message) -> Option<Shown> {
        let now = message.text();
        let percent = percent(&now);
        let Some(before) = message.history.last() else {
            // It was "thinking" until now.
            return posted(chat, message).map(|text| Shown::Lines(format!("{}{text}", head(change))));
        };
        let former = Message {
            content: before.content.clone(),
            embeds: before.embeds.clone(),
            components: before.components.clone(),
            ..message.clone()
        };
        let then = former.text();
        let fresh: Vec<_> = now.lines().filter(|line| !then.lines().any(|old| old == *line)).collect();
        if fresh.is_empty() && before.components == message.components {
            return None;
        }
        let line = plain(chat, &fresh.join(" · "));
        let creeping = CREEPING.replace_all(&then, " ") == CREEPING.replace_all(&now, " ");
        if creeping && before.components == message.components {
            // A transcript that began after the message had been posted starts from what it says first.
            let shown = *self.percents.entry(message.id).or_insert_with(|| self::percent(&then).unwrap_or(0));
            let noticeable =
                percent.is_some_and(|percent| percent.abs_diff(shown) >= NOTICEABLE_PERCENT || (percent == 100 && shown < 100));
            let text = format!("{}✎ {}", head(change), excerpt(&line));
            if !noticeable {
                return Some(Shown::Progress(text));
            }
            self.percents.extend(percent.map(|percent| (message.id, percent)));
            return Some(Shown::Lines(text));
        }
        self.percents.extend(percent.map(|percent| (message.id, percent)));
        let mut text = format!("{}✎ {}", head(change), if line.is_empty() { excerpt(&plain(chat, &now)) } else { line });
        if before.components != message.components {
            push_rows(&mut text, message);
        }
        Some(Shown::Lines(text))
    }
}

fn percent(text: &str) -> Option<u32> {
    PERCENT.captures(text)?.get(1)?.as_str().parse().ok()
}

/// `21:45:03  #ops › run 7  Pointsman  `.
fn head(change: &Change) -> String {
    let mut head = change.at.format("%H:%M:%S  ").to_string();
    for part in [&change.place, &change.who] {
        if !part.is_empty() {
            head.push_str(part);
            head.push_str("  ");
        }
    }
    head
}

fn posted(chat: &Chat, message: &Message) -> Option<String> {
    if message.is_loading() {
        return None;
    }
    let mut text = String::new();
    if let Some(only) = message.ephemeral_for {
        // The rest of the chat does not see it.
        let _ = write!(text, "(only to {}) ", chat.user_label(only));
    }
    if !message.is_post() {
        let what = plain(chat, &message.content);
        let _ = write!(text, "({:?}) {what}", message.kind);
        return Some(text.trim_end().to_owned());
    }
    let content = plain(chat, &message.content);
    text.push_str(&content.replace('\n', &format!("\n{INDENT}")));
    for embed in &message.embeds {
        push_box(&mut text, chat, embed);
    }
    push_rows(&mut text, message);
    for attachment in &message.attachments {
        let _ = write!(text, "\n{INDENT}📎 {}", described(attachment));
    }
    Some(text.trim_end().to_owned())
}

fn push_box(text: &mut String, chat: &Chat, embed: &Embed) {
    let title = embed.title.as_deref().or(embed.author.as_ref().map(|author| author.name.as_str()));
    let _ = write!(text, "\n{INDENT}┌ {}", plain(chat, title.unwrap_or_default()));
    let mut line = |body: &str| {
        for line in plain(chat, body).lines() {
            let _ = write!(text, "\n{INDENT}│ {line}");
        }
    };
    line(embed.description.as_deref().unwrap_or_default());
    for field in &embed.fields {
        let gap = if field.value.contains('\n') { "\n" } else { " " };
        line(&format!("{}:{gap}{}", field.name, field.value));
    }
    let footer = embed.footer.as_ref().map_or("", |footer| footer.text.as_str());
    let _ = write!(text, "\n{INDENT}└ {}", plain(chat, footer));
    text.truncate(text.trim_end().len());
}

fn push_rows(text: &mut String, message: &Message) {
    for component in &message.components {
        let Component::ActionRow(row) = component else {
            continue;
        };
        let labels: Vec<_> = row.components.iter().filter_map(label).collect();
        let _ = write!(text, "\n{INDENT}{}", labels.join(" "));
    }
}

fn label(component: &Component) -> Option<String> {
    match component {
        Component::Button(button) => {
            let label = button.label.as_deref().or(button.custom_id.as_deref()).unwrap_or_default();
            let link = if button.style == ButtonStyle::Link { " ↗" } else { "" };
            Some(if button.disabled { format!("({label})") } else { format!("[{label}{link}]") })
        }
        Component::SelectMenu(select) => Some(format!("[{} ▾]", select.placeholder.as_deref().unwrap_or(&select.custom_id))),
        _ => None,
    }
}

fn described(attachment: &Attachment) -> String {
    let size = match attachment.size {
        bytes @ 0..1024 => format!("{bytes} B"),
        bytes @ 1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        bytes => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    };
    format!("{} ({size})", attachment.filename)
}

/// The first line, cut to what fits beside a name.
fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= CHARS_MAX {
        return line.to_owned();
    }
    let cut: String = line.chars().take(CHARS_MAX - 1).collect();
    format!("{}…", cut.trim_end())
}

fn renamed(now: &super::Channel, before: &super::Channel) -> Option<String> {
    if now.name != before.name {
        return Some(format!("renames #{} to #{}", before.name, now.name));
    }
    if now.topic != before.topic {
        return Some(format!("sets the topic: {}", now.topic.as_deref().unwrap_or("(none)")));
    }
    let (now, before) = (now.thread.as_ref()?, before.thread.as_ref()?);
    match (now.archived, before.archived) {
        (true, false) => Some("(the thread is archived)".to_owned()),
        (false, true) => Some("(the thread is open again)".to_owned()),
        _ => None,
    }
}

fn answered(response: &Response) -> Option<String> {
    match response {
        Response::NotAnswered => Some("⚠ the application did not respond".to_owned()),
        Response::Modal(modal) => Some(format!("asks: {} ({})", modal.title, modal.inputs().join(", "))),
        // The message itself is shown.
        Response::Waiting
        | Response::Deferred(_)
        | Response::DeferredUpdate
        | Response::Message(_)
        | Response::Updated(_)
        | Response::Choices(_) => None,
    }
}

/// Mentions by name, stamps as times, custom emoji by name.
pub(in crate::sandbox) fn plain(chat: &Chat, text: &str) -> String {
    let replaced = MARK.replace_all(text, |found: &Captures<'_>| {
        if let Some(seconds) = found.get(2) {
            let at = seconds.as_str().parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            let pattern = if found.get(3).is_some_and(|style| matches!(style.as_str(), "d" | "D" | "f" | "F")) {
                "%Y-%m-%d %H:%M UTC"
            } else {
                "%H:%M:%S UTC"
            };
            return at.map_or_else(|| found[0].to_owned(), |at| at.format(pattern).to_string());
        }
        if let Some(emoji) = found.get(4) {
            return format!(":{}:", emoji.as_str());
        }
        name(chat, &found[0], &found[1]).unwrap_or_else(|| found[0].to_owned())
    });
    replaced.into_owned()
}

fn name(chat: &Chat, mark: &str, id: &str) -> Option<String> {
    if mark.starts_with("<#") {
        return id.parse().ok().map(|id| chat.channel_label(id));
    }
    if mark.starts_with("<@&") {
        let role = chat.roles.get(&id.parse().ok()?)?;
        return Some(format!("@{}", role.name));
    }
    let member = chat.members.get(&id.parse().ok()?)?;
    Some(format!("@{}", member.display_name))
}

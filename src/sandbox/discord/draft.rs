//! A message as it comes from a client: parsed into twilight's types and held against Discord's limits.
//!
//! This is the second, independent reading of what the bot sends: serenity built it, twilight must understand it.

use std::collections::HashSet;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use twilight_model::channel::message::{AllowedMentions, Component, Embed, MentionType};
use twilight_validate::message as limits;

use super::error::ApiError;
use super::ids::{AttachmentId, MessageId};

/// Files a message may have. Source: opcode 30015.
const FILES_MAX: usize = 10;
/// Bytes a file may have without boosts. Source: <https://discord.com/developers/docs/reference#uploading-files>.
const FILE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Characters of a nonce. Source: <https://discord.com/developers/docs/resources/message#create-message>.
const NONCE_MAX: usize = 25;

/// A file that came with a message.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// The number in its field's name: `files[3]` is 3.
    pub(super) number: u64,
    pub(super) filename: String,
    pub(super) bytes: Bytes,
    pub(super) description: Option<String>,
}

/// A message to post, or the changes to one: `None` leaves a part as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) content: Option<String>,
    pub(super) embeds: Option<Vec<Embed>>,
    pub(super) components: Option<Vec<Component>>,
    pub(super) flags: u64,
    pub(super) allowed_mentions: Option<AllowedMentions>,
    pub(super) nonce: Option<String>,
    pub(super) enforce_nonce: bool,
    pub(super) reply_to: Option<MessageId>,
    /// Of an edit: which of the former attachments stay.
    pub(super) kept: Option<Vec<AttachmentId>>,
    pub(super) files: Vec<File>,
}

impl Draft {
    /// A person's plain text.
    pub(super) fn text(content: &str) -> Result<Self, ApiError> {
        Self::parse(&json!({ "content": content }), Vec::new())
    }

    /// Reads a message body.
    ///
    /// # Errors
    /// 50035 with the field and the reason; 40005 for files that are too large.
    pub(super) fn parse(body: &Value, files: Vec<File>) -> Result<Self, ApiError> {
        let draft = Self {
            content: field(body, "content")?,
            embeds: embeds(body)?,
            components: field(body, "components")?,
            flags: field(body, "flags")?.unwrap_or(0),
            allowed_mentions: field(body, "allowed_mentions")?,
            nonce: nonce(body)?,
            enforce_nonce: field(body, "enforce_nonce")?.unwrap_or(false),
            reply_to: reference(body)?,
            kept: kept(body)?,
            files: described(body, files),
        };
        draft.check()?;
        Ok(draft)
    }

    /// Whether it has nothing to show.
    pub(super) fn is_empty(&self) -> bool {
        self.content.as_deref().unwrap_or_default().trim().is_empty()
            && self.embeds.as_ref().is_none_or(Vec::is_empty)
            && self.components.as_ref().is_none_or(Vec::is_empty)
            && self.files.is_empty()
    }

    fn check(&self) -> Result<(), ApiError> {
        if let Some(content) = &self.content {
            limits::content(content).map_err(|error| ApiError::invalid("content", error))?;
        }
        if let Some(embeds) = &self.embeds {
            limits::embeds(embeds).map_err(|error| ApiError::invalid("embeds", chain(&error)))?;
        }
        if let Some(components) = &self.components {
            limits::components(components, false).map_err(|error| ApiError::invalid("components", chain(&error)))?;
            check_custom_ids(components)?;
        }
        if let Some(nonce) = self.nonce.as_ref().filter(|nonce| nonce.chars().count() > NONCE_MAX) {
            return Err(ApiError::invalid("nonce", format!("{nonce:?} is longer than {NONCE_MAX} characters")));
        }
        if let Some(allowed) = &self.allowed_mentions {
            check_allowed(allowed)?;
        }
        self.check_files()
    }

    fn check_files(&self) -> Result<(), ApiError> {
        if self.files.len() > FILES_MAX {
            return Err(ApiError::new(400, 30015, "Maximum number of attachments in a message reached (10)"));
        }
        if self.files.iter().any(|file| file.bytes.len() > FILE_BYTES_MAX) {
            return Err(ApiError::new(413, 40005, "Request entity too large"));
        }
        for file in &self.files {
            limits::attachment_filename(&file.filename).map_err(|error| ApiError::invalid("files", error))?;
        }
        Ok(())
    }
}

/// An error with its causes: twilight says only the outermost by itself.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The field `name` of a JSON body, absent and `null` alike being `None`.
///
/// # Errors
/// 50035 when it is there and of the wrong form.
pub(super) fn field<T: DeserializeOwned>(body: &Value, name: &str) -> Result<Option<T>, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::deserialize(value).map(Some).map_err(|error| ApiError::invalid(name, error)),
    }
}

/// `embeds`, with the type that clients leave out and times in the one spelling twilight reads.
fn embeds(body: &Value) -> Result<Option<Vec<Embed>>, ApiError> {
    let Some(mut embeds) = field::<Vec<Value>>(body, "embeds")? else {
        return Ok(None);
    };
    for embed in embeds.iter_mut().filter_map(Value::as_object_mut) {
        embed.insert("type".to_owned(), json!("rich"));
        if let Some(Value::String(timestamp)) = embed.get_mut("timestamp") {
            let parsed = chrono::DateTime::parse_from_rfc3339(timestamp)
                .map_err(|error| ApiError::invalid("embeds", format!("timestamp {timestamp:?}: {error}")))?;
            *timestamp = super::wire::timestamp(parsed.to_utc());
        }
    }
    let parse = |embed| serde_json::from_value(embed).map_err(|error| ApiError::invalid("embeds", error));
    embeds.into_iter().map(parse).collect::<Result<_, _>>().map(Some)
}

fn nonce(body: &Value) -> Result<Option<String>, ApiError> {
    match body.get("nonce") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(nonce)) => Ok(Some(nonce.clone())),
        Some(Value::Number(nonce)) => Ok(Some(nonce.to_string())),
        Some(_) => Err(ApiError::invalid("nonce", "must be a string or an integer")),
    }
}

fn reference(body: &Value) -> Result<Option<MessageId>, ApiError> {
    match body.get("message_reference") {
        None | Some(Value::Null) => Ok(None),
        Some(reference) => field(reference, "message_id"),
    }
}

fn kept(body: &Value) -> Result<Option<Vec<AttachmentId>>, ApiError> {
    let Some(list) = field::<Vec<Value>>(body, "attachments")? else {
        return Ok(None);
    };
    // New files are numbered from 0 in the same list; a snowflake is never that small.
    let id = |entry: &Value| match entry.get("id")? {
        Value::String(id) => id.parse::<AttachmentId>().ok(),
        Value::Number(id) => id.as_u64().and_then(AttachmentId::new_checked),
        _ => None,
    };
    Ok(Some(list.iter().filter_map(id).collect()))
}

fn described(body: &Value, mut files: Vec<File>) -> Vec<File> {
    let entries = body.get("attachments").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let number = entry.get("id").and_then(|id| id.as_u64().or_else(|| id.as_str()?.parse().ok()));
        let description = entry.get("description").and_then(Value::as_str);
        if let Some(file) = files.iter_mut().find(|file| Some(file.number) == number) {
            file.description = description.map(ToOwned::to_owned);
        }
    }
    files
}

fn check_custom_ids(components: &[Component]) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    for component in components.iter().flat_map(|component| match component {
        Component::ActionRow(row) => row.components.as_slice(),
        other => std::slice::from_ref(other),
    }) {
        let custom_id = match component {
            Component::Button(button) => button.custom_id.as_deref(),
            Component::SelectMenu(select) => Some(select.custom_id.as_str()),
            Component::TextInput(input) => Some(input.custom_id.as_str()),
            _ => None,
        };
        let Some(custom_id) = custom_id else { continue };
        if custom_id.is_empty() {
            return Err(ApiError::invalid("components", "a custom_id is empty"));
        }
        if !seen.insert(custom_id) {
            return Err(ApiError::invalid("components", format!("component custom id {custom_id:?} is duplicated")));
        }
    }
    Ok(())
}

/// `parse` and an explicit list for the same kind exclude each other.
/// Source: <https://discord.com/developers/docs/resources/message#allowed-mentions-object>.
fn check_allowed(allowed: &AllowedMentions) -> Result<(), ApiError> {
    let both = (allowed.parse.contains(&MentionType::Users) && !allowed.users.is_empty())
        || (allowed.parse.contains(&MentionType::Roles) && !allowed.roles.is_empty());
    if both {
        return Err(ApiError::invalid("allowed_mentions", "parse and an explicit list are mutually exclusive"));
    }
    if allowed.users.len() > 100 || allowed.roles.len() > 100 {
        return Err(ApiError::invalid("allowed_mentions", "at most 100 users and 100 roles"));
    }
    Ok(())
}

//! Neutral messages as Discord's JSON.

use serde_json::{Value, json};

use super::custom_id::CustomId;
use crate::domain::UserId;
use crate::render::{Button, Embed, Message, Pings, Style};

/// The part of a message that can be edited. Mentions are always explicit: an edit pings nobody.
pub(super) fn editable(message: &Message) -> Value {
    json!({
        "content": message.content,
        "embeds": message.embeds.iter().map(embed).collect::<Vec<_>>(),
        "components": message.rows.iter().map(|row| row_of(row)).collect::<Vec<_>>(),
        "allowed_mentions": allowed(&Pings::default()),
    })
}

/// A new message: the same, and the mentions that it means.
pub(super) fn creatable(message: &Message) -> Value {
    let mut body = editable(message);
    body["allowed_mentions"] = allowed(&message.pings);
    body
}

/// Adds the names of the files that go with the request.
pub(super) fn with_files(mut body: Value, names: &[String]) -> Value {
    if !names.is_empty() {
        let file = |(id, name): (usize, &String)| json!({ "id": id, "filename": name });
        body["attachments"] = names.iter().enumerate().map(file).collect();
    }
    body
}

fn allowed(pings: &Pings) -> Value {
    json!({
        "parse": [],
        "roles": pings.roles.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "users": pings.users.iter().map(UserId::to_string).collect::<Vec<_>>(),
        "replied_user": false,
    })
}

fn embed(embed: &Embed) -> Value {
    let mut body = json!({ "color": embed.colour.rgb() });
    if !embed.title.is_empty() {
        body["title"] = embed.title.clone().into();
    }
    if !embed.description.is_empty() {
        body["description"] = embed.description.clone().into();
    }
    if !embed.fields.is_empty() {
        let field = |field: &crate::render::Field| json!({ "name": field.name, "value": field.value, "inline": false });
        body["fields"] = embed.fields.iter().map(field).collect();
    }
    if !embed.footer.is_empty() {
        body["footer"] = json!({ "text": embed.footer });
    }
    body
}

/// Discord's number of an action row.
const ACTION_ROW: u8 = 1;
/// Discord's number of a button.
const BUTTON: u8 = 2;

fn row_of(row: &[Button]) -> Value {
    json!({ "type": ACTION_ROW, "components": row.iter().map(button).collect::<Vec<_>>() })
}

fn button(button: &Button) -> Value {
    let style = match button.style {
        Style::Primary => 1,
        Style::Secondary => 2,
        Style::Success => 3,
        Style::Danger => 4,
    };
    raw_button(&button.label, style, &CustomId::Press(button.press.clone()), button.emoji, button.disabled)
}

fn raw_button(label: &str, style: u8, id: &CustomId, emoji: Option<&str>, disabled: bool) -> Value {
    let mut body = json!({
        "type": BUTTON, "style": style, "label": label, "custom_id": id.encode(), "disabled": disabled,
    });
    if let Some(emoji) = emoji {
        body["emoji"] = json!({ "name": emoji });
    }
    body
}

/// A row with one button.
pub(super) fn single_button(label: &str, id: &CustomId) -> Value {
    json!([{ "type": ACTION_ROW, "components": [raw_button(label, 1, id, None, false)] }])
}

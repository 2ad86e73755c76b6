//! The first answer to an interaction: once, within three seconds, of a kind that fits.

use chrono::TimeDelta;
use serde_json::Value;
use twilight_model::application::command::CommandOptionChoice;
use twilight_model::channel::message::{Component, MessageType};
use twilight_validate::{command as limits, component as component_limits};

use super::{Answer, ApiError, Call, Reply, State, body, draft};
use crate::clock;
use crate::sandbox::discord::chat::{Choice, FLAG_EPHEMERAL, FLAG_LOADING, Interaction, InteractionKind, Modal, Response};
use crate::sandbox::discord::draft::{Draft, chain, field};
use crate::sandbox::discord::feed::What;
use crate::sandbox::discord::ids::{InteractionId, MessageId};
use crate::sandbox::discord::state::Posting;

/// Source of the limits: <https://discord.com/developers/docs/components/reference>,
/// <https://discord.com/developers/docs/interactions/receiving-and-responding>.
const MODAL_TITLE_MAX: usize = 45;
const CUSTOM_ID_MAX: usize = 100;
const MODAL_INPUTS_MAX: usize = 5;
const CHOICES_MAX: usize = 25;

pub(super) fn callback(state: &mut State, call: &Call, id: InteractionId, token: &str) -> Answer {
    let interaction = open(state, id, token)?;
    let body = body(call)?;
    let kind: u8 = field(body, "type")?.ok_or_else(|| ApiError::invalid("type", "this field is required"))?;
    let empty = Value::Null;
    let data = body.get("data").unwrap_or(&empty);
    check_fit(kind, interaction.kind, interaction.source.is_some())?;
    let response = match kind {
        4 => Response::Message(respond(state, &interaction, draft_of(call, data)?, false)?),
        5 => {
            let draft = Draft { flags: field(data, "flags")?.unwrap_or(0) & FLAG_EPHEMERAL, ..Draft::default() };
            Response::Deferred(respond(state, &interaction, draft, true)?)
        }
        6 => Response::DeferredUpdate,
        7 => Response::Updated(update(state, &interaction, draft_of(call, data)?)?),
        8 => Response::Choices(choices(data)?),
        _ => Response::Modal(modal(data)?),
    };
    settle(state, id, response);
    Ok(Reply::empty())
}

fn open(state: &mut State, id: InteractionId, token: &str) -> Result<Interaction, ApiError> {
    let unknown = || ApiError::new(404, 10062, "Unknown interaction");
    let interaction = state.chat.interactions.get(&id).filter(|known| known.token == token).ok_or_else(unknown)?;
    let limit = TimeDelta::from_std(state.settings.answer_within).unwrap_or(TimeDelta::MAX);
    match interaction.response {
        Response::Waiting if clock::wall_now() - interaction.wall_at <= limit => Ok(interaction.clone()),
        Response::Waiting | Response::NotAnswered => Err(unknown()),
        _ => Err(ApiError::new(400, 40060, "Interaction has already been acknowledged.")),
    }
}

/// Which answers fit which interaction. A modal's answer may touch a message only if a message opened it.
fn check_fit(kind: u8, asked: InteractionKind, has_source: bool) -> Result<(), ApiError> {
    let fits = match asked {
        InteractionKind::Autocomplete => kind == 8,
        InteractionKind::Command => matches!(kind, 4 | 5 | 9),
        InteractionKind::Component => matches!(kind, 4..=7 | 9),
        InteractionKind::ModalSubmit => matches!(kind, 4 | 5) || (matches!(kind, 6 | 7) && has_source),
    };
    if fits {
        return Ok(());
    }
    Err(ApiError::invalid("type", format!("callback type {kind} does not fit this interaction ({asked:?})")))
}

/// The message is in `data`; files came beside it.
fn draft_of(call: &Call, data: &Value) -> Result<Draft, ApiError> {
    if data.is_null() {
        return draft(call);
    }
    Draft::parse(data, call.files.clone())
}

/// Puts the answer's message into the channel. It needs none of the channel's permissions.
fn respond(state: &mut State, interaction: &Interaction, draft: Draft, loading: bool) -> Result<MessageId, ApiError> {
    let ephemeral = draft.flags & FLAG_EPHEMERAL != 0;
    let flags = draft.flags & (FLAG_EPHEMERAL | 1 << 2) | if loading { FLAG_LOADING } else { 0 };
    let kind = match interaction.kind {
        InteractionKind::Command => MessageType::ChatInputCommand,
        _ if interaction.source.is_some() => MessageType::Reply,
        _ => MessageType::Regular,
    };
    state.post(Posting {
        kind,
        flags,
        ephemeral_for: ephemeral.then_some(interaction.user),
        interaction: Some(interaction.id),
        ..Posting::plain(interaction.channel, state.chat.bot, draft)
    })
}

fn update(state: &mut State, interaction: &Interaction, draft: Draft) -> Result<MessageId, ApiError> {
    let source = interaction.source.ok_or_else(ApiError::unknown_message)?;
    state.edit(interaction.channel, source, draft)?;
    Ok(source)
}

fn choices(data: &Value) -> Result<Vec<Choice>, ApiError> {
    let choices: Vec<CommandOptionChoice> = field(data, "choices")?.unwrap_or_default();
    if choices.len() > CHOICES_MAX {
        return Err(ApiError::invalid("choices", format!("{} choices, at most {CHOICES_MAX}", choices.len())));
    }
    for choice in &choices {
        limits::choice(choice).map_err(|error| ApiError::invalid("choices", error))?;
    }
    let value = |choice: &CommandOptionChoice| serde_json::to_value(&choice.value).unwrap_or_default();
    Ok(choices.iter().map(|choice| Choice { name: choice.name.clone(), value: value(choice) }).collect())
}

fn modal(data: &Value) -> Result<Modal, ApiError> {
    let required = |name| ApiError::invalid(name, "this field is required");
    let modal = Modal {
        custom_id: field(data, "custom_id")?.ok_or_else(|| required("custom_id"))?,
        title: field(data, "title")?.ok_or_else(|| required("title"))?,
        components: field(data, "components")?.ok_or_else(|| required("components"))?,
    };
    let length = |text: &str| text.chars().count();
    if !(1..=CUSTOM_ID_MAX).contains(&length(&modal.custom_id)) {
        return Err(ApiError::invalid("custom_id", "must have 1 to 100 characters"));
    }
    if !(1..=MODAL_TITLE_MAX).contains(&length(&modal.title)) {
        return Err(ApiError::invalid("title", "must have 1 to 45 characters"));
    }
    if !(1..=MODAL_INPUTS_MAX).contains(&modal.components.len()) || modal.inputs().len() != modal.components.len() {
        return Err(ApiError::invalid("components", "a modal has 1 to 5 rows of one text input each"));
    }
    for component in &modal.components {
        check_row(component)?;
    }
    let mut names = modal.inputs();
    names.sort_unstable();
    names.dedup();
    if names.len() != modal.components.len() {
        return Err(ApiError::invalid("components", "component custom ids are duplicated"));
    }
    Ok(modal)
}

fn check_row(component: &Component) -> Result<(), ApiError> {
    let checked = match component {
        Component::ActionRow(row) => component_limits::action_row(row, false),
        Component::Label(label) => match label.component.as_ref() {
            Component::TextInput(input) => component_limits::text_input(input, false),
            _ => {
                return Err(ApiError::invalid("components", "the model has text inputs only"));
            }
        },
        _ => {
            return Err(ApiError::invalid("components", "a modal has rows of text inputs only"));
        }
    };
    checked.map_err(|error| ApiError::invalid("components", chain(&error)))
}

/// Notes the first answer.
fn settle(state: &mut State, id: InteractionId, response: Response) {
    let Some(interaction) = state.chat.interactions.get_mut(&id) else {
        return;
    };
    let after_millis = (clock::wall_now() - interaction.wall_at).num_milliseconds();
    interaction.answered_millis = Some(after_millis);
    interaction.original = match &response {
        Response::Message(message) | Response::Deferred(message) | Response::Updated(message) => Some(*message),
        Response::DeferredUpdate => interaction.source,
        _ => None,
    };
    interaction.response = response.clone();
    let (channel, bot) = (interaction.channel, state.chat.bot);
    state.record(Some(channel), Some(bot), What::InteractionAnswered { interaction: id, response, after_millis });
}

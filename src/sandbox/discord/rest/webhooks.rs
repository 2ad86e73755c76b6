//! What may follow the first answer, for fifteen minutes, by the interaction's token.

use chrono::TimeDelta;
use twilight_model::channel::message::MessageType;

use super::{Answer, ApiError, Call, Reply, State, draft, id, unmodelled};
use crate::sandbox::discord::chat::{FLAG_EPHEMERAL, Interaction, Response};
use crate::sandbox::discord::ids::{ApplicationId, MessageId};
use crate::sandbox::discord::state::Posting;
use crate::sandbox::discord::wire::{self, View};

/// How long the token lives, in the model's time.
/// Source: <https://discord.com/developers/docs/interactions/receiving-and-responding#followup-messages>.
const TOKEN_LIFE: TimeDelta = TimeDelta::minutes(15);

pub(super) fn route(
    state: &mut State,
    call: &Call,
    method: &str,
    application: ApplicationId,
    token: &str,
    rest: &[&str],
) -> Answer {
    let interaction = open(state, application, token)?;
    match (method, rest) {
        ("POST", []) => follow_up(state, call, &interaction),
        (_, ["messages", message]) => {
            let message = target(&interaction, message)?;
            match method {
                "GET" => shown(state, &interaction, message),
                "PATCH" => {
                    let draft = draft(call)?;
                    state.edit(interaction.channel, message, draft)?;
                    shown(state, &interaction, message)
                }
                "DELETE" => {
                    state.delete(interaction.channel, message, Some(state.chat.bot))?;
                    Ok(Reply::empty())
                }
                _ => unmodelled(state, call),
            }
        }
        _ => unmodelled(state, call),
    }
}

fn open(state: &State, application: ApplicationId, token: &str) -> Result<Interaction, ApiError> {
    let unknown = || ApiError::new(404, 10015, "Unknown Webhook");
    if application != state.chat.application {
        return Err(unknown());
    }
    let interaction = state.chat.interactions.values().rev().find(|known| known.token == token).ok_or_else(unknown)?;
    if matches!(interaction.response, Response::Waiting | Response::NotAnswered) {
        return Err(unknown());
    }
    if state.now() - interaction.at >= TOKEN_LIFE {
        return Err(ApiError::new(401, 50027, "Invalid Webhook Token"));
    }
    Ok(interaction.clone())
}

/// `@original` or one of the interaction's own messages.
fn target(interaction: &Interaction, message: &str) -> Result<MessageId, ApiError> {
    if message == "@original" {
        return interaction.original.ok_or_else(ApiError::unknown_message);
    }
    let message = id(message)?;
    let own = interaction.original == Some(message) || interaction.followups.contains(&message);
    if own { Ok(message) } else { Err(ApiError::unknown_message()) }
}

fn shown(state: &State, interaction: &Interaction, message: MessageId) -> Answer {
    let message = state.chat.message(interaction.channel, message).ok_or_else(ApiError::unknown_message)?;
    Ok(Reply::json(wire::message(&state.chat, message, View { gateway: false, content: true })))
}

/// A message after the first answer. While the first one is still "thinking", it fills that one, as Discord does.
fn follow_up(state: &mut State, call: &Call, interaction: &Interaction) -> Answer {
    let draft = draft(call)?;
    let thinking = interaction
        .original
        .filter(|&original| state.chat.message(interaction.channel, original).is_some_and(|message| message.is_loading()));
    if let Some(original) = thinking {
        state.edit(interaction.channel, original, draft)?;
        return shown(state, interaction, original);
    }
    let ephemeral = draft.flags & FLAG_EPHEMERAL != 0;
    let message = state.post(Posting {
        kind: MessageType::Reply,
        flags: draft.flags & (FLAG_EPHEMERAL | 1 << 2),
        ephemeral_for: ephemeral.then_some(interaction.user),
        interaction: Some(interaction.id),
        ..Posting::plain(interaction.channel, state.chat.bot, draft)
    })?;
    if let Some(known) = state.chat.interactions.get_mut(&interaction.id) {
        known.followups.push(message);
    }
    shown(state, interaction, message)
}

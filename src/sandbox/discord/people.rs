//! What people do: commands, completions, buttons, modals, reactions, messages, and a moderator's hand.
//!
//! A person acts through Discord's client, which does not let them do what they may not do or cannot see;
//! such an attempt is [`Refused`] here and never reaches the bot.

use std::time::Duration;

use serde_json::{Value, json};
use twilight_model::application::command::CommandType;
use twilight_model::channel::ChannelType;
use twilight_model::channel::message::Component;
use twilight_model::channel::message::component::{SelectMenuType, TextInput};
use twilight_model::gateway::Intents;
use twilight_model::guild::Permissions;

use super::answer::Pending;
use super::chat::{Elsewhere, Interaction, InteractionKind, Message, Response};
use super::draft::Draft;
use super::error::ApiError;
use super::feed::What;
use super::ids::{ChannelId, InteractionId, MessageId, UserId};
use super::state::{Posting, State};
use super::wire::{self, View};
use super::{Model, permissions, slash};
use crate::clock::{self, Ids, RandomIds};

/// What Discord's client would not let the person do, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    pub(super) fn unknown(what: &str, name: &str, known: impl Iterator<Item = String>) -> Self {
        let known: Vec<_> = known.collect();
        Self(format!("unknown {what} {name:?}; there are: {}", known.join(", ")))
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self(error.line())
    }
}

impl Model {
    /// Sends a slash command as the person called `user`: `/migrate start runbook:x at:"22:00"`.
    ///
    /// # Errors
    /// What the client would refuse: an unknown command or option, a value of the wrong kind, a hidden channel.
    pub fn slash(&self, user: &str, channel: ChannelId, text: &str) -> Result<Pending, Refused> {
        self.command(user, channel, text, false)
    }

    /// Sends a slash command of a person who is not in the guild's channels at that moment, as a bot gets it that was
    /// invited elsewhere or registered its commands globally. The model has no such place: the answer is kept in
    /// `channel`, for this person alone.
    ///
    /// # Errors
    /// As [`Model::slash`].
    pub fn slash_from(&self, from: Elsewhere, user: &str, channel: ChannelId, text: &str) -> Result<Pending, Refused> {
        self.interact(|state| Ok(Asked { elsewhere: Some(from), ..typed_command(state, user, channel, text, false)? }))
    }

    /// Types a slash command up to the end of `text` and asks for the completions of its last option.
    ///
    /// # Errors
    /// As [`Model::slash`], or when that option does not complete itself.
    pub fn autocomplete(&self, user: &str, channel: ChannelId, text: &str) -> Result<Pending, Refused> {
        self.command(user, channel, text, true)
    }

    fn command(&self, user: &str, channel: ChannelId, text: &str, completing: bool) -> Result<Pending, Refused> {
        self.interact(|state| typed_command(state, user, channel, text, completing))
    }

    /// Uses the message command `name` (in the context menu) on a message.
    ///
    /// # Errors
    /// When there is no such command or message for this person.
    pub fn message_command(&self, user: &str, message: MessageId, name: &str) -> Result<Pending, Refused> {
        self.interact(|state| {
            let (user, target) = see(state, user, message)?;
            let commands = || state.chat.commands.iter().filter(|command| command.kind == CommandType::Message);
            let names = commands().map(|command| command.name.clone());
            let command = commands().find(|command| command.name == name);
            let command = command.ok_or_else(|| Refused::unknown("message command", name, names))?;
            // The target comes whole even to a bot without the message-content intent.
            let whole = wire::message(&state.chat, &target, View { gateway: false, content: true });
            let data = json!({
                "id": command.id, "name": command.name, "type": 3, "guild_id": state.chat.guild,
                "target_id": message, "resolved": { "messages": { message.to_string(): whole } },
            });
            let said = format!("{name} (on a message)");
            Ok(Asked { kind: InteractionKind::Command, user, channel: target.channel, elsewhere: None, source: None, said, data })
        })
    }

    /// Clicks the button `custom_id` of a message.
    ///
    /// # Errors
    /// When this person sees no such button, or it is disabled.
    pub fn click(&self, user: &str, message: MessageId, custom_id: &str) -> Result<Pending, Refused> {
        self.interact(|state| {
            let (user, target) = see(state, user, message)?;
            let button = match target.component(custom_id) {
                Some(Component::Button(button)) => button,
                _ => {
                    let known = target.custom_ids().into_iter().map(ToOwned::to_owned);
                    return Err(Refused::unknown("button", custom_id, known));
                }
            };
            if button.disabled {
                return Err(Refused::new(format!("the button {custom_id:?} is disabled")));
            }
            let said = format!("[{}]", button.label.clone().unwrap_or_else(|| custom_id.to_owned()));
            let data = json!({ "custom_id": custom_id, "component_type": 2 });
            Ok(on_message(user, &target, said, data))
        })
    }

    /// Chooses `values` in the select `custom_id` of a message: options by value, people, roles and channels by id.
    ///
    /// # Errors
    /// When this person sees no such select, or it does not offer these values.
    pub fn select(&self, user: &str, message: MessageId, custom_id: &str, values: &[&str]) -> Result<Pending, Refused> {
        self.interact(|state| {
            let (user, target) = see(state, user, message)?;
            let select = match target.component(custom_id) {
                Some(Component::SelectMenu(select)) if !select.disabled => select,
                _ => {
                    let known = target.custom_ids().into_iter().map(ToOwned::to_owned);
                    return Err(Refused::unknown("select", custom_id, known));
                }
            };
            let range = usize::from(select.min_values.unwrap_or(1))..=usize::from(select.max_values.unwrap_or(1));
            if !range.contains(&values.len()) {
                return Err(Refused::new(format!("{custom_id:?} takes {range:?} values")));
            }
            let options = select.options.as_deref().unwrap_or_default();
            for value in values.iter().filter(|_| select.kind == SelectMenuType::Text) {
                if !options.iter().any(|option| option.value == **value) {
                    return Err(Refused::unknown("option", value, options.iter().map(|option| option.value.clone())));
                }
            }
            let said = format!("[{}]", values.join(", "));
            let component_type: u8 = match select.kind {
                SelectMenuType::User => 5,
                SelectMenuType::Role => 6,
                SelectMenuType::Mentionable => 7,
                SelectMenuType::Channel => 8,
                _ => 3,
            };
            let data = json!({ "custom_id": custom_id, "component_type": component_type, "values": values });
            Ok(on_message(user, &target, said, data))
        })
    }

    /// Sends the modal that `opened` answered with: `fields` are (custom id, text); an input left out keeps
    /// its prefilled text.
    ///
    /// # Errors
    /// When no modal is open there, a field is unknown, or a text is missing, too short or too long.
    pub fn submit_modal(&self, user: &str, opened: InteractionId, fields: &[(&str, &str)]) -> Result<Pending, Refused> {
        self.interact(|state| {
            let found = state.chat.interactions.get(&opened);
            let Some((interaction, modal)) = found.and_then(|interaction| match &interaction.response {
                Response::Modal(modal) => Some((interaction.clone(), modal.clone())),
                _ => None,
            }) else {
                return Err(Refused::new("no modal is open there"));
            };
            let user = member(state, user)?;
            if user != interaction.user {
                return Err(Refused::new("the modal is open on somebody else's screen"));
            }
            for (name, _) in fields {
                if !modal.inputs().contains(name) {
                    let known = modal.inputs().into_iter().map(ToOwned::to_owned);
                    return Err(Refused::unknown("field", name, known));
                }
            }
            let mut rows = Vec::new();
            for (number, input) in modal.text_inputs().enumerate() {
                let value = typed(input, fields)?;
                let field = json!({ "type": 4, "id": 2 * number + 2, "custom_id": input.custom_id, "value": value });
                rows.push(json!({ "type": 1, "id": 2 * number + 1, "components": [field] }));
            }
            let data = json!({ "custom_id": modal.custom_id, "components": rows, "resolved": {} });
            let said = format!("(sends {:?})", modal.title);
            let (channel, source) = (interaction.channel, interaction.source);
            Ok(Asked { kind: InteractionKind::ModalSubmit, user, channel, elsewhere: None, source, said, data })
        })
    }

    /// Reacts to a message.
    ///
    /// # Errors
    /// When the person may not, or sees no such message.
    pub fn react(&self, user: &str, message: MessageId, emoji: &str) -> Result<(), Refused> {
        self.with(|state| {
            let (user, target) = see(state, user, message)?;
            let first = target.reacted(emoji).is_empty();
            let wanted = if first { Permissions::ADD_REACTIONS } else { Permissions::empty() };
            allowed(state, user, target.channel, wanted | Permissions::READ_MESSAGE_HISTORY)?;
            Ok(state.react(target.channel, message, user, emoji)?)
        })
    }

    /// Takes one's own reaction back.
    ///
    /// # Errors
    /// When there is no such reaction.
    pub fn unreact(&self, user: &str, message: MessageId, emoji: &str) -> Result<(), Refused> {
        self.with(|state| {
            let (user, target) = see(state, user, message)?;
            Ok(state.unreact(target.channel, message, user, emoji, user)?)
        })
    }

    /// Removes somebody's reaction as a moderator.
    ///
    /// # Errors
    /// When the moderator lacks `MANAGE_MESSAGES`, or there is no such reaction.
    pub fn remove_reaction(&self, by: &str, message: MessageId, of: &str, emoji: &str) -> Result<(), Refused> {
        self.with(|state| {
            let (by, target) = see(state, by, message)?;
            let of = member(state, of)?;
            allowed(state, by, target.channel, Permissions::MANAGE_MESSAGES)?;
            Ok(state.unreact(target.channel, message, of, emoji, by)?)
        })
    }

    /// Writes a message. `<@id>` and `<@&id>` mention.
    ///
    /// # Errors
    /// When the person may not write there.
    pub fn send(&self, user: &str, channel: ChannelId, text: &str) -> Result<MessageId, Refused> {
        self.with(|state| {
            let thread = state.chat.channels.get(&channel).is_some_and(|channel| channel.thread.is_some());
            let wanted = if thread { Permissions::SEND_MESSAGES_IN_THREADS } else { Permissions::SEND_MESSAGES };
            let user = may(state, user, channel, wanted)?;
            state.settle_thread(channel);
            let locked = state.chat.channels.get(&channel).and_then(|channel| channel.thread.as_ref());
            if locked.is_some_and(|thread| thread.locked) {
                allowed(state, user, channel, Permissions::MANAGE_THREADS)?;
            }
            Ok(state.post(Posting::plain(channel, user, Draft::text(text)?))?)
        })
    }

    /// Deletes a message: one's own, or anyone's with `MANAGE_MESSAGES`.
    ///
    /// # Errors
    /// When the person may not.
    pub fn delete_message(&self, user: &str, message: MessageId) -> Result<(), Refused> {
        self.with(|state| {
            let (user, target) = see(state, user, message)?;
            if target.author != user {
                allowed(state, user, target.channel, Permissions::MANAGE_MESSAGES)?;
            }
            Ok(state.delete(target.channel, message, Some(user))?)
        })
    }

    /// Archives or locks a thread, or opens it again, as its owner or a moderator would.
    ///
    /// # Errors
    /// When the person may not, or it is no thread.
    pub fn archive_thread(&self, user: &str, thread: ChannelId, archived: bool, locked: bool) -> Result<(), Refused> {
        self.with(|state| {
            let user = may(state, user, thread, Permissions::MANAGE_THREADS)?;
            state.change_channel(thread, Some(user), |channel, now| {
                if let Some(thread) = &mut channel.thread {
                    (thread.archived, thread.locked) = (archived, locked);
                    (thread.archive_changed, thread.active) = (now, now);
                }
            });
            Ok(())
        })
    }

    /// Asks the bot, and lets the 3 s run.
    fn interact(&self, ask: impl FnOnce(&mut State) -> Result<Asked, Refused>) -> Result<Pending, Refused> {
        let (id, limit) = self.with(|state| {
            let asked = ask(state)?;
            Ok::<_, Refused>((deliver(state, asked), state.settings.answer_within))
        })?;
        let model = self.clone();
        tokio::spawn(async move {
            // A little longer than the limit, so that an answer in its last moment is not cut off.
            tokio::time::sleep(limit + Duration::from_millis(50)).await;
            model.with(|state| expire(state, id));
        });
        Ok(Pending { model: self.clone(), id })
    }
}

/// A typed slash command, or its beginning.
fn typed_command(state: &State, user: &str, channel: ChannelId, text: &str, completing: bool) -> Result<Asked, Refused> {
    let user = may(state, user, channel, Permissions::USE_SLASH_COMMANDS)?;
    let filled = slash::fill(&state.chat, text, completing)?;
    let needed = filled.command.default_member_permissions.unwrap_or(Permissions::empty());
    if !permissions::in_channel(&state.chat, user, channel).contains(needed) {
        return Err(Refused::new(format!("/{} is not shown to this member", filled.command.name)));
    }
    let data = json!({
        "id": filled.command.id, "name": filled.command.name, "type": 1, "guild_id": state.chat.guild,
        "options": filled.options, "resolved": filled.resolved,
    });
    let kind = if completing { InteractionKind::Autocomplete } else { InteractionKind::Command };
    let said = text.trim().to_owned();
    Ok(Asked { kind, user, channel, elsewhere: None, source: None, said, data })
}

/// What a person asks the bot.
struct Asked {
    kind: InteractionKind,
    user: UserId,
    channel: ChannelId,
    elsewhere: Option<Elsewhere>,
    source: Option<MessageId>,
    said: String,
    data: Value,
}

fn on_message(user: UserId, target: &Message, said: String, data: Value) -> Asked {
    let (channel, source) = (target.channel, Some(target.id));
    Asked { kind: InteractionKind::Component, user, channel, elsewhere: None, source, said, data }
}

fn member(state: &State, user: &str) -> Result<UserId, Refused> {
    let known = || state.chat.members.values().map(|member| member.name.clone());
    let found = state.chat.member_named(user).map(|member| member.id);
    found.ok_or_else(|| Refused::unknown("member", user, known()))
}

fn may(state: &State, user: &str, channel: ChannelId, wanted: Permissions) -> Result<UserId, Refused> {
    let user = member(state, user)?;
    allowed(state, user, channel, wanted)?;
    Ok(user)
}

fn allowed(state: &State, user: UserId, channel: ChannelId, wanted: Permissions) -> Result<(), Refused> {
    let held = permissions::in_channel(&state.chat, user, channel);
    let (who, place) = (state.chat.user_label(user), state.chat.channel_label(channel));
    if !held.contains(Permissions::VIEW_CHANNEL) {
        return Err(Refused(format!("{who} cannot see {place}")));
    }
    if !held.contains(wanted) {
        return Err(Refused(format!("{who} lacks {:?} in {place}", wanted - held)));
    }
    Ok(())
}

/// The message, if this person can see it.
fn see(state: &State, user: &str, message: MessageId) -> Result<(UserId, Message), Refused> {
    let user = member(state, user)?;
    let found = state.chat.find_message(message).ok_or_else(|| Refused::new("there is no such message"))?;
    if found.ephemeral_for.is_some_and(|only| only != user) {
        return Err(Refused::new("only somebody else can see that message"));
    }
    allowed(state, user, found.channel, Permissions::empty())?;
    Ok((user, found.clone()))
}

fn typed(input: &TextInput, fields: &[(&str, &str)]) -> Result<String, Refused> {
    let given = fields.iter().find(|(name, _)| *name == input.custom_id).map(|(_, text)| (*text).to_owned());
    let value = given.or_else(|| input.value.clone()).unwrap_or_default();
    let length = value.chars().count();
    if length == 0 && input.required != Some(false) {
        return Err(Refused::new(format!("field {} is required", input.custom_id)));
    }
    let (min, max) = (input.min_length.unwrap_or(0), input.max_length.unwrap_or(4000));
    if length > 0 && !(usize::from(min)..=usize::from(max)).contains(&length) {
        return Err(Refused::new(format!("field {} must have {min} to {max} characters", input.custom_id)));
    }
    Ok(value)
}

/// Records the interaction and sends it to the bot.
fn deliver(state: &mut State, asked: Asked) -> InteractionId {
    let now = state.now();
    let id: InteractionId = state.ids.next(now);
    let interaction = Interaction {
        id,
        token: format!("interaction-{:016x}{:016x}", RandomIds.next(), RandomIds.next()),
        kind: asked.kind,
        user: asked.user,
        channel: asked.channel,
        elsewhere: asked.elsewhere,
        source: asked.source,
        said: asked.said,
        at: now,
        wall_at: clock::wall_now(),
        response: Response::Waiting,
        answered_millis: None,
        original: None,
        followups: Vec::new(),
    };
    let event = event(state, &interaction, asked.data);
    state.chat.interactions.insert(id, interaction.clone());
    let (channel, user) = (interaction.channel, interaction.user);
    state.record(Some(channel), Some(user), What::InteractionCreated { interaction: Box::new(interaction) });
    // It needs no intent, and comes even from a channel that the bot cannot see.
    state.sessions.dispatch("INTERACTION_CREATE", Intents::empty(), |_| event.clone());
    id
}

fn event(state: &State, interaction: &Interaction, data: Value) -> Value {
    let chat = &state.chat;
    let kind: u8 = match interaction.kind {
        InteractionKind::Command => 2,
        InteractionKind::Component => 3,
        InteractionKind::Autocomplete => 4,
        InteractionKind::ModalSubmit => 5,
    };
    let member = chat.members.get(&interaction.user);
    let channel = chat.channels.get(&interaction.channel);
    let mut event = json!({
        "id": interaction.id, "application_id": chat.application, "type": kind, "token": interaction.token,
        "version": 1, "guild_id": chat.guild, "channel_id": interaction.channel,
        "channel": channel.map(|channel| wire::channel(chat, channel, chat.bot)),
        "member": member.map(|member| wire::interaction_member(chat, member, interaction.channel)),
        "locale": "en-GB", "guild_locale": "en-GB", "entitlements": [], "attachment_size_limit": 10_485_760,
        "authorizing_integration_owners": { "0": chat.guild }, "context": 0,
        "app_permissions": permissions::in_channel(chat, chat.bot, interaction.channel),
        "guild": { "id": chat.guild, "locale": "en-GB", "features": [] }, "data": data,
    });
    if channel.is_some_and(|channel| channel.kind != ChannelType::GuildCategory) {
        event["channel"]["permissions"] = json!(permissions::in_channel(chat, interaction.user, interaction.channel));
    }
    let source = interaction.source.and_then(|source| chat.message(interaction.channel, source));
    if let Some(source) = source {
        event["message"] = wire::message(chat, source, View { gateway: false, content: true });
    }
    match interaction.elsewhere {
        None => {}
        Some(Elsewhere::AnotherServer) => {
            let other = json!(chat.guild.get().wrapping_add(1).to_string());
            event["guild"]["id"] = other.clone();
            event["guild_id"] = other;
        }
        Some(Elsewhere::DirectMessage) => {
            if let Some(fields) = event.as_object_mut() {
                fields.retain(|field, _| !matches!(field.as_str(), "guild" | "guild_id" | "guild_locale" | "member" | "channel"));
            }
            event["user"] = json!(member.map(wire::user));
            event["context"] = json!(1);
        }
    }
    event
}

fn expire(state: &mut State, id: InteractionId) {
    let Some(interaction) = state.chat.interactions.get_mut(&id) else {
        return;
    };
    if interaction.response != Response::Waiting {
        return;
    }
    interaction.response = Response::NotAnswered;
    let (channel, bot) = (interaction.channel, state.chat.bot);
    let after_millis = (clock::wall_now() - interaction.wall_at).num_milliseconds();
    state.log.counters.not_answered += 1;
    let what = What::InteractionAnswered { interaction: id, response: Response::NotAnswered, after_millis };
    state.record(Some(channel), Some(bot), what);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use twilight_model::application::interaction::{Interaction as TwilightInteraction, InteractionData};

    use super::*;
    use crate::clock::ScaledClock;
    use crate::sandbox::discord::World;

    fn state() -> State {
        State::new(&World::operations(), Arc::new(ScaledClock::real()), "http://127.0.0.1:1".to_owned())
    }

    fn read(state: &mut State, kind: InteractionKind, source: Option<MessageId>, data: Value) -> TwilightInteraction {
        let (user, channel) =
            (state.chat.member_named("dana").expect("dana").id, state.chat.channel_named("ops").expect("ops").id);
        let id = deliver(state, Asked { kind, user, channel, elsewhere: None, source, said: String::new(), data: data.clone() });
        let event = event(state, &state.chat.interactions[&id], data);
        serde_json::from_value(event).expect("twilight reads it")
    }

    #[test]
    fn twilight_reads_every_kind_of_interaction() {
        let mut state = state();
        let channel = state.chat.channel_named("ops").expect("ops").id;
        let draft = Draft::text("card").expect("a text");
        let card = state.post(Posting::plain(channel, state.chat.bot, draft)).expect("posted");
        let command = json!({
            "id": "7", "name": "migrate", "type": 1, "guild_id": state.chat.guild, "resolved": {},
            "options": [{ "name": "start", "type": 1, "options": [{ "name": "runbook", "type": 3, "value": "x" }] }],
        });
        let read_command = read(&mut state, InteractionKind::Command, None, command);
        assert!(matches!(read_command.data, Some(InteractionData::ApplicationCommand(_))));
        assert_eq!(read_command.member.and_then(|member| member.permissions), Some(crate::sandbox::discord::EVERYONE));
        let click = json!({ "custom_id": "ack", "component_type": 2 });
        let click = read(&mut state, InteractionKind::Component, Some(card), click);
        assert_eq!(click.message.map(|message| message.id), Some(card));
        let field = json!({ "type": 4, "id": 2, "custom_id": "why", "value": "because" });
        let modal = json!({ "custom_id": "m", "components": [{ "type": 1, "id": 1, "components": [field] }], "resolved": {} });
        let modal = read(&mut state, InteractionKind::ModalSubmit, None, modal);
        assert!(matches!(modal.data, Some(InteractionData::ModalSubmit(_))));
    }

    #[test]
    fn twilight_reads_the_guild_whole() {
        let state = state();
        let guild = wire::guild_create(&state.chat);
        let guild: twilight_model::guild::Guild = serde_json::from_value(guild).expect("twilight reads it");
        assert_eq!((guild.name.as_str(), guild.members.len(), guild.unavailable), ("Night Shift", 1, Some(false)));
    }
}

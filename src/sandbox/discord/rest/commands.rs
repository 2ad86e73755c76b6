//! Registering commands: the whole list at once, as the bot does it.

use serde_json::{Value, json};
use twilight_model::application::command::{Command, CommandOption, CommandOptionType, CommandType};
use twilight_validate::command as limits;

use super::{Answer, ApiError, Call, Reply, State, body, guild};
use crate::sandbox::discord::draft::chain;
use crate::sandbox::discord::feed::What;
use crate::sandbox::discord::ids::{ApplicationId, CommandId, GuildId};

/// Fixed choices of an option.
const CHOICES_MAX: usize = 25;

/// Commands of each kind. Source: <https://discord.com/developers/docs/interactions/application-commands>.
const fn max_of(kind: CommandType) -> usize {
    match kind {
        CommandType::ChatInput => 100,
        _ => 15,
    }
}

pub(super) fn overwrite(state: &mut State, call: &Call, application: ApplicationId, guild: Option<GuildId>) -> Answer {
    check(state, application, guild)?;
    let list = body(call)?.as_array().ok_or_else(|| ApiError::invalid("body", "must be a list"))?.clone();
    let mut commands = Vec::new();
    for value in list {
        commands.push(parse(state, value, application, guild)?);
    }
    check_list(&commands)?;
    let names = commands.iter().map(|command| command.name.clone()).collect();
    let reply = commands.iter().map(shown).collect();
    state.chat.commands.retain(|command| command.guild_id != guild);
    state.chat.commands.extend(commands);
    state.record(None, Some(state.chat.bot), What::CommandsRegistered { names });
    Ok(Reply::json(reply))
}

fn check(state: &State, application: ApplicationId, guild: Option<GuildId>) -> Result<(), ApiError> {
    if application != state.chat.application {
        return Err(ApiError::new(404, 10002, "Unknown Application"));
    }
    guild.map_or(Ok(()), |guild| guild::check(state, guild))
}

/// Reads one command into twilight's type, filling in what clients leave out, and holds it against the limits.
fn parse(state: &mut State, mut value: Value, application: ApplicationId, guild: Option<GuildId>) -> Result<Command, ApiError> {
    let now = state.now();
    let name = value.get("name").and_then(Value::as_str).unwrap_or("?").to_owned();
    let known = state.chat.commands.iter().find(|command| command.name == name && command.guild_id == guild);
    let id: CommandId = known.and_then(|command| command.id).unwrap_or_else(|| state.ids.next(now));
    let version: CommandId = state.ids.next(now);
    let object = value.as_object_mut().ok_or_else(|| ApiError::invalid("body", "must be a list of objects"))?;
    object.entry("type").or_insert(json!(1));
    object.entry("description").or_insert(json!(""));
    object.insert("id".to_owned(), json!(id));
    object.insert("application_id".to_owned(), json!(application));
    object.insert("version".to_owned(), json!(version));
    if let Some(guild) = guild {
        object.insert("guild_id".to_owned(), json!(guild));
    }
    let command: Command =
        serde_json::from_value(value).map_err(|error| ApiError::invalid("body", format!("command {name:?}: {error}")))?;
    let invalid = |error: &dyn std::error::Error| ApiError::invalid("body", format!("command {name:?}: {}", chain(error)));
    if command.kind == CommandType::ChatInput {
        limits::command(&command).map_err(|error| invalid(&error))?;
        check_options(&command)?;
    } else {
        limits::name(&command.name).map_err(|error| invalid(&error))?;
    }
    Ok(command)
}

/// Holds the options against the limits, and what twilight-validate leaves to the server: nesting, the number
/// of choices, and no fixed choices beside autocompletion.
fn check_options(command: &Command) -> Result<(), ApiError> {
    let wrong = |option: &CommandOption, why: &dyn std::fmt::Display| {
        ApiError::invalid("options", format!("/{} option {:?} {why}", command.name, option.name))
    };
    limits::options(&command.options)
        .map_err(|error| ApiError::invalid("options", format!("/{}: {}", command.name, chain(&error))))?;
    let mut levels = vec![(command.options.as_slice(), 0)];
    while let Some((options, depth)) = levels.pop() {
        let nested = options.iter().filter(|option| nesting(option).is_some()).count();
        for option in options {
            limits::option(option).map_err(|error| wrong(option, &chain(&error)))?;
            let choices = option.choices.as_ref().map_or(0, Vec::len);
            if choices > CHOICES_MAX {
                return Err(wrong(option, &format!("has {choices} choices, at most {CHOICES_MAX}")));
            }
            if option.autocomplete == Some(true) && choices > 0 {
                return Err(wrong(option, &"has both choices and autocompletion"));
            }
            if nested > 0 && nested < options.len() {
                return Err(wrong(option, &"stands between sub-commands and values"));
            }
            if nesting(option).is_some_and(|deepest| depth > deepest) {
                return Err(wrong(option, &"is nested too deep"));
            }
            levels.extend(option.options.as_deref().map(|options| (options, depth + 1)));
        }
    }
    Ok(())
}

/// How deep a group or a sub-command may stand; `None` for values.
fn nesting(option: &CommandOption) -> Option<u8> {
    match option.kind {
        CommandOptionType::SubCommandGroup => Some(0),
        CommandOptionType::SubCommand => Some(1),
        _ => None,
    }
}

fn check_list(commands: &[Command]) -> Result<(), ApiError> {
    for (index, command) in commands.iter().enumerate() {
        if commands[..index].iter().any(|earlier| earlier.name == command.name && earlier.kind == command.kind) {
            return Err(ApiError::invalid("name", format!("application command names must be unique: {}", command.name)));
        }
        if commands.iter().filter(|other| other.kind == command.kind).count() > max_of(command.kind) {
            return Err(ApiError::new(400, 30032, "Maximum number of application commands reached"));
        }
    }
    Ok(())
}

pub(super) fn list(state: &State, application: ApplicationId, guild: Option<GuildId>) -> Answer {
    check(state, application, guild)?;
    let commands = state.chat.commands.iter().filter(|command| command.guild_id == guild);
    Ok(Reply::json(commands.map(shown).collect()))
}

fn shown(command: &Command) -> Value {
    json!(command)
}

//! The commands of the catalog as Discord registers them.

use serde_json::{Value, json};
use serenity::all::{CommandOptionType, CreateCommand, CreateCommandOption};
use serenity::http::{LightMethod, Route};
use serenity::model::id as serenity_id;

use super::rest::{Api, Call, Trouble};
use crate::domain::command::{Command, CommandOption, OptionKind, Trigger};
use crate::domain::incident::Severity;
use crate::domain::{Digest, GuildId};
use crate::render::limits;

/// Discord's longest description of a command or option.
const DESCRIPTION_MAX: usize = 100;

/// Registers commands, and only when they have changed: a new command counts against 200 a day.
#[derive(Debug)]
pub(super) struct Registrar {
    application: u64,
    guild: GuildId,
    registered: tokio::sync::Mutex<Option<Digest>>,
}

impl Registrar {
    pub(super) fn new(application: u64, guild: GuildId) -> Self {
        Self { application, guild, registered: tokio::sync::Mutex::new(None) }
    }

    /// Makes the server's commands exactly these.
    ///
    /// # Errors
    /// [`Trouble`]; the commands then are those of before.
    pub(super) async fn register(&self, api: &Api, commands: &[Command]) -> Result<(), Trouble> {
        let body = Value::Array(commands.iter().map(|command| json!(definition(command))).collect());
        let digest = Digest::of_json(&body);
        let mut registered = self.registered.lock().await;
        if *registered == Some(digest) {
            return Ok(());
        }
        let route = Route::GuildCommands {
            application_id: serenity_id::ApplicationId::new(self.application),
            guild_id: serenity_id::GuildId::new(self.guild.get()),
        };
        api.call(Call::new(LightMethod::Put, route).body(body)).await?;
        *registered = Some(digest);
        tracing::info!(commands = commands.len(), "registered the slash commands");
        Ok(())
    }
}

fn definition(command: &Command) -> CreateCommand {
    match command.on {
        Trigger::Slash => slash(command),
        // Discord takes neither a description nor options for it.
        Trigger::Message => CreateCommand::new(shown_name(command)).kind(serenity::all::CommandType::Message),
    }
}

/// What Discord calls it: of a command for messages, its title.
pub(super) fn shown_name(command: &Command) -> &str {
    match command.on {
        Trigger::Slash => &command.command,
        Trigger::Message => command.title.as_deref().unwrap_or(&command.command),
    }
}

fn slash(command: &Command) -> CreateCommand {
    let base = CreateCommand::new(&command.command)
        .kind(serenity::all::CommandType::ChatInput)
        .description(limits::cut(&command.help, DESCRIPTION_MAX));
    let subcommands = command.subcommands.iter().map(|sub| {
        let base = CreateCommandOption::new(CommandOptionType::SubCommand, &sub.name, limits::cut(&sub.help, DESCRIPTION_MAX));
        sub.options.iter().map(option).fold(base, CreateCommandOption::add_sub_option)
    });
    let own = command.options.iter().map(option);
    subcommands.chain(own).fold(base, CreateCommand::add_option)
}

fn option(option: &CommandOption) -> CreateCommandOption {
    let kind = match option.kind {
        OptionKind::Integer => CommandOptionType::Integer,
        OptionKind::Boolean => CommandOptionType::Boolean,
        OptionKind::String
        | OptionKind::Instant
        | OptionKind::Duration
        | OptionKind::Runbook
        | OptionKind::Run
        | OptionKind::Rollback
        | OptionKind::Role
        | OptionKind::Incident
        | OptionKind::Severity
        | OptionKind::Date => CommandOptionType::String,
        OptionKind::User => CommandOptionType::User,
    };
    let help = limits::cut(&help(option), DESCRIPTION_MAX);
    let base = CreateCommandOption::new(kind, &option.name, help).required(option.required);
    let base = if completes(option) { base.set_autocomplete(true) } else { base };
    match option.kind {
        OptionKind::String => option.choices.iter().fold(base, |base, choice| base.add_string_choice(choice, choice)),
        OptionKind::Severity => Severity::ALL.into_iter().fold(base, |base, severity| {
            let name = format!("{severity} · {}", severity.meaning());
            base.add_string_choice(limits::cut(&name, limits::CHOICE_NAME_MAX), severity.as_str())
        }),
        OptionKind::Integer
        | OptionKind::Boolean
        | OptionKind::Instant
        | OptionKind::Duration
        | OptionKind::Runbook
        | OptionKind::Run
        | OptionKind::Rollback
        | OptionKind::Role
        | OptionKind::User
        | OptionKind::Incident
        | OptionKind::Date => base,
    }
}

/// Whether its values are offered while a person types.
pub(super) fn completes(option: &CommandOption) -> bool {
    match option.kind {
        OptionKind::Runbook
        | OptionKind::Run
        | OptionKind::Rollback
        | OptionKind::Role
        | OptionKind::Instant
        | OptionKind::Incident
        | OptionKind::Date => true,
        OptionKind::String
        | OptionKind::Integer
        | OptionKind::Boolean
        | OptionKind::Duration
        | OptionKind::User
        | OptionKind::Severity => false,
    }
}

fn help(option: &CommandOption) -> String {
    if let Some(help) = &option.help {
        return help.clone();
    }
    match option.kind {
        OptionKind::Instant => "a time: now, in 20m, 22:00 (UTC) or 2026-03-01T22:00Z".to_owned(),
        OptionKind::Duration => "a span such as 5m or 1h30m".to_owned(),
        OptionKind::Runbook => "which runbook".to_owned(),
        OptionKind::Run => "which run; in a run's thread it may be left out".to_owned(),
        OptionKind::Incident => "which incident; in its channel it may be left out".to_owned(),
        OptionKind::Severity => "how bad it is".to_owned(),
        OptionKind::Date => "a day, e.g. 2026-12-01".to_owned(),
        OptionKind::Rollback => "which rollback; the armed one when left out".to_owned(),
        OptionKind::Role => "which role".to_owned(),
        OptionKind::String | OptionKind::Integer | OptionKind::Boolean | OptionKind::User => option.name.replace(['_', '-'], " "),
    }
}

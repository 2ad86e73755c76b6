//! What people do with commands, buttons and forms, as inputs to runs.
//!
//! Order of things: the first answer leaves within Discord's three seconds, because what decides about it (which verb,
//! who may, whether a form is needed) comes from memory; all work follows after it. An interaction whose first answer
//! Discord refuses is not acted upon: it was answered before (a repeated event) or the person was told that it failed.
//!
//! Permission is checked here by the roles that came with the interaction, as the settings map them. What the runbook
//! itself gives to roles (rollbacks, questions, confirmations, checklists) the run checks once more, with the roles as its
//! plan pinned them.
//!
//! A secret of the settings that somebody writes goes no further than here, see `hiding`.

mod acts;
mod complete;
mod facts;
mod forms;
mod hiding;
mod in_incident;
mod incidents;
mod on_run;
mod pages;
mod presses;
mod reply;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use serenity::all::{
    CommandDataOptionValue, CommandInteraction, CommandType, Interaction, Member, PartialChannel, ResolvedValue,
};

use self::reply::Replier;
use super::commands::{Registrar, shown_name};
use super::custom_id::CustomId;
use super::messages::role_names;
use super::rest::{Api, Trouble};
use crate::domain::command::{Command, CommandOption, Trigger, Verb};
use crate::domain::runbook::Runbook;
use crate::domain::{ChannelId, GuildId, Mask, Person, RoleId, RoleName, RunId, RunbookName, Timestamp, UserId, with_suggestion};
use crate::engine::{Dossier, Incidents, Planning, Runs};
use crate::render::{Message, rejection};

/// The definitions as they are now, from memory.
#[async_trait]
pub trait Definitions: Send + Sync + 'static {
    /// Every command.
    fn commands(&self) -> Vec<Command>;

    /// Every runbook, sorted by name.
    fn runbooks(&self) -> Vec<Runbook>;

    /// The page of a runbook for when chat is down, in Markdown.
    fn page(&self, runbook: &Runbook) -> String;

    /// Reads the files again. What was loaded stays if any of them is broken.
    ///
    /// # Errors
    /// Every mistake, with file and line.
    async fn reload(&self) -> Result<(), Vec<String>>;
}

/// What interactions work with.
pub struct Settings {
    /// The one server.
    pub guild: GuildId,
    /// The bot's application.
    pub application: u64,
    /// Which Discord roles each role name means.
    pub roles: BTreeMap<RoleName, Vec<RoleId>>,
    /// Tells the time that the engine goes by.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Writes a post-mortem in the team's form, as Markdown: the text of its issue.
    pub post_mortem: Arc<dyn Fn(&Dossier) -> String + Send + Sync>,
    /// Hides the secrets of the settings in what people write, before it is written down.
    pub mask: Mask,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("guild", &self.guild).field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// Answers interactions.
pub struct Interactions {
    api: Arc<Api>,
    runs: Arc<dyn Runs>,
    incidents: Arc<dyn Incidents>,
    planning: Arc<dyn Planning>,
    definitions: Arc<dyn Definitions>,
    registrar: Registrar,
    settings: Settings,
}

impl std::fmt::Debug for Interactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interactions").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Who did it, and where.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The person, with the roles of the settings.
    person: Person,
    /// Every Discord role that they hold.
    held: Vec<RoleId>,
    /// The channel or thread.
    channel: ChannelId,
    /// Whether it is a thread, a run's or anybody's.
    in_thread: bool,
}

impl Caller {
    /// The person with their roles as a run pinned them.
    fn as_of(&self, pinned: &BTreeMap<RoleName, Vec<RoleId>>) -> Person {
        Person { roles: role_names(pinned, &self.held), ..self.person.clone() }
    }
}

/// A verb of the catalog, found by what was typed or chosen.
struct Found {
    /// As it is typed, e.g. `/migrate start`, or as it stands in the menu.
    typed: String,
    allow: Vec<RoleName>,
    options: Vec<CommandOption>,
    verb: Verb,
}

impl Interactions {
    /// Interactions over these parts.
    #[must_use]
    pub fn new(
        api: Arc<Api>,
        runs: Arc<dyn Runs>,
        incidents: Arc<dyn Incidents>,
        planning: Arc<dyn Planning>,
        definitions: Arc<dyn Definitions>,
        settings: Settings,
    ) -> Self {
        let registrar = Registrar::new(settings.application, settings.guild);
        Self { api, runs, incidents, planning, definitions, registrar, settings }
    }

    /// Registers the catalog's commands with the server, if they have changed since the last time.
    ///
    /// # Errors
    /// [`Trouble`]; the commands then are those of before.
    pub async fn register_commands(&self) -> Result<(), Trouble> {
        self.registrar.register(&self.api, &self.definitions.commands()).await
    }

    /// Answers one interaction, whatever it takes. Trouble with Discord is logged: there is nobody else to tell.
    pub async fn handle(&self, interaction: Interaction) {
        let id = interaction.id();
        let answered = match interaction {
            Interaction::Command(command) => self.command(&command).await,
            Interaction::Autocomplete(command) => self.autocomplete(&command).await,
            Interaction::Component(component) => self.component(&component).await,
            Interaction::Modal(modal) => self.modal(&modal).await,
            _ => Ok(()),
        };
        if let Err(trouble) = answered {
            tracing::warn!(interaction = %id, %trouble, "could not answer an interaction");
        }
    }

    async fn command(&self, command: &CommandInteraction) -> Result<(), Trouble> {
        let replier = self.replier(command.id.get(), command.application_id.get(), &command.token);
        let caller = match self.caller(command.guild_id, command.member.as_deref(), command.channel_id, command.channel.as_ref())
        {
            Ok(caller) => caller,
            Err(refusal) => return replier.say(&refusal).await,
        };
        let Some(found) = self.find(command) else {
            let next = "Discord may still show an old list: try again in a minute.";
            return replier.say(&rejection::refused("there is no such command here any more", next)).await;
        };
        if !found.allow.is_empty() && !caller.person.holds_any(&found.allow) {
            return replier.say(&refused_role(&found)).await;
        }
        if let Some(refusal) = outdated(&found, command) {
            return replier.say(&refusal).await;
        }
        let mut values = values(command, &found.options);
        let held = self.hide_in_options(&found.options, &mut values);
        if let Some(refusal) = hiding::refused_parameters(&found.verb, &held) {
            return replier.say(&refusal).await;
        }
        if let Some(refusal) = self.wrong_kind(&found.options, &values) {
            return replier.say(&refusal).await;
        }
        let verb = match crate::render::bind(&found.verb, &values) {
            Ok(verb) => verb,
            Err(error) => {
                let why = format!("the definition of {} cannot be filled in: {error}", found.typed);
                return replier.say(&rejection::refused(&why, "Tell whoever keeps the `commands/` files.")).await;
            }
        };
        self.perform(&replier, &caller, &found.allow, command, verb).await?;
        hiding::tell(&replier, !held.is_empty()).await
    }

    /// A member whom an option names, with the roles of the settings.
    fn person_named(&self, command: &CommandInteraction, id: &str) -> Option<Person> {
        let id: u64 = id.parse().ok().filter(|id| *id != 0)?;
        let resolved = &command.data.resolved;
        let user = resolved.users.get(&serenity::all::UserId::new(id))?;
        let member = resolved.members.get(&user.id);
        let held: Vec<RoleId> = member.into_iter().flat_map(|member| &member.roles).map(|role| RoleId::new(role.get())).collect();
        let nick = member.and_then(|member| member.nick.clone());
        Some(Person {
            id: UserId::new(id),
            name: nick.unwrap_or_else(|| user.display_name().to_owned()),
            roles: role_names(&self.settings.roles, &held),
            bot: user.bot,
        })
    }

    /// The verb that was typed.
    fn find(&self, command: &CommandInteraction) -> Option<Found> {
        let name = &command.data.name;
        let on = match command.data.kind {
            CommandType::ChatInput => Trigger::Slash,
            CommandType::Message => Trigger::Message,
            _ => return None,
        };
        let is_it = |definition: &Command| definition.on == on && shown_name(definition) == name;
        let definition = self.definitions.commands().into_iter().find(is_it)?;
        if definition.subcommands.is_empty() {
            if subcommand(command).is_some() {
                return None;
            }
            let typed = as_given(&definition);
            let Command { allow, options, verb, .. } = definition;
            return Some(Found { typed, allow, options, verb: verb? });
        }
        let typed = subcommand(command)?;
        let sub = definition.subcommands.into_iter().find(|sub| sub.name == typed)?;
        Some(Found { typed: format!("/{name} {typed}"), allow: sub.allow, options: sub.options, verb: sub.verb })
    }

    /// A runbook that this command does not offer: Discord lets people type what is not in the list.
    fn wrong_kind(&self, options: &[CommandOption], values: &Map<String, Value>) -> Option<Message> {
        options.iter().filter(|option| !option.kinds.is_empty()).find_map(|option| {
            let runbook = self.runbook(values.get(&option.name)?.as_str()?)?;
            let kinds: Vec<String> = option.kinds.iter().map(ToString::to_string).collect();
            let why = format!("`{}` is a {}, and this command is for {}", runbook.runbook, runbook.kind, kinds.join(", "));
            let next = "`/runbook list` shows the runbooks and their kinds.";
            (!option.kinds.contains(&runbook.kind)).then(|| rejection::refused(&why, next))
        })
    }

    /// Who called, if they called from the right server.
    fn caller(
        &self,
        guild: Option<serenity::all::GuildId>,
        member: Option<&Member>,
        channel: serenity::all::ChannelId,
        about: Option<&PartialChannel>,
    ) -> Result<Caller, Box<Message>> {
        let (Some(guild), Some(member)) = (guild, member) else {
            let next = "Use it in a channel of the operations server.";
            let why = "this bot works in its server only, not in direct messages";
            return Err(Box::new(rejection::refused(why, next)));
        };
        if guild.get() != self.settings.guild.get() {
            let why = "this bot belongs to another server";
            let next = "Ask its keepers to remove it here; it does nothing for this server.";
            return Err(Box::new(rejection::refused(why, next)));
        }
        let held: Vec<RoleId> = member.roles.iter().map(|role| RoleId::new(role.get())).collect();
        let person = Person {
            id: UserId::new(member.user.id.get()),
            name: member.display_name().to_owned(),
            roles: role_names(&self.settings.roles, &held),
            bot: member.user.bot,
        };
        use serenity::all::ChannelType::{NewsThread, PrivateThread, PublicThread};
        let in_thread = about.is_some_and(|about| matches!(about.kind, NewsThread | PrivateThread | PublicThread));
        Ok(Caller { person, held, channel: ChannelId::new(channel.get()), in_thread })
    }

    /// Answers an interaction that could not be read as a whole.
    pub(super) async fn tell(&self, id: u64, application: u64, token: &str, message: &Message) -> Result<(), Trouble> {
        self.replier(id, application, token).say(message).await
    }

    fn replier(&self, id: u64, application: u64, token: &str) -> Replier {
        Replier::new(Arc::clone(&self.api), id, application, token.to_owned())
    }

    fn now(&self) -> Timestamp {
        (self.settings.now)()
    }

    fn runbook(&self, name: &str) -> Option<Runbook> {
        let name: RunbookName = name.parse().ok()?;
        self.definitions.runbooks().into_iter().find(|runbook| runbook.runbook == name)
    }

    /// The run that is meant: the one named, or that of the thread, or the one that belongs to the channel's incident.
    fn run_meant(&self, named: Option<&str>, channel: ChannelId) -> Result<RunId, Box<Message>> {
        match named {
            Some(text) => {
                let known = text.parse::<RunId>().ok().filter(|run| self.runs.snapshot(run).is_some());
                let next = "`/migrate status` lists the runs.";
                let why = || format!("there is no run `{}`", text.replace('`', "'"));
                known.ok_or_else(|| Box::new(rejection::refused(&why(), next)))
            }
            None => self.run_here(channel),
        }
    }

    /// Carries out a verb.
    async fn perform(
        &self,
        replier: &Replier,
        caller: &Caller,
        allow: &[RoleName],
        command: &CommandInteraction,
        verb: Verb,
    ) -> Result<(), Trouble> {
        match verb {
            Verb::StartRun { in_incident: true, .. } if self.incident_here(caller).is_err() => {
                let why = "this command works in an incident's channel only: the run becomes part of its incident";
                let next = "Use it there; `/incident status` lists the incidents. `/migrate start` starts a run elsewhere.";
                replier.say(&rejection::refused(why, next)).await
            }
            Verb::StartRun { runbook, at, mode, parameters, in_incident: _ } => {
                self.start_run(replier, caller, start::Wish { runbook, at, mode, parameters }).await
            }
            Verb::PlanRun { runbook, parameters } => self.plan_run(replier, caller, runbook, parameters).await,
            Verb::RunStatus(on) => self.status(replier, caller, on).await,
            Verb::SignOffStatus(on) => self.sign_off_status(replier, caller, on).await,
            Verb::PauseRun(on) => self.act(replier, caller, on, acts::Act::Pause).await,
            Verb::ResumeRun(on) => self.act(replier, caller, on, acts::Act::Resume).await,
            Verb::AbortRun(on) => self.act(replier, caller, on, acts::Act::Abort).await,
            Verb::CloseRun(on) => self.act(replier, caller, on, acts::Act::Close).await,
            Verb::BreakGlass(on) => self.break_glass(replier, caller, on, allow).await,
            Verb::RollbackRun { run, rollback, reason } => self.roll_back(replier, caller, run, rollback, reason).await,
            Verb::ListRunbooks => self.list_runbooks(replier).await,
            Verb::ShowRunbook { runbook } => self.show_runbook(replier, &runbook).await,
            Verb::ReloadDefinitions => self.reload(replier).await,
            Verb::WhoAmI => self.whoami(replier, caller).await,
            Verb::OpenIncident { title, severity, customer_facing, private } => {
                let wish = incidents::Wish { title, severity, customer_facing, private };
                self.open_incident(replier, caller, wish).await
            }
            Verb::UpdateIncident(said) => self.update_incident(replier, caller, said).await,
            Verb::NoteOnIncident(said) => self.note_on_incident(replier, caller, said).await,
            Verb::ChangeSeverity { incident, severity, reason } => {
                self.change_severity(replier, caller, incident.as_deref(), &severity, reason.unwrap_or_default()).await
            }
            Verb::AcknowledgeIncident(on) => self.acknowledge_incident(replier, caller, on).await,
            Verb::IncidentStatus(on) => self.incident_status(replier, caller, on).await,
            Verb::IncidentTimeline(on) => self.incident_timeline(replier, caller, on).await,
            Verb::ResolveIncident(said) => self.resolve_incident(replier, caller, said).await,
            Verb::PreviewPostMortem(on) => self.preview_post_mortem(replier, caller, on).await,
            Verb::PublishPostMortem(on) => self.publish_post_mortem(replier, caller, on).await,
            Verb::AddAction { incident, title, owner, due } => {
                self.add_action(replier, caller, incident.as_deref(), incidents::Action { title, owner, due }).await
            }
            Verb::TakeRole { incident, role, person } => {
                let person = person.map_or_else(|| Some(caller.person.clone()), |id| self.person_named(command, &id));
                self.take_role(replier, caller, incident.as_deref(), &role, person).await
            }
            Verb::MarkMessage => self.mark_message(replier, caller, command).await,
        }
    }
}

fn refused_role(found: &Found) -> Message {
    let roles: Vec<String> = found.allow.iter().map(|role| format!("`{role}`")).collect();
    let why = format!("`{}` takes one of the roles {}", found.typed, roles.join(", "));
    rejection::refused(&why, "Ask somebody who holds one of them; `/whoami` shows what you may do.")
}

/// The subcommand that was typed, if there is one.
fn subcommand(command: &CommandInteraction) -> Option<String> {
    command.data.options.iter().find_map(|option| match option.value {
        CommandDataOptionValue::SubCommand(_) => Some(option.name.clone()),
        _ => None,
    })
}

/// What was given for each option; what was not is its default, or the empty text.
fn values(command: &CommandInteraction, options: &[CommandOption]) -> Map<String, Value> {
    let given = given(command);
    let value = |option: &CommandOption| {
        given.get(&option.name).cloned().or_else(|| option.default.clone()).unwrap_or_else(|| Value::from(""))
    };
    options.iter().map(|option| (option.name.clone(), value(option))).collect()
}

/// Something typed that the command does not take any more, because Discord offered what stood in definitions of before.
/// Nothing is done then: a start without its `mode: dry_run` would be another one than was asked for.
fn outdated(found: &Found, command: &CommandInteraction) -> Option<Message> {
    let typed = format!("`{}`", found.typed);
    let why = given(command).into_iter().find_map(|(name, value)| {
        let name = name.replace('`', "'");
        let Some(option) = found.options.iter().find(|option| option.name == name) else {
            let known = found.options.iter().map(|option| option.name.as_str());
            return Some(with_suggestion(&format!("{typed} has no option `{name}`"), &name, known));
        };
        let text = value.as_str().filter(|text| !option.choices.is_empty() && !option.choices.iter().any(|c| c == text))?;
        let says = format!("`{}` is no choice of the option `{name}` of {typed}", text.replace('`', "'"));
        Some(with_suggestion(&says, text, option.choices.iter().map(String::as_str)))
    });
    let next = "Nothing was done. Discord may still offer what was there before a change: type the command anew, in a minute if need be.";
    why.map(|why| rejection::refused(&why, next))
}

/// What was typed, by option.
fn given(command: &CommandInteraction) -> BTreeMap<String, Value> {
    let resolved = command.data.options();
    let flat = resolved.iter().flat_map(|option| match &option.value {
        ResolvedValue::SubCommand(inner) => inner.iter().collect::<Vec<_>>(),
        _ => vec![option],
    });
    flat.filter_map(|option| {
        let value = match &option.value {
            ResolvedValue::String(text) => Value::from(*text),
            ResolvedValue::Integer(number) => Value::from(*number),
            ResolvedValue::Boolean(yes) => Value::from(*yes),
            ResolvedValue::User(user, _) => Value::from(user.id.to_string()),
            _ => return None,
        };
        Some((option.name.to_owned(), value))
    })
    .collect()
}

/// Every verb of the definitions, as it is typed.
fn all_verbs(commands: &[Command]) -> Vec<crate::render::Allowed> {
    let mut verbs = Vec::new();
    for command in commands {
        if command.subcommands.is_empty() {
            verbs.push(crate::render::Allowed { verb: as_given(command), allow: command.allow.clone() });
        }
        for sub in &command.subcommands {
            let verb = format!("/{} {}", command.command, sub.name);
            verbs.push(crate::render::Allowed { verb, allow: sub.allow.clone() });
        }
    }
    verbs
}

/// As a command is given: typed, or chosen from a message's menu.
fn as_given(command: &Command) -> String {
    match command.on {
        Trigger::Slash => format!("/{}", command.command),
        Trigger::Message => format!("{} (on a message)", shown_name(command)),
    }
}

/// Whether somebody with one of these Discord roles has one of these names.
fn ids_of(map: &BTreeMap<RoleName, Vec<RoleId>>, names: &[RoleName]) -> BTreeSet<RoleId> {
    names.iter().filter_map(|name| map.get(name)).flatten().copied().collect()
}

/// What a component or form carries, if it can still be read.
fn carried(custom_id: &str) -> Result<CustomId, Box<Message>> {
    CustomId::parse(custom_id).ok_or_else(|| {
        let next = "Use the newest message, or type the command.";
        Box::new(rejection::refused("this button is of an older version of the bot", next))
    })
}

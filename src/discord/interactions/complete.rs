//! Autocompletion, from memory alone.

use serde_json::{Value, json};
use serenity::all::CommandInteraction;

use super::in_incident::may_see;
use super::{Caller, Interactions, given};
use crate::discord::rest::Trouble;
use crate::domain::ChannelId;
use crate::domain::command::{CommandOption, OptionKind};
use crate::render::limits;

/// What is offered: a name to read, and the value that it stands for.
type Choice = (String, String);

impl Interactions {
    /// Offers values for the option that is being typed.
    pub(super) async fn autocomplete(&self, command: &CommandInteraction) -> Result<(), Trouble> {
        let replier = self.replier(command.id.get(), command.application_id.get(), &command.token);
        let wrong_server = command.guild_id.is_none_or(|guild| guild.get() != self.settings.guild.get());
        let focused = command.data.autocomplete();
        let option = focused
            .as_ref()
            .and_then(|focused| self.find(command)?.options.into_iter().find(|option| option.name == focused.name));
        let choices = match (&option, &focused) {
            (Some(option), Some(focused)) if !wrong_server => matching(self.choices(option, command), focused.value),
            _ => Vec::new(),
        };
        let choices: Vec<Value> = choices.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        replier.offer(Value::Array(choices)).await
    }

    fn choices(&self, option: &CommandOption, command: &CommandInteraction) -> Vec<Choice> {
        let plain = |text: &str| (text.to_owned(), text.to_owned());
        match option.kind {
            OptionKind::Runbook => self.runbook_choices(option),
            OptionKind::Run => self.run_choices(ChannelId::new(command.channel_id.get())),
            OptionKind::Incident => {
                let caller =
                    self.caller(command.guild_id, command.member.as_deref(), command.channel_id, command.channel.as_ref());
                caller.map(|caller| self.incident_choices(&caller)).unwrap_or_default()
            }
            OptionKind::Date => self.date_choices(),
            OptionKind::Rollback => self.rollback_choices(command),
            OptionKind::Role => self.settings.roles.keys().map(|role| plain(role.as_str())).collect(),
            OptionKind::Instant => ["now", "in 10m", "in 30m", "in 1h", "22:00"].map(plain).to_vec(),
            OptionKind::String
            | OptionKind::Integer
            | OptionKind::Boolean
            | OptionKind::Duration
            | OptionKind::User
            | OptionKind::Severity => Vec::new(),
        }
    }

    fn runbook_choices(&self, option: &CommandOption) -> Vec<Choice> {
        let runbooks = self.definitions.runbooks().into_iter();
        let offered = runbooks.filter(|runbook| option.kinds.is_empty() || option.kinds.contains(&runbook.kind));
        offered.map(|runbook| (format!("{} · {}", runbook.runbook, runbook.title), runbook.runbook.to_string())).collect()
    }

    /// In an incident's channel its runs come first.
    fn run_choices(&self, channel: ChannelId) -> Vec<Choice> {
        let here = self.runs_here(channel);
        let mut open: Vec<_> = self.runs.runs().into_iter().filter(|run| !run.ended).collect();
        open.sort_by_key(|run| !here.contains(&run.id));
        open.into_iter()
            .map(|run| (format!("{} · {} · by {}", run.id, run.title, run.requester.name), run.id.to_string()))
            .collect()
    }

    /// Open ones first, each newest first; of private ones those that the caller may see.
    fn incident_choices(&self, caller: &Caller) -> Vec<Choice> {
        let mut seen: Vec<_> = self.incidents.incidents().into_iter().filter(|known| may_see(&known.state, caller)).collect();
        seen.sort_by_key(|known| !known.state.is_open());
        let name = |state: &crate::domain::incident::State| {
            let over = if state.is_open() { "" } else { " · resolved" };
            format!("{} · {}{over} · {}", state.id(), state.severity, state.opened.title)
        };
        seen.iter().map(|known| (name(&known.state), known.state.id().to_string())).collect()
    }

    fn date_choices(&self) -> Vec<Choice> {
        let today = self.now().date_naive();
        let day = |(days, name): (u64, &str)| {
            let day = today + chrono::Days::new(days);
            (format!("{day} · {name}"), day.to_string())
        };
        [(1, "tomorrow"), (7, "in a week"), (14, "in two weeks"), (30, "in 30 days")].map(day).to_vec()
    }

    fn rollback_choices(&self, command: &CommandInteraction) -> Vec<Choice> {
        let named = given(command).get("run").and_then(Value::as_str).map(str::to_owned);
        let channel = ChannelId::new(command.channel_id.get());
        let Ok(run) = self.run_meant(named.as_deref().filter(|name| !name.is_empty()), channel) else { return Vec::new() };
        let Some(snapshot) = self.runs.snapshot(&run) else { return Vec::new() };
        let state = &snapshot.state;
        let choice = |name: &crate::domain::RollbackName| {
            let armed = if state.armed.contains_key(name) { " · armed" } else { "" };
            (format!("{name}{armed}"), name.to_string())
        };
        state.possible_rollbacks().map(|(name, _)| choice(name)).collect()
    }
}

/// Those that contain what was typed, those that begin with it first.
fn matching(choices: Vec<Choice>, typed: &str) -> Vec<Choice> {
    let typed = typed.trim().to_lowercase();
    let mut found: Vec<Choice> = choices.into_iter().filter(|(name, _)| name.to_lowercase().contains(&typed)).collect();
    found.sort_by_key(|(name, _)| !name.to_lowercase().starts_with(&typed));
    found.truncate(limits::CHOICES_MAX);
    found.into_iter().map(|(name, value)| (limits::cut(&name, limits::CHOICE_NAME_MAX), value)).collect()
}

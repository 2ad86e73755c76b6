//! What a command is: the types of `commands/*.yaml`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::runbook::Kind;
use super::{ParameterName, RoleName};

/// One command. A slash command either does something itself or has subcommands; one for messages does something itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The word after the slash; of a command for messages, what files and mistakes call it.
    pub command: String,
    /// Where it is given.
    #[serde(default, skip_serializing_if = "Trigger::is_slash")]
    pub on: Trigger,
    /// For a command for messages: its name in their menu, at most 32 characters; spaces and capitals are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for, at most 100 characters.
    pub help: String,
    /// Its subcommands; empty if the command itself does something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subcommands: Vec<Subcommand>,
    /// For a command without subcommands: who may use it. Empty: everybody, if the verb has no power over runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<RoleName>,
    /// For a command without subcommands: its options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<CommandOption>,
    /// For a command without subcommands: what it does.
    #[serde(default, rename = "do", skip_serializing_if = "Option::is_none")]
    pub verb: Option<Verb>,
}

/// Where a command is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// It is typed after a slash.
    #[default]
    Slash,
    /// It is chosen from the menu of a message ("Apps").
    Message,
}

impl Trigger {
    /// Whether it is typed.
    #[must_use]
    pub fn is_slash(&self) -> bool {
        match self {
            Self::Slash => true,
            Self::Message => false,
        }
    }
}

/// A verb of a command, such as `start` of `/migrate start`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subcommand {
    /// The second word.
    pub name: String,
    /// What it is for, at most 100 characters.
    pub help: String,
    /// Who may use it. Empty: everybody, if the verb has no power over runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<RoleName>,
    /// Its options, required ones first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<CommandOption>,
    /// What it does.
    #[serde(rename = "do")]
    pub verb: Verb,
}

/// An option of a command; templates refer to it as `options.name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandOption {
    /// Its name.
    pub name: String,
    /// What to enter, at most 100 characters; made from the name and type when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Its type.
    #[serde(default, rename = "type")]
    pub kind: OptionKind,
    /// Whether Discord asks for it before the command can be sent.
    #[serde(default)]
    pub required: bool,
    /// The values to choose from, at most 25.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// For `runbook`: the kinds that are offered. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
    /// The value when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// The types that a command's option may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptionKind {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// Yes or no.
    Boolean,
    /// A point in time: `2026-03-01T22:00Z`, `22:00` (UTC, the next such time) or `in 20m`.
    Instant,
    /// A span of time such as `5m`.
    Duration,
    /// A runbook of the catalog, autocompleted.
    Runbook,
    /// A run that is not ended, autocompleted; inside a run's thread it may be left out.
    Run,
    /// A rollback of the run, autocompleted.
    Rollback,
    /// A role name from the settings, autocompleted.
    Role,
    /// A member of the server.
    User,
    /// An incident, autocompleted; inside an incident's channel it may be left out.
    Incident,
    /// How bad an incident is, each severity with its meaning.
    Severity,
    /// A day such as `2026-12-01`, in UTC.
    Date,
}

/// What a command does, with its arguments; texts are templates over `options`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Verb {
    /// Starts a run.
    StartRun {
        /// The runbook.
        runbook: String,
        /// The cutover instant; now when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
        /// `live` or `dry_run`; live when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<String>,
        /// The runbook's parameters; those that are missing are asked for in a modal.
        #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
        parameters: IndexMap<ParameterName, String>,
        /// Whether it is refused outside of an incident's channel. The run belongs to that channel's incident.
        #[serde(default, skip_serializing_if = "is_false")]
        in_incident: bool,
    },
    /// Shows the plan that a run would pin, without starting it.
    PlanRun {
        /// The runbook.
        runbook: String,
        /// The runbook's parameters; those that are missing are asked for in a modal.
        #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
        parameters: IndexMap<ParameterName, String>,
    },
    /// Shows where a run stands, or all runs.
    RunStatus(OnRun),
    /// Pauses a run after its current step.
    PauseRun(OnRun),
    /// Lets a paused run go on, or opens a refused gate's next card.
    ResumeRun(OnRun),
    /// Ends a run early.
    AbortRun(OnRun),
    /// Ends a closing run before its window does.
    CloseRun(OnRun),
    /// Starts a rollback of a run.
    RollbackRun {
        /// The run; the thread's own when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<String>,
        /// Which rollback; the armed one when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollback: Option<String>,
        /// Why.
        reason: String,
    },
    /// Opens the gate that a run waits at without its sign-off; owes a review.
    BreakGlass(OnRun),
    /// Shows who has signed and who is missing.
    SignOffStatus(OnRun),
    /// Lists the runbooks.
    ListRunbooks,
    /// Shows one runbook as a page.
    ShowRunbook {
        /// The runbook.
        runbook: String,
    },
    /// Reads the definitions again.
    ReloadDefinitions,
    /// Shows what the caller may do here, and why not.
    WhoAmI,
    /// Opens an incident. Inside a run's thread it is about that run.
    OpenIncident {
        /// What is wrong, in a line.
        title: String,
        /// How bad it is: `sev1` to `sev4`.
        severity: String,
        /// Whether customers notice: `true` or `false`; no when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer_facing: Option<String>,
        /// Whether only some may see it: `true` or `false`; no when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        private: Option<String>,
    },
    /// Gives a status update in one's own words; the next one that is due counts from it.
    UpdateIncident(TextOnIncident),
    /// Writes something on the timeline.
    NoteOnIncident(TextOnIncident),
    /// Changes how bad an incident is.
    ChangeSeverity {
        /// The incident; that of the channel when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incident: Option<String>,
        /// How bad it is: `sev1` to `sev4`.
        severity: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Gives somebody a role in the response.
    TakeRole {
        /// The incident; that of the channel when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incident: Option<String>,
        /// `commander`, `communications` or `scribe`.
        role: String,
        /// Who has it from now on; the caller when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        person: Option<String>,
    },
    /// Says that the caller is on it: escalation ends.
    AcknowledgeIncident(OnIncident),
    /// Shows where an incident stands, or all incidents.
    IncidentStatus(OnIncident),
    /// Shows what has happened to an incident.
    IncidentTimeline(OnIncident),
    /// Says that an incident is over; the text says how it was mended.
    ResolveIncident(TextOnIncident),
    /// Shows the post-mortem as it stands now, to the caller alone.
    PreviewPostMortem(OnIncident),
    /// Publishes the post-mortem as an issue.
    PublishPostMortem(OnIncident),
    /// Adds an action item to the post-mortem.
    AddAction {
        /// The incident; that of the channel when it comes out empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incident: Option<String>,
        /// What is to be done.
        title: String,
        /// Who does it: a GitHub login or a name.
        owner: String,
        /// By when, as a day.
        due: String,
    },
    /// Puts a message on the timeline of its channel's incident. Only for commands with `on: message`.
    MarkMessage,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The arguments of a verb about a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnRun {
    /// The run; the thread's own when it comes out empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Why; for pause, abort, close and break-glass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The arguments of a verb about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnIncident {
    /// The incident; that of the channel when it comes out empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
}

/// The arguments of a verb that says something about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextOnIncident {
    /// The incident; that of the channel when it comes out empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// What is said.
    pub text: String,
}

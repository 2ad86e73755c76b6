//! What a runbook is: the types of `runbooks/*.yaml`.
//!
//! These types only describe. Reading files, finding mistakes and explaining them is the catalog's
//! work; resolving parameters into a [`Plan`](super::Plan) is the planner's. Templates and expressions
//! stay text here. Unknown keys are errors everywhere.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionName, Duration, Offset, ParameterName, PhaseName, RoleName, RollbackName, RunbookName, StepName, TargetName};

/// A procedure that the bot can run: phases of steps, gates before phases, and the ways back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Runbook {
    /// Its name: how commands and people refer to it.
    pub runbook: RunbookName,
    /// One line for people.
    pub title: String,
    /// The version of this text, e.g. `1.0.0`.
    pub version: String,
    /// The team that keeps it.
    pub owner: String,
    /// What kind of procedure it is.
    pub kind: Kind,
    /// A few sentences on what it does and when to use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What must be given at the start, in the order in which it is asked for.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub parameters: IndexMap<ParameterName, Parameter>,
    /// The systems that the steps work on.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub targets: IndexMap<TargetName, Target>,
    /// What a run of this runbook holds for itself alone; a template over `params`.
    pub lock: String,
    /// How long the maintenance window is, from the start of the first phase.
    pub window: Duration,
    /// How late a timed phase may start by itself; after that the run asks.
    #[serde(default = "default_grace")]
    pub grace: Duration,
    /// What a live run demands of rehearsals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<DryRunPolicy>,
    /// The phases, in order. At least one.
    pub phases: Vec<Phase>,
    /// The ways back, by name; usually `runtime` and `data`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub rollback: IndexMap<RollbackName, Rollback>,
    /// What people still do after the last step, ticked in chat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub afterwards: Vec<ChecklistItem>,
}

impl Runbook {
    /// Every step of the phases and of the rollbacks, in the order of the file.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        let phases = self.phases.iter().flat_map(|phase| &phase.steps);
        phases.chain(self.rollback.values().flat_map(|rollback| &rollback.steps))
    }

    /// The step with this name, wherever it stands.
    #[must_use]
    pub fn step(&self, name: &StepName) -> Option<&Step> {
        self.all_steps().find(|step| step.step == *name)
    }

    /// The phase with this name.
    #[must_use]
    pub fn phase(&self, name: &PhaseName) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.phase == *name)
    }

    /// The phase that the step stands in; `None` for a rollback's step.
    #[must_use]
    pub fn phase_of(&self, step: &StepName) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.steps.iter().any(|s| s.step == *step))
    }

    /// Every role that the runbook names, each once, sorted.
    #[must_use]
    pub fn roles(&self) -> Vec<RoleName> {
        let gates = self.phases.iter().filter_map(|phase| phase.gate.as_ref());
        let mut roles: Vec<RoleName> = gates.flat_map(|gate| gate.sign_off.keys().cloned()).collect();
        for rollback in self.rollback.values() {
            roles.extend(rollback.allow.iter().cloned());
            roles.extend(rollback.sign_off.keys().cloned());
        }
        roles.extend(self.afterwards.iter().map(|item| item.owner.clone()));
        for step in self.all_steps() {
            roles.extend(step.human_owners());
        }
        roles.sort();
        roles.dedup();
        roles
    }
}

fn default_grace() -> Duration {
    Duration::from_minutes(5)
}

/// What kind of procedure a runbook is; commands offer runbooks by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Moves data from one system to another.
    Migration,
    /// Moves traffic or a role from one system to another.
    Cutover,
    /// Returns to an earlier state.
    Rollback,
    /// Finds out, changes nothing.
    Diagnosis,
    /// Any other routine work.
    Operation,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Migration => "migration",
            Self::Cutover => "cutover",
            Self::Rollback => "rollback",
            Self::Diagnosis => "diagnosis",
            Self::Operation => "operation",
        })
    }
}

/// A value that is given when a run starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ParameterKind,
    /// What to enter, for people.
    pub help: String,
    /// For `string`: a regular expression that the whole value must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// For `integer`: the least value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// For `integer`: the greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// For `choice`: the values to choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// The value when none is given; without it the parameter is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// The types that a parameter may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// One line of text.
    String,
    /// A whole number.
    Integer,
    /// One of a list.
    Choice,
    /// Yes or no.
    Boolean,
    /// A span of time such as `5m`.
    Duration,
    /// A point in time, RFC 3339.
    Instant,
}

/// The longest value of a string parameter, in characters; also Discord's limit for a short modal input.
pub const PARAMETER_LEN_MAX: usize = 400;

impl Parameter {
    /// Reads a value as a person typed it.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what is expected; the caller names the parameter.
    pub fn parse_value(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self.kind {
            ParameterKind::String => self.parse_string(text),
            ParameterKind::Integer => self.parse_integer(text),
            ParameterKind::Choice if self.choices.iter().any(|choice| choice == text) => Ok(Value::from(text)),
            ParameterKind::Choice => Err(format!("`{text}` is not one of {}", self.choices.join(", "))),
            ParameterKind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" => Ok(Value::from(true)),
                "false" | "no" => Ok(Value::from(false)),
                _ => Err(format!("`{text}` is neither `yes` nor `no`")),
            },
            ParameterKind::Duration => {
                text.parse::<Duration>().map(|span| Value::from(span.to_string())).map_err(|error| error.to_string())
            }
            ParameterKind::Instant => parse_instant(text).map(|at| Value::from(at.to_rfc3339())),
        }
    }

    /// Checks a value that a file gives (a default, a command's option) and returns it in normal form.
    ///
    /// # Errors
    /// As [`Self::parse_value`].
    pub fn check_value(&self, value: &Value) -> Result<Value, String> {
        match value {
            Value::String(text) => self.parse_value(text),
            Value::Number(_) | Value::Bool(_) => self.parse_value(&value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => Err("a parameter is one plain value".to_owned()),
        }
    }

    fn parse_string(&self, text: &str) -> Result<Value, String> {
        if text.chars().count() > PARAMETER_LEN_MAX {
            return Err(format!("the value is longer than {PARAMETER_LEN_MAX} characters"));
        }
        if text.chars().any(char::is_control) {
            return Err("the value has a line break or another control character".to_owned());
        }
        if let Some(pattern) = &self.pattern {
            let regex =
                regex::Regex::new(&format!("^(?:{pattern})$")).map_err(|error| format!("its pattern is broken: {error}"))?;
            if !regex.is_match(text) {
                return Err(format!("`{text}` does not match the pattern `{pattern}`"));
            }
        }
        Ok(Value::from(text))
    }

    fn parse_integer(&self, text: &str) -> Result<Value, String> {
        let number: i64 = text.parse().map_err(|_| format!("`{text}` is not a whole number"))?;
        match (self.min, self.max) {
            (Some(min), _) if number < min => Err(format!("{number} is less than {min}")),
            (_, Some(max)) if number > max => Err(format!("{number} is more than {max}")),
            _ => Ok(Value::from(number)),
        }
    }
}

fn parse_instant(text: &str) -> Result<super::Timestamp, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .map_err(|_| format!("`{text}` is not an instant: write it like `2026-03-01T22:00:00Z`"))
}

/// A system that steps work on. Its identity is pinned in the plan and read again before a gated step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// A SQLite database file.
    Sqlite {
        /// The file; a template over `params`.
        path: String,
    },
    /// A PostgreSQL database.
    Postgres {
        /// The name of the secret that holds its URL, `postgres://user:password@host:port/database`.
        dsn: String,
    },
    /// A namespace of a Kubernetes cluster, reached by kubectl.
    Kubernetes {
        /// The kubectl context; a template over `params`. Without it, the current one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
        /// The namespace; a template over `params`.
        namespace: String,
        /// The name of the secret that holds the path of the kubeconfig file. Without it, kubectl's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kubeconfig: Option<String>,
    },
    /// An HTTP service.
    Http {
        /// Its base address; a template over `params`.
        url: String,
    },
}

impl Target {
    /// The word for what it is, as definitions write it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres { .. } => "postgres",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Http { .. } => "http",
        }
    }
}

/// What a live run demands of rehearsals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DryRunPolicy {
    /// A live run starts only if a dry run of the same digest ended green no longer ago than this.
    pub required_within: Duration,
}

/// A part of a runbook that starts at a time, behind a gate or at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its name.
    pub phase: PhaseName,
    /// One line for people; the name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When it starts, relative to the cutover instant; right after the phase before when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Offset>,
    /// What must be signed and measured before it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// What happens when a step has failed for good.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The steps, in order. At least one.
    pub steps: Vec<Step>,
}

impl Phase {
    /// The line for people.
    #[must_use]
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(self.phase.as_str())
    }
}

/// Stands before a phase until named roles have signed and every criterion is green.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// How many distinct people of each role must sign. At least one role.
    pub sign_off: IndexMap<RoleName, u8>,
    /// How long before its phase's time the card is posted.
    #[serde(default)]
    pub opens_before: Duration,
    /// A rollback that the same signatures pre-approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also_arms: Option<RollbackName>,
    /// How long after its phase's time, or after its opening if that is later, the gate refuses.
    #[serde(default = "default_expiry")]
    pub expires: Duration,
    /// Whom the quorum leaves out besides bots.
    #[serde(default)]
    pub excludes: Excludes,
    /// Read-only steps that are performed when the card opens, while it stands, and once more just before the
    /// phase starts; the criteria see their results as `measured['name'].result`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measure: Vec<Step>,
    /// What must hold: a red criterion blocks the sign-off itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub go: Vec<Criterion>,
}

fn default_expiry() -> Duration {
    Duration::from_minutes(30)
}

/// Whose signature a gate does not accept. There is no way to be laxer than the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Excludes {
    /// The person who asked for the run (or for the rollback, at a rollback's gate).
    #[default]
    Requester,
    /// Also everybody who pauses, resumes or answers for the run, before or after signing.
    AnyoneWhoActed,
}

/// A condition that is measured: an expression, and what it says to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// The expression; it must come out true. A missing value or an error is red.
    pub expect: String,
    /// What a green one means, for people.
    pub says: String,
}

/// What happens when a step of a phase has failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^(stop|ask|rollback [a-z0-9][a-z0-9_-]{0,39})$"))]
pub enum OnFailure {
    /// The run stops; the rollback stays one action away.
    #[default]
    Stop,
    /// The run asks a person: again, roll back, or stop.
    Ask,
    /// The run starts this rollback; unattended if it is armed, behind its gate if not.
    Rollback(RollbackName),
}

/// Why a text is not an `on_failure`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `stop`, `ask` or `rollback NAME`")]
pub struct InvalidOnFailure(String);

impl FromStr for OnFailure {
    type Err = InvalidOnFailure;

    fn from_str(text: &str) -> Result<Self, InvalidOnFailure> {
        match text.trim() {
            "stop" => Ok(Self::Stop),
            "ask" => Ok(Self::Ask),
            other => {
                let name = other.strip_prefix("rollback ").ok_or_else(|| InvalidOnFailure(text.to_owned()))?;
                name.trim().parse().map(Self::Rollback).map_err(|_| InvalidOnFailure(text.to_owned()))
            }
        }
    }
}

impl TryFrom<String> for OnFailure {
    type Error = InvalidOnFailure;

    fn try_from(text: String) -> Result<Self, InvalidOnFailure> {
        text.parse()
    }
}

impl From<OnFailure> for String {
    fn from(on_failure: OnFailure) -> Self {
        match on_failure {
            OnFailure::Stop => "stop".to_owned(),
            OnFailure::Ask => "ask".to_owned(),
            OnFailure::Rollback(name) => format!("rollback {name}"),
        }
    }
}

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name; expressions refer to it as `steps['name'].result`.
    pub step: StepName,
    /// One line for people.
    pub title: String,
    /// What it does.
    pub action: ActionName,
    /// The action's own parameters; texts are templates.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub with: IndexMap<String, Value>,
    /// The step is skipped unless this expression over `params` and `steps` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// How long it usually takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Duration>,
    /// How long one attempt may take before it is cancelled: 10 min when absent, a day where people are waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How often a failed attempt is made again.
    #[serde(default)]
    pub retry: Retry,
    /// What must hold afterwards; `result` is the step's own result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<Criterion>,
    /// What to do when an attempt was cut off and its outcome is unknown. Without it, what the action declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_interrupted: Option<IfInterrupted>,
}

impl Step {
    /// The roles that a human step names in its `with`.
    fn human_owners(&self) -> Vec<RoleName> {
        let owner = |value: &Value| value.get("owner").and_then(Value::as_str).and_then(|name| name.parse().ok());
        let own = self.with.get("owner").and_then(Value::as_str).and_then(|name| name.parse().ok());
        let items = self.with.get("items").and_then(Value::as_array).into_iter().flatten().filter_map(owner);
        if self.action.as_str().starts_with("human.") { own.into_iter().chain(items).collect() } else { Vec::new() }
    }
}

/// The time-out of an attempt when the step names none.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_minutes(10);

/// The time-out of a step that waits for people when the step names none.
pub const TIMEOUT_HUMAN_DEFAULT: Duration = Duration::from_minutes(24 * 60);

/// What a step overrides about an interruption. Only towards what the author knows to be safe:
/// `repeat` says that doing it twice is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfInterrupted {
    /// Do it again: twice is as good as once.
    Repeat,
    /// Ask a person.
    Ask,
}

/// How often a failed attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included; 1 to 20.
    #[serde(default = "one")]
    pub attempts: u32,
    /// The wait before the second attempt; it doubles each time, up to ten minutes.
    #[serde(default = "default_backoff")]
    pub backoff: Duration,
}

/// The most attempts that `retry` may ask for.
pub const ATTEMPTS_MAX: u32 = 20;

/// The longest wait between two attempts.
const BACKOFF_MAX: Duration = Duration::from_minutes(10);

fn one() -> u32 {
    1
}

fn default_backoff() -> Duration {
    Duration::from_secs(10)
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 1, backoff: default_backoff() }
    }
}

impl Retry {
    /// The wait after `failed` attempts have failed (1 or more).
    #[must_use]
    pub fn wait_after(&self, failed: u32) -> Duration {
        let factor = 1u64 << failed.saturating_sub(1).min(20);
        Duration::from_secs(self.backoff.as_secs().saturating_mul(factor)).min(BACKOFF_MAX)
    }
}

/// A way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// One line for people; the name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How long it may take from the decision to the last step.
    pub target: Duration,
    /// Who may start it when it is armed, or ask for it when it is not.
    pub allow: Vec<RoleName>,
    /// Who must sign when it is not armed; the same signatures arm it.
    pub sign_off: IndexMap<RoleName, u8>,
    /// Until when it is possible; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<PointOfNoReturn>,
    /// The steps, in order. At least one.
    pub steps: Vec<Step>,
}

/// The step whose start makes a rollback impossible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PointOfNoReturn {
    /// Once this step has started, the rollback is refused.
    pub step: StepName,
    /// Why, for people.
    pub because: String,
}

/// Something that a person of a role confirms by ticking it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChecklistItem {
    /// What is confirmed.
    pub item: String,
    /// The role that ticks it.
    pub owner: RoleName,
}

/// The `with` of a `human.checklist` step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checklist {
    /// The items; at least one, at most twenty.
    pub items: Vec<ChecklistItem>,
}

/// The `with` of a `human.confirm` step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// What is asked.
    pub question: String,
    /// The role that answers.
    pub owner: RoleName,
}

/// The `with` of a `wait.for` step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// How long to wait from the start of the step. One of `duration` and `until` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Until when to wait, relative to the cutover instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Offset>,
}

/// The most items of one checklist: Discord shows at most 25 buttons on a message.
pub const CHECKLIST_ITEMS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(json: Value) -> Parameter {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn parameters_are_read_by_type_and_refused_with_the_reason() {
        let name = parameter(serde_json::json!({ "type": "string", "help": "", "pattern": "[a-z]+|x1" }));
        assert_eq!(name.parse_value(" abc "), Ok(Value::from("abc")));
        assert!(name.parse_value("abc1").unwrap_err().contains("does not match"));
        assert!(name.parse_value("a\nb").is_err());
        let rows = parameter(serde_json::json!({ "type": "integer", "help": "", "min": 1, "max": 10 }));
        assert_eq!(rows.parse_value("10"), Ok(Value::from(10)));
        assert!(rows.parse_value("11").unwrap_err().contains("more than 10"));
        assert!(rows.parse_value("ten").is_err());
        let stage = parameter(serde_json::json!({ "type": "choice", "help": "", "choices": ["a", "b"] }));
        assert!(stage.parse_value("c").unwrap_err().contains("a, b"));
        let span = parameter(serde_json::json!({ "type": "duration", "help": "" }));
        assert_eq!(span.parse_value("90s"), Ok(Value::from("1m30s")));
    }

    #[test]
    fn backoff_doubles_up_to_a_limit() {
        let retry = Retry { attempts: 9, backoff: Duration::from_secs(10) };
        let waits: Vec<u64> = (1..9).map(|failed| retry.wait_after(failed).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn on_failure_reads_its_three_forms() {
        assert_eq!("rollback runtime".parse(), Ok(OnFailure::Rollback("runtime".parse().unwrap())));
        assert!("retry".parse::<OnFailure>().is_err());
    }
}

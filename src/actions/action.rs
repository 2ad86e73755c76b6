//! What an action is: its description, performing it, rehearsing it, and looking whether it happened.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::context::Context;
use crate::domain::run::Finding;
use crate::domain::{ActionSpec, Effect, Interruption, StepKind};

/// Something that a step can do. One implementation for each action name.
///
/// Contract, which the performer relies on:
/// - When `context.cancel` fires, it ends what it started and returns [`Trouble::Cancelled`] soon after.
/// - [`Self::rehearse`] writes nothing outside the run's directory.
/// - An outcome that is not known is [`Trouble::Unknown`], never a guess.
/// - A message may hold what a system answered; the performer masks secrets in it, if they were asked of
///   the [`Context`].
#[async_trait]
pub trait Action: Send + Sync + 'static {
    /// The step's `with`. Unknown keys are errors.
    type Parameters: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What it is, without performing it.
    fn spec(&self) -> ActionSpec;

    /// Whether a step with this `with`, as the definition writes it, changes anything outside the run's directory.
    fn has_effect(&self, with: &Map<String, Value>) -> bool {
        self.spec().effect.applies(|key| with.get(key).and_then(Value::as_bool))
    }

    /// What to do when a step with this `with` was cut off. Looking twice never harms.
    fn interruption(&self, with: &Map<String, Value>) -> Interruption {
        if self.has_effect(with) { self.spec().interruption } else { Interruption::Repeat }
    }

    /// Does it.
    ///
    /// # Errors
    /// See [`Trouble`].
    async fn perform(&self, context: &Context, parameters: &Self::Parameters) -> Result<Done, Trouble>;

    /// Does as much of it as changes nothing: reads, transforms, validates.
    ///
    /// # Errors
    /// What would make performing it fail, as far as that shows.
    async fn rehearse(&self, context: &Context, parameters: &Self::Parameters) -> Result<Done, Trouble>;

    /// Looks whether an attempt that was cut off took effect. Called only for [`Interruption::Probe`].
    async fn probe(&self, _context: &Context, _parameters: &Self::Parameters) -> Finding {
        Finding::Unclear { why: "this action cannot tell whether it took effect".to_owned() }
    }
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// For later steps and criteria: a map, described in `docs/actions.md`.
    pub result: Value,
    /// Whether values in it stand for what a live run would find.
    pub simulated: bool,
}

impl Done {
    /// Really done, or really looked at.
    #[must_use]
    pub fn real(result: Value) -> Self {
        Self { result, simulated: false }
    }

    /// Rehearsed.
    #[must_use]
    pub fn simulated(result: Value) -> Self {
        Self { result, simulated: true }
    }
}

/// Why an action has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It failed.
    #[error("{message}")]
    Failed {
        /// What happened, what was not done and what to do next.
        message: String,
        /// Whether another attempt may help.
        retryable: bool,
    },
    /// It was told to stop, and nothing of it runs any more.
    #[error("cancelled")]
    Cancelled,
    /// Nobody knows whether it took effect.
    #[error("{why}")]
    Unknown {
        /// Why, for people.
        why: String,
    },
}

impl Trouble {
    /// A failure that another attempt may mend.
    pub fn passing(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), retryable: true }
    }

    /// A failure that stays until a person changes something.
    pub fn lasting(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), retryable: false }
    }
}

/// The description of an action that only looks, has no special keys and may be repeated; to be filled up by
/// struct update.
pub(super) fn describe<P: JsonSchema>(name: &str, summary: &str) -> ActionSpec {
    ActionSpec {
        name: name.parse().expect("action names are written in this crate"),
        summary: summary.to_owned(),
        parameters: schemars::schema_for!(P).to_value(),
        effect: Effect::Never,
        interruption: Interruption::Repeat,
        kind: StepKind::Action,
        target_keys: Vec::new(),
        file_keys: Vec::new(),
        literal_keys: Vec::new(),
        argv_keys: Vec::new(),
        secret_keys: Vec::new(),
    }
}

pub(super) fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// An action whose parameters are still JSON: what the registry holds.
#[async_trait]
pub(super) trait AnyAction: Send + Sync + 'static {
    fn has_effect(&self, with: &Map<String, Value>) -> bool;
    fn interruption(&self, with: &Map<String, Value>) -> Interruption;
    async fn perform(&self, context: &Context, with: Value) -> Result<Done, Trouble>;
    async fn rehearse(&self, context: &Context, with: Value) -> Result<Done, Trouble>;
    async fn probe(&self, context: &Context, with: Value) -> Finding;
}

fn read<P: DeserializeOwned>(spec: &ActionSpec, with: Value) -> Result<P, Trouble> {
    serde_json::from_value(with)
        .map_err(|error| Trouble::lasting(format!("`with` does not fit `{}`: {error}; nothing was done", spec.name)))
}

#[async_trait]
impl<A: Action> AnyAction for A {
    fn has_effect(&self, with: &Map<String, Value>) -> bool {
        Action::has_effect(self, with)
    }

    fn interruption(&self, with: &Map<String, Value>) -> Interruption {
        Action::interruption(self, with)
    }

    async fn perform(&self, context: &Context, with: Value) -> Result<Done, Trouble> {
        let parameters = read(&Action::spec(self), with)?;
        Action::perform(self, context, &parameters).await
    }

    async fn rehearse(&self, context: &Context, with: Value) -> Result<Done, Trouble> {
        let parameters = read(&Action::spec(self), with)?;
        Action::rehearse(self, context, &parameters).await
    }

    async fn probe(&self, context: &Context, with: Value) -> Finding {
        match read(&Action::spec(self), with) {
            Ok(parameters) => Action::probe(self, context, &parameters).await,
            Err(trouble) => Finding::Unclear { why: trouble.to_string() },
        }
    }
}

//! `human.confirm`, `human.checklist` and `wait.for`: described here, performed by the engine, which waits
//! for people and for time.
//!
//! Dry run: the engine settles them at once. Interruption: nothing is lost, ticks and deadlines are journalled.

use async_trait::async_trait;

use super::action::{Action, Done, Trouble, describe};
use super::context::Context;
use crate::domain::runbook::{Checklist as ChecklistWith, Confirmation, Wait};
use crate::domain::{ActionSpec, StepKind};

/// `human.confirm`: a person of a role answers a question with yes or no.
pub(super) struct Confirm;

/// `human.checklist`: each item is ticked by its owner role.
pub(super) struct Checklist;

/// `wait.for`: time passes.
pub(super) struct WaitFor;

fn not_performed_here() -> Trouble {
    Trouble::lasting("this step is performed by the engine itself; nothing was done")
}

macro_rules! performed_by_the_engine {
    ($action:ident, $with:ty, $kind:expr, $name:literal, $summary:literal) => {
        #[async_trait]
        impl Action for $action {
            type Parameters = $with;

            fn spec(&self) -> ActionSpec {
                ActionSpec { kind: $kind, ..describe::<$with>($name, $summary) }
            }

            async fn perform(&self, _: &Context, _: &$with) -> Result<Done, Trouble> {
                Err(not_performed_here())
            }

            async fn rehearse(&self, _: &Context, _: &$with) -> Result<Done, Trouble> {
                Err(not_performed_here())
            }
        }
    };
}

performed_by_the_engine!(
    Confirm,
    Confirmation,
    StepKind::Confirm,
    "human.confirm",
    "Asks a person of a role a question; no fails the step. A dry run asks nobody."
);
performed_by_the_engine!(
    Checklist,
    ChecklistWith,
    StepKind::Checklist,
    "human.checklist",
    "Waits until every item is ticked by its owner role. A dry run waits for nobody."
);
performed_by_the_engine!(
    WaitFor,
    Wait,
    StepKind::Wait,
    "wait.for",
    "Waits for a time, or until an instant relative to T-0. A dry run does not wait."
);

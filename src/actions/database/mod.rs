//! `database.copy` and `database.verify`: the movers of [`crate::transfer`] as steps.

mod copy;
mod verify;

use super::action::Trouble;
use super::context::Context;
use crate::domain::StepName;
use crate::transfer::Error;

pub(super) use copy::Copy;
pub(super) use verify::Verify;

/// The id of a step's copy: fixed for the run and the step, so that every attempt goes on with the same copy.
fn copy_id(context: &Context, step: &StepName) -> String {
    format!("{}/{step}", context.run)
}

fn trouble(error: &Error) -> Trouble {
    if error.is_cancelled() {
        return Trouble::Cancelled;
    }
    Trouble::Failed { message: error.to_string(), retryable: error.is_retryable() }
}

fn report_as_json(report: &impl serde::Serialize) -> Result<serde_json::Value, Trouble> {
    serde_json::to_value(report).map_err(|error| Trouble::lasting(format!("the report cannot be written as JSON: {error}")))
}

//! What a command asks for: its texts, which are templates over `options`, filled in.

use serde_json::{Map, Value};

use crate::domain::command::{OnRun, Verb};
use crate::expression::{ExpressionError, Scope, Template};

/// The verb with every text filled in from `options`. An option that was not given is the empty text, so that a
/// template that names it alone comes out empty.
///
/// # Errors
/// The first template that cannot be filled in. The catalog has checked them, so that is seldom.
pub fn bind(verb: &Verb, options: &Map<String, Value>) -> Result<Verb, ExpressionError> {
    let scope = Scope::new().with("options", Value::Object(options.clone()));
    let text = |text: &String| Ok(Template::parse(text)?.render(&scope)?.trim().to_owned());
    let maybe = |value: &Option<String>| -> Result<Option<String>, ExpressionError> {
        let filled = value.as_ref().map(text).transpose()?;
        Ok(filled.filter(|text| !text.is_empty()))
    };
    let parameters = |map: &indexmap::IndexMap<_, String>| -> Result<_, ExpressionError> {
        let filled = map.iter().map(|(name, value)| Ok((Clone::clone(name), text(value)?)));
        let filled: Vec<(_, String)> = filled.collect::<Result<_, ExpressionError>>()?;
        Ok(filled.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    };
    let on_run =
        |on: &OnRun| -> Result<OnRun, ExpressionError> { Ok(OnRun { run: maybe(&on.run)?, reason: maybe(&on.reason)? }) };
    Ok(match verb {
        Verb::StartRun { runbook, at, mode, parameters: given } => {
            Verb::StartRun { runbook: text(runbook)?, at: maybe(at)?, mode: maybe(mode)?, parameters: parameters(given)? }
        }
        Verb::PlanRun { runbook, parameters: given } => Verb::PlanRun { runbook: text(runbook)?, parameters: parameters(given)? },
        Verb::RunStatus(on) => Verb::RunStatus(on_run(on)?),
        Verb::PauseRun(on) => Verb::PauseRun(on_run(on)?),
        Verb::ResumeRun(on) => Verb::ResumeRun(on_run(on)?),
        Verb::AbortRun(on) => Verb::AbortRun(on_run(on)?),
        Verb::CloseRun(on) => Verb::CloseRun(on_run(on)?),
        Verb::RollbackRun { run, rollback, reason } => {
            Verb::RollbackRun { run: maybe(run)?, rollback: maybe(rollback)?, reason: text(reason)? }
        }
        Verb::BreakGlass(on) => Verb::BreakGlass(on_run(on)?),
        Verb::SignOffStatus(on) => Verb::SignOffStatus(on_run(on)?),
        Verb::ListRunbooks => Verb::ListRunbooks,
        Verb::ShowRunbook { runbook } => Verb::ShowRunbook { runbook: text(runbook)? },
        Verb::ReloadDefinitions => Verb::ReloadDefinitions,
        Verb::WhoAmI => Verb::WhoAmI,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_was_not_given_leaves_its_place_empty() {
        let verb = Verb::RollbackRun {
            run: Some("{{ options.run }}".to_owned()),
            rollback: Some("{{ options.rollback }}".to_owned()),
            reason: "{{ options.reason }}".to_owned(),
        };
        let options = serde_json::json!({ "run": "", "rollback": "runtime", "reason": "{{ 7 * 7 }}" });
        let Value::Object(options) = options else { unreachable!() };
        let bound = bind(&verb, &options).unwrap();
        let expected = Verb::RollbackRun { run: None, rollback: Some("runtime".to_owned()), reason: "{{ 7 * 7 }}".to_owned() };
        assert_eq!(bound, expected, "what a person typed is data, never a template");
    }
}

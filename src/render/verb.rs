//! What a command asks for: its texts, which are templates over `options`, filled in.

use serde_json::{Map, Value};

use crate::domain::command::{OnIncident, OnRun, TextOnIncident, Verb};
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
    let on_incident =
        |on: &OnIncident| -> Result<OnIncident, ExpressionError> { Ok(OnIncident { incident: maybe(&on.incident)? }) };
    let saying = |said: &TextOnIncident| -> Result<TextOnIncident, ExpressionError> {
        Ok(TextOnIncident { incident: maybe(&said.incident)?, text: text(&said.text)? })
    };
    Ok(match verb {
        Verb::StartRun { runbook, at, mode, parameters: given, in_incident } => Verb::StartRun {
            runbook: text(runbook)?,
            at: maybe(at)?,
            mode: maybe(mode)?,
            parameters: parameters(given)?,
            in_incident: *in_incident,
        },
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
        Verb::OpenIncident { title, severity, customer_facing, private } => Verb::OpenIncident {
            title: text(title)?,
            severity: text(severity)?,
            customer_facing: maybe(customer_facing)?,
            private: maybe(private)?,
        },
        Verb::UpdateIncident(said) => Verb::UpdateIncident(saying(said)?),
        Verb::NoteOnIncident(said) => Verb::NoteOnIncident(saying(said)?),
        Verb::ChangeSeverity { incident, severity, reason } => {
            Verb::ChangeSeverity { incident: maybe(incident)?, severity: text(severity)?, reason: maybe(reason)? }
        }
        Verb::TakeRole { incident, role, person } => {
            Verb::TakeRole { incident: maybe(incident)?, role: text(role)?, person: maybe(person)? }
        }
        Verb::AcknowledgeIncident(on) => Verb::AcknowledgeIncident(on_incident(on)?),
        Verb::IncidentStatus(on) => Verb::IncidentStatus(on_incident(on)?),
        Verb::IncidentTimeline(on) => Verb::IncidentTimeline(on_incident(on)?),
        Verb::ResolveIncident(said) => Verb::ResolveIncident(saying(said)?),
        Verb::PreviewPostMortem(on) => Verb::PreviewPostMortem(on_incident(on)?),
        Verb::PublishPostMortem(on) => Verb::PublishPostMortem(on_incident(on)?),
        Verb::AddAction { incident, title, owner, due } => {
            Verb::AddAction { incident: maybe(incident)?, title: text(title)?, owner: text(owner)?, due: text(due)? }
        }
        Verb::MarkMessage => Verb::MarkMessage,
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

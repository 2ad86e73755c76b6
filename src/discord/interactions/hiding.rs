//! A secret of the settings that somebody writes into a command or a form: it is hidden before it reaches the journal, and
//! whoever wrote it learns that Discord has seen it.
//!
//! A text goes on with the secret hidden. A parameter of a run does not: a run with another value than the one that was
//! given would be another run, so that nothing is started. Options whose values are chosen from what there is (a runbook,
//! a run, an incident, ...) are left as they are; what names nothing known gets no further than the answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use serenity::all::ModalInteraction;

use super::reply::Replier;
use super::{Interactions, forms};
use crate::discord::rest::Trouble;
use crate::domain::command::{CommandOption, OptionKind, Verb};
use crate::render::{Message, rejection, text};

impl Interactions {
    /// Hides secrets in the texts among an option's values. Returns the names of those that held one, in the order of the
    /// options.
    pub(super) fn hide_in_options(&self, options: &[CommandOption], values: &mut Map<String, Value>) -> Vec<String> {
        let mut held = Vec::new();
        for option in options.iter().filter(|option| option.kind == OptionKind::String) {
            let Some(Value::String(text)) = values.get_mut(&option.name) else { continue };
            if let Some(hidden) = self.settings.mask.hidden(text) {
                *text = hidden;
                held.push(option.name.clone());
            }
        }
        held
    }

    /// What was entered in a form, by input, with secrets hidden; and whether there were any.
    pub(super) fn hidden_inputs(&self, modal: &ModalInteraction) -> (BTreeMap<String, String>, bool) {
        let mut inputs = forms::inputs(modal);
        let mut held = false;
        for text in inputs.values_mut() {
            if let Some(hidden) = self.settings.mask.hidden(text) {
                *text = hidden;
                held = true;
            }
        }
        (inputs, held)
    }

    /// Refuses parameters, by input, of which some hold a secret.
    pub(super) fn refused_inputs(&self, sent: &BTreeMap<String, String>) -> Option<Message> {
        let held = sent.iter().filter(|(_, text)| self.settings.mask.hidden(text).is_some());
        refused(&held.map(|(name, _)| name.clone()).collect::<Vec<_>>())
    }
}

/// Refuses a verb that would make parameters of these options' values; nothing if it makes none of them, or there are none.
pub(super) fn refused_parameters(verb: &Verb, held: &[String]) -> Option<Message> {
    matches!(verb, Verb::StartRun { .. } | Verb::PlanRun { .. }).then(|| refused(held)).flatten()
}

fn refused(held: &[String]) -> Option<Message> {
    let names: Vec<String> = held.iter().map(|name| text::code(name)).collect();
    let next = "Parameters are shown and journalled: let the step name the secret instead (`secret_env` in the runbook). Discord \
                has seen the value, so change that secret.";
    let why = || format!("{} holds a secret of the settings; nothing was started and nothing written down", names.join(", "));
    (!held.is_empty()).then(|| rejection::refused(&why(), next))
}

/// Tells whoever wrote a secret what became of it.
pub(super) async fn tell(replier: &Replier, held: bool) -> Result<(), Trouble> {
    if !held {
        return Ok(());
    }
    tracing::warn!("somebody wrote a secret of the settings to the bot; it was hidden before it was written down");
    replier.add(&warning()).await
}

fn warning() -> Message {
    Message::plain(
        "🔑 What you wrote held a secret of the settings. It stands as `[redacted]` wherever the bot writes it down. Discord has seen \
         it all the same: change that secret.",
    )
}

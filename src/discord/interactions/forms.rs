//! Forms: five inputs at most, so that more parameters take several pages. What was entered on earlier pages stands in
//! the message with the button for the next one; nothing waits in memory, and a restart between two pages loses nothing.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::{Value, json};
use serenity::all::{ActionRowComponent, Message as DiscordMessage, ModalInteraction};

use super::reply::Replier;
use super::{Caller, Interactions};
use crate::discord::custom_id::{CustomId, Form, Purpose};
use crate::discord::encode;
use crate::discord::rest::Trouble;
use crate::domain::ParameterName;
use crate::domain::runbook::{PARAMETER_LEN_MAX, Parameter, ParameterKind, Runbook};
use crate::render::{Colour, Embed, Field, Message, limits, rejection};

/// The parameters as they were entered.
pub(super) type Entered = IndexMap<ParameterName, String>;

/// The input of a reason.
pub(super) const REASON: &str = "reason";
/// The longest reason.
const REASON_LEN_MAX: usize = 400;

/// Discord's number of a text input, and of its two sizes.
pub(super) const TEXT_INPUT: u8 = 4;
pub(super) const SHORT: u8 = 1;
pub(super) const PARAGRAPH: u8 = 2;

/// The parameters that nobody has given yet, required ones first.
pub(super) fn missing<'a>(runbook: &'a Runbook, given: &Entered) -> Vec<(&'a ParameterName, &'a Parameter)> {
    let open = || runbook.parameters.iter().filter(|(name, _)| !given.contains_key(*name));
    let required = open().filter(|(_, parameter)| parameter.default.is_none());
    let optional = open().filter(|(_, parameter)| parameter.default.is_some());
    required.chain(optional).collect()
}

/// The form for a reason.
pub(super) fn reason(id: &CustomId, question: u32) -> Value {
    let input = json!({
        "type": TEXT_INPUT, "custom_id": REASON, "label": "Why? It goes into the journal.", "style": PARAGRAPH,
        "min_length": 1, "max_length": REASON_LEN_MAX, "required": true,
    });
    modal(id, &format!("Answer to question {question}"), vec![input])
}

/// A form of these inputs.
pub(super) fn modal(id: &CustomId, title: &str, inputs: Vec<Value>) -> Value {
    let rows: Vec<Value> = inputs.into_iter().map(|input| json!({ "type": 1, "components": [input] })).collect();
    json!({ "custom_id": id.encode(), "title": limits::cut(title, limits::MODAL_TITLE_MAX), "components": rows })
}

/// What was entered in a form, by input.
pub(super) fn inputs(modal: &ModalInteraction) -> BTreeMap<String, String> {
    let components = modal.data.components.iter().flat_map(|row| &row.components);
    components
        .filter_map(|component| match component {
            ActionRowComponent::InputText(input) => {
                Some((input.custom_id.clone(), input.value.clone().unwrap_or_default().trim().to_owned()))
            }
            _ => None,
        })
        .collect()
}

impl Interactions {
    /// Asks for parameters. What the command carried is shown filled in if there is room; else a page comes before.
    pub(super) async fn ask(&self, replier: &Replier, form: &Form, runbook: &Runbook, given: &Entered) -> Result<(), Trouble> {
        if given.is_empty() {
            return replier.open(page(form, runbook, given)).await;
        }
        // A form opened from a command has no message to carry values in, so they become inputs of it.
        let open = missing(runbook, given);
        if open.len() + given.len() <= limits::MODAL_INPUTS_MAX {
            let carried = given.iter().filter_map(|(name, value)| Some(input(name, runbook.parameters.get(name)?, Some(value))));
            let asked = open.iter().map(|(name, parameter)| input(name, parameter, None));
            let inputs = carried.chain(asked).collect();
            return replier.open(modal(&CustomId::Form(form.clone()), title(runbook), inputs)).await;
        }
        self.offer_next(replier, form, runbook, given).await
    }

    /// The button for the next page was pressed: what was entered stands in its message.
    pub(super) async fn next_page(&self, replier: &Replier, form: Form, message: &DiscordMessage) -> Result<(), Trouble> {
        let Some(runbook) = self.runbook(form.runbook.as_str()) else {
            return replier.say(&self.no_runbook(form.runbook.as_str())).await;
        };
        replier.open(page(&form, &runbook, &entered(message))).await
    }

    /// A page was sent: the next one, or the end.
    pub(super) async fn submitted(
        &self,
        replier: &Replier,
        caller: &Caller,
        form: Form,
        modal: &ModalInteraction,
    ) -> Result<(), Trouble> {
        let Some(runbook) = self.runbook(form.runbook.as_str()) else {
            return replier.say(&self.no_runbook(form.runbook.as_str())).await;
        };
        if let Some(refusal) = self.closed_to(&form, caller) {
            return replier.say(&refusal).await;
        }
        let mut given = modal.message.as_deref().map(entered).unwrap_or_default();
        let sent = inputs(modal);
        if let Some(refusal) = self.refused_inputs(&sent) {
            return replier.say(&refusal).await;
        }
        let mut mistakes = Vec::new();
        for (name, parameter) in &runbook.parameters {
            let Some(text) = sent.get(name.as_str()) else { continue };
            match parameter.parse_value(text) {
                Ok(_) => {
                    given.insert(name.clone(), text.clone());
                }
                // Left empty: the default holds.
                Err(_) if text.is_empty() && parameter.default.is_some() => {}
                Err(why) => mistakes.push(format!("`{name}`: {why}")),
            }
        }
        let unknown = sent.keys().filter(|name| !runbook.parameters.keys().any(|known| known.as_str() == name.as_str()));
        mistakes.extend(unknown.map(|name| format!("`{name}`: the runbook has no such parameter any more")));
        if !mistakes.is_empty() {
            let next = "Nothing was started. Use the command again.";
            return replier.say(&rejection::mistakes("The form has mistakes:", &mistakes, next)).await;
        }
        let required =
            |(name, parameter): &(&ParameterName, &Parameter)| parameter.default.is_none() && !sent.contains_key(name.as_str());
        if missing(&runbook, &given).iter().any(required) {
            return self.offer_next(replier, &form, &runbook, &given).await;
        }
        replier.defer().await?;
        self.finish(replier, caller, form, given).await
    }

    /// Shows what was entered, with the button for the next page.
    async fn offer_next(&self, replier: &Replier, form: &Form, runbook: &Runbook, given: &Entered) -> Result<(), Trouble> {
        let left = missing(runbook, given).len();
        let fields = given.iter().map(|(name, value)| Field { name: name.to_string(), value: format!("`{value}`") });
        let embed = Embed {
            title: limits::cut(title(runbook), limits::TITLE_MAX),
            description: format!("{left} more to enter. Nothing is started before the last page."),
            colour: Colour::Blue,
            fields: fields.take(limits::FIELDS_MAX).collect(),
            footer: String::new(),
        };
        let row = encode::single_button("Continue", &CustomId::Form(form.clone()));
        replier.say_with(&Message::framed(embed), row).await
    }

    /// A form is checked like the command that opened it: roles may have changed, and ids can be made up.
    fn closed_to(&self, form: &Form, caller: &Caller) -> Option<Message> {
        use crate::domain::command::Verb;
        self.forbidden(caller, |verb| match form.purpose {
            Purpose::Plan => matches!(verb, Verb::PlanRun { .. }),
            Purpose::Start { .. } => matches!(verb, Verb::StartRun { .. }),
        })
    }
}

/// One page: what is missing, as much as fits.
fn page(form: &Form, runbook: &Runbook, given: &Entered) -> Value {
    let open = missing(runbook, given);
    let inputs = open.iter().take(limits::MODAL_INPUTS_MAX).map(|(name, parameter)| input(name, parameter, None)).collect();
    modal(&CustomId::Form(form.clone()), title(runbook), inputs)
}

/// The heading of a form. A title with parameters in it cannot be shown: they are only being asked for.
fn title(runbook: &Runbook) -> &str {
    if runbook.title.contains("{{") { runbook.runbook.as_str() } else { &runbook.title }
}

fn input(name: &ParameterName, parameter: &Parameter, value: Option<&str>) -> Value {
    let default = parameter.default.as_ref().map(|default| default.as_str().map_or_else(|| default.to_string(), str::to_owned));
    let mut body = json!({
        "type": TEXT_INPUT,
        "custom_id": name.as_str(),
        "label": limits::cut(name.as_str(), limits::INPUT_LABEL_MAX),
        "style": SHORT,
        "max_length": PARAMETER_LEN_MAX,
        "required": default.is_none(),
    });
    let placeholder = limits::cut(&placeholder(parameter), limits::INPUT_PLACEHOLDER_MAX);
    if !placeholder.is_empty() {
        body["placeholder"] = placeholder.into();
    }
    if let Some(value) = value.map(str::to_owned).or(default).filter(|value| !value.is_empty()) {
        body["value"] = limits::cut(&value, PARAMETER_LEN_MAX).into();
    }
    body
}

fn placeholder(parameter: &Parameter) -> String {
    match parameter.kind {
        ParameterKind::Choice => format!("{}: {}", parameter.help, parameter.choices.join(", ")),
        ParameterKind::Boolean => format!("{}: yes or no", parameter.help),
        ParameterKind::Duration => format!("{}, e.g. 5m", parameter.help),
        ParameterKind::Instant => format!("{}, e.g. 2026-03-01T22:00:00Z", parameter.help),
        ParameterKind::String | ParameterKind::Integer => parameter.help.clone(),
    }
}

/// What was entered on earlier pages, as the message shows it.
fn entered(message: &DiscordMessage) -> Entered {
    let fields = message.embeds.iter().flat_map(|embed| &embed.fields);
    fields
        .filter_map(|field| {
            let value = field.value.strip_prefix('`')?.strip_suffix('`')?;
            Some((field.name.parse().ok()?, value.to_owned()))
        })
        .collect()
}

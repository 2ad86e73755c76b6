//! Buttons of incidents, and the two forms that ask for what only people know.
//!
//! A form shows what was told before. Two people may have the same form open: of what is sent only what somebody has
//! changed counts, so that nobody puts an old text back over a new one. The form's id carries a fingerprint of each text
//! that it showed; nothing waits in memory.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::forms::{self, PARAGRAPH, SHORT, TEXT_INPUT, modal};
use super::in_incident::may_see;
use super::reply::Replier;
use super::{Caller, Interactions};
use crate::discord::custom_id::{CustomId, FactsForm, Told};
use crate::discord::rest::Trouble;
use crate::domain::Digest;
use crate::domain::command::{TextOnIncident, Verb};
use crate::domain::incident::{Facts, IncidentId, Input, Rejection, State};
use crate::engine::IncidentSnapshot;
use crate::render::{IncidentPress, Message, Press, incident, limits, rejection, text};

/// The longest answer, in characters: what one input of a form takes.
const ANSWER_MAX: usize = 4_000;
/// The longest summary of a resolution, in characters.
const SUMMARY_MAX: usize = 1_500;
/// The input of a summary.
const SUMMARY: &str = "summary";

/// One question of a form.
struct Question {
    id: &'static str,
    label: &'static str,
    style: u8,
    fact: fn(&mut Facts) -> &mut Option<String>,
}

const HAPPENED: [Question; 5] = [
    Question { id: "summary", label: "What happened, in a few sentences", style: PARAGRAPH, fact: |facts| &mut facts.summary },
    Question { id: "root_cause", label: "Why it happened", style: PARAGRAPH, fact: |facts| &mut facts.root_cause },
    Question { id: "users_affected", label: "Users affected", style: SHORT, fact: |facts| &mut facts.users_affected },
    Question { id: "downtime", label: "Downtime", style: SHORT, fact: |facts| &mut facts.downtime },
    Question { id: "data_loss", label: "Data loss", style: SHORT, fact: |facts| &mut facts.data_loss },
];

const LEARNED: [Question; 4] = [
    Question { id: "resolution", label: "What was done to mend it", style: PARAGRAPH, fact: |facts| &mut facts.resolution },
    Question { id: "went_well", label: "What went well", style: PARAGRAPH, fact: |facts| &mut facts.went_well },
    Question { id: "went_poorly", label: "What went poorly", style: PARAGRAPH, fact: |facts| &mut facts.went_poorly },
    Question { id: "lucky", label: "Where we got lucky", style: PARAGRAPH, fact: |facts| &mut facts.lucky },
];

impl FactsForm {
    fn title(self) -> &'static str {
        match self {
            Self::Happened => "What happened",
            Self::Learned => "What we learned",
        }
    }

    fn questions(self) -> &'static [Question] {
        match self {
            Self::Happened => &HAPPENED,
            Self::Learned => &LEARNED,
        }
    }
}

impl Question {
    fn of(&self, facts: &Facts) -> Option<String> {
        (self.fact)(&mut facts.clone()).clone()
    }
}

impl Interactions {
    /// A button of an incident's message was pressed.
    pub(super) async fn press_on_incident(
        &self,
        replier: &Replier,
        caller: &Caller,
        id: IncidentId,
        press: IncidentPress,
    ) -> Result<(), Trouble> {
        let snapshot = match self.pressed(caller, &id, press) {
            Ok(snapshot) => snapshot,
            Err(refusal) => return replier.say(&refusal).await,
        };
        let by = || caller.person.clone();
        match press {
            IncidentPress::Acknowledge => self.quietly(replier, &id, Input::Acknowledge { by: by() }).await,
            IncidentPress::Publish => self.quietly(replier, &id, Input::Publish { by: by() }).await,
            IncidentPress::Resolve => replier.open(resolve_form(&id)).await,
            IncidentPress::WhatHappened => replier.open(facts_form(&snapshot.state, FactsForm::Happened)).await,
            IncidentPress::WhatWeLearned => replier.open(facts_form(&snapshot.state, FactsForm::Learned)).await,
        }
    }

    /// The incident, if the caller may press this now: a form for something that is over would be filled in for nothing.
    fn pressed(&self, caller: &Caller, id: &IncidentId, press: IncidentPress) -> Result<IncidentSnapshot, Box<Message>> {
        if let Some(refusal) = self.forbidden(caller, |verb| opens(press, verb)) {
            return Err(Box::new(refusal));
        }
        let snapshot = self.incident_meant(Some(&id.to_string()), caller)?;
        let rejected = match (&snapshot.state.resolved, press) {
            _ if snapshot.state.closed_at.is_some() => Rejection::Closed,
            (Some(resolution), IncidentPress::Resolve) => {
                Rejection::AlreadyResolved { by: resolution.by.name.clone(), at: resolution.at }
            }
            _ => return Ok(snapshot),
        };
        Err(Box::new(incident::rejected(&rejected)))
    }

    /// Tells the incident; its card shows what came of it, and only a refusal is said.
    async fn quietly(&self, replier: &Replier, id: &IncidentId, input: Input) -> Result<(), Trouble> {
        replier.acknowledge().await?;
        match self.tell_incident(id, input).await {
            Some(refusal) => replier.add(&refusal).await,
            None => Ok(()),
        }
    }

    /// The form for a resolution was sent.
    pub(super) async fn resolution_sent(
        &self,
        replier: &Replier,
        caller: &Caller,
        id: IncidentId,
        mut sent: BTreeMap<String, String>,
    ) -> Result<(), Trouble> {
        if let Some(refusal) = self.forbidden(caller, |verb| opens(IncidentPress::Resolve, verb)) {
            return replier.say(&refusal).await;
        }
        let text = sent.remove(SUMMARY).unwrap_or_default();
        self.resolve_incident(replier, caller, TextOnIncident { incident: Some(id.to_string()), text }).await
    }

    /// A form for the post-mortem was sent.
    pub(super) async fn facts_sent(
        &self,
        replier: &Replier,
        caller: &Caller,
        Told { incident: id, form, shown }: Told,
        sent: &BTreeMap<String, String>,
    ) -> Result<(), Trouble> {
        if let Some(refusal) = self.forbidden(caller, |verb| opens(IncidentPress::WhatHappened, verb)) {
            return replier.say(&refusal).await;
        }
        let Some(snapshot) = self.incidents.incident(&id).filter(|known| may_see(&known.state, caller)) else {
            return replier.say(&rejection::refused(&format!("there is no incident `{id}`"), "Nothing was written down.")).await;
        };
        let (mut facts, mut changed, mut replaced) = (Facts::default(), Vec::new(), Vec::new());
        for (question, shown) in form.questions().iter().zip(shown) {
            let Some(answer) = sent.get(question.id).filter(|answer| !answer.is_empty()) else { continue };
            let present = question.of(&snapshot.state.post_mortem.facts);
            if fingerprint(Some(answer)) == shown || present.as_ref() == Some(answer) {
                continue;
            }
            if fingerprint(present.as_deref()) != shown {
                replaced.push(question.label);
            }
            changed.push(question.label);
            *(question.fact)(&mut facts) = Some(answer.clone());
        }
        if changed.is_empty() {
            return replier.say(&Message::plain("Nothing was changed: all of it was told before, or left empty.")).await;
        }
        replier.defer().await?;
        let refusal = self.tell_incident(&id, Input::GiveFacts { by: caller.person.clone(), facts }).await;
        replier.then(&refusal.unwrap_or_else(|| noted(&id, &changed, &replaced))).await
    }
}

/// Whether a verb opens the same door as a button.
fn opens(press: IncidentPress, verb: &Verb) -> bool {
    match press {
        IncidentPress::Acknowledge => matches!(verb, Verb::AcknowledgeIncident(_)),
        IncidentPress::Resolve => matches!(verb, Verb::ResolveIncident(_)),
        IncidentPress::Publish => matches!(verb, Verb::PublishPostMortem(_)),
        // Whoever may say what is to be done may say what happened.
        IncidentPress::WhatHappened | IncidentPress::WhatWeLearned => matches!(verb, Verb::AddAction { .. }),
    }
}

fn resolve_form(id: &IncidentId) -> Value {
    let input = json!({
        "type": TEXT_INPUT, "custom_id": SUMMARY, "label": "How was it mended?", "style": PARAGRAPH,
        "min_length": 1, "max_length": SUMMARY_MAX, "required": true,
    });
    let press = Press::Incident { incident: *id, press: IncidentPress::Resolve };
    modal(&CustomId::Press(press), &format!("Resolve {id}"), vec![input])
}

fn facts_form(state: &State, form: FactsForm) -> Value {
    let facts = &state.post_mortem.facts;
    let resolution = || state.resolved.as_ref().map(|resolution| resolution.summary.clone());
    let ask = |question: &Question| {
        let known = question.of(facts).or_else(|| resolution().filter(|_| question.id == "resolution"));
        let mut input = json!({
            "type": TEXT_INPUT, "custom_id": question.id, "label": question.label, "style": question.style,
            "max_length": ANSWER_MAX, "required": false,
        });
        if let Some(known) = known.filter(|known| !known.is_empty()) {
            input["value"] = limits::cut(&known, ANSWER_MAX).into();
        }
        input
    };
    let shown = form.questions().iter().map(|question| fingerprint(question.of(facts).as_deref())).collect();
    let told = Told { incident: *state.id(), form, shown };
    let title = format!("{} · {}", form.title(), state.id());
    forms::modal(&CustomId::Facts(told), &title, form.questions().iter().map(ask).collect())
}

/// Tells an answer from another. The text as a form gives it back: without space around it.
fn fingerprint(answer: Option<&str>) -> u32 {
    let digest = Digest::of_bytes(answer.unwrap_or_default().trim().as_bytes()).to_string();
    // The first eight hex digits. Whoever writes two texts that share them wins nothing: theirs is taken for unchanged.
    u32::from_str_radix(digest.get(..8).unwrap_or_default(), 16).unwrap_or_default()
}

fn noted(id: &IncidentId, changed: &[&str], replaced: &[&str]) -> Message {
    let mut said = format!("👍 {} has it: {}.", text::code(&id.to_string()), changed.join(", "));
    if !replaced.is_empty() {
        said.push_str(&format!(
            "\nWhile you wrote, somebody else changed: {}. Yours stands now; the journal keeps both.",
            replaced.join(", ")
        ));
    }
    Message::plain(said)
}

//! What a button or modal carries: all that is needed to act on it, in 100 characters, with a version.

use crate::domain::incident::IncidentId;
use crate::domain::run::{Answer, ListRef, Mode};
use crate::domain::{RunId, RunbookName, StepName, Timestamp};
use crate::render::{IncidentPress, Press, limits};

/// The first part of every id. A new meaning gets a new version, so that an old button is refused and not misread.
const VERSION: &str = "pm1";

/// What a component or modal means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CustomId {
    /// A button of a message, or the modal that asks for the reason of an answer.
    Press(Press),
    /// A form that asks for a runbook's parameters, or the button that opens its next page.
    Form(Form),
    /// A form that asks for what only people know of an incident.
    Facts(Told),
}

/// A form for the post-mortem, and what it showed when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Of which incident.
    pub(super) incident: IncidentId,
    /// Which of the two.
    pub(super) form: FactsForm,
    /// The fingerprint of each answer that was known then, in the order of the form.
    pub(super) shown: Vec<u32>,
}

/// A form for the post-mortem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FactsForm {
    /// Summary, root cause, users affected, downtime, data loss.
    Happened,
    /// Resolution, what went well, what went poorly, where we got lucky.
    Learned,
}

/// A form that asks for parameters. What was entered on earlier pages stands in the message that carries the button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    /// What the parameters are for.
    pub(super) purpose: Purpose,
    /// Of which runbook.
    pub(super) runbook: RunbookName,
}

/// What parameters are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To start a run.
    Start {
        /// Live or rehearsal.
        mode: Mode,
        /// The cutover instant, whole seconds; `None` for now.
        at: Option<Timestamp>,
    },
    /// To show the plan.
    Plan,
}

impl CustomId {
    /// The id as Discord carries it. Fits [`limits::CUSTOM_ID_MAX`], because names are bounded.
    pub(super) fn encode(&self) -> String {
        let parts = match self {
            Self::Press(Press::Answer { run, question, answer }) => {
                vec!["a".to_owned(), run.to_string(), question.to_string(), answer_code(*answer).to_owned()]
            }
            Self::Press(Press::Confirm { run, step, yes }) => {
                vec!["c".to_owned(), run.to_string(), step.to_string(), flag(*yes).to_owned()]
            }
            Self::Press(Press::Tick { run, list, item, ticked }) => {
                // No step name is a lone dash, because names start with a letter or digit.
                let list = match list {
                    ListRef::Step(step) => step.to_string(),
                    ListRef::Afterwards => "-".to_owned(),
                };
                vec!["t".to_owned(), run.to_string(), list, item.to_string(), flag(*ticked).to_owned()]
            }
            Self::Press(Press::Incident { incident, press }) => {
                vec!["i".to_owned(), incident.to_string(), incident_code(*press).to_owned()]
            }
            Self::Facts(Told { incident, form, shown }) => {
                let form = match form {
                    FactsForm::Happened => "h",
                    FactsForm::Learned => "l",
                };
                let shown = shown.iter().map(|print| format!("{print:08x}")).collect();
                vec!["f".to_owned(), incident.to_string(), form.to_owned(), shown]
            }
            Self::Form(Form { purpose: Purpose::Plan, runbook }) => vec!["p".to_owned(), runbook.to_string()],
            Self::Form(Form { purpose: Purpose::Start { mode, at }, runbook }) => {
                let mode = match mode {
                    Mode::Live => "l",
                    Mode::DryRun => "d",
                };
                let at = at.map_or_else(|| "-".to_owned(), |at| at.timestamp().to_string());
                vec!["s".to_owned(), runbook.to_string(), mode.to_owned(), at]
            }
        };
        let text = format!("{VERSION}:{}", parts.join(":"));
        debug_assert!(limits::len(&text) <= limits::CUSTOM_ID_MAX);
        text
    }

    /// What an id means; `None` for one of another version or not of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        if parts.next()? != VERSION {
            return None;
        }
        let parts: Vec<&str> = parts.collect();
        Some(match parts.as_slice() {
            ["a", run, question, answer] => Self::Press(Press::Answer {
                run: run.parse::<RunId>().ok()?,
                question: question.parse().ok()?,
                answer: parse_answer(answer)?,
            }),
            ["c", run, step, yes] => Self::Press(Press::Confirm {
                run: run.parse().ok()?,
                step: step.parse::<StepName>().ok()?,
                yes: parse_flag(yes)?,
            }),
            ["t", run, list, item, ticked] => Self::Press(Press::Tick {
                run: run.parse().ok()?,
                list: if *list == "-" { ListRef::Afterwards } else { ListRef::Step(list.parse().ok()?) },
                item: item.parse().ok()?,
                ticked: parse_flag(ticked)?,
            }),
            ["i", incident, press] => Self::Press(Press::Incident {
                incident: incident.parse::<IncidentId>().ok()?,
                press: IncidentPress::ALL.into_iter().find(|known| incident_code(*known) == *press)?,
            }),
            ["f", incident, form, shown] => {
                let form = match *form {
                    "h" => FactsForm::Happened,
                    "l" => FactsForm::Learned,
                    _ => return None,
                };
                Self::Facts(Told { incident: incident.parse().ok()?, form, shown: parse_prints(shown)? })
            }
            ["p", runbook] => Self::Form(Form { purpose: Purpose::Plan, runbook: runbook.parse().ok()? }),
            ["s", runbook, mode, at] => {
                let mode = match *mode {
                    "l" => Mode::Live,
                    "d" => Mode::DryRun,
                    _ => return None,
                };
                let at = if *at == "-" { None } else { Some(Timestamp::from_timestamp(at.parse().ok()?, 0)?) };
                Self::Form(Form { purpose: Purpose::Start { mode, at }, runbook: runbook.parse().ok()? })
            }
            _ => return None,
        })
    }
}

fn answer_code(answer: Answer) -> &'static str {
    match answer {
        Answer::Happened => "h",
        Answer::DidNotHappen => "n",
        Answer::Proceed => "p",
        Answer::Retry => "r",
        Answer::Stop => "s",
    }
}

fn parse_answer(code: &str) -> Option<Answer> {
    let all = [Answer::Happened, Answer::DidNotHappen, Answer::Proceed, Answer::Retry, Answer::Stop];
    all.into_iter().find(|answer| answer_code(*answer) == code)
}

fn incident_code(press: IncidentPress) -> &'static str {
    match press {
        IncidentPress::Acknowledge => "a",
        IncidentPress::Resolve => "r",
        IncidentPress::WhatHappened => "h",
        IncidentPress::WhatWeLearned => "l",
        IncidentPress::Publish => "p",
    }
}

/// As many fingerprints as a form has inputs at most, each in eight lower-case hex digits.
fn parse_prints(text: &str) -> Option<Vec<u32>> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || !text.len().is_multiple_of(8) || text.len() / 8 > limits::MODAL_INPUTS_MAX {
        return None;
    }
    (0..text.len()).step_by(8).map(|at| u32::from_str_radix(text.get(at..at + 8)?, 16).ok()).collect()
}

fn flag(yes: bool) -> &'static str {
    if yes { "1" } else { "0" }
}

fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids() -> impl Strategy<Value = CustomId> {
        let run = any::<u64>().prop_map(RunId::from_random);
        let name = "[a-z0-9][a-z0-9_-]{0,39}";
        let answer =
            prop::sample::select(vec![Answer::Happened, Answer::DidNotHappen, Answer::Proceed, Answer::Retry, Answer::Stop]);
        let at = prop::option::of((0i64..4_000_000_000).prop_map(|secs| Timestamp::from_timestamp(secs, 0).unwrap()));
        prop_oneof![
            (run.clone(), any::<u32>(), answer).prop_map(|(run, question, answer)| CustomId::Press(Press::Answer {
                run,
                question,
                answer
            })),
            (run.clone(), name, any::<bool>()).prop_map(|(run, step, yes)| CustomId::Press(Press::Confirm {
                run,
                step: step.parse().unwrap(),
                yes
            })),
            (run, prop::option::of(name), 0usize..20, any::<bool>()).prop_map(|(run, step, item, ticked)| {
                let list = step.map_or(ListRef::Afterwards, |step| ListRef::Step(step.parse().unwrap()));
                CustomId::Press(Press::Tick { run, list, item, ticked })
            }),
            (0u64..100_000, 1u32..=999, prop::sample::select(IncidentPress::ALL.to_vec())).prop_map(|(day, number, press)| {
                let day = chrono::NaiveDate::default() + chrono::Days::new(day);
                CustomId::Press(Press::Incident { incident: IncidentId::new(day, number).unwrap(), press })
            }),
            (0u64..100_000, 1u32..=999, any::<bool>(), prop::collection::vec(any::<u32>(), 0..=5)).prop_map(
                |(day, number, happened, shown)| {
                    let day = chrono::NaiveDate::default() + chrono::Days::new(day);
                    let form = if happened { FactsForm::Happened } else { FactsForm::Learned };
                    CustomId::Facts(Told { incident: IncidentId::new(day, number).unwrap(), form, shown })
                }
            ),
            (name, prop::option::of((any::<bool>(), at))).prop_map(|(runbook, start)| {
                let purpose = start.map_or(Purpose::Plan, |(live, at)| Purpose::Start {
                    mode: if live { Mode::Live } else { Mode::DryRun },
                    at,
                });
                CustomId::Form(Form { purpose, runbook: runbook.parse().unwrap() })
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_id_fits_and_reads_back(id in ids()) {
            let text = id.encode();
            prop_assert!(limits::len(&text) <= limits::CUSTOM_ID_MAX);
            prop_assert_eq!(CustomId::parse(&text), Some(id));
        }

        #[test]
        fn any_other_text_is_refused_without_harm(text in "\\PC{0,100}") {
            if let Some(id) = CustomId::parse(&text) {
                prop_assert_eq!(CustomId::parse(&id.encode()), Some(id));
            }
        }
    }

    #[test]
    fn an_id_of_another_version_is_not_read() {
        assert_eq!(CustomId::parse("pm0:p:x"), None);
        assert_eq!(CustomId::parse("pm1:p:x:y"), None);
    }
}

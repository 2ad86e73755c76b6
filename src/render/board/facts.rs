//! A run's facts, each in a line of plain text.

use super::run::refusal;
use super::{gate_words, roles};
use crate::domain::run::{Actor, Answer, Clearance, Event, Finding, ListRef, Reading, State, Vote, VoteRefusal, Withdrawal};
use crate::domain::{Person, StepName};

/// A fact for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it means at a glance: `good`, `bad`, `wait`, `work` or `quiet`.
    pub class: &'static str,
    /// What happened, in plain text.
    pub text: String,
}

/// The fact for people; `None` for what only the bot itself needs to know.
#[must_use]
pub fn fact(state: &State, event: &Event) -> Option<Fact> {
    let title = |step: &StepName| state.runbook().step(step).map_or_else(|| step.to_string(), |step| step.title.clone());
    let at = |gate| gate_words(state, gate);
    let (class, text) = match event {
        Event::ThreadOpened { .. }
        | Event::MessagePosted { .. }
        | Event::MessageLost { .. }
        | Event::RefusedVoteRemoved { .. }
        | Event::ChildStarted { .. }
        | Event::WhenEvaluated { .. } => return None,
        Event::Started(started) => ("work", format!("{} asked for this run ({})", started.requester.name, started.mode)),
        Event::ThreadLost { .. } => ("bad", "The thread was deleted; another one was owed".to_owned()),
        Event::Rebooted => ("wait", "The bot was restarted".to_owned()),
        Event::GateOpened { gate, card, .. } => ("wait", format!("Gate {} opened, card {card}", at(gate))),
        Event::CriteriaMeasured { gate, readings, .. } => measured(&at(gate), readings),
        Event::SignOffGranted { gate, voter, .. } => ("good", format!("{} signed {}", signer(voter), at(gate))),
        Event::SignOffWithdrawn { gate, voter, why, .. } => {
            let why = match why {
                Withdrawal::Removed => "took the signature back from",
                Withdrawal::RoleLost => "holds no role any more for",
                Withdrawal::Acted => "acted on the run after signing, which no longer counts for",
            };
            ("wait", format!("{} {why} {}", voter.name, at(gate)))
        }
        Event::VoteRefused { gate, voter, vote, why, .. } => {
            let vote = match vote {
                Vote::Sign => "✅",
                Vote::Veto => "❌",
            };
            ("quiet", format!("{vote} of {} at {} does not count: {}", voter.name, at(gate), refused(why)))
        }
        Event::GateWarned { gate, percent, .. } => ("wait", format!("{percent} % of the time of gate {} has passed", at(gate))),
        Event::GateCardLost { gate, .. } => ("bad", format!("The card of gate {} was deleted: its votes are void", at(gate))),
        Event::QuorumReached { gate, .. } => ("good", format!("Everybody has signed {}; it is checked once more", at(gate))),
        Event::ClearanceFailed { gate, reasons, .. } => {
            ("bad", format!("Gate {} is not cleared: {}", at(gate), reasons.join("; ")))
        }
        Event::GateRefused { gate, why, .. } => ("bad", format!("Gate {} is closed: {}", at(gate), refusal(why))),
        Event::GlassBroken { gate, by, reason, .. } => ("bad", format!("{} broke the glass at {}: {reason}", by.name, at(gate))),
        Event::GateCleared { gate, clearance, .. } => ("good", format!("Gate {} is cleared {}", at(gate), cleared(clearance))),
        Event::RollbackArmed { rollback, .. } => ("good", format!("Rollback {rollback} is armed")),
        Event::StepStarted { step, attempt, .. } => ("work", format!("{} began{}", title(step), again(*attempt))),
        Event::StepSucceeded { step, asserted_by: Some(by), .. } => {
            ("wait", format!("{}: done, as {} says", title(step), by.name))
        }
        Event::StepSucceeded { step, simulated: true, .. } => ("good", format!("{}: done, simulated", title(step))),
        Event::StepSucceeded { step, .. } => ("good", format!("{}: done", title(step))),
        Event::StepFailed { step, failure, retry_at, .. } => {
            let next = if retry_at.is_some() { "; it is tried again" } else { "" };
            ("bad", format!("{} failed: {}{next}", title(step), failure.message))
        }
        Event::StepInterrupted { step, reason, .. } => ("wait", format!("{} was cut off: {reason}", title(step))),
        Event::StepProbed { step, finding, .. } => ("wait", format!("{}: {}", title(step), found(finding))),
        Event::StepSkipped { step } => ("quiet", format!("{} is not needed", title(step))),
        Event::ItemTicked { list, item, ticked, by } => ("quiet", ticked_item(state, list, *item, *ticked, by)),
        Event::Asked(question) => ("wait", format!("Question {} to {}", question.id, roles(&question.answerers))),
        Event::Answered { question, answer, by, reason } => {
            ("work", format!("{} answered question {question}: {}: {reason}", by.name, answered(*answer)))
        }
        Event::Paused { by, reason } => {
            ("wait", format!("Paused by {}: {reason}", by.as_ref().map_or("the bot", |by| by.name.as_str())))
        }
        Event::Unpaused { by } => ("work", format!("{} let it go on", by.name)),
        Event::AbortRequested { by, reason } => ("bad", format!("{} aborted it: {reason}", by.name)),
        Event::RollbackRequested { rollback, by, reason } => {
            ("bad", format!("Rollback {rollback} is wanted by {}: {reason}", actor(by)))
        }
        Event::RollbackStarted { rollback, by, reason, .. } => {
            ("bad", format!("Rollback {rollback} began, started by {}: {reason}", actor(by)))
        }
        Event::RollbackFinished { rollback, took } => ("good", format!("Rollback {rollback} is done, after {took}")),
        Event::ClosingBegan { end, .. } => {
            ("work", format!("The work is over ({end}); lock and way back are kept until it is closed"))
        }
        Event::StatusDue { missed: 0, .. } => ("quiet", "A status update was due".to_owned()),
        Event::StatusDue { missed, .. } => ("wait", format!("A status update was due; {missed} later ones were missed")),
        Event::IncidentOpened { incident } => ("bad", format!("Incident {incident} was opened")),
        Event::ReviewPublished { gate, at: issue, .. } => {
            ("quiet", format!("The review of the broken glass at {} stands as issue {}", at(gate), issue.number))
        }
        Event::ReviewDelayed { gate, why, .. } => {
            ("wait", format!("The review of the broken glass at {} could not be published yet: {why}", at(gate)))
        }
        Event::Ended { end, by, reason } => {
            let by = by.as_ref().map(|by| format!(", closed by {}", by.name)).unwrap_or_default();
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            (super::end_tone(*end).class(), format!("The run ended: {end}{by}{reason}"))
        }
    };
    Some(Fact { class, text })
}

fn measured(gate: &str, readings: &[Reading]) -> (&'static str, String) {
    let red: Vec<&str> = readings.iter().filter(|reading| !reading.is_green()).map(|reading| reading.says.as_str()).collect();
    match red.as_slice() {
        [] => ("good", format!("Criteria of gate {gate}: all {} green", readings.len())),
        red => ("bad", format!("Criteria of gate {gate}: not green: {}", red.join("; "))),
    }
}

fn signer(person: &Person) -> String {
    format!("{} ({})", person.name, roles(&person.roles))
}

fn refused(why: &VoteRefusal) -> &'static str {
    match why {
        VoteRefusal::Requester => "whoever asked does not sign",
        VoteRefusal::Acted => "they have acted on this run",
        VoteRefusal::WrongRole => "they hold none of its roles",
        VoteRefusal::RedCriterion => "a criterion was not green",
        VoteRefusal::TooLate => "it has started",
        VoteRefusal::ClosedCard => "the card is closed",
    }
}

fn cleared(clearance: &Clearance) -> String {
    match clearance {
        Clearance::SignOff { signers } => {
            let names: Vec<String> = signers.iter().map(|signer| format!("{} as {}", signer.person.name, signer.role)).collect();
            format!("by {}", names.join(", "))
        }
        Clearance::BreakGlass { by } => format!("by {}, who broke the glass", by.name),
        Clearance::Rehearsal => "in rehearsal, without votes".to_owned(),
    }
}

fn again(attempt: u32) -> String {
    if attempt > 1 { format!(", attempt {attempt}") } else { String::new() }
}

fn found(finding: &Finding) -> String {
    match finding {
        Finding::Happened { .. } => "a look shows that it took effect".to_owned(),
        Finding::DidNotHappen => "a look shows that it did not take effect".to_owned(),
        Finding::Unclear { why } => format!("a look does not tell whether it took effect: {why}"),
    }
}

fn ticked_item(state: &State, list: &ListRef, item: usize, ticked: bool, by: &Person) -> String {
    let items = state.list_items(list);
    let item = items.get(item).map_or("an item", |item| item.item.as_str());
    format!("{} {} “{item}”", by.name, if ticked { "ticked" } else { "unticked" })
}

fn answered(answer: Answer) -> &'static str {
    match answer {
        Answer::Happened => "it happened",
        Answer::DidNotHappen => "it did not happen",
        Answer::Proceed => "start it now",
        Answer::Retry => "try again",
        Answer::Stop => "stop here",
    }
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Person(person) => person.name.clone(),
        Actor::Host { user } => format!("{user} on the host"),
        Actor::OnFailure { step } => format!("the failure of {step}"),
    }
}

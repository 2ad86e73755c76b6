//! A question: what is unknown, what each answer leads to, who may answer.

use super::message::{Button, Colour, Embed, Message, Press, Style};
use super::status::{phase_title, step_title};
use super::text::{clock, code, escape, person, roles};
use super::{View, ping_roles};
use crate::domain::run::{Answer, Event, MessageKind, Question, QuestionKind, State};

/// Renders the question, or how it was settled.
pub(super) fn render(view: View<'_>, id: u32) -> Message {
    let state = view.state;
    match state.question.as_ref().filter(|question| question.id == id) {
        Some(question) => open(state, question),
        None => settled(state, id),
    }
}

fn open(state: &State, question: &Question) -> Message {
    let mut lines = vec![what(state, &question.kind), String::new()];
    lines.extend(answers(&question.kind).iter().map(|answer| format!("**{}**: {}", label(*answer), meaning(*answer))));
    let mut embed = Embed {
        title: format!("❓ Question {}", question.id),
        description: lines.join("\n"),
        colour: Colour::Amber,
        ..Embed::default()
    };
    embed.field("Who answers", &[who(state, question)]);
    embed.field("Until then", &["nothing new starts".to_owned()]);
    let button = |answer: &Answer| Button {
        press: Press::Answer { run: state.id().clone(), question: question.id, answer: *answer },
        label: label(*answer).to_owned(),
        style: style(*answer),
        emoji: None,
        disabled: false,
    };
    let buttons = answers(&question.kind).iter().map(button).collect();
    Message::framed(embed).with_buttons(buttons).pinging(ping_roles(state, &question.answerers), "please answer")
}

fn who(state: &State, question: &Question) -> String {
    let roles = roles(&question.answerers);
    match question.kind {
        QuestionKind::UnknownOutcome { .. } => {
            format!("one of {roles}, but not {}, who asked for the run", person(&state.started.requester))
        }
        QuestionKind::Late { .. } | QuestionKind::StepFailed { .. } => format!("one of {roles}"),
    }
}

fn what(state: &State, kind: &QuestionKind) -> String {
    match kind {
        QuestionKind::UnknownOutcome { step, attempt, why } => format!(
            "Attempt {attempt} of {} ({}) was cut off, and nobody knows whether it took effect: {}\nLook for yourself before you answer.",
            step_title(state, step),
            code(step.as_str()),
            escape(why)
        ),
        QuestionKind::Late { phase, due } => format!(
            "{} was due at {} and is later than the grace of {}. It does not start by itself any more.",
            phase_title(state, phase),
            clock(*due),
            state.runbook().grace
        ),
        QuestionKind::StepFailed { step, message } => {
            format!("{} ({}) failed: {}", step_title(state, step), code(step.as_str()), escape(message))
        }
    }
}

fn answers(kind: &QuestionKind) -> &'static [Answer] {
    match kind {
        QuestionKind::UnknownOutcome { .. } => &[Answer::Happened, Answer::DidNotHappen, Answer::Stop],
        QuestionKind::Late { .. } => &[Answer::Proceed, Answer::Stop],
        QuestionKind::StepFailed { .. } => &[Answer::Retry, Answer::Stop],
    }
}

/// An answer as a button says it.
#[must_use]
pub(super) fn label(answer: Answer) -> &'static str {
    match answer {
        Answer::Happened => "It happened",
        Answer::DidNotHappen => "It did not happen",
        Answer::Proceed => "Start it now",
        Answer::Retry => "Try again",
        Answer::Stop => "Stop here",
    }
}

fn meaning(answer: Answer) -> &'static str {
    match answer {
        Answer::Happened => "noted as your word; its checks run again",
        Answer::DidNotHappen => "it is attempted again",
        Answer::Proceed => "it starts although it is late",
        Answer::Retry => "it is attempted again",
        Answer::Stop => "the run stops; `/rollback now` stays possible",
    }
}

fn style(answer: Answer) -> Style {
    match answer {
        Answer::Happened | Answer::DidNotHappen => Style::Secondary,
        Answer::Proceed | Answer::Retry => Style::Primary,
        Answer::Stop => Style::Danger,
    }
}

fn settled(state: &State, id: u32) -> Message {
    let found = state.owed.iter().find_map(|owed| match &owed.kind {
        MessageKind::Note(event) => match event.as_ref() {
            Event::Answered { question, answer, by, reason } if *question == id => Some((answer, by, reason)),
            _ => None,
        },
        _ => None,
    });
    let description = match found {
        Some((answer, by, reason)) => format!("{}: **{}**\nBecause: {}", person(by), label(*answer), escape(reason)),
        None => "No longer asked: the run has gone on without it.".to_owned(),
    };
    let title = format!("❓ Question {id} · settled");
    Message::framed(Embed { title, description, ..Embed::default() })
}

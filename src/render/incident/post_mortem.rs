//! The post-mortem's card: what is still to be told, what is to be done, where its issue stands.

use super::{View, ping_responders};
use crate::domain::IssueRef;
use crate::domain::incident::{ActionItem, Facts, State};
use crate::render::limits;
use crate::render::message::{Button, Colour, Embed, IncidentPress, Message, Press, Style};
use crate::render::text::{code, date, defuse, escape};

/// Renders the card.
pub(super) fn render(view: View<'_>) -> Message {
    let state = view.state;
    let missing = missing(state);
    let published = state.post_mortem.published.is_some();
    let mut embed = Embed {
        title: format!("📋 Post-mortem · {}", state.id()),
        description: limits::lines(&head(state), limits::DESCRIPTION_MAX),
        colour: if published && missing.is_empty() { Colour::Green } else { Colour::Amber },
        ..Embed::default()
    };
    if missing.is_empty() {
        embed.field("Told", &["everything".to_owned()]);
    } else {
        embed.field("Not told yet", &missing.iter().map(|what| format!("– {what}")).collect::<Vec<_>>());
    }
    embed.field("Action items", &actions(state));
    embed.field("Issue", &issue(state));
    embed.field("Next", &[next(state, missing.is_empty())]);
    Message::framed(embed).with_buttons(buttons(state)).pinging(ping_responders(state), "the post-mortem needs you")
}

fn head(state: &State) -> Vec<String> {
    let mut lines = vec![format!("{} · {}", escape(&state.opened.title), state.severity)];
    if let Some(resolution) = &state.resolved {
        lines.push(format!("lasted {}, until {}", state.lasted(resolution.at), date(resolution.at)));
    }
    if let Some(review) = &state.review {
        lines.push(format!("review meeting {}", date(review.at)));
    }
    lines
}

/// The facts that nobody has told yet, in the order in which the post-mortem shows them.
pub(super) fn missing(state: &State) -> Vec<&'static str> {
    let Facts { summary, root_cause, users_affected, downtime, data_loss, resolution, went_well, went_poorly, lucky } =
        &state.post_mortem.facts;
    let all = [
        (summary, "summary"),
        (root_cause, "root cause"),
        (users_affected, "users affected"),
        (downtime, "downtime"),
        (data_loss, "data loss"),
        (resolution, "resolution"),
        (went_well, "what went well"),
        (went_poorly, "what went poorly"),
        (lucky, "where we got lucky"),
    ];
    // Whoever resolved it has said how.
    let said = |name: &str| name == "resolution" && state.resolved.is_some();
    all.into_iter().filter(|(told, name)| told.is_none() && !said(name)).map(|(_, name)| name).collect()
}

fn actions(state: &State) -> Vec<String> {
    let line = |action: &ActionItem| {
        let issue = action.issue.as_ref().map(|issue| format!(" · {}", issue_link(issue))).unwrap_or_default();
        format!("{}. {} – {}, by {}{issue}", action.number, escape(&action.title), escape(&action.owner), action.due)
    };
    let lines: Vec<String> = state.post_mortem.actions.iter().map(line).collect();
    if lines.is_empty() { vec!["none yet: `/postmortem add-action`".to_owned()] } else { lines }
}

fn issue(state: &State) -> Vec<String> {
    let post_mortem = &state.post_mortem;
    let mut lines = Vec::new();
    match (&post_mortem.published, &post_mortem.requested_by) {
        (Some(published), _) if published.revision < post_mortem.revision => {
            lines.push(format!("{}; it is being brought up to date", issue_link(&published.at)));
        }
        (Some(published), _) => lines.push(format!("{}, up to date", issue_link(&published.at))),
        (None, Some(_)) => lines.push("on its way to GitHub".to_owned()),
        (None, None) => lines.push("not published".to_owned()),
    }
    if let Some(why) = &post_mortem.delayed {
        lines.push(format!("⚠ the newest try did not work: {}; it is tried again by itself", escape(why)));
    }
    lines
}

/// An issue as a link of few letters.
pub(super) fn issue_link(issue: &IssueRef) -> String {
    format!("[issue #{}]({})", issue.number, defuse(&issue.url))
}

fn next(state: &State, told: bool) -> String {
    let published = state.post_mortem.requested_by.is_some();
    match (told, published) {
        (false, _) => {
            format!("Tell what only you know with the two forms. {} shows the draft.", code("/postmortem preview"))
        }
        (true, false) => "Publish it: it becomes an issue, and each action item one of its own.".to_owned(),
        (true, true) => "Nothing: what is added from now on is brought to the issue by itself.".to_owned(),
    }
}

fn buttons(state: &State) -> Vec<Button> {
    let button = |press, label: &str, style, emoji, disabled| Button {
        press: Press::Incident { incident: *state.id(), press },
        label: label.to_owned(),
        style,
        emoji: Some(emoji),
        disabled,
    };
    let requested = state.post_mortem.requested_by.is_some();
    vec![
        button(IncidentPress::WhatHappened, "What happened", Style::Primary, "📝", false),
        button(IncidentPress::WhatWeLearned, "What we learned", Style::Primary, "💡", false),
        button(IncidentPress::Publish, if requested { "Published" } else { "Publish" }, Style::Success, "📤", requested),
    ]
}

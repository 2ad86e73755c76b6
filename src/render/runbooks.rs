//! The runbooks of the catalog, as a list and one at a time.

use super::limits;
use super::message::{Attachment, Colour, Embed, Message};
use super::text::{code, escape, roles, sign_off};
use crate::domain::runbook::Runbook;

/// The list.
#[must_use]
pub fn list<'a>(runbooks: impl IntoIterator<Item = &'a Runbook>) -> Message {
    let line = |runbook: &Runbook| format!("{} · {}\n{}", code(runbook.runbook.as_str()), runbook.kind, escape(&runbook.title));
    let lines: Vec<String> = runbooks.into_iter().map(line).collect();
    let description = if lines.is_empty() {
        "No runbook is loaded. Put one under `runbooks/`, then `/runbook reload`.".to_owned()
    } else {
        limits::lines(&lines, limits::DESCRIPTION_MAX)
    };
    Message::framed(Embed { title: "Runbooks".to_owned(), description, colour: Colour::Blue, ..Embed::default() }).fitted()
}

/// One runbook: its gist in the frame, `page` (the document for when chat is down) as a file.
#[must_use]
pub fn one(runbook: &Runbook, page: String) -> Message {
    let mut lines = vec![format!(
        "{} {} · {} · {}",
        code(runbook.runbook.as_str()),
        escape(&runbook.version),
        runbook.kind,
        escape(&runbook.owner)
    )];
    lines.extend(runbook.summary.as_ref().map(|summary| escape(summary)));
    let mut embed =
        Embed { title: escape(&runbook.title), description: lines.join("\n"), colour: Colour::Blue, ..Embed::default() };
    let parameter = |(name, parameter): (&crate::domain::ParameterName, &crate::domain::runbook::Parameter)| {
        let default =
            parameter.default.as_ref().map(|default| format!(" (else {})", code(&default.to_string()))).unwrap_or_default();
        format!("{}: {}{default}", code(name.as_str()), escape(&parameter.help))
    };
    embed.field("Parameters", &runbook.parameters.iter().map(parameter).collect::<Vec<_>>());
    let phases = runbook.phases.iter().map(|phase| {
        let gate = phase.gate.as_ref().map(|gate| format!(" · 🚦 {}", sign_off(&gate.sign_off))).unwrap_or_default();
        let at = phase.at.map(|at| format!("{at} ")).unwrap_or_default();
        format!("{at}**{}**{gate}", escape(phase.title()))
    });
    embed.field("Phases", &phases.collect::<Vec<_>>());
    let back = runbook
        .rollback
        .iter()
        .map(|(name, rollback)| format!("{} ({}) {}", code(name.as_str()), rollback.target, roles(&rollback.allow)));
    embed.field("Way back", &back.collect::<Vec<_>>());
    let mut message = Message::framed(embed);
    message.attachments = vec![Attachment::Text { name: format!("{}.md", runbook.runbook), text: page }];
    message.fitted()
}

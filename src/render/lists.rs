//! What people confirm: a yes or no, and lists whose items are ticked by their owners.

use super::message::{Button, Colour, Embed, Message, Press, Style};
use super::text::{code, escape, person};
use super::{View, ping_roles};
use crate::domain::StepName;
use crate::domain::run::{End, FailureKind, ListRef, State, StepStatus, confirmation};
use crate::domain::runbook::ChecklistItem;

/// A `human.confirm` step.
pub(super) fn confirm(view: View<'_>, step: &StepName) -> Message {
    let state = view.state;
    let Some((definition, asked)) = state.runbook().step(step).and_then(|step| Some((step, confirmation(step)?))) else {
        return Message::framed(Embed { description: "This step asks nothing.".to_owned(), ..Embed::default() });
    };
    let (verdict, open) = confirm_standing(state, step);
    let description = format!("{}\n\n{verdict}", escape(&asked.question));
    let mut embed = Embed {
        title: format!("🙋 {}", escape(&definition.title)),
        description,
        colour: if open { Colour::Amber } else { Colour::Grey },
        ..Embed::default()
    };
    embed.field("Who answers", &[code(asked.owner.as_str())]);
    let message = Message::framed(embed);
    if !open {
        return message;
    }
    let button = |yes: bool| Button {
        press: Press::Confirm { run: state.id().clone(), step: step.clone(), yes },
        label: if yes { "Yes" } else { "No" }.to_owned(),
        style: if yes { Style::Success } else { Style::Danger },
        emoji: None,
        disabled: false,
    };
    message.with_buttons(vec![button(true), button(false)]).pinging(ping_roles(state, [&asked.owner]), "please confirm")
}

fn confirm_standing(state: &State, step: &StepName) -> (String, bool) {
    match &state.step(step).status {
        StepStatus::Running(_) => ("**No** fails the step.".to_owned(), true),
        StepStatus::Succeeded => {
            let by = state.step(step).result.as_ref().and_then(|result| result.get("confirmed_by")).and_then(|by| by.as_str());
            (by.map_or_else(|| "✅ confirmed".to_owned(), |by| format!("✅ confirmed by **{}**", escape(by))), false)
        }
        StepStatus::Failed(failure) => match failure.kind {
            FailureKind::Declined => (format!("❌ {}", escape(&failure.message)), false),
            FailureKind::TimedOut => ("⌛ nobody answered in time".to_owned(), false),
            FailureKind::Cancelled | FailureKind::Failed | FailureKind::CheckFailed => ("no longer asked".to_owned(), false),
        },
        StepStatus::Pending
        | StepStatus::Waiting { .. }
        | StepStatus::Interrupted { .. }
        | StepStatus::Asserted { .. }
        | StepStatus::Skipped => ("not asked now".to_owned(), false),
    }
}

/// A `human.checklist` step.
pub(super) fn checklist(view: View<'_>, step: &StepName) -> Message {
    let open = matches!(view.state.step(step).status, StepStatus::Running(_));
    let title = view.state.runbook().step(step).map_or_else(|| step.to_string(), |step| step.title.clone());
    let next = if open { "The run goes on when every item is ticked." } else { "" };
    list(view.state, &ListRef::Step(step.clone()), &title, open, next)
}

/// The runbook's `afterwards`.
pub(super) fn afterwards(view: View<'_>) -> Message {
    let state = view.state;
    let open = state.end.is_none() && state.closing.is_some_and(|closing| closing.end == End::Succeeded);
    let next = if open { "The run closes when every item is ticked and its window is over." } else { "" };
    list(state, &ListRef::Afterwards, "Afterwards", open, next)
}

fn list(state: &State, list: &ListRef, title: &str, open: bool, next: &str) -> Message {
    let items = state.list_items(list);
    let ticked = state.ticked.get(list);
    let by = |index: usize| ticked.and_then(|ticked| ticked.get(&index));
    let line = |(index, item): (usize, &ChecklistItem)| match by(index) {
        Some(by) => format!("☑ {}. {} – {}", index + 1, escape(&item.item), person(by)),
        None => format!("☐ {}. {} – {}", index + 1, escape(&item.item), code(item.owner.as_str())),
    };
    let mut lines: Vec<String> = items.iter().enumerate().map(line).collect();
    if !next.is_empty() {
        lines.extend([String::new(), next.to_owned()]);
    }
    let done = (0..items.len()).filter(|index| by(*index).is_some()).count();
    let colour = match (done == items.len(), open) {
        (true, _) => Colour::Green,
        (false, true) => Colour::Amber,
        (false, false) => Colour::Grey,
    };
    let title = format!("📋 {} · {done} of {}", escape(title), items.len());
    let message = Message::framed(Embed { title, description: lines.join("\n"), colour, ..Embed::default() });
    if !open {
        return message;
    }
    let button = |index: usize| Button {
        press: Press::Tick { run: state.id().clone(), list: list.clone(), item: index, ticked: by(index).is_none() },
        label: format!("{} {}", index + 1, if by(index).is_some() { "☑" } else { "☐" }),
        style: if by(index).is_some() { Style::Success } else { Style::Secondary },
        emoji: None,
        disabled: false,
    };
    let owners = ping_roles(state, items.iter().map(|item| &item.owner));
    message.with_buttons((0..items.len()).map(button).collect()).pinging(owners, "please tick your items")
}

//! The run board: the war-room screen as HTML. Read only; there is nothing on it that changes anything.
//!
//! Pure functions of what they are given. The part of a page that changes, [`Live`], is rendered alike for the first
//! answer and for every update that follows it. Every text is escaped by the macro that writes it. Instants are written
//! in UTC in `time` elements; the page's script adds the viewer's own zone.

mod facts;
mod incident;
mod overview;
mod page;
mod run;

pub use facts::fact;
pub use incident::{IncidentEntry, PastIncident, incident};
pub use overview::{Entry, Filter, Overview, PastRun, overview};
pub use page::{Live, login, missing, shell};
pub use run::run;

use maud::{Markup, html};

use crate::domain::run::{End, GateRef, MessageKind, Owed, RollbackStage, State, Status};
use crate::domain::{ChannelId, GuildId, IssueRef, MessageRef, RoleName, RunId, Timestamp};
use crate::render::View;

/// The most facts that a page lists; the journal holds them all.
const FACTS_MAX: usize = 300;

/// Where the places lie that pages point to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The address of the chat as people open it, without a slash at its end.
    pub chat: String,
    /// The server.
    pub guild: GuildId,
}

impl Links {
    fn channel(&self, channel: ChannelId) -> String {
        format!("{}/channels/{}/{channel}", self.chat, self.guild)
    }

    fn message(&self, message: MessageRef) -> String {
        format!("{}/{}", self.channel(message.channel), message.message)
    }
}

/// What something means at a glance; a class of the style sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Quiet,
    Work,
    Wait,
    Good,
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Work => "work",
            Self::Wait => "wait",
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

fn end_tone(end: End) -> Tone {
    match end {
        End::Succeeded => Tone::Good,
        End::RolledBack | End::Aborted => Tone::Wait,
        End::Failed | End::Refused => Tone::Bad,
    }
}

fn tone(status: &Status) -> Tone {
    match status {
        Status::Scheduled { .. } | Status::Waiting { .. } => Tone::Quiet,
        Status::Running { .. } => Tone::Work,
        Status::AtGate(_) | Status::Paused | Status::Asking(_) => Tone::Wait,
        Status::RollingBack(_) => Tone::Bad,
        Status::Closing(end) | Status::Ended(end) => end_tone(*end),
    }
}

/// Where a run stands, in a few words.
fn status_words(state: &State, status: &Status) -> String {
    let phase =
        |name: &crate::domain::PhaseName| state.phase(name).map_or_else(|| name.to_string(), |phase| phase.title().to_owned());
    match status {
        Status::Scheduled { .. } => "scheduled".to_owned(),
        Status::Waiting { phase: name, .. } => format!("next: {}", phase(name)),
        Status::Running { phase: name } => format!("running: {}", phase(name)),
        Status::AtGate(gate) => format!("sign-off: {}", gate_words(state, gate)),
        Status::Paused => "paused".to_owned(),
        Status::Asking(question) => format!("asks: question {question}"),
        Status::RollingBack(rollback) => format!("rolling back: {rollback}"),
        Status::Closing(end) => format!("{end}, not closed yet"),
        Status::Ended(end) => end.to_string(),
    }
}

fn gate_words(state: &State, gate: &GateRef) -> String {
    match gate {
        GateRef::Phase(name) => state.phase(name).map_or_else(|| name.to_string(), |phase| phase.title().to_owned()),
        GateRef::Rollback(name) => format!("rollback {name}"),
    }
}

/// Until when the present status lasts by itself, and what comes then.
fn until(state: &State, status: &Status) -> Option<(&'static str, Timestamp)> {
    match status {
        Status::Scheduled { at } => Some(("starts", *at)),
        Status::Waiting { until, .. } => Some(("starts", *until)),
        Status::AtGate(gate) => state.gates.get(gate).map(|gate| ("closes", gate.expires_at)),
        Status::RollingBack(_) => match state.rollback.as_ref()?.stage {
            RollbackStage::Running { target_at } => Some(("should be done", target_at)),
            RollbackStage::AwaitingGate => None,
        },
        Status::Closing(_) => state.closing.map(|closing| ("keeps its way back until", closing.until)),
        Status::Running { .. } | Status::Paused | Status::Asking(_) | Status::Ended(_) => None,
    }
}

fn pill(tone: Tone, words: &str) -> Markup {
    html! { span class={ "pill " (tone.class()) } { (words) } }
}

/// An instant; `clock` shows the time of day alone, which is for what is near.
fn instant(at: Timestamp, shape: Shape) -> Markup {
    let (name, format) = match shape {
        Shape::Clock => ("clock", "%H:%M:%S UTC"),
        Shape::Date => ("date", "%Y-%m-%d %H:%M UTC"),
    };
    html! { time datetime=(at.to_rfc3339()) data-as=(name) { (at.format(format)) } }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Clock,
    Date,
}

fn roles<'a>(roles: impl IntoIterator<Item = &'a RoleName>) -> String {
    roles.into_iter().map(RoleName::as_str).collect::<Vec<_>>().join(", ")
}

/// How many steps of the way forward are settled, of how many.
fn settled(state: &State) -> (usize, usize) {
    let steps = || state.runbook().phases.iter().flat_map(|phase| &phase.steps);
    (steps().filter(|step| state.step(&step.step).is_settled()).count(), steps().count())
}

/// A bar without any style of its own: pages may carry none.
fn bar(done: u64, total: u64) -> Markup {
    html! { progress value=(done.min(total)) max=(total.max(1)) { (done.min(total) * 100 / total.max(1)) " %" } }
}

/// What an auditor compares; below everything, because nobody else reads it.
fn journal_head(head: &str) -> Markup {
    html! { p.hint { "Head of its journal: " code.head-hash { (head) } } }
}

fn run_path(run: &RunId) -> String {
    format!("/runs/{run}")
}

/// A run in a line: which, and where it stands.
fn run_line(run: View<'_>) -> Markup {
    let status = run.state.status(run.now);
    html! {
        a href=(run_path(run.state.id())) { (run.state.runbook().title) } " "
        (pill(tone(&status), &status_words(run.state, &status)))
    }
}

/// A link that leads away; words alone if the address is not one of the web.
fn outside(url: &str, words: &str) -> Markup {
    let leads = url.starts_with("https://") || url.starts_with("http://");
    html! { @if leads { a href=(url) rel="noreferrer" { (words) } } @else { (words) } }
}

fn issue_link(issue: &IssueRef) -> Markup {
    outside(&issue.url, &format!("issue #{}", issue.number))
}

/// A run's newest status update, and the next; nothing before the first is due and after the last.
fn beat_lines(state: &State, links: &Links) -> Markup {
    let is_beat = |owed: &&Owed| matches!(owed.kind, MessageKind::Beat { .. });
    let newest = state.owed.iter().rev().find(is_beat);
    html! {
        @if let Some(Owed { kind: MessageKind::Beat { due, missed }, posted, .. }) = newest {
            dt { "Last update" }
            dd {
                "due " (instant(*due, Shape::Clock)) " "
                @match posted {
                    Some(message) => a href=(links.message(*message)) rel="noreferrer" { "in chat" },
                    None => strong.bad { "not visible in chat yet" },
                }
                @if *missed > 0 { span.wait { ", for " (missed) " missed ones too" } }
            }
        }
        @if let Some(beat) = state.beat { dt { "Next update" } dd { (instant(beat.next, Shape::Clock)) } }
    }
}

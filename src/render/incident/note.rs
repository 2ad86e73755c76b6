//! Notes: what happened to an incident, said once; then what happens next and who must act.

use super::post_mortem::issue_link;
use super::{View, colour, link, ping_responders, ping_roles};
use crate::domain::incident::{Delivery, Event, IssueKind, Severity, State};
use crate::domain::{Person, Timestamp};
use crate::render::message::{Attachment, Colour, Embed, Message, Pings};
use crate::render::text::{clock, code, date, escape, level_name, person, relative, roles};

/// What a note says.
struct Note {
    lines: Vec<String>,
    colour: Colour,
    pings: Option<(Pings, &'static str)>,
    attachments: Vec<Attachment>,
}

impl Note {
    fn new(colour: Colour, first: String) -> Self {
        Self { lines: vec![first], colour, pings: None, attachments: Vec::new() }
    }

    fn line(mut self, line: impl Into<String>) -> Self {
        let line = line.into();
        if !line.is_empty() {
            self.lines.push(line);
        }
        self
    }

    fn ping(mut self, pings: Pings, words: &'static str) -> Self {
        self.pings = Some((pings, words));
        self
    }

    fn attach(mut self, attachment: Attachment) -> Self {
        self.attachments.push(attachment);
        self
    }

    fn message(self) -> Message {
        let mut message = Message::framed(Embed { description: self.lines.join("\n"), colour: self.colour, ..Embed::default() });
        message.attachments = self.attachments;
        match self.pings {
            Some((pings, words)) => message.pinging(pings, words),
            None => message,
        }
    }
}

/// Renders the note of an event that happened at `at`. One that deserves none says its name, so that nothing owed stays
/// unsaid.
pub(super) fn render(view: View<'_>, event: &Event, at: Timestamp) -> Message {
    let state = view.state;
    let note = match event {
        Event::ChannelLost { .. } => Note::new(Colour::Amber, format!("🗑 The incident's channel was deleted {}.", clock(at)))
            .line("This one replaces it. What was said there is in the journal: `/incident timeline`."),
        Event::SeverityChanged { from, to, by, reason } => severity_changed(state, *from, *to, by, reason),
        Event::RoleTaken { role, person: who, by } => {
            let named = if who.id == by.id { String::new() } else { format!(", named by {}", person(by)) };
            let note = Note::new(Colour::Blue, format!("🧑 {} is {role}{named}.", person(who)));
            if who.id == by.id { note } else { note.ping(Pings::default().and(who.id), "you have a role in this incident") }
        }
        Event::Acknowledged { by } => {
            Note::new(Colour::Green, format!("👋 {} is on it. Nobody else is woken.", person(by))).line(take_command(state))
        }
        Event::Escalated { level } => escalated(state, *level),
        Event::Noted { by, text } => Note::new(Colour::Grey, format!("📝 {} {}: {}", person(by), clock(at), escape(text))),
        Event::Updated { by, text } => updated(state, by, text),
        Event::MessageMarked { by, message, author, text } => {
            let quoted = text.as_deref().map(|text| format!("\n> {}", escape(text))).unwrap_or_default();
            let what = format!(
                "📌 {} put [a message of {}]({}) on the timeline.{quoted}",
                person(by),
                escape(author),
                link(view, *message)
            );
            Note::new(Colour::Grey, what)
        }
        Event::Paged { level, outcome } => paged(state, *level, outcome),
        Event::StatusPageTold { outcome, .. } => status_page_told(outcome),
        Event::Resolved { by, summary } => resolved(state, by, summary, at),
        Event::ActionAdded { action, title, owner, due, by } => {
            Note::new(Colour::Blue, format!("🔧 Action item {action} by {}: {}", person(by), escape(title)))
                .line(format!("{} does it by {due}.", escape(owner)))
        }
        Event::IssueDelayed { issue, why } => issue_delayed(state, *issue, why),
        Event::ReviewScheduled { at, why, .. } => review_scheduled(*at, why.as_deref()),
        Event::ReviewNear => review_near(state),
        Event::Opened(_)
        | Event::ChannelOpened { .. }
        | Event::ArchiveDue
        | Event::ChannelArchived
        | Event::DeletionDue
        | Event::ChannelDeleted
        | Event::MessagePosted { .. }
        | Event::MessageLost { .. }
        | Event::MessageRefused { .. }
        | Event::SummaryPinned { .. }
        | Event::StatusDue { .. }
        | Event::FactsGiven { .. }
        | Event::PublishRequested { .. }
        | Event::IssuePublished { .. } => Note::new(Colour::Grey, crate::domain::incident::kind_of(event).replace('_', " ")),
    };
    note.message()
}

fn severity_changed(state: &State, from: Severity, to: Severity, by: &Person, reason: &str) -> Note {
    let because = if reason.is_empty() { String::new() } else { format!(": {}", escape(reason)) };
    let worse = if to < from { "⬆" } else { "⬇" };
    let updates = match state.cadence(to) {
        Some(every) => format!("Status updates come every {every} now."),
        None => "No status updates come by themselves now; `/incident update` gives one.".to_owned(),
    };
    Note::new(colour(to), format!("{worse} {from} → **{to}** by {}{because}", person(by)))
        .line(format!("{to} is {}.", to.meaning()))
        .line(updates)
}

fn take_command(state: &State) -> String {
    if state.roles.contains_key(&crate::domain::incident::ResponderRole::Commander) {
        String::new()
    } else {
        "Nobody commands yet: `/incident role` takes it.".to_owned()
    }
}

fn escalated(state: &State, level: u32) -> Note {
    let reached = state.policy().escalation.get(level.saturating_sub(1) as usize);
    let told: Vec<_> = state.policy().escalation.iter().take(level as usize).flat_map(|level| &level.roles).collect();
    let after = reached.map(|level| format!(" for {}", level.after)).unwrap_or_default();
    let who =
        if told.is_empty() { "No role is set for it.".to_owned() } else { format!("Told: {}.", roles(told.iter().copied())) };
    let next = match state.next_escalation() {
        Some((next, at)) => format!("Level {next} is told {}, unless somebody acknowledges.", relative(at)),
        None => "There is no further level.".to_owned(),
    };
    Note::new(Colour::Red, format!("📣 **Level {level}**: nobody has acknowledged this incident{after}."))
        .line(who)
        .line(next)
        .line("Press Acknowledge on the pinned card, or run `/incident acknowledge`.")
        .ping(ping_roles(state, told), "nobody is on this incident: please acknowledge")
}

fn updated(state: &State, by: &Person, text: &str) -> Note {
    let next = state.beat.map(|beat| format!("Next update {} ({}).", relative(beat.next), clock(beat.next)));
    Note::new(colour(state.severity), format!("📢 **Update** by {}: {}", person(by), escape(text))).line(next.unwrap_or_default())
}

fn paged(state: &State, level: u32, outcome: &Delivery) -> Note {
    let Delivery::Refused { why } = outcome else {
        return Note::new(Colour::Grey, super::timeline::paged(level, outcome));
    };
    let told = state.policy().escalation.iter().take(level.max(1) as usize).flat_map(|level| &level.roles);
    Note::new(Colour::Red, format!("📟 **Nobody was paged** for {}: the pager refused: {}", level_name(level), escape(why)))
        .line("It is not tried again. Call the on-call engineer yourself.")
        .ping(ping_roles(state, told), "the pager did not take it: please call somebody")
}

fn status_page_told(outcome: &Delivery) -> Note {
    let why = match outcome {
        Delivery::Refused { why } => escape(why),
        Delivery::Delivered | Delivery::NotConfigured => return Note::new(Colour::Grey, "status page told".to_owned()),
    };
    Note::new(Colour::Amber, format!("🌍 The status page refused this update: {why}"))
        .line("The public does not know it. The communications lead writes it there by hand; the next update is tried again.")
}

fn resolved(state: &State, by: &Person, summary: &str, at: Timestamp) -> Note {
    Note::new(Colour::Green, format!("✅ **Resolved** by {} after {}: {}", person(by), state.lasted(at), escape(summary)))
        .line("No more status updates. The post-mortem's card follows: two forms ask for what only you know.")
        .ping(ping_responders(state), "it is over")
}

/// With the text itself, so that nobody waits for GitHub to read it.
fn issue_delayed(state: &State, issue: IssueKind, why: &str) -> Note {
    let what = match issue {
        IssueKind::PostMortem => "The post-mortem".to_owned(),
        IssueKind::Action(number) => format!("Action item {number}"),
    };
    let known = state.post_mortem.published.as_ref().map(|published| format!("Its issue is {}.", issue_link(&published.at)));
    Note::new(Colour::Amber, format!("⏳ {what} is not on GitHub yet: {}", escape(why)))
        .line(known.unwrap_or_default())
        .line("It is owed still, and follows by itself. The text as it stands now is attached.")
        .attach(Attachment::PostMortem { name: format!("post-mortem-{}.md", state.id()) })
}

fn review_scheduled(at: Timestamp, why: Option<&str>) -> Note {
    let note = Note::new(Colour::Blue, format!("📅 The review meeting is {} ({}).", date(at), relative(at)));
    match why {
        None => note.line("It stands in the server's events."),
        Some(why) => note
            .line(format!("It could not be put into the server's events: {}", escape(why)))
            .line("Put it into your own calendars; people are reminded here all the same."),
    }
}

fn review_near(state: &State) -> Note {
    let when = state.review.as_ref().map(|review| relative(review.at)).unwrap_or_default();
    let missing = super::post_mortem::missing(state);
    let missing = if missing.is_empty() { String::new() } else { format!("Not told yet: {}.", missing.join(", ")) };
    let note = Note::new(Colour::Amber, format!("🔔 The review of {} is {when}.", code(&state.id().to_string()))).line(missing);
    note.line("`/postmortem preview` shows what stands in the post-mortem.").ping(ping_responders(state), "the review is near")
}

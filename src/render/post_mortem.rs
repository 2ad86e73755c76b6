//! The post-mortem, its action items and a broken glass's review as issues: GitHub's Markdown.
//!
//! What is known is written from the journal; what only people know stands there as they told it, or visibly not
//! told yet. Text from people stays text: it neither formats nor notifies anybody.
//!
//! The post-mortem goes through a template that a team may replace. It is read with the rules of definitions (see
//! `src/expression/`): it sees the values below and nothing else, and it ends.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::incident::View;
use super::status::icon;
use crate::domain::incident::{ActionItem, Delivery, Facts, Happening, Opener, State};
use crate::domain::issue::quiet_markdown;
use crate::domain::run::{self, Actor, GateRef, MessageKind, Status};
use crate::domain::{Duration, Person, RunId, StepName, Timestamp};
use crate::expression::{self, ExpressionError, Scope};

/// The template that is used unless the settings name another.
pub const SHIPPED: &str = include_str!("../../runbooks/templates/post-mortem.md");

/// What stands where nobody has told something.
const NOT_TOLD: &str = "*not told yet*";

/// Everything that a post-mortem is written from.
#[derive(Debug, Clone, Copy)]
pub struct Dossier<'a> {
    /// The incident and its runs.
    pub incident: View<'a>,
    /// What happened to each of its runs, in order; may be empty, then the timeline tells of the incident alone.
    pub histories: &'a [(RunId, Vec<(Timestamp, run::Event)>)],
    /// The hash of the journal's very last record, in hex.
    pub journal_head: &'a str,
}

/// The form of a post-mortem: Markdown with `{{ ... }}` in it.
#[derive(Debug, Clone)]
pub struct Template(expression::Template);

impl Template {
    /// Reads a template and tries it on an example in which every list has an entry, so that a name that is never there is
    /// told now and not at night.
    ///
    /// # Errors
    /// What is wrong with it, with its place where that is known.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let template = expression::Template::parse(text)?;
        template.render(&example())?;
        Ok(Self(template))
    }

    /// The one that is used unless the settings name another.
    #[must_use]
    pub fn shipped() -> &'static Self {
        static TEMPLATE: LazyLock<Template> =
            LazyLock::new(|| Template::parse(SHIPPED).expect("a test reads the shipped template"));
        &TEMPLATE
    }

    /// The post-mortem. A template that cannot show this incident gives way to the shipped one, which says so: better the
    /// facts in another form than none.
    #[must_use]
    pub fn render(&self, dossier: Dossier<'_>) -> String {
        let scope = scope(dossier);
        match self.0.render(&scope) {
            Ok(text) => text,
            Err(error) => {
                let shipped = Self::shipped().0.render(&scope).unwrap_or_default();
                let why = quiet_markdown(&error.to_string());
                format!("*The team's template could not show this incident ({why}); this is the shipped form.*\n\n{shipped}")
            }
        }
    }
}

/// The body of an action item's own issue.
#[must_use]
pub fn action_item(incident: View<'_>, action: &ActionItem) -> String {
    let state = incident.state;
    let post_mortem = match &state.post_mortem.published {
        Some(published) => format!("#{}", published.at.number),
        None => "not published yet".to_owned(),
    };
    format!(
        "{}\n\n- Owner: {}\n- Due: {}\n- From the post-mortem: {post_mortem}\n- Incident: `{}` {}\n",
        quiet_markdown(&action.title),
        owner(&action.owner),
        action.due,
        state.id(),
        quiet_markdown(&state.opened.title),
    )
}

/// The body of the review that a broken glass owes: who, why, for what, who was not asked, what to look at.
#[must_use]
pub fn glass_review(state: &run::State, gate: &GateRef, card: u32, head: &str) -> String {
    let broken = state.owed.iter().find_map(|owed| match &owed.kind {
        MessageKind::Note(event) => match event.as_ref() {
            run::Event::GlassBroken { gate: of, card: on, by, reason, skipped, digest } if of == gate && *on == card => {
                Some((by, reason, skipped, digest))
            }
            _ => None,
        },
        _ => None,
    });
    let mut lines = vec![
        format!(
            "Somebody opened the gate {} without its sign-off. This issue is the review that is owed for it.",
            tick(&gate_name(gate))
        ),
        String::new(),
        format!(
            "- Run: {} of {} ({})",
            tick(state.id().as_str()),
            tick(state.runbook().runbook.as_str()),
            quiet_markdown(&state.runbook().title)
        ),
        format!("- Asked for by: {}", name(&state.started.requester)),
    ];
    if let Some((by, reason, skipped, digest)) = broken {
        let skipped: Vec<String> = skipped.iter().map(|role| tick(role.as_str())).collect();
        lines.push(format!("- Opened by: {}", name(by)));
        lines.push(format!("- Reason given: {}", quiet_markdown(reason)));
        lines.push(format!("- Digest of what was let through: {}", tick(&digest.to_string())));
        lines.push(format!(
            "- Roles that were not asked: {}",
            if skipped.is_empty() { "none".to_owned() } else { skipped.join(", ") }
        ));
    }
    lines.extend([
        format!("- Head of the run's records: {}", tick(head)),
        String::new(),
        "To check:".to_owned(),
        String::new(),
        "- [ ] The reason holds, and nobody with the missing roles could be reached in time.".to_owned(),
        "- [ ] The plan of this digest is what the roles above would have signed.".to_owned(),
        "- [ ] What ran is what the plan says: `pointsman audit verify`, then the run's thread.".to_owned(),
        "- [ ] The roles above have seen it and agree, or what has to be put right is written down here.".to_owned(),
        "- [ ] If sign-off could not be had in time: more people hold the role, or the runbook is changed.".to_owned(),
    ]);
    lines.join("\n")
}

/// What a template sees, with words in place of everything.
fn scope(dossier: Dossier<'_>) -> Scope {
    let state = dossier.incident.state;
    Scope::new()
        .with("incident", incident(dossier.incident))
        .with("responders", responders(state))
        .with("review", state.review.as_ref().map_or_else(|| "not scheduled yet".to_owned(), |review| stamp(review.at)))
        .with("facts", facts(state))
        .with("timeline", timeline(dossier))
        .with("actions", state.post_mortem.actions.iter().map(action).collect::<Vec<Value>>())
        .with("runs", dossier.incident.runs.iter().map(|run| run_entry(dossier.incident, run)).collect::<Vec<Value>>())
        .with("journal_head", dossier.journal_head)
}

fn example() -> Scope {
    let told = || {
        let names = [
            "summary",
            "root_cause",
            "users_affected",
            "downtime",
            "data_loss",
            "resolution",
            "went_well",
            "went_poorly",
            "lucky",
        ];
        names.into_iter().map(|name| (name.to_owned(), json!("x"))).collect::<serde_json::Map<_, _>>()
    };
    let incident = [
        "id",
        "title",
        "date",
        "duration",
        "severity",
        "meaning",
        "opened_at",
        "opened_by",
        "resolved_at",
        "resolved_by",
        "link",
    ];
    let mut incident: serde_json::Map<String, Value> = incident.into_iter().map(|name| (name.to_owned(), json!("x"))).collect();
    incident.insert("customer_facing".to_owned(), json!(true));
    Scope::new()
        .with("incident", Value::Object(incident))
        .with("responders", "x")
        .with("review", "x")
        .with("facts", Value::Object(told()))
        .with("timeline", json!([{ "at": "x", "what": "x" }]))
        .with("actions", json!([{ "number": 1, "title": "x", "owner": "x", "due": "x", "issue": "" }]))
        .with("runs", json!([{ "id": "x", "title": "x", "standing": "x", "link": "x" }]))
        .with("journal_head", "x")
}

fn incident(view: View<'_>) -> Value {
    let state = view.state;
    let by = match &state.opened.by {
        Opener::Person(by) => name(by),
        Opener::Run { run, why } => format!("run {}: {}", tick(run.as_str()), quiet_markdown(why)),
    };
    let resolved = state.resolved.as_ref();
    json!({
        "id": state.id().to_string(),
        "title": quiet_markdown(&state.opened.title),
        "date": state.opened_at.format("%Y-%m-%d").to_string(),
        "duration": hours_and_minutes(state.lasted(view.now)),
        "severity": state.severity.to_string(),
        "meaning": state.severity.meaning(),
        "customer_facing": state.opened.customer_facing,
        "opened_at": stamp(state.opened_at),
        "opened_by": by,
        "resolved_at": resolved.map_or_else(|| "not resolved yet".to_owned(), |resolution| stamp(resolution.at)),
        "resolved_by": resolved.map_or_else(|| "nobody yet".to_owned(), |resolution| name(&resolution.by)),
        "link": state.channel.map_or_else(String::new, |channel| link(view, channel)),
    })
}

fn link(view: View<'_>, channel: crate::domain::ChannelId) -> String {
    format!("https://discord.com/channels/{}/{channel}", view.guild)
}

/// Whoever had a role, acknowledged or resolved it, each once, with what they were.
fn responders(state: &State) -> String {
    let mut known: Vec<(crate::domain::UserId, String)> = Vec::new();
    for (role, person) in &state.roles {
        match known.iter_mut().find(|(id, _)| *id == person.id) {
            Some((_, text)) => text.push_str(&format!(", {role}")),
            None => known.push((person.id, format!("{}: {role}", name(person)))),
        }
    }
    let others = state.acknowledged.iter().map(|acknowledged| &acknowledged.by).chain(state.resolved.iter().map(|done| &done.by));
    for person in others {
        if known.iter().all(|(id, _)| *id != person.id) {
            known.push((person.id, name(person)));
        }
    }
    let names: Vec<String> = known.into_iter().map(|(_, text)| text).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join("; ") }
}

fn facts(state: &State) -> Value {
    let Facts { summary, root_cause, users_affected, downtime, data_loss, resolution, went_well, went_poorly, lucky } =
        &state.post_mortem.facts;
    let told = |fact: &Option<String>| fact.as_deref().map_or_else(|| NOT_TOLD.to_owned(), quiet_markdown);
    // Whoever resolved it has said how; the form may say it better.
    let resolution = resolution.clone().or_else(|| state.resolved.as_ref().map(|resolution| resolution.summary.clone()));
    json!({
        "summary": told(summary),
        "root_cause": told(root_cause),
        "users_affected": told(users_affected),
        "downtime": told(downtime),
        "data_loss": told(data_loss),
        "resolution": told(&resolution),
        "went_well": told(went_well),
        "went_poorly": told(went_poorly),
        "lucky": told(lucky),
    })
}

fn action(action: &ActionItem) -> Value {
    let issue = action.issue.as_ref().map(|issue| format!(" – #{}", issue.number)).unwrap_or_default();
    json!({
        "number": action.number,
        "title": quiet_markdown(&action.title),
        "owner": owner(&action.owner),
        "due": action.due.to_string(),
        "issue": issue,
    })
}

/// An owner as a name: the issue of the action item notifies them, a text that mentions them need not.
fn owner(owner: &str) -> String {
    quiet_markdown(owner.trim_start_matches('@'))
}

fn run_entry(view: View<'_>, run: &super::View<'_>) -> Value {
    let state = run.state;
    json!({
        "id": tick(state.id().as_str()),
        "title": quiet_markdown(&state.runbook().title),
        "standing": standing(state, run.now),
        "link": link(view, state.thread.unwrap_or(state.started.channel)),
    })
}

fn standing(state: &run::State, now: Timestamp) -> String {
    match state.status(now) {
        Status::Closing(end) | Status::Ended(end) => format!("{} {end}", icon(end)),
        Status::Scheduled { .. } => "not started yet".to_owned(),
        Status::RollingBack(rollback) => format!("rolling back {}", tick(rollback.as_str())),
        Status::Waiting { .. } | Status::Running { .. } | Status::AtGate(_) | Status::Paused | Status::Asking(_) => {
            "under way".to_owned()
        }
    }
}

/// What happened, the incident's and its runs' together, in order of time.
fn timeline(dossier: Dossier<'_>) -> Vec<Value> {
    let state = dossier.incident.state;
    let mut entries = vec![(state.opened_at, format!("Incident opened as {}", state.opened.severity))];
    entries.extend(state.timeline.iter().filter_map(|entry| Some((entry.at, happened(dossier.incident, &entry.what)?))));
    for (run, history) in dossier.histories {
        let known = dossier.incident.runs.iter().find(|view| view.state.id() == run);
        let told = history.iter().filter_map(|(at, event)| Some((*at, run_event(known.map(|view| view.state), event)?)));
        entries.extend(told.map(|(at, what)| (at, format!("{} {what}", tick(run.as_str())))));
    }
    // The sort keeps the order of what happened at the same instant.
    entries.sort_by_key(|(at, _)| *at);
    let day = state.opened_at.date_naive();
    let clock = |at: Timestamp| at.format(if at.date_naive() == day { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string();
    entries.into_iter().map(|(at, what)| json!({ "at": clock(at), "what": one_line(&what) })).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What happened, in words; `None` for what is no news afterwards.
fn happened(view: View<'_>, happening: &Happening) -> Option<String> {
    Some(match happening {
        Happening::ChannelLost => "The channel was deleted and replaced".to_owned(),
        Happening::SeverityChanged { from, to, by, reason } => {
            let because = if reason.is_empty() { String::new() } else { format!(": {}", quiet_markdown(reason)) };
            format!("{from} → {to} by {}{because}", name(by))
        }
        Happening::RoleTaken { role, person, .. } => format!("{} became {role}", name(person)),
        Happening::Acknowledged { by } => format!("{} acknowledged", name(by)),
        Happening::Escalated { level } => format!("Nobody had acknowledged: escalated to level {level}"),
        Happening::Noted { by, text } => format!("{}: {}", name(by), quiet_markdown(text)),
        Happening::Updated { by, text } => format!("Update by {}: {}", name(by), quiet_markdown(text)),
        Happening::MessageMarked { message, author, text, .. } => {
            let text = text.as_deref().map_or_else(|| "a message".to_owned(), quiet_markdown);
            let link = format!("{}/{}", link(view, message.channel), message.message);
            format!("{}: {text} ([message]({link}))", quiet_markdown(author))
        }
        Happening::Paged { outcome: Delivery::Delivered, level } => format!("Paged (level {level})"),
        Happening::Paged { outcome: Delivery::Refused { why }, level } => {
            format!("Nobody was paged (level {level}): {}", quiet_markdown(why))
        }
        Happening::Paged { outcome: Delivery::NotConfigured, .. } => return None,
        Happening::Resolved { by, summary } => format!("Resolved by {}: {}", name(by), quiet_markdown(summary)),
    })
}

/// What of a run's history belongs into a post-mortem: what changed the world, who let it, what went wrong, the way back.
fn run_event(state: Option<&run::State>, event: &run::Event) -> Option<String> {
    use run::Event as E;
    Some(match event {
        E::Started(started) => format!("started by {}", name(&started.requester)),
        E::GateCleared { gate, .. } => format!("gate {} opened", tick(&gate_name(gate))),
        E::GateRefused { gate, .. } => format!("gate {} closed: nothing went forward", tick(&gate_name(gate))),
        E::GlassBroken { gate, by, reason, .. } => {
            format!("gate {} opened without sign-off by {}: {}", tick(&gate_name(gate)), name(by), quiet_markdown(reason))
        }
        E::StepSucceeded { step, simulated: false, .. } if changes_something(state, step) => {
            format!("step {} done", tick(step.as_str()))
        }
        E::StepFailed { step, failure, retry_at: None, .. } => {
            format!("step {} failed: {}", tick(step.as_str()), quiet_markdown(&super::limits::cut(&failure.message, MESSAGE_MAX)))
        }
        E::StepInterrupted { step, reason, .. } => {
            format!("step {} was cut off: {}", tick(step.as_str()), quiet_markdown(reason))
        }
        E::Paused { by, reason } => {
            let by = by.as_ref().map_or_else(|| "the bot".to_owned(), name);
            format!("paused by {by}: {}", quiet_markdown(reason))
        }
        E::Unpaused { by } => format!("resumed by {}", name(by)),
        E::AbortRequested { by, reason } => format!("aborted by {}: {}", name(by), quiet_markdown(reason)),
        E::RollbackStarted { rollback, by, reason, .. } => {
            format!("rollback {} started by {}: {}", tick(rollback.as_str()), actor(by), quiet_markdown(reason))
        }
        E::RollbackFinished { rollback, took } => format!("rollback {} done in {took}", tick(rollback.as_str())),
        E::ClosingBegan { end, .. } => end.to_string(),
        E::ThreadOpened { .. }
        | E::ThreadLost { .. }
        | E::MessagePosted { .. }
        | E::MessageLost { .. }
        | E::Rebooted
        | E::GateOpened { .. }
        | E::CriteriaMeasured { .. }
        | E::SignOffGranted { .. }
        | E::SignOffWithdrawn { .. }
        | E::VoteRefused { .. }
        | E::RefusedVoteRemoved { .. }
        | E::GateWarned { .. }
        | E::GateCardLost { .. }
        | E::QuorumReached { .. }
        | E::ClearanceFailed { .. }
        | E::RollbackArmed { .. }
        | E::WhenEvaluated { .. }
        | E::StepStarted { .. }
        | E::ChildStarted { .. }
        | E::StepSucceeded { .. }
        | E::StepFailed { .. }
        | E::StepProbed { .. }
        | E::StepSkipped { .. }
        | E::ItemTicked { .. }
        | E::Asked(_)
        | E::Answered { .. }
        | E::RollbackRequested { .. }
        | E::StatusDue { .. }
        | E::IncidentOpened { .. }
        | E::ReviewPublished { .. }
        | E::ReviewDelayed { .. }
        | E::Ended { .. } => return None,
    })
}

/// The longest message of a failure in a timeline, in UTF-16 units.
const MESSAGE_MAX: usize = 300;

fn changes_something(state: Option<&run::State>, step: &StepName) -> bool {
    state.and_then(|state| state.plan().steps.get(step)).is_some_and(|traits| traits.effect)
}

fn gate_name(gate: &GateRef) -> String {
    match gate {
        GateRef::Phase(phase) => phase.to_string(),
        GateRef::Rollback(rollback) => format!("rollback {rollback}"),
    }
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Person(person) => name(person),
        Actor::Host { user } => format!("{} on the host", tick(user)),
        Actor::OnFailure { step } => format!("the failure of {}", tick(step.as_str())),
    }
}

fn name(person: &Person) -> String {
    quiet_markdown(&person.name)
}

fn tick(text: &str) -> String {
    super::text::code(text)
}

/// `HH:MM`, hours beyond a day counted on.
fn hours_and_minutes(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

fn stamp(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_template_can_be_read() {
        assert!(Template::shipped().0.render(&example()).unwrap().contains("## Lessons learned"));
    }

    #[test]
    fn a_template_that_names_what_is_never_there_is_refused() {
        let unknown = Template::parse("{{ incident.titel }}").unwrap_err();
        assert!(unknown.to_string().contains("titel"), "{unknown}");
        assert_eq!(Template::parse("fine\n{{ incident.title").unwrap_err().line, Some(2));
        assert!(Template::parse("{% for action in actions %}{{ action.woner }}{% endfor %}").is_err());
    }
}

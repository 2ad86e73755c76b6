//! Notes: what happened, said once; then what happens next and who must act.

use serde_json::Value;

use super::gate_card::{cleared_by, reading, refusal, vote_icon, why_refused};
use super::message::{Attachment, Colour, Embed, Message, Pings};
use super::progress::took;
use super::question::label;
use super::status::{gate_title, icon, rollbacks, somebody, standing, step_title};
use super::text::{actor, clock, code, code_block, date, defuse, escape, missing, person, relative, roles, sign_off};
use super::{View, limits, ping_roles};
use crate::domain::run::{
    Answer, Clearance, End, Event, Failure, GateRef, GateRefusal, OutputFile, Reading, State, VoteRefusal, Withdrawal,
};
use crate::domain::runbook::OnFailure;
use crate::domain::{Duration, Interruption, Person, RoleName, RollbackName, StepName, Timestamp};

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

    fn message(self) -> Message {
        let description = self.lines.join("\n");
        let mut message = Message::framed(Embed { description, colour: self.colour, ..Embed::default() });
        message.attachments = self.attachments;
        match self.pings {
            Some((pings, words)) => message.pinging(pings, words),
            None => message,
        }
    }
}

/// Renders the note of an event. One that deserves none says its name, so that nothing owed stays unsaid.
pub(super) fn render(view: View<'_>, event: &Event) -> Message {
    let state = view.state;
    let note = match event {
        Event::Rebooted => rebooted(view),
        Event::SignOffGranted { gate, voter, .. } => granted(state, gate, voter),
        Event::SignOffWithdrawn { gate, voter, why, .. } => withdrawn(state, gate, voter, *why),
        Event::VoteRefused { gate, voter, vote, why, .. } => vote_refused(state, gate, voter, vote_icon(*vote), why),
        Event::GateWarned { gate, percent, .. } => warned(state, gate, *percent),
        Event::GateCardLost { gate, .. } => {
            Note::new(Colour::Amber, format!("🗑 The card of {} counts no more: its votes are void.", gate_title(state, gate)))
                .line("It was deleted, or is too old for Discord to let it be changed. A new card follows: please sign again.")
        }
        Event::ClearanceFailed { gate, reasons, .. } => clearance_failed(state, gate, reasons),
        Event::GateRefused { gate, why, .. } => gate_refused(state, gate, why),
        Event::GlassBroken { gate, by, reason, skipped, .. } => glass_broken(state, gate, by, reason, skipped),
        Event::GateCleared { gate, clearance, .. } => gate_cleared(state, gate, clearance),
        Event::StepSucceeded { step, attempt, result, simulated, checks, output, asserted_by } => {
            let done = Done { step, attempt: *attempt, result, simulated: *simulated, asserted_by: asserted_by.as_ref() };
            succeeded(state, &done, checks, output.as_ref())
        }
        Event::StepFailed { step, attempt, failure, checks, output, retry_at } => {
            failed(state, step, *attempt, failure, checks, output.as_ref(), *retry_at)
        }
        Event::StepInterrupted { step, attempt, reason, next } => interrupted(state, step, *attempt, reason, *next),
        Event::StepSkipped { step } => {
            Note::new(Colour::Grey, format!("⏭ {} is not needed: its `when` is not true.", step_title(state, step)))
        }
        Event::Answered { question, answer, by, reason } => answered(*question, *answer, by, reason),
        Event::Paused { by, reason } => {
            Note::new(Colour::Amber, format!("⏸ Paused by {}: {}", somebody(by.as_ref()), escape(reason)))
                .line("What is under way ends; nothing new starts. `/migrate resume` lets it go on.")
        }
        Event::Unpaused { by } => Note::new(Colour::Blue, format!("▶ {} lets the run go on.", person(by))),
        Event::AbortRequested { by, reason } => aborted(state, by, reason),
        Event::RollbackRequested { rollback, by, reason } => rollback_requested(state, rollback, &actor(by), reason),
        Event::RollbackStarted { rollback, by, reason, target_at } => Note::new(
            Colour::Red,
            format!("↩ Rollback {} begins, started by {}: {}", code(rollback.as_str()), actor(by), escape(reason)),
        )
        .line(format!(
            "It should be done {} ({}). Nothing stops it but its end.",
            relative(*target_at),
            clock(*target_at)
        )),
        Event::RollbackFinished { rollback, took } => rollback_finished(state, rollback, *took),
        Event::ClosingBegan { end, until } => closing(state, *end, *until),
        Event::IncidentOpened { incident } => {
            Note::new(Colour::Red, format!("🚨 Incident {} is opened about this run.", code(&incident.to_string())))
                .line("People work on it in its channel; `/rollback now` works there as well as here.")
        }
        Event::ReviewPublished { at, .. } => Note::new(
            Colour::Grey,
            format!("📝 The review that the broken glass owes: [issue #{}]({})", at.number, defuse(&at.url)),
        ),
        Event::ReviewDelayed { why, .. } => {
            Note::new(Colour::Amber, format!("📝 The review that the broken glass owes is not on GitHub yet: {}", escape(why)))
                .line("It is owed still, and follows by itself.")
        }
        Event::ThreadLost { .. } => Note::new(Colour::Amber, "🗑 The run's former thread was deleted.".to_owned())
            .line("What was said there is gone from chat; `pointsman audit export` and the run board still have it.")
            .line("Votes cast there count no more. The run goes on in this thread."),
        Event::Started(_)
        | Event::ThreadOpened { .. }
        | Event::MessagePosted { .. }
        | Event::MessageLost { .. }
        | Event::GateOpened { .. }
        | Event::CriteriaMeasured { .. }
        | Event::RefusedVoteRemoved { .. }
        | Event::QuorumReached { .. }
        | Event::RollbackArmed { .. }
        | Event::WhenEvaluated { .. }
        | Event::StepStarted { .. }
        | Event::ChildStarted { .. }
        | Event::StepProbed { .. }
        | Event::ItemTicked { .. }
        | Event::Asked(_)
        | Event::StatusDue { .. }
        | Event::Ended { .. } => Note::new(Colour::Grey, crate::domain::run::kind_of(event).replace('_', " ")),
    };
    note.message()
}

fn rebooted(view: View<'_>) -> Note {
    let next = match (&view.state.question, view.state.open_gate()) {
        (Some(question), _) => format!("Question {} waits for one of {}.", question.id, roles(&question.answerers)),
        (None, Some((gate, _))) => {
            format!("The gate {} stands; votes cast meanwhile count and are being read.", gate_title(view.state, gate))
        }
        (None, None) => String::new(),
    };
    Note::new(Colour::Amber, "🔄 The bot was restarted. Nothing was lost; this run goes on from its journal.".to_owned())
        .line(format!("Now: {}", standing(view.state, view.now)))
        .line(next)
}

fn still_missing(state: &State, gate: &GateRef) -> String {
    let quorum = state.quorum(gate).map(|quorum| quorum.missing).unwrap_or_default();
    if quorum.is_empty() {
        "Nobody is missing: everything is read once more before the start.".to_owned()
    } else {
        format!("Still {}.", missing(&quorum))
    }
}

fn granted(state: &State, gate: &GateRef, voter: &Person) -> Note {
    let quorum = state.quorum(gate);
    let place = quorum.and_then(|quorum| quorum.assignments.into_iter().find(|a| a.person.id == voter.id));
    let role = place.map(|place| format!(" as {}", code(place.role.as_str()))).unwrap_or_default();
    Note::new(Colour::Green, format!("✅ {} signed {}{role}.", person(voter), gate_title(state, gate)))
        .line(still_missing(state, gate))
}

fn withdrawn(state: &State, gate: &GateRef, voter: &Person, why: Withdrawal) -> Note {
    let why = match why {
        Withdrawal::Removed => "took the signature back",
        Withdrawal::RoleLost => "holds none of the gate's roles any more",
        Withdrawal::Acted => "has acted on this run after signing",
    };
    Note::new(Colour::Amber, format!("↪ {} {why}: it no longer counts for {}.", person(voter), gate_title(state, gate)))
        .line(still_missing(state, gate))
}

fn vote_refused(state: &State, gate: &GateRef, voter: &Person, icon: &str, why: &VoteRefusal) -> Note {
    let reason = why_refused(state, gate, why);
    Note::new(Colour::Amber, format!("🚫 {}, your {icon} does not count: {reason}.", person(voter)))
        .line(who_else(state, gate, why))
        .ping(Pings::default().and(voter.id), "")
}

/// What to do when somebody else has to vote; the other reasons say themselves what to do.
fn who_else(state: &State, gate: &GateRef, why: &VoteRefusal) -> String {
    let wanted = || state.sign_off(gate).map(|sign_off| roles(sign_off.keys())).unwrap_or_default();
    match why {
        VoteRefusal::Requester | VoteRefusal::Acted => format!("Ask a colleague who holds one of {}.", wanted()),
        VoteRefusal::WrongRole => "Ask somebody who holds one of them; `/whoami` shows which roles you hold.".to_owned(),
        VoteRefusal::RedCriterion | VoteRefusal::TooLate | VoteRefusal::ClosedCard => String::new(),
    }
}

fn warned(state: &State, gate: &GateRef, percent: u8) -> Note {
    let expires = state.gates.get(gate).map(|gate| format!(" It closes {}.", relative(gate.expires_at))).unwrap_or_default();
    let quorum = state.quorum(gate).map(|quorum| quorum.missing).unwrap_or_default();
    let wanted = ping_roles(state, quorum.iter().map(|(role, _)| role));
    Note::new(Colour::Amber, format!("⏳ {percent} % of the time to sign {} is over.{expires}", gate_title(state, gate)))
        .line(still_missing(state, gate))
        .ping(wanted, "please sign or veto")
}

fn clearance_failed(state: &State, gate: &GateRef, reasons: &[String]) -> Note {
    let reasons: Vec<String> = reasons.iter().map(|reason| format!("– {}", escape(reason))).collect();
    Note::new(
        Colour::Amber,
        format!("✋ {} does not start: the last look before it did not confirm everything.", gate_title(state, gate)),
    )
    .line(reasons.join("\n"))
    .line("The card stands; it starts when everything is green and signed.")
}

fn gate_refused(state: &State, gate: &GateRef, why: &GateRefusal) -> Note {
    let next = match gate {
        GateRef::Phase(_) => {
            "Nothing goes forward. `/migrate resume` opens a new card with new votes; `/migrate abort` ends the run."
        }
        GateRef::Rollback(_) => "The rollback does not start. `/rollback now` asks anew.",
    };
    Note::new(Colour::Red, format!("⛔ The gate of {} is closed: {}.", gate_title(state, gate), refusal(why)))
        .line(next)
        .ping(Pings::default().and(state.started.requester.id), "your run waits for you")
}

fn glass_broken(state: &State, gate: &GateRef, by: &Person, reason: &str, skipped: &[RoleName]) -> Note {
    Note::new(Colour::Red, format!("🔨 **GLASS BROKEN** by {} at {}: {}", person(by), gate_title(state, gate), escape(reason)))
        .line(format!("Not asked: {}. Digest {}.", roles(skipped), code(&state.started.digest.short())))
        .line("The last checks still run. A review is owed.")
        .ping(ping_roles(state, skipped), "your sign-off was skipped")
}

/// Says nothing of where the run stands: the note may be read, and even posted, long after.
fn gate_cleared(state: &State, gate: &GateRef, clearance: &Clearance) -> Note {
    let arms = match gate {
        GateRef::Phase(phase) => state.phase(phase).and_then(|phase| phase.gate.as_ref()?.also_arms.as_ref()),
        GateRef::Rollback(_) => None,
    };
    let armed = arms.filter(|name| state.armed.contains_key(*name));
    let armed = armed.map_or_else(String::new, |name| format!("🛡 Armed: rollback {}.", code(name.as_str())));
    Note::new(Colour::Green, format!("🟢 {} is {}.", gate_title(state, gate), cleared_by(clearance)))
        .line(format!("Digest {}.", code(&state.started.digest.short())))
        .line(armed)
}

struct Done<'a> {
    step: &'a StepName,
    attempt: u32,
    result: &'a Value,
    simulated: bool,
    asserted_by: Option<&'a Person>,
}

fn succeeded(state: &State, done: &Done<'_>, checks: &[Reading], output: Option<&OutputFile>) -> Note {
    let time = state.runbook().step(done.step).map(|step| took(state, step)).unwrap_or_default();
    let again = if done.attempt > 1 { format!(" · attempt {}", done.attempt) } else { String::new() };
    let mut note = Note::new(Colour::Green, format!("✅ {} {time}{again}", step_title(state, done.step)));
    if done.simulated {
        note = note.line("Rehearsed: nothing was changed.");
    }
    if let Some(by) = done.asserted_by {
        note = note.line(format!("Nobody saw it happen: {} says that it did.", person(by)));
    }
    note = note.line(facts(done.result)).line(checks.iter().map(reading).collect::<Vec<_>>().join("\n"));
    attach(note, done.step, done.attempt, output)
}

/// The most values of a result that a note shows; the rest is in the journal.
const FACTS_MAX: usize = 6;
/// The longest value that it shows.
const FACT_LEN_MAX: usize = 60;

/// The plain values of a result, one below the other.
fn facts(result: &Value) -> String {
    let Some(map) = result.as_object() else { return String::new() };
    let plain = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::String(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let shown = map.iter().filter(|(key, _)| *key != "simulated").filter_map(|(key, value)| Some((key, plain(value)?)));
    let lines: Vec<String> = shown
        .take(FACTS_MAX)
        .map(|(key, value)| format!("{}: {}", escape(key), code(&limits::cut(&value, FACT_LEN_MAX))))
        .collect();
    lines.join("\n")
}

fn attach(mut note: Note, step: &StepName, attempt: u32, output: Option<&OutputFile>) -> Note {
    if let Some(output) = output.filter(|output| output.bytes > 0 && output.bytes <= limits::ATTACHMENT_BYTES_MAX) {
        note.attachments.push(Attachment::Output { path: output.file.clone(), name: format!("{step}-{attempt}.log") });
    }
    note
}

fn failed(
    state: &State,
    step: &StepName,
    attempt: u32,
    failure: &Failure,
    checks: &[Reading],
    output: Option<&OutputFile>,
    retry_at: Option<Timestamp>,
) -> Note {
    let again = if attempt > 1 { format!(" · attempt {attempt}") } else { String::new() };
    let colour = if retry_at.is_some() { Colour::Amber } else { Colour::Red };
    let mut note = Note::new(colour, format!("❌ {}{again}", step_title(state, step)))
        .line(defuse(&limits::cut(&failure.message, limits::FIELD_VALUE_MAX)))
        .line(checks.iter().filter(|check| !check.is_green()).map(reading).collect::<Vec<_>>().join("\n"));
    if let Some(tail) = output.map(|output| output.tail.trim()).filter(|tail| !tail.is_empty()) {
        note = note.line(code_block(tail));
    }
    note = match retry_at {
        Some(at) => note.line(format!("It is tried again {}.", relative(at))),
        None => note
            .line(after_failure(state, step))
            .ping(Pings::default().and(state.started.requester.id), "a step of your run failed"),
    };
    attach(note, step, attempt, output)
}

fn after_failure(state: &State, step: &StepName) -> String {
    if state.is_rollback_step(step) {
        return "It belongs to a rollback, so a question follows.".to_owned();
    }
    let back = state.effects_began_at.is_some() && state.possible_rollbacks().next().is_some();
    let on_failure = state.runbook().phase_of(step).map(|phase| &phase.on_failure);
    match on_failure {
        _ if state.is_dry_run() => "The rehearsal ends here.".to_owned(),
        Some(OnFailure::Ask) => "A question follows: try again, or stop.".to_owned(),
        Some(OnFailure::Rollback(name)) if back && state.armed.contains_key(name) => {
            format!("Rollback {} is armed and starts by itself.", code(name.as_str()))
        }
        Some(OnFailure::Rollback(name)) if back => {
            format!("Rollback {} follows behind its own gate.", code(name.as_str()))
        }
        Some(OnFailure::Stop | OnFailure::Rollback(_)) | None if back => {
            "The run stops here. `/rollback now` in this thread goes back.".to_owned()
        }
        Some(OnFailure::Stop | OnFailure::Rollback(_)) | None => "The run stops here.".to_owned(),
    }
}

fn interrupted(state: &State, step: &StepName, attempt: u32, reason: &str, next: Interruption) -> Note {
    let next = match next {
        Interruption::Repeat => "It is done again: twice is as good as once.",
        Interruption::Resume => "It goes on from its checkpoint.",
        Interruption::Probe => "The bot looks whether it happened.",
        Interruption::Ask => "Nobody knows whether it happened, so a question follows.",
    };
    Note::new(Colour::Amber, format!("✂ Attempt {attempt} of {} was cut off: {}", step_title(state, step), escape(reason)))
        .line(next)
}

fn answered(question: u32, answer: Answer, by: &Person, reason: &str) -> Note {
    Note::new(Colour::Blue, format!("💬 {} answered question {question}: **{}**", person(by), label(answer)))
        .line(format!("Because: {}", escape(reason)))
}

fn aborted(state: &State, by: &Person, reason: &str) -> Note {
    let next = if state.effects_began_at.is_some() {
        "The step under way is cancelled. Something was changed already: `/rollback now` goes back."
    } else {
        "The step under way is cancelled. Nothing was changed."
    };
    Note::new(Colour::Red, format!("🛑 {} ends the run: {}", person(by), escape(reason))).line(next)
}

fn rollback_requested(state: &State, name: &RollbackName, by: &str, reason: &str) -> Note {
    let note = Note::new(Colour::Red, format!("↩ Rollback {} is wanted by {by}: {}", code(name.as_str()), escape(reason)));
    let Some(rollback) = state.rollback_definition(name) else { return note };
    let eligible = rollback.allow.iter().chain(rollback.sign_off.keys());
    note.line(format!("It is not armed, so its own card follows, to be signed by {}.", sign_off(&rollback.sign_off)))
        .line(format!("Once signed it takes about {}.", rollback.target))
        .ping(ping_roles(state, eligible), "a rollback needs you")
}

fn rollback_finished(state: &State, name: &RollbackName, took: Duration) -> Note {
    let target = state.rollback_definition(name).map(|rollback| rollback.target).unwrap_or_default();
    let verdict = if took <= target { "within" } else { "over" };
    Note::new(Colour::Green, format!("↩ Rollback {} is done in {took}, {verdict} its target of {target}.", code(name.as_str())))
        .ping(Pings::default().and(state.started.requester.id), "")
}

fn closing(state: &State, end: End, until: Timestamp) -> Note {
    let open = if end == End::Succeeded && !state.runbook().afterwards.is_empty() {
        format!("It closes after {} once the list below is ticked; `/migrate close` ends it before.", date(until))
    } else {
        format!("It closes {} ({}); `/migrate close` ends it before.", relative(until), clock(until))
    };
    let back = rollbacks(state);
    let back = if back.is_empty() { String::new() } else { format!("Way back until then:\n{}", back.join("\n")) };
    Note::new(if end == End::Succeeded { Colour::Green } else { Colour::Red }, format!("{} The run {}.", icon(end), verb(end)))
        .line("Its lock is kept until it is closed.")
        .line(open)
        .line(back)
        .ping(Pings::default().and(state.started.requester.id), "")
}

fn verb(end: End) -> &'static str {
    match end {
        End::Succeeded => "has done its last step",
        End::RolledBack => "is rolled back",
        End::Failed => "failed",
        End::Aborted => "was aborted",
        End::Refused => "was refused",
    }
}

//! The gate card: what is to be signed, by whom, until when, and why it may not open yet.

use super::message::{Colour, Embed, Message};
use super::status::{gate_title, somebody, title};
use super::text::{clock, code, escape, missing, person, relative, roles};
use super::{View, ping_roles};
use crate::domain::run::{Clearance, Gate, GateRef, GateRefusal, Reading, Standing, State, Verdict, Vote, VoteRefusal};
use crate::domain::runbook::{Excludes, Step};

/// Renders the card. One that was replaced says so and is over.
pub(super) fn render(view: View<'_>, gate: &GateRef, card: u32) -> Message {
    let state = view.state;
    let heading = title(state, &format!("🚦 Sign-off: {}", gate_title(state, gate).replace("**", "")));
    let Some(opened) = state.gates.get(gate).filter(|opened| opened.card == card) else {
        let description = "This card was replaced: its votes are void. The newest card in this thread counts.".to_owned();
        return Message::framed(Embed { title: heading, description, ..Embed::default() });
    };
    let mut embed = Embed {
        title: heading,
        description: head(view, gate, opened).join("\n"),
        colour: colour(state, opened),
        ..Embed::default()
    };
    embed.field("What will happen", &steps(state, gate));
    embed.field("Known only then", &late(state, gate));
    embed.field("Criteria", &criteria(state, gate, opened));
    embed.field("Signatures", &signatures(state, gate, opened));
    embed.field("Do not count", &refused_votes(state, gate, opened));
    embed.field("Way back", &arms(state, gate));
    embed.field("May not sign", &excluded(state, gate, opened));
    let mut message = Message::framed(embed);
    if !state.is_dry_run() && matches!(opened.standing, Standing::Open | Standing::Clearing) {
        let wanted = state.sign_off(gate).map(|sign_off| ping_roles(state, sign_off.keys())).unwrap_or_default();
        message = message.pinging(wanted, "sign-off wanted");
        message.votable = true;
    }
    message
}

fn head(view: View<'_>, gate: &GateRef, opened: &Gate) -> Vec<String> {
    let state = view.state;
    let mut lines = vec![
        format!("{} · digest {}", code(state.id().as_str()), code(&state.started.digest.short())),
        format!("**{}**", standing(state, opened)),
    ];
    if state.is_dry_run() {
        return lines;
    }
    if matches!(opened.standing, Standing::Open | Standing::Clearing) {
        lines.push("✅ signs · ❌ vetoes".to_owned());
        lines.push(format!("closes {} ({})", relative(opened.expires_at), clock(opened.expires_at)));
        if let Some(due) = due(state, gate).filter(|due| *due > opened.opened_at) {
            lines.push(format!("nothing starts before {}", clock(due)));
        }
    }
    lines
}

fn due(state: &State, gate: &GateRef) -> Option<crate::domain::Timestamp> {
    match gate {
        GateRef::Phase(phase) => state.due(state.phase(phase)?),
        GateRef::Rollback(_) => None,
    }
}

fn standing(state: &State, opened: &Gate) -> String {
    match &opened.standing {
        Standing::Open if state.is_dry_run() => "REHEARSAL: needs no votes".to_owned(),
        Standing::Open if opened.first_red().is_some() => "🔴 a criterion is not green: votes do not count yet".to_owned(),
        Standing::Open => "🟡 open for signatures".to_owned(),
        Standing::Clearing => "🟡 everything is read once more before the start".to_owned(),
        Standing::Cleared { at, clearance } => format!("🟢 {} at {}", cleared_by(clearance), clock(*at)),
        Standing::Refused(why) => format!("⛔ closed: {}", refusal(why)),
    }
}

/// By what right a gate is open.
pub(super) fn cleared_by(clearance: &Clearance) -> String {
    match clearance {
        Clearance::SignOff { signers } => {
            let names: Vec<String> = signers
                .iter()
                .map(|signer| format!("{} as {}", escape(&signer.person.name), code(signer.role.as_str())))
                .collect();
            format!("cleared by {}", names.join(", "))
        }
        Clearance::BreakGlass { by } => format!("🔨 glass broken by {}", escape(&by.name)),
        Clearance::Rehearsal => "REHEARSAL: passed without votes".to_owned(),
    }
}

/// Why a gate is closed.
pub(super) fn refusal(why: &GateRefusal) -> String {
    match why {
        GateRefusal::Vetoed { by } => format!("vetoed by {}", escape(&by.name)),
        GateRefusal::Expired => "nobody opened it in time".to_owned(),
        GateRefusal::WindowMissed { arithmetic } => format!("it no longer fits the window: {}", escape(arithmetic)),
        GateRefusal::TargetChanged { what } => format!("a target is not the one that was signed for: {}", escape(what)),
    }
}

fn colour(state: &State, opened: &Gate) -> Colour {
    match &opened.standing {
        Standing::Cleared { .. } => Colour::Green,
        Standing::Refused(_) => Colour::Red,
        Standing::Open | Standing::Clearing if state.is_dry_run() => Colour::Violet,
        Standing::Open | Standing::Clearing if opened.first_red().is_some() => Colour::Red,
        Standing::Open | Standing::Clearing => Colour::Amber,
    }
}

fn gated(state: &State, gate: &GateRef) -> Vec<Step> {
    match gate {
        GateRef::Phase(phase) => state.phase(phase).map(|phase| phase.steps.clone()).unwrap_or_default(),
        GateRef::Rollback(rollback) => {
            state.rollback_definition(rollback).map(|rollback| rollback.steps.clone()).unwrap_or_default()
        }
    }
}

fn steps(state: &State, gate: &GateRef) -> Vec<String> {
    let steps = gated(state, gate);
    let line = |(number, step): (usize, &Step)| {
        let estimate = step.estimate.map(|estimate| format!(" · {estimate}")).unwrap_or_default();
        let when = step.when.as_ref().map(|when| format!(" · only if {}", code(when))).unwrap_or_default();
        format!("{}. {}{estimate}{when}", number + 1, escape(&step.title))
    };
    steps.iter().enumerate().map(line).collect()
}

fn late(state: &State, gate: &GateRef) -> Vec<String> {
    let steps = gated(state, gate);
    let of_step = |step: &Step| -> Vec<String> {
        state
            .plan()
            .traits(&step.step)
            .late
            .iter()
            .map(|value| format!("{}: {}", code(step.step.as_str()), code(value)))
            .collect()
    };
    steps.iter().flat_map(of_step).collect()
}

fn criteria(state: &State, gate: &GateRef, opened: &Gate) -> Vec<String> {
    if let Some(readings) = &opened.readings {
        return readings.iter().map(reading).collect();
    }
    let GateRef::Phase(phase) = gate else { return Vec::new() };
    let go = state.phase(phase).and_then(|phase| phase.gate.as_ref()).map(|gate| gate.go.as_slice()).unwrap_or_default();
    go.iter().map(|criterion| format!("⏳ {} (being measured)", escape(&criterion.says))).collect()
}

/// One criterion or check as measured.
pub(super) fn reading(reading: &Reading) -> String {
    let measured = if reading.measured.is_empty() { String::new() } else { format!(" · {}", code(&reading.measured)) };
    let says = escape(&reading.says);
    match &reading.verdict {
        Verdict::Green => format!("🟢 {says}{measured}"),
        Verdict::Red { why } => format!("🔴 {says}{measured} – {}", escape(why)),
        Verdict::NotMeasured { why } => format!("⚪ {says}: not measured – {}", escape(why)),
    }
}

/// Who signed as what, and who is missing.
pub(super) fn signatures(state: &State, gate: &GateRef, opened: &Gate) -> Vec<String> {
    if state.is_dry_run() {
        return vec!["REHEARSAL: none needed".to_owned()];
    }
    // Once cleared, what counted then is the truth, whatever is matched now.
    if let Standing::Cleared { clearance: Clearance::SignOff { signers }, .. } = &opened.standing {
        return signers.iter().map(|signer| format!("✅ {}: {}", code(signer.role.as_str()), person(&signer.person))).collect();
    }
    let Some(quorum) = state.quorum(gate) else { return Vec::new() };
    let signed = quorum.assignments.iter().map(|a| format!("✅ {}: {}", code(a.role.as_str()), person(&a.person)));
    let wanted = quorum.missing.iter().map(|wanted| format!("⬜ {}", missing(std::slice::from_ref(wanted))));
    let spare = quorum.spare.iter().map(|spare| format!("☑ {} signed too; that place is taken", person(spare)));
    let glass = opened.glass.iter().map(|by| format!("🔨 {} broke the glass: no more signatures needed", person(by)));
    signed.chain(wanted).chain(spare).chain(glass).collect()
}

fn refused_votes(state: &State, gate: &GateRef, opened: &Gate) -> Vec<String> {
    let name = |user: &crate::domain::UserId| format!("<@{user}>");
    let line = |((user, vote), why): (&(crate::domain::UserId, Vote), &VoteRefusal)| {
        format!("{} {}: {}", vote_icon(*vote), name(user), why_refused(state, gate, why))
    };
    opened.refused.iter().map(line).collect()
}

/// The mark of a vote.
pub(super) fn vote_icon(vote: Vote) -> &'static str {
    match vote {
        Vote::Sign => "✅",
        Vote::Veto => "❌",
    }
}

/// Why a vote does not count, in words to the person.
pub(super) fn why_refused(state: &State, gate: &GateRef, why: &VoteRefusal) -> String {
    let wanted = || state.sign_off(gate).map(|sign_off| roles(sign_off.keys())).unwrap_or_default();
    match why {
        VoteRefusal::Requester => "whoever asked does not sign".to_owned(),
        VoteRefusal::Acted => "has acted on this run, and this gate leaves such people out".to_owned(),
        VoteRefusal::WrongRole => format!("holds none of {}", wanted()),
        VoteRefusal::RedCriterion => "a criterion was not green; take it back and sign again when all are".to_owned(),
        VoteRefusal::TooLate => "too late, it has started: `/migrate abort` or `/rollback now`".to_owned(),
        VoteRefusal::ClosedCard => {
            let anew = match gate {
                GateRef::Phase(_) => "`/migrate resume` opens one",
                GateRef::Rollback(_) => "`/rollback now` asks anew",
            };
            format!("this card is closed; vote on the newest one, and if none is open {anew}")
        }
    }
}

fn arms(state: &State, gate: &GateRef) -> Vec<String> {
    let GateRef::Phase(phase) = gate else { return Vec::new() };
    let Some(name) = state.phase(phase).and_then(|phase| phase.gate.as_ref()).and_then(|gate| gate.also_arms.as_ref()) else {
        return vec!["this gate arms no rollback: going back needs its own sign-off".to_owned()];
    };
    let Some(rollback) = state.rollback_definition(name) else { return Vec::new() };
    let who = roles(&rollback.allow);
    vec![if state.armed.contains_key(name) {
        format!("🛡 {} is armed: one of {who} starts it; takes about {}", code(name.as_str()), rollback.target)
    } else {
        format!(
            "the same signatures arm {}: one of {who} can then start it; takes about {}",
            code(name.as_str()),
            rollback.target
        )
    }]
}

fn excluded(state: &State, gate: &GateRef, opened: &Gate) -> Vec<String> {
    if state.is_dry_run() || !matches!(opened.standing, Standing::Open | Standing::Clearing) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if let Some(requester) = opened.requester {
        let asked = (state.started.requester.id == requester).then_some(&state.started.requester);
        lines.push(match asked {
            Some(asked) => format!("{}, who asked; bots", somebody(Some(asked))),
            None => format!("<@{requester}>, who asked; bots"),
        });
    }
    if state.excludes(gate) == Excludes::AnyoneWhoActed {
        lines.push("whoever pauses, resumes or answers for this run, before or after signing".to_owned());
    }
    lines
}

//! A plan before it runs: for `/migrate plan` and `pointsman plan`.

use std::fmt::Write as _;

use super::message::{Attachment, Colour, Embed, Message};
use super::text::{code, escape, roles, sign_off};
use crate::domain::run::planned;
use crate::domain::runbook::{OnFailure, Step};
use crate::domain::{Duration, Plan, Timestamp};

/// The plan as a message: the gist in the frame, the whole as a file.
#[must_use]
pub fn message(plan: &Plan) -> Message {
    let runbook = &plan.runbook;
    let digest = plan.digest();
    let mut embed = Embed {
        title: format!("📄 Plan: {}", escape(&runbook.title)),
        description: format!(
            "{} {} · {}\ndigest {}\nNothing is started. The same plan gives the same digest.",
            code(runbook.runbook.as_str()),
            escape(&runbook.version),
            runbook.kind,
            code(&digest.short())
        ),
        colour: Colour::Blue,
        ..Embed::default()
    };
    let value = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let parameters: Vec<String> =
        plan.parameters.iter().map(|(name, given)| format!("{name}: {}", code(&value(given)))).collect();
    embed.field("Parameters", &parameters);
    let targets: Vec<String> = plan.targets.iter().map(|(name, id)| format!("{name}: {}", code(&id.to_string()))).collect();
    embed.field("Targets", &targets);
    embed.field("Time table", &time_table(plan));
    let back = runbook.rollback.iter().map(|(name, rollback)| {
        let who = format!("{} ask; signed by {}", roles(&rollback.allow), sign_off(&rollback.sign_off));
        format!("{} ({}) {who}", code(name.as_str()), rollback.target)
    });
    embed.field("Way back", &back.collect::<Vec<_>>());
    embed.field("Holds", &[format!("{} for {}", code(&plan.lock), runbook.window)]);
    let mut message = Message::framed(embed);
    message.attachments = vec![Attachment::Text { name: format!("plan-{}.txt", runbook.runbook), text: text(plan) }];
    message.fitted()
}

/// Each phase with its start and end relative to the cutover.
fn rows(plan: &Plan) -> Vec<(String, Duration)> {
    let t_zero = Timestamp::UNIX_EPOCH;
    let first = plan.runbook.phases.first().and_then(|phase| phase.at).unwrap_or_default();
    let rows = planned(&plan.runbook, t_zero + first.delta(), t_zero);
    rows.into_iter().map(|(_, start, end)| (offset(start), Duration::between(start, end))).collect()
}

fn offset(at: Timestamp) -> String {
    let zero = Timestamp::UNIX_EPOCH;
    match at.timestamp() {
        0 => "T-0".to_owned(),
        secs if secs < 0 => format!("T-{}", Duration::between(at, zero)),
        _ => format!("T+{}", Duration::between(zero, at)),
    }
}

fn time_table(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for (phase, (start, length)) in plan.runbook.phases.iter().zip(rows(plan)) {
        let plural = if phase.steps.len() == 1 { "" } else { "s" };
        lines.push(format!("{start} **{}** {} step{plural}, {length}", escape(phase.title()), phase.steps.len()));
        if let Some(gate) = &phase.gate {
            lines.push(format!("– 🚦 signed by {}", sign_off(&gate.sign_off)));
        }
    }
    lines
}

/// The whole plan as plain text, for a terminal or a file.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let runbook = &plan.runbook;
    let mut out = String::new();
    let _ = writeln!(out, "{} ({} {}, {})", runbook.title, runbook.runbook, runbook.version, runbook.kind);
    let _ = writeln!(out, "digest  {}", plan.digest());
    let _ = writeln!(out, "lock    {}", plan.lock);
    let _ = writeln!(out, "window  {}, grace {}", runbook.window, runbook.grace);
    if let Some(policy) = &runbook.dry_run {
        let _ = writeln!(out, "rehearsal  a green dry run of this digest within {}", policy.required_within);
    }
    section(&mut out, "parameters", plan.parameters.iter().map(|(name, value)| format!("{name} = {value}")));
    section(&mut out, "targets", plan.targets.iter().map(|(name, identity)| format!("{name}: {identity}")));
    let file =
        |(path, pinned): (&String, &crate::domain::PinnedFile)| format!("{path} {} ({} bytes)", pinned.sha256, pinned.bytes);
    section(&mut out, "pinned files", plan.files.iter().map(file));
    let role = |(name, ids): (&crate::domain::RoleName, &Vec<crate::domain::RoleId>)| {
        format!("{name} = {}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    };
    section(&mut out, "roles", plan.roles.iter().map(role));
    out.push_str("\nphases\n");
    for (phase, (start, length)) in runbook.phases.iter().zip(rows(plan)) {
        phase_text(&mut out, plan, phase, &start, length);
    }
    for (name, rollback) in &runbook.rollback {
        let _ = writeln!(out, "\nrollback {name}, target {}", rollback.target);
        let _ = writeln!(out, "  started by {}; signed by {}", plain_roles(&rollback.allow), plain_sign_off(&rollback.sign_off));
        if let Some(until) = &rollback.until {
            let _ = writeln!(out, "  possible until {} starts: {}", until.step, until.because);
        }
        steps_text(&mut out, plan, &rollback.steps);
    }
    section(&mut out, "afterwards", runbook.afterwards.iter().map(|item| format!("{} ({})", item.item, item.owner)));
    out
}

fn phase_text(out: &mut String, plan: &Plan, phase: &crate::domain::runbook::Phase, start: &str, length: Duration) {
    let _ = writeln!(out, "  {start}  {} ({}), {length}", phase.title(), phase.phase);
    if let Some(gate) = &phase.gate {
        let _ = writeln!(out, "    gate: signed by {}", plain_sign_off(&gate.sign_off));
        let _ = writeln!(out, "      opens {} before, refuses {} after", gate.opens_before, gate.expires);
        for criterion in &gate.go {
            let _ = writeln!(out, "      go: {} [{}]", criterion.says, criterion.expect);
        }
        if let Some(armed) = &gate.also_arms {
            let _ = writeln!(out, "      arms rollback {armed}");
        }
    }
    let on_failure = match &phase.on_failure {
        OnFailure::Stop => "stop".to_owned(),
        OnFailure::Ask => "ask".to_owned(),
        OnFailure::Rollback(name) => format!("rollback {name}"),
    };
    let _ = writeln!(out, "    on failure: {on_failure}");
    steps_text(out, plan, &phase.steps);
}

fn steps_text(out: &mut String, plan: &Plan, steps: &[Step]) {
    for (index, step) in steps.iter().enumerate() {
        let estimate = step.estimate.map(|estimate| format!(", {estimate}")).unwrap_or_default();
        let _ = writeln!(out, "    {}. {} [{} {}{estimate}]", index + 1, step.title, step.step, step.action);
        if let Some(when) = &step.when {
            let _ = writeln!(out, "       only if {when}");
        }
        for late in plan.steps.get(&step.step).map(|traits| traits.late.as_slice()).unwrap_or_default() {
            let _ = writeln!(out, "       known only then: {late}");
        }
    }
}

fn section(out: &mut String, name: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        let _ = writeln!(out, "\n{name}");
        for line in lines {
            let _ = writeln!(out, "  {line}");
        }
    }
}

fn plain_roles(names: &[crate::domain::RoleName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn plain_sign_off(sign_off: &indexmap::IndexMap<crate::domain::RoleName, u8>) -> String {
    sign_off.iter().map(|(role, count)| format!("{count} {role}")).collect::<Vec<_>>().join(", ")
}

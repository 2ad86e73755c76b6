//! The checks of one runbook beyond its shape: is it complete, satisfiable, and safe.

use std::ops::Range;

use super::CheckContext;
use super::diagnostics::Report;
use super::references::{self, Home, IN_GATE, Names, PARAMS_ONLY, StepPlace, View};
use super::step::{self, StepCheck};
use super::tree::{Content, Entry, Node};
use crate::domain::runbook::{OnFailure, Parameter};
use crate::domain::{Duration, Offset, ParameterName, RoleName, RollbackName, TargetName};

/// The most people that one gate may ask for: more cannot be gathered at 3 a.m.
const SIGNERS_MAX: i64 = 10;

/// The most parameters: five modals, one after the other.
const PARAMETERS_MAX: usize = 25;

/// The most steps of a runbook, all phases and rollbacks together.
const STEPS_MAX: usize = 300;

pub(super) fn check(root: &Node, context: &CheckContext, report: &mut Report<'_>) {
    let names = declared(root);
    let check = RunbookCheck { root, names: &names, context };
    check.heading(report);
    check.parameters(report);
    check.targets(report);
    check.unique_steps(report);
    check.phases(report);
    check.rollbacks(report);
    check.afterwards(report);
    check.schedule(report);
    check.way_back(report);
}

/// Collects what the runbook declares, as far as it has the right shape.
fn declared(root: &Node) -> Names<'_> {
    let keys = |key: &str| root.get(key).map(Node::entries).unwrap_or_default();
    let mut names = Names {
        params: keys("parameters").iter().map(|entry| entry.key.as_str()).collect(),
        targets: keys("targets").iter().map(|entry| (entry.key.as_str(), kind_of(&entry.value))).collect(),
        rollbacks: keys("rollback").iter().map(|entry| entry.key.as_str()).collect(),
        ..Names::default()
    };
    for (index, phase) in items(root, "phases").iter().enumerate() {
        let measure = phase.get("gate").map(|gate| items(gate, "measure")).unwrap_or_default();
        names.steps.extend(measure.iter().filter_map(|step| place(step, Home::Measure(index))));
        names.steps.extend(items(phase, "steps").iter().filter_map(|step| place(step, Home::Phase)));
    }
    for rollback in keys("rollback") {
        names.steps.extend(items(&rollback.value, "steps").iter().filter_map(|step| place(step, Home::Rollback(&rollback.key))));
    }
    names
}

fn place<'n>(step: &'n Node, home: Home<'n>) -> Option<StepPlace<'n>> {
    let name = step.get("step")?;
    Some(StepPlace { name: name.text()?, key_span: name.span.clone(), home })
}

fn items<'n>(node: &'n Node, key: &str) -> &'n [Node] {
    node.get(key).map(Node::items).unwrap_or_default()
}

fn kind_of(target: &Node) -> &str {
    target.entries().first().map(|entry| entry.key.as_str()).unwrap_or_default()
}

struct RunbookCheck<'c, 'n> {
    root: &'n Node,
    names: &'c Names<'n>,
    context: &'c CheckContext,
}

impl<'n> RunbookCheck<'_, 'n> {
    fn heading(&self, report: &mut Report<'_>) {
        for key in ["title", "version", "owner", "lock"] {
            if let Some(node) = self.root.get(key).filter(|node| node.text().is_some_and(|text| text.trim().is_empty())) {
                report.error(node.span.clone(), format!("`{key}` is empty"));
            }
        }
        let title = View::of("a title", PARAMS_ONLY);
        for key in ["title", "summary"] {
            if let Some(node) = self.root.get(key) {
                references::check_template(node, self.names, &title, report);
            }
        }
        if let Some(lock) = self.root.get("lock") {
            references::check_template(lock, self.names, &View::of("the lock", PARAMS_ONLY), report);
        }
        more_than_zero(self.root, "window", report);
        if let Some(policy) = self.root.get("dry_run") {
            more_than_zero(policy, "required_within", report);
        }
    }

    fn parameters(&self, report: &mut Report<'_>) {
        let Some(node) = self.root.get("parameters") else { return };
        if node.entries().len() > PARAMETERS_MAX {
            report.error(node.span.clone(), format!("more than {PARAMETERS_MAX} parameters"));
        }
        for entry in node.entries() {
            check_key::<ParameterName>(entry, report);
            check_parameter(&entry.value, report);
        }
    }

    fn targets(&self, report: &mut Report<'_>) {
        for entry in self.root.get("targets").map(Node::entries).unwrap_or_default() {
            check_key::<TargetName>(entry, report);
            let view = View::of("a target", PARAMS_ONLY);
            for field in entry.value.entries().first().map(|kind| kind.value.entries()).unwrap_or_default() {
                // These two name secrets, which must not depend on data.
                if matches!(field.key.as_str(), "dsn" | "kubeconfig") {
                    if field.value.text().is_some_and(|text| !step::is_literal(text)) {
                        let help = "write the name out, one target for each";
                        report.error(field.value.span.clone(), "a template inside the name of a secret").help(help);
                    }
                    if field.value.text().is_some_and(|text| text.contains("://")) {
                        let help = "give the name of a secret here; its value belongs into the bot's environment";
                        let message = "an address where the name of a secret is wanted";
                        report.error(field.value.span.clone(), message).hide_source().help(help);
                    }
                } else {
                    references::check_template(&field.value, self.names, &view, report);
                }
            }
        }
    }

    fn unique_steps(&self, report: &mut Report<'_>) {
        let steps = &self.names.steps;
        if let Some(extra) = steps.get(STEPS_MAX) {
            report.error(extra.key_span.clone(), format!("more than {STEPS_MAX} steps"));
        }
        for (index, step) in steps.iter().enumerate() {
            if let Some(first) = steps[..index].iter().find(|other| other.name == step.name) {
                let help = format!(
                    "the other one is in line {}; rollbacks and measure steps count too",
                    report.line_of(first.key_span.start)
                );
                report.error(step.key_span.clone(), format!("the step name `{}` is used twice", step.name)).help(help);
            }
        }
    }

    fn phases(&self, report: &mut Report<'_>) {
        let Some(node) = self.root.get("phases") else { return };
        not_empty(node, "phases", "phase", report);
        let mut seen: Vec<(&str, Range<usize>)> = Vec::new();
        let mut latest: Option<Offset> = None;
        let mut step_index = 0;
        for (index, phase) in node.items().iter().enumerate() {
            if let Some((name, name_node)) = phase.get("phase").and_then(|node| Some((node.text()?, node))) {
                if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                    let help = format!("the other one is in line {}", report.line_of(first.start));
                    report.error(name_node.span.clone(), format!("the phase name `{name}` is used twice")).help(help);
                }
                seen.push((name, name_node.span.clone()));
            }
            if let Some((at, node)) = phase.parsed::<Offset>("at").zip(phase.get("at")) {
                if let Some(before) = latest.filter(|before| at < *before) {
                    report.error(node.span.clone(), format!("{at} is before {before}, when an earlier phase starts"));
                }
                latest = latest.max(Some(at));
            }
            self.phase(index, phase, &mut step_index, report);
        }
    }

    fn phase(&self, index: usize, phase: &'n Node, step_index: &mut usize, report: &mut Report<'_>) {
        if let Some(title) = phase.get("title") {
            references::check_template(title, self.names, &View::of("a title", PARAMS_ONLY), report);
        }
        if let Some(gate) = phase.get("gate") {
            self.gate(index, gate, *step_index, report);
            *step_index += self.count(Home::Measure(index));
        }
        if let Some((node, OnFailure::Rollback(name))) = phase.get("on_failure").zip(phase.parsed("on_failure")) {
            self.known_rollback(node, name.as_str(), report);
        }
        if let Some(steps) = phase.get("steps") {
            not_empty(steps, "steps", "step", report);
        }
        for step in items(phase, "steps") {
            let view = View { before: *step_index, ..View::of("this step", &[]) };
            self.step(step, view, false, report);
            *step_index += usize::from(place(step, Home::Phase).is_some());
        }
    }

    fn count(&self, home: Home<'_>) -> usize {
        self.names.steps.iter().filter(|step| step.home == home).count()
    }

    fn step(&self, step: &Node, view: View<'n>, measures: bool, report: &mut Report<'_>) {
        StepCheck { context: self.context, names: self.names, view, measures }.check(step, report);
    }

    fn gate(&self, index: usize, gate: &'n Node, before: usize, report: &mut Report<'_>) {
        let signers = gate.get("sign_off").map(|node| self.sign_off(node, "gate", report)).unwrap_or_default();
        more_than_zero(gate, "expires", report);
        for step in items(gate, "measure") {
            self.step(step, View { before, ..View::of("this gate", &[]) }, true, report);
        }
        let view = View { before, measured: Some(index), ..View::of("this gate", IN_GATE) };
        for criterion in items(gate, "go") {
            step::check_criterion(criterion, self.names, &view, report);
        }
        let Some((node, name)) = gate.get("also_arms").and_then(|node| Some((node, node.text()?))) else { return };
        let Some(rollback) = self.root.get("rollback").and_then(|rollbacks| rollbacks.get(name)) else {
            self.known_rollback(node, name, report);
            return;
        };
        if let Some(gone) = rollback.get("until").and_then(|until| until.get("step")).and_then(Node::text) {
            let ended = &self.names.steps[..before.min(self.names.steps.len())];
            if ended.iter().any(|step| step.home == Home::Phase && step.name == gone) {
                let message = format!("this gate cannot arm `{name}`: its last chance, the step `{gone}`, is over by then");
                report.error(node.span.clone(), message);
            }
        }
        for (role, count) in rollback.get("sign_off").map(counts).unwrap_or_default() {
            let here = signers.iter().find(|(signer, _)| *signer == role).map_or(0, |(_, count)| *count);
            if here < count {
                let message =
                    format!("this gate cannot arm `{name}`: that takes {count} of `{role}`, and the gate asks for {here}");
                report
                    .error(node.span.clone(), message)
                    .help("the same signatures count for both: let the gate ask for at least as many");
            }
        }
    }

    /// Checks who must sign; with what is asked of each role.
    fn sign_off<'x>(&self, node: &'x Node, what: &str, report: &mut Report<'_>) -> Vec<(&'x str, i64)> {
        let Content::Map(entries) = &node.value else { return Vec::new() };
        if entries.is_empty() {
            let help = "name at least one role, e.g. `sign_off: { operations_lead: 1 }`";
            report.error(node.span.clone(), format!("nobody can satisfy this {what}: no role signs")).help(help);
        }
        for entry in entries {
            check_key::<RoleName>(entry, report);
            step::check_role_name(&entry.key, entry.key_span.clone(), self.context, report);
            if entry.value.integer() == Some(0) {
                let help = "ask for at least one person, or leave the role out";
                report.error(entry.value.span.clone(), format!("`{}` is asked for 0 signatures", entry.key)).help(help);
            }
        }
        let counts = counts(node);
        let people: i64 = counts.iter().map(|(_, count)| count).sum();
        if people > SIGNERS_MAX {
            let message = format!("{people} people must sign, more than the {SIGNERS_MAX} that a {what} may ask for");
            report.error(node.span.clone(), message);
        }
        counts
    }

    fn known_rollback(&self, node: &Node, name: &str, report: &mut Report<'_>) {
        if !self.names.rollbacks.contains(&name) && name.parse::<RollbackName>().is_ok() {
            report
                .error(node.span.clone(), format!("unknown rollback `{name}`"))
                .suggest(name, self.names.rollbacks.iter().copied());
        }
    }

    fn rollbacks(&self, report: &mut Report<'_>) {
        for entry in self.root.get("rollback").map(Node::entries).unwrap_or_default() {
            check_key::<RollbackName>(entry, report);
            self.rollback(entry, report);
        }
    }

    fn rollback(&self, entry: &'n Entry, report: &mut Report<'_>) {
        let rollback = &entry.value;
        if let Some(title) = rollback.get("title") {
            references::check_template(title, self.names, &View::of("a title", PARAMS_ONLY), report);
        }
        if let Some(sign_off) = rollback.get("sign_off") {
            self.sign_off(sign_off, "rollback", report);
        }
        if let Some(Content::List(allow)) = rollback.get("allow").map(|allow| &allow.value) {
            if allow.is_empty() {
                let span = rollback.entry("allow").map_or(entry.key_span.clone(), |allow| allow.key_span.clone());
                report.error(span, format!("nobody may start the rollback `{}`", entry.key)).help("name at least one role");
            }
            for role in allow {
                step::check_role(Some(role), self.context, report);
            }
        }
        more_than_zero(rollback, "target", report);
        if let Some(step) = rollback.get("until").and_then(|until| until.get("step")) {
            self.point_of_no_return(step, report);
        }
        if let Some(steps) = rollback.get("steps") {
            not_empty(steps, "steps", "step", report);
        }
        let offset =
            self.names.steps.iter().position(|step| step.home == Home::Rollback(&entry.key)).unwrap_or(self.names.steps.len());
        for (index, step) in items(rollback, "steps").iter().enumerate() {
            let view = View { before: offset + index, rollback: Some(&entry.key), ..View::of("this step", &[]) };
            self.step(step, view, false, report);
        }
        let needed = estimates(rollback);
        if let Some((target, node)) =
            rollback.parsed::<Duration>("target").zip(rollback.get("target")).filter(|(t, _)| needed > *t)
        {
            let message = format!("the steps are estimated to take {needed}, longer than the target of {target}");
            report.warning(node.span.clone(), message);
        }
    }

    fn point_of_no_return(&self, step: &Node, report: &mut Report<'_>) {
        let Some(name) = step.text() else { return };
        let of_phases = || self.names.steps.iter().filter(|step| step.home == Home::Phase).map(|step| step.name);
        if !of_phases().any(|known| known == name) {
            report.error(step.span.clone(), format!("unknown step `{name}` in the phases")).suggest(name, of_phases());
        }
    }

    fn afterwards(&self, report: &mut Report<'_>) {
        let Some(node) = self.root.get("afterwards") else { return };
        if let Content::List(list) = &node.value {
            if !list.is_empty() {
                step::check_checklist_length(node, list.len(), report);
            }
            for item in list {
                step::check_role(item.get("owner"), self.context, report);
                if let Some(text) = item.get("item") {
                    references::check_template(text, self.names, &View::of("a checklist's item", PARAMS_ONLY), report);
                }
            }
        }
    }

    /// The window must hold the schedule: phases start at their time, or when the one before has ended.
    fn schedule(&self, report: &mut Report<'_>) {
        let Some((window, node)) = self.root.parsed::<Duration>("window").zip(self.root.get("window")) else { return };
        let phases = items(self.root, "phases");
        let secs = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX / 2);
        let offset = |phase: &Node| phase.parsed::<Offset>("at").map(|at| at.delta().num_seconds());
        // Phases before the first timed one are planned to end when that one starts.
        let untimed: i64 = phases.iter().take_while(|phase| offset(phase).is_none()).map(|phase| secs(estimates(phase))).sum();
        let first = phases.iter().find_map(offset).map_or(0, |at| at - untimed);
        let end = phases.iter().fold(first, |now, phase| now.max(offset(phase).unwrap_or(now)) + secs(estimates(phase)));
        if end - first > secs(window) {
            let needed = Duration::from_secs((end - first).unsigned_abs());
            let message = format!("the window of {window} is too short: the phases take {needed} by their times and estimates");
            report.error(node.span.clone(), message).help("lengthen the window, or move the phases closer together");
        }
    }

    fn way_back(&self, report: &mut Report<'_>) {
        let Some(kind) = self.root.get("kind").filter(|kind| matches!(kind.text(), Some("migration" | "cutover"))) else {
            return;
        };
        let has_gate = items(self.root, "phases").iter().any(|phase| phase.get("gate").is_some());
        let word = kind.text().unwrap_or_default();
        let missing = match (has_gate, !self.names.rollbacks.is_empty()) {
            (true, true) => return,
            (false, true) => "no gate: nobody signs before it changes anything",
            (true, false) => "no rollback: whoever is on call has no way back",
            (false, false) => "neither a gate nor a rollback: nobody signs, and there is no way back",
        };
        report.warning(kind.span.clone(), format!("this {word} has {missing}"));
    }
}

/// A parameter's fields fit its type, and its default passes its own check.
fn check_parameter(node: &Node, report: &mut Report<'_>) {
    let Some(kind) = node.get("type").and_then(Node::text) else { return };
    for (key, owner) in [("pattern", "string"), ("min", "integer"), ("max", "integer"), ("choices", "choice")] {
        if let Some(entry) = node.entry(key).filter(|_| kind != owner) {
            report.error(entry.key_span.clone(), format!("`{key}` belongs to the type `{owner}`, this is `{kind}`"));
        }
    }
    if let Some((pattern, text)) = node.get("pattern").and_then(|node| Some((node, node.text()?)))
        && let Err(error) = regex::Regex::new(text)
    {
        let message = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        report.error(pattern.span.clone(), format!("this regular expression is broken: {message}"));
        return;
    }
    if let (Some(min), Some(max)) = (node.get("min"), node.get("max"))
        && min.integer().zip(max.integer()).is_some_and(|(min, max)| min > max)
    {
        report.error(min.span.clone(), "`min` is greater than `max`: no value fits");
    }
    if kind == "choice"
        && node.get("choices").is_none_or(|choices| matches!(&choices.value, Content::List(list) if list.is_empty()))
    {
        report.error(node.span.clone(), "a choice needs `choices`");
        return;
    }
    let Some(default) = node.get("default") else { return };
    if let Ok(parameter) = serde_json::from_value::<Parameter>(node.to_json())
        && let Err(message) = parameter.check_value(&default.to_json())
    {
        report.error(default.span.clone(), format!("the default does not fit the parameter: {message}"));
    }
}

/// The whole numbers of a `sign_off`, by role.
fn counts(node: &Node) -> Vec<(&str, i64)> {
    node.entries().iter().filter_map(|entry| Some((entry.key.as_str(), entry.value.integer()?))).collect()
}

fn estimates(node: &Node) -> Duration {
    items(node, "steps").iter().filter_map(|step| step.parsed::<Duration>("estimate")).sum()
}

fn check_key<T: std::str::FromStr<Err: ToString>>(entry: &Entry, report: &mut Report<'_>) {
    if let Err(error) = entry.key.parse::<T>() {
        report.error(entry.key_span.clone(), error.to_string());
    }
}

fn more_than_zero(node: &Node, key: &str, report: &mut Report<'_>) {
    if node.parsed::<Duration>(key) == Some(Duration::ZERO) {
        let span = node.get(key).map_or(node.span.clone(), |value| value.span.clone());
        report.error(span, format!("`{key}` is no time at all"));
    }
}

fn not_empty(node: &Node, key: &str, what: &str, report: &mut Report<'_>) {
    if matches!(&node.value, Content::List(list) if list.is_empty()) {
        report.error(node.span.clone(), format!("`{key}` is empty")).help(format!("add at least one {what}"));
    }
}

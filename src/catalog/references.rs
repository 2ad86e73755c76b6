//! Whether what a template or an expression refers to is there, and is there in time.

use std::ops::Range;

use super::diagnostics::Report;
use super::tree::Node;
use crate::expression::{Expression, ExpressionError, Reference, Template};

/// What `run` has.
const RUN_FIELDS: [&str; 3] = ["dir", "id", "mode"];

/// What a step's entry in `steps` and `measured` has.
const STEP_FIELDS: [&str; 3] = ["result", "simulated", "status"];

/// What `targets.name` has, by the target's kind. Never the secret that it names.
fn target_fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "sqlite" => &["path"],
        "postgres" => &["host", "port", "database", "user"],
        "kubernetes" => &["context", "namespace", "server"],
        "http" => &["url"],
        _ => &[],
    }
}

/// The names that a definition declares.
#[derive(Debug, Default)]
pub(super) struct Names<'n> {
    pub(super) params: Vec<&'n str>,
    /// Name and kind.
    pub(super) targets: Vec<(&'n str, &'n str)>,
    /// Every step in the order of the file; phases first, then rollbacks.
    pub(super) steps: Vec<StepPlace<'n>>,
    pub(super) rollbacks: Vec<&'n str>,
    /// A command's options.
    pub(super) options: Vec<&'n str>,
}

/// Where a step stands.
#[derive(Debug)]
pub(super) struct StepPlace<'n> {
    pub(super) name: &'n str,
    pub(super) key_span: Range<usize>,
    pub(super) home: Home<'n>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home<'n> {
    Phase,
    /// A gate's measure step, with the number of the phase.
    Measure(usize),
    Rollback(&'n str),
}

/// What can be seen from one place of a definition.
#[derive(Debug, Clone)]
pub(super) struct View<'n> {
    /// What the place is, for messages: "the lock".
    pub(super) place: &'static str,
    /// The names at the head of a reference.
    pub(super) roots: &'static [&'static str],
    /// Steps before this index of [`Names::steps`] have ended.
    pub(super) before: usize,
    /// Inside of a rollback: its name.
    pub(super) rollback: Option<&'n str>,
    /// In a gate's criteria: the number of the phase, whose measure steps can be seen.
    pub(super) measured: Option<usize>,
}

pub(super) const PARAMS_ONLY: &[&str] = &["params"];
pub(super) const IN_STEP: &[&str] = &["params", "steps", "targets", "run"];
pub(super) const IN_CHECK: &[&str] = &["params", "steps", "targets", "run", "result"];
pub(super) const IN_GATE: &[&str] = &["params", "steps", "targets", "run", "measured"];
pub(super) const OPTIONS_ONLY: &[&str] = &["options"];

impl View<'_> {
    /// A place that sees what is known when a run is planned.
    pub(super) fn of(place: &'static str, roots: &'static [&'static str]) -> Self {
        Self { place, roots, before: 0, rollback: None, measured: None }
    }
}

/// Checks a text as a template; anything else is left to the shape check.
pub(super) fn check_template(node: &Node, names: &Names<'_>, view: &View<'_>, report: &mut Report<'_>) -> Option<Template> {
    let text = node.text()?;
    match Template::parse(text) {
        Ok(template) => {
            check_references(template.references(), node, names, view, report);
            Some(template)
        }
        Err(error) => {
            report_broken("template", &error, node, report);
            None
        }
    }
}

/// Checks every text in a value as a template.
pub(super) fn check_templates(node: &Node, names: &Names<'_>, view: &View<'_>, report: &mut Report<'_>) {
    for text in node.texts() {
        check_template(text, names, view, report);
    }
}

/// Checks a text as a condition.
pub(super) fn check_condition(node: &Node, names: &Names<'_>, view: &View<'_>, report: &mut Report<'_>) {
    let Some(text) = node.text() else { return };
    if text.contains("{{") {
        let help = "a condition is an expression already: leave the braces out";
        report.error(node.span.clone(), "a template where an expression is wanted").help(help);
        return;
    }
    match Expression::parse(text) {
        Ok(expression) => check_references(expression.references(), node, names, view, report),
        Err(error) => report_broken("expression", &error, node, report),
    }
}

fn report_broken(what: &str, error: &ExpressionError, node: &Node, report: &mut Report<'_>) {
    let span = place_within(node, error, report.source());
    report.error(span, format!("this {what} is broken: {error}"));
}

/// The place of an error inside of a text, as far as it can be told; else the text's.
fn place_within(node: &Node, error: &ExpressionError, source: &str) -> Range<usize> {
    let text = node.text().unwrap_or_default();
    // A quoted or plain text without escapes stands in the file as it is, after its quote if it has one.
    let start = node.span.start + usize::from(source[node.span.start..].starts_with(['"', '\'']));
    if source.get(start..start + text.len()) == Some(text) {
        return error.offset.map_or(node.span.clone(), |offset| {
            let rest = &text[offset.min(text.len())..];
            let word = rest.find(|c: char| c.is_whitespace() || "|})]".contains(c)).unwrap_or(rest.len()).max(1);
            (start + offset)..(start + offset + word)
        });
    }
    // The lines of a block text are those of the file, indented.
    let mut offset = node.span.start;
    let skipped = error.line.map_or(0, |line| line.saturating_sub(1));
    let lines = source[node.span.start..node.end].split_inclusive('\n').take(skipped + 1).collect::<Vec<_>>();
    match lines.split_last() {
        Some((line, before)) if before.len() == skipped && skipped > 0 => {
            offset += before.iter().map(|line| line.len()).sum::<usize>() + line.len() - line.trim_start().len();
            offset..offset + line.trim().len()
        }
        _ => node.span.clone(),
    }
}

fn check_references<'x>(
    references: impl IntoIterator<Item = &'x Reference>,
    node: &Node,
    names: &Names<'_>,
    view: &View<'_>,
    report: &mut Report<'_>,
) {
    for reference in references {
        check_reference(reference, place_of(reference, node, report.source()), names, view, report);
    }
}

/// Where a reference stands in its text, if it can be found; else the text.
fn place_of(reference: &Reference, node: &Node, source: &str) -> Range<usize> {
    let text = &source[node.span.start..node.end];
    let dotted = std::iter::once(&reference.root).chain(&reference.path).cloned().collect::<Vec<_>>().join(".");
    let bracketed = reference.to_string();
    let double = bracketed.replace('\'', "\"");
    for spelling in [bracketed, dotted, double] {
        if let Some(at) = text.find(&spelling) {
            return (node.span.start + at)..(node.span.start + at + spelling.len());
        }
    }
    node.span.clone()
}

fn check_reference(reference: &Reference, span: Range<usize>, names: &Names<'_>, view: &View<'_>, report: &mut Report<'_>) {
    let root = reference.root.as_str();
    if !view.roots.contains(&root) {
        let message = format!("`{root}` cannot be used in {}", view.place);
        report.error(span, message).suggest(root, view.roots.iter().copied());
        return;
    }
    let Some(first) = reference.first() else {
        if reference.dynamic && root != "result" {
            let help = format!("name it: a name that is computed cannot be checked before the run, as in `{root}['name']`");
            report.error(span, format!("`{reference}` is not written out")).help(help);
        } else if root != "result" {
            report
                .error(span, format!("`{root}` is a map, not a value"))
                .help(format!("name what is meant, as in `{root}.name`"));
        }
        return;
    };
    match root {
        "params" => check_declared("parameter", first, &names.params, span, report),
        "options" => check_declared("option", first, &names.options, span, report),
        "targets" => check_target(reference, first, names, span, report),
        "run" => check_field(reference, first, &RUN_FIELDS, span, report),
        "steps" => check_step(reference, first, names, view, span, report),
        "measured" => check_measured(reference, first, names, view, span, report),
        _ => {}
    }
}

fn check_declared(what: &str, name: &str, declared: &[&str], span: Range<usize>, report: &mut Report<'_>) {
    if declared.contains(&name) {
        return;
    }
    if let Some(dashed) = declared.iter().find(|known| known.split('-').next() == Some(name) && known.contains('-')) {
        let help = format!("`-` means minus in an expression: write `['{dashed}']`");
        report.error(span, format!("unknown {what} `{name}`")).help(help);
        return;
    }
    report.error(span, format!("unknown {what} `{name}`")).suggest(name, declared.iter().copied());
}

fn check_target(reference: &Reference, name: &str, names: &Names<'_>, span: Range<usize>, report: &mut Report<'_>) {
    let Some((_, kind)) = names.targets.iter().find(|(target, _)| *target == name) else {
        let known: Vec<&str> = names.targets.iter().map(|(target, _)| *target).collect();
        return check_declared("target", name, &known, span, report);
    };
    if let Some(field) = reference.path.get(1) {
        check_field(reference, field, target_fields(kind), span, report);
    }
}

fn check_field(reference: &Reference, field: &str, known: &[&str], span: Range<usize>, report: &mut Report<'_>) {
    if !known.contains(&field) {
        report.error(span, format!("`{reference}` does not exist: unknown `{field}`")).suggest(field, known.iter().copied());
    }
}

fn check_step_field(reference: &Reference, span: Range<usize>, report: &mut Report<'_>) {
    match reference.path.get(1) {
        Some(field) => check_field(reference, field, &STEP_FIELDS, span, report),
        None => report.error(span, format!("`{reference}` is a step, not a value")).help(format!("write `{reference}.result`")),
    }
}

fn check_step(
    reference: &Reference,
    name: &str,
    names: &Names<'_>,
    view: &View<'_>,
    span: Range<usize>,
    report: &mut Report<'_>,
) {
    let Some((index, step)) = names.steps.iter().enumerate().find(|(_, step)| step.name == name) else {
        let known = names.steps.iter().map(|step| step.name);
        report.error(span, format!("unknown step `{name}`")).suggest(name, known);
        return;
    };
    match step.home {
        Home::Measure(_) => {
            let help = format!("a gate's measure steps are seen by that gate's criteria, as `measured['{name}'].result`");
            report.error(span, format!("`{name}` is a measure step")).help(help);
        }
        Home::Rollback(rollback) if view.rollback != Some(rollback) => {
            report.error(span, format!("the step `{name}` belongs to the rollback `{rollback}`, which has not run here"));
        }
        Home::Phase | Home::Rollback(_) if index >= view.before => {
            let line = report.line_of(step.key_span.start);
            let help =
                format!("it stands in line {line}; only the results of steps that ended before {} can be used", view.place);
            let error = if index == view.before && view.place == "this step" {
                report.error(span, format!("the step `{name}` refers to its own result"))
            } else {
                report.error(span, format!("the step `{name}` comes later"))
            };
            error.help(help);
        }
        Home::Phase | Home::Rollback(_) => check_step_field(reference, span, report),
    }
}

fn check_measured(
    reference: &Reference,
    name: &str,
    names: &Names<'_>,
    view: &View<'_>,
    span: Range<usize>,
    report: &mut Report<'_>,
) {
    let here: Vec<&str> = names
        .steps
        .iter()
        .filter(|step| view.measured.is_some_and(|phase| step.home == Home::Measure(phase)))
        .map(|step| step.name)
        .collect();
    if here.contains(&name) {
        return check_step_field(reference, span, report);
    }
    report.error(span, format!("this gate has no measure step `{name}`")).suggest(name, here);
}

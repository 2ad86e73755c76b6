//! The checks of one step: its action, the action's parameters, and what may not be data.

use std::sync::LazyLock;

use regex::Regex;

use super::CheckContext;
use super::diagnostics::Report;
use super::references::{self, IN_CHECK, IN_STEP, Names, PARAMS_ONLY, View};
use super::shape::Shape;
use super::tree::{Content, Node};
use crate::domain::runbook::{ATTEMPTS_MAX, CHECKLIST_ITEMS_MAX, Retry, TIMEOUT_DEFAULT, TIMEOUT_HUMAN_DEFAULT};
use crate::domain::{ActionSpec, Duration, RoleName, StepKind};
use crate::expression::Template;

/// Programs that take code as an argument, by the last part of their path.
static INTERPRETER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(ba|da|z|k|mk|a|c|tc|fi)?sh$|^busybox$|^(python|perl|ruby|node|php|lua)[0-9.]*$|^(psql|mysql|mariadb|sqlite3|ssh)$",
    )
    .expect("the pattern is constant")
});

/// Options after which an interpreter expects code: `-c`, `-lc`, `-e`, `--command`, ...
static CODE_OPTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^-[a-z]*[cer]$|^--(command|eval|execute|print|run)(=|$)").expect("the pattern is constant"));

/// Where a step stands, and what it may therefore do.
pub(super) struct StepCheck<'c, 'n> {
    pub(super) context: &'c CheckContext,
    pub(super) names: &'c Names<'n>,
    pub(super) view: View<'n>,
    /// A gate's measure step: it may only look.
    pub(super) measures: bool,
}

impl StepCheck<'_, '_> {
    pub(super) fn check(&self, step: &Node, report: &mut Report<'_>) {
        self.check_times(step, report);
        if let Some(title) = step.get("title") {
            references::check_template(title, self.names, &View::of("a title", PARAMS_ONLY), report);
        }
        if let Some(when) = step.get("when") {
            let view = View { roots: IN_STEP, ..self.view.clone() };
            references::check_condition(when, self.names, &view, report);
        }
        let checks = step.get("check").map(Node::items).unwrap_or_default();
        for criterion in checks {
            check_criterion(criterion, self.names, &View { roots: IN_CHECK, ..self.view.clone() }, report);
        }
        if let Some(with) = step.get("with") {
            let view = View { roots: IN_STEP, ..self.view.clone() };
            references::check_templates(with, self.names, &view, report);
        }
        self.check_action(step, report);
    }

    fn check_times(&self, step: &Node, report: &mut Report<'_>) {
        let attempts_node = step.get("retry").and_then(|retry| retry.get("attempts"));
        let attempts = attempts_node.and_then(Node::integer).unwrap_or(i64::from(Retry::default().attempts));
        if let Some(node) = attempts_node.filter(|_| !(1..=i64::from(ATTEMPTS_MAX)).contains(&attempts)) {
            report.error(node.span.clone(), format!("`attempts` is 1 to {ATTEMPTS_MAX}, the first one included"));
            return;
        }
        let Some(timeout) = self.timeout(step) else { return };
        if timeout == Duration::ZERO {
            let span = step.get("timeout").map_or(step.span.clone(), |node| node.span.clone());
            report.error(span, "a time-out of no time at all");
            return;
        }
        let Some((node, estimate)) = step.get("estimate").zip(step.parsed::<Duration>("estimate")) else { return };
        let longest = timeout.as_secs().saturating_mul(attempts.unsigned_abs());
        if estimate.as_secs() > longest {
            let whole = Duration::from_secs(longest);
            let message = format!("the estimate of {estimate} is longer than all attempts may take together, {whole}");
            let stated = if step.get("timeout").is_some() { "" } else { "`timeout` is 10m unless set: " };
            report.error(node.span.clone(), message).help(format!("{stated}raise `timeout`, or lower the estimate"));
        }
    }

    /// How long an attempt may take; `None` for a wait that names no time-out, and for one that cannot be read.
    fn timeout(&self, step: &Node) -> Option<Duration> {
        if step.get("timeout").is_some() {
            return step.parsed("timeout");
        }
        let spec = step.get("action").and_then(Node::text).and_then(|name| self.context.action(name));
        match spec.map_or(StepKind::Action, |spec| spec.kind) {
            StepKind::Action => Some(TIMEOUT_DEFAULT),
            StepKind::Confirm | StepKind::Checklist => Some(TIMEOUT_HUMAN_DEFAULT),
            StepKind::Wait => None,
        }
    }

    fn check_action(&self, step: &Node, report: &mut Report<'_>) {
        let Some(action) = step.get("action") else { return };
        let Some(name) = action.text() else { return };
        let Some(spec) = self.context.action(name) else {
            if name.parse::<crate::domain::ActionName>().is_ok() {
                let known = self.context.actions.iter().map(|spec| spec.name.as_str());
                report.error(action.span.clone(), format!("unknown action `{name}`")).suggest(name, known);
            }
            return;
        };
        let empty = Node { span: action.span.clone(), end: action.end, value: Content::Map(Vec::new()) };
        let with = step.get("with").unwrap_or(&empty);
        Shape { root: &spec.parameters, templates: true, report }.check(with, &spec.parameters);
        self.check_effect(spec, action, with, report);
        self.check_targets(spec, with, report);
        check_literals(spec, with, report);
        check_files(spec, with, self.names, report);
        for key in &spec.argv_keys {
            if let Some(argv) = with.get(key) {
                check_argv(argv, report);
            }
        }
        match spec.kind {
            StepKind::Checklist => self.check_checklist(with, report),
            StepKind::Confirm => check_role(with.get("owner"), self.context, report),
            StepKind::Wait => check_wait(with, report),
            StepKind::Action => {}
        }
    }

    fn check_effect(&self, spec: &ActionSpec, action: &Node, with: &Node, report: &mut Report<'_>) {
        if !self.measures || !spec.effect.applies(|key| with.get(key).and_then(Node::bool)) {
            return;
        }
        let help = match &spec.effect {
            crate::domain::Effect::Unless { key } => format!("if it only looks, say so: `{key}: true`"),
            _ => "measure with an action that only looks, and do this in a phase".to_owned(),
        };
        let message = format!("a measure step may change nothing, and `{}` does", spec.name);
        report.error(action.span.clone(), message).help(help);
    }

    fn check_targets(&self, spec: &ActionSpec, with: &Node, report: &mut Report<'_>) {
        for (key, accepted) in &spec.target_keys {
            let Some(node) = with.get(key) else { continue };
            let Some(name) = node.text() else { continue };
            if !is_literal(name) {
                let help = "name a target of `targets:`; its address may be a template over `params`";
                report.error(node.span.clone(), "a target must be written out").help(help);
                continue;
            }
            match self.names.targets.iter().find(|(target, _)| *target == name) {
                None => {
                    let known = self.names.targets.iter().map(|(target, _)| *target);
                    report.error(node.span.clone(), format!("unknown target `{name}`")).suggest(name, known);
                }
                Some((_, kind)) if !accepted.contains(kind) => {
                    let message = format!("`{}` cannot work on `{name}`, which is of the kind {kind}", spec.name);
                    report.error(node.span.clone(), message).help(format!("it works on {}", accepted.join(" or ")));
                }
                Some(_) => {}
            }
        }
    }

    fn check_checklist(&self, with: &Node, report: &mut Report<'_>) {
        let Some(items) = with.get("items") else { return };
        if let Content::List(list) = &items.value {
            check_checklist_length(items, list.len(), report);
            for item in list {
                check_role(item.get("owner"), self.context, report);
            }
        }
    }
}

/// Checks `expect` and `says`.
pub(super) fn check_criterion(criterion: &Node, names: &Names<'_>, view: &View<'_>, report: &mut Report<'_>) {
    if let Some(expect) = criterion.get("expect") {
        references::check_condition(expect, names, view, report);
    }
    if let Some(says) = criterion.get("says") {
        references::check_template(says, names, &View::of("a criterion's text", PARAMS_ONLY), report);
    }
}

pub(super) fn check_checklist_length(node: &Node, length: usize, report: &mut Report<'_>) {
    if !(1..=CHECKLIST_ITEMS_MAX).contains(&length) {
        let message = format!("a checklist has 1 to {CHECKLIST_ITEMS_MAX} items, this one has {length}");
        report.error(node.span.clone(), message).help("split it into several steps");
    }
}

/// A role that the settings do not know can never sign, start or tick anything.
pub(super) fn check_role(node: Option<&Node>, context: &CheckContext, report: &mut Report<'_>) {
    if let Some((node, name)) = node.and_then(|node| Some((node, node.text()?))) {
        check_role_name(name, node.span.clone(), context, report);
    }
}

pub(super) fn check_role_name(name: &str, span: std::ops::Range<usize>, context: &CheckContext, report: &mut Report<'_>) {
    let Some(roles) = &context.roles else { return };
    if !roles.iter().any(|role| role.as_str() == name) && name.parse::<RoleName>().is_ok() {
        let message = format!("the role `{name}` is not mapped to a Discord role in the settings");
        let problem = report.error(span, message);
        if roles.is_empty() {
            problem
                .help("map it under `roles:` in the settings, e.g. `dba: \"200000000000000003\"`; nothing is mapped there yet");
        } else {
            problem.suggest(name, roles.iter().map(RoleName::as_str));
        }
    }
}

fn check_wait(with: &Node, report: &mut Report<'_>) {
    if with.get("duration").is_some() == with.get("until").is_some() {
        report.error(with.span.clone(), "a wait has either a `duration` or an `until`");
    }
}

/// Code and the names of secrets are written by the author, never by data.
fn check_literals(spec: &ActionSpec, with: &Node, report: &mut Report<'_>) {
    for (keys, what, help) in [
        (&spec.literal_keys, "code", "pass the value as a bind parameter, an argument or an environment variable"),
        (&spec.secret_keys, "the name of a secret", "write the name out"),
    ] {
        for text in keys.iter().filter_map(|key| with.get(key)).flat_map(Node::texts) {
            if !text.text().is_some_and(is_literal) {
                report.error(place_of_template(text, report.source()), format!("a template inside {what}")).help(help);
            }
        }
    }
}

/// The first `{{ ... }}` of a text, which may have many lines.
fn place_of_template(node: &Node, source: &str) -> std::ops::Range<usize> {
    let text = &source[node.span.start..node.end];
    let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|marker| text.find(marker)).min() else { return node.span.clone() };
    let line = text[start..].lines().next().unwrap_or_default();
    let length = ["}}", "%}", "#}"].iter().filter_map(|marker| line.find(marker)).min().map_or(line.len(), |end| end + 2);
    (node.span.start + start)..(node.span.start + start + length)
}

/// A file is pinned when the run is planned, when only the parameters are known.
fn check_files(spec: &ActionSpec, with: &Node, names: &Names<'_>, report: &mut Report<'_>) {
    for text in spec.file_keys.iter().filter_map(|key| with.get(key)).flat_map(Node::texts) {
        // Unknown parameters were reported with the other templates.
        let of_params = |template: Template| template.references().iter().all(|reference| reference.root == "params");
        if text.text().and_then(|text| Template::parse(text).ok()).is_some_and(|template| !of_params(template)) {
            references::check_template(text, names, &View::of("the path of a pinned file", PARAMS_ONLY), report);
        }
    }
}

/// An argument is data to the program, unless the program is an interpreter and the argument its code.
fn check_argv(argv: &Node, report: &mut Report<'_>) {
    let Content::List(arguments) = &argv.value else {
        if argv.text().is_some() {
            let help = "write it as a list: `[program, argument, ...]`";
            report.error(argv.span.clone(), "the arguments must be written out").help(help);
        }
        return;
    };
    let literal = |node: &Node| node.text().is_none_or(is_literal);
    if let Some(program) = arguments.first().filter(|program| !literal(program)) {
        report.error(program.span.clone(), "the program must be written out").help("only its arguments may be templates");
    }
    let mut reader = CodeReader::default();
    for argument in arguments {
        let text = argument.text().unwrap_or_default();
        if let Some(program) = reader.takes_as_code(text).filter(|_| !literal(argument)) {
            let help = "put a script into a file and pass the value to it as an argument or in `env`";
            report
                .error(place_of_template(argument, report.source()), format!("a template inside code for `{program}`"))
                .help(help);
        }
        reader.read(text);
    }
}

/// Reads an argument vector from the left and knows which argument an interpreter will take as code. A vector
/// may name one behind another program: `env A=1 bash -c ...`.
#[derive(Default)]
struct CodeReader<'t> {
    interpreter: Option<&'t str>,
    /// The argument before was an option that code follows.
    option: bool,
    /// The interpreter was given an argument that is no option.
    operand: bool,
}

impl<'t> CodeReader<'t> {
    fn takes_as_code(&self, text: &str) -> Option<&'t str> {
        // These two take code, or words for a shell, as what follows the database or the host.
        let by_position = |program: &&str| self.operand && matches!(*program, "sqlite3" | "ssh");
        self.interpreter.filter(|program| self.option || CODE_OPTION.is_match(text) || by_position(program))
    }

    fn read(&mut self, text: &'t str) {
        self.option = self.interpreter.is_some() && CODE_OPTION.is_match(text);
        self.operand |= self.interpreter.is_some() && !text.starts_with('-');
        if let Some(program) = text.rsplit('/').next().filter(|program| INTERPRETER.is_match(program)) {
            (self.interpreter, self.operand) = (Some(program), false);
        }
    }
}

pub(super) fn is_literal(text: &str) -> bool {
    Template::parse(text).is_ok_and(|template| template.is_literal())
}

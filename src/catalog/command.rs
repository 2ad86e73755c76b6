//! The checks of one command beyond its shape: Discord's rules, and that what it starts exists.

use super::CheckContext;
use super::diagnostics::{Report, quoted_list};
use super::references::{self, Names, OPTIONS_ONLY, View};
use super::step;
use super::tree::{Content, Node};
use crate::domain::incident::{ResponderRole, Severity};
use crate::domain::runbook::{Parameter, ParameterKind, Runbook};
use crate::expression::Template;

// Discord's limits: https://discord.com/developers/docs/interactions/application-commands
const NAME_LEN_MAX: usize = 32;
const HELP_LEN_MAX: usize = 100;
const CHOICE_LEN_MAX: usize = 100;
const LIST_LEN_MAX: usize = 25;
const COMMAND_LEN_MAX: usize = 8_000;
/// Slash commands of one server.
pub(super) const COMMANDS_MAX: usize = 100;
/// Commands for messages of one server.
pub(super) const MESSAGE_COMMANDS_MAX: usize = 15;

/// The verb that works on a message, and on nothing else.
const ON_MESSAGE: &str = "mark_message";

/// The verbs with power over runs and definitions, in words. A command with one of them and no `allow` would be everybody's.
const GUARDED: [(&str, &str); 8] = [
    ("start_run", "start a run"),
    ("pause_run", "pause a run"),
    ("resume_run", "let a paused run go on"),
    ("abort_run", "abort a run"),
    ("close_run", "close a run and with it its way back"),
    ("rollback_run", "ask for a rollback"),
    ("break_glass", "open a gate without its sign-off"),
    ("reload_definitions", "put other definitions into use"),
];

/// What is known of the runbooks when commands are checked.
pub(super) struct Known<'c> {
    pub(super) runbooks: &'c [Runbook],
    /// Every name that a runbook file gives, broken files included, so that one mistake is told once.
    pub(super) names: &'c [String],
}

pub(super) fn check(root: &Node, context: &CheckContext, known: &Known<'_>, report: &mut Report<'_>) {
    let check = CommandCheck { context, known };
    check_name(root.get("command"), "command", report);
    check_help(root.get("help"), report);
    check_trigger(root, report);
    let subcommands = root.get("subcommands").map(Node::items).unwrap_or_default();
    if subcommands.is_empty() {
        if root.get("do").is_none() {
            report.error(root.span.clone(), "this command does nothing").help("give it `do`, or `subcommands` that have one");
        }
        check.verb_holder(root, report);
    } else {
        for key in ["do", "allow", "options"] {
            if let Some(entry) = root.entry(key) {
                let help = "Discord offers either the command itself or its subcommands: move it into one of them";
                report.error(entry.key_span.clone(), format!("`{key}` beside `subcommands`")).help(help);
            }
        }
        check_list_length(root.get("subcommands"), "subcommands", report);
        check_unique(subcommands, "subcommand", report);
        for subcommand in subcommands {
            check_name(subcommand.get("name"), "subcommand", report);
            check_help(subcommand.get("help"), report);
            check.verb_holder(subcommand, report);
        }
    }
    let size = registered_size(root);
    if size > COMMAND_LEN_MAX {
        let message = format!("the command has {size} characters of names, texts and choices, Discord takes {COMMAND_LEN_MAX}");
        report.error(root.span.clone(), message).help("shorten the help texts");
    }
}

struct CommandCheck<'c> {
    context: &'c CheckContext,
    known: &'c Known<'c>,
}

impl CommandCheck<'_> {
    /// A command without subcommands, or a subcommand.
    fn verb_holder(&self, node: &Node, report: &mut Report<'_>) {
        for role in node.get("allow").map(Node::items).unwrap_or_default() {
            step::check_role(Some(role), self.context, report);
        }
        check_guarded(node, report);
        let options = node.get("options").map(Node::items).unwrap_or_default();
        check_list_length(node.get("options"), "options", report);
        check_unique(options, "option", report);
        let mut optional_seen = false;
        for option in options {
            check_option(option, report);
            let required = option.get("required").and_then(Node::bool) == Some(true);
            if required && optional_seen {
                let help = "Discord wants required options first";
                report.error(option.span.clone(), "a required option after an optional one").help(help);
            }
            optional_seen |= !required;
        }
        if let Some(verb) = node.get("do") {
            // A verb without arguments stands alone.
            if verb.text() == Some(ON_MESSAGE) && !is_on_message(node) {
                let help = "give the command `on: message` and a `title`";
                report.error(verb.span.clone(), format!("`{ON_MESSAGE}` works on a message")).help(help);
            }
            let names =
                Names { options: options.iter().filter_map(|option| option.get("name")?.text()).collect(), ..Names::default() };
            references::check_templates(verb, &names, &View::of("a command", OPTIONS_ONLY), report);
            self.verb(verb, options, report);
        }
    }

    fn verb(&self, verb: &Node, options: &[Node], report: &mut Report<'_>) {
        let Some(entry) = verb.entries().first() else { return };
        for (key, wanted) in ARGUMENT_TYPES {
            if let Some((value, option)) = entry.value.get(key).and_then(|value| Some((value, named_option(value, options)?))) {
                let kind = kind_of(option);
                if kind != wanted {
                    let message = format!("`{key}` takes an option of the type `{wanted}`, this one is `{kind}`");
                    report.error(value.span.clone(), message).help(format!("give the option `type: {wanted}`"));
                }
            }
        }
        let severities = Severity::ALL.map(Severity::as_str);
        let roles = ResponderRole::ALL.map(ResponderRole::as_str);
        for (key, offered) in [("mode", ["live", "dry_run"].as_slice()), ("severity", &severities), ("role", &roles)] {
            if let Some(value) = entry.value.get(key) {
                check_word(key, value, offered, options, report);
            }
        }
        let Some((node, name)) = entry.value.get("runbook").and_then(|node| Some((node, node.text()?))) else { return };
        if !step::is_literal(name) {
            return;
        }
        match self.known.runbooks.iter().find(|runbook| runbook.runbook.as_str() == name) {
            Some(runbook) => {
                for parameter in entry.value.get("parameters").map(Node::entries).unwrap_or_default() {
                    check_parameter(parameter, runbook, options, report);
                }
            }
            None if self.known.names.iter().any(|known| known == name) => {}
            None => {
                let names = self.known.names.iter().map(String::as_str);
                report.error(node.span.clone(), format!("unknown runbook `{name}`")).suggest(name, names);
            }
        }
    }
}

fn check_guarded(holder: &Node, report: &mut Report<'_>) {
    let Some(verb) = holder.get("do") else { return };
    // A verb without arguments stands alone, or before a colon with nothing behind it.
    let name = verb.text().or_else(|| verb.entries().first().map(|entry| entry.key.as_str()));
    let guarded = GUARDED.iter().find(|(guarded, _)| Some(*guarded) == name);
    let named = !holder.get("allow").map(Node::items).unwrap_or_default().is_empty();
    if let (Some((_, power)), false) = (guarded, named) {
        let message = format!("without `allow`, everybody in the server could {power}");
        report.error(verb.span.clone(), message).help("name the roles that may, e.g. `allow: [operator]`");
    }
}

/// Which option type an argument takes, if it is an option.
const ARGUMENT_TYPES: [(&str, &str); 8] = [
    ("runbook", "runbook"),
    ("run", "run"),
    ("rollback", "rollback"),
    ("at", "instant"),
    ("incident", "incident"),
    ("severity", "severity"),
    ("person", "user"),
    ("due", "date"),
];

fn is_on_message(root: &Node) -> bool {
    root.get("on").and_then(Node::text) == Some("message")
}

/// A command for messages has a title and nothing to fill in; a slash command has neither.
fn check_trigger(root: &Node, report: &mut Report<'_>) {
    if !is_on_message(root) {
        if let Some(entry) = root.entry("title") {
            let help = "a slash command is called by `command`; add `on: message` if it is for messages";
            report.error(entry.key_span.clone(), "a slash command has no `title`").help(help);
        }
        return;
    }
    match root.get("title").and_then(|node| Some((node, node.text()?))) {
        Some((node, title)) if !(1..=NAME_LEN_MAX).contains(&title.trim().chars().count()) => {
            report.error(node.span.clone(), format!("a title has 1 to {NAME_LEN_MAX} characters"));
        }
        Some(_) => {}
        None => {
            let help = "add `title`: what people choose from the menu of a message";
            report.error(root.span.clone(), "a command for messages has no `title`").help(help);
        }
    }
    for key in ["subcommands", "options"] {
        if let Some(entry) = root.entry(key) {
            let help = "it is chosen from a menu, and nothing can be typed";
            report.error(entry.key_span.clone(), format!("a command for messages has no `{key}`")).help(help);
        }
    }
    if let Some(verb) = root.get("do").filter(|verb| verb.text() != Some(ON_MESSAGE)) {
        report.error(verb.span.clone(), format!("a command for messages does `{ON_MESSAGE}`, nothing else"));
    }
}

fn check_parameter(entry: &super::tree::Entry, runbook: &Runbook, options: &[Node], report: &mut Report<'_>) {
    let Some(parameter) = runbook.parameters.get(entry.key.as_str()) else {
        let message = format!("the runbook `{}` has no parameter `{}`", runbook.runbook, entry.key);
        let known = runbook.parameters.keys().map(crate::domain::ParameterName::as_str);
        report.error(entry.key_span.clone(), message).suggest(&entry.key, known);
        return;
    };
    if let Some(option) = named_option(&entry.value, options) {
        if let Err((message, help)) = fits(option, parameter) {
            report.error(entry.value.span.clone(), message).help(help);
        }
    } else if let Some(text) = entry.value.text().filter(|text| step::is_literal(text))
        && let Err(message) = parameter.parse_value(text)
    {
        report.error(entry.value.span.clone(), format!("the value does not fit the parameter: {message}"));
    }
}

/// Whether what an option can hold is what the parameter wants; else what is wrong, and what to do.
fn fits(option: &Node, parameter: &Parameter) -> Result<(), (String, String)> {
    let kind = kind_of(option);
    let wanted = match parameter.kind {
        ParameterKind::String => return Ok(()),
        ParameterKind::Choice => return choices_fit(option, kind, parameter),
        ParameterKind::Integer => "integer",
        ParameterKind::Boolean => "boolean",
        ParameterKind::Duration => "duration",
        ParameterKind::Instant => "instant",
    };
    if kind == wanted {
        return Ok(());
    }
    Err((
        format!("the parameter is of the type `{wanted}`, the option of the type `{kind}`"),
        format!("give the option `type: {wanted}`"),
    ))
}

fn choices_fit(option: &Node, kind: &str, parameter: &Parameter) -> Result<(), (String, String)> {
    let offered = option.get("choices").map(Node::items).unwrap_or_default();
    let help = format!("give the option `choices: [{}]`", parameter.choices.join(", "));
    if kind != "string" || offered.is_empty() {
        return Err(("the parameter is a choice, the option is not".to_owned(), help));
    }
    let foreign = offered.iter().filter_map(Node::text).find(|text| !parameter.choices.iter().any(|choice| choice == text));
    foreign.map_or(Ok(()), |text| Err((format!("the option offers `{text}`, which the parameter does not know"), help)))
}

fn check_option(option: &Node, report: &mut Report<'_>) {
    check_name(option.get("name"), "option", report);
    check_help(option.get("help"), report);
    let kind = kind_of(option);
    let choices = option.get("choices");
    if let Some(entry) = option.entry("choices").filter(|_| !matches!(kind, "string" | "integer")) {
        report.error(entry.key_span.clone(), format!("`choices` belongs to the types `string` and `integer`, this is `{kind}`"));
    }
    if let Some(entry) = option.entry("kinds").filter(|_| kind != "runbook") {
        report.error(entry.key_span.clone(), format!("`kinds` belongs to the type `runbook`, this is `{kind}`"));
    }
    check_list_length(choices, "choices", report);
    let texts = choices.map(Node::items).unwrap_or_default();
    for (index, choice) in texts.iter().enumerate() {
        let Some(text) = choice.text() else { continue };
        if !(1..=CHOICE_LEN_MAX).contains(&text.chars().count()) {
            report.error(choice.span.clone(), format!("a choice has 1 to {CHOICE_LEN_MAX} characters"));
        }
        if kind == "integer" && text.parse::<i64>().is_err() {
            report.error(choice.span.clone(), format!("`{text}` is not a whole number"));
        }
        if texts[..index].iter().any(|other| other.text() == Some(text)) {
            report.error(choice.span.clone(), format!("the choice `{text}` is given twice"));
        }
    }
    check_default(option, kind, texts, report);
}

fn check_default(option: &Node, kind: &str, choices: &[Node], report: &mut Report<'_>) {
    let Some(default) = option.get("default") else { return };
    if option.get("required").and_then(Node::bool) == Some(true) {
        report.error(default.span.clone(), "a required option needs no default").help("remove one of the two");
    }
    let given = default.to_json();
    let text = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
    let offered: Vec<&str> = choices.iter().filter_map(Node::text).collect();
    if !offered.is_empty() && !offered.contains(&text.as_str()) {
        report.error(default.span.clone(), format!("the default `{text}` is none of the choices")).suggest(&text, offered);
        return;
    }
    let severities = Severity::ALL.map(Severity::as_str);
    if kind == "severity" && !severities.contains(&text.as_str()) {
        report.error(default.span.clone(), format!("the default `{text}` is not a severity")).suggest(&text, severities);
    }
    // Moments are read in more ways than a parameter's, by the clock of the day: not checked here.
    let as_parameter = match kind {
        "integer" => ParameterKind::Integer,
        "boolean" => ParameterKind::Boolean,
        "duration" => ParameterKind::Duration,
        _ => return,
    };
    let parameter = Parameter {
        kind: as_parameter,
        help: String::new(),
        pattern: None,
        min: None,
        max: None,
        choices: Vec::new(),
        default: None,
    };
    if let Err(message) = parameter.check_value(&given) {
        report.error(default.span.clone(), format!("the default does not fit the option: {message}"));
    }
}

/// An argument that is one of a few words.
fn check_word(key: &str, value: &Node, offered: &[&str], options: &[Node], report: &mut Report<'_>) {
    if let Some(option) = named_option(value, options) {
        // An option of its own type can hold nothing else; that it has this type is checked with the others.
        if ARGUMENT_TYPES.iter().any(|(known, _)| *known == key) {
            return;
        }
        let choices = option.get("choices").map(Node::items).unwrap_or_default();
        let known = |node: &Node| node.text().is_some_and(|text| offered.contains(&text));
        if choices.is_empty() || !choices.iter().all(known) {
            let help = format!("give the option `choices: [{}]`", offered.join(", "));
            report.error(value.span.clone(), format!("`{key}` is one of {}", quoted_list(offered))).help(help);
        }
    } else if let Some(text) = value.text().filter(|text| step::is_literal(text) && !offered.contains(text)) {
        report.error(value.span.clone(), format!("unknown {key} `{text}`")).suggest(text, offered.iter().copied());
    }
}

/// The option that a value is exactly, as in `"{{ options.at }}"`.
fn named_option<'o>(value: &Node, options: &'o [Node]) -> Option<&'o Node> {
    let template = Template::parse(value.text()?).ok().filter(Template::is_single_expression)?;
    let mut references = template.references().iter();
    let (only, None) = (references.next()?, references.next()) else { return None };
    let name = (only.root == "options").then(|| only.first()).flatten()?;
    options.iter().find(|option| option.get("name").and_then(Node::text) == Some(name))
}

fn kind_of(option: &Node) -> &str {
    option.get("type").and_then(Node::text).unwrap_or("string")
}

fn check_name(node: Option<&Node>, what: &str, report: &mut Report<'_>) {
    let Some((node, name)) = node.and_then(|node| Some((node, node.text()?))) else { return };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !(1..=NAME_LEN_MAX).contains(&name.len()) || !name.chars().all(allowed) {
        let help = format!("use 1 to {NAME_LEN_MAX} lower-case letters, digits, `-` and `_`");
        report.error(node.span.clone(), format!("`{name}` is not a valid {what} name")).help(help);
    }
}

fn check_help(node: Option<&Node>, report: &mut Report<'_>) {
    let Some((node, help)) = node.and_then(|node| Some((node, node.text()?))) else { return };
    let length = help.chars().count();
    if !(1..=HELP_LEN_MAX).contains(&length) {
        report.error(node.span.clone(), format!("a help text has 1 to {HELP_LEN_MAX} characters, this one has {length}"));
    }
}

fn check_list_length(node: Option<&Node>, what: &str, report: &mut Report<'_>) {
    let Some(node) = node else { return };
    if let Content::List(list) = &node.value
        && list.len() > LIST_LEN_MAX
    {
        report.error(node.span.clone(), format!("{} {what}, Discord takes {LIST_LEN_MAX}", list.len()));
    }
}

fn check_unique(nodes: &[Node], what: &str, report: &mut Report<'_>) {
    let names: Vec<&Node> = nodes.iter().filter_map(|node| node.get("name")).collect();
    for (index, node) in names.iter().enumerate() {
        if let Some(name) = node.text().filter(|name| names[..index].iter().any(|other| other.text() == Some(name))) {
            report.error(node.span.clone(), format!("the {what} name `{name}` is used twice"));
        }
    }
}

/// What Discord counts: names, descriptions and choice values, at every level.
fn registered_size(node: &Node) -> usize {
    let length = |key: &str| node.get(key).and_then(Node::text).map_or(0, |text| text.chars().count());
    let nested = |key: &str| node.get(key).map(Node::items).unwrap_or_default().iter().map(registered_size).sum::<usize>();
    // A choice is registered under its value as its name.
    let choices = node.get("choices").map(Node::items).unwrap_or_default();
    let choices: usize = choices.iter().filter_map(Node::text).map(|text| 2 * text.chars().count()).sum();
    length("command") + length("name") + length("help") + choices + nested("subcommands") + nested("options")
}

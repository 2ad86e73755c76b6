//! Whether a tree has the shape that a JSON Schema asks for: every mistake, each at its place.
//!
//! The schemas are those that editors get, so that editor and bot agree. Only the part of JSON Schema that
//! schemars writes for our types is understood. Names, spans and the like are recognised by the name of
//! their definition and read by their own parser, whose message says more than a pattern does.

use serde_json::Value;

use super::diagnostics::{Report, quoted_list};
use super::tree::{Content, Entry, Node};
use crate::domain::runbook::OnFailure;
use crate::domain::{
    ActionName, Duration, Offset, ParameterName, PhaseName, RoleName, RollbackName, RunbookName, StepName, TargetName,
};
use crate::expression::Template;

/// Checks a tree against a schema.
pub(super) struct Shape<'s, 'a, 'r> {
    /// The schema's root, where `$defs` stand.
    pub(super) root: &'s Value,
    /// Whether a template may stand for a value of any type.
    pub(super) templates: bool,
    pub(super) report: &'a mut Report<'r>,
}

impl<'s> Shape<'s, '_, '_> {
    pub(super) fn check(&mut self, node: &Node, schema: &'s Value) {
        let (schema, name) = self.resolve(schema);
        if self.templates && is_template(node) {
            return;
        }
        if let Some(alternatives) = alternatives(schema) {
            return self.check_alternatives(node, alternatives);
        }
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|wanted| is_of_type(node, wanted)) {
            return self.wrong_type(node, &types, name);
        }
        match &node.value {
            Content::Map(entries) => self.check_map(node, entries, schema),
            Content::List(items) => self.check_list(node, items, schema),
            Content::Text(text) => self.check_text(node, text, schema, name),
            Content::Number(number) => self.check_number(node, number, schema),
            Content::Null | Content::Bool(_) => {}
        }
    }

    /// Follows `$ref`; with the definition's name, if there was one.
    fn resolve(&self, mut schema: &'s Value) -> (&'s Value, Option<&'s str>) {
        let mut name = None;
        while let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
            name = Some(target);
            match self.root.get("$defs").and_then(|defs| defs.get(target)) {
                Some(definition) => schema = definition,
                None => break,
            }
        }
        (schema, name)
    }

    fn check_alternatives(&mut self, node: &Node, alternatives: &'s [Value]) {
        let null = |schema: &&Value| schema.get("type").and_then(Value::as_str) == Some("null");
        let real: Vec<&'s Value> = alternatives.iter().filter(|schema| !null(schema)).collect();
        if let [only] = real.as_slice() {
            return self.check(node, only);
        }
        let mut words: Vec<&str> = Vec::new();
        for schema in real {
            let (schema, _) = self.resolve(schema);
            let constants = constants(schema);
            if constants.iter().any(|word| node.text() == Some(word)) {
                return;
            }
            words.extend(constants);
            if let Some(keys) = schema.get("properties").and_then(Value::as_object) {
                if keys.keys().any(|key| node.get(key).is_some()) {
                    return self.check(node, schema);
                }
                words.extend(keys.keys().map(String::as_str));
            } else if types(schema).iter().any(|wanted| is_of_type(node, wanted)) && constants_of(schema).is_none() {
                return self.check(node, schema);
            }
        }
        match (node.text(), node.entries().first()) {
            (Some(text), _) => self.report.error(node.span.clone(), format!("unknown value `{text}`")).suggest(text, words),
            (None, Some(entry)) if words.contains(&entry.key.as_str()) => {
                let message = format!("`{}` takes nothing", entry.key);
                self.report.error(entry.key_span.clone(), message).help(format!("write the word alone: `{}`", entry.key));
            }
            (None, Some(entry)) => {
                self.report.error(entry.key_span.clone(), format!("unknown key `{}`", entry.key)).suggest(&entry.key, words);
            }
            (None, None) => self
                .report
                .error(node.span.clone(), format!("expected one of {}, found {}", quoted_list(&words), node.describe()))
                .help("see the JSON Schema that `pointsman schema` writes"),
        }
    }

    fn check_map(&mut self, node: &Node, entries: &[Entry], schema: &'s Value) {
        let properties = schema.get("properties").and_then(Value::as_object);
        // Maps from names: schemars writes the names' pattern. That a key is a name is checked with what it names.
        let named = schema.get("patternProperties").and_then(Value::as_object).and_then(|patterns| patterns.values().next());
        for entry in entries {
            if let Some(schema) = named {
                self.check(&entry.value, schema);
                continue;
            }
            match (properties.and_then(|properties| properties.get(&entry.key)), schema.get("additionalProperties")) {
                (Some(property), _) => self.check(&entry.value, property),
                (None, Some(Value::Bool(false))) => {
                    let known = properties.into_iter().flat_map(|properties| properties.keys().map(String::as_str));
                    self.report.error(entry.key_span.clone(), format!("unknown key `{}`", entry.key)).suggest(&entry.key, known);
                }
                (None, Some(rest @ Value::Object(_))) => self.check(&entry.value, rest),
                (None, _) => {}
            }
        }
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if node.get(required).is_none() {
                let what = properties.and_then(|p| p.get(required)).and_then(|p| p.get("description")).and_then(Value::as_str);
                let error = self.report.error(node.span.clone(), format!("missing key `{required}`"));
                if let Some(what) = what {
                    error.help(format!("`{required}`: {what}"));
                }
            }
        }
    }

    fn check_list(&mut self, node: &Node, items: &[Node], schema: &'s Value) {
        if let Some(schema) = schema.get("items") {
            for item in items {
                self.check(item, schema);
            }
        }
        let count = items.len() as u64;
        if schema.get("minItems").and_then(Value::as_u64).is_some_and(|min| count < min) {
            self.report.error(node.span.clone(), "the list has too few items");
        }
        if schema.get("maxItems").and_then(Value::as_u64).is_some_and(|max| count > max) {
            self.report.error(node.span.clone(), "the list has too many items");
        }
    }

    fn check_text(&mut self, node: &Node, text: &str, schema: &'s Value, name: Option<&str>) {
        if let Some(words) = constants_of(schema) {
            if !words.contains(&text) {
                self.report.error(node.span.clone(), format!("unknown value `{text}`")).suggest(text, words);
            }
            return;
        }
        match name.and_then(|name| check_named(name, text)) {
            Some(Ok(())) => {}
            Some(Err(message)) => {
                self.report.error(node.span.clone(), message);
            }
            None => {
                let pattern = schema.get("pattern").and_then(Value::as_str);
                let matches = |pattern: &str| regex::Regex::new(pattern).map_or(true, |regex| regex.is_match(text));
                if let Some(pattern) = pattern.filter(|pattern| !matches(pattern)) {
                    self.report.error(node.span.clone(), format!("`{text}` does not match the pattern `{pattern}`"));
                }
            }
        }
    }

    fn check_number(&mut self, node: &Node, number: &serde_json::Number, schema: &Value) {
        let Some(value) = number.as_f64() else { return };
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        if let Some(min) = bound("minimum").filter(|min| value < *min) {
            self.report.error(node.span.clone(), format!("{number} is less than {min}"));
        }
        if let Some(max) = bound("maximum").filter(|max| value > *max) {
            self.report.error(node.span.clone(), format!("{number} is more than {max}"));
        }
    }

    fn wrong_type(&mut self, node: &Node, wanted: &[&str], name: Option<&str>) {
        let wanted: Vec<&str> = wanted.iter().filter(|wanted| **wanted != "null").map(|wanted| word_for(wanted)).collect();
        let help = match (&node.value, wanted.as_slice()) {
            (Content::Number(_) | Content::Bool(_), ["a text"]) => {
                let source = self.report.source().get(node.span.clone()).unwrap_or_default();
                Some(format!("quote it: `\"{source}\"`"))
            }
            (Content::Text(text), ["true or false"]) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => Some("write `true`".to_owned()),
                "no" | "off" | "n" => Some("write `false`".to_owned()),
                _ => None,
            },
            (Content::Map(_), ["a text"]) => Some("quote a template: `key: \"{{ ... }}\"`".to_owned()),
            _ => name.filter(|name| *name == "Duration").map(|_| "write a span such as `30s`, `5m` or `1h30m`".to_owned()),
        };
        let message = format!("expected {}, found {}", wanted.join(" or "), node.describe());
        let error = self.report.error(node.span.clone(), message);
        if let Some(help) = help {
            error.help(help);
        }
    }
}

/// Reads a text by the parser of the type that a definition's name stands for; `None` for other names.
fn check_named(name: &str, text: &str) -> Option<Result<(), String>> {
    fn read<T: std::str::FromStr<Err: ToString>>(text: &str) -> Result<(), String> {
        text.parse::<T>().map(|_| ()).map_err(|error| error.to_string())
    }
    let read = match name {
        "RunbookName" => read::<RunbookName>,
        "PhaseName" => read::<PhaseName>,
        "StepName" => read::<StepName>,
        "RollbackName" => read::<RollbackName>,
        "RoleName" => read::<RoleName>,
        "TargetName" => read::<TargetName>,
        "ParameterName" => read::<ParameterName>,
        "ActionName" => read::<ActionName>,
        "Duration" => read::<Duration>,
        "Offset" => read::<Offset>,
        "OnFailure" => read::<OnFailure>,
        _ => return None,
    };
    Some(read(text))
}

/// A text with something to evaluate in it, or one that tries to have.
fn is_template(node: &Node) -> bool {
    node.text().is_some_and(|text| Template::parse(text).map_or(text.contains("{{"), |template| !template.is_literal()))
}

fn alternatives(schema: &Value) -> Option<&[Value]> {
    let list = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    Some(list.as_slice())
}

/// The texts that a schema allows, if it lists them.
fn constants_of(schema: &Value) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![word]);
    }
    Some(schema.get("enum")?.as_array()?.iter().filter_map(Value::as_str).collect())
}

fn constants(schema: &Value) -> Vec<&str> {
    constants_of(schema).unwrap_or_default()
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_of_type(node: &Node, wanted: &str) -> bool {
    match (&node.value, wanted) {
        (Content::Null, "null") | (Content::Bool(_), "boolean") | (Content::Number(_), "number") => true,
        (Content::Text(_), "string") | (Content::List(_), "array") | (Content::Map(_), "object") => true,
        (Content::Number(number), "integer") => number.is_i64() || number.is_u64(),
        _ => false,
    }
}

fn word_for(json_type: &str) -> &str {
    match json_type {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        other => other,
    }
}

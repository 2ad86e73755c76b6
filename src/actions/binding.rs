//! Binding the templates of a step's `with`: at planning those over `params` and `targets`, the others when the
//! step starts.
//!
//! Invariant: **data is never a template.** What a parameter's value looks like decides nothing: a value that
//! itself holds template marks is not written into the plan, its template stays and is bound late; and what a
//! template comes out as is never read as one again. Keys that hold code or the names of secrets and targets are
//! taken as they are written.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::domain::ActionSpec;
use crate::expression::{ExpressionError, Scope, Template};

/// The roots that are known when a run is planned.
const AT_PLANNING: [&str; 2] = ["params", "targets"];

/// A step's `with` as the plan holds it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    pub(super) with: Map<String, Value>,
    /// The texts that stay templates, as written, each once, in order.
    pub(super) late: Vec<String>,
}

/// Binds what `scope` (`params` and `targets`) can bind. With `engine_reads`, nobody binds the rest later (a
/// human step): then a template over anything else is an error, and values with template marks are harmless.
pub(super) fn bind_early(
    spec: &ActionSpec,
    with: impl IntoIterator<Item = (String, Value)>,
    scope: &Scope,
    engine_reads: bool,
) -> Result<Planned, String> {
    let mut binder = Early { scope, engine_reads, late: Vec::new() };
    let mut bound = Map::new();
    for (key, value) in with {
        let value =
            if is_written_out(spec, &key) { value } else { binder.bind(&value).map_err(|error| format!("`{key}`: {error}"))? };
        bound.insert(key, value);
    }
    let mut seen = BTreeSet::new();
    binder.late.retain(|text| seen.insert(text.clone()));
    Ok(Planned { with: bound, late: binder.late })
}

/// Binds everything that is left, when the step starts.
pub(super) fn bind_late(
    spec: &ActionSpec,
    with: impl IntoIterator<Item = (String, Value)>,
    scope: &Scope,
) -> Result<Value, String> {
    let mut bound = Map::new();
    for (key, value) in with {
        let taken_as_is = is_written_out(spec, &key) || spec.file_keys.contains(&key);
        let value = if taken_as_is { value } else { bind(&value, scope).map_err(|error| format!("`{key}`: {error}"))? };
        bound.insert(key, value);
    }
    Ok(Value::Object(bound))
}

fn is_written_out(spec: &ActionSpec, key: &str) -> bool {
    let named = |keys: &[String]| keys.iter().any(|name| name == key);
    named(&spec.literal_keys) || named(&spec.secret_keys) || spec.target_keys.iter().any(|(name, _)| name == key)
}

struct Early<'a> {
    scope: &'a Scope,
    engine_reads: bool,
    late: Vec<String>,
}

impl Early<'_> {
    fn bind(&mut self, value: &Value) -> Result<Value, ExpressionError> {
        match value {
            Value::String(text) => self.bind_text(text),
            Value::Array(items) => items.iter().map(|item| self.bind(item)).collect(),
            Value::Object(map) => {
                let entries = map.iter().map(|(key, value)| Ok((key.clone(), self.bind(value)?)));
                entries.collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
        }
    }

    fn bind_text(&mut self, text: &str) -> Result<Value, ExpressionError> {
        let template = Template::parse(text)?;
        if template.is_literal() {
            return Ok(Value::from(text));
        }
        let early = template.references().iter().all(|reference| AT_PLANNING.contains(&reference.root.as_str()));
        if early || self.engine_reads {
            let bound = template.evaluate(self.scope)?;
            if self.engine_reads || !holds_marks(&bound) {
                return Ok(bound);
            }
        }
        self.late.push(text.to_owned());
        Ok(Value::from(text))
    }
}

fn holds_marks(value: &Value) -> bool {
    match value {
        Value::String(text) => ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)),
        Value::Array(items) => items.iter().any(holds_marks),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('{') || holds_marks(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn bind(value: &Value, scope: &Scope) -> Result<Value, ExpressionError> {
    crate::expression::render_value(value, scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::Registry;
    use serde_json::json;

    fn spec(name: &str) -> ActionSpec {
        Registry::standard().specs().into_iter().find(|spec| spec.name.as_str() == name).unwrap()
    }

    fn entries(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_known_is_bound_and_the_rest_is_listed() {
        let scope =
            Scope::new().with("params", json!({ "name": "a b", "rows": 5 })).with("targets", json!({ "db": { "host": "h" } }));
        let with = entries(json!({
            "argv": ["copy", "{{ params.name }}", "{{ run.dir }}/{{ params.name }}", "{{ targets.db.host }}"],
            "env": { "ROWS": "{{ params.rows }}", "AGAIN": "{{ run.dir }}/{{ params.name }}" },
        }));
        let planned = bind_early(&spec("shell.run"), with, &scope, false).unwrap();
        assert_eq!(planned.with["argv"], json!(["copy", "a b", "{{ run.dir }}/{{ params.name }}", "h"]));
        assert_eq!(planned.with["env"]["ROWS"], json!(5));
        assert_eq!(planned.late, ["{{ run.dir }}/{{ params.name }}"]);
        let scope = scope.with("run", json!({ "dir": "/d" }));
        let bound = bind_late(&spec("shell.run"), planned.with, &scope).unwrap();
        assert_eq!(bound["argv"], json!(["copy", "a b", "/d/a b", "h"]));
    }

    #[test]
    fn a_parameter_that_looks_like_a_template_stays_text() {
        let evil = "{{ steps['secret'].result.stdout }}{% for x in y %}";
        let scope = Scope::new().with("params", json!({ "name": evil }));
        let with = entries(json!({ "argv": ["echo", "{{ params.name }}", "x{{ params.name }}"] }));
        let planned = bind_early(&spec("shell.run"), with, &scope, false).unwrap();
        assert_eq!(planned.late, ["{{ params.name }}", "x{{ params.name }}"]);
        let bound = bind_late(&spec("shell.run"), planned.with, &scope).unwrap();
        assert_eq!(bound["argv"], json!(["echo", evil, format!("x{evil}")]));
    }

    #[test]
    fn code_is_taken_as_it_is_written() {
        let sql = "SELECT '{{ params.name }}'";
        let with = entries(json!({ "target": "db", "sql": sql }));
        let planned = bind_early(&spec("sql.query"), with, &Scope::new(), false).unwrap();
        assert_eq!(bind_late(&spec("sql.query"), planned.with, &Scope::new()).unwrap()["sql"], sql);
    }

    #[test]
    fn a_question_to_people_can_only_use_what_is_known_at_planning() {
        let scope = Scope::new().with("params", json!({ "name": "{{x}}" }));
        let question = |text: &str| entries(json!({ "question": text, "owner": "dba" }));
        let planned = bind_early(&spec("human.confirm"), question("Is {{ params.name }} up?"), &scope, true).unwrap();
        assert_eq!(planned.with["question"], "Is {{x}} up?");
        let error = bind_early(&spec("human.confirm"), question("{{ steps['a'].result.n }}?"), &scope, true).unwrap_err();
        assert!(error.starts_with("`question`:"), "{error}");
    }
}

//! JSON Schemas of the definition files, for editors and for the shape check.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::domain::ActionSpec;
use crate::domain::command::Command;
use crate::domain::runbook::Runbook;

/// The schemas that editors use for completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Schemas {
    /// Of a file in `runbooks/`; it knows what each action accepts.
    pub runbook: Value,
    /// Of a file in `commands/`.
    pub command: Value,
}

/// The schemas, with the parameters of `actions` woven in.
#[must_use]
pub fn schemas(actions: &[ActionSpec]) -> Schemas {
    let mut runbook = of::<Runbook>();
    weave(&mut runbook, actions);
    Schemas { runbook, command: of::<Command>() }
}

/// The schema of a type of the domain.
pub(super) fn of<T: JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

/// Makes `with` depend on `action`: JSON Schema's `if`/`then`, once for each action.
fn weave(runbook: &mut Value, actions: &[ActionSpec]) {
    let Some(defs) = runbook.get_mut("$defs").and_then(Value::as_object_mut) else { return };
    let mut conditions = Vec::new();
    for action in actions {
        let mut parameters = action.parameters.clone();
        let own = parameters.as_object_mut().and_then(|schema| {
            schema.remove("$schema");
            schema.remove("$defs")
        });
        for (name, mut definition) in
            own.and_then(|own| if let Value::Object(own) = own { Some(own) } else { None }).unwrap_or_default()
        {
            adapt(&mut definition, action.name.as_str(), true);
            defs.insert(format!("{}.{name}", action.name), definition);
        }
        adapt(&mut parameters, action.name.as_str(), false);
        conditions.push(json!({
            "if": { "properties": { "action": { "const": action.name.as_str() } } },
            "then": { "properties": { "with": parameters } },
        }));
    }
    let known: Vec<Value> =
        actions.iter().map(|action| json!({ "const": action.name.as_str(), "description": action.summary })).collect();
    if let Some(step) = defs.get_mut("Step").and_then(Value::as_object_mut) {
        step.insert("allOf".to_owned(), Value::Array(conditions));
        if let Some(action) =
            step.get_mut("properties").and_then(|properties| properties.get_mut("action")).filter(|_| !known.is_empty())
        {
            *action = json!({ "description": "What it does.", "oneOf": known });
        }
    }
}

/// Points references at the woven definitions, and lets a template stand for anything that is no text.
fn adapt(schema: &mut Value, action: &str, may_be_template: bool) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/$defs/")
            {
                *target = format!("#/$defs/{action}.{name}");
            }
            for (key, value) in map.iter_mut() {
                let values_are_schemas = matches!(key.as_str(), "properties" | "$defs");
                match value {
                    Value::Object(inner) if values_are_schemas => {
                        inner.values_mut().for_each(|schema| adapt(schema, action, true))
                    }
                    Value::Object(_) if key != "default" => adapt(value, action, true),
                    Value::Array(list) => list.iter_mut().for_each(|schema| adapt(schema, action, false)),
                    _ => {}
                }
            }
            let plain =
                matches!(map.get("type").and_then(Value::as_str), Some("integer" | "number" | "boolean" | "array" | "object"))
                    || map.contains_key("enum")
                    || map.contains_key("pattern");
            if may_be_template && plain {
                let original = Value::Object(std::mem::take(map));
                let mut wrapped = Map::new();
                if let Some(description) = original.get("description") {
                    wrapped.insert("description".to_owned(), description.clone());
                }
                wrapped.insert("anyOf".to_owned(), json!([original, { "type": "string", "pattern": "\\{\\{.*\\}\\}" }]));
                *map = wrapped;
            }
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

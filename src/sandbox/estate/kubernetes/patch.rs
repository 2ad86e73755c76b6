//! The three patch formats of the Kubernetes API, as pure functions on JSON.

use serde_json::{Map, Value};

/// Why a patch cannot be applied; the object is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadPatch(pub(super) String);

/// Applies `patch` in the format that its content type names.
pub(super) fn apply(content_type: &str, object: &Value, patch: &Value) -> Result<Value, BadPatch> {
    let format = content_type.split(';').next().unwrap_or_default().trim();
    match format {
        "application/json-patch+json" => json_patch(object, patch),
        "application/merge-patch+json" => Ok(merge(object, patch)),
        "application/strategic-merge-patch+json" => strategic(object, patch, ""),
        _ => Err(BadPatch(format!("the patch format `{format}` is not supported"))),
    }
}

/// RFC 7396.
fn merge(object: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else {
        return patch.clone();
    };
    let mut merged = object.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        if change.is_null() {
            merged.shift_remove(name);
        } else {
            let former = merged.get(name).cloned().unwrap_or(Value::Null);
            merged.insert(name.clone(), merge(&former, change));
        }
    }
    Value::Object(merged)
}

/// The field by which the elements of a list are told apart; `None` for lists that are replaced as a whole.
/// Source: the `patchMergeKey` tags of the core and apps API types.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => Some("name"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        "conditions" => Some("type"),
        "ownerReferences" => Some("uid"),
        _ => None,
    }
}

/// Strategic merge: as RFC 7396, but lists of named things are merged by name, and `$patch` steers.
fn strategic(object: &Value, patch: &Value, field: &str) -> Result<Value, BadPatch> {
    match patch {
        Value::Object(changes) => strategic_object(object, changes),
        Value::Array(changes) => match merge_key(field) {
            Some(key) => strategic_list(object, changes, key),
            None => Ok(patch.clone()),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(patch.clone()),
    }
}

fn strategic_object(object: &Value, changes: &Map<String, Value>) -> Result<Value, BadPatch> {
    let mut merged = match changes.get("$patch").and_then(Value::as_str) {
        Some("replace") => Map::new(),
        Some("delete") => return Ok(Value::Object(Map::new())),
        _ => object.as_object().cloned().unwrap_or_default(),
    };
    for (name, change) in changes.iter().filter(|(name, _)| !name.starts_with('$')) {
        if change.is_null() {
            merged.shift_remove(name);
        } else {
            let former = merged.get(name).cloned().unwrap_or(Value::Null);
            merged.insert(name.clone(), strategic(&former, change, name)?);
        }
    }
    if let Some(Value::Array(kept)) = changes.get("$retainKeys") {
        merged.retain(|name, _| kept.iter().any(|key| key == name));
    }
    Ok(Value::Object(merged))
}

fn strategic_list(list: &Value, changes: &[Value], key: &str) -> Result<Value, BadPatch> {
    let replaces = changes.iter().any(|change| change.get("$patch").is_some_and(|patch| patch == "replace"));
    let mut merged = if replaces { Vec::new() } else { list.as_array().cloned().unwrap_or_default() };
    for change in changes.iter().filter(|change| !(replaces && change.get(key).is_none())) {
        let name = change.get(key).ok_or_else(|| BadPatch(format!("a list element lacks its merge key `{key}`")))?;
        let place = merged.iter().position(|element| element.get(key) == Some(name));
        let deletes = change.get("$patch").is_some_and(|patch| patch == "delete");
        match (place, deletes) {
            (Some(place), true) => _ = merged.remove(place),
            (None, true) => {}
            (Some(place), false) => merged[place] = strategic(&merged[place], change, "")?,
            (None, false) => merged.push(strategic(&Value::Null, change, "")?),
        }
    }
    Ok(Value::Array(merged))
}

/// RFC 6902: all operations or none.
fn json_patch(object: &Value, patch: &Value) -> Result<Value, BadPatch> {
    let operations = patch.as_array().ok_or_else(|| BadPatch("a JSON patch is a list of operations".to_owned()))?;
    let mut patched = object.clone();
    for operation in operations {
        let text = |name: &str| {
            operation.get(name).and_then(Value::as_str).ok_or_else(|| BadPatch(format!("an operation lacks `{name}`")))
        };
        let value = || operation.get("value").cloned().ok_or_else(|| BadPatch("an operation lacks `value`".to_owned()));
        let path = text("path")?;
        match text("op")? {
            "add" => put(&mut patched, path, value()?, true)?,
            "replace" => put(&mut patched, path, value()?, false)?,
            "remove" => _ = take(&mut patched, path)?,
            "test" if patched.pointer(path) == operation.get("value") => {}
            "test" => return Err(BadPatch(format!("the test of `{path}` failed"))),
            "copy" | "move" => {
                let from = text("from")?;
                let moved = if operation["op"] == "move" {
                    take(&mut patched, from)?
                } else {
                    patched.pointer(from).cloned().ok_or_else(|| missing(from))?
                };
                put(&mut patched, path, moved, true)?;
            }
            other => return Err(BadPatch(format!("unknown operation `{other}`"))),
        }
    }
    Ok(patched)
}

fn missing(path: &str) -> BadPatch {
    BadPatch(format!("there is nothing at `{path}`"))
}

/// The container that `path` ends in, and its last part, unescaped.
fn place<'a>(object: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), BadPatch> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| missing(path))?;
    let parent = object.pointer_mut(parent).ok_or_else(|| missing(path))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn put(object: &mut Value, path: &str, value: Value, add: bool) -> Result<(), BadPatch> {
    if path.is_empty() {
        *object = value;
        return Ok(());
    }
    match place(object, path)? {
        (Value::Object(fields), name) if add || fields.contains_key(&name) => _ = fields.insert(name, value),
        (Value::Array(elements), index) if add && index == "-" => elements.push(value),
        (Value::Array(elements), index) => match index.parse::<usize>() {
            Ok(index) if add && index <= elements.len() => elements.insert(index, value),
            Ok(index) if !add && index < elements.len() => elements[index] = value,
            Ok(_) | Err(_) => return Err(missing(path)),
        },
        _ => return Err(missing(path)),
    }
    Ok(())
}

fn take(object: &mut Value, path: &str) -> Result<Value, BadPatch> {
    match place(object, path)? {
        (Value::Object(fields), name) => fields.shift_remove(&name).ok_or_else(|| missing(path)),
        (Value::Array(elements), index) => match index.parse::<usize>() {
            Ok(index) if index < elements.len() => Ok(elements.remove(index)),
            Ok(_) | Err(_) => Err(missing(path)),
        },
        _ => Err(missing(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(format: &str, object: Value, patch: Value) -> Result<Value, BadPatch> {
        apply(&format!("application/{format}+json; charset=utf-8"), &object, &patch)
    }

    #[test]
    fn a_merge_patch_removes_with_null_and_replaces_lists() {
        let found =
            patched("merge-patch", json!({"a": {"b": 1, "c": 2}, "l": [1, 2]}), json!({"a": {"b": null, "d": 3}, "l": [9]}));
        assert_eq!(found, Ok(json!({"a": {"c": 2, "d": 3}, "l": [9]})));
    }

    #[test]
    fn a_strategic_patch_merges_named_elements() {
        let object = json!({"containers": [{"name": "app", "image": "a:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}], "args": ["x"]});
        let patch = json!({"containers": [{"name": "app", "image": "a:2", "env": [{"name": "B", "$patch": "delete"}, {"name": "C", "value": "3"}]}], "args": ["y"],
            "$setElementOrder/containers": [{"name": "app"}]});
        let expected = json!({"containers": [{"name": "app", "image": "a:2", "env": [{"name": "A", "value": "1"}, {"name": "C", "value": "3"}]}], "args": ["y"]});
        assert_eq!(patched("strategic-merge-patch", object, patch), Ok(expected));
    }

    #[test]
    fn a_json_patch_applies_as_a_whole_or_not() {
        let object = json!({"metadata": {"annotations": {"a/b": "1"}}, "l": [1, 2]});
        let patch = json!([{"op": "test", "path": "/l/0", "value": 1}, {"op": "replace", "path": "/metadata/annotations/a~1b", "value": "2"},
            {"op": "add", "path": "/l/-", "value": 3}, {"op": "remove", "path": "/l/0"}]);
        assert_eq!(
            patched("json-patch", object.clone(), patch),
            Ok(json!({"metadata": {"annotations": {"a/b": "2"}}, "l": [2, 3]}))
        );
        let failing = json!([{"op": "remove", "path": "/l/0"}, {"op": "replace", "path": "/nowhere", "value": 1}]);
        assert_eq!(patched("json-patch", object, failing), Err(BadPatch("there is nothing at `/nowhere`".to_owned())));
    }
}

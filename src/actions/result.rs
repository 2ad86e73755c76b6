//! Results as the journal takes them: masked and bounded.

use serde_json::{Map, Value, json};

use super::redact::Redactor;

/// The largest result, in bytes of JSON. It is journalled, and every later expression of the run reads it.
pub(super) const RESULT_BYTES_MAX: usize = 64 * 1024;

/// The value with every secret masked, in keys too.
pub(super) fn redacted(value: Value, redactor: &Redactor) -> Value {
    match value {
        Value::String(text) => Value::String(redactor.redact(&text)),
        Value::Array(items) => items.into_iter().map(|item| redacted(item, redactor)).collect(),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (redactor.redact(&key), redacted(value, redactor))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// The value, cut until it fits: long texts and lists first, then everything but plain values. A value that was
/// cut has `cut: true` beside what is left, so that a criterion over what is gone is red and not wrong.
pub(super) fn bounded(value: Value) -> Value {
    if size(&value) <= RESULT_BYTES_MAX {
        return value;
    }
    for (text_max, items_max) in [(8 * 1024, 200), (1024, 50), (200, 10)] {
        let cut = mark(shorten(&value, text_max, items_max));
        if size(&cut) <= RESULT_BYTES_MAX {
            return cut;
        }
    }
    let plain = |value: &Value| matches!(value, Value::Null | Value::Bool(_) | Value::Number(_));
    let map = value.as_object().cloned().unwrap_or_default();
    let left: Map<String, Value> = map.into_iter().filter(|(key, value)| key.len() < 100 && plain(value)).take(100).collect();
    mark(Value::Object(left))
}

fn size(value: &Value) -> usize {
    value.to_string().len()
}

fn mark(value: Value) -> Value {
    match value {
        Value::Object(mut map) => {
            map.insert("cut".to_owned(), Value::Bool(true));
            Value::Object(map)
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            json!({ "value": other, "cut": true })
        }
    }
}

fn shorten(value: &Value, text_max: usize, items_max: usize) -> Value {
    match value {
        Value::String(text) => Value::String(cut_text(text, text_max)),
        Value::Array(items) => items.iter().take(items_max).map(|item| shorten(item, text_max, items_max)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shorten(value, text_max, items_max))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The first `bytes_max` bytes, cut at a character, with a mark where something was left out.
pub(super) fn cut_text(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes_max)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_result_is_cut_and_says_so() {
        let rows: Vec<Value> = (0..5_000).map(|n| json!({ "id": n, "text": "x".repeat(100) })).collect();
        let cut = bounded(json!({ "rows": rows, "row_count": 5_000 }));
        assert!(size(&cut) <= RESULT_BYTES_MAX);
        assert_eq!((&cut["cut"], &cut["row_count"]), (&json!(true), &json!(5_000)));
        let wide: Map<String, Value> = (0..20_000).map(|n| (format!("k{n}"), json!(n))).collect();
        assert!(size(&bounded(Value::Object(wide))) <= RESULT_BYTES_MAX);
        let small = json!({ "a": 1 });
        assert_eq!(bounded(small.clone()), small);
    }

    #[test]
    fn secrets_are_masked_at_any_depth() {
        let redactor = Redactor::new(["hunter2".to_owned().into()]);
        let masked = redacted(json!({ "a": [{ "hunter2": "x hunter2" }], "n": 2 }), &redactor);
        assert_eq!(masked, json!({ "a": [{ "[redacted]": "x [redacted]" }], "n": 2 }));
    }
}

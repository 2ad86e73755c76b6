//! The virtual machine: minijinja with exactly the filters and tests that definitions may use.

use std::sync::LazyLock;

use minijinja::value::{Value as Jinja, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, filters, tests};
use serde_json::Value;

use super::{ExpressionError, Scope, TEXT_LEN_MAX};
use crate::domain::Duration;

/// Instructions that one evaluation may take: a criterion takes dozens, a loop over a thousand rows some ten thousand.
const FUEL: u64 = 200_000;

/// The filters of the language. `duration` and `seconds` are ours, the others are Jinja's.
pub(super) const FILTERS: [&str; 29] = [
    "abs",
    "bool",
    "default",
    "duration",
    "first",
    "float",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "round",
    "seconds",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "tojson",
    "trim",
];

/// The tests of the language (`is ...`).
pub(super) const TESTS: [&str; 16] = [
    "boolean",
    "defined",
    "endingwith",
    "eq",
    "ge",
    "gt",
    "in",
    "le",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "sequence",
    "startingwith",
    "string",
];

/// The filter that lowering puts behind every reference: what is not there stops the evaluation.
pub(super) const MUST_BE_THERE: &str = "_must_be_there";

static MACHINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut machine = Environment::empty();
    // Lowering makes references strict one by one; `is defined` and `default` need the rest lenient.
    machine.set_undefined_behavior(UndefinedBehavior::Chainable);
    machine.set_fuel(Some(FUEL));
    machine.set_auto_escape_callback(|_| AutoEscape::None);
    machine.set_formatter(|out, _, value| write_text(out, value));
    add_filters(&mut machine);
    add_tests(&mut machine);
    machine
});

fn add_filters(machine: &mut Environment<'static>) {
    machine.add_filter(MUST_BE_THERE, must_be_there);
    machine.add_filter("duration", duration);
    machine.add_filter("seconds", seconds);
    machine.add_filter("abs", filters::abs);
    machine.add_filter("bool", filters::bool);
    machine.add_filter("default", filters::default);
    machine.add_filter("first", filters::first);
    machine.add_filter("float", filters::float);
    machine.add_filter("int", filters::int);
    machine.add_filter("items", filters::items);
    machine.add_filter("join", filters::join);
    machine.add_filter("last", filters::last);
    machine.add_filter("length", filters::length);
    machine.add_filter("list", filters::list);
    machine.add_filter("lower", filters::lower);
    machine.add_filter("map", filters::map);
    machine.add_filter("max", filters::max);
    machine.add_filter("min", filters::min);
    machine.add_filter("reject", filters::reject);
    machine.add_filter("rejectattr", filters::rejectattr);
    machine.add_filter("replace", filters::replace);
    machine.add_filter("round", filters::round);
    machine.add_filter("select", filters::select);
    machine.add_filter("selectattr", filters::selectattr);
    machine.add_filter("sort", filters::sort);
    machine.add_filter("split", filters::split);
    machine.add_filter("string", filters::string);
    machine.add_filter("sum", filters::sum);
    machine.add_filter("tojson", tojson);
    machine.add_filter("trim", filters::trim);
}

fn add_tests(machine: &mut Environment<'static>) {
    machine.add_test("boolean", tests::is_boolean);
    machine.add_test("defined", tests::is_defined);
    machine.add_test("endingwith", tests::is_endingwith);
    machine.add_test("eq", is_equal);
    machine.add_test("ge", |a: Jinja, b: Jinja| in_order(&a, &b).map(|()| a >= b));
    machine.add_test("gt", |a: Jinja, b: Jinja| in_order(&a, &b).map(|()| a > b));
    machine.add_test("in", is_in);
    machine.add_test("le", |a: Jinja, b: Jinja| in_order(&a, &b).map(|()| a <= b));
    machine.add_test("lt", |a: Jinja, b: Jinja| in_order(&a, &b).map(|()| a < b));
    machine.add_test("mapping", tests::is_mapping);
    machine.add_test("ne", |a: Jinja, b: Jinja| is_equal(a, b).map(|equal| !equal));
    machine.add_test("none", tests::is_none);
    machine.add_test("number", tests::is_number);
    machine.add_test("sequence", tests::is_sequence);
    machine.add_test("startingwith", tests::is_startingwith);
    machine.add_test("string", tests::is_string);
}

/// Whether the machine takes a lowered text. Lowering adds parentheses, so what could be parsed may have become
/// too deep: that is to be known when the definition is checked, not when the gate stands open.
pub(super) fn check(source: &str, is_expression: bool) -> Result<(), ExpressionError> {
    let taken =
        if is_expression { MACHINE.compile_expression(source).map(drop) } else { MACHINE.template_from_str(source).map(drop) };
    taken.map_err(|_| ExpressionError::new("is nested too deeply: split it"))
}

/// Runs a lowered template.
pub(super) fn render(source: &str, scope: &Scope) -> Result<String, ExpressionError> {
    let template = MACHINE.template_from_str(source).map_err(|error| explain(&error))?;
    let text = template.render(context(scope)).map_err(|error| explain(&error))?;
    if text.len() > TEXT_LEN_MAX {
        return Err(ExpressionError::new(format!("comes out longer than {TEXT_LEN_MAX} bytes")));
    }
    Ok(text)
}

/// Runs a lowered expression.
pub(super) fn evaluate(source: &str, scope: &Scope) -> Result<Value, ExpressionError> {
    let expression = MACHINE.compile_expression(source).map_err(|error| explain(&error))?;
    let value = expression.eval(context(scope)).map_err(|error| explain(&error))?;
    if value.is_undefined() {
        return Err(ExpressionError::new("has no value"));
    }
    serde_json::to_value(&value).map_err(|_| ExpressionError::new("comes out as something that JSON cannot hold"))
}

fn context(scope: &Scope) -> Jinja {
    Jinja::from(minijinja::value::Serde(&scope.0))
}

/// The innermost message: minijinja wraps errors of filters in errors of lines that only exist after lowering.
fn explain(error: &Error) -> ExpressionError {
    match error.kind() {
        ErrorKind::OutOfFuel => ExpressionError::new("takes too much work: simplify it"),
        kind => ExpressionError::new(error.detail().map_or_else(|| kind.to_string(), str::to_owned)),
    }
}

/// Text as definitions expect it: JSON's spelling for everything that is not text.
fn write_text(out: &mut minijinja::Output<'_>, value: &Jinja) -> Result<(), Error> {
    let written = match value.kind() {
        ValueKind::String => out.write_str(value.as_str().unwrap_or_default()),
        ValueKind::None | ValueKind::Undefined => {
            let hint = "is null where text is wanted: give it a default, as in `{{ value | default('', true) }}`";
            return Err(Error::new(ErrorKind::InvalidOperation, hint));
        }
        _ => out.write_str(&json(value)?),
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "the text could not be written"))
}

fn json(value: &Jinja) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::new(ErrorKind::BadSerialization, "JSON cannot hold the value"))
}

/// Plain JSON: Jinja's own `tojson` escapes for HTML, which has no place in an argument or a message.
fn tojson(value: Jinja) -> Result<String, Error> {
    json(&value)
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja's filters take their arguments by value")]
fn must_be_there(value: Jinja, name: String) -> Result<Jinja, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, format!("`{name}` is not there")));
    }
    Ok(value)
}

/// A number of seconds as definitions write spans: `3m20s`.
fn duration(secs: f64) -> Result<String, Error> {
    if !(0.0..=1e12).contains(&secs) {
        return Err(Error::new(ErrorKind::InvalidOperation, "`duration` takes a number of seconds, zero or more"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(Duration::from_secs(secs.round() as u64).to_string())
}

/// A span as definitions write it, as a number of seconds.
#[expect(clippy::needless_pass_by_value, reason = "minijinja's filters take their arguments by value")]
fn seconds(text: String) -> Result<u64, Error> {
    text.parse::<Duration>()
        .map(Duration::as_secs)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "`seconds` takes a span such as `5m`"))
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja's tests take their arguments by value")]
fn is_equal(a: Jinja, b: Jinja) -> Result<bool, Error> {
    let null = [&a, &b].iter().any(|value| value.is_none());
    if !null {
        same_kind(&a, &b)?;
    }
    Ok(a == b)
}

fn in_order(a: &Jinja, b: &Jinja) -> Result<(), Error> {
    same_kind(a, b)?;
    if matches!(a.kind(), ValueKind::Number | ValueKind::String) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOperation, "only numbers and texts have an order"))
}

/// `"0" > 5` and `"5" == 5` mean a mistake in the definition, whatever Jinja makes of them.
fn same_kind(a: &Jinja, b: &Jinja) -> Result<(), Error> {
    let (a, b) = (kind_of(a), kind_of(b));
    if a == b {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOperation, format!("compares {a} with {b}")))
}

fn kind_of(value: &Jinja) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "something that is not there",
        ValueKind::None => "null",
        ValueKind::Bool => "true or false",
        ValueKind::Number => "a number",
        ValueKind::String => "text",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "a map",
        _ => "something else",
    }
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja's tests take their arguments by value")]
fn is_in(state: &minijinja::State<'_, '_>, item: Jinja, list: Jinja) -> Result<bool, Error> {
    match list.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map | ValueKind::String => tests::is_in(state, &item, &list),
        _ => Err(Error::new(ErrorKind::InvalidOperation, format!("looks for a value in {}, not in a list", kind_of(&list)))),
    }
}

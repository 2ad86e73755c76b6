//! `sql.check`.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Bind, Statement};
use crate::actions::action::{Action, Done, Trouble, describe, keys};
use crate::actions::context::{Context, TargetKey};
use crate::domain::{ActionSpec, Duration};

/// The action `sql.check`.
pub(in crate::actions) struct Check;

/// What to ask, and what the answer must be.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// The database: a target of the kind `postgres` or `sqlite`.
    target: TargetKey,
    /// One query that returns one row; `$1`, `$2`, ... where values go.
    sql: String,
    /// The values, in order.
    #[serde(default)]
    params: Vec<Bind>,
    /// The value that it must return in its only column. Without it, the step's `check` judges the row.
    #[serde(default)]
    equals: Option<Value>,
    /// How long the statement may run; 1 min unless set.
    #[serde(default = "super::timeout_default")]
    timeout: Duration,
}

#[async_trait]
impl Action for Check {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            target_keys: vec![("target".to_owned(), vec!["postgres", "sqlite"])],
            literal_keys: keys(&["sql"]),
            ..describe::<Parameters>(
                "sql.check",
                "Asks a database for one row, read-only, and compares its value. A dry run really asks.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let sql = super::trimmed(&parameters.sql);
        let statement = Statement { sql, params: &parameters.params, rows_max: 1, timeout: parameters.timeout };
        let rows = super::read(context, &parameters.target, &statement).await?;
        let (count, columns) = (rows.rows.len(), rows.rows.first().map_or(0, serde_json::Map::len));
        if rows.more || count != 1 {
            let found = if count == 0 { "none" } else { "more" };
            return Err(Trouble::lasting(format!("the query must return exactly one row, and it returned {found}")));
        }
        let value = rows.value();
        if let Some(expected) = &parameters.equals {
            if columns != 1 {
                return Err(Trouble::lasting(format!("with `equals`, the query must return one column; it returned {columns}")));
            }
            if !same(expected, &value) {
                return Err(Trouble::passing(format!("the query returned {value}, and {expected} was expected")));
            }
        }
        Ok(Done::real(json!({ "value": value, "row": rows.rows.into_iter().next() })))
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        match &context.rehearsed_before {
            // Asked all the same, so that the statement is tried; another value may come of what was only rehearsed.
            Some(_) => {
                let any = Parameters { equals: None, ..parameters.clone() };
                let done = self.perform(context, &any).await?;
                let as_expected = parameters.equals.as_ref().is_none_or(|expected| same(expected, &done.result["value"]));
                Ok(Done { simulated: !as_expected, ..done })
            }
            None => self.perform(context, parameters).await,
        }
    }
}

/// Equal, where SQLite's 1 and 0 may stand for true and false, and 5 equals 5.0.
fn same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Bool(expected), Value::Number(found)) => found.as_i64() == Some(i64::from(*expected)),
        (Value::Number(a), Value::Number(b)) => a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64())),
        (a, b) => a == b,
    }
}

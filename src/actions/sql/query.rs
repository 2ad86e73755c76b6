//! `sql.query`.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Bind, ROWS_MAX, Statement};
use crate::actions::action::{Action, Done, Trouble, describe, keys};
use crate::actions::context::{Context, TargetKey};
use crate::domain::{ActionSpec, Duration, Effect, Interruption};

/// The action `sql.query`.
pub(in crate::actions) struct Query;

/// What to ask.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// The database: a target of the kind `postgres` or `sqlite`.
    target: TargetKey,
    /// One statement, with `$1`, `$2`, ... where values go.
    sql: String,
    /// The values, in order.
    #[serde(default)]
    params: Vec<Bind>,
    /// Says that the statement changes something. Without it, the transaction is read-only.
    #[serde(default)]
    write: bool,
    /// The most rows that the result holds; 100 unless set, at most 1,000.
    #[serde(default = "super::rows_default")]
    #[schemars(range(min = 1, max = 1000))]
    rows_max: u32,
    /// How long the statement may run; 1 min unless set.
    #[serde(default = "super::timeout_default")]
    timeout: Duration,
}

impl Parameters {
    fn statement(&self) -> Statement<'_> {
        let rows_max = self.rows_max.clamp(1, ROWS_MAX);
        Statement { sql: super::trimmed(&self.sql), params: &self.params, rows_max, timeout: self.timeout }
    }
}

#[async_trait]
impl Action for Query {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            effect: Effect::When { key: "write".to_owned() },
            interruption: Interruption::Ask,
            target_keys: vec![("target".to_owned(), vec!["postgres", "sqlite"])],
            literal_keys: keys(&["sql"]),
            ..describe::<Parameters>(
                "sql.query",
                "Runs one SQL statement with bind parameters, read-only unless `write: true`. A dry run only prepares a write.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        if parameters.write {
            let changed = super::write(context, &parameters.target, &parameters.statement()).await?;
            return Ok(Done::real(result_of_write(json!(changed))));
        }
        let rows = super::read(context, &parameters.target, &parameters.statement()).await?;
        let (count, value) = (rows.rows.len(), rows.value());
        Ok(Done::real(json!({ "rows": rows.rows, "row_count": count, "more": rows.more, "value": value })))
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        if !parameters.write {
            return self.perform(context, parameters).await;
        }
        super::prepare(context, &parameters.target, &parameters.statement()).await?;
        Ok(Done::simulated(result_of_write(Value::Null)))
    }
}

fn result_of_write(changed: Value) -> Value {
    json!({ "rows": [], "row_count": 0, "more": false, "value": null, "rows_affected": changed })
}

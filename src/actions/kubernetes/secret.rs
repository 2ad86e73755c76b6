//! `kubernetes.secret`: changes keys of a Secret, and puts the former values back.
//!
//! The former values never leave the cluster: before the first change, the whole former data is copied into the Secret
//! `NAME.pointsman.RUN`. That one is made only if it is not there, and is immutable: a repeated step cannot
//! overwrite the former values with the new ones. It also says which keys the run has changed, so that a restore touches
//! no other. It stays after a restore; who removes it, and when, is for people to decide.
//!
//! New values go to kubectl by standard input. Results and messages name keys, never values.
//!
//! Dry run: reads the Secret, resolves what would be set, and has the API server check each request without storing
//! it. Interruption: repeated; twice is as good as once.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::rollout::is_object_name;
use super::{Cluster, Mode};
use crate::actions::action::{Action, Done, Trouble, describe};
use crate::actions::context::{Context, TargetKey};
use crate::actions::shell_run::Argument;
use crate::domain::{ActionSpec, Effect};

/// On the backup: which keys the run has changed, a JSON list.
const KEYS: &str = "pointsman.dev/keys";
/// On the backup: the run that made it.
const RUN: &str = "pointsman.dev/run";

/// The action `kubernetes.secret`.
pub(in crate::actions) struct Secret;

/// Which Secret, and what to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// The namespace: a target of the kind `kubernetes`.
    target: TargetKey,
    /// The Secret's name. It must exist.
    secret: String,
    /// `patch` sets keys and keeps the former values in the cluster, `restore` puts back what this run has changed.
    #[serde(rename = "do")]
    verb: Verb,
    /// For `patch`: what each key is to hold; other keys stay as they are.
    #[serde(default)]
    set: BTreeMap<String, Setting>,
    /// For `restore`: what it means that this run has changed nothing, so that there is nothing to put back.
    #[serde(default)]
    if_absent: IfAbsent,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::actions) enum Verb {
    /// Sets keys.
    Patch,
    /// Puts the former values back.
    Restore,
}

/// The new value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::actions) enum Setting {
    /// A secret of the settings, by its name, written out: which one is used must not depend on data.
    Secret(#[schemars(regex(pattern = "^[A-Za-z0-9_.-]+$"))] String),
    /// A value that is no secret: it stands in the plan.
    Value(Argument),
}

/// What a missing backup means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::actions) enum IfAbsent {
    /// The step fails.
    #[default]
    Fail,
    /// Nothing was changed, so nothing is to be done.
    Ok,
}

#[async_trait]
impl Action for Secret {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            effect: Effect::Always,
            target_keys: vec![("target".to_owned(), vec!["kubernetes"])],
            ..describe::<Parameters>(
                "kubernetes.secret",
                "Sets keys of a Secret and keeps the former values in the cluster, or puts those back.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        change(context, parameters, Mode::Live).await.map(Done::real)
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        change(context, parameters, Mode::DryRun).await.map(Done::simulated)
    }
}

async fn change(context: &Context, parameters: &Parameters, mode: Mode) -> Result<Value, Trouble> {
    let name = &parameters.secret;
    if !is_object_name(name) {
        return Err(Trouble::lasting(format!("`{name}` is not the name of a Secret; nothing was done")));
    }
    let cluster = Cluster::of(context, &parameters.target)?;
    let backup = format!("{name}.pointsman.{}", context.run);
    let change = Change { cluster, context, name, backup, mode };
    match parameters.verb {
        Verb::Patch => change.patch(&parameters.set).await,
        Verb::Restore if parameters.set.is_empty() => change.restore(parameters.if_absent).await,
        Verb::Restore => Err(Trouble::lasting("`set` belongs to `do: patch`; nothing was done")),
    }
}

struct Change<'a> {
    cluster: Cluster<'a>,
    context: &'a Context,
    name: &'a str,
    backup: String,
    mode: Mode,
}

impl Change<'_> {
    async fn patch(&self, set: &BTreeMap<String, Setting>) -> Result<Value, Trouble> {
        let values = self.resolve(set)?;
        let former = data(&self.cluster.get(&["secret", self.name]).await?, self.name)?;
        let keys: BTreeSet<String> = values.keys().cloned().collect();
        self.keep(former, &keys).await?;
        for value in values.values().flat_map(|value| [value.clone(), encoded(value).into()]) {
            self.context.mask(value);
        }
        let data: Map<String, Value> = values.iter().map(|(key, value)| (key.clone(), Value::from(encoded(value)))).collect();
        let version = self.write(data).await?;
        Ok(self.result(&keys, Some(version)))
    }

    /// The new values. They are masked only once the former ones have been read: what kubectl prints is masked too, and
    /// a former value that equals a new one must be kept as it is. Until then nothing of either is shown anywhere.
    fn resolve(&self, set: &BTreeMap<String, Setting>) -> Result<BTreeMap<String, SecretString>, Trouble> {
        if set.is_empty() {
            return Err(Trouble::lasting("`set` names no key; nothing was done"));
        }
        let one = |(key, setting): (&String, &Setting)| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if key.is_empty() || !key.bytes().all(known) {
                return Err(Trouble::lasting(format!("`{key}` is not a key of a Secret; nothing was done")));
            }
            let value = match setting {
                Setting::Value(value) => SecretString::from(value.to_string()),
                Setting::Secret(name) => {
                    self.context.secrets.resolve(name).map_err(|error| Trouble::lasting(format!("{error}; nothing was done")))?
                }
            };
            Ok((key.clone(), value))
        };
        set.iter().map(one).collect()
    }

    /// Keeps the former data, unless this run has kept it already, and notes which keys are about to change.
    async fn keep(&self, former: Map<String, Value>, keys: &BTreeSet<String>) -> Result<(), Trouble> {
        let backup = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true, "data": former,
            "metadata": {
                "name": self.backup,
                "labels": { "app.kubernetes.io/managed-by": "pointsman" },
                "annotations": { RUN: self.context.run.to_string(), KEYS: list(keys) },
            },
        });
        if self.cluster.create(&backup, self.mode).await? {
            self.context.note(&format!("the former values are kept in the Secret {}", self.backup));
            return Ok(());
        }
        let noted = changed_keys(&self.cluster.get(&["secret", &self.backup]).await?, &self.backup)?;
        if keys.is_subset(&noted) {
            return Ok(());
        }
        let patch = json!({ "metadata": { "annotations": { KEYS: list(&noted.union(keys).cloned().collect()) } } });
        self.cluster.patch(&format!("secret/{}", self.backup), "merge", &patch, self.mode).await?;
        Ok(())
    }

    async fn restore(&self, if_absent: IfAbsent) -> Result<Value, Trouble> {
        let backup = match self.cluster.get(&["secret", &self.backup]).await {
            Ok(backup) => backup,
            Err(refused) if refused.reason == "NotFound" => return self.without_backup(if_absent),
            Err(refused) => return Err(refused.into()),
        };
        let former = data(&backup, &self.backup)?;
        let keys = changed_keys(&backup, &self.backup)?;
        // In a merge patch, null removes: a key that was not there before.
        let data = keys.iter().map(|key| (key.clone(), former.get(key).cloned().unwrap_or(Value::Null))).collect();
        let version = self.write(data).await?;
        Ok(self.result(&keys, Some(version)))
    }

    fn without_backup(&self, if_absent: IfAbsent) -> Result<Value, Trouble> {
        let message = format!("there is no Secret {}: this run has changed nothing in {}", self.backup, self.name);
        match if_absent {
            IfAbsent::Fail => Err(Trouble::lasting(format!("{message}, so there is nothing to put back; nothing was done"))),
            IfAbsent::Ok => {
                self.context.note(&message);
                Ok(self.result(&BTreeSet::new(), None))
            }
        }
    }

    async fn write(&self, data: Map<String, Value>) -> Result<String, Trouble> {
        let patch = json!({ "data": data });
        Ok(self.cluster.patch(&format!("secret/{}", self.name), "merge", &patch, self.mode).await?)
    }

    fn result(&self, keys: &BTreeSet<String>, version: Option<String>) -> Value {
        let backup = version.is_some().then_some(&self.backup);
        json!({ "secret": self.name, "keys": keys, "resource_version": version, "backup": backup })
    }
}

fn encoded(value: &SecretString) -> String {
    STANDARD.encode(value.expose_secret())
}

fn list(keys: &BTreeSet<String>) -> String {
    serde_json::to_string(keys).expect("texts are JSON")
}

/// What a Secret holds, as base64. Refused if a value was masked on its way here: a hole must not be kept as a value.
fn data(secret: &Value, name: &str) -> Result<Map<String, Value>, Trouble> {
    let data = secret["data"].as_object().cloned().unwrap_or_default();
    let whole = |value: &Value| value.as_str().is_some_and(|text| STANDARD.decode(text).is_ok());
    match data.iter().find(|(_, value)| !whole(value)) {
        None => Ok(data),
        Some((key, _)) => Err(Trouble::lasting(format!(
            "the key `{key}` of the Secret {name} cannot be read exactly (it may hold one of the bot's own secrets); nothing was done"
        ))),
    }
}

fn changed_keys(backup: &Value, name: &str) -> Result<BTreeSet<String>, Trouble> {
    let text = backup["metadata"]["annotations"][KEYS].as_str();
    let keys = text.and_then(|text| serde_json::from_str(text).ok());
    keys.ok_or_else(|| {
        Trouble::lasting(format!("the Secret {name} does not say what it keeps (annotation `{KEYS}`); nothing was done"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_was_masked_is_not_taken_for_the_value() {
        let secret = |value: &str| json!({ "data": { "A": "dg==", "B": value } });
        assert_eq!(data(&secret("dw=="), "s").unwrap().len(), 2);
        let error = data(&secret("[redacted]"), "s").unwrap_err().to_string();
        assert!(error.contains("`B`") && error.contains("nothing was done"), "{error}");
        assert_eq!(data(&json!({}), "s").unwrap(), Map::new());
    }
}

//! `kubernetes.rollout`: restarts a Deployment, returns it to an earlier revision, or waits for its rollout.
//!
//! Restart and undo are each one patch that carries, besides the change, an annotation naming the run, the step and
//! the revision before; and the patch holds only for the version of the Deployment that was read. So the API
//! server applies change and mark together or neither, and whoever repeats the step sees the mark and only waits on.
//! `kubectl rollout restart` and `rollout undo` leave no mark of who did it (undo even replaces the annotations), and
//! a repeated undo would go back and forth; the patches do what those two do.
//!
//! Dry run: reads the Deployment, and has the API server check the patch without storing it, which also proves the
//! permission. Interruption: repeated, for the reason above.

use std::collections::BTreeMap;
use std::time::Duration as StdDuration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Cluster, Mode};
use crate::actions::action::{Action, Done, Trouble, describe};
use crate::actions::context::{Context, Record, Show, TargetKey, exited};
use crate::actions::redact::MASK;
use crate::domain::run::Finding;
use crate::domain::{ActionSpec, Duration, Effect, StepName};

/// The revision, as the Deployment controller writes it.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Our mark on the Deployment: [`Mark`] as JSON.
const MARK: &str = "pointsman.dev/rollout";
/// Our mark on the pod template, so that every restart is a new template, even within one second.
const RESTARTED_BY: &str = "pointsman.dev/restarted-by";
/// What `kubectl rollout restart` writes, for people who look for it.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// The label by which the controller tells templates apart; no part of a template that is given back to it.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// How often a patch is tried anew because the Deployment changed between reading and patching: its status does
/// with every pod.
const CONFLICTS_MAX: u32 = 10;
/// How often it is looked whether the controller has seen the newest change, and how long between two looks.
const LOOKS_MAX: u32 = 60;
const LOOK_EVERY: StdDuration = StdDuration::from_millis(500);

/// The action `kubernetes.rollout`.
pub(in crate::actions) struct Rollout;

/// Which Deployment, and what to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::actions) struct Parameters {
    /// The namespace: a target of the kind `kubernetes`.
    target: TargetKey,
    /// `restart` starts every pod anew, `undo` returns to an earlier revision, `status` only waits for the rollout.
    #[serde(rename = "do")]
    verb: Verb,
    /// The Deployment, as `deployment/NAME`.
    #[schemars(regex(pattern = "^deployment/|\\{\\{"))]
    workload: String,
    /// How long the rollout may take, in real time: pods do not start faster in a fast sandbox.
    #[serde(default = "default_wait")]
    wait: Duration,
    /// For `undo`: the revision to return to. Without it and without `of`, the one before the present one.
    #[serde(default)]
    to_revision: Option<u64>,
    /// For `undo`: the step of this run whose restart or undo is taken back. Nothing is done if that step changed nothing.
    #[serde(default)]
    of: Option<StepName>,
}

fn default_wait() -> Duration {
    Duration::from_minutes(5)
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::actions) enum Verb {
    /// Starts every pod anew.
    Restart,
    /// Returns to an earlier revision.
    Undo,
    /// Only waits.
    Status,
}

/// What the run in hand has done to a Deployment, kept on the Deployment itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    run: String,
    steps: BTreeMap<String, Entry>,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "do")]
    verb: Verb,
    revision_before: u64,
}

#[async_trait]
impl Action for Rollout {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            effect: Effect::Always,
            target_keys: vec![("target".to_owned(), vec!["kubernetes"])],
            ..describe::<Parameters>(
                "kubernetes.rollout",
                "Restarts a Deployment or returns it to an earlier revision, and waits until its pods are ready.",
            )
        }
    }

    fn has_effect(&self, with: &Map<String, Value>) -> bool {
        with.get("do").and_then(Value::as_str) != Some("status")
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let workload = Workload::of(context, parameters)?;
        let before = match parameters.verb {
            Verb::Status => workload.read_settled().await?.revision(),
            Verb::Restart | Verb::Undo => workload.change(Mode::Live).await?,
        };
        workload.wait().await?;
        Ok(Done::real(workload.result(&workload.read_settled().await?, before)))
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        if parameters.verb == Verb::Status {
            return self.perform(context, parameters).await;
        }
        let workload = Workload::of(context, parameters)?;
        let before = workload.change(Mode::DryRun).await?;
        context.note("dry run: the API server would take the change; it was not made, and nothing was waited for");
        let mut result = workload.result(&workload.read_settled().await?, before);
        result["revision"] = json!(before + 1);
        Ok(Done::simulated(result))
    }

    async fn probe(&self, context: &Context, parameters: &Parameters) -> Finding {
        match look(context, parameters).await {
            Ok(finding) => finding,
            Err(trouble) => Finding::Unclear { why: trouble.to_string() },
        }
    }
}

async fn look(context: &Context, parameters: &Parameters) -> Result<Finding, Trouble> {
    let workload = Workload::of(context, parameters)?;
    let seen = workload.read_settled().await?;
    let Some(entry) = workload.own_entry(&seen) else { return Ok(Finding::DidNotHappen) };
    if !seen.is_rolled_out() {
        return Ok(Finding::Unclear { why: format!("{} was changed, and its rollout is not complete", parameters.workload) });
    }
    Ok(Finding::Happened { result: workload.result(&seen, entry.revision_before) })
}

/// One Deployment, for one step.
struct Workload<'a> {
    cluster: Cluster<'a>,
    context: &'a Context,
    parameters: &'a Parameters,
    name: &'a str,
}

impl<'a> Workload<'a> {
    fn of(context: &'a Context, parameters: &'a Parameters) -> Result<Self, Trouble> {
        let given = &parameters.workload;
        let name = given.strip_prefix("deployment/").filter(|name| is_object_name(name)).ok_or_else(|| {
            Trouble::lasting(format!("`workload` must be `deployment/NAME`, and `{given}` is not; nothing was done"))
        })?;
        let undoes = parameters.verb == Verb::Undo;
        if !undoes && (parameters.to_revision.is_some() || parameters.of.is_some()) {
            return Err(Trouble::lasting("`to_revision` and `of` belong to `do: undo`; nothing was done"));
        }
        if parameters.to_revision.is_some() && parameters.of.is_some() {
            return Err(Trouble::lasting("an undo has either `to_revision` or `of`; nothing was done"));
        }
        Ok(Self { cluster: Cluster::of(context, &parameters.target)?, context, parameters, name })
    }

    async fn read(&self) -> Result<Deployment, Trouble> {
        Ok(Deployment(self.cluster.get(&["deployment", self.name]).await?))
    }

    /// The Deployment once its controller has seen the newest change: before that, its revision is an old one.
    async fn read_settled(&self) -> Result<Deployment, Trouble> {
        for _ in 0..LOOKS_MAX {
            let seen = self.read().await?;
            if seen.is_settled() {
                return Ok(seen);
            }
            // The cluster lives by the wall, however fast the bot's own clock runs in a sandbox.
            self.context.or_cancelled(tokio::time::sleep(LOOK_EVERY)).await?;
        }
        let workload = &self.parameters.workload;
        Err(Trouble::passing(format!("the controller of {workload} does not take notice of its last change; is it running?")))
    }

    fn mark_of(&self, seen: &Deployment) -> Mark {
        let found = seen.annotation(MARK).and_then(|text| serde_json::from_str::<Mark>(text).ok());
        let run = self.context.run.to_string();
        found.filter(|mark| mark.run == run).unwrap_or(Mark { run, steps: BTreeMap::new() })
    }

    fn own_entry(&self, seen: &Deployment) -> Option<Entry> {
        self.mark_of(seen).steps.get(self.context.step.as_str()).copied()
    }

    /// Makes the change unless it is made, and returns the revision before it.
    async fn change(&self, mode: Mode) -> Result<u64, Trouble> {
        for _ in 0..CONFLICTS_MAX {
            let seen = self.read_settled().await?;
            if let Some(entry) = self.own_entry(&seen) {
                self.context.note("an earlier attempt of this step has made the change already");
                return Ok(entry.revision_before);
            }
            seen.expect_not_paused(&self.parameters.workload)?;
            let Some((format, patch)) = self.patch(&seen).await? else { return Ok(seen.revision()) };
            match self.cluster.patch(&self.parameters.workload, format, &patch, mode).await {
                Ok(_) => return Ok(seen.revision()),
                Err(refused) if refused.reason == "Conflict" => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        let workload = &self.parameters.workload;
        Err(Trouble::passing(format!("{workload} was changed by others {CONFLICTS_MAX} times in a row; nothing was done")))
    }

    /// The patch and its format; `None` if there is nothing to change.
    async fn patch(&self, seen: &Deployment) -> Result<Option<(&'static str, Value)>, Trouble> {
        let mut mark = self.mark_of(seen);
        let entry = Entry { verb: self.parameters.verb, revision_before: seen.revision() };
        mark.steps.insert(self.context.step.to_string(), entry);
        let mark = serde_json::to_string(&mark).expect("text and numbers are JSON");
        if self.parameters.verb == Verb::Restart {
            return Ok(Some(("merge", self.restart_patch(seen, &mark))));
        }
        let Some(to) = self.wanted_revision(seen).await? else { return Ok(None) };
        let template = to.template(&self.parameters.workload)?;
        Ok(Some(("merge", undo_patch(seen, &template, &mark))))
    }

    fn restart_patch(&self, seen: &Deployment, mark: &str) -> Value {
        let at = self.context.clock.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let by = format!("{}/{}", self.context.run, self.context.step);
        json!({
            "metadata": { "resourceVersion": seen.version(), "annotations": { MARK: mark } },
            "spec": { "template": { "metadata": { "annotations": { RESTARTED_AT: at, RESTARTED_BY: by } } } },
        })
    }

    /// The ReplicaSet of the revision to return to; `None` if the Deployment stands there, or if `of` changed nothing.
    async fn wanted_revision(&self, seen: &Deployment) -> Result<Option<ReplicaSet>, Trouble> {
        let workload = &self.parameters.workload;
        let present = seen.revision();
        let wanted = match (&self.parameters.of, self.parameters.to_revision) {
            (Some(step), _) => match self.mark_of(seen).steps.get(step.as_str()) {
                Some(entry) => Some(entry.revision_before),
                None => {
                    self.context.note(&format!("the step `{step}` of this run changed nothing at {workload}: nothing to undo"));
                    return Ok(None);
                }
            },
            (None, wanted) => wanted,
        };
        if wanted == Some(present) {
            self.context.note(&format!("{workload} stands at revision {present} already"));
            return Ok(None);
        }
        let sets = self.replica_sets(seen).await?;
        let found = match wanted {
            Some(wanted) => sets.into_iter().find(|set| set.revision() == wanted),
            None => sets.into_iter().filter(|set| set.revision() < present).max_by_key(ReplicaSet::revision),
        };
        found.map(Some).ok_or_else(|| {
            let which = wanted.map_or_else(|| "an earlier revision".to_owned(), |wanted| format!("the revision {wanted}"));
            Trouble::lasting(format!(
                "{workload} is at revision {present}, and {which} is not kept any more; nothing was done. \
                 Look at `kubectl rollout history {workload}`"
            ))
        })
    }

    async fn replica_sets(&self, seen: &Deployment) -> Result<Vec<ReplicaSet>, Trouble> {
        let list = self.cluster.get(&["replicasets"]).await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let owned = |set: &Value| {
            let owners = set["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == seen.0["metadata"]["uid"]))
        };
        Ok(items.into_iter().filter(owned).map(ReplicaSet).collect())
    }

    /// Waits until the rollout is complete.
    async fn wait(&self) -> Result<(), Trouble> {
        let (workload, wait) = (&self.parameters.workload, self.parameters.wait);
        let timeout = format!("--timeout={}s", wait.as_secs().max(1));
        let command = self.cluster.command(&["rollout", "status", workload, &timeout]);
        let finished = self.context.run_child(command, Record::No, Show::All).await?;
        if finished.exit.is_success() {
            return Ok(());
        }
        let what = exited(&format!("waiting {wait} for the rollout of {workload}"), finished.exit, &finished.stderr);
        let seen = self.read().await?;
        Err(Trouble::passing(format!(
            "{what}; {} of {} new pods are available{}. The former pods serve on as far as there are any; look at `kubectl describe {workload}`",
            seen.new_available(),
            seen.replicas(),
            seen.complaints()
        )))
    }

    fn result(&self, seen: &Deployment, revision_before: u64) -> Value {
        json!({
            "workload": self.parameters.workload,
            "revision_before": revision_before,
            "revision": seen.revision(),
            "ready": seen.ready(),
            "replicas": seen.replicas(),
            "image": seen.0["spec"]["template"]["spec"]["containers"][0]["image"],
        })
    }
}

/// A merge patch that replaces the template: it sets what the wanted one has and removes what only the present one has.
fn undo_patch(seen: &Deployment, template: &Value, mark: &str) -> Value {
    json!({
        "metadata": { "resourceVersion": seen.version(), "annotations": { MARK: mark } },
        "spec": { "template": difference(&seen.0["spec"]["template"], template) },
    })
}

/// The merge patch (RFC 7396) from one value to another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let removed = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = to.iter().filter(|(key, value)| from.get(*key) != Some(value));
    let changed = changed.map(|(key, value)| (key.clone(), difference(from.get(key).unwrap_or(&Value::Null), value)));
    Value::Object(removed.chain(changed).collect())
}

/// A Deployment as the API shows it.
struct Deployment(Value);

impl Deployment {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.0["metadata"]["annotations"][name].as_str()
    }

    fn version(&self) -> &Value {
        &self.0["metadata"]["resourceVersion"]
    }

    /// 0 before the controller has seen it.
    fn revision(&self) -> u64 {
        self.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn is_settled(&self) -> bool {
        let observed = self.0["status"]["observedGeneration"].as_u64();
        observed >= self.0["metadata"]["generation"].as_u64() && self.revision() > 0
    }

    fn replicas(&self) -> u64 {
        self.0["spec"]["replicas"].as_u64().unwrap_or(1)
    }

    fn ready(&self) -> u64 {
        self.count("readyReplicas")
    }

    fn count(&self, field: &str) -> u64 {
        self.0["status"][field].as_u64().unwrap_or(0)
    }

    /// How many pods of the newest template are available, at least: the status counts former and new ones together.
    fn new_available(&self) -> u64 {
        let former = self.count("replicas").saturating_sub(self.count("updatedReplicas"));
        self.count("availableReplicas").saturating_sub(former)
    }

    fn is_rolled_out(&self) -> bool {
        let wanted = self.replicas();
        ["updatedReplicas", "availableReplicas", "replicas"].into_iter().all(|field| self.count(field) == wanted)
    }

    fn expect_not_paused(&self, workload: &str) -> Result<(), Trouble> {
        if self.0["spec"]["paused"] == true {
            let message = format!("{workload} is paused, so that nothing would roll out; nothing was done. Resume it first");
            return Err(Trouble::lasting(message));
        }
        Ok(())
    }

    /// What its conditions say against it, for people.
    fn complaints(&self) -> String {
        let conditions = self.0["status"]["conditions"].as_array().into_iter().flatten();
        let bad = conditions.filter(|condition| condition["status"] == "False").filter_map(|one| one["message"].as_str());
        bad.map(|message| format!("; {message}")).collect()
    }
}

/// A ReplicaSet of the Deployment: one of its revisions.
struct ReplicaSet(Value);

impl ReplicaSet {
    fn revision(&self) -> u64 {
        self.0["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The pod template, as it was given to the Deployment.
    fn template(&self, workload: &str) -> Result<Value, Trouble> {
        let mut template = self.0["spec"]["template"].clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.shift_remove(TEMPLATE_HASH);
        }
        // What kubectl prints is masked; a template with a hole must not go back to the cluster.
        if template.to_string().contains(MASK) {
            let message = format!(
                "the former template of {workload} holds a text that is one of the bot's secrets, so that it cannot be \
                 read here; nothing was done. Use `kubectl rollout undo {workload} --to-revision={}`",
                self.revision()
            );
            return Err(Trouble::lasting(message));
        }
        Ok(template)
    }
}

/// Names as the API server takes them (RFC 1123, subdomain): no such name is an option of kubectl.
pub(super) fn is_object_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = name.bytes().next().is_some_and(inner) && name.bytes().last().is_some_and(inner);
    ends && name.len() <= 253 && name.bytes().all(|byte| inner(byte) || byte == b'-' || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_never_options() {
        for name in ["ace-framework", "a", "a.b"] {
            assert!(is_object_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "--all", "a/b", "A", "a b", "a=b"] {
            assert!(!is_object_name(name), "{name}");
        }
    }

    #[test]
    fn the_patch_leads_from_one_template_to_the_other() {
        let from = json!({ "metadata": { "annotations": { "a": "1", "b": "2" } }, "spec": { "containers": [{ "image": "x:2" }], "same": 1 } });
        let to =
            json!({ "metadata": { "annotations": { "b": "3" } }, "spec": { "containers": [{ "image": "x:1" }], "same": 1 } });
        let patch = difference(&from, &to);
        assert_eq!(
            patch,
            json!({ "metadata": { "annotations": { "a": null, "b": "3" } }, "spec": { "containers": [{ "image": "x:1" }] } })
        );
        let bare = json!({ "metadata": {}, "spec": to["spec"] });
        assert_eq!(difference(&to, &bare), json!({ "metadata": { "annotations": null } }));
        assert_eq!(difference(&to, &to), json!({}));
    }
}

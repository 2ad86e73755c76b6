//! The Deployment controller and the kubelet in one: pods as processes of the practice application.
//!
//! It looks at what is wanted and what is there, several times a second and whenever an object changes,
//! and takes the next step; nothing is remembered that a look does not tell.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::objects::{Filter, Resource};
use super::{Cluster, DEPLOYMENT, NAMESPACE, Options};
use crate::sandbox::estate::supervised::Supervised;

/// How often the controller looks even when nothing changed: readiness and ended processes raise no event.
const TICK: Duration = Duration::from_millis(50);
/// How long a readiness probe may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// From TERM to KILL for a pod.
const POD_GRACE: Duration = Duration::from_secs(3);
/// Before a crashed container is started again.
const RESTART_BACKOFF: Duration = Duration::from_millis(500);
/// What Kubernetes takes when a Deployment does not say.
const PROGRESS_DEADLINE_SECS: u64 = 600;
/// The revision's annotation.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The label that tells the pods of one template from those of another.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// The most pods of one template: each is a process.
const REPLICAS_MAX: u64 = 5;

/// A pod and its process.
struct Pod {
    name: String,
    template: String,
    process: Option<Supervised>,
    /// Set when the application has said where it listens.
    address: Arc<OnceLock<SocketAddr>>,
    ready: bool,
    /// Its object is in the cluster; if it is not any more, somebody deleted the pod.
    shown: bool,
    /// Why it does not run, if it does not.
    waiting: Option<String>,
    restarts: u32,
    start_after: Instant,
}

/// Since when the newest template is being rolled out.
struct Rollout {
    template: String,
    since: Instant,
}

pub(super) struct Controller {
    cluster: Arc<Cluster>,
    exe: PathBuf,
    pods: Vec<Pod>,
    rollout: Option<Rollout>,
    endpoint: watch::Sender<Option<SocketAddr>>,
    http: reqwest::Client,
    pods_made: u32,
}

/// What a Deployment wants, read from its object.
struct Wanted {
    template: Value,
    hash: String,
    replicas: usize,
    deadline: Duration,
    object: Value,
}

impl Controller {
    pub(super) fn new(cluster: Arc<Cluster>, options: &Options, endpoint: watch::Sender<Option<SocketAddr>>) -> io::Result<Self> {
        let http = reqwest::Client::builder().timeout(PROBE_PATIENCE).no_proxy().build().map_err(io::Error::other)?;
        Ok(Self { cluster, exe: options.exe.clone(), pods: Vec::new(), rollout: None, endpoint, http, pods_made: 0 })
    }

    /// Works until told to stop; then ends all pods.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut changed = self.cluster.changed();
        while !stop.is_cancelled() {
            self.reconcile().await;
            tokio::select! {
                _ = timeout(TICK, changed.changed()) => {}
                () = stop.cancelled() => {}
            }
        }
        for pod in self.pods.drain(..) {
            end(pod).await;
        }
    }

    async fn reconcile(&mut self) {
        let Some(wanted) = self.wanted() else {
            self.keep_only(|_| false).await;
            return;
        };
        self.record_revision(&wanted);
        if self.rollout.as_ref().is_none_or(|rollout| rollout.template != wanted.hash) {
            self.rollout = Some(Rollout { template: wanted.hash.clone(), since: Instant::now() });
        }
        self.end_deleted().await;
        self.start_missing(&wanted);
        self.probe().await;
        // First the traffic moves, then the old pods go.
        self.route(&wanted.hash);
        self.write_status(&wanted);
        let ready = self.pods.iter().filter(|pod| pod.template == wanted.hash && pod.ready).count();
        if ready >= wanted.replicas {
            let mut left = wanted.replicas;
            self.keep_only(|pod| {
                let keep = pod.template == wanted.hash && left > 0;
                left -= usize::from(keep);
                keep
            })
            .await;
            self.route(&wanted.hash);
            self.write_status(&wanted);
        }
    }

    fn wanted(&self) -> Option<Wanted> {
        let object = self.cluster.objects().get(deployments(), NAMESPACE, DEPLOYMENT)?.clone();
        let template = object["spec"]["template"].clone();
        let replicas = object["spec"]["replicas"].as_u64().unwrap_or(1).min(REPLICAS_MAX);
        let deadline = object["spec"]["progressDeadlineSeconds"].as_u64().unwrap_or(PROGRESS_DEADLINE_SECS);
        Some(Wanted {
            hash: template_hash(&template),
            template,
            replicas: usize::try_from(replicas).unwrap_or(1),
            deadline: Duration::from_secs(deadline),
            object,
        })
    }

    /// Gives the template's ReplicaSet the newest revision; it is made if the template is new.
    fn record_revision(&self, wanted: &Wanted) {
        let sets = self.cluster.objects().list(replica_sets(), &Filter::default());
        let newest = sets.iter().map(revision).max().unwrap_or(0);
        let name = format!("{DEPLOYMENT}-{}", wanted.hash);
        let existing = sets.iter().find(|set| set["metadata"]["name"] == name.as_str());
        let revision = match existing {
            Some(set) if revision(set) == newest => newest,
            Some(set) => {
                let mut set = set.clone();
                set["metadata"]["annotations"][REVISION] = json!((newest + 1).to_string());
                // Refused only if somebody changed it meanwhile; the next look sees that.
                _ = self.cluster.replace(replica_sets(), NAMESPACE, &name, set);
                newest + 1
            }
            None => {
                _ = self.cluster.create(replica_sets(), NAMESPACE, replica_set(wanted, &name, newest + 1));
                newest + 1
            }
        };
        let mut object = wanted.object.clone();
        object["metadata"]["annotations"][REVISION] = json!(revision.to_string());
        _ = self.cluster.replace(deployments(), NAMESPACE, DEPLOYMENT, object);
    }

    /// Ends pods that were deleted through the API; new ones take their place.
    async fn end_deleted(&mut self) {
        let cluster = self.cluster.clone();
        let exists = |pod: &Pod| cluster.objects().get(pods(), NAMESPACE, &pod.name).is_some();
        self.keep_only(|pod| !pod.shown || exists(pod)).await;
    }

    fn start_missing(&mut self, wanted: &Wanted) {
        let there = self.pods.iter().filter(|pod| pod.template == wanted.hash).count();
        for _ in there..wanted.replicas {
            self.pods_made += 1;
            let name = format!("{DEPLOYMENT}-{}-{:05}", wanted.hash, self.pods_made);
            self.pods.push(Pod {
                name,
                template: wanted.hash.clone(),
                process: None,
                address: Arc::default(),
                ready: false,
                shown: false,
                waiting: Some("ContainerCreating".to_owned()),
                restarts: 0,
                start_after: Instant::now(),
            });
        }
        for index in 0..self.pods.len() {
            self.collect_ended(index);
            let pod = &self.pods[index];
            if pod.process.is_none() && pod.template == wanted.hash && Instant::now() >= pod.start_after {
                self.start_pod(index, &wanted.template);
            }
        }
        for pod in &self.pods {
            self.show_pod(pod, wanted);
        }
        self.pods.iter_mut().for_each(|pod| pod.shown = true);
    }

    /// Notices a process that ended by itself; it is started again later, as a kubelet does.
    fn collect_ended(&mut self, index: usize) {
        let pod = &mut self.pods[index];
        if pod.process.as_mut().is_some_and(Supervised::has_ended) {
            pod.process = None;
            pod.ready = false;
            pod.waiting = Some("CrashLoopBackOff".to_owned());
            pod.restarts += 1;
            pod.start_after = Instant::now() + RESTART_BACKOFF;
        }
    }

    fn start_pod(&mut self, index: usize, template: &Value) {
        let environment = self.environment(template);
        let pod = &mut self.pods[index];
        let argv = [self.exe.display().to_string(), "practice-app".to_owned()];
        let started = environment.and_then(|environment| {
            let log = self.cluster.pod_log_path(&pod.name);
            Supervised::start(&self.exe, POD_GRACE, &argv, &environment, &log).map_err(|error| error.to_string())
        });
        match started {
            Ok(mut process) => {
                pod.address = Arc::default();
                if let Some(output) = process.take_output() {
                    tokio::spawn(read_output(output, pod.address.clone(), self.cluster.pod_log_path(&pod.name)));
                }
                pod.process = Some(process);
                pod.waiting = None;
            }
            // A Secret or key that is missing: tried again until it is there.
            Err(reason) => {
                pod.waiting = Some(reason);
                pod.start_after = Instant::now() + RESTART_BACKOFF;
            }
        }
    }

    /// The first container's environment, with Secrets and ConfigMaps as they are at this moment.
    fn environment(&self, template: &Value) -> Result<Vec<(String, String)>, String> {
        let container = &template["spec"]["containers"][0];
        let tag = container["image"].as_str().and_then(|image| image.rsplit_once(':')).map_or("latest", |(_, tag)| tag);
        let mut environment = vec![
            ("APP_VERSION".to_owned(), tag.to_owned()),
            ("CONFIG_DIR".to_owned(), self.cluster.mounted(super::CONFIG_MAP).display().to_string()),
            ("FAULTS_FILE".to_owned(), self.cluster.switches.path().display().to_string()),
        ];
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap_or_default().to_owned();
            let value = match (variable["value"].as_str(), &variable["valueFrom"]) {
                (Some(value), _) => value.to_owned(),
                (None, from) => self.referenced(from)?,
            };
            environment.push((name, value));
        }
        Ok(environment)
    }

    fn referenced(&self, from: &Value) -> Result<String, String> {
        use base64::Engine as _;
        let (reference, plural) = match (&from["secretKeyRef"], &from["configMapKeyRef"]) {
            (Value::Object(reference), _) => (reference, "secrets"),
            (_, Value::Object(reference)) => (reference, "configmaps"),
            _ => return Ok(String::new()),
        };
        let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
        let missing =
            || format!("CreateContainerConfigError: {plural} \"{}\" with key \"{}\" not found", text("name"), text("key"));
        let objects = self.cluster.objects();
        let object =
            Resource::find("", plural).and_then(|resource| objects.get(resource, NAMESPACE, text("name"))).ok_or_else(missing)?;
        let value = object["data"][text("key")].as_str().ok_or_else(missing)?;
        if plural == "configmaps" {
            return Ok(value.to_owned());
        }
        let decoded =
            base64::engine::general_purpose::STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        decoded.ok_or_else(|| format!("CreateContainerConfigError: key \"{}\" of the secret is not base64 of text", text("key")))
    }

    /// Asks every pod that is not ready yet for its health.
    async fn probe(&mut self) {
        let stuck = self.cluster.switches.read().rollout_stuck;
        for pod in self.pods.iter_mut().filter(|pod| !pod.ready && pod.process.is_some()) {
            let Some(address) = pod.address.get() else {
                continue;
            };
            let answer = self.http.get(format!("http://{address}/health")).send().await;
            pod.ready = !stuck && answer.is_ok_and(|answer| answer.status().is_success());
        }
    }

    /// Leads the Service to a ready pod, of the newest template if there is one.
    fn route(&self, newest: &str) {
        let ready = || self.pods.iter().filter(|pod| pod.ready);
        let chosen = ready().find(|pod| pod.template == newest).or_else(|| ready().next());
        let chosen = chosen.and_then(|pod| pod.address.get().copied());
        self.endpoint.send_if_modified(|known| std::mem::replace(known, chosen) != chosen);
    }

    async fn keep_only(&mut self, mut keep: impl FnMut(&Pod) -> bool) {
        let (kept, ended): (Vec<Pod>, Vec<Pod>) = std::mem::take(&mut self.pods).into_iter().partition(|pod| keep(pod));
        self.pods = kept;
        for pod in ended {
            _ = self.cluster.delete(pods(), NAMESPACE, &pod.name);
            end(pod).await;
        }
    }

    /// Makes or updates the pod's object.
    fn show_pod(&self, pod: &Pod, wanted: &Wanted) {
        let former = self.cluster.objects().get(pods(), NAMESPACE, &pod.name).cloned();
        let state = match &pod.waiting {
            Some(reason) => {
                json!({ "waiting": { "reason": reason.split(':').next(), "message": reason } })
            }
            None => json!({ "running": {} }),
        };
        let status = json!({ "phase": if pod.process.is_some() { "Running" } else { "Pending" }, "podIP": "127.0.0.1",
            "conditions": [{ "type": "Ready", "status": if pod.ready { "True" } else { "False" } }],
            "containerStatuses": [{ "name": "app", "ready": pod.ready, "restartCount": pod.restarts, "state": state, "image": wanted.template["spec"]["containers"][0]["image"] }] });
        if let Some(mut object) = former {
            object["status"] = status;
            _ = self.cluster.replace(pods(), NAMESPACE, &pod.name, object);
        } else {
            let labels = json!({ "app": DEPLOYMENT, TEMPLATE_HASH: pod.template });
            let spec = wanted.template["spec"].clone();
            _ = self.cluster.create(
                pods(),
                NAMESPACE,
                json!({ "metadata": { "name": pod.name, "labels": labels }, "spec": spec, "status": status }),
            );
        }
    }

    /// Writes what `kubectl rollout status` reads.
    fn write_status(&self, wanted: &Wanted) {
        let Some(mut object) = self.cluster.objects().get(deployments(), NAMESPACE, DEPLOYMENT).cloned() else {
            return;
        };
        if object["spec"] != wanted.object["spec"] {
            // Changed while we looked: what we know is about the former one.
            return;
        }
        let count = |matches: &dyn Fn(&Pod) -> bool| self.pods.iter().filter(|pod| matches(pod)).count();
        let updated = count(&|pod| pod.template == wanted.hash);
        let ready = count(&|pod| pod.ready);
        let updated_ready = count(&|pod| pod.ready && pod.template == wanted.hash);
        let done = updated_ready >= wanted.replicas && self.pods.len() == wanted.replicas;
        let late = !done && self.rollout.as_ref().is_some_and(|rollout| rollout.since.elapsed() > wanted.deadline);
        let progressing = match (done, late) {
            (true, _) => ("True", "NewReplicaSetAvailable"),
            (false, false) => ("True", "ReplicaSetUpdated"),
            (false, true) => ("False", "ProgressDeadlineExceeded"),
        };
        let available =
            if ready >= wanted.replicas { ("True", "MinimumReplicasAvailable") } else { ("False", "MinimumReplicasUnavailable") };
        let conditions: Vec<Value> = [("Available", available), ("Progressing", progressing)]
            .map(|(kind, (status, reason))| json!({ "type": kind, "status": status, "reason": reason, "message": format!("ReplicaSet \"{DEPLOYMENT}-{}\": {reason}", wanted.hash) }))
            .into();
        object["status"] = json!({ "observedGeneration": object["metadata"]["generation"], "replicas": self.pods.len(), "updatedReplicas": updated,
            "readyReplicas": ready, "availableReplicas": ready, "unavailableReplicas": wanted.replicas.saturating_sub(ready), "conditions": conditions });
        _ = self.cluster.replace(deployments(), NAMESPACE, DEPLOYMENT, object);
    }
}

async fn end(mut pod: Pod) {
    if let Some(process) = pod.process.take() {
        process.stop().await;
    }
}

/// Learns where the application listens from the first line that it prints, and carries all lines to the pod's
/// log. It reads on when the log cannot be written, so that the application never blocks.
async fn read_output(output: tokio::process::ChildStdout, address: Arc<OnceLock<SocketAddr>>, log: PathBuf) {
    let mut log = std::fs::OpenOptions::new().append(true).open(log).ok();
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        _ = log.as_mut().map(|log| writeln!(log, "{line}"));
        if let Some(found) = line.strip_prefix("listening on ").and_then(|text| text.parse().ok()) {
            _ = address.set(found);
        }
    }
}

fn replica_set(wanted: &Wanted, name: &str, revision: u64) -> Value {
    let mut template = wanted.template.clone();
    template["metadata"]["labels"][TEMPLATE_HASH] = json!(wanted.hash);
    let owner = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": DEPLOYMENT, "uid": wanted.object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true });
    json!({
        "metadata": { "name": name, "labels": template["metadata"]["labels"], "annotations": { REVISION: revision.to_string() }, "ownerReferences": [owner] },
        "spec": { "replicas": wanted.replicas, "selector": { "matchLabels": template["metadata"]["labels"] }, "template": template },
    })
}

fn revision(set: &Value) -> u64 {
    set["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Ten hexadecimal digits of the template's digest. A template that came back through kubectl differs in
/// the order of fields and in empty ones; those do not count.
fn template_hash(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.shift_remove(TEMPLATE_HASH);
    }
    let text = canonical(&template).map(|value| value.to_string()).unwrap_or_default();
    hex::encode(Sha256::digest(text))[..10].to_owned()
}

/// Without nulls and empty things, fields in order; `None` if nothing is left.
fn canonical(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
        Value::Array(elements) => {
            let kept: Vec<Value> = elements.iter().filter_map(canonical).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        Value::Object(fields) => {
            let mut kept: Vec<(String, Value)> =
                fields.iter().filter_map(|(name, value)| Some((name.clone(), canonical(value)?))).collect();
            kept.sort_by(|(a, _), (b, _)| a.cmp(b));
            (!kept.is_empty()).then(|| Value::Object(kept.into_iter().collect::<Map<_, _>>()))
        }
    }
}

fn known(group: &str, plural: &str) -> &'static Resource {
    Resource::find(group, plural).expect("the table of kinds holds what the controller works on")
}

fn deployments() -> &'static Resource {
    known("apps", "deployments")
}

fn replica_sets() -> &'static Resource {
    known("apps", "replicasets")
}

fn pods() -> &'static Resource {
    known("", "pods")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_keeps_its_hash_on_its_way_through_kubectl() {
        let template =
            json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "app", "image": "a:1" }] } });
        let back = json!({ "spec": { "containers": [{ "image": "a:1", "name": "app", "resources": {} }] },
            "metadata": { "creationTimestamp": null, "labels": { "app": "a", TEMPLATE_HASH: "x" } } });
        assert_eq!(template_hash(&template), template_hash(&back));
        let other = json!({ "metadata": { "labels": { "app": "a" }, "annotations": { "restartedAt": "now" } }, "spec": template["spec"] });
        assert_ne!(template_hash(&template), template_hash(&other));
    }
}

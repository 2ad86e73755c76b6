//! A small model of a Kubernetes cluster, as far as the real kubectl asks for it.
//!
//! It keeps Secrets, ConfigMaps, Deployments, ReplicaSets, Pods, Services and Namespaces, speaks the three
//! patch formats and watches, and runs one Deployment, `ace-framework`, for real: every pod is a process of the
//! practice application, and the Service leads to the pods that are ready.
//!
//! What it must get right, because runbooks trip over it:
//! - **A pod keeps its environment.** A Secret is read when a pod starts and never again. So changing the
//!   Secret needs a restart, and `rollout undo` (which restores the pod template) does not bring a former
//!   Secret back.
//! - **A rollout that does not become ready leaves the old pods serving**, and fails after its progress deadline.
//! - `generation`, `observedGeneration`, revisions and conditions move as `kubectl rollout status` expects.
//!
//! Absent on purpose: everything else of Kubernetes. An unknown path answers 404 as for a missing API.

mod api;
mod objects;
mod patch;
mod rollout;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::entrance;
use super::faults::Switches;
use super::write_private;
use objects::{Objects, Refusal, Resource};

/// The namespace of the practice application, and of the kubeconfig's context.
pub const NAMESPACE: &str = "ace";
/// The Deployment, its Service and its label `app`.
pub const DEPLOYMENT: &str = "ace-framework";
/// The Secret with the key [`SECRET_KEY`].
pub const SECRET: &str = "ace-framework-db";
/// The key of the database's address, and the variable that the pods see it in.
pub const SECRET_KEY: &str = "DATABASE_URL";
/// The ConfigMap that the pods have mounted; its key `maintenance` is `on` or `off`.
pub const CONFIG_MAP: &str = "ace-framework-config";
/// The application's version at the beginning: the tag of its image.
pub const VERSION: &str = "1.4.2";

/// How many requests are remembered; older ones are forgotten.
const REQUESTS_MAX: usize = 10_000;
/// Seconds until a rollout without progress has failed; Kubernetes' default of 600 is long for practice.
const PROGRESS_DEADLINE_SECS: u32 = 30;

/// One request that the API answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PATCH`, ...
    pub method: String,
    /// Path and query, without the token; `(refused)` if it was not shown.
    pub uri: String,
    /// The HTTP status of the answer.
    pub status: u16,
}

/// What the model needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `pointsman` program, which is supervisor and application.
    pub exe: PathBuf,
    /// An existing directory of the model's own.
    pub directory: PathBuf,
    /// What the Secret holds at the beginning.
    pub database_url: String,
    /// The token that clients must show; letters and digits.
    pub token: String,
    /// The fault switches.
    pub switches: Switches,
}

/// The running model. Dropping it ends its processes; [`Self::stop`] also waits for them.
#[derive(Debug)]
pub struct Kubernetes {
    cluster: Arc<Cluster>,
    kubeconfig: PathBuf,
    api: SocketAddr,
    service: SocketAddr,
    endpoints: watch::Receiver<Option<SocketAddr>>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Kubernetes {
    /// Starts the API on a free loopback port, deploys the application, and writes a kubeconfig.
    /// Returns at once; the first pod becomes ready soon after.
    ///
    /// # Errors
    /// A port or a file cannot be had; nothing is left running.
    pub async fn start(options: Options) -> io::Result<Self> {
        let kubeconfig = options.directory.join("kubeconfig");
        let (listener, entrance) =
            (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let (api, service) = (listener.local_addr()?, entrance.local_addr()?);
        let cluster = Arc::new(Cluster::new(&options));
        cluster.install(&options, service).map_err(|refusal| io::Error::other(refusal.message))?;
        write_private(&kubeconfig, &kubeconfig_text(api, &options.token))?;
        let stop = CancellationToken::new();
        let (endpoint, endpoints) = watch::channel(None);
        let controller = rollout::Controller::new(cluster.clone(), &options, endpoint)?;
        let router = api::router(cluster.clone());
        let ending = stop.clone();
        let tasks = vec![
            tokio::spawn(async move {
                // Watches never end by themselves, so there is nothing to wait for.
                tokio::select! { _ = axum::serve(listener, router) => {}, () = ending.cancelled() => {} }
            }),
            tokio::spawn(entrance::run(entrance, endpoints.clone(), stop.clone())),
            tokio::spawn(controller.run(stop.clone())),
        ];
        Ok(Self { cluster, kubeconfig, api, service, endpoints, stop, tasks })
    }

    /// The file for `KUBECONFIG`. It holds the token: a secret.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `http://127.0.0.1:PORT` of the API; without the token, hence not enough to use it.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// `http://127.0.0.1:PORT` of the application's Service: the same for the life of the model, whatever pod is behind it.
    #[must_use]
    pub fn service_url(&self) -> String {
        format!("http://{}", self.service)
    }

    /// The newest requests, in the order of their answers.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.cluster.requests.lock().expect("no code panics while it holds the log").iter().cloned().collect()
    }

    /// Returns `look`'s answer as soon as it has one, asking it again after every change of an object and of what is
    /// behind the Service.
    pub async fn wait_for<T>(&self, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let (mut objects, mut endpoints) = (self.cluster.changed(), self.endpoints.clone());
        loop {
            objects.mark_unchanged();
            endpoints.mark_unchanged();
            if let Some(found) = look().await {
                return found;
            }
            // Both senders live as long as the model does.
            tokio::select! { _ = objects.changed() => {}, _ = endpoints.changed() => {} }
        }
    }

    /// An object as the API would show it, by group (empty for core), plural name and name.
    #[must_use]
    pub fn object(&self, group: &str, plural: &str, name: &str) -> Option<Value> {
        self.cluster.objects().get(Resource::find(group, plural)?, NAMESPACE, name).cloned()
    }

    /// Ends everything and waits until the pods' processes are gone.
    pub async fn stop(mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            // One that panicked has ended too.
            let _ = task.await;
        }
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The state that API and controller share.
#[derive(Debug)]
struct Cluster {
    objects: Mutex<Objects>,
    changed: watch::Sender<u64>,
    requests: Mutex<VecDeque<Request>>,
    token: String,
    switches: Switches,
    directory: PathBuf,
}

impl Cluster {
    fn new(options: &Options) -> Self {
        Self {
            objects: Mutex::default(),
            changed: watch::Sender::new(0),
            requests: Mutex::default(),
            token: options.token.clone(),
            switches: options.switches.clone(),
            directory: options.directory.clone(),
        }
    }

    /// The objects; never held across an await.
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().expect("no code panics while it holds the objects")
    }

    /// Wakes when an object changes.
    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn create(&self, resource: &'static Resource, namespace: &str, object: Value) -> Result<Value, Refusal> {
        let created = self.objects().create(resource, namespace, object, &now());
        self.announce(resource, created)
    }

    fn replace(&self, resource: &'static Resource, namespace: &str, name: &str, object: Value) -> Result<Value, Refusal> {
        let replaced = self.objects().replace(resource, namespace, name, object);
        self.announce(resource, replaced)
    }

    fn delete(&self, resource: &'static Resource, namespace: &str, name: &str) -> Result<Value, Refusal> {
        let deleted = self.objects().delete(resource, namespace, name);
        self.announce(resource, deleted)
    }

    fn announce(&self, resource: &Resource, done: Result<Value, Refusal>) -> Result<Value, Refusal> {
        if let Ok(object) = &done {
            if resource.kind == "ConfigMap" {
                self.mount(object).map_err(|error| Refusal::new(500, "InternalError", error.to_string()))?;
            }
            let version = self.objects().version();
            // Who writes what is there already wakes nobody: the controller, which writes at each look, would never rest.
            self.changed.send_if_modified(|known| std::mem::replace(known, version) != version);
        }
        done
    }

    /// Writes a ConfigMap to where the pods see it, as a kubelet does with a mounted one.
    fn mount(&self, config_map: &Value) -> io::Result<()> {
        let directory = self.mounted(config_map["metadata"]["name"].as_str().unwrap_or_default());
        std::fs::create_dir_all(&directory)?;
        for (key, value) in config_map["data"].as_object().into_iter().flatten() {
            // The API server allows no slash in a key; neither do we let one lead out of the directory.
            if !key.contains('/') && !key.starts_with('.') {
                std::fs::write(directory.join(key), value.as_str().unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn mounted(&self, config_map: &str) -> PathBuf {
        self.directory.join("config").join(config_map.replace(['/', '.'], "_"))
    }

    fn pod_log_path(&self, pod: &str) -> PathBuf {
        self.directory.join(format!("pod-{}.log", pod.replace(['/', '.'], "_")))
    }

    fn pod_log(&self, pod: &str) -> String {
        std::fs::read_to_string(self.pod_log_path(pod)).unwrap_or_default()
    }

    fn log(&self, request: Request) {
        let mut requests = self.requests.lock().expect("no code panics while it holds the log");
        requests.push_back(request);
        if requests.len() > REQUESTS_MAX {
            requests.pop_front();
        }
    }

    /// What stands in the cluster before anybody asks.
    fn install(&self, options: &Options, service: SocketAddr) -> Result<(), Refusal> {
        let labels = json!({ "app": DEPLOYMENT });
        let create = |group, plural, namespace, object| {
            let resource = Resource::find(group, plural).ok_or_else(|| Refusal::not_found("resources", plural))?;
            self.create(resource, namespace, object)
        };
        for namespace in ["default", NAMESPACE] {
            create("", "namespaces", "", json!({ "metadata": { "name": namespace }, "status": { "phase": "Active" } }))?;
        }
        create(
            "",
            "secrets",
            NAMESPACE,
            json!({ "metadata": { "name": SECRET }, "type": "Opaque", "stringData": { SECRET_KEY: options.database_url } }),
        )?;
        create("", "configmaps", NAMESPACE, json!({ "metadata": { "name": CONFIG_MAP }, "data": { "maintenance": "off" } }))?;
        create(
            "",
            "services",
            NAMESPACE,
            json!({ "metadata": { "name": DEPLOYMENT, "labels": labels },
            "spec": { "selector": labels, "clusterIP": service.ip().to_string(), "ports": [{ "port": service.port(), "targetPort": 8080 }] } }),
        )?;
        create("apps", "deployments", NAMESPACE, deployment())?;
        Ok(())
    }
}

fn deployment() -> Value {
    let labels = json!({ "app": DEPLOYMENT });
    let container = json!({
        "name": "app", "image": format!("{DEPLOYMENT}:{VERSION}"), "imagePullPolicy": "IfNotPresent",
        "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
        "env": [{ "name": SECRET_KEY, "valueFrom": { "secretKeyRef": { "name": SECRET, "key": SECRET_KEY } } }],
        "readinessProbe": { "httpGet": { "path": "/health", "port": 8080 }, "periodSeconds": 1 },
        "volumeMounts": [{ "name": "config", "mountPath": "/etc/ace" }],
    });
    json!({
        "metadata": { "name": DEPLOYMENT, "labels": labels },
        "spec": {
            "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": PROGRESS_DEADLINE_SECS, "selector": { "matchLabels": labels },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [container], "volumes": [{ "name": "config", "configMap": { "name": CONFIG_MAP } }] },
            },
        },
    })
}

/// The time as the API writes it.
fn now() -> String {
    crate::clock::wall_now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn kubeconfig_text(api: SocketAddr, token: &str) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "practice", "preferences": {},
        "clusters": [{ "name": "practice", "cluster": { "server": format!("http://{api}/{token}") } }],
        "users": [{ "name": "operator", "user": {} }],
        "contexts": [{ "name": "practice", "context": { "cluster": "practice", "user": "operator", "namespace": NAMESPACE } }],
    });
    // JSON is YAML, and kubectl reads it as such.
    config.to_string()
}

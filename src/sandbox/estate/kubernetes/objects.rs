//! The objects that the Kubernetes model holds, with versions and a log of changes for watchers.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

/// Changes kept for watchers; one that asks for older ones is told to list again (410), as in the original.
const LOG_MAX: usize = 5_000;

/// A kind of object that the model knows.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Resource {
    /// Empty for the core group.
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    pub(super) kind: &'static str,
    pub(super) short: &'static [&'static str],
    pub(super) namespaced: bool,
}

/// All kinds; what is not here answers 404.
pub(super) static RESOURCES: &[Resource] = &[
    Resource { group: "", plural: "namespaces", singular: "namespace", kind: "Namespace", short: &["ns"], namespaced: false },
    Resource { group: "", plural: "secrets", singular: "secret", kind: "Secret", short: &[], namespaced: true },
    Resource { group: "", plural: "configmaps", singular: "configmap", kind: "ConfigMap", short: &["cm"], namespaced: true },
    Resource { group: "", plural: "pods", singular: "pod", kind: "Pod", short: &["po"], namespaced: true },
    Resource { group: "", plural: "services", singular: "service", kind: "Service", short: &["svc"], namespaced: true },
    Resource {
        group: "apps",
        plural: "deployments",
        singular: "deployment",
        kind: "Deployment",
        short: &["deploy"],
        namespaced: true,
    },
    Resource {
        group: "apps",
        plural: "replicasets",
        singular: "replicaset",
        kind: "ReplicaSet",
        short: &["rs"],
        namespaced: true,
    },
];

impl Resource {
    /// The kind of this plural name in this group.
    pub(super) fn find(group: &str, plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.group == group && resource.plural == plural)
    }

    /// `v1` or `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }
}

/// Where an object is: its kind's plural name, its namespace (empty if it has none), its name.
pub(super) type Key = (&'static str, String, String);

/// One change, as a watcher gets it.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(super) kind: &'static str,
    pub(super) resource: &'static str,
    pub(super) object: Value,
}

/// Why the model refuses, as the API would say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    pub(super) fn not_found(plural: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{plural} \"{name}\" not found"))
    }

    /// The `Status` object that goes into the answer.
    pub(super) fn body(&self) -> Value {
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message, "reason": self.reason, "code": self.code })
    }
}

/// All objects of the cluster.
#[derive(Debug, Default, Clone)]
pub(super) struct Objects {
    version: u64,
    items: BTreeMap<Key, Value>,
    log: VecDeque<Change>,
}

impl Objects {
    /// The version of the newest change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<&Value> {
        self.items.get(&(resource.plural, namespace.to_owned(), name.to_owned()))
    }

    /// Objects of a kind that match, by namespace and name.
    pub(super) fn list(&self, resource: &Resource, filter: &Filter) -> Vec<Value> {
        let of_kind = self.items.iter().filter(|((plural, ..), _)| *plural == resource.plural);
        of_kind.map(|(_, object)| object).filter(|object| filter.matches(object)).cloned().collect()
    }

    /// Stores a new object. Fills in what the server owns: uid, versions, creation time, generation.
    pub(super) fn create(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        mut object: Value,
        now: &str,
    ) -> Result<Value, Refusal> {
        let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) else {
            return Err(Refusal::new(422, "Invalid", format!("{} has no metadata.name", resource.kind)));
        };
        let key = (resource.plural, namespace.to_owned(), name.clone());
        if self.items.contains_key(&key) {
            return Err(Refusal::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", resource.plural)));
        }
        object["apiVersion"] = json!(resource.api_version());
        object["kind"] = json!(resource.kind);
        if resource.namespaced {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", self.version + 1));
        object["metadata"]["creationTimestamp"] = json!(now);
        if object.get("spec").is_some() {
            object["metadata"]["generation"] = json!(1);
        }
        normalise(resource, &mut object);
        Ok(self.store(key, "ADDED", object))
    }

    /// Stores a changed object. The generation grows with the spec; what the server owns stays.
    /// An unchanged object is no change.
    pub(super) fn replace(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        mut object: Value,
    ) -> Result<Value, Refusal> {
        let key = (resource.plural, namespace.to_owned(), name.to_owned());
        let former = self.items.get(&key).ok_or_else(|| Refusal::not_found(resource.plural, name))?;
        let given = object["metadata"]["resourceVersion"].as_str();
        if given.is_some_and(|given| former["metadata"]["resourceVersion"] != given) {
            let message = format!(
                "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your changes to the latest version and try again",
                resource.plural
            );
            return Err(Refusal::new(409, "Conflict", message));
        }
        normalise(resource, &mut object);
        for owned in ["uid", "creationTimestamp", "name", "namespace", "generation", "resourceVersion"] {
            match former["metadata"].get(owned) {
                Some(value) => object["metadata"][owned] = value.clone(),
                None => _ = object["metadata"].as_object_mut().and_then(|metadata| metadata.shift_remove(owned)),
            }
        }
        if object == *former {
            return Ok(object);
        }
        if object.get("spec") != former.get("spec") {
            object["metadata"]["generation"] = json!(former["metadata"]["generation"].as_u64().unwrap_or(1) + 1);
        }
        Ok(self.store(key, "MODIFIED", object))
    }

    pub(super) fn delete(&mut self, resource: &'static Resource, namespace: &str, name: &str) -> Result<Value, Refusal> {
        let key = (resource.plural, namespace.to_owned(), name.to_owned());
        let object = self.items.remove(&key).ok_or_else(|| Refusal::not_found(resource.plural, name))?;
        self.version += 1;
        self.remember("DELETED", resource.plural, object.clone());
        Ok(object)
    }

    /// What happened after `version` to matching objects of a kind; `None` if the log does not reach so far back.
    pub(super) fn changes_since(&self, version: u64, resource: &Resource, filter: &Filter) -> Option<Vec<Change>> {
        let oldest = self.log.front().map_or(self.version + 1, |change| change.version);
        if version + 1 < oldest && version < self.version {
            return None;
        }
        let newer = self.log.iter().filter(|change| change.version > version && change.resource == resource.plural);
        Some(newer.filter(|change| filter.matches(&change.object)).cloned().collect())
    }

    fn store(&mut self, key: Key, kind: &'static str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.remember(kind, key.0, object.clone());
        self.items.insert(key, object.clone());
        object
    }

    fn remember(&mut self, kind: &'static str, resource: &'static str, object: Value) {
        self.log.push_back(Change { version: self.version, kind, resource, object });
        if self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
    }
}

/// What the API server does to an object before it stores it: `stringData` of a Secret becomes `data`.
fn normalise(resource: &Resource, object: &mut Value) {
    use base64::Engine as _;
    if resource.kind != "Secret" {
        return;
    }
    let Some(Value::Object(plain)) = object.as_object_mut().and_then(|fields| fields.shift_remove("stringData")) else {
        return;
    };
    for (name, value) in plain {
        let text = value.as_str().unwrap_or_default();
        object["data"][name] = json!(base64::engine::general_purpose::STANDARD.encode(text));
    }
}

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// `None` for all namespaces.
    pub(super) namespace: Option<String>,
    /// Label name and value that must be there.
    pub(super) labels: Vec<(String, String)>,
    /// Only `metadata.name` and `metadata.namespace` are known to the model.
    pub(super) fields: Vec<(String, String)>,
}

impl Filter {
    /// Reads selectors as `a=b,c==d`.
    pub(super) fn parse(namespace: Option<&str>, labels: Option<&str>, fields: Option<&str>) -> Result<Self, Refusal> {
        Ok(Self { namespace: namespace.map(str::to_owned), labels: parse_selector(labels)?, fields: parse_selector(fields)? })
    }

    fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let at = |value: &Value, expected: &str| value.as_str() == Some(expected);
        self.namespace.as_ref().is_none_or(|namespace| at(&metadata["namespace"], namespace))
            && self.labels.iter().all(|(name, value)| at(&metadata["labels"][name], value))
            && self.fields.iter().all(|(name, value)| {
                object.pointer(&format!("/{}", name.replace('.', "/"))).is_some_and(|found| at(found, value))
            })
    }
}

fn parse_selector(text: Option<&str>) -> Result<Vec<(String, String)>, Refusal> {
    let requirements = text.unwrap_or_default().split(',').filter(|requirement| !requirement.is_empty());
    requirements
        .map(|requirement| {
            let (name, value) = requirement.split_once('=').filter(|(name, _)| !name.ends_with('!')).ok_or_else(|| {
                Refusal::new(400, "BadRequest", format!("the selector `{requirement}` is not supported here; use name=value"))
            })?;
            Ok((name.to_owned(), value.trim_start_matches('=').to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> &'static Resource {
        Resource::find("", "secrets").expect("is known")
    }

    fn deployments() -> &'static Resource {
        Resource::find("apps", "deployments").expect("is known")
    }

    #[test]
    fn the_generation_follows_the_spec_and_not_the_status() {
        let mut objects = Objects::default();
        let mut object = objects
            .create(deployments(), "ace", json!({"metadata": {"name": "a"}, "spec": {"replicas": 1}}), "now")
            .expect("creates");
        object["status"] = json!({"replicas": 1});
        let object = objects.replace(deployments(), "ace", "a", object).expect("replaces");
        assert_eq!(object["metadata"]["generation"], 1);
        let mut changed = object.clone();
        changed["spec"]["replicas"] = json!(2);
        assert_eq!(objects.replace(deployments(), "ace", "a", changed).expect("replaces")["metadata"]["generation"], 2);
        // The first object is out of date by now.
        assert_eq!(objects.replace(deployments(), "ace", "a", object).expect_err("is refused").reason, "Conflict");
    }

    #[test]
    fn string_data_becomes_data() {
        let mut objects = Objects::default();
        let secret = objects
            .create(secrets(), "ace", json!({"metadata": {"name": "s"}, "stringData": {"K": "v"}}), "now")
            .expect("creates");
        assert_eq!((secret["data"]["K"].as_str(), secret.get("stringData")), (Some("dg=="), None));
    }

    #[test]
    fn watchers_get_what_they_missed_and_nothing_else() {
        let mut objects = Objects::default();
        objects.create(secrets(), "ace", json!({"metadata": {"name": "one"}}), "now").expect("creates");
        let since = objects.version();
        objects.create(secrets(), "ace", json!({"metadata": {"name": "two"}}), "now").expect("creates");
        objects.create(secrets(), "other", json!({"metadata": {"name": "three"}}), "now").expect("creates");
        objects.delete(secrets(), "ace", "one").expect("deletes");
        let filter = Filter::parse(Some("ace"), None, None).expect("parses");
        let kinds: Vec<&str> =
            objects.changes_since(since, secrets(), &filter).expect("reaches back").iter().map(|change| change.kind).collect();
        assert_eq!(kinds, ["ADDED", "DELETED"]);
    }
}

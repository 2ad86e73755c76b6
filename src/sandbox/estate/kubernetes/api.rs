//! The HTTP side of the Kubernetes model: the endpoints that kubectl asks for, found with `kubectl -v=8`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::objects::{Change, Filter, RESOURCES, Refusal, Resource};
use super::{Cluster, Request as Logged, patch};

/// A watch ends after this long unless the client asks for less; clients start a new one.
const WATCH_MAX: Duration = Duration::from_secs(300);
/// The largest object that is taken, as etcd's default.
const BODY_BYTES_MAX: usize = 1_572_864;

pub(super) fn router(cluster: Arc<Cluster>) -> Router {
    Router::new()
        .fallback(dispatch)
        .layer(middleware::from_fn_with_state(cluster.clone(), guard))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(cluster)
}

/// Logs, checks the token, and refuses everything while that fault is on.
///
/// The token is the first part of the path: kubectl sends a bearer token over TLS only, and a certificate
/// authority for practice on loopback would be more to go wrong than it protects.
async fn guard(State(cluster): State<Arc<Cluster>>, mut request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let uri = request.uri().to_string();
    let known =
        uri.strip_prefix('/').and_then(|rest| rest.strip_prefix(&cluster.token)).and_then(|rest| rest.parse::<Uri>().ok());
    let shown = known.as_ref().map_or_else(|| "(refused)".to_owned(), Uri::to_string);
    let response = match known {
        _ if cluster.switches.read().api_refuses => {
            Refusal::new(503, "ServiceUnavailable", "the practice API server refuses, as it was told to").into_response()
        }
        None => Refusal::new(401, "Unauthorized", "Unauthorized").into_response(),
        Some(uri) => {
            *request.uri_mut() = uri;
            next.run(request).await
        }
    };
    cluster.log(Logged { method, uri: shown, status: response.status().as_u16() });
    response
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(self.body())).into_response()
    }
}

/// What is answered whatever the cluster holds.
fn fixed(path: &str) -> Option<Value> {
    let version = json!({ "groupVersion": "apps/v1", "version": "v1" });
    match path {
        "/version" => Some(json!({ "major": "1", "minor": "30", "gitVersion": "v1.30.0-practice", "platform": "linux/amd64" })),
        "/api" => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        "/apis" => Some(
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [{ "name": "apps", "versions": [version], "preferredVersion": version }] }),
        ),
        _ => None,
    }
}

/// What a path names: `/api/v1/...` or `/apis/apps/v1/...`.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// The list of a group's kinds.
    Discovery(String),
    /// A kind, in one namespace, in all, or without one.
    Collection(&'static Resource, Option<String>),
    /// An object, or a part of it (`scale`, `status`, `log`).
    Object { resource: &'static Resource, namespace: String, name: String, part: Option<String> },
}

fn parse_target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, "v1", rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        [] => return Some(Target::Discovery(group.to_owned())),
        // A namespace is an object too; more behind it means something inside it.
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
        _ => (None, rest),
    };
    let resource = Resource::find(group, rest.first()?)?;
    match rest {
        [_] => Some(Target::Collection(resource, namespace)),
        [_, name, part @ ..] if part.len() <= 1 && resource.namespaced == namespace.is_some() => Some(Target::Object {
            resource,
            namespace: namespace.unwrap_or_default(),
            name: (*name).to_owned(),
            part: part.first().map(|part| (*part).to_owned()),
        }),
        _ => None,
    }
}

async fn dispatch(
    State(cluster): State<Arc<Cluster>>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(answer) = fixed(uri.path()) {
        return Json(answer).into_response();
    }
    let asked = |name: &str| query.get(name).is_some_and(|value| value == "true" || value == "1");
    if query.get("dryRun").is_some_and(|value| value == "All") && method != Method::GET {
        return rehearse(&cluster, parse_target(uri.path()), &method, &headers, &body)
            .map_or_else(IntoResponse::into_response, |(status, value)| (status, Json(value)).into_response());
    }
    let answer = match (parse_target(uri.path()), method) {
        (Some(Target::Discovery(group)), Method::GET) => discovery(&group),
        (Some(Target::Collection(resource, namespace)), Method::GET) if asked("watch") => {
            return watch(cluster, resource, namespace, &query).unwrap_or_else(IntoResponse::into_response);
        }
        (Some(Target::Collection(resource, namespace)), Method::GET) => list(&cluster, resource, namespace.as_deref(), &query),
        (Some(Target::Collection(resource, namespace)), Method::POST) => parse(&body)
            .and_then(|object| cluster.create(resource, namespace.as_deref().unwrap_or_default(), object))
            .map(|object| (StatusCode::CREATED, object)),
        (Some(Target::Object { resource, namespace, name, part }), method) => match (part.as_deref(), method) {
            (Some("log"), Method::GET) if resource.kind == "Pod" => {
                return cluster.pod_log(&name).into_response();
            }
            (part, method) => object(&cluster, (resource, &namespace, &name), part, &method, &headers, &body),
        },
        _ => Err(Refusal::new(404, "NotFound", "the server could not find the requested resource")),
    };
    answer.map_or_else(IntoResponse::into_response, |(status, value)| (status, Json(value)).into_response())
}

type Answer = Result<(StatusCode, Value), Refusal>;

fn parse(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new(400, "BadRequest", format!("the body is not JSON: {error}")))
}

fn discovery(group: &str) -> Answer {
    let verbs = json!(["create", "delete", "get", "list", "patch", "update", "watch"]);
    let known: Vec<&Resource> = RESOURCES.iter().filter(|resource| resource.group == group).collect();
    let version = known
        .first()
        .ok_or_else(|| Refusal::new(404, "NotFound", "the server could not find the requested resource"))?
        .api_version();
    let mut resources: Vec<Value> = known
        .iter()
        .map(|resource| {
            json!({ "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.kind,
                "verbs": verbs, "shortNames": resource.short, "categories": ["all"] })
        })
        .collect();
    if group == "apps" {
        resources.push(
            json!({ "name": "deployments/scale", "singularName": "", "namespaced": true, "group": "autoscaling", "version": "v1",
            "kind": "Scale", "verbs": ["get", "patch", "update"] }),
        );
    }
    Ok((
        StatusCode::OK,
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources }),
    ))
}

fn filter(namespace: Option<&str>, query: &BTreeMap<String, String>) -> Result<Filter, Refusal> {
    let selector = |name: &str| query.get(name).map(String::as_str);
    Filter::parse(namespace, selector("labelSelector"), selector("fieldSelector"))
}

fn list(cluster: &Cluster, resource: &'static Resource, namespace: Option<&str>, query: &BTreeMap<String, String>) -> Answer {
    let filter = filter(namespace, query)?;
    let objects = cluster.objects();
    let metadata = json!({ "resourceVersion": objects.version().to_string() });
    let list = json!({ "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(), "metadata": metadata, "items": objects.list(resource, &filter) });
    Ok((StatusCode::OK, list))
}

/// What one object, or a part of it, is asked or told.
fn object(
    cluster: &Cluster,
    at: (&'static Resource, &str, &str),
    part: Option<&str>,
    method: &Method,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer {
    let (resource, namespace, name) = at;
    let found =
        || cluster.objects().get(resource, namespace, name).cloned().ok_or_else(|| Refusal::not_found(resource.plural, name));
    let patched = |former: &Value| patched(headers, former, body);
    let replaced = |object: Value| Ok((StatusCode::OK, cluster.replace(resource, namespace, name, object)?));
    match (part, method.as_str()) {
        (None, "GET") => Ok((StatusCode::OK, found()?)),
        (None, "PUT") => replaced(parse(body)?),
        (None, "PATCH") => replaced(patched(&found()?)?),
        (None, "DELETE") => Ok((StatusCode::OK, cluster.delete(resource, namespace, name)?)),
        (Some("scale"), "GET") => Ok((StatusCode::OK, scale(&found()?))),
        (Some("scale"), "PUT" | "PATCH") => {
            let former = found()?;
            let wanted = if method == Method::PUT { parse(body)? } else { patched(&scale(&former))? };
            let mut object = former;
            object["spec"]["replicas"] = wanted["spec"]["replicas"].clone();
            Ok((StatusCode::OK, scale(&cluster.replace(resource, namespace, name, object)?)))
        }
        _ => Err(Refusal::new(405, "MethodNotAllowed", format!("the practice API does not know {method} here"))),
    }
}

/// A request with `dryRun=All`: everything but storing it.
fn rehearse(cluster: &Cluster, target: Option<Target>, method: &Method, headers: &HeaderMap, body: &[u8]) -> Answer {
    let mut objects = cluster.objects().clone();
    match (target, method.as_str()) {
        (Some(Target::Collection(resource, namespace)), "POST") => {
            let namespace = namespace.unwrap_or_default();
            objects.create(resource, &namespace, parse(body)?, &super::now()).map(|object| (StatusCode::CREATED, object))
        }
        (Some(Target::Object { resource, namespace, name, part: None }), "PATCH") => {
            let found = objects.get(resource, &namespace, &name).cloned();
            let former = found.ok_or_else(|| Refusal::not_found(resource.plural, &name))?;
            let object = patched(headers, &former, body)?;
            objects.replace(resource, &namespace, &name, object).map(|object| (StatusCode::OK, object))
        }
        _ => Err(Refusal::new(405, "MethodNotAllowed", format!("the practice API does not rehearse {method} here"))),
    }
}

fn patched(headers: &HeaderMap, former: &Value, body: &[u8]) -> Result<Value, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let patch = parse(body)?;
    patch::apply(content_type, former, &patch).map_err(|error| Refusal::new(422, "Invalid", error.to_string()))
}

fn scale(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": { "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"] },
        "spec": { "replicas": object["spec"]["replicas"] }, "status": { "replicas": object["status"]["replicas"].as_u64().unwrap_or(0) } })
}

/// Streams changes as lines of JSON, from the given version on, or from what there is now.
fn watch(
    cluster: Arc<Cluster>,
    resource: &'static Resource,
    namespace: Option<String>,
    query: &BTreeMap<String, String>,
) -> Result<Response, Refusal> {
    if query.get("sendInitialEvents").is_some_and(|value| value == "true") {
        // As a server without that feature; clients then list and watch.
        return Err(Refusal::new(422, "Invalid", "sendInitialEvents is forbidden: the WatchList feature is disabled"));
    }
    let filter = filter(namespace.as_deref(), query)?;
    let limit =
        query.get("timeoutSeconds").and_then(|secs| secs.parse().ok()).map_or(WATCH_MAX, Duration::from_secs).min(WATCH_MAX);
    let since = query.get("resourceVersion").and_then(|version| version.parse().ok()).filter(|version| *version > 0);
    let mut first = String::new();
    let since = since.unwrap_or_else(|| {
        let objects = cluster.objects();
        first = objects.list(resource, &filter).iter().map(|object| line("ADDED", object)).collect();
        objects.version()
    });
    let stream = Stream { changed: cluster.changed(), cluster, resource, filter, since, ends: Instant::now() + limit };
    let later = futures_util::stream::unfold(Some(stream), |stream| async { stream?.next().await });
    let all = futures_util::StreamExt::chain(futures_util::stream::iter([Ok::<_, Infallible>(first)]), later);
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(all)).into_response())
}

struct Stream {
    cluster: Arc<Cluster>,
    changed: tokio::sync::watch::Receiver<u64>,
    resource: &'static Resource,
    filter: Filter,
    since: u64,
    ends: Instant,
}

impl Stream {
    /// The next lines and what comes after them; `None` ends the answer.
    async fn next(mut self) -> Option<(Result<String, Infallible>, Option<Self>)> {
        loop {
            let (changes, version) = {
                self.changed.mark_unchanged();
                let objects = self.cluster.objects();
                (objects.changes_since(self.since, self.resource, &self.filter), objects.version())
            };
            let Some(changes) = changes else {
                return Some((Ok(line("ERROR", &Refusal::new(410, "Expired", "too old resource version").body())), None));
            };
            self.since = version;
            if !changes.is_empty() {
                let lines = changes.iter().map(|Change { kind, object, .. }| line(kind, object)).collect();
                return Some((Ok(lines), Some(self)));
            }
            // Time over, or the model is ending.
            timeout_at(self.ends, self.changed.changed()).await.ok()?.ok()?;
        }
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_kinds_and_objects() {
        let deployments = Resource::find("apps", "deployments").expect("is known");
        let namespaces = Resource::find("", "namespaces").expect("is known");
        let part = |part: Option<&str>| Target::Object {
            resource: deployments,
            namespace: "ace".into(),
            name: "a".into(),
            part: part.map(str::to_owned),
        };
        for (path, expected) in [
            ("/api/v1", Some(Target::Discovery(String::new()))),
            ("/apis/apps/v1/deployments", Some(Target::Collection(deployments, None))),
            ("/apis/apps/v1/namespaces/ace/deployments", Some(Target::Collection(deployments, Some("ace".into())))),
            ("/apis/apps/v1/namespaces/ace/deployments/a", Some(part(None))),
            ("/apis/apps/v1/namespaces/ace/deployments/a/scale", Some(part(Some("scale")))),
            ("/api/v1/namespaces", Some(Target::Collection(namespaces, None))),
            (
                "/api/v1/namespaces/ace",
                Some(Target::Object { resource: namespaces, namespace: String::new(), name: "ace".into(), part: None }),
            ),
            ("/apis/batch/v1/namespaces/ace/jobs", None),
            ("/healthz", None),
        ] {
            assert_eq!(parse_target(path), expected, "{path}");
        }
    }
}

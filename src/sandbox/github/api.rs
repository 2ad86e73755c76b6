//! The REST API. Shapes and refusals after <https://docs.github.com/en/rest/issues>.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State as Shared};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::act::Access;
use super::faults::Misbehaviour;
use super::state::{Comment, Issue, Repository, Request, State};
use super::{BOT, Model, TOKEN};
use crate::domain::Timestamp;
use crate::domain::issue::{ASSIGNEES_MAX, BODY_CHARS_MAX, LABEL_CHARS_MAX, LABELS_MAX, TITLE_CHARS_MAX};

/// What stands before the API's paths, as on GitHub Enterprise Server.
pub(super) const PREFIX: &str = "/api/v3";
/// Bytes of a request: the longest body in the longest encoding, and room for the rest.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Source: <https://docs.github.com/en/rest/about-the-rest-api/api-versions>.
const API_VERSION: &str = "2022-11-28";
/// Items on a page unless asked otherwise, and at most.
const PAGE_LEN: usize = 30;
const PAGE_LEN_MAX: usize = 100;

/// A request, read.
struct Call {
    method: String,
    segments: Vec<String>,
    query: HashMap<String, String>,
    raw_query: String,
    headers: axum::http::HeaderMap,
    body: Value,
}

/// An answer, not yet on its way.
struct Reply {
    status: u16,
    body: Value,
    headers: Vec<(&'static str, String)>,
    modelled: bool,
}

impl Reply {
    fn of(status: u16, body: Value) -> Self {
        Self { status, body, headers: Vec::new(), modelled: true }
    }

    fn refused(status: u16, message: &str) -> Self {
        Self::of(
            status,
            json!({ "message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string() }),
        )
    }

    fn invalid(field: &str, code: &str, value: &Value) -> Self {
        let error = json!({ "resource": "Issue", "field": field, "code": code, "value": value });
        Self::of(422, json!({ "message": "Validation Failed", "errors": [error] }))
    }
}

pub(super) async fn answer(Shared(model): Shared<Model>, request: HttpRequest) -> Response {
    let Some(call) = read(request).await else { return StatusCode::NOT_FOUND.into_response() };
    let (reply, misbehaviour) = model.with(|state| serve(state, &call));
    misbehave(respond(&reply), misbehaviour).await
}

/// `None` if it is not for the API, or too large to be read.
async fn read(request: HttpRequest) -> Option<Call> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix(PREFIX)?.to_owned();
    let bytes = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await.ok()?;
    let raw_query = parts.uri.query().unwrap_or_default().to_owned();
    Some(Call {
        method: parts.method.to_string(),
        segments: path.split('/').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect(),
        query: url::form_urlencoded::parse(raw_query.as_bytes()).into_owned().collect(),
        raw_query,
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    })
}

fn respond(reply: &Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match &reply.body {
        Value::Null => status.into_response(),
        body => (status, axum::Json(body.clone())).into_response(),
    };
    for (name, value) in &reply.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Applies the part of a fault that concerns the answer.
async fn misbehave(response: Response, misbehaviour: Option<Misbehaviour>) -> Response {
    match misbehaviour {
        Some(Misbehaviour::Silent | Misbehaviour::SilentAfterEffect) => std::future::pending().await,
        Some(Misbehaviour::AnswerLost) => {
            let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            let broken = futures_util::stream::once(async { Err::<bytes::Bytes, _>(lost) });
            (response.status(), Body::from_stream(broken)).into_response()
        }
        Some(Misbehaviour::GarbledAnswer) => {
            (response.status(), [(header::CONTENT_TYPE, "application/json")], "{\"number\": 1").into_response()
        }
        Some(Misbehaviour::EmptyAnswer) => (response.status(), axum::Json(json!({}))).into_response(),
        None
        | Some(
            Misbehaviour::Answer { .. }
            | Misbehaviour::SecondaryLimit { .. }
            | Misbehaviour::PrimaryLimit { .. }
            | Misbehaviour::TooManyRequests
            | Misbehaviour::StaleList,
        ) => response,
    }
}

fn serve(state: &mut State, call: &Call) -> (Reply, Option<Misbehaviour>) {
    let fault = state.faults.take(&call.method, &call.segments);
    let mut reply = match &fault {
        Some(Misbehaviour::Answer { status, message }) => Reply::refused(*status, message),
        Some(Misbehaviour::SecondaryLimit { retry_after_secs }) => {
            let mut reply = Reply::refused(403, "You have exceeded a secondary rate limit. Please wait a few minutes.");
            reply.headers.push(("retry-after", retry_after_secs.to_string()));
            reply
        }
        Some(Misbehaviour::PrimaryLimit { reset_in_secs }) => {
            state.rate.exhaust(*reset_in_secs);
            Reply::refused(403, "API rate limit exceeded for user ID 1.")
        }
        Some(Misbehaviour::TooManyRequests) => Reply::refused(429, "Too many requests"),
        Some(Misbehaviour::Silent) => Reply::of(0, Value::Null),
        _ => {
            let stale = fault == Some(Misbehaviour::StaleList);
            admit(state, call).unwrap_or_else(|| route(state, call, stale))
        }
    };
    reply.headers.extend(state.rate.headers());
    state.requests.push(Request {
        method: call.method.clone(),
        path: format!("/{}", call.segments.join("/")),
        status: reply.status,
        fault: fault.is_some(),
        modelled: reply.modelled,
    });
    (reply, fault)
}

/// What stands before every route: who asks, how, and how often. `None` lets it pass.
fn admit(state: &mut State, call: &Call) -> Option<Reply> {
    let text = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text("user-agent").is_empty() {
        return Some(Reply::refused(
            403,
            "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.",
        ));
    }
    let authorization = text("authorization");
    let token = authorization.strip_prefix("Bearer ").or_else(|| authorization.strip_prefix("token "));
    if !state.token_valid || token != Some(TOKEN) {
        return Some(Reply::refused(401, "Bad credentials"));
    }
    let version = text("x-github-api-version");
    if !version.is_empty() && version != API_VERSION {
        return Some(Reply::refused(400, "The API version is not supported."));
    }
    (!state.rate.count()).then(|| Reply::refused(403, "API rate limit exceeded for user ID 1."))
}

fn route(state: &mut State, call: &Call, stale: bool) -> Reply {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let (index, rest) = match segments.as_slice() {
        ["repos", owner, name, rest @ ..] => {
            let name = format!("{owner}/{name}");
            match (state.named(&name), state.once_named(&name)) {
                (Some(index), _) => (index, rest),
                (None, Some(index)) => return redirect(state, call, index, rest),
                (None, None) => return Reply::refused(404, "Not Found"),
            }
        }
        ["repositories", id, rest @ ..] => match id.parse::<usize>() {
            Ok(id) if (1..=state.repositories.len()).contains(&id) => (id - 1, rest),
            _ => return Reply::refused(404, "Not Found"),
        },
        _ => return unmodelled(),
    };
    if state.repositories[index].access == Access::Hidden {
        return Reply::refused(404, "Not Found");
    }
    let number = rest.get(1).and_then(|number| number.parse::<u64>().ok());
    match (call.method.as_str(), rest, number) {
        ("GET", [], _) => Reply::of(200, repository_json(state, index)),
        ("GET", ["assignees", login], _) => assignable(&state.repositories[index], login),
        (_, ["issues", ..], _) if !state.repositories[index].has_issues => {
            Reply::refused(410, "Issues has been disabled in this repository.")
        }
        ("GET", ["issues"], _) => list(state, index, call, stale),
        ("POST", ["issues"], _) => create(state, index, &call.body),
        ("GET", ["issues", _], Some(number)) => get(state, index, number),
        ("PATCH", ["issues", _], Some(number)) => patch(state, index, number, &call.body),
        ("GET", ["issues", _, "comments"], Some(number)) => comments(&state.repositories[index], number),
        ("POST", ["issues", _, "comments"], Some(number)) => comment(state, index, number, &call.body),
        _ => unmodelled(),
    }
}

fn unmodelled() -> Reply {
    Reply { modelled: false, ..Reply::refused(404, "Not Found") }
}

/// GitHub keeps the method only with 307; a client may turn a POST into a GET after 301.
fn redirect(state: &State, call: &Call, index: usize, rest: &[&str]) -> Reply {
    let (status, message) = if call.method == "GET" { (301, "Moved Permanently") } else { (307, "Temporary Redirect") };
    let mut location = format!("{}{PREFIX}/repositories/{}", state.base_url, index + 1);
    for segment in rest {
        location = format!("{location}/{segment}");
    }
    if !call.raw_query.is_empty() {
        location = format!("{location}?{}", call.raw_query);
    }
    let mut reply = Reply::refused(status, message);
    reply.headers.push(("location", location));
    reply
}

fn assignable(repository: &Repository, login: &str) -> Reply {
    if repository.people.iter().any(|person| person.eq_ignore_ascii_case(login)) {
        return Reply::of(204, Value::Null);
    }
    Reply::refused(404, "Not Found")
}

/// The order in which GitHub refuses: rights, then the archive, then what was sent.
fn check_write(repository: &Repository) -> Option<Reply> {
    if repository.access == Access::Read {
        return Some(Reply::refused(403, "Resource not accessible by personal access token"));
    }
    repository.archived.then(|| Reply::refused(403, "Repository was archived so is read-only."))
}

fn list(state: &State, index: usize, call: &Call, stale: bool) -> Reply {
    let repository = &state.repositories[index];
    let text = |name: &str, absent: &'static str| call.query.get(name).map_or(absent, String::as_str).to_owned();
    let number = |name: &str, absent: usize| call.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(absent);
    let wanted: Vec<String> = text("labels", "").split(',').filter(|label| !label.is_empty()).map(str::to_lowercase).collect();
    let since = call.query.get("since").and_then(|since| DateTime::parse_from_rfc3339(since).ok());
    let issue_state = text("state", "open");
    let mut found: Vec<&Issue> = repository
        .issues
        .values()
        .filter(|issue| !(stale && issue.number == repository.last_number))
        .filter(|issue| issue_state == "all" || issue.open == (issue_state == "open"))
        .filter(|issue| since.is_none_or(|since| issue.updated_at >= since))
        .filter(|issue| wanted.iter().all(|label| issue.labels.iter().any(|other| other.to_lowercase() == *label)))
        .collect();
    match text("sort", "created").as_str() {
        "updated" => found.sort_by_key(|issue| (issue.updated_at, issue.number)),
        _ => found.sort_by_key(|issue| (issue.created_at, issue.number)),
    }
    if text("direction", "desc") == "desc" {
        found.reverse();
    }
    let (len, page) = (number("per_page", PAGE_LEN).clamp(1, PAGE_LEN_MAX), number("page", 1).max(1));
    let pages = found.len().div_ceil(len);
    let items = found.iter().skip((page - 1).saturating_mul(len)).take(len);
    let mut reply = Reply::of(200, items.map(|issue| issue_json(state, index, issue)).collect());
    if page < pages {
        let link = |page: usize, rel: &str| format!("<{}>; rel=\"{rel}\"", page_url(state, index, call, page));
        reply.headers.push(("link", format!("{}, {}", link(page + 1, "next"), link(pages, "last"))));
    }
    reply
}

fn page_url(state: &State, index: usize, call: &Call, page: usize) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(call.query.iter().filter(|(name, _)| *name != "page")).append_pair("page", &page.to_string());
    format!("{}{PREFIX}/repositories/{}/issues?{}", state.base_url, index + 1, query.finish())
}

fn get(state: &State, index: usize, number: u64) -> Reply {
    let repository = &state.repositories[index];
    if let Some(issue) = repository.issues.get(&number) {
        return Reply::of(200, issue_json(state, index, issue));
    }
    if let Some(&(there, as_number)) = repository.moved.get(&number) {
        if state.repositories[there].access == Access::Hidden {
            return Reply::refused(404, "Not Found");
        }
        let mut reply = Reply::refused(301, "Moved Permanently");
        let location = format!("{}{PREFIX}/repositories/{}/issues/{as_number}", state.base_url, there + 1);
        reply.headers.push(("location", location));
        return reply;
    }
    missing(repository, number)
}

fn missing(repository: &Repository, number: u64) -> Reply {
    if repository.deleted.contains(&number) {
        return Reply::refused(410, "This issue was deleted");
    }
    Reply::refused(404, "Not Found")
}

fn create(state: &mut State, index: usize, body: &Value) -> Reply {
    let now = state.clock.now();
    let repository = &mut state.repositories[index];
    if let Some(refusal) = check_write(repository) {
        return refusal;
    }
    if body.get("title").and_then(Value::as_str).is_none_or(|title| title.trim().is_empty()) {
        return Reply::invalid("title", "missing_field", &Value::Null);
    }
    if let Some(refusal) = check_fields(repository, body) {
        return refusal;
    }
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = repository.open(BOT, text("title"), text("body"), now);
    apply_lists(repository, number, body);
    let issue = &state.repositories[index].issues[&number];
    let mut reply = Reply::of(201, issue_json(state, index, issue));
    reply.headers.push(("location", reply.body["url"].as_str().unwrap_or_default().to_owned()));
    reply
}

fn patch(state: &mut State, index: usize, number: u64, body: &Value) -> Reply {
    let now = state.clock.now();
    let repository = &mut state.repositories[index];
    if let Some(refusal) = check_write(repository).or_else(|| check_fields(repository, body)) {
        return refusal;
    }
    let Some(issue) = repository.issues.get_mut(&number) else { return missing(repository, number) };
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    issue.title = text("title").unwrap_or_else(|| std::mem::take(&mut issue.title));
    issue.body = text("body").unwrap_or_else(|| std::mem::take(&mut issue.body));
    if let Some(wanted) = text("state") {
        issue.open = wanted == "open";
        issue.state_reason = text("state_reason");
    }
    issue.updated_at = now;
    apply_lists(repository, number, body);
    let issue = &state.repositories[index].issues[&number];
    Reply::of(200, issue_json(state, index, issue))
}

/// What GitHub refuses about the fields of an issue, whether it is made or changed.
fn check_fields(repository: &Repository, body: &Value) -> Option<Reply> {
    let chars = |name: &str| body.get(name).and_then(Value::as_str).map_or(0, |text| text.chars().count());
    if chars("title") > TITLE_CHARS_MAX {
        return Some(Reply::invalid("title", "custom", &"title is too long (maximum is 256 characters)".into()));
    }
    if chars("body") > BODY_CHARS_MAX {
        return Some(Reply::invalid("body", "custom", &"body is too long (maximum is 65536 characters)".into()));
    }
    let labels = strings(body, "labels");
    if labels.len() > LABELS_MAX || labels.iter().any(|label| label.chars().count() > LABEL_CHARS_MAX || label.is_empty()) {
        return Some(Reply::invalid("labels", "invalid", &labels.into()));
    }
    let assignees = strings(body, "assignees");
    let known = |login: &&String| repository.people.iter().any(|person| person.eq_ignore_ascii_case(login));
    let stranger = assignees.iter().find(|login| !known(login));
    match stranger {
        Some(stranger) => Some(Reply::invalid("assignees", "invalid", &stranger.as_str().into())),
        None => (assignees.len() > ASSIGNEES_MAX).then(|| Reply::invalid("assignees", "invalid", &Value::Null)),
    }
}

/// Labels and assignees; both need the right to push and are left out without a word otherwise.
fn apply_lists(repository: &mut Repository, number: u64, body: &Value) {
    if repository.access != Access::Write {
        return;
    }
    let labels = body.get("labels").map(|_| repository.take_labels(&strings(body, "labels")));
    let Some(issue) = repository.issues.get_mut(&number) else { return };
    if let Some(labels) = labels {
        issue.labels = labels;
    }
    if body.get("assignees").is_some() {
        issue.assignees = strings(body, "assignees");
    }
}

fn comments(repository: &Repository, number: u64) -> Reply {
    match repository.issues.get(&number) {
        Some(issue) => Reply::of(200, issue.comments.iter().map(comment_json).collect()),
        None => missing(repository, number),
    }
}

fn comment(state: &mut State, index: usize, number: u64, body: &Value) -> Reply {
    let now = state.clock.now();
    let repository = &mut state.repositories[index];
    if let Some(refusal) = check_write(repository) {
        return refusal;
    }
    let may_push = repository.access == Access::Write;
    let Some(issue) = repository.issues.get_mut(&number) else { return missing(repository, number) };
    if issue.locked && !may_push {
        return Reply::refused(403, "Unable to create comment because issue is locked.");
    }
    let Some(text) = body.get("body").and_then(Value::as_str).filter(|text| !text.trim().is_empty()) else {
        return Reply::invalid("body", "missing_field", &Value::Null);
    };
    let id = number * 10_000 + issue.comments.len() as u64 + 1;
    issue.comments.push(Comment { id, author: BOT.to_owned(), body: text.to_owned(), created_at: now });
    issue.updated_at = now;
    Reply::of(201, issue.comments.last().map(comment_json).unwrap_or_default())
}

fn strings(body: &Value, name: &str) -> Vec<String> {
    let items = body.get(name).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
}

fn instant(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn repository_json(state: &State, index: usize) -> Value {
    let repository = &state.repositories[index];
    let push = repository.access == Access::Write;
    json!({
        "id": index + 1,
        "full_name": repository.name,
        "html_url": format!("{}/{}", state.base_url, repository.name),
        "private": true,
        "has_issues": repository.has_issues,
        "archived": repository.archived,
        "permissions": { "admin": false, "push": push, "pull": true },
    })
}

fn issue_json(state: &State, index: usize, issue: &Issue) -> Value {
    let name = &state.repositories[index].name;
    let api = format!("{}{PREFIX}/repos/{name}", state.base_url);
    let labels: Vec<Value> = issue.labels.iter().map(|label| json!({ "name": label })).collect();
    let assignees: Vec<Value> = issue.assignees.iter().map(|login| json!({ "login": login })).collect();
    json!({
        "number": issue.number,
        "url": format!("{api}/issues/{}", issue.number),
        "repository_url": api,
        "html_url": format!("{}/{name}/issues/{}", state.base_url, issue.number),
        "title": issue.title,
        "body": issue.body,
        "state": if issue.open { "open" } else { "closed" },
        "state_reason": issue.state_reason,
        "locked": issue.locked,
        "user": { "login": issue.author },
        "labels": labels,
        "assignees": assignees,
        "comments": issue.comments.len(),
        "created_at": instant(issue.created_at),
        "updated_at": instant(issue.updated_at),
    })
}

fn comment_json(comment: &Comment) -> Value {
    json!({
        "id": comment.id,
        "body": comment.body,
        "user": { "login": comment.author },
        "created_at": instant(comment.created_at),
    })
}

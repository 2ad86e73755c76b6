//! Who is woken, and where the public reads: the engine's `Outside` as two webhooks that a team points anywhere.
//!
//! Each telling is one `POST` of JSON with a key that stays the same however often it is sent, so that a receiver can
//! drop repetitions; `docs/incidents.md` shows both bodies. What it may not do, such as a page, it says: 4xx is a refusal
//! that people see in the incident's channel; time-outs, 5xx and 429 are tried again.
//!
//! Absent on purpose: what a particular vendor wants. Redirects are not followed, because they would carry the secret
//! to an address that nobody has set.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::domain::GuildId;
use crate::domain::incident::{Delivery, Happening, State};
use crate::engine::{IncidentSnapshot, Outside, PortError};

/// The longest wait for an answer. A pager that takes longer is asked again.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The most characters of a refusal that people see.
const WHY_MAX: usize = 200;

/// A webhook: where, and the secret that proves who calls.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its address.
    pub url: String,
    /// Sent as `Authorization: Bearer ...`; `None` sends no such header.
    pub token: Option<SecretString>,
}

/// Both webhooks.
#[derive(Debug)]
pub struct Webhooks {
    client: Client,
    guild: GuildId,
    pager: Option<Endpoint>,
    status_page: Option<Endpoint>,
}

impl Webhooks {
    /// Webhooks that link to this server; one that is `None` is not configured, and told so.
    ///
    /// # Errors
    /// If HTTP cannot be set up.
    pub fn new(
        guild: GuildId,
        pager: Option<Endpoint>,
        status_page: Option<Endpoint>,
        patience: Duration,
    ) -> Result<Self, reqwest::Error> {
        let client = Client::builder().timeout(patience).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, guild, pager, status_page })
    }

    async fn tell(&self, what: &str, endpoint: Option<&Endpoint>, key: String, body: Value) -> Result<Delivery, PortError> {
        let Some(endpoint) = endpoint else { return Ok(Delivery::NotConfigured) };
        let mut request = self.client.post(&endpoint.url).header("Idempotency-Key", key).json(&body);
        if let Some(token) = &endpoint.token {
            let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())) else {
                return Ok(Delivery::Refused {
                    why: format!("the token of the {what} cannot stand in a header; nothing was sent"),
                });
            };
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        match request.send().await {
            Ok(answer) => judge(what, answer).await,
            // The address may hold a secret of its own, so it is not told.
            Err(error) => {
                Err(PortError::Later { why: format!("the {what} did not answer: {}", error.without_url()), after: None })
            }
        }
    }
}

/// What an answer means.
async fn judge(what: &str, answer: reqwest::Response) -> Result<Delivery, PortError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(Delivery::Delivered);
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT {
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        return Err(PortError::Later { why: format!("the {what} answered {status}"), after: after.map(Duration::from_secs) });
    }
    let said = answer.text().await.unwrap_or_default();
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WHY_MAX).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Ok(Delivery::Refused { why: format!("the {what} answered {status}{said}") })
}

#[async_trait]
impl Outside for Webhooks {
    async fn page(&self, incident: &IncidentSnapshot, level: u32) -> Result<Delivery, PortError> {
        let key = format!("{}/page/{level}", incident.state.id());
        self.tell("pager", self.pager.as_ref(), key, page(&incident.state, self.guild, level)).await
    }

    async fn tell_status_page(&self, incident: &IncidentSnapshot, sequence: u32) -> Result<Delivery, PortError> {
        let key = format!("{}/status-page/{sequence}", incident.state.id());
        self.tell("status page", self.status_page.as_ref(), key, status_page(&incident.state, sequence)).await
    }
}

fn page(state: &State, guild: GuildId, level: u32) -> Value {
    let levels = state.policy().escalation.iter().take(level as usize);
    let roles: Vec<&str> = levels.flat_map(|level| &level.roles).map(|role| role.as_str()).collect();
    json!({
        "kind": "page",
        "incident": state.id(),
        "level": level,
        "severity": state.severity,
        "title": title(state),
        "roles": roles,
        "opened_at": state.opened_at,
        "acknowledged": state.acknowledged.is_some(),
        "channel_url": state.channel.map(|channel| format!("https://discord.com/channels/{guild}/{channel}")),
    })
}

fn status_page(state: &State, sequence: u32) -> Value {
    let newest = state.timeline.iter().rev().find_map(|entry| match &*entry.what {
        Happening::Updated { text, .. } => Some(text.as_str()),
        Happening::Resolved { summary, .. } => Some(summary.as_str()),
        Happening::ChannelLost
        | Happening::Paged { .. }
        | Happening::SeverityChanged { .. }
        | Happening::RoleTaken { .. }
        | Happening::Acknowledged { .. }
        | Happening::Escalated { .. }
        | Happening::Noted { .. }
        | Happening::MessageMarked { .. } => None,
    });
    json!({
        "kind": "status",
        "incident": state.id(),
        "sequence": sequence,
        "severity": state.severity,
        "title": title(state),
        "state": if state.is_open() { "open" } else { "resolved" },
        "text": newest.filter(|_| !state.opened.private),
        "opened_at": state.opened_at,
        "resolved_at": state.resolved.as_ref().map(|resolution| resolution.at),
        "changed_at": state.changed_at,
    })
}

/// What a private incident is about is told to nobody outside.
fn title(state: &State) -> &str {
    if state.opened.private { "A private incident" } else { &state.opened.title }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;

    use super::*;
    use crate::domain::incident::{Input, OpenRequest, Opener, Policy, Severity, begin, decide, evolve, next_id, open};
    use crate::domain::{Person, Timestamp, UserId};

    type Seen = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

    /// A receiver that answers everything with `status`. Ends with the test's runtime.
    async fn receiver(status: u16, said: &'static str) -> (String, Seen) {
        let seen = Seen::default();
        let into = Arc::clone(&seen);
        let answer = move |headers: HeaderMap, axum::Json(body): axum::Json<Value>| {
            into.lock().unwrap().push((headers, body));
            std::future::ready((StatusCode::from_u16(status).unwrap(), [("Retry-After", "7"), ("Location", "/else")], said))
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/hook", post(answer))).await });
        (url, seen)
    }

    fn incident(private: bool) -> IncidentSnapshot {
        let now: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
        let by = Person { id: UserId::new(1), name: "Olga".to_owned(), roles: BTreeSet::new(), bot: false };
        let request = OpenRequest {
            title: "Checkout is down".to_owned(),
            severity: Severity::Sev1,
            by: Opener::Person(by.clone()),
            customer_facing: true,
            private,
            asked_in: None,
            run: None,
        };
        let events = open(next_id(now, []).unwrap(), Policy::default(), request).unwrap();
        let mut state = begin(now, &events[0]).unwrap();
        for event in decide(&state, now, Input::Update { by, text: "we are on it".to_owned() }).unwrap() {
            state = evolve(state, now, &event).unwrap();
        }
        IncidentSnapshot { state: Arc::new(state), head: "ab".to_owned(), runs: Vec::new(), now }
    }

    fn hooks(url: &str) -> Webhooks {
        let endpoint = || Some(Endpoint { url: url.to_owned(), token: Some(SecretString::from("s3cret")) });
        Webhooks::new(GuildId::new(9), endpoint(), endpoint(), PATIENCE).unwrap()
    }

    #[tokio::test]
    async fn a_page_says_what_is_wrong_with_a_key_and_a_secret() {
        let (url, seen) = receiver(202, "").await;
        for level in [1, 1, 2] {
            assert_eq!(hooks(&url).page(&incident(false), level).await, Ok(Delivery::Delivered));
        }
        let seen = seen.lock().unwrap();
        let keys: Vec<_> = seen.iter().map(|(headers, _)| headers["idempotency-key"].to_str().unwrap()).collect();
        assert_eq!(keys, ["inc-20261121-001/page/1", "inc-20261121-001/page/1", "inc-20261121-001/page/2"]);
        let (headers, body) = &seen[0];
        assert_eq!(headers["authorization"], "Bearer s3cret");
        assert_eq!((&body["severity"], &body["title"]), (&json!("sev1"), &json!("Checkout is down")));
    }

    #[tokio::test]
    async fn the_status_page_hears_the_newest_update_and_nothing_of_a_private_incident() {
        let (url, seen) = receiver(200, "").await;
        hooks(&url).tell_status_page(&incident(false), 2).await.unwrap();
        hooks(&url).tell_status_page(&incident(true), 2).await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!((&seen[0].1["text"], &seen[0].1["state"]), (&json!("we are on it"), &json!("open")));
        assert_eq!((&seen[1].1["text"], &seen[1].1["title"]), (&json!(null), &json!("A private incident")));
        assert_eq!(seen[0].0["idempotency-key"], "inc-20261121-001/status-page/2");
    }

    #[tokio::test]
    async fn a_refusal_is_told_and_what_may_pass_is_tried_again() {
        for (status, later) in [(400, false), (401, false), (302, false), (429, true), (500, true), (503, true)] {
            let (url, seen) = receiver(status, "no\nsuch service").await;
            match hooks(&url).page(&incident(false), 0).await {
                Ok(Delivery::Refused { why }) => {
                    assert!(!later && why.contains(&status.to_string()) && why.contains("no such service"), "{status}: {why}");
                }
                Err(PortError::Later { after, .. }) => assert!(later && after == Some(Duration::from_secs(7)), "{status}"),
                other => panic!("{status}: {other:?}"),
            }
            assert_eq!(seen.lock().unwrap().len(), 1, "{status}: no redirect is followed");
        }
    }

    #[tokio::test]
    async fn silence_is_tried_again_and_what_is_not_configured_is_said() {
        // Connections are taken in by the system and never answered.
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/?key=s3cret", listener.local_addr().unwrap());
        let pager = Some(Endpoint { url, token: None });
        let hooks = Webhooks::new(GuildId::new(9), pager, None, Duration::from_millis(50)).unwrap();
        let Err(PortError::Later { why, .. }) = hooks.page(&incident(false), 0).await else { panic!("nobody answered") };
        assert!(!why.contains("s3cret"), "{why}");
        assert_eq!(hooks.tell_status_page(&incident(false), 1).await, Ok(Delivery::NotConfigured));
    }
}

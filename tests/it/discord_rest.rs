//! The one way out to Discord's REST API, against scripted answers and against the model.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use pointsman::clock::ScaledClock;
use pointsman::discord::rest::{Access, Api, Call, File, Trouble, codes};
use pointsman::sandbox::discord::{Fault, Misbehaviour, Model, World};
use serde_json::{Value, json};
use serenity::http::{LightMethod, Route};
use serenity::model::id::{ChannelId, GuildId, InteractionId, UserId};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// A backstop for everything that is awaited; nothing here takes that long unless it fails.
const SOON: Duration = Duration::from_secs(20);

/// What the server does with its next request.
enum Act {
    Answer(u16, Vec<(&'static str, &'static str)>, Value),
    /// Never answers.
    Hang,
}

#[derive(Default)]
struct Script {
    acts: VecDeque<Act>,
    seen: Vec<(String, Instant)>,
}

#[derive(Clone, Default)]
struct Server {
    script: Arc<Mutex<Script>>,
    asked: Arc<Notify>,
}

impl Server {
    /// A server that does these things in order, and then answers 200 with `{}`.
    async fn start(acts: Vec<Act>) -> (Self, Arc<Api>) {
        let server = Self::default();
        server.script.lock().expect("whole").acts = acts.into();
        let router = Router::new().fallback(act).with_state(server.clone());
        let api = api(&serve(router).await, "t0ken");
        (server, api)
    }

    /// `METHOD /path` of every request so far.
    fn seen(&self) -> Vec<String> {
        self.script.lock().expect("whole").seen.iter().map(|(what, _)| what.clone()).collect()
    }

    /// The time between the first two requests.
    fn pause(&self) -> Duration {
        let script = self.script.lock().expect("whole");
        script.seen[1].1 - script.seen[0].1
    }

    async fn asked(&self, times: usize) {
        let enough = async {
            loop {
                let asked = self.asked.notified();
                if self.seen().len() >= times {
                    return;
                }
                asked.await;
            }
        };
        timeout(SOON, enough).await.expect("it is asked that often");
    }
}

async fn act(State(server): State<Server>, request: Request) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    let act = {
        let mut script = server.script.lock().expect("whole");
        script.seen.push((what, Instant::now()));
        script.acts.pop_front()
    };
    server.asked.notify_one();
    match act {
        None => axum::Json(json!({})).into_response(),
        Some(Act::Hang) => std::future::pending().await,
        Some(Act::Answer(status, headers, body)) => answer(status, &headers, body),
    }
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: Value) -> Response {
    let header = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let headers: HeaderMap = headers.iter().map(header).collect();
    (StatusCode::from_u16(status).expect("a status"), headers, axum::Json(body)).into_response()
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn api(base: &str, token: &str) -> Arc<Api> {
    Api::new(Access { api_base: base.to_owned(), token: token.into() }).expect("a client")
}

fn posting(channel: u64) -> Call {
    let route = Route::ChannelMessages { channel_id: ChannelId::new(channel) };
    Call::new(LightMethod::Post, route).body(json!({ "content": "x" }))
}

fn reading(channel: u64) -> Call {
    Call::new(LightMethod::Get, Route::Channel { channel_id: ChannelId::new(channel) })
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(SOON, work).await.expect("it does not hang")
}

#[tokio::test]
async fn a_short_429_is_waited_for_as_long_as_the_header_says_and_the_request_sent_again() {
    let limited = Act::Answer(429, vec![("retry-after", "0.4"), ("x-ratelimit-scope", "user")], json!({ "retry_after": 9 }));
    let (server, api) = Server::start(vec![limited]).await;
    assert_eq!(soon(api.call(posting(1))).await, Ok(json!({})));
    assert_eq!(server.seen().len(), 2);
    assert!(server.pause() >= Duration::from_millis(400), "{:?}", server.pause());
    assert!(server.pause() < Duration::from_secs(5), "not the body's 9 s");
}

#[tokio::test]
async fn a_429_whose_header_cannot_be_read_is_waited_for_as_long_as_the_body_says() {
    for headers in [vec![("retry-after", "soon")], vec![]] {
        let limited = Act::Answer(429, headers, json!({ "retry_after": 0.3, "global": false }));
        let (server, api) = Server::start(vec![limited]).await;
        assert_eq!(soon(api.call(posting(1))).await, Ok(json!({})));
        assert!(server.pause() >= Duration::from_millis(300), "{:?}", server.pause());
    }
}

#[tokio::test]
async fn a_long_429_holds_nobody_and_closes_only_its_own_route() {
    let limited = Act::Answer(429, vec![("retry-after", "580"), ("x-ratelimit-scope", "user")], json!({ "code": 20028 }));
    let (server, api) = Server::start(vec![limited]).await;
    let renaming = || {
        let route = Route::Channel { channel_id: ChannelId::new(1) };
        Call::new(LightMethod::Patch, route).body(json!({ "name": "x" }))
    };
    let asked_at = Instant::now();
    for _ in 0..2 {
        let trouble = soon(api.call(renaming())).await.expect_err("limited");
        assert!(matches!(trouble, Trouble::Limited { after } if after > Duration::from_secs(570)), "{trouble:?}");
    }
    assert_eq!(soon(api.call(reading(1))).await, Ok(json!({})));
    assert_eq!(soon(api.call(posting(1))).await, Ok(json!({})));
    assert!(asked_at.elapsed() < Duration::from_secs(5), "nothing was held");
    assert_eq!(server.seen(), ["PATCH /api/v10/channels/1", "GET /api/v10/channels/1", "POST /api/v10/channels/1/messages"]);
}

#[tokio::test]
async fn a_global_429_holds_everything_but_answers_to_interactions() {
    let limited = Act::Answer(429, vec![("retry-after", "300"), ("x-ratelimit-global", "true")], json!({ "global": true }));
    let (server, api) = Server::start(vec![limited]).await;
    soon(api.call(posting(1))).await.expect_err("limited");
    soon(api.call(reading(2))).await.expect_err("limited without being sent");
    let route = Route::InteractionResponse { interaction_id: InteractionId::new(5), token: "t" };
    assert_eq!(soon(api.call(Call::new(LightMethod::Post, route).body(json!({ "type": 5 })))).await, Ok(json!({})));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn an_old_message_that_was_edited_too_often_is_told_at_once_and_young_ones_can_still_be_edited() {
    let message = "Maximum number of edits to messages older than 1 hour reached. Try again later.";
    let refused = Act::Answer(429, vec![("retry-after", "600")], json!({ "code": 30046, "message": message }));
    let (server, api) = Server::start(vec![refused]).await;
    let editing = |message: u64| {
        let route = Route::ChannelMessage { channel_id: ChannelId::new(1), message_id: message.into() };
        Call::new(LightMethod::Patch, route).body(json!({ "content": "x" }))
    };
    let trouble = soon(api.call(editing(1))).await.expect_err("too old");
    assert_eq!(trouble.code(), Some(codes::OLD_MESSAGE_EDITS));
    assert_eq!(soon(api.call(editing(2))).await, Ok(json!({})));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn what_may_be_repeated_is_sent_twice_after_a_failure_and_a_post_once() {
    let down = || Act::Answer(502, vec![], Value::Null);
    let (server, api) = Server::start(vec![down()]).await;
    assert_eq!(soon(api.call(reading(1))).await, Ok(json!({})));
    assert_eq!(server.seen().len(), 2);

    let (server, api) = Server::start(vec![down(), down(), down()]).await;
    assert_eq!(soon(api.call(reading(1))).await, Err(Trouble::Server { status: 502 }));
    assert_eq!(server.seen().len(), 2);

    let (server, api) = Server::start(vec![down()]).await;
    assert_eq!(soon(api.call(posting(1))).await, Err(Trouble::Server { status: 502 }));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_first_answer_that_is_not_taken_is_given_up_after_three_seconds() {
    let (_server, api) = Server::start(vec![Act::Hang]).await;
    let route = Route::InteractionResponse { interaction_id: InteractionId::new(5), token: "s3cret" };
    let asked_at = Instant::now();
    let trouble = soon(api.call(Call::new(LightMethod::Post, route).body(json!({ "type": 5 })))).await.expect_err("silence");
    assert!(matches!(trouble, Trouble::Unanswered { .. }), "{trouble:?}");
    assert!(asked_at.elapsed() < Duration::from_secs(5), "{:?}", asked_at.elapsed());
    assert!(!trouble.to_string().contains("s3cret"));
}

#[tokio::test]
async fn a_caller_that_goes_away_frees_its_place() {
    let (server, api) = Server::start(vec![Act::Hang]).await;
    let gone = tokio::spawn({
        let api = Arc::clone(&api);
        async move { api.call(posting(1)).await }
    });
    server.asked(1).await;
    gone.abort();
    assert_eq!(soon(api.call(posting(1))).await, Ok(json!({})));
}

/// A server that counts a bucket itself and refuses what is too much.
#[derive(Clone, Default)]
struct Strict {
    state: Arc<Mutex<(Option<Instant>, u32, u32)>>,
}

const LIMIT: u32 = 3;
const WINDOW: Duration = Duration::from_millis(250);

async fn strict(State(server): State<Strict>) -> Response {
    let mut state = server.state.lock().expect("whole");
    let now = Instant::now();
    let (began, used, refused) = &mut *state;
    if began.is_none_or(|at| now - at >= WINDOW) {
        (*began, *used) = (Some(now), 0);
    }
    let over = *used >= LIMIT;
    if over {
        *refused += 1
    } else {
        *used += 1
    }
    let left = WINDOW - (now - began.expect("begun"));
    let headers = [
        ("x-ratelimit-bucket", "strict".to_owned()),
        ("x-ratelimit-limit", LIMIT.to_string()),
        ("x-ratelimit-remaining", (LIMIT - *used).to_string()),
        // Discord counts in milliseconds.
        ("x-ratelimit-reset-after", format!("{:.3}", left.as_secs_f64())),
        ("retry-after", "1".to_owned()),
    ];
    let status = if over { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
    (status, headers, axum::Json(json!({}))).into_response()
}

#[tokio::test]
async fn many_callers_at_once_share_a_bucket_without_a_single_429() {
    let server = Strict::default();
    let api = api(&serve(Router::new().fallback(strict).with_state(server.clone())).await, "t");
    let calls = (0..14).map(|_| api.call(posting(1)));
    let done = soon(futures_util::future::join_all(calls)).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(server.state.lock().expect("whole").2, 0, "requests were refused");
}

async fn model(world: World) -> (Model, Arc<Api>) {
    let model = Model::start(world, Arc::new(ScaledClock::real()), ([127, 0, 0, 1], 0).into()).await.expect("the model starts");
    let api = api(model.base_url(), &model.token());
    (model, api)
}

#[tokio::test]
async fn files_arrive_with_the_numbers_that_the_body_names() {
    let (model, api) = model(World::operations()).await;
    let body = json!({ "content": "x", "attachments": [{ "id": 0, "filename": "a.txt" }, { "id": 1, "filename": "b.txt" }] });
    let file = |name: &str, text: &str| File { name: name.to_owned(), bytes: text.as_bytes().to_vec() };
    let route = Route::ChannelMessages { channel_id: ChannelId::new(model.channel("ops").get()) };
    let call = Call::new(LightMethod::Post, route).body(body).files(vec![file("a.txt", "one"), file("b.txt", "two")]);
    let answer = soon(api.call(call)).await.expect("posted");
    let names: Vec<_> = answer["attachments"].as_array().expect("a list").iter().map(|file| file["filename"].clone()).collect();
    assert_eq!(names, [json!("a.txt"), json!("b.txt")]);
    assert!(model.violations().is_empty(), "{:?}", model.violations());
}

#[tokio::test]
async fn a_message_whose_answer_cannot_be_read_is_not_posted_again() {
    let (model, api) = model(World::operations()).await;
    for fault in [Misbehaviour::GarbledAnswer, Misbehaviour::AnswerLost] {
        model.fault(Fault::once("POST /channels/*/messages", fault));
        let trouble = soon(api.call(posting(model.channel("ops").get()))).await.expect_err("unreadable");
        assert!(matches!(trouble, Trouble::Unanswered { .. }), "{trouble:?}");
    }
    let posts = model.requests().iter().filter(|request| request.method == "POST").count();
    assert_eq!(posts, 2);
}

#[tokio::test]
async fn a_burst_stays_within_the_global_limit() {
    let (model, api) = model(World::operations()).await;
    let calls = (1..=80_u64).map(|n| {
        // Each channel has a bucket of its own, so that only the global limit is met.
        api.call(reading(n))
    });
    let done = soon(futures_util::future::join_all(calls)).await;
    assert!(done.iter().all(|done| done.as_ref().is_err_and(|trouble| trouble.code() == Some(codes::UNKNOWN_CHANNEL))));
    assert_eq!(model.counters().rate_limited, 0);
    assert_eq!(api.invalid_requests(), 80, "each 404 counts as a needless request");
}

#[tokio::test]
async fn a_wrong_token_is_told_apart_and_counted() {
    let (model, _) = model(World::operations()).await;
    let api = api(model.base_url(), "not-it");
    let route = Route::GuildMember { guild_id: GuildId::new(model.guild_id().get()), user_id: UserId::new(model.bot_id().get()) };
    let trouble = soon(api.call(Call::new(LightMethod::Get, route))).await.expect_err("refused");
    assert!(matches!(trouble, Trouble::Refused { status: 401, .. }), "{trouble:?}");
    assert_eq!(api.invalid_requests(), 1);
}

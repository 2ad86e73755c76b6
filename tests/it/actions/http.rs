//! `http.check` against a server of the test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use pointsman::domain::run::{FailureKind, Mode, Outcome};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Bench, everything_below, expect_done, expect_failed, runbook, step};

/// A server that becomes ready with the third question.
async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    // Another name of the same machine is another server to whoever follows redirects.
    let elsewhere = format!("http://localhost:{}", address.port());
    let asked = Arc::new(AtomicU32::new(0));
    let slowly = async move || match asked.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => (StatusCode::SERVICE_UNAVAILABLE, "warming up".to_owned()),
        _ => (StatusCode::OK, json!({ "ok": true, "version": "1.4.2", "items": [1, 2] }).to_string()),
    };
    let echo = async |headers: HeaderMap| {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default().to_owned());
        (StatusCode::OK, [("x-version", "7")], json!({ "auth": text("authorization"), "plain": text("x-plain") }).to_string())
    };
    let router = Router::new()
        .route("/health", get(slowly))
        .route("/echo", get(echo))
        .route("/moved", get(async || (StatusCode::FOUND, [("location", "/echo")]).into_response()))
        .route("/elsewhere", get(async move || (StatusCode::FOUND, [("location", format!("{elsewhere}/echo"))]).into_response()))
        .route("/large", get(async || "x".repeat(3 * 1024 * 1024)))
        .route("/change", post(async |axum::Json(body): axum::Json<Value>| (StatusCode::CREATED, axum::Json(body))))
        .route("/change-hangs", post(std::future::pending::<String>))
        .route("/hangs", get(std::future::pending::<String>));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn check(bench: &Bench, with: Value) -> Outcome {
    let url = serve().await;
    bench.one(json!({ "web": { "http": { "url": url } } }), "http.check", with, Mode::Live).await
}

#[tokio::test]
async fn it_asks_until_the_answer_is_as_expected() {
    let with = json!({
        "target": "web", "path": "/health", "until": "1m", "every": "1s",
        "expect": { "status": 200, "json": ["body.ok", "body['items'] | length == 2", "body.version == '1.4.2'", "status == 200"] },
    });
    let (result, simulated) = expect_done(check(&Bench::new(), with).await);
    assert_eq!((&result["attempts"], &result["body"]["version"], simulated), (&json!(3), &json!("1.4.2"), false));
}

#[tokio::test]
async fn a_fast_clock_does_not_shorten_the_time_that_others_are_given() {
    let with = json!({ "target": "web", "path": "/health", "until": "1m", "every": "1s" });
    let (result, _) = expect_done(check(&Bench::new().at_speed(1_000), with).await);
    assert_eq!(result["attempts"], 3);
}

#[tokio::test]
async fn what_is_not_as_expected_is_said() {
    for (with, message) in [
        (json!({ "path": "/health" }), "/health: the status is 503, expected 200 to 299"),
        (json!({ "path": "/health", "expect": { "status": [200, 204] } }), "expected 200 or 204"),
        (json!({ "path": "/health", "expect": { "status": 503, "json": ["body.ok"] } }), "`body.ok` cannot be evaluated"),
        (
            json!({ "path": "/echo", "headers": { "x-plain": "y" }, "expect": { "json": ["body.plain == 'x'", "latency_ms < 0"] } }),
            "`body.plain == 'x'` does not hold (body.plain = \"y\"); `latency_ms < 0` does not hold",
        ),
        (json!({ "path": "/echo", "expect": { "header": { "X-Version": "8" } } }), "the header `x-version` is `7`, expected `8`"),
        (json!({ "path": "/echo", "expect": { "header": { "x-version": { "regex": "^8" } } } }), "something like `^8`"),
        (json!({ "path": "/echo", "expect": { "header": { "X-Other": "8" } } }), "there is no header `x-other`"),
        (json!({ "path": "/echo", "expect": { "header": { "X-Other": { "regex": "(" } } } }), "nothing was sent"),
        (json!({ "path": "/echo", "expect": { "json": ["body."] } }), "nothing was sent"),
        (json!({ "path": "/hangs", "timeout": "1s" }), "no answer within 1s"),
        (json!({ "path": "@evil.example/" }), "`path` begins with `/`"),
        (json!({ "path": "/change", "method": "POST", "until": "1s" }), "this one changes something"),
    ] {
        let mut with = with;
        with["target"] = json!("web");
        let failure = expect_failed(check(&Bench::new(), with).await);
        assert!(failure.message.contains(message), "{}", failure.message);
    }
    let with = json!({ "url": "http://127.0.0.1:1/", "until": "1s", "every": "1s" });
    let failure = expect_failed(check(&Bench::new(), with).await);
    assert!(
        failure.message.contains("Connection refused") && failure.message.contains("the last of 2 attempts"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn redirects_are_answers_and_bodies_are_bounded() {
    let with = json!({ "target": "web", "path": "/moved", "expect": { "status": 302 } });
    assert_eq!(expect_done(check(&Bench::new(), with).await).0["status"], 302);
    let with = json!({ "target": "web", "path": "/large" });
    let (result, _) = expect_done(check(&Bench::new(), with).await);
    assert!(result["body"].as_str().expect("text").len() < 10_000);
}

#[tokio::test]
async fn a_redirect_is_followed_if_wished_and_secrets_stay_with_their_server() {
    let with = |path: &str| json!({ "target": "web", "path": path, "follow": true, "secret_headers": { "x-plain": "TOKEN" }, "expect": { "status": [200, 302] } });
    let bench = || Bench::new().secret("TOKEN", "hunter2-and-more");
    let (same, _) = expect_done(check(&bench(), with("/moved")).await);
    assert_eq!((&same["status"], &same["body"]["plain"]), (&json!(200), &json!("[redacted]")));
    let (other, _) = expect_done(check(&bench(), with("/elsewhere")).await);
    assert_eq!(other["status"], 302);
    let plain = json!({ "target": "web", "path": "/elsewhere", "follow": true, "expect": { "header": { "x-version": { "regex": "^[0-9]$" } } } });
    assert_eq!(expect_done(check(&Bench::new(), plain).await).0["headers"]["x-version"], "7");
}

#[tokio::test]
async fn a_dry_run_does_not_take_the_state_before_a_rehearsed_step_for_the_one_after_it() {
    let targets = json!({ "web": { "http": { "url": serve().await } } });
    let wrong = json!({ "target": "web", "path": "/echo", "until": "1h", "expect": { "json": ["body.plain == 'x'"] } });
    let mut right = wrong.clone();
    right["headers"] = json!({ "x-plain": "x" });
    let change = json!({ "target": "web", "path": "/change-hangs", "method": "POST", "body": {} });
    let mut once = wrong.clone();
    once.as_object_mut().expect("a map").shift_remove("until");
    let steps = json!([
        step("before", "http.check", once),
        step("change", "http.check", change),
        step("wrong", "http.check", wrong),
        step("right", "http.check", right),
    ]);
    let bench = Bench::new();
    let mut run = bench.run(runbook(targets, steps), json!({}), Mode::DryRun).await;
    assert!(expect_failed(run.perform("before").await).message.contains("does not hold"), "nothing explains it");
    assert_eq!(run.go("change").await["status"], Value::Null, "it was not sent");
    let (result, simulated) = expect_done(run.perform("wrong").await);
    assert_eq!((&result["status"], &result["attempts"], simulated), (&json!(200), &json!(1), true));
    assert!(!expect_done(run.perform("right").await).1, "what is seen is seen");
}

#[tokio::test]
async fn a_request_that_changes_something_is_sent_once_and_its_outcome_never_guessed() {
    let with = json!({ "target": "web", "path": "/change", "method": "POST", "body": { "mode": "{{ run.mode }}" }, "expect": { "status": 201 } });
    assert_eq!(expect_done(check(&Bench::new(), with.clone()).await).0["body"], json!({ "mode": "live" }));
    let mut other = with;
    other["expect"] = json!({ "status": 200 });
    assert!(!expect_failed(check(&Bench::new(), other).await).retryable);
    let silent = json!({ "target": "web", "path": "/change-hangs", "method": "POST", "body": {}, "timeout": "1s" });
    let outcome = check(&Bench::new(), silent).await;
    assert!(matches!(&outcome, Outcome::Unknown { why } if why.contains("may have been carried out")), "{outcome:?}");
}

#[tokio::test]
async fn a_secret_header_is_sent_and_never_shown() {
    let bench = Bench::new().secret("TOKEN", "Bearer hunter2-and-more");
    let url = serve().await;
    let with = json!({ "target": "web", "path": "/echo", "secret_headers": { "Authorization": "TOKEN" }, "expect": { "json": ["body.auth == 'no'"] } });
    let shown = json!({ "target": "web", "path": "/echo", "secret_headers": { "Authorization": "TOKEN" } });
    let steps = json!([step("it", "http.check", with), step("shown", "http.check", shown)]);
    let run = bench.run(runbook(json!({ "web": { "http": { "url": url } } }), steps), json!({}), Mode::Live).await;
    let (failed, done) = (run.perform("it").await, run.perform("shown").await);
    assert_eq!(expect_done(done.clone()).0["body"]["auth"], "[redacted]");
    let all = format!("{failed:?}{done:?}{}", everything_below(&run.directory()));
    assert!(all.contains("body.auth") && !all.contains("hunter2"), "{all}");
}

#[tokio::test]
async fn cancelling_ends_the_wait() {
    let bench = Bench::new();
    let with = json!({ "url": format!("{}/hangs", serve().await), "until": "1h", "timeout": "1h" });
    let run = bench.run(runbook(json!({}), json!([step("it", "http.check", with)])), json!({}), Mode::Live).await;
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(run.perform_until("it", &cancel), async {
        tokio::task::yield_now().await;
        cancel.cancel();
    });
    assert_eq!(expect_failed(outcome).kind, FailureKind::Cancelled);
}

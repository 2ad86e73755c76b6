//! The model's control over HTTP, under `/sandbox/v1/github`: for a scenario in another process, and for the chat page.
//!
//! | Request | What it does |
//! |---|---|
//! | `GET /state` | the repositories with their issues |
//! | `GET /requests` | what the bot asked for, oldest first |
//! | `POST /act` | acts as people do: see [`Act`] |
//! | `POST /faults`, `DELETE /faults` | adds a [`Fault`]; ends all faults |
//!
//! There is no authentication: it is served on loopback, and a foreign web page cannot send it JSON unasked.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::{Act, Fault, Model};

pub(super) fn router() -> Router<Model> {
    Router::new()
        .route("/state", get(|State(model): State<Model>| async move { Json(model.with(|state| state.repositories.clone())) }))
        .route("/requests", get(|State(model): State<Model>| async move { Json(model.requests()) }))
        .route("/act", post(act))
        .route("/faults", post(add_fault).delete(clear_faults))
}

async fn act(State(model): State<Model>, Json(act): Json<Act>) -> Response {
    match model.act(act) {
        Ok(()) => Json(json!({})).into_response(),
        Err(refused) => (StatusCode::BAD_REQUEST, Json(json!({ "refused": refused.to_string() }))).into_response(),
    }
}

async fn add_fault(State(model): State<Model>, Json(fault): Json<Fault>) {
    model.fault(fault);
}

async fn clear_faults(State(model): State<Model>) {
    model.clear_faults();
}

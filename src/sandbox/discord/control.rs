//! The model's control over HTTP, under `/sandbox/v1`: for a scenario in another process, and for the chat page.
use axum::Router;
use super::Model;
pub(super) fn router() -> Router<Model> { Router::new() }

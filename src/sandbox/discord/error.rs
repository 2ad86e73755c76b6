//! Discord's refusals as it words them: an HTTP status, a code, a message, and what was wrong where.
//! Source of the codes: <https://discord.com/developers/docs/topics/opcodes-and-status-codes>.

use serde_json::{Value, json};

/// A refusal of the REST API.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) code: u32,
    pub(super) message: String,
    /// For 50035: which field, and why.
    pub(super) detail: Option<String>,
    /// For 429 answers that are not a bucket's, seconds.
    pub(super) retry_after: Option<f64>,
}

impl ApiError {
    pub(super) fn new(status: u16, code: u32, message: &str) -> Self {
        Self { status, code, message: message.to_owned(), detail: None, retry_after: None }
    }

    /// 50035 with the path of the field and the reason.
    pub(super) fn invalid(field: &str, why: impl std::fmt::Display) -> Self {
        Self { detail: Some(format!("{field}: {why}")), ..Self::new(400, 50035, "Invalid Form Body") }
    }

    pub(super) fn unknown_channel() -> Self {
        Self::new(404, 10003, "Unknown Channel")
    }

    pub(super) fn unknown_message() -> Self {
        Self::new(404, 10008, "Unknown Message")
    }

    pub(super) fn missing_access() -> Self {
        Self::new(403, 50001, "Missing Access")
    }

    pub(super) fn missing_permissions() -> Self {
        Self::new(403, 50013, "Missing Permissions")
    }

    pub(super) fn body(&self) -> Value {
        let mut body = json!({ "message": self.message, "code": self.code });
        if let Some(detail) = &self.detail {
            let (field, why) = detail.split_once(": ").unwrap_or(("", detail));
            let leaf = json!({ "_errors": [{ "code": "BASE_TYPE_BAD", "message": why }] });
            let nested = field.split('.').rev().fold(leaf, |inner, name| json!({ name: inner }));
            body["errors"] = nested;
        }
        if let Some(seconds) = self.retry_after {
            body["retry_after"] = json!(seconds);
            body["global"] = json!(false);
        }
        body
    }

    /// One line for the log of violations.
    pub(super) fn line(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} {}: {detail}", self.code, self.message),
            None => format!("{} {}", self.code, self.message),
        }
    }
}

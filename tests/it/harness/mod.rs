//! What the tests share. Every test has databases and directories of its own.

pub(crate) mod browser;
pub(crate) mod chat;
pub(crate) mod engine;
pub(crate) mod incident_chat;
pub(crate) mod journal;
pub(crate) mod performer;
pub(crate) mod planning;
pub(crate) mod points;
pub(crate) mod postgres;
pub(crate) mod wire;

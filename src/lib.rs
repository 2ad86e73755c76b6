//! Pointsman runs database migrations, cutovers and rollbacks from Discord, behind role sign-off.
//!
//! The crate is laid out in rooms, a pure domain in a thin shell; `ARCHITECTURE.md` is the map.
//! A room imports only the rooms that its charter allows, and a test reads the imports.

pub mod actions;
pub mod app;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod discord;
pub mod doctor;
pub mod domain;
pub mod engine;
pub mod expression;
pub mod github;
pub mod metrics;
pub mod planning;
pub mod render;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod tracking;
pub mod transfer;
pub mod web;
pub mod webhook;

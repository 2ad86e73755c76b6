//! The integration tests: one binary, behaviour through the front door.
//! They need the PostgreSQL server that `bin/test` starts.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test, wherever in the harness it stands")]

mod actions;
mod architecture;
mod beat;
mod cutover;
mod definitions;
mod demo;
mod deployment;
mod discord;
mod discord_model;
mod discord_rest;
mod doctor;
mod engine;
mod estate;
mod github;
mod harness;
mod host;
mod incidents;
mod journal_contract;
mod journal_fixtures;
mod page;
mod process;
mod refusals;
mod resume;
mod scripts;
mod serve;
mod tracking;
mod transfer;
mod web;

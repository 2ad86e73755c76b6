//! The integration tests: one binary, behaviour through the front door.
//! They need the PostgreSQL server that `bin/test` starts.

mod definitions;
mod estate;
mod discord_model;
mod harness;
mod journal_contract;
mod process;
mod transfer;

//! The integration tests: one binary, behaviour through the front door.
//! They need the PostgreSQL server that `bin/test` starts.

mod harness;
mod process;
mod journal_contract;

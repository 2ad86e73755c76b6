//! The data movers, SQLite to PostgreSQL, as a library of their own: usable without a run.
//!
//! [`copy::run`] moves one consistent snapshot and can be stopped at any instant and started again;
//! [`copy::rehearse`] does the same work and writes nothing; [`verify::run`] reads both databases on
//! its own and compares them.
//!
//! Invariants of this room:
//! - The source is opened read-only, and everything that one copy reads comes from one snapshot.
//! - A batch and the checkpoint that covers it are committed in one transaction of the target.
//! - No value is altered unless the options say how; a value that does not fit stops the copy or
//!   puts its row aside, and every row of the source is accounted for.
//! - Every row is verified from what the two databases return, not from what the copy remembers.
//! - Passwords never reach an error, a report or a checkpoint.
//!
//! Absent on purpose: time-tables, retries and sign-off. Those belong to the engine, which learns from
//! [`Error::is_retryable`] what is worth another attempt.

mod cast;
mod checkpoint;
pub mod copy;
mod create;
mod digest;
mod encode;
mod error;
mod json;
mod kind;
mod numeric;
mod plan;
mod policy;
mod source;
mod sqlite_sql;
mod stream;
mod target;
mod temporal;
pub mod verify;

pub use cast::Cast;
pub use error::{Error, Fault, FaultCode, Mismatch};
pub use policy::Policy;
pub use source::LeftOut;
pub use target::address;

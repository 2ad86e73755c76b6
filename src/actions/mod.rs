//! The registry of what a step can do; one file per action.
//!
//! [`process`] is how every child process of an action runs, [`redact`] what keeps secrets out of
//! all that a child prints.

pub mod process;
pub mod redact;

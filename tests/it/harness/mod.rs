//! What the tests share. Every test has databases and directories of its own.

pub(crate) mod postgres;

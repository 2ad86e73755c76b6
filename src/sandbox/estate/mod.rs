//! The practice estate.
pub mod app;
pub mod faults;
pub mod postgres;
pub mod sqlite;
mod supervised;

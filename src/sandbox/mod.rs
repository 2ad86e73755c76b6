//! Everything that lets Pointsman be tried and tested without Discord, GitHub or a cluster.
//!
//! [`discord`] is the chat, [`estate`] is what the runbooks work on. Only `app` and the tests import this room.

pub mod discord;
pub mod estate;
pub mod scenario;
pub mod stage;

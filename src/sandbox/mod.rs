//! Everything that lets Pointsman be tried and tested without Discord, GitHub or a cluster.
//!
//! [`discord`] is the chat, [`github`] has the issues, [`estate`] is what the runbooks work on, [`stage`] puts the bot
//! beside them as a process of its own, [`scenario`] plays people, [`page`] lets people play. Only `main`, `app` and
//! the tests import this room.

mod command;
pub mod discord;
pub mod estate;
pub mod github;
mod open_stage;
pub mod page;
pub mod scenario;
pub mod stage;

pub use command::{SandboxArgs, run};
pub use open_stage::OpenStage;

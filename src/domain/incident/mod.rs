//! The aggregate *incident*: something is wrong, and people work on it together.
//!
//! A [`State`] and four pure functions, as for a run: [`open()`] and [`decide()`] may refuse and never act;
//! [`evolve()`] folds facts; [`pending`] is what is still to be done in the world; [`next_deadline`] is when to wake
//! up if nothing happens.
//!
//! Invariants kept here: a status update that falls due is owed until it is visible, several missed ones become one
//! that names the count, and none is owed twice; an escalation level is told once; what the post-mortem shows is a
//! numbered revision, and an issue is owed until it shows the newest.
//!
//! Absent on purpose: how a channel is made or an issue written. Those are effects. What a linked run does is told by
//! the run; which runs are linked is a question to the runs themselves, so that there is one truth about it.

mod decide;
mod effect;
mod event;
mod evolve;
mod id;
mod input;
mod message;
mod open;
mod policy;
mod rejection;
mod state;
mod timeline;

#[cfg(test)]
mod tests;

pub use decide::decide;
pub use effect::{Effect, next_deadline, pending};
pub use event::{Delivery, Event, Facts, IssueKind, Opened, Opener, ResponderRole, kind_of};
pub use evolve::{begin, evolve};
pub use id::{IncidentId, InvalidIncidentId, NUMBER_MAX};
pub use input::Input;
pub use message::{MessageKind, Owed};
pub use open::{OpenRequest, next_id, open};
pub use policy::{EscalationLevel, Policy, Severity, UnknownSeverity};
pub use rejection::Rejection;
pub use state::{Acknowledgement, ActionItem, Page, PostMortem, Published, Resolution, Review, State};
pub use timeline::{Entry, Happening};

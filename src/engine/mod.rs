//! The engine: loads, decides, appends, performs. The only writer of the journal.
//!
//! Appends first, acts after: an effect is performed only when the events that owe it are durable. It asks
//! chat and actions through ports, so that both can be replaced in tests, and knows neither Discord nor SQL.

mod ports;

pub use crate::domain::run::Progress;
pub use ports::{
    Chat, Freshness, Hint, Job, JobSink, Performer, PlanProblem, Planning, PortError, RunSummary, Runs, SendError, Snapshot,
    StartError, StartOrder,
};

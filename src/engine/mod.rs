//! The engine: loads, decides, appends, performs. The only writer of the journal.
//!
//! Appends first, acts after: an effect is performed only when the events that owe it are durable. It asks
//! chat and actions through ports, so that both can be replaced in tests, and knows neither Discord nor SQL.
//! One task per aggregate decides for it, in order; the index of aggregates is a fold of the journal and nothing
//! else, and so is the table of locks. One process acts at a time: every append shows a fencing token, and a holder
//! that loses its lease stops everything it does. What is particular to a kind of aggregate stands in its
//! implementation of `Aggregate`; everything else is the same for all.
//!
//! Absent on purpose: the rules of a run (`domain::run`), and any state that a restart would lose and need.

mod activity;
mod aggregate;
mod codec;
mod dossier;
mod flight;
mod handle;
mod incident;
mod incident_ports;
mod incidents;
mod index;
mod lease;
mod load;
mod observe;
mod ports;
mod refresh;
mod run;
mod shared;
mod task;

pub use handle::{Engine, EngineError, Handle};
pub use incident_ports::{
    Dossier, IncidentChat, IncidentError, IncidentSnapshot, Incidents, Mark, Outside, Place, StuckIncident, Tracker,
};
pub use lease::LEASE_TTL;
pub use ports::{
    Chat, Freshness, Hint, Job, JobSink, Performer, PlanProblem, Planning, PortError, Posted, RunSummary, Runs, SendError,
    Snapshot, StartError, StartOrder, Stuck,
};
pub use shared::{Pace, Policies, Ports, RunPolicy};

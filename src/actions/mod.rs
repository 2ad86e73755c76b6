//! The registry of what a step can do; one file per action.
//!
//! An [`Action`] describes itself, performs, rehearses and, where that is possible, looks whether an interrupted
//! attempt took effect. [`Actions`] performs the engine's jobs with them; the [`Planner`] turns a runbook and its
//! parameters into the plan that a run pins. [`process`] is how every child process of an action runs,
//! [`redact`] what keeps secrets out of all that an attempt says.
//!
//! Invariants of this room:
//! - **Data is never code.** See `binding`: values are bound to arguments, variables and bind parameters.
//! - **Pinned.** Scripts and files run from the run's own copies, checked by hash each time.
//! - **Secrets stay secret.** Resolved when an attempt asks, given to the child that asked, masked in outputs,
//!   results and messages.
//! - **A dry run writes nothing** outside the run's directory, and says which of its results are simulated.
//! - **Never a guess.** An outcome that is not known is reported as unknown.
//!
//! Absent on purpose: retries, time-outs and sign-off, which are the engine's.

mod action;
mod binding;
mod context;
mod database;
mod http_check;
mod human;
mod kubernetes;
mod output;
mod performer;
mod planner;
mod postgres;
pub mod process;
mod readings;
pub mod redact;
mod registry;
mod result;
mod run_dir;
mod secrets;
mod shell_run;
mod sql;
mod sqlite;
mod target;

pub use action::{Action, Done, Trouble};
pub use context::{Context, TargetKey};
pub use performer::Actions;
pub use planner::{PlanError, Planned, Planner};
pub use registry::Registry;
pub use run_dir::{RunDirectories, RunDirectory, pin_files};
pub use secrets::{SecretError, SecretSource, Secrets};
pub use target::{Address, KubernetesAddress, PostgresAddress, TargetReader};

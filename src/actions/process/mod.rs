//! How every child process of an action runs.
//!
//! The bot never starts a command itself. It starts its own program again as a small *supervisor*
//! (`pointsman supervise`), the leader of a process group of its own, and talks to it over a socket
//! that is the supervisor's standard input:
//!
//! ```text
//! bot ── spawn ──▶ supervisor          its group id and start time are known: the bot journals them
//! bot ── order ──▶ supervisor ─▶ command   nothing runs before the order is complete
//! bot ◀─ report ── supervisor          exit status, then how many processes had to be ended
//! bot ── close ──▶ supervisor          cancel, or the bot is dead: TERM, grace, KILL for everything
//! ```
//!
//! Invariants:
//! - **Intent first.** The command starts only after `on_started` has returned well.
//! - **Nothing survives its step**, whatever it forked: the supervisor is its descendants' reaper, so
//!   that one which left the group (`setsid`, double fork) is found by its parentage.
//! - **A dead bot leaves nothing behind.** The kernel closes the socket of a bot that was killed with
//!   `kill -9`; the supervisor then ends the group just as for a cancel.
//! - **A strange process is never signalled.** A group is known by id, start time and boot, not by its id alone.
//! - **Clean environment.** A command sees [`Spawner`]'s few variables and what it asked for, nothing of the bot's.
//! - What a command prints is redacted, freed of control characters and bounded before anyone sees it.
//!
//! Absent on purpose: terminals, job control, and any use of `unsafe`. The room needs Linux (`/proc`, pidfd).

mod group;
mod output;
mod procfs;
mod spawner;
mod supervise;
mod wire;

pub use crate::domain::run::ProcessGroup;
pub use group::{LeftBehind, end_group, group_is_gone};
pub use output::{Captured, Line, OutputLimits, Stream};
pub use spawner::{Command, Finished, ProcessError, Spawner, run};
pub use supervise::supervise_main;
pub use wire::Exit;

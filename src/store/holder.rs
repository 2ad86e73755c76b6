//! Who holds the lease, told so exactly that another process of the same machine can prove them dead.
//!
//! The proof is what lets a bot that was killed with `kill -9` and started again go on at once, rather
//! than wait for its own lease to expire. It is given only where it is certain: same kernel since its last boot,
//! same process-id namespace. Another machine or container, and a machine that was booted anew, wait.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Names one process, once and for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Where process ids mean the same: host name, boot id and process-id namespace.
    pub host: String,
    /// The process id within [`Holder::host`].
    pub pid: u32,
    /// When the process started, in the kernel's clock ticks since boot; tells it from a later one with the
    /// same id. Empty if it could not be read: then nothing is ever proven about this holder.
    pub process_start: String,
}

impl Holder {
    /// The running process.
    #[must_use]
    pub fn this_process() -> Self {
        let pid = std::process::id();
        let host = Place::of_this_process();
        let process_start = match (&host.boot, &host.namespace) {
            (Some(_), Some(_)) => process_stat(pid).map(|stat| stat.start).unwrap_or_default(),
            // Without both, an equal pid may be another machine's.
            _ => String::new(),
        };
        Self { host: host.to_string(), pid, process_start }
    }

    /// Whether it is certain that this process has ended. `false` means "do not know".
    #[must_use]
    pub(super) fn is_proven_dead(&self) -> bool {
        let here = Self::this_process();
        if self.process_start.is_empty() || here.process_start.is_empty() || self.host != here.host {
            return false;
        }
        match process_stat(self.pid) {
            // A zombie has ended; it only waits for its parent to notice.
            Some(stat) => stat.start != self.process_start || matches!(stat.state, 'Z' | 'X'),
            // With `hidepid`, other people's processes have no folder in /proc: ask the kernel as well.
            None => !process_exists(self.pid),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.host.split_whitespace().next().unwrap_or("an unnamed host");
        write!(formatter, "process {} on {name}", self.pid)
    }
}

/// Where process ids mean the same.
struct Place {
    name: String,
    boot: Option<String>,
    namespace: Option<String>,
}

impl Place {
    fn of_this_process() -> Self {
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
        Self {
            name: read_line("/proc/sys/kernel/hostname").unwrap_or_else(|| "localhost".to_owned()),
            boot: read_line("/proc/sys/kernel/random/boot_id"),
            namespace: namespace.map(|link| link.to_string_lossy().into_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = "unknown";
        let boot = self.boot.as_deref().unwrap_or(unknown);
        let namespace = self.namespace.as_deref().unwrap_or(unknown);
        write!(formatter, "{} {boot} {namespace}", self.name)
    }
}

/// The two fields of `/proc/<pid>/stat` that tell whether it is still the same process.
/// Source: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>.
#[derive(Debug, PartialEq, Eq)]
struct ProcessStat {
    state: char,
    start: String,
}

fn process_stat(pid: u32) -> Option<ProcessStat> {
    parse_stat(&read_line(format!("/proc/{pid}/stat"))?)
}

fn parse_stat(line: &str) -> Option<ProcessStat> {
    // The second field is the command's name in brackets, which may itself hold blanks and brackets.
    let (_, after_name) = line.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // state is the third field of the line, starttime the twenty-second.
    let start = fields.nth(18)?.to_owned();
    Some(ProcessStat { state, start })
}

fn process_exists(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

fn read_line(path: impl AsRef<Path>) -> Option<String> {
    // Not `read_to_string`: a process may have a name that is not UTF-8.
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_process_is_not_dead() {
        let holder = Holder::this_process();
        assert!(!holder.process_start.is_empty(), "the proof works where the tests run: {holder:?}");
        assert!(!holder.is_proven_dead());
    }

    #[test]
    fn an_id_that_was_given_to_another_process_is_a_dead_holder() {
        let holder = Holder { process_start: "1".to_owned(), ..Holder::this_process() };
        assert!(holder.is_proven_dead());
    }

    #[test]
    fn an_ended_child_is_a_dead_holder_reaped_or_not() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let start = process_stat(pid).unwrap().start;
        let holder = Holder { pid, process_start: start, ..Holder::this_process() };
        assert!(!holder.is_proven_dead(), "it waits for its input");
        child.kill().unwrap();
        while process_stat(pid).unwrap().state != 'Z' {
            std::thread::yield_now();
        }
        assert!(holder.is_proven_dead(), "a zombie does nothing any more");
        child.wait().unwrap();
        assert!(holder.is_proven_dead());
    }

    #[test]
    fn nothing_is_proven_about_another_place_or_an_unknown_start() {
        let here = Holder { pid: i32::MAX as u32, ..Holder::this_process() };
        assert!(here.is_proven_dead());
        assert!(!Holder { host: "elsewhere".to_owned(), ..here.clone() }.is_proven_dead());
        assert!(!Holder { process_start: String::new(), ..here }.is_proven_dead());
    }

    #[test]
    fn a_command_name_cannot_forge_the_start() {
        let line = "7 (a) S 1) R 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 1 2";
        assert_eq!(parse_stat(line), Some(ProcessStat { state: 'R', start: "4711".to_owned() }));
        assert_eq!(parse_stat("7 (cut off"), None);
    }
}

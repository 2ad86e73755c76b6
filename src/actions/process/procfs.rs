//! What the kernel says about processes, read from `/proc`; and signals that cannot hit the wrong one.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One line of `/proc/<pid>/stat`, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// Clock ticks from boot to the start of the process; with the pid it names a process for ever.
    pub(super) start_time: u64,
    /// Dead, but not yet collected by its parent.
    pub(super) zombie: bool,
}

/// Reads one process. `None` when there is none (any more).
pub(super) fn read_process(pid: i32) -> Option<Process> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// All processes that this user may see, zombies included, in no order.
///
/// # Errors
/// `/proc` cannot be read: nothing can be said about any process then.
pub(super) fn processes() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        // Whatever ends while we read is simply no longer there.
        found.extend(name.to_str().and_then(|name| name.parse().ok()).and_then(read_process));
    }
    Ok(found)
}

/// The fields follow the command's name, which stands in parentheses and may hold anything, also
/// spaces and parentheses: hence the search from the end. Field numbers as in proc(5).
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Process {
        pid,
        zombie: matches!(field(3)?, "Z" | "X"),
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().ok()?,
        start_time: field(22)?.parse().ok()?,
    })
}

/// Which start of the machine this is; ids of processes mean nothing across two.
///
/// # Errors
/// The kernel does not say.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The value of `name` in the environment that the process was started with.
/// `None` when it is not set, or the process is another user's or gone.
pub(super) fn environment_value(pid: i32, name: &str) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let found = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(name.as_bytes()))
        .find_map(|rest| rest.strip_prefix(b"="));
    found.map(<[u8]>::to_vec)
}

/// Sends `signal` to exactly this process: its id may have been given to another one since it was
/// read, so it is pinned by a pidfd first and its start time compared again.
pub(super) fn send_signal(process: &Process, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else {
        return;
    };
    let Ok(pinned) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if read_process(process.pid).is_some_and(|now| now.start_time == process.start_time) {
        // It may have ended by itself in between, which is what was wanted.
        let _ = pidfd_send_signal(pinned, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 3 5 5 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 991 0 0 0";
        let expected = Process { pid: 7, parent: 3, group: 5, start_time: 991, zombie: false };
        assert_eq!(parse_stat(7, stat), Some(expected));
    }

    #[test]
    fn this_process_is_found_with_its_own_start_time() {
        let pid = i32::try_from(std::process::id()).expect("a pid fits");
        let me = read_process(pid).expect("this process runs");
        assert!(processes().expect("/proc is readable").contains(&me));
        assert!(!me.zombie);
    }
}

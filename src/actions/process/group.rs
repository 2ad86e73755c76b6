//! Process groups as the journal remembers them: is one gone, and how to end what is left of it.
//!
//! Used on resume, when the bot that started the group is dead and its supervisor should have ended it.
//! A process belongs to the group when it is in the leader's group while that leader is surely ours,
//! or when it carries the group's mark in its environment (which also finds one that left the group).

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::procfs::{self, Process};
use crate::domain::run::ProcessGroup;

/// The variable that marks every process of a group.
pub(super) const MARK: &str = "POINTSMAN_GROUP";
/// How long KILL is repeated before [`end_group`] gives up.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How often `/proc` is read again while a group is being ended.
const RESCAN: Duration = Duration::from_millis(20);

/// Processes of a group that could not be ended, or that may or may not belong to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("processes {pids:?} of group {pgid} are still there; look at them and end them by hand")]
pub struct LeftBehind {
    /// The group.
    pub pgid: i32,
    /// Their ids, ascending; empty when `/proc` could not be read.
    pub pids: Vec<i32>,
}

/// The group that the running process `pid` leads.
pub(super) fn of_leader(pid: i32) -> io::Result<ProcessGroup> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, format!("process {pid} is not there"));
    let start_time = procfs::read_process(pid).ok_or_else(gone)?.start_time;
    Ok(ProcessGroup { pgid: pid, start_time, boot_id: procfs::boot_id()? })
}

/// The value of [`MARK`] in the environment of this group's processes.
pub(super) fn mark_of(group: &ProcessGroup) -> String {
    format!("{}:{}:{}", group.pgid, group.start_time, group.boot_id)
}

/// What the machine holds of a group.
#[derive(Debug, Default)]
struct Remains {
    /// Surely of the group.
    ours: Vec<Process>,
    /// In a group of this id whose leader is dead, and without a mark.
    doubtful: Vec<Process>,
}

impl Remains {
    fn is_empty(&self) -> bool {
        self.ours.is_empty() && self.doubtful.is_empty()
    }

    fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.ours.iter().chain(&self.doubtful).map(|process| process.pid).collect();
        pids.sort_unstable();
        pids
    }
}

/// Whether surely nothing of the group runs any more. In doubt, and when `/proc` cannot be read: `false`.
#[must_use]
pub fn group_is_gone(group: &ProcessGroup) -> bool {
    remains(group).is_ok_and(|remains| remains.is_empty())
}

/// Ends what is left of a group: TERM, up to `grace` of waiting, then KILL.
/// Does nothing when the group is gone, or the machine has been started anew since.
///
/// # Errors
/// [`LeftBehind`] names what is still there: a process stuck in the kernel, another user's, or one
/// of which it cannot be told whether it belongs to the group (such a one is never signalled).
pub async fn end_group(group: &ProcessGroup, grace: Duration) -> Result<(), LeftBehind> {
    let unreadable = |_| LeftBehind { pgid: group.pgid, pids: Vec::new() };
    let kill_from = Instant::now() + grace;
    let give_up = kill_from + KILL_PATIENCE;
    let mut termed = std::collections::HashSet::new();
    loop {
        let remains = remains(group).map_err(unreadable)?;
        if remains.is_empty() {
            return Ok(());
        }
        if remains.ours.is_empty() || Instant::now() >= give_up {
            return Err(LeftBehind { pgid: group.pgid, pids: remains.pids() });
        }
        let kill = Instant::now() >= kill_from;
        for process in &remains.ours {
            if kill {
                procfs::send_signal(process, Signal::KILL);
            } else if termed.insert((process.pid, process.start_time)) {
                procfs::send_signal(process, Signal::TERM);
                procfs::send_signal(process, Signal::CONT);
            }
        }
        tokio::time::sleep(RESCAN).await;
    }
}

fn remains(group: &ProcessGroup) -> io::Result<Remains> {
    if procfs::boot_id()? != group.boot_id {
        return Ok(Remains::default());
    }
    Ok(sort(group, procfs::processes()?, |pid| procfs::environment_value(pid, MARK)))
}

/// Tells ours from strangers. `mark_in` reads a process's mark.
fn sort(group: &ProcessGroup, all: Vec<Process>, mark_in: impl Fn(i32) -> Option<Vec<u8>>) -> Remains {
    let mark = mark_of(group);
    let leader = all.iter().find(|process| process.pid == group.pgid).copied();
    let leader_is_ours = leader.is_some_and(|leader| leader.start_time == group.start_time);
    // The kernel gives an id away only when no process and no group holds it: another leader means
    // that our group had no member left, and whoever is in that group now came later.
    let id_was_reused = leader.is_some() && !leader_is_ours;
    let mut remains = Remains::default();
    for process in all {
        if process.zombie || process.start_time < group.start_time {
            continue;
        }
        let in_group = process.group == group.pgid && !id_was_reused;
        match mark_in(process.pid) {
            Some(found) if found == mark.as_bytes() => remains.ours.push(process),
            Some(_) => {}
            None if in_group && leader_is_ours => remains.ours.push(process),
            None if in_group => remains.doubtful.push(process),
            None => {}
        }
    }
    remains
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> ProcessGroup {
        ProcessGroup { pgid: 100, start_time: 1_000, boot_id: "boot".to_owned() }
    }

    fn process(pid: i32, group: i32, start_time: u64) -> Process {
        Process { pid, parent: 1, group, start_time, zombie: false }
    }

    /// Sorts processes, each given with its mark, into (ours, doubtful).
    fn sorted(processes: &[(Process, Option<&str>)]) -> (Vec<i32>, Vec<i32>) {
        let all = processes.iter().map(|(process, _)| *process).collect();
        let marks: std::collections::HashMap<i32, Option<&str>> =
            processes.iter().map(|(process, mark)| (process.pid, *mark)).collect();
        let remains = sort(&group(), all, |pid| marks[&pid].map(|mark| mark.as_bytes().to_vec()));
        let pids = |processes: Vec<Process>| processes.iter().map(|process| process.pid).collect();
        (pids(remains.ours), pids(remains.doubtful))
    }

    #[test]
    fn members_of_a_living_leader_are_ours_marked_or_not() {
        let found = sorted(&[(process(100, 100, 1_000), None), (process(101, 100, 1_001), None), (process(7, 7, 5), None)]);
        assert_eq!(found, (vec![100, 101], vec![]));
    }

    #[test]
    fn a_marked_process_is_ours_wherever_it_went() {
        let mark = mark_of(&group());
        assert_eq!(sorted(&[(process(150, 150, 1_200), Some(&mark))]), (vec![150], vec![]));
    }

    #[test]
    fn a_reused_id_makes_strangers_of_the_whole_group() {
        let found = sorted(&[(process(100, 100, 9_000), None), (process(300, 100, 9_001), None)]);
        assert_eq!(found, (vec![], vec![]));
    }

    #[test]
    fn an_unmarked_member_of_a_group_without_leader_is_doubtful() {
        assert_eq!(sorted(&[(process(300, 100, 9_001), None)]), (vec![], vec![300]));
    }

    #[test]
    fn another_groups_mark_makes_a_stranger() {
        assert_eq!(sorted(&[(process(300, 100, 9_001), Some("100:8999:boot"))]), (vec![], vec![]));
    }

    #[test]
    fn zombies_and_elders_do_not_count() {
        let zombie = Process { zombie: true, ..process(100, 100, 1_000) };
        assert_eq!(sorted(&[(zombie, None), (process(99, 100, 900), None)]), (vec![], vec![]));
    }

    #[test]
    fn a_group_of_another_boot_is_gone() {
        let me = i32::try_from(std::process::id()).expect("a pid fits");
        let mut group = of_leader(me).expect("this process runs");
        group.boot_id = "another".to_owned();
        assert!(group_is_gone(&group));
    }
}

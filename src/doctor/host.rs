//! This machine: the data directory, the secrets' files, and the programs that actions start.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{Finding, Patient};
use crate::catalog::Catalog;
use crate::config::{SecretSource, Settings};

/// Less than this is too little for a night's backups and dumps, in bytes.
const FREE_BYTES_MIN: u64 = 1024 * 1024 * 1024;
/// How long a program may take to tell its version.
const VERSION_WITHIN: Duration = Duration::from_secs(10);

/// The programs that actions start, and how each tells its version.
const PROGRAMS: &[(&str, &str, &[&str])] = &[
    ("postgres.dump", "pg_dump", &["--version"]),
    ("postgres.restore", "pg_restore", &["--version"]),
    ("kubernetes.rollout", "kubectl", &["version", "--client"]),
    ("kubernetes.secret", "kubectl", &["version", "--client"]),
];

pub(super) async fn examine(patient: &Patient, catalog: Option<&Catalog>) -> Vec<Finding> {
    let mut findings = data_dir(&patient.settings.data_dir);
    findings.extend(secrets(&patient.settings));
    findings.extend(programs(patient, catalog).await);
    findings
}

fn data_dir(dir: &Path) -> Vec<Finding> {
    let about = "data_dir";
    let shown = dir.display();
    let metadata = match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return vec![Finding::problem(about, format!("{shown} is not a folder"), "set `data_dir` to a folder")],
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mend = "the first start makes it, if the bot's user may; otherwise make it, with mode 0700";
            return vec![Finding::warning(about, format!("{shown} does not exist yet"), mend)];
        }
        Err(error) => {
            return vec![Finding::problem(about, format!("{shown}: {error}"), "give the bot's user the right to read it")];
        }
    };
    let mut findings = Vec::new();
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let mend = format!("chmod 0700 {shown}");
        findings.push(Finding::problem(
            about,
            format!("{shown} has mode {mode:04o}: others can reach what runs keep there"),
            mend,
        ));
    }
    if rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err() {
        let mend = "make the bot's user its owner";
        findings.push(Finding::problem(about, format!("{shown} cannot be written"), mend));
    }
    match free_bytes(dir) {
        Some(free) if free < FREE_BYTES_MIN => {
            let found = format!("{} MiB are free on the disk of {shown}", free / 1024 / 1024);
            findings.push(Finding::warning(about, found, "make room: backups and dumps are written there"));
        }
        Some(free) if findings.is_empty() => {
            findings.push(Finding::well(about, format!("{shown}, {} GiB free", free / 1024 / 1024 / 1024)));
        }
        Some(_) => {}
        None => findings.push(Finding::warning(about, format!("the room left in {shown} cannot be told"), "look with `df`")),
    }
    findings
}

fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

fn secrets(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, source) in &settings.secrets {
        let SecretSource::File(path) = source else { continue };
        let shown = path.display();
        match std::fs::File::open(path).and_then(|file| file.metadata()) {
            Err(error) => {
                let mend = format!("put the secret there, readable by the bot's user, or change `secrets.{name}`");
                findings.push(Finding::problem("secrets", format!("{name}: {shown}: {error}"), mend));
            }
            Ok(metadata) if metadata.permissions().mode() & 0o004 != 0 => {
                let mend = format!("chmod o-rwx {shown}");
                findings.push(Finding::warning("secrets", format!("{name}: everybody on this machine can read {shown}"), mend));
            }
            Ok(_) => {}
        }
    }
    if findings.is_empty() {
        findings.push(Finding::well("secrets", format!("{} named, each can be read", settings.secrets.len())));
    }
    findings
}

/// The programs that the loaded runbooks need, each once.
async fn programs(patient: &Patient, catalog: Option<&Catalog>) -> Vec<Finding> {
    let Some(catalog) = catalog else { return Vec::new() };
    let steps = catalog.runbooks().iter().flat_map(|loaded| loaded.definition.all_steps());
    let used: std::collections::BTreeSet<&str> = steps.map(|step| step.action.as_str()).collect();
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for (action, program, arguments) in PROGRAMS.iter().filter(|(action, ..)| used.contains(action)) {
        if !seen.contains(program) {
            seen.push(*program);
            findings.push(version(&patient.path, action, program, arguments).await);
        }
    }
    findings
}

async fn version(path: &[PathBuf], action: &str, program: &str, arguments: &[&str]) -> Finding {
    let about = "programs";
    let Some(found) = path.iter().map(|dir| dir.join(program)).find(|file| is_program(file)) else {
        let mend = format!("install it, or put its folder into the bot's PATH; `{action}` starts it");
        return Finding::problem(about, format!("`{program}` is not in the PATH"), mend);
    };
    let mut command = Command::new(&found);
    command.args(arguments).env_clear().stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mend = format!("start `{program} {}` by hand", arguments.join(" "));
    match tokio::time::timeout(VERSION_WITHIN, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::well(about, format!("{}: {}", found.display(), text.lines().next().unwrap_or_default().trim()))
        }
        Ok(Ok(output)) => Finding::problem(about, format!("{} ends with {}", found.display(), output.status), mend),
        Ok(Err(error)) => Finding::problem(about, format!("{}: {error}", found.display()), mend),
        Err(_) => Finding::problem(about, format!("{} does not tell its version", found.display()), mend),
    }
}

fn is_program(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

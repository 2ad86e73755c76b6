//! The scripted scenario of `bin/demo`, headless: the production bot as a process of its own, killed twice.

use std::path::Path;
use std::process::Command;

/// Whatever the chat shows must really have happened: the scenario reads both databases and the journal.
#[test]
fn the_demo_succeeds_headless() {
    let folder = tempfile::tempdir().unwrap();
    // PostgreSQL runs as another user and must be able to search the way to its files.
    let stage = folder.path().join("stage");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["sandbox", "--scenario", "--headless", "--rows", "3000", "--definitions"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")))
        .arg("--directory")
        .arg(&stage)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(text.contains(" 0 not met"), "{text}");
}

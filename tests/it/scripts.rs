//! The scripts in `bin/`: what they start does not outlive them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_throw_away_server_ends_with_its_script_even_if_that_is_killed() {
    let script = r#". bin/lib.sh; start_postgres; echo "$PG_DIR"; exec 1>&-; read -r _"#;
    let mut killed = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash starts");
    let mut output = BufReader::new(killed.stdout.take().expect("it is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it tells where");
    let told = line.trim().to_owned();
    let directory = Path::new(&told);
    let pid = std::fs::read_to_string(directory.join("data/postmaster.pid")).expect("the server is up");
    let server = Path::new("/proc").join(pid.lines().next().expect("its first line is its process id"));
    assert!(server.exists());
    killed.kill().expect("it is killed");
    killed.wait().expect("it is collected");
    // Only what keeps the server still has the output open, until it has ended it.
    output.read_to_string(&mut line).expect("the output ends");
    assert!(!directory.exists(), "its files are gone");
    let arguments = std::fs::read_to_string(server.join("cmdline")).unwrap_or_default();
    assert!(!arguments.contains(&told), "the server has ended");
}

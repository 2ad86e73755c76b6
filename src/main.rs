//! The `pointsman` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before anything else: the supervisor of a child process must have no runtime and no threads yet.
    match args.next() {
        Some(word) if word == "supervise" => pointsman::actions::process::supervise_main(args),
        #[cfg(feature = "sandbox")]
        Some(word) if word == "practice-app" => pointsman::sandbox::estate::app::practice_app_main(std::env::vars_os()),
        _ => ExitCode::SUCCESS,
    }
}

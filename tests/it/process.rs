//! Child processes: exact outcomes, nothing left behind, nothing started unrecorded, nothing leaked.
//!
//! Whether processes are gone is not polled: they hold a FIFO open for writing ([`Lifeline`]), and the
//! kernel tells its reader when the last of them has ended. For a bot that dies, the test starts its
//! own binary again in the role of the bot and kills it.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman::actions::process::{
    Command, Exit, Finished, LeftBehind, Line, OutputLimits, ProcessError, ProcessGroup, Spawner, Stream, end_group,
    group_is_gone, run,
};
use rustix::process::{Pid, Signal};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

/// Names the role in which a test starts its own binary again.
const ROLE: &str = "POINTSMAN_TEST_ROLE";
/// No step of a test takes this long; a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(60);

fn spawner() -> Spawner {
    Spawner::new(PathBuf::from(env!("CARGO_BIN_EXE_pointsman")))
}

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script]).cwd("/").grace(Duration::from_secs(5))
}

/// Runs to the end and does not look at lines.
async fn finish(command: Command) -> Result<Finished, ProcessError> {
    run_with(command, &CancellationToken::new()).await
}

async fn run_with(command: Command, cancel: &CancellationToken) -> Result<Finished, ProcessError> {
    run(&spawner(), command, async |_| Ok::<_, Infallible>(()), &mut |_| {}, cancel).await
}

/// Told by the kernel when the last process that opened it has ended. A process that holds it says `up`.
struct Lifeline {
    path: PathBuf,
    up: tokio::sync::mpsc::UnboundedReceiver<String>,
    gone: tokio::sync::oneshot::Receiver<()>,
    _directory: tempfile::TempDir,
}

impl Lifeline {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lifeline");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a FIFO");
        let (line, up) = tokio::sync::mpsc::unbounded_channel();
        let (last, gone) = tokio::sync::oneshot::channel();
        let read = path.clone();
        std::thread::spawn(move || {
            for text in BufReader::new(std::fs::File::open(read).expect("opens")).lines() {
                let _ = line.send(text.expect("reads"));
            }
            let _ = last.send(());
        });
        Self { path, up, gone, _directory: directory }
    }

    /// Waits until a process has said that it runs; gives what it wrote.
    async fn up(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.up.recv()).await.expect("in time").expect("before all are gone")
    }

    /// Waits until the last process is gone.
    async fn gone(self) {
        tokio::time::timeout(PATIENCE, self.gone).await.expect("a process survived").expect("the reader lives");
    }
}

/// Three processes: one that ignores TERM, one that left the group and the session, and the shell itself.
const FAMILY: &str = r#"
    exec 3>"$LIFELINE"
    sh -c 'trap "" TERM; echo stubborn >&3; while :; do sleep 1000; done' &
    setsid sh -c '(trap "" HUP; echo escaped >&3; exec sleep 1000) & exit 0'
    echo leader >&3
"#;

#[tokio::test]
async fn the_exit_status_and_both_outputs_are_exact() {
    let finished = finish(shell("echo out; echo err >&2; exit 7")).await.expect("runs");
    assert_eq!((finished.exit, finished.left_behind), (Exit::Code(7), 0));
    assert_eq!((finished.stdout.text().as_str(), finished.stderr.text().as_str()), ("out\n", "err\n"));
    assert!(!finished.truncated);
    let killed = finish(shell("kill -KILL $$")).await.expect("runs");
    assert_eq!(killed.exit, Exit::Signal(9));
}

#[tokio::test]
async fn a_command_sees_its_environment_and_nothing_of_ours() {
    let command = Command::new("env").cwd("/").env("ASKED", "a b").secret_env("SECRET", SecretString::from("hunter2-long"));
    let finished = finish(command).await.expect("runs");
    let text = finished.stdout.text();
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["ASKED", "HOME", "LANG", "PATH", "POINTSMAN_GROUP", "SECRET"]);
    assert!(text.contains("ASKED=a b\n") && text.contains("SECRET=[redacted]\n"), "{text}");
}

#[tokio::test]
async fn input_arrives_whole_and_in_the_right_directory() {
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let expected = {
        use sha2::Digest as _;
        hex::encode(sha2::Sha256::digest(&bytes))
    };
    let finished = finish(shell("pwd; sha256sum").cwd("/usr").stdin(bytes)).await.expect("runs");
    assert_eq!(finished.stdout.text(), format!("/usr\n{expected}  -\n"));
}

#[tokio::test]
async fn a_command_that_cannot_start_says_why() {
    let error = finish(Command::new("no-such-program")).await.expect_err("cannot start");
    assert_eq!(error.to_string(), "`no-such-program` could not be started: No such file or directory (os error 2)");
    let error = finish(Command::new("true").cwd("/no/such/place")).await.expect_err("cannot start");
    assert!(matches!(error, ProcessError::NotStarted { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_supervisor_is_named() {
    let spawner = Spawner::new(PathBuf::from("/no/such/pointsman"));
    let cancel = CancellationToken::new();
    let ran = run(&spawner, shell("true"), async |_| Ok::<_, Infallible>(()), &mut |_| {}, &cancel).await;
    let error = ran.expect_err("cannot start");
    assert_eq!(error.to_string(), "starting the supervisor /no/such/pointsman: No such file or directory (os error 2)");
}

#[tokio::test]
async fn nothing_runs_when_the_start_could_not_be_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let command = shell("touch \"$TRACE\"").env("TRACE", &trace);
    let mut group = None;
    let cancel = CancellationToken::new();
    let on_started = async |started: ProcessGroup| {
        group = Some(started);
        Err("the journal is full")
    };
    let error = run(&spawner(), command, on_started, &mut |_| {}, &cancel).await.expect_err("is not run");
    assert_eq!(error.to_string(), "the start could not be recorded, so nothing was run: the journal is full");
    end_group(&group.expect("was told"), PATIENCE).await.expect("ends by itself");
    assert!(!trace.exists());
}

#[tokio::test]
async fn the_group_is_known_before_the_command_and_gone_after_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let command = shell("touch \"$TRACE\"").env("TRACE", &trace);
    let mut group = None;
    let cancel = CancellationToken::new();
    let on_started = async |started: ProcessGroup| {
        assert!(!trace.exists() && !group_is_gone(&started));
        group = Some(started);
        Ok::<_, Infallible>(())
    };
    run(&spawner(), command, on_started, &mut |_| {}, &cancel).await.expect("runs");
    assert!(trace.exists());
    assert!(group_is_gone(&group.expect("was told")));
}

#[tokio::test]
async fn grandchildren_that_hold_the_pipe_end_with_the_command() {
    let lifeline = Lifeline::new();
    let finished = finish(shell(FAMILY).env("LIFELINE", &lifeline.path)).await.expect("runs");
    assert_eq!(finished.exit, Exit::Code(0));
    assert!(finished.left_behind >= 2, "{finished:?}");
    lifeline.gone().await;
}

#[tokio::test]
async fn cancel_ends_the_stubborn_and_the_escaped() {
    let mut lifeline = Lifeline::new();
    let cancel = CancellationToken::new();
    let script = format!("{FAMILY}\ntrap 'echo cleaning up; exit 3' TERM; while :; do sleep 0.1; done");
    let command = shell(&script).env("LIFELINE", &lifeline.path).grace(Duration::from_millis(800));
    let running = {
        let cancel = cancel.clone();
        tokio::spawn(async move { run_with(command, &cancel).await })
    };
    let mut up = [lifeline.up().await, lifeline.up().await, lifeline.up().await];
    up.sort();
    assert_eq!(up, ["escaped", "leader", "stubborn"]);
    cancel.cancel();
    let error = running.await.expect("joins").expect_err("is cancelled");
    let ProcessError::Cancelled(Some(finished)) = error else { panic!("{error}") };
    assert_eq!((finished.exit, finished.stdout.text().as_str()), (Exit::Code(3), "cleaning up\n"));
    lifeline.gone().await;
}

#[tokio::test]
async fn a_command_that_was_cancelled_before_it_began_does_not_run() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = run_with(shell("true"), &cancel).await.expect_err("is cancelled");
    assert!(matches!(error, ProcessError::Cancelled(None)), "{error}");
}

#[tokio::test]
async fn a_group_that_someone_else_ends_is_reported_exactly() {
    let mut lifeline = Lifeline::new();
    let (told, group) = tokio::sync::oneshot::channel();
    let command = shell("exec 3>\"$LIFELINE\"; echo up >&3; exec sleep 1000").env("LIFELINE", &lifeline.path);
    let running = tokio::spawn(async move {
        let on_started = async |group: ProcessGroup| told.send(group.pgid).map_err(|_| "nobody listens");
        run(&spawner(), command, on_started, &mut |_| {}, &CancellationToken::new()).await
    });
    let leader = Pid::from_raw(group.await.expect("is told")).expect("a pid");
    lifeline.up().await;
    // The supervisor is of the group, and outlives it.
    rustix::process::kill_process_group(leader, Signal::TERM).expect("is sent");
    assert_eq!(running.await.expect("joins").expect("is told").exit, Exit::Signal(15));
    lifeline.gone().await;
}

#[tokio::test]
async fn a_dropped_future_ends_everything() {
    let mut lifeline = Lifeline::new();
    let command = shell(&format!("{FAMILY}\nwait")).env("LIFELINE", &lifeline.path).grace(Duration::from_millis(50));
    let running = tokio::spawn(finish(command));
    lifeline.up().await;
    running.abort();
    lifeline.gone().await;
}

#[tokio::test]
async fn a_dead_supervisor_makes_the_outcome_unknown_and_leaves_nothing() {
    let lifeline = Lifeline::new();
    let script = format!("{FAMILY}\nkill -KILL $PPID; sleep 1000");
    let error = finish(shell(&script).env("LIFELINE", &lifeline.path)).await.expect_err("is unknown");
    assert!(matches!(error, ProcessError::SupervisorLost { .. }), "{error}");
    lifeline.gone().await;
}

#[tokio::test]
async fn kill_nine_of_the_bot_leaves_nothing_behind() {
    if let Some(lifeline) = role() {
        let command = shell(&format!("{FAMILY}\nwait")).env("LIFELINE", lifeline).grace(Duration::from_millis(100));
        finish(command).await.expect("is killed before it ends");
    }
    let mut lifeline = Lifeline::new();
    let mut bot = start_again("process::kill_nine_of_the_bot_leaves_nothing_behind", &lifeline.path);
    for _ in 0..3 {
        lifeline.up().await;
    }
    bot.kill().expect("is killed");
    bot.wait().expect("is collected");
    lifeline.gone().await;
}

#[tokio::test]
async fn resume_ends_what_a_dead_bot_and_a_dead_supervisor_left() {
    let script = format!("{FAMILY}\necho \"$POINTSMAN_GROUP\" >&3; wait");
    if let Some(lifeline) = role() {
        finish(shell(&script).env("LIFELINE", lifeline)).await.expect("is killed before it ends");
    }
    let mut lifeline = Lifeline::new();
    let mut bot = start_again("process::resume_ends_what_a_dead_bot_and_a_dead_supervisor_left", &lifeline.path);
    let told = [lifeline.up().await, lifeline.up().await, lifeline.up().await, lifeline.up().await];
    let mark = told.iter().find_map(|line| line.split_once(':')).expect("the shell tells its group");
    let (start_time, boot_id) = mark.1.split_once(':').expect("start and boot");
    // What the journal would remember.
    let group = ProcessGroup {
        pgid: mark.0.parse().expect("a number"),
        start_time: start_time.parse().expect("a number"),
        boot_id: boot_id.to_owned(),
    };
    let supervisor = Pid::from_raw(group.pgid).expect("a pid");
    // Frozen, so that it cannot do its work when the bot dies.
    rustix::process::kill_process(supervisor, Signal::STOP).expect("is frozen");
    bot.kill().expect("is killed");
    bot.wait().expect("is collected");
    rustix::process::kill_process(supervisor, Signal::KILL).expect("is killed");
    assert!(!group_is_gone(&group));
    end_group(&group, Duration::from_millis(100)).await.expect("all ends");
    assert!(group_is_gone(&group));
    lifeline.gone().await;
}

#[tokio::test]
async fn a_strangers_group_is_never_touched() {
    let mut stranger = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("starts");
    let pid = i32::try_from(stranger.id()).expect("fits");
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("reads").trim().to_owned();
    // As if the group's id had been given to the stranger since.
    let group = ProcessGroup { pgid: pid, start_time: 1, boot_id };
    assert_eq!(end_group(&group, Duration::ZERO).await, Ok::<(), LeftBehind>(()));
    assert!(group_is_gone(&group));
    assert!(stranger.try_wait().expect("is asked").is_none(), "the stranger lives");
    drop(stranger.stdin.take());
    stranger.wait().expect("ends by itself");
}

#[tokio::test]
async fn secrets_are_masked_across_the_pieces_of_a_pipe() {
    let secret = "correct-horse-battery-staple";
    // The secret in two writes, coded, coloured, and inside a URL's encoding.
    let script = r#"
        printf 'raw correct-horse-'; sleep 0.1; printf 'battery-staple\n'
        printf 'coloured correct-\033[1mhorse-battery-staple\033[0m\n'
        printf 'coded '; printf %s "$TOKEN" | base64
        printf 'err %s\n' "$TOKEN" >&2
    "#;
    let mut lines = Vec::new();
    let command = shell(script).secret_env("TOKEN", SecretString::from(secret));
    let cancel = CancellationToken::new();
    let mut on_line = |line: Line<'_>| lines.push((line.stream, line.text.to_owned()));
    let finished = run(&spawner(), command, async |_| Ok::<_, Infallible>(()), &mut on_line, &cancel).await.expect("runs");
    assert_eq!(finished.stdout.text(), "raw [redacted]\ncoloured [redacted]\ncoded [redacted]\n");
    assert_eq!(finished.stderr.text(), "err [redacted]\n");
    assert_eq!(lines.len(), 4);
    assert!(lines.contains(&(Stream::Stderr, "err [redacted]".to_owned())));
}

#[tokio::test]
async fn a_hundred_megabytes_of_output_need_no_memory() {
    if role().is_some() {
        let limits = OutputLimits { head_bytes: 100, tail_bytes: 100 };
        let command = shell("yes 0123456789abcdef | head -c 100000000; echo end")
            .limits(limits)
            .secret_env("S", SecretString::from("staple"));
        let finished = finish(command).await.expect("runs");
        assert_eq!(finished.stdout.total_bytes, 100_000_004);
        assert!(finished.truncated && finished.stdout.tail.ends_with("end\n"));
        assert_eq!(finished.stdout.dropped_bytes, 100_000_004 - 200);
        // A process of its own, so that the peak is not another test's.
        let peak_kib = high_water_kib().expect("the kernel tells");
        assert!(peak_kib < 100_000, "{peak_kib} KiB");
        return;
    }
    let mut bot = start_again("process::a_hundred_megabytes_of_output_need_no_memory", Path::new("/"));
    assert!(bot.wait().expect("is collected").success());
}

/// The sandbox's form of the supervisor: a program of its own that goes when the sandbox goes.
#[tokio::test]
async fn a_supervised_program_ends_when_its_owners_end_of_the_pipe_closes() {
    let mut lifeline = Lifeline::new();
    let mut owned = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["supervise", "--grace-ms", "100", "--", "sh", "-c", &format!("{FAMILY}\nwait")])
        .env("LIFELINE", &lifeline.path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    for _ in 0..3 {
        lifeline.up().await;
    }
    drop(owned.stdin.take());
    lifeline.gone().await;
    owned.wait().expect("ends");
}

#[test]
fn the_supervisor_ends_as_its_program_does() {
    let status = |script: &str| {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["supervise", "--", "sh", "-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("starts");
        let mut text = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut text).expect("reads");
        let keep_open = child.stdin.take();
        let code = child.wait().expect("ends").code();
        drop(keep_open);
        (code, text)
    };
    assert_eq!(status("echo hi; exit 5"), (Some(5), "hi\n".to_owned()));
    assert_eq!(status("kill -TERM $$"), (Some(128 + 15), String::new()));
}

/// What this process is to do instead of testing, when a test started it.
#[expect(clippy::disallowed_methods, reason = "a test speaks to its own second process")]
pub(crate) fn role() -> Option<PathBuf> {
    std::env::var_os(ROLE).map(PathBuf::from)
}

/// Starts this test binary again, to run only `test`, in the role of the bot.
pub(crate) fn start_again(test: &str, with: &Path) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().expect("knows itself"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, with)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts")
}

/// The same behind a command that ends by executing its last arguments.
pub(crate) fn start_in(before: &[&str], test: &str, with: &Path) -> std::process::Child {
    std::process::Command::new(before[0])
        .args(&before[1..])
        .arg(std::env::current_exe().expect("knows itself"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, with)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts")
}

/// The most memory that this process ever had resident.
fn high_water_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

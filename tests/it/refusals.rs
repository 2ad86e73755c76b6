//! What is refused, through the front doors: the command line, and a bot that is served as a process of its own. Each refusal is read
//! as people read it, and nothing may have begun.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pointsman::clock::ScaledClock;
use pointsman::sandbox::discord::{Fault, Message, Misbehaviour, Model, TOKEN, World};
use pointsman::sandbox::estate::postgres::Cluster;
use tokio::process::{Child, Command};

/// A backstop for everything that is awaited; nothing here takes that long unless it fails.
const SOON: Duration = Duration::from_secs(60);
/// In addresses that are refused: it must come out nowhere.
const WRONG: &str = "hunter2-hunter2";

/// Needs a database before there is a plan.
const READ: &str = r#"
runbook: read-ledger
title: Read the ledger
version: 1.0.0
owner: us
kind: operation
lock: ledger
window: 1h
targets:
  ledger: { postgres: { dsn: LEDGER } }
phases:
  - phase: only
    steps:
      - step: read
        title: Read it
        action: sql.query
        with: { target: ledger, sql: "SELECT 1" }
"#;

/// Needs nothing, and holds the same lock.
const TOUCH: &str = r#"
runbook: touch
title: Touch the ledger
version: 1.0.0
owner: us
kind: operation
lock: ledger
window: 1h
phases:
  - phase: only
    steps:
      - step: touch
        title: Touch it
        action: shell.run
        with: { argv: [touch, "AT/touched"] }
"#;

/// Has a parameter.
const COUNT: &str = r#"
runbook: count
title: Count
version: 1.0.0
owner: us
kind: operation
lock: count
window: 1h
parameters:
  rows: { type: integer, help: how many rows, min: 1 }
phases:
  - phase: only
    steps:
      - step: count
        title: Count them
        action: shell.run
        with: { argv: [touch, "AT/counted-{{ params.rows }}"] }
"#;

/// Pins a script, and goes live only after a rehearsal of the same plan.
const REHEARSED: &str = r#"
runbook: rehearsed
title: Rehearsed
version: 1.0.0
owner: us
kind: operation
lock: rehearsed
window: 1h
dry_run: { required_within: 1h }
phases:
  - phase: only
    steps:
      - step: do
        title: Do it
        action: shell.run
        with: { script: scripts/do.sh }
"#;

/// The model of Discord, and settings and definitions for bots in front of it.
struct Stage {
    model: Model,
    directory: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let (world, clock) = (World::operations().without_rate_limits(), Arc::new(ScaledClock::real()));
        let model = Model::start(world, clock, ([127, 0, 0, 1], 0).into()).await.expect("the model starts");
        let stage = Self { model, directory: tempfile::tempdir().expect("a directory") };
        for folder in ["commands", "runbooks/scripts"] {
            std::fs::create_dir_all(stage.at(folder)).expect("made");
        }
        for file in ["commands/migrate.yaml", "commands/runbook.yaml"] {
            std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), stage.at(file)).expect("copied");
        }
        let place = stage.directory.path().display().to_string();
        for (name, text) in [("read-ledger", READ), ("touch", TOUCH), ("count", COUNT), ("rehearsed", REHEARSED)] {
            stage.write(&format!("runbooks/{name}.yaml"), &text.replace("AT", &place));
        }
        stage.write("runbooks/scripts/do.sh", "#!/bin/sh\necho done\n");
        stage.write("ledger", "not set yet");
        let role = |name: &&str| format!("{name}: '{}'", stage.model.role(name));
        let roles: Vec<String> = ["operator", "operations_lead", "dba", "security"].iter().map(role).collect();
        let settings = format!(
            "discord: {{ guild: '{}', api_base: '{}' }}\nroles: {{ {} }}\nsecrets: {{ LEDGER: {{ file: ledger }} }}\n",
            stage.model.guild_id(),
            stage.model.base_url(),
            roles.join(", ")
        );
        stage.write("pointsman.yaml", &settings);
        stage
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).expect("written");
    }

    /// Changes a file, which must hold what is replaced.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.at(name)).expect("there");
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replace(from, to));
    }

    fn pointsman(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.args(arguments).arg("--config").arg(self.at("pointsman.yaml")).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("POINTSMAN_DISCORD_TOKEN", TOKEN);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        tokio::time::timeout(SOON, self.pointsman(arguments).output()).await.expect("in time").expect("it starts")
    }

    /// Expects that a command refuses with this exit status, prints nothing else, and gives its words.
    async fn refused(&self, arguments: &[&str], status: i32) -> String {
        let output = self.run(arguments).await;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {words}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        words
    }

    /// Starts the bot and waits until it can be spoken to.
    async fn serve(&self) -> Child {
        let log = std::fs::File::create(self.at("bot.log")).expect("a log");
        let bot = self.pointsman(&["serve"]).stdout(Stdio::null()).stderr(log).spawn().expect("the bot starts");
        self.model.wait_for_gateway(SOON).await.unwrap_or_else(|late| panic!("{late}\n{}", self.log()));
        bot
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.at("bot.log")).unwrap_or_default()
    }

    /// Types a command in the channel and gives the answer, which nobody else sees.
    async fn say(&self, user: &str, text: &str) -> String {
        let pending = self.model.slash(user, self.model.channel("ops"), text).unwrap_or_else(|why| panic!("{text}: {why}"));
        let answer = pending.message(SOON).await.unwrap_or_else(|why| panic!("{text}: {why}\n{}", self.log()));
        assert!(answer.is_ephemeral(), "{}", answer.text());
        // What would be a mention is taken apart by a blank that nobody sees.
        answer.content.replace('\u{200b}', "")
    }

    /// Waits for a message that says all of this.
    async fn hear(&self, words: &[&str]) -> Message {
        let fits = |message: &&Message| words.iter().all(|word| message.text().contains(word));
        let look = |chat: &pointsman::sandbox::discord::Chat| {
            chat.messages.values().flat_map(|messages| messages.values()).find(fits).cloned()
        };
        self.model.wait_for(SOON, look).await.unwrap_or_else(|late| panic!("{words:?}: {late}\n{}", self.log()))
    }

    /// How many runs the journal knows.
    async fn journalled(&self) -> usize {
        let output = self.run(&["audit", "export"]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let records = String::from_utf8(output.stdout).expect("text");
        records.lines().filter(|line| line.contains("\"started\"")).count()
    }

    /// Expects that no run was begun and none has left anything behind.
    async fn expect_untouched(&self) {
        assert_eq!(self.journalled().await, 0);
        let runs = std::fs::read_dir(self.at("data/runs")).map(Iterator::count).unwrap_or_default();
        assert_eq!(runs, 0, "nothing was pinned");
        assert!(!self.at("touched").exists(), "nothing was done");
    }

    async fn end(self, mut bot: Child) {
        assert!(self.model.violations().is_empty(), "{:#?}", self.model.violations());
        bot.kill().await.expect("it is killed");
        self.model.stop();
    }
}

fn expect_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert!(!text.contains(WRONG), "{text}");
}

#[tokio::test]
async fn without_its_database_nothing_is_planned_started_or_locked() {
    let stage = Stage::new().await;
    let exe = Path::new(env!("CARGO_BIN_EXE_pointsman"));
    let mut cluster = Cluster::create(exe, &stage.at("postgres"), "practice-password").await.expect("starts");
    let bot = stage.serve().await;
    let closed = format!("postgres://ace:{WRONG}@127.0.0.1:1/ace");
    let locked_out = cluster.url().replace("practice-password", WRONG);
    let nowhere = format!("{}/nowhere", cluster.url().rsplit_once('/').expect("has a database").0);
    let cases: [(&str, &[&str]); 4] = [
        (
            &closed,
            &[
                "connecting to PostgreSQL ace@127.0.0.1:1/ace: Connection refused",
                "is the server up",
                "(its address is the secret `LEDGER`)",
            ],
        ),
        (
            WRONG,
            &[
                "the secret `LEDGER` is not the address of a PostgreSQL database",
                "set it to `postgres://user:password@host:port/database`",
            ],
        ),
        (
            &locked_out,
            &["password authentication failed for user \"ace\" (28P01)", "check the user and the password", "secret `LEDGER`"],
        ),
        (&nowhere, &["database \"nowhere\" does not exist (3D000)", "or create the database", "secret `LEDGER`"]),
    ];
    for (address, words) in cases {
        stage.write("ledger", address);
        let printed = stage.refused(&["plan", "read-ledger"], 1).await;
        expect_all(&printed, words);
        assert!(printed.starts_with("pointsman: the target `ledger` cannot be looked at: "), "{printed}");
        let answer = stage.say("olivia", "/migrate start runbook:read-ledger").await;
        expect_all(&answer, words);
        expect_all(
            &answer,
            &["🚫 The target `ledger` cannot be looked at: ", "Nothing was started. Mend it, then use the command again."],
        );
    }
    stage.expect_untouched().await;

    // Nor is its lock held: another runbook takes it, and then it is, and who holds it is said.
    expect_all(&stage.say("olivia", "/migrate start runbook:touch").await, &["🎬 Run"]);
    stage.write("ledger", &cluster.url());
    let plan = stage.run(&["plan", "read-ledger"]).await;
    assert!(plan.status.success(), "{}", String::from_utf8_lossy(&plan.stderr));
    let refused = stage.say("leo", "/migrate start runbook:read-ledger").await;
    expect_all(
        &refused,
        &[
            "`ledger` is held by run-",
            "started by Olivia at ",
            "Wait until that run is closed, or close it with `/migrate close`.",
        ],
    );
    assert_eq!(stage.journalled().await, 1);
    cluster.stop().await;
    stage.end(bot).await;
}

#[tokio::test]
async fn a_mistyped_command_line_is_refused_with_what_was_meant() {
    let stage = Stage::new().await;
    let cases: [(&[&str], i32, &[&str]); 7] = [
        (
            &["plan", "touch", "--parametr", "a=b"],
            2,
            &["unexpected argument '--parametr'", "'--parameter'", "Usage: pointsman plan"],
        ),
        (&["plan", "count", "-p", "rows"], 2, &["'rows'", "write it as NAME=VALUE"]),
        (
            &["plan", "count", "-p", "row=1"],
            1,
            &["the runbook `count` has no parameter `row`, did you mean `rows`?", "the parameter `rows` is required"],
        ),
        (&["plan", "count", "-p", "rows=0"], 1, &["the parameter `rows` (how many rows): 0 is less than 1"]),
        (&["plan", "count"], 1, &["required parameters are missing: rows; give each with `-p NAME=VALUE`"]),
        (&["plan", "touch", "-p", "nosuch=1"], 1, &["the runbook `touch` has no parameter `nosuch`; there is none"]),
        (&["plan", "tuch"], 1, &["there is no runbook `tuch`, did you mean `touch`?"]),
    ];
    for (arguments, status, words) in cases {
        expect_all(&stage.refused(arguments, status).await, words);
    }
    assert!(!stage.at("data").exists(), "no journal was made");
    stage.model.stop();
}

#[tokio::test]
async fn what_discord_still_offers_from_before_a_change_is_refused_as_a_whole() {
    let stage = Stage::new().await;
    let bot = stage.serve().await;
    expect_all(
        &stage.say("noor", "/migrate start runbook:touch").await,
        &["`/migrate start` takes one of the roles `operator`", "Ask somebody who holds one of them"],
    );
    expect_all(
        &stage.say("olivia", "/migrate start runbook:tuch").await,
        &["There is no runbook `tuch`, did you mean `touch`?", "Nothing was started. `/runbook list` shows"],
    );

    // A parameter is renamed while its form is open.
    let ops = stage.model.channel("ops");
    let form = stage.model.slash("olivia", ops, "/migrate start runbook:count").expect("known");
    assert_eq!(form.modal().await.expect("a form").inputs(), ["rows"]);
    stage.edit("runbooks/count.yaml", "rows", "lines");
    expect_all(&stage.say("leo", "/runbook reload").await, &["Reloaded"]);
    let sent =
        stage.model.submit_modal("olivia", form.id, &[("rows", "7")]).expect("sent").message(SOON).await.expect("answered");
    expect_all(
        &sent.content,
        &["`rows`: the runbook has no such parameter any more", "Nothing was started. Use the command again."],
    );

    // An option goes, and Discord does not hear of it: a rehearsal must not become a live run.
    let without = |word: &str, text: &str| {
        text.lines().filter(|line| !line.contains(word)).fold(String::new(), |text, line| text + line + "\n")
    };
    let shipped = std::fs::read_to_string(stage.at("commands/migrate.yaml")).expect("there");
    stage.model.fault(Fault::always("PUT /applications/*/guilds/*/commands", Misbehaviour::Answer { status: 400, code: 0 }));
    stage.write("commands/migrate.yaml", &without("mode", &shipped));
    expect_all(&stage.say("leo", "/runbook reload").await, &["Discord did not take the commands", "Try `/runbook reload` again"]);
    expect_all(
        &stage.say("olivia", "/migrate start runbook:touch mode:dry_run").await,
        &["`/migrate start` has no option `mode`; there is `runbook`, `at`.", "Nothing was done. Discord may still offer"],
    );
    stage.write("commands/migrate.yaml", &shipped.replace("[live, dry_run]", "[live]"));
    stage.say("leo", "/runbook reload").await;
    expect_all(
        &stage.say("olivia", "/migrate start runbook:touch mode:dry_run").await,
        &["`dry_run` is no choice of the option `mode` of `/migrate start`; there is `live`.", "Nothing was done."],
    );
    stage.expect_untouched().await;
    stage.end(bot).await;
}

#[tokio::test]
async fn broken_definitions_are_told_with_their_place_and_those_of_before_stay() {
    let stage = Stage::new().await;
    let bot = stage.serve().await;
    stage.edit("runbooks/touch.yaml", "shell.run", "shell.rum");
    let mistake = "touch.yaml:14: unknown action `shell.rum`, did you mean `shell.run`?";
    expect_all(
        &stage.say("leo", "/runbook reload").await,
        &[
            "The new definitions have mistakes:",
            mistake,
            "What was loaded before stays in force. `pointsman check` shows the places.",
        ],
    );
    let plan = stage.model.slash("olivia", stage.model.channel("ops"), "/migrate plan runbook:touch").expect("known");
    expect_all(&plan.message(SOON).await.expect("answered").text(), &["Touch the ledger"]);
    for arguments in [&["plan", "touch"], &["serve"][..]] {
        let words = stage.refused(arguments, 78).await;
        expect_all(&words, &["the definitions have mistakes; nothing was started", "did you mean `shell.run`?", "touch.yaml:14"]);
    }
    stage.expect_untouched().await;
    stage.end(bot).await;
}

#[tokio::test]
async fn a_rehearsal_of_another_digest_opens_no_live_run() {
    let stage = Stage::new().await;
    let bot = stage.serve().await;
    let next = "Run `/migrate start` with `mode: dry_run` first.";
    let unrehearsed = stage.say("olivia", "/migrate start runbook:rehearsed").await;
    expect_all(&unrehearsed, &["A live run needs a green dry run of the same plan (", "from the last 1h; there is none", next]);
    stage.say("olivia", "/migrate start runbook:rehearsed mode:dry_run").await;
    stage.hear(&["· summary"]).await;

    // The script on disk is another one by now, and so is the plan that pins it.
    stage.edit("runbooks/scripts/do.sh", "done", "more");
    let stale = stage.say("olivia", "/migrate start runbook:rehearsed").await;
    expect_all(&stale, &["from the last 1h; there is none", next]);
    assert_ne!(stale, unrehearsed, "it names the digest");
    assert_eq!(stage.journalled().await, 1, "the rehearsal");
    stage.edit("runbooks/scripts/do.sh", "more", "done");
    expect_all(&stage.say("olivia", "/migrate start runbook:rehearsed").await, &["🎬 Run"]);
    stage.end(bot).await;
}

//! On the host while Discord and the bot are away: an armed rollback, carried out by the command itself.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pointsman::clock::ScaledClock;
use pointsman::sandbox::discord::{Chat, Message, MessageId, Model, TOKEN, World};
use tokio::process::{Child, Command};

/// A backstop for everything that is awaited; nothing here takes that long unless it fails.
const SOON: Duration = Duration::from_secs(60);

const RUNBOOK: &str = r#"
runbook: switch
title: Switch the points
version: 1.0.0
owner: platform
kind: cutover
lock: points
window: 2h
phases:
  - phase: cutover
    title: Cutover
    gate:
      sign_off: { dba: 1 }
      opens_before: 20m
      expires: 30m
      also_arms: back
    steps:
      - step: switch
        title: Switch over
        action: shell.run
        with: { argv: [touch, "AT/switched"] }
rollback:
  back:
    target: 5m
    allow: [operator]
    sign_off: { dba: 1 }
    steps:
      - step: switch-back
        title: Switch back
        action: shell.run
        with: { argv: [rm, "AT/switched"] }
"#;

/// The model of Discord, and a bot that is a process of its own.
struct Stage {
    model: Model,
    directory: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let clock = Arc::new(ScaledClock::real());
        let world = World::operations().without_rate_limits();
        let model = Model::start(world, clock, ([127, 0, 0, 1], 0).into()).await.expect("the model starts");
        let stage = Self { model, directory: tempfile::tempdir().expect("a directory") };
        stage.write();
        stage
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self) {
        let roles: String = ["operator", "operations_lead", "dba", "security"]
            .iter()
            .map(|name| format!("  {name}: \"{}\"\n", self.model.role(name)))
            .collect();
        let settings = format!(
            "discord: {{ guild: \"{}\", api_base: \"{}\" }}\nroles:\n{roles}data_dir: data\ndefinitions: [.]\n",
            self.model.guild_id(),
            self.model.base_url()
        );
        let runbook = RUNBOOK.replace("AT", &self.directory.path().display().to_string());
        let command = Path::new(env!("CARGO_MANIFEST_DIR")).join("commands/migrate.yaml");
        for folder in ["commands", "runbooks"] {
            std::fs::create_dir(self.at(folder)).expect("made");
        }
        std::fs::copy(command, self.at("commands/migrate.yaml")).expect("copied");
        std::fs::write(self.at("runbooks/switch.yaml"), runbook).expect("written");
        std::fs::write(self.at("pointsman.yaml"), settings).expect("written");
    }

    fn pointsman(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.args(arguments).arg("--config").arg(self.at("pointsman.yaml"));
        command.env("POINTSMAN_DISCORD_TOKEN", TOKEN).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts the bot and waits until it can be spoken to.
    async fn serve(&self) -> Child {
        // Nothing else opens a session, and each start opens one.
        assert_eq!(self.model.gateway_connections(), 0);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.at("bot.log")).expect("a log");
        let bot = self.pointsman(&["serve"]).stdout(Stdio::null()).stderr(log).spawn().expect("the bot starts");
        self.model.wait_for_gateway(SOON).await.expect("the bot connects");
        bot
    }

    /// Without Discord's token: the way back does not depend on it.
    async fn rollback(&self, run: &str, reason: &str) -> Output {
        let output = self.pointsman(&["rollback", run, "--reason", reason]).env_remove("POINTSMAN_DISCORD_TOKEN").output();
        tokio::time::timeout(SOON, output).await.expect("in time").expect("it starts")
    }

    async fn wait_for<T>(&self, what: &str, look: impl FnMut(&Chat) -> Option<T>) -> T {
        match self.model.wait_for(SOON, look).await {
            Ok(found) => found,
            Err(late) => {
                let log = std::fs::read_to_string(self.at("bot.log")).unwrap_or_default();
                panic!("{what}: {late}\n{log}")
            }
        }
    }

    /// Waits for a message that says all of this.
    async fn wait_for_words(&self, words: &[&str]) -> MessageId {
        let fits = |message: &&Message| {
            let text = message.text();
            words.iter().all(|word| text.contains(word))
        };
        self.wait_for(&format!("{words:?}"), |chat| {
            chat.messages.values().flat_map(|messages| messages.values()).find(fits).map(|message| message.id)
        })
        .await
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn an_armed_rollback_is_carried_out_without_a_bot_and_reported_by_the_next_one() {
    let stage = Stage::new().await;
    let mut bot = stage.serve().await;
    let ops = stage.model.channel("ops");
    let started = stage.model.slash("olivia", ops, "/migrate start runbook:switch").expect("a command");
    let started = started.message(SOON).await.expect("answered").content;
    let run = started.split('`').find(|word| word.starts_with("run-")).expect("it names the run").to_owned();

    let early = stage.rollback(&run, "nothing is armed yet").await;
    assert!(!early.status.success() && text(&early).contains("nothing to roll back"), "{}", text(&early));

    let card = |chat: &Chat| {
        let mut messages = chat.messages.values().flat_map(|messages| messages.values());
        messages.find(|message| !message.reacted("✅").is_empty()).map(|message| message.id)
    };
    let card = stage.wait_for("the gate's card", card).await;
    stage.model.react("dana", card, "✅").expect("she may");
    stage.wait_for_words(&["keeps lock and way back"]).await;
    assert!(stage.at("switched").exists());

    bot.kill().await.expect("it is killed");
    stage.model.wait_for_gateway_loss(SOON).await.expect("its session is gone");
    let unknown = stage.rollback("run-00000000", "wrong id").await;
    assert!(!unknown.status.success() && text(&unknown).contains(&format!("open runs: {run}")), "{}", text(&unknown));
    let silent = stage.rollback(&run, "  ").await;
    assert!(!silent.status.success() && text(&silent).contains("reason"), "{}", text(&silent));
    assert!(stage.at("switched").exists(), "neither did anything");

    // Nor does it depend on files that somebody is just working on: what runs was pinned.
    let runbook = stage.at("runbooks/switch.yaml");
    let whole = std::fs::read(&runbook).expect("it is there");
    std::fs::write(&runbook, "runbook: [").expect("written");
    let done = stage.rollback(&run, "Discord is down").await;
    assert!(done.status.success() && text(&done).contains("is rolled back"), "{}", text(&done));
    assert!(!stage.at("switched").exists());
    std::fs::write(&runbook, whole).expect("written");
    let again = stage.rollback(&run, "once more").await;
    assert!(!again.status.success(), "{}", text(&again));

    let mut bot = stage.serve().await;
    stage.wait_for_words(&["Rollback `back` begins", "Discord is down", "on the host"]).await;
    stage.wait_for_words(&["rolled back", "Switch back"]).await;
    assert!(stage.model.violations().is_empty(), "{:#?}", stage.model.violations());
    bot.kill().await.expect("it is killed");
    stage.model.stop();
}

#[tokio::test]
async fn a_mistyped_folder_of_definitions_stops_the_bot_instead_of_leaving_it_without_commands() {
    let stage = Stage::new().await;
    let settings = std::fs::read_to_string(stage.at("pointsman.yaml")).expect("written");
    std::fs::write(stage.at("pointsman.yaml"), settings.replace("definitions: [.]", "definitions: [defnitions]"))
        .expect("written");
    let refused = tokio::time::timeout(SOON, stage.pointsman(&["serve"]).output()).await.expect("in time").expect("it starts");
    assert!(!refused.status.success());
    assert!(text(&refused).contains("neither `commands/` nor `runbooks/`") && text(&refused).contains("defnitions"));
    assert_eq!(stage.model.requests().len(), 0, "Discord heard nothing of it");
    stage.model.stop();
}

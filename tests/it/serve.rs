//! `pointsman serve` as a process of its own, before a model of Discord: its logs, its end, and what it never says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pointsman::clock::ScaledClock;
use pointsman::sandbox::discord::{ChannelId, Chat, Message, Model, World};
use pointsman::sandbox::github::{self, Fault, Misbehaviour};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// A backstop for everything that is awaited; nothing here takes that long unless it fails.
const SOON: Duration = Duration::from_secs(60);

/// What is planted, and where. None of them may come out anywhere.
const PLANTED: [(&str, &str); 6] = [
    ("the bot's token", "planted-token-of-the-bot"),
    ("the board's token", "planted-token-of-the-board"),
    ("a DSN's password", "planted-password-of-the-dsn"),
    ("a secret of a step", "planted_secret-of*the-step"),
    ("a variable of the bot's environment", "planted-variable-of-the-bot"),
    ("the token of GitHub", github::TOKEN),
];

/// One step that says its secrets in every way it can and fails, and one that lasts.
const LEAKY: &str = r#"
runbook: leaky
title: Leaky
version: 1.0.0
owner: us
kind: operation
lock: leaky
window: 1h
phases:
  - phase: only
    on_failure: stop
    steps:
      - step: leak
        title: Says what it knows
        action: shell.run
        with:
          argv:
            - sh
            - -c
            - 'echo "out $DSN $STEP"; echo "err $STEP" >&2; printf %s "$DSN" | base64 -w0; env; exit 3'
          secret_env: { DSN: DSN, STEP: STEP }
"#;

/// A gate that nobody signs.
const GUARDED: &str = r#"
runbook: guarded
title: Guarded
version: 1.0.0
owner: us
kind: operation
lock: guarded
window: 1h
phases:
  - phase: only
    gate: { sign_off: { security: 1 }, expires: 30m }
    steps:
      - step: fine
        title: Does nothing
        action: shell.run
        with: { argv: ["true"] }
"#;

/// What must not be given a secret.
const PICKY: &str = r#"
runbook: picky
title: Picky
version: 1.0.0
owner: us
kind: operation
parameters:
  profile: { type: string, help: which }
lock: picky
window: 1h
phases:
  - phase: only
    steps:
      - step: say
        title: Says it
        action: shell.run
        with: { argv: [echo, "{{ params.profile }}"] }
"#;

/// The team's own form of post-mortems.
const FORM: &str = r#"# Our own form: {{ incident.title }}
{{ facts.summary }} {{ facts.root_cause }} {{ facts.resolution }}
{% for entry in timeline %}{{ entry.what }}
{% endfor %}{% for action in actions %}{{ action.title }} {{ action.owner }}
{% endfor %}"#;

const LASTING: &str = r#"
runbook: lasting
title: Lasting
version: 1.0.0
owner: us
kind: operation
lock: lasting
window: 1h
phases:
  - phase: only
    steps:
      - step: last
        title: Lasts
        action: shell.run
        with: { argv: [sleep, "1000"] }
        timeout: 30m
"#;

struct Stage {
    model: Model,
    github: github::Model,
    dir: tempfile::TempDir,
}

/// A bot, and its log line by line.
struct Bot {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    log: Vec<String>,
}

impl Stage {
    async fn new() -> Self {
        let world = World::operations().without_rate_limits().token(PLANTED[0].1);
        let model = Model::start(world, Arc::new(ScaledClock::real()), ([127, 0, 0, 1], 0).into()).await.unwrap();
        let github = github::Model::start(Arc::new(ScaledClock::real()), ([127, 0, 0, 1], 0).into()).await.unwrap();
        let stage = Self { model, github, dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(stage.path("runbooks")).unwrap();
        std::fs::create_dir_all(stage.path("commands")).unwrap();
        for (name, runbook) in [("leaky", LEAKY), ("lasting", LASTING), ("guarded", GUARDED), ("picky", PICKY)] {
            std::fs::write(stage.path(&format!("runbooks/{name}.yaml")), runbook).unwrap();
        }
        std::fs::write(stage.path("form.md"), FORM).unwrap();
        for name in ["migrate", "incident", "postmortem", "break-glass"] {
            let name = format!("commands/{name}.yaml");
            std::fs::copy(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(&name), stage.path(&name)).unwrap();
        }
        std::fs::write(stage.path("dsn"), format!("postgres://u:{}@h/d\n", PLANTED[2].1)).unwrap();
        let roles: Vec<String> = ["operator", "operations_lead", "dba", "security"]
            .iter()
            .map(|name| format!("{name}: '{}'", stage.model.role(name)))
            .collect();
        let settings = format!(
            "discord: {{ guild: '{}', api_base: '{}' }}\nroles: {{ {} }}\nsecrets: {{ DSN: {{ file: dsn }}, STEP: {{ env: STEP_SECRET }} }}\n\
             log: {{ format: json }}\nweb: {{ listen: '127.0.0.1:0' }}\ngithub: {{ repository: {}, api_base: '{}' }}\n\
             incidents: {{ post_mortem_template: form.md }}\n",
            stage.model.guild_id(),
            stage.model.base_url(),
            roles.join(", "),
            github::REPOSITORY,
            stage.github.api_base()
        );
        std::fs::write(stage.path("pointsman.yaml"), settings).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.args(arguments).arg("--config").arg(self.path("pointsman.yaml")).env_clear();
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("POINTSMAN_DISCORD_TOKEN", PLANTED[0].1)
            .env("POINTSMAN_WEB_TOKEN", PLANTED[1].1)
            .env("POINTSMAN_GITHUB_TOKEN", github::TOKEN);
        command.env("STEP_SECRET", PLANTED[3].1).env("SOMETHING_ELSE", PLANTED[4].1).kill_on_drop(true);
        command
    }

    async fn serve(&self) -> Bot {
        let mut child = self.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        let mut read = BufReader::new(child.stderr.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = read.next_line().await {
                let _ = sender.send(line);
            }
        });
        self.model.wait_for_gateway(SOON).await.expect("the bot connects");
        Bot { child, lines, log: Vec::new() }
    }

    async fn start(&self, runbook: &str) {
        let known = |text: &str| self.model.slash("olivia", self.model.channel("ops"), text).map(drop);
        known(&format!("/migrate start runbook:{runbook}")).expect("the command is registered");
    }

    /// Types a command and reads the answer.
    async fn typed(&self, who: &str, channel: ChannelId, text: &str) -> Message {
        let asked = self.model.slash(who, channel, text).unwrap_or_else(|refused| panic!("{text}: {refused}"));
        asked.message(SOON).await.unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    /// Waits for a message anywhere that fits.
    async fn message(&self, what: &str, fits: impl Fn(&Message) -> bool) -> Message {
        let look = |chat: &Chat| chat.messages.values().flat_map(BTreeMap::values).find(|message| fits(message)).cloned();
        self.model.wait_for(SOON, look).await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// Waits until chat links to the issue of this number.
    async fn issue(&self, number: u64) {
        self.message("the link to an issue", |message| message.text().contains(&format!("/issues/{number}"))).await;
    }

    /// Everything that stands in chat, the files of messages included, and the same as the chat page is told.
    async fn everything_in_chat(&self) -> [(&'static str, String); 3] {
        let (said, files) = self.model.read(|chat| {
            let messages = chat.messages.values().flat_map(BTreeMap::values);
            let files: Vec<_> = messages.flat_map(|message| &message.attachments).map(|file| file.id).collect();
            (format!("{:?} {:?}", chat.messages, chat.channels), files)
        });
        let files = files.into_iter().filter_map(|id| self.model.attachment(id));
        let files: Vec<String> = files.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
        // Beside what was said the page is told what people have typed, which is theirs.
        let state = reqwest::get(format!("{}/sandbox/v1/state", self.model.base_url())).await.unwrap();
        let state: Value = state.json().await.unwrap();
        let page = format!("{} {}", state["messages"], state["channels"]);
        [("chat", said), ("the files in chat", files.join("\n")), ("the chat page", page)]
    }

    async fn printed(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().await.unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

impl Bot {
    /// Waits for a line of the log and gives it.
    async fn said(&mut self, found: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = tokio::time::timeout(SOON, self.lines.recv()).await;
            let line = line.unwrap_or_else(|_| panic!("never said:\n{}", self.log.join("\n")));
            let line = line.unwrap_or_else(|| panic!("the bot has ended:\n{}", self.log.join("\n")));
            self.log.push(line);
            let line = self.log.last().unwrap();
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if found(&line) {
                return line;
            }
        }
    }

    async fn journalled(&mut self, event: &str) -> String {
        let line = self.said(|line| line["fields"]["event"] == event).await;
        subject(&line).expect("a line about a run names it").to_owned()
    }

    /// Tells it to stop, as a supervisor does, and waits for its end.
    async fn told_to_stop(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends").unwrap();
        while let Some(line) = self.lines.recv().await {
            self.log.push(line);
        }
        status
    }
}

/// What a line is about: `id` in the lines that are alike for runs and incidents, else `run`.
fn subject(line: &Value) -> Option<&str> {
    ["id", "run"].iter().find_map(|name| line["fields"][*name].as_str())
}

#[tokio::test]
async fn every_line_of_the_log_is_an_object_and_one_about_a_run_names_it() {
    let stage = Stage::new().await;
    let mut bot = stage.serve().await;
    stage.start("leaky").await;
    let run = bot.journalled("closing_began").await;
    bot.told_to_stop().await;
    let mut about = 0;
    for line in &bot.log {
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(parsed["timestamp"].is_string() && parsed["level"].is_string() && parsed["target"].is_string(), "{line}");
        if line.contains(&run) {
            assert_eq!(subject(&parsed), Some(run.as_str()), "{line}");
            about += 1;
        }
    }
    assert!(about > 5, "{:#?}", bot.log);
}

#[tokio::test]
async fn a_bot_that_is_told_to_stop_cuts_its_steps_off_and_the_next_one_knows() {
    let stage = Stage::new().await;
    let mut bot = stage.serve().await;
    stage.start("lasting").await;
    let run = bot.journalled("child_started").await;
    let status = bot.told_to_stop().await;
    assert!(status.success(), "{status}: {:#?}", bot.log);
    assert!(bot.log.iter().any(|line| line.contains("stopped")), "{:#?}", bot.log);

    // The journal says that it began and nothing more: what became of it, nobody claims to know.
    let exported = stage.printed(&["audit", "export"]).await;
    assert!(exported.contains("child_started") && !exported.contains("step_succeeded") && !exported.contains("step_failed"));
    let mut next = stage.serve().await;
    assert_eq!(next.journalled("rebooted").await, run);
    assert_eq!(next.journalled("asked").await, run);
    next.told_to_stop().await;
    // The lease was given back: nobody acts any more.
    let doctor = stage.printed(&["doctor"]).await;
    assert!(doctor.contains("nobody acts on it"), "{doctor}");
}

#[tokio::test]
async fn planted_secrets_come_out_nowhere() {
    let stage = Stage::new().await;
    let mut bot = stage.serve().await;
    let serving = bot.said(|line| line["fields"]["address"].is_string()).await;
    let base = format!("http://{}", serving["fields"]["address"].as_str().unwrap());
    stage.start("leaky").await;
    let run = bot.journalled("closing_began").await;
    // The last thing that chat is owed of the run's work.
    let posted = |chat: &pointsman::sandbox::discord::Chat| {
        serde_json::to_string(&chat.messages.values().map(|m| format!("{m:?}")).collect::<Vec<_>>())
            .ok()
            .filter(|text| text.contains("exit status 3") || text.contains("status 3"))
    };
    let said = stage.model.wait_for(SOON, posted).await.expect("the failure is told in chat");

    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let signed_in = client.get(&base).query(&[("token", PLANTED[1].1)]).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let mut outputs = BTreeMap::from([("chat", said), ("the cookie", cookie.clone())]);
    let run_page = format!("/runs/{run}");
    for (name, path) in [
        ("health", "/readyz"),
        ("metrics", "/metrics"),
        ("the board", "/"),
        ("the run's page", run_page.as_str()),
        ("a wrong token", "/?token=x"),
    ] {
        let answer = client.get(format!("{base}{path}")).header("cookie", &cookie).send().await.unwrap();
        outputs.insert(name, answer.text().await.unwrap());
    }
    assert!(outputs["the run's page"].contains("Says what it knows"), "{}", outputs["the run's page"]);
    outputs.insert("the doctor", stage.printed(&["doctor"]).await);
    bot.told_to_stop().await;
    outputs.insert("the log", bot.log.join("\n"));
    outputs.insert("the export", stage.printed(&["audit", "export"]).await);
    assert!(outputs["the export"].contains("step_failed"));
    let broken = format!("postgres://u:{}@127.0.0.1:1/d", PLANTED[2].1);
    let error = stage.command(&["audit", "verify"]).env("POINTSMAN_STORE", broken).output().await.unwrap();
    outputs.insert("an error", String::from_utf8_lossy(&error.stderr).into_owned());
    outputs.insert("the run's files", read_all(&stage.path("data")));

    expect_nothing_planted(&outputs);
    // The redaction has worked, rather than nothing having been said.
    assert!(outputs["the run's files"].contains("[redacted]"), "{}", outputs["the run's files"]);
}

/// A step prints them, and people write them: into notes, reasons, forms and parameters.
#[tokio::test]
async fn secrets_that_people_and_steps_give_away_reach_neither_issues_nor_chat_nor_the_journal() {
    let stage = Stage::new().await;
    let mut bot = stage.serve().await;
    let (secret, password) = (PLANTED[3].1, PLANTED[2].1);
    let ops = stage.model.channel("ops");

    let asked = stage.model.slash("olivia", ops, "/migrate start runbook:picky").unwrap();
    asked.modal().await.unwrap();
    let refused = stage.model.submit_modal("olivia", asked.id, &[("profile", secret)]).unwrap().message(SOON).await.unwrap();
    assert!(refused.content.contains("nothing was started"), "{}", refused.content);

    stage.start("guarded").await;
    let run = bot.journalled("criteria_measured").await;
    stage.typed("leo", ops, &format!("/break-glass run:{run} reason:\"it is {secret}\"")).await;
    stage.issue(1).await;

    stage.start("leaky").await;
    bot.journalled("closing_began").await;
    // Once its card is posted, the incident knows its channel.
    let incident_channel = |chat: &Chat| {
        let mut channels = chat.channels.values().filter(|at| at.name.starts_with("incident-")).map(|at| at.id);
        channels.find(|channel| !chat.posts_in(*channel).is_empty())
    };
    let channel = stage.model.wait_for(SOON, incident_channel).await.expect("an incident opens by itself");
    let due = "due:2100-01-01";
    for text in [
        format!("/incident note text:\"{secret} and {password}\""),
        format!("/incident update text:\"the password is {password}\""),
        format!("/incident severity severity:sev1 reason:\"{secret}\""),
        format!("/incident resolve summary:\"{secret} was changed\""),
        format!("/postmortem add-action title:\"Change {secret}\" owner:\"{password}\" {due}"),
    ] {
        let answer = stage.typed("leo", channel, &text).await;
        assert!(answer.content.starts_with("👍"), "{text}: {}", answer.content);
    }
    let form = |message: &Message| message.custom_ids().into_iter().find(|id| id.ends_with(":h")).map(str::to_owned);
    let card = stage.message("the post-mortem's card", |message| form(message).is_some()).await;
    let clicked = stage.model.click("dana", card.id, &form(&card).unwrap()).unwrap();
    clicked.modal().await.unwrap();
    let facts = [("summary", secret), ("root_cause", password)];
    stage.model.submit_modal("dana", clicked.id, &facts).unwrap().message(SOON).await.unwrap();

    // While GitHub is away the draft is attached; then the issues follow by themselves.
    let away = Misbehaviour::Answer { status: 503, message: "away".to_owned() };
    stage.github.fault(Fault::once("GET /repos/*/*/issues", away));
    stage.typed("leo", channel, "/postmortem publish").await;
    let drafted = |message: &Message| message.text().contains("not on GitHub yet") && !message.attachments.is_empty();
    let draft = stage.message("the draft", drafted).await.attachments[0].id;
    let draft = String::from_utf8(stage.model.attachment(draft).unwrap().to_vec()).unwrap();
    assert!(draft.starts_with("# Our own form: "), "{draft}");
    stage.typed("leo", channel, "/postmortem preview").await;
    stage.issue(3).await;

    let mut outputs = BTreeMap::from(stage.everything_in_chat().await);
    bot.told_to_stop().await;
    outputs.insert("the log", bot.log.join("\n"));
    outputs.insert("the export", stage.printed(&["audit", "export"]).await);
    outputs.insert("the issues", format!("{:#?}", stage.github.issues()));
    expect_nothing_planted(&outputs);
    // Hidden, rather than not said.
    let expected: [(&str, &[&str]); 4] = [
        ("the issues", &["Change [redacted]", "it is \\[redacted\\]", "the password is \\[redacted\\]"]),
        ("the files in chat", &["the password is \\[redacted\\]"]),
        ("the export", &["[redacted] and [redacted]", "[redacted] was changed"]),
        ("chat", &["change that secret"]),
    ];
    for (place, texts) in expected {
        let shown = outputs[place].replace("\\\\", "\\");
        for text in texts {
            assert!(shown.contains(text), "{text} is not in {place}:\n{shown}");
        }
    }
}

fn expect_nothing_planted(outputs: &BTreeMap<&str, String>) {
    for (place, text) in outputs {
        assert!(!text.is_empty(), "{place} says nothing");
        // Markdown writes some characters with a backslash, and JSON and Rust write that one twice.
        let plain = text.replace('\\', "");
        for (what, secret) in PLANTED {
            assert!(!text.contains(secret) && !plain.contains(secret), "{what} comes out in {place}:\n{text}");
        }
        // Nor in the coding in which the step wrote it.
        assert!(
            !text.contains("cGxhbnRlZC1wYXNzd29yZC1vZi10aGUtZHNu") && !text.contains("YW50ZWQtcGFzc3dvcmQtb2YtdGhlLWRzb"),
            "{place}:\n{text}"
        );
    }
}

/// Everything below a folder, as text.
fn read_all(dir: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            text += &read_all(&entry.path());
        } else if kind.is_file() {
            text += &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap());
        }
    }
    text
}

//! The doctor: all is well, then one thing is broken at a time, and each is named with its mend.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pointsman::actions::Registry;
use pointsman::catalog::CheckContext;
use pointsman::clock::{FakeClock, ScaledClock, SharedClock};
use pointsman::config::{self, Environment, Settings};
use pointsman::doctor::{Finding, Level, Patient, Report, examine};
use pointsman::sandbox::discord::{Model, World};
use pointsman::sandbox::github::{self, Act, Fault, Misbehaviour, Model as GitHub, REPOSITORY, TOKEN as GITHUB_TOKEN};
use pointsman::store;
use secrecy::SecretString;
use twilight_model::gateway::Intents;
use twilight_model::guild::Permissions;

/// A bot in good health, in a directory of its own, before a model of Discord.
struct Ward {
    model: Model,
    dir: tempfile::TempDir,
    token: String,
    guild: String,
    clock: SharedClock,
}

const RUNBOOK: &str = "
runbook: dump
title: Dump
version: 1.0.0
owner: us
kind: operation
targets: { db: { postgres: { dsn: DSN } } }
lock: dump
window: 1h
phases:
  - phase: only
    gate: { sign_off: { dba: 1 }, go: [{ expect: 'true', says: fine }] }
    steps:
      - { step: dump, title: Dump, action: postgres.dump, with: { target: db, to: '{{ run.dir }}/dump' } }
";

impl Ward {
    async fn new(world: World) -> Self {
        let model = Model::start(world, Arc::new(ScaledClock::real()), ([127, 0, 0, 1], 0).into()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (token, guild) = (model.token(), model.guild_id().to_string());
        let ward = Self { model, dir, token, guild, clock: Arc::new(ScaledClock::real()) };
        for folder in ["data", "definitions/runbooks", "definitions/commands", "bin"] {
            std::fs::create_dir_all(ward.path(folder)).unwrap();
        }
        ward.chmod("data", 0o700);
        ward.write("definitions/runbooks/dump.yaml", RUNBOOK);
        ward.write("dsn", "postgres://u:s3cret-of-the-dsn@127.0.0.1/d");
        ward.chmod("dsn", 0o600);
        ward.write("bin/pg_dump", "#!/bin/sh\necho pg_dump 17.1\n");
        ward.chmod("bin/pg_dump", 0o755);
        store::open(&ward.settings().store).await.unwrap();
        ward
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn chmod(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn settings(&self) -> Settings {
        let role = |name: &str| self.model.role(name);
        let text = format!(
            "discord: {{ guild: '{}', api_base: '{}' }}\nroles: {{ operator: '{}', dba: '{}' }}\n\
             definitions: [definitions]\nsecrets: {{ DSN: {{ file: dsn }} }}\n",
            self.guild,
            self.model.base_url(),
            role("operator"),
            role("dba")
        );
        let environment = Environment::of([("POINTSMAN_DISCORD_TOKEN", self.token.clone())]);
        Settings::parse(&self.path("pointsman.yaml"), &text, &environment).unwrap()
    }

    async fn examined(&self) -> Report {
        self.examined_with(self.settings()).await
    }

    async fn examined_with(&self, settings: Settings) -> Report {
        let context = CheckContext { actions: Registry::standard().specs(), roles: None };
        let path = vec![self.path("bin")];
        let report = examine(&Patient { settings, context, path, clock: Arc::clone(&self.clock) }).await;
        for secret in [self.model.token().as_str(), "s3cret-of-the-dsn"] {
            assert!(!report.text().contains(secret), "{}", report.text());
        }
        report
    }
}

/// The one finding that is a problem.
fn problem(report: &Report) -> &Finding {
    let problems: Vec<&Finding> = report.findings.iter().filter(|finding| finding.level == Level::Problem).collect();
    assert_eq!(problems.len(), 1, "{}", report.text());
    assert!(!problems[0].mend.is_empty());
    problems[0]
}

fn warned<'a>(report: &'a Report, about: &str) -> &'a Finding {
    let found = report.findings.iter().find(|finding| finding.about == about && finding.level == Level::Warning);
    found.unwrap_or_else(|| panic!("{about}\n{}", report.text()))
}

fn quiet() -> World {
    World::operations().without_rate_limits()
}

#[tokio::test]
async fn a_bot_in_good_health_has_no_problem() {
    let ward = Ward::new(quiet()).await;
    let report = ward.examined().await;
    assert!(report.is_well(), "{}", report.text());
    for words in ["pg_dump 17.1", "1 runbooks", "a member of Night Shift", "it agrees with Discord's", "nobody acts on it"] {
        assert!(report.text().contains(words), "{words}\n{}", report.text());
    }
    assert!(report.text().contains("0 problems"));
    // Examined twice, so that the first has left nothing behind, above all not the lease.
    assert_eq!(ward.examined().await.findings.len(), report.findings.len());
}

#[tokio::test]
async fn what_is_broken_in_discord_is_named_with_its_mend() {
    let mut ward = Ward::new(quiet()).await;
    ward.token = "wrong".to_owned();
    let report = ward.examined().await;
    assert_eq!(problem(&report).about, "discord.token");
    assert!(problem(&report).mend.contains("POINTSMAN_DISCORD_TOKEN"));
    ward.token = ward.model.token();

    let guild = std::mem::replace(&mut ward.guild, "42".to_owned());
    let report = ward.examined().await;
    assert_eq!(problem(&report).about, "discord.server");
    assert!(problem(&report).mend.contains("https://discord.com/oauth2/authorize?client_id="));
    ward.guild = guild;

    ward.model.revoke_from_bot(Permissions::ADD_REACTIONS);
    let report = ward.examined().await;
    assert_eq!((problem(&report).about, problem(&report).found.contains("Add Reactions")), ("discord.permissions", true));
    ward.model.grant_to_bot(Permissions::ADD_REACTIONS | Permissions::ADMINISTRATOR);
    assert!(warned(&ward.examined().await, "discord.permissions").found.contains("administrator"));
    ward.model.revoke_from_bot(Permissions::ADMINISTRATOR);

    let settings = ward.settings();
    ward.model.delete_role(ward.model.role("dba"));
    let report = ward.examined_with(settings).await;
    assert_eq!(problem(&report).about, "roles");
    assert!(problem(&report).found.contains("`dba`") && problem(&report).mend.contains("roles.dba"));
}

#[tokio::test]
async fn privileged_intents_that_are_on_without_need_are_told() {
    let ward = Ward::new(quiet().privileged_intents(Intents::MESSAGE_CONTENT)).await;
    assert!(warned(&ward.examined().await, "discord.intents").found.contains("Message Content"));
}

#[tokio::test]
async fn what_is_broken_on_the_host_is_named_with_its_mend() {
    let ward = Ward::new(quiet()).await;
    ward.chmod("data", 0o755);
    let report = ward.examined().await;
    assert_eq!(problem(&report).about, "data_dir");
    assert!(problem(&report).mend.starts_with("chmod 0700"));
    ward.chmod("data", 0o700);

    std::fs::remove_file(ward.path("bin/pg_dump")).unwrap();
    let report = ward.examined().await;
    assert!(problem(&report).found.contains("`pg_dump` is not in the PATH") && problem(&report).mend.contains("postgres.dump"));
    ward.write("bin/pg_dump", "#!/bin/sh\nexit 3\n");
    ward.chmod("bin/pg_dump", 0o755);
    assert!(problem(&ward.examined().await).found.contains("exit status: 3"));
    ward.write("bin/pg_dump", "#!/bin/sh\necho pg_dump 17.1\n");

    std::fs::remove_file(ward.path("dsn")).unwrap();
    let report = ward.examined().await;
    assert_eq!((problem(&report).about, problem(&report).mend.contains("secrets.DSN")), ("secrets", true));
    ward.write("dsn", "x");

    ward.write("definitions/runbooks/dump.yaml", &RUNBOOK.replace("postgres.dump", "postgres.dmp"));
    let report = ward.examined().await;
    assert_eq!((problem(&report).about, problem(&report).found.contains("postgres.dump")), ("definitions", true));
}

#[tokio::test]
async fn the_store_and_who_acts_on_it_are_told() {
    let ward = Ward::new(quiet()).await;
    let journal = store::open(&ward.settings().store).await.unwrap();
    let lease = journal.acquire_lease(&store::Holder::this_process(), Duration::from_secs(60)).await.unwrap();
    let report = ward.examined().await;
    let holder = report.findings.iter().find(|finding| finding.about == "store.lease").unwrap();
    assert!(report.is_well() && holder.found.contains(&format!("process {}", std::process::id())), "{}", report.text());
    // Looking has not fenced off whoever acts.
    journal.renew_lease(&lease, Duration::from_secs(60)).await.unwrap();
    journal.release_lease(&lease).await.unwrap();
    drop(journal);

    let mut settings = ward.settings();
    settings.store = "postgres://u:s3cret-of-the-dsn@127.0.0.1:1/d".into();
    assert_eq!(problem(&ward.examined_with(settings).await).about, "store");
    let mut settings = ward.settings();
    settings.store = format!("sqlite:{}", ward.path("absent.db").display()).into();
    assert_eq!(problem(&ward.examined_with(settings).await).about, "store");
    assert!(!ward.path("absent.db").exists(), "looking makes nothing");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told() {
    let mut ward = Ward::new(quiet()).await;
    let now = ward.clock.now();
    ward.clock = Arc::new(FakeClock::at(now + chrono::TimeDelta::minutes(5)));
    let report = ward.examined().await;
    assert_eq!(problem(&report).about, "clock");
    assert!(problem(&report).found.contains("T-0"));
}

#[test]
fn the_command_ends_with_one_and_tells_machines_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pointsman.yaml"), "discord: { gild: '1' }").unwrap();
    let output = doctor(dir.path());
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["findings"][0]["about"], &report["findings"][0]["level"]), (&"settings".into(), &"problem".into()));
    assert!(report["findings"][0]["found"].as_str().unwrap().contains("gild"));
}

fn doctor(dir: &Path) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["doctor", "--json", "--config"])
        .arg(dir.join("pointsman.yaml"))
        .env_clear()
        .env("POINTSMAN_DISCORD_TOKEN", "t0ken")
        .output()
        .unwrap()
}

#[tokio::test]
async fn what_the_token_may_do_on_github_is_told_and_nothing_is_made() {
    let ward = Ward::new(quiet()).await;
    let clock = Arc::new(ScaledClock::real());
    let github = GitHub::start(clock, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let settings = || {
        let access = config::GitHub {
            api_base: github.api_base(),
            repository: REPOSITORY.parse().unwrap(),
            token: SecretString::from(GITHUB_TOKEN),
        };
        Settings { github: Some(access), ..ward.settings() }
    };
    let report = ward.examined_with(settings()).await;
    assert!(report.is_well() && report.text().contains("may make issues"), "{}", report.text());

    github.act(Act::Grant { access: github::Access::Read }).unwrap();
    let report = ward.examined_with(settings()).await;
    assert_eq!((problem(&report).about, problem(&report).found.contains("Issues: read and write")), ("github", true));
    github.act(Act::Token { valid: false }).unwrap();
    let report = ward.examined_with(settings()).await;
    assert!(problem(&report).mend.contains("POINTSMAN_GITHUB_TOKEN"), "{}", report.text());
    assert!(!report.text().contains(GITHUB_TOKEN), "{}", report.text());
    github.act(Act::Token { valid: true }).unwrap();

    github.fault(Fault::always("GET /**", Misbehaviour::Answer { status: 502, message: "no".to_owned() }));
    assert!(warned(&ward.examined_with(settings()).await, "github").mend.contains("github.api_base"));
    assert_eq!(github.issues().len(), 0);
}

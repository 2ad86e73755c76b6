//! The scripted scenario of `bin/demo`: migrations and a cutover, driven only by slash commands, buttons and reactions.
//!
//! It plays people. What it believes it reads: the chat as a person sees it, and the two databases themselves.
//! Every expectation is checked and listed; one that fails makes the whole fail.

mod incident;

use std::time::{Duration, Instant};

use sqlx::Connection as _;

use crate::sandbox::discord::transcript::plain;
use crate::sandbox::discord::{ChannelId, Chat, Message, MessageId, Pending};
use crate::sandbox::estate::faults::{Backend, Faults};
use crate::sandbox::stage::Stage;

/// How long anything may take before the scenario gives up on it; wall time.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the scenario says as it goes, besides the chat.
pub trait Narrator: Send {
    /// A new scene begins.
    fn scene(&mut self, title: &str);
    /// An expectation was met, or not.
    fn checked(&mut self, what: &str, holds: bool);
}

/// Why the scenario could not go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stuck(String);

impl Stuck {
    fn because(what: &str, error: &dyn std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// What the scenario found, for the last lines.
#[derive(Debug, Default)]
pub struct Findings {
    /// Lines for people, in order.
    pub lines: Vec<String>,
    /// How many expectations were met.
    pub met: u32,
    /// How many were not.
    pub unmet: u32,
}

/// The scenario and what it has found so far.
pub struct Scenario<'a> {
    stage: &'a mut Stage,
    narrator: &'a mut dyn Narrator,
    findings: Findings,
    ops: ChannelId,
}

/// A run as the chat shows it.
#[derive(Debug, Clone)]
struct Run {
    id: String,
    thread: ChannelId,
}

/// Which of the runs' people votes or clicks.
const SIGNERS: [&str; 3] = ["dana", "leo", "sam"];
/// Rows of the smaller runs: enough to be real, few enough not to be waited for.
const ROWS_SMALL: u32 = 5_000;
/// Rows of the run whose copy is interrupted: enough for the copy to be seen under way.
const ROWS_TO_INTERRUPT: u32 = 100_000;

impl<'a> Scenario<'a> {
    /// Prepares the scenario on a stage whose bot has not been started.
    pub fn new(stage: &'a mut Stage, narrator: &'a mut dyn Narrator) -> Self {
        let ops = stage.model.channel("ops");
        Self { stage, narrator, findings: Findings::default(), ops }
    }

    /// Plays it to the end.
    ///
    /// # Errors
    /// [`Stuck`] if something did not come that the rest depends on.
    pub async fn play(mut self) -> Result<Findings, Stuck> {
        self.scene("The bot starts and registers its commands");
        self.start_bot().await?;
        self.green_path().await?;
        self.rollback_path().await?;
        self.killed_at_its_gate().await?;
        self.when_it_goes_wrong().await?;
        self.audit().await?;
        Ok(self.findings)
    }

    /// A rehearsal, then the migration itself, signed by three people.
    async fn green_path(&mut self) -> Result<(), Stuck> {
        self.scene("A dry run: everything is read, transformed and validated, nothing is written");
        let rehearsal = self.start_run("dry_run").await?;
        let summary = self.summary(&rehearsal).await?;
        self.check("the dry run ended green", summary.contains("succeeded"));
        self.check("the dry run wrote nothing to PostgreSQL", self.target_rows().await?.is_none());

        self.scene("The migration, live");
        let run = self.start_run("live").await?;
        self.tick_checklist(&run, SIGNERS).await?;
        let gate = self.gate_card(&run).await?;
        self.votes_that_do_not_count(&run, gate.id).await?;
        self.scene("Three people sign");
        for person in SIGNERS {
            self.react(person, gate.id, "✅")?;
        }
        self.confirm_sample(&run).await?;
        self.close(&run).await?;
        let summary = self.summary(&run).await?;
        self.check("the migration succeeded", summary.contains("succeeded"));
        let source = self.source_rows()?;
        let target = self.target_rows().await?.unwrap_or_default();
        self.check("every row of the source is in the target", source == target);
        self.check("the application answers from PostgreSQL", self.backend().await? == "postgres");
        self.say(format!("rows            source {source}, target {target}"));
        self.report(&run, &summary);
        Ok(())
    }

    /// The requester signs, and somebody without a role: both are told why it does not count.
    async fn votes_that_do_not_count(&mut self, run: &Run, gate: MessageId) -> Result<(), Stuck> {
        self.scene("Two votes that do not count: the requester's own, and one of somebody without the role");
        self.react("olivia", gate, "✅")?;
        self.react("noor", gate, "✅")?;
        let refusals = |chat: &Chat, name: &str| {
            let id = chat.member_named(name).map(|member| member.id.to_string()).unwrap_or_default();
            let told = |m: &&Message| m.id != gate && (m.text().contains(&id) || m.text().to_lowercase().contains(name));
            chat.posts_in(run.thread).into_iter().filter(told).any(|m| m.text().contains("does not count"))
        };
        let told = self
            .wait("the refusal of two votes", |chat| (refusals(chat, "olivia") && refusals(chat, "noor")).then_some(()))
            .await;
        self.check("the requester's own vote and a vote without the role were refused, with the reason", told.is_ok());
        Ok(())
    }

    /// A smoke check fails after the switch: the armed signatures roll back without anybody's help.
    async fn rollback_path(&mut self) -> Result<(), Stuck> {
        self.scene("A second migration, elsewhere: its smoke test will fail after the switch");
        self.fresh_estate(ROWS_SMALL).await?;
        let rehearsal = self.start_run("dry_run").await?;
        self.summary(&rehearsal).await?;
        let faults = Faults { items_fail_on: Some(Backend::Postgres), ..Faults::default() };
        self.stage.estate.switches().set(&faults).map_err(|error| Stuck::because("setting a fault", &error))?;
        let run = self.start_run("live").await?;
        self.tick_checklist(&run, SIGNERS).await?;
        let gate = self.gate_card(&run).await?;
        for person in SIGNERS {
            self.react(person, gate.id, "✅")?;
        }
        self.close(&run).await?;
        let summary = self.summary(&run).await?;
        self.check("the failed smoke test rolled back on the armed signatures", summary.contains("rolled back"));
        self.check("the application answers from SQLite again", self.backend().await? == "sqlite");
        let incident = self.incident_channel(&[]).await?;
        self.type_in("leo", incident, "/incident resolve summary:\"Rolled back by itself; the smoke test is looked into\"")
            .await?;
        self.check("the rollback opened an incident by itself", true);
        self.report(&run, &summary);
        Ok(())
    }

    /// The bot is killed at a gate, misses a vote, and finds it when it is back.
    async fn killed_at_its_gate(&mut self) -> Result<(), Stuck> {
        self.scene("A third migration: the bot is killed with kill -9 in the middle of the copy");
        self.fresh_estate(ROWS_TO_INTERRUPT).await?;
        let rehearsal = self.start_run("dry_run").await?;
        self.summary(&rehearsal).await?;
        let run = self.start_run("live").await?;
        self.tick_checklist(&run, SIGNERS).await?;
        let copying = |text: &str| text.lines().any(|line| line.contains("▶ Copy clusters"));
        self.wait("the copy", |chat| chat.posts_in(run.thread).into_iter().any(|m| copying(&m.text())).then_some(())).await?;
        self.kill_bot().await?;
        self.start_bot().await?;
        let gate = self.gate_card(&run).await?;
        self.scene("It went on with the copy; now it is killed again, while it waits at the gate");
        self.kill_bot().await?;
        self.scene("Dana signs while nobody is there to see it; then the bot is started again");
        self.react("dana", gate.id, "✅")?;
        let before = self.count(&run, "gate/cutover/1");
        self.start_bot().await?;
        self.wait_for_text(&run, "the note of the restart", &["was restarted", "is back"]).await?;
        for person in ["leo", "sam"] {
            self.react(person, gate.id, "✅")?;
        }
        self.confirm_sample(&run).await?;
        self.check("the gate's card was not posted twice", before == 1 && self.count(&run, "gate/cutover/1") == 1);
        self.check("no message of the run stands twice", self.doubled(&run).is_empty());
        self.close(&run).await?;
        let summary = self.summary(&run).await?;
        let (source, target) = (self.source_rows()?, self.target_rows().await?.unwrap_or_default());
        self.check("the vote cast meanwhile counted, and the run went on to its end", summary.contains("succeeded"));
        self.check("every row of the third source is in its target", source == target);
        self.report(&run, &summary);
        Ok(())
    }

    /// The journal is verified against the head that the last summary shows.
    async fn audit(&mut self) -> Result<(), Stuck> {
        self.scene("The journal is verified on the host");
        let (intact, text) =
            self.stage.run_on_host(&["audit", "verify"]).await.map_err(|error| Stuck::because("audit verify", &error))?;
        self.check("the journal's hash chain is whole", intact);
        self.say(format!("audit verify    {}", text.lines().next().unwrap_or_default()));
        let violations = self.stage.model.violations();
        self.check("the bot broke none of Discord's rules", violations.is_empty());
        for violation in violations {
            self.say(format!("violation       {violation:?}"));
        }
        Ok(())
    }

    async fn start_bot(&mut self) -> Result<(), Stuck> {
        self.stage.start_bot().map_err(|error| Stuck::because("starting the bot", &error))?;
        let registered = self.wait("the bot's commands", |chat| (!chat.commands.is_empty()).then_some(())).await;
        let connected = self.stage.model.wait_for_gateway(PATIENCE).await;
        if let (Err(_), _) | (_, Err(_)) = (&registered, &connected) {
            let log = std::fs::read_to_string(self.stage.log_path()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(12).collect();
            return Err(Stuck(format!("the bot did not come up:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))));
        }
        Ok(())
    }

    async fn fresh_estate(&mut self, rows: u32) -> Result<(), Stuck> {
        self.stage.fresh_estate(rows).await.map_err(|error| Stuck::because("a fresh practice estate", &error))
    }

    /// The migration of the practice application.
    async fn start_run(&mut self, mode: &str) -> Result<Run, Stuck> {
        let database = self.stage.estate.sqlite().display().to_string();
        let service = self.stage.estate.kubernetes().service_url();
        self.start_runbook("ace-sqlite-to-postgres", mode, &[("database", database), ("service", service)]).await
    }

    /// `/migrate start`, its modal, and the thread that follows.
    async fn start_runbook(&mut self, runbook: &str, mode: &str, parameters: &[(&str, String)]) -> Result<Run, Stuck> {
        let known: Vec<ChannelId> = self.stage.model.read(|chat| chat.threads_of(self.ops).iter().map(|c| c.id).collect());
        let command = format!("/migrate start runbook:{runbook} mode:{mode}");
        let asked = self.stage.model.slash("olivia", self.ops, &command).map_err(|error| Stuck::because(&command, &error))?;
        let modal = asked.modal().await.map_err(|error| Stuck::because("the modal for the parameters", &error))?;
        let value = |input: &str| parameters.iter().find(|(name, _)| input.ends_with(name));
        let fields: Vec<(&str, &str)> =
            modal.inputs().into_iter().filter_map(|input| value(input).map(|(_, value)| (input, value.as_str()))).collect();
        let sent = self.stage.model.submit_modal("olivia", asked.id, &fields);
        let sent: Pending = sent.map_err(|error| Stuck::because("sending the modal", &error))?;
        let answer = sent.message(PATIENCE).await.map_err(|error| Stuck::because("the answer to /migrate start", &error))?;
        let text = answer.text();
        let fresh = |chat: &Chat| chat.threads_of(self.ops).iter().map(|c| c.id).find(|id| !known.contains(id));
        let thread = match self.stage.model.wait_for(PATIENCE, fresh).await {
            Ok(thread) => thread,
            Err(error) => return Err(Stuck(format!("no thread was opened ({error}); the bot said: {text}"))),
        };
        let id = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(|word| word.starts_with("run-"));
        let id = id.map(str::to_owned).ok_or_else(|| Stuck(format!("the answer names no run: {text}")))?;
        Ok(Run { id, thread })
    }

    /// Ticks the checklist before the first step, each item by somebody of its role, in the order of the items.
    async fn tick_checklist(&mut self, run: &Run, people: [&str; 3]) -> Result<(), Stuck> {
        let card = self.message_with(run, "checklist/confirm-prerequisites").await?;
        let buttons: Vec<String> = card.custom_ids().into_iter().map(str::to_owned).collect();
        for (person, button) in people.iter().zip(&buttons) {
            self.click(person, card.id, button).await?;
        }
        Ok(())
    }

    async fn confirm_sample(&mut self, run: &Run) -> Result<(), Stuck> {
        let card = self.message_with(run, "confirm/sample").await?;
        let yes = card.custom_ids().first().map(|id| (*id).to_owned());
        let yes = yes.ok_or_else(|| Stuck("the question has no buttons".to_owned()))?;
        self.click("dana", card.id, &yes).await
    }

    async fn close(&mut self, run: &Run) -> Result<(), Stuck> {
        self.wait_for_text(run, "the run closing", &["Its lock is kept until it is closed"]).await?;
        let command = "/migrate close reason:\"checked, all is well\"";
        let asked = self.stage.model.slash("leo", run.thread, command).map_err(|error| Stuck::because(command, &error))?;
        let answer = asked.message(PATIENCE).await.map_err(|error| Stuck::because("the answer to /migrate close", &error))?;
        drop(answer);
        Ok(())
    }

    async fn gate_card(&mut self, run: &Run) -> Result<Message, Stuck> {
        self.message_with(run, "gate/cutover/1").await
    }

    async fn summary(&mut self, run: &Run) -> Result<String, Stuck> {
        Ok(self.message_with(run, "· summary").await?.text())
    }

    async fn message_with(&mut self, run: &Run, marker: &str) -> Result<Message, Stuck> {
        let thread = run.thread;
        let look = |chat: &Chat| chat.posts_in(thread).into_iter().find(|message| message.text().contains(marker)).cloned();
        self.wait(&format!("the message `{marker}` of {}", run.id), look).await
    }

    async fn wait_for_text(&mut self, run: &Run, what: &str, any_of: &[&str]) -> Result<(), Stuck> {
        let thread = run.thread;
        let has = |message: &Message| any_of.iter().any(|text| message.text().contains(text));
        self.wait(what, |chat| chat.posts_in(thread).into_iter().any(has).then_some(())).await
    }

    async fn wait<T>(&self, what: &str, look: impl FnMut(&Chat) -> Option<T>) -> Result<T, Stuck> {
        let begun = Instant::now();
        let found = self.stage.model.wait_for(PATIENCE, look).await;
        found.map_err(|_| Stuck(format!("{what} did not come within {} s", begun.elapsed().as_secs())))
    }

    async fn kill_bot(&mut self) -> Result<(), Stuck> {
        self.stage.kill_bot().await.map_err(|error| Stuck::because("killing the bot", &error))
    }

    /// The markers that stand under more than one message of the run's thread.
    fn doubled(&self, run: &Run) -> Vec<String> {
        let texts: Vec<String> = self.stage.model.read(|chat| chat.posts_in(run.thread).iter().map(|m| m.text()).collect());
        let mut markers: Vec<&str> =
            texts.iter().filter_map(|text| text.lines().last()).filter(|line| line.starts_with("run-")).collect();
        markers.sort_unstable();
        markers.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].to_owned()).collect()
    }

    fn count(&self, run: &Run, marker: &str) -> usize {
        self.stage.model.read(|chat| chat.posts_in(run.thread).iter().filter(|m| m.text().contains(marker)).count())
    }

    fn react(&self, person: &str, message: MessageId, emoji: &str) -> Result<(), Stuck> {
        self.stage.model.react(person, message, emoji).map_err(|error| Stuck::because(&format!("{person} reacts"), &error))
    }

    async fn click(&self, person: &str, message: MessageId, button: &str) -> Result<(), Stuck> {
        let clicked = self.stage.model.click(person, message, button);
        let clicked = clicked.map_err(|error| Stuck::because(&format!("{person} clicks"), &error))?;
        clicked.first().await.map(drop).map_err(|error| Stuck::because(&format!("the answer to {person}'s click"), &error))
    }

    fn source_rows(&self) -> Result<i64, Stuck> {
        let counted = rusqlite::Connection::open(self.stage.estate.sqlite()).and_then(|source| {
            source.query_row("SELECT (SELECT count(*) FROM clusters) + (SELECT count(*) FROM playbook_entries)", [], |row| {
                row.get(0)
            })
        });
        counted.map_err(|error| Stuck::because("counting the source", &error))
    }

    /// The rows in PostgreSQL; `None` while the tables do not exist.
    async fn target_rows(&self) -> Result<Option<i64>, Stuck> {
        let failed = |error: sqlx::Error| Stuck::because("counting the target", &error);
        let mut target = sqlx::PgConnection::connect(&self.stage.estate.postgres().url()).await.map_err(failed)?;
        let exists: bool = sqlx::query_scalar("SELECT to_regclass('playbook_entries') IS NOT NULL")
            .fetch_one(&mut target)
            .await
            .map_err(failed)?;
        if !exists {
            return Ok(None);
        }
        let rows = sqlx::query_scalar("SELECT (SELECT count(*) FROM clusters) + (SELECT count(*) FROM playbook_entries)");
        rows.fetch_one(&mut target).await.map(Some).map_err(failed)
    }

    /// Which database the application answers from.
    async fn backend(&self) -> Result<String, Stuck> {
        let url = format!("{}/version", self.stage.estate.kubernetes().service_url());
        let failed = |error: reqwest::Error| Stuck::because("asking the application", &error);
        let answer: serde_json::Value = reqwest::get(url).await.map_err(failed)?.json().await.map_err(failed)?;
        Ok(answer["backend"].as_str().unwrap_or_default().to_owned())
    }

    /// What the last lines tell of a run, taken from its summary.
    fn report(&mut self, run: &Run, summary: &str) {
        let text = self.stage.model.read(|chat| plain(chat, summary));
        let wanted = ["succeeded", "rolled back", "digest", "last step", "window", "took", "operations_lead", "dba", "security"];
        let interesting = |line: &&str| wanted.iter().any(|word| line.contains(word)) && !line.starts_with("Steps:");
        self.say(run.id.clone());
        for line in text.lines().filter(interesting).take(9) {
            self.say(format!("  {}", line.trim()));
        }
    }

    fn scene(&mut self, title: &str) {
        self.narrator.scene(title);
    }

    fn check(&mut self, what: &str, holds: bool) {
        if holds {
            self.findings.met += 1
        } else {
            self.findings.unmet += 1
        }
        self.narrator.checked(what, holds);
    }

    fn say(&mut self, line: String) {
        self.findings.lines.push(line);
    }
}

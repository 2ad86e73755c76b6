//! When it goes wrong: a cutover that must be taken back, with its incident, status updates, the way back by one
//! authorised person, and the post-mortem as an issue.

use std::time::Duration;

use super::{PATIENCE, Run, SIGNERS, Scenario, Stuck};
use crate::clock::Clock as _;
use crate::sandbox::discord::{ChannelId, Chat, Message};
use crate::sandbox::estate::sx;

/// How fast time runs until the cutover is over: its phases are up to twenty minutes apart.
const SPEED_OF_WAITING: u32 = 40;
/// How fast it runs while nothing happens but status updates, which are a quarter of an hour apart at SEV1.
const SPEED_OF_BEATS: u32 = 60;
/// How many status updates are waited for.
const BEATS: usize = 3;

/// A step of the validation at T+10m, as its title says.
const LAST_VALIDATION: &str = "Nothing was written to SQLite any more";

impl Scenario<'_> {
    /// A profile moves to PostgreSQL; after the switch rows of another profile show through. The run asks, an incident
    /// opens by itself, and one person takes the cutover back.
    pub(super) async fn when_it_goes_wrong(&mut self) -> Result<(), Stuck> {
        self.scene("When it goes wrong: the cutover of one profile, forty times as fast as the wall");
        self.speed(SPEED_OF_WAITING).await?;
        let rehearsal = self.start_cutover("dry_run").await?;
        let summary = self.summary(&rehearsal).await?;
        self.check("the cutover's dry run ended green", summary.contains("succeeded"));
        let run = self.start_cutover("live").await?;
        self.tick_checklist(&run, ["leo", "dana", "sam"]).await?;
        let gate = self.gate_card(&run).await?;
        for person in SIGNERS {
            self.react(person, gate.id, "✅")?;
        }
        let validated = |text: &str| text.lines().any(|line| line.contains("✅") && line.contains(LAST_VALIDATION));
        let look = |chat: &Chat| chat.posts_in(run.thread).into_iter().any(|m| validated(&m.text())).then_some(());
        self.wait("the validation after the switch", look).await?;
        let backend = self.sx_backend().await?;
        self.check("the profile answers from PostgreSQL after the switch", backend == "postgres_primary");

        self.scene("Rows of another profile show through; the check at T+30m finds it, and the run asks what to do");
        let known = self.stage.model.read(incident_channels);
        let leak = sx::Faults { leak_on: Some(sx::Place::Live), ..sx::Faults::default() };
        self.stage.estate.sx().switches().set(&leak).map_err(|error| Stuck::because("setting a fault", &error))?;
        let channel = self.incident_channel(&known).await?;
        self.check("an incident opened by itself, with a channel of its own", true);
        self.type_in("leo", channel, "/incident acknowledge").await?;
        self.type_in("leo", channel, "/incident role role:commander").await?;
        self.beats(channel).await?;
        self.take_back(&run, channel).await?;
        self.write_up(channel).await
    }

    /// Status updates, each at its hour.
    async fn beats(&mut self, channel: ChannelId) -> Result<(), Stuck> {
        self.scene("It is made a SEV1; then nothing happens but the beat: three updates, a quarter of an hour in 15 seconds");
        self.type_in("leo", channel, "/incident severity severity:sev1 reason:\"rows of others show\"").await?;
        self.speed(SPEED_OF_BEATS).await?;
        let beats = |chat: &Chat| {
            let count = chat.posts_in(channel).into_iter().filter(|message| is_beat(message)).count();
            (count >= BEATS).then_some(())
        };
        self.wait("three status updates", beats).await?;
        self.speed(1).await
    }

    /// `/rollback now` from the incident's channel, by one person, on the armed signatures.
    async fn take_back(&mut self, run: &Run, channel: ChannelId) -> Result<(), Stuck> {
        self.scene("One authorised person takes it back, from the incident's channel");
        let nothing = sx::Faults::default();
        self.stage.estate.sx().switches().set(&nothing).map_err(|error| Stuck::because("ending a fault", &error))?;
        self.type_in("olivia", channel, "/rollback now reason:\"rows of another profile show through\"").await?;
        let done = self.thread_message(run, "the end of the rollback", " its target of ").await?;
        let backend = self.sx_backend().await?;
        self.check("the profile answers from SQLite again", backend == "sqlite");
        let text = done.text();
        let took = text.lines().find(|line| line.contains(" its target of ")).unwrap_or_default();
        self.check("the rollback was done within its target time", took.contains("within"));
        self.say(format!("rollback        {}", took.trim()));
        Ok(())
    }

    /// Resolved, told, published: the issue stands on GitHub, once.
    async fn write_up(&mut self, channel: ChannelId) -> Result<(), Stuck> {
        self.scene("Resolved; people tell what only they know; the post-mortem becomes an issue");
        self.type_in("leo", channel, "/incident resolve summary:\"Back on SQLite; nothing was lost\"").await?;
        let card = self.channel_message(channel, "the post-mortem's card", "· post-mortem").await?;
        let form = card.custom_ids().into_iter().find(|id| id.ends_with(":h")).map(str::to_owned);
        let form = form.ok_or_else(|| Stuck("the post-mortem's card has no form".to_owned()))?;
        let clicked = self.stage.model.click("leo", card.id, &form).map_err(|error| Stuck::because("the form", &error))?;
        clicked.modal().await.map_err(|error| Stuck::because("the form for the facts", &error))?;
        let facts = [
            ("summary", "The profile showed rows of another one after its move to PostgreSQL"),
            ("root_cause", "The search path of one connection was not reset"),
            ("users_affected", "about 40"),
            ("data_loss", "none"),
        ];
        let sent = self.stage.model.submit_modal("leo", clicked.id, &facts);
        let sent = sent.map_err(|error| Stuck::because("sending the form", &error))?;
        sent.message(PATIENCE).await.map_err(|error| Stuck::because("the answer to the form", &error))?;
        let due = (self.stage.clock().now() + chrono::TimeDelta::days(14)).date_naive();
        let action = format!("/postmortem add-action title:\"Reset the search path\" owner:dana due:{due}");
        self.type_in("dana", channel, &action).await?;
        self.type_in("leo", channel, "/postmortem publish").await?;
        self.channel_message(channel, "the link to the issue", "/issues/").await?;
        let issues = self.wait_for_issues().await?;
        self.check("the post-mortem and its action item stand on GitHub, once each", issues == 2);
        let (due, late) = self.punctuality(channel);
        let url = self.stage.github.base_url().to_owned();
        self.say(format!("status updates  {due} said, {late} of them late"));
        self.say(format!("post-mortem     {url}/acme/operations/issues/1"));
        Ok(())
    }

    async fn wait_for_issues(&mut self) -> Result<usize, Stuck> {
        let begun = std::time::Instant::now();
        loop {
            let issues = self.stage.github.issues();
            let linked = issues.iter().any(|issue| issue.body.contains("#2"));
            if issues.len() >= 2 && linked {
                return Ok(issues.len());
            }
            if begun.elapsed() > PATIENCE {
                return Err(Stuck(format!(
                    "{} issues stand on GitHub, and the post-mortem does not link to its action",
                    issues.len()
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How many status updates were said, and how many say of themselves that they are late.
    fn punctuality(&self, channel: ChannelId) -> (usize, usize) {
        let texts: Vec<String> = self
            .stage
            .model
            .read(|chat| chat.posts_in(channel).into_iter().filter(|message| is_beat(message)).map(Message::text).collect());
        (texts.len(), texts.iter().filter(|text| text.contains("late")).count())
    }

    async fn start_cutover(&mut self, mode: &str) -> Result<Run, Stuck> {
        let values: Vec<(String, String)> =
            self.stage.estate.sx().settings().into_iter().map(|setting| (setting.name.to_owned(), setting.value)).collect();
        let value =
            |name: &str| values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default();
        let parameters = [
            ("source_id", value("SX_SOURCE_ID")),
            ("home", value("SX_HOME")),
            ("service", value("SX_SERVICE_URL")),
            ("candidate", value("SX_CANDIDATE_URL")),
        ];
        self.start_runbook("postgres-primary-cutover", mode, &parameters).await
    }

    /// The channel of an incident that was opened since `known` were there.
    pub(super) async fn incident_channel(&mut self, known: &[ChannelId]) -> Result<ChannelId, Stuck> {
        let fresh = |chat: &Chat| incident_channels(chat).into_iter().find(|id| !known.contains(id));
        self.wait("the incident's channel", fresh).await
    }

    async fn channel_message(&mut self, channel: ChannelId, what: &str, text: &str) -> Result<Message, Stuck> {
        let look = |chat: &Chat| chat.posts_in(channel).into_iter().rev().find(|message| message.text().contains(text)).cloned();
        self.wait(what, look).await
    }

    async fn thread_message(&mut self, run: &Run, what: &str, text: &str) -> Result<Message, Stuck> {
        self.channel_message(run.thread, what, text).await
    }

    /// Types a command and waits for its answer.
    pub(super) async fn type_in(&mut self, person: &str, channel: ChannelId, command: &str) -> Result<Message, Stuck> {
        let asked = self.stage.model.slash(person, channel, command).map_err(|error| Stuck::because(command, &error))?;
        asked.message(PATIENCE).await.map_err(|error| Stuck::because(&format!("the answer to {command}"), &error))
    }

    /// Another speed: the bot is restarted with it, and is waited for.
    async fn speed(&mut self, speed: u32) -> Result<(), Stuck> {
        self.stage.set_speed(speed).await.map_err(|error| Stuck::because("changing the speed", &error))?;
        let connected = self.stage.model.wait_for_gateway(PATIENCE).await;
        connected.map_err(|error| Stuck::because("the bot at another speed", &error))
    }

    /// In which mode the profile's API works.
    async fn sx_backend(&self) -> Result<String, Stuck> {
        let settings = self.stage.estate.sx().settings();
        let service = settings.iter().find(|setting| setting.name == "SX_SERVICE_URL").map(|setting| setting.value.clone());
        let url = format!("{}/health", service.unwrap_or_default());
        let failed = |error: reqwest::Error| Stuck::because("asking the profile's API", &error);
        let answer: serde_json::Value = reqwest::get(url).await.map_err(failed)?.json().await.map_err(failed)?;
        Ok(answer["backend"].as_str().unwrap_or_default().to_owned())
    }
}

/// The channels of incidents.
pub(super) fn incident_channels(chat: &Chat) -> Vec<ChannelId> {
    // A channel of the world itself is called `incidents-fallback`.
    chat.channels.values().filter(|channel| channel.name.starts_with("incident-")).map(|channel| channel.id).collect()
}

/// Whether a message is a status update: its marker says so.
fn is_beat(message: &Message) -> bool {
    message.text().lines().last().is_some_and(|marker| marker.contains("· beat/"))
}

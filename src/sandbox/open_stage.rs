//! A stage that the page's visitors may play on: it implements the page's levers for a [`Stage`].

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::page::{BotView, ClockView, Fact, Levers, Pull, StageView};
use super::stage::Stage;
use crate::clock::{Clock as _, SPEED_MAX};

/// The speeds that the page offers: real time, a beat in 90 s, a beat in 15 s.
const SPEEDS: [u32; 3] = [1, 10, 60];

/// How much of the end of the bot's log the page gets.
const LOG_BYTES_MAX: u64 = 24 * 1024;

/// A stage shared with the page. One lever moves at a time.
#[derive(Clone)]
pub struct OpenStage {
    stage: Arc<Mutex<Option<Stage>>>,
}

impl OpenStage {
    /// Opens `stage` to the page that its model serves.
    #[must_use]
    pub fn open(stage: Stage) -> Self {
        let backstage = stage.backstage.clone();
        let open = Self { stage: Arc::new(Mutex::new(Some(stage))) };
        backstage.set(Some(Arc::new(open.clone())));
        open
    }

    /// Takes the stage from the page and ends everything on it.
    pub async fn stop(self) {
        if let Some(stage) = self.stage.lock().await.take() {
            stage.stop().await;
        }
    }
}

/// Which of the estate's settings people need for forms: group, setting, title, and the runbooks' parameter.
const OFFERED: [(&str, &str, &str, &str); 6] = [
    ("ACE application", "ACE_SQLITE", "SQLite file", "database"),
    ("ACE application", "ACE_SERVICE_URL", "address", "service"),
    ("SX application", "SX_SOURCE_ID", "profile", "source_id"),
    ("SX application", "SX_HOME", "directory of the profile", "home"),
    ("SX application", "SX_SERVICE_URL", "address", "service"),
    ("SX application", "SX_CANDIDATE_URL", "address of the candidate", "candidate"),
];

/// Why nothing can be done when the stage has been struck.
const CLOSED: &str = "the stage is closed";

#[async_trait]
impl Levers for OpenStage {
    async fn view(&self) -> StageView {
        let mut stage = self.stage.lock().await;
        match stage.as_mut() {
            Some(stage) => view(stage),
            None => closed(),
        }
    }

    async fn pull(&self, pull: Pull) -> Result<(), String> {
        let mut stage = self.stage.lock().await;
        let stage = stage.as_mut().ok_or(CLOSED)?;
        move_lever(stage, pull).await
    }
}

async fn move_lever(stage: &mut Stage, pull: Pull) -> Result<(), String> {
    let failed = |what: &str, error: io::Error| format!("{what}: {error}");
    match pull {
        Pull::KillBot => stage.kill_bot().await.map_err(|error| failed("killing the bot", error)),
        Pull::StopBot => stage.end_bot().await.map_err(|error| failed("ending the bot", error)),
        Pull::StartBot if matches!(bot(stage), BotView::Running { .. }) => Err("the bot runs already".to_owned()),
        Pull::StartBot => stage.start_bot().map_err(|error| failed("starting the bot", error)),
        Pull::Speed { times } if !(1..=SPEED_MAX).contains(&times) => {
            Err(format!("time can run 1 to {SPEED_MAX} times as fast, not {times} times"))
        }
        Pull::Speed { times } => stage.set_speed(times).await.map_err(|error| failed("changing the speed", error)),
        Pull::Switch { id, value } => {
            let known = stage.switches().into_iter().find(|switch| switch.id == id);
            let switch = known.ok_or_else(|| format!("there is no switch {id:?}"))?;
            if !switch.choices.iter().any(|choice| choice.value == value) {
                return Err(format!("{:?} cannot be set to {value:?}", switch.title));
            }
            stage.set_switch(&id, &value).await.map_err(|error| failed(&switch.title, error))
        }
    }
}

fn view(stage: &mut Stage) -> StageView {
    let clock = stage.clock();
    StageView {
        bot: bot(stage),
        clock: ClockView { now: clock.now(), speed: clock.speed(), speeds: SPEEDS.to_vec() },
        switches: stage.switches(),
        facts: facts(stage),
        links: stage.links(),
        log: tail(&stage.log_path()).unwrap_or_default(),
    }
}

fn closed() -> StageView {
    let clock = ClockView { now: crate::clock::wall_now(), speed: 1, speeds: Vec::new() };
    StageView { bot: BotView::Stopped, clock, switches: vec![], facts: vec![], links: vec![], log: vec![CLOSED.to_owned()] }
}

fn bot(stage: &mut Stage) -> BotView {
    if let Some(status) = stage.bot_ended() {
        return BotView::Ended { how: status.to_string() };
    }
    stage.bot_pid().map_or(BotView::Stopped, |pid| BotView::Running { pid })
}

fn facts(stage: &Stage) -> Vec<Fact> {
    let estate = stage.estate.settings();
    let offered = OFFERED.iter().filter_map(|(group, setting, title, parameter)| {
        let known = estate.iter().find(|known| known.name == *setting && !known.secret)?;
        Some(fact(group, title, known.value.clone(), Some(parameter)))
    });
    let settings = stage.settings_path();
    let of_bot = [("Settings", settings.clone()), ("Journal and run files", settings.with_file_name("data"))];
    let of_bot = of_bot.map(|(title, path)| fact("Bot", title, path.display().to_string(), None));
    offered.chain(of_bot).collect()
}

fn fact(group: &str, title: &str, value: String, parameter: Option<&str>) -> Fact {
    Fact { group: group.to_owned(), title: title.to_owned(), value, parameter: parameter.map(ToOwned::to_owned) }
}

/// The last whole lines of a file.
fn tail(file: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LOG_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line is cut off unless the file begins there.
    Ok(text.lines().skip(usize::from(from > 0)).map(ToOwned::to_owned).collect())
}

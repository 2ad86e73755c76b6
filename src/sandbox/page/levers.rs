//! What the page shows of the stage and may ask of it. The page renders these records as they come and knows no single
//! switch, link or fact by name, so that whoever adds one to the stage adds it to the page.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;

/// The stage, as the page reaches it.
#[async_trait]
pub trait Levers: Send + Sync + 'static {
    /// How the stage stands now.
    async fn view(&self) -> StageView;

    /// Moves a lever, and returns once it has moved.
    ///
    /// # Errors
    /// Why it did not move, for the person at the page; the stage is as it was, or as the text says.
    async fn pull(&self, pull: Pull) -> Result<(), String>;
}

/// What a person at the page asks of the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "lever", rename_all = "snake_case", deny_unknown_fields)]
pub enum Pull {
    /// `kill -9` of the bot.
    KillBot,
    /// SIGTERM to the bot: it drains and ends.
    StopBot,
    /// Starts the bot.
    StartBot,
    /// Lets time run so many times as fast as the wall.
    Speed {
        /// 1 to [`SPEED_MAX`](crate::clock::SPEED_MAX).
        times: u32,
    },
    /// Sets a [`Switch`].
    Switch {
        /// Which, by its id.
        id: String,
        /// One of its choices' values.
        value: String,
    },
}

/// How the stage stands.
#[derive(Debug, Clone, Serialize)]
pub struct StageView {
    /// The bot's process.
    pub bot: BotView,
    /// The time on the stage.
    pub clock: ClockView,
    /// What can be made to go wrong or different, grouped by [`Switch::group`] in the order of their first.
    pub switches: Vec<Switch>,
    /// Values that a person needs for the forms.
    pub facts: Vec<Fact>,
    /// Other pages that belong to the stage.
    pub links: Vec<Link>,
    /// The end of the bot's log, oldest line first.
    pub log: Vec<String>,
}

/// The bot's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BotView {
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It was not started, or was ended by a lever.
    Stopped,
    /// It ended by itself.
    Ended {
        /// Its exit status, as people write it.
        how: String,
    },
}

/// The time on the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockView {
    /// What it reads now.
    pub now: Timestamp,
    /// How many times as fast as the wall it runs.
    pub speed: u32,
    /// The speeds that the lever offers, rising.
    pub speeds: Vec<u32>,
}

/// One thing that can be set on the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// What it is set by; unique on the stage.
    pub id: String,
    /// The heading it stands under.
    pub group: String,
    /// What it is.
    pub title: String,
    /// What it does, in one sentence.
    pub help: String,
    /// What it can be set to; the first is how the world should be.
    pub choices: Vec<Choice>,
    /// The value of the present choice.
    pub value: String,
}

/// One position of a [`Switch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// What the switch is set to.
    pub value: String,
    /// What people read.
    pub title: String,
}

/// A value that a person needs, to copy or to have filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it belongs to: the heading it stands under. Facts of one group fit the same forms.
    pub group: String,
    /// What it is.
    pub title: String,
    /// The value.
    pub value: String,
    /// The parameter of runbooks that it fits. The page offers it at form inputs of that name, unless another group's
    /// facts fit more of the form.
    pub parameter: Option<String>,
}

/// A page that belongs to the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// What it is.
    pub title: String,
    /// Where it is, on this machine.
    pub url: String,
}

impl Switch {
    /// A switch of `group` with choices as (value, title).
    #[must_use]
    pub fn new(group: &str, id: &str, title: &str, help: &str, choices: &[(&str, &str)], value: &str) -> Self {
        let choice = |(value, title): &(&str, &str)| Choice { value: (*value).to_owned(), title: (*title).to_owned() };
        Self {
            id: id.to_owned(),
            group: group.to_owned(),
            title: title.to_owned(),
            help: help.to_owned(),
            choices: choices.iter().map(choice).collect(),
            value: value.to_owned(),
        }
    }
}

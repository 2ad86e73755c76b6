//! A message as chat will show it, before any platform's format.

use super::limits;
use crate::domain::incident::IncidentId;
use crate::domain::run::{Answer, ListRef};
use crate::domain::{RoleId, RunId, StepName, UserId};

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Above the embeds; the only place where a mention pings.
    pub content: String,
    /// The framed parts, in order.
    pub embeds: Vec<Embed>,
    /// The buttons, row by row.
    pub rows: Vec<Vec<Button>>,
    /// The files, in order.
    pub attachments: Vec<Attachment>,
    /// Who is pinged. Everybody else whom the text seems to mention is not.
    pub pings: Pings,
    /// Whether it is to be signed by ✅ and ❌: the bot puts both below it, so that a tap is enough.
    pub votable: bool,
}

/// A framed part of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Embed {
    /// The heading; empty for none.
    pub title: String,
    /// The text; empty for none.
    pub description: String,
    /// The colour of the frame.
    pub colour: Colour,
    /// Named parts, in order.
    pub fields: Vec<Field>,
    /// The small print; empty for none.
    pub footer: String,
}

/// A named part of an embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its heading.
    pub name: String,
    /// Its text.
    pub value: String,
}

/// What the colour of a frame says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Colour {
    /// Nothing is going on.
    #[default]
    Grey,
    /// Under way.
    Blue,
    /// Somebody must act.
    Amber,
    /// It went wrong.
    Red,
    /// It went well.
    Green,
    /// A rehearsal.
    Violet,
}

impl Colour {
    /// As 0xRRGGBB.
    #[must_use]
    pub fn rgb(self) -> u32 {
        match self {
            Self::Grey => 0x99_AA_B5,
            Self::Blue => 0x3B_82_F6,
            Self::Amber => 0xF5_9E_0B,
            Self::Red => 0xDC_26_26,
            Self::Green => 0x16_A3_4A,
            Self::Violet => 0x8B_5C_F6,
        }
    }
}

/// A button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// What pressing it means.
    pub press: Press,
    /// Its text.
    pub label: String,
    /// Its looks.
    pub style: Style,
    /// Before its text, if anything.
    pub emoji: Option<&'static str>,
    /// Whether it can be pressed.
    pub disabled: bool,
}

/// What pressing a button means. It carries all that is needed: nothing waits in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Press {
    /// Answers a question of a run; the reason is asked for.
    Answer {
        /// Which run.
        run: RunId,
        /// Which question.
        question: u32,
        /// What.
        answer: Answer,
    },
    /// Answers a `human.confirm` step.
    Confirm {
        /// Which run.
        run: RunId,
        /// Which step.
        step: StepName,
        /// Yes or no.
        yes: bool,
    },
    /// Ticks or unticks an item. It says which, so that two people who press at once agree and do not cancel each other out.
    Tick {
        /// Which run.
        run: RunId,
        /// Which list.
        list: ListRef,
        /// Which item, from 0.
        item: usize,
        /// Whether it is to be ticked.
        ticked: bool,
    },
    /// Does something about an incident.
    Incident {
        /// Which incident.
        incident: IncidentId,
        /// What.
        press: IncidentPress,
    },
}

/// What a button of an incident's message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentPress {
    /// Says that whoever presses is on it.
    Acknowledge,
    /// Ends it; how it was mended is asked for.
    Resolve,
    /// Asks for what happened: summary, root cause, users affected, downtime, data loss.
    WhatHappened,
    /// Asks for what was learnt: resolution, what went well, what went poorly, where we got lucky.
    WhatWeLearned,
    /// Wants the post-mortem on GitHub.
    Publish,
}

impl IncidentPress {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Acknowledge, Self::Resolve, Self::WhatHappened, Self::WhatWeLearned, Self::Publish];
}

/// The looks of a button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The usual next thing.
    Primary,
    /// One of several.
    Secondary,
    /// Good.
    Success,
    /// Think twice.
    Danger,
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// What a step printed: a file of the run's directory.
    Output {
        /// Its path, relative to the run's directory.
        path: String,
        /// Under which name it is shown.
        name: String,
    },
    /// A text that is too long for the message.
    Text {
        /// Under which name it is shown.
        name: String,
        /// The text.
        text: String,
    },
    /// The post-mortem of the message's incident as it stands. Whoever posts it writes it, in the team's form.
    PostMortem {
        /// Under which name it is shown.
        name: String,
    },
}

/// Who is pinged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pings {
    /// People.
    pub users: Vec<UserId>,
    /// Everybody who holds one of these roles.
    pub roles: Vec<RoleId>,
}

impl Pings {
    /// The same, and this person too.
    #[must_use]
    pub(super) fn and(mut self, user: UserId) -> Self {
        self.users.push(user);
        self
    }

    /// The mentions as text.
    fn text(&self) -> String {
        let roles = self.roles.iter().map(|role| format!("<@&{role}>"));
        roles.chain(self.users.iter().map(|user| format!("<@{user}>"))).collect::<Vec<_>>().join(" ")
    }
}

/// Pings of a message: Discord allows 100 ids of each kind, and more would not be read.
const PINGS_MAX: usize = 20;

impl Message {
    /// A message of one framed part.
    #[must_use]
    pub fn framed(embed: Embed) -> Self {
        Self { embeds: vec![embed], ..Self::default() }
    }

    /// A message of plain text.
    #[must_use]
    pub fn plain(content: impl Into<String>) -> Self {
        Self { content: content.into(), ..Self::default() }
    }

    /// The same, pinging these people with the given words.
    #[must_use]
    pub(super) fn pinging(mut self, mut pings: Pings, words: &str) -> Self {
        pings.roles.truncate(PINGS_MAX);
        pings.users.truncate(PINGS_MAX);
        self.content = [pings.text().as_str(), words].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        self.pings = pings;
        self
    }

    /// The same with a marker as its last line.
    #[must_use]
    pub(super) fn marked(mut self, marker: String) -> Self {
        match self.embeds.last_mut() {
            Some(embed) => embed.footer = marker,
            None => self.embeds.push(Embed { footer: marker, ..Embed::default() }),
        }
        self
    }

    /// The same, cut to what Discord takes. Buttons are never cut off: whoever makes them keeps to 25.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        self.content = limits::cut(&self.content, limits::CONTENT_MAX);
        self.embeds.truncate(limits::EMBEDS_MAX);
        self.attachments.truncate(limits::ATTACHMENTS_MAX);
        let mut left = limits::EMBEDS_TOTAL_MAX;
        for embed in &mut self.embeds {
            embed.fit(left);
            left = left.saturating_sub(embed.len());
        }
        for button in self.rows.iter_mut().flatten() {
            button.label = limits::cut(&button.label, limits::LABEL_MAX);
        }
        self
    }

    /// The buttons, five in a row.
    #[must_use]
    pub(super) fn with_buttons(mut self, buttons: Vec<Button>) -> Self {
        self.rows = buttons.chunks(limits::BUTTONS_IN_ROW_MAX).map(<[Button]>::to_vec).collect();
        self
    }

    /// Everything that it says, for transcripts and tests.
    #[must_use]
    pub fn text(&self) -> String {
        let mut parts = vec![self.content.clone()];
        for embed in &self.embeds {
            parts.extend([embed.title.clone(), embed.description.clone()]);
            parts.extend(embed.fields.iter().map(|field| format!("{}\n{}", field.name, field.value)));
            parts.push(embed.footer.clone());
        }
        parts.retain(|part| !part.is_empty());
        parts.extend(self.rows.iter().map(|row| row.iter().map(|b| format!("[{}]", b.label)).collect::<Vec<_>>().join(" ")));
        parts.extend(self.attachments.iter().map(|attachment| format!("📎 {}", attachment.name())));
        parts.join("\n")
    }
}

impl Attachment {
    /// Under which name it is shown.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Output { name, .. } | Self::Text { name, .. } | Self::PostMortem { name } => name,
        }
    }
}

impl Embed {
    /// Adds a part, unless there is nothing to say.
    pub(super) fn field(&mut self, name: &str, lines: &[String]) {
        if !lines.is_empty() {
            let value = limits::lines(lines, limits::FIELD_VALUE_MAX);
            self.fields.push(Field { name: name.to_owned(), value });
        }
    }

    fn len(&self) -> usize {
        let fields = self.fields.iter().map(|field| limits::len(&field.name) + limits::len(&field.value)).sum::<usize>();
        limits::len(&self.title) + limits::len(&self.description) + limits::len(&self.footer) + fields
    }

    fn fit(&mut self, left: usize) {
        self.title = limits::cut(&self.title, limits::TITLE_MAX);
        self.description = cut_lines(&self.description, limits::DESCRIPTION_MAX);
        self.footer = limits::cut(&self.footer, limits::FOOTER_MAX);
        for field in &mut self.fields {
            field.name = limits::cut(&field.name, limits::FIELD_NAME_MAX);
            field.value = cut_lines(&field.value, limits::FIELD_VALUE_MAX);
        }
        let mut dropped = self.fields.len().saturating_sub(limits::FIELDS_MAX);
        self.fields.truncate(limits::FIELDS_MAX);
        while self.len() > left.saturating_sub(MORE_LEN) && self.fields.len() > 1 {
            self.fields.pop();
            dropped += 1;
        }
        if dropped > 0 {
            self.description.push_str(&format!("\n… {dropped} more parts did not fit"));
        }
        let over = self.len().saturating_sub(left);
        if over > 0 {
            self.description = cut_lines(&self.description, limits::len(&self.description).saturating_sub(over));
        }
    }
}

/// Room for the line that counts dropped parts.
const MORE_LEN: usize = 40;

/// Cuts at a line's end where there are several lines.
fn cut_lines(text: &str, max: usize) -> String {
    if limits::len(text) <= max {
        return text.to_owned();
    }
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.len() > 1 && !text.contains("```") { limits::lines(&lines, max) } else { limits::cut(text, max) }
}

//! The chat that the engine knows, made of Discord: posting once, keeping current, reading votes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use serenity::http::{LightMethod, Route};

use super::messages::{self, Messages, Outgoing, POSTING_NEEDS, to_channel, to_message};
use super::rest::{Api, Call, Trouble, codes};
use crate::domain::run::{GateRef, MessageKey, MessageKind, Owed, Place, ReactionVote, State, Vote};
use crate::domain::{ChannelId, MessageRef, RunId, UserId};
use crate::engine::{Chat, Freshness, PortError, Posted, Snapshot};
use crate::render::{self, View, limits};

/// How a run's messages reach Discord.
#[derive(Debug)]
pub struct DiscordChat {
    messages: Arc<Messages>,
    settings: ChatSettings,
}

/// What the chat must know.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// The one server.
    pub guild: crate::domain::GuildId,
    /// The bot's own user.
    pub bot: UserId,
    /// The directory that holds each run's own, by run id: step outputs are attached from there.
    pub runs_dir: PathBuf,
}

/// Between two edits of a progress message, in real time.
const PROGRESS_EVERY: Duration = Duration::from_secs(3);
/// Minutes after which a silent thread is archived; the longest that Discord offers. A post opens it again.
const AUTO_ARCHIVE_MINUTES: u32 = 10_080;
/// The reactions that mean something.
pub(super) const SIGN: &str = "✅";
/// See [`SIGN`].
pub(super) const VETO: &str = "❌";

impl DiscordChat {
    /// A chat over `api`.
    #[must_use]
    pub fn new(api: Arc<Api>, settings: ChatSettings) -> Self {
        Self { messages: Arc::new(Messages::new(api, settings.guild, settings.bot)), settings }
    }

    /// Forgets what messages show, so that each is edited, and thereby found to be there, at its next refresh. For
    /// after a time in which deletions could have been missed.
    pub fn forget(&self) {
        self.messages.forget();
    }

    /// What the chat of incidents shares: it posts as the same bot, and what it shows is forgotten at the same time.
    pub(super) fn messages(&self) -> Arc<Messages> {
        Arc::clone(&self.messages)
    }

    async fn take_away_former(&self, owed: &Owed) {
        if let Some(former) = owed.former {
            self.messages.take_away(former).await;
        }
    }

    /// Puts ✅ and ❌ below a card, so that a tap is enough. Without them people can still add their own.
    async fn offer_votes(&self, run: &RunId, at: MessageRef) {
        for reaction in [SIGN, VETO] {
            if let Err(trouble) = self.messages.react(at, reaction).await {
                tracing::warn!(%run, %trouble, reaction, "could not offer a reaction on a gate card");
            }
        }
    }

    async fn votes(&self, state: &State, at: MessageRef) -> Result<Vec<ReactionVote>, Trouble> {
        let mut votes = Vec::new();
        for (emoji, vote) in [(SIGN, Vote::Sign), (VETO, Vote::Veto)] {
            for user in self.messages.reacted(at, emoji).await? {
                if let Some(person) = self.messages.member(&state.plan().roles, &user).await? {
                    votes.push(ReactionVote { person, vote });
                }
            }
        }
        Ok(votes)
    }
}

#[async_trait]
impl Chat for DiscordChat {
    async fn open_thread(&self, run: &Snapshot) -> Result<ChannelId, PortError> {
        let state = &run.state;
        let card = state.owed.iter().find(|owed| owed.kind == MessageKind::PlanCard).and_then(|owed| owed.posted);
        let Some(card) = card else {
            return Err(PortError::Later { why: "the plan card is not visible yet".to_owned(), after: None });
        };
        let name = limits::cut(&format!("{} · {}", state.id(), state.runbook().title), limits::THREAD_NAME_MAX);
        let route = Route::ChannelMessageThreads { channel_id: to_channel(card.channel), message_id: to_message(card.message) };
        let body = json!({ "name": name, "auto_archive_duration": AUTO_ARCHIVE_MINUTES });
        match self.messages.api().call(Call::new(LightMethod::Post, route).body(body)).await {
            // A thread made from a message has the message's id.
            Ok(_) => Ok(ChannelId::new(card.message.get())),
            Err(trouble) if trouble.code() == Some(codes::THREAD_EXISTS) => Ok(ChannelId::new(card.message.get())),
            Err(trouble) => Err(trouble.into_port_error("open the run's thread", "`Create Public Threads`")),
        }
    }

    async fn post(&self, run: &Snapshot, key: &MessageKey, search: bool) -> Result<Posted, PortError> {
        let (owed, channel) = place(run, key)?;
        let id = run.state.id();
        let later = |trouble: Trouble| trouble.into_port_error(&format!("post {key} of {id}"), POSTING_NEEDS);
        let marker = render::marker(id, key, owed.generation);
        if search && let Some(found) = self.messages.find(channel, &marker).await.map_err(later)? {
            self.take_away_former(owed).await;
            return Ok(found);
        }
        let message = render::message(view(run), owed);
        let files = messages::files(Some(&self.settings.runs_dir.join(id.as_str())), &message.attachments).await;
        let live = owed.kind.is_live().then(|| name(run, key));
        let outgoing = Outgoing { channel, marker: &marker, message: &message, files, live };
        let posted = self.messages.create(outgoing).await.map_err(later)?;
        self.take_away_former(owed).await;
        if message.votable {
            self.offer_votes(id, posted.at).await;
        }
        Ok(posted)
    }

    async fn refresh(&self, run: &Snapshot, key: &MessageKey) -> Result<Freshness, PortError> {
        let Some(owed) = run.state.owed.iter().find(|owed| owed.key == *key) else { return Ok(Freshness::Current) };
        let Some(at) = owed.posted.filter(|_| owed.kind.is_live()) else { return Ok(Freshness::Current) };
        let message = render::message(view(run), owed);
        let every = (owed.kind == MessageKind::Progress).then_some(PROGRESS_EVERY);
        let freshness = self.messages.refresh(name(run, key), at, &message, every).await;
        freshness.map_err(|trouble| trouble.into_port_error(&format!("refresh {key} of {}", run.state.id()), POSTING_NEEDS))
    }

    async fn read_votes(&self, run: &Snapshot, gate: &GateRef, card: u32) -> Result<Vec<ReactionVote>, PortError> {
        let state = &run.state;
        let kind = MessageKind::GateCard { gate: gate.clone(), card };
        let Some(at) = state.owed.iter().find(|owed| owed.kind == kind).and_then(|owed| owed.posted) else {
            return Ok(Vec::new());
        };
        let doing = format!("read the votes at gate {gate} of {}", state.id());
        self.votes(state, at).await.map_err(|trouble| trouble.into_port_error(&doing, "`Read Message History`"))
    }
}

/// A run as the renderer sees it.
pub(super) fn view(run: &Snapshot) -> View<'_> {
    View { state: &run.state, head: &run.head, progress: &run.progress, now: run.now }
}

/// What all copies of a message are known by.
fn name(run: &Snapshot, key: &MessageKey) -> String {
    render::marker(run.state.id(), key, 0)
}

fn place<'a>(run: &'a Snapshot, key: &MessageKey) -> Result<(&'a Owed, ChannelId), PortError> {
    let state = &run.state;
    let owed = state.owed.iter().find(|owed| owed.key == *key);
    let owed = owed.ok_or_else(|| PortError::Refused { why: format!("{} owes no message {key}", state.id()) })?;
    let channel = match owed.place {
        Place::Channel => Some(state.started.channel),
        Place::Thread => state.thread,
    };
    let channel = channel.ok_or_else(|| PortError::Later { why: "the run's thread is not open yet".to_owned(), after: None })?;
    Ok((owed, channel))
}

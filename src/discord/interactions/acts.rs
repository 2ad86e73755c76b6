//! Verbs that change a run: pause, resume, abort, close, break-glass, rollback.

use serde_json::Value;
use serenity::http::{LightMethod, Route};
use serenity::model::id as serenity_id;

use super::on_run::gone;
use super::reply::Replier;
use super::{Caller, Interactions, ids_of};
use crate::discord::rest::{Call, Trouble};
use crate::domain::command::OnRun;
use crate::domain::run::{Actor, Input, Rejection};
use crate::domain::{Person, RoleId, RoleName, RunId};
use crate::engine::SendError;
use crate::render::{Message, rejection, text};

/// What is to be done to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Pause,
    Resume,
    Abort,
    Close,
}

impl Act {
    fn input(self, by: Person, reason: String) -> Input {
        match self {
            Self::Pause => Input::Pause { by, reason },
            Self::Resume => Input::Resume { by },
            Self::Abort => Input::Abort { by, reason },
            Self::Close => Input::Close { by, reason },
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Pause => "will pause after its current step",
            Self::Resume => "goes on",
            Self::Abort => "is being aborted",
            Self::Close => "is closed",
        }
    }
}

impl Interactions {
    pub(super) async fn act(&self, replier: &Replier, caller: &Caller, on: OnRun, act: Act) -> Result<(), Trouble> {
        let run = match self.run_meant(on.run.as_deref(), caller.channel) {
            Ok(run) => run,
            Err(refusal) => return replier.say(&refusal).await,
        };
        replier.defer().await?;
        let reason = on.reason.unwrap_or_default();
        let answer = self.send(&run, caller, |by| act.input(by, reason)).await;
        replier.then(&answer.unwrap_or_else(|| said(&run, act.done()))).await
    }

    pub(super) async fn roll_back(
        &self,
        replier: &Replier,
        caller: &Caller,
        run: Option<String>,
        rollback: Option<String>,
        reason: String,
    ) -> Result<(), Trouble> {
        let run = match self.run_meant(run.as_deref(), caller.channel) {
            Ok(run) => run,
            Err(refusal) => return replier.say(&refusal).await,
        };
        let rollback = match rollback.map(|name| name.parse()).transpose() {
            Ok(rollback) => rollback,
            Err(invalid) => {
                let why = crate::domain::InvalidName::to_string(&invalid);
                return replier.say(&rejection::refused(&why, "Choose one from the list.")).await;
            }
        };
        replier.defer().await?;
        let answer = self.send(&run, caller, |by| Input::Rollback { rollback, by: Actor::Person(by), reason }).await;
        let done = "rolls back, or asks for the sign-off that it takes: see its thread";
        replier.then(&answer.unwrap_or_else(|| said(&run, done))).await
    }

    pub(super) async fn break_glass(
        &self,
        replier: &Replier,
        caller: &Caller,
        on: OnRun,
        allow: &[RoleName],
    ) -> Result<(), Trouble> {
        let run = match self.run_meant(on.run.as_deref(), caller.channel) {
            Ok(run) => run,
            Err(refusal) => return replier.say(&refusal).await,
        };
        if allow.is_empty() {
            let why = "this command names no role, and the glass is not for everybody";
            return replier.say(&rejection::refused(why, "Give the command an `allow:` in `commands/`.")).await;
        }
        replier.defer().await?;
        let other_holders = self.others_hold(caller, allow).await;
        let reason = on.reason.unwrap_or_default();
        let answer = match self.hand_in(&run, caller, |by| Input::BreakGlass { by, reason, other_holders }).await {
            Ok(()) => said(&run, "has its glass broken; a review is owed"),
            Err(SendError::Rejected(rejected @ Rejection::Requester { .. })) => {
                let roles: Vec<String> = allow.iter().map(|role| text::code(role.as_str())).collect();
                let next = format!("Ask another holder of {}. You may only while nobody else holds it.", roles.join(" or "));
                rejection::refused(&rejected.to_string(), &next)
            }
            Err(error) => not_taken(&run, &error),
        };
        replier.then(&answer).await
    }

    /// Whether anybody but the caller holds one of these roles, by Discord's own count of members per role. What cannot
    /// be told counts as yes: then the person who asked for the run cannot break the glass.
    async fn others_hold(&self, caller: &Caller, allow: &[RoleName]) -> bool {
        let route = Route::GuildRoleMemberCounts { guild_id: serenity_id::GuildId::new(self.settings.guild.get()) };
        let counts = match self.api.call(Call::new(LightMethod::Get, route)).await {
            Ok(counts) => counts,
            Err(trouble) => {
                tracing::warn!(%trouble, "could not count the holders of a role");
                return true;
            }
        };
        let others = |role: &RoleId| {
            let own = u64::from(caller.held.contains(role));
            counts.get(role.to_string()).and_then(Value::as_u64).is_none_or(|count| count > own)
        };
        ids_of(&self.settings.roles, allow).iter().any(others)
    }

    /// Hands an input to a run, from the caller with their roles as the run pinned them. `None` if it was taken in.
    pub(super) async fn send(&self, run: &RunId, caller: &Caller, input: impl FnOnce(Person) -> Input) -> Option<Message> {
        self.hand_in(run, caller, input).await.err().map(|error| not_taken(run, &error))
    }

    async fn hand_in(&self, run: &RunId, caller: &Caller, input: impl FnOnce(Person) -> Input) -> Result<(), SendError> {
        let snapshot = self.runs.snapshot(run).ok_or(SendError::UnknownRun)?;
        self.runs.send(run, input(caller.as_of(&snapshot.state.plan().roles))).await
    }
}

fn not_taken(run: &RunId, error: &SendError) -> Message {
    match error {
        SendError::Rejected(rejected) => rejection::rejected(rejected),
        SendError::UnknownRun => gone(run),
        SendError::Unavailable(_) => {
            let next = "Nothing may have changed: look at the run's thread, then try again.";
            rejection::refused(&error.to_string(), next)
        }
    }
}

/// What came of it. The run's thread says the rest.
fn said(run: &RunId, what: &str) -> Message {
    Message::plain(format!("👍 {} {what}.", text::code(run.as_str())))
}

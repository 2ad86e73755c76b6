//! Verbs about the definitions and the caller: list, show, reload, whoami.

use super::reply::Replier;
use super::{Caller, Interactions, all_verbs};
use crate::discord::rest::Trouble;
use crate::domain::{RoleName, nearest};
use crate::render::{Message, Whoami, rejection, runbooks, whoami};

impl Interactions {
    pub(super) async fn list_runbooks(&self, replier: &Replier) -> Result<(), Trouble> {
        replier.say(&runbooks::list(&self.definitions.runbooks())).await
    }

    pub(super) async fn show_runbook(&self, replier: &Replier, name: &str) -> Result<(), Trouble> {
        let Some(runbook) = self.runbook(name) else { return replier.say(&self.no_runbook(name)).await };
        replier.defer().await?;
        let page = self.definitions.page(&runbook);
        replier.then(&runbooks::one(&runbook, page)).await
    }

    /// Reads the definitions again, and registers the commands if they have changed.
    pub(super) async fn reload(&self, replier: &Replier) -> Result<(), Trouble> {
        replier.defer().await?;
        if let Err(mistakes) = self.definitions.reload().await {
            let next = "What was loaded before stays in force. `pointsman check` shows the places.";
            return replier.then(&rejection::mistakes("The new definitions have mistakes:", &mistakes, next)).await;
        }
        let count = self.definitions.runbooks().len();
        let registered = self.register_commands().await;
        let message = match registered {
            Ok(()) => Message::plain(format!("👍 Reloaded: {count} runbooks. Runs under way keep the plan they pinned.")),
            Err(trouble) => {
                let why = format!("the definitions are reloaded, but Discord did not take the commands: {trouble}");
                rejection::refused(&why, "Try `/runbook reload` again in a minute.")
            }
        };
        replier.then(&message).await
    }

    pub(super) async fn whoami(&self, replier: &Replier, caller: &Caller) -> Result<(), Trouble> {
        let known: Vec<RoleName> = self.settings.roles.keys().cloned().collect();
        let verbs = all_verbs(&self.definitions.commands());
        replier.say(&whoami(&Whoami { person: &caller.person, verbs, known: &known })).await
    }

    /// There is no such runbook.
    pub(super) fn no_runbook(&self, name: &str) -> Message {
        let why = format!("there is no runbook `{}`", name.replace('`', "'"));
        let runbooks = self.definitions.runbooks();
        let near = nearest(name, runbooks.iter().map(|runbook| runbook.runbook.as_str()));
        let meant = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        rejection::refused(&format!("{why}{meant}"), "Nothing was started. `/runbook list` shows those that there are.")
    }
}

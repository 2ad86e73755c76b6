//! Which messages of an incident's channel carry a 📌.

use std::collections::BTreeSet;

use serde_json::Value;

use super::DiscordIncidentChat;
use crate::discord::messages::{PAGE, oldest, snowflake};
use crate::discord::rest::{Trouble, codes};
use crate::domain::incident::{Happening, State};
use crate::domain::{ChannelId, MessageId, MessageRef, Person};
use crate::engine::Mark;

/// The reaction that puts a message on the timeline.
pub(in crate::discord) const MARK: &str = "📌";
/// Pages of messages that are looked through for marks: the newest thousand. Whoever marks an older one has the message
/// command, which needs no search.
const PAGES_MAX: usize = 10;

impl DiscordIncidentChat {
    /// The messages that are marked and not on the timeline yet, newest first.
    ///
    /// A message tells which reactions it has, which takes no privileged intent and one request for a hundred messages;
    /// who put them is asked only for those with a mark. Discord lists the people by id and not by time: if several
    /// marked a message before the bot looked, the one with the lowest id among those who are still here counts as
    /// the first.
    pub(super) async fn marks(&self, state: &State, channel: ChannelId) -> Result<Vec<Mark>, Trouble> {
        let known = on_timeline(state);
        let mut marks = Vec::new();
        let mut before = None;
        for _ in 0..PAGES_MAX {
            let page = self.messages.page_before(channel, before).await?;
            for message in page.iter().filter(|message| is_marked(message)) {
                let Some(id) = snowflake(&message["id"]).map(MessageId::new) else { continue };
                let at = MessageRef { channel, message: id };
                if known.contains(&id) {
                    continue;
                }
                if let Some(by) = self.marked_by(state, at).await? {
                    marks.push(Mark { message: at, author: author(message), by });
                }
            }
            before = oldest(&page);
            if page.len() < PAGE || before.is_none() {
                break;
            }
        }
        Ok(marks)
    }

    async fn marked_by(&self, state: &State, at: MessageRef) -> Result<Option<Person>, Trouble> {
        let users = match self.messages.reacted(at, MARK).await {
            Ok(users) => users,
            // It was deleted meanwhile.
            Err(trouble) if trouble.code() == Some(codes::UNKNOWN_MESSAGE) => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        for user in users {
            if let Some(person) = self.messages.member(&state.policy().roles, &user).await? {
                return Ok(Some(person));
            }
        }
        Ok(None)
    }
}

fn on_timeline(state: &State) -> BTreeSet<MessageId> {
    let mut marked = BTreeSet::new();
    for entry in &state.timeline {
        if let Happening::MessageMarked { message, .. } = &*entry.what {
            marked.insert(message.message);
        }
    }
    marked
}

fn is_marked(message: &Value) -> bool {
    message["reactions"].as_array().into_iter().flatten().any(|reaction| reaction["emoji"]["name"] == MARK)
}

/// The name that people know somebody by.
pub(super) fn author(message: &Value) -> String {
    let author = &message["author"];
    let name = [&author["global_name"], &author["username"]].into_iter().find_map(Value::as_str);
    name.unwrap_or("(no name)").to_owned()
}

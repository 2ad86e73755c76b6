//! The review meeting in the server's calendar.

use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use serenity::http::{LightMethod, Route};

use super::DiscordIncidentChat;
use crate::discord::messages::{list, snowflake, unreadable};
use crate::discord::rest::{Call, Trouble};
use crate::domain::Timestamp;
use crate::domain::incident::State;
use crate::render::{limits, text};

/// Discord's number of an event that is held anywhere but in a voice channel: it needs a place and an end.
/// Source: <https://discord.com/developers/docs/resources/guild-scheduled-event>.
const EXTERNAL: u8 = 3;
/// Discord's only privacy level: members of the server.
const MEMBERS_ONLY: u8 = 2;
/// How long a review is said to take.
const LASTS: TimeDelta = TimeDelta::hours(1);
/// Characters of an event's name.
const NAME_MAX: usize = 100;

impl DiscordIncidentChat {
    /// Finds the event, or creates it.
    pub(super) async fn review(&self, state: &State, at: Timestamp) -> Result<u64, Trouble> {
        let guild_id = self.messages.guild();
        let events = list(self.call(Call::new(LightMethod::Get, Route::GuildScheduledEvents { guild_id })).await?);
        let own = |event: &&Value| snowflake(&event["creator_id"]) == Some(self.messages.bot().get());
        let marker = marker(state);
        let same = |event: &&Value| event["description"].as_str().and_then(|text| text.lines().last()) == Some(&marker);
        let found = events.iter().filter(own).find(same).cloned();
        let event = match found {
            Some(event) => event,
            None => {
                self.call(Call::new(LightMethod::Post, Route::GuildScheduledEvents { guild_id }).body(body(
                    state,
                    guild_id.get(),
                    at,
                )))
                .await?
            }
        };
        snowflake(&event["id"]).ok_or_else(unreadable)
    }
}

/// The last line of the description, by which the event is found again.
fn marker(state: &State) -> String {
    format!("review of {}", state.id())
}

/// Everybody on the server sees the calendar, so that it says nothing of what a private incident is about.
fn body(state: &State, guild: u64, at: Timestamp) -> Value {
    let instant = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let title = if state.opened.private { String::new() } else { format!(": {}", text::defuse(&state.opened.title)) };
    let place =
        state.channel.map_or_else(|| "Discord".to_owned(), |channel| format!("https://discord.com/channels/{guild}/{channel}"));
    let description = "What happened, why, what went well, what is to be done so that it does not happen again.";
    json!({
        "name": limits::cut(&format!("Review of {}{title}", state.id()), NAME_MAX),
        "description": format!("{description}\n{}", marker(state)),
        "privacy_level": MEMBERS_ONLY,
        "entity_type": EXTERNAL,
        "entity_metadata": { "location": place },
        "scheduled_start_time": instant(at),
        "scheduled_end_time": instant(at + LASTS),
    })
}

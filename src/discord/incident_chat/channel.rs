//! An incident's channel: found or created, and moved to the archive.

use serde_json::{Value, json};
use serenity::http::{LightMethod, Route};

use super::DiscordIncidentChat;
use crate::discord::messages::{list, snowflake, to_channel, unreadable};
use crate::discord::rest::{Call, Trouble, codes};
use crate::domain::ChannelId;
use crate::domain::incident::{IncidentId, Opener, State};
use crate::engine::{Place, PortError};
use crate::render::{limits, text};

/// Discord's number of a text channel.
const TEXT: u64 = 0;
/// Discord's number of an overwrite for a role.
const FOR_ROLE: u8 = 0;
/// Discord's number of an overwrite for a member.
const FOR_MEMBER: u8 = 1;
/// The permission to see a channel, as overwrites write it: 1 << 10. Everything else comes from the roles, so that the bot
/// hands out nothing and needs no permission to manage roles.
const VIEW_CHANNEL: &str = "1024";
/// What creating and moving takes.
const MANAGING_NEEDS: &str = "`View Channel` and `Manage Channels`, in the categories of incidents too";

impl DiscordIncidentChat {
    pub(super) async fn find_or_create(&self, state: &State) -> Result<Place, PortError> {
        let doing = format!("open the channel of {}", state.id());
        let port_error = |trouble: Trouble| trouble.into_port_error(&doing, MANAGING_NEEDS);
        let route = Route::GuildChannels { guild_id: self.messages.guild() };
        let channels = list(self.call(Call::new(LightMethod::Get, route)).await.map_err(port_error)?);
        if let Some(found) = channels.iter().find(|channel| is_channel_of(channel, state.id())) {
            let id = snowflake(&found["id"]).ok_or_else(unreadable).map_err(port_error)?;
            return Ok(Place { channel: ChannelId::new(id), fallback: None });
        }
        match self.create(state).await {
            Ok(channel) => Ok(Place { channel, fallback: None }),
            Err(trouble) => match only_people_mend(&trouble) {
                Some(why) => self.fall_back(state, &channels, why),
                None => Err(port_error(trouble)),
            },
        }
    }

    async fn create(&self, state: &State) -> Result<ChannelId, Trouble> {
        let mut body = json!({ "name": state.id().channel_name(), "type": TEXT, "topic": topic(state) });
        if let Some(category) = self.settings.category {
            body["parent_id"] = category.to_string().into();
        }
        // Without overwrites a channel takes those of its category.
        if state.opened.private {
            body["permission_overwrites"] = self.overwrites(state).await?;
        }
        let route = Route::GuildChannels { guild_id: self.messages.guild() };
        let answer = self.call(Call::new(LightMethod::Post, route).body(body)).await?;
        snowflake(&answer["id"]).map(ChannelId::new).ok_or_else(unreadable)
    }

    /// Hidden from everybody but the bot, the roles that the policy names, and who opened it. A role that was
    /// deleted since is left out: Discord would refuse the whole channel.
    async fn overwrites(&self, state: &State) -> Result<Value, Trouble> {
        let guild = self.messages.guild();
        let existing = list(self.call(Call::new(LightMethod::Get, Route::GuildRoles { guild_id: guild })).await?);
        let existing: Vec<u64> = existing.iter().filter_map(|role| snowflake(&role["id"])).collect();
        let policy = state.policy();
        let roles = policy.private_roles.iter().flat_map(|name| policy.roles.get(name).into_iter().flatten());
        let allow = |id: String, kind: u8| json!({ "id": id, "type": kind, "allow": VIEW_CHANNEL, "deny": "0" });
        // The role of everybody has the server's id.
        let mut overwrites = vec![json!({ "id": guild.to_string(), "type": FOR_ROLE, "allow": "0", "deny": VIEW_CHANNEL })];
        overwrites.push(allow(self.messages.bot().to_string(), FOR_MEMBER));
        overwrites.extend(roles.filter(|role| existing.contains(&role.get())).map(|role| allow(role.to_string(), FOR_ROLE)));
        if let Opener::Person(person) = &state.opened.by {
            overwrites.push(allow(person.id.to_string(), FOR_MEMBER));
        }
        Ok(overwrites.into())
    }

    fn fall_back(&self, state: &State, channels: &[Value], why: String) -> Result<Place, PortError> {
        let doing = format!("could not open the channel of {}: {why}", state.id());
        let refused = |more: &str| Err(PortError::Refused { why: format!("{doing}; {more}") });
        if state.opened.private {
            return refused("it is private, so that it cannot live in the fallback channel");
        }
        let Some(fallback) = self.settings.fallback else {
            return refused("no fallback channel is configured");
        };
        if !channels.iter().any(|channel| snowflake(&channel["id"]) == Some(fallback.get())) {
            return refused("the configured fallback channel does not exist");
        }
        Ok(Place { channel: fallback, fallback: Some(why) })
    }

    /// Moves a channel into a category. Its overwrites stay as they are, so that what was private stays so.
    pub(super) async fn move_to(&self, channel: ChannelId, category: ChannelId) -> Result<(), PortError> {
        let route = Route::Channel { channel_id: to_channel(channel) };
        let body = json!({ "parent_id": category.to_string() });
        let Err(trouble) = self.call(Call::new(LightMethod::Patch, route).body(body)).await else { return Ok(()) };
        let doing = "move the channel to the archive";
        match only_people_mend(&trouble).filter(|_| is_about_category(&trouble)) {
            Some(why) => Err(PortError::Refused { why: format!("could not {doing}: {why}") }),
            None => Err(trouble.into_port_error(doing, MANAGING_NEEDS)),
        }
    }
}

/// Whether this is the channel that was created for an incident. Name and topic must both say so: titles of other incidents
/// may name it too.
pub(super) fn is_channel_of(channel: &Value, id: &IncidentId) -> bool {
    let topic = channel["topic"].as_str().unwrap_or_default();
    channel["type"].as_u64() == Some(TEXT)
        && channel["name"].as_str() == Some(&id.channel_name())
        && topic.split(SEPARATOR).next() == Some(&id.to_string())
}

const SEPARATOR: &str = " · ";
/// Characters of a topic. Source: <https://discord.com/developers/docs/resources/channel#channel-object>.
const TOPIC_MAX: usize = 1_024;

/// What does not change while the incident lasts: a topic can be changed but twice in ten minutes.
fn topic(state: &State) -> String {
    let title = text::defuse(&state.opened.title);
    let opened = state.opened_at.format("%Y-%m-%d %H:%M UTC");
    let topic = [state.id().to_string(), title, format!("opened {opened}"), "where it stands: the pinned summary".to_owned()];
    limits::cut(&topic.join(SEPARATOR), TOPIC_MAX)
}

/// Why a channel could not be put where it belongs and how that is mended, if waiting does not.
fn only_people_mend(trouble: &Trouble) -> Option<String> {
    match trouble {
        Trouble::Refused { code: codes::GUILD_CHANNELS_MAX, .. } => {
            Some("the server is full (500 channels): delete some that are no longer needed".to_owned())
        }
        Trouble::Refused { code: codes::MISSING_PERMISSION | codes::MISSING_ACCESS, .. } => {
            Some(format!("the bot's role lacks a permission; it needs {MANAGING_NEEDS}"))
        }
        Trouble::Refused { message, .. } if is_about_category(trouble) => {
            let mend = "a category takes 50 channels: delete or move some, or set another category";
            Some(format!("the category does not take it ({message}); {mend}"))
        }
        Trouble::Refused { .. } | Trouble::Limited { .. } | Trouble::Server { .. } | Trouble::Unanswered { .. } => None,
    }
}

/// Discord refuses a full category, and one that is gone, as an invalid `parent_id`.
fn is_about_category(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused { code: codes::INVALID_BODY, message, .. } if message.contains("parent_id"))
}

//! Founding the guild: from a [`World`] to the records that stand in it at the start.

use std::collections::{BTreeMap, BTreeSet};

use twilight_model::channel::ChannelType;
use twilight_model::channel::permission_overwrite::{PermissionOverwrite, PermissionOverwriteType};
use twilight_model::guild::Permissions;

use super::chat::{Channel, Chat, Member, Role};
use super::ids::{ChannelId, GuildId, RoleId, Snowflakes, UserId};
use super::world::World;
use crate::domain::Timestamp;

/// The guild of a world as it stands at the start. A name that the world does not know is left out.
pub(super) fn found(world: &World, ids: &mut Snowflakes, now: Timestamp) -> Chat {
    let guild: GuildId = ids.fixed();
    let application = ids.fixed();
    let owner: UserId = ids.fixed();
    let mut chat = Chat {
        guild,
        guild_name: world.guild.clone(),
        owner,
        application,
        // A bot's user has its application's id.
        bot: application.cast(),
        roles: BTreeMap::new(),
        members: BTreeMap::new(),
        channels: BTreeMap::new(),
        messages: BTreeMap::new(),
        commands: Vec::new(),
        events: BTreeMap::new(),
        interactions: BTreeMap::new(),
    };
    add_roles(&mut chat, world, ids);
    add_people(&mut chat, world, ids, now);
    add_channels(&mut chat, world, ids, now);
    chat
}

fn add_roles(chat: &mut Chat, world: &World, ids: &mut Snowflakes) {
    let mut add = |id: RoleId, name: &str, permissions, managed| {
        let position = u16::try_from(chat.roles.len()).unwrap_or(u16::MAX);
        let name = name.to_owned();
        chat.roles.insert(id, Role { id, name, permissions, position, mentionable: false, managed });
    };
    add(chat.guild.cast(), "@everyone", world.everyone, false);
    for role in &world.roles {
        add(ids.fixed(), &role.name, role.permissions, false);
    }
    add(ids.fixed(), &world.bot_name, world.bot_permissions, true);
}

fn add_people(chat: &mut Chat, world: &World, ids: &mut Snowflakes, now: Timestamp) {
    let bot_role = chat.role_named(&world.bot_name).map(|role| role.id);
    let bot = Member {
        id: chat.bot,
        name: world.bot_name.to_lowercase(),
        display_name: world.bot_name.clone(),
        bot: true,
        roles: bot_role.into_iter().collect(),
        joined: now,
    };
    let owner = Member {
        id: chat.owner,
        name: "owner".to_owned(),
        display_name: "Owner".to_owned(),
        bot: false,
        roles: BTreeSet::new(),
        joined: now,
    };
    chat.members.extend([(bot.id, bot), (owner.id, owner)]);
    for persona in &world.personas {
        let roles = persona.roles.iter().filter_map(|name| chat.role_named(name)).map(|role| role.id).collect();
        let id = ids.fixed();
        let (name, display_name) = (persona.name.clone(), persona.display_name.clone());
        chat.members.insert(id, Member { id, name, display_name, bot: persona.bot, roles, joined: now });
    }
}

fn add_channels(chat: &mut Chat, world: &World, ids: &mut Snowflakes, now: Timestamp) {
    for spec in &world.channels {
        let id: ChannelId = ids.fixed();
        let parent = spec.parent.as_ref().and_then(|name| chat.channel_named(name)).map(|parent| parent.id);
        let mut overwrites = Vec::new();
        if !spec.only.is_empty() {
            let none = Permissions::empty();
            overwrites.push(role_overwrite(chat.guild.cast(), none, Permissions::VIEW_CHANNEL));
            let bot_role = chat.roles.values().find(|role| role.managed);
            let allowed = spec.only.iter().filter_map(|name| chat.role_named(name)).chain(bot_role);
            overwrites.extend(allowed.map(|role| role_overwrite(role.id, Permissions::VIEW_CHANNEL, none)));
        }
        let channel = Channel {
            id,
            kind: if spec.category { ChannelType::GuildCategory } else { ChannelType::GuildText },
            name: spec.name.clone(),
            topic: None,
            parent,
            position: u32::try_from(chat.channels.len()).unwrap_or(u32::MAX),
            overwrites,
            slowmode_secs: 0,
            last_message: None,
            last_pin: None,
            made: now,
            thread: None,
        };
        chat.channels.insert(id, channel);
    }
}

fn role_overwrite(role: RoleId, allow: Permissions, deny: Permissions) -> PermissionOverwrite {
    PermissionOverwrite { allow, deny, id: role.cast(), kind: PermissionOverwriteType::Role }
}

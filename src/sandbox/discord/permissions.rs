//! What a member may do, computed as Discord documents it
//! (<https://discord.com/developers/docs/topics/permissions#permission-overwrites>).

use twilight_model::channel::ChannelType;
use twilight_model::channel::permission_overwrite::{PermissionOverwrite, PermissionOverwriteType};
use twilight_model::guild::Permissions;

use super::chat::{Channel, Chat};
use super::ids::{ChannelId, UserId};

/// What `user` may do in the guild as a whole.
pub(super) fn in_guild(chat: &Chat, user: UserId) -> Permissions {
    let Some(member) = chat.members.get(&user) else {
        return Permissions::empty();
    };
    if user == chat.owner {
        return Permissions::all();
    }
    let everyone = chat.guild.cast();
    let roles = std::iter::once(&everyone).chain(&member.roles).filter_map(|id| chat.roles.get(id));
    let sum = roles.fold(Permissions::empty(), |sum, role| sum | role.permissions);
    if sum.contains(Permissions::ADMINISTRATOR) { Permissions::all() } else { sum }
}

/// What `user` may do in `channel`. A thread takes its parent's overwrites; a private one is seen
/// by its members and by those with `MANAGE_THREADS`.
pub(super) fn in_channel(chat: &Chat, user: UserId, channel: ChannelId) -> Permissions {
    let Some(channel) = chat.channels.get(&channel) else {
        return Permissions::empty();
    };
    let base = in_guild(chat, user);
    if base == Permissions::all() {
        return base;
    }
    let holder = match (&channel.thread, channel.parent.and_then(|parent| chat.channels.get(&parent))) {
        (Some(_), Some(parent)) => parent,
        _ => channel,
    };
    let permissions = with_overwrites(chat, user, holder, base);
    if !permissions.contains(Permissions::VIEW_CHANNEL) || !may_see_thread(channel, user, permissions) {
        return Permissions::empty();
    }
    permissions
}

fn may_see_thread(channel: &Channel, user: UserId, permissions: Permissions) -> bool {
    let Some(thread) = &channel.thread else {
        return true;
    };
    channel.kind != ChannelType::PrivateThread
        || thread.members.contains(&user)
        || permissions.contains(Permissions::MANAGE_THREADS)
}

fn with_overwrites(chat: &Chat, user: UserId, channel: &Channel, base: Permissions) -> Permissions {
    let Some(member) = chat.members.get(&user) else {
        return Permissions::empty();
    };
    let mut permissions = base;
    let of = |kind: PermissionOverwriteType| channel.overwrites.iter().filter(move |overwrite| overwrite.kind == kind);
    for overwrite in of(PermissionOverwriteType::Role).filter(|overwrite| overwrite.id == chat.guild.cast()) {
        permissions = apply(permissions, overwrite);
    }
    let roles = || {
        of(PermissionOverwriteType::Role)
            .filter(|overwrite| overwrite.id != chat.guild.cast() && member.roles.contains(&overwrite.id.cast()))
    };
    let denied = roles().fold(Permissions::empty(), |sum, overwrite| sum | overwrite.deny);
    let allowed = roles().fold(Permissions::empty(), |sum, overwrite| sum | overwrite.allow);
    permissions = (permissions - denied) | allowed;
    for overwrite in of(PermissionOverwriteType::Member).filter(|overwrite| overwrite.id == user.cast()) {
        permissions = apply(permissions, overwrite);
    }
    permissions
}

fn apply(permissions: Permissions, overwrite: &PermissionOverwrite) -> Permissions {
    (permissions - overwrite.deny) | overwrite.allow
}

//! Who a message really notifies: what its text names, cut down to what `allowed_mentions` and permissions let through.

use std::sync::LazyLock;

use regex::Regex;
use twilight_model::channel::message::{AllowedMentions, MentionType};
use twilight_model::guild::Permissions;

use super::chat::{Chat, Pings};
use super::ids::{RoleId, UserId};

static MENTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<@(&|!)?(\d{1,20})>|@everyone|@here").expect("a constant pattern"));

/// Reads `content` and says who is notified. `permissions` are the author's in the channel.
pub(super) fn pings(chat: &Chat, content: &str, allowed: Option<&AllowedMentions>, permissions: Permissions) -> Pings {
    let mut pings = Pings::default();
    let may_all = permissions.contains(Permissions::MENTION_EVERYONE);
    for found in MENTION.captures_iter(content) {
        let id = found.get(2).and_then(|id| id.as_str().parse::<u64>().ok()).filter(|&id| id != 0);
        match (id, found.get(1).map(|mark| mark.as_str())) {
            (None, _) => pings.everyone |= may_all && parses(allowed, &MentionType::Everyone),
            (Some(id), Some("&")) => {
                let role = RoleId::new(id);
                let mentionable = chat.roles.get(&role).is_some_and(|known| known.mentionable || may_all);
                if mentionable && names_role(allowed, role) {
                    pings.roles.insert(role);
                }
            }
            (Some(id), _) => {
                let user = UserId::new(id);
                if chat.members.contains_key(&user) && names_user(allowed, user) {
                    pings.users.insert(user);
                }
            }
        }
    }
    pings
}

fn parses(allowed: Option<&AllowedMentions>, kind: &MentionType) -> bool {
    allowed.is_none_or(|allowed| allowed.parse.contains(kind))
}

fn names_role(allowed: Option<&AllowedMentions>, role: RoleId) -> bool {
    parses(allowed, &MentionType::Roles) || allowed.is_some_and(|allowed| allowed.roles.contains(&role))
}

fn names_user(allowed: Option<&AllowedMentions>, user: UserId) -> bool {
    parses(allowed, &MentionType::Users) || allowed.is_some_and(|allowed| allowed.users.contains(&user))
}

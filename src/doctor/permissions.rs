//! What the bot may do in the server and in each channel, computed as Discord does.
//!
//! Source: <https://discord.com/developers/docs/topics/permissions#permission-overwrites>.

use serde_json::Value;

/// What the bot needs wherever it is asked. `docs/settings.md` says what for.
pub(super) const NEEDED: [(&str, u64); 8] = [
    ("View Channels", 1 << 10),
    ("Send Messages", 1 << 11),
    ("Embed Links", 1 << 14),
    ("Attach Files", 1 << 15),
    ("Read Message History", 1 << 16),
    ("Add Reactions", 1 << 6),
    ("Create Public Threads", 1 << 35),
    ("Send Messages in Threads", 1 << 38),
];
/// What incidents need besides, in the server as a whole. Without it runs work all the same.
pub(super) const FOR_INCIDENTS: [(&str, u64); 3] =
    [("Manage Channels", 1 << 4), ("Pin Messages", 1 << 51), ("Create Events", 1 << 44)];
/// May do everything, whatever a channel says.
pub(super) const ADMINISTRATOR: u64 = 1 << 3;
/// May ping roles that are not for everyone to mention.
pub(super) const MENTION_EVERYONE: u64 = 1 << 17;
/// Without it a channel does not exist for the bot.
const VIEW_CHANNEL: u64 = 1 << 10;

/// A member's permissions in the server: everyone's and those of each role.
pub(super) fn in_guild(guild: &str, roles: &[Value], held: &[&str]) -> u64 {
    let counts = |role: &&Value| role["id"].as_str().is_some_and(|id| id == guild || held.contains(&id));
    let all = roles.iter().filter(counts).fold(0, |all, role| all | bits(&role["permissions"]));
    if all & ADMINISTRATOR == 0 { all } else { u64::MAX }
}

/// A member's permissions in a channel: those in the server, then the channel's exceptions for everyone, for the member's
/// roles taken together, and for the member.
pub(super) fn in_channel(guild: &str, base: u64, member: &str, held: &[&str], channel: &Value) -> u64 {
    if base == u64::MAX {
        return base;
    }
    let empty = Vec::new();
    let exceptions = channel["permission_overwrites"].as_array().unwrap_or(&empty);
    let of = |who: &dyn Fn(&str) -> bool| {
        let fitting = exceptions.iter().filter(|exception| exception["id"].as_str().is_some_and(who));
        fitting.fold((0, 0), |(allow, deny), exception| (allow | bits(&exception["allow"]), deny | bits(&exception["deny"])))
    };
    let layers = [of(&|id| id == guild), of(&|id| held.contains(&id)), of(&|id| id == member)];
    layers.into_iter().fold(base, |permissions, (allow, deny)| permissions & !deny | allow)
}

/// All that the bot is invited with.
pub(super) fn invited() -> u64 {
    NEEDED.iter().chain(&FOR_INCIDENTS).map(|(_, bit)| bit).sum()
}

/// The names of what is needed and not there.
pub(super) fn missing(permissions: u64) -> Vec<&'static str> {
    absent(&NEEDED, permissions)
}

/// The same for what incidents need besides.
pub(super) fn missing_for_incidents(permissions: u64) -> Vec<&'static str> {
    absent(&FOR_INCIDENTS, permissions)
}

fn absent(wanted: &[(&'static str, u64)], permissions: u64) -> Vec<&'static str> {
    wanted.iter().filter(|(_, bit)| permissions & bit == 0).map(|(name, _)| *name).collect()
}

/// The same for a channel; empty if the bot does not see it, which then is not meant for it.
pub(super) fn missing_in_sight(permissions: u64) -> Vec<&'static str> {
    if permissions & VIEW_CHANNEL == 0 { Vec::new() } else { missing(permissions) }
}

fn bits(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_needed_permissions_are_those_of_the_invitation() {
        let sum = invited();
        assert!(include_str!("../../docs/settings.md").contains(&format!("permissions={sum}")));
    }

    #[test]
    fn exceptions_are_applied_from_the_widest_to_the_narrowest() {
        let roles = [json!({ "id": "1", "permissions": "3072" }), json!({ "id": "5", "permissions": "64" })];
        let base = in_guild("1", &roles, &["5"]);
        assert_eq!(base, 3072 | 64);
        let channel = json!({ "permission_overwrites": [
            { "id": "9", "allow": "2048", "deny": "0" },
            { "id": "5", "allow": "0", "deny": "2048" },
            { "id": "1", "allow": "0", "deny": "64" },
            { "id": "6", "allow": "8388608", "deny": "1024" },
        ]});
        assert_eq!(in_channel("1", base, "9", &["5"], &channel), 3072);
        assert_eq!(in_channel("1", base, "8", &["5"], &channel), 1024);
        assert_eq!(missing_in_sight(0), Vec::<&str>::new());
        assert!(missing_in_sight(1024).contains(&"Send Messages"));
    }

    #[test]
    fn an_administrator_may_do_everything() {
        let base = in_guild("1", &[json!({ "id": "5", "permissions": "8" })], &["5"]);
        assert!(missing(base).is_empty());
        let closed = json!({ "permission_overwrites": [{ "id": "1", "allow": "0", "deny": "1024" }] });
        assert!(missing(in_channel("1", base, "9", &["5"], &closed)).is_empty());
    }
}

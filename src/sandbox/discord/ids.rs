//! Typed snowflakes, and the generator that hands them out.

use twilight_model::id::{Id, marker};

use crate::domain::Timestamp;

/// Names the application (the bot as a product).
pub type ApplicationId = Id<marker::ApplicationMarker>;
/// Names an attachment of one message.
pub type AttachmentId = Id<marker::AttachmentMarker>;
/// Names a channel, a category or a thread.
pub type ChannelId = Id<marker::ChannelMarker>;
/// Names a registered command.
pub type CommandId = Id<marker::CommandMarker>;
/// Names a scheduled event of the guild.
pub type EventId = Id<marker::ScheduledEventMarker>;
/// Names the guild (what users call the server).
pub type GuildId = Id<marker::GuildMarker>;
/// Names one use of a command, button, select, modal or completion.
pub type InteractionId = Id<marker::InteractionMarker>;
/// Names a message.
pub type MessageId = Id<marker::MessageMarker>;
/// Names a role. The role `@everyone` has the guild's id.
pub type RoleId = Id<marker::RoleMarker>;
/// Names a person or the bot.
pub type UserId = Id<marker::UserMarker>;

/// Discord's epoch, 2015-01-01T00:00:00Z, in milliseconds since 1970.
/// Source: <https://discord.com/developers/docs/reference#snowflakes>.
const EPOCH_MILLIS: i64 = 1_420_070_400_000;

/// 2024-01-01T00:00:00Z: when the guild, its roles, channels and people are said to have been made.
/// Fixed, so that the ids of one world are the same in every run and can stand in settings.
const WORLD_MADE_MILLIS: i64 = 1_704_067_200_000;

/// Hands out snowflakes: strictly rising, carrying the model's time, whatever its clock does.
#[derive(Debug)]
pub(super) struct Snowflakes {
    last: u64,
}

impl Snowflakes {
    /// A generator whose first ids belong to the world itself.
    pub(super) fn new() -> Self {
        Self { last: at_millis(WORLD_MADE_MILLIS) }
    }

    /// The next id of the world's own things, the same in every run.
    pub(super) fn fixed<T>(&mut self) -> Id<T> {
        self.last += 1;
        Id::new(self.last)
    }

    /// The next id for something made at `now`.
    pub(super) fn next<T>(&mut self, now: Timestamp) -> Id<T> {
        self.last = at_millis(now.timestamp_millis()).max(self.last + 1);
        Id::new(self.last)
    }
}

fn at_millis(unix_millis: i64) -> u64 {
    u64::try_from(unix_millis - EPOCH_MILLIS).unwrap_or(0) << 22
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    #[test]
    fn snowflakes_rise_even_when_the_clock_goes_back() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a valid instant");
        let mut snowflakes = Snowflakes::new();
        let world: GuildId = snowflakes.fixed();
        let first: MessageId = snowflakes.next(now);
        let second: MessageId = snowflakes.next(now - TimeDelta::hours(1));
        assert!(world.get() < first.get() && first.get() < second.get());
        assert_eq!((first.get() >> 22) as i64 + EPOCH_MILLIS, now.timestamp_millis());
    }
}

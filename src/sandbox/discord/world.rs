//! What the guild looks like before anything happens: roles, channels, people, and the bot's standing.

use std::time::Duration;

use twilight_model::guild::Permissions;

/// The bot's token unless a world sets another. It opens nothing but this model.
pub const TOKEN: &str = "sandbox.token.not-a-secret";

/// What the members of a small operations guild may do: read, write, react, use commands, open threads.
pub const EVERYONE: Permissions = Permissions::VIEW_CHANNEL
    .union(Permissions::SEND_MESSAGES)
    .union(Permissions::SEND_MESSAGES_IN_THREADS)
    .union(Permissions::READ_MESSAGE_HISTORY)
    .union(Permissions::ADD_REACTIONS)
    .union(Permissions::EMBED_LINKS)
    .union(Permissions::ATTACH_FILES)
    .union(Permissions::CREATE_PUBLIC_THREADS)
    .union(Permissions::USE_SLASH_COMMANDS);

/// What the bot is given at its invitation: what an operations bot needs, never `ADMINISTRATOR`.
pub const BOT: Permissions = EVERYONE
    .union(Permissions::MANAGE_CHANNELS)
    .union(Permissions::MANAGE_MESSAGES)
    .union(Permissions::MANAGE_THREADS)
    .union(Permissions::MANAGE_ROLES)
    .union(Permissions::PIN_MESSAGES)
    .union(Permissions::CREATE_PRIVATE_THREADS)
    .union(Permissions::MENTION_EVERYONE)
    .union(Permissions::MANAGE_EVENTS)
    .union(Permissions::CREATE_EVENTS);

/// The guild to start with. Build it, then hand it to [`Model::start`](super::Model::start).
///
/// Ids are given in the order of the calls and are the same in every run.
#[derive(Debug, Clone)]
pub struct World {
    pub(super) guild: String,
    pub(super) roles: Vec<RoleSpec>,
    pub(super) channels: Vec<ChannelSpec>,
    pub(super) personas: Vec<PersonaSpec>,
    pub(super) everyone: Permissions,
    pub(super) bot_name: String,
    pub(super) bot_permissions: Permissions,
    pub(super) settings: Settings,
}

#[derive(Debug, Clone)]
pub(super) struct RoleSpec {
    pub(super) name: String,
    pub(super) permissions: Permissions,
}

#[derive(Debug, Clone)]
pub(super) struct ChannelSpec {
    pub(super) name: String,
    pub(super) category: bool,
    pub(super) parent: Option<String>,
    /// Roles that alone may see it; empty for everyone.
    pub(super) only: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct PersonaSpec {
    pub(super) name: String,
    pub(super) display_name: String,
    pub(super) roles: Vec<String>,
    pub(super) bot: bool,
}

/// How strict and how fast the model is. Every default is Discord's own value.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) token: String,
    /// Privileged intents switched on in the developer portal: GUILD_MEMBERS, GUILD_PRESENCES, MESSAGE_CONTENT bits.
    pub(super) privileged_intents: u64,
    pub(super) rate_limits: bool,
    pub(super) rename_window: Duration,
    pub(super) nonce_window: Duration,
    pub(super) answer_within: Duration,
    pub(super) heartbeat_interval: Duration,
    pub(super) session_kept: usize,
}

impl World {
    /// An empty guild of this name, with the bot in it as `Pointsman`, permissions [`BOT`].
    #[must_use]
    pub fn new(guild: &str) -> Self {
        Self {
            guild: guild.to_owned(),
            roles: Vec::new(),
            channels: Vec::new(),
            personas: Vec::new(),
            everyone: EVERYONE,
            bot_name: "Pointsman".to_owned(),
            bot_permissions: BOT,
            settings: Settings {
                token: TOKEN.to_owned(),
                privileged_intents: 0,
                rate_limits: true,
                rename_window: Duration::from_secs(600),
                nonce_window: Duration::from_secs(180),
                answer_within: Duration::from_secs(3),
                heartbeat_interval: Duration::from_millis(41_250),
                session_kept: 10_000,
            },
        }
    }

    /// The guild that the demo and most tests use: roles `operator`, `operations_lead`, `dba`, `security`,
    /// `moderator`; channels `#ops`, `#incidents-fallback`, `#announcements`, categories `Incidents` and
    /// `Archive`, and the private `#leads`; personas olivia (operator), leo (operations lead),
    /// dana (dba), sam (security), mia (moderator), and noor, who holds no role.
    #[must_use]
    pub fn operations() -> Self {
        let moderate = Permissions::MANAGE_MESSAGES | Permissions::MANAGE_THREADS | Permissions::MANAGE_CHANNELS;
        Self::new("Night Shift")
            .role("operator")
            .role("operations_lead")
            .role("dba")
            .role("security")
            .role_with("moderator", moderate)
            .channel("ops")
            .channel("incidents-fallback")
            .channel("announcements")
            .category("Incidents")
            .category("Archive")
            .private_channel("leads", &["operations_lead"])
            .persona("olivia", "Olivia", &["operator"])
            .persona("leo", "Leo", &["operator", "operations_lead"])
            .persona("dana", "Dana", &["dba"])
            .persona("sam", "Sam", &["security"])
            .persona("mia", "Mia", &["moderator"])
            .persona("noor", "Noor", &[])
    }

    /// Adds a role without permissions of its own. Later roles stand higher; the bot's stands highest.
    #[must_use]
    pub fn role(self, name: &str) -> Self {
        self.role_with(name, Permissions::empty())
    }

    /// Adds a role with permissions.
    #[must_use]
    pub fn role_with(mut self, name: &str, permissions: Permissions) -> Self {
        self.roles.push(RoleSpec { name: name.to_owned(), permissions });
        self
    }

    /// Adds a text channel outside any category.
    #[must_use]
    pub fn channel(self, name: &str) -> Self {
        self.add_channel(name, false, None, &[])
    }

    /// Adds a text channel inside the category `category`, which must have been added before.
    #[must_use]
    pub fn channel_in(self, category: &str, name: &str) -> Self {
        self.add_channel(name, false, Some(category), &[])
    }

    /// Adds a text channel that only the holders of `roles`, and the bot, can see.
    #[must_use]
    pub fn private_channel(self, name: &str, roles: &[&str]) -> Self {
        self.add_channel(name, false, None, roles)
    }

    /// Adds a category.
    #[must_use]
    pub fn category(self, name: &str) -> Self {
        self.add_channel(name, true, None, &[])
    }

    fn add_channel(mut self, name: &str, category: bool, parent: Option<&str>, only: &[&str]) -> Self {
        self.channels.push(ChannelSpec {
            name: name.to_owned(),
            category,
            parent: parent.map(ToOwned::to_owned),
            only: only.iter().map(|&role| role.to_owned()).collect(),
        });
        self
    }

    /// Adds a person with a unique `name`, the name others see, and roles by name.
    #[must_use]
    pub fn persona(mut self, name: &str, display_name: &str, roles: &[&str]) -> Self {
        let roles = roles.iter().map(|&role| role.to_owned()).collect();
        let (name, display_name) = (name.to_owned(), display_name.to_owned());
        self.personas.push(PersonaSpec { name, display_name, roles, bot: false });
        self
    }

    /// Adds another bot, whose votes must never count.
    #[must_use]
    pub fn other_bot(mut self, name: &str, roles: &[&str]) -> Self {
        self = self.persona(name, name, roles);
        if let Some(persona) = self.personas.last_mut() {
            persona.bot = true;
        }
        self
    }

    /// Sets what the bot's own role may do.
    #[must_use]
    pub fn bot_permissions(mut self, permissions: Permissions) -> Self {
        self.bot_permissions = permissions;
        self
    }

    /// Sets what every member may do.
    #[must_use]
    pub fn everyone_permissions(mut self, permissions: Permissions) -> Self {
        self.everyone = permissions;
        self
    }

    /// Sets the token that the bot must show.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.settings.token);
        self
    }

    /// Switches privileged intents on, as in the developer portal (all off unless set).
    #[must_use]
    pub fn privileged_intents(mut self, intents: twilight_model::gateway::Intents) -> Self {
        self.settings.privileged_intents = intents.bits();
        self
    }

    /// Switches the rate limits off, for tests that are about something else and post a lot.
    #[must_use]
    pub fn without_rate_limits(mut self) -> Self {
        self.settings.rate_limits = false;
        self
    }

    /// Sets the window of the two renames per channel (Discord: 600 s), in wall time.
    #[must_use]
    pub fn rename_window(mut self, window: Duration) -> Self {
        self.settings.rename_window = window;
        self
    }

    /// Sets how long an enforced nonce is remembered (Discord: "a few minutes"), in wall time.
    #[must_use]
    pub fn nonce_window(mut self, window: Duration) -> Self {
        self.settings.nonce_window = window;
        self
    }

    /// Sets how soon an interaction must be answered (Discord: 3 s), in wall time.
    #[must_use]
    pub fn answer_within(mut self, limit: Duration) -> Self {
        self.settings.answer_within = limit;
        self
    }

    /// Sets the heartbeat interval that the gateway asks for (Discord: about 41 s).
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.settings.heartbeat_interval = interval;
        self
    }
}

//! Ids and names. Names are validated where they enter; snowflakes never travel as bare numbers.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {rule}")]
pub struct InvalidName {
    /// What was expected, e.g. "step name".
    pub what: &'static str,
    /// The text as given.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

const NAME_RULE: &str = "use 1 to 40 lower-case letters, digits, `-` and `_`, starting with a letter or digit";
const ACTION_RULE: &str = "use two lower-case words with a dot between, such as `sql.query`";

/// The longest name: with its prefix it still fits Discord's limits for labels and `custom_id`s.
const NAME_LEN_MAX: usize = 40;

fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty()
        && text.len() <= NAME_LEN_MAX
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || c == '-' || c == '_')
}

fn is_action_name(text: &str) -> bool {
    text.split_once('.').is_some_and(|(family, verb)| is_name(family) && is_name(verb))
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $test:path, $rule:expr, $pattern:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String", extend("pattern" = $pattern))]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if $test(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { what: $what, text: text.to_owned(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// The name of a runbook, unique in the catalog.
    RunbookName, "runbook name", is_name, NAME_RULE, "^[a-z0-9][a-z0-9_-]{0,39}$";
    /// The name of a phase, unique in its runbook.
    PhaseName, "phase name", is_name, NAME_RULE, "^[a-z0-9][a-z0-9_-]{0,39}$";
    /// The name of a step, unique in its runbook, rollbacks included.
    StepName, "step name", is_name, NAME_RULE, "^[a-z0-9][a-z0-9_-]{0,39}$";
    /// The name of a rollback, unique in its runbook.
    RollbackName, "rollback name", is_name, NAME_RULE, "^[a-z0-9][a-z0-9_-]{0,39}$";
    /// The name of a role as runbooks use it; the settings map it to a Discord role.
    RoleName, "role name", is_name, NAME_RULE, "^[a-z0-9][a-z0-9_-]{0,39}$";
    /// The name of a target (a database, a cluster) in its runbook.
    TargetName, "target name", is_name, NAME_RULE, "^[a-z0-9][a-z0-9_-]{0,39}$";
    /// The name of a parameter in its runbook.
    ParameterName, "parameter name", is_name, NAME_RULE, "^[a-z0-9][a-z0-9_-]{0,39}$";
    /// What a step does, e.g. `sql.query`.
    ActionName, "action name", is_action_name, ACTION_RULE, "^[a-z0-9][a-z0-9_-]{0,39}\\.[a-z0-9][a-z0-9_-]{0,39}$";
    /// One execution of a runbook, e.g. `run-k3f9w2mx`.
    RunId, "run id", is_run_id, "a run id looks like `run-k3f9w2mx`", "^run-[0-9a-hjkmnp-tv-z]{8}$";
}

const RUN_ID_PREFIX: &str = "run-";
/// Random characters of a run id: 40 bits, so that a thousand runs collide with odds below one in a million.
const RUN_ID_CHARS: usize = 8;
/// No `i`, `l`, `o`, `u`: an id is read aloud in a war room.
const RUN_ID_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn is_run_id(text: &str) -> bool {
    text.strip_prefix(RUN_ID_PREFIX)
        .is_some_and(|rest| rest.len() == RUN_ID_CHARS && rest.bytes().all(|b| RUN_ID_ALPHABET.contains(&b)))
}

impl RunId {
    /// The run id made of the low 40 of `random`'s bits.
    #[must_use]
    pub fn from_random(random: u64) -> Self {
        let chars = (0..RUN_ID_CHARS).map(|i| char::from(RUN_ID_ALPHABET[(random >> (i * 5)) as usize & 31]));
        Self(RUN_ID_PREFIX.chars().chain(chars).collect())
    }
}

macro_rules! snowflakes {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(u64);

        impl $name {
            /// The id as Discord counts.
            #[must_use]
            pub const fn new(id: u64) -> Self {
                Self(id)
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                match text.parse() {
                    Ok(0) | Err(_) => Err(InvalidName {
                        what: "Discord id",
                        text: text.to_owned(),
                        rule: "a Discord id is a number of 17 to 20 digits (in Discord: Developer Mode, then Copy ID)",
                    }),
                    Ok(id) => Ok(Self(id)),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

snowflakes! {
    /// A Discord user.
    UserId;
    /// A Discord role.
    RoleId;
    /// A Discord channel or thread.
    ChannelId;
    /// A Discord message.
    MessageId;
    /// A Discord server.
    GuildId;
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRef {
    /// The channel or thread.
    pub channel: ChannelId,
    /// The message in it.
    pub message: MessageId,
}

/// Somebody who acted, as they were at that moment: evidence, not a reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Their Discord id.
    pub id: UserId,
    /// Their display name at that time.
    pub name: String,
    /// The runbook roles that they held at that time; Discord roles that no runbook names are left out.
    pub roles: BTreeSet<RoleName>,
    /// Bots never count for anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bot: bool,
}

impl Person {
    /// Whether this person holds at least one of `roles`.
    pub fn holds_any<'a>(&self, roles: impl IntoIterator<Item = &'a RoleName>) -> bool {
        !self.bot && roles.into_iter().any(|role| self.roles.contains(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_made_of_random_bits_reads_back() {
        for random in [0, 1, u64::MAX, 0xdead_beef_cafe] {
            let id = RunId::from_random(random);
            assert_eq!(id.as_str().parse::<RunId>(), Ok(id.clone()));
        }
    }

    #[test]
    fn names_are_refused_with_the_rule() {
        assert!("Backup DB".parse::<StepName>().unwrap_err().to_string().contains("lower-case"));
        assert!("sql".parse::<ActionName>().is_err());
        assert!("".parse::<PhaseName>().is_err());
        assert!("0".parse::<UserId>().is_err());
    }
}

//! What somebody may do here, and why not.

use super::message::{Colour, Embed, Message};
use super::text::{code, person, roles};
use crate::domain::{Person, RoleName};

/// What is known of the caller.
#[derive(Debug, Clone)]
pub struct Whoami<'a> {
    /// Who asks.
    pub person: &'a Person,
    /// Every verb, in the order of the definitions.
    pub verbs: Vec<Allowed>,
    /// The roles of the settings, so that those the caller lacks can be named.
    pub known: &'a [RoleName],
}

/// A verb and whether the caller may use it.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// As it is typed, e.g. `/migrate start`.
    pub verb: String,
    /// Who may; empty for everybody.
    pub allow: Vec<RoleName>,
}

/// The page.
#[must_use]
pub fn whoami(who: &Whoami<'_>) -> Message {
    let held = if who.person.roles.is_empty() {
        "You hold none of the roles that runbooks name.".to_owned()
    } else {
        format!("You hold {}.", roles(&who.person.roles))
    };
    let mut embed = Embed {
        title: "Who am I".to_owned(),
        description: format!("{}\n{held}", person(who.person)),
        colour: Colour::Blue,
        ..Embed::default()
    };
    let may = |allowed: &&Allowed| allowed.allow.is_empty() || who.person.holds_any(&allowed.allow);
    let line = |allowed: &Allowed| code(&allowed.verb);
    let why = |allowed: &Allowed| format!("{}: takes {}", code(&allowed.verb), roles(&allowed.allow));
    embed.field("You may", &who.verbs.iter().filter(may).map(line).collect::<Vec<_>>());
    embed.field("You may not", &who.verbs.iter().filter(|allowed| !may(allowed)).map(why).collect::<Vec<_>>());
    let lacking: Vec<&RoleName> = who.known.iter().filter(|role| !who.person.roles.contains(*role)).collect();
    if !lacking.is_empty() {
        embed.field("Roles you lack", &[format!("{}; the settings map them to Discord roles", roles(lacking))]);
    }
    Message::framed(embed).fitted()
}

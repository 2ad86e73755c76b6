//! Which incident is meant, who may see it, and telling it something.

use std::sync::Arc;

use super::reply::Replier;
use super::{Caller, Interactions};
use crate::discord::chat::view;
use crate::discord::rest::Trouble;
use crate::domain::command::Verb;
use crate::domain::incident::{IncidentId, Input, Opener, State};
use crate::domain::{ChannelId, Person, RunId};
use crate::engine::{IncidentError, IncidentSnapshot};
use crate::render::{Message, View, incident, rejection, text};

/// A refusal, boxed because it is large and seldom.
pub(super) type Refused<T> = Result<T, Box<Message>>;

const LISTED: &str = "`/incident status` lists the incidents.";

impl Interactions {
    /// The incident that is meant: the one named, or that of the channel.
    pub(super) fn incident_meant(&self, named: Option<&str>, caller: &Caller) -> Refused<IncidentSnapshot> {
        let Some(named) = named else { return self.incident_here(caller) };
        let known = named.parse().ok().and_then(|id| self.incidents.incident(&id));
        // Somebody who may not see it learns no more than that of one that never was.
        known.filter(|incident| may_see(&incident.state, caller)).ok_or_else(|| Box::new(unknown(named)))
    }

    /// The incident of the channel.
    pub(super) fn incident_here(&self, caller: &Caller) -> Refused<IncidentSnapshot> {
        // The fallback channel may be home to several.
        let open: Vec<IncidentId> =
            self.open_here(caller.channel).filter(|state| may_see(state, caller)).map(|state| *state.id()).collect();
        if open.len() > 1 {
            let names: Vec<String> = open.iter().map(|id| format!("`{id}`")).collect();
            let why = format!("several open incidents live in this channel: {}", names.join(", "));
            return Err(Box::new(rejection::refused(&why, "Name the one you mean with `incident:`.")));
        }
        let here = open.first().copied().or_else(|| self.incidents.incident_in_channel(caller.channel));
        let here = here.and_then(|id| self.incidents.incident(&id)).filter(|incident| may_see(&incident.state, caller));
        here.ok_or_else(|| {
            let next = format!("Name the incident with `incident:`, or use the command in its channel. {LISTED}");
            Box::new(rejection::refused("this is not an incident's channel", &next))
        })
    }

    fn open_here(&self, channel: ChannelId) -> impl Iterator<Item = Arc<State>> + use<> {
        let here = move |state: &Arc<State>| state.channel == Some(channel) && state.is_open();
        self.incidents.incidents().into_iter().map(|incident| incident.state).filter(here)
    }

    /// The live runs of the incidents that live in this channel, each once.
    pub(super) fn runs_here(&self, channel: ChannelId) -> Vec<RunId> {
        let mut incidents: Vec<IncidentId> = self.open_here(channel).map(|state| *state.id()).collect();
        if incidents.is_empty() {
            incidents.extend(self.incidents.incident_in_channel(channel));
        }
        let mut runs: Vec<RunId> = Vec::new();
        for run in incidents.iter().filter_map(|id| self.incidents.incident(id)).flat_map(|incident| incident.runs) {
            if run.state.end.is_none() && !runs.contains(run.state.id()) {
                runs.push(run.state.id().clone());
            }
        }
        runs
    }

    /// The run of this thread, or else the one live run of the channel's incident.
    pub(super) fn run_here(&self, channel: ChannelId) -> Refused<RunId> {
        if let Some(run) = self.runs.run_in_thread(channel) {
            return Ok(run);
        }
        let mut live = self.runs_here(channel);
        match live.len() {
            1 => Ok(live.remove(0)),
            0 => {
                let next = "Name the run with `run:`, or use the command in its thread.";
                let why = "this is neither a run's thread nor the channel of an incident with a live run";
                Err(Box::new(rejection::refused(why, next)))
            }
            _ => {
                let names: Vec<String> = live.iter().map(|run| format!("`{run}`")).collect();
                let why = format!("several live runs belong to this incident: {}", names.join(", "));
                Err(Box::new(rejection::refused(&why, "Name the one you mean with `run:`.")))
            }
        }
    }

    /// Hands an input to an incident. `None` if it was taken in.
    pub(super) async fn tell_incident(&self, incident: &IncidentId, input: Input) -> Option<Message> {
        self.incidents.tell(incident, input).await.err().map(|error| not_taken(&error, incident))
    }

    /// Finds the incident, defers, hands it an input and answers `done`, made from the incident as it then stands.
    pub(super) async fn tell_and_answer(
        &self,
        replier: &Replier,
        caller: &Caller,
        named: Option<&str>,
        input: Input,
        done: impl FnOnce(&IncidentSnapshot) -> String,
    ) -> Result<(), Trouble> {
        let incident = match self.incident_meant(named, caller) {
            Ok(incident) => incident,
            Err(refusal) => return replier.say(&refusal).await,
        };
        replier.defer().await?;
        let id = *incident.state.id();
        let answer = match self.tell_incident(&id, input).await {
            Some(refusal) => refusal,
            None => {
                let now = self.incidents.incident(&id).unwrap_or(incident);
                Message::plain(format!("👍 {} {}", text::code(&id.to_string()), done(&now)))
            }
        };
        replier.then(&answer).await
    }

    /// Shows an incident to whoever renders it.
    pub(super) fn look<T>(&self, snapshot: &IncidentSnapshot, look: impl FnOnce(incident::View<'_>) -> T) -> T {
        let runs: Vec<View<'_>> = snapshot.runs.iter().map(view).collect();
        look(incident::View {
            state: &snapshot.state,
            head: &snapshot.head,
            runs: &runs,
            guild: self.settings.guild,
            now: snapshot.now,
        })
    }

    /// Refuses whoever holds no role of a command that does this: buttons and forms are doors to the same rooms.
    pub(super) fn forbidden(&self, caller: &Caller, wanted: impl Fn(&Verb) -> bool) -> Option<Message> {
        let commands = self.definitions.commands();
        let own = commands.iter().filter_map(|command| Some((&command.allow, command.verb.as_ref()?)));
        let subs = commands.iter().flat_map(|command| &command.subcommands).map(|sub| (&sub.allow, &sub.verb));
        let mut doors = own.chain(subs).filter(|(_, verb)| wanted(verb)).map(|(allow, _)| allow);
        let open = doors.any(|allow| allow.is_empty() || caller.person.holds_any(allow));
        (!open).then(|| rejection::refused("you hold no role that may do this", "`/whoami` shows what you may do."))
    }
}

/// Whether somebody may see an incident: everybody one that is not private; else whoever opened it, responds to it, holds
/// one of the roles that its policy names, or stands in its own channel, into which Discord lets nobody else.
pub(super) fn may_see(state: &State, caller: &Caller) -> bool {
    let Person { id, .. } = caller.person;
    let opened = matches!(&state.opened.by, Opener::Person(person) if person.id == id);
    !state.opened.private
        || opened
        || state.roles.values().any(|person| person.id == id)
        || caller.person.holds_any(&state.policy().private_roles)
        || (state.has_own_channel() && state.channel == Some(caller.channel))
}

/// Why an incident was not opened, or did not take something in, for people.
pub(super) fn not_taken(error: &IncidentError, incident: &dyn std::fmt::Display) -> Message {
    match error {
        IncidentError::Rejected(rejected) => incident::rejected(rejected),
        IncidentError::Unknown => unknown(&incident.to_string()),
        IncidentError::Unavailable(_) => {
            let next = "Nothing may have changed: look at the incident with `/incident status`, then try again.";
            rejection::refused(&error.to_string(), next)
        }
    }
}

fn unknown(name: &str) -> Message {
    rejection::refused(&format!("there is no incident `{}`", name.replace('`', "'")), LISTED)
}

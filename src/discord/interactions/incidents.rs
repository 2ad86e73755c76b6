//! Verbs about an incident: open, update, note, severity, role, acknowledge, status, timeline, resolve; preview, publish and
//! add-action of its post-mortem; "Add to timeline" on a message.

use chrono::NaiveDate;
use serenity::all::{CommandInteraction, Message as DiscordMessage, ResolvedTarget};

use super::in_incident::{may_see, not_taken};
use super::reply::Replier;
use super::{Caller, Interactions};
use crate::discord::rest::Trouble;
use crate::domain::command::{OnIncident, TextOnIncident};
use crate::domain::incident::{Input, OpenRequest, Opener, ResponderRole, Severity};
use crate::domain::{ChannelId, MessageId, MessageRef, Person, RunId, run};
use crate::engine::IncidentSnapshot;
use crate::render::incident::status::SetAside;
use crate::render::{Attachment, Message, incident, rejection, text};

/// An opening as the command's texts came out.
pub(super) struct Wish {
    pub(super) title: String,
    pub(super) severity: String,
    pub(super) customer_facing: Option<String>,
    pub(super) private: Option<String>,
}

/// An action item as the command's texts came out.
pub(super) struct Action {
    pub(super) title: String,
    pub(super) owner: String,
    pub(super) due: String,
}

impl Interactions {
    pub(super) async fn open_incident(&self, replier: &Replier, caller: &Caller, wish: Wish) -> Result<(), Trouble> {
        let run = self.runs.run_in_thread(caller.channel);
        let request = match request(wish, caller, run.clone()) {
            Ok(request) => request,
            Err(why) => return replier.say(&rejection::refused(&why, "Nothing was opened.")).await,
        };
        replier.defer().await?;
        let of_run = |incident: &IncidentSnapshot| run.is_some() && incident.state.run() == run.as_ref();
        let known = self.incidents.incidents().into_iter().find(of_run);
        let answer = match self.incidents.open(request).await {
            Ok(id) => {
                if let Some(run) = &run {
                    self.link(run, id).await;
                }
                let is_new = known.is_none_or(|known| *known.state.id() != id);
                self.incidents
                    .incident(&id)
                    .map_or_else(|| not_taken(&crate::engine::IncidentError::Unknown, &id), |now| opened(&now, is_new))
            }
            Err(error) => not_taken(&error, &"none"),
        };
        replier.then(&answer).await
    }

    /// Tells a run of the incident that a person opened about it. The incident knows already, so that a refusal, for
    /// instance because the run has ended, loses nothing.
    async fn link(&self, run: &RunId, incident: crate::domain::incident::IncidentId) {
        if let Err(error) = self.runs.send(run, run::Input::IncidentOpened(incident)).await {
            tracing::info!(%run, %incident, %error, "the run did not take in its incident");
        }
    }

    pub(super) async fn update_incident(&self, replier: &Replier, caller: &Caller, said: TextOnIncident) -> Result<(), Trouble> {
        let input = Input::Update { by: caller.person.clone(), text: said.text };
        let done = |now: &IncidentSnapshot| match now.state.beat {
            Some(beat) => format!("has its update. The next one is due <t:{}:R>.", beat.next.timestamp()),
            None => "has its update. None is due by itself at this severity.".to_owned(),
        };
        self.tell_and_answer(replier, caller, said.incident.as_deref(), input, done).await
    }

    pub(super) async fn note_on_incident(&self, replier: &Replier, caller: &Caller, said: TextOnIncident) -> Result<(), Trouble> {
        let input = Input::Note { by: caller.person.clone(), text: said.text };
        let done = |_: &IncidentSnapshot| "has it on its timeline.".to_owned();
        self.tell_and_answer(replier, caller, said.incident.as_deref(), input, done).await
    }

    pub(super) async fn change_severity(
        &self,
        replier: &Replier,
        caller: &Caller,
        named: Option<&str>,
        severity: &str,
        reason: String,
    ) -> Result<(), Trouble> {
        let to: Severity = match severity.parse() {
            Ok(severity) => severity,
            Err(unknown) => {
                let why = crate::domain::incident::UnknownSeverity::to_string(&unknown);
                return replier.say(&rejection::refused(&why, "Nothing was changed.")).await;
            }
        };
        let input = Input::ChangeSeverity { to, by: caller.person.clone(), reason };
        let done = |now: &IncidentSnapshot| {
            let cadence = now.state.beat.map_or_else(
                || "no status update is due by itself".to_owned(),
                |beat| format!("a status update is due every {}", beat.every),
            );
            format!("is {} from now on: {cadence}.", now.state.severity)
        };
        self.tell_and_answer(replier, caller, named, input, done).await
    }

    /// `person` is `None` if the one named is not a member.
    pub(super) async fn take_role(
        &self,
        replier: &Replier,
        caller: &Caller,
        named: Option<&str>,
        role: &str,
        person: Option<Person>,
    ) -> Result<(), Trouble> {
        let Some(role) = ResponderRole::ALL.into_iter().find(|known| known.as_str() == role) else {
            let why = format!("`{}` is not a role in the response", role.replace('`', "'"));
            return replier.say(&rejection::refused(&why, "Choose `commander`, `communications` or `scribe`.")).await;
        };
        let Some(person) = person.filter(|person| !person.bot) else {
            let why = "only a member of this server who is not a bot can have a role";
            return replier.say(&rejection::refused(why, "Choose somebody else, or leave `person:` out to take it.")).await;
        };
        let name = text::escape(&person.name);
        let input = Input::TakeRole { role, person, by: caller.person.clone() };
        let done = |_: &IncidentSnapshot| format!("has {name} as its {role}.");
        self.tell_and_answer(replier, caller, named, input, done).await
    }

    pub(super) async fn acknowledge_incident(&self, replier: &Replier, caller: &Caller, on: OnIncident) -> Result<(), Trouble> {
        let input = Input::Acknowledge { by: caller.person.clone() };
        let done = |_: &IncidentSnapshot| "is acknowledged: nobody else is woken. `/incident role` takes the command.".to_owned();
        self.tell_and_answer(replier, caller, on.incident.as_deref(), input, done).await
    }

    /// Where an incident stands; outside of their channels and without a name, all of them.
    pub(super) async fn incident_status(&self, replier: &Replier, caller: &Caller, on: OnIncident) -> Result<(), Trouble> {
        let named = on.incident.as_deref();
        let stuck = self.incidents.stuck_incidents();
        let set_aside: Vec<SetAside<'_>> =
            stuck.iter().map(|stuck| SetAside { incident: &stuck.incident, why: &stuck.why }).collect();
        match self.incident_meant(named, caller) {
            Ok(snapshot) => {
                let why = set_aside.iter().find(|stuck| stuck.incident == snapshot.state.id()).map(|stuck| stuck.why);
                replier.say(&self.look(&snapshot, |view| incident::status::one(view, why))).await
            }
            Err(refusal) if named.is_some() => {
                // Of one whose first record cannot be read nothing else can be shown.
                let unread = |stuck: &&SetAside<'_>| {
                    named == Some(&*stuck.incident.to_string()) && self.incidents.incident(stuck.incident).is_none()
                };
                match set_aside.iter().find(unread) {
                    Some(stuck) => replier.say(&incident::status::list(&[], &[*stuck])).await,
                    None => replier.say(&refusal).await,
                }
            }
            Err(_) => {
                let (open, over): (Vec<_>, Vec<_>) =
                    self.incidents.incidents().into_iter().partition(|known| known.state.is_open());
                let all: Vec<IncidentSnapshot> = open.into_iter().chain(over).collect();
                let rows: Vec<incident::View<'_>> = all.iter().map(|snapshot| self.row(snapshot)).collect();
                replier.say(&incident::status::list(&rows, &set_aside)).await
            }
        }
    }

    /// An incident for a list, which shows nothing of its runs.
    fn row<'a>(&self, snapshot: &'a IncidentSnapshot) -> incident::View<'a> {
        let guild = self.settings.guild;
        incident::View { state: &snapshot.state, head: &snapshot.head, runs: &[], guild, now: snapshot.now }
    }

    pub(super) async fn incident_timeline(&self, replier: &Replier, caller: &Caller, on: OnIncident) -> Result<(), Trouble> {
        match self.incident_meant(on.incident.as_deref(), caller) {
            Ok(snapshot) => replier.say(&self.look(&snapshot, incident::status::timeline)).await,
            Err(refusal) => replier.say(&refusal).await,
        }
    }

    pub(super) async fn resolve_incident(&self, replier: &Replier, caller: &Caller, said: TextOnIncident) -> Result<(), Trouble> {
        let input = Input::Resolve { by: caller.person.clone(), summary: said.text };
        let done = |_: &IncidentSnapshot| {
            "is resolved. The post-mortem's card in its channel asks for what only people know.".to_owned()
        };
        self.tell_and_answer(replier, caller, said.incident.as_deref(), input, done).await
    }

    /// The text that the issue has or would have, as a file: it is longer than a message.
    pub(super) async fn preview_post_mortem(&self, replier: &Replier, caller: &Caller, on: OnIncident) -> Result<(), Trouble> {
        let snapshot = match self.incident_meant(on.incident.as_deref(), caller) {
            Ok(snapshot) => snapshot,
            Err(refusal) => return replier.say(&refusal).await,
        };
        replier.defer().await?;
        let id = *snapshot.state.id();
        let answer = match self.incidents.dossier(&id).await {
            Ok(dossier) => {
                let text = (self.settings.post_mortem)(&dossier);
                let content =
                    format!("📋 The post-mortem of {} as it stands now. Only you see this.", text::code(&id.to_string()));
                let attachments = vec![Attachment::Text { name: format!("post-mortem-{id}.md"), text }];
                Message { content, attachments, ..Message::default() }
            }
            Err(error) => not_taken(&error, &id),
        };
        replier.then(&answer).await
    }

    pub(super) async fn publish_post_mortem(&self, replier: &Replier, caller: &Caller, on: OnIncident) -> Result<(), Trouble> {
        let input = Input::Publish { by: caller.person.clone() };
        let done = |now: &IncidentSnapshot| match &now.state.post_mortem.published {
            Some(published) => {
                format!("has its post-mortem here: <{}>. What is added to it is brought there by itself.", published.at.url)
            }
            None => "has its post-mortem on the way to GitHub: its card shows when it stands there.".to_owned(),
        };
        self.tell_and_answer(replier, caller, on.incident.as_deref(), input, done).await
    }

    pub(super) async fn add_action(
        &self,
        replier: &Replier,
        caller: &Caller,
        named: Option<&str>,
        Action { title, owner, due }: Action,
    ) -> Result<(), Trouble> {
        let Ok(due) = NaiveDate::parse_from_str(&due, "%Y-%m-%d") else {
            let why = format!("`{}` is not a day", due.replace('`', "'"));
            return replier.say(&rejection::refused(&why, "Write it as `2026-12-01`. Nothing was added.")).await;
        };
        let input = Input::AddAction { by: caller.person.clone(), title, owner, due };
        let done = |now: &IncidentSnapshot| match now.state.post_mortem.actions.len() {
            1 => "has its first action item.".to_owned(),
            count => format!("has {count} action items."),
        };
        self.tell_and_answer(replier, caller, named, input, done).await
    }

    /// Puts a message on the timeline of its channel's incident. The command carries the text, which Discord gives away
    /// in no other way to a bot that may not read the channel.
    pub(super) async fn mark_message(
        &self,
        replier: &Replier,
        caller: &Caller,
        command: &CommandInteraction,
    ) -> Result<(), Trouble> {
        let Some(ResolvedTarget::Message(target)) = command.data.target() else {
            return replier.say(&rejection::refused("Discord did not say which message is meant", "Try it again.")).await;
        };
        let here = match self.incident_here(caller) {
            Ok(incident) => incident,
            Err(_) => return replier.say(&self.nothing_to_add_to(caller)).await,
        };
        let message = MessageRef { channel: ChannelId::new(target.channel_id.get()), message: MessageId::new(target.id.get()) };
        let author = target.author.display_name().to_owned();
        let (text, held) = match text_of(target) {
            None => (None, false),
            Some(text) => {
                let hidden = self.settings.mask.hidden(&text);
                let held = hidden.is_some();
                (Some(hidden.unwrap_or(text)), held)
            }
        };
        let input = Input::MarkMessage { by: caller.person.clone(), message, author, text };
        let named = here.state.id().to_string();
        let done = |_: &IncidentSnapshot| match held {
            false => "has that message on its timeline.".to_owned(),
            true => {
                "has that message on its timeline, without the secret of the settings that stands in it: change that secret, \
                     and delete the message."
                    .to_owned()
            }
        };
        self.tell_and_answer(replier, caller, Some(&named), input, done).await
    }
}

impl Interactions {
    /// Why a message can be added to no timeline here. A menu cannot ask which incident is meant.
    fn nothing_to_add_to(&self, caller: &Caller) -> Message {
        let next = "Use it in the incident's channel, or write what matters with `/incident note` and `incident:`.";
        if self.incidents.incident_in_channel(caller.channel).is_some() {
            return rejection::refused("several incidents live in this channel, and a menu cannot ask which is meant", next);
        }
        let is_open = |known: &IncidentSnapshot| known.state.is_open() && may_see(&known.state, caller);
        if self.incidents.incidents().iter().any(is_open) {
            return rejection::refused("a message can be added to a timeline in an incident's channel only", next);
        }
        rejection::refused("there is no open incident with a timeline to add to", "`/incident open` opens one.")
    }
}

fn request(wish: Wish, caller: &Caller, run: Option<RunId>) -> Result<OpenRequest, String> {
    let severity = wish.severity.parse().map_err(|unknown: crate::domain::incident::UnknownSeverity| unknown.to_string())?;
    Ok(OpenRequest {
        title: wish.title,
        severity,
        by: Opener::Person(caller.person.clone()),
        customer_facing: flag("customer_facing", wish.customer_facing.as_deref())?,
        private: flag("private", wish.private.as_deref())?,
        asked_in: Some(caller.channel),
        run,
    })
}

fn flag(what: &str, text: Option<&str>) -> Result<bool, String> {
    match text {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(format!("`{what}` is `true` or `false`, not `{}`", other.replace('`', "'"))),
    }
}

/// The id, and where it lives. The channel is made after the incident is journalled, and may come a little later.
fn opened(now: &IncidentSnapshot, is_new: bool) -> Message {
    let (id, severity) = (now.state.id(), now.state.severity);
    let place = match (now.state.channel, &now.state.fallback) {
        (Some(channel), None) => format!("Its channel is <#{channel}>."),
        (Some(channel), Some(why)) => format!("It lives in <#{channel}>, because {}.", text::escape(why)),
        (None, _) => format!("Its channel `#{}` follows as soon as Discord has made it.", id.channel_name()),
    };
    let what = if is_new { "is open" } else { "was opened about this run before, and nothing was opened now; it is" };
    Message::plain(format!("🚨 {} {what}: {severity}. {place}", text::code(&id.to_string())))
}

/// What a message says: its text, or of one without text what its frames and files are called.
fn text_of(message: &DiscordMessage) -> Option<String> {
    let mut parts = vec![message.content.clone()];
    parts.extend(message.embeds.iter().flat_map(|embed| [embed.title.clone(), embed.description.clone()]).flatten());
    parts.extend(message.attachments.iter().map(|attachment| format!("📎 {}", attachment.filename)));
    parts.retain(|part| !part.trim().is_empty());
    (!parts.is_empty()).then(|| parts.join("\n"))
}

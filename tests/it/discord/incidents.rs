//! Incidents on Discord: their channels, messages, pins, marks, reviews, and their end.

use std::path::Path;
use std::sync::Arc;

use pointsman::discord::rest::{Call, File, HOLD_MAX};
use pointsman::discord::{Access, Api, DiscordIncidentChat, IncidentChatSettings};
use pointsman::domain::incident::{
    IncidentId, Input, IssueKind, MessageKind, OpenRequest, Opener, Policy, Severity, State, begin, decide, evolve, open,
};
use pointsman::domain::{ChannelId, Mask, MessageKey, MessageRef, Timestamp};
use pointsman::engine::{Freshness, Hint, IncidentChat, IncidentSnapshot, PortError};
use pointsman::sandbox::discord::{self as model, Fault, Misbehaviour, Model, World};
use serde_json::{Value, json};
use serenity::http::LightMethod;
use tokio::time::Instant;
use twilight_model::guild::Permissions;

use super::fake::person;
use super::{Bot, PLANTED, quiet, roles};

const CREATE: &str = "POST /guilds/*/channels";

/// An incident that is driven by hand.
struct Incident {
    state: State,
    now: Timestamp,
}

impl Incident {
    fn open(model: &Model, number: u32) -> Self {
        Self::with(model, number, |_, _| {})
    }

    fn private(model: &Model, number: u32) -> Self {
        Self::with(model, number, |request, policy| {
            request.private = true;
            policy.private_roles = vec!["security".parse().expect("a name")];
        })
    }

    fn with(model: &Model, number: u32, change: impl FnOnce(&mut OpenRequest, &mut Policy)) -> Self {
        let now: Timestamp = "2100-01-02T03:00:00Z".parse().expect("an instant");
        let mut request = OpenRequest {
            title: "Checkout is down".to_owned(),
            severity: Severity::Sev2,
            by: Opener::Person(person(model, "olivia", &["operator"])),
            customer_facing: false,
            private: false,
            asked_in: None,
            run: None,
        };
        let mut policy = Policy { roles: roles(model), ..Policy::default() };
        change(&mut request, &mut policy);
        let id = IncidentId::new(now.date_naive(), number).expect("a number");
        let events = open(id, policy, request).expect("it may be opened");
        Self { state: begin(now, &events[0]).expect("a first event"), now }
    }

    /// With its channel open and everything posted that is owed.
    async fn settled(chat: &DiscordIncidentChat, model: &Model, number: u32) -> Self {
        let mut incident = Self::open(model, number);
        incident.open_channel(chat).await;
        incident.post_all(chat).await;
        incident
    }

    fn put(&mut self, input: Input) {
        for event in decide(&self.state, self.now, input).expect("it is allowed") {
            self.state = evolve(self.state.clone(), self.now, &event).expect("it follows");
        }
    }

    async fn open_channel(&mut self, chat: &DiscordIncidentChat) -> ChannelId {
        let place = chat.open_channel(&self.snapshot()).await.expect("opened");
        self.put(Input::ChannelOpened { channel: place.channel, fallback: place.fallback });
        place.channel
    }

    async fn post_all(&mut self, chat: &DiscordIncidentChat) {
        while let Some(owed) = self.state.owed.iter().find(|owed| owed.posted.is_none()) {
            let key = owed.key.clone();
            let at = chat.post_to_incident(&self.snapshot(), &key, false).await.expect("posted").at;
            self.put(Input::MessagePosted(key, at, u32::MAX));
        }
    }

    fn snapshot(&self) -> IncidentSnapshot {
        IncidentSnapshot { state: Arc::new(self.state.clone()), head: "ab".repeat(32), runs: vec![], now: self.now }
    }

    fn channel(&self) -> model::ChannelId {
        model::ChannelId::new(self.state.channel.expect("a channel").get())
    }

    fn name(&self) -> String {
        self.state.id().channel_name()
    }

    fn summary(&self) -> (MessageKey, MessageRef) {
        let summary = self.state.owed.iter().find(|owed| owed.kind == MessageKind::Summary).expect("it is owed");
        (summary.key.clone(), summary.posted.expect("it is posted"))
    }
}

fn settings(bot: &Bot) -> IncidentChatSettings {
    let channel = |name: &str| Some(ChannelId::new(bot.model.channel(name).get()));
    IncidentChatSettings {
        category: channel("Incidents"),
        archive: channel("Archive"),
        fallback: channel("incidents-fallback"),
        exports_dir: bot.dir.path().join("exports"),
        mask: Mask::new(|text| text.replace(PLANTED, "[redacted]")),
        post_mortem: Arc::new(|incident| format!("# {}, in our own form\n", incident.state.opened.title)),
    }
}

fn chat(bot: &Bot) -> DiscordIncidentChat {
    DiscordIncidentChat::beside(&bot.chat, settings(bot))
}

/// A world whose category `name` holds `channels` channels.
fn crowded(name: &str, channels: usize) -> World {
    (0..channels).fold(quiet(), |world, n| world.channel_in(name, &format!("old-{n}")))
}

/// How many channels are called so.
fn called(model: &Model, name: &str) -> usize {
    model.read(|chat| chat.channels.values().filter(|channel| channel.name == name).count())
}

fn in_model(at: MessageRef) -> model::MessageId {
    model::MessageId::new(at.message.get())
}

fn refused<T: std::fmt::Debug>(result: Result<T, PortError>) -> String {
    let Err(PortError::Refused { why }) = result else { panic!("not refused: {result:?}") };
    why
}

#[tokio::test]
async fn a_channel_whose_answer_was_lost_is_found_again_and_not_doubled() {
    let bot = Bot::rest(quiet()).await;
    let (chat, incident) = (chat(&bot), Incident::open(&bot.model, 1));
    bot.model.fault(Fault::once(CREATE, Misbehaviour::AnswerLost));
    let lost = chat.open_channel(&incident.snapshot()).await;
    assert!(matches!(lost, Err(PortError::Later { .. })), "{lost:?}");
    let found = chat.open_channel(&incident.snapshot()).await.expect("found");
    assert_eq!(called(&bot.model, "incident-21000102-001"), 1);
    let channel = bot.model.read(|chat| chat.channels[&model::ChannelId::new(found.channel.get())].clone());
    assert!(channel.topic.as_deref().is_some_and(|topic| topic.starts_with("inc-21000102-001 · Checkout is down · ")));
    assert_eq!((channel.parent, found.fallback), (Some(bot.model.channel("Incidents")), None));
    bot.finish();
}

#[tokio::test]
async fn a_channel_that_only_has_the_name_belongs_to_somebody_else() {
    let bot = Bot::rest(quiet().channel("incident-21000102-001")).await;
    let place = chat(&bot).open_channel(&Incident::open(&bot.model, 1).snapshot()).await.expect("opened");
    assert_eq!(called(&bot.model, "incident-21000102-001"), 2);
    let topic = bot.model.read(|chat| chat.channels[&model::ChannelId::new(place.channel.get())].topic.clone());
    assert!(topic.is_some());
    bot.finish();
}

#[tokio::test]
async fn two_incidents_at_once_get_a_channel_each() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let (first, second) = tokio::join!(Incident::settled(&chat, &bot.model, 1), Incident::settled(&chat, &bot.model, 2));
    assert_ne!(first.channel(), second.channel());
    for incident in [&first, &second] {
        let said = bot.model.read(|chat| chat.messages_in(incident.channel()).count());
        assert_eq!((called(&bot.model, &incident.name()), said), (1, incident.state.owed.len()));
    }
    bot.finish();
}

#[tokio::test]
async fn a_full_category_leads_to_the_fallback_channel_until_there_is_room() {
    let bot = Bot::rest(crowded("Incidents", 50)).await;
    let (chat, incident) = (chat(&bot), Incident::open(&bot.model, 1));
    let place = chat.open_channel(&incident.snapshot()).await.expect("a place");
    assert_eq!(place.channel.get(), bot.model.channel("incidents-fallback").get());
    let why = place.fallback.expect("a reason");
    assert!(why.contains("50 channels") && why.contains("delete or move"), "{why}");
    let without = DiscordIncidentChat::beside(&bot.chat, IncidentChatSettings { fallback: None, ..settings(&bot) });
    let why = refused(without.open_channel(&incident.snapshot()).await);
    assert!(why.contains("no fallback channel"), "{why}");
    let why = refused(chat.open_channel(&Incident::private(&bot.model, 2).snapshot()).await);
    assert!(why.contains("private"), "{why}");
    assert!(bot.model.delete_channel(bot.model.channel("old-7")));
    let place = chat.open_channel(&incident.snapshot()).await.expect("a place");
    assert_eq!(place.fallback, None);
    bot.model.stop();
}

#[tokio::test]
async fn a_full_server_and_a_missing_permission_lead_to_the_fallback_channel() {
    let world = (0..500).fold(quiet(), |world, n| world.channel(&format!("old-{n}")));
    let bot = Bot::rest(world).await;
    let (chat, incident) = (chat(&bot), Incident::open(&bot.model, 1));
    let why = chat.open_channel(&incident.snapshot()).await.expect("a place").fallback.expect("a reason");
    assert!(why.contains("500 channels"), "{why}");
    bot.model.revoke_from_bot(Permissions::MANAGE_CHANNELS);
    let why = chat.open_channel(&incident.snapshot()).await.expect("a place").fallback.expect("a reason");
    assert!(why.contains("`Manage Channels`"), "{why}");
    let gone = Some(ChannelId::new(4));
    let chat = DiscordIncidentChat::beside(&bot.chat, IncidentChatSettings { fallback: gone, ..settings(&bot) });
    let why = refused(chat.open_channel(&incident.snapshot()).await);
    assert!(why.contains("does not exist"), "{why}");
    bot.finish();
}

#[tokio::test]
async fn a_private_incident_is_seen_by_its_roles_and_its_opener_alone() {
    let bot = Bot::rest(quiet()).await;
    bot.model.revoke_from_bot(Permissions::MANAGE_ROLES);
    let chat = chat(&bot);
    let mut incident = Incident::private(&bot.model, 1);
    incident.open_channel(&chat).await;
    incident.post_all(&chat).await;
    let channel = incident.channel();
    let sees = |name: &str| bot.model.send(name, channel, "I see it").is_ok();
    assert_eq!(["olivia", "sam", "leo", "noor"].map(sees), [true, true, false, false]);
    chat.archive_channel(&incident.snapshot()).await.expect("moved");
    assert_eq!(["olivia", "sam", "leo", "noor"].map(sees), [true, true, false, false], "in the archive too");
    chat.schedule_review(&incident.snapshot(), incident.now).await.expect("scheduled");
    let event = bot.model.read(|chat| chat.events.values().next().cloned()).expect("an event");
    assert!(!format!("{event:?}").contains("Checkout"), "everybody sees the calendar: {event:?}");
    bot.finish();
}

#[tokio::test]
async fn a_role_that_was_deleted_does_not_keep_a_private_channel_from_opening() {
    let bot = Bot::rest(quiet()).await;
    let mut incident = Incident::private(&bot.model, 1);
    bot.model.delete_role(bot.model.role("security"));
    incident.open_channel(&chat(&bot)).await;
    assert!(bot.model.send("olivia", incident.channel(), "I see it").is_ok());
    bot.finish();
}

#[tokio::test]
async fn a_permission_that_is_lost_in_mid_incident_is_named_and_nothing_is_said_twice() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let mut incident = Incident::settled(&chat, &bot.model, 1).await;
    let before = bot.model.read(|chat| chat.messages_in(incident.channel()).count());
    incident.put(Input::Note { by: person(&bot.model, "olivia", &[]), text: "the cache is cold".to_owned() });
    let key = incident.state.owed.last().expect("a note").key.clone();
    bot.model.revoke_from_bot(Permissions::SEND_MESSAGES | Permissions::PIN_MESSAGES);
    let why = refused(chat.post_to_incident(&incident.snapshot(), &key, false).await);
    assert!(why.contains("`Send Messages`"), "{why}");
    let why = refused(chat.pin(&incident.snapshot(), incident.summary().1).await);
    assert!(why.contains("`Pin Messages`"), "{why}");
    bot.model.grant_to_bot(Permissions::SEND_MESSAGES | Permissions::PIN_MESSAGES);
    chat.post_to_incident(&incident.snapshot(), &key, true).await.expect("posted");
    assert_eq!(bot.model.read(|chat| chat.messages_in(incident.channel()).count()), before + 1);
    bot.finish();
}

#[tokio::test]
async fn a_status_update_whose_answer_was_lost_is_found_again() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let mut incident = Incident::open(&bot.model, 1);
    incident.open_channel(&chat).await;
    let key = incident.state.owed[0].key.clone();
    bot.model.fault(Fault::once("POST /channels/*/messages", Misbehaviour::AnswerLost));
    let lost = chat.post_to_incident(&incident.snapshot(), &key, false).await;
    assert!(matches!(lost, Err(PortError::Later { .. })), "{lost:?}");
    bot.model.forget_nonces();
    chat.post_to_incident(&incident.snapshot(), &key, true).await.expect("found");
    assert_eq!(bot.model.read(|chat| chat.messages_in(incident.channel()).count()), 1);
    bot.finish();
}

#[tokio::test]
async fn a_deleted_channel_is_said_to_be_gone_and_a_new_one_is_opened() {
    let bot = Bot::online(quiet()).await;
    let chat = chat(&bot);
    let mut incident = Incident::settled(&chat, &bot.model, 1).await;
    let (former, (key, at)) = (incident.channel(), incident.summary());
    assert!(bot.model.delete_channel(former));
    bot.engine.wait_for(|seen| seen.hints.contains(&Hint::ChannelDeleted { channel: at.channel })).await;
    let posted = chat.post_to_incident(&incident.snapshot(), &key, false).await;
    assert!(matches!(posted, Err(PortError::Gone { .. })), "{posted:?}");
    let marks = chat.read_marks(&incident.snapshot()).await;
    assert!(matches!(marks, Err(PortError::Gone { .. })), "{marks:?}");
    bot.chat.forget();
    assert_eq!(chat.refresh_in_incident(&incident.snapshot(), &key).await, Ok(Freshness::Lost));
    let deleted = chat.delete_channel(&incident.snapshot()).await;
    assert!(matches!(deleted, Err(PortError::Gone { .. })), "{deleted:?}");
    incident.put(Input::ChannelLost { channel: at.channel });
    incident.open_channel(&chat).await;
    assert_ne!(incident.channel(), former);
    incident.post_all(&chat).await;
    bot.finish();
}

#[tokio::test]
async fn a_summary_that_is_deleted_or_too_old_to_edit_is_lost() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let mut incident = Incident::settled(&chat, &bot.model, 1).await;
    let (key, at) = incident.summary();
    let edits = || bot.model.requests().iter().filter(|request| request.method == "PATCH").count();
    assert_eq!(chat.refresh_in_incident(&incident.snapshot(), &key).await, Ok(Freshness::Current));
    assert_eq!(edits(), 0, "it shows what it should");
    incident.put(Input::ChangeSeverity { to: Severity::Sev1, by: person(&bot.model, "olivia", &[]), reason: String::new() });
    assert_eq!(chat.refresh_in_incident(&incident.snapshot(), &key).await, Ok(Freshness::Current));
    assert_eq!(edits(), 1);
    bot.chat.forget();
    bot.model.fault(Fault::once("PATCH /channels/*/messages/*", Misbehaviour::Answer { status: 429, code: 30_046 }));
    assert_eq!(chat.refresh_in_incident(&incident.snapshot(), &key).await, Ok(Freshness::Lost));
    bot.model.delete_message("mia", in_model(at)).expect("a moderator may");
    assert_eq!(chat.refresh_in_incident(&incident.snapshot(), &key).await, Ok(Freshness::Lost));
    let pinned = chat.pin(&incident.snapshot(), at).await;
    assert!(matches!(pinned, Err(PortError::Gone { .. })), "{pinned:?}");
    bot.finish();
}

#[tokio::test]
async fn one_summary_is_pinned_and_a_new_copy_takes_its_place() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let mut incident = Incident::settled(&chat, &bot.model, 1).await;
    let pinned = || {
        let pinned = |message: &&model::Message| message.pinned.is_some();
        bot.model.read(|chat| chat.messages_in(incident.channel()).filter(pinned).map(|message| message.id).collect::<Vec<_>>())
    };
    let (key, first) = incident.summary();
    for _ in 0..2 {
        chat.pin(&incident.snapshot(), first).await.expect("pinned");
        assert_eq!(pinned(), [in_model(first)]);
    }
    let mut next = Incident { state: incident.state.clone(), now: incident.now };
    next.put(Input::SummaryPinned(first));
    next.put(Input::MessageLost(key, first));
    next.post_all(&chat).await;
    chat.pin(&next.snapshot(), next.summary().1).await.expect("pinned");
    assert_eq!(pinned(), [in_model(next.summary().1)]);
    incident.put(Input::Tick);
    bot.finish();
}

#[tokio::test]
async fn marks_that_were_put_while_the_bot_was_away_are_read_with_few_requests() {
    let bot = Bot::rest(quiet().other_bot("clockwork", &[])).await;
    let chat = chat(&bot);
    let mut incident = Incident::settled(&chat, &bot.model, 1).await;
    let channel = incident.channel();
    let mut said = vec![];
    for n in 0..130 {
        said.push(bot.model.send("noor", channel, &format!("line {n}")).expect("anybody may"));
    }
    bot.model.react("clockwork", said[2], "📌").expect("a bot may");
    bot.model.react("sam", said[3], "👍").expect("anybody may");
    for name in ["clockwork", "sam"] {
        bot.model.react(name, said[5], "📌").expect("anybody may");
    }
    bot.model.react("dana", said[120], "📌").expect("anybody may");
    bot.model.react("sam", said[120], "📌").expect("anybody may");
    let before = bot.model.requests().len();
    let marks = chat.read_marks(&incident.snapshot()).await.expect("read");
    assert_eq!(bot.model.requests().len() - before, 2 + 3 + 2, "pages, marked messages, members");
    let shown: Vec<_> = marks.iter().map(|mark| (in_model(mark.message), mark.by.name.as_str(), mark.author.as_str())).collect();
    assert_eq!(shown, [(said[120], "Dana", "Noor"), (said[5], "Sam", "Noor")]);
    assert_eq!(marks[0].by.roles.iter().map(ToString::to_string).collect::<Vec<_>>(), ["dba"]);
    let mark = marks[0].clone();
    incident.put(Input::MarkMessage { by: mark.by, message: mark.message, author: mark.author, text: None });
    let again = chat.read_marks(&incident.snapshot()).await.expect("read");
    assert_eq!(again.iter().map(|mark| in_model(mark.message)).collect::<Vec<_>>(), [said[5]], "what is new");
    bot.finish();
}

#[tokio::test]
async fn a_mark_becomes_a_hint_of_its_own() {
    let bot = Bot::online(quiet()).await;
    let chat = chat(&bot);
    let incident = Incident::settled(&chat, &bot.model, 1).await;
    let (_, at) = incident.summary();
    bot.model.react("dana", in_model(at), "📌").expect("anybody may");
    bot.engine.wait_for(|seen| seen.hints.contains(&Hint::Marked { channel: at.channel })).await;
    assert!(bot.engine.with(|seen| !seen.hints.iter().any(|hint| matches!(hint, Hint::Reactions { .. }))));
    bot.finish();
}

#[tokio::test]
async fn a_review_is_put_into_the_calendar_once() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let incident = Incident::settled(&chat, &bot.model, 1).await;
    let other = Incident::settled(&chat, &bot.model, 2).await;
    let at = incident.now + chrono::TimeDelta::hours(23);
    chat.schedule_review(&other.snapshot(), at).await.expect("scheduled");
    bot.model.fault(Fault::once("POST /guilds/*/scheduled-events", Misbehaviour::AnswerLost));
    let lost = chat.schedule_review(&incident.snapshot(), at).await;
    assert!(matches!(lost, Err(PortError::Later { .. })), "{lost:?}");
    let event = chat.schedule_review(&incident.snapshot(), at).await.expect("found");
    assert_eq!(chat.schedule_review(&incident.snapshot(), at).await, Ok(event));
    let events = bot.model.read(|chat| chat.events.values().cloned().collect::<Vec<_>>());
    let found: Vec<_> = events.iter().filter(|found| found.name.contains("-001")).collect();
    assert_eq!((events.len(), found.len()), (2, 1));
    assert_eq!((found[0].id.get(), found[0].start), (event, at));
    assert_eq!(found[0].name, "Review of inc-21000102-001: Checkout is down");
    bot.model.revoke_from_bot(Permissions::CREATE_EVENTS);
    let third = Incident::settled(&chat, &bot.model, 3).await;
    let why = refused(chat.schedule_review(&third.snapshot(), at).await);
    assert!(why.contains("`Create Events`"), "{why}");
    bot.finish();
}

#[tokio::test]
async fn an_ended_channel_moves_to_the_archive_if_there_is_one_with_room() {
    let bot = Bot::rest(crowded("Archive", 49)).await;
    let chat = chat(&bot);
    let parent = |incident: &Incident| bot.model.read(|chat| chat.channels[&incident.channel()].parent);
    let (incidents, archive) = (bot.model.channel("Incidents"), bot.model.channel("Archive"));
    let first = Incident::settled(&chat, &bot.model, 1).await;
    let without = DiscordIncidentChat::beside(&bot.chat, IncidentChatSettings { archive: None, ..settings(&bot) });
    without.archive_channel(&first.snapshot()).await.expect("nothing to do");
    assert_eq!(parent(&first), Some(incidents));
    for _ in 0..2 {
        chat.archive_channel(&first.snapshot()).await.expect("moved");
        assert_eq!(parent(&first), Some(archive));
    }
    let second = Incident::settled(&chat, &bot.model, 2).await;
    let why = refused(chat.archive_channel(&second.snapshot()).await);
    assert!(why.contains("archive") && why.contains("50 channels"), "{why}");
    assert_eq!((parent(&second), called(&bot.model, &first.name())), (Some(incidents), 1));
    bot.model.stop();
}

/// The lines of an export.
#[tokio::test]
async fn while_github_is_away_the_post_mortem_is_attached_in_the_teams_form() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let mut incident = Incident::settled(&chat, &bot.model, 1).await;
    incident.put(Input::Resolve { by: person(&bot.model, "leo", &["operator"]), summary: "mended".to_owned() });
    incident.put(Input::Publish { by: person(&bot.model, "leo", &["operator"]) });
    incident.put(Input::IssueDelayed { issue: IssueKind::PostMortem, why: "GitHub is away".to_owned() });
    incident.post_all(&chat).await;
    let file = bot.model.read(|chat| {
        let notes = chat.messages_in(incident.channel());
        let note = notes.rev().find(|message| message.text().contains("GitHub is away") && !message.attachments.is_empty());
        note.expect("a note with a file").attachments[0].clone()
    });
    assert_eq!(file.filename, "post-mortem-inc-21000102-001.md");
    assert_eq!(bot.model.attachment(file.id).expect("its bytes"), "# Checkout is down, in our own form\n");
    bot.finish();
}

fn exported(bot: &Bot, incident: &Incident) -> Vec<Value> {
    let dir = bot.dir.path().join("exports").join(incident.state.id().to_string());
    let lines = std::fs::read_to_string(dir.join("messages.jsonl")).expect("exported");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_channel_is_exported_before_it_is_deleted_and_a_crash_between_loses_nothing() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let incident = Incident::settled(&chat, &bot.model, 1).await;
    let channel = incident.channel();
    let thread = thread_with_a_message(&bot, in_model(incident.summary().1), channel).await;
    for n in 0..120 {
        bot.model.send("noor", channel, &format!("line {n}")).expect("anybody may");
    }
    // What mentions the bot is given to it.
    let mention = format!("<@{}> the password is {PLANTED}", bot.model.bot_id());
    bot.model.send("noor", channel, &mention).expect("anybody may");
    bot.model.fault(Fault::times("DELETE /channels/*", 2, Misbehaviour::Answer { status: 502, code: 0 }));
    let cut = chat.delete_channel(&incident.snapshot()).await;
    assert!(matches!(cut, Err(PortError::Later { .. })), "{cut:?}");
    let first = exported(&bot, &incident);
    assert_eq!(called(&bot.model, &incident.name()), 1, "not deleted yet");
    bot.model.fault(Fault::once("DELETE /channels/*", Misbehaviour::AnswerLost));
    let deleted = chat.delete_channel(&incident.snapshot()).await;
    assert!(matches!(deleted, Ok(()) | Err(PortError::Gone { .. })), "{deleted:?}");
    assert_eq!(called(&bot.model, &incident.name()), 0);
    let gone = chat.delete_channel(&incident.snapshot()).await;
    assert!(matches!(gone, Err(PortError::Gone { .. })), "{gone:?}");
    let lines = exported(&bot, &incident);
    assert_eq!(lines, first);
    assert_eq!(lines.len(), incident.state.owed.len() + 1 + 120 + 1 + 1, "the messages of the channel and of its thread");
    assert_eq!((&lines[0]["author"]["bot"], &lines[20]["author"]["name"]), (&json!(true), &json!("Noor")));
    let file = &lines.iter().find(|line| line["text"] == "see there").expect("the report")["attachments"][0];
    assert_eq!((&file["name"], &file["bytes"]), (&json!("report.md"), &json!(9)));
    assert!(file["url"].as_str().is_some_and(|url| url.ends_with("/report.md")), "{file}");
    assert_eq!(lines.last().expect("a line")["thread"], "Rolling back");
    assert_eq!(lines.last().expect("a line")["channel"], thread.to_string());
    let dir = bot.dir.path().join("exports").join("inc-21000102-001");
    let pages = std::fs::read_to_string(dir.join("messages.md")).expect("exported");
    assert!(pages.starts_with("# inc-21000102-001: Checkout is down\n"), "{pages}");
    assert!(pages.contains("> attachment: report.md <http"), "{pages}");
    assert!(pages.contains("\n## Thread: Rolling back\n") && pages.contains("> (text not given to the bot)"), "{pages}");
    let machines = std::fs::read_to_string(dir.join("messages.jsonl")).expect("exported");
    for text in [&pages, &machines] {
        assert!(text.contains("the password is [redacted]") && !text.contains(PLANTED), "{text}");
    }
    assert_eq!((mode(&dir), mode(&dir.join("messages.jsonl"))), (0o700, 0o600), "private incidents are in there too");
    bot.finish();
}

async fn thread_with_a_message(bot: &Bot, message: model::MessageId, channel: model::ChannelId) -> ChannelId {
    let access = Access { api_base: bot.model.base_url().to_owned(), token: bot.model.token().into() };
    let api = Api::new(access).expect("a client");
    let path = format!("/channels/{channel}/messages/{message}/threads");
    let call = Call::at(LightMethod::Post, &path).body(json!({ "name": "Rolling back", "auto_archive_duration": 60 }));
    api.call(call).await.expect("opened");
    let file = File { name: "report.md".to_owned(), bytes: b"all of it".to_vec() };
    let call = Call::at(LightMethod::Post, &format!("/channels/{channel}/messages")).body(json!({ "content": "see there" }));
    api.call(call.files(vec![file])).await.expect("posted");
    let thread = bot.model.channel("Rolling back");
    bot.model.send("sam", thread, "on it").expect("anybody may");
    ChannelId::new(thread.get())
}

#[tokio::test]
async fn a_channel_that_cannot_be_read_or_recognised_is_not_deleted() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let incident = Incident::settled(&chat, &bot.model, 1).await;
    bot.model.revoke_from_bot(Permissions::READ_MESSAGE_HISTORY);
    let why = refused(chat.delete_channel(&incident.snapshot()).await);
    assert!(why.contains("nothing was deleted") && why.contains("`Read Message History`"), "{why}");
    bot.model.grant_to_bot(Permissions::READ_MESSAGE_HISTORY);
    let mut wrong = Incident::open(&bot.model, 2);
    wrong.put(Input::ChannelOpened { channel: ChannelId::new(bot.model.channel("ops").get()), fallback: None });
    let why = refused(chat.delete_channel(&wrong.snapshot()).await);
    assert!(why.contains("nothing was deleted"), "{why}");
    std::fs::write(bot.dir.path().join("file"), "in the way").expect("written");
    let exports_dir = bot.dir.path().join("file");
    let nowhere = DiscordIncidentChat::beside(&bot.chat, IncidentChatSettings { exports_dir, ..settings(&bot) });
    let why = refused(nowhere.delete_channel(&incident.snapshot()).await);
    assert!(why.contains("nothing was deleted"), "{why}");
    assert_eq!((called(&bot.model, &incident.name()), called(&bot.model, "ops")), (1, 1));
    bot.finish();
}

#[tokio::test]
async fn a_long_429_in_one_incident_does_not_hold_up_another() {
    let bot = Bot::rest(quiet()).await;
    let chat = chat(&bot);
    let mut limited = Incident::open(&bot.model, 1);
    let channel = limited.open_channel(&chat).await;
    let key = limited.state.owed[0].key.clone();
    let on = format!("POST /channels/{channel}/messages");
    bot.model.fault(Fault::once(&on, Misbehaviour::RateLimited { retry_after_secs: 580.0, global: false }));
    let begun = Instant::now();
    let later = chat.post_to_incident(&limited.snapshot(), &key, false).await;
    let Err(PortError::Later { after: Some(after), .. }) = later else { panic!("not put off: {later:?}") };
    assert!(after.as_secs() > 570, "{after:?}");
    Incident::settled(&chat, &bot.model, 2).await;
    assert!(begun.elapsed() < HOLD_MAX, "neither is held");
    assert_eq!(bot.model.requests().iter().filter(|request| request.status == 429).count(), 1);
    bot.finish();
}

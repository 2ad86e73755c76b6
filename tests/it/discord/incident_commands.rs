//! What people type, press and choose about incidents.

use pointsman::domain::incident::{Facts, Happening, IncidentId, Input, ResponderRole, Severity, State};
use pointsman::domain::run::Input as RunInput;
use pointsman::domain::{self, RunId};
use pointsman::engine::StuckIncident;
use pointsman::sandbox::discord::{ChannelId, Message, MessageId};
use serde_json::json;

use super::messages::in_thread;
use super::{Bot, PLANTED, SOON, fake, quiet};

const TEAM: &str = "announcements";

/// Types a command and reads the answer.
async fn typed(bot: &Bot, who: &str, channel: &str, text: &str) -> Message {
    let pending = bot.model.slash(who, bot.model.channel(channel), text).unwrap_or_else(|refused| panic!("{text}: {refused}"));
    pending.message(SOON).await.unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn here(bot: &Bot, channel: &str) -> domain::ChannelId {
    domain::ChannelId::new(bot.model.channel(channel).get())
}

fn state(bot: &Bot, id: &IncidentId) -> State {
    bot.engine.with(|seen| seen.incidents.iter().find(|state| state.id() == id).cloned()).expect("it is known")
}

fn put(bot: &Bot, id: &IncidentId, input: Input) {
    bot.engine.with(|seen| seen.put(id, input)).expect("it is allowed");
}

fn newest(bot: &Bot) -> IncidentId {
    bot.engine.with(|seen| *seen.incidents.last().expect("an incident").id())
}

/// An incident that Olivia has opened, in a channel of its own.
async fn incident(bot: &Bot, channel: &str) -> IncidentId {
    typed(bot, "olivia", "ops", "/incident open title:Checkout is down severity:sev1").await;
    let id = newest(bot);
    put(bot, &id, Input::ChannelOpened { channel: here(bot, channel), fallback: None });
    id
}

/// Posts a message with one button as the bot would, and returns it.
async fn with_button(bot: &Bot, channel: &str, custom_id: &str) -> MessageId {
    let url = format!("{}/api/v10/channels/{}/messages", bot.model.base_url(), bot.model.channel(channel));
    let button = json!({ "type": 2, "style": 1, "label": "press", "custom_id": custom_id });
    let body = json!({ "content": "card", "components": [{ "type": 1, "components": [button] }] });
    let token = format!("Bot {}", bot.model.token().trim_start_matches("Bot "));
    let sent = reqwest::Client::new().post(url).header("authorization", token).json(&body).send().await.expect("sent");
    let answer: serde_json::Value = sent.json().await.expect("JSON");
    MessageId::new(answer["id"].as_str().expect("an id").parse().expect("a number"))
}

#[tokio::test]
async fn an_incident_is_opened_worked_on_and_closed_by_what_people_type() {
    let bot = Bot::online(quiet()).await;
    let text = "/incident open title:Checkout is down severity:sev1 customer_facing:true";
    let opened = typed(&bot, "olivia", "ops", text).await;
    let id = newest(&bot);
    assert!(opened.is_ephemeral() && opened.content.contains(&id.to_string()), "{}", opened.content);
    assert!(opened.content.contains(&format!("`#{}` follows", id.channel_name())), "{}", opened.content);
    let known = state(&bot, &id);
    assert_eq!((known.opened.title.as_str(), known.severity, known.opened.private), ("Checkout is down", Severity::Sev1, false));
    assert!(known.opened.customer_facing);
    assert_eq!(known.opened.asked_in, Some(here(&bot, "ops")));

    put(&bot, &id, Input::ChannelOpened { channel: here(&bot, TEAM), fallback: None });
    let update = typed(&bot, "olivia", TEAM, "/incident update text:We are looking").await;
    assert!(update.content.contains("The next one is due <t:1800000900:R>"), "{}", update.content);
    typed(&bot, "dana", TEAM, "/incident note text:The disk was full").await;
    let severity = typed(&bot, "dana", TEAM, "/incident severity severity:sev2 reason:half of it works").await;
    assert!(severity.content.contains("SEV2") && severity.content.contains("every 30m"), "{}", severity.content);
    let role = typed(&bot, "olivia", TEAM, "/incident role role:scribe person:@dana").await;
    assert!(role.content.contains("Dana as its scribe"), "{}", role.content);
    typed(&bot, "leo", TEAM, "/incident role role:commander").await;
    typed(&bot, "leo", TEAM, "/incident acknowledge").await;
    let known = state(&bot, &id);
    assert_eq!(known.roles[&ResponderRole::Scribe].name, "Dana");
    assert_eq!(known.roles[&ResponderRole::Commander].name, "Leo");
    assert_eq!(known.acknowledged.expect("acknowledged").by.name, "Leo");

    let status = typed(&bot, "noor", TEAM, "/incident status").await;
    assert!(status.text().contains("Checkout is down") && status.text().contains("Leo"), "{}", status.text());
    let list = typed(&bot, "noor", "ops", "/incident status").await;
    assert!(list.text().contains(&id.to_string()), "{}", list.text());
    let timeline = typed(&bot, "noor", TEAM, "/incident timeline").await;
    assert!(timeline.text().contains("The disk was full"), "{}", timeline.text());

    let early = typed(&bot, "leo", TEAM, "/postmortem publish").await;
    assert!(early.content.contains("not resolved yet") && early.content.contains("/incident resolve"), "{}", early.content);
    typed(&bot, "leo", TEAM, "/incident resolve summary:A bigger disk").await;
    let text = "/postmortem add-action title:Watch the disk owner:dana due:2027-02-01";
    let action = typed(&bot, "dana", TEAM, text).await;
    assert!(action.content.contains("first action item"), "{}", action.content);
    typed(&bot, "leo", TEAM, "/postmortem publish").await;
    let known = state(&bot, &id);
    assert_eq!(known.resolved.expect("resolved").summary, "A bigger disk");
    assert_eq!((known.post_mortem.actions[0].owner.as_str(), known.post_mortem.actions[0].number), ("dana", 1));
    assert_eq!(known.post_mortem.requested_by.expect("published").name, "Leo");
    bot.finish();
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_with_why_and_what_to_do() {
    let bot = Bot::online(quiet()).await;
    let id = incident(&bot, TEAM).await;
    let long = "x".repeat(1_501);
    let elsewhere = format!("/incident note text:seen incident:{id}");
    for (who, channel, text, why, next) in [
        ("noor", TEAM, "/incident resolve summary:done", "`operations_lead`", "/whoami"),
        ("dana", TEAM, "/incident resolve summary:done", "`operator`", "/whoami"),
        ("leo", "ops", "/incident note text:seen", "not an incident's channel", "incident:"),
        (
            "leo",
            "ops",
            "/incident note text:seen incident:inc-20200101-001",
            "no incident `inc-20200101-001`",
            "/incident status",
        ),
        ("leo", "ops", "/incident note text:seen incident:nonsense", "no incident `nonsense`", "/incident status"),
        ("leo", TEAM, &format!("/incident update text:{long}"), "1501 characters, and 1500", "Shorten it"),
        ("leo", TEAM, "/incident severity severity:sev1", "SEV1 already", "/incident status"),
        ("leo", TEAM, "/incident role role:scribe person:@pointsman", "not a bot", "Choose somebody"),
        ("leo", TEAM, "/postmortem add-action title:x owner:y due:soon", "`soon` is not a day", "2026-12-01"),
        ("leo", TEAM, "/postmortem add-action title:x owner:y due:2026-01-01", "2026-01-01 has passed", "from today"),
    ] {
        let refused = typed(&bot, who, channel, text).await;
        assert!(
            refused.is_ephemeral() && refused.content.contains(why) && refused.content.contains(next),
            "{text}: {}",
            refused.content
        );
    }
    assert_eq!(state(&bot, &id).seq, 2, "opened, and given a channel: nothing else was taken in");
    typed(&bot, "leo", "ops", &elsewhere).await;
    assert_eq!(state(&bot, &id).timeline.len(), 1, "by its name it is reached from everywhere");
    bot.finish();
}

#[tokio::test]
async fn of_two_people_who_resolve_at_once_the_second_learns_who_was_first() {
    let bot = Bot::online(quiet()).await;
    let id = incident(&bot, TEAM).await;
    let team = bot.model.channel(TEAM);
    let first = bot.model.slash("olivia", team, "/incident resolve summary:A restart").expect("known");
    let second = bot.model.slash("leo", team, "/incident resolve summary:A bigger disk").expect("known");
    let answers = [first.message(SOON).await.expect("answered"), second.message(SOON).await.expect("answered")];
    let winner = state(&bot, &id).resolved.expect("resolved").by.name;
    let refused: Vec<&Message> = answers.iter().filter(|answer| answer.content.contains("was resolved by")).collect();
    assert_eq!(refused.len(), 1, "{} {}", answers[0].content, answers[1].content);
    assert!(refused[0].content.contains(&format!("resolved by {winner}")), "{}", refused[0].content);
    assert!(refused[0].content.contains("/incident open"), "{}", refused[0].content);
    bot.finish();
}

#[tokio::test]
async fn a_closed_incident_takes_nothing_in() {
    let bot = Bot::online(quiet()).await;
    let id = incident(&bot, TEAM).await;
    typed(&bot, "leo", TEAM, "/incident resolve summary:A restart").await;
    put(&bot, &id, Input::ChannelDeleted);
    for text in ["note text:late", "update text:late", "resolve summary:late", "acknowledge"] {
        let refused = typed(&bot, "leo", "ops", &format!("/incident {text} incident:{id}")).await;
        assert!(refused.content.contains("exported and deleted"), "{text}: {}", refused.content);
    }
    let button = with_button(&bot, "ops", &format!("pm1:i:{id}:h")).await;
    let refused =
        bot.model.click("leo", button, &format!("pm1:i:{id}:h")).expect("a button").message(SOON).await.expect("answered");
    assert!(refused.content.contains("exported and deleted"), "nobody fills in a form for nothing: {}", refused.content);
    bot.finish();
}

/// What one person told must not be put back by another who had the form open before.
#[tokio::test]
async fn a_form_that_two_people_have_open_takes_from_each_what_they_changed() {
    let bot = Bot::online(quiet()).await;
    let id = incident(&bot, TEAM).await;
    typed(&bot, "leo", TEAM, "/incident resolve summary:A restart").await;
    let by = fake::person(&bot.model, "sam", &[]);
    let before = Facts { summary: Some("It was down".to_owned()), downtime: Some("5m".to_owned()), ..Facts::default() };
    put(&bot, &id, Input::GiveFacts { by, facts: before });
    let press = format!("pm1:i:{id}:h");
    let card = with_button(&bot, TEAM, &press).await;
    let olivias = bot.model.click("olivia", card, &press).expect("a button");
    let danas = bot.model.click("dana", card, &press).expect("a button");
    let form = danas.modal().await.expect("a form");
    assert_eq!(form.inputs(), ["summary", "root_cause", "users_affected", "downtime", "data_loss"]);
    let shown: Vec<_> = form.text_inputs().map(|input| input.value.clone().unwrap_or_default()).collect();
    assert_eq!(shown, ["It was down", "", "", "5m", ""]);
    olivias.modal().await.expect("a form");

    let fields = [("summary", "The checkout was down"), ("downtime", "7m")];
    let noted = bot.model.submit_modal("olivia", olivias.id, &fields).expect("sent").message(SOON).await.expect("answered");
    assert!(!noted.content.contains("somebody else"), "{}", noted.content);
    // Dana leaves the old summary as she saw it, and changes the downtime as Olivia did.
    let fields = [("root_cause", "A full disk"), ("downtime", "9m")];
    let noted = bot.model.submit_modal("dana", danas.id, &fields).expect("sent").message(SOON).await.expect("answered");
    assert!(noted.content.contains("somebody else changed: Downtime"), "{}", noted.content);
    let facts = state(&bot, &id).post_mortem.facts;
    assert_eq!(facts.summary.as_deref(), Some("The checkout was down"));
    assert_eq!((facts.root_cause.as_deref(), facts.downtime.as_deref()), (Some("A full disk"), Some("9m")));

    let learned = format!("pm1:i:{id}:l");
    let card = with_button(&bot, TEAM, &learned).await;
    let pending = bot.model.click("dana", card, &learned).expect("a button");
    let form = pending.modal().await.expect("a form");
    assert_eq!(form.inputs(), ["resolution", "went_well", "went_poorly", "lucky"]);
    assert_eq!(form.text_inputs().next().and_then(|input| input.value.clone()).as_deref(), Some("A restart"));
    let told = bot.model.submit_modal("dana", pending.id, &[]).expect("sent").message(SOON).await.expect("answered");
    assert!(told.content.contains("What was done to mend it"), "what was filled in for her is told now: {}", told.content);
    let again = bot.model.click("dana", card, &learned).expect("a button");
    again.modal().await.expect("a form");
    let seq = state(&bot, &id).seq;
    let told = bot.model.submit_modal("dana", again.id, &[]).expect("sent").message(SOON).await.expect("answered");
    assert!(told.content.contains("Nothing was changed"), "{}", told.content);
    assert_eq!(state(&bot, &id).seq, seq);
    bot.finish();
}

#[tokio::test]
async fn the_buttons_of_a_card_do_what_they_say_for_those_who_may() {
    let bot = Bot::online(quiet()).await;
    let id = incident(&bot, TEAM).await;
    let [acknowledge, resolve, publish] = ["a", "r", "p"].map(|press| format!("pm1:i:{id}:{press}"));
    let card = with_button(&bot, TEAM, &acknowledge).await;
    let refused = bot.model.click("noor", card, &acknowledge).expect("a button").message(SOON).await.expect("answered");
    assert!(refused.content.contains("no role") && refused.content.contains("/whoami"), "{}", refused.content);
    bot.model.click("dana", card, &acknowledge).expect("a button");
    bot.engine.wait_for(|seen| seen.incidents[0].acknowledged.is_some()).await;

    let card = with_button(&bot, TEAM, &resolve).await;
    let pending = bot.model.click("leo", card, &resolve).expect("a button");
    pending.modal().await.expect("a form");
    bot.model.set_roles("leo", &[]);
    let refused = bot.model.submit_modal("leo", pending.id, &[("summary", "A restart")]).expect("sent");
    let refused = refused.message(SOON).await.expect("answered");
    assert!(refused.content.contains("no role"), "a role may be lost while a form is open: {}", refused.content);
    let pending = bot.model.click("olivia", card, &resolve).expect("a button");
    pending.modal().await.expect("a form");
    let done = bot.model.submit_modal("olivia", pending.id, &[("summary", "A restart")]).expect("sent");
    done.message(SOON).await.expect("answered");
    assert_eq!(state(&bot, &id).resolved.expect("resolved").summary, "A restart");
    let late = bot.model.click("olivia", card, &resolve).expect("a button").message(SOON).await.expect("answered");
    assert!(late.content.contains("resolved by Olivia"), "{}", late.content);

    let card = with_button(&bot, TEAM, &publish).await;
    bot.model.click("olivia", card, &publish).expect("a button");
    bot.engine.wait_for(|seen| seen.incidents[0].post_mortem.requested_by.is_some()).await;
    bot.finish();
}

#[tokio::test]
async fn incidents_days_and_runs_are_offered_while_somebody_types() {
    let bot = Bot::online(quiet()).await;
    let over = incident(&bot, TEAM).await;
    typed(&bot, "leo", TEAM, "/incident resolve summary:A restart").await;
    typed(&bot, "leo", "ops", "/incident open title:Slow search severity:sev3").await;
    let open = newest(&bot);
    typed(&bot, "leo", "ops", "/incident open title:A leak severity:sev1 private:true").await;
    let private = newest(&bot);
    let ops = bot.model.channel("ops");
    let offered = async |who: &str, text: &str| -> Vec<String> {
        let pending = bot.model.autocomplete(who, ops, text).expect("an option");
        pending.choices().await.expect("choices").into_iter().map(|choice| choice.name).collect()
    };
    let names = offered("olivia", "/incident status incident:").await;
    assert_eq!(names, [format!("{open} · SEV3 · Slow search"), format!("{over} · SEV1 · resolved · Checkout is down")]);
    assert!(offered("leo", "/incident status incident:leak").await[0].starts_with(&private.to_string()), "who opened it sees it");
    let days = offered("olivia", "/postmortem add-action title:x owner:y due:week").await;
    assert_eq!(days, ["2027-01-22 · in a week", "2027-01-29 · in two weeks"]);
    bot.finish();
}

#[tokio::test]
async fn a_message_is_added_to_the_timeline_with_its_text_its_author_and_its_place() {
    let bot = Bot::online(quiet()).await;
    let id = incident(&bot, TEAM).await;
    let (team, ops) = (bot.model.channel(TEAM), bot.model.channel("ops"));
    let said = bot.model.send("noor", team, "the disk is *full*").expect("sent");
    let added =
        bot.model.message_command("dana", said, "Add to timeline").expect("registered").message(SOON).await.expect("answered");
    assert!(added.is_ephemeral() && added.content.contains("on its timeline"), "{}", added.content);
    let known = state(&bot, &id);
    let Happening::MessageMarked { by, message, author, text } = &*known.timeline[0].what else { panic!("{:?}", known.timeline) };
    assert_eq!((by.name.as_str(), author.as_str(), text.as_deref()), ("Dana", "Noor", Some("the disk is *full*")));
    assert_eq!((message.channel.get(), message.message.get()), (team.get(), said.get()));

    let twice =
        bot.model.message_command("leo", said, "Add to timeline").expect("registered").message(SOON).await.expect("answered");
    assert!(twice.content.contains("already") && twice.content.contains("/incident timeline"), "{}", twice.content);
    let refused = bot.model.message_command("noor", said, "Add to timeline").expect("registered");
    let refused = refused.message(SOON).await.expect("answered");
    assert!(refused.content.contains("`Add to timeline (on a message)` takes one of the roles"), "{}", refused.content);
    let elsewhere = bot.model.send("noor", ops, "hello").expect("sent");
    let refused = bot.model.message_command("dana", elsewhere, "Add to timeline").expect("registered");
    let refused = refused.message(SOON).await.expect("answered");
    assert!(
        refused.content.contains("in an incident's channel only") && refused.content.contains("/incident note"),
        "{}",
        refused.content
    );
    let page = typed(&bot, "noor", "ops", "/whoami").await;
    assert!(page.text().contains("Add to timeline (on a message)"), "{}", page.text());
    assert!(page.text().contains("/incident resolve"), "{}", page.text());
    bot.finish();
}

#[tokio::test]
async fn inside_an_incidents_channel_its_one_live_run_is_meant() {
    let bot = Bot::online(quiet()).await;
    let id = incident(&bot, TEAM).await;
    let mut play = in_thread(&bot).await;
    let alone = typed(&bot, "leo", TEAM, "/rollback now reason:x").await;
    assert!(alone.content.contains("incident with a live run") && alone.content.contains("run:"), "{}", alone.content);
    play.state.incident = Some(id);
    bot.engine.show(&play);
    let run = play.state.id().clone();
    typed(&bot, "leo", TEAM, "/migrate pause reason:phone").await;
    let (told, input) = bot.engine.with(|seen| seen.inputs.pop()).expect("an input");
    assert!(told == run && matches!(input, RunInput::Pause { .. }), "{input:?}");
    // The domain refuses, because nothing has been done yet: the rollback did reach the run.
    let refused = typed(&bot, "leo", TEAM, "/rollback now reason:x").await;
    assert!(!refused.content.contains("run:"), "{}", refused.content);
    let status = typed(&bot, "noor", TEAM, "/migrate status").await;
    assert!(status.text().contains(run.as_str()), "{}", status.text());

    let mut other = play.snapshot();
    let mut state = (*other.state).clone();
    let mut started = (*state.started).clone();
    started.run = RunId::from_random(8);
    state.started = started.into();
    other.state = state.into();
    bot.engine.with(|seen| seen.linked.push(other));
    let several = typed(&bot, "leo", TEAM, "/migrate pause reason:phone").await;
    assert!(several.content.contains("Several live runs") && several.content.contains(run.as_str()), "{}", several.content);
    bot.finish();
}

#[tokio::test]
async fn a_runbook_of_an_incident_is_started_inside_of_its_channel_only() {
    let bot = Bot::online(quiet()).await;
    let refused = typed(&bot, "olivia", "ops", "/incident run runbook:move-profile").await;
    assert!(refused.content.contains("is a cutover"), "{}", refused.content);
    let refused = typed(&bot, "olivia", TEAM, "/incident run runbook:look-around").await;
    assert!(
        refused.content.contains("in an incident's channel only") && refused.content.contains("/migrate start"),
        "{}",
        refused.content
    );
    incident(&bot, TEAM).await;
    let team = bot.model.channel(TEAM);
    let pending = bot.model.slash("olivia", team, "/incident run runbook:look-around mode:dry_run").expect("known");
    pending.modal().await.expect("a form for its parameters");
    let fields = [("source_id", "assets_1"), ("workers", "2")];
    bot.model.submit_modal("olivia", pending.id, &fields).expect("sent").message(SOON).await.expect("answered");
    let order = bot.engine.with(|seen| seen.orders.pop()).expect("an order");
    assert_eq!((order.runbook.as_str(), order.channel), ("look-around", here(&bot, TEAM)), "the engine links it by its channel");
    bot.finish();
}

#[tokio::test]
async fn an_incident_opened_in_a_runs_thread_is_about_that_run_and_opened_once() {
    let bot = Bot::online(quiet()).await;
    let play = in_thread(&bot).await;
    bot.engine.show(&play);
    let thread = ChannelId::new(play.state.thread.expect("a thread").get());
    for (text, says) in [("is open", "one"), ("was opened about this run before", "two")] {
        let opened = bot.model.slash("leo", thread, &format!("/incident open title:{says} severity:sev2")).expect("known");
        let opened = opened.message(SOON).await.expect("answered");
        assert!(opened.content.contains(text), "{}", opened.content);
    }
    let id = newest(&bot);
    assert_eq!(state(&bot, &id).run(), Some(play.state.id()));
    assert_eq!(bot.engine.with(|seen| seen.incidents.len()), 1);
    let linked = |seen: &fake::Seen| seen.inputs.iter().any(|(_, input)| *input == RunInput::IncidentOpened(id));
    assert!(bot.engine.with(|seen| linked(seen)), "the run knows of it too");
    bot.finish();
}

#[tokio::test]
async fn a_private_incident_does_not_exist_for_those_who_may_not_see_it() {
    let bot = Bot::online(quiet()).await;
    typed(&bot, "leo", "ops", "/incident open title:A leak severity:sev1 private:true").await;
    let id = newest(&bot);
    put(&bot, &id, Input::ChannelOpened { channel: here(&bot, "leads"), fallback: None });
    for text in [format!("status incident:{id}"), format!("timeline incident:{id}"), format!("note text:x incident:{id}")] {
        let refused = typed(&bot, "olivia", "ops", &format!("/incident {text}")).await;
        assert!(refused.content.contains("There is no incident"), "{text}: {}", refused.content);
    }
    let list = typed(&bot, "olivia", "ops", "/incident status").await;
    assert!(!list.text().contains("A leak"), "{}", list.text());
    let status = typed(&bot, "leo", "ops", &format!("/incident status incident:{id}")).await;
    assert!(status.text().contains("A leak"), "{}", status.text());
    bot.finish();
}

#[tokio::test]
async fn where_several_incidents_live_in_one_channel_the_one_meant_is_named() {
    let bot = Bot::online(quiet()).await;
    let mut ids = Vec::new();
    for title in ["One", "Two"] {
        typed(&bot, "leo", "ops", &format!("/incident open title:{title} severity:sev3")).await;
        let id = newest(&bot);
        let fallback = Some("the category is full".to_owned());
        put(&bot, &id, Input::ChannelOpened { channel: here(&bot, "incidents-fallback"), fallback });
        ids.push(id);
    }
    let refused = typed(&bot, "leo", "incidents-fallback", "/incident note text:seen").await;
    for id in &ids {
        assert!(refused.content.contains(&id.to_string()) && refused.content.contains("incident:"), "{}", refused.content);
    }
    let said = bot.model.send("leo", bot.model.channel("incidents-fallback"), "the disk is full").expect("sent");
    let refused = bot.model.message_command("leo", said, "Add to timeline").expect("registered");
    let refused = refused.message(SOON).await.expect("answered");
    assert!(refused.content.contains("Several incidents") && refused.content.contains("/incident note"), "{}", refused.content);
    typed(&bot, "leo", "incidents-fallback", &format!("/incident note text:seen incident:{}", ids[0])).await;
    assert_eq!((state(&bot, &ids[0]).timeline.len(), state(&bot, &ids[1]).timeline.len()), (1, 0));
    typed(&bot, "leo", "incidents-fallback", &format!("/incident resolve summary:x incident:{}", ids[0])).await;
    typed(&bot, "leo", "incidents-fallback", "/incident note text:seen").await;
    assert_eq!(state(&bot, &ids[1]).timeline.len(), 1, "of one that is left open no name is needed");
    bot.finish();
}

#[tokio::test]
async fn a_preview_is_a_file_for_whoever_asks_alone() {
    let bot = Bot::online(quiet()).await;
    let id = incident(&bot, TEAM).await;
    let preview = typed(&bot, "noor", TEAM, "/postmortem preview").await;
    assert!(preview.is_ephemeral() && preview.content.contains(&id.to_string()), "{}", preview.content);
    let file = preview.attachments.first().expect("a file");
    assert_eq!(file.filename, format!("post-mortem-{id}.md"));
    let text = bot.model.attachment(file.id).expect("its bytes");
    assert_eq!(
        text,
        format!("# Post-mortem of {id}\n{}\n", "ef".repeat(32)).as_bytes(),
        "what the journal holds, in the team's form"
    );
    let unknown = typed(&bot, "noor", "ops", "/postmortem preview incident:inc-20200101-001").await;
    assert!(unknown.content.contains("There is no incident") && unknown.attachments.is_empty(), "{}", unknown.content);
    bot.finish();
}

#[tokio::test]
async fn a_secret_that_somebody_writes_is_hidden_before_it_is_written_down_and_they_are_told() {
    let bot = Bot::online(quiet()).await;
    let told = |messages: &[Message]| messages.iter().any(|message| message.content.contains("change that secret"));
    let id = incident(&bot, TEAM).await;
    typed(&bot, "leo", TEAM, &format!("/incident note text:it is {PLANTED}, I think")).await;
    bot.model.wait_for(SOON, |chat| told(&ephemeral(chat)).then_some(())).await.expect("a warning");
    typed(&bot, "leo", TEAM, &format!("/incident severity severity:sev2 reason:{PLANTED}")).await;
    let said = bot.model.send("noor", bot.model.channel(TEAM), &format!("use {PLANTED}")).expect("sent");
    let added = bot.model.message_command("dana", said, "Add to timeline").expect("registered");
    let added = added.message(SOON).await.expect("answered");
    assert!(told(std::slice::from_ref(&added)), "{}", added.content);
    typed(&bot, "leo", TEAM, &format!("/incident resolve summary:set it to {PLANTED}")).await;
    typed(&bot, "dana", TEAM, &format!("/postmortem add-action title:no {PLANTED} owner:{PLANTED} due:2027-02-01")).await;
    let press = format!("pm1:i:{id}:h");
    let card = with_button(&bot, TEAM, &press).await;
    let form = bot.model.click("dana", card, &press).expect("a button");
    form.modal().await.expect("a form");
    let fields = [("root_cause", format!("{PLANTED} was wrong")), ("downtime", "5m".to_owned())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    bot.model.submit_modal("dana", form.id, &fields).expect("sent").message(SOON).await.expect("answered");

    let known = state(&bot, &id);
    let written = format!("{known:?}");
    assert!(!written.contains(PLANTED), "{written}");
    for text in ["it is [redacted], I think", "use [redacted]", "set it to [redacted]", "no [redacted]", "[redacted] was wrong"] {
        assert!(written.contains(text), "{text}: {written}");
    }
    bot.finish();
}

/// The messages that one person alone sees.
fn ephemeral(chat: &pointsman::sandbox::discord::Chat) -> Vec<Message> {
    chat.messages.values().flat_map(|here| here.values()).filter(|message| message.is_ephemeral()).cloned().collect()
}

#[tokio::test]
async fn a_parameter_that_holds_a_secret_starts_nothing() {
    let bot = Bot::online(quiet()).await;
    let pending = bot.model.slash("olivia", bot.model.channel("ops"), "/migrate start runbook:move-profile").expect("known");
    let form = pending.modal().await.expect("a form for its parameters");
    let fields: Vec<(&str, &str)> = form.inputs().into_iter().map(|name| (name, PLANTED)).collect();
    let refused = bot.model.submit_modal("olivia", pending.id, &fields).expect("sent").message(SOON).await.expect("answered");
    assert!(refused.content.contains("nothing was started") && refused.content.contains("secret_env"), "{}", refused.content);
    assert!(!refused.text().contains(PLANTED), "{}", refused.text());
    assert_eq!(bot.engine.with(|seen| seen.orders.len()), 0);
    bot.finish();
}

#[tokio::test]
async fn incidents_that_were_set_aside_are_listed_with_what_to_do() {
    let bot = Bot::online(quiet()).await;
    let id = incident(&bot, TEAM).await;
    typed(&bot, "leo", "ops", "/incident open title:Slow search severity:sev3").await;
    let unread: IncidentId = "inc-20200101-001".parse().expect("an id");
    let stuck = |incident| StuckIncident { incident, why: "record 3 cannot be read".to_owned() };
    bot.engine.with(|seen| seen.stuck_incidents = vec![stuck(id), stuck(unread)]);
    let list = typed(&bot, "noor", "ops", "/incident status").await.text();
    for incident in [id, unread] {
        assert!(list.contains(&format!("`{incident}` ⛔ set aside: record 3 cannot be read")), "{list}");
    }
    assert!(list.contains("audit verify") && list.contains("/incident open") && list.contains("Slow search"), "{list}");
    assert_eq!(list.matches(&id.to_string()).count(), 1, "{list}");
    let one = typed(&bot, "noor", TEAM, "/incident status").await.text();
    assert!(one.contains("set aside: record 3") && one.contains("Checkout is down"), "{one}");
    let alone = typed(&bot, "noor", "ops", &format!("/incident status incident:{unread}")).await.text();
    assert!(alone.contains("set aside: record 3") && !alone.contains("Slow search"), "{alone}");
    bot.finish();
}

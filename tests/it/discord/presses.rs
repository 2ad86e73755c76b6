//! Buttons and what hangs on roles: questions, confirmations, checklists, the glass; commands from elsewhere.

use pointsman::domain::run::{Answer, FailureKind, Input, ListRef, MessageKind, Outcome};
use pointsman::domain::{RunId, StepName};
use pointsman::engine::Chat as _;
use pointsman::sandbox::discord::{Elsewhere, Fault, MessageId, Misbehaviour};

use super::fake::{Play, runbook};
use super::messages::{at_gate, in_model, in_thread, key_of, open_thread};
use super::{Bot, SOON, quiet, roles};

fn step(name: &str) -> StepName {
    name.parse().expect("a name")
}

/// Posts a message that is owed and shows the run to the fake engine.
async fn posted(bot: &Bot, play: &mut Play, kind: &MessageKind) -> MessageId {
    let key = key_of(play, kind);
    let at = bot.chat.post(&play.snapshot(), &key, false).await.expect("posted").at;
    play.posted(&key, at);
    bot.engine.show(play);
    in_model(at)
}

/// The ids of a message's buttons, in order.
fn buttons(bot: &Bot, message: MessageId) -> Vec<String> {
    let ids = |message: &pointsman::sandbox::discord::Message| message.custom_ids().into_iter().map(str::to_owned).collect();
    bot.model.read(|chat| chat.find_message(message).map(ids)).expect("the message")
}

fn taken(bot: &Bot) -> Vec<(RunId, Input)> {
    bot.engine.with(|seen| std::mem::take(&mut seen.inputs))
}

/// Waits for what the bot says to the one who pressed, and gives it.
async fn objection(bot: &Bot, pending: &pointsman::sandbox::discord::Pending) -> String {
    bot.model.wait_for(SOON, |chat| chat.interactions[&pending.id].followups.first().copied()).await.expect("the bot objects");
    let said = pending.followups().remove(0);
    assert!(said.is_ephemeral(), "only who pressed reads it");
    said.content
}

#[tokio::test]
async fn a_question_is_answered_with_a_reason_by_whom_it_asks_and_nobody_else() {
    let bot = Bot::online(quiet()).await;
    let mut play = in_thread(&bot).await;
    let why = "the connection broke".to_owned();
    play.put(Input::StepFinished(step("look"), 1, Outcome::Unknown { why }));
    let question = posted(&bot, &mut play, &MessageKind::Question { id: 1 }).await;
    let ids = buttons(&bot, question);
    assert_eq!(ids.len(), 3, "it happened, it did not, stop");

    bot.model.set_roles("olivia", &["operator", "dba"]);
    for (name, expected) in [("noor", "one of the roles `dba`"), ("olivia", "ou asked for this run")] {
        let pending = bot.model.click(name, question, &ids[0]).expect("a button");
        assert_eq!(pending.modal().await.expect("a form").inputs(), ["reason"]);
        let sent = bot.model.submit_modal(name, pending.id, &[("reason", "I looked")]).expect("sent");
        let refused = sent.message(SOON).await.expect("answered").content;
        assert!(refused.contains(expected), "{name}: {refused}");
    }
    assert_eq!(taken(&bot), []);

    let pending = bot.model.click("dana", question, &ids[0]).expect("a button");
    pending.modal().await.expect("a form");
    assert!(bot.model.submit_modal("dana", pending.id, &[("reason", "")]).is_err(), "Discord asks for the reason itself");
    let sent = bot.model.submit_modal("dana", pending.id, &[("reason", "I looked: it is there")]).expect("sent");
    let noted = sent.message(SOON).await.expect("answered");
    assert!(noted.content.contains(play.state.id().as_str()) && noted.is_ephemeral(), "{}", noted.content);
    let inputs = taken(&bot);
    let [(run, Input::Answer { question: 1, answer: Answer::Happened, reason, by })] = inputs.as_slice() else {
        panic!("not the answer: {inputs:?}")
    };
    assert_eq!((run, reason.as_str(), by.name.as_str()), (play.state.id(), "I looked: it is there", "Dana"));
    bot.finish();
}

#[tokio::test]
async fn a_button_of_a_settled_question_says_that_it_is_settled() {
    let bot = Bot::online(quiet()).await;
    let mut play = in_thread(&bot).await;
    let failed = Outcome::Failed {
        failure: pointsman::domain::run::Failure { kind: FailureKind::Failed, message: "no".to_owned(), retryable: false },
        checks: vec![],
        output: None,
    };
    play.put(Input::StepFinished(step("look"), 1, failed));
    let question = posted(&bot, &mut play, &MessageKind::Question { id: 1 }).await;
    let retry = buttons(&bot, question)[0].clone();
    let by = super::fake::person(&bot.model, "dana", &["dba"]);
    play.put(Input::Answer { question: 1, answer: Answer::Retry, reason: "it was me".to_owned(), by });
    bot.engine.show(&play);
    let pending = bot.model.click("dana", question, &retry).expect("the old button still stands");
    pending.modal().await.expect("a form");
    let sent = bot.model.submit_modal("dana", pending.id, &[("reason", "again")]).expect("sent");
    let refused = sent.message(SOON).await.expect("answered").content;
    assert!(refused.contains("question"), "{refused}");
    assert_eq!(taken(&bot), []);
    bot.finish();
}

#[tokio::test]
async fn a_confirmation_is_given_by_its_owner_role() {
    let bot = Bot::online(quiet()).await;
    let mut play = in_thread(&bot).await;
    play.succeed("look");
    play.succeed("copy");
    let card = posted(&bot, &mut play, &MessageKind::Confirm { step: step("tell") }).await;
    let ids = buttons(&bot, card);
    let refused = objection(&bot, &bot.model.click("noor", card, &ids[0]).expect("a button")).await;
    assert!(refused.contains("`operator`"), "{refused}");
    assert_eq!(taken(&bot), []);
    let pending = bot.model.click("leo", card, &ids[1]).expect("a button");
    bot.engine.wait_for(|seen| !seen.inputs.is_empty()).await;
    assert!(pending.followups().is_empty(), "the card itself will say it");
    let inputs = taken(&bot);
    let [(_, Input::Confirm { step: confirmed, yes: false, by })] = inputs.as_slice() else { panic!("{inputs:?}") };
    assert_eq!((confirmed, by.name.as_str()), (&step("tell"), "Leo"));
    bot.finish();
}

#[tokio::test]
async fn a_checklists_items_are_ticked_by_their_owners() {
    let bot = Bot::online(quiet()).await;
    let mut listed = serde_json::to_value(runbook()).expect("a runbook is JSON");
    let mut phase = listed["phases"][1].clone();
    phase["gate"] = serde_json::Value::Null;
    phase["at"] = serde_json::Value::Null;
    let checks = phase["steps"][2].clone();
    phase["steps"] = serde_json::json!([checks]);
    listed["phases"] = serde_json::json!([phase]);
    let listed = serde_json::from_value(listed).expect("a runbook");
    let mut play = open_thread(&bot, Play::of(&bot.model, &roles(&bot.model), listed)).await;
    let card = posted(&bot, &mut play, &MessageKind::Checklist { step: step("checks") }).await;
    let ids = buttons(&bot, card);
    assert_eq!(ids.len(), 2, "a button for each item");
    let refused = objection(&bot, &bot.model.click("leo", card, &ids[1]).expect("a button")).await;
    assert!(refused.contains("`dba`"), "{refused}");
    assert_eq!(taken(&bot), []);
    bot.model.click("dana", card, &ids[1]).expect("a button");
    bot.engine.wait_for(|seen| !seen.inputs.is_empty()).await;
    let inputs = taken(&bot);
    let [(_, Input::TickItem { list: ListRef::Step(list), item: 1, ticked: true, by })] = inputs.as_slice() else {
        panic!("{inputs:?}")
    };
    assert_eq!((list, by.name.as_str()), (&step("checks"), "Dana"));
    bot.finish();
}

#[tokio::test]
async fn a_command_from_elsewhere_is_refused_with_the_reason() {
    let bot = Bot::online(quiet()).await;
    let ops = bot.model.channel("ops");
    let cases = [(Elsewhere::AnotherServer, "another server"), (Elsewhere::DirectMessage, "direct messages")];
    for (elsewhere, expected) in cases {
        let pending = bot.model.slash_from(elsewhere, "olivia", ops, "/migrate move source:assets_1").expect("a command");
        let refused = pending.message(SOON).await.expect("answered");
        assert!(refused.content.contains(expected) && refused.is_ephemeral(), "{}", refused.content);
    }
    assert!(bot.engine.with(|seen| seen.orders.is_empty()), "nothing was started");
    bot.finish();
}

/// A run that olivia asked for, at its gate, in front of the fake engine; olivia may break the glass.
async fn before_the_glass(bot: &Bot) -> Play {
    let (play, ..) = at_gate(bot).await;
    bot.engine.show(&play);
    bot.model.set_roles("olivia", &["operator", "operations_lead"]);
    play
}

async fn break_glass(bot: &Bot, play: &Play) -> String {
    let thread = pointsman::sandbox::discord::ChannelId::new(play.state.thread.expect("a thread").get());
    let pending = bot.model.slash("olivia", thread, "/break-glass reason:everything burns").expect("a command");
    pending.message(SOON).await.expect("answered").content
}

#[tokio::test]
async fn the_requester_may_not_break_the_glass_while_anybody_else_could() {
    let bot = Bot::online(quiet()).await;
    let play = before_the_glass(&bot).await;
    let refused = break_glass(&bot, &play).await;
    assert!(refused.contains("somebody else must break the glass"), "{refused}");
    assert!(refused.contains("another holder of `operations_lead`"), "{refused}");
    assert_eq!(taken(&bot), []);
    bot.finish();
}

#[tokio::test]
async fn the_requester_who_alone_holds_the_role_may_break_the_glass() {
    let bot = Bot::online(quiet()).await;
    let play = before_the_glass(&bot).await;
    bot.model.set_roles("leo", &["operator"]);
    let done = break_glass(&bot, &play).await;
    assert!(done.contains("a review is owed"), "{done}");
    let inputs = taken(&bot);
    let [(_, Input::BreakGlass { by, reason, other_holders: false })] = inputs.as_slice() else { panic!("{inputs:?}") };
    assert_eq!((by.name.as_str(), reason.as_str()), ("Olivia", "everything burns"));
    bot.finish();
}

#[tokio::test]
async fn holders_that_cannot_be_counted_count_as_others() {
    let bot = Bot::online(quiet()).await;
    let play = before_the_glass(&bot).await;
    bot.model.set_roles("leo", &["operator"]);
    bot.model.fault(Fault::always("GET /guilds/*/roles/member-counts", Misbehaviour::Answer { status: 403, code: 50_001 }));
    let refused = break_glass(&bot, &play).await;
    assert!(refused.contains("somebody else"), "{refused}");
    assert_eq!(taken(&bot), []);
    bot.finish();
}

//! Posting once, keeping current, reading votes.

use std::sync::Arc;
use std::time::Duration;

use pointsman::clock::FakeClock;
use pointsman::domain::run::{GateRef, Input, MessageKey, MessageKind, Owed, Reading, Verdict, Vote};
use pointsman::domain::{ChannelId, MessageRef};
use pointsman::engine::{Chat, Freshness, PortError};
use pointsman::sandbox::discord::{Fault, Message, MessageId, Misbehaviour};
use twilight_model::guild::Permissions;

use super::fake::{Play, person};
use super::{Bot, quiet, roles};

/// A run whose plan card is posted and whose thread is open.
pub(super) async fn in_thread(bot: &Bot) -> Play {
    open_thread(bot, Play::begin(&bot.model, &roles(&bot.model))).await
}

/// The same of a run that has just begun.
pub(super) async fn open_thread(bot: &Bot, mut play: Play) -> Play {
    let key = key_of(&play, &MessageKind::PlanCard);
    let at = bot.chat.post(&play.snapshot(), &key, false).await.expect("posted").at;
    play.posted(&key, at);
    let thread = bot.chat.open_thread(&play.snapshot()).await.expect("opened");
    play.put(Input::ThreadOpened(thread));
    play
}

pub(super) fn key_of(play: &Play, kind: &MessageKind) -> MessageKey {
    play.state.owed.iter().find(|owed| owed.kind == *kind).expect("it is owed").key.clone()
}

fn gate() -> GateRef {
    GateRef::Phase("cutover".parse().expect("a name"))
}

/// The same with its gate card posted.
pub(super) async fn at_gate(bot: &Bot) -> (Play, MessageKey, MessageRef) {
    let mut play = in_thread(bot).await;
    let key = play.go_to_gate();
    let at = bot.chat.post(&play.snapshot(), &key, false).await.expect("posted").at;
    play.posted(&key, at);
    (play, key, at)
}

pub(super) fn in_model(at: MessageRef) -> MessageId {
    MessageId::new(at.message.get())
}

#[tokio::test]
async fn a_message_carries_its_marker_pings_only_whom_it_names_and_offers_votes() {
    let bot = Bot::rest(quiet()).await;
    let (play, key, at) = at_gate(&bot).await;
    let card = bot.model.read(|chat| chat.find_message(in_model(at)).cloned()).expect("the card");
    assert_eq!(card.embeds[0].footer.as_ref().expect("a footer").text, format!("{} · {key}", play.state.id()));
    let wanted: std::collections::BTreeSet<_> = ["dba", "operations_lead"].map(|role| bot.model.role(role)).into();
    assert_eq!(card.pings.roles.iter().copied().collect::<std::collections::BTreeSet<_>>(), wanted);
    assert!(!card.pings.everyone);
    assert_eq!((card.reacted("✅").len(), card.reacted("❌").len()), (1, 1), "a tap is enough");
    let again = bot.chat.open_thread(&play.snapshot()).await.expect("it exists");
    assert_eq!(Some(again), play.state.thread, "opening it twice gives the same thread");
    bot.finish();
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_found_again_and_not_doubled() {
    let bot = Bot::rest(quiet()).await;
    let mut play = in_thread(&bot).await;
    let key = play.go_to_gate();
    bot.model.fault(Fault::once("POST /channels/*/messages", Misbehaviour::AnswerLost));
    let lost = bot.chat.post(&play.snapshot(), &key, false).await;
    assert!(matches!(lost, Err(PortError::Later { .. })), "{lost:?}");
    let marker = format!("{} · {key}", play.state.id());
    let copies = || {
        bot.model.read(|chat| {
            let messages = chat.messages_in(MessageRefThread(&play).id()).filter(|message| {
                message.embeds.iter().any(|embed| embed.footer.as_ref().is_some_and(|footer| footer.text == marker))
            });
            messages.count()
        })
    };
    assert_eq!(copies(), 1, "it had arrived");
    bot.model.forget_nonces();
    let found = bot.chat.post(&play.snapshot(), &key, true).await.expect("found").at;
    assert_eq!(copies(), 1);
    assert_eq!(found.channel, play.state.thread.expect("a thread"));
    bot.finish();
}

/// The thread of a run in the model's words.
struct MessageRefThread<'a>(&'a Play);

impl MessageRefThread<'_> {
    fn id(&self) -> pointsman::sandbox::discord::ChannelId {
        pointsman::sandbox::discord::ChannelId::new(self.0.state.thread.map_or(1, ChannelId::get))
    }
}

#[tokio::test]
async fn a_message_is_edited_only_when_what_it_says_has_changed() {
    let bot = Bot::rest(quiet()).await;
    let mut play = in_thread(&bot).await;
    let key = key_of(&play, &MessageKind::PlanCard);
    let edits = || bot.model.requests().iter().filter(|request| request.method == "PATCH").count();
    assert_eq!(bot.chat.refresh(&play.snapshot(), &key).await, Ok(Freshness::Current));
    let first = edits();
    assert_eq!(bot.chat.refresh(&play.snapshot(), &key).await, Ok(Freshness::Current));
    assert_eq!(edits(), first, "nothing has changed");
    play.go_to_gate();
    assert_eq!(bot.chat.refresh(&play.snapshot(), &key).await, Ok(Freshness::Current));
    assert_eq!(edits(), first + 1);
    bot.finish();
}

#[tokio::test]
async fn a_deleted_card_is_lost_and_said_to_be() {
    let bot = Bot::rest(quiet()).await;
    let (play, key, at) = at_gate(&bot).await;
    bot.model.delete_message("mia", in_model(at)).expect("a moderator may");
    assert_eq!(bot.chat.refresh(&play.snapshot(), &key).await, Ok(Freshness::Current), "nothing new to show");
    bot.chat.forget();
    assert_eq!(bot.chat.refresh(&play.snapshot(), &key).await, Ok(Freshness::Lost));
    let votes = bot.chat.read_votes(&play.snapshot(), &gate(), 1).await;
    assert!(matches!(votes, Err(PortError::Gone { .. })), "{votes:?}");
    bot.finish();
}

#[tokio::test]
async fn votes_are_read_page_by_page_with_present_roles_and_without_bots() {
    let mut world = quiet();
    for n in 0..130 {
        world = world.persona(&format!("p{n}"), &format!("P {n}"), if n == 129 { &["dba"] } else { &[] });
    }
    let bot = Bot::rest(world).await;
    let (play, _, at) = at_gate(&bot).await;
    for n in 0..130 {
        bot.model.react(&format!("p{n}"), in_model(at), "✅").expect("anybody may");
    }
    bot.model.react("leo", in_model(at), "❌").expect("anybody may");
    bot.model.set_roles("leo", &["operations_lead"]);
    let votes = bot.chat.read_votes(&play.snapshot(), &gate(), 1).await.expect("read");
    assert_eq!(votes.len(), 131, "the bot's own reactions do not count");
    let named: Vec<_> = votes.iter().filter(|vote| !vote.person.roles.is_empty()).collect();
    assert_eq!(named.len(), 2);
    let veto = named.iter().find(|vote| vote.vote == Vote::Veto).expect("leo's");
    assert_eq!(veto.person.roles.iter().map(ToString::to_string).collect::<Vec<_>>(), ["operations_lead"]);
    assert_eq!(veto.person.name, "Leo");
    bot.finish();
}

/// Posts the notes that are owed, and gives what each says.
async fn told(bot: &Bot, play: &mut Play) -> Vec<String> {
    let is_due = |owed: &&Owed| owed.posted.is_none() && matches!(owed.kind, MessageKind::Note(_));
    let mut texts = Vec::new();
    while let Some(key) = play.state.owed.iter().find(is_due).map(|owed| owed.key.clone()) {
        let at = bot.chat.post(&play.snapshot(), &key, false).await.expect("posted").at;
        play.posted(&key, at);
        texts.push(bot.model.read(|chat| chat.find_message(in_model(at)).map(Message::text)).expect("the note"));
    }
    texts
}

/// Reads a card's reactions, lets the run know, and gives what it says.
async fn answers(bot: &Bot, play: &mut Play, card: u32) -> Vec<String> {
    let votes = bot.chat.read_votes(&play.snapshot(), &gate(), card).await.expect("read");
    play.put(Input::VotesRead { gate: gate(), card, votes });
    told(bot, play).await
}

#[tokio::test]
async fn an_expired_gate_and_votes_on_a_card_of_before_are_told_in_chat() {
    let bot = Bot::rest(quiet()).await;
    let (mut play, key, old) = at_gate(&bot).await;
    told(&bot, &mut play).await;
    play.later(60 * 60);
    let closed = told(&bot, &mut play).await.concat();
    for part in [
        "⛔ The gate of **Cutover** is closed: nobody opened it in time.",
        "`/migrate resume` opens a new card with new votes; `/migrate abort` ends the run.",
    ] {
        assert!(closed.contains(part), "{part}\n{closed}");
    }
    let refusal = |name: &str| {
        format!(
            "🚫 **{name}**, your ✅ does not count: this card is closed; vote on the newest one, and if none is open `/migrate resume` opens one."
        )
    };
    bot.model.react("dana", in_model(old), "✅").expect("anybody may");
    let told_dana = answers(&bot, &mut play, 1).await;
    assert!(told_dana.len() == 1 && told_dana[0].contains(&refusal("Dana")), "{told_dana:?}");

    play.put(Input::Resume { by: person(&bot.model, "leo", &["operations_lead"]) });
    let reading = Reading { says: "all is well".to_owned(), measured: String::new(), verdict: Verdict::Green };
    play.put(Input::GateMeasured { gate: gate(), card: 2, readings: vec![reading] });
    let card = key_of(&play, &MessageKind::GateCard { gate: gate(), card: 2 });
    let new = bot.chat.post(&play.snapshot(), &card, false).await.expect("posted").at;
    play.posted(&card, new);
    told(&bot, &mut play).await;
    bot.model.react("leo", in_model(old), "✅").expect("the old card still stands");
    let told_leo = answers(&bot, &mut play, 1).await;
    assert!(told_leo.len() == 1 && told_leo[0].contains(&refusal("Leo")), "and Dana is not told again: {told_leo:?}");
    assert_eq!(bot.chat.refresh(&play.snapshot(), &key).await, Ok(Freshness::Current));
    let shown = bot.model.read(|chat| chat.find_message(in_model(old)).map(Message::text)).expect("the old card");
    assert!(shown.contains("This card was replaced: its votes are void. The newest card in this thread counts."), "{shown}");

    bot.model.react("leo", in_model(new), "✅").expect("anybody may");
    let granted = answers(&bot, &mut play, 2).await.concat();
    assert!(granted.contains("**Leo**") && !granted.contains("does not count"), "{granted}");
    let switch = play.state.step(&"switch".parse().expect("a name"));
    assert_eq!((play.state.gates[&gate()].signers.len(), switch.attempts), (1, 0), "nothing has begun");
    bot.finish();
}

#[tokio::test]
async fn an_archived_thread_is_opened_again_to_post() {
    let bot = Bot::rest(quiet()).await;
    let mut play = in_thread(&bot).await;
    let key = play.go_to_gate();
    let (thread, before) = (MessageRefThread(&play).id(), play.state.thread);
    bot.model.archive_thread("mia", thread, true, false).expect("a moderator may");
    bot.model.fault(Fault::once("POST /channels/*/messages", Misbehaviour::Answer { status: 400, code: 50_083 }));
    let at = bot.chat.post(&play.snapshot(), &key, false).await.expect("posted").at;
    assert_eq!(Some(at.channel), before);
    bot.finish();
}

#[tokio::test]
async fn a_missing_permission_is_named_with_its_mend() {
    let bot = Bot::rest(quiet()).await;
    let play = Play::begin(&bot.model, &roles(&bot.model));
    let (key, ops) = (key_of(&play, &MessageKind::PlanCard), bot.model.channel("ops"));
    bot.model.revoke_from_bot(Permissions::SEND_MESSAGES);
    let refused = bot.chat.post(&play.snapshot(), &key, false).await;
    let Err(PortError::Refused { why }) = refused else { panic!("not refused: {refused:?}") };
    let expected = format!("could not post plan of {}: the bot's role lacks a permission there; it needs", play.state.id());
    assert!(why.starts_with(&expected) && why.contains("`Send Messages`"), "{why}");
    assert_eq!(bot.model.read(|chat| chat.posts_in(ops).len()), 0);
    bot.model.grant_to_bot(Permissions::SEND_MESSAGES);
    bot.chat.post(&play.snapshot(), &key, false).await.expect("what is owed is posted once it may be");
    bot.finish();
}

#[tokio::test]
async fn what_a_step_printed_is_attached_and_nothing_outside_its_run() {
    let bot = Bot::rest(quiet()).await;
    let mut play = in_thread(&bot).await;
    let dir = bot.dir.path().join(play.state.id().as_str());
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join("look.log"), "42 tables").expect("written");
    std::fs::write(bot.dir.path().join("secret"), "no").expect("written");
    for (file, expected) in [("look.log", Some("42 tables")), ("../secret", None)] {
        let step: pointsman::domain::StepName = "look".parse().expect("a name");
        let attempt = play.state.step(&step).attempts;
        let output = pointsman::domain::run::OutputFile { file: file.to_owned(), bytes: 9, tail: String::new() };
        let mut play = Play { state: play.state.clone(), now: play.now };
        play.put(Input::StepFinished(
            step,
            attempt,
            pointsman::domain::run::Outcome::Succeeded {
                result: serde_json::json!({}),
                simulated: false,
                checks: vec![],
                output: Some(output),
            },
        ));
        let note = play.state.owed.iter().find(|owed| owed.posted.is_none() && matches!(owed.kind, MessageKind::Note(_)));
        let key = note.expect("a note").key.clone();
        bot.model.forget_nonces();
        let at = bot.chat.post(&play.snapshot(), &key, false).await.expect("posted").at;
        let message = bot.model.read(|chat| chat.find_message(in_model(at)).cloned()).expect("the note");
        let attached = message.attachments.first().and_then(|file| bot.model.attachment(file.id));
        assert_eq!(attached.as_deref(), expected.map(str::as_bytes));
    }
    play.now = super::fake::start_instant();
    bot.finish();
}

#[tokio::test]
async fn a_message_too_old_to_be_edited_is_posted_anew_and_leaves_no_second_copy() {
    let clock = FakeClock::at(super::fake::start_instant());
    let bot = Bot::timed(quiet(), Arc::new(clock.clone()), Duration::from_secs(150)).await;
    let mut play = in_thread(&bot).await;
    let key = key_of(&play, &MessageKind::PlanCard);
    let old = play.state.owed.iter().find(|owed| owed.key == key).and_then(|owed| owed.posted).expect("it is posted");
    clock.advance(Duration::from_secs(61 * 60));
    let mut edits = 0;
    loop {
        // So that it is edited although it says the same.
        bot.chat.forget();
        match bot.chat.refresh(&play.snapshot(), &key).await.expect("Discord answers") {
            Freshness::Current => edits += 1,
            Freshness::Lost => break,
        }
        assert!(edits < 100, "the model limits edits of old messages");
    }
    assert!(edits > 0, "some edits of an old message are taken");
    assert!(bot.model.read(|chat| chat.find_message(in_model(old)).is_some()), "it stands until another one does");
    play.put(Input::MessageLost(key.clone(), old));
    let new = bot.chat.post(&play.snapshot(), &key, false).await.expect("posted anew").at;
    play.posted(&key, new);
    let ops = bot.model.channel("ops");
    let copies: Vec<MessageId> = bot.model.read(|chat| chat.posts_in(ops).iter().map(|message| message.id).collect());
    assert_eq!(copies, [in_model(new)]);
    bot.chat.forget();
    assert_eq!(bot.chat.refresh(&play.snapshot(), &key).await, Ok(Freshness::Current), "the new one can be edited");
    bot.finish();
}

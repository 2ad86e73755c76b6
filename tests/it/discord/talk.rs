//! Slash commands, completions, forms, buttons.

use pointsman::domain::run::{Input, Mode};
use pointsman::sandbox::discord::World;

use super::messages::in_thread;
use super::{Bot, SOON, quiet};

fn start_order(bot: &Bot) -> pointsman::engine::StartOrder {
    bot.engine.with(|seen| seen.orders.last().cloned()).expect("an order")
}

#[tokio::test]
async fn a_start_with_everything_given_is_deferred_and_then_answered() {
    let bot = Bot::online(quiet()).await;
    let ops = bot.model.channel("ops");
    let pending = bot.model.slash("olivia", ops, "/migrate move source:assets_1").expect("a known command");
    let answer = pending.message(SOON).await.expect("answered");
    assert!(answer.content.contains("run-") && answer.is_ephemeral(), "{}", answer.content);
    let order = start_order(&bot);
    assert_eq!((order.mode, order.at, order.requester.name.as_str()), (Mode::Live, None, "Olivia"));
    assert_eq!(order.parameters["source_id"], "assets_1");
    assert_eq!(order.requester.roles.iter().map(ToString::to_string).collect::<Vec<_>>(), ["operator"]);
    bot.finish();
}

#[tokio::test]
async fn what_a_command_does_not_carry_is_asked_for_in_a_form() {
    let bot = Bot::online(quiet()).await;
    let ops = bot.model.channel("ops");
    let text = "/migrate start runbook:move-profile at:in 20m mode:dry_run";
    let pending = bot.model.slash("olivia", ops, text).expect("a known command");
    let modal = pending.modal().await.expect("a form");
    assert_eq!(modal.inputs(), ["source_id", "workers"]);
    let opened = pending.id;
    let fields = [("source_id", "NOT valid"), ("workers", "")];
    let refused = bot.model.submit_modal("olivia", opened, &fields).expect("sent").message(SOON).await.expect("answered");
    assert!(refused.content.contains("`source_id`: ") && refused.content.contains("pattern"), "{}", refused.content);

    let pending = bot.model.slash("olivia", ops, text).expect("a known command");
    pending.modal().await.expect("a form");
    let fields = [("source_id", "assets_1"), ("workers", "")];
    bot.model.submit_modal("olivia", pending.id, &fields).expect("sent").message(SOON).await.expect("answered");
    let order = start_order(&bot);
    assert_eq!(order.mode, Mode::DryRun);
    assert_eq!(order.at, Some(super::fake::start_instant() + chrono::TimeDelta::minutes(20)));
    assert_eq!(order.parameters.len(), 1, "the empty input leaves its default");
    bot.finish();
}

#[tokio::test]
async fn seven_parameters_take_two_pages_and_nothing_waits_in_memory() {
    let bot = Bot::online(quiet()).await;
    let ops = bot.model.channel("ops");
    let pending = bot.model.slash("olivia", ops, "/migrate start runbook:seven").expect("a known command");
    let modal = pending.modal().await.expect("a form");
    assert_eq!(modal.inputs(), ["p1", "p2", "p3", "p4", "p5"]);
    let values = ["a b", "`code`", "x:y", "ü", "5"];
    let fields: Vec<(&str, &str)> = modal.inputs().into_iter().zip(values).collect();
    let page = bot.model.submit_modal("olivia", pending.id, &fields).expect("sent").message(SOON).await.expect("a page");
    let button = page.custom_ids()[0].to_owned();
    let pending = bot.model.click("olivia", page.id, &button).expect("a button");
    assert_eq!(pending.modal().await.expect("a form").inputs(), ["p6", "p7"]);
    let fields = [("p6", "6"), ("p7", "7")];
    bot.model.submit_modal("olivia", pending.id, &fields).expect("sent").message(SOON).await.expect("answered");
    let order = start_order(&bot);
    let given: Vec<&str> = order.parameters.values().map(String::as_str).collect();
    assert_eq!(given, ["a b", "`code`", "x:y", "ü", "5", "6", "7"]);
    bot.finish();
}

#[tokio::test]
async fn who_lacks_the_role_is_told_which_one_it_takes() {
    let bot = Bot::online(quiet()).await;
    let ops = bot.model.channel("ops");
    let pending = bot.model.slash("noor", ops, "/migrate start runbook:move-profile").expect("a known command");
    let refused = pending.message(SOON).await.expect("answered");
    assert!(refused.content.contains("`operator`") && refused.is_ephemeral(), "{}", refused.content);
    assert!(bot.engine.with(|seen| seen.orders.is_empty()));
    let page = bot.model.slash("noor", ops, "/whoami").expect("a known command").message(SOON).await.expect("answered");
    assert!(page.text().contains("/migrate start"), "{}", page.text());
    bot.finish();
}

#[tokio::test]
async fn a_run_is_not_started_in_a_thread_whosever_it_is() {
    let bot = Bot::online(quiet()).await;
    // The engine knows of no run here: to the bot it is somebody's thread.
    let thread = in_thread(&bot).await.state.thread.expect("a thread").get();
    let thread = pointsman::sandbox::discord::ChannelId::new(thread);
    for command in ["/migrate move source:assets_1", "/migrate start runbook:move-profile"] {
        let refused = bot.model.slash("olivia", thread, command).expect("a known command").message(SOON).await.expect("answered");
        assert!(
            refused.content.contains("inside a thread") && refused.content.contains("Nothing was started"),
            "{}",
            refused.content
        );
        assert!(refused.is_ephemeral());
    }
    assert!(bot.engine.with(|seen| seen.orders.is_empty()));
    bot.finish();
}

#[tokio::test]
async fn completions_come_from_memory_and_fit_what_was_typed() {
    let bot = Bot::online(quiet()).await;
    let ops = bot.model.channel("ops");
    let offered = bot.model.autocomplete("olivia", ops, "/migrate start runbook:move-p").expect("an option");
    let values: Vec<String> = offered.choices().await.expect("choices").into_iter().map(|choice| choice.name).collect();
    assert_eq!(values, ["move-profile · Move a *profile* to PostgreSQL"]);
    let play = in_thread(&bot).await;
    bot.engine.show(&play);
    let offered = bot.model.autocomplete("olivia", ops, "/migrate status run:").expect("an option");
    assert_eq!(offered.choices().await.expect("choices").len(), 1);
    bot.finish();
}

#[tokio::test]
async fn in_a_runs_thread_the_run_need_not_be_named_and_a_rejection_says_what_next() {
    let bot = Bot::online(quiet()).await;
    let play = in_thread(&bot).await;
    bot.engine.show(&play);
    let thread = pointsman::sandbox::discord::ChannelId::new(play.state.thread.expect("a thread").get());
    let pending = bot.model.slash("leo", thread, "/migrate pause reason:phone").expect("a known command");
    pending.message(SOON).await.expect("answered");
    let (run, input) = bot.engine.with(|seen| seen.inputs.pop()).expect("an input");
    assert_eq!(run, *play.state.id());
    let Input::Pause { by, reason } = input else { panic!("another input: {input:?}") };
    assert_eq!((by.name.as_str(), reason.as_str()), ("Leo", "phone"));
    let refused = bot.model.slash("leo", thread, "/migrate pause").expect("known").message(SOON).await.expect("answered");
    assert!(refused.content.contains("reason") && refused.content.contains("try again"), "{}", refused.content);
    let lost = bot.model.slash("leo", bot.model.channel("ops"), "/migrate pause reason:x").expect("known");
    let lost = lost.message(SOON).await.expect("answered");
    assert!(lost.content.contains("thread"), "{}", lost.content);
    let status = bot.model.slash("noor", thread, "/migrate status").expect("known").message(SOON).await.expect("answered");
    assert!(status.text().contains(run.as_str()), "{}", status.text());
    bot.finish();
}

#[tokio::test]
async fn a_run_that_is_set_aside_is_told_in_the_list_and_in_its_thread() {
    let bot = Bot::online(quiet()).await;
    let play = in_thread(&bot).await;
    bot.engine.show(&play);
    let stuck = pointsman::engine::Stuck { run: play.state.id().clone(), why: "no such step".to_owned() };
    bot.engine.with(|seen| seen.stuck.push(stuck));
    let thread = pointsman::sandbox::discord::ChannelId::new(play.state.thread.expect("a thread").get());
    for place in [bot.model.channel("ops"), thread] {
        let status = bot.model.slash("noor", place, "/migrate status").expect("known").message(SOON).await.expect("answered");
        assert!(status.text().contains("set aside: no such step"), "{}", status.text());
    }
    bot.finish();
}

#[tokio::test]
async fn a_plan_that_cannot_be_made_says_why() {
    let bot = Bot::online(World::operations()).await;
    let pending = bot.model.slash("dana", bot.model.channel("ops"), "/migrate plan source:assets_1").expect("known");
    let answer = pending.message(SOON).await.expect("answered");
    assert!(answer.content.contains("does not answer") && answer.content.contains("Nothing was started"), "{}", answer.content);
    bot.finish();
}

//! Commands, completions, buttons, selects and modals, from registration to the last follow-up.

use std::time::Duration;

use pointsman::sandbox::discord::{NotAnswered, World};
use serenity::all::{
    ButtonStyle, Command, CommandInteraction, CommandOptionType, CommandType, CreateActionRow, CreateAutocompleteResponse,
    CreateButton, CreateCommand, CreateCommandOption, CreateInputText, CreateInteractionResponse as Respond,
    CreateInteractionResponseFollowup, CreateInteractionResponseMessage as Text, CreateMessage, CreateModal, CreateSelectMenu,
    CreateSelectMenuKind, CreateSelectMenuOption, EditInteractionResponse, Event, InputTextStyle, Interaction, ResolvedValue,
};

use super::{Bot, SOON, expect_clean, quiet_model, refusal, start, still_model};

fn migrate() -> CreateCommand {
    let text = |name: &str, help: &str| CreateCommandOption::new(CommandOptionType::String, name, help);
    let start = CreateCommandOption::new(CommandOptionType::SubCommand, "start", "Start a migration")
        .add_sub_option(text("runbook", "Which").required(true).set_autocomplete(true))
        .add_sub_option(text("at", "When"))
        .add_sub_option(text("mode", "How").add_string_choice("live", "live").add_string_choice("dry run", "dry_run"))
        .add_sub_option(CreateCommandOption::new(CommandOptionType::User, "lead", "Who leads"));
    CreateCommand::new("migrate").description("Plan, run and watch a migration").add_option(start)
}

async fn online() -> Bot {
    let model = quiet_model().await;
    with_commands(&model).await
}

pub(super) async fn with_commands(model: &pointsman::sandbox::discord::Model) -> Bot {
    let bot = Bot::online(model).await;
    let commands = vec![migrate(), CreateCommand::new("Add to timeline").kind(CommandType::Message)];
    bot.guild().set_commands(&bot.http, commands).await.expect("registered");
    bot
}

impl Bot {
    async fn interaction(&mut self) -> Interaction {
        self.expect("an interaction", |event| match event {
            Event::InteractionCreate(created) => Some(created.interaction.clone()),
            _ => None,
        })
        .await
    }

    async fn command(&mut self) -> CommandInteraction {
        self.interaction().await.command().expect("a command")
    }
}

#[tokio::test]
async fn a_slash_command_is_deferred_and_then_answered() {
    let mut bot = online().await;
    let ops = bot.model.channel("ops");
    let said = r#"/migrate start runbook:ace-sqlite-to-postgres at:2026-11-21 22:00 mode:dry run lead:@dana"#;
    let pending = bot.model.slash("olivia", ops, said).expect("a known command");
    let command = bot.command().await;
    assert_eq!(command.member.as_ref().expect("a member").roles.len(), 1);
    let options = command.data.options();
    let ResolvedValue::SubCommand(values) = &options[0].value else { panic!("a sub-command") };
    assert!(matches!(values[0].value, ResolvedValue::String("ace-sqlite-to-postgres")));
    assert!(matches!(values[1].value, ResolvedValue::String("2026-11-21 22:00")));
    assert!(matches!(values[2].value, ResolvedValue::String("dry_run")));
    assert!(matches!(values[3].value, ResolvedValue::User(user, _) if user.name == "dana"));

    command.defer_ephemeral(&bot.http).await.expect("in time");
    command.edit_response(&bot.http, EditInteractionResponse::new().content("planned")).await.expect("edited");
    let follow = CreateInteractionResponseFollowup::new().content("one more thing");
    command.create_followup(&bot.http, follow).await.expect("followed");
    let message = pending.message(SOON).await.expect("answered");
    assert_eq!((message.content.as_str(), message.is_ephemeral()), ("planned", true));
    assert_eq!(pending.followups()[0].content, "one more thing");
    let shown = bot.channel("ops").messages(&bot.http, serenity::all::GetMessages::new()).await.expect("a list");
    assert_eq!(shown.len(), 1, "the ephemeral one is not in the channel's history");
    let again = command.create_response(&bot.http, Respond::Acknowledge).await;
    assert_eq!(refusal(again).0, 400);
    bot.stop().await;
}

#[tokio::test]
async fn an_unknown_command_or_option_is_explained() {
    let bot = online().await;
    let ops = bot.model.channel("ops");
    let refused = |text: &str| bot.model.slash("olivia", ops, text).expect_err("refused").to_string();
    assert_eq!(refused("/migrat start"), "unknown command \"migrat\"; there are: /migrate");
    assert_eq!(refused("/migrate begin"), "unknown sub-command \"begin\"; there are: start");
    assert!(refused("/migrate start runbok:x").contains("there are: runbook, at, mode, lead"));
    assert_eq!(refused("/migrate start at:now"), "option runbook is required: Which");
    assert_eq!(refused("/migrate start runbook:x mode:wet"), "unknown choice of mode \"wet\"; there are: live, dry run");
    assert_eq!(refused("/migrate start runbook:x lead:@nobody"), "option lead: \"@nobody\" is not a member");
    let unseen = bot.model.slash("dana", bot.model.channel("leads"), "/migrate start runbook:x");
    assert_eq!(unseen.expect_err("refused").to_string(), "Dana cannot see #leads");
    bot.stop().await;
}

#[tokio::test]
async fn completions_are_offered_while_typing() {
    let mut bot = online().await;
    let pending = bot.model.autocomplete("olivia", bot.model.channel("ops"), "/migrate start runbook:ac").expect("known");
    let Interaction::Autocomplete(asked) = bot.interaction().await else { panic!("a completion") };
    let focused = asked.data.autocomplete().expect("focused");
    assert_eq!((focused.name, focused.value), ("runbook", "ac"));
    let offer = CreateAutocompleteResponse::new().add_string_choice("ACE", "ace-sqlite-to-postgres");
    asked.create_response(&bot.http, Respond::Autocomplete(offer)).await.expect("answered");
    assert_eq!(pending.choices().await.expect("offered")[0].value, "ace-sqlite-to-postgres");
    expect_clean(&bot.model);
    bot.stop().await;
}

#[tokio::test]
async fn too_many_choices_are_refused() {
    let mut bot = online().await;
    bot.model.autocomplete("olivia", bot.model.channel("ops"), "/migrate start runbook:").expect("known");
    let Interaction::Autocomplete(asked) = bot.interaction().await else { panic!("a completion") };
    let offer = (0..26).fold(CreateAutocompleteResponse::new(), |offer, n| offer.add_string_choice(n.to_string(), n.to_string()));
    assert_eq!(refusal(asked.create_response(&bot.http, Respond::Autocomplete(offer)).await), (400, 50035));
    bot.stop().await;
}

#[tokio::test]
async fn a_modal_is_filled_in_and_answered() {
    let mut bot = online().await;
    let ops = bot.model.channel("ops");
    let opened = bot.model.slash("olivia", ops, "/migrate start runbook:x").expect("known");
    let command = bot.command().await;
    let row = |input: CreateInputText| CreateActionRow::InputText(input);
    let modal = CreateModal::new("params:7", "Parameters").components(vec![
        row(CreateInputText::new(InputTextStyle::Short, "Source", "source_id").min_length(2)),
        row(CreateInputText::new(InputTextStyle::Paragraph, "Why", "why").required(false).value("planned")),
    ]);
    command.create_response(&bot.http, Respond::Modal(modal)).await.expect("opened");
    assert_eq!(opened.modal().await.expect("a modal").inputs(), ["source_id", "why"]);
    let submit = |fields: &[(&str, &str)]| bot.model.submit_modal("olivia", opened.id, fields);
    assert_eq!(submit(&[]).expect_err("missing").to_string(), "field source_id is required");
    assert!(submit(&[("source_id", "x")]).expect_err("short").to_string().contains("must have 2 to 4000"));
    let sent = submit(&[("source_id", "assets_1")]).expect("sent");
    let Interaction::Modal(submitted) = bot.interaction().await else { panic!("a modal") };
    let values: Vec<_> = submitted
        .data
        .components
        .iter()
        .map(|row| match &row.components[0] {
            serenity::all::ActionRowComponent::InputText(input) => input.value.clone().unwrap_or_default(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(values, ["assets_1", "planned"]);
    submitted.create_response(&bot.http, Respond::Message(Text::new().content("thanks"))).await.expect("answered");
    assert_eq!(sent.message(SOON).await.expect("answered").content, "thanks");
    expect_clean(&bot.model);
    bot.stop().await;
}

#[tokio::test]
async fn a_button_and_a_select_change_their_message() {
    let mut bot = online().await;
    let options = vec![CreateSelectMenuOption::new("SEV1", "1"), CreateSelectMenuOption::new("SEV2", "2")];
    let select = CreateSelectMenu::new("severity", CreateSelectMenuKind::String { options });
    let rows = vec![
        CreateActionRow::Buttons(vec![
            CreateButton::new("ack").label("Acknowledge").style(ButtonStyle::Success),
            CreateButton::new("no").label("No").disabled(true),
        ]),
        CreateActionRow::SelectMenu(select),
    ];
    let card = CreateMessage::new().content("incident").components(rows);
    bot.channel("ops").send_message(&bot.http, card).await.expect("sent");
    let card = bot.model.read(|chat| chat.messages_with("incident")[0].id);
    assert!(bot.model.click("dana", card, "no").is_err(), "it is disabled");
    assert!(bot.model.select("dana", card, "severity", &["9"]).is_err(), "not offered");

    let pending = bot.model.click("dana", card, "ack").expect("a button");
    let click = bot.interaction().await.message_component().expect("a click");
    assert!(click.member.as_ref().and_then(|member| member.permissions).is_some());
    let update = Respond::UpdateMessage(Text::new().content("acknowledged").components(vec![]));
    click.create_response(&bot.http, update).await.expect("updated");
    assert_eq!(pending.message(SOON).await.expect("updated").content, "acknowledged");
    assert!(bot.model.select("dana", card, "severity", &["1"]).is_err(), "the select is gone");
    expect_clean(&bot.model);
    bot.stop().await;
}

#[tokio::test]
async fn a_message_command_carries_the_words_that_the_bot_may_not_read() {
    let mut bot = online().await;
    let message = bot.model.send("dana", bot.model.channel("ops"), "the disk was full").expect("sent");
    bot.model.message_command("leo", message, "Add to timeline").expect("known");
    let command = bot.command().await;
    let target = command.data.resolved.messages.values().next().expect("the target");
    assert_eq!(target.content, "the disk was full");
    bot.stop().await;
}

#[tokio::test]
async fn an_answer_after_three_seconds_is_refused() {
    let model = start(World::operations().without_rate_limits().answer_within(Duration::from_millis(20))).await;
    let mut bot = with_commands(&model).await;
    let pending = model.slash("olivia", model.channel("ops"), "/migrate start runbook:x").expect("known");
    let command = bot.command().await;
    assert!(matches!(pending.first().await, Err(NotAnswered::InTime)));
    assert_eq!(refusal(command.defer(&bot.http).await), (404, 10062));
    assert_eq!(model.counters().not_answered, 1);
    assert!(model.violations()[0].what.starts_with("10062"));
    bot.stop().await;
}

#[tokio::test]
async fn the_token_dies_after_fifteen_minutes() {
    let (model, clock) = still_model(World::operations().without_rate_limits()).await;
    let mut bot = with_commands(&model).await;
    model.slash("olivia", model.channel("ops"), "/migrate start runbook:x").expect("known");
    let command = bot.command().await;
    command.defer(&bot.http).await.expect("in time");
    clock.advance(Duration::from_secs(15 * 60));
    let late = command.edit_response(&bot.http, EditInteractionResponse::new().content("late")).await;
    assert_eq!(refusal(late), (401, 50027));
    bot.stop().await;
}

#[tokio::test]
async fn registering_holds_commands_against_the_limits() {
    let model = quiet_model().await;
    let bot = Bot::rest(&model);
    let register = |command| bot.guild().set_commands(&bot.http, vec![command]);
    let crowded = (0..26).fold(CreateCommandOption::new(CommandOptionType::String, "mode", "How"), |option, n| {
        option.add_string_choice(n.to_string(), n.to_string())
    });
    let crowded = CreateCommand::new("x").description("x").add_option(crowded);
    assert_eq!(refusal(register(crowded).await), (400, 50035));
    let shouting = CreateCommand::new("Migrate").description("x");
    assert_eq!(refusal(register(shouting).await), (400, 50035));
    let registered = register(migrate()).await.expect("registered");
    let again = register(migrate()).await.expect("registered");
    assert_eq!(registered[0].id, again[0].id, "an overwrite keeps the id of a known name");
    let listed: Vec<Command> = bot.guild().get_commands(&bot.http).await.expect("a list");
    assert_eq!(listed.len(), 1);
}

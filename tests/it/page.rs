//! The chat page in a real browser: what a person at the keyboard can do, reads, and is kept from.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pointsman::clock::{ScaledClock, wall_now};
use pointsman::sandbox::OpenStage;
use pointsman::sandbox::discord::{Model, World};
use pointsman::sandbox::page::{Backstage, router};
use pointsman::sandbox::stage::{Stage, StageOptions};
use serde_json::{Value, json};

use crate::harness::browser::{ALT, Browser, DOWN, ENTER, ESCAPE, F6, SHIFT, TAB, UP};

/// Rows of the practice database: enough to be real, few enough not to be waited for.
const ROWS: u32 = 400;

/// The messages on the page that contain a text; an expression that is true while there is one.
fn said(text: &str) -> String {
    format!("[...document.querySelectorAll('#messages .message')].find(m => m.textContent.includes({}))", json!(text))
}

/// What a person does in several places of the tests, with nothing but keys.
struct Person<'a>(&'a Browser);

impl Person<'_> {
    /// Becomes the person at `place` (from 1) in the page's list, whose name is `name`.
    async fn become_person(&self, place: char, name: &str) {
        self.0.press_with(ALT, place).await;
        self.0.fact(&format!("document.querySelector('#persona b').textContent === {}", json!(name))).await;
    }

    /// Types `/migrate start`, takes the runbook that the bot offers, chooses the mode, and fills in the form.
    async fn start_migration(&self, mode: Option<&str>) {
        let page = self.0;
        page.type_keys("/migrate start").await;
        page.fact("document.querySelector('#popup [aria-selected=true]')?.textContent.startsWith('/migrate start')").await;
        page.type_keys(&ENTER.to_string()).await;
        page.fact("document.querySelector('#popup [aria-selected=true]')?.textContent.includes('ace-sqlite-to-postgres')").await;
        page.type_keys(&TAB.to_string()).await;
        page.fact("document.activeElement.className === 'tail'").await;
        if let Some(mode) = mode {
            page.type_keys(&format!("mode{ENTER}")).await;
            page.fact("document.activeElement.dataset.option === 'mode'").await;
            page.type_keys(&mode[..3]).await;
            page.fact(&format!("document.querySelector('#popup [aria-selected=true]')?.textContent.includes('{mode}')")).await;
            page.type_keys(&ENTER.to_string()).await;
        }
        page.type_keys(&ENTER.to_string()).await;
        page.fact("document.activeElement.name === 'database'").await;
        for field in ["database", "service"] {
            page.press_until(TAB, &format!("it.name === '{field}'")).await;
            page.type_keys(&format!("{TAB} ")).await;
            page.fact(&format!("document.activeElement.name === '{field}' && document.activeElement.value")).await;
        }
        page.type_keys(&ENTER.to_string()).await;
        page.fact("!document.querySelector('dialog')").await;
    }

    /// Goes to the newest thread of the channel.
    async fn follow_thread(&self, number: usize) {
        self.0.fact(&format!("document.querySelectorAll('#channels a.thread').length === {number}")).await;
        for _ in 0..number {
            self.0.press_with(ALT, DOWN).await;
        }
        let last = "[...document.querySelectorAll('#channels a.thread')].at(-1).getAttribute('aria-current') === 'page'";
        self.0.fact(last).await;
    }

    /// Goes up from the newest message to the one with `text`, and into it to what `wanted` (about `it`) says; then
    /// presses it and goes back to the message box.
    async fn press_in_message(&self, text: &str, wanted: &str) {
        self.0.fact(&said(text)).await;
        self.0.type_keys(&ESCAPE.to_string()).await;
        self.0.press_with(SHIFT, F6).await;
        self.0.fact("document.activeElement.closest('#messages article')").await;
        self.0.press_until(UP, &format!("it.textContent.includes({})", json!(text))).await;
        self.0.press_until(TAB, wanted).await;
        self.0.type_keys(&format!("{ENTER}{ESCAPE}{ESCAPE}")).await;
        self.0.fact("document.activeElement.id === 'input'").await;
    }

    /// Signs the gate.
    async fn sign(&self) {
        self.press_in_message("gate/cutover/1", "it.dataset.emoji === '✅'").await;
    }
}

/// The whole of it: a rehearsal, a live run, wrong people who are told why, three signatures, of which one is cast while
/// the bot is dead, and the end; nothing is clicked except the stage's levers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_is_started_signed_and_seen_to_succeed_by_keyboard_alone() {
    let folder = tempfile::tempdir().unwrap();
    // PostgreSQL runs as another user and must be able to search the way to its files.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut stage = Stage::start(options(&folder.path().join("stage")), ROWS).await.unwrap();
    stage.start_bot().unwrap();
    let (model, service) = (stage.model.clone(), stage.estate.kubernetes().service_url());
    let soon = Duration::from_secs(60);
    model.wait_for(soon, |chat| (!chat.commands.is_empty()).then_some(())).await.unwrap();
    model.wait_for_gateway(soon).await.unwrap();
    let stage = OpenStage::open(stage);
    let base = model.base_url().to_owned();
    let page = Browser::open(&base).await;
    let person = Person(&page);

    person.start_migration(Some("dry_run")).await;
    person.follow_thread(1).await;
    page.fact(&format!("{}.textContent.includes('succeeded')", said("· summary"))).await;
    page.press_with(ALT, UP).await;
    page.fact("document.querySelector('#place').textContent === '#ops'").await;
    person.start_migration(None).await;
    person.follow_thread(2).await;

    // Noor holds no role: the bot tells her, and only her, why her press does nothing.
    person.become_person('6', "Noor").await;
    person.press_in_message("checklist/confirm-prerequisites", "it.dataset.customId").await;
    page.fact("document.querySelector('.message.ephemeral .only')?.closest('.message').textContent.includes('role')").await;
    for (number, (place, name)) in [('3', "Dana"), ('2', "Leo"), ('4', "Sam")].into_iter().enumerate() {
        person.become_person(place, name).await;
        page.fact("!document.querySelector('.message.ephemeral')").await;
        let nth = format!("it.dataset.customId && it === it.closest('article').querySelectorAll('[data-custom-id]')[{number}]");
        person.press_in_message("checklist/confirm-prerequisites", &nth).await;
    }
    page.fact(&said("gate/cutover/1")).await;

    // Who asked may not sign, and is told so.
    person.become_person('1', "Olivia").await;
    person.sign().await;
    page.fact(&said("Olivia, your ✅ does not count")).await;

    // Dana signs while the bot is dead; her vote counts when it is back.
    lever(&page, "kill", "is not running").await;
    person.become_person('3', "Dana").await;
    person.sign().await;
    lever(&page, "start", "runs").await;
    page.fact(&format!("/dba: .*Dana/.test({}.innerText)", said("gate/cutover/1"))).await;
    for (place, name) in [('2', "Leo"), ('4', "Sam")] {
        person.become_person(place, name).await;
        person.sign().await;
    }
    person.become_person('3', "Dana").await;
    person.press_in_message("confirm/sample/1", "it.textContent === 'Yes'").await;
    page.fact(&said("Its lock is kept until it is closed")).await;
    person.become_person('2', "Leo").await;
    page.type_keys(&format!("/migrate close{ENTER}")).await;
    page.fact("document.activeElement.dataset.option === 'reason'").await;
    page.type_keys(&format!("all is well{ENTER}")).await;
    page.fact(&format!("{}.textContent.includes('succeeded')", said("· summary"))).await;

    let version: Value = reqwest::get(format!("{service}/version")).await.unwrap().json().await.unwrap();
    assert_eq!(version["backend"], "postgres", "what the page shows has happened");
    page.close_clean(&base).await;
    stage.stop().await;
}

/// Presses a lever of the stage and waits for what the panel then says of the bot.
async fn lever(page: &Browser, key: &str, state: &str) {
    page.run("document.querySelector('#tab-stage').click()").await;
    page.fact(&format!("document.querySelector('[data-key={key}]:not(:disabled)')")).await;
    page.run(&format!("document.querySelector('[data-key={key}]').click()")).await;
    page.fact(&format!("document.querySelector('#bot-state').textContent.startsWith('{state}')")).await;
}

fn options(directory: &Path) -> StageOptions {
    StageOptions {
        exe: env!("CARGO_BIN_EXE_pointsman").into(),
        directory: directory.to_owned(),
        definitions: env!("CARGO_MANIFEST_DIR").into(),
        path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
        speed: 1,
        anchor: wall_now(),
        listen: ([127, 0, 0, 1], 0).into(),
    }
}

/// A model with the page and no stage.
async fn quiet_model(world: World) -> Model {
    let clock = Arc::new(ScaledClock::real());
    Model::start_beside(world, clock, ([127, 0, 0, 1], 0).into(), router(Backstage::new())).await.unwrap()
}

#[tokio::test]
async fn what_people_and_the_bot_write_stays_text() {
    let world = World::operations().persona("eve", "<b onclick=alert(1)>Eve</b>", &["dba"]);
    let model = quiet_model(world).await;
    let ops = model.channel("ops");
    model.send("eve", ops, "<img src=x onerror=alert(1)> [go](javascript:alert(2)) <script>alert(3)</script>").unwrap();
    model.send("dana", ops, "**bold** `<i>` <@&1> <#2> <t:1790000000:F> https://example.org/?a=<b> last words").unwrap();
    let page = Browser::open(model.base_url()).await;
    page.fact(&said("last words")).await;
    let made = "return document.querySelectorAll('#messages img:not(.face), #messages script, #messages b[onclick], #messages i').length";
    assert_eq!(page.run(made).await, 0, "nothing that was written became an element");
    let links = page.run("return [...document.querySelectorAll('#messages .text a')].map(a => a.href)").await;
    assert_eq!(links, json!(["https://example.org/?a="]), "only addresses of the web are links");
    assert_eq!(page.run("return document.querySelector('#messages strong').textContent").await, "bold");
    page.fact(&said("<img src=x onerror=alert(1)>")).await;
    page.fact("document.querySelector('#people').textContent.includes('<b onclick=alert(1)>Eve</b>')").await;
    let policy = reqwest::get(model.base_url()).await.unwrap().headers()["content-security-policy"].clone();
    assert!(!policy.to_str().unwrap().contains("unsafe"), "{policy:?}");
    page.close_clean(model.base_url()).await;
    model.stop();
}

#[tokio::test]
async fn colours_follow_the_system_until_the_reader_chooses_and_a_phone_is_wide_enough() {
    let model = quiet_model(World::operations()).await;
    model.send("dana", model.channel("ops"), &"a-word-that-never-ends".repeat(20)).unwrap();
    let page = Browser::open(model.base_url()).await;
    let ground = "return getComputedStyle(document.body).backgroundColor";
    page.system_colours("light").await;
    let light = page.run(ground).await;
    page.system_colours("dark").await;
    let dark = page.run(ground).await;
    assert_ne!(light, dark);
    page.press_with(SHIFT, TAB).await;
    page.press_until(TAB, "it.id === 'persona'").await;
    page.press_until(TAB, "it.id === 'theme'").await;
    page.type_keys(&format!("{ENTER}{DOWN}{ENTER}")).await;
    page.fact("document.documentElement.dataset.theme === 'light'").await;
    assert_eq!(page.run(ground).await, light, "the reader's choice is stronger than the system's");
    page.resize(360, 740).await;
    let fits = "document.documentElement.scrollWidth <= 360 && document.querySelector('#messages').scrollWidth <= 360";
    page.fact(fits).await;
    page.run("document.querySelector('#open-left').click()").await;
    page.fact("getComputedStyle(document.querySelector('#left')).visibility === 'visible'").await;
    page.close_clean(model.base_url()).await;
    model.stop();
}

#[tokio::test]
async fn a_bot_that_does_not_answer_and_a_form_that_is_not_filled_in_are_told() {
    let model = quiet_model(World::operations().answer_within(Duration::from_millis(200))).await;
    let option = |name: &str, required: bool| json!({ "type": 3, "name": name, "description": "why", "required": required });
    let commands = json!([{ "name": "note", "type": 1, "description": "Writes", "options": [option("reason", true), option("more", false)] }]);
    let url =
        format!("{}/api/v10/applications/{}/guilds/{}/commands", model.base_url(), model.application_id(), model.guild_id());
    let authorization = format!("Bot {}", model.token());
    let registered = reqwest::Client::new().put(url).header("authorization", authorization).json(&commands).send().await;
    assert!(registered.unwrap().status().is_success());
    let page = Browser::open(model.base_url()).await;
    page.type_keys(&format!("/note{ENTER}")).await;
    page.fact("document.activeElement.dataset.option === 'reason'").await;
    page.type_keys(&ENTER.to_string()).await;
    page.fact("document.querySelector('#note').textContent.includes('reason is required')").await;
    page.type_keys(&format!("a \"quoted\" reason: this{ENTER}")).await;
    page.fact("document.querySelector('.notice.trouble')?.textContent.includes('The application did not respond')").await;
    let said = model.read(|chat| chat.interactions.values().map(|asked| asked.said.clone()).collect::<Vec<_>>());
    assert_eq!(said, [r#"/note reason:"a \"quoted\" reason: this""#]);
    page.press_with(ALT, '3').await;
    page.fact("document.querySelector('#persona b').textContent === 'Dana'").await;
    page.fact("!document.querySelector('.notice.trouble')").await;
    page.close_clean(model.base_url()).await;
    model.stop();
}

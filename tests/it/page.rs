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

use crate::harness::browser::{ALT, Browser, CONTROL, DOWN, ENTER, ESCAPE, F6, SHIFT, TAB, UP};
use crate::harness::wire::Wire;

/// Rows of the practice database: enough to be real, few enough not to be waited for.
const ROWS: u32 = 400;

/// The messages on the page that contain a text; an expression that is true while there is one.
fn said(text: &str) -> String {
    format!("[...document.querySelectorAll('#messages .message')].find(m => m.textContent.includes({}))", json!(text))
}

/// What `it` must be to be a message's button with this label.
fn button(label: &str) -> String {
    format!("it.dataset.customId && it.textContent.includes({})", json!(label))
}

/// What a person does in several places of the tests, with nothing but keys.
struct Person<'a>(&'a Browser);

impl Person<'_> {
    /// Becomes the person at `place` (from 1) in the page's list, whose name is `name`.
    async fn become_person(&self, place: char, name: &str) {
        self.0.press_with(ALT, place).await;
        self.0.fact(&format!("document.querySelector('#persona b').textContent === {}", json!(name))).await;
    }

    /// Types `/migrate start` for the ACE runbook, chooses the mode, and fills in the form.
    async fn start_migration(&self, mode: Option<&str>) {
        self.ask_for("ace-sqlite", mode).await;
        self.fill_in(&["database", "service"]).await;
    }

    /// Takes a command from the suggestions.
    async fn choose_command(&self, command: &str) {
        let page = self.0;
        page.type_keys(&format!("/{command}")).await;
        let first = "document.querySelector('#popup [aria-selected=true]')";
        page.fact(&format!("{first}?.textContent.startsWith('/{command}')")).await;
        page.type_keys(&ENTER.to_string()).await;
    }

    /// Types `/migrate start`, takes the runbook that the bot offers for `typed`, chooses the mode, and opens the form.
    async fn ask_for(&self, typed: &str, mode: Option<&str>) {
        let page = self.0;
        self.choose_command("migrate start").await;
        page.fact("document.activeElement.dataset.option === 'runbook'").await;
        page.type_keys(typed).await;
        page.fact(&format!("document.querySelector('#popup [aria-selected=true]')?.textContent.includes('{typed}')")).await;
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
    }

    /// Fills in a form with what the page offers for these fields, of which the first has the focus at once, and sends it.
    async fn fill_in(&self, fields: &[&str]) {
        let page = self.0;
        page.fact(&format!("document.activeElement.name === '{}'", fields[0])).await;
        for field in fields {
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

    /// Goes down the channels to the one whose name begins so, which `link` leads to.
    async fn go_to(&self, link: &str) {
        for _ in 0..20 {
            let [here, there] = ["document.querySelector('#channels [aria-current]')", link];
            if self.0.run(&format!("return {here} === {there}")).await == true {
                return;
            }
            let at = self.0.run(&format!("return {here}.dataset.key")).await;
            self.0.press_with(ALT, DOWN).await;
            self.0.fact(&format!("{here}.dataset.key !== {at}")).await;
        }
        panic!("{link} was not reached by the keyboard");
    }

    /// Answers a form's inputs in their order, with nothing but keys, and sends it.
    async fn answer_form(&self, answers: &[(&str, &str)]) {
        for (name, answer) in answers {
            self.0.fact(&format!("document.activeElement.name === '{name}'")).await;
            self.0.type_keys(&format!("{answer}{TAB}")).await;
        }
        self.0.press_with(CONTROL, ENTER).await;
        self.0.fact("!document.querySelector('dialog')").await;
    }

    /// Goes up from the newest message to the one with `text`, and into it to what `wanted` (about `it`) says; then
    /// presses it and goes back to the message box.
    async fn press_in_message(&self, text: &str, wanted: &str) {
        self.open_in_message(text, wanted).await;
        self.0.type_keys(&format!("{ESCAPE}{ESCAPE}")).await;
        self.0.fact("document.activeElement.id === 'input'").await;
    }

    /// The same without going back: what is pressed may open a form.
    async fn open_in_message(&self, text: &str, wanted: &str) {
        self.0.fact(&said(text)).await;
        // Out of a message that was gone into, and out of the messages.
        self.0.type_keys(&format!("{ESCAPE}{ESCAPE}")).await;
        self.0.fact("document.activeElement.id === 'input'").await;
        self.0.press_with(SHIFT, F6).await;
        self.0.fact("document.activeElement.closest('#messages article')").await;
        self.0.press_until(UP, &format!("it.textContent.includes({})", json!(text))).await;
        self.0.press_until(TAB, wanted).await;
        self.0.type_keys(&ENTER.to_string()).await;
    }

    /// Takes an entry of the menu of the message with `text`.
    async fn pick_in_message(&self, text: &str, entry: &str) {
        self.open_in_message(text, "it.className === 'more'").await;
        self.0.press_until(DOWN, &format!("it.closest('.menu') && it.textContent.includes({})", json!(entry))).await;
        self.0.type_keys(&ENTER.to_string()).await;
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
    let (_folder, stage) = stage_with_bot().await;
    let (base, service) = (stage.model.base_url().to_owned(), stage.estate.kubernetes().service_url());
    let stage = OpenStage::open(stage);
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

/// A stage whose bot is ready for people, and the folder that it lives in.
async fn stage_with_bot() -> (tempfile::TempDir, Stage) {
    let folder = tempfile::tempdir().unwrap();
    // PostgreSQL runs as another user and must be able to search the way to its files.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut stage = Stage::start(options(&folder.path().join("stage")), ROWS).await.unwrap();
    stage.start_bot().unwrap();
    let soon = Duration::from_secs(60);
    stage.model.wait_for(soon, |chat| (!chat.commands.is_empty()).then_some(())).await.unwrap();
    stage.model.wait_for_gateway(soon).await.unwrap();
    (folder, stage)
}

/// From the alarm to the issue: a channel of its own, status updates that come by themselves, and what was learnt. Time is
/// made fast by its lever, which restarts the bot twice on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_is_opened_updated_resolved_and_published_by_keyboard() {
    let (_folder, stage) = stage_with_bot().await;
    let (base, github) = (stage.model.base_url().to_owned(), stage.github.base_url().to_owned());
    let stage = OpenStage::open(stage);
    let page = Browser::open(&base).await;
    let person = Person(&page);

    person.choose_command("incident open").await;
    page.fact("document.activeElement.dataset.option === 'title'").await;
    page.type_keys(&format!("Checkout is down{TAB}")).await;
    page.fact("document.activeElement.dataset.option === 'severity'").await;
    page.type_keys(&format!("sev1{ENTER}")).await;
    let heading = "[...document.querySelectorAll('#channels h3')].find(h => h.textContent === 'Incidents')";
    let link = format!("{heading}.nextElementSibling.querySelector('a')");
    page.fact(&format!("/^#incident-\\d{{8}}-001/.test({link}.textContent)")).await;
    person.go_to(&link).await;
    page.fact("document.querySelector('#place').textContent.startsWith('#incident-')").await;
    person.press_in_message("🚨", &button("Acknowledge")).await;
    page.fact(&said("Olivia is on it")).await;

    // Two ways to keep what was said: with its text, which the menu gives to the bot, and by 📌, which does not.
    page.type_keys(&format!("the disk is full{ENTER}")).await;
    page.fact(&said("the disk is full")).await;
    person.pick_in_message("the disk is full", "Add to timeline").await;
    let kept = "[...document.querySelectorAll('#messages .message')].filter(m => /put a message of .* on the timeline/.test(m.textContent)).length";
    page.fact(&format!("{kept} === 1")).await;
    // Whoever types anywhere on the page types into the message box.
    page.type_keys(&format!("a bigger one is coming{ENTER}")).await;
    page.fact(&said("a bigger one is coming")).await;
    person.open_in_message("a bigger one is coming", "it.getAttribute('aria-label') === 'Add a reaction'").await;
    page.press_until(DOWN, "it.getAttribute('aria-label') === '📌'").await;
    page.type_keys(&ENTER.to_string()).await;
    page.fact(&format!("{kept} === 2")).await;

    let beats = "[...document.querySelectorAll('#messages .message')].filter(m => m.textContent.includes('📢')).length";
    speed(&page, 60).await;
    page.fact(&format!("{beats} >= 2")).await;
    speed(&page, 1).await;

    person.choose_command("incident resolve").await;
    page.fact("document.activeElement.dataset.option === 'summary'").await;
    page.type_keys(&format!("A bigger disk{ENTER}")).await;
    let card = "📋 Post-mortem";
    person.open_in_message(card, &button("What happened")).await;
    let told = [("summary", "The disk was full."), ("root_cause", "Nobody watched it."), ("users_affected", "all")];
    person.answer_form(&[&told[..], &[("downtime", "5m"), ("data_loss", "none")]].concat()).await;
    page.fact(&format!("!/summary|root cause|downtime/.test({}.textContent)", said(card))).await;
    person.open_in_message(card, &button("What we learned")).await;
    let learnt = [("went_well", "the alarm"), ("went_poorly", "the wait"), ("lucky", "it was night")];
    person.answer_form(&[&[("resolution", "")], &learnt[..]].concat()).await;
    page.fact(&format!("{}.textContent.includes('everything')", said(card))).await;
    person.choose_command("postmortem add-action").await;
    for (option, value) in [("title", "Watch the disk"), ("owner", "dana"), ("due", "2027-01-31")] {
        page.fact(&format!("document.activeElement.dataset.option === '{option}'")).await;
        page.type_keys(&format!("{value}{TAB}")).await;
    }
    page.type_keys(&ENTER.to_string()).await;
    page.fact(&format!("{}.textContent.includes('Watch the disk')", said(card))).await;
    person.press_in_message(card, &button("Publish")).await;
    // The post-mortem's and the action item's.
    page.fact(&format!("{}.querySelectorAll('a[href*=\"/issues/\"]').length >= 2", said(card))).await;
    page.expect_clean(&base).await;

    page.visit(&github).await;
    let issue = "[...document.querySelectorAll('.issues a')].find(a => a.textContent.includes('Checkout is down'))";
    page.fact(issue).await;
    let address = page.run(&format!("return {issue}.href")).await;
    let address = address.as_str().unwrap();
    assert!(address.starts_with(&github), "{address}");
    page.visit(address).await;
    for text in [
        "Checkout is down",
        "The disk was full.",
        "Nobody watched it.",
        "A bigger disk",
        "it was night",
        "Olivia",
        "the disk is full",
        "Watch the disk",
    ] {
        page.fact(&format!("document.querySelector('main').textContent.includes('{text}')")).await;
    }
    page.close().await;
    stage.stop().await;
}

/// Lets time run so many times as fast by the lever, and waits until the bot is back.
async fn speed(page: &Browser, times: u32) {
    page.run("document.querySelector('#tab-stage').click()").await;
    page.fact(&format!("document.querySelector('[data-key=speed-{times}]')")).await;
    page.run(&format!("document.querySelector('[data-key=speed-{times}]').click()")).await;
    page.fact(&format!("document.querySelector('[data-key=speed-{times}]').getAttribute('aria-pressed') === 'true'")).await;
    let ready = "document.querySelector('#bot-state').textContent";
    page.fact(&format!("{ready}.startsWith('runs') && !{ready}.includes('not connected')")).await;
}

/// What a person needs for the cutover of the second application, without reading an address from a terminal; and what the
/// stage does not do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cutover_is_started_with_what_the_page_offers_and_the_stage_refuses_nonsense() {
    let (_folder, stage) = stage_with_bot().await;
    let (base, faults) = (stage.model.base_url().to_owned(), format!("{}/faults", stage.estate.sx().manager_url()));
    let settings = stage.estate.sx().settings();
    let setting = |name: &str| settings.iter().find(|known| known.name == name).unwrap().value.clone();
    let stage = OpenStage::open(stage);
    let page = Browser::open(&base).await;
    let person = Person(&page);

    person.ask_for("postgres-primary-cutover", Some("dry_run")).await;
    person.fill_in(&["source_id", "home", "service", "candidate"]).await;
    page.fact("document.querySelectorAll('#channels a.thread').length === 1").await;
    for name in ["SX_SOURCE_ID", "SX_HOME", "SX_SERVICE_URL", "SX_CANDIDATE_URL"] {
        page.fact(&said(&setting(name))).await;
    }

    page.run("document.querySelector('#tab-stage').click()").await;
    page.fact("document.querySelector('#switch-sx_leak_on')").await;
    page.run(
        "const it = document.querySelector('#switch-sx_leak_on'); it.value = 'candidate'; it.dispatchEvent(new Event('change'))",
    )
    .await;
    page.fact("document.querySelector('#switch-sx_leak_on').closest('.switch.on')").await;
    let set: Value = reqwest::get(&faults).await.unwrap().json().await.unwrap();
    assert_eq!(set["leak_on"], "candidate", "{set}");
    page.close_clean(&base).await;

    let client = reqwest::Client::new();
    let post = async |body: Value| {
        let answer = client.post(format!("{base}/stage")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (pull, status, why) in [
        (json!({ "lever": "speed", "times": 0 }), 409, "1 to 1000 times"),
        (json!({ "lever": "speed", "times": 1001 }), 409, "not 1001 times"),
        (json!({ "lever": "switch", "id": "no-such", "value": "on" }), 409, "there is no switch"),
        (json!({ "lever": "switch", "id": "sx_leak_on", "value": "nowhere" }), 409, "cannot be set to"),
        (json!({ "lever": "start_bot" }), 409, "runs already"),
        (json!({ "lever": "open_the_vault" }), 422, "unknown variant"),
    ] {
        let (answered, text) = post(pull.clone()).await;
        assert!(answered == status && text.contains(why), "{pull}: {answered} {text}");
    }
    let foreign = client.post(format!("{base}/stage")).header("host", "evil.example").json(&json!({ "lever": "kill_bot" }));
    assert_eq!(foreign.send().await.unwrap().status().as_u16(), 421);
    let unmoved: Value = client.get(format!("{base}/stage")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&unmoved["bot"]["state"], &unmoved["clock"]["speed"]), (&json!("running"), &json!(1)));
    let set: Value = reqwest::get(&faults).await.unwrap().json().await.unwrap();
    assert_eq!(set["leak_on"], "candidate", "{set}");
    stage.stop().await;
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
async fn a_page_opened_twice_shows_in_both_what_is_done_in_either_and_nothing_twice() {
    let model = quiet_model(World::operations()).await;
    let (first, second) = (Browser::open(model.base_url()).await, Browser::open(model.base_url()).await);
    Person(&second).become_person('3', "Dana").await;
    first.type_keys(&format!("from the first tab{ENTER}")).await;
    second.fact(&said("from the first tab")).await;
    second.type_keys(&format!("from the second tab{ENTER}")).await;
    for page in [&first, &second] {
        page.fact(&said("from the second tab")).await;
        for text in ["from the first tab", "from the second tab"] {
            let shown = "[...document.querySelectorAll('#messages .message')].filter(m => m.textContent.includes";
            assert_eq!(page.run(&format!("return {shown}({})).length", json!(text))).await, 1, "{text}");
        }
    }
    let written = model.read(|chat| chat.messages_with("from the ").iter().map(|message| message.author).collect::<Vec<_>>());
    assert_eq!(written, [model.user("olivia"), model.user("dana")], "each tab has its own person");
    first.close_clean(model.base_url()).await;
    second.close_clean(model.base_url()).await;
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

#[tokio::test]
async fn a_page_that_lost_its_server_says_so_keeps_what_was_typed_and_catches_up_by_itself() {
    let model = quiet_model(World::operations()).await;
    let mut wire = Wire::to(model.base_url()).await;
    let page = Browser::open(&wire.url()).await;
    page.run("window.kept = true").await;
    wire.cut().await;
    page.fact("!document.querySelector('#offline').hidden").await;
    page.type_keys(&format!("is anybody there?{ENTER}")).await;
    page.fact("document.querySelector('#note').textContent.includes('does not answer')").await;
    page.fact("document.querySelector('#input').value === 'is anybody there?'").await;
    model.send("dana", model.channel("ops"), "said meanwhile").unwrap();
    wire.put_on(model.base_url()).await;
    page.fact(&said("said meanwhile")).await;
    page.fact("document.querySelector('#offline').hidden").await;
    page.type_keys(&ENTER.to_string()).await;
    page.fact(&said("is anybody there?")).await;

    // A sandbox that was started anew is another server with other channels.
    wire.cut().await;
    page.fact("!document.querySelector('#offline').hidden").await;
    let anew = quiet_model(World::operations()).await;
    anew.send("leo", anew.channel("ops"), "a new night").unwrap();
    wire.put_on(anew.base_url()).await;
    page.fact(&said("a new night")).await;
    page.fact(&format!("!{}", said("said meanwhile"))).await;
    page.type_keys(&format!("good evening{ENTER}")).await;
    page.fact(&said("good evening")).await;
    assert_eq!(page.run("return window.kept").await, true, "it was not loaded again");
    page.close().await;
    model.stop();
    anew.stop();
}

#[tokio::test]
async fn two_pages_of_one_sandbox_are_two_people_who_see_each_other_at_once() {
    let model = quiet_model(World::operations()).await;
    let page = Browser::open(model.base_url()).await;
    let first = page.here().await;
    let second = page.open_beside(model.base_url()).await;
    let person = Person(&page);
    person.become_person('3', "Dana").await;
    page.type_keys(&format!("from the second page{ENTER}")).await;
    page.fact(&said("from the second page")).await;
    page.turn_to(&first).await;
    page.fact(&said("from the second page")).await;
    page.fact("document.querySelector('#persona b').textContent === 'Olivia'").await;
    person.press_in_message("from the second page", "it.getAttribute('aria-label') === 'React with ✅'").await;
    page.type_keys(&format!("seen{ENTER}")).await;
    page.turn_to(&second).await;
    page.fact(&said("seen")).await;
    page.fact("document.querySelector('#messages .reaction[data-emoji=\"✅\"]').title.startsWith('Olivia')").await;
    page.close_clean(model.base_url()).await;
    model.stop();
}

#[tokio::test]
async fn links_to_places_of_the_server_lead_there_on_the_page_whatever_address_they_name() {
    let model = quiet_model(World::operations()).await;
    let (ops, elsewhere) = (model.channel("ops"), model.channel("incidents-fallback"));
    let far = model.send("dana", elsewhere, "the place that is meant").unwrap();
    let url = format!("https://discord.com/channels/{}/{elsewhere}/{far}", model.guild_id());
    model.send("leo", ops, &format!("look at {url}")).unwrap();
    let page = Browser::open(model.base_url()).await;
    page.fact(&said("#incidents-fallback › message")).await;
    page.run("document.querySelector('#messages .text a').click()").await;
    page.fact(&format!("{}.classList.contains('found')", said("the place that is meant"))).await;
    page.fact("document.querySelector('#place').textContent === '#incidents-fallback'").await;
    // The same from outside, as the run board links.
    page.visit(&format!("{}/channels/{}/{ops}", model.base_url(), model.guild_id())).await;
    page.fact("document.querySelector('#place').textContent === '#ops'").await;
    page.close_clean(model.base_url()).await;
    model.stop();
}

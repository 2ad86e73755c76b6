//! A real browser without a window, driven through chromedriver.
//!
//! Both run under the supervisor, so that neither outlives the test, however it ends. Facts on the page are awaited in
//! the page itself, which looks again after each of its changes.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::wd::{TimeoutConfiguration, WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A backstop for everything that is awaited on the page.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keys that have no letter; source: <https://www.w3.org/TR/webdriver2/#keyboard-actions>.
pub(crate) const ENTER: char = '\u{e007}';
pub(crate) const TAB: char = '\u{e004}';
pub(crate) const ESCAPE: char = '\u{e00c}';
pub(crate) const UP: char = '\u{e013}';
pub(crate) const DOWN: char = '\u{e015}';
pub(crate) const ALT: char = '\u{e00a}';
pub(crate) const CONTROL: char = '\u{e009}';
pub(crate) const SHIFT: char = '\u{e008}';
pub(crate) const F6: char = '\u{e036}';

/// The browser with one page open.
pub(crate) struct Browser {
    client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

/// A command that only chromedriver knows.
#[derive(Debug)]
struct Chrome {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Chrome {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _request: &url::Url) -> (axum::http::Method, Option<String>) {
        (axum::http::Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// Starts a browser with the chat page at `url`.
    pub(crate) async fn open(url: &str) -> Self {
        let browser = Self::start().await;
        browser.visit(url).await;
        browser.fact("document.documentElement.dataset.ready === 'true'").await;
        browser
    }

    /// Starts a browser with an empty page.
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let (driver, port) = start_driver(profile.path()).await;
        let mut arguments = vec!["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"];
        if rustix::process::getuid().is_root() {
            arguments.push("--no-sandbox");
        }
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let mut builder = ClientBuilder::new(connector);
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let client = builder.connect(&format!("http://127.0.0.1:{port}")).await.expect("chromium starts");
        let timeouts = TimeoutConfiguration::new(Some(PATIENCE), Some(PATIENCE), None);
        client.update_timeouts(timeouts).await.unwrap();
        Self { client, driver, _profile: profile }
    }

    /// Runs a script on the page and returns what it returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    /// Waits until `expression` is true on the page, looking again whenever the page changes or the focus moves.
    pub(crate) async fn fact(&self, expression: &str) {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const look = () => {{ try {{ return Boolean({expression}); }} catch (error) {{ return false; }} }};
             if (look()) return done(true);
             const again = () => {{ if (look()) {{ watch.disconnect(); removeEventListener('focusin', again); done(true); }} }};
             const watch = new MutationObserver(again);
             watch.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
             addEventListener('focusin', again);"
        );
        if let Err(error) = self.client.execute_async(&script, vec![]).await {
            let text = self.run("return location.href + '\\n' + document.body.innerText").await;
            panic!("`{expression}` did not become true: {error}\n{}", text.as_str().unwrap_or_default());
        }
    }

    /// Types, as a person at the keyboard does: what has the focus gets it.
    pub(crate) async fn type_keys(&self, keys: &str) {
        let pressed = keys.chars().fold(KeyActions::new("keyboard".to_owned()), |actions, key| {
            actions.then(KeyAction::Down { value: key }).then(KeyAction::Up { value: key })
        });
        self.client.perform_actions(pressed).await.unwrap();
    }

    /// Presses `key` while `modifier` is held.
    pub(crate) async fn press_with(&self, modifier: char, key: char) {
        let pressed = KeyActions::new("keyboard".to_owned())
            .then(KeyAction::Down { value: modifier })
            .then(KeyAction::Down { value: key })
            .then(KeyAction::Up { value: key })
            .then(KeyAction::Up { value: modifier });
        self.client.perform_actions(pressed).await.unwrap();
    }

    /// Presses `key` until what has the focus is `wanted`, an expression about `it`.
    pub(crate) async fn press_until(&self, key: char, wanted: &str) {
        for _ in 0..100 {
            if self.run(&format!("const it = document.activeElement; return Boolean({wanted})")).await == true {
                return;
            }
            self.type_keys(&key.to_string()).await;
        }
        let at = self.run("return document.activeElement.outerHTML.slice(0, 400)").await;
        panic!("`{wanted}` was not reached by the keyboard; the focus is on {at}");
    }

    /// Makes the page believe that the reader's system has these colours (`light`, `dark`).
    pub(crate) async fn system_colours(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Gives the page another size, CSS pixels.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.client.issue_cmd(Chrome { path: "goog/cdp/execute", body }).await.unwrap();
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.client.issue_cmd(Chrome { path: "se/log", body: json!({ "type": kind }) }).await.unwrap();
        entries.as_array().cloned().unwrap_or_default()
    }

    /// Opens a page beside those that are open, and turns to it. Returns its name for [`Self::turn_to`].
    pub(crate) async fn open_beside(&self, url: &str) -> WindowHandle {
        let opened = self.client.new_window(true).await.unwrap();
        self.turn_to(&opened.handle).await;
        self.visit(url).await;
        self.fact("document.documentElement.dataset.ready === 'true'").await;
        opened.handle
    }

    /// The page that is turned to.
    pub(crate) async fn here(&self) -> WindowHandle {
        self.client.window().await.unwrap()
    }

    /// Turns to a page that is open.
    pub(crate) async fn turn_to(&self, page: &WindowHandle) {
        self.client.switch_to_window(page.clone()).await.unwrap();
    }

    /// Follows a link to another page.
    pub(crate) async fn visit(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Fails if the page logged an error, or asked anything of another address than `base`. Ends the browser.
    pub(crate) async fn close_clean(self, base: &str) {
        self.expect_clean(base).await;
        self.close().await;
    }

    /// Ends the browser.
    pub(crate) async fn close(mut self) {
        self.client.clone().close().await.unwrap();
        drop(self.driver.stdin.take());
        self.driver.wait().await.unwrap();
    }

    /// Fails if the page logged an error, or asked anything of another address than `base`, up to now.
    pub(crate) async fn expect_clean(&self, base: &str) {
        let wrong: Vec<Value> = self.log("browser").await.into_iter().filter(|entry| entry["level"] != "INFO").collect();
        let requests: Vec<String> = self.log("performance").await.iter().filter_map(requested).collect();
        assert!(wrong.is_empty(), "the page logged: {wrong:#?}");
        assert!(requests.iter().any(|url| url.ends_with("/page/main.js")), "the page's requests can be read: {requests:?}");
        let elsewhere: Vec<&String> = requests.iter().filter(|url| !url.starts_with(base)).collect();
        assert!(elsewhere.is_empty(), "the page asked {elsewhere:?}");
    }
}

/// The address of a request that an entry of the performance log tells of.
fn requested(entry: &Value) -> Option<String> {
    let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
    let message = &event["message"];
    let url = message["params"]["request"]["url"].as_str()?;
    // What the browser shows before the first page has no address.
    (message["method"] == "Network.requestWillBeSent" && !url.starts_with("data:")).then(|| url.to_owned())
}

/// Starts chromedriver on a port that the system chooses, and returns the port. It asks for one with IPv4 and then wants the
/// same with IPv6: it ends at once if a neighbour was given that one meanwhile, and is started again.
async fn start_driver(home: &std::path::Path) -> (Child, u16) {
    for _ in 0..5 {
        if let Some(started) = try_driver(home).await {
            return started;
        }
    }
    panic!("chromedriver did not start; `bin/test` installs it");
}

async fn try_driver(home: &std::path::Path) -> Option<(Child, u16)> {
    let mut driver = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["supervise", "--grace-ms", "2000", "--", "chromedriver", "--port=0"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home)
        .env("TMPDIR", home)
        .env("LANG", "en_GB.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        // It first repeats the port that it was asked for, which is 0.
        let told = line.split("on port ").nth(1).map(|rest| rest.trim_end_matches('.').parse().unwrap_or(0));
        if let Some(port) = told.filter(|port| *port != 0) {
            // It goes on talking and must not be stopped by a full pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some((driver, port));
        }
    }
    None
}

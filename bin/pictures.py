"""The night that the pictures of the documentation are of. Started by bin/pictures, which finds what it needs.

A migration waits at its gate; its smoke check fails, it is rolled back, and an incident opens by itself; status updates come in
fast time; the post-mortem is published. People act through the Discord model's control (its calls are listed in
src/sandbox/discord/control.rs); the browser only looks.
"""

import base64
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

DESKTOP = (1280, 960)
PHONE = (390, 844)
PATIENCE_SECS = 180


def ask(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {url}: {error.code} {error.read().decode()[:500]}")


def wait(what, look):
    """Looks until there is something to see, and returns it."""
    until = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < until:
        seen = look()
        if seen:
            return seen
        time.sleep(0.1)
    sys.exit(f"waited in vain for {what}")


class Browser:
    """Chromium without a window, driven by chromedriver."""

    def __init__(self, folder):
        self.folder = folder
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        port = next(found[1] for line in self.driver.stdout if (found := re.search(r"on port ([1-9]\d*)", line)))
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        capabilities = {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}
        self.base = f"http://127.0.0.1:{port}/session"
        self.base += "/" + ask("POST", self.base, {"capabilities": capabilities})["value"]["sessionId"]

    def call(self, path, body):
        return ask("POST", self.base + path, body)["value"]

    def devtools(self, command, parameters):
        return self.call("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script):
        return self.call("/execute/sync", {"script": script, "args": []})

    def visit(self, url, ready):
        self.call("/url", {"url": url})
        wait(f"{url}: {ready}", lambda: self.run(f"return Boolean({ready})"))

    def picture(self, name, scheme="light", size=DESKTOP, before=""):
        """Takes a picture of what the window shows after the script `before`."""
        width, height = size
        device = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", device)
        self.devtools("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Berlin"})
        self.devtools("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.run(before)
        # Pages draw anew a moment after they were given another size.
        time.sleep(1)
        self.run(before)
        taken = ask("GET", self.base + "/screenshot")["value"]
        file = self.folder / f"{name}.png"
        small = ["pngquant", "--force", "--speed=1", "--output", file, "96", "-"]
        subprocess.run(small, input=base64.b64decode(taken), check=True)
        print(f"{file}  {file.stat().st_size // 1024} kB", flush=True)

    def close(self):
        self.driver.kill()
        self.driver.wait()


class Night:
    """The sandbox, and the people in it."""

    def __init__(self, directory):
        command = ["target/debug/pointsman", "sandbox", "--directory", directory, "--rows", "20000"]
        self.sandbox = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.told = {}
        for line in self.sandbox.stdout:
            name, _, value = line.strip().partition("  ")
            self.told[name] = value.strip()
            if line.startswith("open "):
                break
        # It goes on telling, and must not be stopped by a full pipe.
        subprocess.Popen(["cat"], stdin=self.sandbox.stdout, stdout=subprocess.DEVNULL)
        self.chat = self.told["chat page"]
        self.bot_is_ready()

    def bot_is_ready(self):
        ready = lambda: ask("GET", f"{self.chat}/sandbox/v1/faults")["gateway_connections"] and self.state()["commands"]
        wait("the bot", ready)

    def state(self):
        return ask("GET", f"{self.chat}/sandbox/v1/state")

    def act(self, person, act, **rest):
        return ask("POST", f"{self.chat}/sandbox/v1/act", {"as": person, "act": act, **rest})

    def asked(self, person, act, **rest):
        """Acts, and waits for the bot's answer."""
        interaction = self.act(person, act, **rest)["interaction"]
        answered = lambda: self.state()["interactions"][interaction]["response"]
        response = wait(f"an answer to {rest}", lambda: (response := answered()) != "waiting" and response)
        if response == "not_answered":
            sys.exit(f"the bot did not answer {rest} in time: this machine has too much else to do; try again")
        return interaction, response

    def slash(self, person, channel, text, fields=None):
        interaction, response = self.asked(person, "slash", channel=channel, text=text)
        if fields:
            self.fill_in(person, interaction, response, fields)

    def fill_in(self, person, interaction, response, fields):
        inputs = [row.get("component") or row["components"][0] for row in response["modal"]["components"]]
        names = [part["custom_id"] for part in inputs]
        chosen = {name: next((text for key, text in fields.items() if name.endswith(key)), "") for name in names}
        self.asked(person, "submit_modal", interaction=interaction, fields=chosen)

    def message(self, text, channel=None):
        """The newest message that holds `text`, in whatever part of it."""
        def look():
            state = self.state()
            inside = [channel] if channel else state["messages"]
            all = [message for each in inside for message in state["messages"].get(each, {}).values()]
            found = [message for message in all if text in json.dumps(message, ensure_ascii=False)]
            return max(found, key=lambda message: int(message["id"])) if found else None
        return wait(f"a message with {text!r}", look)

    def press(self, person, text, label):
        buttons = [part for row in self.message(text)["components"] for part in row["components"]]
        button = next(part for part in buttons if label in part.get("label", ""))
        return self.asked(person, "click", message=self.message(text)["id"], custom_id=button["custom_id"])

    def channel(self, name):
        named = lambda: [id for id, channel in self.state()["channels"].items() if channel["name"].startswith(name)]
        return wait(f"#{name}", lambda: (found := named()) and found[-1])

    def lever(self, **pull):
        ask("POST", f"{self.chat}/stage", pull)

    def speed(self, times):
        self.lever(lever="speed", times=times)
        self.bot_is_ready()

    def close(self):
        self.sandbox.terminate()
        self.sandbox.wait()


def start_migration(night, mode):
    text = f'/migrate start runbook:"ace-sqlite-to-postgres" mode:"{mode}"'
    night.slash("olivia", "ops", text, {"database": night.told["SQLite file"], "service": night.told["application"]})


def to_the_gate(night):
    start_migration(night, "dry_run")
    night.message("· summary")
    start_migration(night, "live")
    # A rehearsal has no list for people: this one is the live run's.
    run = run_of(night.message("checklist/confirm-prerequisites"))
    for person, item in [("dana", 0), ("leo", 1), ("sam", 2)]:
        message = night.message("checklist/confirm-prerequisites")
        button = [part for row in message["components"] for part in row["components"]][item]
        night.asked(person, "click", message=message["id"], custom_id=button["custom_id"])
    gate = night.message(f"{run} · gate/cutover/1")
    for person in ["dana", "leo"]:
        night.act(person, "react", message=gate["id"], emoji="✅")
    night.act("olivia", "react", message=gate["id"], emoji="✅")
    night.message("does not count")
    return gate


def chat_at(browser, night, channel, persona):
    browser.visit(f"{night.chat}/", "document.documentElement.dataset.ready")
    browser.run(f"localStorage.setItem('pointsman.persona', '{persona}')")
    browser.visit(f"{night.chat}/?{channel}#{channel}", "document.documentElement.dataset.ready")


def board_page(browser, night, path):
    base, query = night.told["run board"].split("?")
    joined = f"{base.rstrip('/')}{path}{'&' if '?' in path else '?'}{query}"
    browser.visit(joined, "document.querySelector('#live-mark')?.dataset.state === 'live' || !document.querySelector('#live-mark')")


def both(browser, name, before="", phone=True):
    browser.picture(f"{name}-light", before=before)
    browser.picture(f"{name}-dark", scheme="dark", before=before)
    if phone:
        browser.picture(f"{name}-phone", size=PHONE, before=before)


TO_THE_END = "const list = document.querySelector('#messages'); list.scrollTop = list.scrollHeight;"


def gate_pictures(browser, night, gate):
    chat_at(browser, night, gate["channel"], "sam")
    both(browser, "chat", f"document.querySelector('[data-id=\"{gate['id']}\"]').scrollIntoView();")
    board_page(browser, night, "/runs/" + run_of(gate))
    both(browser, "board")


def run_of(message):
    return re.search(r"run-[a-z0-9]{8}", json.dumps(message))[0]


def to_the_incident(night, gate):
    night.lever(lever="switch", id="items_fail_on", value="postgres")
    night.act("sam", "react", message=gate["id"], emoji="✅")
    incident = night.channel("incident-")
    night.press("dana", "🚨", "Acknowledge")
    night.slash("leo", incident, '/incident role role:"commander"')
    night.slash("leo", incident, '/incident severity severity:"sev1" reason:"customers see it"')
    seen = night.act("dana", "send", channel=incident, text="The application answers 500 as soon as it reads from PostgreSQL.")
    night.asked("leo", "message_command", message=seen["message"], name="Add to timeline")
    night.slash("leo", incident, '/incident update text:"Back on SQLite; we look for the reason."')
    night.speed(60)
    beats = lambda: len([m for m in night.state()["messages"][incident].values() if "📢" in json.dumps(m, ensure_ascii=False)])
    wait("two status updates", lambda: beats() >= 2)
    night.speed(1)
    return incident


def incident_pictures(browser, night, incident):
    chat_at(browser, night, incident, "leo")
    both(browser, "chat-incident", TO_THE_END, phone=False)
    board_page(browser, night, "/")
    both(browser, "board-overview")
    board_page(browser, night, "/incidents/" + id_of(night, incident))
    both(browser, "board-incident")


def id_of(night, incident):
    return night.state()["channels"][incident]["name"].replace("incident-", "inc-")


def to_the_post_mortem(night, incident):
    night.slash("leo", incident, '/incident resolve summary:"Rolled back to SQLite"')
    card = "📋 Post-mortem"
    night.message(card, incident)
    told = {
        "summary": "The application failed its smoke check on PostgreSQL and was taken back.",
        "root_cause": "A query that only SQLite understands.",
        "users_affected": "none: the API was in maintenance", "downtime": "6 minutes", "data_loss": "none",
        "went_well": "The armed rollback started by itself.", "went_poorly": "The rehearsal did not read what the application reads.",
        "lucky": "It was the first phase behind the gate.", "resolution": "Rolled back to SQLite",
    }
    for label in ["What happened", "What we learned"]:
        night.fill_in("leo", *night.press("leo", card, label), told)
    night.slash("leo", incident, '/postmortem add-action title:"Run the application\'s own queries in the rehearsal" owner:"dana" due:"2027-01-15"')
    night.press("leo", card, "Publish")
    night.message("/issues/", incident)


def post_mortem_pictures(browser, night, incident):
    chat_at(browser, night, incident, "leo")
    card = night.message("📋 Post-mortem", incident)["id"]
    both(browser, "chat-post-mortem", f"document.querySelector('[data-id=\"{card}\"]').scrollIntoView();", phone=False)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-pictures-", ignore_cleanup_errors=True))
        pathlib.Path(directory).chmod(0o755)
        night = stack.enter_context(contextlib.closing(Night(directory)))
        browser = stack.enter_context(contextlib.closing(Browser(folder)))
        gate = to_the_gate(night)
        gate_pictures(browser, night, gate)
        incident = to_the_incident(night, gate)
        incident_pictures(browser, night, incident)
        to_the_post_mortem(night, incident)
        post_mortem_pictures(browser, night, incident)


main()

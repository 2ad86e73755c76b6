// The stage beside the chat: the bot's process, the time, faults of Discord and of the practice estate. What the stage
// offers is data; only Discord's own faults are named here, because they belong to the model that serves this page.

import { byId, copy, h, toast } from "./dom.js";
import { setPractice } from "./modal.js";
import { control, endFaults, get, post, world } from "./world.js";

/** Milliseconds between two looks at the stage: while it is shown, and otherwise. */
const LOOK = 1000;
const LOOK_HIDDEN = 5000;

const REST = [
  { title: "429, the next 3 posts", help: "Each waits 2 s as told, then repeats.", fault: { on: "POST /channels/*/messages", times: 3, fault: "rate_limited", retry_after_secs: 2 } },
  { title: "429, global, 10 s", help: "The next request meets the global limit.", fault: { on: "* /**", times: 1, fault: "rate_limited", retry_after_secs: 10, global: true } },
  { title: "500, the next 5 requests", help: "Discord has trouble.", fault: { on: "* /**", times: 5, fault: "answer", status: 500 } },
  { title: "503, until ended", help: "Discord is down; the gateway stays.", fault: { on: "* /**", fault: "answer", status: 503 } },
  { title: "Silence, the next 3", help: "No effect, and no answer ever.", fault: { on: "* /**", times: 3, fault: "silent" } },
  { title: "Lost answer, next post", help: "The message stands; the bot never hears so.", fault: { on: "POST /channels/*/messages", times: 1, fault: "answer_lost" } },
];
const GATEWAY = [
  { title: "Drop the socket", help: "It breaks; the session can be resumed.", trouble: { do: "drop" } },
  { title: "Ask to reconnect", help: "As Discord does before its restarts.", trouble: { do: "ask_to_reconnect" } },
  { title: "Forget the session", help: "A new one must be identified.", trouble: { do: "invalidate", resumable: false } },
];

const box = byId("stage");
let view = null;
let faults = null;
let shownState = "";
let timer = 0;
/** Whether the log's end is kept in sight: until somebody scrolls up in it. */
let followLog = true;

async function look() {
  clearTimeout(timer);
  try {
    [view, faults] = await Promise.all([get("/stage"), control("/faults")]);
    if (view) world.setClock(view.clock.now, view.clock.speed);
    setPractice(view?.facts ?? []);
    world.botOnline = faults.gateway_connections > 0;
    world.dispatchEvent(new CustomEvent("bot"));
    draw();
  } catch {
    // The feed says that the sandbox is away; here the last known state stays.
  }
  timer = setTimeout(look, box.hidden || document.hidden ? LOOK_HIDDEN : LOOK);
}

export const lookAtStage = look;

async function pull(lever, button) {
  button?.setAttribute("aria-busy", "true");
  try {
    view = await post("/stage", lever);
  } catch (error) {
    toast(error.message);
  }
  button?.removeAttribute("aria-busy");
  await look();
}

async function trouble(work) {
  try {
    await work();
  } catch (error) {
    toast(error.message);
  }
  await look();
}

function draw() {
  // Drawn anew only when something changed, so that focus and open parts stay.
  const { log, clock, ...rest } = view ?? {};
  const state = JSON.stringify([rest, clock?.speed, faults]);
  if (state !== shownState) {
    shownState = state;
    const focused = document.activeElement?.dataset?.key;
    const top = box.scrollTop;
    const none = h("p", { class: "hint" }, "There is no stage at present: the models run without a bot of their own, or a scenario is being played.");
    const above = view ? [botPart(), clockPart(), linksPart()] : [none];
    const below = view ? [...switchParts(), factsPart(), logPart()] : [];
    box.replaceChildren(...[...above, ...discordParts(), ...below].filter(Boolean));
    if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    box.scrollTop = top;
  }
  const pre = box.querySelector("pre.log");
  if (!pre) return;
  const text = (log ?? []).join("\n");
  if (pre.textContent !== text) pre.textContent = text;
  if (followLog) pre.scrollTop = pre.scrollHeight;
}

const part = (title, ...children) => h("section", { class: "part" }, h("h3", {}, title), ...children);
const lever = (key, label, properties, onclick) => h("button", { type: "button", class: "button secondary", "data-key": key, ...properties, onclick }, label);

function botPart() {
  const { state, pid, how } = view.bot;
  const connected = faults.gateway_connections > 0;
  const told = { running: connected ? `runs, process ${pid}` : `runs, process ${pid}, not connected`, stopped: "is not running", ended: `ended: ${how}` }[state];
  const runs = state === "running";
  return part(
    "Bot",
    h("p", { class: `state ${runs && connected ? "good" : runs ? "wait" : "bad"}`, id: "bot-state" }, told),
    h(
      "div",
      { class: "levers" },
      lever("kill", "Kill -9", { class: "button danger", disabled: !runs }, (event) => pull({ lever: "kill_bot" }, event.currentTarget)),
      lever("stop", "Stop", { disabled: !runs, title: "SIGTERM: it drains and ends" }, (event) => pull({ lever: "stop_bot" }, event.currentTarget)),
      lever("start", "Start", { class: "button success", disabled: runs }, (event) => pull({ lever: "start_bot" }, event.currentTarget)),
    ),
  );
}

function clockPart() {
  const { speed, speeds } = view.clock;
  const choices = speeds.includes(speed) ? speeds : [...speeds, speed].sort((a, b) => a - b);
  return part(
    "Time",
    h("p", { class: "state", id: "stage-clock" }, clockText()),
    h(
      "div",
      { class: "levers segments", role: "group", "aria-label": "Speed of time" },
      choices.map((times) => lever(`speed-${times}`, `${times}×`, { "aria-pressed": String(times === speed) }, (event) => times !== speed && pull({ lever: "speed", times }, event.currentTarget))),
    ),
    h("p", { class: "hint" }, "At another speed the bot is restarted and goes on from where it stood."),
  );
}

const clockText = () => new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" }).format(world.now());

function discordParts() {
  const standing = faults.rest.length + (faults.deaf ? 1 : 0);
  const add = (each, index) => row(each, `rest-${index}`, "Break", () => control("/faults", each.fault));
  const shake = (each, index) => row(each, `gateway-${index}`, "Do", () => control("/gateway", each.trouble));
  const deaf = { title: "Deaf gateway", help: "Sockets stay open and acknowledged; no event arrives." };
  const hear = () => control("/gateway", faults.deaf ? { do: "hear" } : { do: "deaf", how: "acknowledging" });
  const describe = (fault) => `${fault.fault}${fault.status ? ` ${fault.status}` : ""} on ${fault.on}${fault.times ? `, ${fault.times} more` : ""}`;
  return [
    part(
      "Discord goes wrong",
      standing
        ? h("div", { class: "standing" }, h("ul", {}, faults.rest.map((fault) => h("li", {}, describe(fault))), faults.deaf ? h("li", {}, "the gateway is deaf") : null), lever("end-faults", "End all", {}, () => trouble(endFaults)))
        : h("p", { class: "state good" }, "nothing is wrong"),
      REST.map(add),
      GATEWAY.map(shake),
      row(deaf, "deaf", faults.deaf ? "Let it hear" : "Deafen", hear),
    ),
  ];
}

const row = ({ title, help }, key, label, work) =>
  h("div", { class: "switch" }, h("div", {}, h("b", {}, title), h("small", {}, help)), lever(key, label, { "aria-label": `${label}: ${title}` }, () => trouble(work)));

function switchParts() {
  const groups = new Map();
  for (const each of view.switches) groups.set(each.group, [...(groups.get(each.group) ?? []), each]);
  return [...groups].map(([group, switches]) => part(group, switches.map(switchRow)));
}

function switchRow(each) {
  const id = `switch-${each.id}`;
  const options = each.choices.map((choice) => h("option", { value: choice.value, selected: choice.value === each.value }, choice.title));
  const set = (event) => pull({ lever: "switch", id: each.id, value: event.target.value }, event.target);
  const off = each.value === each.choices[0].value;
  return h(
    "div",
    { class: off ? "switch" : "switch on" },
    h("label", { for: id }, h("b", {}, each.title), h("small", {}, each.help)),
    h("select", { id, "data-key": id, onchange: set }, options),
  );
}

function factsPart() {
  const fact = ({ group, title, value }) =>
    h("div", { class: "fact" }, h("dt", {}, `${group}: ${title}`), h("dd", {}, h("code", { title: value }, value), h("button", { type: "button", class: "button secondary", "aria-label": `Copy: ${group}, ${title}`, onclick: () => copy(value) }, "Copy")));
  return part("Practice values", h("dl", {}, view.facts.map(fact)));
}

function linksPart() {
  if (!view.links.length) return null;
  // An address of the stage's own; anything but http would be a mistake there.
  const safe = view.links.filter((link) => /^https?:/.test(link.url));
  return part("Beside the chat", h("ul", { class: "links" }, safe.map((link) => h("li", {}, h("a", { href: link.url, target: "_blank", rel: "noopener noreferrer" }, link.title)))));
}

function logPart() {
  const follow = ({ target }) => (followLog = target.scrollHeight - target.scrollTop - target.clientHeight < 30);
  return part("The bot's log", h("pre", { class: "log", tabindex: "0", "aria-label": "The bot's log", onscrollend: follow }));
}

/** The clock goes on between two looks. */
export function tickStage() {
  const clock = byId("stage-clock");
  if (clock) clock.textContent = clockText();
}

// The page: columns, channels, people, pins, theme and keys. What is in the guild comes from world.js.

import { composeIn } from "./composer.js";
import { byId, h, openMenu, soon, toast } from "./dom.js";
import { draw as drawMessages, face, jump, name, showChannel } from "./messages.js";
import { lookAtStage, tickStage } from "./stage.js";
import { day, rich, stamp, tick } from "./text.js";
import { CHANNEL, compareIds, world } from "./world.js";

const app = byId("app");
const PERSONA = "pointsman.persona";
const THEME = "pointsman.theme";
/** How long "is typing" stands after the last sign of it, milliseconds. */
const TYPING = 8000;

let channel = null;
/** Channels whose archived threads are shown. */
const unfolded = new Set();

const memory = {
  get: (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set: (key, value) => {
    try {
      localStorage.setItem(key, value);
    } catch {
      // A browser that keeps nothing only forgets the choice.
    }
  },
};

// ── channels ────────────────────────────────────────────────────────────────────────────────────

const byPlace = (a, b) => a.position - b.position || compareIds(a.id, b.id);

function drawChannels() {
  const box = byId("channels");
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const all = [...world.channels.values()].filter((other) => !other.thread).sort(byPlace);
  const inCategory = (id) => all.filter((other) => other.kind !== CHANNEL.category && (other.parent ?? null) === id);
  const categories = all.filter((other) => other.kind === CHANNEL.category);
  const sections = [h("ul", {}, inCategory(null).map(channelItem))];
  for (const category of categories) {
    const channels = inCategory(category.id);
    sections.push(h("h3", {}, category.name), channels.length ? h("ul", {}, channels.map(channelItem)) : h("p", { class: "empty" }, "No channels yet"));
  }
  const events = [...world.events.values()].filter((event) => event.status < 3);
  if (events.length) sections.unshift(h("h3", {}, "Events"), h("ul", {}, events.map(eventItem)));
  box.replaceChildren(...sections);
  byId("guild").textContent = world.guildName ?? "Sandbox";
  if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function eventItem(event) {
  const told = h("span", { class: "name" }, event.name, h("small", {}, stamp(Math.floor(Date.parse(event.start) / 1000), "f")));
  return h("li", { class: "event", title: event.description ?? "" }, h("span", { class: "mark", "aria-hidden": "true" }, "📅"), told);
}

function channelItem(item) {
  const threads = world.threadsOf(item.id).sort((a, b) => compareIds(a.id, b.id));
  const open = threads.filter((thread) => !thread.thread.archived || thread.id === channel || unfolded.has(item.id));
  const hidden = threads.length - open.length;
  const unfold = h("button", { type: "button", class: "unfold", "data-key": `unfold-${item.id}`, onclick: () => (unfolded.add(item.id), drawChannels()) }, `${hidden} archived ${hidden === 1 ? "thread" : "threads"}`);
  const below = threads.length ? h("ul", {}, open.map((thread) => h("li", {}, channelLink(thread))), hidden ? h("li", {}, unfold) : null) : null;
  return h("li", {}, channelLink(item), below);
}

function channelLink(item) {
  const { count, calls } = world.unread(item.id);
  const here = item.id === channel;
  const mark = item.thread ? "└" : "#";
  const told = [item.name, calls ? `${calls} for you` : count ? "unread" : ""].filter(Boolean).join(", ");
  return h(
    "a",
    { href: `#${item.id}`, class: [item.thread ? "thread" : "channel", count && !here ? "unread" : ""].filter(Boolean).join(" "), "data-key": item.id, "aria-current": here ? "page" : undefined, "aria-label": told, title: item.thread ? item.name : undefined },
    h("span", { class: "mark", "aria-hidden": "true" }, mark),
    h("span", { class: "name" }, item.name),
    item.thread?.locked ? h("span", { "aria-hidden": "true" }, "🔒") : null,
    calls && !here ? h("span", { class: "badge" }, String(calls)) : null,
  );
}

byId("channels").addEventListener("keydown", (event) => {
  const links = [...byId("channels").querySelectorAll("a, button")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.altKey) return;
  event.preventDefault();
  links[(links.indexOf(document.activeElement) + step + links.length) % links.length].focus();
});

function firstChannel() {
  const all = [...world.channels.values()].filter((other) => !other.thread && other.kind !== CHANNEL.category).sort(byPlace);
  return all[0]?.id ?? null;
}

/** The channel that the address names. */
const addressed = () => location.hash.slice(1).split("/")[0];

/** Goes to a channel or thread, or stays where the person is if there is none like it. */
function go(id) {
  channel = world.channels.has(id) && world.channels.get(id).kind !== CHANNEL.category ? id : firstChannel();
  composeIn(channel);
  showChannel(channel);
  drawHead();
  drawChannels();
  drawSide();
  app.classList.remove("show-left");
  shade();
}

function drawHead() {
  const here = world.channels.get(channel);
  const parent = here?.thread ? world.channels.get(here.parent) : null;
  byId("place").replaceChildren(parent ? h("a", { href: `#${parent.id}` }, `#${parent.name}`) : "", parent ? " › " : "", here ? `${here.thread ? "" : "#"}${here.name}` : "No channel");
  byId("topic").replaceChildren(here?.topic ? rich(here.topic) : "");
  document.title = `${here ? `${here.thread ? "" : "#"}${here.name} · ` : ""}Pointsman sandbox`;
}

// ── people, pins ────────────────────────────────────────────────────────────────────────────────

function drawPeople() {
  const groups = new Map();
  for (const member of world.members.values()) {
    if (member.id === world.owner) continue;
    const group = member.bot ? "bots" : (world.rolesOf(member)[0]?.name ?? "no role");
    groups.set(group, [...(groups.get(group) ?? []), member]);
  }
  const order = [...groups].sort(([a], [b]) => (a === "bots") - (b === "bots") || (a === "no role") - (b === "no role"));
  const focused = byId("people").contains(document.activeElement) ? document.activeElement.dataset.key : null;
  byId("people").replaceChildren(
    h("p", { class: "hint" }, "Choose a person to act as them."),
    ...order.flatMap(([group, members]) => [h("h3", {}, `${group} — ${members.length}`), h("ul", { class: "members" }, members.map(memberItem))]),
  );
  if (focused) byId("people").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function memberItem(member) {
  const me = member.name === world.persona;
  const away = member.bot && world.botOnline === false;
  const roles = world.rolesOf(member).map((role) => role.name).join(", ") || "no role";
  const told = [face(member), h("span", { class: "who" }, name(member), h("small", {}, member.bot ? (away ? "offline" : "online") : roles))];
  if (member.bot) return h("li", { class: away ? "member away" : "member" }, told);
  const label = me ? `You act as ${member.display_name}` : `Act as ${member.display_name}, ${roles}`;
  return h("li", {}, h("button", { type: "button", class: "member", "data-key": member.name, "aria-pressed": String(me), "aria-label": label, onclick: () => become(member.name) }, told, me ? h("span", { class: "you" }, "you") : null));
}

function drawPins() {
  const pinned = world.messagesIn(channel).filter((message) => message.pinned);
  const item = (message) =>
    h(
      "button",
      { type: "button", class: "pinned", onclick: () => jump(message.id) },
      h("span", { class: "head" }, name(world.members.get(message.author)), h("small", {}, day(Date.parse(message.posted)))),
      h("span", { class: "cut" }, message.content || message.embeds[0]?.title || message.embeds[0]?.description || "An attachment"),
    );
  byId("pins").replaceChildren(...(pinned.length ? pinned.reverse().map(item) : [h("p", { class: "hint" }, "Nothing is pinned in this channel.")]));
}

function drawPersona() {
  const me = world.me;
  const roles = world.rolesOf(me).map((role) => role.name).join(", ") || "no role";
  byId("persona").replaceChildren(face(me), h("span", { class: "who" }, h("b", {}, me?.display_name ?? "Nobody"), h("small", {}, roles)), h("span", { "aria-hidden": "true" }, "⇅"));
  byId("persona").setAttribute("aria-label", `You are ${me?.display_name}, ${roles}. Choose who you are`);
}

async function become(who) {
  if (who === world.persona) return;
  memory.set(PERSONA, who);
  await world.become(who);
  toast(`You are ${world.me?.display_name ?? "nobody"} now`);
}

byId("persona").addEventListener("click", (event) => {
  const item = (member) => ({
    label: member.display_name,
    detail: world.rolesOf(member).map((role) => role.name).join(", ") || "no role",
    checked: member.name === world.persona,
    pick: () => become(member.name),
  });
  openMenu(event.currentTarget, "Who you are", world.people.map(item));
});

// ── the right side ──────────────────────────────────────────────────────────────────────────────

const TABS = ["people", "pins", "stage"];
let tab = "people";

function drawSide() {
  for (const each of TABS) {
    byId(each).hidden = each !== tab;
    byId(`tab-${each}`).setAttribute("aria-selected", String(each === tab));
    byId(`tab-${each}`).tabIndex = each === tab ? 0 : -1;
  }
  if (tab === "people") drawPeople();
  if (tab === "pins") drawPins();
}

function showTab(wanted, focus) {
  tab = wanted;
  drawSide();
  if (tab === "stage") lookAtStage();
  if (focus) byId(`tab-${tab}`).focus();
}

for (const each of TABS) byId(`tab-${each}`).addEventListener("click", () => showTab(each));
document.querySelector(".tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) showTab(TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length], true);
});

// ── narrow screens ──────────────────────────────────────────────────────────────────────────────

const narrow = matchMedia("(max-width: 900px)");

function shade() {
  const open = app.classList.contains("show-left") || (narrow.matches && app.classList.contains("show-right"));
  byId("shade").hidden = !open;
  const right = narrow.matches ? app.classList.contains("show-right") : !app.classList.contains("hide-right");
  byId("open-right").setAttribute("aria-expanded", String(right));
}

byId("open-left").addEventListener("click", () => {
  app.classList.toggle("show-left");
  shade();
  (byId("channels").querySelector("[aria-current]") ?? byId("persona")).focus();
});
byId("open-right").addEventListener("click", () => {
  app.classList.toggle(narrow.matches ? "show-right" : "hide-right");
  shade();
});
function closePanels() {
  app.classList.remove("show-left", "show-right");
  shade();
}
byId("shade").addEventListener("click", closePanels);
narrow.addEventListener("change", closePanels);

// ── light and dark ──────────────────────────────────────────────────────────────────────────────

const THEMES = { system: ["◐", "As the system"], light: ["☀", "Light"], dark: ["☾", "Dark"] };

function setTheme(theme) {
  const [icon, title] = THEMES[theme] ?? THEMES.system;
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  byId("theme").replaceChildren(icon);
  byId("theme").title = `Colours: ${title}`;
  byId("theme").setAttribute("aria-label", `Colours: ${title}`);
}

byId("theme").addEventListener("click", (event) => {
  const now = document.documentElement.dataset.theme ?? "system";
  const item = ([theme, [icon, label]]) => ({ icon, label, checked: theme === now, pick: () => (memory.set(THEME, theme), setTheme(theme)) });
  openMenu(event.currentTarget, "Colours", Object.entries(THEMES).map(item));
});

// ── keys ────────────────────────────────────────────────────────────────────────────────────────

const KEYS = [
  ["/", "a slash command; Tab or Enter takes a suggestion, Esc leaves"],
  ["any letter", "goes to the message box, wherever you are"],
  ["Alt ↑ ↓", "the channel above or below"],
  ["Alt 1 … 9", "become the first … ninth person"],
  ["↑ ↓ in the messages", "from message to message; Tab goes into one, Enter opens its menu"],
  ["Esc", "back to the message box"],
  ["F6", "from column to column"],
  ["Ctrl Enter in a form", "sends it"],
  ["↑ in the empty message box", "what was sent before"],
];

byId("help").addEventListener("click", () => {
  const close = h("button", { type: "button", class: "button primary", onclick: () => dialog.close() }, "Close");
  const dialog = h("dialog", { class: "modal", "aria-label": "Keyboard" }, h("h2", {}, "Keyboard"), h("dl", { class: "keys" }, KEYS.map(([key, what]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)))), h("div", { class: "ends" }, close));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
});

function channelBeside(step) {
  const links = [...byId("channels").querySelectorAll("a")].map((link) => link.dataset.key);
  location.hash = links[(links.indexOf(channel) + step + links.length) % links.length];
}

const messageBox = () => document.querySelector("#command:not([hidden]) input") ?? byId("input");
const COLUMNS = [() => byId("channels").querySelector("[aria-current]") ?? byId("persona"), () => byId("messages"), messageBox, () => byId(`tab-${tab}`)];
function nextColumn(step) {
  const areas = [byId("left"), byId("messages"), byId("composer"), byId("right")];
  const at = areas.findIndex((area) => area.contains(document.activeElement));
  COLUMNS[(at + step + COLUMNS.length) % COLUMNS.length]()?.focus();
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const digit = /^Digit([1-9])$/.exec(event.code);
  if (event.altKey && digit && world.people[digit[1] - 1]) become(world.people[digit[1] - 1].name);
  else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) channelBeside(event.key === "ArrowUp" ? -1 : 1);
  else if (event.key === "F6") nextColumn(event.shiftKey ? -1 : 1);
  else if (event.key === "Escape") {
    closePanels();
    byId("input").focus();
  } else {
    // What is typed anywhere goes into the message box; a space presses what has the focus.
    const types = event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (types && !event.target.closest?.("input, textarea, select")) messageBox().focus();
    return;
  }
  event.preventDefault();
});

// ── what comes from the world ───────────────────────────────────────────────────────────────────

const drawAll = soon(() => {
  if (!world.channels.has(channel)) return go(addressed());
  composeIn(channel);
  drawHead();
  drawChannels();
  drawSide();
  drawPersona();
});
const drawChannelsSoon = soon(drawChannels);

world.addEventListener("all", drawAll);
world.addEventListener("channels", drawAll);
world.addEventListener("read", drawChannelsSoon);
world.addEventListener("message", ({ detail }) => {
  if (detail.what === "message_posted") drawChannelsSoon();
  if (tab === "pins" && detail.channel === channel) drawPins();
});
world.addEventListener("persona", () => {
  drawPersona();
  go(world.channels.has(channel) ? channel : addressed());
});
world.addEventListener("bot", () => {
  if (tab === "people") drawPeople();
});
world.addEventListener("gateway", lookAtStage);
world.addEventListener("online", () => {
  byId("offline").hidden = world.online;
  byId("offline").textContent = world.online ? "" : "The sandbox does not answer; trying again…";
});

const typing = new Map();
world.addEventListener("typing", ({ detail }) => {
  typing.set(detail.user, { channel: detail.channel, until: performance.now() + TYPING });
  drawTyping();
});
function drawTyping() {
  const now = performance.now();
  const who = [...typing].filter(([, each]) => each.channel === channel && each.until > now).map(([user]) => world.members.get(user)?.display_name);
  byId("typing").textContent = who.length ? `${who.join(", ")} ${who.length === 1 ? "is" : "are"} typing…` : "";
}

setInterval(() => {
  tick();
  tickStage();
  drawTyping();
}, 1000);

/** Goes where the address says: to a channel, or to a message in it. */
function followAddress() {
  const [wanted, message] = location.hash.slice(1).split("/");
  if (wanted && wanted !== channel) go(wanted);
  if (message) jump(message);
  byId("input").focus();
}
addEventListener("hashchange", followAddress);

setTheme(memory.get(THEME) ?? "system");
shade();
await world.become(memory.get(PERSONA));
await lookAtStage();
drawMessages();
followAddress();
document.documentElement.dataset.ready = "true";

// Where a person types: messages, and slash commands whose options are filled in one by one, with the bot's own
// completions while typing.

import { byId, h } from "./dom.js";
import { run } from "./messages.js";
import { CHANNEL, PERMISSIONS, Refused, world } from "./world.js";

/** Milliseconds of quiet before the bot is asked for completions. */
const QUIET = 150;
const OPTION = { sub: 1, group: 2, string: 3, integer: 4, boolean: 5, user: 6, channel: 7, role: 8, mentionable: 9, number: 10 };

const form = byId("composer");
const input = byId("input");
const commandBox = byId("command");
const popupBox = byId("popup");
const note = byId("note");

let channel = null;
/** The command being filled in: `{ path, options, values, fields, tail }`. */
let filling = null;
/** What was typed and not sent, by person and channel. */
const drafts = new Map();
const sent = [];
let recall = -1;

// ── suggestions ─────────────────────────────────────────────────────────────────────────────────

const popup = {
  items: [],
  active: -1,
  owner: null,
  show(owner, items, { active = 0, heading = "", empty = "" } = {}) {
    if (!items.length && !empty && !heading) return this.hide();
    Object.assign(this, { items, owner, active: items.length ? Math.min(active, items.length - 1) : -1 });
    const row = (item, index) =>
      h(
        "div",
        { role: "option", id: `option-${index}`, class: "suggestion", onpointerdown: (event) => event.preventDefault(), onclick: () => this.pick(index) },
        h("b", {}, item.label),
        item.detail ? h("span", {}, item.detail) : null,
        item.hint ? h("small", {}, item.hint) : null,
      );
    popupBox.replaceChildren(heading ? h("p", { class: "heading" }, heading) : "", ...items.map(row), !items.length && empty ? h("p", { class: "empty" }, empty) : "");
    popupBox.hidden = false;
    owner.setAttribute("aria-expanded", "true");
    this.mark();
  },
  mark() {
    [...popupBox.querySelectorAll("[role=option]")].forEach((row, index) => {
      row.setAttribute("aria-selected", String(index === this.active));
      if (index === this.active) row.scrollIntoView({ block: "nearest" });
    });
    if (this.active >= 0) this.owner.setAttribute("aria-activedescendant", `option-${this.active}`);
    else this.owner.removeAttribute("aria-activedescendant");
  },
  hide() {
    popupBox.hidden = true;
    popupBox.replaceChildren();
    this.items = [];
    this.active = -1;
    this.owner?.setAttribute("aria-expanded", "false");
    this.owner?.removeAttribute("aria-activedescendant");
  },
  get open() {
    return !popupBox.hidden;
  },
  pick(index) {
    const item = this.items[index];
    this.hide();
    item?.pick();
  },
  /** Whether a key was meant for the suggestions. */
  key(event) {
    if (!this.open || event.isComposing) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.items.length) {
      this.active = this.active < 0 && step < 0 ? this.items.length - 1 : (this.active + step + this.items.length) % this.items.length;
      this.mark();
    } else if ((event.key === "Enter" || (event.key === "Tab" && !event.shiftKey)) && this.active >= 0) this.pick(this.active);
    else if (event.key === "Escape") this.hide();
    else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  },
};

function complain(text) {
  note.textContent = text;
  note.hidden = !text;
}

// ── the registered commands ─────────────────────────────────────────────────────────────────────

/** Every command that can be sent, sub-commands by their whole path. */
function commandPaths() {
  const walk = (path, about, options) => {
    const nested = (options ?? []).filter((option) => option.type === OPTION.sub || option.type === OPTION.group);
    return nested.length ? nested.flatMap((option) => walk(`${path} ${option.name}`, option.description, option.options)) : [{ path, about, options: options ?? [] }];
  };
  return world.commands.filter((command) => command.type === 1).flatMap((command) => walk(command.name, command.description, command.options));
}

function suggestCommands() {
  const typed = input.value.slice(1).toLowerCase();
  const all = commandPaths();
  const begun = all.filter((command) => command.path.startsWith(typed.trimEnd()));
  const others = all.filter((command) => !begun.includes(command) && command.path.includes(typed.trim()));
  const exact = all.find((command) => typed.startsWith(`${command.path} `));
  if (exact) return fill(exact, input.value.slice(exact.path.length + 2));
  const item = (command) => ({ label: `/${command.path}`, detail: command.about, hint: required(command), pick: () => fill(command, "") });
  const empty = all.length ? `There is no command like /${typed}` : "The bot has not registered its commands. Is it running? See the stage.";
  popup.show(input, [...begun, ...others].map(item), { heading: all.length ? "Commands" : "", empty });
}

const required = (command) =>
  command.options
    .filter((option) => option.required)
    .map((option) => option.name)
    .join(", ");

// ── filling in a command ────────────────────────────────────────────────────────────────────────

/** Begins a command; `rest` may hold options as `name:value`. */
function fill(command, rest) {
  complain("");
  filling = { ...command, values: new Map(), fields: new Map() };
  const tail = h("input", { class: "tail", role: "combobox", "aria-controls": "popup", "aria-expanded": "false", "aria-label": "More options", spellcheck: "false" });
  filling.tail = tail;
  tail.addEventListener("input", suggestOptions);
  tail.addEventListener("focus", suggestOptions);
  tail.addEventListener("keydown", tailKey);
  const drop = h("button", { type: "button", class: "path", title: "Leave the command (Esc)", "aria-label": `Leave /${command.path}`, onclick: () => leave("") }, `/${command.path}`);
  commandBox.replaceChildren(drop, tail);
  commandBox.hidden = false;
  input.hidden = true;
  input.value = "";
  popup.hide();
  for (const option of command.options.filter((option) => option.required)) addField(option);
  for (const [name, value] of pairs(rest, command.options)) {
    addField(command.options.find((option) => option.name === name)).input.value = value;
    filling.values.set(name, value);
  }
  focusNext();
}

/** `name:value` pairs as they may be pasted; a value may stand in quotes. */
function pairs(text, options) {
  const names = options.map((option) => option.name.replaceAll(/[^\w-]/g, "")).join("|");
  if (!names) return [];
  const pattern = new RegExp(`(?:^|\\s)(${names}):(?:"((?:[^"\\\\]|\\\\.)*)"|(.*?))(?=\\s+(?:${names}):|\\s*$)`, "gs");
  return [...text.matchAll(pattern)].map(([, name, quoted, bare]) => [name, quoted === undefined ? bare : quoted.replaceAll(/\\(.)/g, "$1")]);
}

function addField(option) {
  const known = filling.fields.get(option.name);
  if (known) return known;
  const id = `command-${option.name}`;
  const field = h("input", { id, role: "combobox", "aria-controls": "popup", "aria-expanded": "false", "aria-required": String(Boolean(option.required)), spellcheck: "false", inputmode: option.type === OPTION.integer ? "numeric" : undefined, "data-option": option.name });
  const element = h("span", { class: "option" }, h("label", { for: id }, option.name), field);
  const grow = () => (field.style.width = `${Math.min(Math.max(field.value.length + 2, 8), 40)}ch`);
  const entry = { option, input: field, element, grow };
  field.addEventListener("input", () => {
    filling.values.set(option.name, field.value);
    field.removeAttribute("aria-invalid");
    complain("");
    grow();
    suggestValues(entry);
  });
  field.addEventListener("focus", () => {
    grow();
    suggestValues(entry);
  });
  field.addEventListener("blur", () => popup.owner === field && popup.hide());
  field.addEventListener("keydown", (event) => fieldKey(event, entry));
  filling.fields.set(option.name, entry);
  filling.tail.before(element);
  labelTail();
  return entry;
}

const unused = () => filling.options.filter((option) => !filling.fields.has(option.name));

function labelTail() {
  const left = unused().length;
  filling.tail.placeholder = left ? `+${left} optional` : "";
}

function suggestOptions() {
  const typed = filling.tail.value.trim().toLowerCase().replace(/:$/, "");
  const items = unused()
    .filter((option) => option.name.includes(typed))
    .map((option) => ({
      label: option.name,
      detail: option.description,
      pick: () => {
        filling.tail.value = "";
        addField(option).input.focus();
      },
    }));
  // Nothing is marked before something is typed, so that Enter sends the command.
  popup.show(filling.tail, items, { active: typed ? 0 : -1, heading: items.length ? "Options" : "" });
}

function tailKey(event) {
  if (popup.key(event)) return;
  if (event.key === "Backspace" && !filling.tail.value) {
    event.preventDefault();
    const last = [...filling.fields.values()].at(-1);
    if (last) last.input.focus();
    else leave(`/${filling.path}`);
  } else if (event.key === "Escape") {
    event.preventDefault();
    leave("");
  }
}

function fieldKey(event, entry) {
  if (popup.key(event)) return;
  if (event.key === "Backspace" && !entry.input.value) {
    event.preventDefault();
    if (entry.option.required) leave(`/${filling.path}`);
    else {
      entry.element.remove();
      filling.fields.delete(entry.option.name);
      filling.values.delete(entry.option.name);
      labelTail();
      filling.tail.focus();
    }
  } else if (event.key === "Escape") {
    event.preventDefault();
    leave("");
  }
}

/** Goes to the next option that must be filled in, else to the end of the line. */
function focusNext() {
  const open = [...filling.fields.values()].find(({ option, input }) => option.required && !input.value);
  (open?.input ?? filling.tail).focus();
}

/** Leaves the command; what is left in the box is `text`. */
function leave(text) {
  filling = null;
  asked += 1;
  clearTimeout(quiet);
  commandBox.hidden = true;
  commandBox.replaceChildren();
  input.hidden = false;
  input.value = text;
  popup.hide();
  complain("");
  input.focus();
  if (text) suggestCommands();
}

// ── values of options ───────────────────────────────────────────────────────────────────────────

let asked = 0;
let quiet = 0;

function suggestValues(entry) {
  const { option, input: field } = entry;
  const heading = [`${option.name}: ${option.description}`, option.required ? "" : " (optional)"].join("");
  clearTimeout(quiet);
  if (option.autocomplete) {
    popup.show(field, [], { heading });
    quiet = setTimeout(() => complete(entry, heading), field.value ? QUIET : 0);
    return;
  }
  const typed = field.value.trim().toLowerCase();
  const all = fixedValues(option);
  const fitting = all.filter((value) => `${value.label} ${value.value}`.toLowerCase().includes(typed));
  const chosen = all.some((value) => String(value.value).toLowerCase() === typed || value.label.toLowerCase() === typed);
  const items = fitting.map((value) => ({ ...value, pick: () => choose(entry, value.value) }));
  popup.show(field, chosen ? [] : items, { heading, empty: all.length && !fitting.length ? "None of the choices is like this" : "" });
}

function fixedValues(option) {
  const named = (list, mark) => list.map((each) => ({ label: `${mark}${each.display_name ?? each.name}`, value: each.name ?? each.id }));
  if (option.choices?.length) return option.choices.map((choice) => ({ label: choice.name, value: String(choice.value) }));
  switch (option.type) {
    case OPTION.boolean:
      return ["true", "false"].map((value) => ({ label: value, value }));
    case OPTION.user:
      return named([...world.members.values()], "@");
    case OPTION.role:
      return named([...world.roles.values()], "@");
    case OPTION.mentionable:
      return [...named([...world.members.values()], "@"), ...named([...world.roles.values()], "@")];
    case OPTION.channel:
      return named([...world.channels.values()].filter((other) => other.kind !== CHANNEL.category), "#");
    default:
      return [];
  }
}

async function complete(entry, heading) {
  const number = ++asked;
  const others = [...filling.values].filter(([name, value]) => name !== entry.option.name && value);
  const text = line([...others, [entry.option.name, entry.input.value]]);
  const current = () => number === asked && document.activeElement === entry.input;
  try {
    const { response } = await world.act({ act: "autocomplete", channel, text });
    if (!current()) return;
    const items = (response.choices ?? []).map((choice) => {
      const value = String(choice.value);
      return { label: choice.name, detail: choice.name === value ? "" : value, pick: () => choose(entry, value) };
    });
    const empty = response === "not_answered" ? "Loading the options failed: the bot did not answer" : "Nothing fits what you typed";
    popup.show(entry.input, items, { heading, empty });
  } catch (error) {
    if (current()) popup.show(entry.input, [], { heading, empty: error.message });
  }
}

function choose(entry, value) {
  entry.input.value = value;
  filling.values.set(entry.option.name, value);
  entry.grow();
  focusNext();
}

const quote = (value) => `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
const line = (values) => [`/${filling.path}`, ...values.map(([name, value]) => `${name}:${quote(value)}`)].join(" ");

/** The first thing that is wrong with the options, shown at its field. */
function wrongOption() {
  for (const { option, input: field } of filling.fields.values()) {
    const value = field.value.trim();
    const why = !value ? (option.required ? "is required" : "") : option.type === OPTION.integer && !/^-?\d+$/.test(value) ? "must be a whole number" : "";
    if (why) return { field, why: `${option.name} ${why}: ${option.description}` };
  }
  return null;
}

// ── sending ─────────────────────────────────────────────────────────────────────────────────────

async function sendCommand() {
  const wrong = wrongOption();
  if (wrong) {
    wrong.field.setAttribute("aria-invalid", "true");
    wrong.field.focus();
    popup.hide();
    return complain(wrong.why);
  }
  const values = [...filling.fields.values()].map(({ option, input: field }) => [option.name, field.value.trim()]).filter(([, value]) => value);
  const { path } = filling;
  const text = line(values);
  remember([`/${path}`, ...values.map(([name, value]) => `${name}:${/[\s:"]/.test(value) ? quote(value) : value}`)].join(" "));
  leave("");
  try {
    await run({ act: "slash", channel, text }, `/${path}`);
  } catch (error) {
    complain(error.message);
  }
}

async function sendMessage() {
  const text = input.value.trim();
  if (!text) return;
  if (text.startsWith("/")) return complain(`There is no command ${text.split(" ")[0]} ${world.commands.length ? "" : "yet: the bot has not registered any"}`);
  input.value = "";
  fit();
  remember(text);
  try {
    await world.act({ act: "send", channel, text: mentions(text) });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    input.value = text;
    complain(error.message);
  }
}

/** People write `@dana` and `@dba`; Discord sends ids. */
function mentions(text) {
  return text.replaceAll(/(?<![\w<])@(\w+)/g, (whole, name) => {
    const wanted = name.toLowerCase();
    const member = [...world.members.values()].find((other) => other.name.toLowerCase() === wanted || other.display_name.toLowerCase() === wanted);
    const role = [...world.roles.values()].find((other) => other.name.toLowerCase() === wanted);
    return member ? `<@${member.id}>` : role ? `<@&${role.id}>` : whole;
  });
}

function remember(text) {
  if (sent[0] !== text) sent.unshift(text);
  recall = -1;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  complain("");
  return filling ? sendCommand() : sendMessage();
});

input.addEventListener("input", () => {
  complain("");
  fit();
  if (input.value.startsWith("/") && !input.value.includes("\n")) suggestCommands();
  else suggestMentions();
});

/** `@` at the end of what is typed offers people and roles. */
function suggestMentions() {
  const typed = /(?:^|\s)@(\w*)$/.exec(input.value.slice(0, input.selectionStart));
  if (!typed) return popup.hide();
  const names = [...world.members.values()].map((member) => [member.name, member.display_name]).concat([...world.roles.values()].filter((role) => role.name !== "@everyone").map((role) => [role.name, "role"]));
  const items = names
    .filter(([name]) => name.startsWith(typed[1].toLowerCase()))
    .map(([name, detail]) => ({
      label: `@${name}`,
      detail,
      pick: () => {
        const end = input.selectionStart;
        input.setRangeText(`${name} `, end - typed[1].length, end, "end");
        input.focus();
      },
    }));
  popup.show(input, items);
}

input.addEventListener("keydown", (event) => {
  if (event.isComposing || popup.key(event)) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    form.requestSubmit();
  } else if (event.key === "Escape") {
    complain("");
  } else if (event.key === "ArrowUp" && (!input.value || recall >= 0) && sent.length) {
    event.preventDefault();
    recall = Math.min(recall + 1, sent.length - 1);
    input.value = sent[recall];
    fit();
  } else if (event.key === "ArrowDown" && recall >= 0) {
    event.preventDefault();
    recall -= 1;
    input.value = sent[recall] ?? "";
    fit();
  }
});
input.addEventListener("blur", () => popup.owner === input && popup.hide());

/** As high as its lines. */
function fit() {
  input.style.height = "auto";
  input.style.height = `${Math.min(input.scrollHeight, 180)}px`;
}

/** Moves the box to a channel; what was typed stays with the channel it was typed in. */
export function composeIn(id) {
  const key = (where) => `${world.persona}/${where}`;
  if (id !== channel) {
    if (channel) drafts.set(key(channel), filling ? "" : input.value);
    if (filling) leave("");
    channel = id;
    input.value = drafts.get(key(id)) ?? "";
    complain("");
    popup.hide();
    fit();
  }
  const where = world.channels.get(id);
  const may = world.can(id, where?.thread ? PERMISSIONS.sendInThreads : PERMISSIONS.send);
  const locked = where?.thread?.locked && where?.thread?.archived;
  input.disabled = !where || ((!may || locked) && !world.can(id, PERMISSIONS.commands));
  const name = where ? `${where.thread ? "" : "#"}${where.name}` : "";
  input.placeholder = !where ? "" : input.disabled ? "You cannot write here" : `Message ${name}, or / for a command`;
  byId("send").disabled = input.disabled;
}

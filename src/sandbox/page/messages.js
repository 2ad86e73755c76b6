// Messages as elements, and the list of a channel's messages.

import { byId, copy, h, openMenu, soon, toast } from "./dom.js";
import { answerForm } from "./modal.js";
import { clockTime, day, fullTime, initials, rich } from "./text.js";
import { compareIds, FLAG, KIND, PERMISSIONS, world } from "./world.js";

/** Messages shown at first, and how many more each "earlier" brings. */
const PAGE = 150;
/** A message that follows its author's last one within these milliseconds stands without name and face. */
const GROUP_WITHIN = 7 * 60 * 1000;
/** Pixels from the end within which the list follows new messages. */
const NEAR_END = 80;
const BUTTON_STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "link" };
const QUICK = ["✅", "❌"];
const EMOJI = ["✅", "❌", "👀", "📌", "👍", "👎", "🎉", "🚀", "⚠️", "🔥", "❤️", "😀", "😢", "🤔", "🙏", "🕒"];
export const NO_ANSWER = "The application did not respond";

const list = byId("messages");
let channel = null;
let shown = PAGE;
let newFrom = null;
/** What happened here and is no message: commands on their way, and those that were not answered. By channel. */
const notices = new Map();

/** People's colours: names by their highest role, faces by their place among the people. */
const TINTS = 8;
const tint = (member) => (Math.max(0, world.people.indexOf(member)) * 3) % TINTS;

export const face = (member) =>
  member?.bot
    ? h("img", { class: "face", src: "/page/icon.svg", alt: "" })
    : h("span", { class: `face tint-${tint(member)}`, "aria-hidden": "true" }, initials(member?.display_name ?? "?"));

export function name(member) {
  const role = world.rolesOf(member)[0];
  return h(
    "span",
    { class: role && !member.bot ? `author hue-${role.position % TINTS}` : "author", title: role ? role.name : undefined },
    member?.display_name ?? "Unknown",
    member?.bot ? h("span", { class: "tag" }, "APP") : null,
  );
}

// ── the list ────────────────────────────────────────────────────────────────────────────────────

/** Shows a channel's messages from its end. */
export function showChannel(id) {
  channel = id;
  shown = PAGE;
  const unread = id ? world.unread(id) : null;
  newFrom = unread?.count ? unread.after : null;
  draw();
  list.scrollTop = list.scrollHeight;
  seen();
}

function seen() {
  if (!channel || document.hidden) return;
  world.markRead(channel);
  world.dispatchEvent(new CustomEvent("read"));
}

/** Draws the list anew, keeping what is unchanged, the place and the focus. */
export function draw() {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END;
  const focus = rememberFocus();
  const all = channel ? world.messagesIn(channel) : [];
  const wanted = all.slice(-shown);
  const items = [];
  if (all.length > wanted.length) {
    items.push(h("button", { type: "button", class: "earlier", onclick: earlier }, `Show ${Math.min(PAGE, all.length - wanted.length)} earlier messages`));
  } else if (channel) {
    items.push(beginning(all.length === 0));
  }
  let previous = null;
  for (const message of wanted) {
    const date = day(Date.parse(message.posted));
    if (!previous || day(Date.parse(previous.posted)) !== date) items.push(h("div", { class: "day", role: "separator" }, h("span", {}, date)));
    if (newFrom && compareIds(message.id, newFrom) > 0 && (!previous || compareIds(previous.id, newFrom) <= 0)) {
      items.push(h("div", { class: "day new", role: "separator" }, h("span", {}, "New")));
    }
    items.push(element(message, previous));
    previous = message;
  }
  items.push((notices.get(channel) ?? []).filter((notice) => notice.who?.id === world.me?.id).map(noticeElement));
  list.replaceChildren(...items.flat());
  restoreFocus(focus);
  if (atEnd) list.scrollTop = list.scrollHeight;
  byId("newer").hidden = atEnd;
}

const drawSoon = soon(draw);

function earlier() {
  const before = list.scrollHeight - list.scrollTop;
  shown += PAGE;
  draw();
  list.scrollTop = list.scrollHeight - before;
}

/** Elements of unchanged messages, to be used again. */
const made = new WeakMap();

function element(message, previous) {
  const follows = continues(message, previous);
  const known = made.get(message);
  const state = `${follows} ${world.persona} ${message.reactions.map((r) => r.emoji + r.users).join()} ${threadState(message)}`;
  if (known?.state === state) return known.element;
  const built = build(message, follows);
  made.set(message, { state, element: built });
  return built;
}

const threadState = (message) => {
  const thread = world.channels.get(message.id);
  return thread ? `${thread.name} ${countPosts(thread.id)} ${thread.thread?.archived}` : "";
};

function continues(message, previous) {
  return (
    previous &&
    previous.author === message.author &&
    isPost(previous) &&
    message.kind === KIND.regular &&
    previous.ephemeral_for === message.ephemeral_for &&
    Date.parse(message.posted) - Date.parse(previous.posted) < GROUP_WITHIN
  );
}

const countPosts = (id) => [...(world.messages.get(id)?.values() ?? [])].filter(isPost).length;

const isPost = (message) => [KIND.regular, KIND.reply, KIND.command, KIND.messageCommand].includes(message.kind);

function beginning(empty) {
  const where = world.channels.get(channel);
  const title = where?.thread ? where.name : `#${where?.name}`;
  const text = where?.thread ? "This is the start of the thread." : `This is the start of ${title}.`;
  return h("div", { class: "beginning" }, h("h3", {}, title), h("p", {}, text), empty && !where?.thread ? firstSteps() : null);
}

/** For whoever has just come: what there is to be done here. */
function firstSteps() {
  const hint = (...told) => h("li", {}, told);
  const key = (text) => h("code", {}, text);
  if (!world.commands.length) return h("p", { class: "hint" }, "The bot has not registered its commands yet. It is starting, or the stage beside tells why not.");
  return h(
    "ol",
    { class: "hint" },
    hint("Rehearse a migration: ", key("/migrate start"), ", runbook ", key("ace-sqlite-to-postgres"), ", mode ", key("dry_run"), ". The form offers the practice estate's values."),
    hint("Then the same without ", key("mode"), ": it is live, and waits in its thread until Leo, Dana and Sam have signed with ✅. Become them in the list of people, or by ", key("Alt 1"), " to ", key("Alt 9"), "."),
    hint("The stage beside kills the bot, breaks what it works on, lets time run faster, and leads to the run board and the issues."),
    hint("Something is wrong? ", key("/incident open"), ". ", key("/"), " lists all commands, and the button ", key("?"), " all keys."),
  );
}

// ── one message ─────────────────────────────────────────────────────────────────────────────────

function build(message, follows) {
  if (!isPost(message)) return noticeOfDiscord(message);
  const author = world.members.get(message.author);
  const posted = Date.parse(message.posted);
  const classes = ["message", follows ? "follows" : "", world.calls(message) ? "calls" : "", message.ephemeral_for ? "ephemeral" : ""];
  const time = h("time", { datetime: message.posted, title: fullTime(posted) }, clockTime(posted));
  const head = follows ? null : h("div", { class: "head" }, name(author), time, message.pinned ? h("span", { class: "pin", title: "Pinned" }, "📌") : null);
  const box = h(
    "article",
    { class: classes.filter(Boolean).join(" "), tabindex: "-1", "data-id": message.id, "aria-label": `${author?.display_name ?? "Unknown"}, ${clockTime(posted)}` },
    above(message),
    h("div", { class: "side" }, follows ? time.cloneNode(true) : face(author)),
    h("div", { class: "body" }, head, content(message), below(message)),
    tools(message),
  );
  box.addEventListener("contextmenu", (event) => {
    if (event.target.closest("a, input, img") || String(getSelection())) return;
    event.preventDefault();
    more(message, box.querySelector(".more"));
  });
  return box;
}

/** What a message answers. */
function above(message) {
  const asked = message.interaction ? world.interactions.get(message.interaction) : null;
  if (asked?.said && (message.kind === KIND.command || message.kind === KIND.messageCommand)) {
    const who = world.members.get(asked.user);
    return h("div", { class: "above" }, face(who), name(who), " used ", h("code", {}, asked.said.split(" ").slice(0, 2).join(" ")));
  }
  if (!message.reply_to) return null;
  const original = world.messages.get(message.channel)?.get(message.reply_to);
  if (!original) return h("div", { class: "above" }, "Original message was deleted");
  const author = world.members.get(original.author);
  return h(
    "button",
    { class: "above", type: "button", tabindex: "-1", onclick: () => jump(original.id) },
    face(author),
    name(author),
    h("span", { class: "cut" }, plain(original)),
  );
}

const plain = (message) => (message.content || message.embeds[0]?.title || message.embeds[0]?.description || "Click to see the message").split("\n")[0];

function content(message) {
  if (message.flags & FLAG.loading) return h("p", { class: "thinking" }, `${world.members.get(message.author)?.display_name} is thinking…`);
  const text = h("div", { class: "text" }, rich(message.content));
  if (message.edited) text.append(h("span", { class: "edited", title: fullTime(Date.parse(message.edited)) }, " (edited)"));
  return text;
}

function below(message) {
  return [
    message.embeds.map(embed),
    message.attachments.map(attachment),
    message.components.filter((row) => row.components).map((row) => h("div", { class: "row" }, row.components.map((part) => component(message, part)))),
    message.reactions.length ? reactions(message) : null,
    thread(message),
    message.ephemeral_for ? h("p", { class: "only" }, "👁 Only you can see this") : null,
  ];
}

function embed(embed) {
  const box = h(
    "div",
    { class: "embed" },
    embed.author ? h("p", { class: "embed-author" }, embed.author.name) : null,
    embed.title ? h("h4", {}, embed.url && /^https?:/.test(embed.url) ? h("a", { href: embed.url, target: "_blank", rel: "noopener noreferrer" }, embed.title) : rich(embed.title)) : null,
    embed.description ? h("div", { class: "text" }, rich(embed.description)) : null,
    embed.fields?.length
      ? h("dl", {}, embed.fields.map((field) => h("div", { class: field.inline ? "inline" : "" }, h("dt", {}, rich(field.name)), h("dd", { class: "text" }, rich(field.value)))))
      : null,
    embed.image ? picture(embed.image.url) : null,
    embed.footer || embed.timestamp
      ? h("footer", {}, [embed.footer?.text, embed.timestamp ? fullTime(Date.parse(embed.timestamp)) : null].filter(Boolean).join(" • "))
      : null,
  );
  if (Number.isInteger(embed.color)) box.style.setProperty("--accent", `#${embed.color.toString(16).padStart(6, "0")}`);
  return box;
}

/** Pictures are loaded from this machine only; others are named. */
function picture(url, description) {
  const local = new URL(url, location.href);
  return local.origin === location.origin || local.pathname.startsWith("/attachments/")
    ? h("img", { class: "picture", src: local.pathname, alt: description ?? "" })
    : h("p", { class: "hint" }, `Picture: ${url}`);
}

function attachment(file) {
  // The model may be known to the bot by another name than to this browser.
  const href = new URL(file.url, location.href).pathname;
  if (file.content_type.startsWith("image/") && !file.content_type.includes("svg")) return picture(file.url, file.description ?? file.filename);
  return h(
    "div",
    { class: "file" },
    h("span", { "aria-hidden": "true" }, "📄"),
    h("div", {}, h("a", { href, target: "_blank", rel: "noopener" }, file.filename), h("small", {}, size(file.size))),
    h("a", { class: "icon", href, download: file.filename, "aria-label": `Download ${file.filename}`, title: "Download" }, "⤓"),
  );
}

const size = (bytes) => (bytes < 1024 ? `${bytes} bytes` : bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1048576).toFixed(1)} MB`);

function component(message, part) {
  if (part.type === 2) return button(message, part);
  if (part.options) return select(message, part);
  return null;
}

function button(message, part) {
  const label = [part.emoji?.name, part.label].filter(Boolean).join(" ");
  const style = BUTTON_STYLES[part.style] ?? "secondary";
  if (style === "link") {
    const safe = /^https?:/.test(part.url ?? "");
    return h("a", { class: "button link", href: safe ? part.url : undefined, target: "_blank", rel: "noopener noreferrer" }, label, " ↗");
  }
  const press = (event) => use(event.currentTarget, { act: "click", message: message.id, custom_id: part.custom_id });
  return h("button", { type: "button", class: `button ${style}`, disabled: part.disabled, "data-custom-id": part.custom_id, onclick: press }, label);
}

function select(message, part) {
  const choose = (event) => {
    const values = [...event.target.selectedOptions].map((option) => option.value).filter(Boolean);
    if (values.length) use(event.target, { act: "select", message: message.id, custom_id: part.custom_id, values });
  };
  const many = (part.max_values ?? 1) > 1;
  const options = part.options.map((option) => h("option", { value: option.value, selected: option.default }, option.label));
  const empty = many ? null : h("option", { value: "" }, part.placeholder ?? "Choose…");
  return h("select", { class: "button secondary", multiple: many, disabled: part.disabled, "aria-label": part.placeholder ?? "Choose", onchange: choose }, empty, options);
}

/** Uses a component: busy until the bot answers, with the reason beside it if it does not. */
async function use(control, act) {
  if (control.classList.contains("busy")) return;
  control.classList.add("busy");
  control.setAttribute("aria-busy", "true");
  const row = control.closest(".row");
  row.querySelector(".trouble")?.remove();
  const trouble = (text) => row.append(h("span", { class: "trouble", role: "alert" }, text));
  try {
    const { interaction, response } = await world.act(act);
    if (response === "not_answered") trouble(NO_ANSWER);
    else answerForm(interaction, response);
  } catch (error) {
    trouble(error.message);
  } finally {
    control.classList.remove("busy");
    control.removeAttribute("aria-busy");
  }
}

function reactions(message) {
  const me = world.me?.id;
  const chips = message.reactions.map(({ emoji, users }) => {
    const mine = users.includes(me);
    const names = users.map((user) => world.members.get(user)?.display_name ?? "?").join(", ");
    return h(
      "button",
      {
        type: "button",
        class: "reaction",
        "aria-pressed": String(mine),
        "aria-label": `${emoji} ${users.length}: ${names}`,
        title: `${names} reacted with ${emoji}`,
        "data-emoji": emoji,
        onclick: () => react(message, emoji),
      },
      h("span", {}, emoji),
      h("b", {}, String(users.length)),
    );
  });
  const add = h("button", { type: "button", class: "reaction add", "aria-label": "Add a reaction", title: "Add a reaction", onclick: (event) => pickEmoji(message, event.currentTarget) }, "☺+");
  return h("div", { class: "reactions" }, chips, add);
}

export async function react(message, emoji) {
  const now = world.messages.get(message.channel)?.get(message.id) ?? message;
  const mine = now.reactions.find((reaction) => reaction.emoji === emoji)?.users.includes(world.me?.id);
  await quietly({ act: mine ? "unreact" : "react", message: message.id, emoji });
}

async function quietly(act) {
  try {
    await world.act(act);
  } catch (error) {
    toast(error.message);
  }
}

const pickEmoji = (message, anchor) =>
  openMenu(anchor, "Reactions", EMOJI.map((emoji) => ({ icon: emoji, aria: emoji, pick: () => react(message, emoji) })), { grid: true });

function thread(message) {
  const thread = message.flags & FLAG.thread ? world.channels.get(message.id) : null;
  if (!thread?.thread) return null;
  const count = countPosts(thread.id);
  return h(
    "a",
    { class: "thread", href: `#${thread.id}` },
    h("b", {}, thread.name),
    h("span", {}, `${count} ${count === 1 ? "message" : "messages"} ›`),
    thread.thread.archived ? h("small", {}, "archived") : null,
  );
}

function noticeOfDiscord(message) {
  const author = world.members.get(message.author);
  const opened = [...world.channels.values()].find((other) => other.thread && other.parent === message.channel && other.name === message.content);
  const what = {
    [KIND.pinned]: [" pinned ", h("button", { type: "button", class: "plain", onclick: () => message.reply_to && jump(message.reply_to) }, "a message"), " to this channel."],
    [KIND.threadCreated]: [" started a thread: ", opened ? h("a", { href: `#${opened.id}` }, message.content) : message.content],
    [KIND.threadStart]: [" started this thread."],
  }[message.kind] ?? [` ${message.content || "did something"}`];
  const time = h("time", { datetime: message.posted }, clockTime(Date.parse(message.posted)));
  return h("article", { class: "notice", tabindex: "-1", "data-id": message.id }, h("span", { "aria-hidden": "true" }, message.kind === KIND.pinned ? "📌" : "›"), h("p", {}, name(author), what, " ", time));
}

// ── what can be done with a message ─────────────────────────────────────────────────────────────

function tools(message) {
  if (message.ephemeral_for) return h("div", { class: "tools" }, h("button", { type: "button", class: "more", "aria-label": "More", title: "More", onclick: (event) => more(message, event.currentTarget) }, "⋯"));
  return h(
    "div",
    { class: "tools" },
    QUICK.map((emoji) => h("button", { type: "button", "aria-label": `React with ${emoji}`, title: `React with ${emoji}`, onclick: () => react(message, emoji) }, emoji)),
    h("button", { type: "button", "aria-label": "Add a reaction", title: "Add a reaction", onclick: (event) => pickEmoji(message, event.currentTarget) }, "☺"),
    h("button", { type: "button", class: "more", "aria-label": "More", title: "More", onclick: (event) => more(message, event.currentTarget) }, "⋯"),
  );
}

function more(message, anchor) {
  const apps = world.commands.filter((command) => command.type === 3);
  const deletable = !message.ephemeral_for && (message.author === world.me?.id || world.can(message.channel, PERMISSIONS.manageMessages));
  const items = [
    ...apps.map((command) => ({ label: command.name, icon: "◆", detail: "app", pick: () => useMessageCommand(message, command.name) })),
    { label: "Copy text", icon: "📋", pick: () => copy([message.content, ...message.embeds.map((embed) => [embed.title, embed.description].filter(Boolean).join("\n"))].filter(Boolean).join("\n")) },
    { label: "Copy message id", icon: "#", pick: () => copy(message.id) },
  ];
  if (deletable) items.push({ label: "Delete message", icon: "🗑", danger: true, pick: () => quietly({ act: "delete_message", message: message.id }) });
  openMenu(anchor, "Message", items);
}

async function useMessageCommand(message, command) {
  await run({ act: "message_command", message: message.id, name: command }, command);
}

/** Asks the bot for something of this channel: a line says so until the answer comes, and if none came. */
export async function run(act, said) {
  const place = act.channel ?? channel;
  const notice = addNotice(place, { text: `Sending ${said}…`, busy: true });
  try {
    const { interaction, response } = await world.act(act);
    dropNotice(place, notice);
    if (response === "not_answered") addNotice(place, { text: NO_ANSWER, said, trouble: true });
    else answerForm(interaction, response);
  } catch (error) {
    dropNotice(place, notice);
    throw error;
  }
}

function addNotice(place, notice) {
  notices.set(place, [...(notices.get(place) ?? []), { ...notice, who: world.me }]);
  const added = notices.get(place).at(-1);
  draw();
  list.scrollTop = list.scrollHeight;
  return added;
}

function dropNotice(place, notice) {
  notices.set(place, (notices.get(place) ?? []).filter((other) => other !== notice));
  draw();
}

function noticeElement(notice) {
  const dismiss = h("button", { type: "button", class: "plain", onclick: () => dropNotice(channel, notice) }, "Dismiss");
  return h(
    "article",
    { class: notice.trouble ? "notice trouble" : "notice", tabindex: "-1", role: notice.trouble ? "alert" : "status" },
    h("span", { "aria-hidden": "true" }, notice.trouble ? "⚠" : "…"),
    h("p", {}, notice.said ? [name(notice.who), " used ", h("code", {}, notice.said), h("br")] : null, h("span", {}, notice.text), notice.trouble ? [" • Only you can see this • ", dismiss] : null),
  );
}

// ── place, focus, keys ──────────────────────────────────────────────────────────────────────────

/** Scrolls to a message of the channel and marks it for a moment. */
export function jump(id) {
  const all = world.messagesIn(channel);
  const index = all.findIndex((message) => message.id === id);
  if (index < 0) return toast("That message is gone");
  if (all.length - index > shown) {
    shown = all.length - index + 10;
    draw();
  }
  const found = list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  found?.scrollIntoView({ block: "center" });
  found?.classList.add("found");
  setTimeout(() => found?.classList.remove("found"), 2000);
}

function rememberFocus() {
  const focused = document.activeElement;
  const message = list.contains(focused) ? focused.closest("[data-id]") : null;
  if (!message) return null;
  const controls = [...message.querySelectorAll("button, a, select")];
  return { id: message.dataset.id, control: controls.indexOf(focused), connected: focused };
}

function restoreFocus(focus) {
  if (!focus || focus.connected === document.activeElement) return;
  const message = list.querySelector(`[data-id="${CSS.escape(focus.id)}"]`);
  if (!message) return;
  const control = [...message.querySelectorAll("button, a, select")][focus.control];
  (focus.connected.isConnected ? focus.connected : (control ?? message)).focus({ preventScroll: true });
}

/** The list is one stop of the Tab key; arrows go from message to message, Tab goes into the one that has the focus. */
list.tabIndex = 0;
list.addEventListener("focus", () => {
  const last = [...list.querySelectorAll("article")].at(-1);
  if (last && list.matches(":focus-visible")) last.focus();
});
list.addEventListener("keydown", (event) => {
  const message = event.target.closest?.("article");
  if (!message) return;
  const all = [...list.querySelectorAll("article")];
  const at = all.indexOf(message);
  const inside = event.target !== message;
  const to = { ArrowUp: all[at - 1], ArrowDown: all[at + 1], Home: all[0], End: all.at(-1) }[event.key];
  if (to && event.target.tagName !== "SELECT") to.focus();
  else if (event.key === "Escape") (inside ? message : byId("input")).focus();
  else if ((event.key === "Enter" || event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) && !inside) message.querySelector(".more, button, a")?.click();
  else return;
  event.preventDefault();
  event.stopPropagation();
});

/** Whether the end of the list was last in sight, to keep it there when the list gets another size. */
let ended = true;
list.addEventListener("scroll", () => {
  ended = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END;
  if (ended) byId("newer").hidden = true;
});
new ResizeObserver(() => {
  if (ended) list.scrollTop = list.scrollHeight;
}).observe(list);
byId("newer").addEventListener("click", () => {
  list.scrollTop = list.scrollHeight;
  byId("input").focus();
});
document.addEventListener("visibilitychange", seen);

world.addEventListener("message", ({ detail }) => {
  if (detail.channel === channel) seen();
  else if (world.channels.get(detail.channel)?.parent !== channel) return;
  drawSoon();
});
world.addEventListener("all", () => {
  if (channel) drawSoon();
});
world.addEventListener("channels", drawSoon);

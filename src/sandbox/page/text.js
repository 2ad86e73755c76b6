// Discord's Markdown as elements, and its timestamps in the reader's own zone.

import { h } from "./dom.js";
import { world } from "./world.js";

/** How deep marks may stand in each other. */
const DEPTH_MAX = 8;

const MARKS = new RegExp(
  [
    /\\(?<escaped>[\\*_~`|<>#[\]().!+-])/,
    /(?<tick>`{1,2})(?<code>[^`](?:.*?[^`])?)\k<tick>/,
    /<t:(?<instant>-?\d{1,13})(?::(?<style>[tTdDfFR]))?>/,
    /<@&(?<role>\d+)>/,
    /<@!?(?<user>\d+)>/,
    /<#(?<channel>\d+)>/,
    /<\/(?<slash>[^:>]+):\d+>/,
    /<a?:(?<emoji>\w+):\d+>/,
    /\[(?<label>[^\]\n]+)\]\(<?(?<target>https?:\/\/[^\s)>]+)>?\)/,
    /<(?<quiet>https?:\/\/[^\s>]+)>/,
    /(?<link>https?:\/\/[^\s<>)\]]+[^\s<>)\].,;:!?'"])/,
    /(?<everyone>@(?:everyone|here)\b)/,
    /\*\*\*(?<both>(?!\s).+?)\*\*\*/,
    /\*\*(?<bold>(?!\s).+?)\*\*(?!\*)/,
    /__(?<under>.+?)__(?!_)/,
    /~~(?<strike>.+?)~~/,
    /\|\|(?<spoiler>.+?)\|\|/,
    /\*(?<star>(?![\s*]).+?)(?<![\s*])\*(?!\*)/,
    /(?<![\p{L}\p{N}_])_(?<score>[^_]+?)_(?![\p{L}\p{N}_])/,
  ]
    .map((pattern) => pattern.source)
    .join("|"),
  "gsu",
);

/** A whole text: fenced code, headings, quotes, lists and lines. */
export function rich(text) {
  const out = document.createDocumentFragment();
  const parts = text.split(/```(?:[a-zA-Z0-9+-]*\n)?([\s\S]*?)```/);
  parts.forEach((part, index) => {
    if (index % 2) out.append(h("pre", {}, h("code", {}, part.replace(/\n$/, ""))));
    else lines(out, index ? part.replace(/^\n/, "") : part);
  });
  return out;
}

function lines(out, text) {
  if (!text) return;
  let block = null;
  for (const line of text.split("\n")) {
    const [kind, body] = classify(line);
    if (block?.kind !== kind) {
      block = { kind, element: container(kind) };
      out.append(block.element);
    } else if (kind === "text" || kind === "quote") {
      block.element.append(h("br"));
    }
    block.element.append(kind === "item" || kind === "number" ? h("li", {}, inline(body)) : inline(body));
    if (["h3", "h4", "h5", "small"].includes(kind)) block = null;
  }
}

const BLOCKS = [
  [/^### (.+)/, "h5"],
  [/^## (.+)/, "h4"],
  [/^# (.+)/, "h3"],
  [/^-# (.+)/, "small"],
  [/^> ?(.*)/, "quote"],
  [/^\s*[-*•] (.+)/, "item"],
  [/^\s*\d+\. (.+)/, "number"],
];

function classify(line) {
  for (const [pattern, kind] of BLOCKS) {
    const found = pattern.exec(line);
    if (found) return [kind, found[1]];
  }
  return ["text", line];
}

function container(kind) {
  const tags = { h3: "h3", h4: "h4", h5: "h5", small: "p", quote: "blockquote", item: "ul", number: "ol", text: "p" };
  return h(tags[kind], { class: kind === "small" ? "small" : undefined });
}

/** One line's marks. */
export function inline(text, depth = 0) {
  const out = document.createDocumentFragment();
  if (depth > DEPTH_MAX) {
    out.append(text);
    return out;
  }
  let at = 0;
  for (const found of text.matchAll(MARKS)) {
    out.append(text.slice(at, found.index), mark(found.groups, found[0], depth + 1));
    at = found.index + found[0].length;
  }
  out.append(text.slice(at));
  return out;
}

function mark(groups, whole, depth) {
  const inner = (text) => inline(text, depth);
  if (groups.escaped) return groups.escaped;
  if (groups.code) return h("code", {}, groups.code.trim());
  if (groups.instant) return stamp(Number(groups.instant), groups.style ?? "f");
  if (groups.role) return mention(`@${world.roles.get(groups.role)?.name ?? "unknown-role"}`, world.me?.roles.includes(groups.role));
  if (groups.user) return mention(`@${world.members.get(groups.user)?.display_name ?? "unknown-user"}`, groups.user === world.me?.id);
  if (groups.channel) return channelLink(groups.channel);
  if (groups.slash) return mention(`/${groups.slash}`, false);
  if (groups.emoji) return `:${groups.emoji}:`;
  if (groups.label) return link(groups.target, inner(groups.label));
  if (groups.quiet ?? groups.link) return link(groups.quiet ?? groups.link, groups.quiet ?? groups.link);
  if (groups.everyone) return mention(groups.everyone, true);
  if (groups.both) return h("strong", {}, h("em", {}, inner(groups.both)));
  if (groups.bold) return h("strong", {}, inner(groups.bold));
  if (groups.under) return h("u", {}, inner(groups.under));
  if (groups.strike) return h("s", {}, inner(groups.strike));
  if (groups.spoiler) return h("span", { class: "spoiler", tabindex: "0", title: "Spoiler" }, inner(groups.spoiler));
  if (groups.star ?? groups.score) return h("em", {}, inner(groups.star ?? groups.score));
  return whole;
}

const mention = (text, mine) => h("span", { class: mine ? "mention mine" : "mention" }, text);

function channelLink(id) {
  const channel = world.channels.get(id);
  const text = channel ? `#${channel.name}` : "#unknown";
  return channel ? h("a", { class: "mention", href: `#${id}` }, text) : mention(text, false);
}

/** A place in a guild as Discord writes it, at whatever address: the bot does not know that its Discord is a model. */
const PLACE = /^https?:\/\/[^/]+\/channels\/(\d+)\/(\d+)(?:\/(\d+))?\/?$/;

/** Only http and https reach this; nothing of the page is told to where it leads. */
function link(target, children) {
  const [, guild, channel, message] = PLACE.exec(target) ?? [];
  if (!guild || guild !== world.guild) return h("a", { href: target, target: "_blank", rel: "noopener noreferrer" }, children);
  const where = world.channels.get(channel);
  const name = `${where ? `${where.thread ? "" : "#"}${where.name}` : "#unknown"}${message ? " › message" : ""}`;
  return h("a", { class: "mention", href: message ? `#${channel}/${message}` : `#${channel}` }, children === target ? name : children);
}

const FORMATS = {
  t: { timeStyle: "short" },
  T: { timeStyle: "medium" },
  d: { dateStyle: "short" },
  D: { dateStyle: "long" },
  f: { dateStyle: "long", timeStyle: "short" },
  F: { dateStyle: "full", timeStyle: "short" },
};
const formats = Object.fromEntries(Object.entries(FORMATS).map(([style, how]) => [style, new Intl.DateTimeFormat(undefined, how)]));
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "always" });
/** Each unit's length in seconds, longest first. */
const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

export const clockTime = (instant) => formats.t.format(instant);
export const fullTime = (instant) => formats.F.format(instant);
export const day = (instant) => formats.D.format(instant);

function fromNow(millis) {
  const seconds = Math.round((millis - world.now()) / 1000);
  const [unit, length] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  return relative.format(Math.trunc(seconds / length), unit);
}

/** A Discord timestamp, seconds since 1970; the relative ones tick. */
export function stamp(seconds, style) {
  const millis = seconds * 1000;
  if (!Number.isFinite(new Date(millis).getTime())) return "Invalid date";
  const text = style === "R" ? fromNow(millis) : formats[style].format(millis);
  const ticking = style === "R" ? String(millis) : undefined;
  return h("time", { datetime: new Date(millis).toISOString(), title: fullTime(millis), "data-ticks": ticking }, text);
}

/** Brings every relative time on the page up to date. */
export function tick() {
  for (const element of document.querySelectorAll("time[data-ticks]")) {
    const text = fromNow(Number(element.dataset.ticks));
    if (element.textContent !== text) element.textContent = text;
  }
}

/** A name's two letters. */
export const initials = (name) => name.split(/\s+/).map((word) => word[0] ?? "").join("").slice(0, 2).toUpperCase();

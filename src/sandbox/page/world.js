// What the chosen person sees of the guild: read once, then kept current by the model's change feed.

const CONTROL = "/sandbox/v1";
/** Milliseconds before the feed is opened again, doubled each time up to the maximum. */
const RETRY_FIRST = 400;
const RETRY_MAX = 5000;

export const PERMISSIONS = { manageMessages: 1n << 13n, send: 1n << 11n, react: 1n << 6n, commands: 1n << 31n, sendInThreads: 1n << 38n };
export const KIND = { regular: 0, pinned: 6, join: 7, threadCreated: 18, reply: 19, command: 20, threadStart: 21, messageCommand: 23 };
export const CHANNEL = { text: 0, category: 4, announcement: 5, publicThread: 11, privateThread: 12 };
export const FLAG = { thread: 32, ephemeral: 64, loading: 128 };

/** Why the model would not do something, for the person. */
export class Refused extends Error {}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused("The sandbox does not answer. Is it still running?");
  }
  const text = await answer.text();
  const body = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Refused(body?.refused ?? `refused (${answer.status})`);
  return body;
}

export const get = (path) => ask(path);
export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
export const remove = (path) => ask(path, { method: "DELETE" });
export const control = (path, body) => (body ? post(CONTROL + path, body) : get(CONTROL + path));
export const endFaults = () => remove(`${CONTROL}/faults`);

/** Snowflakes are longer than a double is exact: they stay texts. */
export const compareIds = (a, b) => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);

const map = (object) => new Map(Object.entries(object ?? {}));

class World extends EventTarget {
  persona = null;
  members = new Map();
  roles = new Map();
  channels = new Map();
  messages = new Map();
  interactions = new Map();
  events = new Map();
  commands = [];
  may = new Map();
  online = false;
  botOnline = null;
  speed = 1;
  #clock = { shows: Date.now(), since: performance.now() };
  #feed = null;
  #retry = RETRY_FIRST;
  #waiting = new Map();
  /** The newest message seen, by person and channel; below `#baseline` everything counts as read. */
  #read = new Map();
  #baseline = "0";

  get me() {
    return [...this.members.values()].find((member) => member.name === this.persona);
  }

  /** The people that can be played, in the order of their making. */
  get people() {
    return [...this.members.values()].filter((member) => !member.bot && member.id !== this.owner);
  }

  /** Becomes the person called `name`, or the first one there is. */
  async become(name) {
    if (!this.people.length) this.#adopt(await get(`${CONTROL}/state`));
    const known = this.people.some((member) => member.name === name);
    this.persona = known ? name : this.people[0]?.name;
    this.messages = new Map();
    await this.load();
    this.#say("persona");
  }

  async load() {
    this.#feed?.close();
    const persona = this.persona;
    try {
      const state = await get(`${CONTROL}/state?as=${encodeURIComponent(persona)}`);
      if (persona !== this.persona) return;
      this.#adopt(state);
      this.#follow(state.seq);
      this.#retry = RETRY_FIRST;
      this.#settleAll();
      this.#say("all");
    } catch (error) {
      this.#lost(error);
    }
  }

  #adopt(state) {
    if (this.guild !== state.guild || this.#baseline === "0") this.#baseline = newest(state.messages);
    Object.assign(this, { guild: state.guild, guildName: state.guild_name, owner: state.owner, bot: state.bot });
    this.commands = state.commands;
    this.members = map(state.members);
    this.roles = map(state.roles);
    this.channels = map(state.channels);
    this.messages = new Map(Object.entries(state.messages).map(([channel, messages]) => [channel, map(messages)]));
    this.interactions = map(state.interactions);
    this.events = map(state.events);
    this.may = new Map(Object.entries(state.may).map(([channel, bits]) => [channel, BigInt(bits)]));
    this.setClock(state.now, this.speed);
  }

  #follow(seq) {
    const after = seq > 0 ? `&after=${seq - 1}` : "";
    const feed = new EventSource(`${CONTROL}/changes?as=${encodeURIComponent(this.persona)}${after}`);
    this.#feed = feed;
    feed.onopen = () => this.#setOnline(true);
    feed.onmessage = (event) => this.#apply(JSON.parse(event.data));
    feed.onerror = () => {
      if (feed === this.#feed) this.#lost();
    };
  }

  /** The feed broke: everything is read again, so that nothing between is missed. */
  #lost() {
    this.#feed?.close();
    this.#setOnline(false);
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(() => this.load(), this.#retry);
    this.#retry = Math.min(this.#retry * 2, RETRY_MAX);
  }

  #setOnline(online) {
    if (this.online === online) return;
    this.online = online;
    this.#say("online");
  }

  #reload() {
    clearTimeout(this.reloadTimer);
    this.reloadTimer = setTimeout(() => this.load(), 50);
  }

  #apply(change) {
    switch (change.what) {
      case "message_posted":
      case "message_edited":
      case "pin_changed":
        this.#put(change.message, change.what);
        break;
      case "message_deleted":
        this.messages.get(change.message.channel)?.delete(change.message.id);
        this.#say("message", { channel: change.message.channel, id: change.message.id, what: change.what });
        break;
      case "reaction_added":
      case "reaction_removed":
        this.#react(change);
        break;
      case "channel_created":
      case "channel_updated":
        this.#channel(change.channel_now);
        break;
      case "channel_deleted":
        this.channels.delete(change.before.id);
        this.messages.delete(change.before.id);
        this.#say("channels");
        break;
      case "interaction_created":
        this.interactions.set(change.interaction.id, change.interaction);
        break;
      case "interaction_answered":
        this.#answered(change.interaction, change.response);
        break;
      case "event_changed":
        this.events.set(change.event.id, change.event);
        this.#say("channels");
        break;
      case "typing":
        this.#say("typing", { channel: change.channel, user: change.user });
        break;
      case "gateway":
        this.#say("gateway", { state: change.state });
        break;
      default:
        // Roles, members and commands change what is visible: everything is read again.
        this.#reload();
    }
  }

  #put(message, what) {
    const channel = this.messages.get(message.channel) ?? new Map();
    this.messages.set(message.channel, channel);
    channel.set(message.id, message);
    this.#say("message", { channel: message.channel, id: message.id, what });
  }

  #react({ channel, message: id, user, emoji, what }) {
    const message = this.messages.get(channel)?.get(id);
    if (!message) return;
    const found = message.reactions.find((reaction) => reaction.emoji === emoji);
    if (what === "reaction_added") {
      if (!found) message.reactions.push({ emoji, users: [user] });
      else if (!found.users.includes(user)) found.users.push(user);
    } else if (found) {
      found.users = found.users.filter((other) => other !== user);
      message.reactions = message.reactions.filter((reaction) => reaction.users.length > 0);
    }
    this.#say("message", { channel, id, what });
  }

  #channel(channel) {
    const parent = this.may.get(channel.parent);
    this.channels.set(channel.id, channel);
    // A thread is as visible as its parent; what a channel's exceptions give, the model computes.
    if (channel.thread && channel.kind !== CHANNEL.privateThread && parent !== undefined) this.may.set(channel.id, parent);
    else this.#reload();
    this.#say("channels");
  }

  /** Does something as the chosen person. Resolves to the answer's first response for what the bot answers. */
  async act(act) {
    const answer = await control("/act", { as: this.persona, ...act });
    if (!answer?.interaction) return answer;
    const id = answer.interaction;
    const known = this.interactions.get(id)?.response;
    if (known && known !== "waiting") return { interaction: id, response: known };
    return new Promise((resolve) => this.#waiting.set(id, (response) => resolve({ interaction: id, response })));
  }

  #answered(id, response) {
    const interaction = this.interactions.get(id);
    if (interaction) interaction.response = response;
    else this.interactions.set(id, { id, response });
    this.#waiting.get(id)?.(response);
    this.#waiting.delete(id);
  }

  #settleAll() {
    for (const [id, settle] of this.#waiting) {
      const response = this.interactions.get(id)?.response;
      if (response === "waiting") continue;
      // An interaction that is gone belongs to another person or another sandbox.
      settle(response ?? "not_answered");
      this.#waiting.delete(id);
    }
  }

  setClock(shows, speed) {
    this.speed = speed;
    this.#clock = { shows: Date.parse(shows), since: performance.now() };
  }

  /** The model's time, milliseconds since 1970. */
  now() {
    return this.#clock.shows + (performance.now() - this.#clock.since) * this.speed;
  }

  can(channel, permission) {
    return ((this.may.get(channel) ?? 0n) & permission) === permission;
  }

  messagesIn(channel) {
    return [...(this.messages.get(channel)?.values() ?? [])].sort((a, b) => compareIds(a.id, b.id));
  }

  threadsOf(channel) {
    return [...this.channels.values()].filter((other) => other.thread && other.parent === channel);
  }

  markRead(channel) {
    const last = this.messagesIn(channel).at(-1)?.id;
    if (last) this.#read.set(`${this.persona}/${channel}`, last);
  }

  /** How many messages this person has not seen in a channel, and how many of them call them. */
  unread(channel) {
    const seen = this.#read.get(`${this.persona}/${channel}`) ?? this.#baseline;
    const me = this.me;
    const news = this.messagesIn(channel).filter((message) => compareIds(message.id, seen) > 0 && message.author !== me?.id);
    return { count: news.length, calls: news.filter((message) => this.calls(message)).length, after: seen };
  }

  /** Whether a message notifies this person. */
  calls(message) {
    const me = this.me;
    if (!me) return false;
    return message.pings.everyone || message.pings.users.includes(me.id) || message.pings.roles.some((role) => me.roles.includes(role));
  }

  /** A member's roles, highest first, without `@everyone`. */
  rolesOf(member) {
    const roles = (member?.roles ?? []).map((id) => this.roles.get(id)).filter(Boolean);
    return roles.sort((a, b) => b.position - a.position);
  }

  #say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function newest(messages) {
  const ids = Object.values(messages).flatMap((channel) => Object.keys(channel));
  return ids.sort(compareIds).at(-1) ?? "1";
}

export const world = new World();

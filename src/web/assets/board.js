// The board's script: shows instants in the viewer's zone, and keeps the page live. It changes nothing on the server.
"use strict";

// The server speaks at least this often; longer silence means that nobody knows whether the page is true.
const SILENCE_MS_MAX = 25000;
const RECONNECT_MS = 3000;

const two = (number) => String(number).padStart(2, "0");
const isUtc = (date) => date.getTimezoneOffset() === 0;
const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
const clockUtc = (date) => date.toISOString().slice(11, 19);
const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;

// Local time first, UTC behind it, small; one of them if they are the same.
function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const date = new Date(element.dateTime);
    const whole = element.dataset.as === "date";
    const utc = (whole ? `${date.toISOString().slice(0, 10)} ` : "") + clockUtc(date).slice(0, whole ? 5 : 8);
    if (isUtc(date)) {
      element.textContent = `${utc} UTC`;
      continue;
    }
    element.textContent = whole ? `${day(date)} ${clock(date).slice(0, 5)} ` : `${clock(date)} `;
    const small = document.createElement("small");
    small.textContent = `${whole && date.toISOString().slice(0, 10) === day(date) ? utc.slice(11) : utc} UTC`;
    element.append(small);
  }
  for (const element of root.querySelectorAll("text[data-local]")) {
    const date = new Date(element.dataset.local);
    if (!isUtc(date)) element.textContent = clock(date).slice(0, 5);
  }
  for (const element of root.querySelectorAll("text[data-zone]")) {
    if (!isUtc(new Date())) element.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
  }
}

function tick() {
  const now = new Date();
  const zone = isUtc(now) ? "" : ` · ${clockUtc(now)} UTC`;
  document.getElementById("now").textContent = isUtc(now) ? `${clockUtc(now)} UTC` : clock(now) + zone;
}

// What the reader has scrolled sideways stays where it was.
function replace(board, markup) {
  const scrolled = [...board.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  const parsed = new DOMParser().parseFromString(markup, "text/html");
  const typed = board.querySelector("input[name=q]");
  const kept = typed && document.activeElement === typed ? [typed.value, typed.selectionStart] : null;
  board.replaceChildren(...parsed.body.childNodes);
  localise(board);
  board.querySelectorAll(".scroll").forEach((element, index) => { element.scrollLeft = scrolled[index] ?? 0; });
  if (kept) {
    const input = board.querySelector("input[name=q]");
    input.value = kept[0];
    input.focus();
    input.setSelectionRange(kept[1], kept[1]);
  }
}

function live(board, mark) {
  let source = null;
  let heard = Date.now();
  const show = (state, words) => {
    mark.dataset.state = state;
    mark.textContent = words;
    board.classList.toggle("stale", state === "broken");
  };
  const hear = () => {
    heard = Date.now();
    show("live", "live");
  };
  const broken = () => show("broken", `not live since ${clock(new Date(heard))}`);
  const connect = () => {
    source?.close();
    source = new EventSource(board.dataset.stream);
    source.addEventListener("page", (event) => {
      replace(board, JSON.parse(event.data));
      hear();
    });
    source.addEventListener("beat", hear);
    // Signed out, or the bot was started anew with another token: the page itself will say so.
    source.addEventListener("reload", () => location.reload());
    source.onerror = () => {
      broken();
      source.close();
      setTimeout(connect, RECONNECT_MS);
    };
  };
  connect();
  setInterval(() => {
    if (Date.now() - heard <= SILENCE_MS_MAX) return;
    broken();
    if (source.readyState !== EventSource.CONNECTING) connect();
  }, 5000);
}

addEventListener("DOMContentLoaded", () => {
  const board = document.getElementById("board");
  if (!board) return;
  localise(document);
  tick();
  setInterval(tick, 1000);
  if (board.dataset.stream) live(board, document.getElementById("live-mark"));
});

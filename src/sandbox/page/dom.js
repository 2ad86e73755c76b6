// Building elements. Text only ever becomes text nodes and attributes: nothing here parses markup.

/** An element: properties by name (`class`, `on…` listeners, `data-`/`aria-` and plain attributes), then its children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Calls `work` soon, once for many requests. */
export function soon(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    setTimeout(() => {
      asked = false;
      work();
    }, 16);
  };
}

/** A menu at `anchor`: items are `{ label, detail, icon, checked, pick }`. Arrow keys, letters, Esc; focus returns. */
export function openMenu(anchor, title, items, { grid = false } = {}) {
  document.querySelector(".menu")?.remove();
  const back = document.activeElement;
  const close = (refocus) => {
    menu.remove();
    document.removeEventListener("pointerdown", outside, true);
    if (refocus) (back?.isConnected ? back : anchor).focus();
  };
  const outside = (event) => {
    if (!menu.contains(event.target)) close(false);
  };
  const entry = (item) =>
    h(
      "button",
      {
        type: "button",
        role: item.checked === undefined ? "menuitem" : "menuitemradio",
        "aria-checked": item.checked === undefined ? undefined : String(item.checked),
        "aria-label": item.aria,
        tabindex: "-1",
        class: item.danger ? "danger" : undefined,
        onclick: () => {
          close(true);
          item.pick();
        },
      },
      item.icon ? h("span", { class: "icon", "aria-hidden": "true" }, item.icon) : null,
      h("span", { class: "label" }, item.label ?? ""),
      item.detail ? h("small", {}, item.detail) : null,
    );
  const menu = h("div", { class: grid ? "menu grid" : "menu", role: "menu", "aria-label": title }, items.map(entry));
  menu.addEventListener("keydown", (event) => {
    const entries = [...menu.querySelectorAll("button")];
    const at = entries.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (step) entries[(at + step + entries.length) % entries.length].focus();
    else if (event.key === "Home") entries[0].focus();
    else if (event.key === "End") entries.at(-1).focus();
    else if (event.key === "Escape" || event.key === "Tab") close(true);
    else if (event.key.length === 1) {
      const found = entries.find((other) => other.textContent.trim().toLowerCase().startsWith(event.key.toLowerCase()));
      found?.focus();
      if (event.key === " ") return;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  document.body.append(menu);
  place(menu, anchor);
  document.addEventListener("pointerdown", outside, true);
  (menu.querySelector("[aria-checked=true]") ?? menu.querySelector("button"))?.focus();
}

function place(menu, anchor) {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + height + 8 < innerHeight;
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.max(8, below ? at.bottom + 4 : at.top - height - 4)}px`;
}

/** Says something for a moment at the edge of the page. */
export function toast(text) {
  document.querySelector(".toast")?.remove();
  const box = h("p", { class: "toast", role: "status" }, text);
  document.body.append(box);
  setTimeout(() => box.remove(), 5000);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    toast("The browser did not allow copying");
  }
}

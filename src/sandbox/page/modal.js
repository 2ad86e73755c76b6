// The bot's forms as dialogs, with the same limits that Discord's client holds people to.

import { byId, h } from "./dom.js";
import { world } from "./world.js";

const PARAGRAPH = 2;
const NO_ANSWER = "Something went wrong: the application did not respond. Try again.";
/** Values of the stage that fit inputs, by the parameter's name. */
let practice = [];

export const setPractice = (facts) => {
  practice = facts;
};

/** Opens the form if the bot answered by one. */
export function answerForm(interaction, response) {
  if (response?.modal) openForm(interaction, response.modal);
}

const inputsOf = (modal) => modal.components.flatMap((row) => (row.component ? [{ ...row.component, label: row.label }] : row.components));

function openForm(interaction, modal) {
  const back = document.activeElement;
  const inputs = inputsOf(modal);
  const fields = inputs.map((part) => field(part, offered(part, inputs)));
  const note = h("p", { class: "trouble", role: "alert", hidden: true });
  const submit = h("button", { type: "submit", class: "button primary" }, "Submit");
  const cancel = h("button", { type: "button", class: "button secondary", onclick: () => dialog.close() }, "Cancel");
  const form = h("form", { novalidate: true, autocomplete: "off" }, fields.map((entry) => entry.element), note, h("div", { class: "ends" }, cancel, submit));
  const bot = world.members.get(world.bot)?.display_name ?? "the bot";
  const dialog = h("dialog", { class: "modal", "aria-labelledby": "modal-title" }, h("h2", { id: "modal-title" }, modal.title), h("p", { class: "hint" }, `This form goes to ${bot}.`), form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = fields.filter((entry) => !entry.check());
    if (wrong.length) return wrong[0].input.focus();
    note.hidden = true;
    submit.disabled = true;
    try {
      const values = Object.fromEntries(fields.map((entry) => [entry.id, entry.input.value]));
      const answer = await world.act({ act: "submit_modal", interaction, fields: values });
      if (answer.response === "not_answered") throw new Error(NO_ANSWER);
      dialog.close();
      answerForm(answer.interaction, answer.response);
    } catch (error) {
      note.textContent = error.message;
      note.hidden = false;
    } finally {
      submit.disabled = false;
    }
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    const target = back?.isConnected && back !== document.body ? back : byId("input");
    // The browser has given the focus back already, to a box that was inert at that moment and takes no text until it
    // is focused once more.
    target.blur();
    target.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  fields[0]?.input.focus();
}

function field(part, facts) {
  const id = `field-${part.custom_id}`.replaceAll(/[^a-zA-Z0-9_-]/g, "-");
  const required = part.required !== false;
  const [min, max] = [part.min_length ?? 0, part.max_length ?? 4000];
  const common = { id, name: part.custom_id, placeholder: part.placeholder, "aria-describedby": `${id}-note`, "aria-required": String(required) };
  const input = part.style === PARAGRAPH ? h("textarea", { ...common, rows: "4" }) : h("input", { ...common, type: "text" });
  input.value = part.value ?? "";
  const note = h("small", { id: `${id}-note`, class: "field-note" });
  const check = () => {
    const length = [...input.value].length;
    const wrong =
      required && !length ? "This is required." : length && length < min ? `At least ${min} characters, please.` : length > max ? `At most ${max} characters, please (${length} now).` : "";
    note.textContent = wrong;
    input.toggleAttribute("aria-invalid", Boolean(wrong));
    if (wrong) input.setAttribute("aria-invalid", "true");
    return !wrong;
  };
  input.addEventListener("input", () => (input.hasAttribute("aria-invalid") ? check() : undefined));
  const label = h("label", { for: id }, part.label ?? part.custom_id, required ? h("b", { title: "required", "aria-hidden": "true" }, " *") : null);
  return { id: part.custom_id, input, check, element: h("div", { class: "field" }, label, input, note, offers(facts, input)) };
}

const fits = (fact, part) => fact.parameter && (part.custom_id === fact.parameter || part.custom_id.endsWith(`/${fact.parameter}`));

/** The facts for an input; of several that fit by name, those whose group fits most of the form. */
function offered(part, inputs) {
  const fitting = practice.filter((fact) => fits(fact, part));
  const reach = ({ group }) => inputs.filter((input) => practice.some((fact) => fact.group === group && fits(fact, input))).length;
  const most = Math.max(...fitting.map(reach));
  return fitting.filter((fact) => reach(fact) === most);
}

/** The practice estate's values for an input, each to be put in by one press. */
function offers(facts, input) {
  return facts.map((fact) => {
    const put = () => {
      input.value = fact.value;
      input.dispatchEvent(new Event("input"));
      input.focus();
    };
    return h("button", { type: "button", class: "offer", title: fact.value, onclick: put }, `Use the practice estate's (${fact.group}: ${fact.title})`);
  });
}

// Where the next message is written: text, documents, and the meter of what they take.

import { Attachments } from "./attachments.js";
import { ACCEPTED } from "./documents.js";
import { byId, el, iconButton, number } from "./dom.js";
import { Meter } from "./meter.js";

const LONG_PASTE = 2000; // Characters from which pasted text is a document.

export class Composer {
  #input = byId("message");
  #notices = byId("notices");
  #editing = null; // What to call where the edit is given up.
  #sending = null; // While the count is waited for.
  #attachments;
  #meter;
  #send;

  // `compose({ text, documents })` gives the messages; `send` takes the same and the count.
  constructor({ api, compose, settings, send, stop, onerror }) {
    this.#send = send;
    this.#attachments = new Attachments({
      list: byId("attachments"),
      api,
      onchange: () => this.changed(),
      onproblem: (name, error) => this.notice(`${name}: ${error.message}`),
    });
    this.#meter = new Meter({
      api,
      compose: (text) => compose(this.#draft(text)),
      draft: () => this.#input.value.trim(),
      settings,
      view: showMeter,
      onerror,
    });
    this.#listen(stop);
  }

  set window(tokens) {
    this.#meter.window = tokens;
  }

  // Turns, documents or settings are others now.
  changed() {
    byId("send").disabled = !this.#input.value.trim();
    this.#meter.changed();
  }

  // Where nothing else has the focus; on a phone it would open the keyboard over the answer.
  focus() {
    const free = !document.activeElement || document.activeElement === document.body;
    if (free && matchMedia("(pointer: fine)").matches) this.#input.focus();
  }

  // To be shown while an answer is written.
  set answering(answering) {
    byId("send").hidden = answering;
    byId("stop").hidden = !answering;
    this.#meter.rest(answering);
  }

  // Take a turn back to be changed; `cancelled` is called where it stays as it was.
  edit({ text, documents }, cancelled) {
    this.#editing = cancelled;
    byId("editing").hidden = false;
    this.#fill(text, documents);
    this.#input.setSelectionRange(text.length, text.length);
    this.#input.focus();
  }

  clear() {
    this.#sending = null;
    byId("editing").hidden = true;
    this.#editing = null;
    this.#notices.replaceChildren();
    this.#fill("", []);
  }

  // `actions`: what its buttons do, by their words.
  notice(text, actions = {}) {
    const line = el("li", {}, el("span", {}, text));
    for (const [words, onclick] of Object.entries(actions)) {
      line.append(el("button", { type: "button", class: "link", onclick }, words));
    }
    line.append(iconButton("close", "Dismiss", () => line.remove(), "small"));
    this.#notices.append(line);
    return line;
  }

  // A notice that goes away by itself.
  async noticeFor(text, milliseconds) {
    const line = this.notice(text);
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    line.remove();
  }

  async submit() {
    const draft = this.#draft(this.#input.value.trim());
    if (!draft.text || byId("send").hidden || this.#sending) return;
    this.#notices.replaceChildren();
    if (this.#attachments.reading) return this.notice("A document is still being read.");
    const sending = (this.#sending = {});
    const count = await this.#meter.settle();
    if (this.#sending !== sending) return; // Another chat is shown by now.
    this.#sending = null;
    if (count && count.room <= 0) return this.notice(this.#meter.problem(count));
    this.#send(draft, count);
  }

  #draft(text) {
    return { text, documents: this.#attachments.ready };
  }

  #fill(text, documents) {
    this.#input.value = text;
    this.#grow();
    this.#attachments.put(documents);
  }

  #grow() {
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
  }

  #listen(stop) {
    this.#input.addEventListener("input", () => {
      this.#grow();
      byId("send").disabled = !this.#input.value.trim();
      this.#meter.typed();
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    this.#input.addEventListener("paste", (event) => this.#paste(event));
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    byId("stop").addEventListener("click", stop);
    byId("cancel-edit").addEventListener("click", () => {
      const cancelled = this.#editing;
      this.clear();
      cancelled?.();
      this.#input.focus();
    });
    this.#listenForFiles();
  }

  #listenForFiles() {
    const picker = byId("files");
    picker.accept = ACCEPTED;
    for (const id of ["attach", "first-document"]) byId(id).addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      this.#attachments.addFiles(picker.files);
      picker.value = "";
      this.#input.focus();
    });
    // The overlay takes the pointer's events: leaving it is leaving the page.
    const target = byId("drop");
    const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
    window.addEventListener("dragenter", (event) => {
      if (carriesFiles(event) && !document.querySelector("dialog[open]")) target.hidden = false;
    });
    window.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
    target.addEventListener("dragleave", () => (target.hidden = true));
    window.addEventListener("drop", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault(); // Else the browser leaves the page for the file.
      target.hidden = true;
      this.#attachments.addFiles(event.dataTransfer.files);
      this.#input.focus();
    });
  }

  #paste(event) {
    const files = event.clipboardData.files;
    const text = event.clipboardData.getData("text/plain");
    if (text.length > LONG_PASTE) this.#attachments.addText(text);
    else if (!text && files.length) this.#attachments.addFiles(files);
    else return;
    event.preventDefault();
  }
}

function showMeter({ tokens, exact, window: size, problem }) {
  const about = exact ? "" : "about ";
  const words = tokens === null ? `window of ${number(size)} tokens` : `${about}${number(tokens)} of ${number(size)} tokens`;
  const meter = byId("meter");
  meter.hidden = false;
  meter.setAttribute("aria-valuemax", size);
  meter.setAttribute("aria-valuenow", Math.min(size, tokens ?? 0));
  meter.setAttribute("aria-valuetext", words);
  meter.classList.toggle("full", Boolean(problem));
  byId("meter-bar").style.width = `${Math.min(100, (100 * (tokens ?? 0)) / size)}%`;
  byId("meter-words").textContent = words;
  byId("fit").textContent = problem;
}

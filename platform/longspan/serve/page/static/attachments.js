// The documents of the next message: read, counted, and shown as chips.

import { announce, el, icon, iconButton, number } from "./dom.js";
import { readFile } from "./documents.js";

export class Attachments {
  #items = []; // { id, name, text, note, tokens }; text is null while it is read.
  #list;
  #api;
  #onchange;
  #onproblem;

  // `onproblem(name, error)` is told of files that can't be read.
  constructor({ list, api, onchange, onproblem }) {
    this.#list = list;
    this.#api = api;
    this.#onchange = onchange;
    this.#onproblem = onproblem;
  }

  get ready() {
    return this.#items.filter((item) => item.text !== null);
  }

  get reading() {
    return this.#items.some((item) => item.text === null);
  }

  async addFiles(files) {
    await Promise.all([...files].map((file) => this.#addFile(file)));
  }

  addText(text) {
    const pasted = this.#items.filter((item) => item.name.startsWith("Pasted text")).length;
    const name = pasted ? `Pasted text ${pasted + 1}` : "Pasted text";
    return this.#settle(this.#place(name), { text, note: "" });
  }

  // Instead of what is there.
  put(documents) {
    for (const item of this.#items) item.reading.abort();
    this.#items = documents.map((document) => ({ ...document, reading: new AbortController() }));
    this.#changed();
  }

  async #addFile(file) {
    const item = this.#place(file.name);
    try {
      await this.#settle(item, await readFile(file, this.#api, item.reading.signal));
    } catch (error) {
      this.#remove(item);
      if (error.name !== "AbortError") this.#onproblem(file.name, error);
    }
  }

  #place(name) {
    const item = { id: newId(), name, text: null, note: "", tokens: null, reading: new AbortController() };
    this.#items.push(item);
    this.#draw();
    return item;
  }

  // Counted once, by itself: typing below does not send it again.
  async #settle(item, { text, note }) {
    Object.assign(item, { text: text.toWellFormed(), note });
    this.#changed();
    try {
      const { tokens } = await this.#api.tokens({ texts: [item.text] }, item.reading.signal);
      [item.tokens] = tokens;
      this.#draw();
      if (this.#items.includes(item)) announce(`${item.name} added, ${number(item.tokens)} tokens`);
    } catch {
      this.#draw(); // The meter, which counts the whole, says what is wrong.
    }
  }

  #remove(item) {
    item.reading.abort();
    this.#items = this.#items.filter((other) => other !== item);
    this.#changed();
  }

  #changed() {
    this.#draw();
    this.#onchange();
  }

  #draw() {
    const remove = (item) => iconButton("close", `Remove ${item.name}`, () => this.#remove(item), "small");
    this.#list.replaceChildren(...this.#items.map((item) => chip(item, remove(item))));
    this.#list.hidden = !this.#items.length;
  }
}

export function chip(item, button = null) {
  const counting = button ? "counting…" : ""; // A turn that was sent is counted as a whole.
  const tokens = item.tokens === null ? counting : `${number(item.tokens)} tokens`;
  const detail = item.text === null ? "reading…" : [tokens, item.note].filter(Boolean).join(" · ");
  const words = el("span", { class: "chip-words" }, el("span", { class: "chip-name", title: item.name }, item.name));
  words.append(el("span", { class: "chip-detail" }, detail));
  return el("li", { class: "chip" }, icon("document"), words, button);
}

// randomUUID is missing where the page comes over plain HTTP from another machine.
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

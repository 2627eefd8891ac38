// One conversation: its turns, and the answer that is being written.

import { newId } from "./attachments.js";
import { announce, byId } from "./dom.js";
import { messagesOf } from "./prompt.js";
import { AnswerTurn, userTurn } from "./turns.js";

const KEEP_EVERY = 2000; // Milliseconds between two savings of an answer that is being written.
const NEAR = 80; // Pixels from the end at which the view follows the answer.

export class Conversation {
  model = null; // The name that the API knows it by.
  #api;
  #store;
  #settings; // () => settings
  #onchange; // (reason): "shown", "answering" or "kept"
  #onedit; // (index): a turn is to be changed
  #ondenied;
  #onproblem; // (text)
  #log = byId("log");
  #chat = null;
  #texts = new Map(); // Of documents, by id.
  #answering = null; // AbortController, from the sending to the end of the answer.
  #ending = null; // Promise of that end.
  #following = true;

  constructor({ api, store, settings, onchange, onedit, ondenied, onproblem }) {
    this.#api = api;
    this.#store = store;
    this.#settings = settings;
    this.#onchange = onchange;
    this.#onedit = onedit;
    this.#ondenied = ondenied;
    this.#onproblem = onproblem;
    this.#followScrolling();
  }

  get id() {
    return this.#chat.id;
  }

  get answering() {
    return this.#answering !== null;
  }

  begin() {
    this.#show({ id: newId(), title: "", updated: 0, turns: [] }, []);
  }

  async open(chat) {
    const documents = await this.#store.documentsOf(chat.id);
    for (const turn of chat.turns) {
      if (turn.state !== "writing") continue;
      Object.assign(turn, { state: "broken", problem: "The page was closed while it was written." });
    }
    this.#show(chat, documents);
  }

  // What the model is sent when `draft` follows the turns before `index`. It ends with the user's turn, even an
  // empty one: some templates refuse anything else.
  messages(draft, index = this.#chat.turns.length) {
    const texts = new Map([...this.#texts, ...draft.documents.map(({ id, text }) => [id, text])]);
    const turns = this.#chat.turns.slice(0, index);
    if (!turns.length && !draft.text && !draft.documents.length) return [];
    return messagesOf(this.#settings().system, [...turns, { role: "user", ...draft }], texts);
  }

  // A user's turn with its documents in full.
  turn(index) {
    const { text, documents } = this.#chat.turns[index];
    const full = documents.map((document) => ({ ...document, note: "", text: this.#texts.get(document.id) ?? "" }));
    return { text, documents: full };
  }

  // Send a draft in place of the turn `index`, and of all that follow it.
  send(draft, count, index = this.#chat.turns.length) {
    this.#busy(async (signal) => {
      this.#drop(index);
      const documents = draft.documents.map(({ id, name, tokens }) => ({ id, name, tokens }));
      this.#add({ role: "user", text: draft.text, documents });
      this.#chat.title ||= draft.text.slice(0, 80);
      for (const { id, name, tokens, text } of draft.documents) {
        this.#texts.set(id, text);
        await this.#save(() => this.#store.saveDocument({ id, chat: this.id, name, text, tokens }));
      }
      await this.#answer(count, signal);
    });
  }

  // Resolves when all of the stopped answer is kept.
  stop() {
    this.#answering?.abort();
    return this.#ending;
  }

  #retry(index) {
    if (this.answering) return;
    this.#drop(index);
    this.#busy((signal) => this.#answer(null, signal));
  }

  #busy(work) {
    this.#answering = new AbortController();
    this.#onchange("answering");
    this.#ending = work(this.#answering.signal).finally(() => {
      this.#answering = null;
      this.#onchange("answering");
    });
  }

  async #answer(count, signal) {
    const turn = { role: "assistant", text: "", state: "writing", problem: "" };
    const messages = messagesOf(this.#settings().system, this.#chat.turns, this.#texts);
    const documents = this.#chat.turns.flatMap((asked) => asked.documents ?? []).length;
    const view = this.#add(turn);
    view.wait(count, documents);
    this.#toEnd();
    await this.#keep();
    await this.#write(turn, view, this.#request(messages, count), signal);
    await this.#keep();
    view.end(turn); // Its buttons come when they work: nothing is waited for after this.
    this.#follow();
  }

  async #write(turn, view, request, signal) {
    const began = performance.now();
    const elapsed = () => (performance.now() - began) / 1000;
    let saved = began;
    try {
      for await (const said of this.#api.chat(request, signal)) {
        if (said.text === undefined) {
          Object.assign(turn, { state: "done", tokens: said.usage?.completion_tokens, finish: said.finish });
          break;
        }
        turn.first ??= elapsed();
        turn.text += said.text;
        view.grow(turn.text);
        this.#follow();
        if (performance.now() - saved < KEEP_EVERY) continue;
        saved = performance.now();
        this.#keep();
      }
    } catch (error) {
      const stopped = error.name === "AbortError";
      turn.state = stopped ? "stopped" : "broken";
      turn.problem = stopped ? "" : error.message;
      turn.retryAt = error.retryAt ?? null;
      if (error.status === 401) this.#ondenied();
    }
    turn.seconds = elapsed();
    announce({ done: "The answer is complete.", stopped: "Stopped." }[turn.state] ?? turn.problem);
  }

  #request(messages, count) {
    const { temperature, maxTokens } = this.#settings();
    const request = { model: this.model, messages };
    if (temperature !== null) request.temperature = temperature;
    if (maxTokens !== null) request.max_tokens = count?.exact ? Math.min(maxTokens, count.room) : maxTokens;
    return request;
  }

  async #keep() {
    this.#chat.updated = Date.now();
    await this.#save(() => this.#store.saveChat(structuredClone(this.#chat)));
    this.#onchange("kept");
  }

  // A full disk ends no conversation.
  async #save(write) {
    try {
      await write();
    } catch (error) {
      this.#onproblem(`This browser could not keep the conversation (${error.name}): it ends with the tab.`);
    }
  }

  #show(chat, documents) {
    this.#chat = chat;
    this.#texts = new Map(documents.map(({ id, text }) => [id, text]));
    const turns = chat.turns;
    chat.turns = [];
    this.#log.replaceChildren();
    byId("empty").hidden = false;
    for (const turn of turns) {
      const view = this.#add(turn);
      if (turn.role === "assistant") view.end(turn);
    }
    this.#toEnd();
    this.#onchange("shown");
  }

  #add(turn) {
    const index = this.#chat.turns.push(turn) - 1;
    byId("empty").hidden = true;
    if (turn.role === "user") {
      this.#log.append(userTurn(turn, { onedit: () => this.answering || this.#onedit(index) }));
      return null;
    }
    const view = new AnswerTurn({ onretry: () => this.#retry(index) });
    this.#log.append(view.element);
    return view;
  }

  #drop(index) {
    this.#chat.turns.length = index;
    while (this.#log.childElementCount > index) this.#log.lastChild.remove();
  }

  #followScrolling() {
    const scroller = byId("scroller");
    byId("to-end").addEventListener("click", () => this.#toEnd());
    scroller.addEventListener("scroll", () => {
      this.#following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR;
      byId("to-end").hidden = this.#following;
    });
  }

  // Stay at the end of an answer that grows, unless the person has scrolled away from it.
  #follow() {
    if (this.#following) requestAnimationFrame(() => this.#toEnd());
  }

  #toEnd() {
    const scroller = byId("scroller");
    scroller.scrollTop = scroller.scrollHeight;
    this.#following = true;
    byId("to-end").hidden = true;
  }
}

// One conversation: its turns, and the answer that is being written.

import { newId } from "./attachments.js";
import { announce, byId } from "./dom.js";
import { messagesOf } from "./prompt.js";
import { AnswerTurn, userTurn } from "./turns.js";
import { markUnfinished, unmarkUnfinished } from "./unfinished.js";

const SLICE = 30; // Milliseconds of work on a kept chat, after which the browser has its turn.
const SLOW = 2000; // Milliseconds without a turn of the browser that make a chat a slow one.
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
  #opening = null; // What was opened last: an earlier one that is still being read is given up.
  #shown = null; // Promise that all turns are shown.
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
    return this.#chat?.id;
  }

  get answering() {
    return this.#answering !== null;
  }

  begin() {
    this.#opening = null;
    this.#show({ id: newId(), title: "", updated: 0, turns: [] }, []);
  }

  // `plain`: answers are shown as text. The chat is marked while it is opened, so that one which ends the page
  // is not opened by itself the next time.
  async open(chat, { plain = false } = {}) {
    const opening = (this.#opening = {});
    markUnfinished(chat.id);
    const documents = await this.#store.documentsOf(chat.id);
    await nextTask();
    if (this.#opening !== opening) return unmarkUnfinished(chat.id);
    for (const turn of chat.turns) {
      if (turn.state !== "writing") continue;
      Object.assign(turn, { state: "broken", problem: "The page was closed while it was written." });
    }
    await this.#show(chat, documents, plain);
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
      await this.#shown;
      if (signal.aborted) return;
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
    this.#busy(async (signal) => {
      await this.#shown;
      if (signal.aborted) return;
      this.#drop(index);
      await this.#answer(null, signal);
    });
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

  #show(chat, documents, plain) {
    this.#chat = chat;
    this.#texts = new Map(documents.map(({ id, text }) => [id, text]));
    this.#log.replaceChildren();
    byId("empty").hidden = false;
    this.#following = true;
    this.#shown = this.#showTurns(chat, plain);
    this.#onchange("shown");
    return this.#shown;
  }

  // In slices, between which the page can be used: the chat deleted, say, or another one opened.
  async #showTurns(chat, plain) {
    let began = performance.now();
    let longest = 0;
    const finish = () => longest < SLOW && unmarkUnfinished(chat.id);
    addEventListener("pagehide", finish); // Somebody who can leave is not locked out.
    try {
      for (const [index, turn] of chat.turns.entries()) {
        this.#showTurn(turn, index, plain);
        if (performance.now() - began < SLICE && index < chat.turns.length - 1) continue;
        this.#layOut();
        longest = Math.max(longest, performance.now() - began);
        await nextTask();
        if (this.#chat !== chat) break;
        began = performance.now();
      }
      finish();
    } finally {
      removeEventListener("pagehide", finish);
    }
  }

  #showTurn(turn, index, plain) {
    const view = this.#view(turn, index);
    if (turn.role !== "assistant") return;
    try {
      view.end(turn, { plain });
    } catch (error) {
      reportError(error); // A mistake of ours; the others are shown, and this one as text.
      view.end(turn, { plain: true });
    }
  }

  // Done by the browser later on anyway; here it counts as part of the slice.
  #layOut() {
    if (this.#following) this.#toEnd();
    else byId("scroller").scrollHeight;
  }

  #add(turn) {
    return this.#view(turn, this.#chat.turns.push(turn) - 1);
  }

  #view(turn, index) {
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

// What the browser has to do meanwhile comes first.
function nextTask() {
  return new Promise((resolve) => setTimeout(resolve));
}

// How much of the window the next message takes, counted by the server with the model's own tokenizer.
//
// A short conversation is counted whole while a person types: the number is exact. Of a long one (SMALL)
// only the draft is sent while it is typed, and added to what the rest was counted to be once: the number
// is then marked with "about". Near the edge of the window a long one too is counted whole before it is sent.

import { number } from "./dom.js";
import { charactersOf } from "./prompt.js";

const SMALL = 100_000; // Characters.
const PAUSE = 250; // Milliseconds without a key.
const ROOM = 1024; // Tokens for the answer that are worth a warning, or an eighth of the window.

export class Meter {
  window = null;
  #api;
  #compose; // (draft) => messages
  #draft; // () => string
  #settings; // () => { maxTokens }
  #view;
  #onerror;
  #timer = null;
  #rest = null; // The tokens of all but the draft, a promise; null where they are to be counted anew.
  #asking = null; // AbortController of the request that the next one supersedes.
  #counted = null; // { tokens, exact, draft }
  #resting = false;

  constructor({ api, compose, draft, settings, view, onerror }) {
    this.#api = api;
    this.#compose = compose;
    this.#draft = draft;
    this.#settings = settings;
    this.#view = view;
    this.#onerror = onerror;
  }

  // Turns, documents or the system prompt are others now.
  changed() {
    this.#rest = null;
    this.typed();
  }

  // While an answer is written nothing is counted: the number would be another with each word of it.
  rest(resting) {
    this.#resting = resting;
    this.changed();
  }

  // The draft is another.
  typed() {
    this.#counted &&= { ...this.#counted, exact: false, draft: null };
    this.#show();
    this.#asking?.abort();
    clearTimeout(this.#timer);
    if (!this.#resting) this.#timer = setTimeout(() => this.#count(), PAUSE);
  }

  // Before sending: the count, sure where it matters; null where the server could not count.
  async settle() {
    clearTimeout(this.#timer);
    if (this.#counted?.draft !== this.#draft()) await this.#count();
    if (this.#counted && !this.#counted.exact && this.#near(this.#counted.tokens)) await this.#count(true);
    return this.#counted && { ...this.#counted, room: this.window - this.#counted.tokens };
  }

  // What is left for the answer, in words; "" where there is plenty.
  problem({ tokens, exact }) {
    const room = this.window - tokens;
    const wanted = this.#settings().maxTokens;
    const about = exact ? "" : "about ";
    if (room <= 0) {
      const takes = `This takes ${about}${number(tokens)} tokens, and the window is ${number(this.window)}`;
      return `${takes}: remove a document, shorten the message, or begin a new chat.`;
    }
    if (wanted && room < wanted) {
      return `The answer can be ${about}${number(room)} tokens long, not the ${number(wanted)} of the settings.`;
    }
    if (room < Math.min(ROOM, this.window / 8)) return `Only ${about}${number(room)} tokens are left for the answer.`;
    return "";
  }

  #near(tokens) {
    const slack = 64 + tokens / 100;
    return tokens + (this.#settings().maxTokens ?? 0) + slack > this.window;
  }

  async #count(whole = false) {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    const draft = this.#draft();
    try {
      const counted = await this.#tokens(draft, whole, asking.signal);
      if (asking.signal.aborted) return;
      this.#counted = { ...counted, draft };
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#counted = null;
      this.#rest = null;
      this.#onerror(error);
    }
    this.#show();
  }

  async #tokens(draft, whole, signal) {
    const messages = this.#compose(draft);
    if (!messages.length) return { tokens: 0, exact: true };
    if (draft && (whole || charactersOf(messages) < SMALL)) {
      return { tokens: await this.#ask({ messages }, signal), exact: true };
    }
    // Not superseded by what is typed meanwhile: it may be a megabyte.
    this.#rest ??= this.#ask({ messages: this.#compose("") });
    const rest = await this.#rest;
    if (!draft) return { tokens: rest, exact: true };
    const [more] = await this.#ask({ texts: [draft.toWellFormed()] }, signal);
    return { tokens: rest + more, exact: false };
  }

  async #ask(body, signal) {
    const said = await this.#api.tokens(body, signal);
    this.window = said.window;
    return said.tokens;
  }

  #show() {
    if (!this.window) return;
    const counted = this.#counted;
    if (!counted) return this.#view({ tokens: null, window: this.window, problem: "" });
    this.#view({ ...counted, window: this.window, problem: this.problem(counted) });
  }
}

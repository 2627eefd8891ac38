// One turn of the conversation as elements.

import { chip } from "./attachments.js";
import { announce, copyButton, el, iconButton, number, plural, put } from "./dom.js";
import { LiveMarkdown, markdown } from "./render.js";

export function userTurn(turn, { onedit }) {
  const chips = turn.documents.map((document) => chip(document));
  const list = chips.length ? el("ul", { class: "chips", "aria-label": "Documents" }, chips) : null;
  const actions = el("div", { class: "actions" });
  actions.append(iconButton("edit", "Edit message", onedit), copyButton("Copy message", () => turn.text));
  return el("article", { class: "turn user", "aria-label": "You" }, list, el("div", { class: "bubble" }, turn.text), actions);
}

export class AnswerTurn {
  element = el("article", { class: "turn assistant", "aria-label": "Answer" });
  #body = el("div", { class: "markdown" });
  #status = el("div", { class: "waiting" });
  #live = null;
  #timer = null;
  #onretry;

  constructor({ onretry }) {
    this.#onretry = onretry;
    this.element.append(this.#status, this.#body);
    this.#status.hidden = true;
  }

  // Until the first token; that takes long where the prompt is. `count` is null where the server did not count.
  wait(count, documents) {
    const what = documents ? `Reading the ${documents === 1 ? "document" : "documents"}` : "Reading";
    const size = count ? `, ${count.exact ? "" : "about "}${number(count.tokens)} tokens` : "";
    const seconds = el("span", { class: "seconds", "aria-hidden": "true" });
    this.#status.replaceChildren(el("span", { class: "pulse", "aria-hidden": "true" }), `${what}${size}… `, seconds);
    this.#status.hidden = false;
    const began = performance.now();
    this.#timer = setInterval(() => {
      seconds.textContent = `${Math.round((performance.now() - began) / 1000)} s`;
    }, 1000);
    announce(`${what}${size}`);
  }

  grow(text) {
    this.#endWait();
    this.#live ??= new LiveMarkdown(this.#body, (node) => announce(node.textContent));
    this.#live.show(text);
  }

  // Show the turn as it ended, or as it was kept; `plain`: its text without Markdown.
  end(turn, { plain = false } = {}) {
    this.#endWait();
    if (this.#live) this.#live.finish();
    else put(this.#body, plain ? [el("p", { class: "plain" }, turn.text)] : markdown(turn.text));
    if (turn.state !== "done") this.element.append(this.#notice(turn));
    const actions = el("div", { class: "actions" });
    if (turn.text) actions.append(copyButton("Copy answer", () => turn.text));
    if (turn.state === "done" || turn.state === "stopped") actions.append(iconButton("retry", "Answer again", this.#onretry));
    actions.append(el("span", { class: "stats" }, stats(turn)));
    this.element.append(actions);
  }

  #endWait() {
    clearInterval(this.#timer);
    this.#status.hidden = true;
  }

  #notice(turn) {
    if (turn.state === "stopped") return el("p", { class: "note" }, "You stopped this answer.");
    const said = turn.text ? `This answer is incomplete. ${turn.problem}` : turn.problem;
    const button = el("button", { type: "button", class: "button", onclick: this.#onretry }, "Try again");
    countDown(button, turn.retryAt);
    return el("div", { class: "problem", role: "alert" }, el("p", {}, said), button);
  }
}

// The button waits until the server takes requests again.
function countDown(button, retryAt) {
  const tick = () => {
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    button.disabled = seconds > 0;
    button.textContent = seconds > 0 ? `Try again in ${plural(seconds, "second")}` : "Try again";
    return seconds > 0;
  };
  if (!retryAt || !tick()) return;
  const timer = setInterval(() => tick() || clearInterval(timer), 500);
}

// `seconds` are from the request to the end, `first` those until the first token.
function stats({ tokens, seconds, first, finish }) {
  if (!seconds) return "";
  const parts = [];
  if (tokens) parts.push(plural(tokens, "token"));
  parts.push(`${seconds.toFixed(1)} s`);
  if (tokens > 1 && seconds > first) parts.push(`${number(Math.round((tokens - 1) / (seconds - first)))} tokens/s`);
  if (first) parts.push(`first after ${first.toFixed(1)} s`);
  if (finish === "length") parts.push("ended by the limit of its length");
  return parts.join(" · ");
}

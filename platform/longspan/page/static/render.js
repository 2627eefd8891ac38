// Blocks of Markdown as DOM nodes, and an answer that is shown while it grows.

import { parse } from "./blocks.js";
import { copyButton, el } from "./dom.js";
import { inline } from "./inline.js";

export function markdown(text) {
  return parse(text).map(render);
}

function render(block) {
  switch (block.type) {
    case "code": return code(block);
    case "heading": return el(`h${Math.min(6, block.level + 1)}`, {}, inline(block.text));
    case "rule": return el("hr");
    case "quote": return el("blockquote", {}, block.blocks.map(render));
    case "list": return list(block);
    case "table": return table(block);
    default: return el("p", {}, inline(block.text));
  }
}

function code(block) {
  const text = document.createTextNode(block.text);
  const bar = el("div", { class: "code-bar" }, el("span", {}, block.language || "text"));
  bar.append(copyButton("Copy code", () => text.data));
  return el("div", { class: "code" }, bar, el("pre", { tabindex: "0" }, el("code", {}, text)));
}

function list(block) {
  const start = block.ordered && block.start !== 1 ? block.start : null;
  return el(block.ordered ? "ol" : "ul", { start }, block.items.map((item) => listItem(item, block.loose)));
}

function listItem(item, loose) {
  const children = item.blocks.flatMap((block) =>
    !loose && block.type === "paragraph" ? inline(block.text) : [render(block)],
  );
  if (item.checked === null) return el("li", {}, children);
  const label = item.checked ? "done" : "to do";
  const box = el("input", { type: "checkbox", disabled: true, checked: item.checked, "aria-label": label });
  return el("li", { class: "task" }, box, el("div", {}, children));
}

function table(block) {
  const row = (tag, cells) =>
    el("tr", {}, cells.map((cell, column) => el(tag, { class: block.aligned[column] }, inline(cell))));
  const head = el("thead", {}, row("th", block.head));
  const body = el("tbody", {}, block.rows.map((cells) => row("td", cells)));
  return el("div", { class: "table", tabindex: "0" }, el("table", {}, head, body));
}

// Shows a text that grows. Blocks but the last can't change any more; only that one is made anew, at most
// once a frame, and less often the longer it is: drawing takes a quarter of the time.
export class LiveMarkdown {
  #container;
  #text = "";
  #settled = 0; // Characters that are shown for good.
  #last = null; // The block that may still change, and its node.
  #timer = null;
  #frame = null;
  #pause = 0; // Milliseconds to the next drawing.
  #onsettled;

  // `onsettled` is given each node that won't change any more.
  constructor(container, onsettled) {
    this.#container = container;
    this.#onsettled = onsettled;
  }

  show(text) {
    this.#text = text;
    this.#timer ??= setTimeout(() => {
      this.#frame = requestAnimationFrame(() => this.#draw());
    }, this.#pause);
  }

  finish() {
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#frame);
    this.#draw();
    if (this.#last) this.#onsettled(this.#last.node);
    this.#last = null;
  }

  #draw() {
    this.#timer = null;
    const began = performance.now();
    const rest = this.#text.slice(this.#settled);
    const blocks = parse(rest);
    blocks.forEach((block, index) => {
      const node = index === 0 && this.#last ? this.#redraw(block) : this.#append(block);
      if (index < blocks.length - 1) this.#onsettled(node);
      else this.#last = { block: { ...block, line: 0 }, node };
    });
    if (blocks.length > 1) this.#settled += offsetOfLine(rest, blocks.at(-1).line);
    this.#pause = 3 * (performance.now() - began);
  }

  #append(block) {
    const node = render(block);
    this.#container.append(node);
    return node;
  }

  #redraw(block) {
    const { block: before, node } = this.#last;
    if (block.type === "code" && before.type === "code" && block.language === before.language) {
      node.querySelector("code").firstChild.data = block.text; // Keeps a selection, and the focus.
      return node;
    }
    const anew = render(block);
    node.replaceWith(anew);
    return anew;
  }
}

function offsetOfLine(text, line) {
  let offset = 0;
  for (let passed = 0; passed < line; passed += 1) offset = text.indexOf("\n", offset) + 1;
  return offset;
}

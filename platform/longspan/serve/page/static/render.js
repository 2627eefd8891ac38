// Blocks of Markdown as DOM nodes, and an answer that is shown while it grows.
//
// The number of nodes is linear in the text, and bounded: a browser must be able to show whatever a model writes.

import { cells, parse } from "./blocks.js";
import { copyButton, el } from "./dom.js";
import { inline } from "./inline.js";

const MAX_CHARACTERS = 200_000; // Of one answer that are read as Markdown; what follows is shown as text.
const MAX_COLUMNS = 64; // A table with more is shown as text.
const MAX_CELLS = 10_000; // Of all tables of an answer; rows that would be more are shown as text.

export function markdown(text) {
  const end = endOfMarkdown(text);
  const budget = { cells: MAX_CELLS };
  const nodes = parse(text.slice(0, end)).map((block) => render(block, budget));
  if (end < text.length) nodes.push(plainRest(text.slice(end)));
  return nodes;
}

function endOfMarkdown(text) {
  if (text.length <= MAX_CHARACTERS) return text.length;
  return text.lastIndexOf("\n", MAX_CHARACTERS - 1) + 1 || MAX_CHARACTERS;
}

function plainRest(text) {
  return code({ language: "Rest of a very long answer, as text", text });
}

// Takes what it draws from `budget`.
function render(block, budget) {
  switch (block.type) {
    case "code": return code(block);
    case "heading": return el(`h${Math.min(6, block.level + 1)}`, {}, inline(block.text));
    case "rule": return el("hr");
    case "quote": return el("blockquote", {}, block.blocks.map((inner) => render(inner, budget)));
    case "list": return list(block, budget);
    case "table": return table(block, budget);
    default: return el("p", {}, inline(block.text));
  }
}

function code(block) {
  const text = document.createTextNode(block.text);
  const bar = el("div", { class: "code-bar" }, el("span", {}, block.language || "text"));
  bar.append(copyButton("Copy code", () => text.data));
  return el("div", { class: "code" }, bar, el("pre", { tabindex: "0" }, el("code", {}, text)));
}

function list(block, budget) {
  const start = block.ordered && block.start !== 1 ? block.start : null;
  const items = block.items.map((item) => listItem(item, block.loose, budget));
  return el(block.ordered ? "ol" : "ul", { start }, items);
}

function listItem(item, loose, budget) {
  const children = item.blocks.flatMap((block) =>
    !loose && block.type === "paragraph" ? inline(block.text) : [render(block, budget)],
  );
  if (item.checked === null) return el("li", {}, children);
  const label = item.checked ? "done" : "to do";
  const box = el("input", { type: "checkbox", disabled: true, checked: item.checked, "aria-label": label });
  return el("li", { class: "task" }, box, el("div", {}, children));
}

// As many rows as the budget has cells for; the others as they were written.
function table({ aligned, lines }, budget) {
  const [head, , ...rows] = lines;
  const affordable = Math.floor(budget.cells / aligned.length) - 1;
  if (aligned.length > MAX_COLUMNS || affordable < 0) {
    return code({ language: "A large table, as text", text: lines.join("\n") });
  }
  const drawn = rows.slice(0, affordable);
  budget.cells -= (drawn.length + 1) * aligned.length;
  const parts = [
    el("thead", {}, tableRow("th", head, aligned)),
    el("tbody", {}, drawn.map((row) => tableRow("td", row, aligned))),
  ];
  const element = el("div", { class: "table", tabindex: "0" }, el("table", {}, parts));
  if (drawn.length === rows.length) return element;
  const rest = rows.slice(drawn.length).join("\n");
  return el("div", {}, element, code({ language: "Rest of a large table, as text", text: rest }));
}

// As many cells as the row has; what it lacks is one cell, so that short rows of wide tables cost no more.
function tableRow(tag, line, aligned) {
  const texts = cells(line).slice(0, aligned.length);
  const row = el("tr", {}, texts.map((text, column) => el(tag, { class: aligned[column] }, inline(text))));
  const missing = aligned.length - texts.length;
  if (missing) row.append(el(tag, { colspan: missing }));
  return row;
}

// Shows a text that grows. Blocks but the last can't change any more; only that one is made anew, at most
// once a frame, and less often the longer it is: drawing takes a quarter of the time.
export class LiveMarkdown {
  #container;
  #text = "";
  #settled = 0; // Characters that are shown for good.
  #budget = { cells: MAX_CELLS }; // What they have left of it.
  #last = null; // The block that may still change, and its node.
  #rest = null; // The node of what follows the Markdown.
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
    if (this.#rest) this.#onsettled(this.#rest);
    this.#last = null;
  }

  #draw() {
    this.#timer = null;
    const began = performance.now();
    const end = endOfMarkdown(this.#text);
    const changing = this.#text.slice(this.#settled, end);
    const blocks = parse(changing);
    const last = blocks.length - 1;
    blocks.forEach((block, index) => {
      const budget = index < last ? this.#budget : { ...this.#budget }; // The last one is drawn again.
      const node = index === 0 && this.#last ? this.#redraw(block, budget) : this.#append(block, budget);
      if (index < last) this.#onsettled(node);
      else this.#last = { block: { ...block, line: 0 }, node };
    });
    if (last > 0) this.#settled += offsetOfLine(changing, blocks[last].line);
    if (end < this.#text.length) this.#drawRest(end);
    this.#pause = 3 * (performance.now() - began);
  }

  #drawRest(end) {
    if (this.#last && this.#settled === end) {
      this.#last.node.remove(); // Its text is all in the rest.
      this.#last = null;
    }
    this.#rest ??= this.#container.appendChild(plainRest(""));
    this.#rest.querySelector("code").firstChild.data = this.#text.slice(end);
  }

  #append(block, budget) {
    const node = render(block, budget);
    this.#container.append(node);
    return node;
  }

  #redraw(block, budget) {
    const { block: before, node } = this.#last;
    if (block.type === "code" && before.type === "code" && block.language === before.language) {
      node.querySelector("code").firstChild.data = block.text; // Keeps a selection, and the focus.
      return node;
    }
    const anew = render(block, budget);
    node.replaceWith(anew);
    return anew;
  }
}

function offsetOfLine(text, line) {
  let offset = 0;
  for (let passed = 0; passed < line; passed += 1) offset = text.indexOf("\n", offset) + 1;
  return offset;
}

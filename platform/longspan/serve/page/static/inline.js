// Markdown within a block into DOM nodes. One pass with a stack of what is open: each mark that could
// begin emphasis, and each bracket, opens a frame; what closes it wraps the frame's nodes, and frames that
// nothing closes become the text that they were.
//
// The work is linear in the text, and elements nest a few hundred deep at most: there are few frames, a run of
// many marks is text, runs of backticks are looked up, and no pattern can match the same characters in two ways.

import { el } from "./dom.js";

const DEEPEST = 40;
const LONGEST_RUN = 6; // Marks in a row that can be emphasis: each pair is one more element around the text.
const SAFE = /^(?:https?:\/\/|mailto:)/i;
const ADDRESS = /https?:\/\/[^\s<>"'`\]]+/y;
const ANGLED = /<((?:https?:\/\/|mailto:)[^\s<>]*)>/iy;
// (?=(...))\1 matches all the space there is, and gives none of it back.
const TARGET = /\((?=([ \t\n]*))\1(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*))(?=([ \t\n]*))\4(?:(?<=[ \t\n])(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')[ \t\n]*)?\)/y;
const PLAIN = /(?:[^\\`*_~[\]!<\nh]|h(?!ttps?:\/\/))+/y;
const WORD = /[\p{L}\p{N}]/u;
const PUNCTUATION = /\p{P}/u;
const TAGS = { "*": ["em", "strong"], "_": ["em", "strong"], "~": ["del", "del"] };

export function inline(text) {
  const reader = new Reader(text);
  reader.read();
  return reader.close(0);
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.frames = [{ nodes: [] }];
    this.runs = null; // Where the runs of backticks begin, by their length, the last first.
  }

  read() {
    while (this.at < this.text.length) {
      const found = this.match(PLAIN) ? this.plain(this.matched[0]) : this.special(this.text[this.at]);
      if (!found) this.plain(this.text[this.at]);
    }
  }

  special(character) {
    switch (character) {
      case "\\": return this.escape();
      case "`": return this.code();
      case "*": case "_": case "~": return this.marks(character);
      case "!": return this.text[this.at + 1] === "[" && this.open("![", { bracket: true });
      case "[": return this.open("[", { bracket: true });
      case "]": return this.closeBracket();
      case "<": return this.match(ANGLED) && this.address(this.matched[1], this.matched[0].length);
      case "\n": return this.lineEnd();
      case "h": return this.bareAddress();
      default: return false;
    }
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    this.matched = pattern.exec(this.text);
    return this.matched !== null;
  }

  add(node, length) {
    append(this.frames.at(-1).nodes, [node]);
    this.at += length;
    return true;
  }

  plain(text) {
    return this.add(text, text.length);
  }

  escape() {
    const next = this.text[this.at + 1];
    if (next === "\n") return this.add(el("br"), 2);
    return /[!-/:-@[-`{-~]/.test(next ?? "") && this.add(next, 2);
  }

  lineEnd() {
    const hard = this.text.endsWith("  ", this.at) && this.at >= 2;
    return hard ? this.add(el("br"), 1) : this.plain("\n");
  }

  code() {
    const run = /`+/y;
    run.lastIndex = this.at;
    const [marks] = run.exec(this.text);
    const start = this.at + marks.length;
    const end = this.nextRun(marks.length, start);
    if (end === undefined) return this.plain(marks);
    const text = this.text.slice(start, end).replaceAll("\n", " ");
    const padded = text.startsWith(" ") && text.endsWith(" ") && text.trim();
    return this.add(el("code", {}, padded ? text.slice(1, -1) : text), end - start + 2 * marks.length);
  }

  // Where the next run of `length` backticks begins. It is asked for ever later ones.
  nextRun(length, start) {
    this.runs ??= runsOfBackticks(this.text);
    const runs = this.runs.get(length) ?? [];
    while (runs.length && runs.at(-1) < start) runs.pop();
    return runs.at(-1);
  }

  address(target, length) {
    return this.add(link(target, [target]), length);
  }

  bareAddress() {
    const before = this.text[this.at - 1] ?? " ";
    if (/\w/.test(before) || !this.match(ADDRESS)) return false;
    let [found] = this.matched;
    let end = found.length;
    while (".,;:!?*_~".includes(found[end - 1])) end -= 1;
    found = found.slice(0, end);
    if (found.endsWith(")") && !found.includes("(")) found = found.slice(0, -1);
    return this.address(found, found.length);
  }

  open(marks, frame) {
    if (this.frames.length > DEEPEST) return this.plain(marks);
    this.frames.push({ marks, nodes: [], ...frame });
    this.at += marks.length;
    return true;
  }

  marks(character) {
    let count = 1;
    while (this.text[this.at + count] === character) count += 1;
    if (count > LONGEST_RUN) return this.plain(character.repeat(count));
    const before = this.text[this.at - 1] ?? " ";
    const after = this.text[this.at + count] ?? " ";
    const inWord = character === "_" && WORD.test(before) && WORD.test(after);
    // As CommonMark has it, but for **so:**this, which models write in languages without spaces.
    const [one, other] = [count === 1 && WORD.test(before), count === 1 && WORD.test(after)];
    const canOpen = !inWord && /\S/.test(after) && !(one && PUNCTUATION.test(after));
    const canClose = !inWord && /\S/.test(before) && !(other && PUNCTUATION.test(before));
    this.at += count;
    if (canClose) count = this.closeMarks(character, count);
    const left = character.repeat(count);
    this.at -= count;
    if (!count) return true;
    return canOpen && (character !== "~" || count === 2) ? this.open(left, { character }) : this.plain(left);
  }

  // Wraps what it can in emphasis; gives how many of the marks are left over.
  closeMarks(character, count) {
    while (count) {
      let at = this.frames.length - 1;
      while (at && !this.frames[at].bracket && this.frames[at].character !== character) at -= 1;
      const frame = this.frames[at];
      if (!at || frame.bracket) return count;
      const used = Math.min(2, count, frame.marks.length);
      if (character === "~" && used < 2) return count;
      const node = el(TAGS[character][used - 1], {}, this.close(at));
      frame.marks = frame.marks.slice(used);
      count -= used;
      if (frame.marks) this.frames.push({ ...frame, nodes: [node] });
      else append(this.frames.at(-1).nodes, [node]);
    }
    return 0;
  }

  closeBracket() {
    let at = this.frames.length - 1;
    while (at && !this.frames[at].bracket) at -= 1;
    if (!at) return false;
    const { marks } = this.frames[at];
    const nodes = this.close(at);
    this.at += 1;
    if (this.text[this.at] === "(" && this.match(TARGET)) {
      const target = (this.matched[2] ?? this.matched[3]).replace(/\\([!-/:-@[-`{-~])/g, "$1");
      const shown = nodes.length ? nodes : [target];
      return this.add(link(target, marks === "![" ? ["Image: ", ...shown] : shown), this.matched[0].length);
    }
    append(this.frames.at(-1).nodes, [marks, ...nodes, "]"]);
    return true;
  }

  // The nodes of frame `at`, with all frames above it as text; leaves the stack below it.
  close(at) {
    const [bottom, ...above] = this.frames.splice(at);
    for (const frame of above) append(bottom.nodes, [frame.marks, ...frame.nodes]);
    return bottom.nodes;
  }
}

// Texts that follow each other become one, so that they are one node of the page.
function append(nodes, more) {
  for (const node of more) {
    if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes.push(nodes.pop() + node);
    else nodes.push(node);
  }
}

function runsOfBackticks(text) {
  const runs = new Map();
  for (const { 0: run, index } of text.matchAll(/`+/g)) {
    if (!runs.has(run.length)) runs.set(run.length, []);
    runs.get(run.length).push(index);
  }
  for (const starts of runs.values()) starts.reverse();
  return runs;
}

// A link that leads nowhere safe is shown as the text it was.
function link(target, children) {
  const plain = children.filter((child) => typeof child === "string" || child.tagName !== "A");
  if (!SAFE.test(target)) return el("span", { class: "no-link" }, children, ` (${target})`);
  const attributes = { href: target, rel: "noopener noreferrer nofollow", target: "_blank" };
  return el("a", attributes, plain.length ? plain : [target]);
}

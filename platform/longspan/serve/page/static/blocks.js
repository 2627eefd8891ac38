// Markdown into blocks: plain objects, each with the number of the line that it begins on.
//
// CommonMark with tables, task lists and strike-through, less what models don't write on purpose: lines
// indented by four spaces are no code, HTML is text, and there are no link definitions. List items need
// two spaces of indentation to nest, whatever the width of their marker.
//
// The work is linear in the text: blocks nest 16 deep at most, and no pattern can match the same characters in
// two ways, which is what makes a failing match quadratic.

const DEEPEST = 16;
const LONGEST_LANGUAGE = 40; // Characters of a fence's first word that are shown.
const FENCE = /^ {0,3}(`{3,}(?!`)|~{3,}(?!~))([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/s;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const MARKER = /^( *)([-*+]|\d{1,9}[.)])([ \t]+|$)(.*)$/s;
const DASHES = /^ {0,3}[-:|][-:| \t]*$/;
const DASH = /^:?-+:?$/;

export function parse(text, depth = 0) {
  const lines = text.split("\n").map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  const readers = depth < DEEPEST ? [fence, heading, rule, quote, list, table, paragraph] : [paragraph];
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    for (const read of readers) {
      const found = read(lines, at, depth);
      if (!found) continue;
      blocks.push({ ...found.block, line: at });
      at = found.next;
      break;
    }
  }
  return blocks;
}

function fence(lines, at) {
  const opening = FENCE.exec(lines[at]);
  if (!opening) return null;
  const [, marks, info] = opening;
  let next = at + 1;
  while (next < lines.length && !closes(lines[next].trim(), marks)) next += 1;
  const text = lines.slice(at + 1, next).join("\n");
  return { block: { type: "code", language: info.trim().split(/\s/)[0].slice(0, LONGEST_LANGUAGE), text }, next: next + 1 };
}

function closes(line, marks) {
  return line.startsWith(marks) && line === marks[0].repeat(line.length);
}

function heading(lines, at) {
  const found = HEADING.exec(lines[at]);
  if (!found) return null;
  const text = (found[2] ?? "").trim().replace(/(^|[ \t])#+$/, "");
  return { block: { type: "heading", level: found[1].length, text }, next: at + 1 };
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? { block: { type: "rule" }, next: at + 1 } : null;
}

function quote(lines, at, depth) {
  let next = at;
  while (next < lines.length && QUOTE.test(lines[next])) next += 1;
  if (next === at) return null;
  const inner = lines.slice(at, next).map((line) => line.replace(QUOTE, ""));
  return { block: { type: "quote", blocks: parse(inner.join("\n"), depth + 1) }, next };
}

function marker(line) {
  const found = MARKER.exec(line);
  if (!found || RULE.test(line)) return null;
  const [, indent, sign, space, rest] = found;
  const ordered = sign.length > 1;
  const gap = space.length > 4 || !rest ? 1 : space.length;
  const width = indent.length + sign.length + gap;
  return { indent: indent.length, kind: ordered ? sign.at(-1) : sign, ordered, start: parseInt(sign, 10), width, rest };
}

function list(lines, at, depth) {
  const first = marker(lines[at]);
  if (!first || first.indent > 3) return null;
  const items = [[first.rest]];
  let width = first.width; // Of what is cut off the lines of an item: its first indented line may lower it.
  let blank = false;
  let loose = false;
  let next = at + 1;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    if (!line.trim()) {
      blank = true;
      items.at(-1).push("");
      continue;
    }
    const indent = line.search(/[^ \t]/);
    const sibling = marker(line);
    if (indent >= first.indent + 2) {
      width = Math.min(indent, width);
      items.at(-1).push(line.slice(width));
    } else if (sibling && sibling.kind === first.kind) {
      items.push([sibling.rest]);
      width = sibling.width;
    } else if (!blank && !startsBlock(lines, next)) {
      items.at(-1).push(line.trim());
    } else break;
    loose ||= blank;
    blank = false;
  }
  const block = { type: "list", ordered: first.ordered, start: first.start, loose };
  block.items = items.map((item) => listItem(item, depth));
  return { block, next };
}

function listItem(lines, depth) {
  const task = /^\[([ xX])\][ \t]+/.exec(lines[0]);
  const first = task ? lines[0].slice(task[0].length) : lines[0];
  const blocks = parse([first, ...lines.slice(1)].join("\n"), depth + 1);
  return { checked: task ? task[1] !== " " : null, blocks };
}

function table(lines, at) {
  if (!isTable(lines, at)) return null;
  const aligned = cells(lines[at + 1]).map((cell) => {
    const left = cell.startsWith(":");
    if (cell.endsWith(":")) return left ? "center" : "right";
    return left ? "left" : "";
  });
  let next = at + 2;
  while (next < lines.length && lines[next].trim() && !startsBlock(lines, next)) next += 1;
  return { block: { type: "table", aligned, lines: lines.slice(at, next) }, next };
}

function isTable(lines, at) {
  const [head, dashes] = [lines[at], lines[at + 1]];
  if (!head.includes("|") || !dashes?.includes("-") || !DASHES.test(dashes)) return false;
  const columns = cells(dashes);
  return columns.every((cell) => DASH.test(cell)) && cells(head).length === columns.length;
}

// Of a line of a table: the texts between its bars.
export function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function paragraph(lines, at) {
  let next = at + 1;
  while (next < lines.length && lines[next].trim() && !startsBlock(lines, next)) next += 1;
  const text = lines.slice(at, next).map((line) => line.trimStart()).join("\n").trimEnd();
  return { block: { type: "paragraph", text }, next };
}

// Whether a line ends the paragraph before it; a number does so only where a list would begin with it.
function startsBlock(lines, at) {
  const line = lines[at];
  if ([FENCE, HEADING, RULE, QUOTE].some((pattern) => pattern.test(line))) return true;
  const item = marker(line);
  if (item && item.indent < 4 && item.rest && (!item.ordered || item.start === 1)) return true;
  return isTable(lines, at);
}

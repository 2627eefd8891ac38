// Elements are built, never parsed: what a model or a document says can only become text.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  return put(node, children.flat());
}

// One by one: a call takes only so many arguments.
export function put(node, children) {
  for (const child of children) if (child !== null && child !== undefined) node.append(child);
  return node;
}

export const byId = (id) => document.getElementById(id);

// The shapes are the symbols at the top of index.html.
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export function iconButton(name, label, onclick, extra = "") {
  const attributes = { type: "button", class: `icon-button ${extra}`, "aria-label": label, title: label, onclick };
  return el("button", attributes, icon(name));
}

// Says that it has copied; `text` is a function, asked when it is pressed.
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    const copied = await copy(text());
    button.replaceChildren(icon(copied ? "check" : "copy"));
    announce(copied ? "Copied" : "The browser did not let the page copy");
    setTimeout(() => button.replaceChildren(icon("copy")), 1600);
  });
  return button;
}

// The clipboard's own interface is missing where the page comes over plain HTTP from another machine.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { class: "visually-hidden", readonly: true });
    const focused = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return copied;
  }
}

// For screen readers; each call is read after the one before.
export function announce(text) {
  const region = byId("announcements");
  region.append(el("p", {}, text));
  while (region.childElementCount > 8) region.firstChild.remove();
}

export const number = (value) => value.toLocaleString("en-US");

export function plural(count, word) {
  return `${number(count)} ${word}${count === 1 ? "" : "s"}`;
}

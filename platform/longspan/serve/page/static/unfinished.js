// Chats that the page did not finish showing, because it was closed or ended meanwhile, or that took long: they
// are not opened by themselves the next time.

import { read, write } from "./settings.js";

const NAME = "longspan.unfinished";
const MOST = 100; // Chats; the oldest are forgotten.

export function isUnfinished(id) {
  return load().includes(id);
}

export function markUnfinished(id) {
  save([...load().filter((other) => other !== id), id]);
}

export function unmarkUnfinished(id) {
  save(load().filter((other) => other !== id));
}

function load() {
  try {
    const ids = JSON.parse(read(localStorage, NAME) ?? "[]");
    return Array.isArray(ids) ? ids : [];
  } catch {
    return []; // Not written by this page.
  }
}

function save(ids) {
  write(localStorage, NAME, ids.length ? JSON.stringify(ids.slice(-MOST)) : null);
}

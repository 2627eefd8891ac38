"use strict";

const { set, pairs } = JSON.parse(document.getElementById("data").textContent);
const place = `longspan.preference.${set}`;
const element = (id) => document.getElementById(id);
const KEYS = { 1: "a", ArrowLeft: "a", 0: "tie", ArrowDown: "tie", 2: "b", ArrowRight: "b" };

// Votes in the order in which they were cast: [id of a pair, "a" | "b" | "tie"].
let state = { rater: "", votes: [] };

function load() {
  const known = new Set(pairs.map((pair) => pair.id));
  try {
    const kept = JSON.parse(localStorage.getItem(place));
    if (kept) state = { rater: String(kept.rater), votes: kept.votes.filter(([id]) => known.has(id)) };
  } catch {
    warn("This browser does not keep votes: save them before you close the page.");
  }
  if (!state.rater) state.rater = `rater-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16)}`;
}

function keep() {
  try {
    localStorage.setItem(place, JSON.stringify(state));
  } catch {
    warn("This browser does not keep votes: save them before you close the page.");
  }
}

function warn(words) {
  element("problem").textContent = words;
  element("problem").hidden = false;
}

function current() {
  const voted = new Set(state.votes.map(([id]) => id));
  return pairs.find((pair) => !voted.has(pair.id));
}

function show() {
  const pair = current();
  const done = state.votes.length;
  element("progress").textContent = `${done} of ${pairs.length} voted`;
  element("bar").max = pairs.length;
  element("bar").value = done;
  element("undo").disabled = done === 0;
  element("export").disabled = done === 0;
  element("vote").hidden = !pair;
  element("done").hidden = Boolean(pair);
  for (const name of ["prompt", "a", "b"]) {
    element(name).textContent = pair ? pair[name] || "(no text)" : "";
    element(name).scrollTop = 0;
  }
}

function vote(choice) {
  const pair = current();
  if (!pair) return;
  state.votes.push([pair.id, choice]);
  keep();
  show();
}

function undo() {
  state.votes.pop();
  keep();
  show();
}

function save() {
  const votes = { schema_version: 1, set, rater: state.rater, votes: Object.fromEntries(state.votes) };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${JSON.stringify(votes, null, 1)}\n`], { type: "application/json" }));
  link.download = `votes-${state.rater.replace(/[^\w.-]+/g, "-")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.tagName === "INPUT") return;
  const key = event.key.toLowerCase();
  if (event.key in KEYS) vote(KEYS[event.key]);
  else if (key === "u" && state.votes.length) undo();
  else if (key === "s" && state.votes.length) save();
  else return;
  event.preventDefault();
}

load();
element("rater").value = state.rater;
element("rater").addEventListener("change", (event) => {
  state.rater = event.target.value.trim() || state.rater;
  event.target.value = state.rater;
  keep();
});
element("undo").addEventListener("click", undo);
element("export").addEventListener("click", save);
for (const button of document.querySelectorAll("[data-vote]")) button.addEventListener("click", () => vote(button.dataset.vote));
addEventListener("keydown", onKey);
show();

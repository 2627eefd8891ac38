// The dialogs: the key, the settings, and questions before something is deleted or replaced.

import { byId } from "./dom.js";

// Resolves with { key, lasting } once one is given.
export function askForKey(problem) {
  const dialog = byId("key-dialog");
  const input = byId("key");
  byId("key-problem").textContent = problem;
  input.setAttribute("aria-invalid", String(Boolean(problem)));
  input.value = "";
  if (!dialog.open) dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      const key = input.value.trim();
      if (!key) return;
      dialog.close();
      resolve({ key, lasting: byId("key-lasting").checked });
    };
  });
}

// Resolves with true where the person agrees.
export function confirmDeletion(title) {
  const dialog = byId("delete-dialog");
  byId("delete-title").textContent = title;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "delete");
  });
}

// Resolves with true where the person wants the key `offered` by the address instead of the one that is kept.
export function confirmKey(kept, offered) {
  const dialog = byId("replace-key-dialog");
  byId("kept-key").textContent = endOf(kept);
  byId("offered-key").textContent = endOf(offered);
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "replace");
  });
}

// Enough to tell two keys apart, too little to use one.
function endOf(key) {
  return `…${key.slice(-Math.min(4, Math.floor(key.length / 2)))}`;
}

export function listenToSettings({ load, save, forgetKey }) {
  const dialog = byId("settings-dialog");
  const fields = { system: byId("system"), temperature: byId("temperature"), maxTokens: byId("max-tokens") };
  const numberOrNull = (input) => (input.value === "" ? null : input.valueAsNumber);
  byId("settings").addEventListener("click", () => {
    for (const [name, input] of Object.entries(fields)) input.value = load()[name] ?? "";
    dialog.showModal();
  });
  byId("settings-form").addEventListener("submit", (event) => {
    event.preventDefault();
    save({
      system: fields.system.value,
      temperature: numberOrNull(fields.temperature),
      maxTokens: numberOrNull(fields.maxTokens),
    });
    dialog.close();
  });
  byId("forget-key").addEventListener("click", () => {
    dialog.close();
    forgetKey();
  });
}

// Buttons within a dialog that only close it.
export function listenToClosing() {
  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close(button.dataset.close));
  }
  // Without a key there is nothing to go back to.
  byId("key-dialog").addEventListener("cancel", (event) => event.preventDefault());
}

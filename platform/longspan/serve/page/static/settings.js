// What a person has chosen, and the key: localStorage, where there is one.

const KEY = "longspan.key";
const SETTINGS = "longspan.settings";
const NONE = { system: "", temperature: null, maxTokens: null };

export function loadSettings() {
  try {
    return { ...NONE, ...JSON.parse(read(localStorage, SETTINGS) ?? "{}") };
  } catch {
    return { ...NONE };
  }
}

export function saveSettings(settings) {
  write(localStorage, SETTINGS, JSON.stringify(settings));
}

// Read again by theme.js.
export function saveTheme(theme) {
  write(localStorage, "longspan.theme", theme);
}

export function loadKey() {
  return read(sessionStorage, KEY) ?? read(localStorage, KEY);
}

// `lasting`: kept in this browser; else until the tab is closed.
export function saveKey(key, lasting) {
  forgetKey();
  write(lasting ? localStorage : sessionStorage, KEY, key);
}

export function forgetKey() {
  write(localStorage, KEY, null);
  write(sessionStorage, KEY, null);
}

// Whether a key that takes the place of the kept one stays when the tab is closed.
export function keyIsLasting() {
  return read(sessionStorage, KEY) === null;
}

// A key handed over in the address, as in http://host/#key=ls-...; it does not stay there. Null where there is
// none, or the one that is kept.
export function takeKeyFromAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key === null) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return key && key !== loadKey() ? key : null;
}

export function read(storage, name) {
  try {
    return storage.getItem(name);
  } catch {
    return null; // Storage may be switched off, or full.
  }
}

export function write(storage, name, value) {
  try {
    if (value === null) storage.removeItem(name);
    else storage.setItem(name, value);
  } catch {
    return; // The page then works until it is closed.
  }
}

// The page: what there is, and who tells whom.

import { Api } from "./api.js";
import { ChatList } from "./chats.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { askForKey, confirmDeletion, confirmKey, listenToClosing, listenToSettings } from "./dialogs.js";
import { byId, number } from "./dom.js";
import { forgetKey, keyIsLasting, loadKey, loadSettings, saveKey, saveSettings, saveTheme, takeKeyFromAddress } from "./settings.js";
import { openStore } from "./store.js";
import { isUnfinished, unmarkUnfinished } from "./unfinished.js";

const DENIED = "The server does not accept this key.";
const COME_BACK = 3000; // Milliseconds.
const TOKENS_PER_PAGE = 500; // Of printed English.

const offeredKey = takeKeyFromAddress();
let settings = loadSettings();
let editing = null; // The number of the turn that is being changed.
let unopened = null; // The chat that was not opened by itself, and the notice that says so.
const store = await openStore();
const api = new Api(loadKey());

const conversation = new Conversation({
  api,
  store,
  settings: () => settings,
  onchange: (what) => changed(what),
  onedit: (index) => {
    editing = index;
    composer.edit(conversation.turn(index), () => (editing = null));
  },
  ondenied: () => connect(DENIED),
  onproblem: (text) => composer.notice(text),
});

const composer = new Composer({
  api,
  settings: () => settings,
  compose: (draft) => conversation.messages(draft, editing ?? undefined),
  send: (draft, count) => {
    const index = editing ?? undefined;
    editing = null;
    composer.clear();
    conversation.send(draft, count, index);
  },
  stop: () => conversation.stop(),
  onerror: (error) => (error.status === 401 ? connect(error.message) : composer.notice(error.message)),
});

const chats = new ChatList({
  onnew: () => leave(() => conversation.begin()),
  onopen: (chat) => leave(() => conversation.open(chat)),
  ondelete: (chat) => deleteChat(chat),
});

async function deleteChat(chat) {
  if (!(await confirmDeletion(chat.title))) return;
  const shown = chat.id === conversation.id;
  if (shown) await conversation.stop(); // What it still writes would be kept.
  await store.deleteChat(chat.id);
  unmarkUnfinished(chat.id);
  if (unopened?.chat.id === chat.id) unopened.notice.remove();
  await (shown ? leave(() => conversation.begin()) : listChats());
}

// Instead of a chat that might end the page again.
function offer(chat) {
  const text = `“${chat.title}” was not opened: showing it took long the last time, or did not end.`;
  const notice = composer.notice(text, {
    Open: () => leave(() => conversation.open(chat)),
    "Open as plain text": () => leave(() => conversation.open(chat, { plain: true })),
    Delete: () => deleteChat(chat),
  });
  unopened = { chat, notice };
}

// Another conversation is shown: what is being written ends.
async function leave(show) {
  await conversation.stop();
  editing = null;
  composer.clear();
  await show();
  composer.focus();
}

async function changed(what) {
  if (what === "kept") await listChats();
  if (what === "shown") {
    composer.changed();
    await listChats();
  }
  if (what === "answering") {
    composer.answering = conversation.answering;
    composer.focus();
  }
}

async function listChats() {
  chats.show(await store.chats(), conversation.id);
}

// Learn the model and its window. Asks for a key where `problem` is a text, the problem with the one before,
// and until the server accepts one; comes back to a server that is still starting.
let connecting = false;
async function connect(problem = null) {
  if (connecting) return;
  connecting = true;
  let ask = problem;
  let served = null;
  while (!served) {
    if (ask !== null) await takeKey(ask);
    try {
      served = await api.tokens({ texts: [] });
    } catch (error) {
      ask = null;
      if (error.status === 401) ask = loadKey() ? DENIED : "";
      else await composer.noticeFor(error.message, COME_BACK);
    }
  }
  connecting = false;
  show(served);
  composer.changed();
  composer.focus();
}

async function takeKey(problem) {
  const { key, lasting } = await askForKey(problem);
  saveKey(key, lasting);
  api.setKey(key);
}

// A link must not change whose account the person works on without a question.
async function considerKey(offered) {
  const kept = loadKey();
  if (kept && !(await confirmKey(kept, offered))) return;
  saveKey(offered, keyIsLasting());
  api.setKey(offered);
}

// A link that is opened in this very tab.
addEventListener("hashchange", async () => {
  const offered = takeKeyFromAddress();
  if (!offered) return;
  await considerKey(offered);
  if (connecting) location.reload(); // It waits for a key.
  else await connect();
});

function show({ model, window }) {
  conversation.model = model;
  composer.window = window;
  byId("model").textContent = model.split("/").at(-1);
  byId("model").title = model;
  byId("window").textContent = `${number(window)}-token window`;
  byId("empty-window").textContent = number(window);
  byId("empty-pages").textContent = number(Number((window / TOKENS_PER_PAGE).toPrecision(2)));
  byId("empty").classList.remove("unknown");
}

listenToClosing();
listenToSettings({
  load: () => settings,
  save: (anew) => {
    settings = anew;
    saveSettings(anew);
    composer.changed();
  },
  forgetKey: () => {
    forgetKey();
    connect("");
  },
});

byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const shown = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = shown === "dark" ? "light" : "dark";
  saveTheme(root.dataset.theme);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (chats.isOpen) chats.close();
  else conversation.stop();
});

if (!store.lasting) composer.notice("This browser keeps no data for the page: conversations end with the tab.");
conversation.begin();
await listChats();
const [latest] = await store.chats();
if (latest && isUnfinished(latest.id)) offer(latest);
else if (latest) conversation.open(latest);
if (offeredKey) await considerKey(offeredKey);
await connect();

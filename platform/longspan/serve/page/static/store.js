// Conversations, kept in this browser.
//
//   chats      { id, title, updated, turns: [{ role, text, documents: [{ id, name, tokens }], ... }] }
//   documents  { id, chat, name, text, tokens }: apart, because they are large and seldom needed

const NAME = "longspan";
const VERSION = 1;

export async function openStore() {
  try {
    return new Store(await openDatabase());
  } catch {
    return new Memory();
  }
}

function openDatabase() {
  const request = indexedDB.open(NAME, VERSION);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("chats", { keyPath: "id" });
    request.result.createObjectStore("documents", { keyPath: "id" }).createIndex("chat", "chat");
  };
  return result(request);
}

function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another tab holds an older version open"));
  });
}

class Store {
  lasting = true;
  #database;

  constructor(database) {
    this.#database = database;
  }

  // The latest first.
  async chats() {
    const all = await result(this.#objects("chats").getAll());
    return all.sort((one, other) => other.updated - one.updated);
  }

  async saveChat(chat) {
    await result(this.#objects("chats", "readwrite").put(chat));
  }

  async saveDocument(document) {
    await result(this.#objects("documents", "readwrite").put(document));
  }

  async documentsOf(chat) {
    return result(this.#objects("documents").index("chat").getAll(chat));
  }

  async deleteChat(id) {
    const transaction = this.#database.transaction(["chats", "documents"], "readwrite");
    transaction.objectStore("chats").delete(id);
    const documents = transaction.objectStore("documents");
    const keys = await result(documents.index("chat").getAllKeys(id));
    for (const key of keys) documents.delete(key);
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
  }

  #objects(name, mode = "readonly") {
    return this.#database.transaction(name, mode).objectStore(name);
  }
}

// Where the browser keeps nothing, in a private window say: the same, until the page is closed.
class Memory {
  lasting = false;
  #chats = new Map();
  #documents = new Map();

  async chats() {
    return [...this.#chats.values()].sort((one, other) => other.updated - one.updated);
  }

  async saveChat(chat) {
    this.#chats.set(chat.id, chat);
  }

  async saveDocument(document) {
    this.#documents.set(document.id, document);
  }

  async documentsOf(chat) {
    return [...this.#documents.values()].filter((document) => document.chat === chat);
  }

  async deleteChat(id) {
    this.#chats.delete(id);
    for (const document of await this.documentsOf(id)) this.#documents.delete(document.id);
  }
}

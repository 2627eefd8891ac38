// The side panel: all conversations kept in this browser.

import { byId, el, iconButton } from "./dom.js";

export class ChatList {
  #list = byId("chats");
  #panel = byId("panel");
  #onopen;
  #ondelete;

  constructor({ onopen, ondelete, onnew }) {
    this.#onopen = onopen;
    this.#ondelete = ondelete;
    byId("new-chat").addEventListener("click", () => {
      this.close();
      onnew();
    });
    byId("menu").addEventListener("click", () => this.#toggle());
    byId("shade").addEventListener("click", () => this.close());
  }

  show(chats, current) {
    this.#list.replaceChildren(...chats.map((chat) => this.#item(chat, chat.id === current)));
    byId("no-chats").hidden = chats.length > 0;
  }

  get isOpen() {
    return document.body.classList.contains("panel-open");
  }

  close() {
    if (!this.isOpen) return;
    document.body.classList.remove("panel-open");
    byId("menu").setAttribute("aria-expanded", "false");
    byId("menu").focus();
  }

  // Only a narrow window hides the panel.
  #toggle() {
    const open = document.body.classList.toggle("panel-open");
    byId("menu").setAttribute("aria-expanded", String(open));
    if (open) this.#panel.querySelector("button").focus();
  }

  #item(chat, isCurrent) {
    const title = chat.title || "New chat";
    const attributes = { type: "button", class: "chat", title, "aria-current": isCurrent ? "page" : null };
    const open = () => {
      this.close();
      this.#onopen(chat);
    };
    const remove = iconButton("trash", `Delete chat: ${title}`, () => this.#ondelete(chat), "small");
    return el("li", {}, el("button", { ...attributes, onclick: open }, title), remove);
  }
}

// What the page asks the server: tokens, the text of a PDF, an answer.

import { ApiError, fromResponse, unreachable } from "./errors.js";

const ATTEMPTS = 5; // To have a PDF read, each when a busy server takes requests again.

export class Api {
  #key;
  #reading = Promise.resolve(); // The end of the last PDF: the server reads one of a key at a time.
  // Requests with the same one go to the same replica, whose cache holds the conversation's beginning.
  #session = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16)).join("");

  constructor(key) {
    this.#key = key;
  }

  setKey(key) {
    this.#key = key;
  }

  // { tokens, window, model } of { messages } or of { texts }.
  async tokens(body, signal) {
    const response = await this.#post("/page/tokens", JSON.stringify(body), "application/json", signal);
    return response.json();
  }

  // { text, pages, empty_pages } of a PDF.
  pdfText(file, signal) {
    const text = this.#reading.then(() => this.#pdfText(file, signal));
    this.#reading = text.catch(() => null); // Told to who asked for it.
    return text;
  }

  async #pdfText(file, signal) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const response = await this.#post("/page/text", file, "application/pdf", signal);
        return await response.json();
      } catch (error) {
        const busy = error.status === 503 || error.status === 429;
        if (!busy || !error.retryAt || attempt === ATTEMPTS) throw error;
        await new Promise((resolve) => setTimeout(resolve, error.retryAt - Date.now()));
      }
    }
  }

  // Yields { text } as it comes and at the end { finish, usage }; throws where the stream ends too early.
  async *chat(body, signal) {
    const asked = { ...body, stream: true, stream_options: { include_usage: true } };
    const response = await this.#post("/v1/chat/completions", JSON.stringify(asked), "application/json", signal);
    let finish = null;
    let usage = null;
    for await (const data of events(response.body)) {
      if (data === "[DONE]") {
        yield { finish, usage };
        return;
      }
      const said = JSON.parse(data);
      if (said.error) throw new ApiError({ message: said.error.message ?? "The server broke off." });
      const choice = said.choices?.[0];
      finish = choice?.finish_reason ?? finish;
      usage = said.usage ?? usage;
      if (choice?.delta?.content) yield { text: choice.delta.content };
    }
    throw new ApiError({ message: "The connection ended before the answer did." });
  }

  async #post(path, body, type, signal) {
    const headers = { "Content-Type": type, "X-Session-Id": this.#session };
    if (this.#key) headers.Authorization = `Bearer ${this.#key}`;
    let response;
    try {
      const settings = { method: "POST", headers, body, signal, credentials: "omit", cache: "no-store" };
      response = await fetch(path, settings);
    } catch (error) {
      throw error.name === "AbortError" ? error : unreachable();
    }
    if (!response.ok) throw await fromResponse(response);
    return response;
  }
}

// The data of server-sent events.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { done, value } = await next(reader);
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
  }
}

async function next(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ message: "The connection was lost before the answer was complete." });
  }
}

// Errors in plain words.

import { number } from "./dom.js";

export class ApiError extends Error {
  // `retryAt` is in milliseconds of the epoch; `status` is missing where the server said nothing.
  constructor({ message, status = null, retryAt = null }) {
    super(message);
    this.status = status;
    this.retryAt = retryAt;
  }
}

export function unreachable() {
  return new ApiError({ message: "The server can't be reached. Does it run, and is this device connected to it?" });
}

export async function fromResponse(response) {
  const { status } = response;
  const seconds = Number.parseInt(response.headers.get("Retry-After"), 10);
  const retryAt = Number.isFinite(seconds) ? Date.now() + seconds * 1000 : null;
  return new ApiError({ message: words(status, await saidBy(response)), status, retryAt });
}

// What an error of OpenAI's shape says; nothing where it has another shape.
async function saidBy(response) {
  try {
    const body = await response.json();
    return String(body.error?.message ?? body.message ?? "");
  } catch {
    return "";
  }
}

function words(status, said) {
  switch (status) {
    case 401: return "The server does not accept this key.";
    case 403: return `This key may not do that. ${said}`.trim();
    case 404: return said || "The server does not have what was asked for: is it another version than this page?";
    case 413: return said || "The conversation is larger than the server takes: remove a document.";
    case 429: return "Too many requests with this key at the moment.";
    case 503: return "The server is busy, or still starting.";
    case 504: return "The server took too long to answer.";
    default: break;
  }
  if (status >= 500) return `The server failed (${number(status)}). ${said}`.trim();
  return said || `The server refused the request (${number(status)}).`;
}

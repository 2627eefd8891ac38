// Files into text. PDFs are read by the server; everything else must be text already.

import { ApiError } from "./errors.js";
import { plural } from "./dom.js";

const MOST_BYTES = 32 * 1024 * 1024;
export const ACCEPTED = ".pdf,.txt,.md,.markdown,.rst,.tex,.html,.xml,.json,.jsonl,.yaml,.yml,.toml,.ini,.csv,.tsv,.log,.srt,.py,.ipynb,.js,.ts,.tsx,.jsx,.css,.c,.h,.cc,.cpp,.hpp,.rs,.go,.java,.kt,.swift,.rb,.php,.sh,.sql,text/*,application/pdf";

// { name, text, note } of a file; throws an ApiError whose message says what is wrong with it.
export async function readFile(file, api, signal) {
  if (file.size > MOST_BYTES) throw new ApiError({ message: "It is larger than 32 MiB." });
  const bytes = await bytesOf(file);
  const start = String.fromCharCode(...bytes.subarray(0, 1024));
  if (start.startsWith("%PDF-")) return readPdf(file, api, signal);
  return { name: file.name, text: decode(bytes), note: "" };
}

async function bytesOf(file) {
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new ApiError({ message: "It can't be read: is it a folder? Add the files in it." });
  }
}

async function readPdf(file, api, signal) {
  const { text, pages, empty_pages: empty } = await api.pdfText(file, signal);
  const note = empty ? `${empty} of ${plural(pages, "page")} without text` : plural(pages, "page");
  return { name: file.name, text, note };
}

function isText(bytes) {
  return !bytes.subarray(0, 4096).includes(0);
}

function decode(bytes) {
  const encoding = encodingOf(bytes);
  if (encoding === "utf-8" && !isText(bytes)) {
    const zipped = bytes[0] === 0x50 && bytes[1] === 0x4b;
    const kind = zipped ? "It is an Office or ZIP file" : "It is neither text nor a PDF";
    throw new ApiError({ message: `${kind}: save it as PDF or as plain text first.` });
  }
  let text;
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    const message = "Its text is in an encoding other than UTF-8 or UTF-16: save it as UTF-8 first.";
    throw new ApiError({ message });
  }
  if (!text.trim()) throw new ApiError({ message: "It is empty." });
  return text.replaceAll("\r\n", "\n");
}

// UTF-16 only where its mark says so.
function encodingOf([first, second]) {
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  return "utf-8";
}

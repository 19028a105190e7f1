// Calling a method from the page, by the Connect protocol.
import { element } from "./fields.js";

const ENVELOPE_BYTES = 5;
const END = 0b10;
const STREAM = "application/connect+json";

/** A form with the request of a method, and what the server answers. */
export function callForm(path, operation, mediaType, example) {
  const id = `${operation.operationId}-request`;
  const text = JSON.stringify(example, null, 2);
  const request = element("textarea", { id, value: text, rows: Math.max(3, text.split("\n").length), spellcheck: false });
  const send = element("button", { type: "button" }, "Send");
  const status = element("p", { role: "status" });
  const answer = element("pre", { tabIndex: 0, hidden: true });
  answer.setAttribute("aria-label", "Answer");

  async function onSend() {
    send.disabled = true;
    status.textContent = "Waiting…";
    const began = performance.now();
    try {
      const { ok, summary, shown } = await call(path, mediaType, request.value);
      status.textContent = `${summary}, ${Math.round(performance.now() - began)} ms`;
      status.className = ok ? "ok" : "failed";
      answer.textContent = shown;
      answer.hidden = false;
    } catch (error) {
      status.textContent = `No answer: ${error.message}`;
      status.className = "failed";
      answer.hidden = true;
    } finally {
      send.disabled = false;
    }
  }

  send.addEventListener("click", onSend);
  request.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) onSend();
  });
  const label = element("label", { htmlFor: id }, element("code", {}, `POST ${path}`));
  return element("div", { className: "call" }, label, request, send, status, answer);
}

async function call(path, mediaType, text) {
  const headers = { "Content-Type": mediaType };
  const key = document.getElementById("key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  const body = mediaType === STREAM ? enveloped(text) : text;
  const answer = await fetch(path, { method: "POST", headers, body });
  const summary = `Status ${answer.status}`;
  if (mediaType !== STREAM || answer.headers.get("Content-Type") !== STREAM) {
    return { ok: answer.ok, summary, shown: pretty(await answer.text()) };
  }
  const messages = [...envelopes(new Uint8Array(await answer.arrayBuffer()))];
  const failed = messages.some(({ flags, json }) => flags & END && "error" in JSON.parse(json));
  return { ok: !failed, summary: failed ? "Failed" : summary, shown: messages.map(({ json }) => pretty(json)).join("\n") };
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function enveloped(text) {
  const message = new TextEncoder().encode(text);
  const made = new Uint8Array(ENVELOPE_BYTES + message.length);
  new DataView(made.buffer).setUint32(1, message.length);
  made.set(message, ENVELOPE_BYTES);
  return made;
}

function* envelopes(bytes) {
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; ) {
    const end = at + ENVELOPE_BYTES + view.getUint32(at + 1);
    yield { flags: bytes[at], json: new TextDecoder().decode(bytes.subarray(at + ENVELOPE_BYTES, end)) };
    at = end;
  }
}

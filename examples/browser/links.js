// @ts-check
/**
 * The two ways to a server: a WebSocket, or a stream and plain requests. Both carry the frames of one connection, and
 * end once.
 *
 * @typedef {{ type: string, id?: number, roomId?: string, [field: string]: any }} Frame
 * @typedef {{ code: number, reason: string, opened: boolean }} Ending `code` as a WebSocket closes with
 * @typedef {object} Listener
 * @property {(frame: Frame) => void} frame
 * @property {() => void} dropped the connection broke, and the browser makes it anew
 * @property {(ending: Ending) => void} end
 * @typedef {{ send(frame: Frame): void, close(): void }} Link
 */

/** How long a request may take. */
export const REPLY_MS = 10_000;

/**
 * @param {string} base
 * @param {string | null} token
 * @param {Listener} listener
 * @returns {Link}
 */
export function openSocket(base, token, listener) {
  const url = new URL("ws", base);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, token ? ["dialogue.v1", `dialogue.token.${base64url(token)}`] : ["dialogue.v1"]);
  let opened = false;
  const end = (/** @type {number} */ code, /** @type {string} */ reason) => {
    socket.onopen = socket.onmessage = socket.onclose = null;
    clearTimeout(timer);
    listener.end({ code, reason, opened });
  };
  // Doesn't wait for the other side's farewell, which a dead network never brings.
  const close = () => (socket.close(), end(1000, ""));
  const timer = setTimeout(close, REPLY_MS);
  socket.onopen = () => {
    opened = true;
    clearTimeout(timer);
  };
  socket.onmessage = ({ data }) => listener.frame(parse(data) ?? {});
  socket.onclose = ({ code, reason }) => end(code, reason);
  return {
    send: (frame) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(frame)),
    close,
  };
}

/**
 * Makes a stream and plain requests look like a socket. The browser itself reconnects a stream that breaks, and shows
 * its `Last-Event-ID`; when it gives up, the next stream's `since` says the same.
 * @param {string} base
 * @param {string | null} token
 * @param {Listener} listener
 * @returns {Link}
 */
export function openStream(base, token, listener) {
  /** @type {EventSource | undefined} */
  let source;
  /** @type {Frame[]} */
  const joins = [];
  let open = true;
  let opened = false;
  const end = (/** @type {number} */ code) => {
    if (!open) return;
    open = false;
    source?.close();
    listener.end({ code, reason: "", opened });
  };
  const receive = (/** @type {MessageEvent} */ { data }) => {
    const frame = parse(data) ?? {};
    if (frame.type === "joined") frame.id = joins.find(({ roomId }) => roomId === frame.roomId)?.id;
    listener.frame(frame);
    if (frame.type === "reconnect") end(1012);
  };
  const start = () => {
    if (!open) return;
    source?.close();
    source = new EventSource(streamUrl(base, joins));
    source.onopen = () => (opened = true);
    source.onerror = () => (source?.readyState === EventSource.CLOSED ? end(1006) : listener.dropped());
    const ours = ["joined", "history", "presence", "left", "skipped", "reconnect", "error"];
    const names = [...ours.map((name) => `dialogue:${name}`), ...joins.flatMap(({ events }) => events ?? ["message"])];
    for (const name of new Set(names)) source.addEventListener(name, receive);
  };
  const ask = async (/** @type {Frame} */ frame) => {
    const request = httpRequest(base, frame, token);
    const answer = request ? await fetch(request).then((response) => response.json()).catch(() => ({})) : {};
    if (answer.code === "UNAUTHENTICATED") end(4401);
    if (open && frame.id !== undefined) listener.frame({ type: "error", code: "UNAVAILABLE", ...answer, id: frame.id });
  };
  queueMicrotask(() => open && listener.frame({ type: "connected" }));
  return {
    close: () => end(1000),
    send(frame) {
      if (frame.type !== "join") return void ask(frame);
      if (joins.push(frame) === 1) queueMicrotask(start);
      else if (source) start();
    },
  };
}

/**
 * @param {string} base
 * @param {Frame[]} joins
 */
function streamUrl(base, joins) {
  const url = new URL("events", base);
  const positions = [];
  for (const { roomId = "", since } of joins) {
    url.searchParams.append("room", roomId);
    const name = encodeURIComponent(roomId).replaceAll(".", "%2E");
    if (since) positions.push(`${name}=${since.epoch}.${since.seq}.${since.eventId}`);
  }
  if (positions.length > 0) url.searchParams.set("since", positions.join(";"));
  return url;
}

/**
 * What HTTP has of the requests of a socket.
 * @param {string} base
 * @param {Frame} frame
 * @param {string | null} token
 */
function httpRequest(base, { type, roomId = "", event, data, key, before, limit }, token) {
  const room = new URL(`rooms/${encodeURIComponent(roomId)}/`, base);
  const [headers, signal] = [new Headers(bearer(token)), AbortSignal.timeout(REPLY_MS / 2)];
  if (type === "trigger") {
    headers.set("Content-Type", "application/json");
    if (key) headers.set("Idempotency-Key", key);
    return new Request(new URL(`events/${encodeURIComponent(event)}`, room), { method: "POST", headers, body: JSON.stringify(data), signal });
  }
  if (type !== "getHistory") return undefined;
  const url = new URL("history", room);
  for (const [name, value] of Object.entries({ event, before, limit })) if (value !== undefined) url.searchParams.set(name, value);
  return new Request(url, { headers, signal });
}

/**
 * @param {string | null} token
 * @returns {Record<string, string>}
 */
export const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

/** @param {string | null} text */
export function parse(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}

const base64url = (/** @type {string} */ text) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

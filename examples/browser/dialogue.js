// @ts-check
import { REPLY_MS, bearer, openSocket, openStream, parse } from "./links.js";

/**
 * A small browser client for Dialogue's wire protocol, version 1: rooms over a WebSocket, or over Server-Sent
 * Events and HTTP where sockets don't get through. It reconnects by itself, resumes every room from the last
 * position it saw, and sends what was not acknowledged again with the same key, so that nothing is lost or doubled.
 *
 *     const dialogue = new Dialogue({ onState: show });
 *     const chat = dialogue.join("chat", { onJoined, onEvent, onHistory, onAccepted, onRefused });
 *     chat.trigger("message", { text: "hi" });
 *
 * @typedef {{ epoch: string, seq: number, eventId: string }} Position
 * @typedef {{ roomId: string, event: string, data: any, from: string, timestamp: number, eventId: string,
 *   seq?: number, meta?: any, server?: boolean }} RoomEvent
 * @typedef {{ roomId: string, name: string, resume: "fresh" | "complete" | "lost", replay: number,
 *   members: number, newEpoch: boolean } & Position} Joined `newEpoch`: the log is not the one seen before
 * @typedef {{ events: RoomEvent[], more: boolean, next?: number }} Page oldest first; `next` is the `before` of the page of older events
 * @typedef {{ key: string, event: string, data: any, at: number }} Unsent
 * @typedef {{ seq?: number, eventId: string, timestamp: number }} Accepted
 * @typedef {{ roomId: string, name: string, description?: string, size: number, maxSize?: number, createdBy?: string }} RoomInfo
 * @typedef {{ userId: string, connections: number }} Member
 * @typedef {{ userId: string, change: "joined" | "left", size: number }} Presence
 * @typedef {{ phase: "connecting" | "live" | "waiting" | "closed", retryAt: number, reason: string }} State
 * @typedef {import("./links.js").Frame} Frame
 * @typedef {import("./links.js").Link} Link
 * @typedef {import("./links.js").Ending} Ending
 * @typedef {{ request(frame: Frame): Promise<any>, send(frame: Frame): void }} Wire
 *
 * @typedef {object} Handlers
 * @property {string[]} [events] subscribe to these only; a stream (SSE) needs them named
 * @property {(joined: Joined) => void} onJoined after every join; `lost` means that events are missing
 * @property {(event: RoomEvent) => void} onEvent each once, in the room's order
 * @property {(page: Page) => void} [onHistory] what the room syncs after `fresh` and `lost`
 * @property {(unsent: Unsent, accepted: Accepted) => void} [onAccepted] the room's log has it
 * @property {(unsent: Unsent, refusal: Refusal) => void} [onRefused] the server will never take it
 * @property {(refusal: Refusal) => void} [onError] anything else that the server complains of
 * @property {(count: number) => void} [onSkipped] ephemeral events left out, because we read too slowly
 * @property {(presence: Presence) => void} [onPresence] another member came or went, in a room that tells
 * @property {(refusal: Refusal) => void} [onDenied] the server does not let us in; without it, `onError`
 * @property {(reason: string) => void} [onLeft] the server removed us
 */

const QUEUE_LIMIT = 100;
const FIRST_DELAY_MS = 400;
const LONGEST_DELAY_MS = 15_000;
const SEEN_LIMIT = 4_000;

/** The server's `error` frame, or one of ours: `DISCONNECTED`, `QUEUE_FULL`. */
export class Refusal extends Error {
  /** @param {{ code: string, message?: string, retryAfterMs?: number, details?: any[] }} frame */
  constructor({ code, message = code, retryAfterMs, details = [] }) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
    this.details = details;
  }
}

/** One connection, however often it has to be made anew. */
export class Dialogue {
  userId = "";
  /** @type {State} */ state = { phase: "connecting", retryAt: 0, reason: "" };
  /** @type {Map<string, Room>} */ #rooms = new Map();
  /** @type {Map<number, { resolve(frame: any): void, reject(refusal: Refusal): void }>} */ #requests = new Map();
  /** @type {Link | undefined} */ #link;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #nextId = 1;
  #failures = 0;
  #blocked = 0;
  #resumeAt = 0;
  #identified = false;
  /** @type {Map<string, RoomInfo>} */ #listed = new Map();
  /** The list that is being made. @type {Map<string, RoomInfo> | undefined} */ #listing;
  /** @type {((rooms: RoomInfo[]) => void) | undefined} */ #onRooms;
  /** The application's own token. @type {string | undefined} */ #token;
  #base;
  #transport;
  #fixed;
  #onState;

  /**
   * @param {{ base?: string, transport?: "websocket" | "sse", token?: string, onState?: (state: State) => void }} [options]
   *   without `transport`, a WebSocket, and a stream once sockets turn out not to get through; without `token`, as the
   *   anonymous user that this browser was before
   */
  constructor({ base = new URL(".", location.href).href, transport, token, onState = () => {} } = {}) {
    this.#base = base;
    this.#token = token;
    this.userId = (token ? null : recall("user")) ?? "";
    this.#fixed = transport !== undefined;
    this.#transport = transport ?? "websocket";
    this.#onState = onState;
    addEventListener("online", () => this.retryNow());
    addEventListener("offline", () => this.#link?.close());
    addEventListener("pageshow", ({ persisted }) => persisted && this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
    // After the caller's own task, so that its rooms are there when a stream opens.
    queueMicrotask(() => this.#open());
  }

  /**
   * Enters a room now and after every reconnect.
   * @param {string} roomId
   * @param {Handlers} handlers
   */
  join(roomId, handlers) {
    const room = new Room(roomId, handlers, {
      request: (frame) => this.#request(frame),
      send: (frame) => this.#link?.send(frame),
    });
    this.#rooms.set(roomId, room);
    if (this.#identified) this.#enter(room);
    return room;
  }

  /**
   * Leaves a room, and stays out of it after a reconnect.
   * @param {string} roomId
   */
  leave(roomId) {
    // A server that had us out already says so, which is no news.
    if (this.#rooms.delete(roomId) && this.#identified) this.#request({ type: "leave", roomId }).catch(() => {});
  }

  /**
   * Tells of all rooms that one may join, now and after every reconnect, and again when one comes or goes.
   * @param {(rooms: RoomInfo[]) => void} onRooms
   */
  watchRooms(onRooms) {
    this.#onRooms = onRooms;
    if (this.#identified) this.refreshRooms();
  }

  /** Lists the rooms that are watched anew: nobody tells how many are in them. */
  async refreshRooms() {
    if (this.#listing) return;
    const listing = (this.#listing = new Map());
    try {
      for (let more = true, after; more; ) {
        const page = await this.#request({ type: "listRooms", watch: true, after });
        for (const room of page.rooms) listing.set((after = room.roomId), room);
        more = page.more;
      }
      this.#listed = listing;
      this.#works();
      this.#onRooms?.([...listing.values()]);
    } catch {
      // The next connection or refresh lists them.
    } finally {
      this.#listing = undefined;
    }
  }

  /**
   * Asks for the notifications of rooms on this device, while nobody is here to see their events.
   * @param {{ provider: string, subscription?: PushSubscriptionJSON, token?: string, rooms: string[], language?: string }} device
   */
  async registerPush(device) {
    await this.#request({ type: "registerPush", ...device });
  }

  /**
   * Wants no more notifications on this device; without `rooms`, of no room.
   * @param {{ provider: string, subscription?: PushSubscriptionJSON, token?: string, rooms?: string[] }} device
   */
  async unregisterPush(device) {
    await this.#request({ type: "unregisterPush", ...device });
  }

  /**
   * Opens a room of one's own, of a kind that has keys.
   * @param {string} roomId
   * @param {{ name?: string, description?: string, maxSize?: number }} about
   */
  async createRoom(roomId, about) {
    await this.#request({ type: "createRoom", roomId, ...about });
  }

  /** Ends a room of one's own for everybody in it. @param {string} roomId */
  async deleteRoom(roomId) {
    await this.#request({ type: "deleteRoom", roomId });
  }

  /**
   * Shows a newer token of the same user, before the one in use expires.
   * @param {string} token
   */
  async renew(token) {
    this.#token = token;
    if (this.#identified) await this.#request({ type: "auth", token });
  }

  /** Doesn't wait for the next attempt. */
  retryNow() {
    if (this.state.phase === "waiting") this.#open();
  }

  /** Leaves for good. */
  close() {
    this.#show("closed", "closed by this page");
    this.#link?.close();
  }

  #open() {
    clearTimeout(this.#timer);
    this.#show("connecting");
    const connect = this.#transport === "sse" ? openStream : openSocket;
    /** @type {Link} */
    const link = connect(this.#base, this.#shown(), {
      frame: (frame) => this.#receive(frame),
      dropped: () => this.#disconnected("connecting"),
      end: (ending) => this.#link === link && this.#ended(ending),
    });
    this.#link = link;
  }

  /** @param {Frame} frame */
  #receive(frame) {
    const request = frame.id === undefined ? undefined : this.#requests.get(frame.id);
    const room = this.#rooms.get(frame.roomId ?? "");
    if (frame.type === "connected") this.#connected(frame);
    else if (frame.type === "reconnect") this.#resumeAt = Date.now() + Number(frame.afterMs ?? 0);
    else if (frame.type === "joined") this.#works();
    else if (frame.type === "roomCreated" || frame.type === "roomDeleted") this.#roomChanged(frame);
    if (room && !(request && frame.type === "history")) room.receive(frame);
    if (request) {
      this.#requests.delete(Number(frame.id));
      if (frame.type === "error") request.reject(new Refusal(/** @type {any} */ (frame)));
      else request.resolve(frame);
    } else if (frame.type === "error" && !room) {
      for (const each of this.#rooms.values()) each.receive(frame);
    }
  }

  /** @param {Frame} frame */
  #connected(frame) {
    this.userId = frame.userId ?? this.userId;
    if (frame.userId && !this.#token) remember("user", frame.userId);
    if (frame.anonymousToken) remember("token", frame.anonymousToken);
    if (this.#identified) return;
    this.#identified = true;
    // This transport gets through, and will again when the server is back.
    this.#fixed = true;
    for (const room of this.#rooms.values()) this.#enter(room);
    if (this.#onRooms) this.refreshRooms();
  }

  /** @param {Frame} frame */
  #roomChanged({ room, roomId = "" }) {
    // A list that is being made may have passed the place already.
    for (const rooms of [this.#listed, this.#listing]) {
      if (room) rooms?.set(room.roomId, room);
      else rooms?.delete(roomId);
    }
    this.#onRooms?.([...this.#listed.values()]);
  }

  /** @param {Room} room */
  async #enter(room) {
    try {
      await this.#request(room.joinFrame());
    } catch (error) {
      const refusal = /** @type {Refusal} */ (error);
      if (refusal.code === "DISCONNECTED") return;
      if (!isPassing(refusal)) return room.denied(refusal);
      const link = this.#link;
      await pause(refusal.retryAfterMs ?? jittered(2));
      if (link === this.#link) this.#enter(room);
    }
  }

  /** Something that was asked for has come. */
  #works() {
    this.#failures = this.#blocked = 0;
    this.#show("live");
  }

  /** @param {State["phase"]} phase */
  #disconnected(phase, reason = "", retryAt = 0) {
    for (const room of this.#rooms.values()) room.disconnected();
    for (const { reject } of this.#requests.values()) reject(new Refusal({ code: "DISCONNECTED" }));
    this.#requests.clear();
    this.#show(phase, reason, retryAt);
  }

  /** @param {Ending} ending */
  async #ended({ code, reason, opened }) {
    this.#link = undefined;
    this.#identified = false;
    if (this.state.phase === "closed") return this.#disconnected("closed", this.state.reason);
    if (code === 4403) return this.#disconnected("closed", reason || "the server removed this connection");
    // A frame over the limit comes back for ever unless it leaves the queue.
    if (code === 1009) for (const room of this.#rooms.values()) room.refuseFirst(new Refusal({ code: "TOO_LARGE" }));
    let delay = code === 4429 ? LONGEST_DELAY_MS : jittered(this.#failures++);
    if (this.#resumeAt) delay = Math.max(0, this.#resumeAt - Date.now());
    this.#resumeAt = 0;
    this.#disconnected("waiting", reason, Date.now() + delay);
    if (code === 4401 && !this.#forget()) return;
    this.#timer = setTimeout(() => this.#open(), delay);
    if (!opened && (await this.#mended())) this.retryNow();
  }

  /** The browser hides why a handshake failed; a plain request tells. Whether it is worth trying again at once. */
  async #mended() {
    const token = this.#shown();
    const ask = { headers: bearer(token), signal: AbortSignal.timeout(REPLY_MS), cache: /** @type {const} */ ("no-store") };
    const status = await fetch(new URL("rooms?limit=1", this.#base), ask).then(({ status }) => status, () => 0);
    // The token was signed by a server that is gone.
    if (status === 401) return this.#shown() === token ? this.#forget() : true;
    if (status === 200 && ++this.#blocked > 2 && !this.#fixed) this.#transport = "sse";
    return false;
  }

  /** What is shown to the server as a token. */
  #shown() {
    return this.#token ?? recall("token");
  }

  /** Whether there is anything to come back as. A login can't be made up: without it, all ends here. */
  #forget() {
    const anonymous = this.#token === undefined && forget("token");
    if (!anonymous) {
      clearTimeout(this.#timer);
      this.#disconnected("closed", "a login is needed");
    }
    return anonymous;
  }

  /**
   * @param {Frame} frame
   * @returns {Promise<any>}
   */
  #request(frame) {
    const link = this.#link;
    if (!link) return Promise.reject(new Refusal({ code: "DISCONNECTED" }));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      // A connection that swallows requests is dead, whatever the browser says of it.
      const timer = setTimeout(() => link.close(), REPLY_MS);
      const settled = (/** @type {(value: any) => void} */ then) => (/** @type {any} */ value) => (clearTimeout(timer), then(value));
      this.#requests.set(id, { resolve: settled(resolve), reject: settled(reject) });
      link.send({ ...frame, id });
    });
  }

  /** @param {State["phase"]} phase */
  #show(phase, reason = "", retryAt = 0) {
    this.state = { phase, retryAt, reason };
    this.#onState(this.state);
  }
}

/** One room: the position in its log, and what it has not acknowledged. */
export class Room {
  /** @type {Position | undefined} */ position;
  /** Waiting to be acknowledged, oldest first; survives a reload of the page. @type {Unsent[]} */ unsent;
  #seen = new Set();
  #joined = false;
  #pumping = false;
  #id;
  #handlers;
  #wire;

  /**
   * @param {string} roomId
   * @param {Handlers} handlers
   * @param {Wire} wire
   */
  constructor(roomId, handlers, wire) {
    this.#id = roomId;
    this.#handlers = handlers;
    this.#wire = wire;
    this.unsent = parse(sessionStorage.getItem(`dialogue.unsent.${roomId}`)) ?? [];
  }

  /**
   * Puts an event into the room; offline, as soon as there is a connection. `onAccepted` or `onRefused` tells the end.
   * @param {string} event
   * @param {any} data
   * @throws {Refusal} `QUEUE_FULL` when too many wait already
   * @returns {Unsent}
   */
  trigger(event, data) {
    if (this.unsent.length >= QUEUE_LIMIT) throw new Refusal({ code: "QUEUE_FULL", message: "too much waits to be sent" });
    const unsent = { key: uniqueKey(), event, data, at: Date.now() };
    this.unsent.push(unsent);
    this.#keep();
    this.#pump();
    return unsent;
  }

  /**
   * Puts in an event that matters only now (an ephemeral one): without connection it is dropped.
   * @param {string} event
   * @param {any} data
   */
  signal(event, data) {
    if (this.#joined) this.#wire.send({ type: "trigger", roomId: this.#id, event, data });
  }

  /**
   * A page of the log before `before`, oldest first.
   * @param {{ before?: number, limit?: number, event?: string }} query
   * @returns {Promise<Page>}
   */
  async history(query) {
    let frame = await this.#wire.request({ type: "getHistory", roomId: this.#id, ...query });
    // The server looks at a bounded number of events for a page, and may find none among them.
    while (frame.more && frame.events.length === 0 && frame.next !== undefined)
      frame = await this.#wire.request({ type: "getHistory", roomId: this.#id, ...query, before: frame.next });
    return this.#page(frame, true);
  }

  /** How many users are in the room; also finds out whether the connection still lives. @returns {Promise<number>} */
  async size() {
    return (await this.#wire.request({ type: "members", roomId: this.#id, limit: 1 })).size;
  }

  /** Who is in the room. @returns {Promise<Member[]>} */
  async members() {
    /** @type {Member[]} */
    const all = [];
    for (let more = true; more; ) {
      const page = await this.#wire.request({ type: "members", roomId: this.#id, after: all.at(-1)?.userId });
      all.push(...page.members);
      more = page.more;
    }
    return all;
  }

  /** For the connection. @returns {Frame} */
  joinFrame() {
    return { type: "join", roomId: this.#id, events: this.#handlers.events, since: this.position };
  }

  /** For the connection. */
  disconnected() {
    this.#joined = false;
  }

  /** For the connection. @param {Refusal} refusal */
  refuseFirst(refusal) {
    const [first] = this.unsent;
    if (first && this.#settle(first.key)) this.#handlers.onRefused?.(first, refusal);
  }

  /** For the connection. @param {Refusal} refusal */
  denied(refusal) {
    (this.#handlers.onDenied ?? this.#handlers.onError)?.(refusal);
  }

  /** For the connection. @param {any} frame */
  receive(frame) {
    if (frame.type === "event") this.#event(frame);
    else if (frame.type === "joined") this.#join(frame);
    else if (frame.type === "history") this.#handlers.onHistory?.(this.#page(frame, false));
    else if (frame.type === "skipped") this.#handlers.onSkipped?.(frame.count);
    else if (frame.type === "presence") this.#handlers.onPresence?.(frame);
    else if (frame.type === "error" && frame.id === undefined) this.#handlers.onError?.(new Refusal(frame));
    else if (frame.type === "left" && frame.id === undefined) {
      this.#joined = false;
      this.#handlers.onLeft?.(frame.reason ?? "");
    }
  }

  /** @param {any} frame */
  #join(frame) {
    const { epoch, seq, eventId } = frame;
    const newEpoch = this.position !== undefined && this.position.epoch !== epoch;
    if (frame.resume !== "complete") this.position = { epoch, seq, eventId };
    this.#joined = true;
    this.#handlers.onJoined({ ...frame, newEpoch });
    this.#pump();
  }

  /** @param {RoomEvent} event */
  #event(event) {
    const { seq, eventId } = event;
    if (seq !== undefined && this.position) {
      if (seq <= this.position.seq) return;
      this.position = { epoch: this.position.epoch, seq, eventId };
    }
    if (this.#isNew(event)) this.#handlers.onEvent(event);
  }

  /**
   * @param {any} frame
   * @param {boolean} newestFirst
   * @returns {Page}
   */
  #page({ events, more, next }, newestFirst) {
    const page = events.filter((/** @type {RoomEvent} */ event) => this.#isNew(event));
    return { events: newestFirst ? page.reverse() : page, more, next };
  }

  /**
   * An event is known by its id, and by the key of its trigger: after a server lost its log, its author may have sent
   * it again. Seeing one's own settles it, even if the acknowledgement was lost on the way.
   * @param {RoomEvent} event
   */
  #isNew(event) {
    const key = event.meta?.key;
    if (this.#seen.has(event.eventId) || (key && this.#seen.has(key))) return false;
    for (const mark of [event.eventId, key]) if (mark) this.#seen.add(mark);
    for (const oldest of this.#seen) {
      if (this.#seen.size <= SEEN_LIMIT) break;
      this.#seen.delete(oldest);
    }
    const unsent = key && this.#settle(key);
    if (unsent) this.#handlers.onAccepted?.(unsent, event);
    return true;
  }

  /** Sends one after another, so that a retried one does not fall behind those after it. */
  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let next; (next = this.unsent[0]) && this.#joined; ) {
      const { key, event, data } = next;
      try {
        const ok = await this.#wire.request({ type: "trigger", roomId: this.#id, event, data, key, meta: { key } });
        if (this.#settle(key)) this.#handlers.onAccepted?.(next, ok);
      } catch (error) {
        const refusal = /** @type {Refusal} */ (error);
        if (refusal.code === "DISCONNECTED") break;
        if (isPassing(refusal)) await pause(refusal.retryAfterMs ?? jittered(2));
        else if (this.#settle(key)) this.#handlers.onRefused?.(next, refusal);
      }
    }
    this.#pumping = false;
  }

  /** @param {string} key */
  #settle(key) {
    const at = this.unsent.findIndex((unsent) => unsent.key === key);
    const [unsent] = at < 0 ? [] : this.unsent.splice(at, 1);
    if (unsent) this.#keep();
    return unsent;
  }

  #keep() {
    sessionStorage.setItem(`dialogue.unsent.${this.#id}`, JSON.stringify(this.unsent));
  }
}

/** Between half and all of a delay that doubles, so that a server's clients don't all come back at once. */
const jittered = (/** @type {number} */ failures) =>
  Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** failures) * (0.5 + Math.random() / 2);

/** Whether the same request may succeed a moment later. @param {Refusal} refusal */
const isPassing = ({ code }) => code === "RATE_LIMITED" || code === "UNAVAILABLE";

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

const recall = (/** @type {string} */ name) => localStorage.getItem(`dialogue.${name}`);

const remember = (/** @type {string} */ name, /** @type {string} */ value) => localStorage.setItem(`dialogue.${name}`, value);

/** Whether there was anything to forget. */
function forget(/** @type {string} */ name) {
  const known = recall(name) !== null;
  localStorage.removeItem(`dialogue.${name}`);
  return known;
}

/** `crypto.randomUUID` would be shorter, but exists only on pages from a secure origin. */
const uniqueKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

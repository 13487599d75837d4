// @ts-check
/**
 * The list of messages: ordered by the room's log, grouped by author and day.
 *
 * @typedef {import("./dialogue.js").RoomEvent} RoomEvent
 * @typedef {import("./dialogue.js").Unsent} Unsent
 * @typedef {{ key?: string, seq?: number, from: string, at: number, name: string, text: string }} Message
 */

const GROUP_MS = 5 * 60_000;
const icon = { pending: "M12 7v5l3 2M12 3a9 9 0 1 0 .01 0", sent: "m5 12.5 4.5 4.5L19 7.5", refused: "M12 7v6m0 3.5v.01M12 3a9 9 0 1 0 .01 0" };

export class Messages {
  /** @type {Map<string, HTMLElement>} by event id, and by key until there is one */ #shown = new Map();
  /** @type {WeakMap<Element, Message>} */ #said = new WeakMap();
  #segments;
  #pending;
  #isMine;

  /**
   * @param {HTMLElement} segments one for each stretch of the log without a gap, oldest first
   * @param {HTMLElement} pending what the log does not have yet
   * @param {(from: string) => boolean} isMine
   */
  constructor(segments, pending, isMine) {
    this.#segments = segments;
    this.#pending = pending;
    this.#isMine = isMine;
  }

  get isEmpty() {
    return this.#segments.querySelector(".message") === null && this.#pending.childElementCount === 0;
  }

  /** The oldest `seq` of the newest stretch. */
  get oldest() {
    const first = this.#list().firstElementChild;
    return (first && this.#said.get(first)?.seq) ?? undefined;
  }

  /**
   * After this the log goes on with a gap: what is older stays, and a line says why.
   * @param {string} reason
   */
  divide(reason) {
    this.#segments.querySelector("[data-testid=earlier]")?.remove();
    const divider = element("p", "divider", { testid: "divider" }, element("span", "", {}, reason));
    divider.setAttribute("role", "status");
    const list = element("ol", "messages", { testid: "messages" });
    this.#segments.append(element("section", "segment", {}, divider, list));
  }

  /** @param {(() => void) | null} load offers the page before the oldest message of the newest stretch */
  offerEarlier(load) {
    this.#segments.querySelector("[data-testid=earlier]")?.remove();
    if (!load) return;
    const button = element("button", "earlier", { testid: "earlier" }, "Load earlier messages");
    button.addEventListener("click", load);
    this.#list().before(button);
  }

  /**
   * Shows an event of the log in its place; one's own moves there from what was pending.
   * @param {RoomEvent} event
   * @returns {HTMLElement}
   */
  show({ eventId, seq = 0, from, timestamp, data, meta }) {
    const shown = this.#shown.get(eventId) ?? (meta?.key && this.#shown.get(meta.key));
    const message = { seq, from, at: timestamp, name: data.name, text: data.text };
    const item = shown ?? this.#render(message, this.#isMine(from));
    this.#accept(item, message, eventId);
    return item;
  }

  /**
   * @param {Unsent} unsent
   * @param {string} from
   */
  showPending({ key, data, at }, from) {
    const item = this.#render({ key, from, at, name: data.name, text: data.text }, true);
    mark(item, "pending");
    this.#shown.set(key, item);
    this.#pending.append(item);
    this.#decorate(item);
  }

  /**
   * @param {string} key
   * @param {{ eventId: string, seq?: number, timestamp: number }} accepted
   */
  accepted(key, { eventId, seq = 0, timestamp }) {
    const item = this.#shown.get(key);
    if (!item) return;
    // Over HTTP one's own event may come before its acknowledgement, and nothing in it names the key.
    if (this.#shown.has(eventId) && this.#shown.get(eventId) !== item) {
      this.#shown.get(eventId)?.remove();
      this.#shown.delete(eventId);
    }
    const said = this.#said.get(item);
    if (said) this.#accept(item, { ...said, seq, at: timestamp }, eventId);
  }

  /**
   * @param {string} key
   * @param {string} reason
   * @param {() => void} again
   */
  refused(key, reason, again) {
    const item = this.#shown.get(key);
    if (!item) return;
    const retry = element("button", "link", { testid: "send-again" }, "Send again");
    const discard = element("button", "link", {}, "Discard");
    retry.addEventListener("click", () => (item.remove(), again()));
    discard.addEventListener("click", () => item.remove());
    mark(item, "refused");
    item.append(element("div", "refusal", { testid: "refusal" }, element("span", "", {}, `Not sent: ${reason}`), retry, discard));
  }

  /** @returns {HTMLElement} */
  #list() {
    if (!this.#segments.lastElementChild) {
      this.#segments.append(element("section", "segment", {}, element("ol", "messages", { testid: "messages" })));
    }
    return /** @type {HTMLElement} */ (this.#segments.lastElementChild?.lastElementChild);
  }

  /**
   * @param {HTMLElement} item
   * @param {Message} message
   * @param {string} eventId
   */
  #accept(item, message, eventId) {
    this.#said.set(item, message);
    this.#shown.set(eventId, item);
    if (item.dataset.eventid === eventId) return;
    item.dataset.eventid = eventId;
    if (item.classList.contains("mine")) mark(item, "sent");
    const list = this.#list();
    let after = list.lastElementChild;
    while (after && (this.#said.get(after)?.seq ?? 0) > (message.seq ?? 0)) after = after.previousElementSibling;
    if (after) after.after(item);
    else list.prepend(item);
    this.#decorate(item);
    this.#decorate(item.nextElementSibling);
    this.#decorate(this.#pending.firstElementChild);
  }

  /**
   * @param {Message} message
   * @param {boolean} mine
   * @returns {HTMLElement}
   */
  #render(message, mine) {
    const { from, at, name, text } = message;
    const time = element("time", "", {}, clock.format(at));
    time.setAttribute("datetime", new Date(at).toISOString());
    const author = element("span", "author", { testid: "author" }, name);
    const avatar = element("span", "avatar", {}, [...name.trim()][0]?.toUpperCase() ?? "?");
    avatar.setAttribute("aria-hidden", "true");
    const body = element("div", "body", {}, element("span", "text", { testid: "message-text" }, text), element("span", "meta", {}, time));
    const item = element("li", mine ? "message mine" : "message", { testid: "message" }, element("div", "day"), avatar, author, body);
    item.style.setProperty("--hue", String(hue(from)));
    this.#said.set(item, message);
    return item;
  }

  /** Who follows oneself says no name again. @param {Element | null} item */
  #decorate(item) {
    const message = item && this.#said.get(item);
    if (!item || !message) return;
    const list = item.parentElement === this.#pending ? this.#list() : item.closest(".segment")?.previousElementSibling?.lastElementChild;
    const before = item.previousElementSibling ?? list?.lastElementChild;
    const previous = before && this.#said.get(before);
    const sameDay = previous && new Date(previous.at).toDateString() === new Date(message.at).toDateString();
    const follows = previous && previous.from === message.from && previous.name === message.name && message.at - previous.at < GROUP_MS;
    const sameStretch = before?.parentElement === item.parentElement || item.parentElement === this.#pending;
    item.classList.toggle("first", !(sameDay && follows && sameStretch));
    item.classList.toggle("dated", !sameDay);
    const day = item.firstElementChild;
    if (day) day.textContent = sameDay ? "" : dayName(message.at);
  }
}

/**
 * @param {HTMLElement} item
 * @param {"pending" | "sent" | "refused"} state
 */
function mark(item, state) {
  item.dataset.state = state;
  item.querySelector(".tick")?.remove();
  const tick = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  tick.setAttribute("class", "tick");
  tick.setAttribute("viewBox", "0 0 24 24");
  tick.setAttribute("role", "img");
  tick.setAttribute("aria-label", state === "pending" ? "waiting to be sent" : state);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", icon[state]);
  tick.append(path);
  item.querySelector(".meta")?.append(tick);
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} name its class
 * @param {{ testid?: string }} data
 * @param {(Node | string)[]} children
 */
function element(tag, name, data = {}, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (tag === "button") made.setAttribute("type", "button");
  Object.assign(made.dataset, data);
  made.append(...children);
  return made;
}

/** Always the same for the same user, and far from the next one's. @param {string} userId */
function hue(userId) {
  let hash = 2166136261;
  for (const char of userId) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 16777619);
  return ((hash >>> 0) * 137.508) % 360;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

/** @param {number} at */
function dayName(at) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  return days === 0 ? "Today" : days === 1 ? "Yesterday" : calendar.format(at);
}

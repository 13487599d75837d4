// @ts-check
import { Dialogue } from "./dialogue.js";
import { isModerator, post, renewInTime, signIn, signOut, token } from "./session.js";

/**
 * @typedef {import("./dialogue.js").RoomInfo} RoomInfo
 * @typedef {import("./dialogue.js").RoomEvent} RoomEvent
 */

/** Nobody tells how many sit at the other tables. */
const COUNT_MS = 4_000;

/**
 * @param {string} name
 * @returns {any}
 */
const find = (name) => document.querySelector(`[data-testid="${name}"]`);

/** @type {Dialogue | undefined} */ let dialogue;
/** The table where one sits. @type {{ id: string, room: import("./dialogue.js").Room, info: RoomInfo } | undefined} */ let seat;
/** @type {RoomInfo[]} */ let tables = [];
/** @type {Set<string>} */ let members = new Set();
/** Whether the first list came. */
let listed = false;

find("sign-in").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  say("door-notice", "");
  try {
    enter(await signIn(find("name").value, find("moderator").checked ? "moderator" : undefined));
  } catch (error) {
    say("door-notice", /** @type {Error} */ (error).message);
  }
});
find("sign-out").addEventListener("click", () => turnAway(""));
find("retry").addEventListener("click", () => dialogue?.retryNow());
find("back").addEventListener("click", () => stand(""));
find("open").addEventListener("submit", open);
find("text").addEventListener("input", () => (find("send").disabled = find("text").value.trim() === ""));
find("composer").addEventListener("submit", speak);
find("close").addEventListener("click", close);
find("close").addEventListener("blur", () => ask(false));
addEventListener("hashchange", followLink);
setInterval(() => dialogue?.state.phase === "live" && !document.hidden && dialogue.refreshRooms(), COUNT_MS);
setInterval(showState, 500);

const before = token();
if (before) enter(before);
else turnAway("");

/** @param {string} signed */
function enter(signed) {
  find("door").hidden = true;
  find("hall").hidden = false;
  listed = false;
  dialogue = new Dialogue({ token: signed, transport: "websocket", onState: showState });
  dialogue.watchRooms((rooms) => {
    tables = rooms;
    const first = !listed;
    listed = true;
    showTables();
    if (first) followLink();
  });
  renewInTime(async (newer) => dialogue?.renew(newer));
}

/** Back to the door. @param {string} reason */
function turnAway(reason) {
  const was = dialogue;
  dialogue = seat = undefined;
  was?.close();
  signOut();
  showTable();
  find("hall").hidden = true;
  find("door").hidden = false;
  say("door-notice", reason);
  find("name").focus();
}

/** A link to a table leads there. */
function followLink() {
  const id = decodeURIComponent(location.hash.slice(1));
  if (listed && id !== (seat?.id ?? "") && tables.some(({ roomId }) => roomId === id)) sit(id);
}

/** @param {SubmitEvent} event */
async function open(event) {
  event.preventDefault();
  const [name, about, seats] = ["table-name", "table-about", "table-seats"].map((field) => find(field).value.trim());
  const [key] = crypto.getRandomValues(new Uint32Array(1));
  try {
    await dialogue?.createRoom(`table:${key}`, { name, description: about || undefined, maxSize: Number(seats) });
  } catch (error) {
    return say("lobby-notice", /** @type {Error} */ (error).message);
  }
  find("open").reset();
  sit(`table:${key}`);
}

/** @param {string} id */
function sit(id) {
  const info = tables.find(({ roomId }) => roomId === id);
  if (!dialogue || !info || seat?.id === id) return;
  if (seat) dialogue.leave(seat.id);
  say("lobby-notice", "");
  members = new Set();
  find("log").replaceChildren();
  const room = dialogue.join(id, {
    onJoined({ newEpoch }) {
      // The first to join a table that is gone would find it anew, without anybody who may close it.
      if (newEpoch) return stand(`“${info.name}” is gone: the server restarted`);
      say("notice", "");
      meet();
      dialogue?.refreshRooms();
    },
    onHistory: ({ events }) => events.forEach(hear),
    onEvent: hear,
    onAccepted: () => say("notice", ""),
    onRefused: (_, refusal) => say("notice", refusal.message),
    onError: (refusal) => say("notice", refusal.message),
    onPresence({ userId, change, size }) {
      if (change === "joined") members.add(userId);
      else members.delete(userId);
      dialogue?.refreshRooms();
      // Of many who come and go at once, one may not be told of.
      if (members.size !== size) return meet();
      showMembers();
    },
    onDenied: (refusal) => stand(`You can't sit at “${info.name}”: ${refusal.message}`),
    onLeft: (reason) => stand(`You left “${info.name}”${reason && `: ${reason}`}`),
  });
  seat = { id, room, info };
  history.replaceState(null, "", `#${id}`);
  showTable();
  find("title").focus();
}

/** Leaves the table. @param {string} reason */
function stand(reason) {
  if (seat) dialogue?.leave(seat.id);
  seat = undefined;
  history.replaceState(null, "", location.pathname);
  say("lobby-notice", reason);
  showTable();
  dialogue?.refreshRooms();
}

/** Who is here already. */
async function meet() {
  const here = seat;
  try {
    const all = (await here?.room.members()) ?? [];
    if (here !== seat) return;
    members = new Set(all.map(({ userId }) => userId));
    showMembers();
  } catch {
    // The next connection asks again.
  }
}

/** @param {SubmitEvent} event */
function speak(event) {
  event.preventDefault();
  const text = find("text").value.trim();
  if (!seat || !text) return;
  try {
    seat.room.trigger("said", { text });
    find("composer").reset();
    find("send").disabled = true;
    if (dialogue?.state.phase !== "live") say("notice", "This is sent when the connection is back");
  } catch (refusal) {
    say("notice", /** @type {Error} */ (refusal).message);
  }
}

/** @param {RoomEvent} event */
function hear({ from, data }) {
  const log = find("log");
  const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
  const item = element("li", from === dialogue?.userId ? "said mine" : "said", "said", element("b", "", "author", nameOf(from)), element("span", "", "said-text", data.text));
  item.style.setProperty("--hue", String(hue(from)));
  log.append(item);
  if (follows) log.scrollTop = log.scrollHeight;
}

/** @param {string} userId */
async function kick(userId) {
  if (!seat) return;
  try {
    await post(`tables/${seat.id.split(":")[1]}/kick`, { userId });
  } catch (error) {
    say("notice", /** @type {Error} */ (error).message);
  }
}

/** Asks once more: it is the end for everybody at the table. */
async function close() {
  if (!find("close").classList.contains("asked")) return ask(true);
  try {
    if (seat) await dialogue?.deleteRoom(seat.id);
  } catch (error) {
    say("notice", /** @type {Error} */ (error).message);
  }
}

/** @param {boolean} asked */
function ask(asked) {
  find("close").classList.toggle("asked", asked);
  find("close").textContent = asked ? "For everybody?" : "Close table";
}

function showTables() {
  const list = find("tables");
  /** @type {Map<string, HTMLElement>} */
  const shown = new Map([...list.children].map((item) => [item.dataset.id, item]));
  for (const info of tables) {
    const item = shown.get(info.roomId) ?? element("li", "", "entry");
    if (!shown.delete(info.roomId)) {
      const button = element("button", "", "join", element("b", "", "entry-name", info.name), element("span", "about", "", info.description ?? ""), element("span", "size", "size"));
      button.addEventListener("click", () => sit(info.roomId));
      item.dataset.id = info.roomId;
      item.append(button);
      list.append(item);
    }
    const size = `${info.size} of ${info.maxSize ?? 12}`;
    const label = /** @type {HTMLElement} */ (item.querySelector(".size"));
    if (label.textContent !== size) label.textContent = size;
    item.firstElementChild?.setAttribute("aria-current", String(info.roomId === seat?.id));
  }
  for (const gone of shown.values()) gone.remove();
  find("empty").hidden = !listed || tables.length > 0;
}

function showTable() {
  find("hall").classList.toggle("seated", seat !== undefined);
  find("table").hidden = !seat;
  find("nowhere").hidden = seat !== undefined;
  document.title = `${seat?.info.name ?? "Lobby"} · Dialogue`;
  find("title").textContent = seat?.info.name ?? "";
  find("about").textContent = seat?.info.description ?? "";
  find("close").hidden = !isMine();
  say("notice", "");
  ask(false);
  showMembers();
  showTables();
}

function showMembers() {
  const mayKick = seat && (isMine() || isModerator());
  const chips = [...members].sort().map((userId) => {
    const chip = element("li", "member", "member", nameOf(userId));
    chip.style.setProperty("--hue", String(hue(userId)));
    if (userId === dialogue?.userId) chip.append(element("span", "you", "", " (you)"));
    else if (mayKick) {
      const button = element("button", "kick", "kick", "Kick");
      button.setAttribute("aria-label", `Ask ${nameOf(userId)} to leave`);
      button.addEventListener("click", () => kick(userId));
      chip.append(button);
    }
    return chip;
  });
  find("members").replaceChildren(...chips);
}

function showState() {
  if (!dialogue) return;
  const { phase, retryAt, reason } = dialogue.state;
  if (phase === "closed") return turnAway(`You were signed out${reason && `: ${reason}`}`);
  const words = { connecting: "Connecting…", live: "Live", waiting: navigator.onLine ? "Reconnecting…" : "Offline" };
  if (find("state-text").textContent !== words[phase]) find("state-text").textContent = words[phase];
  find("state").dataset.phase = phase;
  find("retry").hidden = phase !== "waiting" || retryAt - Date.now() < 1_000;
  find("me").textContent = nameOf(dialogue.userId);
}

function isMine() {
  return seat !== undefined && seat.info.createdBy === dialogue?.userId;
}

/** An id is the name, and what tells it from the same name of somebody else. @param {string} userId */
function nameOf(userId) {
  return userId.slice(0, Math.max(0, userId.lastIndexOf("~"))) || userId;
}

/**
 * @param {string} where
 * @param {string} words
 */
function say(where, words) {
  find(where).textContent = words;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} name its class
 * @param {string} testid
 * @param {(Node | string)[]} children
 */
function element(tag, name, testid, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (tag === "button") made.setAttribute("type", "button");
  if (testid) made.dataset.testid = testid;
  made.append(...children);
  return made;
}

/** Always the same for the same user, and far from the next one's. @param {string} userId */
function hue(userId) {
  let hash = 2166136261;
  for (const char of userId) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 16777619);
  return ((hash >>> 0) * 137.508) % 360;
}

// @ts-check
import { Dialogue } from "./dialogue.js";
import { Messages } from "./messages.js";

/** Somebody is typing until they say otherwise, or say nothing for this long. */
const TYPING_MS = 5_000;
const TYPING_AGAIN_MS = 2_000;
const SIZE_MS = 20_000;
const PAGE_SIZE = 50;

/**
 * @param {string} name
 * @returns {any}
 */
const find = (name) => document.querySelector(`[data-testid="${name}"]`);
const [log, empty, pill, typing, text, send] = ["log", "empty", "new-messages", "typing", "text", "send"].map(find);
const [name, notice, stateText, retry] = ["name", "notice", "state-text", "retry"].map(find);

/** @type {import("./dialogue.js").Room} */ let chat;
/** @type {Map<string, { name: string, timer: ReturnType<typeof setTimeout> }>} */
const typists = new Map();
/** Whom we have heard of since we last counted. */
const heard = new Set();
let members = 0;
let unread = 0;
let typedAt = 0;

const messages = new Messages(find("segments"), find("pending"), (from) => from === dialogue.userId);

const transport = new URLSearchParams(location.search).get("transport");
export const dialogue = new Dialogue({
  transport: transport === "sse" || transport === "websocket" ? transport : undefined,
  onState: showState,
});

chat = dialogue.join("chat", {
  events: ["message", "typing"],
  onJoined(joined) {
    members = joined.members;
    document.title = `${joined.name} · Dialogue`;
    find("title").textContent = joined.name;
    if (joined.resume === "lost" && !messages.isEmpty) {
      messages.divide(
        joined.newEpoch
          ? "The server restarted; messages from before it are only in this tab"
          : "You were away for long; some messages from before this are not shown",
      );
    }
    showState();
  },
  onHistory({ events, more }) {
    keepBottom(() => {
      events.filter(isMessage).forEach((event) => messages.show(event));
      messages.offerEarlier(more ? loadEarlier : null);
    });
  },
  onEvent(event) {
    if (!heard.has(event.from)) countMembers();
    heard.add(event.from);
    if (event.event === "typing") return showTyping(event.from, event.data);
    if (!isMessage(event)) return;
    showTyping(event.from, { active: false });
    const mine = event.from === dialogue.userId;
    if (!keepBottom(() => messages.show(event).classList.add("arriving")) && !mine) showUnread(unread + 1);
  },
  onAccepted(unsent, accepted) {
    keepBottom(() => messages.accepted(unsent.key, accepted));
    showState();
  },
  onRefused(unsent, refusal) {
    messages.refused(unsent.key, refusal.details[0]?.message ?? refusal.message, () => say(unsent.data));
    showState();
  },
  onError: (refusal) => complain(refusal.message),
  onLeft: (reason) => complain(`You were removed from the room${reason && `: ${reason}`}`),
});

name.value = localStorage.getItem("chat.name") || `${pick(["Calm", "Bright", "Quiet", "Swift", "Merry"])} ${pick(["Otter", "Heron", "Fox", "Wren", "Lynx"])}`;
localStorage.setItem("chat.name", name.value);
text.value = sessionStorage.getItem("chat.draft") ?? "";
for (const unsent of chat.unsent) messages.showPending(unsent, dialogue.userId);
showComposer();
setInterval(showState, 500);
setInterval(countMembers, SIZE_MS);
document.addEventListener("visibilitychange", countMembers);

name.addEventListener("change", () => {
  name.value = name.value.trim() || localStorage.getItem("chat.name");
  localStorage.setItem("chat.name", name.value);
});
name.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && text.focus());
retry.addEventListener("click", () => dialogue.retryNow());
pill.addEventListener("click", toBottom);
log.addEventListener("scroll", () => isAtBottom() && showUnread(0), { passive: true });
// A phone's keyboard or a longer composer takes from the log's height; what was at its bottom stays there.
let wasAtBottom = true;
log.addEventListener("scroll", () => (wasAtBottom = isAtBottom()), { passive: true });
new ResizeObserver(() => wasAtBottom && toBottom()).observe(log);

text.addEventListener("input", () => {
  showComposer();
  const active = text.value.trim() !== "";
  if (!active || Date.now() - typedAt > TYPING_AGAIN_MS) signalTyping(active);
});
text.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  // Enter that ends the composition of a character is no end of the message.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
find("composer").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  submit();
});

function submit() {
  const said = text.value.trim();
  if (!said || !say({ text: said, name: name.value.trim() || "Somebody" })) return;
  text.value = "";
  typedAt = 0;
  showComposer();
  text.focus();
}

/** @param {{ text: string, name: string }} data */
function say(data) {
  try {
    messages.showPending(chat.trigger("message", data), dialogue.userId);
  } catch (refusal) {
    return complain(/** @type {Error} */ (refusal).message);
  }
  complain("");
  showState();
  toBottom();
  return true;
}

/** @param {boolean} active */
function signalTyping(active) {
  typedAt = active ? Date.now() : 0;
  chat.signal("typing", { active, name: name.value.trim() || "Somebody" });
}

async function loadEarlier() {
  const height = log.scrollHeight - log.scrollTop;
  try {
    const { events, more } = await chat.history({ before: messages.oldest, limit: PAGE_SIZE, event: "message" });
    events.filter(isMessage).forEach((event) => messages.show(event));
    messages.offerEarlier(more ? loadEarlier : null);
    log.scrollTop = log.scrollHeight - height;
  } catch {
    complain("Earlier messages can't be loaded now");
  }
}

async function countMembers() {
  if (document.hidden || dialogue.state.phase !== "live") return;
  members = await chat.size().catch(() => members);
  showState();
}

/** @param {import("./dialogue.js").RoomEvent} event */
function isMessage({ event }) {
  return event === "message";
}

function showState() {
  if (!chat) return;
  const { phase, retryAt, reason } = dialogue.state;
  const unsent = chat.unsent.length;
  const waiting = unsent > 0 ? ` · ${unsent} unsent` : "";
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1_000));
  const words = {
    connecting: `Connecting…${waiting}`,
    live: members > 1 ? `Live · ${members} people here` : "Live · only you are here",
    waiting: (navigator.onLine ? `Reconnecting in ${seconds} s` : "Offline") + waiting,
    closed: `Disconnected${reason && `: ${reason}`}${waiting}`,
  };
  if (stateText.textContent !== words[phase]) stateText.textContent = words[phase];
  const spoken = find("spoken");
  // The countdown is for the eyes only.
  if (spoken.dataset.phase !== phase) spoken.textContent = phase === "waiting" ? "Connection lost" : words[phase];
  spoken.dataset.phase = find("state").dataset.phase = phase;
  retry.hidden = phase !== "waiting";
  empty.hidden = phase !== "live" || !messages.isEmpty;
  if (phase !== "live" && typists.size > 0) [...typists.keys()].forEach((from) => showTyping(from, { active: false }));
}

/**
 * @param {string} from
 * @param {{ active: boolean, name?: string }} data
 */
function showTyping(from, { active, name = "Somebody" }) {
  clearTimeout(typists.get(from)?.timer);
  typists.delete(from);
  if (active && from !== dialogue.userId) {
    typists.set(from, { name, timer: setTimeout(() => showTyping(from, { active: false }), TYPING_MS) });
  }
  const names = [...typists.values()].map(({ name }) => name);
  const who = names.length < 3 ? names.join(" and ") : `${names.length} people`;
  const line = document.createElement("span");
  line.textContent = `${who} ${names.length === 1 ? "is" : "are"} typing`;
  typing.replaceChildren(...(names.length > 0 ? [...[1, 2, 3].map(() => document.createElement("i")), line] : []));
}

function showComposer() {
  send.disabled = text.value.trim() === "";
  sessionStorage.setItem("chat.draft", text.value);
}

/** @param {string} words */
function complain(words) {
  notice.textContent = words;
}

/** @param {number} count */
function showUnread(count) {
  unread = count;
  pill.hidden = count === 0;
  pill.textContent = `${count} new ${count === 1 ? "message" : "messages"} ↓`;
}

function isAtBottom() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 48;
}

function toBottom() {
  log.scrollTop = log.scrollHeight;
  showUnread(0);
}

/** Follows what comes, unless one has scrolled up to read. @param {() => void} change */
function keepBottom(change) {
  const follow = isAtBottom();
  change();
  empty.hidden = empty.hidden || !messages.isEmpty;
  if (follow) toBottom();
  return follow;
}

/** @param {string[]} from */
function pick(from) {
  return from[Math.floor(Math.random() * from.length)] ?? "";
}

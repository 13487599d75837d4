// @ts-check
import { Dialogue } from "./dialogue.js";

const byName = (/** @type {string} */ name) =>
  /** @type {HTMLElement} */ (document.querySelector(`[data-testid=${name}]`));
const ui = Object.fromEntries(
  ["state", "state-text", "ask", "asked", "shown", "shown-title", "shown-body", "empty", "alerts"].map((name) => [name, byName(name)]),
);
const ROOM = "alerts";
const PHASES = { connecting: "Connecting…", live: "Live", waiting: "Offline", closed: "Closed" };

const dialogue = new Dialogue({
  onState({ phase }) {
    ui.state.dataset.phase = phase;
    ui["state-text"].textContent = PHASES[phase];
  },
});

const seen = new Set();
dialogue.join(ROOM, {
  onJoined({ resume }) {
    // Tokens and subscriptions change: whoever was asked before registers whenever the page opens.
    subscription().then((known) => known && register(known), report);
    if (resume === "lost") ui.alerts.replaceChildren();
  },
  onHistory: ({ events }) => events.forEach(show),
  onEvent: show,
});

/** @param {import("./dialogue.js").RoomEvent} event */
function show({ event, data, timestamp, eventId }) {
  if (seen.has(eventId)) return;
  seen.add(eventId);
  const item = document.createElement("li");
  item.id = data.service;
  item.dataset.kind = event;
  const [title, detail, time] = ["strong", "span", "time"].map((tag) => document.createElement(tag));
  title.textContent = event === "alert" ? `${data.service} is down` : `${data.service} is up again`;
  detail.textContent = data.detail ?? "";
  time.textContent = new Date(timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  item.append(title, detail, time);
  ui.alerts.prepend(item);
  ui.empty.hidden = true;
}

ui.ask.addEventListener("click", () => (ui.ask.dataset.on ? stop() : ask()).catch(report));

async function ask() {
  ui.asked.textContent = "Asking…";
  if ((await Notification.requestPermission()) !== "granted") {
    ui.asked.textContent = "This browser doesn't allow it; its settings for this page say so.";
    return;
  }
  const worker = await navigator.serviceWorker.register("worker.js");
  await navigator.serviceWorker.ready;
  const { key } = await (await fetch("push/key")).json();
  await register(await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key }));
}

async function stop() {
  const known = await subscription();
  if (known) {
    await dialogue.unregisterPush(device(known));
    await known.unsubscribe();
  }
  ui.ask.dataset.on = "";
  ui.ask.textContent = "Notify me";
  ui.asked.textContent = "This browser is not told of anything.";
}

async function subscription() {
  const worker = await navigator.serviceWorker?.getRegistration();
  return worker?.pushManager.getSubscription();
}

/** @param {PushSubscription} known */
async function register(known) {
  await dialogue.registerPush({ ...device(known), rooms: [ROOM], language: navigator.language });
  ui.ask.dataset.on = "yes";
  ui.ask.textContent = "Stop";
  ui.asked.textContent = "This browser is told of every alert that you are not here to see.";
}

/** @param {PushSubscription} known */
function device(known) {
  return { provider: "webpush", subscription: known.toJSON() };
}

/** @param {Error} error */
function report(error) {
  ui.asked.textContent = `It can't be done here: ${error.message}`;
}

// The worker says what it showed.
navigator.serviceWorker?.addEventListener("message", ({ data }) => {
  ui["shown-title"].textContent = data.title;
  ui["shown-body"].textContent = data.body;
  ui.shown.hidden = false;
});

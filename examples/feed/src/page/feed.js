// @ts-check
import { Dialogue } from "./dialogue.js";

/** @typedef {import("./dialogue.js").RoomEvent} RoomEvent */

const POSTS_SHOWN = 200;
const JOBS_SHOWN = 3;

/**
 * @param {string} name
 * @returns {any}
 */
const find = (name) => document.querySelector(`[data-testid="${name}"]`);
const [posts, jobs, empty, start, earlier, notice] = ["posts", "jobs", "empty", "start", "earlier", "notice"].map(find);
const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit", second: "2-digit" });
let oldest = 0;

const dialogue = new Dialogue({ transport: "sse", onState: showState });

const feed = dialogue.join("feed", {
  events: ["new-post"],
  onJoined({ resume, newEpoch }) {
    if (resume !== "lost" || posts.childElementCount === 0) return;
    const why = newEpoch ? "The server restarted; posts below are only in this tab" : "Some posts between these are not shown";
    posts.prepend(element("li", "gap", why, "gap"));
  },
  onHistory(page) {
    page.events.forEach((event) => posts.prepend(post(event)));
    showEdge(page);
  },
  onEvent(event) {
    const item = post(event);
    item.classList.add("arriving");
    // Who reads further down keeps the place; browsers without scroll anchoring jump a little.
    posts.prepend(item);
    while (posts.childElementCount > POSTS_SHOWN) posts.lastElementChild.remove();
    empty.hidden = true;
  },
  onError: ({ message }) => (notice.textContent = message),
});

dialogue.join("jobs", {
  events: ["progress"],
  onJoined({ resume }) {
    if (resume === "lost") jobs.replaceChildren();
  },
  onHistory: ({ events }) => events.forEach(showProgress),
  onEvent: showProgress,
});

setInterval(() => showState(dialogue.state), 500);

start.addEventListener("click", async () => {
  start.disabled = true;
  const answer = await fetch("jobs", { method: "POST" }).catch(() => undefined);
  start.disabled = false;
  notice.textContent = answer?.status === 202 ? "" : "The job could not be started; is the server there?";
});

earlier.addEventListener("click", async () => {
  try {
    const page = await feed.history({ before: oldest, limit: 20, event: "new-post" });
    page.events.reverse().forEach((event) => posts.append(post(event)));
    showEdge(page);
  } catch {
    notice.textContent = "Earlier posts can't be loaded now";
  }
});

/** @param {import("./dialogue.js").Page} page */
function showEdge({ events, more }) {
  oldest = Math.min(...events.map(({ seq = 0 }) => seq), oldest || Infinity);
  // Behind a gap the list goes on with what the server no longer has.
  earlier.hidden = !more || posts.querySelector(".gap") !== null;
  empty.hidden = posts.childElementCount > 0;
}

/** @param {import("./dialogue.js").State} state */
function showState({ phase, retryAt, reason }) {
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1_000));
  const words = {
    connecting: "Connecting…",
    live: "Live",
    waiting: navigator.onLine ? `Reconnecting in ${seconds} s` : "Offline",
    closed: `Disconnected${reason && `: ${reason}`}`,
  };
  if (find("state-text").textContent !== words[phase]) find("state-text").textContent = words[phase];
  find("state").dataset.phase = phase;
}

/**
 * @param {RoomEvent} event
 * @returns {HTMLElement}
 */
function post({ data, timestamp, eventId }) {
  const tag = element("span", "tag", data.tag);
  tag.style.setProperty("--hue", String(hue(data.tag)));
  const time = element("time", "", clock.format(timestamp));
  time.setAttribute("datetime", new Date(timestamp).toISOString());
  const about = element("p", "about", "");
  about.append(tag, time);
  const item = element("li", "post", "", "post");
  item.dataset.eventid = eventId;
  item.append(about, element("h3", "", data.title, "post-title"), element("p", "", data.body));
  return item;
}

/** @param {RoomEvent} event */
function showProgress({ data: { job, done, total, note } }) {
  const known = jobs.querySelector(`[data-job="${CSS.escape(job)}"]`);
  const item = known ?? element("li", "job", "", "job");
  if (!known) {
    const line = document.createElement("div");
    line.append(element("span", "", "", "note"), element("b", "", "", "percent"));
    item.append(line, document.createElement("progress"));
    item.dataset.job = job;
    jobs.prepend(item);
    while (jobs.childElementCount > JOBS_SHOWN) jobs.lastElementChild.remove();
  }
  const bar = item.querySelector("progress");
  Object.assign(bar, { max: total, value: done });
  bar.setAttribute("aria-label", job);
  item.querySelector("span").textContent = `${job} · ${note}`;
  item.querySelector("b").textContent = `${Math.floor((100 * done) / Math.max(1, total))} %`;
}

/**
 * @param {string} tag
 * @param {string} name its class
 * @param {string} text
 * @param {string} [testid]
 */
function element(tag, name, text, testid) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (testid) made.dataset.testid = testid;
  made.textContent = text;
  return made;
}

/** @param {string} word */
function hue(word) {
  let hash = 7;
  for (const char of word) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) % 3_600;
  return (hash * 137.5) % 360;
}

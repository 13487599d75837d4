// @ts-check
import { dialogue } from "./chat.js";

/**
 * The instances, and which windows each of them has: every window says now and then that it is there, and the instance
 * that it is connected to says who it is. Nobody asks where to connect to: any will do.
 */

/** A window is there until it says nothing for this long. */
const GONE_MS = 6_000;
const AGAIN_MS = 2_000;

const own = crypto.randomUUID();
/** @type {Map<string, { instance: number, process: number, at: number }>} */
const windows = new Map();

const bar = document.createElement("ol");
bar.className = "instances";
bar.setAttribute("aria-label", "Instances, and how many windows each of them has");
document.querySelector(".room > header")?.append(bar);

const here = dialogue.join("whereabouts", {
  events: ["here"],
  onJoined: say,
  onEvent({ data: { window, instance, process } }) {
    windows.set(window, { instance, process, at: Date.now() });
    show();
  },
});
setInterval(say, AGAIN_MS);
setInterval(show, 500);

function say() {
  if (dialogue.state.phase === "live") here.signal("here", { window: own });
}

function show() {
  const live = dialogue.state.phase === "live";
  for (const [window, { at }] of windows) {
    // While this window is cut off, it learns nothing of the others.
    if (live && Date.now() - at > GONE_MS) windows.delete(window);
  }
  if (!live) windows.delete(own);
  bar.replaceChildren(...[1, 2, 3].map((number) => chip(number, [...windows].filter(([, { instance }]) => instance === number))));
}

/**
 * @param {number} number
 * @param {[string, { process: number }][]} there
 */
function chip(number, there) {
  const item = document.createElement("li");
  const isOwn = there.some(([window]) => window === own);
  item.dataset.testid = isOwn ? "own-instance" : "other-instance";
  item.dataset.process = String(there[0]?.[1].process ?? "");
  item.setAttribute("aria-label", `Instance ${number}: ${there.length} ${there.length === 1 ? "window" : "windows"}${isOwn ? ", this one too" : ""}`);
  item.title = there.length > 0 ? `Instance ${number}, process ${there[0][1].process}` : `Instance ${number}: no window`;
  const name = document.createElement("b");
  name.textContent = String(number);
  item.append(name, ...there.sort(([a], [b]) => (a < b ? -1 : 1)).map(([window]) => {
    const dot = document.createElement("i");
    dot.className = window === own ? "own" : "";
    return dot;
  }));
  return item;
}

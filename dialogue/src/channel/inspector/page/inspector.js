// Shows what a server does. Everything it knows comes from `dialogue/inspect`, every two seconds; rates and latencies are
// what was counted between two of those.

const EVERY = 2000;
/** Lines of the tail that are kept. */
const LINES = 200;
const KEY = "dialogue.key";

const element = (name) => document.querySelector(`[data-testid="${name}"]`);
const show = (name, text) => { element(name).textContent = text; };

/** A new element with attributes (`text` is its text) and children. */
function make(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/** Makes `parent` hold one element for each of `items`: those that it has already stay, so that what is open stays open. */
function keep(parent, items, id, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.id, child]));
  items.forEach((item, place) => {
    let child = old.get(id(item));
    if (!child) {
      child = create(item);
      child.dataset.id = id(item);
    }
    old.delete(id(item));
    update(child, item);
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
  old.forEach((child) => child.remove());
}

// --- numbers ---

/** All series by the name of their family and their labels. */
class Numbers {
  constructor({ families }, at) {
    this.at = at;
    this.families = new Map(families.map(({ name, series }) => [name, series]));
  }

  all(name, labels = {}) {
    const wanted = Object.entries(labels);
    return (this.families.get(`dialogue_${name}`) ?? []).filter((one) => wanted.every(([key, value]) => one.labels[key] === value));
  }

  sum(name, labels) {
    return this.all(name, labels).reduce((sum, { value }) => sum + value, 0);
  }

  /** How many took at most how long, of all that match. */
  spread(name, labels) {
    const spreads = this.all(name, labels).map(({ buckets }) => buckets);
    return (spreads[0] ?? []).map(([to], place) => [to, spreads.reduce((sum, one) => sum + one[place][1], 0)]);
  }
}

function rate(name, labels) {
  if (!before) return 0;
  return Math.max(0, now.sum(name, labels) - before.sum(name, labels)) / ((now.at - before.at) / 1000);
}

/** The time within which that share of the last events was written, or of all, if there was none since. */
function quantile(share, labels) {
  const spread = now.spread("events_latency_seconds", labels);
  const since = before?.spread("events_latency_seconds", labels) ?? [];
  let counts = spread.map(([to, count], place) => [to, count - (since[place]?.[1] ?? 0)]);
  if (!counts.some(([, count]) => count > 0)) counts = spread;
  let left = counts.reduce((sum, [, count]) => sum + count, 0) * share;
  if (left === 0) return null;
  let from = 0;
  for (const [to, count] of counts) {
    if (count >= left) return to === null ? from : from + (to - from) * (left / count);
    left -= count;
    from = to ?? from;
  }
  return from;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const shortly = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const count = (number) => (number < 10_000 ? whole : shortly).format(number);
const perSecond = (number) => `${number < 10 && number > 0 ? number.toFixed(1) : count(number)}/s`;

function time(seconds) {
  if (seconds === null) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  return seconds < 1 ? `${(seconds * 1000).toPrecision(2)} ms` : `${seconds.toFixed(1)} s`;
}

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  for (; number >= 1024 && unit < units.length - 1; unit += 1) number /= 1024;
  return `${unit ? number.toFixed(1) : number} ${units[unit]}`;
}

const many = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;

/** A type as Rust's compiler writes its words, without the spaces that nobody would type. */
const typed = (shape) => shape.replace(/\s*(::|[([<>)\]])\s*/g, "$1").replace(/ ([,:;])/g, "$1").replace(/# /g, "#").replace(/\](?=\w)/g, "] ");

// --- what is seen ---

let before;
let now;
let key = sessionStorage.getItem(KEY);
let timer;
let looking;
/** The instance whose tail is shown. */
let chosen;
let tailing;

function tiles({ users }) {
  const store = now.all("store_up");
  const nodes = now.all("backplane_nodes");
  const tiles = [
    ["Connections", count(now.sum("connections_active"))],
    ["Users", count(users)],
    ["Events", perSecond(rate("events_total"))],
    ["Deliveries", perSecond(rate("deliveries_total"))],
    ["Latency, half", time(quantile(0.5))],
    ["Latency, 99 %", time(quantile(0.99))],
    ["Refused", perSecond(rate("refusals_total"))],
    ["Waiting", bytes(now.sum("outboxes_waiting_bytes"))],
    ...(store.length ? [["Store", store[0].value ? "up" : "down", store[0].value ? "" : "bad"]] : []),
    ...(nodes.length ? [["Nodes", count(nodes[0].value)]] : []),
  ];
  const create = ([name]) => make("div", {}, make("dt", { text: name }), make("dd"));
  keep(element("tiles"), tiles, ([name]) => name, create, (tile, [, value, kind = ""]) => {
    tile.className = kind;
    tile.lastChild.textContent = value;
  });
}

function roomCard(room) {
  const chips = [...room.channels, ...(room.keyed ? ["keyed"] : []), ...(room.presence ? ["presence"] : []),
    ...(room.role ? [`role ${room.role}`] : []), ...(room.capacity ? [`up to ${room.capacity}`] : [])];
  return make("article", { class: "room", "data-testid": "room" },
    make("div", { class: "top" }, make("h3", { text: room.name }), ...chips.map((text) => make("span", { class: "chip", text }))),
    ...(room.description ? [make("p", { class: "facts", text: room.description })] : []),
    make("p", { class: "facts", "data-testid": "facts" }),
    make("ul", { class: "events" }));
}

function showRoom(card, room) {
  const of = (name, labels) => now.sum(name, { room: room.name, ...labels });
  const refused = of("triggers_total") - of("triggers_total", { outcome: "accepted" }) - of("triggers_total", { outcome: "duplicate" });
  const lost = of("resumes_total", { outcome: "lost" });
  const facts = [
    [many(of("rooms_size"), "connection")],
    ...(room.keyed ? [[many(of("rooms_instances"), "instance")]] : []),
    [`${count(of("resumes_total", { outcome: "fresh" }))} joined, ${count(of("resumes_total", { outcome: "complete" }))} resumed`],
    ...(lost ? [[`${count(lost)} lost`, "bad"]] : []),
    ...(refused ? [[`${count(refused)} refused`, "bad"]] : []),
    ...(of("events_skipped_total") ? [[`${count(of("events_skipped_total"))} skipped`, "bad"]] : []),
  ];
  const line = facts.flatMap(([text, kind], place) => [...(place ? [" · "] : []), make("span", { class: kind ?? "", text })]);
  card.querySelector("[data-testid=facts]").replaceChildren(...line);
  const create = (event) => make("li", { "data-testid": "event" }, make("details", {},
    make("summary", {},
      make("span", { class: "name" }, event.name, make("small", { text: `${event.class}${event.from === "server" ? ", from the server" : ""}` })),
      make("span"), make("span"), make("span")),
    make("pre", { text: typed(event.shape) })));
  keep(card.querySelector(".events"), room.events, (event) => event.name, create, (row, event) => {
    const labels = { room: room.name, event: event.name };
    const cells = row.querySelectorAll("summary > span");
    const cell = (place, text, small) => cells[place].replaceChildren(text, make("small", { text: small }));
    cell(1, perSecond(rate("events_total", labels)), `${count(now.sum("events_total", labels))} in all`);
    cell(2, time(quantile(0.5, labels)), "half");
    cell(3, time(quantile(0.99, labels)), "99 %");
  });
}

function instances({ instances, instancesInAll }) {
  const create = ({ roomId }) => {
    const button = make("button", { type: "button", "data-testid": "instance" }, make("span", { class: "name", text: roomId }), make("span", { class: "size" }));
    button.addEventListener("click", () => choose(roomId));
    return make("li", {}, button);
  };
  keep(element("instances"), instances, ({ roomId }) => roomId, create, (row, { roomId, size }) => {
    row.firstChild.setAttribute("aria-pressed", String(roomId === chosen));
    row.querySelector(".size").textContent = count(size);
  });
  show("more", instancesInAll > instances.length ? `The largest ${instances.length} of ${count(instancesInAll)}.` : "");
}

function members({ members }) {
  const listed = members?.members ?? [];
  const more = (members?.size ?? 0) - listed.length;
  const chips = listed.map(({ userId, connections }) => ({ id: userId, text: connections > 1 ? `${userId} × ${connections}` : userId }));
  if (more > 0) chips.push({ id: "", text: `and ${count(more)} more` });
  keep(element("members"), chips, ({ id }) => id, () => make("li", { class: "chip", "data-testid": "member" }), (chip, { text }) => { chip.textContent = text; });
}

function phase(name, text) {
  element("state").dataset.phase = name;
  show("state-text", text);
}

// --- what is asked ---

const ask = (path, options) => fetch(`dialogue/${path}`, { ...options, headers: { authorization: `Bearer ${key}` }, cache: "no-store" });

async function look() {
  clearTimeout(timer);
  looking?.abort();
  looking = new AbortController();
  const { signal } = looking;
  try {
    const response = await ask(`inspect${chosen ? `?room=${encodeURIComponent(chosen)}` : ""}`, { signal });
    if (response.status === 401) return turnAway("That is none of this server's keys.");
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).message ?? `status ${response.status}`);
    const seen = await response.json();
    [before, now] = [now, new Numbers(seen, performance.now())];
    element("door").hidden = true;
    element("board").hidden = false;
    sessionStorage.setItem(KEY, key);
    tiles(seen);
    keep(element("rooms"), seen.rooms, ({ name }) => name, roomCard, showRoom);
    instances(seen);
    members(seen);
    show("schema", seen.schema);
    phase("live", now.sum("draining") ? "Going down" : "Live");
  } catch (error) {
    if (signal.aborted) return;
    phase("lost", `No answer: ${error.message}`);
  }
  timer = setTimeout(look, EVERY);
}

function turnAway(notice = "") {
  clearTimeout(timer);
  looking?.abort();
  close();
  sessionStorage.removeItem(KEY);
  [key, before, now] = [null, undefined, undefined];
  element("board").hidden = true;
  element("door").hidden = false;
  show("door-notice", notice);
  element("key").focus();
}

function choose(roomId) {
  close();
  chosen = roomId;
  element("tail").hidden = false;
  show("tail-title", roomId);
  tail(roomId);
  look();
  element("tail-title").focus({ preventScroll: true });
  element("tail").scrollIntoView({ block: "nearest" });
}

function close() {
  tailing?.abort();
  chosen = undefined;
  element("tail").hidden = true;
  element("log").replaceChildren();
  element("members").replaceChildren();
}

async function tail(roomId) {
  tailing = new AbortController();
  const { signal } = tailing;
  show("tail-state", "");
  try {
    const response = await ask(`tail/${encodeURIComponent(roomId)}`, { signal });
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).message ?? `status ${response.status}`);
    show("tail-state", "Waiting for events…");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ;) {
      const { done, value } = await reader.read();
      if (done) break;
      const pieces = (text + value).split("\n\n");
      text = pieces.pop();
      for (const piece of pieces) if (piece.startsWith("data: ")) log(JSON.parse(piece.slice(6)));
    }
    show("tail-state", "The stream ended.");
  } catch (error) {
    if (!signal.aborted) show("tail-state", `The stream broke off: ${error.message}`);
  }
}

function log({ event, seq, from, timestamp, data }) {
  const log = element("log");
  const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const at = new Date(timestamp).toLocaleTimeString("en-GB");
  log.append(make("li", { "data-testid": "line" }, make("i", { text: at }), make("b", { text: event }),
    make("i", { text: `${seq === undefined ? "" : `#${seq} `}${from}` }), JSON.stringify(data)));
  while (log.children.length > LINES) log.firstChild.remove();
  if (follows) log.scrollTop = log.scrollHeight;
  show("tail-state", "");
}

element("sign-in").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  key = element("key").value;
  element("key").value = "";
  show("door-notice", "");
  look();
});
element("sign-out").addEventListener("click", () => turnAway());
element("close").addEventListener("click", close);

if (key) look();
else turnAway();

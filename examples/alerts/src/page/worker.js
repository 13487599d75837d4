// @ts-check
/// <reference lib="webworker" />
const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

/**
 * What Dialogue pushes: a notice, and where in which room its event stands.
 * @typedef {{ title: string, body: string, icon?: string, url?: string, roomId: string, event: string, timestamp: number,
 *   position?: { epoch: string, seq: number, eventId: string }, collapse?: string, data?: any }} Pushed
 */

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("push", (event) => event.waitUntil(show(event.data?.json())));

/** @param {Pushed} pushed */
async function show(pushed) {
  await worker.registration.showNotification(pushed.title, {
    body: pushed.body,
    icon: pushed.icon,
    // A newer one takes the place of the older, and is heard again.
    tag: pushed.collapse && `${pushed.roomId}/${pushed.collapse}`,
    renotify: Boolean(pushed.collapse),
    timestamp: pushed.timestamp,
    data: pushed,
  });
  for (const page of await worker.clients.matchAll({ type: "window" })) page.postMessage(pushed);
}

worker.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data));
});

/** @param {Pushed} pushed */
async function open({ url = "/" }) {
  const target = new URL(url, worker.registration.scope).href;
  const [page] = await worker.clients.matchAll({ type: "window" });
  if (!page) return void (await worker.clients.openWindow(target));
  await page.focus();
  await page.navigate(target);
}

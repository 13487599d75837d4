// @ts-check
/** Who one is in this tab: a token of the server's, renewed at half its life. */

import { bearer, parse } from "./links.js";

const KEY = "rooms.token";
/** What a browser's timer can wait. */
const LONGEST_MS = 2 ** 31 - 1;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** The token of before a reload. */
export const token = () => sessionStorage.getItem(KEY) ?? undefined;

/**
 * @param {string} name
 * @param {string | undefined} role
 */
export async function signIn(name, role) {
  return keep((await post("sign-in", { name, role })).token);
}

export function signOut() {
  clearTimeout(timer);
  sessionStorage.removeItem(KEY);
}

/**
 * Asks for a newer token in time, again and again.
 * @param {(token: string) => Promise<void>} show tells the live connection
 */
export function renewInTime(show) {
  const { iat, exp } = said();
  clearTimeout(timer);
  timer = setTimeout(
    async () => {
      try {
        await show(keep((await post("renew")).token));
      } catch {
        // The next try comes in time, or the connection ends and says so.
      }
      if (token()) renewInTime(show);
    },
    Math.min(((exp - iat) * 1_000) / 2, LONGEST_MS),
  );
}

export const isModerator = () => said().roles?.includes("moderator") ?? false;

/**
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>} what the server says
 */
export async function post(path, body) {
  const headers = { "Content-Type": "application/json", ...bearer(token() ?? null) };
  const response = await fetch(path, { method: "POST", headers, body: body && JSON.stringify(body) }).catch(() => {
    throw new Error("The server can't be reached");
  });
  const answer = parse(await response.text());
  if (!response.ok) throw new Error(answer?.message ?? `The server answers ${response.status}`);
  return answer;
}

/** @param {string} fresh */
function keep(fresh) {
  sessionStorage.setItem(KEY, fresh);
  return fresh;
}

/** What the token says; that it is true, only the server knows. */
function said() {
  return parse(atob((token() ?? "").split(".")[0]?.replace(/-/g, "+").replace(/_/g, "/") ?? "")) ?? {};
}

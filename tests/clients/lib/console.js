// The debug console of a node, as somebody in front of a browser has it.

import { eventually } from "./wait.js";

const DEADLINE = 15_000;

/**
 * Opens a section of the console in a browser context of its own, logged in if there is a token. What goes wrong in the
 * page, breaches of its content security policy included, is kept in its `problems`.
 * @param {{section?: string, token?: string, at?: string, options?: object}} how `at` is one node's admin port,
 *   `options` are those of the browser context
 */
export async function visitConsole(browser, server, { section = "live", token, at = server.adminUrls[0], options = {} } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("console", (line) => {
    // The browser says so of the request that finds out that one has to log in; it is meant to be answered like that.
    const expected = token && /401 \(Unauthorized\)/.test(line.text());
    if (line.type() === "error" && !expected) page.problems.push(line.text());
  });
  await page.goto(`${at}/console/#${section}`);
  if (token) await logIn(page, token);
  await page.locator("#nav").waitFor();
  await page.locator("#feed[data-state=live]").waitFor({ state: "attached", timeout: DEADLINE });
  return page;
}

export async function logIn(page, token) {
  await page.locator("#token").fill(token);
  await page.locator("#login-form button").click();
}

let markers = 0;

/**
 * Waits until the open feed tells of every node, as the others have to hear first that somebody watches, and clears it.
 * What is used for that is an event of each node's own console.
 */
export async function hearsEveryNode(page, server, app, token) {
  for (const at of server.adminUrls) {
    await eventually(`the feed to tell of ${at}`, DEADLINE, async () => {
      const event = `marker-${(markers += 1)}`;
      const answer = await fetch(`${at}/console/api/apps/${app.id}/events`, {
        method: "POST",
        headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
        body: JSON.stringify({ channel: "marker", event, data: "" }),
      });
      if (answer.status !== 200) throw new Error(`${answer.status}: ${await answer.text()}`);
      return entries(page, "published", event).waitFor({ timeout: 1_000 }).then(() => true);
    });
  }
  await page.locator("#clear").click();
  await listed(page, 0, "published");
}

/** Opens another section, as its link does. */
export async function open(page, section) {
  await page.locator(`#nav [data-section=${section}]`).click();
  await page.locator(`#${section}`).waitFor();
}

/** The feed's rows that fit, newest first. */
export const entries = (page, kind, text = "") => page.locator(`#rows-body [data-kind="${kind}"]`).filter({ hasText: text });

/** Waits until so many rows fit. */
export function listed(page, number, kind, text) {
  return eventually(`${number} ${kind} rows with ${text}`, DEADLINE, async () => (await entries(page, kind, text).count()) === number);
}

/** The number in a chip or a line, thousands and all. */
export async function number(locator) {
  const [found = "0"] = /[\d,]+/.exec(await locator.textContent()) ?? [];
  return Number(found.replaceAll(",", ""));
}

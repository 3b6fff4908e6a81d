// Headless Chromium as the system has it; nothing is downloaded.

import { existsSync } from "node:fs";

import { chromium } from "playwright-core";

import { eventually } from "./wait.js";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function startBrowser() {
  const executablePath = process.env.CHROMIUM ?? PLACES.find(existsSync);
  if (!executablePath) throw new Error(`no Chromium in ${PLACES.join(", ")}: run \`make deps\`, or set CHROMIUM`);
  return chromium.launch({
    executablePath,
    args: [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
    ],
  });
}

/** pusher-js tries again at once; when nobody listens at that moment, its next try is 15 s later. */
export const RETRY_DEADLINE = 40_000;

/**
 * An open page of the application, with a client of the given build and options that is subscribed to the channels.
 * @param {{build: string, key: string, where: object, user?: number, channels?: string[], url?: string}} client
 */
export async function visit(browser, application, { build, key, where, user = 7, channels = [], url = application.url }) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await page.goto(`${url}/page?${build}`);
  await page.evaluate(
    ({ key, where, channels, user }) => {
      window.told = [];
      window.errors = [];
      window.client = new Pusher(key, {
        ...where,
        channelAuthorization: {
          endpoint: "/broadcasting/auth",
          transport: "ajax",
          headers: { authorization: `Bearer user-${user}` },
        },
      });
      window.client.connection.bind("error", (error) => window.errors.push(error.data ?? error.error?.data));
      for (const name of channels) {
        window.client.subscribe(name).bind_global((event, data) => window.told.push({ name, event, data: data?.members ?? data }));
      }
    },
    { key, where, channels, user },
  );
  const told = (name, event) => page.evaluate(() => window.told).then((all) => all.filter((one) => one.name === name && one.event === event).map(({ data }) => data));
  const until = (name, event, n = 1) => eventually(`${event} on ${name}`, RETRY_DEADLINE, async () => (await told(name, event))[n - 1]);
  for (const name of channels) await until(name, "pusher:subscription_succeeded");
  return {
    page,
    context,
    told,
    until,
    state: () => page.evaluate(() => window.client.connection.state),
    /** The name of what it is connected by. */
    transport: () => page.evaluate(() => window.client.connection.connection.transport.name),
    errors: () => page.evaluate(() => window.errors),
  };
}

// Waiting for conditions. Nothing in these suites sleeps for a fixed time.

export const DEADLINE = 8_000;

/**
 * Calls `check` until it returns something truthy, and returns that.
 * What it throws counts as "not yet" and is told when the deadline has passed.
 */
export async function eventually(what, deadline, check) {
  const end = performance.now() + deadline;
  for (;;) {
    let last;
    try {
      const found = await check();
      if (found) return found;
    } catch (e) {
      last = e;
    }
    if (performance.now() > end) {
      throw new Error(`waited ${deadline} ms for ${what}${last ? `: ${last.message}` : ""}`, { cause: last });
    }
    await new Promise((resume) => setTimeout(resume, 10));
  }
}

/** The promise, or an error that names what was waited for. */
export function within(what, promise, deadline = DEADLINE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${deadline} ms for ${what}`)), deadline);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

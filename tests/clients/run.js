// Runs the suites, each on what lib/topologies.js says: `node run.js`, or `node run.js pusher-js resume` for some.
// What a suite says is shown if it fails.

import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";

import { clientsDir } from "./lib/server.js";
import { TOPOLOGIES, topologiesOf } from "./lib/topologies.js";

const SUFFIX = ".test.js";

/** Suites wait most of the time. */
const AT_A_TIME = availableParallelism() + 1;

/** Its exit code, what it said, and how many seconds it ran. */
function run({ suite, topology }) {
  const begin = performance.now();
  const child = spawn(process.execPath, ["--test", "--test-reporter=spec", join("suites", suite + SUFFIX)], {
    cwd: clientsDir,
    env: { ...process.env, ...TOPOLOGIES[topology] },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of ["stdout", "stderr"]) child[stream].setEncoding("utf8").on("data", (text) => (output += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject).once("close", (code) => resolve({ code, output, seconds: (performance.now() - begin) / 1000 }));
  });
}

const all = readdirSync(join(clientsDir, "suites")).filter((name) => name.endsWith(SUFFIX)).map((name) => name.slice(0, -SUFFIX.length));
const chosen = process.argv.length > 2 ? process.argv.slice(2) : all;
for (const suite of chosen) if (!all.includes(suite)) throw new Error(`no suite "${suite}"; there are: ${all.join(", ")}`);

const jobs = chosen.flatMap((suite) => topologiesOf(suite).map((topology) => ({ suite, topology })));
const total = jobs.length;
const failed = [];
let ended = 0;

async function work() {
  for (let job; (job = jobs.shift()); ) {
    const { code, output, seconds } = await run(job);
    const passed = Number(/^. pass (\d+)$/m.exec(output)?.[1] ?? 0);
    // A suite that runs nothing shows nothing.
    const ok = code === 0 && passed > 0;
    const name = `${job.suite}, ${job.topology}`;
    ended += 1;
    console.log(`${ok ? "ok    " : "FAILED"} ${String(ended).padStart(3)}/${total} ${seconds.toFixed(0).padStart(4)} s  ${name}: ${passed} passed`);
    if (!ok) failed.push(name) && console.log(output);
  }
}

await Promise.all(Array.from({ length: AT_A_TIME }, work));
if (failed.length > 0) {
  console.log(`failed: ${failed.join("; ")}`);
  process.exitCode = 1;
}

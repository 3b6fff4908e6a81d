// What a suite's server can be and how its clients reach it, and which suites are run on which of that.

/**
 * How many nodes over Redis every suite's server is, behind a port that spreads connections, or requests, over them if
 * they are several; none is one without Redis.
 */
export const OVER_REDIS = Number(process.env.TIDEWIRE_TEST_OVER_REDIS ?? 0);

/** How many processes that are. */
export const NODES = Math.max(1, OVER_REDIS);

/** What pusher-js connects by: `ws`, `xhr_streaming` or `xhr_polling`. */
export const TRANSPORT = process.env.TIDEWIRE_TEST_TRANSPORT ?? "ws";

/** Each is the variables that make it. */
export const TOPOLOGIES = {
  alone: { TIDEWIRE_TEST_OVER_REDIS: "0" },
  "one node over Redis": { TIDEWIRE_TEST_OVER_REDIS: "1" },
  "two nodes over Redis": { TIDEWIRE_TEST_OVER_REDIS: "2" },
  "alone, by polls": { TIDEWIRE_TEST_OVER_REDIS: "0", TIDEWIRE_TEST_TRANSPORT: "xhr_polling" },
  "two nodes over Redis, by streams": { TIDEWIRE_TEST_OVER_REDIS: "2", TIDEWIRE_TEST_TRANSPORT: "xhr_streaming" },
};

/** What a suite is about is the same on whatever is behind the server, or `tests/it/cluster` has it. */
const ALONE = ["alone"];
/** What two nodes do, one over Redis does as well: half of what meets there, meets on one node. */
const ALONE_AND_TWO = ["alone", "two nodes over Redis"];
/** On every number of nodes that there is a topology for. */
const ALL = [...ALONE_AND_TWO, "one node over Redis"];
/** With pusher-js over HTTP. */
const BY_HTTP = ["alone, by polls", "two nodes over Redis, by streams"];

/** A suite that is not named here is run on `ALL`. */
const SUITES = {
  browser: [...ALONE_AND_TWO, ...BY_HTTP],
  "channel-rules": [...ALONE, ...BY_HTTP],
  "command-line": ALONE,
  console: ALONE,
  "console-apps": ALONE,
  "console-live": ALONE,
  "console-quick": ALONE,
  "console-server": ALONE_AND_TWO,
  docs: ALONE,
  examples: ALONE,
  "examples-invoices": ALONE,
  "examples-lightning": ALONE,
  "examples-organisations": ALONE,
  "examples-portals": ALONE,
  "examples-without-a-backend": ALONE,
  "laravel-echo": [...ALONE_AND_TWO, ...BY_HTTP],
  limits: ALONE_AND_TWO,
  "own-channels": ALONE,
  proxies: ALONE,
  "pusher-js": [...ALL, ...BY_HTTP],
  "pusher-js-builds": ALONE,
  "pusher-python": ALONE_AND_TWO,
  "python-clients": ALONE,
  readme: ALONE,
  reconnect: [...ALL, ...BY_HTTP],
  plain: ALONE_AND_TWO,
  sources: ALONE_AND_TWO,
  sse: ALONE_AND_TWO,
  tokens: ALONE,
};

export function topologiesOf(suite) {
  return SUITES[suite] ?? ALL;
}

/** The suites that are named here, so that none is named that there is not. */
export const named = Object.keys(SUITES);

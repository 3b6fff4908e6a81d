// `node --import` this file, and the examples find their packages here: one installation serves all tests. A test holds
// the versions to those of the examples' own lock file.

import { register } from "node:module";

const HOOKS = `
  const ours = ${JSON.stringify(new URL("resolve.js", import.meta.url).href)};
  export function resolve(specifier, context, next) {
    return next(specifier, /^pusher(-js)?(\\/|$)/.test(specifier) ? { ...context, parentURL: ours } : context);
  }
`;

register(`data:text/javascript,${encodeURIComponent(HOOKS)}`);

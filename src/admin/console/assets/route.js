// Where in the console one is: `#live?app=1001&channel=invoice.7`. Filters are part of it, so a reload or a bookmark
// comes back to them.

/** Where each section was left. */
const left = new Map();
/** The section that is shown. */
let shown = null;

/** `{ section, params }` of the address. */
export function here() {
  const [section, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  return { section, params: new URLSearchParams(query) };
}

/** The address of a section; parameters without a value are left out. */
export function link(section, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value));
  return query.size > 0 ? `#${section}?${query}` : `#${section}`;
}

/** Goes there. */
export function go(section, params) {
  location.hash = link(section, params);
}

/** A section is shown from now on, and this is its address. */
export function arrive(section, params) {
  shown = section;
  note(section, params);
}

/** Changes the address without a step in the history and without being told; of a section that is not shown, for later. */
export function note(section, params) {
  const address = link(section, params);
  left.set(section, address);
  if (section === shown) history.replaceState(null, "", address);
}

/** Where a section was left, or its beginning. */
export const back = (section, params) => left.get(section) ?? link(section, params);

/** Every section begins anew: another app has other channels. */
export const startOver = () => left.clear();

export function onMove(callback) {
  addEventListener("hashchange", callback);
}

// What the console keeps in this browser: settings and what was sent. Browsers may refuse storage, and then nothing is
// kept: no caller depends on it.

const PREFIX = "tidewire.";

/** The value kept under a name, or the other one. */
export function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Whether the value is kept now. */
export function write(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

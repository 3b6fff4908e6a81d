// What comes from outside, checked: each returns the value as it may be used, or refuses the request with 400.

import { HttpError } from "./reply.js";

export function text(fields, name, max = 100) {
  const value = typeof fields[name] === "string" ? fields[name].trim() : "";
  if (value && value.length <= max) return value;
  throw new HttpError(400, `Expected ${name}: a text of 1 to ${max} characters`);
}

/** Whole numbers, also as the text of a form. Amounts are in the smallest unit, so they never need fractions. */
export function whole(fields, name, max = 100_000_000) {
  const value = /^\d{1,16}$/.test(String(fields[name] ?? "")) ? Number(fields[name]) : 0;
  if (value >= 1 && value <= max) return value;
  throw new HttpError(400, `Expected ${name}: a whole number from 1 to ${max}`);
}

export function oneOf(fields, name, values) {
  if (values.includes(fields[name])) return fields[name];
  throw new HttpError(400, `Expected ${name}: one of ${values.join(", ")}`);
}

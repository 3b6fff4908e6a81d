// Who somebody is: a cookie that only this backend can have written, because it is signed.

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

import { oneOf } from "./input.js";
import { file, redirect } from "./reply.js";

const SECONDS = 8 * 60 * 60;

// Without SESSION_SECRET, logins end with the process.
const secret = process.env.SESSION_SECRET ?? randomBytes(32);

const sign = (text) => createHmac("sha256", secret).update(text).digest("base64url");

/** Whether two texts are the same, in a time that does not tell where they differ. */
export function equal(a, b) {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** The value of a Set-Cookie header that says who the user is. Behind TLS, add `Secure`. */
function cookie(name, user) {
  const text = Buffer.from(JSON.stringify({ user, until: Date.now() + SECONDS * 1000 })).toString("base64url");
  return `${name}=${text}.${sign(text)}; HttpOnly; SameSite=Lax; Path=/; Max-Age=${SECONDS}`;
}

/** The user of a request's Cookie header; none if there is no such cookie, or a forged or an old one. */
export function userOf(name, header = "") {
  const value = header.split("; ").find((part) => part.startsWith(`${name}=`))?.slice(name.length + 1);
  const [text, signature] = value?.split(".") ?? [];
  if (!text || !signature || !equal(signature, sign(text))) return undefined;
  const { user, until } = JSON.parse(Buffer.from(text, "base64url"));
  return Date.now() < until ? user : undefined;
}

/** A login without passwords, for a demonstration: whoever comes says which of the users to be. */
export function demoLogin(name, users) {
  return {
    "GET /login": () => file(new URL("public/login.html", import.meta.url)),
    "POST /login": ({ body }) => {
      const user = oneOf(body, "user", users);
      const next = /^\/[\w/-]*$/.test(body.next) && !body.next.startsWith("//") ? body.next : "/";
      return redirect(next, { "set-cookie": cookie(name, user) });
    },
    "POST /logout": () => redirect("/login", { "set-cookie": `${name}=; HttpOnly; Path=/; Max-Age=0` }),
  };
}

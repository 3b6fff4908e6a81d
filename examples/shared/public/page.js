// What the pages have in common: asking the backend, showing values, telling people. Texts are never markup.

/** The backend's answer, or an error with its reason. */
export async function api(method, path, body, headers = {}) {
  const answer = await fetch(path, {
    method,
    headers: body ? { "content-type": "application/json", ...headers } : headers,
    body: body && JSON.stringify(body),
  });
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.error), { status: answer.status });
  return value;
}

/** Shows why there is nothing to see instead of the page, which would look as if it worked. */
function refuse({ status, message }) {
  const card = document.createElement("section");
  Object.assign(card, { id: "nothing", className: "card stack" });
  const head = document.createElement("h2");
  head.textContent = status === 404 ? "There is nothing here" : "You may not see this";
  const why = document.createElement("p");
  why.textContent = message;
  card.append(head, why);
  if (status !== 404) {
    const login = document.createElement("a");
    Object.assign(login, { href: `/login?next=${location.pathname}`, textContent: status === 401 ? "Log in" : "Log in as somebody else" });
    card.append(login);
  }
  document.querySelector("main").replaceChildren(card);
  // Nothing that comes now has a place on the page.
  for (const pusher of window.Pusher?.instances ?? []) pusher.disconnect();
}

const REFUSALS = [401, 403, 404];

/**
 * Calls `load`, and passes its result on unless a later call has begun meanwhile. If the backend refuses it, the page
 * shows that and nothing else.
 */
export function latest(load, show) {
  let calls = 0;
  return async () => {
    const call = (calls += 1);
    try {
      const value = await load();
      if (call === calls) show(value);
    } catch (error) {
      if (REFUSALS.includes(error.status)) return refuse(error);
      toast("What this page shows may be old.", error.message);
    }
  };
}

/** A copy of a template's one element. */
export function copy(id) {
  return document.querySelector(`template#${id}`).content.cloneNode(true).firstElementChild;
}

/** Puts each value into the element whose `data-field` is its name. */
export function fill(element, values) {
  for (const place of element.querySelectorAll("[data-field]")) {
    const value = values[place.dataset.field];
    if (value === undefined) continue;
    place.textContent = value;
    if (place.classList.contains("pill")) place.dataset.is = value;
  }
  return element;
}

/** Cents as people write them. */
export const money = (cents) => new Intl.NumberFormat("en", { style: "currency", currency: "EUR" }).format(cents / 100);

/** Says something for some seconds, to screen readers as well. */
export function toast(title, body = "") {
  const list = document.querySelector("#toasts");
  const note = document.createElement("div");
  const head = document.createElement("strong");
  head.textContent = title;
  note.append(head, ` ${body}`);
  list.append(note);
  setTimeout(() => note.remove(), 6000);
}

/** Sends a form to a function instead of the backend, and says what went wrong. */
export function onSubmit(form, send) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await send(Object.fromEntries(new FormData(form)));
    } catch (error) {
      toast("That did not work.", error.message);
    }
  });
}

/** What a person types as an amount, in cents. */
export const cents = (text) => Math.round(Number(text) * 100);

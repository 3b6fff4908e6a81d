// One organisation at a time. Its invoices and its notifications are two parts that listen to one channel, and each
// stops when it goes.

import { listen } from "/listen.js";
import { connect, forget, watched } from "/live.js";
import { Optimistic } from "/optimistic.js";
import { api, cents, copy, fill, latest, money, onSubmit, toast } from "/page.js";
import settings from "/settings.js";

const pusher = connect();
const channelOf = (org) => `private-org.${org}`;
const newMutationId = () => [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

let handled = 0;

function countHandled() {
  handled += 1;
  document.querySelector("#handled").textContent = handled;
}

/** Shows an organisation's invoices until its `stop` is called; `create` shows a new one before it is saved. */
function showInvoices(org) {
  const list = document.querySelector("#invoices");
  const invoices = new Optimistic();
  const rows = new Map();
  let isHere = true;

  function show() {
    // An answer may come when another organisation is shown already.
    if (!isHere) return;
    const all = invoices.all();
    // One that was refused goes, and so does one that has got its id.
    const ids = new Set(all.map(({ id }) => id));
    for (const [id, row] of rows) {
      if (ids.has(id)) continue;
      row.remove();
      rows.delete(id);
    }
    for (const invoice of all) {
      if (!rows.has(invoice.id)) rows.set(invoice.id, newRow(invoice.id));
      const row = rows.get(invoice.id);
      fill(row, { ...invoice, amount: money(invoice.amount), saving: invoice.pending ? "saving…" : "" });
      row.querySelector("[data-act=paid]").hidden = invoice.status === "paid" || Boolean(invoice.isNew);
      for (const control of row.querySelector("form").elements) control.disabled = Boolean(invoice.isNew);
      const input = row.querySelector("[name=title]");
      if (input !== document.activeElement) input.value = invoice.title;
    }
  }

  function newRow(id) {
    const row = copy("invoice");
    const path = `/api/${org}/invoices/${id}`;
    onSubmit(row.querySelector("form"), ({ title }) => {
      document.activeElement.blur();
      return change(id, { title }, (mutationId) => api("PATCH", path, { title, mutationId }));
    });
    row.querySelector("[data-act=paid]").addEventListener("click", () => {
      change(id, { status: "paid" }, (mutationId) => api("POST", `${path}/paid`, { mutationId }));
    });
    list.append(row);
    return row;
  }

  const change = (id, values, send) => attempt((mutationId) => invoices.change(mutationId, id, values), send);

  /** Whether the backend took it. */
  const create = (values) =>
    attempt((mutationId) => invoices.create(mutationId, { status: "open", ...values }), (mutationId) => api("POST", `/api/${org}/invoices`, { ...values, mutationId }));

  async function attempt(begin, send) {
    const mutationId = newMutationId();
    begin(mutationId);
    show();
    let refused = false;
    try {
      invoices.confirm(await send(mutationId), mutationId);
    } catch (error) {
      refused = invoices.reject(mutationId);
      if (refused) toast("That did not work.", error.message);
    }
    show();
    return !refused;
  }

  function onEvent(action, { invoice, mutationId }) {
    countHandled();
    invoices.confirm(invoice, mutationId);
    show();
    if (action in CALLED_OUT) toast(CALLED_OUT[action], `${invoice.title}, ${money(invoice.amount)}`);
  }

  const load = latest(
    () => api("GET", `/api/${org}/invoices`),
    (all) => {
      for (const invoice of all) invoices.confirm(invoice);
      show();
    },
  );
  const events = ["CREATED", "UPDATED", "PAID", "OVERDUE"].map((action) => [`invoice.${action}`, (data) => onEvent(action, data)]);
  const channel = channelOf(org);
  const refusal = watched(channel);
  const succeeded = () => {
    refusal["pusher:subscription_succeeded"]();
    // Told on every subscription, also after a lost connection: what happened before it is asked for.
    load();
  };
  const leave = listen(pusher, channel, { ...Object.fromEntries(events), ...refusal, "pusher:subscription_succeeded": succeeded });
  load();
  const stop = () => {
    isHere = false;
    leave();
    forget(channel);
    list.replaceChildren();
  };
  return { stop, create };
}

/** What everybody in the organisation must hear of, whatever they are looking at. */
const CALLED_OUT = { PAID: "Paid", OVERDUE: "Overdue" };

/** The same for its notifications. */
function showNotifications(org) {
  const list = document.querySelector("#notifications");
  const stop = listen(pusher, channelOf(org), {
    "notification.CREATED": ({ text, sentAt }) => {
      countHandled();
      list.prepend(fill(copy("notification"), { text, time: new Date(sentAt).toLocaleTimeString() }));
    },
  });
  return () => {
    stop();
    list.replaceChildren();
  };
}

const select = document.querySelector("#organisation");
const toggle = document.querySelector("#toggle");
let shown = null;
let hideNotifications = null;

function toggleNotifications() {
  if (hideNotifications) hideNotifications();
  hideNotifications = hideNotifications ? null : showNotifications(select.value);
  toggle.textContent = hideNotifications ? "Hide" : "Show";
}

function switchOrganisation() {
  shown?.stop();
  shown = showInvoices(select.value);
  if (hideNotifications) toggleNotifications();
  toggleNotifications();
}

for (const org of settings.organisations) select.append(new Option(org, org));
select.addEventListener("change", switchOrganisation);
toggle.addEventListener("click", toggleNotifications);
switchOrganisation();

const form = document.querySelector("#create");
onSubmit(form, async ({ title, amount, dueOn }) => {
  form.reset();
  if (await shown.create({ title, amount: cents(amount), dueOn })) return;
  // What was typed is not lost with what was refused, unless something else has been typed meanwhile.
  if (form.elements.title.value !== "") return;
  for (const [name, value] of Object.entries({ title, amount, dueOn })) form.elements[name].value = value;
});
document.querySelector("#overdue").addEventListener("click", () => {
  api("POST", `/api/${select.value}/overdue`, {}).catch((error) => toast("That did not work.", error.message));
});

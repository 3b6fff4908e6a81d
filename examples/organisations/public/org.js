// One organisation at a time. Its invoices and its notifications are two parts that listen to one channel, and each
// stops when it goes.

import { listen } from "/listen.js";
import { connect } from "/live.js";
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

/** Shows an organisation's invoices until the returned function is called. */
function showInvoices(org) {
  const list = document.querySelector("#invoices");
  const invoices = new Optimistic();
  const rows = new Map();
  let isHere = true;

  function show() {
    // An answer may come when another organisation is shown already.
    if (!isHere) return;
    for (const invoice of invoices.all()) {
      if (!rows.has(invoice.id)) rows.set(invoice.id, newRow(invoice.id));
      const row = rows.get(invoice.id);
      fill(row, { ...invoice, amount: money(invoice.amount), saving: invoice.pending ? "saving…" : "" });
      row.querySelector("[data-act=paid]").hidden = invoice.status === "paid";
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

  async function change(id, values, send) {
    const mutationId = newMutationId();
    invoices.change(mutationId, id, values);
    show();
    try {
      invoices.confirm(await send(mutationId), mutationId);
    } catch (error) {
      if (invoices.reject(mutationId)) toast("That did not work.", error.message);
    }
    show();
  }

  function onEvent({ invoice, mutationId }) {
    countHandled();
    invoices.confirm(invoice, mutationId);
    show();
  }

  const load = latest(
    () => api("GET", `/api/${org}/invoices`),
    (all) => {
      for (const invoice of all) invoices.confirm(invoice);
      show();
    },
  );
  const events = ["CREATED", "UPDATED", "PAID", "OVERDUE"].map((action) => [`invoice.${action}`, onEvent]);
  // Told on every subscription, also after a lost connection: what happened before it is asked for.
  const stop = listen(pusher, channelOf(org), { ...Object.fromEntries(events), "pusher:subscription_succeeded": load });
  load();
  return () => {
    isHere = false;
    stop();
    list.replaceChildren();
  };
}

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
let hideInvoices = () => {};
let hideNotifications = null;

function toggleNotifications() {
  if (hideNotifications) hideNotifications();
  hideNotifications = hideNotifications ? null : showNotifications(select.value);
  toggle.textContent = hideNotifications ? "Hide" : "Show";
}

function switchOrganisation() {
  hideInvoices();
  hideInvoices = showInvoices(select.value);
  if (hideNotifications) toggleNotifications();
  toggleNotifications();
}

for (const org of settings.organisations) select.append(new Option(org, org));
select.addEventListener("change", switchOrganisation);
toggle.addEventListener("click", toggleNotifications);
switchOrganisation();

const form = document.querySelector("#create");
onSubmit(form, async ({ title, amount, dueOn }) => {
  await api("POST", `/api/${select.value}/invoices`, { title, amount: cents(amount), dueOn, mutationId: newMutationId() });
  form.reset();
});
document.querySelector("#overdue").addEventListener("click", () => {
  api("POST", `/api/${select.value}/overdue`, {}).catch((error) => toast("That did not work.", error.message));
});

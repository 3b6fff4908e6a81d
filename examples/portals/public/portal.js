// Both portals: the backend says whose invoices these are and on which channel their events come.

import { connect, subscribe } from "/live.js";
import { Switch, mayNotify, notify } from "/notify.js";
import { api, cents, copy, fill, latest, money, onSubmit, toast } from "/page.js";
import settings from "/settings.js";

const EVENTS = ["INVOICE_CREATED", "INVOICE_UPDATED", "INVOICE_SENT", "INVOICE_PAID", "PAYMENT_RECORDED"];

const { isAdmin, user, customers, channel: channelName } = settings;
const list = document.querySelector("#invoices");
const rows = new Map();

/** What an admin can do next with an invoice: a label and a request, or nothing. */
function nextStep({ id, status, amount, paid }) {
  if (status === "draft") return ["Send", () => api("POST", `/api/invoices/${id}/send`, {})];
  if (status === "sent") return ["Record payment", () => api("POST", `/api/invoices/${id}/payments`, { amount: amount - paid })];
  return undefined;
}

function newRow(id) {
  const row = copy("invoice");
  if (!isAdmin) return row;
  const details = row.querySelector("details");
  details.hidden = false;
  onSubmit(row.querySelector("form"), async ({ title, amount }) => {
    await api("PATCH", `/api/invoices/${id}`, { title, amount: cents(amount) });
    details.open = false;
  });
  return row;
}

/** Puts one invoice where it belongs, whether it is new or not: a state that comes twice or late changes nothing. */
function show(invoice) {
  const { id, amount, version } = invoice;
  if (!rows.has(id)) {
    rows.set(id, newRow(id));
    list.prepend(rows.get(id));
    document.querySelector("#none").hidden = true;
  }
  const row = rows.get(id);
  if (version < Number(row.dataset.version)) return;
  row.dataset.version = version;
  fill(row, { ...invoice, amount: money(amount) });
  if (isAdmin) showActions(row, invoice);
}

function showActions(row, invoice) {
  if (!row.querySelector("details").open) {
    row.querySelector("[name=title]").value = invoice.title;
    row.querySelector("[name=amount]").value = invoice.amount / 100;
  }
  const button = row.querySelector("button");
  const [label, act] = nextStep(invoice) ?? [];
  button.hidden = !label;
  button.textContent = label;
  button.onclick = () => act().catch((error) => toast("That did not work.", error.message));
}

const load = latest(
  () => api("GET", "/api/invoices"),
  (invoices) => invoices.reverse().forEach(show),
);

const SAID = {
  INVOICE_CREATED: "New invoice",
  INVOICE_UPDATED: "Invoice changed",
  INVOICE_SENT: isAdmin ? "Invoice sent" : "New invoice",
  INVOICE_PAID: "Invoice paid",
  PAYMENT_RECORDED: "Payment received",
};

const notifications = new Switch("notifications", { turnedOn: mayNotify });

function onEvent(event, { type, invoice }) {
  // Other types may come one day; this page has no idea of them.
  if (type !== "INVOICE_UPDATE") return;
  show(invoice);
  const { title, updatedAt } = invoice;
  document.querySelector("#events").prepend(fill(copy("event"), { event, title, time: new Date(updatedAt).toLocaleTimeString() }));
  if (!notifications.isOn) return;
  toast(SAID[event], title);
  notify(SAID[event], title, `${event} ${invoice.id} ${invoice.version}`);
}

const channel = subscribe(connect(), channelName);
for (const event of EVENTS) channel.bind(event, (data) => onEvent(event, data));
// Told on every subscription, also after a lost connection: what happened before it is asked for, what comes later is told.
channel.bind("pusher:subscription_succeeded", load);
load();

document.querySelector("#who").textContent = isAdmin ? "All invoices" : `Invoices of customer ${user}`;
const form = document.querySelector("#create");
form.hidden = !isAdmin;
for (const id of customers) form.elements.customerId.append(new Option(id, id));
onSubmit(form, async ({ customerId, title, amount }) => {
  await api("POST", "/api/invoices", { customerId, title, amount: cents(amount) });
  form.reset();
});

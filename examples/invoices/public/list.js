// The invoices that a user has issued: new ones, changes and payments show at once, and are counted until looked at.

import { connect, subscribe } from "/live.js";
import { Switch, chime, mayNotify, notify } from "/notify.js";
import { api, cents, copy, fill, latest, money, onSubmit, toast } from "/page.js";
import settings from "/settings.js";

const list = document.querySelector("#invoices");
const rows = new Map();

function rowOf({ id }) {
  if (rows.has(id)) return rows.get(id);
  const row = copy("invoice");
  rows.set(id, row);
  row.querySelector("a").href = `/pay/${id}`;
  const details = row.querySelector("details");
  onSubmit(row.querySelector("form"), async ({ title, amount }) => {
    await api("PATCH", `/api/invoices/${id}`, { title, amount: cents(amount) });
    details.open = false;
  });
  return row;
}

function show(invoices) {
  for (const invoice of invoices) {
    const row = fill(rowOf(invoice), { ...invoice, amount: money(invoice.amount) });
    if (row.querySelector("details").open) continue;
    const { title, amount } = row.querySelector("form").elements;
    title.value = invoice.title;
    amount.value = invoice.amount / 100;
  }
  // Only what is new moves, so that focus stays where it is.
  invoices.forEach((invoice, at) => {
    if (list.children[at] !== rowOf(invoice)) list.insertBefore(rowOf(invoice), list.children[at] ?? null);
  });
}

const load = latest(() => api("GET", "/api/invoices"), show);

const badge = document.querySelector("#news");
let unseen = 0;

function count(news) {
  unseen = news;
  badge.hidden = news === 0;
  badge.textContent = `${news} new`;
  document.title = news ? `(${news}) Invoices` : "Invoices";
}

function onNews(news) {
  const row = rows.get(news.invoiceId);
  if (row) fill(row, { status: news.status });
  toast(news.title, news.body);
  callForAttention(news);
  count(unseen + 1);
  load();
}

const sound = new Switch("sound", { turnedOn: chime });
const notification = new Switch("notification", { turnedOn: mayNotify });
const PAYMENTS = ["payment_received", "invoice_completed"];

function callForAttention({ type, title, body, invoiceId, sentAt }) {
  if (!PAYMENTS.includes(type)) return;
  if (sound.isOn) chime();
  if (notification.isOn) notify(type === "invoice_completed" ? "Invoice paid" : title, body, `${invoiceId} ${sentAt}`);
}

const channel = subscribe(connect(), `${settings.prefix}user.${settings.user}.invoices`);
for (const event of ["invoice.created", "invoice.updated", "payment.received"]) channel.bind(event, onNews);
// Told on every subscription, also after a lost connection: what happened before it is asked for, what comes later is told.
channel.bind("pusher:subscription_succeeded", load);
load();

badge.addEventListener("click", () => count(0));
document.querySelector("#user").textContent = settings.user;

const form = document.querySelector("#create");
for (const name of settings.customers) form.elements.customerId.append(new Option(name, name));
onSubmit(form, async ({ title, amount, customerId }) => {
  await api("POST", "/api/invoices", { title, amount: cents(amount), customerId });
  form.reset();
});

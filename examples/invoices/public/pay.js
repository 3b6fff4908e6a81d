// The pay page of one invoice: whatever is paid or changed shows at once.

import { connect, subscribe } from "/live.js";
import { api, cents, copy, fill, latest, money, onSubmit, toast } from "/page.js";
import settings from "/settings.js";

const id = location.pathname.split("/").pop();
const form = document.querySelector("form");

function show({ title, status, amount, paid }) {
  const open = amount - paid;
  fill(document.querySelector("#invoice"), { title, status, amount: money(amount), paid: money(paid), open: money(open) });
  form.hidden = open === 0;
  const field = form.elements.amount;
  field.max = open / 100;
  if (field !== document.activeElement) field.value = open / 100;
}

const load = latest(() => api("GET", `/api/invoices/${id}`), show);

function onNews(news) {
  fill(document.querySelector("#invoice"), { status: news.status });
  document.querySelector("#history").prepend(fill(copy("entry"), { ...news, time: new Date(news.sentAt).toLocaleTimeString() }));
  toast(news.title, news.body);
  load();
}

const channel = subscribe(connect(), `${settings.prefix}invoice.${id}`);
for (const event of ["payment.received", "invoice.status.changed", "invoice.updated"]) channel.bind(event, onNews);
// Told on every subscription, also after a lost connection: what happened before it is asked for, what comes later is told.
channel.bind("pusher:subscription_succeeded", load);
load();

onSubmit(form, ({ amount }) => api("POST", `/api/invoices/${id}/payments`, { amount: cents(amount) }));

// Where orders begin, and where the shop sees how many pages are connected.

import { api, onSubmit } from "/page.js";

onSubmit(document.querySelector("form"), async ({ title, amountSat, externalId: own }) => {
  const { externalId } = await api("POST", "/api/orders", { title, amountSat, externalId: own || undefined });
  location.assign(`/pay/${encodeURIComponent(externalId)}`);
});

async function showClients() {
  const { connections } = await api("GET", "/api/clients").catch(() => ({ connections: null }));
  document.querySelector("#clients").textContent = connections ?? "not known";
  setTimeout(showClients, 2000);
}
showClients();

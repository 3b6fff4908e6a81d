// One button for each user of the demonstration.

import settings from "/settings.js";

const form = document.querySelector("form");
form.elements.next.value = new URLSearchParams(location.search).get("next") ?? "/";
for (const user of settings.users) {
  const button = document.createElement("button");
  Object.assign(button, { name: "user", value: user, textContent: user });
  form.append(button);
}

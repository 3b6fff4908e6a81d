// The colours: as the system says, or as chosen with the button.

import { read, write } from "./storage.js";

const NEXT = { system: "light", light: "dark", dark: "system" };
const LABELS = { system: "System", light: "Light", dark: "Dark" };

/** Makes a button go through the choices. */
export function setUpTheme(button) {
  let theme = read("theme", "system");
  if (!(theme in NEXT)) theme = "system";
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `◐ ${LABELS[theme]}`;
    button.setAttribute("aria-label", `Colours: ${LABELS[theme]}`);
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    write("theme", theme);
    show();
  });
  show();
}

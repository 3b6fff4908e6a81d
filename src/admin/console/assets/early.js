// Applies a chosen theme before anything is drawn, so that the page does not flash. A classic script because modules
// run too late for that; `theme.js` has the rest.

try {
  const chosen = JSON.parse(localStorage.getItem("tidewire.theme"));
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage, or with somebody else's value in it, the system's choice holds.
}

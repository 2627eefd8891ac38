// Loaded before anything is drawn, so that the page never shows in the wrong colours first.
try {
  const chosen = localStorage.getItem("longspan.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage the system's choice holds.
}

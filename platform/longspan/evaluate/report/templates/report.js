"use strict";

// Rows of each family keep together: every tbody is sorted by itself.
function sortBy(button) {
  const header = button.closest("th");
  const column = [...header.parentElement.children].indexOf(header);
  const isDescending = header.getAttribute("aria-sort") !== "descending";
  const table = header.closest("table");
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
  const value = (row) => {
    const cell = row.children[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.querySelector(".family"));
    rows.sort((a, b) => (isDescending ? -1 : 1) * compare(value(a), value(b)));
    body.append(...rows);
  }
}

// A cell of a heat map leads to its samples, which are folded away.
function unfoldTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  target.scrollIntoView();
}

for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sortBy(button));
addEventListener("hashchange", unfoldTarget);
unfoldTarget();

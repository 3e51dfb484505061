// Sorting and filtering of the table of figures; without this script the table is there, worst first.
"use strict";
document.documentElement.classList.add("js");
const body = document.querySelector("#figures tbody");
const rows = body ? [...body.rows] : [];
const search = document.querySelector("#search");
const boxes = [...document.querySelectorAll(".tools input[type=checkbox]")];
const shown = document.querySelector("#shown");

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const verdicts = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !verdicts.has(row.dataset.verdict) || !words.every((word) => text.includes(word));
    count += row.hidden ? 0 : 1;
  }
  shown.textContent = `${count} of ${rows.length} shown`;
}

function sort(header) {
  const column = header.cellIndex;
  const up = header.getAttribute("aria-sort") !== "ascending";
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
  const numeric = header.classList.contains("n");
  const compare = (a, b) => {
    if (!numeric) return key(a).localeCompare(key(b));
    const [x, y] = [parseFloat(key(a)), parseFloat(key(b))];
    return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : x - y;
  };
  rows.sort((a, b) => (up ? compare(a, b) : compare(b, a)));
  body.append(...rows);
}

if (body) {
  search.addEventListener("input", filter);
  for (const box of boxes) box.addEventListener("change", filter);
  for (const header of document.querySelectorAll("#figures thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(header));
    header.append(button);
  }
  filter();
}

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", openTarget);
openTarget();

const closed = [];
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details:not([open])")) {
    closed.push(each);
    each.open = true;
  }
});
addEventListener("afterprint", () => {
  while (closed.length) closed.pop().open = false;
});

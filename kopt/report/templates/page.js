// The page works without this script: tables stand in their order, kernels open one by one.  With it, figures are drawn,
// tables sort and filter, links open kernels, and code can be copied and downloaded.  Text of candidates is only ever read
// with textContent, and only ever written with it.
"use strict";

const { charts, config, datasets } = JSON.parse(document.getElementById("figures").textContent);
const make = (tag, text, parent) => {
  const element = document.createElement(tag);
  element.textContent = text;
  if (tag === "button") element.type = "button";
  parent?.append(element);
  return element;
};

// Kernels: a link, a mark in a figure, or an address with #k-NAME opens one; a candidate without one is shown in the table.
const open = (name) => {
  const kernel = document.getElementById(`k-${name}`) ?? document.getElementById(`t-${name}`);
  if (!kernel) return;
  for (let part = kernel; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  kernel.hidden = false;
  const focused = kernel.querySelector("summary, a") ?? kernel;
  kernel.scrollIntoView({ block: "start" });
  focused.focus({ preventScroll: true });
};
const openHash = () => {
  const name = /^#k-([\w-]+)$/.exec(location.hash)?.[1];
  if (name) open(name);
};
addEventListener("hashchange", openHash);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#k-"]');
  if (link && link.hash === location.hash) open(link.hash.slice(3));
});

// Files: what a button saves, and what it copies.
const save = (name, text, type) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
const copy = async (text, button) => {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    const area = make("textarea", text, document.body);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const before = button.textContent;
  button.textContent = done ? "copied" : "not copied";
  setTimeout(() => (button.textContent = before), 1500);
};
for (const block of document.querySelectorAll("pre[data-copy]")) {
  const bar = make("div", "");
  bar.className = "buttons";
  block.before(bar);
  const what = block.getAttribute("aria-label") ?? "text";
  const button = make("button", "copy", bar);
  button.setAttribute("aria-label", `copy: ${what}`);
  button.addEventListener("click", () => copy(block.textContent, button));
  if (block.dataset.file) {
    const down = make("button", "download", bar);
    down.setAttribute("aria-label", `download: ${what}`);
    down.addEventListener("click", () => save(block.dataset.file, block.textContent, "text/plain"));
  }
}

// Tables: a click on a column's head sorts; a button saves the rows that are shown.
const amount = /^\$?(-?\d+(?:\.\d+)?(?:e-?\d+)?)(?: ms|x| %)?(?: estimated)?$/;
const shownText = (cell) => cell.dataset.key ?? amount.exec(cell.textContent.trim())?.[1] ?? cell.textContent.trim();
const key = (row, column) => shownText(row.cells[column]);
const compare = (x, y, down) => {
  if (x === "" || y === "") return (x === "") - (y === "");
  const numbers = !isNaN(x) && !isNaN(y);
  return (numbers ? x - y : x.localeCompare(y, "en", { numeric: true })) * (down ? -1 : 1);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const first = [...table.tBodies[0].rows];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const rows = first.map((row) => [key(row, column), row]); // equal ones stay in the order that they came in
      rows.sort(([x], [y]) => compare(x, y, down));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
  // A cell that a spreadsheet would take for a formula begins with an apostrophe.
  const quoted = (text) => `"${(/^[=+\-@\t\r]/.test(text) && isNaN(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const bar = make("div", "");
  bar.className = "buttons";
  table.parentElement.before(bar);
  const button = make("button", "download CSV", bar);
  button.setAttribute("aria-label", `download CSV: ${table.dataset.csv}`);
  button.addEventListener("click", () => {
    const rows = [table.tHead.rows[0], ...table.tBodies[0].rows].filter((row) => !row.hidden);
    const lines = rows.map((row) => [...row.cells].map((cell) => quoted(shownText(cell))).join(","));
    save(`${table.dataset.csv}.csv`, `${lines.join("\n")}\n`, "text/csv");
  });
}

// On a narrow screen a table that does not fit stands as a list: a block for each row, a line for each cell, with the name
// of its column.  Roles keep it a table for readers of the screen.
const narrow = matchMedia("screen and (max-width: 46rem)");
const stack = (frame) => {
  const table = frame.querySelector("table");
  table.classList.remove("stacked");
  table.classList.toggle("stacked", narrow.matches && frame.scrollWidth > frame.clientWidth + 1);
};
const frames = [...document.querySelectorAll(".scroll")].filter((frame) => frame.querySelector("table > thead"));
for (const frame of frames) {
  const table = frame.querySelector("table");
  const names = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
  table.setAttribute("role", "table");
  for (const part of [table.tHead, ...table.tBodies]) part.setAttribute("role", "rowgroup");
  for (const row of table.rows) {
    row.setAttribute("role", "row");
    const inHead = row.parentElement === table.tHead;
    [...row.cells].forEach((cell, column) => {
      cell.setAttribute("role", inHead ? "columnheader" : cell.tagName === "TH" ? "rowheader" : "cell");
      if (!inHead) cell.dataset.column = names[column];
    });
  }
}
const widths = new WeakMap();
const sized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    if (widths.get(target) === contentRect.width || !contentRect.width) continue;
    widths.set(target, contentRect.width);
    requestAnimationFrame(() => stack(target));
  }
});
for (const frame of frames) sized.observe(frame);
narrow.addEventListener("change", () => frames.forEach(stack));

// Filters of the table of candidates.
for (const form of document.querySelectorAll("form[data-filters]")) {
  const rows = [...document.getElementById(form.dataset.filters).tBodies[0].rows];
  const columns = { outcome: 1, round: 4, model: 5 };
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const value = (row, column) => row.cells[column].firstChild?.textContent ?? "";
  for (const [name, column] of Object.entries(columns)) {
    const values = [...new Set(rows.map((row) => value(row, column)))];
    values.sort((x, y) => x.localeCompare(y, "en", { numeric: true }));
    for (const one of values) make("option", one, form.elements[name]).value = one;
  }
  const filter = () => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, place) => {
      const fits = Object.entries(columns).every(
        ([name, column]) => !form.elements[name].value || value(row, column) === form.elements[name].value,
      );
      row.hidden = !(fits && words.every((word) => texts[place].includes(word)));
      shown += !row.hidden;
    });
    const framed = document.getElementById(form.dataset.filters).closest(".tall") && shown > 12;
    form.querySelector("output").textContent = `${shown} of ${rows.length} shown${framed ? "; scroll within the table" : ""}`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
}

// Figures.  Vega interprets its expressions (`ast`), so that the content security policy need not allow evaluation.
const drawn = new Set();
const colours = (text) => {
  const style = getComputedStyle(document.documentElement);
  return text.replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim() || "black");
};
const openable = (item) => item?.datum?.name && document.getElementById(`k-${item.datum.name}`);
const show = (item) => {
  const name = item.datum.name;
  if (location.hash === `#k-${name}`) open(name);
  else location.hash = `#k-${name}`;
};
const draw = async (place) => {
  const name = place.dataset.figure;
  if (drawn.has(name) || !charts[name]) return;
  drawn.add(name);
  place.textContent = "";
  const canvas = make("div", "", place);
  canvas.className = "canvas";
  const width = Math.min(canvas.clientWidth || 800, document.documentElement.clientWidth);
  const legend = { ...config.legend, columns: Math.max(1, Math.floor(width / 240)), labelLimit: Math.min(260, width - 120) };
  const options = { renderer: "svg", actions: false, ast: true, tooltip: { theme: "custom" }, config: { ...config, legend } };
  const { view } = await window.vegaEmbed(canvas, { ...charts[name], datasets }, options);
  view.addEventListener("click", (event, item) => openable(item) && show(item));
  const focusable = () => {
    for (const mark of canvas.querySelectorAll('[role="graphics-symbol"]')) {
      if (!openable(mark.__data__) || mark.hasAttribute("tabindex")) continue;
      mark.setAttribute("tabindex", name === "lineage" ? "0" : "-1");
      mark.setAttribute("role", "link");
      mark.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        show(mark.__data__);
      });
    }
  };
  focusable();
  new MutationObserver(focusable).observe(canvas, { childList: true, subtree: true });
  const bar = make("div", "", place);
  bar.className = "buttons";
  const button = make("button", "download SVG", bar);
  button.setAttribute("aria-label", `download SVG: ${place.getAttribute("aria-label")}`);
  button.addEventListener("click", async () => save(`${name}.svg`, colours(await view.toSVG()), "image/svg+xml"));
};
for (const choice of document.querySelectorAll("fieldset[data-choice]")) {
  choice.hidden = false;
  const pick = () => {
    for (const radio of choice.querySelectorAll("input")) {
      const place = document.getElementById(`plot-${radio.value}`);
      place.closest("figure").hidden = !radio.checked;
      if (radio.checked) draw(place);
    }
  };
  choice.addEventListener("change", pick);
  pick();
}
for (const place of document.querySelectorAll("[data-figure]")) if (!place.closest("[hidden]")) draw(place);

openHash();

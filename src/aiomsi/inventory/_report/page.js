"use strict";
// The data of the page is base64 of gzip of JSON, in elements that are no scripts. Texts reach the
// page through textContent, and through Tabulator's formatter "plaintext", which escapes them.

const MOST_PRINTED = 300;
const find = (id) => document.getElementById(id);

async function read(name) {
  const text = atob(find(`data-${name}`).textContent);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function makeCell(tag, text) {
  const cell = document.createElement(tag);
  cell.textContent = text;
  return cell;
}

function fillTable(table, headings, rows) {
  const head = table.createTHead().insertRow();
  for (const heading of headings) {
    const cell = head.appendChild(makeCell("th", heading));
    cell.scope = "col";
  }
  const body = table.createTBody();
  for (const row of rows) body.insertRow().append(...row.map((text) => makeCell("td", text)));
}

async function readColumn(column) {
  const cells = await read(column.name);
  if (!column.few) return cells;
  const values = await read(`${column.name}-values`);
  return cells.map((position) => values[position]);
}

async function readRows(meta) {
  const columns = await Promise.all(meta.columns.map(readColumn));
  const rows = new Array(meta.rows);
  for (let at = 0; at < meta.rows; at++) {
    const row = {};
    for (let number = 0; number < columns.length; number++) {
      row[meta.columns[number].name] = columns[number][at];
    }
    row.id = row.id.startsWith(meta.whole) ? row.id.slice(meta.whole.length) : row.id + row.name;
    rows[at] = row;
  }
  return rows;
}

function makeTable(meta, rows) {
  const compareTexts = new Intl.Collator("en").compare;
  const compareTimes = (one, other) => (one < other ? -1 : Number(one > other));
  return new Tabulator("#table", {
    data: rows,
    height: Math.min(Math.max(300, Math.min(640, window.innerHeight - 160)), 180 + 36 * rows.length),
    layout: "fitDataFill",
    placeholder: rows.length ? "No row matches." : "The inventory has no rows.",
    columnDefaults: { formatter: "plaintext", headerFilter: "input" },
    columns: meta.columns.map((column) => ({
      title: column.title,
      field: column.name,
      width: column.width,
      sorter: column.name === "created" ? compareTimes : compareTexts,
      headerFilterPlaceholder: "filter",
      headerFilterParams: { elementAttributes: { "aria-label": `Filter: ${column.title}` } },
    })),
  });
}

// Each word of the search is in any column of a row.
function makeFilter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (row) => words.every((word) => row.search.includes(word));
}

function prepareSearch(meta, rows) {
  const names = meta.columns.map((column) => column.name);
  for (const row of rows) {
    if (row.search !== undefined) return;
    row.search = names.map((name) => row[name]).join("\n").toLowerCase();
  }
}

function connectSearch(table, meta, rows) {
  const search = find("search");
  let timer;
  const apply = () => {
    prepareSearch(meta, rows);
    if (search.value.trim()) table.setFilter(makeFilter(search.value));
    else table.clearFilter();
  };
  search.addEventListener("focus", () => prepareSearch(meta, rows), { once: true });
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, 120);
  });
  search.form.addEventListener("submit", (event) => event.preventDefault());
  search.disabled = false;
}

function showCount(shown, total) {
  const whole = `${total.toLocaleString("en")} ${total === 1 ? "row" : "rows"}`;
  const text = shown === total ? whole : `${shown.toLocaleString("en")} of ${whole}`;
  find("count").textContent = text;
}

// Tabulator sorts by clicks alone.
function connectKeys() {
  for (const heading of document.querySelectorAll(".tabulator-col.tabulator-sortable")) {
    heading.tabIndex = 0;
    heading.addEventListener("keydown", (event) => {
      if (event.target === heading && (event.key === "Enter" || event.key === " ")) {
        event.preventDefault();
        heading.click();
      }
    });
  }
}

// A cell that is cut shows its text as the title of its element.
function connectTitles() {
  find("table").addEventListener("mouseover", ({ target }) => {
    const isCut = target.matches(".tabulator-cell") && target.scrollWidth > target.clientWidth;
    if (isCut) target.title = target.textContent;
  });
}

// A printed page has the first rows of the table in their order, because Tabulator draws only those
// that are in sight.
function connectPrinting(table, meta) {
  const shown = meta.columns.slice(0, 7);
  window.addEventListener("beforeprint", () => {
    const rows = table.getData("active");
    const printed = document.createElement("table");
    const cells = rows.slice(0, MOST_PRINTED).map((row) => shown.map(({ name }) => row[name]));
    fillTable(printed, shown.map(({ title }) => title), cells);
    find("printed").replaceChildren(printed);
    if (rows.length > MOST_PRINTED) {
      const rest = (rows.length - MOST_PRINTED).toLocaleString("en");
      find("printed").append(makeCell("p", `${rest} more rows are not printed.`));
    }
  });
  window.addEventListener("afterprint", () => find("printed").replaceChildren());
}

async function start() {
  const meta = await read("meta");
  if (meta.errors.length) {
    fillTable(find("error-table"), meta.headings, meta.errors);
    find("errors").hidden = false;
  }
  const rows = await readRows(meta);
  const table = makeTable(meta, rows);
  table.on("dataFiltered", (filters, active) => showCount(active.length, rows.length));
  await new Promise((resolve) => table.on("tableBuilt", resolve));
  showCount(rows.length, rows.length);
  connectKeys();
  connectTitles();
  connectSearch(table, meta, rows);
  connectPrinting(table, meta);
}

start().catch((error) => {
  const trouble = find("trouble");
  trouble.textContent = `This browser can't show the tables: ${error.message}`;
  trouble.hidden = false;
  find("count").textContent = "";
});

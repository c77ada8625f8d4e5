"use strict";

const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 600px)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function styled(figure) {
  const layout = Object.assign({}, figure.layout, {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    autosize: true,
    font: { color: colour("--text"), family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13 },
    margin: narrow.matches ? { l: 50, r: 15, t: 30, b: 50 } : { l: 70, r: 30, t: 40, b: 60 },
  });
  layout.legend = narrow.matches ? { orientation: "h", y: -0.25 } : layout.legend;
  for (const axis of Object.keys(layout).filter((key) => /^[xy]axis/.test(key)).concat(["xaxis", "yaxis"])) {
    layout[axis] = Object.assign({ gridcolor: colour("--grid"), zerolinecolor: colour("--line"), automargin: true }, layout[axis]);
  }
  return layout;
}

function inside(trace, box) {
  const [left, right] = [Math.min(box.x0, box.x1), Math.max(box.x0, box.x1)];
  const [low, high] = [Math.min(box.y0, box.y1), Math.max(box.y0, box.y1)];
  return trace.x.every((x, index) => x < left || x > right || (trace.y[index] >= low && trace.y[index] <= high));
}

function select(place, event) {
  const range = event && event.range;
  const box = range && Object.keys(range).length >= 2
    ? [{ x0: range.x[0], x1: range.x[1], y0: range.y[0], y1: range.y[1] }] : [];
  const boxes = event && event.selections && event.selections.length ? event.selections : box;
  const lines = place.data.map((trace, index) => (trace.mode === "lines" ? index : -1)).filter((index) => index >= 0);
  const kept = lines.map((index) => boxes.every((box) => inside(place.data[index], box)));
  place.dataset.selected = kept.filter(Boolean).length;
  Plotly.restyle(place, { opacity: kept.map((keep) => (keep ? 0.8 : 0.06)) }, lines);
}

function draw() {
  for (const [id, figure] of Object.entries(figures)) {
    const place = document.getElementById(id);
    const brush = place.classList.contains("brush");
    const layout = styled(figure);
    if (brush) {
      layout.dragmode = "select";
      layout.newselection = { mode: "gradual" };
      layout.annotations = (layout.annotations || []).map((note) => Object.assign({}, note, { font: { color: colour("--soft"), size: 11 } }));
    }
    Plotly.react(place, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
    if (brush && !place.dataset.listens) {
      place.dataset.listens = "yes";
      place.on("plotly_selected", (event) => select(place, event));
      place.on("plotly_deselect", () => select(place, null));
    }
  }
}

if (window.Plotly) {
  const waiting = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      waiting.disconnect();
      draw();
    }
  }, { rootMargin: "2000px" });
  for (const place of document.querySelectorAll(".plot")) waiting.observe(place);
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
  window.addEventListener("beforeprint", draw);
}

const table = document.getElementById("table");
const rows = Array.from(table.tBodies[0].rows);

function key(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text);
  return text === "" ? null : Number.isNaN(number) ? text : number;
}

function before(one, two) {
  if (one === null || two === null) return (one === null) - (two === null);
  if (typeof one === "number" && typeof two === "number") return one - two;
  return String(one).localeCompare(String(two));
}

table.tHead.addEventListener("click", (event) => {
  const head = event.target.closest("th");
  if (!head) return;
  const rising = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const column = head.cellIndex;
  rows.sort((one, two) => {
    const [a, b] = [key(one, column), key(two, column)];
    return a === null || b === null ? before(a, b) : (rising ? 1 : -1) * before(a, b);
  });
  table.tBodies[0].append(...rows);
});

const filter = document.getElementById("filter");
if (filter) filter.addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = `${shown} of ${rows.length} trials`;
});

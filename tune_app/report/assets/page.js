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

function draw() {
  for (const [id, figure] of Object.entries(figures)) {
    const place = document.getElementById(id);
    const parallel = figure.data.some((trace) => trace.type === "parcoords");
    const data = figure.data.map((trace) => Object.assign({}, trace, parallel ? {
      labelfont: { color: colour("--text") }, tickfont: { color: colour("--text") }, rangefont: { color: colour("--text") },
    } : {}));
    const layout = styled(figure);
    if (parallel) {
      layout.margin = narrow.matches ? { l: 45, r: 45, t: 60, b: 20 } : { l: 90, r: 90, t: 70, b: 30 };
    }
    Plotly.react(place, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
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

document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = `${shown} of ${rows.length} trials`;
});

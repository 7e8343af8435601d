"use strict";
(() => {
  const board = document.getElementById("board");
  const body = board.tBodies[0];
  const rows = [...body.rows];
  const status = document.getElementById("shown");
  const text = document.getElementById("filter-text");
  const verdict = document.getElementById("filter-verdict");
  const setting = document.getElementById("filter-setting");

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      const match = words.every((word) => content.includes(word))
        && (!verdict.value || row.dataset.verdict === verdict.value)
        && (!setting.value || row.dataset.setting === setting.value);
      row.hidden = !match;
      shown += match;
    }
    status.textContent = `${shown} of ${rows.length} rows shown`;
  }
  for (const control of [text, verdict, setting]) control.addEventListener("input", filter);
  document.getElementById("filter-clear").addEventListener("click", () => {
    text.value = verdict.value = setting.value = "";
    filter();
    text.focus();
  });

  const heads = [...board.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const numeric = head.dataset.kind === "number";
    const key = (row) => row.cells[column].dataset.key;
    const order = numeric
      ? (a, b) => Number(key(a)) - Number(key(b)) || 0
      : (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
    const empty = rows.filter((row) => !key(row));
    const filled = rows.filter((row) => key(row)).sort((a, b) => (rising ? 1 : -1) * order(a, b));
    body.append(...filled, ...empty);
  }));
  filter();

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const theme = () => {
    const axis = { gridcolor: color("--line"), linecolor: color("--line"), zerolinecolor: color("--line") };
    return {
      paper_bgcolor: color("--back"), plot_bgcolor: color("--back"),
      font: { color: color("--text"), family: getComputedStyle(document.body).fontFamily, size: 13 },
      axis,
    };
  };
  function layout(given) {
    const { axis, ...colors } = theme();
    return {
      ...colors, margin: { l: 55, r: 10, t: 10, b: 45 }, hovermode: "closest",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      xaxis: { ...axis, ...given.xaxis }, yaxis: { ...axis, ...given.yaxis },
    };
  }
  function zoom(plot, factor) {
    const change = {};
    for (const name of ["xaxis", "yaxis"]) {
      if (!factor) { change[`${name}.autorange`] = true; continue; }
      const [low, high] = plot._fullLayout[name].range;
      const middle = (low + high) / 2, half = (high - low) / 2 * factor;
      change[`${name}.range`] = [middle - half, middle + half];
    }
    Plotly.relayout(plot, change);
  }
  const plots = [...document.querySelectorAll(".plot")];
  function draw(plot) {
    const figure = JSON.parse(document.getElementById(`${plot.id}--data`).textContent);
    Plotly.newPlot(plot, figure.data, layout(figure.layout), { responsive: true, displaylogo: false, displayModeBar: false });
    plot.dataset.drawn = "yes";
  }
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "400px" });
  for (const plot of plots) {
    near.observe(plot);
    for (const button of plot.parentElement.querySelectorAll(".zoom button")) {
      button.addEventListener("click", () => plot.dataset.drawn && zoom(plot, Number(button.dataset.factor)));
    }
  }
  dark.addEventListener("change", () => {
    const { axis, ...colors } = theme();
    const change = { ...colors };
    for (const name of ["xaxis", "yaxis"]) for (const [key, value] of Object.entries(axis)) change[`${name}.${key}`] = value;
    for (const plot of plots) if (plot.dataset.drawn) Plotly.relayout(plot, change);
  });
})();

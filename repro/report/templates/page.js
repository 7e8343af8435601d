"use strict";
(() => {
  function save(name, type, content) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  }
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  for (const button of document.querySelectorAll("button.save")) {
    button.addEventListener("click", () => {
      const { save: kind, name } = button.dataset;
      if (kind === "csv") {
        const rows = [...button.closest("table").rows].map((row) => [...row.cells].map((cell) => quoted(cell.innerText.trim())).join(","));
        save(`${name}.csv`, "text/csv", `${rows.join("\n")}\n`);
      } else {
        const drawing = button.closest("figure").querySelector("svg").cloneNode(true);
        drawing.setAttribute("xmlns", "http://www.w3.org/2000/svg");
        drawing.style.color = "#262626";
        save(`${name}.svg`, "image/svg+xml", drawing.outerHTML);
      }
    });
  }

  const text = document.getElementById("filter-text");
  if (!text) return;
  const rows = [...document.querySelectorAll(".board tbody tr")];
  const chips = [...document.querySelectorAll(".chip")];
  const status = document.getElementById("shown");
  const chosen = () => chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.verdict);
  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = chosen();
    let shown = 0;
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      const match = words.every((word) => content.includes(word)) && (!verdicts.length || verdicts.includes(row.dataset.verdict));
      row.hidden = !match;
      shown += match;
    }
    status.textContent = `${shown} of ${rows.length} rows shown`;
    if (words.length || verdicts.length) for (const details of document.querySelectorAll("details:has(.board)")) details.open = !!details.querySelector(".board tbody tr:not([hidden])");
    const state = new URLSearchParams();
    if (text.value) state.set("contains", text.value);
    for (const verdict of verdicts) state.append("verdict", verdict);
    history.replaceState(null, "", state.size ? `#${state}` : location.pathname);
  }
  text.addEventListener("input", filter);
  for (const chip of chips) chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
    filter();
  });
  const state = new URLSearchParams(location.hash.slice(1));
  if (state.has("contains") || state.has("verdict")) {
    text.value = state.get("contains") ?? "";
    for (const chip of chips) chip.setAttribute("aria-pressed", String(state.getAll("verdict").includes(chip.dataset.verdict)));
    filter();
  } else status.textContent = `${rows.length} of ${rows.length} rows shown`;

  for (const row of rows) {
    const mark = document.getElementById(`mark-${row.dataset.mark}`);
    const light = (on) => mark && mark.classList.toggle("lit", on);
    row.addEventListener("mouseenter", () => light(true));
    row.addEventListener("mouseleave", () => light(false));
  }
})();

// Draws the table that a node sends as `ccm_table` under it, in the classic and in the Nodes 2.0 renderer.
import { panel } from "./panel.js";

const HINT = "Run the workflow to see the table.";

function cell(row, tag, text, first) {
  const element = document.createElement(tag);
  // A table is as wide as its figures, and a narrower node scrolls: headings break, first where they have two spaces,
  // values only before an interval.
  const kept = text.replaceAll(" ", "\u00a0").replaceAll("\u00a0[", " [");
  element.textContent = tag === "th" ? text.replaceAll("  ", "\n") : kept;
  element.style.cssText =
    "padding:2px 5px;border-bottom:1px solid var(--border-color,#555);white-space:pre-line;" +
    (tag === "th" ? "font-weight:600;vertical-align:bottom;" : "font-weight:400;vertical-align:top;") +
    `text-align:${first ? "left" : "right"}`;
  row.append(element);
}

function draw(box, table) {
  if (!table) {
    box.textContent = HINT;
    return;
  }
  const element = document.createElement("table");
  element.style.cssText = "width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums";
  if (table.caption) {
    const caption = element.createCaption();
    caption.textContent = table.caption;
    caption.style.cssText = "text-align:left;opacity:.7;padding:0 6px 4px";
  }
  const head = element.createTHead().insertRow();
  table.columns.forEach((text, i) => cell(head, "th", text, i === 0));
  const body = element.createTBody();
  for (const values of table.rows) {
    const row = body.insertRow();
    values.forEach((text, i) => cell(row, "td", text, i === 0));
  }
  box.replaceChildren(element);
}

panel({
  name: "WDLoRA-CCM.Table",
  nodes: { CCMBiomarkers: 380, CCMCompareBiomarkers: 540, CCMEvaluate: 380 },
  key: "ccm_table",
  height: 206, // six biomarkers below a caption
  style: "overflow:auto;scrollbar-width:thin;user-select:text",
  draw,
});

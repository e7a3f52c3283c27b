// Draws the table that a node sends as `ccm_table` under it, in the classic and in the Nodes 2.0 renderer.
import { app } from "../../scripts/app.js";

const NODES_WITH_TABLE = new Set(["CCMBiomarkers", "CCMCompareBiomarkers"]);
const HINT = "Run the workflow to see the table.";

function cell(row, tag, text, first) {
  const element = document.createElement(tag);
  element.textContent = text;
  element.style.cssText =
    "padding:2px 6px;border-bottom:1px solid var(--border-color,#555);white-space:nowrap;font-weight:" +
    (tag === "th" ? "600" : "400") + ";text-align:" + (first ? "left" : "right");
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

function chain(prototype, name, after) {
  const before = prototype[name];
  prototype[name] = function (...args) {
    const result = before?.apply(this, args);
    after.apply(this, args);
    return result;
  };
}

app.registerExtension({
  name: "WDLoRA-CCM.Table",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!NODES_WITH_TABLE.has(nodeData.name)) return;

    chain(nodeType.prototype, "onNodeCreated", function () {
      const box = document.createElement("div");
      box.className = "ccm-table";
      box.style.cssText =
        "font:12px/1.35 system-ui,sans-serif;color:var(--input-text,#ddd);overflow:auto;padding:6px;" +
        "background:var(--comfy-input-bg,#222);border-radius:6px;box-sizing:border-box;user-select:text";
      draw(box, null);
      this.ccmTable = box;
      this.addDOMWidget("ccm_table", "ccm_table", box, {
        serialize: false,
        hideOnZoom: false,
        getMinHeight: () => 190,
      });
    });

    chain(nodeType.prototype, "onExecuted", function (output) {
      if (this.ccmTable && output?.ccm_table) draw(this.ccmTable, output.ccm_table[0]);
    });
  },

  // A switch of workflow tabs makes the nodes anew; their outputs are kept by the front end.
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs ?? {})) {
      const node = app.graph?.getNodeById?.(Number(id)) ?? app.graph?.getNodeById?.(id);
      if (node?.ccmTable && output?.ccm_table) draw(node.ccmTable, output.ccm_table[0]);
    }
  },
});

// Draws the loss curve that a node sends as `ccm_curve` under it, in the classic and in the Nodes 2.0 renderer.
import { app } from "../../scripts/app.js";

const NODES_WITH_CURVE = new Set(["WDLoRATrain"]);
const HINT = "Run the workflow to see the loss curve.";
const SVG = "http://www.w3.org/2000/svg";
const SIZE = { width: 360, height: 190, left: 44, right: 10, top: 24, bottom: 26 };
const SERIES = [
  { key: "loss", label: "loss", colour: "#5b9bd5", dots: false },
  { key: "validation_loss", label: "validation loss", colour: "#e07b54", dots: true },
];

function element(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function written(value) {
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

function draw(box, curve) {
  const points = SERIES.flatMap(({ key }) => curve?.[key] ?? []);
  if (!points.length) {
    box.textContent = HINT;
    return;
  }
  const { width, height, left, right, top, bottom } = SIZE;
  const span = (values) => {
    const low = Math.min(...values);
    const high = Math.max(...values);
    return high > low ? [low, high] : [low - 0.5, high + 0.5];
  };
  const [x0, x1] = span(points.map((p) => p[0]));
  const [y0, y1] = span(points.map((p) => p[1]));
  const x = (step) => left + ((step - x0) / (x1 - x0)) * (width - left - right);
  const y = (loss) => height - bottom - ((loss - y0) / (y1 - y0)) * (height - top - bottom);

  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Loss curve of ${curve.title ?? "the training"}`);
  svg.style.cssText = "width:100%;height:100%;display:block;font:10px system-ui,sans-serif";
  const ink = "currentColor";
  for (const [value, anchor] of [[y0, "end"], [(y0 + y1) / 2, "end"], [y1, "end"]]) {
    element(svg, "line", { x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: ink, opacity: 0.15 });
    element(svg, "text", { x: left - 5, y: y(value) + 3, "text-anchor": anchor, fill: ink }, written(value));
  }
  element(svg, "text", { x: left, y: height - 8, fill: ink }, written(x0));
  element(svg, "text", { x: width - right, y: height - 8, "text-anchor": "end", fill: ink }, written(x1));
  element(svg, "text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle", fill: ink }, "step");
  let legend = left;
  for (const { key, label, colour, dots } of SERIES) {
    const series = curve[key] ?? [];
    if (!series.length) continue;
    const path = series.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
    element(svg, "polyline", { points: path, fill: "none", stroke: colour, "stroke-width": 1.6 });
    if (dots || series.length === 1) {
      for (const [step, loss] of series) element(svg, "circle", { cx: x(step), cy: y(loss), r: 2.6, fill: colour });
    }
    const last = written(series[series.length - 1][1]);
    const text = element(svg, "text", { x: legend, y: 13, fill: colour, "font-weight": 600 }, `${label} ${last}`);
    legend += text.textContent.length * 6 + 16;
  }
  box.replaceChildren(svg);
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
  name: "WDLoRA-CCM.Curve",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!NODES_WITH_CURVE.has(nodeData.name)) return;

    chain(nodeType.prototype, "onNodeCreated", function () {
      const box = document.createElement("div");
      box.className = "ccm-curve";
      box.style.cssText =
        "font:12px/1.35 system-ui,sans-serif;color:var(--input-text,#ddd);overflow:hidden;padding:6px;" +
        "background:var(--comfy-input-bg,#222);border-radius:6px;box-sizing:border-box";
      draw(box, null);
      this.ccmCurve = box;
      this.addDOMWidget("ccm_curve", "ccm_curve", box, {
        serialize: false,
        hideOnZoom: false,
        getMinHeight: () => 200,
      });
    });

    chain(nodeType.prototype, "onExecuted", function (output) {
      if (this.ccmCurve && output?.ccm_curve) draw(this.ccmCurve, output.ccm_curve[0]);
    });
  },

  // A switch of workflow tabs makes the nodes anew; their outputs are kept by the front end.
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs ?? {})) {
      const node = app.graph?.getNodeById?.(Number(id)) ?? app.graph?.getNodeById?.(id);
      if (node?.ccmCurve && output?.ccm_curve) draw(node.ccmCurve, output.ccm_curve[0]);
    }
  },
});

// Draws the loss curve that a node sends as `ccm_curve` under it, in the classic and in the Nodes 2.0 renderer.
import { panel } from "./panel.js";

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

panel({
  name: "WDLoRA-CCM.Curve",
  nodes: { WDLoRATrain: 360 },
  key: "ccm_curve",
  height: 200,
  style: "overflow:hidden",
  draw,
});

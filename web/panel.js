// A panel under a node that shows what the node sends, in the classic and in the Nodes 2.0 renderer.
import { app } from "../../scripts/app.js";

const STYLE =
  "font:12px/1.35 system-ui,sans-serif;color:var(--input-text,#ddd);padding:6px;" +
  "background:var(--comfy-input-bg,#222);border-radius:6px;box-sizing:border-box;";

function chain(prototype, name, after) {
  const before = prototype[name];
  prototype[name] = function (...args) {
    const result = before?.apply(this, args);
    after.apply(this, args);
    return result;
  };
}

// The node behind a key of the front end's outputs: "3", or "<uuid of a subgraph>:3", looked up from the root graph.
function nodeAt(key) {
  const [id, subgraph] = key.split(":").reverse();
  const root = app.rootGraph ?? app.graph;
  const graph = subgraph === undefined ? root : root?.subgraphs?.get(subgraph);
  return graph?.getNodeById?.(Number(id)) ?? graph?.getNodeById?.(id);
}

function button(parent, text, label, press) {
  const made = document.createElement("button");
  made.textContent = text;
  made.ariaLabel = made.title = label;
  made.style.cssText =
    "font:inherit;color:inherit;background:none;border:1px solid var(--border-color,#555);border-radius:4px;" +
    "min-width:2em;cursor:pointer";
  made.addEventListener("click", press);
  parent.append(made);
  return made;
}

// A box that shows one of several values, with "1 of 4" and two buttons above it where there is more than one.
function paged(className, style, draw) {
  const outer = document.createElement("div");
  outer.style.cssText = STYLE + "display:flex;flex-direction:column;";
  const bar = document.createElement("div");
  bar.className = `${className}-pages`;
  bar.style.cssText = "display:none;align-items:center;gap:6px;padding-bottom:4px";
  bar.addEventListener("pointerdown", (event) => event.stopPropagation()); // else Nodes 2.0 drags the node
  const box = document.createElement("div");
  box.className = className;
  box.style.cssText = "flex:1 1 0;min-height:0;" + style;
  let values = [];
  let index = 0;

  function turn(by) {
    index = Math.min(Math.max(index + by, 0), Math.max(values.length - 1, 0));
    label.textContent = `${index + 1} of ${values.length}`;
    back.disabled = index === 0;
    on.disabled = index >= values.length - 1;
    for (const one of [back, on]) one.style.opacity = one.disabled ? 0.4 : 1;
    bar.style.display = values.length > 1 ? "flex" : "none";
    draw(box, values[index] ?? null);
  }
  const back = button(bar, "‹", "previous", () => turn(-1));
  const label = document.createElement("span");
  bar.append(label);
  const on = button(bar, "›", "next", () => turn(1));
  outer.append(bar, box);
  turn(0);
  return { outer, box, show: (given) => ((values = given), turn(0)) };
}

// Registers the extension `name`: the `nodes`, given with the width of a new one, get a panel of at least `height`
// pixels, in which `draw(box, value)` shows a value that the node sends under `key`, or null before it has run. A node
// that runs once an item of a list sends as many values; a workflow's subgraphs have nodes with panels too.
export function panel({ name, nodes, key, height, style, draw }) {
  function show(node, output) {
    if (node?.ccmShow && output?.[key]) node.ccmShow(output[key]);
  }

  app.registerExtension({
    name,

    beforeRegisterNodeDef(nodeType, nodeData) {
      const width = nodes[nodeData.name];
      if (width === undefined) return;

      chain(nodeType.prototype, "onNodeCreated", function () {
        const made = paged(key.replace("_", "-"), style, draw);
        this.ccmPanel = made.box;
        this.ccmShow = made.show;
        this.addDOMWidget(key, key, made.outer, { serialize: false, hideOnZoom: false, getMinHeight: () => height });
        this.setSize([Math.max(this.size[0], width), this.size[1]]);
      });

      chain(nodeType.prototype, "onExecuted", function (output) {
        show(this, output);
      });
    },

    // A switch of workflow tabs makes the nodes anew; their outputs are kept by the front end.
    onNodeOutputsUpdated(outputs) {
      for (const [key, output] of Object.entries(outputs ?? {})) show(nodeAt(key), output);
    },
  });
}

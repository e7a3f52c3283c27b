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

// Registers the extension `name`: the `nodes`, given with the width of a new one, get a panel of at least `height`
// pixels, in which `draw(box, value)` shows the first value that the node sends under `key`, or null before it has run.
export function panel({ name, nodes, key, height, style, draw }) {
  function show(node, output) {
    if (node?.ccmPanel && output?.[key]) draw(node.ccmPanel, output[key][0]);
  }

  app.registerExtension({
    name,

    beforeRegisterNodeDef(nodeType, nodeData) {
      const width = nodes[nodeData.name];
      if (width === undefined) return;

      chain(nodeType.prototype, "onNodeCreated", function () {
        const box = document.createElement("div");
        box.className = key.replace("_", "-");
        box.style.cssText = STYLE + style;
        draw(box, null);
        this.ccmPanel = box;
        this.addDOMWidget(key, key, box, { serialize: false, hideOnZoom: false, getMinHeight: () => height });
        this.setSize([Math.max(this.size[0], width), this.size[1]]);
      });

      chain(nodeType.prototype, "onExecuted", function (output) {
        show(this, output);
      });
    },

    // A switch of workflow tabs makes the nodes anew; their outputs are kept by the front end.
    onNodeOutputsUpdated(outputs) {
      for (const [id, output] of Object.entries(outputs ?? {})) {
        show(app.graph?.getNodeById?.(Number(id)) ?? app.graph?.getNodeById?.(id), output);
      }
    },
  });
}

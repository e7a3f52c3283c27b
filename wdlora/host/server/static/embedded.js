// What the embedded host changes in the page. ComfyUI never serves this file.
import { app } from "../../scripts/app.js";

const TEMPLATES = "/api/workflow_templates";
const PACK = "wdlora-ccm";
const FIRST = "quickstart_cpu";
const BLANK = { last_node_id: 0, last_link_id: 0, nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 };

// The page asks other machines for the sizes of missing models and for news of node packs. The content security policy
// stops that; here it is answered at once, so that nothing is even tried.
const NOTHING = "/api/node_replacements"; // answers {}

function isElsewhere(address) {
  const url = new URL(address, location.href);
  return url.protocol.startsWith("http") && url.origin !== location.origin;
}

const ask = window.fetch.bind(window);
window.fetch = (resource, options) =>
  isElsewhere(resource instanceof Request ? resource.url : String(resource))
    ? Promise.resolve(new Response(null, { status: 503 }))
    : ask(resource, options);

const open = XMLHttpRequest.prototype.open;
XMLHttpRequest.prototype.open = function (method, address, ...rest) {
  return isElsewhere(address) ? open.call(this, "GET", NOTHING, ...rest) : open.call(this, method, address, ...rest);
};

// The front end's default graph needs models that this host has no use for: begin with the pack's quick start.
async function firstGraph() {
  const templates = await (await ask(TEMPLATES)).json();
  if (!templates[PACK]?.includes(FIRST)) return BLANK;
  return await (await ask(`${TEMPLATES}/${PACK}/${FIRST}.json`)).json();
}

app.registerExtension({
  name: "WDLoRA-CCM.EmbeddedHost",
  init() {
    const load = app.loadGraphData;
    app.loadGraphData = async function (graph, ...rest) {
      const loaded = await load.call(this, graph ?? (await firstGraph()), ...rest);
      document.documentElement.dataset.graph = "loaded"; // for tests: the page has settled
      return loaded;
    };
  },
});

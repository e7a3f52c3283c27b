// Room in a new node for the picture that it shows after a run.
import { app } from "../../scripts/app.js";

const SIZES = { WDLoRAInspect: [480, 880] };

app.registerExtension({
  name: "WDLoRA-CCM.Room",

  nodeCreated(node) {
    const least = SIZES[node.comfyClass];
    if (least) node.setSize(least.map((side, axis) => Math.max(side, node.size[axis])));
  },
});

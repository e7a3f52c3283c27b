"""Paint a mask without ComfyUI: `python docs/examples/paint_in_process.py OUT.png [ADAPTER]`.

The miniature stands in for Qwen-Image-Edit; `wdlora.qwen.load(ModelFiles(folder))` loads the full model.
"""

import sys
from dataclasses import replace

from PIL import Image

from wdlora.adapter import Adapter
from wdlora.anatomy import sample_mask
from wdlora.qwen import apply_adapter
from wdlora.qwen.generate import generate
from wdlora.qwen.miniature_files import load_miniature

model = load_miniature()
if len(sys.argv) > 2:
    apply_adapter(model.transformer, Adapter.load(sys.argv[2]))
mask = sample_mask("T1DPN", seed=3, size=192).mask
picture = generate(model, mask, cohort="T1DPN", seed=7, sampling=replace(model.defaults, steps=4))[0]
Image.fromarray(picture).save(sys.argv[1])
print(f"{sys.argv[1]}: {picture.shape[1]} × {picture.shape[0]} pixels, {mask.mean():.1%} of them nerve")

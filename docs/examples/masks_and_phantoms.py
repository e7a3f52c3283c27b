"""Draw nerve masks of every cohort and image them as phantoms: `python docs/examples/masks_and_phantoms.py OUT`."""

import sys
from pathlib import Path

from PIL import Image

from wdlora.anatomy import phantom, sample_mask
from wdlora.cohorts import COHORTS

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
for name in COHORTS:
    for seed in range(2):
        nerves = sample_mask(name, seed)
        Image.fromarray(nerves.mask.astype("uint8") * 255).save(out / f"{name}-{seed}-mask.png")
        Image.fromarray(phantom(nerves, seed)).save(out / f"{name}-{seed}.png")
        measured = nerves.biomarkers
        print(f"{name:8} seed {seed}: CNFL {measured.cnfl:5.2f} mm/mm², CNFD {measured.cnfd:5.1f} /mm²")

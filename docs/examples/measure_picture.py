"""Measure the nerves of a picture: `python docs/examples/measure_picture.py PICTURE [OVERLAY.png]`.

Without a picture a phantom is drawn and measured. The picture must say its pixel size, or be of 400 µm in 384 pixels.
"""

import sys

from PIL import Image

from wdlora.anatomy import measure, phantom, sample_mask, trace
from wdlora.anatomy.biomarkers.overlay import overlay
from wdlora.clinic.images import read_image

PIXEL_UM = 400 / 384

if len(sys.argv) > 1:
    pixels = read_image(sys.argv[1]).pixels
else:
    pixels = phantom(sample_mask("Control", seed=1), seed=1)

found = measure(trace(pixels, PIXEL_UM), PIXEL_UM)
for name in ("cnfl", "cnfd", "cnbd", "ctbd", "cnfw"):
    print(f"{name.upper()}  {getattr(found, name):.4g}")
if len(sys.argv) > 2:
    Image.fromarray(overlay(pixels, found)).save(sys.argv[2])

"""The instrument's information bar inside the frame: a uniform band with sharp text at the lower edge."""

import numpy as np

from .model import drawn

HEIGHT_SHARE = (0.035, 0.07)
LEAST_PX = 10
SHADES = (0, 0, 8, 40, 200)


def information_bar(image: np.ndarray, chance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W] with a bar over its lower edge, or as it is; and where the bar is, bool [H, W]."""
    from PIL import Image, ImageDraw, ImageFont

    truth = np.zeros(image.shape, bool)
    rng = drawn(seed, "information bar", chance)
    height = max(round(float(rng.uniform(*HEIGHT_SHARE)) * len(image)), LEAST_PX) if rng is not None else 0
    if rng is None or height >= len(image):
        return image, truth
    shade = int(rng.choice(SHADES))
    eye, depth, number = rng.choice(["OD", "OS"]), rng.integers(30, 75), rng.integers(1, 999)
    words = f"{eye}   Depth {depth} um   {number:03d}   ART {rng.integers(1, 9)}"
    bar = Image.new("L", (image.shape[1], height), shade)
    font = ImageFont.load_default(size=max(0.62 * height, 6))
    ImageDraw.Draw(bar).text((4, height * 0.12), words, fill=255 if shade < 128 else 0, font=font)
    image = image.copy()
    image[-height:] = np.asarray(bar)
    truth[-height:] = True
    return image, truth

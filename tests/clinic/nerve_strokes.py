"""Nerves drawn with a pen of one grey, for masks in all forms in which they come."""

from PIL import Image, ImageDraw


def nerves(grey: int = 255, width: int = 3, fine: int = 1, side: int = 192) -> Image.Image:
    """Ten oblique nerves, every other one in `grey`, drawn on a grid `fine` times as fine."""
    picture = Image.new("L", (side * fine, side * fine))
    draw = ImageDraw.Draw(picture)
    for number in range(10):
        left, shift = fine * (9 + 18 * number), fine * (3 * number - 14)
        draw.line([(left, 0), (left + shift, side * fine)], fill=255 if number % 2 else grey, width=width * fine)
    return picture

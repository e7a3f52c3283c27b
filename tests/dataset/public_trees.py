"""Small trees of the shape of public data sets, drawn by hand: a grey ramp with one bright vertical line."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 48


def picture(column: int) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 and nerve mask bool: a line three pixels wide about `column` on a noisy ramp."""
    rng = np.random.default_rng(column)
    image = (np.arange(SIDE)[:, None] + 40 + rng.integers(0, 12, (SIDE, SIDE))).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, column - 1 : column + 2] = True
    image[mask] = 190
    return image, mask


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    """Write a picture, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def overlay(image: np.ndarray, column: int, colour: tuple[int, int, int] = (255, 0, 0)) -> np.ndarray:
    """The image in RGB with a coloured line of one pixel over it."""
    drawn = np.repeat(image[..., None], 3, axis=2)
    drawn[:, column] = colour
    return drawn


def qilu(root: Path) -> Path:
    """Two images of set 1 and one of set 2; the second has a repeated label of the first's pixels."""
    for number, name in enumerate(("1_Smith_OD", "1_Jones_OS", "2_Brown_OD")):
        image, mask = picture(10 + 5 * number)
        save(root / "Dataset" / "images" / f"{name}.png", image)
        save(root / "Dataset" / "annotations" / f"{name}.png", mask.astype(np.uint8) * 255)
    return root


def padova(root: Path) -> Path:
    """Two images to train on, one to test, lines in red."""
    for number, (split, name) in enumerate((("training", "a"), ("training", "b"), ("test", "c"))):
        image, _ = picture(10 + 5 * number)
        save(root / split / "images" / f"{name}.tif", image)
        save(root / split / "label2" / f"{name}_centerline_overlay.tif", overlay(image, 10 + 5 * number))
    return root


def corn(root: Path, masks: bool = True) -> Path:
    """One image each of Level1 to Level3, of the same name in each."""
    for level in (1, 2, 3):
        image, mask = picture(10 + 5 * level)
        save(root / "train" / f"Level{level}" / "img.png", image)
        if masks:
            save(root / "train" / f"Level{level}" / "masks" / "img.png", mask.astype(np.uint8))  # 0 and 1
    return root


ROWS = (
    ("Smith_Anna_19550312_a.bmp", "Smith Anna", "OD", "2023-05-01", "Control"),
    ("Smith_Anna_19550312_b.bmp", "Smith Anna", "left", "2024-06-02", "Control"),
    ("Jones_Bob.bmp", "Jones Bob", "OS", "V1", "T1DPN"),
)


def own(root: Path) -> Path:
    """A clinic's export: BMP named after patients, masks in PNG, and a table with semicolons."""
    lines = ["file;patient;eye;visit;cohort"]
    for number, row in enumerate(ROWS):
        image, mask = picture(10 + 5 * number)
        save(root / "images" / row[0], image)
        save(root / "masks" / f"{Path(row[0]).stem}.png", mask.astype(np.uint8) * 255)
        lines.append(";".join(row))
    (root / "patients.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root

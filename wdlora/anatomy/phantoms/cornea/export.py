"""From light to a file: soft saturation, read noise, 8 bits, JPEG as clinics export it."""

import io

import numpy as np

from .model import drawn, part
from .person import Person

QUALITY = (70, 97)
"""Range of the JPEG quality."""


def digitise(signal: np.ndarray, person: Person, seed: int) -> np.ndarray:
    """uint8 [H, W] from grey levels [H, W] that may lie beyond 255."""
    signal = signal + np.float32(person.offset)
    if person.read_noise:
        rng = part(seed, "read noise")
        signal = signal + np.float32(person.read_noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    room = (255 - person.knee) * 1.15
    over = np.clip(signal - person.knee, 0, None)
    signal = np.minimum(signal, person.knee) + room * (1 - np.exp(-over / room))
    return np.clip(signal, 0, 255).round().astype(np.uint8)


def jpeg(image: np.ndarray, chance: float, seed: int) -> np.ndarray:
    """`image` as it comes back from a JPEG file, or as it is."""
    from PIL import Image

    rng = drawn(seed, "jpeg", chance)
    if rng is None:
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(rng.integers(*QUALITY)))
    return np.array(Image.open(file))

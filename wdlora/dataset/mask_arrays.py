"""Masks that are stored as arrays: NumPy's `.npy`, and NIfTI as ITK-SNAP writes it (with the package nibabel)."""

from pathlib import Path

import numpy as np

from ..errors import InputError
from .naming import stem


def is_array(path: Path) -> bool:
    """Whether a file's ending is that of an array."""
    return path.name.lower().endswith((".npy", ".nii", ".nii.gz"))


def read_mask_array(path: Path) -> np.ndarray:
    """The array [H, W] of a file, as numbers. Raises InputError for what cannot be read as one plane of numbers."""
    found = _read_npy(path) if path.suffix.lower() == ".npy" else _read_nifti(path)
    plane = found.reshape([side for side in found.shape if side != 1]) if found.ndim > 2 else found
    if plane.ndim != 2:
        sides = " × ".join(map(str, found.shape))
        raise InputError(f"{path.name} holds an array of {sides}, not one plane: save the mask of one image per file")
    if plane.dtype.kind not in "buif":
        raise InputError(f"{path.name} holds {plane.dtype}, no numbers: save the mask as 0 and 1")
    return plane


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path.name} is not an array of numbers that NumPy can read safely: {error}") from None


def _read_nifti(path: Path) -> np.ndarray:
    """ITK writes a picture's columns along the first axis and its rows along the second, both pointing to negative
    coordinates of NIfTI, whose axes are turned against ITK's. Any other orientation is refused.
    """
    try:
        import nibabel
    except ImportError:
        raise InputError(f"{path.name} is NIfTI, which needs the package nibabel: pip install nibabel") from None
    try:
        image = nibabel.load(path)
        array, affine = np.asanyarray(image.dataobj), np.asarray(image.affine)[:3, :3]
    except Exception as error:
        raise InputError(f"{path.name} is not a NIfTI file that can be read: {error}") from None
    turned = abs(affine[0, 1]) + abs(affine[1, 0]) > 1e-6
    if turned or not (affine[0, 0] < 0 and affine[1, 1] < 0):
        raise InputError(
            f"the axes of {stem(path)} are not those of a picture that was drawn on in ITK-SNAP, so it may be "
            "mirrored: save the mask as PNG"
        )
    return array.swapaxes(0, 1) if array.ndim >= 2 else array

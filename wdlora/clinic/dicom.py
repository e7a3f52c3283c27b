"""The picture in a DICOM file of one frame, as its tags say that it is to be seen."""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .pictures import Decoded, as_grey, check_pixels, stated_size, turned_round


def decode_dicom(file: Path) -> Decoded:
    """The picture of a DICOM file: grey, or uint8 in colour (RGB and YBR alike).

    Grey is turned round where the largest value is black: by MONOCHROME1 or PresentationLUTShape, and by a negative
    RescaleSlope. A modality look-up table is applied; a positive slope and display windows leave the stored values as
    they are. The pixel size is PixelSpacing, else that of the functional groups, else ImagerPixelSpacing or
    NominalScannedPixelSpacing. Raises InputError for several frames, palettes, and what is damaged or too large.
    """
    try:
        import pydicom
    except ImportError as error:
        raise InputError(f'{file} is DICOM, which needs pydicom: python -m pip install "pydicom>=3.0"') from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's name values of the file
        try:
            data = pydicom.dcmread(file)
            frames, rows, columns = int(data.get("NumberOfFrames") or 1), int(data.Rows), int(data.Columns)
            sense = str(data.get("PhotometricInterpretation", ""))
        except Exception as error:  # pydicom raises many kinds on damaged files
            raise InputError(
                f"{file} is no DICOM image or is damaged ({type(error).__name__}): export it again"
            ) from error
        if frames > 1:
            raise InputError(f"{file} holds {frames} frames: save each as a file of its own")
        check_pixels(file, columns, rows)
        if sense == "PALETTE COLOR":
            raise InputError(f"{file} holds numbers of colours, not grey values: export it in grey")
        if not sense:
            raise InputError(
                f"{file} does not say how its values are meant (PhotometricInterpretation): export it again"
            )
        try:
            pixels = _pixels(data, sense, file)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the pixels of {file} cannot be decoded ({type(error).__name__}): export it uncompressed, or again"
            ) from error
        return Decoded(pixels, *_size(data))


def _pixels(data: Any, sense: str, file: Path) -> np.ndarray:
    """Grey [H, W] or uint8 [H, W, 3]."""
    from pydicom.pixels import apply_modality_lut

    pixels = np.asarray(data.pixel_array)  # YBR comes as RGB
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        if pixels.dtype != np.uint8:
            pixels = np.rint(pixels * (255 / (2 ** int(data.BitsStored) - 1))).clip(0, 255).astype(np.uint8)
        return pixels[..., :3]
    if pixels.ndim != 2:
        raise InputError(f"{file} is {pixels.ndim}-dimensional: give one grey image a file")
    falls = sense == "MONOCHROME1" or str(data.get("PresentationLUTShape", "")) == "INVERSE"
    bits, signed = int(data.get("BitsStored") or 16), bool(data.get("PixelRepresentation"))
    if data.get("ModalityLUTSequence"):
        bits = int(data.ModalityLUTSequence[0].LUTDescriptor[2])
        pixels, signed = np.asarray(apply_modality_lut(pixels, data)), False
    elif float(data.get("RescaleSlope") or 1) < 0:
        falls = not falls
    values = turned_round(pixels, bits, signed, str(file)) if falls else pixels
    if values.dtype.kind != "f" and values.min() >= 0 and values.max() < 256:
        return values.astype(np.uint8)
    return as_grey(values, str(file))


def _size(data: Any) -> tuple[tuple[float, float] | None, str]:
    """Pixel size (row, column) in µm, None where none is stated; and what is stated but cannot be used."""
    unusable = ""
    for spacing in _spacings(data):
        values: list[float] = []
        with suppress(ValueError, TypeError):
            values = [1e3 * float(value) for value in spacing]
        if len(values) == 2:
            found, said = stated_size(*values)
            if found:
                return found, ""
            unusable = unusable or said
        elif spacing:
            unusable = unusable or "its spacing of pixels is not two numbers"
    return None, unusable


def _spacings(data: Any) -> list[Any]:
    """What is stated of the distance between pixels in mm (rows, columns), the calibrated first."""
    found = [data.get("PixelSpacing")]
    for name in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in data.get(name) or []:
            found += [measures.get("PixelSpacing") for measures in group.get("PixelMeasuresSequence") or []]
    found += [data.get("ImagerPixelSpacing"), data.get("NominalScannedPixelSpacing")]
    for region in data.get("SequenceOfUltrasoundRegions") or []:
        sides = region.get("PhysicalDeltaY"), region.get("PhysicalDeltaX")
        if all(sides) and region.get("PhysicalUnitsXDirection") == region.get("PhysicalUnitsYDirection") == 3:
            found.append([10 * abs(float(side)) for side in sides])  # cm
    return [spacing for spacing in found if spacing is not None and spacing != ""]

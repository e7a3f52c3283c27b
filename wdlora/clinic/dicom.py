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
    RescaleSlope. Look-up tables, of the modality and for display, are applied; a positive slope and display windows
    leave the stored values as they are. The pixel size is PixelSpacing, else that of the functional groups, else
    ImagerPixelSpacing or NominalScannedPixelSpacing. Raises InputError for several frames, palettes, tables for display
    to choose from, and what is damaged or too large.
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
                f"{file} is not a DICOM image or is damaged ({type(error).__name__}): export it again"
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
    pixels = np.asarray(data.pixel_array)  # YBR comes as RGB
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        if pixels.dtype != np.uint8:
            pixels = np.rint(pixels * (255 / (2 ** int(data.BitsStored) - 1))).clip(0, 255).astype(np.uint8)
        return pixels[..., :3]
    if pixels.ndim != 2:
        raise InputError(f"{file} is {pixels.ndim}-dimensional: give one grey image per file")
    falls = sense == "MONOCHROME1" or str(data.get("PresentationLUTShape", "")) == "INVERSE"
    bits, signed = int(data.get("BitsStored") or 16), bool(data.get("PixelRepresentation"))
    slope, tables = float(data.get("RescaleSlope") or 1), data.get("VOILUTSequence") or []
    if len(tables) > 1:
        raise InputError(
            f"{file} holds {len(tables)} look-up tables for display (VOI LUT) to choose from: export it with one"
        )
    if data.get("ModalityLUTSequence"):
        pixels, bits, signed = *_looked_up(pixels, data.ModalityLUTSequence[0], signed), False
    elif tables:  # whose input is what the slope gives
        pixels = pixels * slope + float(data.get("RescaleIntercept") or 0)
    elif slope < 0:
        falls = not falls
    if tables:
        pixels, bits, signed = *_looked_up(pixels, tables[0], signed), False
    values = turned_round(pixels, bits, signed, str(file)) if falls else pixels
    if values.dtype.kind != "f" and values.min() >= 0 and values.max() < 256:
        return values.astype(np.uint8)
    return as_grey(values, str(file))


def _looked_up(values: np.ndarray, table: Any, signed: bool) -> tuple[np.ndarray, int]:
    """Values through a look-up table of DICOM (PS3.3 C.11.1.1), and its bits; beyond its ends its ends count.

    pydicom's own takes the index in the type of the table's output, or of the stored values: it loses tables of 8 bits
    with more than 256 entries, and of 12 bits.
    """
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    count = count or 2**16
    if signed and first >= 2**15:  # written as if it had no sign
        first -= 2**16
    stored = table.LUTData
    if isinstance(stored, bytes):
        stored = np.frombuffer(stored, np.uint8 if len(stored) < 2 * count else "<u2")
    entries = np.atleast_1d(np.asarray(stored)).astype(np.int64)[:count]
    if len(entries) < count or not 1 <= bits <= 16:
        raise ValueError(f"a look-up table of {len(entries)} entries of {bits} bits instead of {count}")
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, count - 1)
    return entries[index], bits


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

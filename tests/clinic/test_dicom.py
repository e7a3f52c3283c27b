"""DICOM files: brightness, colour and pixel size as their tags say, and files that are damaged."""

import sys

import numpy as np
import pytest
from PIL import Image

from wdlora.clinic import pictures
from wdlora.clinic.images import read_image
from wdlora.errors import InputError


@pytest.fixture
def picture():
    """A textured grey image without black, uint8 [96, 128]."""
    rng = np.random.default_rng(0)
    return rng.integers(20, 230, (96, 128)).astype(np.uint8)


def dicom(tmp_path, pixels, **tags):
    """A DICOM file of one image."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientName = "Miller^Anna"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel, data.PixelRepresentation = 1 if pixels.ndim == 2 else 3, 0
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
    data.HighBit = data.BitsStored - 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    file = tmp_path / "a.dcm"
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    return file


def test_dicom(tmp_path, picture):
    image = read_image(dicom(tmp_path, picture, PixelSpacing=[0.0011, 0.0010]))
    assert (image.pixels == picture).all() and image.pixels.dtype == np.uint8
    assert image.pixel_size_um == pytest.approx((1.1, 1.0))
    assert "iller" not in repr(image)
    deep = picture.astype(np.uint16) * 200
    image = read_image(dicom(tmp_path, deep, PixelSpacing=[0.2, 0.2]))  # 200 µm: no microscope
    assert (image.pixels == deep).all() and image.pixel_size_um is None


def test_dicom_where_the_largest_value_is_black(tmp_path, picture):
    image = read_image(dicom(tmp_path, picture, PhotometricInterpretation="MONOCHROME1"))
    assert (image.pixels == 255 - picture).all()
    signed = picture.astype(np.int16) * 100 - 12000
    turned = dicom(tmp_path, signed, PhotometricInterpretation="MONOCHROME1", PixelRepresentation=1)
    assert (read_image(turned).pixels == -1 - signed.astype(int)).all()


def test_dicom_with_colours_or_a_spacing_with_commas(tmp_path, picture):
    with pytest.raises(InputError, match="numbers of colours"):
        read_image(dicom(tmp_path, picture, PhotometricInterpretation="PALETTE COLOR"))
    file = dicom(tmp_path, picture, PixelSpacing=[0.001, 0.001])
    file.write_bytes(file.read_bytes().replace(b"0.001", b"0,001"))
    assert read_image(file).pixel_size_um is None


def test_damaged_dicom(tmp_path, picture):
    file = dicom(tmp_path, picture)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.dcm"):
        read_image(file)
    file.write_bytes(b"no dicom")
    with pytest.raises(InputError, match="not a DICOM"):
        read_image(file)


def test_dicom_without_pydicom_says_how_to_install_it(tmp_path, picture, monkeypatch):
    file = dicom(tmp_path, picture)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match="pip install"):
        read_image(file)


def test_the_limit_is_checked_for_dicom_too(tmp_path, picture, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    with pytest.raises(InputError, match="limit"):
        read_image(dicom(tmp_path, picture))


def test_a_falling_slope_turns_brightness_round(tmp_path, picture):
    """As MONOCHROME1 does; both together leave it. A rising slope only scales, which no reader of ours minds."""
    falling = {"RescaleSlope": -2, "RescaleIntercept": 510}
    assert (read_image(dicom(tmp_path, picture, **falling)).pixels == 255 - picture).all()
    both = dicom(tmp_path, picture, PhotometricInterpretation="MONOCHROME1", **falling)
    assert (read_image(both).pixels == picture).all()
    assert (read_image(dicom(tmp_path, picture, RescaleSlope=3, RescaleIntercept=-7)).pixels == picture).all()
    twelve = picture.astype(np.uint16) * 16
    deep = dicom(tmp_path, twelve, BitsStored=12, HighBit=11, RescaleSlope=-1, RescaleIntercept=4095)
    assert (read_image(deep).pixels == 4095 - twelve).all()


def test_the_shape_of_the_presentation_is_obeyed(tmp_path, picture):
    inverse = dicom(tmp_path, picture, PresentationLUTShape="INVERSE")
    assert (read_image(inverse).pixels == 255 - picture).all()
    said_twice = dicom(tmp_path, picture, PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1")
    assert (read_image(said_twice).pixels == 255 - picture).all()


def table(entries, first=0, bits=16, packed=False):
    """A look-up table; `packed`: as bytes."""
    from pydicom.dataset import Dataset

    made = Dataset()
    made.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    if packed:
        made.add_new("LUTData", "OW", np.asarray(entries).astype("<u2").tobytes())
    else:
        made.add_new("LUTData", "US", [int(value) for value in entries])
    return [made]


@pytest.mark.parametrize("packed", [False, True])
def test_a_look_up_table_is_applied(tmp_path, picture, packed):
    falling = table(257 * (255 - np.arange(256)), packed=packed)
    file = dicom(tmp_path, picture, ModalityLUTSequence=falling)
    assert (read_image(file).pixels == 257 * (255 - picture.astype(int))).all()


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_for_display_is_applied(tmp_path, picture, packed):
    """Of 8 and of 16 bits, after a table of the modality or a slope, and turned round where the largest is black."""
    square = np.arange(256) ** 2
    bent = read_image(dicom(tmp_path, picture, VOILUTSequence=table(square, packed=packed))).pixels
    assert (bent == picture.astype(int) ** 2).all()
    narrow = table(square // 256, bits=8, packed=packed)
    assert (read_image(dicom(tmp_path, picture, VOILUTSequence=narrow)).pixels == picture.astype(int) ** 2 // 256).all()
    turned = dicom(tmp_path, picture, VOILUTSequence=narrow, PhotometricInterpretation="MONOCHROME1")
    assert (read_image(turned).pixels == 255 - picture.astype(int) ** 2 // 256).all()
    falling = {"RescaleSlope": -1, "RescaleIntercept": 255}
    assert (
        read_image(dicom(tmp_path, picture, VOILUTSequence=table(square), **falling)).pixels
        == (255 - picture.astype(int)) ** 2
    ).all()
    both = dicom(tmp_path, picture, ModalityLUTSequence=table(255 - np.arange(256)), VOILUTSequence=table(square))
    assert (read_image(both).pixels == (255 - picture.astype(int)) ** 2).all()


def test_a_table_of_many_entries_and_few_bits(tmp_path, picture):
    """12 bits to 8: an index of more than 255, the ends for what lies beyond, and a first value below 0."""
    twelve = picture.astype(np.uint16) * 16
    stored = dicom(tmp_path, twelve, BitsStored=12, HighBit=11, VOILUTSequence=table(np.arange(4096) // 16, bits=8))
    assert (read_image(stored).pixels == picture).all()
    ends = dicom(tmp_path, picture, VOILUTSequence=table([7, *range(101, 150), 200], first=100, bits=8))
    assert (read_image(ends).pixels == np.select([picture <= 100, picture >= 150], [7, 200], picture.astype(int))).all()
    below = picture.astype(np.int16) - 120
    shifted = table(range(256), first=-120, bits=8)
    assert (read_image(dicom(tmp_path, below, PixelRepresentation=1, VOILUTSequence=shifted)).pixels == picture).all()


def test_tables_to_choose_from_and_damaged_ones_are_refused(tmp_path, picture):
    with pytest.raises(InputError, match=r"a\.dcm holds 2 look-up tables for display"):
        read_image(dicom(tmp_path, picture, VOILUTSequence=[*table(range(256)), *table(range(256))]))
    short = table(range(256))
    short[0].LUTDescriptor = [300, 0, 16]
    with pytest.raises(InputError, match="cannot be decoded"):
        read_image(dicom(tmp_path, picture, VOILUTSequence=short))


def test_colour_is_the_same_grey_as_rgb_and_as_ybr(tmp_path):
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[:, :4], rgb[:, 4:] = (255, 0, 0), (0, 0, 255)
    ybr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    luma = np.array([[76] * 4 + [29] * 4] * 8)
    assert (read_image(dicom(tmp_path, rgb, PhotometricInterpretation="RGB")).pixels == luma).all()
    found = read_image(dicom(tmp_path, ybr, PhotometricInterpretation="YBR_FULL")).pixels
    assert np.abs(found.astype(int) - luma).max() <= 2  # rounding there and back


def measures(spacing):
    """A functional group that holds a spacing in mm."""
    from pydicom.dataset import Dataset

    inner, outer = Dataset(), Dataset()
    inner.PixelSpacing = spacing
    outer.PixelMeasuresSequence = [inner]
    return [outer]


@pytest.mark.parametrize(
    "tags",
    [
        {"SharedFunctionalGroupsSequence": [0.0008, 0.0009]},
        {"PerFrameFunctionalGroupsSequence": [0.0008, 0.0009]},
        {"ImagerPixelSpacing": [0.0008, 0.0009]},
        {"NominalScannedPixelSpacing": [0.0008, 0.0009]},
        {"PixelSpacing": [0.0008, 0.0009], "ImagerPixelSpacing": [0.5, 0.5]},  # the calibrated one counts
        {"PixelSpacing": [0.5, 0.5], "SharedFunctionalGroupsSequence": [0.0008, 0.0009]},
    ],
    ids=lambda tags: "+".join(tags),
)
def test_the_spacing_is_found_wherever_it_stands(tmp_path, picture, tags):
    placed = {name: measures(value) if name.endswith("Sequence") else value for name, value in tags.items()}
    assert read_image(dicom(tmp_path, picture, **placed)).pixel_size_um == pytest.approx((0.8, 0.9))


def test_a_spacing_that_cannot_be_used_is_said(tmp_path, picture):
    image = read_image(dicom(tmp_path, picture, ImagerPixelSpacing=[0.2, 0.2]))
    with pytest.raises(InputError, match=r"says that its pixels are 200 × 200 µm, which cannot be used; give it"):
        image.require_pixel_size("a.dcm")
    assert read_image(dicom(tmp_path, picture, ImagerPixelSpacing=[0.2, 0.2]), 1.04).unusable_size == ""


def test_a_file_that_does_not_say_what_is_bright_is_refused(tmp_path, picture):
    file = dicom(tmp_path, picture)
    file.write_bytes(file.read_bytes().replace(b"MONOCHROME2 ", b"            "))
    with pytest.raises(InputError, match="PhotometricInterpretation"):
        read_image(file)

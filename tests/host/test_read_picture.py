"""LoadImage of the embedded host reads pictures as they are shown, and refuses by name what it cannot."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from wdlora.errors import InputError
from wdlora.host.core_nodes.images import read_picture


def grey(file):
    return read_picture(str(file))[0][0, ..., 0].numpy()


def test_deep_grey_is_scaled_by_its_range_and_turned_round_where_zero_is_white(tmp_path):
    values = np.arange(0, 65536, 683, np.uint16).reshape(8, 12)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert grey(tmp_path / "a.png") == pytest.approx(values / 65535, abs=1e-6)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    assert grey(tmp_path / "a.tif") == pytest.approx(1 - values / 65535, abs=1e-6)
    tifffile.imwrite(tmp_path / "f.tif", (values / 65535).astype(np.float32))
    assert grey(tmp_path / "f.tif") == pytest.approx(values / 65535, abs=1e-6)


def test_deep_grey_is_turned_as_viewers_show_it(tmp_path):
    values = np.arange(0, 65536, 683, np.uint16).reshape(8, 12)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    assert grey(tmp_path / "a.png") == pytest.approx(np.rot90(values, -1) / 65535, abs=1e-6)


@pytest.mark.parametrize(
    ("write", "word"),
    [
        (lambda file: tifffile.imwrite(file, np.full((8, 12), 300.0, np.float32)), "does not say what is white"),
        (lambda file: Image.new("L", (8, 6)).save(file, tiffinfo={274: 6}), "on its side"),
        (lambda file: file.write_bytes(b"II*\0\x08" + bytes(9)), "cannot be read as a picture"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, write, word):
    write(tmp_path / "a.tif")
    with pytest.raises(InputError, match=rf"a\.tif.*{word}"):
        read_picture(str(tmp_path / "a.tif"))

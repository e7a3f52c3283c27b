"""PNG texts rewritten: all else stays, Pillow reads the result."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wdlora.errors import InputError
from wdlora.privacy import png


def picture() -> bytes:
    info = PngInfo()
    info.add_text("prompt", "plain Smith")
    info.add_text("packed", "packed Smith " * 50, zip=True)
    info.add_itxt("international", "Smith, Müller", lang="de", tkey="Bild")
    info.add_itxt("both", "Smith, Müller " * 50, zip=True)
    info.add_text("none", "nothing")
    info.add(b"comf", b"prompt\0animated Smith")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "PNG", pnginfo=info, dpi=(300, 300))
    return memory.getvalue()


def test_texts_change_and_nothing_else():
    data = picture()
    new = png.rewritten(data, lambda keyword, text: text.replace("Smith", "image-1").replace("Müller", "name-ü"))
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(new)) as after:
        assert before.tobytes() == after.tobytes() and before.info["dpi"] == after.info["dpi"]
        before.load(), after.load()
        assert {
            key: text.replace("Smith", "image-1").replace("Müller", "name-ü") for key, text in before.text.items()
        } == (after.text)
        assert after.text["international"].lang == "de" and after.text["international"].tkey == "Bild"
    old, changed = png.read(data)[0], png.read(new)[0]
    assert [chunk.kind for chunk in old] == [chunk.kind for chunk in changed]
    for one, other in zip(old, changed, strict=True):
        assert one.raw == other.raw or png.chunk_text(one) is not None
        assert int.from_bytes(other.raw[-4:], "big") == zlib.crc32(other.raw[4:-4])
    assert b"animated image-1" in new


def test_a_text_beyond_latin_1_becomes_international():
    new = png.rewritten(picture(), lambda keyword, text: "名前" if keyword == "prompt" else text)
    with Image.open(io.BytesIO(new)) as after:
        after.load()
        assert after.text["prompt"] == "名前"


def test_the_same_bytes_where_nothing_changes():
    assert png.rewritten(picture(), lambda keyword, text: text) == picture()
    assert png.rewritten(picture() + b"tail", lambda keyword, text: text) == picture() + b"tail"


@pytest.mark.parametrize("cut", [4, 8, 20, 200, -1, -12])
def test_a_file_cut_short_is_a_sentence(cut):
    with pytest.raises(InputError, match="PNG"):
        png.read(picture()[:cut])


def test_texts_that_cannot_be_read_are_a_sentence():
    bomb = png._chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"a" * (png.LARGEST_TEXT + 1)))
    with pytest.raises(InputError, match="larger than 64 MB"):
        png.chunk_text(bomb)
    for content in (b"prompt\0\0not packed", b"prompt\0"):
        with pytest.raises(InputError, match="cannot be read"):
            png.chunk_text(png._chunk(b"zTXt", content))
    with pytest.raises(InputError, match="cannot be read"):
        png.chunk_text(png._chunk(b"iTXt", b"prompt\0\0\0de"))

"""Public layouts are recognised, paired and read; on small trees of the same shape."""

import numpy as np
import pytest
from PIL import Image

from tests.dataset import public_trees as trees
from wdlora.dataset.layouts import Source, read_annotation, read_layout, require_annotations
from wdlora.errors import InputError


@pytest.mark.parametrize(
    ("tree", "name", "groups", "splits"),
    [
        (trees.qilu, "qilu", ["1", "1", "2"], ["", "", ""]),
        (trees.padova, "padova", ["", "", ""], ["test", "training", "training"]),
        (trees.corn, "corn", ["Level1", "Level2", "Level3"], ["train"] * 3),
        (trees.own, "own", ["", "", ""], ["", "", ""]),
    ],
)
def test_recognised_by_its_folders(tmp_path, tree, name, groups, splits):
    layout = read_layout(tree(tmp_path))
    assert layout.name == name
    assert [source.group for source in layout.sources] == groups
    assert [source.split for source in layout.sources] == splits
    assert all(source.centreline == (name == "padova") for source in layout.sources)
    assert (layout.table is not None) == (name == "own")
    assert read_layout(tmp_path, name) == layout
    for source in layout.sources:  # one line of one or three pixels in each, nothing else
        image = np.asarray(Image.open(source.image))
        mask = read_annotation(source, image)
        assert mask.dtype == bool and (mask == mask[:1]).all()
        assert mask[0].sum() == (1 if name == "padova" else 3)
        assert (image[mask] == 190).all()


@pytest.mark.parametrize("beside", ["in", "."])
def test_a_table_of_patients_makes_images_and_annotations_ones_own(tmp_path, beside):
    """Of the layout qilu the table would be dropped, and one patient's images would count as several patients."""
    root = trees.own(tmp_path / "in")
    (root / "masks").rename(root / "annotations")
    table = (root / "patients.csv").rename(tmp_path / beside / "patients.csv")
    (table.parent / "devices.csv").write_text("device,lens\nHRT,RCM\n", encoding="utf-8")
    layout = read_layout(tmp_path)
    assert (layout.name, layout.table) == ("own", table)
    require_annotations(layout.sources)
    assert read_layout(tmp_path, "qilu").name == "qilu"
    table.write_text("image;grade\na.png;3\n", encoding="utf-8")
    assert read_layout(tmp_path).name == "qilu"  # a table that tells no patients


def test_a_folder_around_the_data_set_and_litter_in_it(tmp_path):
    trees.padova(tmp_path / "data")
    (tmp_path / "data" / "training" / "images" / "._a.tif").write_bytes(b"")
    (tmp_path / "__MACOSX").mkdir()
    assert len(read_layout(tmp_path).sources) == 3


def test_csnets_other_annotation(tmp_path):
    """label/STEM_nerve_ann: nerves with their width; a centreline is taken only where there is none."""
    trees.padova(tmp_path)
    _, mask = trees.picture(10)
    trees.save(tmp_path / "training" / "label" / "a_nerve_ann.tif", mask.astype(np.uint8) * 255)
    (tmp_path / "training" / "label2" / "a_centerline_overlay.tif").unlink()
    found = {source.image.stem: source for source in read_layout(tmp_path).sources}
    assert not found["a"].centreline and found["b"].centreline
    assert (read_annotation(found["a"], trees.picture(10)[0]) == mask).all()


def test_images_without_annotation_are_counted_and_named(tmp_path):
    trees.qilu(tmp_path)
    (tmp_path / "Dataset" / "annotations" / "1_Jones_OS.png").unlink()
    sources = read_layout(tmp_path).sources
    assert [source.annotation is None for source in sources] == [True, False, False]
    with pytest.raises(InputError, match=r"1 of 3 images have no annotation \(1_Jones_OS.png\)"):
        require_annotations(sources)


def test_unknown_layouts(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        read_layout(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no known layout.*qilu.*padova.*corn.*own"):
        read_layout(tmp_path)
    with pytest.raises(InputError, match="no layout 'zenodo'; choose one of qilu, padova, corn, own"):
        read_layout(tmp_path, "zenodo")
    with pytest.raises(InputError, match="not laid out as 'corn': train/Level1/ was not found"):
        read_layout(trees.qilu(tmp_path), "corn")
    (tmp_path / "empty" / "images").mkdir(parents=True)
    with pytest.raises(InputError, match="has no images"):
        read_layout(tmp_path / "empty")


IMAGE, MASK = trees.picture(20)
LINE = np.zeros_like(MASK)
LINE[:, 20] = True


def _painted(image, value):
    return np.where(LINE, np.uint8(value), image)


def _two_colours(low, high):
    return np.where(MASK[..., None], np.uint8(high), np.uint8(low))


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        (trees.overlay(IMAGE, 20, (255, 0, 0)), LINE),
        (trees.overlay(IMAGE, 20, (0, 255, 255)), LINE),
        (trees.overlay(IMAGE, 20, (255, 210, 60)), LINE),
        (_painted(IMAGE, 255), LINE),  # white over grey
        (_painted(IMAGE, 0), LINE),  # black over grey
        (_painted(IMAGE // 12, 255), LINE),  # darker than the image: a mask of its own
        (MASK.astype(np.uint8) * 255, MASK),
        (MASK.astype(np.uint8), MASK),
        (np.repeat(MASK[..., None], 3, axis=2).astype(np.uint8) * 255, MASK),
        (_two_colours((0, 0, 0), (255, 0, 0)), MASK),
        (_two_colours((68, 1, 84), (253, 231, 37)), MASK),  # coloured ground too
        (np.zeros_like(IMAGE), np.zeros_like(MASK)),
    ],
)
def test_how_annotations_are_drawn(tmp_path, annotation, wanted):
    path = trees.save(tmp_path / "a.png", annotation)
    assert (read_annotation(Source(path, path), IMAGE) == wanted).all()


def test_an_overlay_saved_as_jpeg(tmp_path):
    """JPEG blurs colour over blocks of 16 pixels; the line may become wider, not lost, and nothing appears far off."""
    path = trees.save(tmp_path / "a.jpg", trees.overlay(IMAGE, 20), quality=95)
    found = read_annotation(Source(path, path), IMAGE)
    assert found[LINE].all() and not found[:, np.r_[0:16, 25:48]].any()


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8), "coloured all over"),
        (np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8), "neither a mask nor lines"),
        (np.zeros((48, 40), np.uint8), "40 × 48 and 48 × 48"),
    ],
)
def test_annotations_that_are_none(tmp_path, annotation, message):
    path = trees.save(tmp_path / "a.png", annotation)
    with pytest.raises(InputError, match=message):
        read_annotation(Source(path, path), IMAGE)


@pytest.mark.parametrize("top", [False, True])
def test_an_information_bar_is_cut_off_both(tmp_path, top):
    """384 × 416 with a black bar of 32 rows; the annotation has its lines in the image's part alone."""
    rng = np.random.default_rng(0)
    image, mask = rng.integers(30, 200, (384, 384)).astype(np.uint8), np.zeros((384, 384), np.uint8)
    mask[100:103] = 255
    bar = np.zeros((32, 384), np.uint8)
    order = (bar, image) if top else (image, bar)
    picture = trees.save(tmp_path / "a.png", np.concatenate(order))
    annotation = trees.save(tmp_path / "m.png", np.concatenate((bar, mask) if top else (mask, bar)))
    assert (read_annotation(Source(picture, annotation), image) == (mask > 0)).all()

"""CCM Load Image and CCM Compare Biomarkers."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from .conftest import write_grey


@pytest.fixture
def inputs(run):
    return run.host.folders.input


def test_sixteen_bits_and_the_files_own_pixel_size(run, inputs):
    """The gradient comes back to 1/65535; 24384.0 pixels an inch are 25400/24384 = 1.0417 µm."""
    pixels = np.arange(64 * 96, dtype=np.uint16).reshape(64, 96) * 10
    Image.fromarray(pixels).save(inputs / "a.tif", dpi=(24384.0, 24384.0))
    image, valid, size, report = run.values("CCMLoadImage", image="a.tif", pixel_size_um=0.0)
    assert image.shape == (1, 64, 96, 3)
    assert np.allclose(image[0, ..., 1].numpy() * 65535, pixels, atol=0.01)
    assert size == pytest.approx(400 / 384, rel=1e-4) and "96 × 64 pixels of 1.0417 µm, 16 bits" in report
    assert valid.shape == (1, 64, 96) and valid.all()
    given = run.values("CCMLoadImage", image="a.tif", pixel_size_um=2.5)[2]
    assert given == pytest.approx(2.5)


def test_a_changed_file_is_read_again(run, inputs):
    write_grey(inputs / "a.png", np.full((32, 32), 10, np.uint8))
    first = run.values("CCMLoadImage", image="a.png", pixel_size_um=1.0)[0]
    write_grey(inputs / "a.png", np.full((32, 32), 20, np.uint8))
    second = run.values("CCMLoadImage", image="a.png", pixel_size_um=1.0)[0]
    assert first[0, 0, 0, 0] == pytest.approx(10 / 255) and second[0, 0, 0, 0] == pytest.approx(20 / 255)


def test_dicom_files_are_offered(run, inputs):
    write_grey(inputs / "sub" / "b.bmp", np.zeros((8, 8), np.uint8))
    (inputs / "c.dcm").write_bytes(b"")
    offered = run.host.object_info()["CCMLoadImage"]["input"]["required"]["image"][1]["options"]
    assert offered == ["c.dcm", "sub/b.bmp"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lost.png", "there is no image 'lost.png': put it into"),
        ("../a.png", "must lie below"),
        ("notes.txt", "is not an image file"),
        ("empty.png", "empty.png is empty: export or copy it again"),
        ("torn.png", "torn.png is not an image"),
        ("plain.png", "plain.png does not say its pixel size: set pixel_size_um"),
        ("oblong.tif", "not square"),
    ],
)
def test_a_bad_file_gets_a_sentence(run, inputs, name, sentence):
    (inputs / "empty.png").write_bytes(b"")
    (inputs / "torn.png").write_bytes(b"not a picture")
    (inputs / "notes.txt").write_text("x")
    write_grey(inputs / "plain.png", np.zeros((8, 8), np.uint8))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(inputs / "oblong.tif", dpi=(24384.0, 12000.0))
    refusal = run.sentence("CCMLoadImage", image=name, pixel_size_um=0.0)
    assert sentence in refusal and (name.startswith("..") or str(inputs / "plain.png") not in refusal)


def test_a_picture_of_ten_thousand_pixels_a_side_is_refused(run, inputs):
    Image.new("1", (10_000, 10_000)).save(inputs / "huge.png")
    refusal = run.sentence("CCMLoadImage", image="huge.png", pixel_size_um=1.0)
    assert "huge.png is 10000 × 10000 pixels" in refusal


def panel(cnfl, **other):
    return {"cnfl": cnfl, "rules": "acc_like/1", **other}


def test_the_comparison_by_hand(run):
    """A: 10, 12, 14 (mean 12, SD 2). B: 18, 20, 22 (mean 20, SD 2). Difference 8, standard error √(4/3 + 4/3) =
    1.633, Welch's degrees of freedom 4, t = 2.7764: ± 4.534. Hedges' g = 8/2 · (1 − 3/15) = 3.2."""
    a = json.dumps([panel(x, cnfd=None) for x in (10, 12, 14)])
    b = json.dumps([panel(x, cnfd=1.0) for x in (18, 20, 22)])
    plot, text, csv = run.values("CCMCompareBiomarkers", group_a=a, group_b=b, name_a="mask", name_b="painted")
    (found,) = json.loads(text)["biomarkers"]
    assert found["biomarker"] == "cnfl" and found["n"] == [3, 3] and found["sd"] == [2.0, 2.0]
    assert found["difference"] == pytest.approx(8) and found["hedges_g"] == pytest.approx(3.2)
    assert found["difference_95"] == pytest.approx([8 - 4.5338, 8 + 4.5338], abs=1e-3)
    table = run.result.outputs["node"]["ccm_table"][0]
    assert table["rows"] == [["CNFL, mm/mm²", "12.00 ± 2.00", "20.00 ± 2.00", "8.00 [3.47, 12.53]", "3.20"]]
    assert csv.splitlines()[1].startswith("cnfl,3,3,12.0,20.0,2.0,2.0,8.0,")
    assert plot.shape[-1] == 3 and plot.std() > 0.05


def test_pairs_are_compared_by_their_differences(run):
    """Differences 8, 8.5, 7.5: mean 8, standard error .5/√3 = .2887, t = 4.3027 of 2 degrees of freedom: ± 1.242."""
    a = json.dumps([panel(x, cnfd=None) for x in (10, 12, 14)])
    b = json.dumps([panel(x, cnfd=None) for x in (18, 20.5, 21.5)])
    names = {"name_a": "mask", "name_b": "painted"}
    _, text, _ = run.values("CCMCompareBiomarkers", group_a=a, group_b=b, paired=True, **names)
    assert json.loads(text)["paired"] is True
    assert json.loads(text)["biomarkers"][0]["difference_95"] == pytest.approx([8 - 1.242, 8 + 1.242], abs=1e-3)
    assert run.result.outputs["node"]["ccm_table"][0]["caption"].startswith("3 pairs; difference painted − mask")
    fewer = json.dumps([panel(1.0, cnfd=None)])
    refusal = run.sentence("CCMCompareBiomarkers", group_a=a, group_b=fewer, paired=True, **names)
    assert "3 and 1 images are not pairs" in refusal


def test_one_image_a_group_has_no_interval(run):
    one = json.dumps([panel(10.0)])
    run.values("CCMCompareBiomarkers", group_a=one, group_b=json.dumps([panel(12.0)]), name_a="", name_b="")
    table = run.result.outputs["node"]["ccm_table"][0]
    assert table["rows"] == [["CNFL, mm/mm²", "10.00 ± –", "12.00 ± –", "2.00 [–, –]", "–"]]


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        ("", "group_b holds no measured images"),
        ("[]", "group_b holds no measured images"),
        ('[{"cnfl": "long"}]', "which is not a number"),
        ('[{"cnfl": 1.0, "rules": "none/1"}]', "measured under different rules"),
        ('[{"cnfl": null, "rules": "acc_like/1"}]', "none of the biomarkers is defined in both groups"),
    ],
)
def test_what_was_not_measured_gets_a_sentence(run, group, sentence):
    refusal = run.sentence(
        "CCMCompareBiomarkers", group_a=json.dumps([panel(1.0)]), group_b=group, name_a="a", name_b="b"
    )
    assert sentence in refusal


def test_a_rule_set_under_its_former_name_is_the_same(run):
    a, b = (json.dumps([panel(10.0) | {"rules": rules}] * 2) for rules in ("none/1", "keep_all/1"))
    _, text, _ = run.values("CCMCompareBiomarkers", group_a=a, group_b=b, name_a="a", name_b="b")
    assert json.loads(text)["biomarkers"][0]["difference"] == 0


def test_measured_masks_can_be_compared(run):
    """Through CCM Biomarkers itself: three straight nerves against one."""
    masks = torch.zeros(2, 200, 200)
    masks[0, :, [40, 100, 160]] = 1
    masks[1, :, 100] = 1
    run.host.given |= {"a": masks[:1], "b": masks[1:]}
    extra = {name: {"class_type": "Give", "inputs": {"key": name}} for name in "ab"} | {
        f"m{name}": {"class_type": "CCMBiomarkers", "inputs": {"masks": [name, 0], "pixel_size_um": 1.0}}
        for name in "ab"
    }
    text = run.values("CCMCompareBiomarkers", extra, group_a=["ma", 0], group_b=["mb", 0], name_a="a", name_b="b")[1]
    found = {one["biomarker"]: one for one in json.loads(text)["biomarkers"]}
    assert found["cnfl"]["mean"] == pytest.approx([15, 5], rel=0.01)  # 200 µm each in .04 mm²
    assert found["cnfd"]["difference"] == pytest.approx(-50)


@pytest.mark.parametrize("colours", [False, True])
def test_nodes_trace_the_picture_that_save_image_writes(run, colours):
    """The same nerves from the tensor and from the file: Save Image cuts 255 x off to whole numbers."""
    from wdlora.anatomy import phantom, sample_mask, trace
    from wdlora.clinic.images import read_image

    grey = phantom(sample_mask("T1DPN", seed=3, size=192), seed=1, version=1).astype(np.float32) / 255
    image = torch.from_numpy(np.stack([grey, grey**1.3, grey] if colours else [grey] * 3, -1))[None] * 0.9876
    run.host.given["images"] = image
    run.host.run(
        {
            "1": {"class_type": "Give", "inputs": {"key": "images"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "stored"}},
        }
    )
    (file,) = run.host.folders.output.glob("stored*.png")
    expected = trace(read_image(file, 1.0417).pixels, 1.0417)
    traced, *_ = run.values("CCMTrace", images=image, pixel_size_um=1.0417)
    assert np.array_equal(traced[0].numpy() > 0.5, expected)

"""Feature networks against their publishers' modules, with random weights; what is refused as weights."""

import numpy as np
import pytest
import torch

from wdlora.errors import InputError
from wdlora.evaluation.extractors import extractor
from wdlora.evaluation.networks import inception, lite0
from wdlora.evaluation.networks.convert import NETWORKS, Network, convert, folded, load_network

IMAGES = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 100, 131), dtype=np.uint8))


def random_weights(module) -> dict[str, torch.Tensor]:
    """Weights and batch norms as the published files hold them, drawn in the order of `parts`."""
    generator, stored = np.random.default_rng(0), {}
    for name, (norm, shape) in module.parts().items():
        scale = np.float32(np.sqrt(2 / (shape[1] * shape[2] * shape[3])))
        stored[f"{name}.weight"] = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32) * scale)
        for part, draw in (
            ("weight", "uniform"),
            ("bias", "normal"),
            ("running_mean", "normal"),
            ("running_var", "uniform"),
        ):
            limits = (0.5, 1.5) if draw == "uniform" else (0, 0.2)
            stored[f"{norm}.{part}"] = torch.from_numpy(getattr(generator, draw)(*limits, shape[0])).float()
    return stored


def test_lite0_equals_its_publishers_module():
    """`EfficientNet.from_name("efficientnet-lite0")` of efficientnet-lite-pytorch 0.1.0: first features, mean, SD."""
    found = lite0.features(folded(NETWORKS["lite0"], random_weights(lite0)), IMAGES)
    assert found.shape == (2, 1280)
    expected = [[0.092599, 0.753779, 1.417428, 4.165926], [0.220177, 0.653986, 1.029124, 3.959498]]
    assert found[:, :4].tolist() == pytest.approx(np.array(expected), abs=1e-4)
    assert (found.mean().item(), found.std().item()) == pytest.approx((1.635009, 1.559427), abs=2e-5)


def test_inception_equals_torch_fidelitys_module():
    """`FeatureExtractorInceptionV3`, feature "2048", of torch-fidelity 0.4.0: first features, mean, SD."""
    found = inception.features(folded(NETWORKS["inception"], random_weights(inception)), IMAGES)
    assert found.shape == (2, 2048)
    expected = [[6.741077, 0.982212, 4.073555, 2.394246], [6.510037, 0.894218, 3.987833, 2.244216]]
    assert found[:, :4].tolist() == pytest.approx(np.array(expected), abs=1e-4)
    assert (found.mean().item(), found.std().item()) == pytest.approx((4.053056, 5.857440), abs=2e-5)


def test_tensorflows_interpolation_by_hand():
    """Two pixels to four: places 0, .5, 1, 1.5; the last lies beyond the last pixel."""
    found = inception.tensorflow_bilinear(torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]]), 4)
    assert found[0, 0, 0].tolist() == [0, 2, 4, 4]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """lite0's published file replaced by a random one, whose hash is known."""
    from wdlora.files import sha256

    source = tmp_path / "weights.pth"
    torch.save(random_weights(lite0) | {"_fc.weight": torch.zeros(1000, 1280)}, source)
    network = Network("lite0", lite0, sha256(source), "the published file")
    monkeypatch.setitem(NETWORKS, "lite0", network)
    return source


def test_converted_weights_make_an_extractor(small, tmp_path):
    out = tmp_path / "lite0.safetensors"
    digest = convert(NETWORKS["lite0"], small, out)
    found = extractor(f"lite0:{out}")
    assert found.name == f"lite0 (weights {digest[:8]})" and not found.standardise
    image = np.asarray(IMAGES[0])
    expected = lite0.features(folded(NETWORKS["lite0"], random_weights(lite0)), IMAGES[:1])[0]
    assert found.features(image) == pytest.approx(expected.double().numpy(), abs=1e-5)


def test_other_files_are_refused(small, tmp_path):
    out = tmp_path / "out.safetensors"
    other = tmp_path / "other.pth"
    torch.save({"x": torch.zeros(1)}, other)
    with pytest.raises(InputError, match="is not the published file: its SHA-256 begins with"):
        convert(NETWORKS["lite0"], other, out)
    with pytest.raises(InputError, match="is not pt_inception-2015-12-05"):
        convert(NETWORKS["inception"], other, out)
    with pytest.raises(InputError, match="there is no file"):
        convert(NETWORKS["lite0"], tmp_path / "none.pth", out)
    stored = random_weights(lite0)
    with pytest.raises(InputError, match=r"holds no _conv_head.weight of \[1280, 320, 1, 1\]"):
        folded(NETWORKS["lite0"], stored | {"_conv_head.weight": torch.zeros(1280, 320)})
    assert not out.exists()


def test_a_pickle_that_runs_code_is_refused(tmp_path, monkeypatch):
    from wdlora.files import sha256

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    source = tmp_path / "evil.pth"
    torch.save({"_conv_stem.weight": Evil()}, source)
    network = Network("lite0", lite0, sha256(source), "the published file")
    with pytest.raises(InputError, match="cannot be read as weights"):
        convert(network, source, tmp_path / "out.safetensors")
    assert not (tmp_path / "ran").exists()


def test_extractors_are_named_where_there_is_no_such_one(tmp_path):
    for choice in ("texture-2", "lite0", "lite0:", "vgg:file"):
        with pytest.raises(InputError, match="choose one of texture-1, lite0:FILE, inception:FILE"):
            extractor(choice)
    with pytest.raises(InputError, match="write it with convert-lite0"):
        extractor(f"lite0:{tmp_path / 'none'}")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="holds no inception weights"):
        load_network(NETWORKS["inception"], tmp_path / "other.safetensors")

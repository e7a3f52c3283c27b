"""Examples of a folder and their references; a run on a folder with the second model's two pictures."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file
from scipy import ndimage

from training.cache import Cache
from training.config import load_preset
from training.examples import (
    Example,
    check_pictures,
    folder_examples,
    pair_references,
    phantom_examples,
    training_phantom_seed,
)
from training.job import TrainingJob
from training.loop import FineTune
from training.models import ModelSource
from training.pipeline import finetune
from training.prepare import Preparer
from training.validation import VIEWS, evenly
from wdlora.adapter import Adapter
from wdlora.anatomy import phantom, sample_mask
from wdlora.clinic.masks import OUTLINED
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError
from wdlora.qwen.encode import encode
from wdlora.qwen.latents import encode_image
from wdlora.qwen.miniature_files import miniature_files


def example(identity, cohort, patient, reference=""):
    return Example(identity, cohort, patient, reference, lambda: None)


def test_references_are_of_the_same_patient_else_cohort_and_of_the_same_side():
    found = pair_references(
        [
            example("a1", "Control", "a"),
            example("b1", "Control", "b"),
            example("a2", "Control", "a"),
            example("c1", "T1DPN", "c"),
            example("d1", "Control", "d", reference="a2"),
            example("e1", "Control", "e", reference="held out"),
        ]
    )
    assert [one.reference for one in found] == ["a2", "a2", "a1", "", "a2", "a1"]


def test_phantoms_are_paired_within_their_cohort():
    found = pair_references(phantom_examples(2, seed=3))
    by_identity = {one.identity: one for one in found}
    for one in found:
        other = by_identity[one.reference]
        assert other.identity != one.identity and other.cohort == one.cohort


def test_no_two_phantoms_share_a_background():
    """Off the nerves, what is finer than 8 px correlates by chance alone; in phantoms of one seed it is the same."""
    examples = phantom_examples(2, seed=3)
    drawn = [one.load() for one in examples]
    ground = []
    for image, mask in drawn:
        free = ~ndimage.binary_dilation(mask, iterations=6)
        fine = image - ndimage.gaussian_filter(image.astype(float), 8)
        ground.append((fine, free))
    for number, (fine, free) in enumerate(ground):
        for other, elsewhere in ground[:number]:
            both = free & elsewhere
            assert abs(np.corrcoef(fine[both], other[both])[0, 1]) < 0.1
    seeds = {
        training_phantom_seed(number, seed, index) for number in range(3) for seed in range(3) for index in range(50)
    }
    assert len(seeds) == 3 * 3 * 50 and min(seeds) > 10**9


@pytest.mark.parametrize("version", [1, 2])
def test_phantoms_of_either_version(version):
    """The version changes the picture and leaves mask and name; what is asked for without one is phantom 2."""
    example = phantom_examples(1, seed=3, appearance="common", version=version)[1]
    image, mask = example.load()
    plexus = sample_mask("T1NoDPN", training_phantom_seed(1, 3, 0))
    assert (mask == plexus.mask).all()
    assert (image == phantom(plexus, training_phantom_seed(1, 3, 0), "common", version=version)).all()
    usual = phantom_examples(1, seed=3, appearance="common")[1]
    assert usual.identity == example.identity and (usual.load()[0] == image).all() == (version == 2)


def test_views_are_taken_evenly_whatever_their_number():
    assert evenly(list(range(6)), 3) == [0, 2, 4] and evenly([1, 2], 5) == [1, 2]
    for count in (49, 72, 95, 120, 500):
        chosen = evenly(list(range(count)), VIEWS)
        assert len(chosen) == VIEWS and set(np.diff(chosen)) <= {count // VIEWS, -(-count // VIEWS)}


@pytest.fixture
def data(tmp_path):
    """Three patients a cohort with two images each; 64×96 and 96×64 pixels, so that there are two buckets."""
    rows = ["file,cohort,patient"]
    generator = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for cohort in ("Control", "T1DPN"):
        for patient in range(3):
            for visit in range(2):
                name = f"{cohort}-{patient}-{visit}.png"
                mask = np.zeros((64, 96), np.uint8)
                mask[20 + 5 * patient : 25 + 5 * patient] = 255
                image = np.clip(60 + mask / 3 + generator.normal(0, 8, mask.shape), 0, 255).astype(np.uint8)
                if patient == 2:
                    image, mask = image.T, mask.T
                Image.fromarray(image).save(tmp_path / "data" / "images" / name)
                Image.fromarray(mask).save(tmp_path / "data" / "masks" / name)
                rows.append(f"{name},{cohort},{cohort}-{patient}")
    (tmp_path / "data" / "dataset.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "data"


def copied(data, image, name, **saving):
    """One image of a data set saved under the name of another, with the pixels that it has."""
    Image.open(data / "images" / image).save(data / "images" / name, **saving)


def test_no_image_is_paired_with_a_copy_of_itself(data):
    copied(data, "Control-0-0.png", "Control-0-1.png", compress_level=0)  # other bytes, the same pixels
    checked = check_pictures(folder_examples(data), None)
    references = {one.identity: one.reference for one in pair_references(checked)}
    assert references["Control-0-0.png"] == references["Control-0-1.png"] == "Control-1-0.png"
    assert references["Control-1-0.png"] == "Control-1-1.png"
    assert [one.reference for one in pair_references(checked[:2])] == ["", ""]


def test_masks_drawn_as_outlines_are_told_in_the_log(data, caplog):
    """Two of four: whoever trains on them learns that nerves are hollow."""
    hollow = np.zeros((64, 96), np.uint8)
    hollow[4:60, 20:28] = hollow[4:60, 40:48] = 255
    check_pictures(folder_examples(data), None)
    assert not caplog.records
    for name in ("Control-0-1.png", "T1DPN-1-1.png"):
        Image.fromarray(hollow).save(data / "masks" / name)
    check_pictures(folder_examples(data), None)
    assert not caplog.records
    hollow[5:59, 21:27] = hollow[5:59, 41:47] = 0
    for name in ("Control-0-1.png", "T1DPN-1-1.png"):
        Image.fromarray(hollow).save(data / "masks" / name)
    check_pictures(folder_examples(data), None)
    (record,) = caplog.records
    assert record.getMessage() == f"The masks of 2 of 12 images, first Control-0-1.png: {OUTLINED}."


def test_a_named_reference_of_the_same_pixels_is_refused(data):
    rows = (data / "dataset.csv").read_text().splitlines()
    rows = [rows[0] + ",reference", rows[1] + ",Control-0-1.png", *(row + "," for row in rows[2:])]
    (data / "dataset.csv").write_text("\n".join(rows) + "\n")
    assert check_pictures(folder_examples(data), None)[0].reference == "Control-0-1.png"
    copied(data, "Control-0-0.png", "Control-0-1.png")
    with pytest.raises(InputError, match=r"the reference Control-0-1\.png of Control-0-0\.png has the same pixels"):
        check_pictures(folder_examples(data), None)


def test_the_same_pixels_under_two_patients_are_refused(data):
    copied(data, "Control-0-0.png", "T1DPN-1-1.png")
    with pytest.raises(InputError, match=r"images Control-0-0\.png and T1DPN-1-1\.png have the same pixels but two"):
        check_pictures(folder_examples(data), None)


def second_model():
    """The miniature's files, read one by one, under the layout of the second model."""
    files = miniature_files()
    return ModelSource(
        transformer=str(files.transformer),
        text_encoder=str(files.text_encoder),
        vae=str(files.vae),
        tokenizer=str(files.tokenizer),
        variant="2509",
    )


def test_the_cached_reference_is_the_other_image_in_the_targets_view(data, tmp_path):
    model = second_model().load("fp32", "cpu", ("text_encoder", "vae"))
    examples = pair_references(folder_examples(data))
    config = load_preset("miniature", {"size": None, "views": 1})
    cache = Cache(tmp_path / "cache")
    (prepared,) = Preparer(model, cache, config, examples).prepare(examples[:1], 1, "encoding")
    entry = cache.read(prepared.pictures)
    other = next(one for one in examples if one.identity == examples[0].reference)
    assert other.patient == examples[0].patient
    assert torch.equal(entry["reference"], encode_image(model.vae, other.load()[0]))
    assert not torch.equal(entry["reference"], entry["target"])
    assert set(prepared.texts) == {"plain", "empty", "plain+reference", "empty+reference"}
    lengths = {name: cache.read(key)["embeds"].shape[1] for name, key in prepared.texts.items()}
    assert lengths["plain+reference"] > lengths["plain"]


def test_what_was_encoded_otherwise_is_encoded_again(tmp_path):
    """Every change of data, model or precision that decides an entry leads to another one, and no other change does."""
    (example,) = phantom_examples(1, seed=3)[:1]
    config = load_preset("miniature", {"size": 64, "views": 1})
    model = ModelSource("miniature").load("fp32", "cpu", ("text_encoder", "vae"))
    cache = Cache(tmp_path)

    def keys(one=example, model=model, **changes):
        preparer = Preparer(model, cache, dataclasses.replace(config, **changes), [one])
        (found,) = preparer.prepare([one], 1, "encoding")
        return {"pictures": found.pictures, "text": found.texts["plain"], "empty": found.texts["empty"]}

    def changed(**differently):
        now = keys(**differently)
        return {name for name, key in now.items() if key != first[name]}

    first = keys()
    image, mask = example.load()
    made = cache.misses
    assert changed() == set() and changed(rank=3, steps=9) == set() and cache.misses == made == 3

    assert changed(one=dataclasses.replace(example, cohort="T1DPN")) == {"text"}
    assert changed(one=dataclasses.replace(example, load=lambda: (image, ~mask))) == {"pictures", "text", "empty"}
    assert changed(one=dataclasses.replace(example, load=lambda: (255 - image, mask))) == {"pictures"}
    assert changed(size=96) == {"pictures", "text", "empty"}
    hashes = dict(model.hashes)
    assert changed(model=dataclasses.replace(model, hashes=hashes | {"vae": "other"})) == {"pictures"}
    assert changed(model=dataclasses.replace(model, hashes=hashes | {"text_encoder": "other"})) == {"text", "empty"}
    assert changed(model=dataclasses.replace(model, variant="2509")) == {"text", "empty"}
    half = dataclasses.replace(model, vae=copy.deepcopy(model.vae).to(torch.bfloat16))
    assert changed(model=half) == {"pictures"}
    # The same weights under other settings, as a folder's config.json states them.
    scaled, turned = (copy.deepcopy(part) for part in (model.vae, model.text_encoder))
    scaled.register_to_config(latents_std=[2 * one for one in scaled.config.latents_std])
    assert changed(model=dataclasses.replace(model, vae=scaled)) == {"pictures"}
    turned.config.text_config.rms_norm_eps = 1e-4
    assert changed(model=dataclasses.replace(model, text_encoder=turned)) == {"text", "empty"}


def test_what_is_judged_by_is_guided_as_the_workflows_are(data, tmp_path):
    """The cohort's prompt and negative prompt, no reference; loss and sheets ask for nothing else."""
    model = second_model().load("fp32", "cpu", ("text_encoder", "vae"))
    examples = pair_references(folder_examples(data))
    config = load_preset("miniature", {"size": None, "views": 1})
    cache = Cache(tmp_path / "cache")
    preparer = Preparer(model, cache, config, examples)
    (prepared,) = preparer.prepare(examples[:1], 1, "encoding", judging=True)
    assert set(prepared.texts) == {"plain", "negative"} and "reference" not in cache.read(prepared.pictures)
    _, mask = examples[0].load()
    text = COHORTS[examples[0].cohort].negative_prompt
    expected = encode(model.text_encoder, model.tokenizer, text, [(mask,)], "2509").embeds
    assert torch.equal(cache.read(prepared.texts["negative"])["embeds"], expected)


def test_room_is_asked_for_what_is_missing_alone(tmp_path, monkeypatch):
    config = load_preset("miniature", {"size": 64, "views": 1})
    model = ModelSource("miniature").load("fp32", "cpu", ("text_encoder", "vae"))
    examples = phantom_examples(1, seed=3)
    asked = []
    monkeypatch.setattr(Cache, "require_space", lambda self, count, entries: asked.append(count))
    Preparer(model, Cache(tmp_path), config, examples).prepare(examples[:1], 1, "encoding")
    Preparer(model, Cache(tmp_path), config, examples).prepare(examples, 1, "encoding")
    Preparer(model, Cache(tmp_path), config, examples).prepare(examples, 1, "encoding")
    # All of one but the first; then the second is missing, and after it the third; at last nothing.
    assert asked == [0, 1]


def test_half_of_the_batches_do_without_the_reference(data, tmp_path):
    config = load_preset("miniature", {"size": None, "views": 1, "batch_size": 2, "reference_dropout": 0.5})
    model = second_model().load("fp32", "cpu")
    examples = pair_references(folder_examples(data))
    cache = Cache(tmp_path)
    views = Preparer(model, cache, config, examples).prepare(examples[:2], 1, "encoding")
    run = FineTune(config, model, views, cache, tmp_path, None, Accelerator(cpu=True))
    count = 200
    kept = [len(run._batch(views, torch.Generator().manual_seed(seed)).references) for seed in range(count)]
    assert set(kept) == {1, 2}
    assert abs(kept.count(2) / count - 0.5) < 3 * (0.25 / count) ** 0.5


@pytest.mark.slow
def test_a_folder_trains_the_second_model_from_single_files(data, tmp_path):
    for patient in range(2):  # one at least is trained on
        copied(data, f"Control-{patient}-0.png", f"Control-{patient}-1.png")
    config = load_preset(
        "miniature",
        {"size": None, "views": 2, "steps": 6, "batch_size": 2, "sample_every": 0, "sample_steps": 2, "sample_cfg": 1},
    )
    result = finetune(
        TrainingJob(
            config, "miniature", second_model(), tmp_path / "out", str(data), pixel_size_um=400 / 384, device="cpu"
        )
    )
    assert result["finished"] and np.isfinite(result["judgement"]["validation_loss"])
    adapter = Adapter.load(result["adapter"])
    assert adapter.metadata.base_model == "qwen_image_edit_miniature.safetensors"
    assert max(float(layer.lora_b.abs().max()) for layer in adapter.layers.values()) > 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "2 patients for training, 2 for validation, 2 for the test" in card
    entries = [load_file(file) for file in (tmp_path / "out" / "cache").rglob("*.safetensors")]
    with_reference = [entry for entry in entries if "reference" in entry]
    assert with_reference and not any(torch.equal(entry["reference"], entry["target"]) for entry in with_reference)

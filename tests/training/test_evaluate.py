"""What an evaluation measures, on pictures whose properties are known, and one evaluation from end to end."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from training.appearance import PROPERTIES, appearance_of
from training.cache import Cache
from training.cases import draw_cases, painted_picture, real_picture
from training.cli import evaluate as command
from training.config import load_preset
from training.evaluate import evaluate_adapters, mask_agreement, matched_baseline
from training.evaluation_report import MaskAgreement, PictureSet, _share
from training.examples import phantom_examples
from training.models import ModelSource, precision_for
from training.monitor import paint_view
from training.prepare import Preparer
from training.prompt_effect import appearance_change, prompt_losses
from wdlora.adapter import Adapter, AdapterLayer
from wdlora.cohorts import COHORTS
from wdlora.errors import InputError
from wdlora.evaluation.distance import standardised
from wdlora.evaluation.interval import mean_interval
from wdlora.qwen.encode import encode
from wdlora.qwen.generate import generate
from wdlora.qwen.latents import encode_image, image_shapes, pack
from wdlora.qwen.miniature_files import load_miniature
from wdlora.qwen.sampling import Sampling, initial_noise


@pytest.fixture(scope="module")
def base():
    return load_miniature()


def test_a_base_is_stored_as_while_its_adapters_were_trained():
    assert precision_for("Qwen-Image-Edit", ["nf4", "nf4"]) == "nf4"
    assert precision_for("Qwen-Image-Edit", ["float8_e4m3fn"]) == "fp8"
    assert precision_for("Qwen-Image-Edit", [None]) == precision_for("Qwen-Image-Edit", ["nf4", None]) == "bf16"
    assert precision_for("miniature", [None, "nf4"]) == "fp32"


def test_appearance_of_a_drawn_line():
    """A line of 150 on 99 (the measures add 1): contrast (151 − 100)/100; nothing beads, nothing hazes."""
    mask = np.zeros((64, 64), bool)
    mask[29:35] = True
    image = np.where(mask, 150, 99).astype(np.uint8)
    found = appearance_of(image, mask)
    assert found["contrast"] == pytest.approx(0.51)
    assert found["haze"] == pytest.approx(0, abs=1e-9) and found["cells"] == 0
    plain = found["beading"]
    columns = np.arange(64)
    beaded = image + np.where(mask, 40 * np.sin(2 * np.pi * columns / 8), 0)
    assert appearance_of(beaded.astype(np.uint8), mask)["beading"] > plain + 0.05
    hazy = image + np.where(mask, 0, 20 * np.sin(2 * np.pi * columns / 64))
    assert appearance_of(hazy.astype(np.uint8), mask)["haze"] > 0.05
    bright = image.copy()
    bright[4:12, 4:12] = 255  # 64 pixels; their rim, smoothed over one, may count or not
    far = 64 * 64 - 64 * 14  # the line of 6 rows and 4 more on either side are not background
    assert 36 / far < appearance_of(bright, mask)["cells"] < 100 / far
    assert all(np.isnan(value) for value in appearance_of(image, np.zeros_like(mask)).values())


@pytest.mark.parametrize(("sampler", "cfg"), [("euler", 1.0), ("heun", 1.0), ("euler", 3.0)])
def test_painted_by_the_sampler_that_is_named_and_guided_as_the_workflows(base, sampler, cfg):
    (case, *_) = draw_cases(1, 64, 126_000)
    chosen = Sampling(3, cfg, 3.0, sampler=sampler)
    ours = painted_picture(base, case, chosen.guided_by(cfg), seed=4)
    direct = generate(base, case.mask, cohort=case.cohort, seed=4, sampling=chosen)[0].mean(-1)
    np.testing.assert_allclose(ours, direct, atol=1)
    other = dataclasses.replace(chosen, sampler={"euler": "heun", "heun": "euler"}[sampler])
    assert np.abs(ours.astype(float) - painted_picture(base, case, other, seed=4)).mean() > 2


def test_sheets_are_painted_by_the_configured_sampler(base, tmp_path):
    """The sheet's picture of a view is that of its mask, cut and turned as the view is."""
    config = load_preset("miniature", {"size": 64, "views": 1, "sample_steps": 3})
    example = phantom_examples(1, seed=3)[0]
    preparer = Preparer(base, cache := Cache(tmp_path), config, [example])
    (view,) = preparer.prepare([example], 1, "encoding", judging=True)
    mask = cache.read(view.pictures)["nerves"].numpy() > 0
    for sampler, cfg in (("euler", 1.0), ("heun", 1.0), ("euler", 3.0)):
        given = dataclasses.replace(config, sample_sampler=sampler, sample_cfg=cfg, sample_shift=3.0)
        ours = paint_view(base, view, cache, given.sheet_sampling(base.defaults), seed=4) * 255
        chosen = Sampling(3, cfg, 3.0, sampler=sampler)
        direct = generate(base, mask, cohort=example.cohort, seed=4, sampling=chosen)[0].mean(-1)
        np.testing.assert_allclose(ours, direct, atol=2)


def test_cases_have_seeds_of_their_own_and_sizes_that_can_be_judged():
    cases = draw_cases(2, 64, 126_000)
    assert sorted(case.seed for case in cases) == list(range(126_000, 126_006))
    assert all(case.mask.shape == (64, 64) and case.cohort == case.plexus.cohort for case in cases)
    for size in (32, 100, 416):
        with pytest.raises(InputError, match=f"{size} pixels"):
            draw_cases(1, size, 0)


def test_phantoms_of_neuropathy_are_fainter_and_beaded():
    cases = draw_cases(3, 128, 123_000)
    change = dict(
        zip(PROPERTIES, appearance_change(cases, lambda case, name: real_picture(case, 0, "cohort", name)), strict=True)
    )
    assert change["contrast"] < -0.05 and change["beading"] > 0
    same = appearance_change(cases, lambda case, name: real_picture(case, 0, "common", name))
    assert np.array_equal(same, np.zeros(4))


@pytest.fixture(scope="module")
def switched_alone():
    """Change of all measures (columns) where phantoms change in one property alone (rows), Control to T1DPN."""
    from wdlora.anatomy import phantom
    from wdlora.anatomy.phantoms import imaging

    control, neuropathy = imaging.APPEARANCES[0], imaging.APPEARANCES[2]
    fields = {name: (name,) for name in PROPERTIES} | {"cells": ("immature_cells", "mature_cells")}
    cases = draw_cases(4, 192, 130_000)

    def measured(look):
        rows = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(imaging, "appearance_at", lambda severity: look)
            for case in cases:
                image = phantom(case.plexus, seed=case.seed, version=1)
                image = image[case.row : case.row + 192, case.column : case.column + 192]
                rows.append([appearance_of(image, case.mask)[name] for name in PROPERTIES])
        return np.mean(rows, axis=0)

    looks = [
        dataclasses.replace(control, **{field: getattr(neuropathy, field) for field in fields[name]})
        for name in PROPERTIES
    ]
    return np.array([measured(look) for look in looks]) - measured(control)


@pytest.mark.parametrize("place", range(4), ids=PROPERTIES)
def test_each_measure_follows_its_own_property_of_phantoms(switched_alone, place):
    own = switched_alone[place, place]
    others = np.delete(switched_alone[:, place], place)
    assert (own < 0) == (PROPERTIES[place] == "contrast")
    assert np.abs(others).max() < 0.2 * abs(own)


def test_prompt_losses_are_the_flow_matching_error(base):
    """One noise level of one case, computed with diffusers' transformer alone."""
    (case, *_) = draw_cases(1, 64, 124_000)
    found = prompt_losses(base, [case], "cohort")
    assert found.shape == (1, 2)
    clean = encode_image(base.vae, real_picture(case, 0, "cohort"))
    control = encode_image(base.vae, case.mask)
    losses = {}
    for name, one in COHORTS.items():
        states = encode(base.text_encoder, base.tokenizer, one.prompt, [case.mask], base.variant)
        errors = []
        for number, level in enumerate((0.15, 0.4, 0.65, 0.9)):
            noise = initial_noise(clean.shape, seed=number)
            tokens = pack((1 - level) * clean + level * noise)
            with torch.no_grad():
                output = base.transformer(
                    hidden_states=torch.cat([tokens, pack(control)], 1),
                    timestep=torch.tensor([level]),
                    encoder_hidden_states=states.embeds,
                    encoder_hidden_states_mask=states.mask,
                    img_shapes=image_shapes([clean, control], 1),
                    return_dict=False,
                )[0]
            errors.append(float((output[:, : tokens.shape[1]] - pack(noise - clean)).square().mean()))
        losses[name] = np.mean(errors)
    own = losses.pop(case.cohort)
    assert found[0] == pytest.approx([own, np.mean(list(losses.values()))], rel=1e-4)


def test_the_matched_baseline_has_the_references_histogram_and_spectrum():
    generator = np.random.default_rng(0)
    reference = [generator.integers(0, 60, (64, 64)).astype(np.uint8) for _ in range(8)]
    flat = [np.clip(generator.normal(180, 4, (64, 64)), 0, 255).astype(np.uint8) for _ in range(8)]
    matched = np.stack(matched_baseline(flat, reference))
    assert np.allclose(np.quantile(matched, (0.1, 0.5, 0.9)), np.quantile(reference, (0.1, 0.5, 0.9)), atol=2)
    assert matched.mean() == pytest.approx(np.mean(reference), abs=0.7)  # cut instead of rounded: a whole level
    power = [
        np.mean([np.abs(np.fft.fft2(one - np.mean(one))) ** 2 for one in images]) for images in (matched, reference)
    ]
    assert power[0] == pytest.approx(power[1], rel=0.05)


def test_runs_are_summarised_over_runs():
    runs = [
        MaskAgreement(dice, {"slope": (slope, 0, 0), "bias": (0.0, 0, 0), "bias_percent": (1.0, 0, 0)})
        for dice, slope in ((0.8, 0.9), (0.9, 1.1))
    ]
    found = MaskAgreement.over_runs(runs)
    half = 12.706 * 0.1  # t with one degree of freedom, times the standard error of two values .2 apart
    assert found.dice == pytest.approx(0.85)
    assert found.dice_interval == pytest.approx((0.85 - half / 2, 0.85 + half / 2), abs=1e-3)
    assert found.cnfl["slope"] == pytest.approx((1.0, 1.0 - half, 1.0 + half), abs=1e-3)
    assert list(found.to_dict()) == ["dice", "dice_interval", "cnfl"]
    assert list(runs[0].to_dict()) == ["dice", "cnfl"]
    with pytest.raises(InputError, match="at least 2"):
        mean_interval([1.0])


def test_features_far_from_the_reference_are_limited():
    reference = np.random.default_rng(0).normal(5, 2, (500, 3))
    one, far = standardised(reference, reference + 1000)
    assert np.abs(one.mean(0)).max() < 0.05 and np.allclose(one.std(0), 1, atol=0.05)
    assert np.array_equal(far, np.full_like(far, 4.0))


def _random_adapter(base, seed):
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name, module in base.transformer.named_modules():
        if name.endswith("attn.to_out.0"):
            a, b = (torch.randn(shape, generator=generator) for shape in ((2, 160), (160, 2)))
            layers[name] = AdapterLayer(a, b * 0.3 * module.weight.norm() / (b @ a).norm())
    return Adapter(layers)


def test_an_adapter_given_twice_is_no_second_run(tmp_path):
    import argparse

    generator = torch.Generator().manual_seed(0)
    factors = (torch.randn(shape, generator=generator) for shape in ((2, 160), (160, 2)))
    adapter = Adapter({"transformer_blocks.0.attn.to_q": AdapterLayer(*factors)})
    adapter.save(tmp_path / "one.safetensors")
    shutil.copyfile(tmp_path / "one.safetensors", tmp_path / "copy.safetensors")
    (tmp_path / "folder").mkdir()
    shutil.copyfile(tmp_path / "one.safetensors", tmp_path / "folder" / "adapter_model.safetensors")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    one, copy, folder = (str(tmp_path / name) for name in ("one.safetensors", "copy.safetensors", "folder"))
    for given in ([one, copy], [one, one], [one, folder]):
        with pytest.raises(InputError, match="are the same adapter, not two training runs"):
            command.run(parser.parse_args(["--adapter", *given, "--out", str(tmp_path / "out"), "--count", "4"]))


def test_a_share_turns_the_interval_with_the_sign_of_what_it_is_a_share_of():
    assert _share((-0.1, -0.15, -0.05), -0.2) == "+50.0 (+25.0 to +75.0)"
    assert _share((0.002, -0.001, 0.005), 0.04) == "+5.0 (-2.5 to +12.5)"


@pytest.mark.slow
def test_an_evaluation_from_end_to_end(base, tmp_path):
    cases = draw_cases(4, 64, 125_000)
    adapters = [_random_adapter(base, seed) for seed in range(2)]
    pristine = {name: value.clone() for name, value in base.transformer.state_dict().items()}
    how = Sampling(2, sampler="heun").guided_by(1.0)
    found = evaluate_adapters(base, adapters, cases, how, "cohort", tmp_path, prompt_cases=3, seeds=range(2))
    result = found.to_dict()
    assert json.loads(json.dumps(result)) == result
    assert result["sampling"] == {"steps": 2, "cfg": 1.0, "shift": 3.0, "sampler": "heun"}
    assert all(torch.equal(value, pristine[name]) for name, value in base.transformer.state_dict().items())
    assert (tmp_path / "pictures.png").is_file()
    assert result["n"] == 12 and result["runs"] == 2
    against = result["fidelity"]["phantoms"]
    assert against["adapter"]["auc"]["value"] > against["phantoms, another draw"]["auc"]["value"]
    direct = mask_agreement(cases, [real_picture(case, 0, "cohort") for case in cases])["all"]
    assert found.mask_agreement[PictureSet.PHANTOMS]["all"] == direct
    assert result["follows"]["phantoms"]["all"] == direct.to_dict()
    assert result["follows"]["adapter, 2 training runs"]["all"]["dice_interval"]
    kernel = {name: against[name]["kid"]["value"] for name in ("adapter", "base model")}
    assert kernel["adapter"] != kernel["base model"]
    for low_high in (result["prompt_effect"]["adapter"]["contrast"], result["prompt_loss"]["difference"]):
        assert low_high[1] <= low_high[0] <= low_high[2]
    each = [change["contrast"] for change in result["prompt_effect_of_replicates"]]
    assert len(each) == 2 and result["prompt_effect"]["adapter"]["contrast"][0] == pytest.approx(np.mean(each))
    page = found.tables()
    assert f"| training run 2 | {each[1]:+.4f} |" in page
    assert "{:+.5f} ({:+.5f} to {:+.5f}) |".format(*result["prompt_effect"]["adapter"]["cells"]) in page
    assert "2 training runs" in page and "another cohort's" in page
    effect = result["prompt_effect"]
    share = 100 * effect["adapter"]["contrast"][0] / effect["phantoms through the VAE"]["contrast"][0]
    assert f"| adapter, % of phantoms through the VAE | {share:+.1f} (" in page
    offloaded = ModelSource("miniature").load("fp32", "cpu", offload="model")
    again = evaluate_adapters(offloaded, adapters, cases, how, "cohort", tmp_path, prompt_cases=3, seeds=range(2))
    assert again == found
    with pytest.raises(InputError, match="at least 4 masks"):
        evaluate_adapters(base, adapters, cases[:3], how, "cohort", tmp_path)

"""Presets load, say where their values come from, and refuse what they do not know."""

import dataclasses

import pytest

from training.__main__ import main
from training.config import PRESETS, TARGETS, TrainingConfig, load_preset, preset_study, presets
from wdlora.errors import InputError


def test_every_preset_loads():
    assert set(presets()) == {
        *(f"{family}_r{rank}" for family in ("paper", "lora") for rank in (8, 16, 32)),
        "paper_text",
        "consumer_24gb",
        "miniature",
        "miniature_192",
    }
    for name in presets():
        load_preset(name)


def test_the_papers_settings():
    """Section IV.D and Table III of the paper."""
    for rank in (8, 16, 32):
        config = load_preset(f"paper_r{rank}")
        assert (config.method, config.rank, config.targets) == ("wdlora", rank, ("attention",))
        assert (config.learning_rate, config.beta1, config.beta2) == (1e-4, 0.9, 0.999)
        assert (config.warmup_steps, config.cosine_cycles, config.steps) == (50, 0.5, 4000)
        assert (config.foreground_weight, config.background_weight) == (2.0, 1.0)
        assert config.optimiser == "adam8bit"
        lora = load_preset(f"lora_r{rank}")
        assert lora.method == "lora"
        assert {**lora.to_dict(), "method": "wdlora"} == config.to_dict()


def test_the_fingerprint_follows_every_field():
    config = dataclasses.replace(TrainingConfig(), timesteps="shifted")
    others = {
        "method": "magnitude",
        "targets": ("mlp",),
        "precision": "fp8",
        "optimiser": "adamw",
        "timesteps": "logit_normal",
        "sample_sampler": "heun",
        "alpha": 3.0,
        "test_share": 0.3,
        "size": 64,
        "sample_cfg": 4.0,
        "sample_shift": 3.1,
    }
    seen = {config.fingerprint()}
    elsewhere = {config.learning_fingerprint()}
    for field in dataclasses.fields(TrainingConfig):
        if field.name == "extra_rank":
            changed = dataclasses.replace(config, method="lora", extra_rank="match_wdlora")
            seen.add(dataclasses.replace(config, method="lora").fingerprint())
        else:
            value = getattr(config, field.name)
            number = value + 1 if isinstance(value, int) and not isinstance(value, bool) else value
            new = others.get(field.name, not value if isinstance(value, bool) else number)
            if isinstance(value, float):
                new = value / 2 if value else 0.25
            changed = dataclasses.replace(config, **{field.name: new})
        assert changed.fingerprint() not in seen, field.name
        aside = field.name.startswith("sample_") or field.name in (
            *("steps", "save_every", "keep_checkpoints", "log_every", "gradient_checkpointing"),
        )
        assert (changed.learning_fingerprint() in elsewhere) == aside, field.name
        elsewhere.add(changed.learning_fingerprint())
        seen.add(changed.fingerprint())
    assert config.fingerprint() == dataclasses.replace(config).fingerprint()


def test_large_seeds_stay_exact():
    assert load_preset("miniature", {"seed": "9007199254740993"}).seed == 9007199254740993
    assert load_preset("miniature", {"steps": "1e3"}).steps == 1000


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"rnak": 4}, "unknown key rnak"),
        ({"rank": "four"}, "rank must be int, not 'four'"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"rank": 99999}, "rank must be at most 3072, the width of the model.s layers, not 99999"),
        ({"extra_rank": "match_wdlora"}, "extra_rank is only for method=lora: with wdlora leave it at none"),
        ({"timesteps": "uniform"}, r"timestep_mean is only for .* with uniform leave it at 0\.0"),
        ({"timestep_shift": 3}, "timestep_shift is only for timesteps=shifted"),
        ({"method": "lora", "norm_gradient": "true"}, "norm_gradient is only for method=wdlora or magnitude"),
        ({"targets": [1]}, "targets must be tuple"),
        ({"seed": "1.5"}, "seed must be int"),
        ({"rank": 2.5}, "rank must be int"),
        ({"method": "dora"}, "method must be wdlora or lora or magnitude, not 'dora'"),
        ({"targets": "attention,everything"}, "unknown groups everything"),
        ({"save_every": 0}, "save_every must be at least 1"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"gradient_checkpointing": "perhaps"}, "gradient_checkpointing must be bool"),
        ({"size": 100}, "multiple of 32"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"prompt_dropout": 1}, r"prompt_dropout must lie in \[0, 1\)"),
        ({"beta1": "1.5"}, r"beta1 must lie in \[0, 1\), not 1.5"),
        ({"beta2": "1"}, r"beta2 must lie in \[0, 1\)"),
        ({"alpha": "0"}, "alpha must be positive, not 0"),
        ({"timestep_shift": "0"}, "timestep_shift must be positive"),
        ({"sample_shift": "-3"}, "sample_shift must be positive"),
        ({"max_grad_norm": "-1"}, "max_grad_norm must be 0 or more, not -1"),
        ({"foreground_weight": "-2"}, "foreground_weight must be 0 or more"),
        ({"foreground_weight": "0", "background_weight": "0"}, "both 0: nothing would be learned"),
        ({"sample_every": "-1"}, "sample_every must be 0 or more"),
        ({"sample_steps": "0"}, "sample_steps must be at least 1"),
        ({"weight_decay": "-0.1"}, "weight_decay must be 0 or more"),
        ({"timestep_std": "-1"}, "timestep_std must be 0 or more"),
        ({"seed": "-1"}, "seed must be 0 or more"),
        ({"seed": "1e30"}, r"seed must be below 2\^63"),
        ({"learning_rate": "nan"}, "learning_rate must be a finite number, not nan"),
        ({"learning_rate": "1e39"}, "learning_rate must be a finite number, not 1e.39"),
        ({"timestep_std": "nan"}, "timestep_std must be a finite number"),
        ({"timestep_mean": "-inf"}, "timestep_mean must be a finite number"),
        ({"rank": "inf"}, "rank must be int, not 'inf'"),
        ({"steps": "1e400"}, "steps must be int, not '1e400'"),
    ],
)
def test_bad_values_are_named(overrides, message):
    with pytest.raises(InputError, match=message):
        load_preset("miniature", overrides)


def test_text_from_the_command_line_becomes_the_fields_type():
    config = load_preset(
        "miniature", {"rank": "8", "targets": "attention,mlp", "gradient_checkpointing": "true", "size": "none"}
    )
    assert (config.rank, config.targets, config.gradient_checkpointing, config.size) == (
        8,
        ("attention", "mlp"),
        True,
        None,
    )


def test_zero_is_a_value_where_it_means_none():
    zeros = dict.fromkeys(("max_grad_norm", "background_weight", "sample_every", "warmup_steps", "cosine_cycles"), "0")
    assert load_preset("miniature", zeros).sample_every == 0


def test_every_number_has_its_limits():
    """A field that is added joins one of the lists; the mean of a normal alone may be anything finite."""
    import dataclasses

    from training import config

    limited = {*config._AT_LEAST_ONE, *config._BELOW_ONE, *config._POSITIVE, *config._NOT_NEGATIVE, "size"}
    numbers = {f.name for f in dataclasses.fields(config.TrainingConfig) if f.type in (int, float)}
    assert numbers - limited == {"timestep_mean"}


def test_a_preset_must_name_its_sources(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[rank]\nvalue = 4\nsource = "guessed"\n')
    with pytest.raises(InputError, match="source of rank must be paper or inferred or ours"):
        load_preset(str(path))
    path.write_text("rank = 4\n")
    with pytest.raises(InputError, match="rank must be a table"):
        load_preset(str(path))
    path.write_text("rank = \n")
    with pytest.raises(InputError, match="not valid TOML"):
        load_preset(str(path))
    with pytest.raises(InputError, match="no preset 'papr'; there are consumer_24gb"):
        load_preset("papr")


def test_a_preset_file_that_is_not_there_is_called_by_its_path(tmp_path):
    for read in (load_preset, preset_study):
        with pytest.raises(InputError, match=f"there is no file {tmp_path}/own.toml"):
            read(f"{tmp_path}/own.toml")


def test_targets_are_layers_of_the_transformer():
    """Counts on the full-size model without its weights: Table III's 11.80M at rank 8 is 240 layers · 8 · 6144."""
    import torch
    from diffusers import QwenImageTransformer2DModel

    with torch.device("meta"):
        model = QwenImageTransformer2DModel()
    linears = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    for ends in TARGETS.values():
        for end in ends:
            assert any(name == end or name.endswith(f".{end}") for name in linears), end
    attention = [m for n, m in linears.items() if n.endswith(TARGETS["attention"])]
    assert len(attention) == 240
    assert sum(8 * (m.in_features + m.out_features) for m in attention) == 11_796_480
    assert PRESETS.is_dir()


def test_a_preset_names_its_study_from_its_own_folder(tmp_path):
    text = (PRESETS / "miniature.toml").read_text(encoding="utf-8")
    own = tmp_path / "own.toml"
    own.write_text(text + '\n[study]\nvalue = "studies/sfn.toml"\nsource = "ours"\n', encoding="utf-8")
    assert preset_study(str(own)) == tmp_path / "studies" / "sfn.toml" and preset_study("miniature") is None
    assert load_preset(str(own)) == load_preset("miniature")  # it decides what is learned from, and not how
    for wrong in ("3", '" "'):
        own.write_text(text + f'\n[study]\nvalue = {wrong}\nsource = "ours"\n', encoding="utf-8")
        with pytest.raises(InputError, match=r"own.toml, study must be the path of a study's TOML file"):
            preset_study(str(own))


def test_the_list_says_what_every_preset_is_for(capsys):
    assert main(["finetune", "--preset", "list"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == presets()
    assert "paper_r16      4000 steps, nf4. The paper's WDLoRA at rank 16: attention" in printed


def test_a_fine_tune_obeys_the_study_of_its_preset(tmp_path, capsys):
    own = tmp_path / "own.toml"
    text = (PRESETS / "miniature.toml").read_text(encoding="utf-8")
    own.write_text(text + '\n[study]\nvalue = "lost.toml"\nsource = "ours"\n', encoding="utf-8")
    given = ["finetune", "--preset", str(own), "--model", "miniature", "--data", "phantoms:2"]
    assert main([*given, "--out", str(tmp_path / "run")]) == 2
    assert f"the study {tmp_path / 'lost.toml'} cannot be read" in capsys.readouterr().err

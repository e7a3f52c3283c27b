"""What a fine-tune cannot use is named before the first step."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.training.runs import job
from training.cli import finetune as command
from training.models import ModelSource
from training.pipeline import finetune
from wdlora.errors import InputError
from wdlora.qwen.miniature_files import miniature_files


def folder(path: Path, mask_size: int = 64, cohort: str = "Control") -> Path:
    for kind, size in (("images", 64), ("masks", mask_size)):
        (path / kind).mkdir(parents=True)
        for name in ("a", "b"):
            Image.fromarray(np.full((size, size), 90 if kind == "images" else 0, np.uint8)).save(
                path / kind / f"{name}.png"
            )
    (path / "dataset.csv").write_text(f"file,cohort,patient\na.png,{cohort},p1\nb.png,Control,p2\n")
    return path


def run(tmp_path, *arguments):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(["--out", str(tmp_path / "out"), *arguments]))


def test_bad_input_is_named_before_the_first_step(tmp_path):
    preset = ["--preset", "miniature", "--model", "miniature", "--device", "cpu"]
    sized = ["--pixel-size-um", "1.04"]
    with pytest.raises(InputError, match="unknown key stepz"):
        run(tmp_path, *preset, "--set", "stepz=3", "--set", "seed=1")
    with pytest.raises(InputError, match="KEY=VALUE"):
        run(tmp_path, *preset, "--set", "steps")
    with pytest.raises(InputError, match="steps is set twice, to 100 and to 200"):
        run(tmp_path, *preset, "--set", "steps=100", "rank=2", "--set", "steps=200")
    with pytest.raises(InputError, match="steps is set twice, to 100 and to 5"):
        run(tmp_path, *preset, "--set", "steps=100", "--steps", "5")
    with pytest.raises(InputError, match="steps must be int"):
        run(tmp_path, *preset, "--steps", "few")
    with pytest.raises(InputError, match="Name the model"):
        run(tmp_path, "--preset", "miniature")
    with pytest.raises(InputError, match="--pixel-size-um"):
        run(tmp_path, *preset, "--data", str(folder(tmp_path / "plain")))
    with pytest.raises(InputError, match="'Martian'"):
        run(tmp_path, *preset, *sized, "--data", str(folder(tmp_path / "cohort", cohort="Martian")))
    with pytest.raises(InputError, match="no data set folder"):
        run(tmp_path, *preset, *sized, "--data", str(tmp_path / "absent"))
    with pytest.raises(InputError, match="--appearance belongs to phantoms"):
        run(tmp_path, *preset, *sized, "--data", str(folder(tmp_path / "looks")), "--appearance", "common")
    with pytest.raises(InputError, match="--phantom belongs to phantoms"):
        run(tmp_path, *preset, *sized, "--data", str(tmp_path / "looks"), "--phantom", "1")
    with pytest.raises(InputError, match=r"Phantoms have 1\.0417 µm per pixel: leave out --pixel-size-um"):
        run(tmp_path, *preset, *sized, "--data", "phantoms:2")
    ignored = ["--variant", "2511", "--vae", "nope"]
    with pytest.raises(InputError, match="--model miniature has its own parts: leave out --vae, --variant"):
        run(tmp_path, *preset, *ignored)
    with pytest.raises(InputError, match="takes a number"):
        run(tmp_path, *preset, "--data", "phantoms:many")
    with pytest.raises(InputError, match="same grid"):
        run(tmp_path, *preset, *sized, "--data", str(folder(tmp_path / "sizes", mask_size=32)), "--set", "size=64")
    with pytest.raises(InputError, match=r"image a\.png is 64×64 pixels, smaller than the crop of 96"):
        run(tmp_path, *preset, *sized, "--data", str(folder(tmp_path / "phantoms-small")))
    grey = folder(tmp_path / "grey")
    Image.fromarray(np.full((64, 64), 120, np.uint8)).save(grey / "images" / "b.png")
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(grey / "masks" / "b.png")
    with pytest.raises(InputError, match=r"The mask of b\.png: this is a grey image"):
        run(tmp_path, *preset, *sized, "--data", str(grey), "--set", "size=64")
    dark = folder(tmp_path / "dark")
    Image.fromarray(np.full((64, 64), 4095, np.uint16)).save(dark / "images" / "b.png")
    with pytest.raises(InputError, match=r"image b\.png is nearly black: stretch its 12 bits"):
        run(tmp_path, *preset, *sized, "--data", str(dark), "--set", "size=64")
    with pytest.raises(InputError, match=r"images a\.png and b\.png have the same pixels but two patients"):
        run(tmp_path, *preset, *sized, "--data", str(folder(tmp_path / "twice")), "--set", "size=64")
    assert not (tmp_path / "out").exists()
    other = tmp_path / "other.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4, 4)}, other)
    with pytest.raises(InputError, match=r"other\.safetensors is not a Qwen-Image-Edit transformer: it holds"):
        run(
            tmp_path,
            "--preset",
            "miniature",
            "--transformer",
            str(other),
            "--text-encoder",
            str(other),
            "--vae",
            str(other),
        )
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_an_incomplete_transformer_is_named_before_anything_is_encoded(tmp_path):
    files = miniature_files()
    weights = load_file(files.transformer)
    weights.pop("transformer_blocks.1.attn.to_q.weight")
    save_file(weights, tmp_path / "torn.safetensors")
    torn = ModelSource(
        None, str(tmp_path / "torn.safetensors"), str(files.text_encoder), str(files.vae), str(files.tokenizer), "edit"
    )
    store = tmp_path / "cache"
    with pytest.raises(InputError, match=r"torn\.safetensors is incomplete"):
        finetune(dataclasses.replace(job(tmp_path / "out", store), model=torn))
    assert not store.exists()


def test_a_device_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no device 'gpu'"):
        run(tmp_path, "--preset", "miniature", "--model", "miniature", "--device", "gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused(tmp_path):
    with pytest.raises(InputError, match="CUDA"):
        run(tmp_path, "--preset", "miniature", "--model", "miniature", "--device", "cuda")

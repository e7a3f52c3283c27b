"""`inspect` and `convert` as a user runs them."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from wdlora.adapter import Adapter, AdapterLayer, Metadata
from wdlora.cli import main


@pytest.fixture
def files(tmp_path):
    """A base of two blocks and an adapter trained on it, magnitudes 2 % up."""
    generator = torch.Generator().manual_seed(1)
    base, layers = {}, {}
    for block in range(2):
        for target in ("to_q", "to_v"):
            name = f"transformer_blocks.{block}.attn.{target}"
            w = torch.randn(12, 8, generator=generator)
            base[f"model.diffusion_model.{name}.weight"] = w
            a, b = torch.randn(2, 8, generator=generator), 0.2 * torch.randn(12, 2, generator=generator)
            layers[name] = AdapterLayer(a, b, 1.02 * w.norm(dim=1), 2.0)
    save_file(base, tmp_path / "base.safetensors")
    adapter = Adapter(layers, Metadata(preset="paper-r8", prompt_version="1"))
    adapter.save(tmp_path / "a.safetensors", base=tmp_path / "base.safetensors")
    return tmp_path


def run(capsys, *argv):
    status = main([str(arg) for arg in argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_inspect_says_what_is_in_the_file(files, capsys):
    status, out, _ = run(capsys, "inspect", files / "a.safetensors")
    assert status == 0
    for line in ("dialect                peft", "rank                   2", "4: attn.to_q ×2, attn.to_v ×2"):
        assert line in out
    assert "208, of them 48 magnitudes" in out  # 4 × (2·8 + 12·2 + 12)
    assert "paper-r8" in out


def test_inspect_with_the_base(files, capsys):
    argv = ("inspect", files / "a.safetensors", "--base", files / "base.safetensors")
    status, out, err = run(capsys, *argv, "--plot", files / "p.png")
    assert status == 0
    assert "the base is the file that the adapter was trained on" in out
    assert (files / "p.png").read_bytes()[:4] == b"\x89PNG"
    assert "wrote" in err
    status, out, _ = run(capsys, *argv, "--json")
    report = json.loads(out)
    assert [b["block"] for b in report["blocks"]] == [0, 1]
    assert report["total"]["magnitude_percent_median"] == pytest.approx(2, rel=1e-4)
    assert report["total"]["direction_degrees_median"] > 5
    assert report["parameters"] == 208
    assert report["base"]["row_norms_max_percent"] == 0
    assert len(report["modules"]) == 4


def test_convert_there_and_back(files, capsys):
    a, base, c = files / "a.safetensors", files / "base.safetensors", files / "c.safetensors"
    status, out, err = run(capsys, "convert", a, c, "--to", "comfyui", "--base", base)
    assert status == 0
    assert "4 layers, rank 2" in out
    assert f"bound to {base}" in err
    assert "wrong as soon as ComfyUI evaluates DoRA as published" in " ".join(err.split())
    status, out, _ = run(capsys, "inspect", c)
    assert "exact in ComfyUI 0.33 on base.safetensors alone" in out
    assert "its dora_scale is bound to this file" in run(capsys, "inspect", c, "--base", base)[1]
    save_file({k: v * 2 for k, v in load_file(base).items()}, files / "other.safetensors")
    assert "dora_scale is not bound to this" in run(capsys, "inspect", c, "--base", files / "other.safetensors")[1]
    status, out, err = run(capsys, "convert", c, files / "back", "--json")
    assert json.loads(out)["dialect"] == "peft"
    before, after = load_file(a), load_file(files / "back" / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_convert_replaces_adapters_alone(files, capsys):
    """What an earlier call has written; peft's folder of the adapter itself stays."""
    a, out, folder = files / "a.safetensors", files / "c.safetensors", files / "folder"
    for dialect in ("peft", "diffusers"):
        assert run(capsys, "convert", a, out, "--to", dialect)[0] == 0
    assert Adapter.load(out).dialect == "diffusers"
    assert run(capsys, "convert", a, folder)[0] == 0
    status, _, err = run(capsys, "convert", folder, folder)
    assert status == 2
    assert "adapter_model.safetensors is the adapter itself" in err


def test_convert_warns_of_another_base(files, capsys):
    other = {k: 1.5 * v for k, v in load_file(files / "base.safetensors").items()}
    save_file(other, files / "other.safetensors")
    argv = ("convert", files / "a.safetensors", files / "c.safetensors", "--to", "comfyui")
    status, _, err = run(capsys, *argv, "--base", files / "other.safetensors")
    assert status == 0
    assert "row norms differ by 50 % (median)" in err


@pytest.mark.parametrize(
    "argv,sentence",
    [
        (("inspect", "no.safetensors"), "does not exist"),
        (("inspect", "a.safetensors", "--base", "no.safetensors"), "does not exist"),
        (("inspect", "a.safetensors", "--plot", "p.png"), "--base"),
        (("inspect", "a.safetensors", "--base", "base.safetensors", "--plot", "p.doc"), "must end in .png"),
        (("inspect", "base.safetensors"), "holds no LoRA layer"),
        (("convert", "a.safetensors", "c.safetensors", "--to", "comfyui"), "name that model's file with --base"),
        (("convert", "a.safetensors", "c.bin", "--to", "diffusers"), "must end in .safetensors"),
        (("convert", "a.safetensors", "base.safetensors/c.safetensors"), "cannot be written"),
        (("convert", "a.safetensors", "a.safetensors", "--to", "diffusers"), "is the adapter itself"),
        (("convert", "a.safetensors", "base.safetensors"), "is there already and is no adapter"),
    ],
)
def test_bad_input_is_one_line_and_status_2(files, capsys, argv, sentence):
    argv = [str(files / arg) if arg.endswith((".safetensors", ".png", ".doc", ".bin")) else arg for arg in argv]
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    status, out, err = run(capsys, *argv)
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert not out
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


def test_as_a_process(files):
    (files / "cut.safetensors").write_bytes((files / "a.safetensors").read_bytes()[:-9])
    argv = [sys.executable, "-m", "wdlora", "inspect", str(files / "cut.safetensors")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "is truncated" in done.stderr

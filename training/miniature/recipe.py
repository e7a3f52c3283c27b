"""The recipe: all stages in order, each resumable, and the files at the end."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import wdlora
from training.miniature import STAGES, images
from training.miniature.export import export, hashes, rounded, total_bytes
from training.miniature.mmdit import MMDiTStage, train_mmdit
from training.miniature.planar import PlanarVAE
from training.miniature.runner import progress_of, restore
from training.miniature.text import TextStage, train_text, train_tokenizer
from training.miniature.vae import VAEStage, restore_vae, train_vae
from wdlora.errors import InputError
from wdlora.files import write_json
from wdlora.qwen.miniature_files import MiniatureFiles, load_miniature


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is trained."""

    seed: int = 20261120
    vae: VAEStage = field(default_factory=VAEStage)
    text: TextStage = field(default_factory=TextStage)
    mmdit: MMDiTStage = field(default_factory=MMDiTStage)


def run(work: Path, out: Path, recipe: Recipe, stages: tuple[str, ...] = STAGES) -> MiniatureFiles:
    """Run `stages` with their checkpoints in `work`, and write the miniature to `out`.

    A finished stage is not run again. `mmdit` needs the VAE's encoder at rest, not its decoder, so it can be
    started in a second process while the decoder still learns. Raises InputError if `work` belongs to another
    recipe or if a stage that is needed has not got far enough.
    """
    work.mkdir(parents=True, exist_ok=True)
    _same_recipe(work, recipe)
    if "vae" in stages:
        train_vae(work / "vae", recipe.vae, recipe.seed)
    tokenizer = train_tokenizer(work / "tokenizer", recipe.text, recipe.seed)
    if "text" in stages:
        train_text(work / "text", tokenizer, recipe.text, recipe.seed)
    if "mmdit" in stages:
        _need(progress_of(work / "vae", recipe.vae.budget) >= recipe.vae.encoder_fraction, "vae")
        encoder = _text_encoder(work, tokenizer, recipe)
        train_mmdit(work / "mmdit", _vae(work, recipe), encoder, tokenizer, recipe.mmdit, recipe.seed)
    if "export" in stages:
        from training.miniature.mmdit import build_transformer

        _need(progress_of(work / "mmdit" / "run", recipe.mmdit.budget) > 0, "mmdit")
        encoder = _text_encoder(work, tokenizer, recipe)
        transformer = build_transformer(recipe.mmdit, recipe.text.hidden_size, recipe.seed)
        transformer = restore(work / "mmdit" / "run", transformer)
        export(out, transformer, encoder, _vae(work, recipe), work / "tokenizer", recipe_record(work, recipe))
    files = MiniatureFiles(out)
    if "measure" in stages:
        from training.miniature.measure import MEASURES

        model = load_miniature(out)
        write_metrics(files, {name: measure(model) for name, measure in MEASURES.items()})
    return files


def write_metrics(files: MiniatureFiles, measured: dict[str, Any]) -> None:
    """Write `metrics.json`: what was measured and the hashes of all other files."""
    write_json(files.metrics, {"figures": measured, "sha256": hashes(files), "bytes": total_bytes(files)})


def recipe_record(work: Path, recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON with what each stage spent."""
    from training.checkpoint import list_checkpoints, load_checkpoint

    spent = {}
    for name, folder in (("vae", "vae"), ("vae_polish", "vae/polish"), ("text", "text"), ("mmdit", "mmdit/run")):
        if found := list_checkpoints(work / folder):
            facts = load_checkpoint(found[-1])[2]
            spent[name] = {
                "steps": facts["step"],
                "minutes": round(facts["seconds"] / 60, 1),
                "finished": facts["done"],
                "last": facts["log"][-1:],
            }
    return {
        "what": "Qwen-Image-Edit in miniature, pretrained on procedural pictures of lines (no corneal nerves)",
        "command": "python -m training miniature --out DIR",
        "version": wdlora.__version__,
        "torch": torch.__version__,
        "recipe": asdict(recipe),
        "spent": spent,
        "storage": "float16; computed in float32",
    }


def _vae(work: Path, recipe: Recipe) -> PlanarVAE:
    vae = restore_vae(work / "vae", recipe.vae)
    rounded(vae)
    drawn = [
        images.picture(recipe.seed * 1_000_003 + 500_000 + k, 128, 128).image
        for k in range(recipe.vae.standard_pictures)
    ]
    vae.standardise(torch.from_numpy(np.stack(drawn)) * 2 - 1)
    return vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _text_encoder(work: Path, tokenizer: Any, recipe: Recipe) -> Any:
    from training.miniature.text import Reader, build_encoder

    _need(progress_of(work / "text", recipe.text.budget) > 0, "text")
    reader = Reader(build_encoder(tokenizer, recipe.text, recipe.seed), recipe.text)
    return rounded(restore(work / "text", reader)).encoder.requires_grad_(False)


def _same_recipe(work: Path, recipe: Recipe) -> None:
    """Keep the recipe in `work`; its budgets may change between runs, nothing else may."""
    path = work / "recipe.json"
    now = json.loads(json.dumps(asdict(recipe)))
    for stage in ("vae", "text", "mmdit"):
        del now[stage]["budget"]
    del now["vae"]["polish"]
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != now:
        raise InputError(f"{work} holds checkpoints of another recipe: give another folder with --work")
    write_json(path, now)


def _need(ready: bool, stage: str) -> None:
    if not ready:
        raise InputError(f"the stage {stage} has not got far enough: run it first")

"""The stages `tokenizer` and `text`: a small vision–language encoder whose states say what a prompt asks for.

The encoder learns from short tasks of its own, before any picture is painted: read from the last state which
attributes the prompt mentions and at which level, and which words it holds at all (so that prompts it has never
seen stay apart as well); read from each picture token how much of each sixteenth of its square the mask covers.
Then it is frozen, and the MMDiT learns on its states.
"""

import json
import re
import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.miniature import images, prompts
from training.miniature.runner import Budget, train
from wdlora.qwen.encode import Conditioning, encode_with_gradient, prompt_text
from wdlora.qwen.miniature_files import SPECIAL_TOKENS
from wdlora.qwen.tokenizer import load_tokenizer
from wdlora.qwen.vl_view import UNIT, vl_view
from wdlora.temporaries import prefix

VARIANT = "edit"
CELLS = 4  # a picture token's square is read in CELLS² parts


@dataclass(frozen=True)
class TextStage:
    """Shape, data and budget of the stage."""

    vocabulary: int = 1024
    corpus: int = 4000
    hidden_size: int = 128
    intermediate_size: int = 256
    layers: int = 2
    vision_hidden_size: int = 64
    vision_intermediate_size: int = 128
    vision_depth: int = 2
    batch: int = 16
    word_buckets: int = 384
    sizes: tuple[tuple[int, int], ...] = ((64, 64), (96, 96), (128, 128), (64, 128))
    budget: Budget = field(
        default_factory=lambda: Budget(steps=3000, minutes=20, learning_rate=2e-3, average_decay=0.99)
    )


def train_tokenizer(folder: Path, stage: TextStage, seed: int) -> Any:
    """Learn byte-pair merges from the prompts and the template, save the tokenizer to `folder` and return it."""
    if not folder.is_dir():
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

        learner = Tokenizer(models.BPE())
        learner.normalizer = normalizers.NFC()
        learner.pre_tokenizer = _qwen2_tokenizer({}, []).backend_tokenizer.pre_tokenizer
        trainer = trainers.BpeTrainer(
            vocab_size=stage.vocabulary,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=[],
            show_progress=False,
            min_frequency=2,
        )
        template = re.sub(r"<\|\w+\|>", " ", prompt_text("", 1, VARIANT))
        learner.train_from_iterator(prompts.corpus(stage.corpus, seed) + [template] * 200, trainer)
        model = json.loads(learner.to_str())["model"]
        with tempfile.TemporaryDirectory(prefix=prefix(), dir=folder.parent) as temporary:
            _qwen2_tokenizer(model["vocab"], [tuple(pair) for pair in model["merges"]]).save_pretrained(temporary)
            shutil.copytree(temporary, folder)
    return load_tokenizer(folder)


def _qwen2_tokenizer(vocab: dict[str, int], merges: list[tuple[str, ...]]) -> Any:
    from transformers import Qwen2Tokenizer

    return Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        unk_token="<|endoftext|>",
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
    )


def encoder_config(tokenizer: Any, stage: TextStage) -> Any:
    """`Qwen2_5_VLConfig` of a small encoder with what ComfyUI hard-codes for the large one.

    That is: head dimension 128, mrope sections 16/24/24, patches of 14 px merged 2×2, windows of 112 px with
    full attention only in vision blocks 7, 15, 23 and 31, and 16 vision heads.
    """
    from transformers import Qwen2_5_VLConfig

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": stage.hidden_size,
            "intermediate_size": stage.intermediate_size,
            "num_hidden_layers": stage.layers,
            "num_attention_heads": stage.hidden_size // 128,
            "num_key_value_heads": stage.hidden_size // 128,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 128000,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": stage.vision_depth,
            "hidden_size": stage.vision_hidden_size,
            "intermediate_size": stage.vision_intermediate_size,
            "num_heads": 16,
            "out_hidden_size": stage.hidden_size,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )


def build_encoder(tokenizer: Any, stage: TextStage, seed: int) -> Any:
    """A random `Qwen2_5_VLModel` of the stage's shape."""
    from transformers import Qwen2_5_VLModel

    torch.manual_seed(seed)
    return Qwen2_5_VLModel(encoder_config(tokenizer, stage))


class Reader(nn.Module):
    """The encoder with the linear heads of its tasks."""

    def __init__(self, encoder: Any, stage: TextStage):
        super().__init__()
        self.encoder = encoder
        width = stage.hidden_size
        self.levels = nn.ModuleDict(
            {name: nn.Linear(width, len(levels) + 1) for name, levels in images.ATTRIBUTES.items()}
        )
        self.words = nn.Linear(width, stage.word_buckets)
        self.cover = nn.Linear(width, CELLS**2)


def train_text(folder: Path, tokenizer: Any, stage: TextStage, seed: int) -> Any:
    """Run the stage in `folder` (resumable) and return the averaged encoder."""
    reader = Reader(build_encoder(tokenizer, stage, seed), stage)

    def tasks(model: Any, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        height, width = stage.sizes[rng.integers(len(stage.sizes))]
        texts, mentioned, masks = [], [], []
        for _ in range(stage.batch):
            text, levels = prompts.describe(images.sample_look(rng), rng)
            empty = rng.random() < 0.05
            texts.append("" if empty else text)
            mentioned.append({} if empty else levels)
            masks.append(images.draw_mask(images.sample_curves(rng, height, width), height, width))
        states = encode_with_gradient(model.encoder, tokenizer, texts, masks, VARIANT)
        last = _last(states)
        wrong: list[Tensor] = []
        losses: list[Tensor] = []
        for name, head in model.levels.items():
            target = torch.tensor([levels.get(name, head.out_features - 1) for levels in mentioned])
            logits = head(last)
            losses.append(F.cross_entropy(logits, target))
            wrong.append((logits.argmax(1) != target).float().mean())
        words = torch.stack([_word_buckets(text, stage.word_buckets) for text in texts])
        bag = F.binary_cross_entropy_with_logits(model.words(last), words)
        cover = _cover(masks)
        seen = states.embeds[:, 1 : 1 + cover.shape[1]]
        sight = F.binary_cross_entropy_with_logits(model.cover(seen), cover)
        loss = torch.stack(losses).mean() + 2.0 * bag + sight
        return loss, {"wrong": float(torch.stack(wrong).mean()), "words": bag.item(), "cover": sight.item()}

    def loss_at(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        return tasks(reader, np.random.default_rng([seed, 11, step]))

    def evaluate(average: Any) -> str:
        with torch.no_grad():
            rows = [tasks(average, np.random.default_rng([seed, 12, k]))[1] for k in range(8)]
        return "held out " + " ".join(f"{key} {np.mean([row[key] for row in rows]):.4f}" for key in rows[0])

    trained = train(folder, reader, loss_at, stage.budget, seed=seed, evaluate=evaluate)
    return trained.encoder


def _last(states: Conditioning) -> Tensor:
    if states.mask is None:
        return states.embeds[:, -1]
    return states.embeds[torch.arange(len(states.embeds)), states.mask.sum(1) - 1]


def _word_buckets(text: str, count: int) -> Tensor:
    """The set of a text's words, hashed: float[count] of zeros and ones."""
    found = torch.zeros(count)
    for word in text.lower().replace(",", " ").replace(".", " ").replace(";", " ").split():
        found[zlib.crc32(word.encode()) % count] = 1
    return found


def _cover(masks: list[np.ndarray]) -> Tensor:
    """For each picture token the share of the mask in the CELLS² parts of its square: [B, tokens, CELLS²]."""
    view = torch.cat([vl_view(torch.from_numpy(mask)) for mask in masks])[:, :1]
    part = F.avg_pool2d(view, UNIT // CELLS)
    batch, _, rows, columns = part.shape
    part = part.reshape(batch, rows // CELLS, CELLS, columns // CELLS, CELLS)
    return part.transpose(2, 3).reshape(batch, -1, CELLS**2)

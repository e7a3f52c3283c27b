"""Reading the small model from its files, as they are or changed."""

import dataclasses

import torch
from safetensors.torch import load_file, save_file

from wdlora.qwen.files import ModelFiles
from wdlora.qwen.loading import load

CPU = torch.device("cpu")


def same(model, reference):
    ours, theirs = model.state_dict(), reference.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def single(files, **changes):
    places = ModelFiles(None, files.transformer, files.text_encoder, files.vae, files.tokenizer)
    named = {name: changes.pop(name) for name in list(changes) if name in ModelFiles.__dataclass_fields__}
    return load(dataclasses.replace(places, **named), **changes)


def rewritten(path, target, change):
    """A copy of a safetensors file with its tensors changed by `change(tensors)`."""
    tensors = load_file(path)
    result = change(tensors)
    save_file(tensors if result is None else result, target)
    return target

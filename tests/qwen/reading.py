"""Reading the small model from its files, as they are or changed."""

import torch
from safetensors.torch import load_file, save_file

from wdlora.qwen.loading import load

CPU = torch.device("cpu")


def same(model, reference):
    ours, theirs = model.state_dict(), reference.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def single(files, **changes):
    given = {"transformer": files.transformer, "text_encoder": files.text_encoder, "vae": files.vae}
    return load(**(given | {"tokenizer": files.tokenizer} | changes))


def rewritten(path, target, change):
    """A copy of a safetensors file with its tensors changed by `change(tensors)`."""
    tensors = load_file(path)
    result = change(tensors)
    save_file(tensors if result is None else result, target)
    return target

"""Stored weights: the header of a file, a model's tensors one by one, rows and linear layers in any storage.

The names below are imported when they are first used, so that importing the package loads no torch.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .base import Weights as Weights

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"base": ["Weights"]})

"""The names of weight types and what PyTorch calls them."""

import pytest
import torch

from wdlora.errors import InputError
from wdlora.weights.dtypes import WEIGHT_TYPES, torch_type


def test_names_are_pytorchs_types():
    expected = {
        "default": None,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
        "float32": torch.float32,
        "fp8_e4m3fn": torch.float8_e4m3fn,
    }
    assert {name: torch_type(name) for name in WEIGHT_TYPES} == expected


def test_another_name_is_refused():
    with pytest.raises(InputError, match="'fp8_e5m2' is not known: use one of default, bfloat16"):
        torch_type("fp8_e5m2")

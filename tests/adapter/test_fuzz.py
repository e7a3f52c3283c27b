"""Damaged adapter files end in an adapter or in one sentence, never in another exception.

FUZZ_CASES sets the number of cases of all tests together (`make fuzz`: 10,000).
"""

import json
import os

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from wdlora.adapter import Adapter
from wdlora.adapter.report import describe, report_text
from wdlora.errors import InputError
from wdlora.weights.base import Weights

CASES = int(os.environ.get("FUZZ_CASES", "500"))

MODULES = st.sampled_from(
    ["transformer_blocks.0.attn.to_q", "transformer_blocks_3_attn_to_out_0", "img_in", "proj_out", "", ".", "x.y"]
)
PREFIXES = st.sampled_from(
    [
        "base_model.model.",
        "transformer.",
        "diffusion_model.",
        "lora_unet_",
        "lycoris_",
        "",
        "lora_te_",
        "_orig_mod.",
        "module.",
        "pipe.dit.",
    ]
)
SUFFIXES = st.sampled_from(
    [
        ".lora_A.weight",
        ".lora_B.weight",
        ".lora_A.default.weight",
        ".lora_down.weight",
        ".lora_up.weight",
        "_lora.down.weight",
        ".lora_magnitude_vector",
        ".lora_magnitude_vector.weight",
        ".dora_scale",
        ".alpha",
        ".diff_b",
        ".lora_B.bias",
        ".weight",
        ".hada_w1_a",
        ".lora_A",
        "",
    ]
)
KEYS = st.one_of(
    st.builds(lambda p, m, s: p + m + s, PREFIXES, MODULES, SUFFIXES),
    st.text(max_size=40),
    st.sampled_from(["wdlora.magnitudes", "wdlora.base_row_norms"]),
)
SHAPES = st.one_of(
    st.sampled_from([(2, 6), (4, 2), (4,), (4, 1), (1, 6), (), (2, 6, 1, 1), (4, 2, 1, 1)]),
    st.lists(st.integers(0, 6), max_size=4).map(tuple),
)
DTYPES = st.sampled_from(
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8]
)
VALUES = st.sampled_from([1.0, 0.0, -2.5, float("nan"), float("inf"), 1e30])
TENSORS = st.builds(
    lambda shape, dtype, value: torch.full(shape, value if dtype.is_floating_point else 1.0, dtype=torch.float32).to(
        dtype
    ),
    SHAPES,
    DTYPES,
    VALUES,
)
JSON_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
CONFIGS = st.dictionaries(
    st.sampled_from(
        [
            *("lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "peft_type", "r", "transformer.r"),
            *("rank_pattern", "init_lora_weights", "bias", "lora_bias", "modules_to_save", "target_modules"),
        ]
    ),
    JSON_TEXT,
    max_size=4,
)
METADATA = st.dictionaries(
    st.sampled_from(
        [
            *("wdlora.rank", "wdlora.alpha", "wdlora.format_version", "wdlora.targets", "note", "format"),
            *("lora_alpha", "network_alpha", "alpha", "ss_network_alpha"),
        ]
    ),
    st.text(max_size=12) | st.sampled_from(["1", "2", "-1", "nan", "1e999", "١"]),
    max_size=3,
)


def valid() -> dict[str, torch.Tensor]:
    tensors = {}
    for name in ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.to_v"):
        key = f"base_model.model.{name}"
        tensors[f"{key}.lora_A.weight"] = torch.ones(2, 6)
        tensors[f"{key}.lora_B.weight"] = torch.ones(4, 2)
        tensors[f"{key}.lora_magnitude_vector"] = torch.ones(4)
    return tensors


VALID = save(valid(), {"wdlora.rank": "2", "lora_adapter_metadata": '{"lora_alpha": 2}'})
HEADER_END = 8 + int.from_bytes(VALID[:8], "little")


def outcome(path, content: bytes) -> Adapter | None:
    """Load what `content` is; anything but an adapter or an InputError of one line is a failure."""
    path.write_bytes(content)
    try:
        Weights(path)
    except InputError as error:
        sound(error)
    try:
        adapter = Adapter.load(path)
    except InputError as error:
        return sound(error)
    assert adapter.layers
    for layer in adapter.layers.values():
        assert layer.rank > 0
        assert torch.isfinite(layer.lora_a.float()).all()
    report = describe(adapter)
    json.dumps(report, allow_nan=False)
    assert report_text(report).replace("\n", "").isprintable()
    try:
        again = Adapter.from_tensors(adapter.state_dict("peft"), adapter.peft_config())
    except InputError as error:
        sound(error)
    else:
        assert again.layers.keys() == adapter.layers.keys()
    return adapter


def sound(error: InputError) -> None:
    message = str(error)
    assert message.isprintable()
    assert 10 < len(message) < 800


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "a.safetensors"


def fuzz(share: float):
    return settings(
        max_examples=max(1, round(CASES * share)),
        deadline=None,
        database=None,
        derandomize="FUZZ_CASES" not in os.environ,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )


def test_the_undamaged_file_loads(path):
    assert len(outcome(path, VALID).layers) == 2


@fuzz(0.3)
@given(
    edits=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 7), st.integers(8, HEADER_END - 1), st.integers(0, len(VALID) - 1)),
            st.sampled_from(["set", "delete", "insert", "cut"]),
            st.binary(min_size=1, max_size=4) | st.sampled_from([b'"', b"{", b"}", b"-", b"9", b"\xff", b"\x00"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_edited_bytes(path, edits):
    content = bytearray(VALID)
    for position, what, value in edits:
        if what == "set":
            content[position : position + len(value)] = value
        elif what == "delete":
            del content[position : position + len(value)]
        elif what == "insert":
            content[position:position] = value
        else:
            del content[position:]
    outcome(path, bytes(content))


@fuzz(0.1)
@given(content=st.binary(max_size=200))
@example(b"")
@example((2**63).to_bytes(8, "little"))
@example((2).to_bytes(8, "little") + b"{}")
def test_any_bytes(path, content):
    outcome(path, content)


@fuzz(0.15)
@given(header=JSON_TEXT | st.text(max_size=60), rest=st.binary(max_size=16))
def test_any_json_header(path, header, rest):
    text = header if isinstance(header, str) else json.dumps(header)
    encoded = text.encode("utf-8", "surrogatepass")
    outcome(path, len(encoded).to_bytes(8, "little") + encoded + rest)


@fuzz(0.2)
@given(
    changes=st.dictionaries(st.sampled_from(sorted(valid())), st.none() | TENSORS, max_size=3),
    additions=st.dictionaries(KEYS, TENSORS, max_size=1),
    metadata=METADATA,
)
def test_changed_tensors(path, changes, additions, metadata):
    tensors = {key: tensor for key, tensor in (valid() | changes | additions).items() if tensor is not None}
    outcome(path, save({key: tensor.clone() for key, tensor in tensors.items()}, metadata or None))


@fuzz(0.1)
@given(tensors=st.dictionaries(KEYS, TENSORS, max_size=6), metadata=METADATA)
def test_any_keys_shapes_and_values(path, tensors, metadata):
    outcome(path, save({key: tensor.clone() for key, tensor in tensors.items()}, metadata or None))


@fuzz(0.15)
@given(config=CONFIGS, extra=st.dictionaries(KEYS, TENSORS, max_size=2))
def test_any_configuration(path, config, extra):
    tensors = {
        "transformer.img_in.lora_A.weight": torch.ones(2, 6),
        "transformer.img_in.lora_B.weight": torch.ones(4, 2),
    }
    adapter = outcome(path, save(tensors | extra, {"lora_adapter_metadata": json.dumps(config)}))
    if adapter is not None and not extra:
        assert torch.isfinite(torch.tensor(adapter.layers["img_in"].scaling))

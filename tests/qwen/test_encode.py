"""Encoding against diffusers' pipelines, with and without the token types that those forget."""

import pytest
import torch

from wdlora.errors import InputError
from wdlora.qwen.encode import Conditioning, encode, prompt_text, stack, token_ids
from wdlora.qwen.vl_view import vl_view

PROMPT = "corneal nerves, T1DPN"


class Processor:
    """What the pipelines call: text with image tokens expanded, pixels through transformers' own processor."""

    def __init__(self, tokenizer):
        from transformers import Qwen2VLImageProcessor

        self.tokenizer = tokenizer
        self.image_processor = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=392 * 392)

    def __call__(self, text, images=None, padding=True, return_tensors="pt"):
        from transformers.feature_extraction_utils import BatchFeature

        vision = self.image_processor(images=images, return_tensors="pt")
        counts = iter((vision["image_grid_thw"].prod(1) // 4).tolist())
        expanded = []
        for one in text:
            head, *rest = one.split("<|image_pad|>")
            expanded.append(head + "".join("<|image_pad|>" * next(counts) + part for part in rest))
        return BatchFeature(dict(vision) | dict(self.tokenizer(expanded, padding=padding, return_tensors="pt")))


def _picture(view):
    from PIL import Image

    return Image.fromarray((view[0].movedim(0, -1) * 255).round().to(torch.uint8).numpy())


def _pipeline(kind, parts):
    import diffusers

    pipe = getattr(diffusers, kind)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        processor=Processor(parts.tokenizer),
        transformer=parts.transformer,
    )
    prefix = pipe.prompt_template_encode.split("user\n")[0] + "user\n"
    pipe.prompt_template_encode_start_idx = len(parts.tokenizer(prefix)["input_ids"])
    return pipe


@pytest.fixture
def pictures():
    """Two pictures that are their own VL view, in whole grey levels so that PIL keeps them."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (1, 3, 56, 84), generator=generator).float() / 255 for _ in range(2)]


class WithTypes:
    """The text encoder with the token types that the pipeline leaves out."""

    def __init__(self, encoder):
        self.encoder = encoder
        self.dtype = encoder.dtype

    def __call__(self, input_ids, **inputs):
        types = (input_ids == self.encoder.config.image_token_id).int()
        return self.encoder(input_ids=input_ids, mm_token_type_ids=types, **inputs)


@pytest.mark.parametrize(
    ("kind", "variant", "number"),
    [
        ("QwenImageEditPipeline", "edit", 1),
        ("QwenImageEditPlusPipeline", "2509", 1),
        ("QwenImageEditPlusPipeline", "2511", 2),
    ],
)
def test_equal_to_the_pipelines_once_they_pass_the_token_types(parts, pictures, monkeypatch, kind, variant, number):
    given = pictures[:number]
    images = [_picture(picture) for picture in given]
    ours = encode(parts.text_encoder, parts.tokenizer, PROMPT, [given], variant)
    assert ours.mask is None
    pipe = _pipeline(kind, parts)
    images = images if "Plus" in kind else images[0]
    forgotten, _ = pipe.encode_prompt(PROMPT, image=images, device="cpu")
    monkeypatch.setattr(type(pipe), "text_encoder", WithTypes(parts.text_encoder), raising=False)
    pipe.__dict__.pop("text_encoder", None)
    right, _ = pipe.encode_prompt(PROMPT, image=images, device="cpu")
    assert ours.embeds.shape == right.shape
    assert torch.allclose(ours.embeds, right, atol=2e-6)  # fp32, pixels normalised in another order
    # Without the types the picture's tokens get the positions of text: the pipeline's trap
    assert float((forgotten - right).abs().max()) > 1e-3


def test_positions_of_the_picture_are_two_dimensional(parts, pictures):
    """The encoder gets for 4 × 6 patches (2 × 3 tokens) the rows and columns that Qwen2.5-VL was trained with."""
    seen = {}
    inner = parts.text_encoder.model.language_model
    handle = inner.register_forward_pre_hook(lambda m, a, k: seen.update(k), with_kwargs=True)
    try:
        encode(parts.text_encoder, parts.tokenizer, PROMPT, [pictures[0]], "edit")
    finally:
        handle.remove()
    _, types, prefix = token_ids(parts.tokenizer, prompt_text(PROMPT, 1, "edit"), [6])
    start = prefix + 1  # after <|vision_start|>
    assert types[start : start + 6] == [1] * 6
    assert sum(types) == 6
    positions = seen["position_ids"][-3:, 0, start : start + 7] - start
    assert positions[0].tolist() == [0, 0, 0, 0, 0, 0, 3]  # text goes on after the longer side
    assert positions[1].tolist() == [0, 0, 0, 1, 1, 1, 3]
    assert positions[2].tolist() == [0, 1, 2, 0, 1, 2, 3]


def test_templates():
    edit = prompt_text("X", 1, "edit")
    assert edit.endswith(
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>X<|im_end|>\n<|im_start|>assistant\n"
    )
    plus = prompt_text("X", 2, "2511")
    pictures = (
        "Picture 1: <|vision_start|><|image_pad|><|vision_end|>Picture 2: <|vision_start|><|image_pad|><|vision_end|>X"
    )
    assert pictures in plus


def test_prefix_is_found_for_the_tokenizer_at_hand(parts):
    """Everything up to "user\\n" goes; what is left starts with the picture."""
    ids, _, prefix = token_ids(parts.tokenizer, prompt_text("X", 1, "edit"), [1])
    assert parts.tokenizer.decode(ids[:prefix]).endswith("<|im_start|>user\n")
    assert ids[prefix] == parts.tokenizer.convert_tokens_to_ids("<|vision_start|>")


def test_batches_equal_single_samples(parts, pictures):
    prompts = [PROMPT, "short"]
    both = encode(parts.text_encoder, parts.tokenizer, prompts, pictures, "edit")
    assert both.mask is not None
    for i, prompt in enumerate(prompts):
        one = encode(parts.text_encoder, parts.tokenizer, prompt, [pictures[i]], "edit")
        length = one.embeds.shape[1]
        assert both.mask[i].tolist() == [True] * length + [False] * (both.mask.shape[1] - length)
        assert torch.allclose(both.embeds[i, :length], one.embeds[0], atol=2e-6)  # fp32, other batch shape


def test_prompt_picture_and_reference_all_matter(parts, pictures):
    def one(prompt, *given):
        return encode(parts.text_encoder, parts.tokenizer, prompt, [given], "2509").embeds

    assert not torch.allclose(one("a", pictures[0]), one("b", pictures[0]))
    assert not torch.allclose(one("a", pictures[0]), one("a", pictures[1]))
    assert one("a", pictures[0], pictures[1]).shape[1] > one("a", pictures[0]).shape[1]


def test_masks_are_seen_through_the_view(parts, mask):
    as_mask = encode(parts.text_encoder, parts.tokenizer, PROMPT, [mask], "edit")
    as_view = encode(parts.text_encoder, parts.tokenizer, PROMPT, [vl_view(mask)], "edit")
    assert torch.equal(as_mask.embeds, as_view.embeds)


def test_inner_model_serves_as_well(parts, mask):
    outer = encode(parts.text_encoder, parts.tokenizer, PROMPT, [mask], "edit")
    inner = encode(parts.text_encoder.model, parts.tokenizer, PROMPT, [mask], "edit")
    assert torch.equal(outer.embeds, inner.embeds)


@pytest.mark.parametrize(
    ("prompt", "pictures", "variant", "message"),
    [
        ("a", 1, "2510", "variant '2510'"),
        ("a", 2, "edit", "leave out the reference"),
        ("a <|image_pad|>", 1, "edit", "control token"),
    ],
)
def test_bad_text_is_named(prompt, pictures, variant, message):
    with pytest.raises(InputError, match=message):
        prompt_text(prompt, pictures, variant)


def test_a_foreign_tokenizer_is_named(parts, mask):
    from transformers import Qwen2Tokenizer

    other = Qwen2Tokenizer(vocab={"a": 0, "<|image_pad|>": 1}, merges=[], unk_token="a")
    with pytest.raises(InputError, match="belongs to this text encoder"):
        encode(parts.text_encoder, other, PROMPT, [mask], "edit")


def test_stacking_pads_with_a_mask():
    short, long = Conditioning(torch.ones(1, 2, 4)), Conditioning(torch.ones(1, 3, 4))
    assert stack([short, short]).mask is None
    both = stack([short, long])
    assert both.embeds.shape == (2, 3, 4)
    assert both.mask.tolist() == [[True, True, False], [True, True, True]]
    again = stack([both, long])
    assert again.mask.tolist() == [[True, True, False], [True] * 3, [True] * 3]

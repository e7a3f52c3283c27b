"""Nodes between a nerve mask and the sampler: conditioning on the mask's own pixel grid, and the way back."""

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..wdlora.cohorts import NO_PROMPT, TEXT_ONLY
from ..wdlora.errors import InputError
from . import engine, files, studies, tensors, variants
from .outlines import outline_note

CATEGORY = "CCM/conditioning"
LARGEST_PIXELS = 2048 * 2048


def _required_inputs() -> list[Any]:
    return [
        io.Clip.Input("clip", tooltip="Qwen2.5-VL of Qwen-Image-Edit."),
        io.Vae.Input("vae", tooltip="The VAE of Qwen-Image."),
        io.Mask.Input(
            "mask",
            tooltip="Nerve masks, 1 on nerve, cut at 0.5. Each mask of a batch becomes one picture. At most 4 "
            "million pixels each.",
        ),
        io.Combo.Input(
            "cohort",
            options=[*studies.cohorts(), TEXT_ONLY, NO_PROMPT],
            default="Control",
            tooltip="Clinical group whose prompts are used: healthy, type 1 diabetes without neuropathy, type "
            "1 diabetes with neuropathy. STUDY: COHORT is a cohort of a study in models/ccm_studies. Text only uses "
            "only the text below. No prompt uses no words, as prompt_dropout trains it. The severity of the disease "
            "acts on the mask (CCM Degenerate); the prompt is that of the nearest cohort.",
        ),
        io.Combo.Input(
            "variant",
            options=list(variants.CHOICES),
            default=variants.AUTO,
            tooltip="Which Qwen-Image-Edit the model is: the first (edit; also the miniature), 2509 or 2511. "
            "It decides the template of the text and how references are numbered. Auto asks model and clip; WDLoRA "
            "Load Qwen-Image-Edit marks both.",
        ),
        io.String.Input(
            "text",
            default="",
            multiline=True,
            tooltip="Free text, added after the cohort's prompt.",
        ),
        io.String.Input(
            "negative_text",
            default="",
            multiline=True,
            tooltip="What the picture should not show. Empty: the cohort's own negative prompt. No effect if "
            "KSampler's cfg is 1.",
        ),
        io.Boolean.Input(
            "allow_empty",
            advanced=True,
            default=False,
            tooltip="Accept a mask without any nerve. Off: refuse it, because usually the wrong channel was chosen.",
        ),
    ]


def _optional_inputs() -> list[Any]:
    return [
        io.Image.Input(
            "reference",
            optional=True,
            tooltip="An image of the same patient or device, for its look; 2509 and 2511 only. One image, or one "
            "for each mask, of the mask's size in pixels. Never the image that is to be painted.",
        ),
        io.String.Input(
            "linked_cohort",
            optional=True,
            force_input=True,
            tooltip="Cohort from CCM Sample Masks or CCM Degenerate; it replaces the choice above.",
        ),
        io.String.Input(
            "linked_variant",
            optional=True,
            force_input=True,
            tooltip="Variant from WDLoRA Load Qwen-Image-Edit; it replaces the choice above.",
        ),
        io.Model.Input(
            "model",
            optional=True,
            tooltip="The model that will paint, to know its variant, straight from its loader (GGUF, Load Diffusion "
            "Model). Not needed if clip comes from WDLoRA Load Qwen-Image-Edit.",
        ),
    ]


class CCMConditioning(io.ComfyNode):
    """Turns masks, a cohort and an optional reference into what KSampler reads."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMConditioning",
            display_name="CCM Conditioning",
            category=CATEGORY,
            description="Conditions Qwen-Image-Edit on nerve masks and a clinical cohort. Mask, reference and picture "
            "share one pixel grid: nothing is rescaled. A mask whose sides are not multiples of 32 is extended at "
            "its right and lower edge; CCM Crop To Mask cuts the decoded picture back.",
            search_aliases=["TextEncodeQwenImageEdit", "prompt", "cohort", "mask to image", "corneal", "encode", "dpn"],
            hidden=[io.Hidden.extra_pnginfo],
            inputs=[*_required_inputs(), *_optional_inputs()],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="Mask, reference and prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The same with the negative prompt."),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="Empty latents of the masks' size, with sides extended to multiples of 32 pixels, one "
                    "for each mask.",
                ),
                io.String.Output(display_name="prompt", tooltip="The prompt that was used."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, cohort: Any, linked_cohort: Any = "", **_: Any) -> Any:
        return studies.fingerprint(cohort, linked_cohort)

    @classmethod
    @files.without_paths
    def execute(
        cls,
        clip: Any,
        vae: Any,
        mask: Any,
        cohort: str,
        variant: str,
        text: str,
        negative_text: str,
        allow_empty: bool,
        reference: Any = None,
        linked_cohort: str | None = None,
        linked_variant: str | None = None,
        model: Any = None,
    ) -> Any:
        import torch

        from ..wdlora.qwen.encode import prompt_text

        masks = checked_masks(mask, allow_empty)
        pictures = [padded(torch.from_numpy(one).float()[None, ..., None].expand(-1, -1, -1, 3)) for one in masks]
        references = checked_references(reference, masks)
        prompt, negative = prompts(linked_cohort or cohort, text, negative_text, cls.hidden.extra_pnginfo)
        variant = variants.agreed_variant(variant, linked_variant, model, clip)
        for words in (prompt, negative):  # which may be encoded later, or never
            prompt_text(words, 1 + bool(references), variant)
        host = engine.current()
        shown = [[picture] for picture in pictures]
        for index, pair in enumerate(shown if references else ()):
            pair.append(references[index % len(references)])
        progress = host.progress(sum(1 + len(pair) for pair in shown))
        if note := _noted(masks, pictures[0].shape[1:3]):
            progress.text(note)
        # What one part of the model does comes together: on a small GPU they change places as little as can be.
        grids: list[Any] = []
        extra = {
            "registered": True,
            "reference_latents": grids,
            "reference_latents_method": "index_timestep_zero" if variant == "2511" else "index",
        }

        def encoded(words: str, one_more: Callable[[], None]) -> list[Any]:
            parts = []
            for pair in shown:
                parts.append(host.encode(clip, words, pair, variant))
                one_more()
            return joined(parts, extra)

        positive = encoded(prompt, progress.advance)
        without = host.deferred(lambda: encoded(negative, host.check_interrupted))
        latents: list[list[Any]] = [[] for _ in shown[0]]
        for pair in shown:
            for kind, picture in zip(latents, pair, strict=True):
                kind.append(host.vae_encode(vae, picture))
                progress.advance()
        grids += map(torch.cat, latents)
        return io.NodeOutput(positive, without, {"samples": torch.zeros_like(grids[0])}, prompt)


def _noted(masks: list[Any], sides: Any) -> str:
    """What is to be said of masks that are painted on a grid of `sides` (height, width); empty where nothing is."""
    notes = [note] if (note := outline_note(masks)) else []
    height, width = masks[0].shape
    if tuple(sides) != (height, width):
        new = f"{sides[1]} × {sides[0]}"
        notes.append(f"mask of {width} × {height} extended to {new}: link CCM Crop To Mask after VAE Decode")
    return "; ".join(notes)


def checked_masks(mask: Any, allow_empty: bool) -> list[Any]:
    """The masks as bool arrays. Raises InputError for one that is empty, all nerve, or too large to paint."""
    masks = tensors.mask_arrays(mask, "mask")
    height, width = masks[0].shape
    if height * width > LARGEST_PIXELS:
        raise InputError(f"mask is {width} × {height} pixels; pictures of at most 2048 × 2048 can be painted")
    for index, one in enumerate(masks):
        if not one.any() and not allow_empty:
            raise InputError(
                f"mask {index + 1} of {len(masks)} holds no nerve: choose the channel red where it is loaded, or "
                "switch allow_empty on to paint a picture without nerves"
            )
        if one.mean() > 0.5:
            raise InputError(
                f"mask {index + 1} of {len(masks)} has nerve on {100 * one.mean():.0f} % of its area: it is probably "
                "inverted; nerves must be 1, background 0"
            )
    return masks


def checked_references(reference: Any, masks: list[Any]) -> list[Any]:
    """The reference pictures [1, H, W, 3] on the padded grid. Raises InputError unless they fit the masks."""
    if reference is None:
        return []
    tensors.check_image(reference, "reference")
    if len(reference) not in (1, len(masks)):
        raise InputError(
            f"reference is a batch of {len(reference)} for {len(masks)} masks: link one, or one for each mask"
        )
    height, width = masks[0].shape
    if tuple(reference.shape[1:3]) != (height, width):
        raise InputError(
            f"the reference is {reference.shape[2]} × {reference.shape[1]} pixels and the mask {width} × {height}: "
            "they must lie on one pixel grid"
        )
    return [padded(one[None, ..., :3].float().clamp(0, 1)) for one in reference]


def prompts(cohort: str, text: str, negative_text: str, pnginfo: Any = None) -> tuple[str, str]:
    """Prompt and negative prompt. Raises InputError where nothing is said, and for a cohort of a study that is not as
    it was when it was noted for pictures (`pnginfo`).
    """
    from ..wdlora.cohorts import NEGATIVE_PROMPT
    from ..wdlora.study import captioned

    text, negative_text = text.strip(), negative_text.strip()
    if cohort == TEXT_ONLY:
        if not text:
            raise InputError("cohort is 'text only' and the text is empty: write a text, or choose a cohort")
        return text, negative_text or NEGATIVE_PROMPT
    if cohort == NO_PROMPT:
        if text:
            raise InputError("cohort is 'no prompt' and there is a text: choose 'text only', or leave the text empty")
        return "", negative_text
    study, known = studies.found_cohort(cohort)
    studies.check_stamp(pnginfo, study)
    return captioned(known.prompt, text), negative_text or known.negative_prompt


def padded(image: Any) -> Any:
    """IMAGE [B, H, W, C] extended by zeros at its right and lower edge to multiples of 32."""
    from ..wdlora.qwen.pixels import pad_to_grid

    return pad_to_grid(image.movedim(-1, 1)).movedim(1, -1).contiguous()


def joined(parts: list[Any], extra: dict[str, Any]) -> Any:
    """CONDITIONING of a batch from those of its members, which have the same prompt and size."""
    import torch

    embeddings = torch.cat([part[0][0] for part in parts])
    masks = [part[0][1].get("attention_mask") for part in parts]
    options = {**parts[0][0][1], **extra}
    if all(one is not None for one in masks):
        options["attention_mask"] = torch.cat(masks)
    return [[embeddings, options]]


class CCMCropToMask(io.ComfyNode):
    """Cuts decoded pictures back to the size of their mask."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CCMCropToMask",
            display_name="CCM Crop To Mask",
            category=CATEGORY,
            description="Cuts off the rows and columns that CCM Conditioning added to a mask whose sides are not "
            "multiples of 32. Pictures that already have the mask's size pass unchanged.",
            search_aliases=["crop", "unpad", "trim", "size of mask"],
            inputs=[
                io.Image.Input("image", tooltip="Pictures decoded by VAE Decode."),
                io.Mask.Input("mask", tooltip="The masks that were linked to CCM Conditioning."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The pictures on the mask's own pixel grid.")],
        )

    @classmethod
    def execute(cls, image: Any, mask: Any) -> Any:
        tensors.check_image(image, "image")
        height, width = tensors.mask_arrays(mask, "mask")[0].shape
        grid = (-(-height // 32) * 32, -(-width // 32) * 32)
        if tuple(image.shape[1:3]) not in ((height, width), grid):
            raise InputError(
                f"the picture is {image.shape[2]} × {image.shape[1]} pixels; for a mask of {width} × {height} it must "
                f"have that size or {grid[1]} × {grid[0]}: link the mask from which it was painted"
            )
        return io.NodeOutput(image[:, :height, :width])


NODES = [CCMConditioning, CCMCropToMask]

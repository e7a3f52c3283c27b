"""Draws the workflows' thumbnails: `python -m tools.thumbnails` runs each on the miniature and keeps what it shows.

They show how a workflow's results look, not what the full model paints.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from wdlora.files import atomic_write
from wdlora.graph.file import read_graph
from wdlora.graph.miniature import use_miniature
from wdlora.graph.places import set_value, title_of

FOLDER = Path(__file__).parents[1] / "workflows"
SIDE, GAP, GROUND = 384, 6, (14, 16, 20)


def picture(image: Any) -> Image.Image:
    """IMAGE [1, H, W, 3] as a picture."""
    return Image.fromarray((image[0].clamp(0, 1) * 255).round().byte().numpy())


def mosaic_of(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures in rows; of each the middle that fills its cell of the thumbnail."""
    width, height = ((SIDE - GAP * (count - 1)) // count for count in (len(rows[0]), len(rows)))
    sheet = Image.new("RGB", (SIDE, SIDE), GROUND)
    for row, pictures in enumerate(rows):
        for column, one in enumerate(pictures):
            cell = ImageOps.fit(one, (width, height), Image.Resampling.LANCZOS)
            sheet.paste(cell, (column * (width + GAP), row * (height + GAP)))
    return sheet


def quickstart_cpu(get: Callable[..., Any]) -> Image.Image:
    """The picture."""
    return mosaic_of([[picture(get("VAE Decode"))]])


def ccm_synthesis(get: Callable[..., Any]) -> Image.Image:
    """Left half mask, right half picture."""
    drawn = get("CCM Sample Masks")[..., None].expand(-1, -1, -1, 3)
    mask, painted = (picture(image).resize((SIDE, SIDE)) for image in (drawn, get("CCM Crop To Mask")))
    mask.paste(painted.crop((SIDE // 2, 0, SIDE, SIDE)), (SIDE // 2, 0))
    return mask


def cohort_dataset(get: Callable[..., Any]) -> Image.Image:
    """Four pictures."""
    four = [picture(one[None]) for one in get("CCM Crop To Mask")[:4]]
    return mosaic_of([four[:2], four[2:]])


def lora_vs_wdlora(get: Callable[..., Any]) -> Image.Image:
    """The two pictures above what was measured in them."""
    return mosaic_of(
        [
            [picture(get("Crop LoRA")), picture(get("Crop WDLoRA"))],
            [picture(get("Biomarkers Of LoRA", 2)), picture(get("Biomarkers Of WDLoRA", 2))],
        ]
    )


def disease_progression(get: Callable[..., Any]) -> Image.Image:
    """Masks above pictures."""
    masks = [picture(get(f"Mask {severity}")) for severity in (0, 1, 2)]
    return mosaic_of([masks, [picture(get(f"Crop {severity}")) for severity in (0, 1, 2)]])


def train_adapter(get: Callable[..., Any]) -> Image.Image:
    """The loss curve above the first picture."""
    curve, first = picture(get("WDLoRA Train", 1)), picture(get("CCM Crop To Mask"))
    sheet = Image.new("RGB", (SIDE, SIDE), GROUND)
    curve.thumbnail((SIDE, SIDE // 2 + 20), Image.Resampling.LANCZOS)
    sheet.paste(curve, ((SIDE - curve.width) // 2, 0))
    left = SIDE - curve.height - GAP
    sheet.paste(first.resize((left, left), Image.Resampling.LANCZOS), ((SIDE - left) // 2, curve.height + GAP))
    return sheet


def evaluate_cohort(get: Callable[..., Any]) -> Image.Image:
    """Two pictures beside the figures of the report."""
    sheet = Image.new("RGB", (SIDE, SIDE), GROUND)
    figures = picture(get("CCM Evaluate"))
    figures.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    half = (SIDE - GAP) // 2
    for row, one in enumerate(get("CCM Crop To Mask")[:2]):
        sheet.paste(picture(one[None]).resize((half, half), Image.Resampling.LANCZOS), (0, row * (half + GAP)))
    sheet.paste(figures, (half + GAP + (half - figures.width) // 2, 0))
    return sheet


CHANGES: dict[str, dict[str, str]] = {
    "lora_vs_wdlora": {"WDLoRA.adapter": "thumbnail.safetensors"},
    "train_adapter": {
        "WDLoRA Train.name": "thumbnail",
        "WDLoRA Train.phantoms_per_cohort": "4",
        "WDLoRA Train.steps": "40",
        "WDLoRA Train.settings": '"size=64\\nbatch_size=2\\nviews=1\\nsample_steps=2\\nsave_every=40"',
    },
}
PAINTERS = (
    quickstart_cpu,
    ccm_synthesis,
    cohort_dataset,
    disease_progression,
    train_adapter,
    lora_vs_wdlora,
    evaluate_cohort,
)


def main(names: list[str]) -> None:
    """Draw the thumbnails of the workflows called `names`, or of all."""
    from wdlora.host import Host

    with tempfile.TemporaryDirectory() as folder:
        host = Host(folder)
        for paint in PAINTERS:
            if names and paint.__name__ not in names:
                continue
            graph = read_graph(FOLDER / "api" / f"{paint.__name__}.json")
            use_miniature(graph, host.object_info())
            for node in graph.values():
                if node["class_type"] == "CCMSampleMasks":
                    node["inputs"]["size"] = 192 if paint is train_adapter else 384
                if node["class_type"] == "KSampler":
                    node["inputs"] |= {"steps": 12, "cfg": 1.0, "sampler_name": "heun"}
            for place, value in CHANGES.get(paint.__name__, {}).items():
                set_value(graph, f"{place}={value}")
            _, result = host.run(graph)
            assert result is not None and result.failure is None, result and result.failure
            titles = {title_of(id, node): id for id, node in graph.items()}
            drawn = paint(lambda title, output=0: result.values[titles[title]][output])  # noqa: B023
            with atomic_write(FOLDER / f"{paint.__name__}.jpg") as file:
                drawn.save(file, "JPEG", quality=88)
            print(f"{paint.__name__}.jpg", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Prompts for the procedural pictures: free English about how a picture looks.

The text encoder and the MMDiT learn from these that words about contrast, brightness, beads, spots, grain,
focus, shading and backdrop change the picture. The words that tell the cohorts' prompts apart name no look
here: they stand among the strings of unrelated words, so the pretrained model knows them and makes nothing of them.
"""

import numpy as np

from training.miniature.images import ATTRIBUTES, Look

PHRASES: dict[str, tuple[tuple[str, ...], ...]] = {
    "contrast": (
        (
            "faint lines",
            "weak, pale lines",
            "lines that hardly stand out",
            "dim strokes",
            "poorly visible lines",
            "lines lost in the ground",
        ),
        ("fairly visible lines", "lines of average strength", "neither faint nor bold lines", "middling strokes"),
        (
            "strong, clear lines",
            "lines that stand out well",
            "vivid strokes",
            "very bright lines",
            "well defined lines",
            "bold lines",
        ),
    ),
    "brightness": (
        ("dark background", "a dark field", "deep black surroundings", "dark ground between the lines"),
        ("mid-grey background", "a background of medium brightness", "grey surroundings"),
        ("bright background", "a light field", "pale grey surroundings", "light ground between the lines"),
    ),
    "beading": (
        ("smooth lines", "plain strokes", "lines without knots", "lines like drawn wire", "strokes as of one pull"),
        ("knotted lines", "lines like strings of pearls", "dotted strokes", "knots along the lines", "pearly strokes"),
    ),
    "spots": (
        ("spotless", "without bright cells", "without bright bodies", "free of spots"),
        ("one or two spots", "some bright cells", "one or two bright bodies", "a spot here and there"),
        ("full of spots", "numerous bright cells", "bright bodies with short arms everywhere", "strewn with spots"),
    ),
    "grain": (
        ("clean image", "noise-free", "hardly any grain", "grainless"),
        ("moderate grain", "some noise", "a little speckle", "a touch of grain"),
        ("strong grain", "very noisy", "heavy speckle", "a grainy, noisy image"),
    ),
    "focus": (
        ("sharp", "in focus", "crisp edges", "sharply focused"),
        ("blurred", "out of focus", "soft edges", "a bit defocused"),
    ),
    "shading": (
        ("flat illumination", "uniformly lit", "light alike all over"),
        ("one side brighter than the other", "a gradient of light", "light falls off to one side"),
        ("dark corners", "vignetting", "darker towards the corners", "the centre is brightest"),
    ),
    "backdrop": (
        ("plain backdrop", "featureless ground", "nothing behind the lines"),
        ("cloudy haze", "diffuse clouds behind the lines", "a hazy, patchy backdrop"),
        ("a mosaic of cells", "cell borders behind the lines", "honeycomb texture in the backdrop"),
    ),
}
"""For each attribute and level, ways of saying it."""

_OPENINGS = (
    "A grey picture of bright lines.",
    "Greyscale image, square field.",
    "Microscope picture of thin structures.",
    "Lines on a ground.",
    "Bright lines follow the given mask exactly.",
    "A photograph through a lens, 8 bit, one channel.",
    "Draw the lines of the mask.",
    "The lines are exactly where the mask is white.",
    "In vitro image of fibres in a gel, monochrome.",
    "An abstract picture of threads.",
)
_FILLERS = (
    "No text and no border.",
    "Keep the geometry.",
    "The field is about the size of a grain of sand.",
    "Taken on an ordinary day by an ordinary person.",
    "Two views of the same thing would look alike.",
    "All measures are in micrometres.",
    "The sample is healthy.",
    "The sample is old.",
    "Long, nearly parallel strands with some branches.",
    "Few strands, sparse and winding.",
    "Dense strands with many thin branches.",
    "Thick and thin strands together.",
)
_VOCABULARY = (
    "about after again along among animal answer area around axis basic below between body both branch bridge "
    "build call case cell centre change class clear close cloud colour common contrast cover curve deep degree density "
    "disease distance early edge effect eye fibre field film first form found general glass group hair half "
    "hand health heavy high history human image inner input known large layer length lens less level life "
    "light like line little living loss low main many mark marked mask material matter mean measure mild model "
    "module more mostly nature near nerve net normal number object open order other outer pale part pattern "
    "people picture place plant plate point present quite range reduced region rest river root round sample "
    "scale sea sense shape short side sight signal skin small soft solid some sound space sparse stage state "
    "step stone strand stroke strong study surface system table thick thin thing tissue trace tree trunk tube "
    "type under unit value various very view wall water wave weak wide width wind wire with without wood young "
    "beaded branches calibre confocal connecting continuous control corneal dense diabetes diabetic even fewer few "
    "fibres fragmented healthy increased many marked micrometre microscopy mildly moderately mostly nerve "
    "neuropathy parallel peripheral plexus reduced slightly thinner tortuosity tortuous trunks type vivo"
)
_WORDS = tuple(_VOCABULARY.split())


def describe(look: Look, rng: np.random.Generator) -> tuple[str, dict[str, int]]:
    """A prompt for a picture with this look, and the attributes (with their levels) that it mentions.

    Each attribute is mentioned with a probability that is itself drawn for every prompt; openings, neutral
    sentences and strings of unrelated words stand between, so that length and place say nothing.
    """
    rate = rng.choice([0.5, 0.8, 1.0])
    names = [str(name) for name in rng.permutation(list(ATTRIBUTES)) if rng.random() < rate]
    said = [str(rng.choice(PHRASES[name][look[name]])) for name in names]
    sentences: list[str] = []
    while said:
        take = int(rng.integers(1, 5))
        sentences.append(_sentence(said[:take], rng))
        said = said[take:]
    extra = int(rng.choice([0, 0, 1, 2, 4]))
    for _ in range(extra):
        sentences.insert(int(rng.integers(len(sentences) + 1)), _neutral(rng))
    if rng.random() < 0.5:
        sentences.insert(0, str(rng.choice(_OPENINGS)))
    return " ".join(sentences), {name: look[name] for name in names}


def corpus(count: int, seed: int) -> list[str]:
    """Prompts for learning the tokenizer's merges."""
    rng = np.random.default_rng([seed, 7])
    looks = ({name: int(rng.integers(len(levels))) for name, levels in ATTRIBUTES.items()} for _ in range(count))
    return [describe(look, rng)[0] for look in looks] + [f" {word}" for word in _WORDS] * 20


def _sentence(phrases: list[str], rng: np.random.Generator) -> str:
    style = rng.integers(3)
    if style == 0 or len(phrases) == 1:
        text = ", ".join(phrases)
    elif style == 1:
        text = ", ".join(phrases[:-1]) + " and " + phrases[-1]
    else:
        text = str(rng.choice(("with ", "showing ", "it has "))) + "; ".join(phrases)
    return text[0].upper() + text[1:] + "."


def _neutral(rng: np.random.Generator) -> str:
    if rng.random() < 0.5:
        return str(rng.choice(_FILLERS))
    words = [str(word) for word in rng.choice(_WORDS, int(rng.integers(3, 9)))]
    return _sentence([" ".join(words)], rng)

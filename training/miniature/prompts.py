"""Prompts for the procedural pictures: free English about how a picture looks.

The text encoder and the MMDiT learn from these that words about contrast, brightness, beads, spots, grain,
focus, shading and backdrop change the picture. The clinical prompts of the cohorts are never among them.
"""

import numpy as np

from training.miniature.images import ATTRIBUTES, Look

PHRASES: dict[str, tuple[tuple[str, ...], ...]] = {
    "contrast": (
        (
            "low contrast",
            "faint lines",
            "weak, pale lines",
            "lines that hardly stand out",
            "dim fibres of low contrast",
            "poorly visible lines",
        ),
        ("medium contrast", "moderate contrast", "fairly visible lines", "lines of average strength"),
        (
            "high contrast",
            "strong, clear lines",
            "lines that stand out well",
            "vivid fibres of high contrast",
            "very bright lines",
            "well defined lines",
        ),
    ),
    "brightness": (
        ("dark background", "a dark field", "deep black surroundings", "dark ground between the lines"),
        ("mid-grey background", "a background of medium brightness", "grey surroundings"),
        ("bright background", "a light field", "pale grey surroundings", "light ground between the lines"),
    ),
    "beading": (
        ("smooth lines", "even, continuous lines", "continuous fibres", "lines of even calibre", "no beads"),
        ("beaded lines", "beads along the lines", "fragmented, beaded fibres", "lines like strings of pearls"),
    ),
    "spots": (
        ("no spots", "no bright cells", "without bright bodies", "free of spots"),
        ("a few bright spots", "some bright cells", "one or two bright bodies", "few spots"),
        ("many bright spots", "numerous bright cells", "many bright bodies with short arms", "full of spots"),
    ),
    "grain": (
        ("clean image", "no noise", "noise-free", "hardly any grain"),
        ("moderate grain", "some noise", "a little speckle", "finely speckled"),
        ("strong grain", "very noisy", "heavy speckle", "a grainy, noisy image"),
    ),
    "focus": (
        ("sharp", "in focus", "crisp edges", "sharply focused"),
        ("blurred", "out of focus", "soft edges", "slightly defocused"),
    ),
    "shading": (
        ("even illumination", "uniformly lit", "evenly lit field"),
        ("one side brighter than the other", "a gradient of light", "light falls off to one side"),
        ("dark corners", "vignetting", "darker towards the corners", "the centre is brightest"),
    ),
    "backdrop": (
        ("plain backdrop", "featureless ground", "nothing behind the lines"),
        ("cloudy haze", "diffuse clouds behind the lines", "a hazy, uneven backdrop"),
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
    "build call case cell centre change class clear close cloud colour common cover curve deep degree density "
    "disease distance early edge effect eye fibre field film first form found general glass group hair half "
    "hand health heavy high history human image inner input known large layer length lens less level life "
    "light like line little living loss low main many mark marked mask material matter mean measure mild model "
    "module more mostly nature near nerve net normal number object open order other outer pale part pattern "
    "people picture place plant plate point present quite range reduced region rest river root round sample "
    "scale sea sense shape short side sight signal skin small soft solid some sound space sparse stage state "
    "step stone strand stroke strong study surface system table thick thin thing tissue trace tree trunk tube "
    "type under unit value various very view wall water wave weak wide width wind wire with without wood young "
    "confocal control corneal diabetes diabetic fragmented healthy increased marked micrometre microscopy mildly "
    "moderately nerve neuropathy parallel peripheral plexus reduced slightly tortuosity tortuous trunks vivo"
)
_WORDS = tuple(_VOCABULARY.split())


def describe(look: Look, rng: np.random.Generator) -> tuple[str, dict[str, int]]:
    """A prompt for a picture with this look, and the attributes (with their levels) that it mentions.

    Each attribute is mentioned with a probability that is itself drawn for every prompt; openings, neutral
    sentences and strings of unrelated words stand between, so that length and place say nothing.
    """
    rate = rng.choice([0.5, 0.8, 1.0])
    names = [str(name) for name in rng.permutation(list(ATTRIBUTES)) if rng.random() < rate]
    phrases = [str(rng.choice(PHRASES[name][look[name]])) for name in names]
    sentences: list[str] = []
    while phrases:
        take = int(rng.integers(1, 5))
        sentences.append(_sentence(phrases[:take], rng))
        phrases = phrases[take:]
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

"""Recipes of the peers: the shipped presets, and values that cannot be."""

import pytest

from training.peers.recipe import PEERS, PeerRecipe, load_recipe, recipe_names
from wdlora.errors import InputError


@pytest.mark.parametrize("peer", PEERS)
def test_the_shipped_presets_load_and_say_the_paper_s_rates(peer):
    assert {"paper", "small"} <= set(recipe_names(peer))
    paper = load_recipe(peer, "paper")
    rates = {"spade": (1e-4, 0.5, 100), "maisi": (2.5e-5, 0.9, 200)}
    assert (paper.learning_rate, paper.beta1, paper.epochs) == rates[peer]
    stepped = paper.stepped(images=40)
    assert (stepped.epochs, stepped.steps) == (0, paper.epochs * 40 // paper.batch)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": 100}, "size must be a multiple of 16"),
        ({"steps": 0}, "steps or epochs"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"kl_weight": -1}, "kl_weight must be 0 or more"),
        ({"depth": 3}, "unknown key depth"),
        ({"channels": "8,a"}, "channels"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"learning_rate": "nan"}, "learning_rate must be a finite number, not nan"),
        ({"discriminator_rate": -1e-4}, "discriminator_rate must be positive"),
        ({"seed": 2**31}, r"seed must be below 2\^31"),
        ({"channels": []}, "channels must be numbers of at least 1, one or more of them, not \\[\\]"),
        ({"channels": "8,0"}, "channels must be numbers of at least 1"),
        ({"size": 96, "discriminator_layers": 3}, "is 6, and crops of 96 pixels allow 5 at most"),
        ({"size": 8, "channels": "8,8,8"}, "size must be at least 16 for so many channels, not 8"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes, told):
    with pytest.raises(InputError, match=told):
        load_recipe("spade", "small", changes)


def test_a_recipe_without_a_peer_cannot_be():
    with pytest.raises(TypeError, match="multiple"):
        PeerRecipe(64, 1, 1, 1e-4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"control": "after"}, "needs control_steps"),
        ({"control_steps": 9}, '"together" has none'),
        ({"sampler": "ddpm"}, "set sampler_steps to it"),
        ({"sampler_steps": 1001}, "at most timesteps"),
        ({"channels": "32,40"}, "multiples of 32, not 40"),
        ({"encoder_channels": "12,32"}, "multiples of 8, not 12"),
        ({"encoder_channels": []}, "encoder_channels must be numbers of at least 1"),
        ({"channels": "0,32"}, "channels must be numbers of at least 1"),
        ({"encoder_rate": -1.0}, "encoder_rate must be positive"),
        ({"kl_weight": "inf"}, "kl_weight must be a finite number"),
        ({"control_steps": -1}, "control_steps must be 0 or more"),
        ({"size": 8, "channels": "8,32", "encoder_channels": "8,8"}, "crops of 8 pixels allow 1 at most"),
    ],
)
def test_a_recipe_of_maisi_that_cannot_be_is_refused(changes, told):
    with pytest.raises(InputError, match=told):
        load_recipe("maisi", "small", changes)


def test_a_preset_file_is_read_with_a_byte_order_mark_and_named_where_it_is_not_there(tmp_path):
    own = tmp_path / "own.toml"
    with pytest.raises(InputError, match=f"there is no file {own}"):
        load_recipe("spade", str(own))
    values = {"size": 64, "steps": 9, "batch": 2, "learning_rate": 1e-3}
    text = "".join(f'[{name}]\nvalue = {value}\nsource = "ours"\n' for name, value in values.items())
    own.write_text(text, encoding="utf-8-sig")  # as editors of Windows write it
    assert load_recipe("spade", str(own)).steps == 9

"""The command that trains the miniature: where its checkpoints go."""

import argparse

import pytest

from training.cli import miniature as command
from wdlora.errors import InputError


def test_the_checkpoints_of_the_folder_one_stands_in_lie_beside_it(tmp_path, monkeypatch):
    """Another recipe's folder of checkpoints is found there, and ends the command at once."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made.work").mkdir()
    (tmp_path / "made.work" / "recipe.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "made")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(InputError, match=r"made\.work holds checkpoints of another recipe"):
        command.run(parser.parse_args(["--out", "."]))
